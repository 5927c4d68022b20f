"Packaging: every fact about the package is read from settings.ini."
from configparser import ConfigParser
from pathlib import Path

from setuptools import setup

here = Path(__file__).parent
config = ConfigParser(delimiters=["="])
config.read(here/"settings.ini", encoding="utf-8")
cfg = config["DEFAULT"]

def lines(key): return [o.strip() for o in cfg[key].splitlines() if o.strip()]

setup(
    name=cfg["name"], version=cfg["version"], description=cfg["description"], author=cfg["author"],
    license=cfg["license"], keywords=cfg["keywords"].split(), python_requires=f">={cfg['min_python']}",
    long_description=(here/"README.md").read_text(encoding="utf-8"), long_description_content_type="text/markdown",
    install_requires=lines("requirements"),
    extras_require={key.removeprefix("extra_"): lines(key) for key in cfg if key.startswith("extra_")},
    packages=["featent", "featent.experiments"],
    package_dir={"featent": "featent", "featent.experiments": "nbs/experiments"},  # experiments are notebooks: shipped as they are
    package_data={"featent.experiments": ["*.ipynb"]},
    entry_points={"console_scripts": ["featent=featent.cli:main"], "nbdev": ["featent=featent._modidx:d"]},
)
