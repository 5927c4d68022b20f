"Which pages use a name of the package: the links back from the reference."

import ast
import functools
import posixpath
import re

from .package import chapters, public
from .sources import blocks, cells, pages

TAUGHT = ("index.ipynb", "start", "howto", "explanations", "experiments")  # seen first


@functools.lru_cache(None)
def tree_of(source):
    "The syntax tree of a cell without its magics; an empty one where it is no Python."
    try:
        return ast.parse(re.sub(r"^[%!].*$", "pass", source, flags=re.M))
    except SyntaxError:
        return ast.Module([], [])


def dotted(node):
    "An attribute of names as text, `fe.studies.zoo.train_zoo`, or nothing."
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *parts[::-1]]) if isinstance(node, ast.Name) else ""


def named(source, front):
    "(module, name) of what a cell takes from the package."
    for node in ast.walk(tree_of(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("featent"):
            module = node.module.removeprefix("featent").removeprefix(".")
            yield from ((module or front.get(a.name), a.name) for a in node.names)
        elif isinstance(node, ast.Attribute):
            first, _, rest = dotted(node).partition(".")
            if first in ("fe", "featent") and rest:
                module, _, name = rest.rpartition(".")
                yield module or front.get(name), name


def codes(path):
    "The code of a page: cells, and blocks in texts."
    for c in cells(path):
        if c.kind == "code":
            yield c.source
        elif c.kind == "markdown":
            yield from (code for _, code in blocks(c.source, "python", "py"))


@functools.lru_cache(None)
def uses(root):
    "{(module, name): the pages that use it, those that teach before the chapters}"
    front = {n.name: n.module for n in public(root)}
    own, found = {p: m for m, p in chapters(root).items()}, {}
    for path in sorted(pages(root), key=lambda p: (place(root, p), p)):
        if path.suffix != ".ipynb" or path.name == "api.ipynb":
            continue
        keys = {key for code in codes(path) for key in named(code, front)}
        for key in keys:
            if key[0] != own.get(path):
                found.setdefault(key, []).append(path)
    return found


def place(root, path):
    "The order of a page: those that teach, in the order of the sidebar, before the chapters."
    first = path.relative_to(root / "nbs").parts[0]
    return TAUGHT.index(first) if first in TAUGHT else len(TAUGHT)


def title(path):
    "The title of a page, short."
    return cells(path)[0].source.splitlines()[0].removeprefix("# ").strip()


def links(root, module, name, here=".", most=5):
    "Links to the pages that use a name, as seen from a folder of the site, or nothing."
    every = uses(root).get((module, name), [])
    shown = [p for p in every if place(root, p) < len(TAUGHT)] or every
    places = {p: posixpath.relpath(p.relative_to(root / "nbs").as_posix(), here) for p in shown}
    return ", ".join(f"[{title(p)}]({place})" for p, place in list(places.items())[:most])
