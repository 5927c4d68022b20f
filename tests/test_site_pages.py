"The built pages: nbdev's preprocessing, pandoc, and what Chromium sees of them."

import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest

root = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(root / ".ci"))
from sitecheck import backlinks, browser, build, convert, processing, reference  # noqa: E402

spec = importlib.util.spec_from_file_location("small_site", root / "tests/test_site.py")
spec.loader.exec_module(parts := importlib.util.module_from_spec(spec))
small = parts.small
needs_pandoc = pytest.mark.skipif(
    importlib.util.find_spec("pypandoc") is None, reason="pandoc comes with the extra dev"
)
needs_browser = pytest.mark.skipif(browser.chromium() is None, reason="no Chromium on the path")


@pytest.mark.parametrize(
    "source, said",
    [
        ("import os\nfrom pathlib import Path", False),
        ("x = 1", False),
        ("import json\njson.dumps(1)", True),
        ("def f():\n    import json\n    return json", True),
        ("with open('x') as f: import json", True),
        ("%timeit import json", False),
    ],
)
def test_imports_beside_work_are_told_apart(source, said):
    assert processing.mixed(source) is said


def test_a_cell_that_mixes_is_a_fault_of_the_sources(small):
    parts.add_cell(
        "nbs/topology/10_sums.ipynb", parts.code("import json\njson.dumps(add([1], 2))")
    )(small)
    parts.site.faults(small, ())
    found = list(processing.check_imports(small))
    assert len(found) == 1 and "nbs/topology/10_sums.ipynb, cell 7" in found[0]


def test_the_reference_has_a_row_for_each_parameter_and_the_source(small):
    text = reference.markdown(small, "topology.sums", "add")
    assert "### add" in text and "*The sum.*" in text and "add(a, b=0)" in text
    assert "| `b` | `int` | `0` | what is added |" in text
    assert "| *returns* | `np.ndarray` |  | (n,) |" in text
    assert (
        "(../../featent/topology/sums.py)" in text
        and reference.markdown(small, "topology.sums", "none") is None
    )


def test_the_reference_links_to_the_pages_that_use_a_name(small):
    text = reference.markdown(small, "topology.sums", "add")
    assert text.endswith("*Used in* [sums](../index.ipynb).")
    stored = (small / "nbs/api.ipynb").read_text()
    assert "[sums](index.ipynb)" in stored and "| used in |" in stored
    own = "from featent.topology.sums import LIMIT"
    parts.add_cell("nbs/experiments/one.ipynb", parts.code(own))(small)
    parts.site.faults(small, ())
    found = backlinks.uses(small)["topology.sums", "LIMIT"]
    assert [p.name for p in found] == ["one.ipynb"]


@pytest.mark.parametrize(
    "source, taken",
    [
        ("fe.add([1])", [("topology.sums", "add")]),
        ("fe.topology.sums.other(1)", [("topology.sums", "other")]),
        ("from featent import add", [("topology.sums", "add")]),
        ("from featent.studies.zoo import a, b", [("studies.zoo", "a"), ("studies.zoo", "b")]),
        ("%time fe.add([1])\nnumpy.add(1)", []),
        ("no python", []),
    ],
)
def test_what_a_cell_takes_from_the_package(source, taken):
    found = list(backlinks.named(source, {"add": "topology.sums"}))
    assert set(taken) <= set(found) and bool(found) == bool(taken)


def test_an_experiment_is_built_with_its_verdict_figure_and_table_first(small):
    book = small / "nbs/experiments/one.ipynb"
    table, figure = parts.shown(text_html="<table></table>"), parts.shown(image_png="")
    cells = [
        parts.md("# one\n\n> An experiment"),
        parts.md("**In short.** Yes."),
        parts.md("Long reasons."),
        parts.code("out = 'x'"),
        parts.code("table", table),
        parts.code('#| fig-alt: "A line."\nfigure', figure),
    ]
    for cell, tag in zip(cells[3:], ("parameters", "lead", "lead")):
        cell["metadata"] = {"tags": [tag]}
    parts.write(book, *cells)
    made, fault = processing.process(small, book)
    assert fault is None
    at = next(i for i, c in enumerate(made.cells) if "**In short.**" in c.source)
    first, second, how, why, settings = made.cells[at + 1 : at + 6]
    assert "image/png" in first.outputs[0].data and "A line." in first.source
    assert "text/html" in second.outputs[0].data and "echo: false" in second.source
    assert (how.source, why.source) == ("## Why, and how", "Long reasons.")
    assert "code-fold: true" in settings.source and "The parameters" in settings.source


def test_the_reference_of_a_class_has_fields_and_methods_also_later_ones(small):
    module = parts.MODULE + (
        "\nclass Box:\n    'A box.'\n    size: int  # cells on a side\n\n"
        "    def open(self):\n        'Look in.'\n\nBox.sum = add\n"
    )
    (small / "featent/topology/sums.py").write_text(module)
    parts.site.faults(small, ())
    text = reference.markdown(small, "topology.sums", "Box")
    assert "| `size` | `int` | cells on a side |" in text and "| `open` | Look in. |" in text
    assert "[`sum`](10_sums.ipynb) | The sum. |" in text


def test_a_long_call_is_broken_at_its_arguments_and_fits():
    import ast

    names = ", ".join(f"parameter_{i}=(0, 'a, b')" for i in range(9))
    text = reference.call(ast.parse(f"def f({names}): pass").body[0], "f")
    assert max(map(len, text.split("\n"))) <= reference.WIDTH
    assert ast.dump(ast.parse(text)) == ast.dump(ast.parse(f"f({names})"))


def test_pictures_get_their_words_from_fig_alt_alone():
    assert convert.alternative('![a](x.png){fig-alt="b"}') == "![b](x.png)"
    assert convert.alternative("![a](x.png)") == "![](x.png)"


def test_widgets_of_a_page_that_is_gone_disturb_no_other(small, tmp_path, monkeypatch):
    from ipywidgets import IntSlider
    from ipywidgets.widgets import widget

    left = IntSlider()
    left.comm = None
    monkeypatch.setitem(widget._instances, "left", left)
    parts.site.faults(small, ())
    book, fault = processing.process(small, small / "nbs/topology/10_sums.ipynb")
    assert fault is None and "widgets" not in book.metadata


@needs_pandoc
def test_a_page_that_nbdev_cannot_prepare_is_named_with_its_cell(small, tmp_path):
    parts.add_cell("nbs/topology/10_sums.ipynb", parts.code("import json\njson.dumps(nobody)"))(
        small
    )
    found = build.by_pandoc(small, tmp_path / "html")
    assert len(found) == 1 and found[0].startswith(
        "nbs/topology/10_sums.ipynb: fails while nbdev prepares"
    )
    assert "NameError" in found[0] or "nobody" in found[0]


@needs_pandoc
@needs_browser
def test_the_small_site_is_built_and_nothing_is_wrong_with_it(small, tmp_path):
    folder = tmp_path / "html"
    picture = (root / "nbs/images/training_fashion.png").read_bytes()
    (small / "nbs/images/sum.png").write_bytes(picture)
    for name in ("nbs/images/favicon.svg", "nbs/offline.scss"):
        (small / name).write_text((root / name).read_text())
    assert build.by_pandoc(small, folder) == []
    page = (folder / "topology/sums.html").read_text()
    source = "featent/topology/sums.py"
    assert f'href="../{source}"' in page and (folder / source).exists()
    assert 'href="topology/sums.html#what-is-a-sum"' in (folder / "index.html").read_text()
    assert browser.look(folder) == []


BODY = """<!DOCTYPE html><html><head><meta name="viewport" content="width=device-width">
<link rel="icon" href="data:,"><style>{style}</style></head>
<body><main><h1>t</h1><h2 id="a">A</h2>{body}</main>
<nav id="TOC"><a href="#a">A</a>{listed}</nav></body></html>"""
DOT = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="
COLUMN = """main {width: 90ch; font: 14px monospace}
@media (max-width: 900px) {main {width: auto}}"""
SEEN = {
    "nothing": ("<p>words</p>", "", "", None),
    "a picture": (f'<img src="{DOT}" alt="a dot">', "", "", None),
    "a silent picture": (f'<img src="{DOT}" alt="">', "", "", "has no alternative text"),
    "a lost picture": ('<img src="x.png" alt="x">', "", "", "x.png, which is not there"),
    "a script of a CDN": (
        '<script src="https://cdn.example.org/a.js"></script>',
        "",
        "",
        "asks for https://cdn.example.org/a.js",
    ),
    "main": ("<p>a __main__.Result</p>", "", "", "speaks of __main__"),
    "a traceback": ("<pre>Traceback (most recent call last):</pre>", "", "", "a traceback"),
    "a heading not listed": ('<h2 id="b">B</h2>', "", "", "'B' is not in the list"),
    "a list too long": ("", "", '<a href="#z">Z</a>', "leads to 'z', which is no heading"),
    "two anchors": ('<p id="c"></p><p id="c"></p>', "", "", "'c' stands twice"),
    "a wide page": ('<p style="width:600px">x</p>', "", "", "sideways: 'the page"),
    "a wide table": (
        '<table style="display:block;overflow-x:auto;max-width:100%"><tr><td>'
        f"{'x' * 200}</td></tr></table>",
        "",
        "",
        None,
    ),
    "a box that scrolls": (
        f'<div style="overflow-x:auto">{"x" * 200}</div>',
        "",
        "",
        "sideways: '<div>",
    ),
    "white chips in the dark": (
        "<p><code>x</code></p>",
        "code {background: #eee; color: #111}"
        "@media (prefers-color-scheme: dark) {body {background: #222; color: #fff}}",
        "",
        "dark: <code> x: its ground stands out",
    ),
    "gray on gray": ("<p style='color:#999'>x</p>", "", "", "light: <p> x: contrast 2.8"),
}


@needs_browser
def test_every_fault_of_a_built_page_is_seen_and_nothing_else(tmp_path):
    for name, (body, style, listed, _) in SEEN.items():
        text = BODY.format(body=body, style=style, listed=listed)
        (tmp_path / f"{name}.html").write_text(text)
    (tmp_path / "start").mkdir()
    for name, line in (("fits", "x" * 80), ("too wide", "x" * 300)):
        code = f"<pre style='white-space:pre-wrap;overflow-wrap:anywhere'>{line}</pre>"
        text = BODY.format(body=code, style=COLUMN, listed="")
        (tmp_path / f"start/{name}.html").write_text(text)
    found = browser.look(tmp_path)
    for name, (_, _, _, message) in SEEN.items():
        mine = [line for line in found if line.startswith(f"{name}.html")]
        assert mine == [] if message is None else any(message in x for x in mine), (name, mine)
    assert not [x for x in found if x.startswith("start/fits")]
    assert [x for x in found if x.startswith("start/too wide") and "wider than its column" in x]


def test_without_a_browser_continuous_integration_fails(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(browser, "chromium", lambda: None)
    monkeypatch.setenv("CI", "true")
    assert "no Chromium" in browser.look(tmp_path)[0]
    monkeypatch.delenv("CI")
    assert browser.look(tmp_path) == [] and "no Chromium" in capsys.readouterr().out


def test_stored_options_of_cells_are_read_as_quarto_reads_them():
    said, code = convert.options('#| echo: false\n#| fig-alt: "A: b"\nx = 1\n')
    assert said == {"echo": False, "fig-alt": "A: b"} and code == "x = 1"
    assert json.dumps(convert.options("x\n#| echo: false")[0]) == "{}"


def spoken(book):
    "What the cells and the stored outputs of a notebook say."
    for c in book["cells"]:
        yield "".join(c["source"])
        for o in c.get("outputs", []):
            yield "".join(o.get("text", []))
            yield from ("".join(v) for k, v in o.get("data", {}).items() if k.startswith("text/"))


EXPERIMENTS = sorted((root / "nbs/experiments").glob("*.ipynb"))


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda p: p.stem)
def test_an_experiment_begins_with_its_verdict_and_takes_its_numbers_from_the_page(path):
    said = list(spoken(json.loads(path.read_text(encoding="utf-8"))))
    verdict = next(text for text in said if text.startswith("**In short"))
    assert said.index(verdict) == 1
    page = "\n".join(text for text in said if text != verdict).replace("\u2212", "-")
    for number in re.findall(r"\d[\d,]*(?:\.\d+)?%?", verdict):
        number = number.rstrip(",")
        assert re.search(rf"(?<![\d.]){re.escape(number)}", page), number
