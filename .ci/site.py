"""Check the site's sources without Quarto: `python .ci/site.py`; with `quarto` on the path, render the site into `_docs` as well.

What Quarto lets pass with exit code 0 is a fault here: a sidebar entry without a page, a broken link or anchor, an unknown theme or key.
`--write` puts the API table of today's package into nbs/api.ipynb. Nothing of the package is imported, so the check takes seconds."""
import argparse
import ast
import contextlib
import functools
import importlib
import importlib.util
import io
import json
import re
import shlex
import shutil
import sys
import textwrap
import tokenize
import types
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

import yaml

HERE = Path(__file__).resolve().parent


# What Quarto knows
BOOTSWATCH = set("""cerulean cosmo cyborg darkly flatly journal litera lumen lux materia minty morph pulse quartz sandstone simplex sketchy slate solar
                    spacelab superhero united vapor yeti zephyr""".split())
KEYS = {
    (): "project format website execute metadata-files lang",
    ("project",): "type output-dir resources render pre-render post-render execute-dir preview",
    ("format",): "html",
    ("format", "html"): """theme toc toc-depth toc-location toc-expand code-link code-copy code-fold code-overflow code-tools html-math-method css
                           fig-align anchor-sections smooth-scroll link-external-newwindow lightbox number-sections respect-user-color-scheme""",
    ("website",): """title description search page-navigation sidebar navbar page-footer favicon site-url repo-url repo-branch repo-subdir repo-actions
                     issue-url back-to-top-navigation bread-crumbs reader-mode open-graph twitter-card""",
    ("website", "sidebar"): "style contents title subtitle search collapse-level id logo align background border tools"}
ADDRESSES = {"site-url", "repo-url", "issue-url"}  # keys that may name another place


class Cell(NamedTuple):
    number: int  # 0 for a file that is one text
    kind: str  # "markdown" or "code"
    source: str
    outputs: list


def where(path, cell=None, line=None):
    "A place in words."
    return ", ".join([str(path), *([f"cell {cell}"] if cell else []), *([f"line {line}"] if line else [])])


@functools.lru_cache(None)
def cells(path):
    "The cells of a notebook, numbered from 1; a text file is one cell."
    if path.suffix != ".ipynb": return (Cell(0, "markdown", path.read_text(encoding="utf-8"), []),)
    book = json.loads(path.read_text(encoding="utf-8"))
    return tuple(Cell(i, c["cell_type"], "".join(c["source"]), c.get("outputs", [])) for i, c in enumerate(book["cells"], 1))


def outputs(cell, kind):
    "The outputs of a cell of one MIME type, as text."
    return ["".join(o["data"][kind]) for o in cell.outputs if kind in o.get("data", {})]


def texts(path):
    "(cell number, Markdown) for every text of a page, those that code has made included."
    for c in cells(path):
        if c.kind == "markdown": yield c.number, c.source
        for text in outputs(c, "text/markdown"): yield c.number, text


def pages(root):
    "Every page that Quarto would render."
    found = (p for kind in ("ipynb", "qmd", "md") for p in (root/"nbs").rglob(f"*.{kind}"))
    return sorted(p for p in found if not any(part[0] in "._" or part.startswith("featent-") for part in p.relative_to(root/"nbs").parts))


def documents(root): return [p for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md") if (p := root/name).exists()]


# Markdown
def blank(match): return re.sub(r"[^\n]", " ", match[0])


def without_code(text):
    "Markdown with blocks of code, code and formulas blanked; places are kept."
    text = re.sub(r"^( *)(```+|~~~+)[^\n]*\n(?:.*?\n)?\1?\2[ \t]*$", blank, text, flags=re.M | re.S)
    for inner in (r"(`+)(?!`).+?(?<!`)\1(?!`)", r"\$\$.+?\$\$", r"(?<![\\$\w])\$(?=\S)[^$\n]*?(?<=\S)\$(?!\d)", r"<!--.*?-->"):
        text = re.sub(inner, blank, text, flags=re.S)
    return text


def blocks(text, *languages):
    "(line, code) of the fenced blocks of a text in one of the languages."
    for m in re.finditer(r"^( *)(```+) *\{?\.?(\w+)[^\n]*\n(.*?)^\1\2[ \t]*$", text, re.M | re.S):
        if m[3] in languages: yield text.count("\n", 0, m.start()) + 2, m[4]


def headings(text):
    "(level, heading) of a text."
    bare = without_code(text).split("\n")
    return [(len(m[1]), m[2]) for line, b in zip(text.split("\n"), bare) if b.startswith("#") and (m := re.match(r"(#{1,6})\s+(.*?)\s*#*$", line))]


def slug(heading, github=False):
    "The anchor of a heading, as pandoc makes it, or as a forge does for a file."
    if own := re.search(r"\{[^}]*#([\w.:-]+)[^}]*\}\s*$", heading): return own[1]
    text = re.sub(r"\s*\{[^}]*\}\s*$", "", heading)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"[`*]|(?<!\w)_|_(?!\w)", "", text).lower()
    if github: return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
    text = re.sub(r"-{2,3}|\.{3}", " " if " -- " in text else "", text)
    return re.sub(r"^[^a-z\u00e0-\uffff]+", "", "-".join(re.sub(r"[^\w\s.-]", "", text).split())) or "section"


def numbered(slugs):
    "Repeated anchors get -1, -2, ..."
    seen, out = {}, []
    for s in slugs:
        out.append(f"{s}-{seen[s]}" if s in seen else s)
        seen[s] = seen.get(s, 0) + 1
    return out


def defined(source):
    "Public functions and classes that a cell defines."
    try: return [n.name for n in ast.parse(source).body if isinstance(n, (ast.FunctionDef, ast.ClassDef)) and n.name[0] != "_"]
    except SyntaxError: return []


def exported(source): return bool(re.match(r"#\|\s*exports?\b", source))


@functools.lru_cache(None)
def anchors(path):
    "{anchor: cell number} of a page. A heading whose anchor differs with and without the headings that nbdev adds for exported names is left out."
    if path.suffix != ".ipynb":
        return dict.fromkeys(numbered(slug(h, github=True) for _, h in headings(cells(path)[0].source)), 0)
    plain, full = [], []
    for c in cells(path):
        if c.kind == "code" and exported(c.source): full += [(n, None) for n in defined(c.source)]
        own = [(slug(h), c.number) for text in [c.source] * (c.kind == "markdown") + outputs(c, "text/markdown") for level, h in headings(text) if level > 1]
        plain, full = plain + own, full + own
    built = [a for a, (_, n) in zip(numbered(s for s, _ in full), full) if n is not None]
    return {a: n for a, b, (_, n) in zip(numbered(s for s, _ in plain), built, plain) if a == b}


LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\](?:\([^()]*\))?)*)\]\(\s*<?((?:[^()\s<>]|\([^()\s]*\))+)>?(?:\s+[\"'][^)]*)?\s*\)")
HTML = re.compile(r"<(img|a|script|link|iframe|source|video)\b([^>]*)>", re.I)


def links(text):
    "(line, is image, text or alternative text, target) of every link and image of a text."
    bare = without_code(text)
    at = lambda m: text.count("\n", 0, m.start()) + 1
    for m in LINK.finditer(bare):
        yield at(m), bool(m[1]), text[m.start(2):m.end(2)], m[3]
        for n in LINK.finditer(m[2]): yield at(m), bool(n[1]), n[2], n[3]
    for m in re.finditer(r"^ {0,3}\[[^\]^]+\]:\s*<?([^\s>]+)", bare, re.M): yield at(m), False, "", m[1]
    for m in HTML.finditer(bare):
        attribute = dict(re.findall(r"(\w+)\s*=\s*[\"']([^\"']*)", m[2]))
        if m[1].lower() in ("img", "a"): yield at(m), m[1].lower() == "img", attribute.get("alt", ""), attribute.get("src", attribute.get("href", "#"))


# Checks: each yields faults as lines of text
def check_config(root):
    "_quarto.yml is what Quarto and this site need."
    path = root/"_quarto.yml"
    try: config = yaml.load(path.read_text(encoding="utf-8"), Strict)
    except yaml.YAMLError as e: return [f"_quarto.yml: not valid YAML: {' '.join(str(e).split())}"]
    if not isinstance(config, dict): return ["_quarto.yml: holds no keys"]
    faults = [*unknown_keys(config), *addresses(config)]
    html, site = (config.get("format") or {}).get("html") or {}, config.get("website") or {}
    if (config.get("project") or {}).get("type") != "website": faults.append("_quarto.yml: project: type must be website")
    if html.get("html-math-method") != "mathml": faults.append("_quarto.yml: html-math-method must be mathml: every other method loads a library from elsewhere")
    if site.get("search") is not True: faults.append("_quarto.yml: website: search must be true")
    if not (site.get("title") and site.get("description")): faults.append("_quarto.yml: website: title and description are needed")
    if not (root/"nbs/_quarto.yml").exists() or (root/"nbs/_quarto.yml").resolve() != path.resolve(): faults.append("nbs/_quarto.yml: must be a link to ../_quarto.yml")
    return faults + list(check_themes(root, html.get("theme")))


class Strict(yaml.SafeLoader):
    "YAML without repeated keys."


def no_twins(loader, node):
    pairs = loader.construct_pairs(node, deep=True)
    for i, (k, _) in enumerate(pairs):
        if k in [other for other, _ in pairs[:i]]: raise yaml.constructor.ConstructorError(None, None, f"the key {k!r} stands twice", node.value[i][0].start_mark)
    return dict(pairs)


Strict.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, no_twins)


def unknown_keys(config):
    for place, words in KEYS.items():
        part = config
        for k in place: part = part.get(k) if isinstance(part, dict) else None
        for k in part if isinstance(part, dict) else ():
            if k not in words.split(): yield f"_quarto.yml: {' > '.join((*place, str(k)))}: not a key that this check knows; Quarto would ignore a misspelt one"


def addresses(value, key="_quarto.yml"):
    "Values that name another place."
    if isinstance(value, dict):
        for k, v in value.items():
            if k not in ADDRESSES: yield from addresses(v, k)
    elif isinstance(value, list):
        for v in value: yield from addresses(v, key)
    elif isinstance(value, str) and ("://" in value or value.startswith("//")): yield f"_quarto.yml: {key}: {value} is loaded from elsewhere; the site must work alone"


def check_themes(root, theme):
    "A light and a dark theme that exist and bring no font from elsewhere."
    if not isinstance(theme, dict) or set(theme) != {"light", "dark"}: yield "_quarto.yml: theme: give one for light and one for dark"; return
    for mode, names in theme.items():
        names = names if isinstance(names, list) else [names]
        styles = [root/"nbs"/n for n in names if str(n).endswith(".scss")]
        for n in names:
            if n not in BOOTSWATCH | {"default"} and not str(n).endswith(".scss"): yield f"_quarto.yml: theme: {mode}: unknown theme {n!r}; choose from default, {', '.join(sorted(BOOTSWATCH))}"
        for s in styles:
            if not s.exists(): yield f"_quarto.yml: theme: {mode}: there is no nbs/{s.name}"
        local = any(s.exists() and re.search(r"^\$web-font-path:\s*false", s.read_text(), re.M) for s in styles)
        if BOOTSWATCH & set(map(str, names)) and not local: yield f"_quarto.yml: theme: {mode}: {names[0]} loads its font from elsewhere; add a .scss file with `$web-font-path: false !default;`"


def listed(contents, place="sidebar"):
    "(page, fault) of every entry of a sidebar."
    for entry in contents if isinstance(contents, list) else ():
        if isinstance(entry, str): yield entry, None
        elif not isinstance(entry, dict): yield None, f"{place}: {entry!r} is no entry"
        elif "section" in entry:
            if unknown := set(entry) - {"section", "contents", "href", "expanded"}: yield None, f"{place}: section {entry['section']!r}: unknown key {', '.join(sorted(unknown))}"
            if not entry.get("contents"): yield None, f"{place}: section {entry['section']!r} is empty"
            if "href" in entry: yield entry["href"], None
            yield from listed(entry.get("contents"), f"{place}: {entry['section']}")
        elif "href" in entry and not set(entry) - {"href", "text", "icon"}: yield entry["href"], None
        else: yield None, f"{place}: {entry!r} is neither a page nor a section"


def check_sidebar(root):
    "Every page of the sidebar is there, once, and every page is in the sidebar."
    try: config = yaml.safe_load((root/"_quarto.yml").read_text(encoding="utf-8"))
    except yaml.YAMLError: return  # told by check_config
    sidebar = ((config or {}).get("website") or {}).get("sidebar") or {}
    entries = list(listed(sidebar.get("contents")))
    names, there = [n for n, _ in entries if n], {p.relative_to(root/"nbs").as_posix() for p in pages(root)}
    for _, fault in entries:
        if fault: yield f"_quarto.yml: {fault}"
    for n in dict.fromkeys(names):
        if n not in there: yield f"_quarto.yml: sidebar: {n} is not a page: there is no nbs/{n}"
        if names.count(n) > 1: yield f"_quarto.yml: sidebar: {n} stands {names.count(n)} times"
    for n in sorted(there - set(names)): yield f"nbs/{n}: not in the sidebar of _quarto.yml"
    built = {}
    for n in sorted(there): built.setdefault(built_name(n), []).append(n)
    for name, sources in built.items():
        if len(sources) > 1: yield f"nbs/{sources[0]} and nbs/{sources[1]} would both become {name}: give one another name"


def built_name(page):
    "The file that nbdev makes of a page: without the number of a chapter."
    folder, _, name = page.rpartition("/")
    return f"{folder}/{re.sub(r'^[0-9]+[a-z0-9]*_', '', name.lower()).rpartition('.')[0]}.html".lstrip("/")


def check_readable(root):
    "Every notebook is one."
    for p in pages(root):
        if p.suffix == ".ipynb":
            try: cells(p)
            except (ValueError, KeyError, TypeError) as e: yield f"{p.relative_to(root)}: not a notebook ({e})"


def check_titles(root):
    "The first cell of every notebook is `# title` and `> description`, nothing else."
    for p in pages(root):
        first = next(iter(cells(p)), None)
        lines = [line for line in first.source.splitlines() if line.strip()] if first and first.kind == "markdown" else []
        good = len(lines) == 2 and re.match(r"# \S", lines[0]) and re.match(r"> \S", lines[1])
        if p.suffix == ".ipynb" and not good: yield f"{where(p.relative_to(root), 1)}: must be `# title` and `> description`, and nothing else"


def check_markdown(root):
    "Headings, lists and tables that pandoc would take for running text."
    kinds = {"a heading": r"#{1,6} ", "a list": r"(?:[-*+]|\d+[.)]) +\S", "a table": r"\|.*\|\s*$"}
    for p in pages(root):
        for number, text in texts(p):
            block = None  # what began after the last blank line
            for i, line in enumerate(without_code(text).split("\n"), 1):
                kind = next((k for k, start in kinds.items() if re.match(start, line)), None)
                if not line.strip(): block = None if not text.split("\n")[i-1].strip() else block or "text"
                elif block is None: block = kind or ("text" if line[0] not in "> :<" else "other")
                elif kind and block == "text": yield f"{where(p.relative_to(root), number, i)}: {kind} needs a blank line before it: {line.strip()[:50]!r}"


def check_links(root):
    "Links, anchors and images lead somewhere, and images say what they show."
    for p in [*pages(root), *documents(root)]:
        for number, text in texts(p):
            for line, image, words, target in links(text):
                place = where(p.relative_to(root), number, line)
                if image and not words.strip(): yield f"{place}: the image {target} has no alternative text"
                if fault := broken(root, p, image, target): yield f"{place}: {fault}"


def broken(root, page, image, target):
    "What is wrong with a link, or None."
    if re.match(r"(https?:)?//", target): return f"the image {target} is loaded from elsewhere" if image else None
    if re.match(r"mailto:|doi:|data:", target): return None
    file, _, anchor = target.partition("#")
    base = root/"nbs" if file.startswith("/") else page.parent
    path = (base/unquote(file).lstrip("/")).resolve() if file else page
    on_site = page.is_relative_to(root/"nbs")
    if not path.exists():
        return f"link to {target}: link to the notebook (.ipynb), not to the page made of it" if file.endswith(".html") else f"link to {target}: there is no such file"
    source = path.suffix == ".py" and path.is_relative_to(root/"featent")
    if not path.is_relative_to((root/"nbs").resolve() if on_site else root.resolve()) and not source: return f"link to {target}: it leads out of the {'site' if on_site else 'repository'}"
    if on_site and path.is_dir(): return f"link to {target}: a folder is no page"
    if anchor and path.suffix in (".ipynb", ".md", ".qmd") and anchor not in anchors(path):
        return f"link to {target}: {'this page' if path == page else path.name} has no anchor {anchor!r}; it has {', '.join(anchors(path)) or 'none'}"


def check_alone(root):
    "Nothing on a page is loaded from elsewhere or needs a program of another place."
    for p in pages(root):
        if p.suffix == ".ipynb" and "widgets" in json.loads(p.read_text(encoding="utf-8"))["metadata"]:
            yield f"{p.relative_to(root)}: stores the state of widgets in its metadata, which loads a script from elsewhere: remove `widgets` there"
        for c in cells(p):
            place = where(p.relative_to(root), c.number)
            html = "\n".join([without_code(c.source)] * (c.kind == "markdown") + outputs(c, "text/html"))
            for m in HTML.finditer(html):
                if m[1].lower() in ("script", "iframe", "link"): yield f"{place}: <{m[1].lower()}> does not belong on a page"
                elif re.search(r"src\s*=\s*[\"'](https?:)?//", m[2]): yield f"{place}: {m[0][:80]} is loaded from elsewhere"
            kinds = {k for o in c.outputs for k in o.get("data", {})}
            for k in sorted(k for k in kinds if "javascript" in k or "widget" in k or "plotly" in k): yield f"{place}: the output {k} needs a script from elsewhere"


def check_documents(root):
    "README.md and CHANGELOG.md are what their notebooks say."
    spec = importlib.util.spec_from_file_location("featent_readme", root/".ci/readme.py")
    spec.loader.exec_module(readme := importlib.util.module_from_spec(spec))
    for name, notebook in readme.PAGES.items():
        if (root/"nbs"/notebook).exists() and not ((root/name).exists() and (root/name).read_text(encoding="utf-8") == readme.page(root/"nbs"/notebook)):
            yield f"{name}: not what nbs/{notebook} says: run python .ci/readme.py"


# The package, read and not imported
class Name(NamedTuple):
    name: str
    module: str
    node: object  # its definition: function, class, or assignment
    tree: object
    comments: dict  # line: comment
    chapter: Path


@functools.lru_cache(None)
def module_source(path):
    "Syntax tree and comments by line."
    text = path.read_text(encoding="utf-8")
    found = {t.start[0]: t.string.lstrip("# ").strip() for t in tokenize.generate_tokens(io.StringIO(text).readline) if t.type == tokenize.COMMENT}
    return ast.parse(text), found


def targets(node): return [t.id for t in getattr(node, "targets", [getattr(node, "target", None)]) if isinstance(t, ast.Name)]


@functools.lru_cache(None)
def chapters(root):
    "{module: its notebook}"
    found = ((re.search(r"^#\|\s*default_exp\s+(\S+)", c.source, re.M), p) for p in pages(root) if p.suffix == ".ipynb" for c in cells(p) if c.kind == "code")
    return {m[1]: p for m, p in found if m}


def assigned(tree, name):
    "The value of an assignment of literals, or an empty list."
    return next((ast.literal_eval(n.value) for n in tree.body if isinstance(n, ast.Assign) and targets(n) == [name]), [])


def described(root, name, module):
    "A name of a module with its definition."
    path = root/f"featent/{module}.py"
    tree, comments = module_source(path) if path.exists() else (ast.Module([], []), {})
    node = next((n for n in tree.body if getattr(n, "name", None) == name or name in targets(n)), None)
    return Name(name, module, node, tree, comments, chapters(root).get(module))


@functools.lru_cache(None)
def public(root):
    "The names that `import featent as fe` gives, in the order of the package, each with its definition."
    tree, _ = module_source(root/"featent/__init__.py")
    home = {a.asname or a.name: n.module.split(".")[-1] for n in tree.body if isinstance(n, ast.ImportFrom) and (n.module or "").startswith("featent") for a in n.names}
    return [described(root, name, home.get(name)) for name in assigned(tree, "__all__")]


def of_modules(root):
    "The names that are imported from their modules, in the order of the chapters."
    top = {(n.module, n.name) for n in public(root)}
    names = [described(root, name, m) for m, p in chapters(root).items() if (f := root/f"featent/{m}.py").exists() for name in assigned(module_source(f)[0], "__all__")]
    return [n for n in names if (n.module, n.name) not in top and n.node is not None]


def parameters(f):
    a = f.args
    return [p for p in [*a.posonlyargs, *a.args, a.vararg, *a.kwonlyargs, a.kwarg] if p and p.arg not in ("self", "cls")]


def ends(f):
    "{parameter: last line of its declaration}"
    a = f.args
    defaults = dict(zip([p.arg for p in [*a.posonlyargs, *a.args]][::-1], a.defaults[::-1])) | {p.arg: d for p, d in zip(a.kwonlyargs, a.kw_defaults) if d}
    return {p.arg: (defaults.get(p.arg) or p).end_lineno for p in parameters(f)}


ARRAY = re.compile(r"\b(ndarray|Tensor)\b")
SHAPE = re.compile(r"\(.*\)|\bas for\b|\bshape\b|\bone (value|number|row) (for|per)\b|\bmaps?\b")


def undocumented(n):
    "What the documentation of a function or class lacks."
    node = n.node
    if node is None: return [f"featent/{n.module}.py does not define it" if n.module else "featent/__init__.py does not import it"]
    if not isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return [] if n.comments.get(node.lineno) or n.comments.get(node.end_lineno) else ["a constant needs a comment on its line that says what it is"]
    doc, lacks = ast.get_docstring(node), []
    if not doc or "\n" in doc.strip(): lacks.append("the docstring must be one line")
    if isinstance(node, ast.ClassDef):
        fields = [b for b in node.body if isinstance(b, ast.AnnAssign)]
        return lacks + [f"field {f.target.id}: no comment says what it is" for f in fields if not n.comments.get(f.end_lineno)]
    lines = ends(node)
    for p in parameters(node):
        comment, alone = n.comments.get(lines[p.arg]), list(lines.values()).count(lines[p.arg]) == 1 and lines[p.arg] != node.body[0].lineno
        if not comment or not alone: lacks.append(f"parameter {p.arg}: give it a line of its own with a comment")
        elif p.annotation is not None and ARRAY.search(ast.unparse(p.annotation)) and not SHAPE.search(comment): lacks.append(f"parameter {p.arg}: an array, and the comment gives no shape: {comment!r}")
    end = node.returns.end_lineno if node.returns else node.body[0].lineno - 1
    nothing = isinstance(node.returns, ast.Constant) and node.returns.value is None
    if not nothing and (not n.comments.get(end) or end in lines.values()): lacks.append("no comment says what it returns")
    return lacks


def check_names(root):
    "Every public name is documented in its definition."
    for n in public(root):
        for fault in undocumented(n): yield f"{n.name} (featent/{n.module}.py): {fault}"


def used(source):
    "Names and attributes that a cell uses."
    try: nodes = list(ast.walk(ast.parse(re.sub(r"^[%!].*$", "", source, flags=re.M))))
    except SyntaxError: return set()
    return {n.id for n in nodes if isinstance(n, ast.Name)} | {n.attr for n in nodes if isinstance(n, ast.Attribute)}


def demonstrations(path): return [c for c in cells(path) if c.kind == "code" and not re.match(r"#\|(?!\s*fig-)", c.source)]


MADE_BY = {"Images": "images", "Result": "assess"}  # classes that nobody calls: at work wherever these are


def check_toys(root):
    "Every public name is used in a cell of a chapter that runs."
    there = {p: set().union(*(used(c.source) for c in demonstrations(p))) for p in chapters(root).values()}
    for n in public(root):
        if not any({n.name, MADE_BY.get(n.name)} & names for names in there.values()): yield f"{n.name} (featent/{n.module}.py): no cell of a chapter shows it at work"


@functools.lru_cache(None)
def raising(path, name):
    "The functions of a module that raise an error of their own, as far as a function leads to them."
    local, seen, todo = {f.name: f for f in module_source(path)[0].body if isinstance(f, ast.FunctionDef)}, set(), [name]
    while todo:
        f = todo.pop()
        if f in local and f not in seen:
            seen.add(f)
            todo += [m.id for m in ast.walk(local[f]) if isinstance(m, ast.Name)]
    return frozenset(f for f in seen if any(isinstance(m, ast.Raise) and m.exc is not None for m in ast.walk(local[f])))


EXPECTS = {"expect_fail", "raises", "test_fail"}


def refused(path):
    "Names used where a cell shows an error."
    return set().union(*(names for c in demonstrations(path) if (names := used(c.source)) & EXPECTS))


def check_errors(root):
    """A public function that raises is stated to: a cell of a chapter shows an error of it, or its section speaks of what is refused,
    or its errors are those of a checking function that it shares with one whose errors are shown."""
    shown = set().union(*map(refused, chapters(root).values()))
    for n in public(root):
        if not isinstance(n.node, ast.FunctionDef) or n.chapter is None or n.name in shown: continue
        path = root/f"featent/{n.module}.py"
        shared = set().union(*(raising(path, f) for f in shown))
        if raising(path, n.name) - shared and not any(ERROR.search(t) for t in section(n.chapter, n.name)):
            yield f"{n.name} (featent/{n.module}.py): it raises, and {n.chapter.name} neither shows an error of it nor speaks of one in its section"


ERROR = re.compile(r"\b(error|refus\w+|raise[sd]?|fails?|complain\w*)\b", re.I)


def section(path, name):
    "The text of the section in which a name is exported."
    part = []
    for c in cells(path):
        if c.kind == "markdown":
            if any(level <= 2 for level, _ in headings(c.source)): part = []
            part.append(c.source)
        elif exported(c.source) and name in defined(c.source): found = part
    return found


# The API page
def signature(f):
    "A call in one line: all parameters, or the required ones and an ellipsis."
    a, given = f.args, len(f.args.args) - len(f.args.defaults)
    every = [p.arg if i < given else f"{p.arg}={ast.unparse(a.defaults[i - given])}" for i, p in enumerate(a.args)]
    every += ["*"] * bool(a.kwonlyargs and not a.vararg) + [p.arg if d is None else f"{p.arg}={ast.unparse(d)}" for p, d in zip(a.kwonlyargs, a.kw_defaults)]
    short = every if len(", ".join(every)) <= 64 else [*every[:given], "…"]
    return f"{f.name}({', '.join(short)})"


def anchor_of(path, name):
    "The anchor of the heading under which a chapter exports a name."
    at = {n: a for a, n in anchors(path).items()}
    here = next((c.number for c in cells(path) if c.kind == "code" and exported(c.source) and
                 (name in defined(c.source) or re.search(rf"^{name}\b.*=", c.source, re.M))), 0)
    return next((at[k] for k in sorted(at, reverse=True) if k < here), None)


def escape(text): return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*").replace("$", "\\$")


def row(n, prefix):
    "A name as a row of the table."
    anchor = anchor_of(n.chapter, n.name)
    call = prefix + (signature(n.node) if isinstance(n.node, ast.FunctionDef) else n.name)
    what = ast.get_docstring(n.node) if isinstance(n.node, (ast.FunctionDef, ast.ClassDef)) else n.comments.get(n.node.lineno) or n.comments.get(n.node.end_lineno)
    link, first = f"{n.chapter.name}#{anchor}" if anchor else n.chapter.name, (what or "a constant").strip().split("\n")[0]
    return f"| [`{call.replace('|', chr(92) + '|')}`]({link}) | {escape(first)} | [{n.module}.py](../featent/{n.module}.py) |"


def api(root):
    "All public names as Markdown: a section for each chapter, a row for each name."
    root, rows = Path(root).resolve(), {}
    for prefix, names in (("fe.", public(root)), ("", of_modules(root))):
        for n in names:
            if n.chapter and n.node: rows.setdefault(n.module, []).append(row(n, prefix))
    about = lambda m: next(line[2:] for line in cells(chapters(root)[m])[0].source.splitlines() if line.startswith("> "))
    part = lambda m: f"## {m}\n\n{about(m)}\n\n| call | what it does | source |\n|---|---|---|\n" + "\n".join(rows[m])
    return "\n\n".join(part(m) for m in sorted(rows, key=lambda m: chapters(root)[m].name))


def check_api(root):
    "The API page lists every public name, as the package has it now."
    path = root/"nbs/api.ipynb"
    if not path.exists(): yield "nbs/api.ipynb: the API page is missing"; return
    stored, now = "\n\n".join(t for c in cells(path) for t in outputs(c, "text/markdown")).splitlines(), api(root).splitlines()
    for line in [x for x in now if x not in stored][:3]: yield f"nbs/api.ipynb: lacks {line[:90]!r}: run python .ci/site.py --write"
    for line in [x for x in stored if x and x not in now][:3]: yield f"nbs/api.ipynb: {line[:90]!r} is not of today's package: run python .ci/site.py --write"


def write_api(root):
    "Put today's table into the API page."
    path = root/"nbs/api.ipynb"
    book = json.loads(path.read_text(encoding="utf-8"))
    for c in book["cells"]:
        for o in c.get("outputs", []):
            if "text/markdown" in o.get("data", {}): o["data"]["text/markdown"] = api(root).splitlines(keepends=True)
    path.write_text(json.dumps(book, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    cells.cache_clear(), anchors.cache_clear()


PAPER = re.compile(r"10\.\d{4,}/[^\s\])\"`,;|]*[^\s\])\"`,;|.:]|arxiv[:.\s]*(?:physics/\d{7}|\d{4}\.\d{4,5})", re.I)


def papers(text): return {re.sub(r"arxiv[:.\s]*", "arXiv:", m, flags=re.I).lower() for m in PAPER.findall(text.replace("arxiv.org/abs/", "arxiv:"))}


def check_references(root):
    "Every DOI and arXiv number of a page is in the references, and every reference can be found."
    path = root/"nbs/references.ipynb"
    known = papers("\n".join(t for _, t in texts(path))) if path.exists() else set()
    for p in [*pages(root), root/"CITATION.cff"]:
        for number, text in texts(p) if p.suffix != ".cff" else [(None, p.read_text(encoding="utf-8"))] if p.exists() else ():
            for found in sorted(papers(text) - known): yield f"{where(p.relative_to(root), number)}: {found} is not in nbs/references.ipynb"
    for number, text in texts(path) if path.exists() else ():
        for line in re.findall(r"^- .*", text, re.M):
            if not papers(line) and not re.search("without a DOI", line, re.I): yield f"{where(path.relative_to(root), number)}: no DOI and no arXiv number: {line[:60]!r}"


# Commands and code in texts
@functools.lru_cache(None)
def command_line(root):
    "The package's parser of commands and its reader of parameters, without the rest of the package."
    before = {k: v for k, v in sys.modules.items() if k == "featent" or k.startswith("featent.")}
    for k in before: del sys.modules[k]
    try:
        sys.modules["featent"] = package = types.ModuleType("featent")
        package.__path__ = [str(root/"featent")]
        return importlib.import_module("featent.cli")._parser(), importlib.import_module("featent.runs")
    finally:
        for k in [k for k in sys.modules if k == "featent" or k.startswith("featent.")]: del sys.modules[k]
        sys.modules.update(before)


def commands(code):
    "The featent commands of a shell block, as lists of words; what the shell would fill in counts as 0."
    code = re.sub(r"\\\n", " ", code)
    code = re.sub(r"(^|\s)#[^\n]*", r"\1", re.sub(r"\$\{?\w+\}?", "0", code))
    lexer = shlex.shlex(code, posix=True, punctuation_chars=";&|()\n")
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t\r", True, ""
    words = []
    for word in [*lexer, "\n"]:
        if set(word) <= set(";&|()\n") and word or word in ("do", "then"):
            if words and Path(words[0]).name == "featent": yield words[1:]
            words = []
        else: words.append(word)


def wrong(root, words):
    "What is wrong with the words of a featent command, or None."
    parser, runs = command_line(root)
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said): args = parser.parse_args(words)
    except SystemExit as e: return None if not e.code else " ".join(said.getvalue().split("error:")[-1].split())
    name = getattr(args, "experiment", None)
    if not name or name.endswith(".ipynb"): return None
    book = root/f"nbs/experiments/{name}.ipynb"
    if not book.exists(): return f"there is no experiment {name!r}"
    try: (runs.read_grid if args.do.__name__ == "_sweep" else runs.read_parameters)(book, [(k, v) for k, *v in args.p] if args.do.__name__ == "_sweep" else args.p)
    except ValueError as e: return str(e)


def check_code(root):
    "Commands and Python in texts are such as the package takes."
    known, modules = {n.name for n in public(root)} | {"__version__"}, {p.stem for p in (root/"featent").glob("*.py")}
    for p in [*pages(root), *documents(root)]:
        for number, text in texts(p):
            for line, code in blocks(text, "sh", "bash", "shell"):
                for words in commands(code):
                    if fault := wrong(root, words): yield f"{where(p.relative_to(root), number, line)}: `featent {' '.join(words)}`: {fault}"
            for line, code in blocks(text, "python", "py"):
                try: nodes = list(ast.walk(ast.parse(code)))
                except SyntaxError as e: yield f"{where(p.relative_to(root), number, line + (e.lineno or 1) - 1)}: not Python: {e.msg}"; continue
                for n in nodes:
                    if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name) and n.value.id in ("fe", "featent") and n.attr not in known | modules:
                        yield f"{where(p.relative_to(root), number, line + n.lineno - 1)}: {n.value.id}.{n.attr} is not a public name"


def alternatives(source):
    "The alternative texts of a code cell as Quarto reads them: one, or a list, from the options above its code."
    options = re.match(r"(?:#\|[^\n]*(?:\n|$))*", source)[0]
    found = re.search(r"^ ?fig-alt:.*(?:\n  .*)*", re.sub(r"^#\|", "", options, flags=re.M), re.M)
    said = yaml.safe_load(textwrap.dedent(found[0]))["fig-alt"] if found else None
    return [t.strip() if isinstance(t, str) else "" for t in (said if isinstance(said, list) else [said])]


def check_figures(root):
    "Every figure that code has drawn says what it shows to who cannot see it."
    for p in pages(root):
        for c in cells(p):
            pictures = sum(any(k.startswith("image/") for k in o.get("data", {})) for o in c.outputs)
            if not pictures: continue
            place = where(p.relative_to(root), c.number)
            try: texts = alternatives(c.source)
            except yaml.YAMLError: yield f"{place}: the alternative text is not valid YAML: put it into quotes"; continue
            if not all(texts): yield f"{place}: a figure without alternative text: say what it shows with `#| fig-alt: ...` above the code"
            elif len(texts) not in (1, pictures): yield f"{place}: {len(texts)} alternative texts for {pictures} figures"


CHECKS = (check_config, check_sidebar, check_titles, check_markdown, check_links, check_figures, check_alone, check_documents, check_names, check_toys, check_errors, check_api, check_references, check_code)


def faults(root, checks=CHECKS):
    "Everything that is wrong with the site of a repository."
    root = Path(root).resolve()
    for f in (cells, anchors, chapters, public, module_source, raising, command_line): f.cache_clear()
    return list(check_readable(root)) or [line for check in checks for line in check(root)]


def render(root):
    "Make the site in _docs with nbdev and Quarto, and put the sources that the API page links beside it."
    from nbdev.quarto import nbdev_docs
    try: nbdev_docs.__wrapped__(path=root/"nbs", n_workers=1)
    finally: (root/"nbs/nbdev.yml").unlink(missing_ok=True)
    shutil.copytree(root/"featent", root/"_docs/featent", ignore=lambda _, names: [n for n in names if not n.endswith(".py")], dirs_exist_ok=True)
    page = root/"_docs/api.html"
    page.write_text(page.read_text(encoding="utf-8").replace('href="../featent/', 'href="featent/').replace('href="./../featent/', 'href="featent/'), encoding="utf-8")


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", nargs="?", type=Path, default=HERE.parent, help="the repository (default: that of this file)")
    parser.add_argument("--write", action="store_true", help="write the table of the API page")
    args = parser.parse_args(argv)
    root = args.root.resolve()
    if args.write: write_api(root)
    found = faults(root)
    for line in found: print(line)
    if found: print(f"{len(found)} faults"); return 1
    print(f"{len(pages(root))} pages, {len(public(root))} public names: no fault")
    if shutil.which("quarto"): render(root)
    else: print("no quarto on the path: nothing is rendered")
    return 0


if __name__ == "__main__": sys.exit(main())
