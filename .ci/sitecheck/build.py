"The site in HTML: by Quarto where it is on the path, else by pandoc in the site's layout."

import multiprocessing
import os
import shutil
import time
from pathlib import Path

from . import backlinks, browser, convert, live, processing
from .sources import pages


def build(root, folder, only=""):
    "Make the pages in a folder and look at them; the faults, as lines of text."
    if shutil.which("quarto"):
        folder, found = render(root), []
    else:
        found = by_pandoc(root, folder, only)
    return found + browser.look(folder)


def render(root):
    "The site in _docs, by nbdev and Quarto, with the sources that its pages link."
    import nbdev.serve
    from nbdev.quarto import nbdev_docs

    before = nbdev.serve.FilterDefaults
    nbdev.serve.FilterDefaults = processing.filters(root)
    try:
        nbdev_docs.__wrapped__(path=root / "nbs", n_workers=0)
    finally:
        nbdev.serve.FilterDefaults = before
        (root / "nbs/nbdev.yml").unlink(missing_ok=True)
    add_sources(root, root / "_docs")
    live.write(root, root / "_docs")
    return root / "_docs"


def add_sources(root, folder):
    "Put the package's sources beside the pages, and let the links lead there."
    source = shutil.ignore_patterns("__pycache__", "labextension", "*.pyc")
    shutil.copytree(root / "featent", folder / "featent", ignore=source, dirs_exist_ok=True)
    for page in folder.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        up = "../" * (len(page.relative_to(folder).parts) - 1)
        new = text.replace(f'href="{up}../featent/', f'href="{up}featent/')
        new = new.replace(f'href="./{up}../featent/', f'href="{up}featent/')
        if new != text:
            page.write_text(new, encoding="utf-8")


def by_pandoc(root, folder, only=""):
    "Every page by pandoc; the faults."
    try:
        import pypandoc  # noqa: F401
        from nbdev import processors  # noqa: F401
    except ImportError as e:
        return [f"{e.name} is missing, and the pages are not built: pip install -e '.[dev]'"]
    begin = time.perf_counter()
    every = [p for p in pages(root) if p.suffix == ".ipynb" and only in str(p)]
    preload()
    backlinks.uses(root)  # once for all pages
    given = [(root, p, folder) for p in every]
    context = multiprocessing.get_context("fork" if hasattr(os, "fork") else "spawn")
    with context.Pool(min(2, os.cpu_count() or 1), maxtasksperchild=1) as pool:
        made = pool.starmap(one, given, chunksize=1)
    convert.write([job for job, _ in made if job])
    convert.copy_images(root, folder)
    add_sources(root, folder)
    live.write(root, folder)
    print(f"{len(every)} pages built in {time.perf_counter() - begin:.0f} s")
    return [fault for _, fault in made if fault]


def preload():
    "What most pages import, once for all processes."
    import ipywidgets  # noqa: F401
    from outputs import preload

    try:
        preload()
    except ImportError:
        pass  # a project that is not installed; its pages say so themselves


def one(root, path, folder):
    "(what pandoc needs to make a page, or None; fault, or None)"
    notebook, fault = processing.process(root, path)
    return (convert.job(root, path, notebook, Path(folder)) if fault is None else None), fault
