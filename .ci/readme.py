"Write README.md from nbs/index.ipynb and CHANGELOG.md from nbs/changelog.ipynb."

import json
import re
from pathlib import Path

root = Path(__file__).parent.parent
PAGES = {"README.md": "index.ipynb", "CHANGELOG.md": "changelog.ipynb"}


def part(cell):
    text = "".join(cell["source"]).strip()
    return text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```"


def page(path):
    "A notebook as Markdown, its links as they are seen from the root."
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    sources = ("".join(c["source"]) for c in cells)
    shown = [c for c, s in zip(cells, sources) if s.strip() and not s.startswith("#|")]
    text = "\n\n".join(map(part, shown))
    text = re.sub(r"!\[\]\((\S+)\)\{fig-alt=\"([^\"]*)\"\}", r"![\2](\1)", text)
    return re.sub(r"\]\((?!\w+:|#|/)", "](nbs/", text) + "\n"


if __name__ == "__main__":
    for name, notebook in PAGES.items():
        if (root / "nbs" / notebook).exists():
            (root / name).write_text(page(root / "nbs" / notebook), encoding="utf-8")
