"""Write the live atlas of the site, nbs/start/atlas_digits.html.

`python .ci/demo.py` puts the parts that are there into today's page, which is to be done when the
front end changes. `python .ci/demo.py --new` makes the parts too, by the lines of the page beside
it, which is to be done when what is in the parts changes.
"""

import json
import sys
from pathlib import Path

from featent.explorers.atlas_pages import page_text, parts_in_page

START = Path(__file__).resolve().parent.parent / "nbs/start"
DEMO, BOOK = START / "atlas_digits.html", START / "atlas.ipynb"


def wrapped():
    "The demonstration's parts in today's page."
    parts = parts_in_page(DEMO).texts
    return page_text(json.loads(parts["index"])["title"], parts)


def made():
    "What the page's own lines make."
    names = {}
    for cell in json.loads(BOOK.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    return names["atlas"].page()


if __name__ == "__main__":
    DEMO.write_text(made() if "--new" in sys.argv else wrapped(), encoding="utf-8")
