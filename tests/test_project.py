"The notebooks, the package, the site's sidebar and the README tell one story."

import json
import re
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

import featent as fe

root = Path(__file__).parent.parent
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


def test_imports_go_one_way():
    "A module imports only earlier chapters."
    order = [re.sub(r"^\d+_", "", p.stem) for p in notebooks if re.match(r"\d+_", p.name)]
    for name in order:
        text = (root / f"featent/{name}.py").read_text()
        used = re.findall(r"^from \.(\w+) import", text, re.M) + re.findall(
            r"^from \. import (\w+)", text, re.M
        )
        assert used or name in (
            "images",
            "files",
            "checkpoints",
            "listening",
            "kernels",
            "entropy",
            "runs",
            "health",
        ), name
        assert all(order.index(u) < order.index(name) for u in used), (name, used)


def test_public_names_are_there_and_documented():
    for name in fe.__all__:
        assert getattr(fe, name).__doc__, name
    assert len(set(fe.__all__)) == len(fe.__all__)


def test_version_has_one_source():
    config = ConfigParser(delimiters=["="])
    config.read(root / "settings.ini")
    assert fe.__version__ == config["DEFAULT"]["version"]
