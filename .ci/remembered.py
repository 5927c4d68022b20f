"""Many pages train the same small networks and take them apart: here that is done once.

Training is determined by network, images and settings (a test says so), so a page that asks for
what another page has trained already is given that: weights, record, history. A training that
writes files, calls back or augments is done each time.
"""

import functools
import hashlib
import importlib
import inspect
import os
import pickle
import shutil
import uuid
from pathlib import Path

ALONE = ("checkpoints", "resume", "callback", "augment", "device")  # never taken from elsewhere


def remember(folder):
    "Let `train`, `train_zoo` and `ablate` look into a folder of this run before they work."
    remember_networks(folder)
    remember_zoos(folder)
    remember_ablations(folder)


def remember_ablations(folder):
    "One walk along the same orders through the same network, with and without its samples."
    from featent.data.records import weights_hash

    module = importlib.import_module("featent.studies.ablation")
    real = module.ablate

    @functools.wraps(real)
    def ablate(network, images, layer, orders, *more, per_image=False, **options):
        if more or options or not isinstance(images, dict):
            return real(network, images, layer, orders, *more, per_image=per_image, **options)
        parts = [weights_hash(network), network, getattr(network, "featent", None), layer]
        parts += [x for k, v in images.items() for x in (k, *shown_images(v))]
        file = Path(folder) / digest([*parts, pickle.dumps(orders)])
        if not file.exists():
            found = real(network, images, layer, orders, per_image=True)
            write_once(found, file)
        found = pickle.loads(file.read_bytes())  # written by this run
        return found if per_image else found[0]

    module.ablate = ablate


def remember_zoos(store):
    "A zoo is a folder: one that is there is copied, and `train_zoo` finds it finished."
    module = importlib.import_module("featent.studies.zoo")
    real = module.train_zoo

    @functools.wraps(real)
    def train_zoo(plans, images, test, folder, **options):
        asked = repr((plans.to_csv() if hasattr(plans, "to_csv") else plans, options))
        parts = [asked, *shown_images(images), *shown_images(test)]
        kept, folder = Path(store) / digest(parts), Path(folder)
        if kept.is_dir() and not folder.exists():
            shutil.copytree(kept, folder)
        began = folder.exists()
        table = real(plans, images, test, folder, **options)
        if not (began or kept.exists()):
            work = kept.with_name(uuid.uuid4().hex)
            os.replace(shutil.copytree(folder, work), kept)
        return table

    module.train_zoo = train_zoo


def remember_networks(folder):
    "Networks by what they were before, their images and their settings."
    trainer = importlib.import_module("featent.data.trainer")
    real = trainer.train

    @functools.wraps(real)
    def train(*args, **options):
        call = inspect.signature(real).bind(*args, **options)
        call.apply_defaults()
        given = dict(call.arguments)
        if any(given[name] is not None for name in ALONE):
            return real(*args, **options)
        network, file = given["network"], Path(folder) / key_of(given)
        if file.exists():
            return taken(network, file)
        history = real(*args, **options)
        keep(network, history, file)
        return history

    trainer.train = train


def key_of(given):
    "The name of a training: its network as it begins, its images, its settings."
    from featent.data.records import weights_hash

    network = given["network"]
    parts = [weights_hash(network), network, getattr(network, "featent", None)]
    parts += [*shown_images(given["images"]), *shown_images(given["test"])]
    settings = {k: v for k, v in given.items() if k not in ("network", "images", "test")}
    return digest([*parts, settings])


def shown_images(images):
    "What tells images from others."
    if images is None:
        return [None]
    return [images.record, images.labels.tobytes(), images.transform, images.classes]


def digest(parts):
    "One name for several things."
    return hashlib.sha256("\n".join(map(repr, parts)).encode()).hexdigest()


def keep(network, history, file):
    "Write what a training has made, whole, for the pages that follow."
    write_once((network.state_dict(), getattr(network, "featent", None), history), file)


def write_once(made, file):
    "Write what was made; whoever looks finds all of it or nothing."
    work = file.with_name(uuid.uuid4().hex)
    work.write_bytes(pickle.dumps(made))
    os.replace(work, file)


def taken(network, file):
    "Give a network what the same training has made before."
    state, record, history = pickle.loads(file.read_bytes())  # written by this run
    network.load_state_dict(state)
    if record is not None:
        network.featent = record
    network.eval()
    return history
