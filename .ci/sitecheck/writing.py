"What is written on the pages: titles, Markdown, links, figures, references."

import importlib
import importlib.util
import json
import re
import textwrap
from urllib.parse import unquote

import yaml

from . import live
from .sources import (
    HTML,
    anchors,
    captions,
    cells,
    documents,
    links,
    outputs,
    pages,
    texts,
    where,
    without_code,
)


def check_readable(root):
    "Every notebook is one."
    for p in pages(root):
        if p.suffix == ".ipynb":
            try:
                cells(p)
            except (ValueError, KeyError, TypeError) as e:
                yield f"{p.relative_to(root)}: not a notebook ({e})"


def check_titles(root):
    "The first cell of every notebook is `# title` and `> description`, nothing else."
    for p in pages(root):
        first = next(iter(cells(p)), None)
        lines = (
            [line for line in first.source.splitlines() if line.strip()]
            if first and first.kind == "markdown"
            else []
        )
        good = len(lines) == 2 and re.match(r"# \S", lines[0]) and re.match(r"> \S", lines[1])
        if p.suffix == ".ipynb" and not good:
            place = where(p.relative_to(root), 1)
            yield f"{place}: must be `# title` and `> description`, and nothing else"


def check_markdown(root):
    "Headings, lists and tables that pandoc would take for running text."
    kinds = {"a heading": r"#{1,6} ", "a list": r"(?:[-*+]|\d+[.)]) +\S", "a table": r"\|.*\|\s*$"}
    for p in pages(root):
        for number, text in texts(p):
            block = None  # what began after the last blank line
            for i, line in enumerate(without_code(text).split("\n"), 1):
                kind = next((k for k, start in kinds.items() if re.match(start, line)), None)
                if not line.strip():
                    block = None if not text.split("\n")[i - 1].strip() else block or "text"
                elif block is None:
                    block = kind or ("text" if line[0] not in "> :<" else "other")
                elif kind and block == "text":
                    place = where(p.relative_to(root), number, i)
                    said = f"{kind} needs a blank line before it"
                    yield f"{place}: {said}: {line.strip()[:50]!r}"


def check_links(root):
    "Links, anchors and images lead somewhere, and images say what they show."
    for p in [*pages(root), *documents(root)]:
        for number, text in texts(p):
            for line, image, words, target in links(text):
                place = where(p.relative_to(root), number, line)
                if image and not words.strip():
                    yield f"{place}: the image {target} has no alternative text"
                if fault := broken(root, p, image, target):
                    yield f"{place}: {fault}"
            for line, target in captions(text) if p.is_relative_to(root / "nbs") else ():
                place = where(p.relative_to(root), number, line)
                yield (
                    f"{place}: the words of the image {target} become a caption, and it has no "
                    f'alternative text: write ![]({target}){{fig-alt="..."}}'
                )


def broken(root, page, image, target):
    "What is wrong with a link, or None."
    if re.match(r"(https?:)?//", target):
        return f"the image {target} is loaded from elsewhere" if image else None
    if re.match(r"mailto:|doi:|data:", target):
        return None
    file, _, anchor = target.partition("#")
    base = root / "nbs" if file.startswith("/") else page.parent
    path = (base / unquote(file).lstrip("/")).resolve() if file else page
    on_site = page.is_relative_to(root / "nbs")
    if live.known(root, path):
        return None
    if not path.exists():
        return (
            f"link to {target}: link to the notebook (.ipynb), not to the page made of it"
            if file.endswith(".html")
            else f"link to {target}: there is no such file"
        )
    source = path.suffix == ".py" and path.is_relative_to(root / "featent")
    if (
        not path.is_relative_to((root / "nbs").resolve() if on_site else root.resolve())
        and not source
    ):
        return f"link to {target}: it leads out of the {'site' if on_site else 'repository'}"
    if on_site and path.is_dir():
        return f"link to {target}: a folder is no page"
    if anchor and path.suffix in (".ipynb", ".md", ".qmd") and anchor not in anchors(path):
        name = "this page" if path == page else path.name
        there = ", ".join(anchors(path)) or "none"
        return f"link to {target}: {name} has no anchor {anchor!r}; it has {there}"


def own_frame(root, page, attributes):
    "Whether a frame shows a live page of the site, and says what it is."
    said = dict(re.findall(r"(\w+)\s*=\s*\"([^\"]*)\"", attributes))
    there = "src" in said and live.known(root, (page.parent / said["src"]).resolve())
    return there and bool(said.get("title"))


def check_alone(root):
    "Nothing on a page is loaded from elsewhere or needs a program of another place."
    for p in pages(root):
        if (
            p.suffix == ".ipynb"
            and "widgets" in json.loads(p.read_text(encoding="utf-8"))["metadata"]
        ):
            yield (
                f"{p.relative_to(root)}: stores the state of widgets in its metadata, which loads "
                "a script from elsewhere: remove `widgets` there"
            )
        for c in cells(p):
            place = where(p.relative_to(root), c.number)
            html = "\n".join(
                [without_code(c.source)] * (c.kind == "markdown") + outputs(c, "text/html")
            )
            for m in HTML.finditer(html):
                if m[1].lower() == "iframe" and own_frame(root, p, m[2]):
                    continue
                if m[1].lower() in ("script", "iframe", "link"):
                    yield f"{place}: <{m[1].lower()}> does not belong on a page"
                elif re.search(r"src\s*=\s*[\"'](https?:)?//", m[2]):
                    yield f"{place}: {m[0][:80]} is loaded from elsewhere"
            kinds = {k for o in c.outputs for k in o.get("data", {})}
            for k in sorted(
                k for k in kinds if "javascript" in k or "widget" in k or "plotly" in k
            ):
                yield f"{place}: the output {k} needs a script from elsewhere"


def check_documents(root):
    "README.md and CHANGELOG.md are what their notebooks say."
    spec = importlib.util.spec_from_file_location("featent_readme", root / ".ci/readme.py")
    spec.loader.exec_module(readme := importlib.util.module_from_spec(spec))
    for name, notebook in readme.PAGES.items():
        if (root / "nbs" / notebook).exists() and not (
            (root / name).exists()
            and (root / name).read_text(encoding="utf-8") == readme.page(root / "nbs" / notebook)
        ):
            yield f"{name}: not what nbs/{notebook} says: run python .ci/readme.py"


def alternatives(source):
    "The alternative texts of a code cell as Quarto reads them: one, or a list, above its code."
    options = re.match(r"(?:#\|[^\n]*(?:\n|$))*", source)[0]
    found = re.search(r"^ ?fig-alt:.*(?:\n  .*)*", re.sub(r"^#\|", "", options, flags=re.M), re.M)
    said = yaml.safe_load(textwrap.dedent(found[0]))["fig-alt"] if found else None
    return [
        t.strip() if isinstance(t, str) else ""
        for t in (said if isinstance(said, list) else [said])
    ]


def check_figures(root):
    "Every figure that code has drawn says what it shows to who cannot see it."
    for p in pages(root):
        for c in cells(p):
            pictures = sum(
                any(k.startswith("image/") for k in o.get("data", {})) for o in c.outputs
            )
            if not pictures:
                continue
            place = where(p.relative_to(root), c.number)
            try:
                texts = alternatives(c.source)
            except yaml.YAMLError:
                yield f"{place}: the alternative text is not valid YAML: put it into quotes"
                continue
            if not all(texts):
                yield (
                    f"{place}: a figure without alternative text: say what it shows with "
                    "`#| fig-alt: ...` above the code"
                )
            elif len(texts) not in (1, pictures):
                yield f"{place}: {len(texts)} alternative texts for {pictures} figures"


PAPER = re.compile(
    r"10\.\d{4,}/[^\s\])\"`,;|]*[^\s\])\"`,;|.:]|arxiv[:.\s]*(?:physics/\d{7}|\d{4}\.\d{4,5})", re.I
)


def papers(text):
    return {
        re.sub(r"arxiv[:.\s]*", "arXiv:", m, flags=re.I).lower()
        for m in PAPER.findall(text.replace("arxiv.org/abs/", "arxiv:"))
    }


def check_references(root):
    "Every DOI and arXiv number of a page is in the references, and every reference can be found."
    path = root / "nbs/references.ipynb"
    known = papers("\n".join(t for _, t in texts(path))) if path.exists() else set()
    for p in [*pages(root), root / "CITATION.cff"]:
        for number, text in (
            texts(p)
            if p.suffix != ".cff"
            else [(None, p.read_text(encoding="utf-8"))]
            if p.exists()
            else ()
        ):
            for found in sorted(papers(text) - known):
                place = where(p.relative_to(root), number)
                yield f"{place}: {found} is not in nbs/references.ipynb"
    for number, text in texts(path) if path.exists() else ():
        for line in re.findall(r"^- .*", text, re.M):
            if not papers(line) and not re.search(r"in print only|no DOI|\]\(https?:", line, re.I):
                place = where(path.relative_to(root), number)
                yield f"{place}: no DOI and no arXiv number: {line[:60]!r}"
