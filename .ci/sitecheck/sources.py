"The pages of the site as they are stored: cells, texts, headings, anchors and links."

import ast
import functools
import json
import re
from typing import NamedTuple


class Cell(NamedTuple):
    number: int  # 0 for a file that is one text
    kind: str  # "markdown" or "code"
    source: str
    outputs: list


def where(path, cell=None, line=None):
    "A place in words."
    return ", ".join(
        [str(path), *([f"cell {cell}"] if cell else []), *([f"line {line}"] if line else [])]
    )


@functools.lru_cache(None)
def cells(path):
    "The cells of a notebook, numbered from 1; a text file is one cell."
    if path.suffix != ".ipynb":
        return (Cell(0, "markdown", path.read_text(encoding="utf-8"), []),)
    book = json.loads(path.read_text(encoding="utf-8"))
    return tuple(
        Cell(i, c["cell_type"], "".join(c["source"]), c.get("outputs", []))
        for i, c in enumerate(book["cells"], 1)
    )


def outputs(cell, kind):
    "The outputs of a cell of one MIME type, as text."
    return ["".join(o["data"][kind]) for o in cell.outputs if kind in o.get("data", {})]


def texts(path):
    "(cell number, Markdown) for every text of a page, those that code has made included."
    for c in cells(path):
        if c.kind == "markdown":
            yield c.number, c.source
        for text in outputs(c, "text/markdown"):
            yield c.number, text


def pages(root):
    "Every page that Quarto would render."
    found = (p for kind in ("ipynb", "qmd", "md") for p in (root / "nbs").rglob(f"*.{kind}"))
    return sorted(
        p
        for p in found
        if not any(
            part[0] in "._" or part.startswith("featent-")
            for part in p.relative_to(root / "nbs").parts
        )
    )


def documents(root):
    return [
        p
        for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
        if (p := root / name).exists()
    ]


def blank(match):
    return re.sub(r"[^\n]", " ", match[0])


def without_code(text):
    "Markdown with blocks of code, code and formulas blanked; places are kept."
    text = re.sub(r"^( *)(```+|~~~+)[^\n]*\n(?:.*?\n)?\1?\2[ \t]*$", blank, text, flags=re.M | re.S)
    for inner in (
        r"(`+)(?!`).+?(?<!`)\1(?!`)",
        r"\$\$.+?\$\$",
        r"(?<![\\$\w])\$(?=\S)[^$\n]*?(?<=\S)\$(?!\d)",
        r"<!--.*?-->",
    ):
        text = re.sub(inner, blank, text, flags=re.S)
    return text


def blocks(text, *languages):
    "(line, code) of the fenced blocks of a text in one of the languages."
    for m in re.finditer(r"^( *)(```+) *\{?\.?(\w+)[^\n]*\n(.*?)^\1\2[ \t]*$", text, re.M | re.S):
        if m[3] in languages:
            yield text.count("\n", 0, m.start()) + 2, m[4]


def headings(text):
    "(level, heading) of a text."
    bare = without_code(text).split("\n")
    return [
        (len(m[1]), m[2])
        for line, b in zip(text.split("\n"), bare)
        if b.startswith("#") and (m := re.match(r"(#{1,6})\s+(.*?)\s*#*$", line))
    ]


def slug(heading, github=False):
    "The anchor of a heading, as pandoc makes it, or as a forge does for a file."
    if own := re.search(r"\{[^}]*#([\w.:-]+)[^}]*\}\s*$", heading):
        return own[1]
    text = re.sub(r"\s*\{[^}]*\}\s*$", "", heading)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"[`*]|(?<!\w)_|_(?!\w)", "", text).lower()
    if github:
        return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
    text = re.sub(r"-{2,3}|\.{3}", " " if " -- " in text else "", text)
    return (
        re.sub(r"^[^a-z\u00e0-\uffff]+", "", "-".join(re.sub(r"[^\w\s.-]", "", text).split()))
        or "section"
    )


def numbered(slugs):
    "Repeated anchors get -1, -2, ..."
    seen, out = {}, []
    for s in slugs:
        out.append(f"{s}-{seen[s]}" if s in seen else s)
        seen[s] = seen.get(s, 0) + 1
    return out


def defined(source):
    "Public functions and classes that a cell defines."
    try:
        return [
            n.name
            for n in ast.parse(source).body
            if isinstance(n, (ast.FunctionDef, ast.ClassDef)) and n.name[0] != "_"
        ]
    except SyntaxError:
        return []


def exported(source):
    return bool(re.match(r"#\|\s*exports?\b", source))


@functools.lru_cache(None)
def anchors(path):
    """{anchor: cell number} of a page.

    A heading whose anchor differs with and without the headings that nbdev adds for exported
    names is left out.
    """
    if path.suffix != ".ipynb":
        return dict.fromkeys(
            numbered(slug(h, github=True) for _, h in headings(cells(path)[0].source)), 0
        )
    plain, full = [], []
    for c in cells(path):
        if c.kind == "code" and exported(c.source):
            full += [(n, None) for n in defined(c.source)]
        own = [
            (slug(h), c.number)
            for text in [c.source] * (c.kind == "markdown") + outputs(c, "text/markdown")
            for level, h in headings(text)
            if level > 1
        ]
        plain, full = plain + own, full + own
    built = [a for a, (_, n) in zip(numbered(s for s, _ in full), full) if n is not None]
    return {a: n for a, b, (_, n) in zip(numbered(s for s, _ in plain), built, plain) if a == b}


LINK = re.compile(
    r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\](?:\([^()]*\))?)*)\]\(\s*<?((?:[^()\s<>]|\([^()\s]*\))+)>?(?:\s+[\"'][^)]*)?\s*\)"
)


HTML = re.compile(r"<(img|a|script|link|iframe|source|video)\b([^>]*)>", re.I)


def described(rest):
    "The alternative text that stands behind a Markdown picture: `{fig-alt=\"...\"}`."
    found = re.match(r"\{[^{}]*?fig-alt=\"([^\"]*)\"[^{}]*\}", rest)
    return found[1].strip() if found else ""


def captions(text):
    "(line, target) of pictures whose words Quarto would make a caption and read out to nobody."
    bare = without_code(text)
    for m in LINK.finditer(bare):
        if m[1] and m[2].strip() and not described(text[m.end() :]):
            yield text.count("\n", 0, m.start()) + 1, m[3]


def links(text):
    "(line, is image, text or alternative text, target) of every link and image of a text."
    bare = without_code(text)
    said = lambda m: described(text[m.end() :])
    at = lambda m: text.count("\n", 0, m.start()) + 1
    for m in LINK.finditer(bare):
        yield at(m), bool(m[1]), said(m) or text[m.start(2) : m.end(2)], m[3]
        inner = text[m.start(2) : m.end(2)]
        for n in LINK.finditer(inner):
            yield at(m), bool(n[1]), described(inner[n.end() :]) or n[2], n[3]
    for m in re.finditer(r"^ {0,3}\[[^\]^]+\]:\s*<?([^\s>]+)", bare, re.M):
        yield at(m), False, "", m[1]
    for m in HTML.finditer(bare):
        attribute = dict(re.findall(r"(\w+)\s*=\s*[\"']([^\"']*)", m[2]))
        if m[1].lower() in ("img", "a"):
            yield (
                at(m),
                m[1].lower() == "img",
                attribute.get("alt", ""),
                attribute.get("src", attribute.get("href", "#")),
            )
