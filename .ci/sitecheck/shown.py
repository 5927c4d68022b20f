"Every public name is at work on some page, and so are its errors."

import ast
import functools
import re

from .package import chapters, file_of, module_source, public
from .sources import cells, defined, exported, headings


def used(source):
    "Names and attributes that a cell uses."
    try:
        nodes = list(ast.walk(ast.parse(re.sub(r"^[%!].*$", "", source, flags=re.M))))
    except SyntaxError:
        return set()
    return {n.id for n in nodes if isinstance(n, ast.Name)} | {
        n.attr for n in nodes if isinstance(n, ast.Attribute)
    }


def demonstrations(path):
    return [
        c for c in cells(path) if c.kind == "code" and not re.match(r"#\|(?!\s*fig-)", c.source)
    ]


MADE_BY = {
    "Images": "images",
    "Result": "assess",
}  # classes that nobody calls: at work wherever these are


def check_toys(root):
    "Every public name is used in a cell of a chapter that runs."
    there = {
        p: set().union(*(used(c.source) for c in demonstrations(p)))
        for p in chapters(root).values()
    }
    for n in public(root):
        if not any({n.name, MADE_BY.get(n.name)} & names for names in there.values()):
            yield f"{n.name} ({file_of(n.module)}): no cell of a chapter shows it at work"


@functools.lru_cache(None)
def raising(path, name):
    "The functions of a module that raise an error of their own and that a function leads to."
    local, seen, todo = (
        {f.name: f for f in module_source(path)[0].body if isinstance(f, ast.FunctionDef)},
        set(),
        [name],
    )
    while todo:
        f = todo.pop()
        if f in local and f not in seen:
            seen.add(f)
            todo += [m.id for m in ast.walk(local[f]) if isinstance(m, ast.Name)]
    return frozenset(
        f
        for f in seen
        if any(isinstance(m, ast.Raise) and m.exc is not None for m in ast.walk(local[f]))
    )


EXPECTS = {"expect_fail", "raises", "test_fail"}


def refused(path):
    "Names used where a cell shows an error."
    return set().union(
        *(names for c in demonstrations(path) if (names := used(c.source)) & EXPECTS)
    )


def check_errors(root):
    """A public function that raises is said to.

    A cell of a chapter shows an error of it, or its section speaks of what is refused, or its
    errors are those of a checking function that it shares with one whose errors are shown.
    """
    shown = set().union(*map(refused, chapters(root).values()))
    for n in public(root):
        if not isinstance(n.node, ast.FunctionDef) or n.chapter is None or n.name in shown:
            continue
        path = root / file_of(n.module)
        shared = set().union(*(raising(path, f) for f in shown))
        if raising(path, n.name) - shared and not any(
            ERROR.search(t) for t in section(n.chapter, n.name)
        ):
            yield (
                f"{n.name} ({file_of(n.module)}): it raises, and {n.chapter.name} neither shows "
                "an error of it nor speaks of one in its section"
            )


ERROR = re.compile(r"\b(error|refus\w+|raise[sd]?|fails?|complain\w*)\b", re.I)


def section(path, name):
    "The text of the section in which a name is exported."
    part = []
    for c in cells(path):
        if c.kind == "markdown":
            if any(level <= 2 for level, _ in headings(c.source)):
                part = []
            part.append(c.source)
        elif exported(c.source) and name in defined(c.source):
            found = part
    return found
