"The notebooks, the package, the site's sidebar and the README tell one story."

import ast
import json
import re
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

import featent as fe

root = Path(__file__).parent.parent
sys.path.insert(0, str(root / ".ci"))
import norms  # noqa: E402
import rooms  # noqa: E402

notebooks = sorted(
    p
    for p in (root / "nbs").rglob("*.ipynb")
    if not any(
        part.startswith((".", "_", "featent-")) for part in p.relative_to(root / "nbs").parts
    )
)


def cells(path, kind):
    return [
        c for c in json.loads(path.read_text(encoding="utf-8"))["cells"] if c["cell_type"] == kind
    ]


@pytest.mark.parametrize("path", notebooks, ids=lambda p: p.name)
def test_title_and_description(path):
    lines = [line for line in "".join(cells(path, "markdown")[0]["source"]).splitlines() if line]
    assert lines[0].startswith("# ") and lines[1].startswith("> ") and len(lines) == 2


@pytest.mark.parametrize("path", notebooks, ids=lambda p: p.name)
def test_stored_outputs_are_clean(path):
    outputs = [o for c in cells(path, "code") for o in c["outputs"]]
    assert not any(o["output_type"] == "error" or o.get("name") == "stderr" for o in outputs)
    text = json.dumps(outputs)
    assert (
        not re.search(r"/(home|root|work|tmp)/|widget-view", text) and path.stat().st_size < 400_000
    )


@pytest.mark.parametrize(
    "path", sorted((root / "nbs/experiments").glob("*.ipynb")), ids=lambda p: p.name
)
def test_experiments_have_parameters_then_validation(path):
    tags = [c["metadata"].get("tags", []) for c in cells(path, "code")]
    assert (
        tags[0] == ["parameters"]
        and tags[1] == ["validate"]
        and sum("parameters" in t for t in tags) == 1
    )
    for line in "".join(cells(path, "code")[0]["source"]).splitlines():
        assert re.fullmatch(r"\w+: (int|float|str|bool) = \S.*  # \S.*", line), line


def test_the_sidebar_lists_every_page():
    listed = set(re.findall(r"- (\S+\.ipynb)", (root / "_quarto.yml").read_text()))
    assert listed == {p.relative_to(root / "nbs").as_posix() for p in notebooks}
    assert (root / "nbs/_quarto.yml").resolve() == root / "_quarto.yml"


def test_the_readme_is_the_front_page():
    before = (root / "README.md").read_text(encoding="utf-8")
    subprocess.run([sys.executable, root / ".ci/readme.py"], check=True)
    assert (root / "README.md").read_text(encoding="utf-8") == before
    for image in re.findall(r"!\[.*?\]\((.*?)\)", before):
        assert (root / image).exists(), image


def chapters(room):
    "Names of a room's modules, in the order of their notebooks."
    books = (p for p in notebooks if p.parent == root / "nbs" / room)
    return [re.sub(r"^\d+_", "", p.stem) for p in sorted(books)]


ORDER = [f"{room}.{name}" for room in rooms.ROOMS for name in chapters(room)]


def imported(path, nodes):
    "The chapters that some statements of a module import."
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            base = path.relative_to(root).with_suffix("").parts[: -node.level or None]
            module = ".".join([*base, node.module or ""] if node.level else [node.module])
            found = [module, *(f"{module.rstrip('.')}.{a.name}" for a in node.names)]
            yield from (m.removeprefix("featent.") for m in found)
        elif isinstance(node, ast.Import):
            yield from (a.name.removeprefix("featent.") for a in node.names)


@pytest.mark.parametrize("room", sorted(rooms.ROOMS))
def test_every_chapter_has_a_number_of_its_own_and_numbers_tell_the_order(room):
    books = [p.stem for p in notebooks if p.parent == root / "nbs" / room]
    numbers = [int(stem.partition("_")[0]) for stem in books]
    assert len(set(numbers)) == len(numbers), sorted(books)
    assert chapters(room) == [re.sub(r"^\d+_", "", stem) for _, stem in sorted(zip(numbers, books))]


METHODS = {"assessment.result"}  # its methods lead to chapters that come after it


@pytest.mark.parametrize("chapter", ORDER)
def test_imports_go_down(chapter):
    "A module imports only from rooms below, and from earlier chapters of its own."
    path = root / f"featent/{chapter.replace('.', '/')}.py"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if chapter in METHODS else ast.walk(tree)
    used = set(imported(path, nodes)) & set(ORDER)
    assert all(ORDER.index(u) < ORDER.index(chapter) for u in used), used
    room, floors = chapter.partition(".")[0], list(rooms.ROOMS)
    every = set(imported(path, ast.walk(tree))) & set(ORDER)
    assert all(floors.index(u.partition(".")[0]) <= floors.index(room) for u in every)


def test_every_module_is_a_chapter_of_a_room():
    modules = {p.relative_to(root / "featent") for p in (root / "featent").rglob("*.py")}
    named = {p.with_suffix("").as_posix().replace("/", ".") for p in modules if p.name[0] != "_"}
    assert named == set(ORDER)
    for room in rooms.ROOMS:
        assert (root / f"featent/{room}/__init__.pyi").read_text() == rooms.stub(room)


def test_no_verb_bears_the_name_of_a_room_or_a_chapter():
    modules = {name for chapter in ORDER for name in chapter.split(".")}
    assert not modules & {name for name in fe.__all__ if name not in rooms.ROOMS}


HEAVY = {"torch", "numba", "numpy", "pandas", "matplotlib", "ipywidgets", "papermill"}
QUICK = ["--help", "run --list", "run depth --parameters", "sweep --help", "run dept", "rnu"]


@pytest.mark.parametrize("words", QUICK)
def test_a_word_is_answered_without_loading_what_is_heavy(words, tmp_path):
    code = (
        "import contextlib, io, sys\n"
        "from featent.commands.cli import main\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n"
        "    with contextlib.suppress(SystemExit):\n"
        "        main(sys.argv[1:])\n"
        "print(*sys.modules)"
    )
    command = [sys.executable, "-c", code, *words.split()]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.split()), done.stdout


def test_the_package_costs_nothing_until_a_name_is_used():
    code = "import sys, featent as fe; print(*dir(fe)); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names, modules = (line.split() for line in done.stdout.splitlines())
    assert {"assess", "images", "studies"} <= set(names)
    assert not HEAVY & set(modules) and not [m for m in modules if m.startswith("featent.")]


def test_norms_only_get_better():
    check = [sys.executable, root / ".ci/norms.py", "--check"]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


PROSE = """# A heading

Two words, `a piece of code` and $x^2$.

| a | table |

```
no words
```
"""


def test_words_of_prose_are_those_of_sentences():
    assert norms.n_words(PROSE) == 5
    assert norms.n_words("![](a.png){fig-alt=\"words\"}") == 0
    assert norms.n_words("See [the chapter](../data/10_pictures.ipynb).") == 3


def test_a_chapter_lacks_two_words_for_each_exported_line(tmp_path):
    code = "#| export\ndef f():\n\n    return 1"
    kinds = ("markdown", PROSE), ("code", code), ("code", "f()"), ("code", code)
    book = {"cells": [{"cell_type": kind, "source": [text]} for kind, text in kinds]}
    path = tmp_path / "10_f.ipynb"
    path.write_text(json.dumps(book))
    assert [kind for kind, *_ in norms.faults(path)] == ["prose"] * 3


def test_public_names_are_there_and_documented():
    for name in fe.__all__:
        assert getattr(fe, name).__doc__, name
    assert len(fe.__all__) - len(rooms.ROOMS) < 40
    assert len(set(fe.__all__)) == len(fe.__all__)


def test_version_has_one_source():
    config = ConfigParser(delimiters=["="])
    config.read(root / "settings.ini")
    assert fe.__version__ == config["DEFAULT"]["version"]
