"""Real images and networks for the tests, outside the repository: where FEATENT_SHARED says."""

import gzip
import importlib.util
import os
import shutil
import sys
import tarfile
from pathlib import Path

import pytest

sys.modules.setdefault("rfc3987_syntax", None)  # jsonschema would take a second to load it
if workers := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):  # they share the cores of the machine
    share = (os.cpu_count() or 1) // int(workers)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, share)))

LONG = (
    "resume lab explorers training preflight patterns explorer cli magics roles kernels zoo".split()
)


def pytest_configure(config):
    "The order of the files is that of `pytest_collection_modifyitems`, in several processes too."
    config.option.loadscopereorder = False


def pytest_collection_modifyitems(items):
    "Files that take long begin first, so that no process is left alone with one at the end."
    last = len(LONG)
    place = {f"test_{name}": k for k, name in enumerate(LONG)}
    items.sort(key=lambda item: place.get(item.path.stem, last))


@pytest.fixture(scope="session")
def shared():
    "Folder with the shared data; where it is absent tests are skipped, and fail where CI is set."
    path = Path(
        os.environ.get("FEATENT_SHARED") or Path(__file__).resolve().parents[1].parent / "shared"
    )
    if not (path / "data").is_dir():
        text = "the shared data are absent: set FEATENT_SHARED to the folder that holds data/"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(text)
    return path


def unpack(archive, into):
    "Extract a tar file; the 'data' filter refuses links, devices and paths that lead outside."
    with tarfile.open(archive) as tar:
        tar.extractall(into, filter="data")
    return into


@pytest.fixture(scope="session")
def cifar10_dir(shared, tmp_path_factory):
    "Folder cifar10 with train/<class>/*.png and test/<class>/*.png"
    return (
        unpack(shared / "data/images/cifar10.tar", tmp_path_factory.mktemp("cifar10")) / "cifar10"
    )


@pytest.fixture(scope="session")
def imagenette_dir(shared, tmp_path_factory):
    "Folder imagenette224 with val/<wnid>/*.JPEG"
    return (
        unpack(shared / "data/images/imagenette224_val.tar", tmp_path_factory.mktemp("imagenette"))
        / "imagenette224"
    )


@pytest.fixture(scope="session")
def fashion_root(shared, tmp_path_factory):
    "Root folder for torchvision's FashionMNIST, unpacked"
    root = tmp_path_factory.mktemp("fashion")
    raw = root / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for packed in sorted((shared / "data/images/FashionMNIST/raw").glob("*.gz")):
        with gzip.open(packed) as a, open(raw / packed.stem, "wb") as b:
            shutil.copyfileobj(a, b)
    return root


@pytest.fixture(scope="session")
def weights(shared):
    "Folder of the stored network weights"
    return shared / "data" / "weights"


@pytest.fixture(scope="session")
def archs(shared):
    "Module with the architectures of the stored weights that torchvision lacks"
    spec = importlib.util.spec_from_file_location("archs", shared / "data" / "archs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def imagenet_index(shared):
    "Output index of an ImageNet wnid: its line in the list of the 1,000 classes"
    lines = (shared / "data" / "imagenet_synset_words.txt").read_text().splitlines()
    return {line.split()[0]: i for i, line in enumerate(lines)}


@pytest.fixture(scope="session")
def lab_server(tmp_path_factory):
    "A running JupyterLab, see lab.py; without a browser tests skip, and fail where CI is set."
    import lab

    if text := lab.missing():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(text)
    with lab.serve(tmp_path_factory.mktemp("lab")) as server:
        yield server


@pytest.fixture(scope="module")
def lab(lab_server):
    "JupyterLab with a browser: `with lab.page() as page: page.open(lab.write('a.ipynb', '1 + 1'))`"
    import lab

    with lab.browse(lab_server) as server:
        yield server
