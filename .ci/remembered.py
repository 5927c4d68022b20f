"""Many pages train the same small networks and take them apart: here that is done once.

Training is determined by network, images and settings (a test says so), so a page that asks for
what another page has trained already is given that: weights, record, history. Where another page
is just at it, this one waits. A training that writes files, calls back or augments is done each
time.
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

from filelock import FileLock

ALONE = ("checkpoints", "resume", "callback", "augment", "device")  # never taken from elsewhere


def remember(folder):
    "Let `train`, `train_zoo` and `ablate` look into a folder of this run before they work."
    remember_networks(folder)
    remember_zoos(folder)
    remember_ablations(folder)


def remember_ablations(folder):
    "The walk along an order through a network is made once, whatever other orders there are."
    from featent.data.records import weights_hash

    module = importlib.import_module("featent.studies.ablation")
    real = module.ablate

    @functools.wraps(real)
    def ablate(network, images, layer, orders, *more, per_image=False, **options):
        if more or options or not orders or not isinstance(images, dict):
            return real(network, images, layer, orders, *more, per_image=per_image, **options)
        parts = [weights_hash(network), network, getattr(network, "featent", None), layer]
        parts += [x for k, v in images.items() for x in (k, *shown_images(v))]
        files = {k: Path(folder) / digest([*parts, pickle.dumps(v)]) for k, v in orders.items()}
        with FileLock(Path(folder) / f"{digest(parts)}.lock"):
            fresh = {k: v for k, v in orders.items() if not files[k].exists()}
            if fresh:
                keep_walks(*real(network, images, layer, fresh, per_image=True), files)
        table, samples = walked(module.curves, files)
        return (table, samples) if per_image else table

    module.ablate = ablate


def keep_walks(table, samples, files):
    "Write what each order has done to classes and splits, for the pages that follow."
    for order in {k[0] for k in samples}:
        own = {k[1:]: sample for k, sample in samples.items() if k[0] == order}
        write_once((own, table.attrs), files[order])


def walked(curves, files):
    "Curves and samples of several orders, from their files, as one ablation would give them."
    found = {k: pickle.loads(file.read_bytes()) for k, file in files.items()}  # of this run
    places, attrs = next(iter(found.values()))
    samples = {(k, *at): own[at] for at in places for k, (own, _) in found.items()}
    every = [told for _, told in found.values()]
    table = curves(samples)
    table.attrs = {**attrs, "distance": max(told["distance"] for told in every)}
    table.attrs["engine"] = max(told["engine"] for told in every)  # "rerun" after "replay"
    return table, samples


def remember_zoos(store):
    "A zoo is a folder: one that is there is copied, and `train_zoo` finds it finished."
    module = importlib.import_module("featent.studies.zoo")
    real = module.train_zoo

    @functools.wraps(real)
    def train_zoo(plans, images, test, folder, **options):
        asked = repr((plans.to_csv() if hasattr(plans, "to_csv") else plans, options))
        parts = [asked, *shown_images(images), *shown_images(test)]
        kept, folder = Path(store) / digest(parts), Path(folder)
        with FileLock(f"{kept}.lock"):
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
        with FileLock(f"{file}.lock"):
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
