"""Run the shell commands of the pages as they are written: python .ci/commands.py [PAGE ...]

featent must be on the path. Each page gets a folder of its own, with the files that its text shows
(a block of Python under a line that names the file) or that its cells write. Without a name, the
pages of `start` and `howto`. What needs the network or never ends is listed as left out. Takes
about half an hour, so it is not part of `.ci/run`.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NBS = Path(__file__).parents[1] / "nbs"
LEFT_OUT = {
    r"^(python3 -m venv|\. |pip install)": "made by the set-up of README",
    r"^jupyter lab$": "runs until it is stopped; the browser tests start it",
}
BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```", re.M | re.S)


def blocks(page):
    "The blocks of a page's text: (language, text, what stands before it)."
    cells = json.loads(page.read_text(encoding="utf-8"))["cells"]
    for text in ("".join(c["source"]) for c in cells if c["cell_type"] == "markdown"):
        for m in BLOCK.finditer(text):
            yield m[1], m[2], text[: m.start()]


def lines(text):
    "The commands of a block; a line that ends in a backslash goes on."
    return [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]


def read_along(page, folder):
    "Run the page's cells before the first command, if they write a file that a command names."
    import nbformat
    from nbclient import NotebookClient

    book, texts = (
        nbformat.read(page, 4),
        [text for language, text, _ in blocks(page) if language == "sh"],
    )
    book.cells = book.cells[: next((i for i, c in enumerate(book.cells) if "```sh" in c.source), 0)]
    code = "\n".join(c.source for c in book.cells if c.cell_type == "code")
    files = {
        w.split(":")[0]
        for text in texts
        for w in text.split()
        if re.fullmatch(r"\w+\.(py|pt)(:\w+)?", w)
    }
    copied = f"shutil.copytree('.', {str(folder)!r}, dirs_exist_ok=True)"
    aside = f"import os, shutil; os.path.samefile('.', {str(folder)!r}) or {copied}"
    book.cells.append(nbformat.v4.new_code_cell(aside))  # a page may work in its own folder
    if any(f'"{f}"' in code for f in files):
        NotebookClient(book, timeout=None, resources={"metadata": {"path": folder}}).execute()


def run(command, folder):
    "Exit status, seconds, and the end of what was said."
    env, start = (
        {
            **os.environ,
            "TQDM_DISABLE": "1",
            "SLURM_ARRAY_TASK_ID": os.environ.get("SLURM_ARRAY_TASK_ID", "0"),
        },
        time.time(),
    )
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=env, capture_output=True, text=True, check=False
    )
    said = (done.stderr if done.returncode else done.stdout).strip().splitlines()
    return done.returncode, time.time() - start, said[-1] if said else ""


def try_page(name):
    "Every command of a page; how many fail."
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        read_along(NBS / f"{name}.ipynb", folder)
        for language, text, before in blocks(NBS / f"{name}.ipynb"):
            if language == "python":
                if named := re.findall(r"`(\w+\.py)`", before):
                    Path(folder, named[-1]).write_text(text, encoding="utf-8")
                continue
            for command in lines(text):
                if why := next((w for p, w in LEFT_OUT.items() if re.search(p, command)), None):
                    print(f"{name}: left out ({why}): {command}", flush=True)
                    continue
                code, seconds, said = run(command, folder)
                failed += code != 0
                state = "ok" if code == 0 else f"FAILED ({code})"
                told = f"{name}: {state}, {seconds:.0f} s: {command}\n    {said}"
                print(told, flush=True)
    return failed


if __name__ == "__main__":
    pages = sys.argv[1:] or sorted(
        p.relative_to(NBS).with_suffix("").as_posix()
        for d in ("start", "howto")
        for p in (NBS / d).glob("*.ipynb")
    )
    sys.exit(1 if sum(map(try_page, pages)) else 0)
