"Packaging: every fact about the package is read from settings.ini."

import json
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
config = ConfigParser(delimiters=["="])
config.read(here / "settings.ini", encoding="utf-8")
cfg = config["DEFAULT"]


def lines(key):
    return [o.strip() for o in cfg[key].splitlines() if o.strip()]


def bare(path):
    "Content of a notebook without its outputs, for the launcher of JupyterLab"
    book = json.loads(path.read_text(encoding="utf-8"))
    for cell in book["cells"]:
        if cell["cell_type"] == "code":
            cell.update(outputs=[], execution_count=None)
    return book


def headline(name, book):
    "Name, title and description of an experiment, from the first cell of its notebook"
    title, description = [
        line for line in "".join(book["cells"][0]["source"]).splitlines() if line.strip()
    ][:2]
    return {"name": name, "title": title.lstrip("# "), "description": description.lstrip("> ")}


def lay_out(folder):
    "Put the experiments' bare notebooks and their list into the extension's folder"
    books = {p.stem: bare(p) for p in sorted((here / "nbs/experiments").glob("*.ipynb"))}
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        if old.stem not in books:
            old.unlink()
    for name, book in books.items():
        (folder / f"{name}.ipynb").write_text(json.dumps(book, indent=1), encoding="utf-8")
    (folder / "index.json").write_text(
        json.dumps([headline(*item) for item in books.items()], indent=1), encoding="utf-8"
    )


def extension_files():
    "Files of the prebuilt JupyterLab extension by the folder where they are installed"
    source = here / "featent/labextension"
    lay_out(source / "notebooks")
    folders = [source, *sorted(p for p in source.iterdir() if p.is_dir())]
    return [
        (
            "/".join(["share/jupyter/labextensions/featent", *f.relative_to(source).parts]),
            [p.relative_to(here).as_posix() for p in sorted(f.iterdir()) if p.is_file()],
        )
        for f in folders
    ]


packages = find_packages(include=["featent", "featent.*"], exclude=["featent.labextension*"])

setup(
    name=cfg["name"],
    version=cfg["version"],
    description=cfg["description"],
    author=cfg["author"],
    license=cfg["license"],
    keywords=cfg["keywords"].split(),
    python_requires=f">={cfg['min_python']}",
    long_description=(here / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    install_requires=lines("requirements"),
    extras_require={
        key.removeprefix("extra_"): lines(key) for key in cfg if key.startswith("extra_")
    },
    packages=[*packages, "featent.experiments"],
    package_dir={
        "featent": "featent",
        "featent.experiments": "nbs/experiments",
    },  # experiments are notebooks: shipped as they are
    package_data={
        **{name: ["*.pyi"] for name in packages},
        "featent": ["*.pyi", "wnids.txt", "page/*"],
        "featent.experiments": ["*.ipynb"],
    },
    data_files=extension_files(),
    entry_points={
        "console_scripts": ["featent=featent.commands.cli:main"],
        "nbdev": ["featent=featent._modidx:d"],
    },
)
