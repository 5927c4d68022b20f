"nbdev's own preprocessing of a page, through its Python API; it needs no Quarto."

import ast
import contextlib
import io
import os
import re
import warnings
from pathlib import Path
from unittest.mock import patch

from . import reference
from .sources import cells, exported, pages, where


def mixed(source):
    "Whether a cell holds an import beside other work."
    try:
        body = ast.parse(source).body
    except SyntaxError:
        return False  # a magic, which nbdev passes over as well
    imports = (ast.Import, ast.ImportFrom)
    if not any(isinstance(n, imports) for b in body for n in ast.walk(b)):
        return False
    return not all(isinstance(b, imports) for b in body)


def check_imports(root):
    "A cell with an import does nothing else: nbdev executes it while the site is built."
    for p in pages(root):
        if p.suffix != ".ipynb" or not any(exported(c.source) for c in cells(p)):
            continue
        for c in cells(p):
            if c.kind != "code" or exported(c.source) or re.search(r"#\|\s*eval:", c.source):
                continue
            if mixed(c.source):
                place = where(p.relative_to(root), c.number)
                yield (
                    f"{place}: an import beside other work, which nbdev executes alone while the "
                    "site is built: give the imports a cell of their own"
                )


def renderer(root, module):
    "The class that nbdev's show_doc calls, with our tables in it."
    from nbdev.showdoc import BasicMarkdownRenderer

    class Renderer:
        def __init__(self, sym, name=None, title_level=3):
            self.sym, self.level = sym, title_level
            self.name = name or getattr(sym, "__qualname__", str(sym))

        def _repr_markdown_(self):
            home = getattr(self.sym, "__module__", module).removeprefix("featent.")
            home = module if home == "__main__" else home
            made = reference.markdown(root, home, self.name, self.level)
            if made is None:
                return BasicMarkdownRenderer(self.sym, self.name, self.level)._repr_markdown_()
            return made

    return Renderer


def module_of(path):
    "The module that a chapter becomes, or None."
    found = (re.search(r"^#\|\s*default_exp\s+(\S+)", c.source, re.M) for c in cells(path))
    return next((m[1] for m in found if m), None)


@contextlib.contextmanager
def without_widgets(notebook):
    """Leave the state of widgets out, for which a page would load scripts from elsewhere.

    nbdev asks every widget of this process for it, also those whose page is gone."""
    empty = {"version_major": 2, "version_minor": 0, "state": {}}
    with patch("ipywidgets.Widget.get_manager_state", lambda **_: empty):
        yield
    notebook.metadata.pop("widgets", None)


FOLDED = {"parameters": "The parameters", "validate": "The images, and checks of the parameters"}


def leading(notebook):
    "What cells with the tag `lead` show, as cells of their own: the figure before the table."
    from fastcore.nbio import mk_cell

    found = []
    for cell in notebook.cells:
        if "lead" in cell.metadata.get("tags", []):
            said = re.findall(r"^#\|\s*(fig-alt:.*)", cell.source, re.M)
            source = "\n".join(f"#| {line}" for line in ["echo: false", *said])
            pictures = [o for o in cell.outputs if "image/png" in o.get("data", {})]
            found.append((not pictures, mk_cell(source, outputs=pictures or cell.outputs)))
    return [cell for _, cell in sorted(found, key=lambda pair: pair[0])]


def put_first(notebook, first):
    "An experiment answers before it explains, and its code is folded."
    from fastcore.nbio import mk_cell

    for cell in notebook.cells:
        if cell.cell_type == "code":
            tags = cell.metadata.get("tags", [])
            summary = next((FOLDED[tag] for tag in tags if tag in FOLDED), "Code")
            cell.source = f"#| code-fold: true\n#| code-summary: {summary!r}\n{cell.source}"
    at = next(i for i, c in enumerate(notebook.cells) if "**In short" in c.source) + 1
    how = mk_cell("## Why, and how", cell_type="markdown")
    notebook.cells[at:at] = [*first, how]


def filters(root):
    "nbdev's processors, with our reference, and without the state of widgets."
    import nbdev.showdoc
    from nbdev.processors import FilterDefaults

    class Filters(FilterDefaults):
        def __call__(self, nb):
            first = leading(nb) if Path(nb.path_).parent.name == "experiments" else []
            before = nbdev.showdoc.BasicMarkdownRenderer
            nbdev.showdoc.BasicMarkdownRenderer = renderer(root, module_of(Path(nb.path_)))
            try:
                with without_widgets(nb):
                    super().__call__(nb)
                if first:
                    put_first(nb, first)
            finally:
                nbdev.showdoc.BasicMarkdownRenderer = before

    return Filters


def process(root, path):
    "(notebook as nbdev hands it to Quarto, or None; fault, or None)"
    from fastcore.nbio import read_nb

    before = Path.cwd()
    os.chdir(path.parent)
    os.environ["IN_TEST"] = "1"  # as nbdev does
    try:
        notebook = read_nb(path)
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            filters(root)()(notebook)
        return notebook, None
    except Exception as e:  # whatever a cell of the page raises
        said = " / ".join(line for line in str(e).splitlines() if line.strip())
        return None, f"{path.relative_to(root)}: fails while nbdev prepares it: {said[:300]}"
    finally:
        os.environ.pop("IN_TEST", None)
        os.chdir(before)
