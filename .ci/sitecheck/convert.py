"From a notebook that nbdev has prepared to a page of HTML, by pandoc, in the site's layout."

import base64
import html
import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import yaml

from .config import built_name

HERE = Path(__file__).resolve().parent
EXTENSIONS = "markdown+emoji-implicit_figures"


def options(source):
    "({option: value}, code below them) of a cell."
    above = re.match(r"(?:#\|[^\n]*(?:\n|$))*", source)[0]
    said = yaml.safe_load(re.sub(r"^#\| ?", "", above, flags=re.M) or "{}")
    return (said if isinstance(said, dict) else {}), source[len(above) :].strip("\n")


def fence(text, kind):
    ticks = "`" * max([3, *(len(m) + 1 for m in re.findall(r"`{3,}", text))])
    return f"{ticks} {{{kind}}}\n{text}\n{ticks}"


class Page:
    "The Markdown of a page, and the pictures that its cells have drawn."

    def __init__(self, name):
        self.name, self.parts, self.pictures, self.meta = name, [], {}, {}

    def add(self, cell):
        source = cell.source
        if cell.cell_type == "raw":
            self.meta.update(yaml.safe_load(source.strip().strip("-")) or {})
        elif cell.cell_type == "markdown":
            self.parts.append(alternative(source))
        else:
            self.code(cell, *options(source))

    def code(self, cell, said, code):
        if said.get("include") is False:
            return
        if said.get("echo", True) and code:
            shown = fence(code, ".python .cell-code")
            summary = html.escape(str(said.get("code-summary", "Code")))
            if said.get("code-fold"):
                shown = f"<details><summary>{summary}</summary>\n\n{shown}\n\n</details>"
            self.parts.append(shown)
        texts = said.get("fig-alt")
        texts = iter(texts if isinstance(texts, list) else [texts] * len(cell.get("outputs", [])))
        for output in cell.get("outputs", []):
            made = self.output(output, texts)
            if made and said.get("output", True) is not False:
                asis = said.get("output") == "asis"
                self.parts.append(made if asis else f":::: {{.cell-output}}\n{made}\n::::")

    def output(self, output, texts):
        "One output as Markdown."
        data = {k: "".join(v) for k, v in output.get("data", {}).items()}
        for kind, ending in (("image/svg+xml", "svg"), ("image/png", "png"), ("image/jpeg", "jpg")):
            if kind in data:
                return self.picture(data[kind], ending, next(texts, None))
        if "text/html" in data:
            return f"```{{=html}}\n{data['text/html']}\n```"
        if "text/markdown" in data:
            return data["text/markdown"]
        text = data.get("text/plain") or "".join(output.get("text", ""))
        text = "\n".join(output["traceback"]) if "traceback" in output else text
        return fence(text.rstrip("\n"), ".output") if text.strip() else None

    def picture(self, data, ending, alternative):
        name = f"{Path(self.name).stem}_files/figure-{len(self.pictures) + 1}.{ending}"
        self.pictures[name] = data.encode() if ending == "svg" else base64.b64decode(data)
        return f'<p><img src="{name}" alt="{html.escape(alternative or "")}"></p>'


def links(text):
    "Links to notebooks become links to the pages that are made of them."

    def made(m):
        target, _, anchor = m[1].partition("#")
        return f'href="{built_name(target)}{"#" + anchor if anchor else ""}"'

    return re.sub(r'href="((?!\w+:)[^"]*?\.ipynb(?:#[^"]*)?)"', made, text)


PICTURE = re.compile(r"!\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)(\{[^{}]*\})?")


def alternative(text):
    "Quarto takes the alternative text of a Markdown picture from `fig-alt` alone: so do we."

    def made(m):
        said = re.search(r'fig-alt="([^"]*)"', m[3] or "")
        return f"![{said[1] if said else ''}]({m[2]})"

    return PICTURE.sub(made, text)


def job(root, path, notebook, folder):
    "What pandoc needs to make a page; its pictures are written."
    name = built_name(path.relative_to(root / "nbs").as_posix())
    page, target = Page(name), folder / name
    for cell in notebook.cells:
        page.add(cell)
    target.parent.mkdir(parents=True, exist_ok=True)
    for picture, data in page.pictures.items():
        (target.parent / picture).parent.mkdir(parents=True, exist_ok=True)
        (target.parent / picture).write_bytes(data)
    title = str(page.meta.get("title", path.stem))
    variables = {
        "title": title,
        "pagetitle": re.sub(r"[`*]", "", title),
        "subtitle": str(page.meta.get("description", "")),
        "up": "../" * name.count("/"),
    }
    text = "\n\n".join(page.parts)
    return {"text": text, "format": EXTENSIONS, "variables": variables, "target": str(target)}


def write(jobs):
    "Make pages by one pandoc: to load its rules for the colours of code takes longer than a page."
    import pypandoc

    with tempfile.TemporaryDirectory() as folder:
        asked = Path(folder) / "jobs.json"
        asked.write_text(json.dumps(jobs), encoding="utf-8")
        script, template = (str(HERE / name) for name in ("pages.lua", "page.html"))
        command = [pypandoc.get_pandoc_path(), "lua", script, str(asked), template]
        subprocess.run(command, check=True)
    for target in (Path(made["target"]) for made in jobs):
        target.write_text(links(target.read_text(encoding="utf-8")), encoding="utf-8")


def rules(path):
    "The rules of a style of the site that are plain CSS."
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    parts = re.split(r"^/\*-- scss:(\w+) --\*/\s*$", text, flags=re.M)
    return "\n".join(body for kind, body in zip(parts[1::2], parts[2::2]) if kind == "rules")


def copy_images(root, folder):
    "The pictures of the site, and its styles."
    for path in (root / "nbs").rglob("*"):
        if path.suffix in (".png", ".svg", ".jpg"):
            target = folder / path.relative_to(root / "nbs")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    own = rules(root / "nbs/offline.scss")
    layout = (HERE / "page.css").read_text(encoding="utf-8")
    (folder / "site.css").write_text(layout + own, encoding="utf-8")
