"Commands and Python in texts are such as the package takes."

import ast
import contextlib
import functools
import importlib
import io
import re
import shlex
import sys
import types
from pathlib import Path

from .package import public
from .sources import blocks, documents, pages, texts, where


@functools.lru_cache(None)
def command_line(root):
    "The package's parser of commands and its reader of parameters, and no more of the package."
    before = {k: v for k, v in sys.modules.items() if k == "featent" or k.startswith("featent.")}
    for k in before:
        del sys.modules[k]
    try:
        for name in ("featent", "featent.commands"):
            sys.modules[name] = package = types.ModuleType(name)
            package.__path__ = [str(root / name.replace(".", "/"))]
            package.__file__ = str(root / name.replace(".", "/") / "__init__.py")
        parser = importlib.import_module("featent.commands.arguments").command_parser()
        return parser, importlib.import_module("featent.commands.experiments")
    finally:
        for k in [k for k in sys.modules if k == "featent" or k.startswith("featent.")]:
            del sys.modules[k]
        sys.modules.update(before)


def commands(code):
    "The featent commands of a shell block, as words; what the shell would fill in counts as 0."
    code = re.sub(r"\\\n", " ", code)
    code = re.sub(r"(^|\s)#[^\n]*", r"\1", re.sub(r"\$\{?\w+\}?", "0", code))
    lexer = shlex.shlex(code, posix=True, punctuation_chars=";&|()\n")
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t\r", True, ""
    words = []
    for word in [*lexer, "\n"]:
        if set(word) <= set(";&|()\n") and word or word in ("do", "then"):
            if words and Path(words[0]).name == "featent":
                yield words[1:]
            words = []
        else:
            words.append(word)


def wrong(root, words):
    "What is wrong with the words of a featent command, or None."
    parser, experiments = command_line(root)
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            args = parser.parse_args(words)
    except SystemExit as e:
        return None if not e.code else " ".join(said.getvalue().split("error:")[-1].split())
    name = getattr(args, "experiment", None)
    if not name or name.endswith(".ipynb"):
        return None
    book = root / f"nbs/experiments/{name}.ipynb"
    if not book.exists():
        return f"there is no experiment {name!r}"
    try:
        (experiments.read_grid if args.do == "run_sweep" else experiments.read_parameters)(
            book, [(k, v) for k, *v in args.p] if args.do == "run_sweep" else args.p
        )
    except ValueError as e:
        return str(e)


def unknown(code, known):
    "(line, what is wrong) of a block of Python that uses featent."
    try:
        nodes = list(ast.walk(ast.parse(code)))
    except SyntaxError as e:
        return [((e.lineno or 1), f"not Python: {e.msg}")]
    of = [n for n in nodes if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name)]
    of = [n for n in of if n.value.id in ("fe", "featent") and n.attr not in known]
    return [(n.lineno, f"{n.value.id}.{n.attr} is not a public name") for n in of]


def check_code(root):
    "Commands and Python in texts are such as the package takes."
    known = {n.name for n in public(root)} | {"__version__"}
    known |= {p.stem for p in (root / "featent").glob("*.py")}
    for p in [*pages(root), *documents(root)]:
        name = p.relative_to(root)
        for number, text in texts(p):
            for line, code in blocks(text, "sh", "bash", "shell"):
                for words in commands(code):
                    if fault := wrong(root, words):
                        said = f"`featent {' '.join(words)}`: {fault}"
                        yield f"{where(name, number, line)}: {said}"
            for line, code in blocks(text, "python", "py"):
                for at, fault in unknown(code, known):
                    yield f"{where(name, number, line + at - 1)}: {fault}"
