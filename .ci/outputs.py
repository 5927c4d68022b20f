"""Run the pages of the book and compare what their cells say with what is stored.

    python .ci/outputs.py [PART ...]   the pages whose path has PART; all but the experiments

A cell fails as it would for a reader, or says something else than its stored output. Numbers may
differ by 2%, since other processors add in another order. On a page that trains a network this
grows to other weights: there words are compared, and numbers are not. A cell that tells times or
sizes of this machine has the tag `varies`, and is run without comparing.
"""

import json
import multiprocessing
import os
import re
import sys
import time
from pathlib import Path

NBS = Path(__file__).resolve().parents[1] / "nbs"
NUMBER = re.compile(r"-?\d+\.?\d*(?:e[-+]?\d+)?")
SPACE = re.compile(r"[\s\-─]+")
TAG = re.compile(r"<style.*?</style>|<[^>]*>", re.S)
TRAINS = re.compile(r"\b(train|train_zoo|monitor|assess_checkpoints)\(")
WIDGET = "application/vnd.jupyter.widget-view+json"
SKIPPED = re.compile(r"^#\|\s*(eval:\s*false|slow|gpu)\b", re.M)


def pages(parts):
    "The notebooks that are run."
    found = sorted(NBS.rglob("*.ipynb"))
    folders = ("experiments",)
    inner = lambda p: p.relative_to(NBS).parts
    found = [p for p in found if inner(p)[0] not in folders]
    found = [p for p in found if not any(x[0] in "._" or "featent-" in x for x in inner(p))]
    return [p for p in found if not parts or any(x in p.as_posix() for x in parts)]


def said(cell):
    "What a cell says as text: printed words, values, tables."
    texts = []
    for output in cell.get("outputs", []):
        if output["output_type"] == "stream" and output["name"] == "stdout":
            texts.append("".join(output["text"]))
        data = output.get("data", {})
        plain, table = ("".join(data.get(f"text/{kind}", "")) for kind in ("plain", "html"))
        if WIDGET in data or re.match(r"<\S+.*\bat 0x|<Figure", plain):
            continue  # a bar, an explorer, a picture
        texts.append(TAG.sub(" ", table) if "<table" in table else plain)
    return "\n".join(texts)


def close(a, b):
    "Whether two numbers, as text, are equal within what processors may differ."
    a, b = float(a), float(b)
    return abs(a - b) <= 0.02 * max(1e-9, abs(a), abs(b)) or abs(a - b) <= 1e-6


def same(old, new, trained):
    "Whether two texts say the same; on a page that trains, but for the numbers."
    words = [SPACE.sub(" ", NUMBER.sub("#", text)).strip() for text in (old, new)]
    if trained:
        return set(words[0].split()) == set(words[1].split())
    numbers = [NUMBER.findall(text) for text in (old, new)]
    return words[0] == words[1] and all(map(close, *numbers))


def execute(path):
    "The cells of a notebook as a fresh shell leaves them; their errors are raised."
    from execnb.shell import CaptureShell
    from fastcore.nbio import read_nb

    book, shell = read_nb(path), CaptureShell(path)
    os.chdir(path.parent)
    skipped = lambda cell: cell.cell_type != "code" or SKIPPED.search(cell.source)
    shell.run_all(book, exc_stop=True, preproc=skipped)
    return book.cells


def preload():
    "What the pages import, once for all processes."
    import importlib

    import matplotlib.pyplot  # noqa: F401

    import featent

    for room in ("data", "topology", "statistics", "assessment", "studies", "explorers"):
        folder = importlib.import_module(f"featent.{room}")
        for chapter in dir(folder):
            getattr(folder, chapter)
    return featent


def faults(path):
    "What is wrong with a page, in words."
    name = path.relative_to(NBS.parent)
    stored = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = ["".join(c["source"]) for c in stored if c["cell_type"] == "code"]
    trained = any(map(TRAINS.search, code))
    try:
        fresh = execute(path)
    except Exception as e:
        return [f"{name}: a cell fails: {type(e).__name__}: {e!s:.300}"]
    found = []
    for i, (old, new) in enumerate(zip(stored, fresh), 1):
        varies = "varies" in old["metadata"].get("tags", [])
        if old["cell_type"] != "code" or varies or SKIPPED.search("".join(old["source"])):
            continue
        if not same(said(old), said(new), trained):
            found.append(f"{name}, cell {i}: stored {said(old)!r:.300}\n    now {said(new)!r:.300}")
    return found


def main(parts):
    os.environ.update(TQDM_DISABLE="1", MPLBACKEND="module://matplotlib_inline.backend_inline")
    begin, every = time.perf_counter(), pages(parts)
    preload()
    with multiprocessing.get_context("fork").Pool(2, maxtasksperchild=1) as pool:
        found = [line for lines in pool.imap(faults, every) for line in lines]
    print("\n".join(found))
    print(f"{len(every)} pages in {time.perf_counter() - begin:.0f} s: {len(found)} faults")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
