"Images that other processes read ahead, and what must not change by it."

import os
import signal
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

import featent as fe
from featent.data import reading_ahead
from featent.data.image_sets import read_once, varies
from featent.data.reading_ahead import batches


def same(one, other):
    "Whether two passes gave the same tensors in the same order."
    pairs = list(zip(one, other, strict=True))
    return all(torch.equal(a, b) for x, y in pairs for a, b in zip(x, y, strict=True))


@pytest.fixture
def photographs(imagenette_dir):
    return fe.images(imagenette_dir / "val", per_class=3, transform=fe.preprocess(32))


@pytest.fixture
def eager(monkeypatch):
    "Helpers pay from the first image on, two of them."
    monkeypatch.setattr(reading_ahead, "_WORTH", 0.0)
    monkeypatch.setattr(reading_ahead, "_cores", lambda: 2)


@pytest.fixture
def started(monkeypatch):
    "The numbers of helpers that were started."
    found, own = [], reading_ahead._Ahead.__init__

    def start(self, images, spans, helpers, pin):
        found.append(helpers)
        own(self, images, spans, helpers, pin)

    monkeypatch.setattr(reading_ahead._Ahead, "__init__", start)
    return found


def test_photographs_read_ahead_are_the_same(photographs, eager, started):
    here = list(batches(photographs, 7, readers=0))
    assert not started
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert same(here, batches(photographs, 7))
        assert same(here, batches(photographs, 7, readers=3))
        assert same(here[1:3], [b for b in batches(photographs, 7, 7, 21, readers=1)])
    assert started == [2, 3, 1]


def test_small_sets_start_no_process(photographs, started):
    list(batches(photographs, 7))
    list(batches(fe.images("digits", per_class=9), 4))
    assert not started


def test_what_nothing_vouches_for_is_read_here(eager, started):
    digits = fe.images("digits", per_class=3)
    list(batches(digits, 4))
    assert not started
    pairs = fe.images([(digits.raw(i), int(y)) for i, y in enumerate(digits.labels)])
    list(batches(pairs, 4))
    assert not started
    assert pairs.record["fingerprint"]  # every hash is known from here on
    assert same(batches(pairs, 4, readers=0), batches(pairs, 4)) and started == [2]


class Luck(Dataset):
    def __len__(self):
        return 12

    def __getitem__(self, i):
        return torch.rand(1, 4, 4), i % 2


def test_what_is_drawn_at_random_is_drawn_here(eager, started):
    with pytest.warns(UserWarning, match="different pixels each time"):
        luck = fe.images(Luck(), transform=lambda x: x)
    assert varies(luck)
    with pytest.warns(UserWarning, match="drawn at random are read in this process"):
        torch.manual_seed(1)
        x = torch.cat([x for _, x, _ in batches(luck, 5, readers=2)])
    torch.manual_seed(1)
    assert torch.equal(x, torch.stack([torch.rand(1, 4, 4) for _ in range(12)])) and not started


def test_the_common_generators_do_not_move(photographs):
    torch.manual_seed(5)
    list(batches(photographs, 7, readers=2))
    moved = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(3), moved)


def test_an_error_names_the_image_and_has_its_own_type(photographs):
    def broken(picture):
        x = fe.preprocess(32)(picture)
        return x * float("nan") if calls.append(1) or len(calls) > 12 else x

    calls = []
    broken_images = photographs.with_transform(fe.preprocess(32))
    path = broken_images.read.paths[broken_images.index[20]]
    vars(broken_images)["record"] = {"yields": "as told"}
    data = path.read_bytes()
    try:
        path.write_bytes(data[:200])
        with (
            pytest.warns(UserWarning, match="read in this process after all"),
            pytest.raises(ValueError, match=broken_images.names[20]) as told,
        ):
            list(batches(broken_images, 7, readers=2))
    finally:
        path.write_bytes(data)
    assert "worker process" not in str(told.value)


def test_files_that_change_are_noticed_across_processes(imagenette_dir):
    fresh = fe.images(imagenette_dir / "val", per_class=2, transform=fe.preprocess(32))
    list(batches(fresh, 4, readers=2))
    assert {int(i) for i in fresh.index} <= set(fresh.read.known)


class Moody(Dataset):
    "Other labels, and no images, in any process but this one."

    def __init__(self):
        self.home = os.getpid()

    def __len__(self):
        return 12

    def __getitem__(self, i):
        if os.getpid() != self.home:
            raise OSError("not at home")
        return np.full((4, 4), i * 9, np.uint8), i % 2


def test_what_cannot_be_read_elsewhere_is_read_here_with_a_word(started):
    moody = fe.images(Moody())
    with pytest.warns(UserWarning, match="after all, one after the other: .*not at home"):
        found = list(batches(moody, 5, readers=2))
    assert same(found, batches(moody, 5, readers=0)) and started == [2]


def test_what_cannot_be_sent_is_read_here_with_a_word(monkeypatch):
    digits = fe.images("digits", per_class=3, transform=lambda p: torch.ones(1, 4, 4))
    loader = reading_ahead.DataLoader

    def spawning(*args, **options):
        return loader(*args, **options, multiprocessing_context="spawn")

    monkeypatch.setattr(reading_ahead, "DataLoader", spawning)
    with pytest.warns(UserWarning, match="read in this process after all.*pickle"):
        assert same(batches(digits, 7, readers=1), batches(digits, 7, readers=0))


class Killed(Dataset):
    "Ends any process but this one."

    def __init__(self):
        self.home = os.getpid()

    def __len__(self):
        return 12

    def __getitem__(self, i):
        if os.getpid() != self.home and i > 6:
            os.kill(os.getpid(), signal.SIGKILL)
        return np.full((4, 4), i * 9, np.uint8), i % 2


def test_a_killed_helper_costs_nothing_but_time():
    killed = fe.images(Killed())
    with pytest.warns(UserWarning, match="read in this process after all"):
        found = list(batches(killed, 3, readers=1))
    assert same(found, batches(killed, 3, readers=0))


def test_another_image_in_another_process_is_noticed():
    home = os.getpid()
    digits = fe.images("digits", per_class=3)
    other = digits.with_transform(lambda p: torch.full((1, 4, 4), float(os.getpid() == home)))
    with pytest.warns(UserWarning, match="digits/train/.* is another image there"):
        found = torch.cat([x for _, x, _ in batches(other, 5, readers=1)])
    assert (found == 1).all()


def test_warnings_of_helpers_are_shown_here():
    def warns(picture):
        warnings.warn("a doubtful picture", stacklevel=1)
        return torch.ones(1, 4, 4)

    digits = fe.images("digits", per_class=3)
    held = read_once(digits, range(9)).with_transform(warns)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        list(batches(held, 4, readers=1))
    assert sum("doubtful" in str(w.message) for w in told) >= len(held)


def test_an_abandoned_pass_leaves_no_process(photographs):
    import multiprocessing

    before = {p.pid for p in multiprocessing.active_children()}
    own = lambda: [p for p in multiprocessing.active_children() if p.pid not in before]
    passes = batches(photographs, 5, readers=2)
    next(passes)
    assert len(own()) == 2
    passes.close()
    assert not own()


def test_results_do_not_know_who_read_the_images(photographs, eager, started):
    network = fe.network("small_vgg")
    how = dict(layers="features.conv5", batch_size=8, preflight="off")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        here, ahead = (fe.assess(network, photographs, **how, readers=r) for r in (0, None))
    assert started and here.table.equals(ahead.table)
    shares = ahead.record["run"]
    assert 0 <= shares["waiting_for_images"] <= 1 and 0 <= shares["waiting_for_topology"] <= 1
    drop = [{k: v for k, v in r.record.items() if k != "run"} for r in (here, ahead)]
    assert drop[0] == drop[1]
    with pytest.raises(ValueError, match="readers=-1: choose 0 or more, or None"):
        fe.assess(network, photographs, **how, readers=-1)


SCRIPT = """
import signal, sys, time, featent as fe, torch
from featent.data.reading_ahead import batches
signal.signal(signal.SIGINT, signal.default_int_handler)  # also where a shell has it ignored
digits = fe.images("digits", per_class=20)
slow = digits.with_transform(lambda p: (time.sleep(.05), torch.ones(1, 4, 4))[1])
vars(slow)["record"] = {"yields": ""}
for _ in batches(slow, 8, readers=2):
    print("one", flush=True)
"""


def test_an_interrupted_pass_ends_clean():
    job = subprocess.Popen(
        [sys.executable, "-c", SCRIPT], stdout=-1, stderr=-1, text=True, start_new_session=True
    )
    try:
        assert job.stdout.readline() == "one\n"
        os.killpg(job.pid, signal.SIGINT)
        _, err = job.communicate(timeout=60)
    finally:
        job.kill()
    assert err.strip().endswith("KeyboardInterrupt") and err.count("Traceback") == 1
    with pytest.raises(ProcessLookupError):
        os.killpg(job.pid, 0)
