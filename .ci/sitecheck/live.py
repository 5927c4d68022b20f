"Live pages of the site: made while it is built, by the code of the page that shows them."

import json

PAGES = {"start/atlas_digits.html": "start/atlas.ipynb"}  # live page: the one whose code makes it


def known(root, path):
    "Whether a path is that of a live page."
    return any(path == (root / "nbs" / name).resolve() for name in PAGES)


def made(book):
    "The live page that the code of a page makes, under the name `atlas`."
    names = {}
    for cell in json.loads(book.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    return names["atlas"].page()


def write(root, folder):
    "Make the live pages of those pages that are in a folder."
    for name, book in PAGES.items():
        if (folder / book).with_suffix(".html").is_file():
            (folder / name).write_text(made(root / "nbs" / book), encoding="utf-8")
