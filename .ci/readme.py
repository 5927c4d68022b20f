"Write README.md from nbs/index.ipynb: its Markdown as it is, its code in fences."
import json
from pathlib import Path

root = Path(__file__).parent.parent


def part(cell):
    text = "".join(cell["source"]).strip()
    return text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```"


cells = json.loads((root/"nbs/index.ipynb").read_text(encoding="utf-8"))["cells"]
page = "\n\n".join(part(c) for c in cells if "".join(c["source"]).strip() and not "".join(c["source"]).startswith("#|"))
(root/"README.md").write_text(page.replace("](images/", "](nbs/images/") + "\n", encoding="utf-8")
