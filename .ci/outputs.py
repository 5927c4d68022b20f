"""Run the pages of the book and compare what their cells say with what is stored.

    python .ci/outputs.py [PART ...]   the pages whose path has PART; all but the experiments
    python .ci/outputs.py --numbers    numbers that differ are faults as well
    python .ci/outputs.py --warm       no page: only what all of them load, so that it is compiled

A fault is a cell that fails, as it would for a reader, or that says other words than are stored.
Other processors add in another order: numbers that differ by more than 2% are told, and are faults
where `--numbers` asks for that. On a page that trains a network the order grows to other weights:
there a word that stands nowhere on the page, such as a new column, is told in the same way. A cell
that tells times or sizes of a machine has the tag `varies`.
"""

import json
import multiprocessing
import os
import re
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from remembered import remember

NBS = Path(__file__).resolve().parents[1] / "nbs"
NUMBER = re.compile(r"-?\d+\.?\d*(?:e[-+]?\d+)?")
SPACE = re.compile(r"[\s\-─]+")
TAG = re.compile(r"<style.*?</style>|<[^>]*>", re.S)
TRAINS = re.compile(r"\b(train|train_zoo|monitor|assess_checkpoints)\(")
HASH = re.compile(r"\b(?=[a-f]*\d)[0-9a-f]{8,}\b")
WORD = re.compile(r"[^\W\d]{3,}")
WIDGET = "application/vnd.jupyter.widget-view+json"
SKIPPED = re.compile(r"^#\|\s*(eval:\s*false|slow|gpu)\b", re.M)
SLOW = 30  # seconds of a page that are told
ROOMS = "data topology statistics assessment studies explorers".split()


def pages(parts):
    "The notebooks that are run."
    inner = lambda p: p.relative_to(NBS).parts
    found = [p for p in sorted(NBS.rglob("*.ipynb")) if inner(p)[0] != "experiments"]
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
        if plain.startswith("<IPython.core.display.Markdown"):
            plain = "".join(data.get("text/markdown", ""))  # which the object does not tell
        if WIDGET in data or re.match(r"<\S+.*\bat 0x|<Figure", plain):
            continue  # a bar, an explorer, a picture
        texts.append(TAG.sub(" ", table) if "<table" in table else plain)
    return "\n".join(texts)


def close(a, b):
    "Whether two numbers, as text, are equal within what processors may differ."
    if a == b:  # also where the digits of a key read as infinite
        return True
    a, b = float(a), float(b)
    return abs(a - b) <= 0.02 * max(1e-9, abs(a), abs(b)) or abs(a - b) <= 1e-6


def words(text):
    "A text without its numbers and its layout."
    text = re.sub(r"\b(Posix|Windows)Path\(", "Path(", text)
    text = HASH.sub("hash", text)
    return SPACE.sub(" ", NUMBER.sub("#", text)).strip()


def differs(old, new, known):
    "In what two texts differ: words, numbers, or nothing; `known`: the page's words, if it trains."
    if known:
        return "numbers" if set(WORD.findall(words(new))) - known else None
    if words(old) != words(new):
        return "words"
    numbers = zip(NUMBER.findall(old), NUMBER.findall(new))
    return None if all(close(a, b) for a, b in numbers) else "numbers"


def execute(path):
    "The cells of a notebook as a fresh shell leaves them; their errors are raised."
    from execnb.shell import CaptureShell
    from fastcore.nbio import read_nb

    book, shell = read_nb(path), CaptureShell(path)
    os.chdir(path.parent)
    skipped = lambda cell: cell.cell_type != "code" or SKIPPED.search(cell.source)
    shell.run_all(book, exc_stop=True, preproc=skipped)
    return book.cells


def vocabulary(cells):
    "All words of a page that trains a network; none of any other."
    code = ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]
    if not any(map(TRAINS.search, code)):
        return set()
    texts = ["".join(c["source"]) + "\n" + said(c) for c in cells]
    return set(WORD.findall(words("\n".join(texts))))


def faults(path):
    "(kind, words) of what is wrong with a page."
    name = path.relative_to(NBS.parent)
    stored = json.loads(path.read_text(encoding="utf-8"))["cells"]
    known = vocabulary(stored)
    try:
        fresh = execute(path)
    except Exception as e:
        return [("failure", f"{name}: a cell fails: {type(e).__name__}: {e!s:.300}")]
    found = []
    for i, (old, new) in enumerate(zip(stored, fresh), 1):
        varies = "varies" in old["metadata"].get("tags", [])
        if old["cell_type"] != "code" or varies or SKIPPED.search("".join(old["source"])):
            continue
        if kind := differs(said(old), said(new), known):
            texts = (" ".join(said(cell).split()) for cell in (old, new))
            both = "\n    now    ".join(f"{text:.300}" for text in texts)
            found.append(
                (kind, f"{name}, cell {i}: says something else ({kind})\n    stored {both}")
            )
    return found


def timed(path):
    "What is wrong with a page, and the seconds that it took."
    begin = time.perf_counter()
    return faults(path), time.perf_counter() - begin


def preload():
    "What the pages import, once for all processes."
    import importlib

    import matplotlib.pyplot  # noqa: F401
    import numpy as np
    import pandas as pd

    import featent

    pd.set_option("display.max_columns", 20)  # as in a kernel
    for room in ROOMS:
        folder = importlib.import_module(f"featent.{room}")
        for chapter in dir(folder):
            getattr(folder, chapter)
    for filtration in ("clique", "cubical"):  # the kernels are read from their cache once
        featent.births(np.eye(6), filtration)


def warm():
    "Load what the pages load, and every kernel."
    from featent.topology.kernels import warm_up

    preload()
    warm_up()
    return 0


def told(page, found, seconds):
    "Print what is wrong with a page, or that it is slow."
    if found or seconds > SLOW:
        name = page.relative_to(NBS)
        print(*(line for _, line in found), f"{name}: {seconds:.0f} s", sep="\n", flush=True)


def main(given):
    inline = "module://matplotlib_inline.backend_inline"
    os.environ.update(TQDM_DISABLE="1", MPLBACKEND=inline, OMP_NUM_THREADS="1")
    if "--warm" in given:
        return warm()
    grave = {"failure", "words", *(["numbers"] if "--numbers" in given else [])}
    begin, count = time.perf_counter(), 0
    every = pages([word for word in given if not word.startswith("-")])
    every = every[::2] + every[1::2]  # neighbours often train the same, one after the other
    with tempfile.TemporaryDirectory() as trained:
        remember(trained)
        preload()
        with ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as pool:
            for page, (found, seconds) in zip(every, pool.map(timed, every)):
                count += sum(kind in grave for kind, _ in found)
                told(page, found, seconds)
    print(f"{len(every)} pages in {time.perf_counter() - begin:.0f} s: {count} faults")
    return 1 if count else 0


if __name__ == "__main__":
    import outputs  # this file under its name: a shell takes the place of `__main__`

    sys.exit(outputs.main(sys.argv[1:]))
