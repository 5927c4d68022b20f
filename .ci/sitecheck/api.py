"The page with every public name, made from the package as it is now."

import ast
import json
import re
from pathlib import Path

from . import backlinks
from .package import chapters, file_of, of_modules, public
from .sources import anchors, cells, defined, exported, outputs


def signature(f):
    "A call in one line: all parameters, or the required ones and an ellipsis."
    a, given = f.args, len(f.args.args) - len(f.args.defaults)
    every = [
        p.arg if i < given else f"{p.arg}={ast.unparse(a.defaults[i - given])}"
        for i, p in enumerate(a.args)
    ]
    every += ["*"] * bool(a.kwonlyargs and not a.vararg) + [
        p.arg if d is None else f"{p.arg}={ast.unparse(d)}"
        for p, d in zip(a.kwonlyargs, a.kw_defaults)
    ]
    short = every if len(", ".join(every)) <= 64 else [*every[:given], "…"]
    return f"{f.name}({', '.join(short)})"


def anchor_of(path, name):
    "The anchor of the heading under which a chapter exports a name."
    at = {n: a for a, n in anchors(path).items()}
    here = next(
        (
            c.number
            for c in cells(path)
            if c.kind == "code"
            and exported(c.source)
            and (name in defined(c.source) or re.search(rf"^{name}\b.*=", c.source, re.M))
        ),
        0,
    )
    return next((at[k] for k in sorted(at, reverse=True) if k < here), None)


def escape(text):
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*").replace("$", "\\$")


def row(root, n, prefix):
    "A name as a row of the table."
    anchor = anchor_of(n.chapter, n.name)
    call = prefix + (signature(n.node) if isinstance(n.node, ast.FunctionDef) else n.name)
    what = (
        ast.get_docstring(n.node)
        if isinstance(n.node, (ast.FunctionDef, ast.ClassDef))
        else n.comments.get(n.node.lineno) or n.comments.get(n.node.end_lineno)
    )
    page = n.chapter.relative_to(root / "nbs").as_posix()
    link = f"{page}#{anchor}" if anchor else page
    first = (what or "a constant").strip().split("\n")[0]
    file = file_of(n.module)
    source = f"[{Path(file).name}](../{file})"
    shown = call.replace("|", "\\|")
    used = backlinks.links(root, n.module, n.name, most=2)
    return f"| [`{shown}`]({link}) | {escape(first)} | {used} | {source} |"


def api(root):
    "All public names as Markdown: a section for each chapter, a row for each name."
    root, rows = Path(root).resolve(), {}
    for prefix, names in (("fe.", public(root)), ("", of_modules(root))):
        for n in names:
            if n.chapter and n.node:
                rows.setdefault(n.module, []).append(row(root, n, prefix))
    order = {m: (place(m), chapters(root)[m].name) for m in rows}
    parts = [part(root, m, rows[m]) for m in sorted(rows, key=order.get)]
    return "\n\n".join(parts)


FLOORS = "data topology statistics assessment studies explorers commands tools".split()


def place(module):
    "The number of a module's room, as a reader meets them."
    room = module.partition(".")[0]
    return FLOORS.index(room) if room in FLOORS else len(FLOORS)


def part(root, module, rows):
    "The section of a chapter."
    first = cells(chapters(root)[module])[0].source.splitlines()
    about = next(line[2:] for line in first if line.startswith("> "))
    head = "| call | what it does | used in | source |\n|------|------|------|---|\n"
    return f"## {module}\n\n{about}\n\n{head}" + "\n".join(rows)


def check_api(root):
    "The API page lists every public name, as the package has it now."
    path = root / "nbs/api.ipynb"
    if not path.exists():
        yield "nbs/api.ipynb: the API page is missing"
        return
    stored, now = (
        "\n\n".join(t for c in cells(path) for t in outputs(c, "text/markdown")).splitlines(),
        api(root).splitlines(),
    )
    for line in [x for x in now if x not in stored][:3]:
        yield f"nbs/api.ipynb: lacks {line[:90]!r}: run python .ci/site.py --write"
    for line in [x for x in stored if x and x not in now][:3]:
        said = f"nbs/api.ipynb: {line[:90]!r} is not of today's package"
        yield f"{said}: run python .ci/site.py --write"


def write_api(root):
    "Put today's table into the API page."
    path = root / "nbs/api.ipynb"
    book = json.loads(path.read_text(encoding="utf-8"))
    for c in book["cells"]:
        for o in c.get("outputs", []):
            if "text/markdown" in o.get("data", {}):
                o["data"]["text/markdown"] = api(root).splitlines(keepends=True)
    path.write_text(json.dumps(book, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    cells.cache_clear(), anchors.cache_clear()
