"""Counts what makes a module or its chapter hard to read, and lets the counts only fall.

python .ci/norms.py [PART ...]   every place that is counted, in the files whose path has PART
python .ci/norms.py --check      nothing may stand above the table in .ci/norms.json
python .ci/norms.py --write      lower the table to what is there now
"""

import ast
import io
import json
import re
import sys
import tokenize
from pathlib import Path

from rooms import ROOMS

ROOT = Path(__file__).parent.parent
TABLE = ROOT / ".ci/norms.json"
EXEMPT = {"featent/topology/kernels.py": ("body", "module", "parameters")}  # compiled loops
GOALS = {"columns": 100, "tokens": 40, "body": 200, "parameters": 7, "module": 450}
WORDS = 2  # of prose, for each exported line of a chapter
LAYOUT = {
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.COMMENT,
    tokenize.ENDMARKER,
}


def code_tokens(text):
    "All tokens but layout and comments."
    found = tokenize.generate_tokens(io.StringIO(text).readline)
    return [t for t in found if t.type not in LAYOUT]


def body_size(function, tokens):
    "Tokens of a function's body, without its docstring."
    body = function.body[1:] if ast.get_docstring(function) else function.body
    if not body:
        return 0
    first, last = body[0].lineno, body[-1].end_lineno
    return sum(first <= t.start[0] <= last for t in tokens)


def n_parameters(function):
    "Parameters; of a public function those that have no default."
    given = function.args
    every = [*given.posonlyargs, *given.args, *given.kwonlyargs]
    if function.name.startswith("_"):
        return len(every)
    optional = len(given.defaults) + sum(d is not None for d in given.kw_defaults)
    return len(every) - optional


def let_loop(node):
    "A loop over one value, in a tuple or a list of its own."
    return (
        isinstance(node, (ast.For, ast.comprehension))
        and isinstance(node.iter, (ast.Tuple, ast.List))
        and len(node.iter.elts) == 1
        and not isinstance(node.iter.elts[0], ast.Starred)
    )


def nested_ternary(node):
    "A conditional expression with another as one of its parts."
    if not isinstance(node, ast.IfExp):
        return False
    return any(isinstance(part, ast.IfExp) for part in (node.test, node.body, node.orelse))


def of_lines(text, tokens):
    "Lines that are too wide, or do too much."
    head = text.partition("\n# %% ..")[0].count("\n") + 1  # nbdev's: description and `__all__`
    for number, line in enumerate(text.splitlines(), 1):
        if len(line) > GOALS["columns"] and number > head and not line.startswith("# %%"):
            yield "columns", number, f"{len(line)} columns"
    per_line = {}
    for t in tokens:
        per_line[t.start[0]] = per_line.get(t.start[0], 0) + 1
    for number, n in per_line.items():
        if n > GOALS["tokens"]:
            yield "tokens", number, f"{n} tokens in a line"


def of_functions(tree, tokens):
    "Functions that are too long, or take too much."
    for node in ast.walk(tree):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if (n := body_size(node, tokens)) > GOALS["body"]:
            yield "body", node.lineno, f"{node.name}: {n} tokens"
        if (n := n_parameters(node)) > GOALS["parameters"]:
            yield "parameters", node.lineno, f"{node.name}: {n} parameters"


def of_statements(tree):
    "Private names of other modules, and expressions that hide a statement."
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.level or "featent" in (node.module or "")):
            for name in (a.name for a in node.names if a.name.startswith("_")):
                yield "private", node.lineno, f"{name} is another module's"
        if let_loop(node):
            yield "hidden", getattr(node, "lineno", node.iter.lineno), "a loop over one value"
        if nested_ternary(node):
            yield "hidden", node.lineno, "a ternary in a ternary"


def n_words(text):
    """Words of sentences in a Markdown text.

    Headings, tables, pictures and blocks of code have none; a piece of code or a formula is one.
    """
    text = re.sub(r"^(```|~~~).*?^\1", "", text, flags=re.M | re.S)
    text = re.sub(r"^\s*(#|\||!\[).*$", "", text, flags=re.M)
    text = re.sub(r"`[^`]*`|\$[^$\n]*\$", "code", text)
    text = re.sub(r"\]\([^)]*\)|<[^>]*>", "", text)  # addresses and tags
    return len(re.findall(r"\w[\w’'.-]*", text))


def n_exported(source):
    "Lines of a cell that go into the module."
    if not re.match(r"#\|\s*exporti?\b", source):
        return 0
    return sum(bool(line.strip()) and not line.startswith("#|") for line in source.splitlines())


def of_chapter(path):
    "One fault for each word of prose that a chapter lacks."
    book = json.loads(path.read_text(encoding="utf-8"))["cells"]
    texts = {kind: ["".join(c["source"]) for c in book if c["cell_type"] == kind] for kind in KINDS}
    words, lines = sum(map(n_words, texts["markdown"])), sum(map(n_exported, texts["code"]))
    said = f"{words} words of prose for {lines} exported lines"
    return [("prose", 1, said)] * max(0, WORDS * lines - words)


KINDS = "markdown", "code"


def faults(path):
    "(norm, line, words) of a module or a chapter, without what it is exempt from."
    if path.suffix == ".ipynb":
        return of_chapter(path)
    text = path.read_text(encoding="utf-8")
    tree, tokens = ast.parse(text), code_tokens(text)
    found = [*of_lines(text, tokens), *of_functions(tree, tokens), *of_statements(tree)]
    n_lines = len(text.splitlines())
    if n_lines > GOALS["module"]:
        found.append(("module", 1, f"{n_lines} lines"))
    free = EXEMPT.get(path.relative_to(ROOT).as_posix(), ())
    return [fault for fault in found if fault[0] not in free]


def modules():
    "The modules that are made from notebooks."
    every = sorted((ROOT / "featent").rglob("*.py"))
    return [p for p in every if not p.name.startswith("_")]


def chapters():
    "The notebooks that modules are made from."
    return [p for room in ROOMS for p in sorted((ROOT / "nbs" / room).glob("[0-9]*.ipynb"))]


def counts():
    "{module or chapter: {norm: number of faults}}, without zeros."
    table = {}
    for path in [*modules(), *chapters()]:
        kinds = [kind for kind, *_ in faults(path)]
        if kinds:
            name = path.relative_to(ROOT).as_posix()
            table[name] = {kind: kinds.count(kind) for kind in sorted(set(kinds))}
    return table


def lowered(now, table):
    "The table with every count that has fallen; without a table, what is there now."
    if table is None:
        return now
    limit = lambda module, kind: table.get(module, {}).get(kind, 0)
    kept = {m: {k: min(n, limit(m, k)) for k, n in kinds.items()} for m, kinds in now.items()}
    kept = {m: {k: n for k, n in kinds.items() if n} for m, kinds in kept.items()}
    return {m: kinds for m, kinds in kept.items() if kinds}


def above(now, table):
    "What stands above the table, in words."
    for module, kinds in now.items():
        for kind, n in kinds.items():
            limit = table.get(module, {}).get(kind, 0)
            if n > limit:
                yield f"{module}: {kind}: {n}, at most {limit} (python .ci/norms.py {module})"


def main(words):
    table = json.loads(TABLE.read_text(encoding="utf-8")) if TABLE.exists() else None
    if "--write" in words:
        new = lowered(counts(), table)
        TABLE.write_text(json.dumps(new, indent=1) + "\n", encoding="utf-8")
    elif "--check" in words:
        found = list(above(counts(), table or {}))
        sys.exit("\n".join(found) or 0)
    else:
        for path in [*modules(), *chapters()]:
            if not words or any(word in path.as_posix() for word in words):
                for kind, line, said in sorted(set(faults(path)), key=lambda f: f[1]):
                    print(f"{path.relative_to(ROOT)}:{line}: {kind}: {said}")


if __name__ == "__main__":
    main(sys.argv[1:])
