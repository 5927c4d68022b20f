"What a chapter shows of an exported function or class: its call, and its parameters as a table."

import ast
import textwrap
from pathlib import Path

from . import backlinks, package

WIDTH = 84  # characters of a line of code on a page


def cell(text):
    "A text as a cell of a table."
    return " ".join(str(text or "").split()).replace("|", "\\|").replace("<", "&lt;")


def code(node):
    "A value as a cell of a table."
    if node is None:
        return ""
    text = " ".join(ast.unparse(node).split())
    return f"`{text}`".replace("|", "or")


def kind(node):
    "A type as a cell of a table; quotes around a type that is imported later are dropped."
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return f"`{node.value}`".replace("|", "or")
    return code(node)


SHARES = {2: [18, 60], 3: [14, 18, 50], 4: [14, 18, 12, 44]}  # of the widths of columns


def table(head, rows):
    widths = SHARES[len(head)]
    lines = [head, ["-" * w for w in widths], *rows]
    return "\n".join("| " + " | ".join(r) + " |" for r in lines) if rows else ""


def defaults(f):
    "{parameter: the node of its default}"
    a = f.args
    positional = [p.arg for p in [*a.posonlyargs, *a.args]]
    last = positional[len(positional) - len(a.defaults) :]
    keyword = {p.arg: d for p, d in zip(a.kwonlyargs, a.kw_defaults) if d is not None}
    return dict(zip(last, a.defaults)) | keyword


OPTIONS = "assessment.options", "Options"  # the class whose fields stand for `**options`


def options_of(root, f):
    "(fields, comments) of the options that a function takes by a decorator."
    names = {ast.unparse(d) for d in getattr(f, "decorator_list", [])}
    if root is None or "takes_options" not in names:
        return [], {}
    found = package.described(Path(root), OPTIONS[1], OPTIONS[0])
    own = {p.arg for p in package.parameters(f)}
    fields = [b for b in found.node.body if isinstance(b, ast.AnnAssign)]
    return [b for b in fields if b.target.id not in own], found.comments


def with_options(f, fields):
    "A function whose options are spelled out."
    if not fields:
        return f
    given = ast.arguments(**{k: getattr(f.args, k) for k in f.args._fields})
    given.kwarg = None
    given.kwonlyargs = [*(ast.arg(b.target.id, b.annotation) for b in fields), *given.kwonlyargs]
    given.kw_defaults = [*(b.value for b in fields), *given.kw_defaults]
    return ast.FunctionDef(f.name, given, f.body, [], f.returns, lineno=1)


def call(f, name):
    "A definition as it is called, in lines that fit."
    bare = ast.parse(ast.unparse(ast.FunctionDef(f.name, f.args, [ast.Pass()], [], lineno=1)))
    args = bare.body[0].args
    for a in [*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg]:
        if a is not None:
            a.annotation = None
    said = [p for p in split(ast.unparse(args)) if p not in ("self", "cls")]
    whole = f"{name}({', '.join(said)})"
    if len(whole) <= WIDTH:
        return whole
    return f"{name}(\n{textwrap.fill(', '.join(said), WIDTH - 4, **INDENT)})"


INDENT = {
    "initial_indent": "    ",
    "subsequent_indent": "    ",
    "break_long_words": False,
    "break_on_hyphens": False,
}


def split(text):
    "Arguments at the commas that stand in no bracket and no string."
    parts, depth, quote = [""], 0, ""
    for c in text:
        if quote:
            quote = "" if c == quote else quote
        elif c in "'\"":
            quote = c
        depth += (c in "([{") - (c in ")]}")
        if c == "," and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += c
    return [p.strip() for p in parts if p.strip()]


def parameter_rows(f, comments, root=None):
    "A row for each parameter and one for what is returned."
    given, lines = defaults(f), package.ends(f)
    fields, words = options_of(root, f)
    for p in package.parameters(f):
        if fields and p is f.args.kwarg:
            for b in fields:
                said = cell(words.get(b.end_lineno))
                yield [f"`{b.target.id}`", kind(b.annotation), code(b.value), said]
            continue
        default = code(given[p.arg]) if p.arg in given else ""
        yield [f"`{p.arg}`", kind(p.annotation), default, cell(comments.get(lines[p.arg]))]
    end = f.returns.end_lineno if f.returns else f.body[0].lineno - 1
    what = "" if end in lines.values() else comments.get(end)
    if f.returns is not None and not (isinstance(f.returns, ast.Constant) and not f.returns.value):
        yield ["*returns*", kind(f.returns), "", cell(what)]


def of_function(f, comments, name, root=None):
    rows = list(parameter_rows(f, comments, root))
    spelled = with_options(f, options_of(root, f)[0])
    return [
        f"```python\n{call(spelled, name)}\n```",
        table(["parameter", "type", "default", "what it is"], rows),
    ]


def methods(node):
    "The public methods and properties that stand in a class."
    return [f for f in node.body if isinstance(f, ast.FunctionDef) and f.name[0] != "_"]


def attached(root, name):
    "(method, module, function) that later chapters give to a class: `Result.plot = plot`."
    for module in package.chapters(root):
        path = root / package.file_of(module)
        for n in package.module_source(path)[0].body if path.exists() else ():
            for target, value in assignments(n):
                if ast.unparse(target).startswith(f"{name}.") and isinstance(value, ast.Name):
                    yield target.attr, module, value.id


def assignments(node):
    "(target, value) of an assignment, of each of several in a line."
    if not isinstance(node, ast.Assign):
        return
    for target in node.targets:
        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            pairs = zip(target.elts, node.value.elts)
        else:
            pairs = [(target, node.value)]
        yield from ((t, v) for t, v in pairs if isinstance(t, ast.Attribute))


def of_class(root, node, comments):
    "Fields, then methods, those that later chapters add included."
    fields = [b for b in node.body if isinstance(b, ast.AnnAssign)]
    rows = [
        [f"`{b.target.id}`", kind(b.annotation), cell(comments.get(b.end_lineno))] for b in fields
    ]
    yield table(["field", "type", "what it is"], rows)
    own = [[f"`{f.name}`", cell(ast.get_docstring(f))] for f in methods(node)]
    for method, module, name in attached(root, node.name):
        other = package.described(root, name, module)
        doc = ast.get_docstring(other.node) if isinstance(other.node, ast.FunctionDef) else ""
        link = f"[`{method}`]({other.chapter.name})" if other.chapter else f"`{method}`"
        own.append([link, cell(doc)])
    yield table(["method", "what it does"], own)


def markdown(root, module, name, level=3):
    "The reference of a name of a module as Markdown, or None where it is defined otherwise."
    first, _, rest = name.partition(".")
    found = package.described(Path(root), first, module)
    node = found.node
    if rest:
        node = next((f for f in getattr(node, "body", []) if getattr(f, "name", "") == rest), None)
    if not isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return None
    up = "../" * (module.count(".") + 1)
    file = package.file_of(module)
    source = f'[source]({up}{file}){{style="float:right; font-size:smaller"}}'
    parts = [f"---\n\n{source}\n\n{'#' * level} {name}", f"*{cell(ast.get_docstring(node))}*"]
    if isinstance(node, ast.ClassDef):
        parts += of_class(Path(root), node, found.comments)
    else:
        parts += of_function(node, found.comments, name, root)
    if not rest and (used := backlinks.links(Path(root), module, name, module.split(".")[0])):
        parts.append(f"*Used in* {used}.")
    return "\n\n".join(p for p in parts if p)
