"The check of the site finds nothing in the repository, and every fault in small broken copies."

import importlib.util
import json
import shutil
from pathlib import Path

import pytest

root = Path(__file__).resolve().parent.parent
spec = importlib.util.spec_from_file_location("site_check", root / ".ci/site.py")
spec.loader.exec_module(site := importlib.util.module_from_spec(spec))

MODULE = '''"""Adding."""

# %% auto #0
__all__ = ['LIMIT', 'add', 'many']

# %% ../../nbs/topology/10_sums.ipynb #1
LIMIT = 9  # the largest sum

def add(
    a: "np.ndarray",  # (n,) float64
    b: int = 0,  # what is added
) -> "np.ndarray":  # (n,)
    "The sum."
    return _checked(a) + b

def many(
    values: list,  # numbers
) -> int:  # their sum
    "The sum of many."
    return sum(values)

def _checked(a):
    if len(a) == 0: raise ValueError("nothing to add")
    return a
'''
CLI = '''import argparse

def command_parser():
    parser = argparse.ArgumentParser(prog="featent")
    commands = parser.add_subparsers(required=True)
    run = commands.add_parser("run")
    run.add_argument("experiment")
    run.add_argument("-p", nargs=2, action="append", default=[])
    run.set_defaults(do=print)
    return parser
'''
RUNS = '''def read_parameters(path, pairs):
    for k, v in pairs:
        if k != "seed": raise ValueError(f"no parameter {k}")
'''
YAML = """project:
  type: website
format:
  html:
    theme:
      light: [cosmo, offline.scss]
      dark: [darkly, offline.scss]
    html-math-method: mathml
website:
  title: sums
  description: Adding
  search: true
  sidebar:
    contents:
      - index.ipynb
      - section: Book
        contents:
          - topology/10_sums.ipynb
          - api.ipynb
      - experiments/one.ipynb
      - references.ipynb
"""


def md(text):
    return {"cell_type": "markdown", "metadata": {}, "source": text}


def code(text, *outputs):
    return {
        "cell_type": "code",
        "metadata": {},
        "execution_count": None,
        "outputs": list(outputs),
        "source": text,
    }


def shown(**data):
    return {
        "output_type": "display_data",
        "metadata": {},
        "data": {k.replace("_", "/"): v for k, v in data.items()},
    }


def write(path, *cells):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        json.dumps({"cells": list(cells), "metadata": {}, "nbformat": 4, "nbformat_minor": 5}),
        encoding="utf-8",
    )


@pytest.fixture
def small(tmp_path):
    "A small project in which nothing is wrong."
    (tmp_path / "featent").mkdir()
    (tmp_path / ".ci").mkdir()
    for name, text in {
        "_quarto.yml": YAML,
        "nbs/offline.scss": "/*-- scss:defaults --*/\n$web-font-path: false !default;\n",
        "featent/topology/sums.py": MODULE,
        "featent/commands/arguments.py": CLI,
        "featent/commands/experiments.py": RUNS,
        "featent/__init__.pyi": "from .topology.sums import LIMIT, add\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "nbs/_quarto.yml").symlink_to("../_quarto.yml")
    shutil.copy(root / ".ci/readme.py", tmp_path / ".ci/readme.py")
    export = MODULE.split("#1\n")[1]
    write(
        tmp_path / "nbs/index.ipynb",
        md("# sums\n\n> Adding"),
        md(
            "## More\n\nSee [add](topology/10_sums.ipynb#what-is-a-sum), [above](#more) and "
            '![](images/sum.png){fig-alt="A sum."}.\n\n'
            "```sh\nfeatent run one -p seed $i && ls\n```\n\n"
            "```python\nimport featent as fe\nfe.add([1])\n```\n\n- a list"
        ),
    )
    write(
        tmp_path / "nbs/topology/10_sums.ipynb",
        md("# sums\n\n> Adding numbers"),
        code("#| default_exp topology.sums"),
        md("## What is *a sum*?\n\nAs in arXiv:2103.09716."),
        code("#| export\n" + export),
        code('#| fig-alt: "A sum: a dot."\nadd([1], 2), LIMIT', shown(image_png="")),
        code("with expect_fail(ValueError): add([])"),
    )
    write(tmp_path / "nbs/experiments/one.ipynb", md("# one\n\n> An experiment"))
    write(
        tmp_path / "nbs/references.ipynb",
        md("# References\n\n> Papers"),
        md(
            "- A paper. [arXiv:2103.09716](https://arxiv.org/abs/2103.09716)\n"
            "- An old one. In print only."
        ),
    )
    write(
        tmp_path / "nbs/api.ipynb", md("# API\n\n> Names"), code("api()", shown(text_markdown=""))
    )
    (tmp_path / "nbs/images").mkdir()
    (tmp_path / "nbs/images/sum.png").write_bytes(b"png")
    site.faults(tmp_path, ())
    site.write_api(tmp_path)
    readme = importlib.util.spec_from_file_location("small_readme", tmp_path / ".ci/readme.py")
    readme.loader.exec_module(module := importlib.util.module_from_spec(readme))
    (tmp_path / "README.md").write_text(module.page(tmp_path / "nbs/index.ipynb"))
    return tmp_path


def test_the_repository():
    assert site.faults(root) == []


def test_nothing_is_wrong_with_the_small_one(small):
    assert site.faults(small) == []
    assert "](nbs/topology/10_sums.ipynb#what-is-a-sum)" in (small / "README.md").read_text()
    assert site.main([str(small), "--sources"]) == 0


def replace(name, old, new):
    def do(folder):
        text = (folder / name).read_text()
        assert old in text, old
        (folder / name).write_text(text.replace(old, new))

    return do


def add_cell(name, *cells):
    def do(folder):
        book = json.loads((folder / name).read_text())
        book["cells"] += cells
        (folder / name).write_text(json.dumps(book))

    return do


def text(words):
    return add_cell("nbs/experiments/one.ipynb", md(words))


Q, S, M = "_quarto.yml", "nbs/topology/10_sums.ipynb", "featent/topology/sums.py"
FAULTS = {
    "a tab in YAML": (replace(Q, "  type:", "\ttype:"), "_quarto.yml: not valid YAML"),
    "a key twice": (
        replace(Q, "  title: sums\n", "  title: sums\n  title: sum\n"),
        "the key 'title' stands twice",
    ),
    "a misspelt key": (
        replace(Q, "  search: true", "  search: true\n  page-navigaton: true"),
        "website > page-navigaton: not a key",
    ),
    "no search": (replace(Q, "search: true", "search: false"), "search must be true"),
    "another way of mathematics": (
        replace(Q, "mathml", "mathjax"),
        "html-math-method must be mathml",
    ),
    "an unknown theme": (replace(Q, "[darkly,", "[darkley,"), "unknown theme 'darkley'"),
    "no dark theme": (
        replace(Q, "      dark: [darkly, offline.scss]\n", ""),
        "one for light and one for dark",
    ),
    "a font from elsewhere": (
        replace(Q, "[cosmo, offline.scss]", "cosmo"),
        "cosmo loads its font from elsewhere",
    ),
    "a style that is missing": (
        replace(Q, "[cosmo, offline.scss]", "[cosmo, off.scss]"),
        "there is no nbs/off.scss",
    ),
    "a style from a CDN": (
        replace(Q, "    html-math", "    css: https://cdn.org/a.css\n    html-math"),
        "css: https://cdn.org/a.css is loaded from elsewhere",
    ),
    "no link to the configuration": (
        lambda f: (f / "nbs/_quarto.yml").unlink(),
        "nbs/_quarto.yml: must be a link",
    ),
    "a sidebar entry without a page": (
        replace(Q, "- index.ipynb", "- index.ipynb\n      - start.ipynb"),
        "there is no nbs/start.ipynb",
    ),
    "a page twice": (
        replace(Q, "- index.ipynb", "- index.ipynb\n      - api.ipynb"),
        "api.ipynb stands 2 times",
    ),
    "a page that is not in the sidebar": (
        lambda f: write(f / "nbs/howto/x.ipynb", md("# x\n\n> y")),
        "nbs/howto/x.ipynb: not in the sidebar",
    ),
    "two pages of one name": (
        lambda f: (
            write(f / "nbs/topology/sums.ipynb", md("# x\n\n> y")),
            replace(Q, "- index.ipynb", "- index.ipynb\n      - topology/sums.ipynb")(f),
        ),
        "would both become topology/sums.html",
    ),
    "an empty section": (
        replace(Q, "      - references.ipynb", "      - references.ipynb\n      - section: Empty"),
        "section 'Empty' is empty",
    ),
    "no description": (
        replace("nbs/experiments/one.ipynb", "\\n\\n> An experiment", ""),
        "one.ipynb, cell 1: must be `# title` and `> description`",
    ),
    "a broken link": (
        text("[x](../00_sum.ipynb)"),
        "one.ipynb, cell 2, line 1: link to ../00_sum.ipynb: there is no such file",
    ),
    "a broken anchor": (
        text("words\n\n[x](../topology/10_sums.ipynb#what-is-sum)"),
        "link to ../topology/10_sums.ipynb#what-is-sum: 10_sums.ipynb has no anchor",
    ),
    "an anchor that nbdev's headings would shift": (
        add_cell(S, md("## Add\n\n[here](#add)")),
        "has no anchor 'add'",
    ),
    "a link to a built page": (
        text("[x](../topology/10_sums.html)"),
        "link to the notebook (.ipynb)",
    ),
    "a link out of the site": (text("[x](../../README.md)"), "it leads out of the site"),
    "a broken link in the README": (
        lambda f: (f / "README.md").write_text("[x](nowhere.md)"),
        "README.md, line 1: link to nowhere.md",
    ),
    "a README of its own": (
        lambda f: (f / "README.md").write_text("x"),
        "README.md: not what nbs/index.ipynb says",
    ),
    "a missing image": (
        text("![a sum](../images/sums.png)"),
        "../images/sums.png: there is no such file",
    ),
    "an image without words": (text("![](../images/sum.png)"), "has no alternative text"),
    "an image with a caption": (
        text("![a sum](../images/sum.png)"),
        "become a caption, and it has no alternative text",
    ),
    "an image from elsewhere": (text("![a](https://x.org/a.png)"), "is loaded from elsewhere"),
    "an HTML image without words": (
        text('<img src="../images/sum.png">'),
        "has no alternative text",
    ),
    "a figure without words": (
        replace(S, '#| fig-alt: \\"A sum: a dot.\\"\\n', ""),
        "nbs/topology/10_sums.ipynb, cell 5: a figure without alternative text",
    ),
    "a figure with no word": (
        replace(S, "A sum: a dot.", " "),
        "cell 5: a figure without alternative text",
    ),
    "words below the code of a figure": (
        add_cell(S, code("x\n#| fig-alt: A dot", shown(image_svg="<svg>"))),
        "cell 7: a figure without alternative text",
    ),
    "words for a figure that are no YAML": (
        add_cell(S, code("#| fig-alt: A dot: one\nx", shown(image_png=""))),
        "cell 7: the alternative text is not valid YAML",
    ),
    "words for two of three figures": (
        add_cell(S, code("#| fig-alt:\n#|   - A dot\n#|   - Two\nx", *[shown(image_png="")] * 3)),
        "cell 7: 2 alternative texts for 3 figures",
    ),
    "a frame of a page that is not there": (
        text('<iframe src="none.html" title="none"></iframe>'),
        "<iframe> does not belong",
    ),
    "a script": (text('<script src="x.js"></script>'), "<script> does not belong"),
    "a script in an output": (
        add_cell(S, code("x", shown(text_html='<script>1</script>'))),
        "<script> does not belong",
    ),
    "a widget": (
        add_cell(
            S,
            code(
                "x",
                {
                    "output_type": "display_data",
                    "data": {"application/vnd.jupyter.widget-view+json": {}},
                },
            ),
        ),
        "needs a script from elsewhere",
    ),
    "the state of widgets": (
        replace(S, '"metadata": {}, "nbformat"', '"metadata": {"widgets": {}}, "nbformat"'),
        "stores the state of widgets",
    ),
    "a list without a blank line": (
        text("words:\n- a\n- b"),
        "cell 2, line 2: a list needs a blank line",
    ),
    "a heading without a blank line": (text("words\n## Heading"), "a heading needs a blank line"),
    "no docstring": (
        replace(M, '    "The sum."\n', ""),
        "add (featent/topology/sums.py): the docstring must be one line",
    ),
    "a parameter without a word": (
        replace(M, "  # what is added", ""),
        "parameter b: give it a line of its own with a comment",
    ),
    "an array without a shape": (
        replace(M, "  # (n,) float64", "  # numbers"),
        "parameter a: an array, and the comment gives no shape",
    ),
    "no word on what is returned": (
        replace(M, '"np.ndarray":  # (n,)', '"np.ndarray":'),
        "no comment says what it returns",
    ),
    "no type and no word on what is returned": (
        replace(M, ' -> "np.ndarray":  # (n,)', ":"),
        "no comment says what it returns",
    ),
    "a constant without a word": (
        replace(M, "  # the largest sum", ""),
        "LIMIT (featent/topology/sums.py): a constant needs a comment",
    ),
    "no toy": (
        replace(S, "add([1], 2), LIMIT", "add([1], 2)"),
        "LIMIT (featent/topology/sums.py): no cell of a chapter shows it at work",
    ),
    "an error that nobody states": (
        replace(S, "with expect_fail(ValueError): add([])", "1"),
        "add (featent/topology/sums.py): it raises, and 10_sums.ipynb neither",
    ),
    "a new public name": (
        replace("featent/__init__.pyi", "LIMIT, add", "LIMIT, add, many"),
        "api.ipynb: lacks '| [`fe.many(values)`]",
    ),
    "a public name that nobody defines": (
        replace("featent/__init__.pyi", "LIMIT, add", "LIMIT, add, mani"),
        "featent/topology/sums.py does not define it",
    ),
    "a notebook that is none": (
        lambda f: (f / "nbs/experiments/one.ipynb").write_text("{"),
        "nbs/experiments/one.ipynb: not a notebook",
    ),
    "a changed docstring": (replace(M, '"The sum."', '"A sum."'), "is not of today's package"),
    "a paper without a reference": (
        text("As in doi:10.1000/xyz123."),
        "10.1000/xyz123 is not in nbs/references.ipynb",
    ),
    "a reference that cannot be found": (
        add_cell("nbs/references.ipynb", md("- Nobody: Nothing.")),
        "no DOI and no arXiv number",
    ),
    "an option that does not exist": (
        text("```sh\nfeatent run one -q 3\n```"),
        "`featent run one -q 3`: unrecognized arguments",
    ),
    "a parameter that does not exist": (
        text("```sh\nls; featent run one \\\n  -p sed 3\n```"),
        "no parameter sed",
    ),
    "an experiment that does not exist": (
        text("```sh\nfeatent run two\n```"),
        "there is no experiment 'two'",
    ),
    "Python that is none": (text("```python\nx = = 3\n```"), "cell 2, line 2: not Python"),
    "a name that does not exist": (
        text("```python\nimport featent as fe\nfe.ad([1])\n```"),
        "line 3: fe.ad is not a public name",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_is_found(small, name, capsys):
    spoil, message = FAULTS[name]
    spoil(small)
    found = site.faults(small)
    assert any(message in line for line in found), found
    assert site.main([str(small), "--sources"]) == 1 and message in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        "`[x](nowhere.md)`",
        "```\n[x](nowhere.md)\n# no heading\n```",
        "$[a](b)$ and $$\n[a](b)\n$$",
        "[x](https://example.org/a_(b).html)",
        "- a\n  more\n- b",
        "- a\nlazy\n- b",
        "| a |\n|---|\n| b |",
        "a[0](1) \\* b",
        "1 - 2\nand 3",
        "```sh\nfor i in 0 1; do featent run one -p seed $i; done\n```",
        "<!-- [x](nowhere.md) -->",
    ],
)
def test_no_false_alarm(small, words):
    text(words)(small)
    assert [line for line in site.faults(small) if "a[0]" not in words] == []


@pytest.mark.parametrize(
    "source",
    [
        "#| fig-alt: A dot\nx",
        "#| slow\n#| fig-alt: 'A dot: one'\n# words\nx",
        "#| fig-alt:\n#|   - A dot\n#|   - Two\n#| eval: false\nx",
    ],
)
def test_figures_may_say_it_in_these_ways(small, source):
    add_cell(S, code(source, *[shown(image_png="")] * 2))(small)
    assert site.faults(small) == []


@pytest.mark.parametrize(
    "heading,anchor",
    [
        ("Heading identifiers in HTML", "heading-identifiers-in-html"),
        ("*Dogs*?--in *my* house?", "dogsin-my-house"),
        ("[HTML](x.html), [S5](y), or RTF?", "html-s5-or-rtf"),
        ("3. Applications", "applications"),
        ("33", "section"),
        ("`result.plot()`", "result.plot"),
        ("What \"exactly once\" means", "what-exactly-once-means"),
        ("A / b", "a-b"),
        ("snake_case and _this_", "snake_case-and-this"),
        ("Named {#own .class}", "own"),
        ("0.1.0, not yet released", "not-yet-released"),
    ],
)
def test_anchors_are_those_of_pandoc(heading, anchor):
    assert site.slug(heading) == anchor


def test_repeated_anchors_are_numbered():
    assert site.numbered(["a", "b", "a", "a"]) == ["a", "b", "a-1", "a-2"]


def test_the_files_of_the_repository():
    "CITATION.cff is valid as far as its required keys go, and names the version of settings.ini."
    from configparser import ConfigParser

    import yaml

    config = ConfigParser(delimiters=["="])
    config.read(root / "settings.ini")
    cite = yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf-8"))
    assert (
        {"cff-version", "message", "title", "authors"} <= set(cite)
        and cite["type"] == "software"
        and cite["license"] == config["DEFAULT"]["license"]
    )
    assert cite["version"] == config["DEFAULT"]["version"] and cite["authors"] == [
        {"name": config["DEFAULT"]["author"]}
    ]
    assert all({"type", "title", "authors"} <= set(r) for r in cite["references"])
    assert f"## {cite['version']}" in (root / "CHANGELOG.md").read_text(encoding="utf-8")
