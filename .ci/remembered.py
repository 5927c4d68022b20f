"""Many pages train the same small network on the same images: here that is done once.

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
import uuid
from pathlib import Path

ALONE = ("checkpoints", "resume", "callback", "augment", "device")  # never taken from elsewhere


def remember(folder):
    "Let `train` look into a folder of this run before it trains."
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
    for images in (given["images"], given["test"]):
        if images is not None:
            parts += [images.record, images.labels.tobytes(), images.transform, images.classes]
    settings = {k: v for k, v in given.items() if k not in ("network", "images", "test")}
    return hashlib.sha256("\n".join(map(repr, [*parts, settings])).encode()).hexdigest()


def keep(network, history, file):
    "Write what a training has made, whole, for the pages that follow."
    made = network.state_dict(), getattr(network, "featent", None), history
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
