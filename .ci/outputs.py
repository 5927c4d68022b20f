"""Run the pages of the book and compare what their cells say with what is stored.

    python .ci/outputs.py [PART ...]   the pages whose path has PART; all but the experiments

A cell fails as it would for a reader, or says something else than its stored output. Numbers may
differ by 2% (other processors add in another order); a cell that tells times or sizes of this
machine has the tag `varies`, and is run without comparing.
"""

import json
import os
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

NBS = Path(__file__).resolve().parents[1] / "nbs"
NUMBER = re.compile(r"-?\d+\.?\d*(?:e[-+]?\d+)?")
SPACE = re.compile(r"[\s\-─]+")
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
        text = None if WIDGET in data else data.get("text/plain")  # a bar, or an explorer
        if text is not None and not re.match(r"<\S+.*\bat 0x|<Figure", "".join(text)):
            texts.append("".join(text))
    return "\n".join(texts)


def close(a, b):
    "Whether two numbers, as text, are equal within what processors may differ."
    a, b = float(a), float(b)
    return abs(a - b) <= 0.02 * max(1e-9, abs(a), abs(b)) or abs(a - b) <= 1e-6


def same(old, new):
    "Whether two texts say the same."
    words = [SPACE.sub(" ", NUMBER.sub("#", text)) for text in (old, new)]
    numbers = [NUMBER.findall(text) for text in (old, new)]
    return words[0] == words[1] and all(map(close, *numbers))


def execute(path):
    "The notebook as a fresh kernel leaves it; its errors are raised."
    import nbformat
    from nbclient import NotebookClient

    book = nbformat.read(path, 4)
    for cell in book.cells:
        if cell.cell_type == "code" and SKIPPED.search(cell.source):
            cell.source = ""
    place = {"metadata": {"path": str(path.parent)}}
    quiet = ["--IPKernelApp.log_level=50"]
    client = NotebookClient(
        book, timeout=None, kernel_name="python3", resources=place, extra_arguments=quiet
    )
    client.execute()
    return book


def faults(path):
    "What is wrong with a page, in words."
    name = path.relative_to(NBS.parent)
    stored = json.loads(path.read_text(encoding="utf-8"))["cells"]
    try:
        fresh = execute(path)["cells"]
    except Exception as e:
        last = [line for line in str(e).splitlines() if line.strip()][-3:]
        return [f"{name}: a cell fails: {' / '.join(last)}"]
    found = []
    for i, (old, new) in enumerate(zip(stored, fresh), 1):
        varies = "varies" in old["metadata"].get("tags", [])
        if old["cell_type"] != "code" or varies or SKIPPED.search("".join(old["source"])):
            continue
        if not same(said(old), said(new)):
            found.append(f"{name}, cell {i}: stored {said(old)!r:.300}\n    now {said(new)!r:.300}")
    return found


def main(parts):
    os.environ.update(TQDM_DISABLE="1", MPLBACKEND="module://matplotlib_inline.backend_inline")
    begin, every = time.perf_counter(), pages(parts)
    with ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        found = [line for lines in pool.map(faults, every) for line in lines]
    print("\n".join(found))
    print(f"{len(every)} pages in {time.perf_counter() - begin:.0f} s: {len(found)} faults")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
