"The package, read and not imported: its public names and their documentation."

import ast
import functools
import io
import re
import tokenize
from pathlib import Path
from typing import NamedTuple

from .sources import cells, pages


class Name(NamedTuple):
    name: str
    module: str  # with its room: data.images
    node: object  # its definition: function, class, or assignment
    tree: object
    comments: dict  # line: comment
    chapter: Path


def file_of(module):
    "Path of a module within the repository."
    return f"featent/{str(module).replace('.', '/')}.py"


@functools.lru_cache(None)
def module_source(path):
    "Syntax tree and comments by line."
    text = path.read_text(encoding="utf-8")
    found = {
        t.start[0]: t.string.lstrip("# ").strip()
        for t in tokenize.generate_tokens(io.StringIO(text).readline)
        if t.type == tokenize.COMMENT
    }
    return ast.parse(text), found


def targets(node):
    return [
        t.id
        for t in getattr(node, "targets", [getattr(node, "target", None)])
        if isinstance(t, ast.Name)
    ]


@functools.lru_cache(None)
def chapters(root):
    "{module: its notebook}"
    found = (
        (re.search(r"^#\|\s*default_exp\s+(\S+)", c.source, re.M), p)
        for p in pages(root)
        if p.suffix == ".ipynb"
        for c in cells(p)
        if c.kind == "code"
    )
    return {m[1]: p for m, p in found if m}


def assigned(tree, name):
    "The value of an assignment of literals, or an empty list."
    return next(
        (
            ast.literal_eval(n.value)
            for n in tree.body
            if isinstance(n, ast.Assign) and targets(n) == [name]
        ),
        [],
    )


def described(root, name, module):
    "A name of a module with its definition."
    path = root / file_of(module)
    tree, comments = module_source(path) if path.exists() else (ast.Module([], []), {})
    node = next(
        (n for n in tree.body if getattr(n, "name", None) == name or name in targets(n)), None
    )
    return Name(name, module, node, tree, comments, chapters(root).get(module))


@functools.lru_cache(None)
def public(root):
    "The names that `import featent as fe` gives, but the rooms, with their definitions."
    tree, _ = module_source(root / "featent/__init__.pyi")
    imports = [n for n in tree.body if isinstance(n, ast.ImportFrom) and n.module]
    found = [(a.name, n.module) for n in imports for a in n.names]
    return [described(root, name, m) for name, m in found if not name.startswith("_")]


def of_modules(root):
    "The names that are imported from their modules, in the order of the chapters."
    top = {(n.module, n.name) for n in public(root)}
    names = [
        described(root, name, m)
        for m, p in chapters(root).items()
        if (f := root / file_of(m)).exists()
        for name in assigned(module_source(f)[0], "__all__")
    ]
    return [n for n in names if (n.module, n.name) not in top and n.node is not None]


def parameters(f):
    a = f.args
    return [
        p
        for p in [*a.posonlyargs, *a.args, a.vararg, *a.kwonlyargs, a.kwarg]
        if p and p.arg not in ("self", "cls")
    ]


def ends(f):
    "{parameter: last line of its declaration}"
    a = f.args
    defaults = dict(zip([p.arg for p in [*a.posonlyargs, *a.args]][::-1], a.defaults[::-1])) | {
        p.arg: d for p, d in zip(a.kwonlyargs, a.kw_defaults) if d
    }
    return {p.arg: (defaults.get(p.arg) or p).end_lineno for p in parameters(f)}


ARRAY = re.compile(r"\b(ndarray|Tensor)\b")


SHAPE = re.compile(r"\(.*\)|\bas for\b|\bshape\b|\bone (value|number|row) (for|per)\b|\bmaps?\b")


def undocumented(n):
    "What the documentation of a function or class lacks."
    node = n.node
    if node is None:
        return [f"{file_of(n.module)} does not define it"]
    if not isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return (
            []
            if n.comments.get(node.lineno) or n.comments.get(node.end_lineno)
            else ["a constant needs a comment on its line that says what it is"]
        )
    doc, lacks = ast.get_docstring(node), []
    if not doc or "\n" in doc.strip():
        lacks.append("the docstring must be one line")
    if isinstance(node, ast.ClassDef):
        fields = [b for b in node.body if isinstance(b, ast.AnnAssign)]
        return lacks + [
            f"field {f.target.id}: no comment says what it is"
            for f in fields
            if not n.comments.get(f.end_lineno)
        ]
    lines = ends(node)
    for p in parameters(node):
        comment, alone = (
            n.comments.get(lines[p.arg]),
            list(lines.values()).count(lines[p.arg]) == 1 and lines[p.arg] != node.body[0].lineno,
        )
        if not comment or not alone:
            lacks.append(f"parameter {p.arg}: give it a line of its own with a comment")
        elif (
            p.annotation is not None
            and ARRAY.search(ast.unparse(p.annotation))
            and not SHAPE.search(comment)
        ):
            lacks.append(
                f"parameter {p.arg}: an array, and the comment gives no shape: {comment!r}"
            )
    end = node.returns.end_lineno if node.returns else node.body[0].lineno - 1
    nothing = isinstance(node.returns, ast.Constant) and node.returns.value is None
    if not nothing and (not n.comments.get(end) or end in lines.values()):
        lacks.append("no comment says what it returns")
    return lacks


def check_names(root):
    "Every public name is documented in its definition."
    for n in public(root):
        for fault in undocumented(n):
            yield f"{n.name} ({file_of(n.module)}): {fault}"
