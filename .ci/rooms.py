"Write what the notebooks' folders say: a stub for each room, and its part of the sidebar."

import re
import sys
from pathlib import Path

root = Path(__file__).parent.parent
ROOMS = {
    "tools": "What every room needs: files and locks, digests, words.",
    "data": "What goes in: images with labels, networks, the layers of a network and their maps.",
    "topology": "From a map to levels, births, Betti curves and diagrams.",
    "statistics": "From births and summaries to numbers with intervals.",
    "assessment": "The verb, its result, what survives a kill, the pictures of a result.",
    "studies": "What can be done with scores: tables out.",
    "explorers": "What can be touched.",
    "commands": "What can be typed.",
}


def chapters(room):
    "Names of a room's modules, in the order of its notebooks."
    books = sorted((root / "nbs" / room).glob("[0-9]*_*.ipynb"))
    return [re.sub(r"^\d+_", "", p.stem) for p in books]


def stub(room):
    "The text of a room's stub."
    lines = [f"from . import {name} as {name}" for name in chapters(room)]
    return "\n".join([f'"{ROOMS[room]}"', "", *lines]) + "\n"


def sidebar(text):
    "The site's sidebar with every chapter under the title of its room."
    for room in ROOMS:
        books = sorted((root / "nbs" / room).glob("[0-9]*_*.ipynb"))
        lines = "".join(f"              - {room}/{p.name}\n" for p in books)
        head = (
            rf'( {{10}}- section: "{room.title()}:[^\n]*\n {{12}}contents:\n)(?: {{14}}- [^\n]*\n)*'
        )
        text = re.sub(head, lambda m, lines=lines: m[1] + lines, text)
    return text


DOOR = """{doc}
import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
"""

if __name__ == "__main__":
    if "--list" in sys.argv:
        sys.exit(print(*(f"nbs/{room}" for room in ROOMS)))
    for room, about in ROOMS.items():
        folder = root / "featent" / room
        folder.mkdir(exist_ok=True)
        (folder / "__init__.py").write_text(DOOR.format(doc=f'"{about}"\n'), encoding="utf-8")
        (folder / "__init__.pyi").write_text(stub(room), encoding="utf-8")
    site = root / "_quarto.yml"
    site.write_text(sidebar(site.read_text(encoding="utf-8")), encoding="utf-8")
