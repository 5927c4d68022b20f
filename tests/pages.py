"The first cells of an experiment's notebook, without the rest."

import nbformat

from featent.commands.experiments import experiments


def validated(name, **options):
    "What the experiment's first two cells define: the parameters and what was checked."
    page, names = nbformat.read(experiments()[name], 4), {}
    cells = {t: c.source for c in page.cells for t in c.metadata.get("tags", [])}
    exec(cells["parameters"], names)
    names.update(options)
    exec(cells["validate"], names)
    return names
