"Write what makes the rooms known without loading them: a stub for each, from the notebooks."

import re
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


DOOR = """{doc}
import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
"""

if __name__ == "__main__":
    for room, about in ROOMS.items():
        folder = root / "featent" / room
        folder.mkdir(exist_ok=True)
        (folder / "__init__.py").write_text(DOOR.format(doc=f'"{about}"\n'), encoding="utf-8")
        (folder / "__init__.pyi").write_text(stub(room), encoding="utf-8")
