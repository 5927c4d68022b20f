"The store: whole shards or none after SIGKILL, damage found, locks that die, lawful merging."

import errno
import io
import json
import os
import signal
import stat
import sys
import time
import traceback
import tracemalloc
import warnings
import zipfile

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

import featent as fe
from featent.assessment import shards, store as store_module
from featent.assessment.shards import claim, missing, read_shard, shard_states, write_shard
from featent.assessment.store import (
    FORMAT,
    create_store,
    expected_bytes,
    my_shards,
    open_store,
    shard_ranges,
)
from featent.assessment.stored import StoredBirths, StoredSummaries, merge
from featent.assessment.tables import tabulate
from featent.tools import files
from featent.tools.digests import canonical_json, sha256

fast = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")

N, SIZE = 22, 8
KEYS = {
    ("conv1", "clique", "real"): 5,
    ("conv1", "cubical", "real"): 5,
    ("conv 2/ü", "clique", "real"): 3,
}
SUMS = {("conv1", "l1", "real"): 5}
LABELS = np.repeat([0, 1, 3], [7, 7, 8])
LAYERS = pd.DataFrame(
    {"layer": ["conv1", "conv 2/ü"], "units": [5, 3], "height": [8, 4], "width": [8, 4]}
)
IDENTITY = {
    "network": {"name": "n", "weights_hash": "ab"},
    "images": {"source": "digits"},
    "seed": 0,
    "filtrations": ("clique", "cubical"),
}
BIRTHS = {
    k: np.random.default_rng(i).integers(0, 60, (N, u)) for i, (k, u) in enumerate(KEYS.items())
}
BIRTHS["conv1", "cubical", "real"][9, 2] = 40_000  # one shard needs int32
SUMMARIES = {
    k: np.random.default_rng(9).normal(size=(N, u)).astype(np.float32) for k, u in SUMS.items()
}


def new(folder, identity=IDENTITY, record=None, **options):
    return create_store(
        folder,
        identity,
        record or {"run": 1},
        LAYERS,
        options.pop("labels", LABELS),
        KEYS,
        SUMS,
        options.pop("shard_size", SIZE),
        **options,
    )


def parts(store, i, births=BIRTHS):
    at = slice(store.images(i).start, store.images(i).stop)
    return {k: b[at] for k, b in births.items()}, {k: s[at] for k, s in SUMMARIES.items()}


def fill(store, which=None):
    for i in range(store.n_shards) if which is None else which:
        write_shard(store, i, *parts(store, i))
    return store


def shard(store, i):
    return store.folder / "shards" / f"{i:06d}.npz"


def content(folder):
    return {p.name: p.read_bytes() for p in sorted((folder / "shards").iterdir())}


def child(f):
    "The process id of a fork that runs `f`."
    pid = os.fork()
    if pid:
        return pid
    try:
        f()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def ended(pid):
    return os.waitpid(pid, 0)[1]


@pytest.fixture
def store(tmp_path):
    return new(tmp_path / "store")


@pytest.fixture
def full(store):
    return fill(store)


# ranges


@fast
@given(n=st.integers(1, 400), size=st.integers(1, 50), k=st.integers(1, 9))
def test_shards_and_jobs_cover_every_image_once(n, size, k):
    ranges = shard_ranges(n, size)
    assert [j for r in ranges for j in r] == list(range(n)) and all(
        len(r) == size for r in ranges[:-1]
    )
    assert sorted(j for i in range(k) for j in my_shards(len(ranges), i, k)) == list(
        range(len(ranges))
    )


@pytest.mark.parametrize("i, k", [(3, 3), (-1, 3), (0, 0), (0, -1), (1.0, 2), ("0", 2)])
def test_jobs_that_do_not_exist_are_refused(i, k):
    with pytest.raises(ValueError, match="jobs are numbered"):
        my_shards(10, i, k)


@pytest.mark.parametrize("n, size", [(0, 4), (4, 0), (4, 2.0)])
def test_ranges_that_are_none_are_refused(n, size):
    with pytest.raises(ValueError, match="whole number"):
        shard_ranges(n, size)


# content


def test_what_is_written_is_read(full):
    for i in range(3):
        births, summaries = read_shard(full, i)
        wanted = parts(full, i)
        for k in KEYS:
            np.testing.assert_array_equal(births[k], wanted[0][k])
        for k in SUMS:
            np.testing.assert_array_equal(summaries[k], wanted[1][k])
        assert {b.dtype for b in births.values()} == {np.dtype("int32")} and {
            s.dtype for s in summaries.values()
        } == {np.dtype("float32")}
    stored = StoredBirths(full)
    assert list(stored) == list(KEYS) and len(stored) == 3 and ("conv1", "x", "real") not in stored
    for k, b in stored.items():
        np.testing.assert_array_equal(b, BIRTHS[k])
    for k, s in StoredSummaries(full).items():
        np.testing.assert_array_equal(s, SUMMARIES[k])
    with pytest.raises(KeyError):
        stored["conv1", "x", "real"]
    np.testing.assert_array_equal(full.labels, LABELS)
    pd.testing.assert_frame_equal(full.layers, LAYERS)


def test_numpy_alone_reads_a_shard_and_int32_is_used_only_where_needed(full):
    for i in range(3):
        with np.load(shard(full, i), allow_pickle=False) as z:
            np.testing.assert_array_equal(z["00001"], parts(full, i)[0]["conv1", "cubical", "real"])
            assert [z[f"{j:05d}"].dtype for j in range(4)] == [
                "int16",
                "int32" if i == 1 else "int16",
                "int16",
                "float32",
            ]
        assert zipfile.ZipFile(shard(full, i)).testzip() is None


@pytest.mark.parametrize("value, dtype", [(32767, "int16"), (32768, "int32"), (2**31 - 1, "int32")])
def test_limits_of_the_types(store, value, dtype):
    births, summaries = parts(store, 0)
    births = {**births, ("conv1", "clique", "real"): np.full((8, 5), value, np.int64)}
    write_shard(store, 0, births, summaries)
    assert np.load(shard(store, 0))["00000"].dtype == dtype
    assert (read_shard(store, 0)[0]["conv1", "clique", "real"] == value).all()


@pytest.mark.parametrize(
    "value, error, words",
    [
        (np.full((8, 5), -1), ValueError, "levels from 0"),
        (np.full((8, 5), 2**31), ValueError, "levels from 0"),
        (np.ones((8, 5)), TypeError, "integers, not float64"),
        (np.full((8, 5), "a", object), TypeError, "not object"),
        (np.ones((8, 4), int), ValueError, r"shape \(8, 4\)"),
        (np.ones((7, 5), int), ValueError, r"needs \(8, 5\)"),
    ],
)
def test_what_is_not_births_is_refused_and_leaves_nothing(store, value, error, words):
    births, summaries = parts(store, 0)
    with pytest.raises(error, match=words):
        write_shard(store, 0, {**births, ("conv1", "clique", "real"): value}, summaries)
    assert missing(store) == [0, 1, 2] and not (store.folder / "shards").exists()


def test_other_arrays_than_promised_are_refused(store):
    births, summaries = parts(store, 0)
    with pytest.raises(ValueError, match="summaries"):
        write_shard(store, 0, births)
    with pytest.raises(ValueError, match="random0"):
        write_shard(
            store,
            0,
            {**births, ("conv1", "clique", "random0"): births["conv1", "clique", "real"]},
            summaries,
        )
    with pytest.raises(ValueError, match="shards 0 to 2"):
        write_shard(store, 3, births, summaries)


def test_a_good_shard_is_never_replaced(full):
    before, births = (
        content(full.folder),
        {**BIRTHS, ("conv1", "clique", "real"): BIRTHS["conv1", "clique", "real"] + 1},
    )
    fill(full)
    with pytest.raises(ValueError, match="not repeatable"):
        write_shard(full, 1, *parts(full, 1, births))
    assert content(full.folder) == before


def test_the_same_content_makes_the_same_files(full, tmp_path):
    assert content(fill(new(tmp_path / "other"), [2, 0, 1]).folder) == content(full.folder)


def test_one_key_is_read_without_the_others(tmp_path):
    "The memory of one array and one shard, in a store sixty times that size."
    keys, n = {(f"conv{j}", "clique", "real"): 50 for j in range(60)}, 2000
    store = create_store(tmp_path / "wide", {}, {}, LAYERS, np.zeros(n, int), keys, shard_size=250)
    rng = np.random.default_rng(0)
    for i in range(store.n_shards):
        write_shard(store, i, {k: rng.integers(0, 50, (250, 50)) for k in keys})
    stored = StoredBirths(store)
    tracemalloc.start()
    one = stored["conv7", "clique", "real"]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert one.nbytes == n * 50 * 4 and peak < 2 * one.nbytes


def test_scores_of_stored_births_are_those_of_births(tmp_path):
    "Real births: digits in a small network, table for table, without the network."
    result = fe.assess(
        fe.network("small_vgg", in_channels=1),
        fe.images("digits", per_class=3),
        filtration=("clique", "cubical"),
    )
    units = {k: b.shape[1] for k, b in result.births.items()}
    kept = {k: s.shape[1] for k, s in result.summaries.items()}
    store = create_store(
        tmp_path / "digits",
        {"network": result.record["network"]},
        result.record,
        result.layers,
        result.labels,
        units,
        kept,
        shard_size=7,
    )
    for i, r in enumerate(store.ranges):
        parts = [
            {k: a[r.start : r.stop] for k, a in arrays.items()}
            for arrays in (result.births, result.summaries)
        ]
        write_shard(store, i, *parts)
    store, classes = (
        open_store(store.folder),
        {int(c): n for c, n in store.record["classes"].items()},
    )
    pd.testing.assert_frame_equal(
        tabulate(
            StoredBirths(store),
            store.labels,
            store.layers,
            classes,
            summaries=StoredSummaries(store),
        ),
        result.table,
    )
    n_births = sum(b.size for b in result.births.values())
    n_kept = sum(s.size for s in result.summaries.values())
    assert store.manifest["n_births"] == n_births and store.manifest[
        "expected_bytes"
    ] == expected_bytes(n_births, n_kept)
    assert (
        shard_states(store).bytes.sum() < 3 * n_births + 4 * n_kept
    )  # shards of seven images; larger ones take less


# manifest


def test_the_manifest_is_for_people(store):
    text = (store.folder / "manifest.json").read_text()
    assert (
        json.loads(text) == store.manifest
        and '"weights_hash": "ab"' in text
        and '"labels": [[0, 7], [1, 7], [3, 8]]' in text
    )
    assert max(map(len, text.splitlines())) < 200


@pytest.mark.parametrize(
    "change, words",
    [
        (
            dict(identity={**IDENTITY, "network": {"name": "n", "weights_hash": "cd"}}),
            'network.weights_hash: "ab" -> "cd"',
        ),
        (dict(identity={**IDENTITY, "seed": 1}), "seed: 0 -> 1"),
        (dict(identity={**IDENTITY, "pad": True}), "pad: absent -> true"),
        (
            dict(identity={k: v for k, v in IDENTITY.items() if k != "images"}),
            'images.source: "digits" -> absent',
        ),
        (
            dict(identity={**IDENTITY, "filtrations": ["clique"]}),
            r'filtrations: \["clique", "cubical"\] -> \["clique"\]',
        ),
        (dict(shard_size=4), "shard_size: 8 -> 4"),
        (dict(labels=LABELS[:-1]), "n_images: 22 -> 21"),
        (dict(labels=LABELS[::-1]), "labels: "),
    ],
)
def test_other_work_is_refused_and_named(full, change, words):
    before = content(full.folder)
    with pytest.raises(ValueError, match=words) as e:
        new(full.folder, **change)
    assert (
        str(e.value).count("->") == (2 if "n_images" in words else 1) + 1
        and content(full.folder) == before
    )
    if "identity" in change:
        with pytest.raises(ValueError, match=words):
            open_store(full.folder, change["identity"])


def test_keys_differ_with_everything_that_changes_a_shard(tmp_path):
    changes = [
        {},
        dict(identity={**IDENTITY, "seed": 1}),
        dict(shard_size=4),
        dict(labels=LABELS[::-1]),
        dict(labels=LABELS[:-1]),
    ]
    assert len({new(tmp_path / str(j), **c).key for j, c in enumerate(changes)}) == len(changes)
    assert new(tmp_path / "again", record={"run": 2}).key == new(tmp_path / "0").key


def test_the_same_work_opens_the_store(full):
    before = (full.folder / "manifest.json").read_bytes()
    again = new(full.folder, dict(reversed(IDENTITY.items())), record={"run": 2})
    assert (
        again.key == full.key
        and again.record == {"run": 1}
        and (full.folder / "manifest.json").read_bytes() == before
    )
    assert open_store(full.folder, IDENTITY).key == full.key and missing(again) == []


def test_a_changed_manifest_is_refused(full):
    path = full.folder / "manifest.json"
    text = path.read_text()
    for bad, words in [
        (text.replace('"run": 1', '"run": 7'), "has been changed"),
        (text.replace('"ab"', '"cd"'), "has been changed"),
        (text[:-9], "damaged"),
        ("[]", "damaged"),
        ("", "damaged"),
        ("{}", "not a manifest"),
        (json.dumps({**FORMAT, "version": 99}), "version 99"),
        ("[" * 10**5, "damaged"),
    ]:
        path.write_text(bad)
        with pytest.raises(ValueError, match=words):
            open_store(full.folder)
        with pytest.raises(ValueError, match=words):
            new(full.folder)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="no store"):
        open_store(full.folder)


def test_what_json_cannot_hold_is_refused(tmp_path):
    with pytest.raises(TypeError, match="cannot be written to the manifest"):
        new(tmp_path / "a", {"f": open})
    with pytest.raises(ValueError):
        new(tmp_path / "a", {"f": float("nan")})
    with pytest.raises(ValueError, match="whole numbers"):
        new(tmp_path / "a", labels=np.ones(5))
    assert not (tmp_path / "a").exists()


def test_folders_that_cannot_be_a_store(tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("")
    with pytest.raises(FileExistsError, match="holds other things"):
        new(tmp_path / "other")
    for path in (tmp_path / "other" / "thesis.txt", tmp_path / "other" / "thesis.txt" / "a" / "b"):
        with pytest.raises(FileExistsError, match="is a file"):
            new(path)
    assert [p.name for p in (tmp_path / "other").iterdir()] == ["thesis.txt"]
    (tmp_path / "left").mkdir()
    (tmp_path / "left" / ".manifest.json.00.tmp").write_text(
        "{"
    )  # what a process killed while creating leaves
    assert missing(new(tmp_path / "left")) == [0, 1, 2]


# killed


def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)


class HalfAFile:
    "A file that takes half of what it is given, and then something happens."

    def __init__(self, f, then):
        self.f, self.then = f, then

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.f.close()

    def __getattr__(self, name):
        return getattr(self.f, name)

    def write(self, data):
        self.f.write(data[: len(data) // 2])
        self.f.flush()
        self.then()


def killed_at(point):
    "Arrange, in a child, for death at a point of the writing."
    if point == "half the file":
        files.open = lambda path, mode: HalfAFile(open(path, mode), die)
    if point == "before fsync":
        os.fsync = die
    if point == "after the rename":
        files.sync_folder = die
    if point == "before the rename":
        files.write_whole.__defaults__ = (die,)


POINTS = ["half the file", "before fsync", "before the rename", "after the rename"]


@forks
@pytest.mark.parametrize("point", POINTS)
def test_killed_while_writing_leaves_whole_shards(tmp_path, point):
    whole, store = fill(new(tmp_path / "whole")), fill(new(tmp_path / "store"), [0])

    def work():
        with claim(store, 1) as mine:
            assert mine
            killed_at(point)
            write_shard(store, 1, *parts(store, 1))

    assert os.WTERMSIG(ended(child(work))) == signal.SIGKILL
    assert missing(store) == ([2] if point == "after the rename" else [1, 2])
    left = [p.name for p in (store.folder / "shards").iterdir() if p.name.endswith(".tmp")]
    assert len(left) == (point != "after the rename")
    for i in missing(store):
        with claim(store, i) as mine:
            assert mine
            write_shard(store, i, *parts(store, i))
    assert content(store.folder) == content(whole.folder)


@forks
@pytest.mark.parametrize("point", ["half the file", "before fsync", "after the rename"])
def test_killed_while_creating(tmp_path, point):
    (tmp_path / "store").mkdir()

    def work():
        killed_at(point)
        new(tmp_path / "store")

    assert os.WTERMSIG(ended(child(work))) == signal.SIGKILL
    assert (tmp_path / "store/manifest.json").exists() == (point == "after the rename")
    assert missing(fill(new(tmp_path / "store"))) == []


# several processes


def until(f, seconds=10):
    end = time.monotonic() + seconds
    while not f():
        assert time.monotonic() < end
        time.sleep(0.005)


@forks
def test_a_claim_ends_with_its_process(store):
    sign = store.folder.parent / "sign"

    def work():
        with claim(store, 0) as mine:
            assert mine
            sign.write_text("")
            time.sleep(60)

    pid = child(work)
    until(sign.exists)
    with claim(store, 0) as mine:
        assert not mine
    with claim(store, 1) as mine:
        assert mine
    assert list(shard_states(store).state) == ["claimed", "missing", "missing"]
    os.kill(pid, signal.SIGKILL)
    ended(pid)
    with claim(store, 0) as mine:
        assert mine
    assert list(shard_states(store).state) == ["missing"] * 3


@forks
def test_processes_on_one_store_share_the_work(tmp_path):
    "Each shard is computed once; one of three is killed, and the next round takes over its shard."
    store, log = new(tmp_path / "store", shard_size=1), tmp_path / "log"

    def work(dies=False):
        for i in missing(store):
            with claim(store, i) as mine:
                if not mine:
                    continue
                if dies and i > 4:
                    die()
                with open(log, "a") as f:
                    f.write(f"{i}\n")
                time.sleep(0.002)
                write_shard(store, i, *parts(store, i))

    pids = [child(work), child(work), child(lambda: work(True))]
    assert [ended(p) for p in pids][:2] == [0, 0]
    work()
    assert sorted(map(int, log.read_text().split())) == list(range(22)) and missing(store) == []
    for k, b in StoredBirths(store).items():
        np.testing.assert_array_equal(b, BIRTHS[k])


@forks
def test_processes_that_create_at_once_agree_or_refuse(tmp_path):
    start = time.time() + 0.1

    def make(seed):
        time.sleep(max(0, start - time.time()))
        try:
            new(tmp_path / "store", {**IDENTITY, "seed": seed})
        except ValueError as e:
            os._exit(7 if "seed:" in str(e) else 1)

    seeds = [0, 1, 0, 1, 0, 1]
    codes = [
        os.waitstatus_to_exitcode(ended(p)) for p in [child(lambda s=s: make(s)) for s in seeds]
    ]
    winner = open_store(tmp_path / "store").manifest["identity"]["seed"]
    assert codes == [0 if s == winner else 7 for s in seeds]
    assert [p.name for p in (tmp_path / "store").iterdir()] == ["manifest.json"]


def test_a_rival_that_creates_in_the_last_moment_wins(tmp_path, monkeypatch):
    pretty = store_module.pretty_json

    def slow(manifest):
        monkeypatch.setattr(store_module, "pretty_json", pretty)
        new(tmp_path / "store", {**IDENTITY, "seed": 1})
        return pretty(manifest)

    monkeypatch.setattr(store_module, "pretty_json", slow)
    with pytest.raises(ValueError, match="seed: 1 -> 0"):
        new(tmp_path / "store")
    assert (
        open_store(tmp_path / "store").manifest["identity"]["seed"] == 1
        and len(list((tmp_path / "store").iterdir())) == 1
    )


def test_a_file_system_without_links(tmp_path, monkeypatch):
    def no_links(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    assert missing(new(tmp_path / "store")) == [0, 1, 2] and [
        p.name for p in (tmp_path / "store").iterdir()
    ] == ["manifest.json"]


def test_a_file_system_without_locks_warns_and_works(store, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("featent.tools.locks.fcntl.flock", no_locks)
    with pytest.warns(UserWarning, match="has no locks"), claim(store, 0) as mine:
        assert mine
    assert list(shard_states(store).state) == ["missing"] * 3


def test_byte_locks_where_there_is_no_fcntl(store, monkeypatch):
    "The calls that Windows gets; the real ones have not been tried."
    calls = []

    class fake:
        LK_NBLCK = 2

        def locking(number, mode, n):
            calls.append((mode, n))
            if len(calls) > 1:
                raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("featent.tools.locks.fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", fake)
    with claim(store, 0) as mine, claim(store, 0) as other:
        assert mine and not other
    assert set(calls) == {(2, 1)}


# damage


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    return fill(new(tmp_path_factory.mktemp("kept") / "store"))


def refused(store, i, good):
    "Shard `i` is found damaged, named, and never read as something else."
    assert list(shard_states(store).state) == ["damaged" if j == i else "done" for j in range(3)]
    with pytest.warns(UserWarning, match=f"{i:06d}.npz"):
        assert missing(store) == [i]
    for read in (
        lambda: read_shard(store, i)[0],
        lambda: {
            k: b[store.images(i).start : store.images(i).stop]
            for k, b in StoredBirths(store).items()
        },
    ):
        try:
            births = read()
        except ValueError as e:
            assert (
                "is damaged" in str(e)
                and "run the same command again" in str(e)
                and f"{i:06d}.npz" in str(e)
            )
        else:
            assert all(np.array_equal(b, good[k]) for k, b in births.items())


@fast
@given(at=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255), n=st.integers(1, 40))
def test_any_changed_byte_is_found(kept, at, flip, n):
    path, good = shard(kept, 1), parts(kept, 1)[0]
    data = path.read_bytes()
    at = int(at * len(data))
    try:
        path.write_bytes(data[:at] + bytes(b ^ flip for b in data[at : at + n]) + data[at + n :])
        refused(kept, 1, good)
    finally:
        path.write_bytes(data)


@fast
@given(share=st.floats(0, 1, exclude_max=True), more=st.booleans())
def test_any_other_length_is_found(kept, share, more):
    path, good = shard(kept, 1), parts(kept, 1)[0]
    data = path.read_bytes()
    n = int(share * len(data))
    try:
        path.write_bytes(data + data[: n + 1] if more and n + 1 < len(data) else data[:n])
        refused(kept, 1, good)
    finally:
        path.write_bytes(data)


def test_a_damaged_array_is_found_by_whoever_reads_it_alone(full):
    at, size = json.loads(np.load(shard(full, 1))["shard.json"])["at"][0]
    data = bytearray(shard(full, 1).read_bytes())
    data[at + size // 2] ^= 16
    shard(full, 1).write_bytes(data)
    stored = StoredBirths(full)
    with pytest.raises(ValueError, match="000001.npz is damaged"):
        stored["conv1", "clique", "real"]
    np.testing.assert_array_equal(
        stored["conv 2/ü", "clique", "real"], BIRTHS["conv 2/ü", "clique", "real"]
    )


def test_a_quick_look_finds_a_damaged_head(full):
    "Without the checksum of the file: each byte of shard.json is vouched for by the comment."
    data = shard(full, 1).read_bytes()
    at = data.index(b'"sha256":["') + 20
    shard(full, 1).write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    assert list(shard_states(full, deep=False).state) == ["done", "damaged", "done"]
    shard(full, 1).write_bytes(data[:200] + bytes([data[200] ^ 1]) + data[201:])
    assert list(shard_states(full, deep=False).state) == ["done"] * 3 and list(
        shard_states(full).state
    ) == ["done", "damaged", "done"]


def test_shards_of_other_stores_and_other_ranges_are_damaged(full, tmp_path):
    other = fill(new(tmp_path / "other", {**IDENTITY, "seed": 1}))
    shard(full, 0).write_bytes(shard(other, 0).read_bytes())
    shard(full, 2).write_bytes(shard(full, 1).read_bytes())
    states = shard_states(full)
    assert list(states.state) == ["damaged", "done", "damaged"] and list(states.problem) == [
        "of another store",
        "",
        "holds images 8 to 15",
    ]
    assert list(shard_states(full, deep=False).state) == list(states.state)
    with pytest.warns(UserWarning, match="000000.npz .of another store., 000002.npz"):
        gone = missing(full)
    fill(full, gone)
    assert missing(full) == []


class Evil:
    def __reduce__(self):
        return (os.mkdir, (os.environ["FEATENT_EVIL"],))


def test_python_objects_are_not_loaded(full, tmp_path, monkeypatch):
    "A shard with valid checksums, made to run code in whoever unpickles it."
    monkeypatch.setenv("FEATENT_EVIL", str(tmp_path / "executed"))
    f, evil = io.BytesIO(), np.zeros((8, 5), object)
    evil[0, 0] = Evil()
    np.lib.format.write_array(f, evil, allow_pickle=True)
    monkeypatch.setattr(shards, "npy_bytes", lambda a: f.getvalue())
    shard(full, 0).write_bytes(shards._pack(shards._head(full, 0), [None] * 4))
    with pytest.raises(ValueError, match="is damaged"):
        read_shard(full, 0)
    with pytest.raises(ValueError, match="is damaged"):
        StoredBirths(full)["conv1", "clique", "real"]
    assert not (tmp_path / "executed").exists()
    np.load(shard(full, 0), allow_pickle=True)["00000"]  # the trap works
    assert (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((8, 5), "<f8"),
        np.zeros((8, 5), "<i8"),
        np.zeros((8, 4), "<i2"),
        np.zeros(10**7, "<i2"),
    ],
)
def test_arrays_of_another_kind_are_not_read(full, values):
    "Nor are they unpacked: ten million zeros fit in a small file."
    good = [np.zeros((8, 5), "<i2"), np.zeros((8, 3), "<i2"), np.zeros((8, 5), "<f4")]
    shard(full, 0).write_bytes(shards._pack(shards._head(full, 0), [values, *good]))
    tracemalloc.start()
    with pytest.raises(ValueError, match="is damaged"):
        read_shard(full, 0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * 10**6


def test_an_incomplete_store_says_how_many_are_missing(store):
    fill(store, [1])
    with pytest.raises(
        FileNotFoundError, match="2 of 3 shards are missing; run the same command again"
    ):
        StoredBirths(store)
    with pytest.raises(FileNotFoundError, match="1 of 3 shards"):
        read_shard(store, 0)
    stored = StoredBirths(fill(store))
    shard(store, 2).unlink()
    with pytest.raises(FileNotFoundError, match="1 of 3 shards"):
        stored["conv1", "clique", "real"]


# full disk, read-only folder


def out_of(number):
    def f(*_, **__):
        raise OSError(number, os.strerror(number))

    return f


def breaks(monkeypatch, point, number):
    if point == "open":
        monkeypatch.setattr(files, "open", out_of(number), raising=False)
    if point == "write":
        monkeypatch.setattr(
            files,
            "open",
            lambda path, mode: (
                HalfAFile(open(path, mode), out_of(number)) if "x" in mode else open(path, mode)
            ),
            raising=False,
        )
    if point == "fsync":
        monkeypatch.setattr(os, "fsync", out_of(number))
    if point == "rename":
        monkeypatch.setattr(files.write_whole, "__defaults__", (out_of(number),))
    if point == "folder":
        monkeypatch.setattr(files.Path, "mkdir", out_of(number))


@pytest.mark.parametrize("point", ["write", "fsync", "rename"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_keeps_what_is_finished(tmp_path, monkeypatch, point, number):
    store = fill(new(tmp_path / "store"), [0])
    before = content(store.folder)
    with monkeypatch.context() as m:
        breaks(m, point, number)
        with pytest.raises(
            OSError,
            match="the disk is full: 1 finished shard in .* is kept; .* run the same command again",
        ) as e:
            write_shard(store, 1, *parts(store, 1))
        assert e.value.errno == number
    assert content(store.folder) == before and missing(store) == [1, 2]
    assert missing(fill(store)) == []


@pytest.mark.parametrize("point", ["write", "fsync", "folder"])
def test_a_full_disk_at_creation(tmp_path, monkeypatch, point):
    with monkeypatch.context() as m:
        breaks(m, point, errno.ENOSPC)
        with pytest.raises(OSError, match="the disk is full: 0 finished shards"):
            new(tmp_path / "store")
    assert not (tmp_path / "store").exists() or not list((tmp_path / "store").iterdir())
    assert missing(new(tmp_path / "store")) == [0, 1, 2]


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EPERM])
def test_a_read_only_folder(tmp_path, monkeypatch, number):
    store = fill(new(tmp_path / "store"), [0])
    with monkeypatch.context() as m:
        breaks(m, "rename", number)
        with pytest.raises(
            PermissionError,
            match="cannot write in the store .*; make the folder writable, or choose another",
        ):
            write_shard(store, 1, *parts(store, 1))
        assert (
            missing(new(store.folder)) == [1, 2] and len(read_shard(store, 0)[0]) == 3
        )  # reading goes on
    with monkeypatch.context() as m:
        breaks(m, "folder", number)
        with pytest.raises(PermissionError, match="cannot write"), claim(store, 1):
            pass
        with pytest.raises(PermissionError, match="cannot write"):
            new(tmp_path / "another")


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="permissions do not bind the superuser"
)
def test_a_folder_without_write_permission(tmp_path):
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        with pytest.raises(PermissionError, match="cannot write"):
            new(tmp_path / "store")
    finally:
        tmp_path.chmod(stat.S_IRWXU)


@pytest.mark.skipif(
    not os.path.isdir("/proc/self"), reason="needs a file system that takes no files"
)
def test_a_file_system_that_takes_no_files():
    with pytest.raises((PermissionError, FileNotFoundError)):
        new("/proc/self/store")


# what is not believed, and what a file system refuses


def forge(store, **changes):
    "A manifest that says something else, with a valid checksum."
    content = {k: v for k, v in {**store.manifest, **changes}.items() if k != "sha256"}
    (store.folder / "manifest.json").write_text(
        json.dumps({**content, "sha256": sha256(canonical_json(content))})
    )


@pytest.mark.parametrize(
    "changes, words",
    [
        (dict(n_images=10**15), "n_images is 1000000000000000"),
        (dict(n_images=23), "labels are not those of 23 images"),
        (dict(n_images=0), "n_images is 0"),
        (dict(n_images=22.0), "n_images is 22.0"),
        (dict(shard_size=0), "shard_size is 0"),
        (dict(n_images=10**9, shard_size=1, labels=[[0, 10**9]]), "shards is 1000000000"),
        (dict(labels=[[0, 30], [1, -8]]), "labels are not those"),
        (dict(labels=[[0, 1, 2]]), "damaged"),
        (dict(labels=[["a", 22]]), "labels are no whole numbers"),
        (dict(labels=[[2**70, 22]]), "labels are no whole numbers"),
        (dict(labels=5), "damaged"),
        (
            dict(arrays=[{"what": "births", "name": ["a"], "units": 10**12}]),
            "units is 1000000000000",
        ),
        (dict(arrays=[{"what": "code", "name": ["a"], "units": 1}]), "an array is 'code'"),
        (dict(arrays=[{"what": "births", "name": [1], "units": 1}]), "no name"),
        (dict(arrays="x"), "damaged"),
        (dict(layers={"layer": ["a"], "units": [1, 2]}), "columns of several lengths"),
        (dict(layers=[]), "damaged"),
        (dict(identity=None), "no identity"),
        (dict(record=[]), "key or record"),
        (dict(key=7), "key or record"),
    ],
)
def test_a_forged_manifest_is_refused_before_it_is_believed(full, changes, words):
    forge(full, **changes)
    tracemalloc.start()
    with pytest.raises(ValueError, match=words) as e:
        open_store(full.folder)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (
        "damaged" in str(e.value)
        and "\n" not in str(e.value)
        and len(str(e.value)) < 400
        and peak < 2 * 10**6
    )


def test_a_manifest_that_promises_more_than_the_memory_is_refused_where_it_is_read(
    full, monkeypatch
):
    forge(full, n_images=10**9, shard_size=10**9, labels=[[0, 10**9]])
    monkeypatch.setattr(files, "free_memory", lambda: 10**9)
    store = open_store(full.folder)
    shard(full, 1).unlink()
    shard(full, 2).unlink()
    for read in (lambda: store.labels, lambda: StoredBirths(store)["conv1", "clique", "real"]):
        with pytest.raises(
            ValueError, match="says that it holds .* GB, and 1.0 GB of memory are free"
        ):
            read()


def test_a_huge_manifest_is_not_read(full, monkeypatch):
    path = full.folder / "manifest.json"
    with open(path, "r+b") as f:
        f.truncate(2**30)
    tracemalloc.start()
    with pytest.raises(ValueError, match="1,074 MB, and no such file has more than 67 MB"):
        open_store(full.folder)
    assert tracemalloc.get_traced_memory()[1] < 10**6
    tracemalloc.stop()


@pytest.mark.parametrize(
    "value",
    [
        dict(at=[[0, 10**12]] * 4),
        dict(at=[[-5, 100]] * 4),
        dict(at=[]),
        dict(at=None),
        dict(sha256=[]),
    ],
)
def test_a_forged_list_of_arrays_in_a_shard_is_damage(full, monkeypatch, value):
    "With valid checksums all the way."
    canonical = shards.canonical_json
    monkeypatch.setattr(
        shards, "canonical_json", lambda v: canonical({**v, **value} if "at" in v else v)
    )
    shard(full, 0).write_bytes(shards._pack(shards._head(full, 0), [np.zeros((8, 5), "<i2")] * 4))
    with pytest.raises(ValueError, match="000000.npz is damaged"):
        read_shard(full, 0)


def test_an_array_that_lies_about_its_size_makes_nothing_large(full, monkeypatch):
    "The header of the array says ten gigabytes; there are a few bytes."
    npy = shards.npy_bytes
    monkeypatch.setattr(
        shards,
        "npy_bytes",
        lambda a: (
            npy(a).replace(b"(8, 5)", b"(5000000000,)").replace(b" " * 8, b" ", 1)
            if a.shape == (8, 5)
            else npy(a)
        ),
    )
    shard(full, 0).write_bytes(
        shards._pack(
            shards._head(full, 0),
            [
                np.zeros(s, t)
                for s, t in [((8, 5), "<i2"), ((8, 5), "<i2"), ((8, 3), "<i2"), ((8, 5), "<f4")]
            ],
        )
    )
    tracemalloc.start()
    with pytest.raises(ValueError, match="000000.npz is damaged"):
        read_shard(full, 0)
    assert tracemalloc.get_traced_memory()[1] < 10**6
    tracemalloc.stop()


@pytest.mark.parametrize(
    "code", [errno.EINVAL, errno.EPERM, errno.ENOTSUP, errno.EBADF, errno.ENOSYS]
)
def test_a_file_system_that_refuses_to_sync_is_no_obstacle(tmp_path, monkeypatch, code):
    monkeypatch.setattr(files, "_told", set())
    monkeypatch.setattr(os, "fsync", out_of(code))
    with pytest.warns(UserWarning, match="the file system refuses to force") as said:
        assert missing(fill(new(tmp_path / "store"))) == []
    assert len(said) == 2  # once for folders, once for files


def test_a_store_stays_where_it_is_when_the_working_folder_changes(tmp_path, monkeypatch):
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    store = new("store")
    monkeypatch.chdir(tmp_path / "there")
    assert (
        missing(fill(store)) == []
        and not list((tmp_path / "there").iterdir())
        and open_store(tmp_path / "here/store").key == store.key
    )


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    fill(new("~/store"))
    assert (
        missing(open_store("~/store")) == []
        and missing(merge(["~/store"], "~/merged")) == []
        and sorted(p.name for p in tmp_path.iterdir()) == ["merged", "store"]
    )


def test_a_store_that_is_gone_is_said_to_be_gone(full, tmp_path):
    stored = StoredBirths(full)
    full.folder.rename(tmp_path / "elsewhere")
    with pytest.raises(
        FileNotFoundError, match="the store .*store is gone: it was removed, renamed or unmounted"
    ):
        stored["conv1", "clique", "real"]
    with pytest.raises(OSError, match="the store .*store is gone"), claim(full, 0):
        pass
    with pytest.raises(OSError, match="the store .*store is gone"):
        write_shard(full, 0, *parts(full, 0))
    with pytest.raises(FileNotFoundError, match="no store in .*: there is no such folder"):
        open_store(full.folder)
    assert not full.folder.exists()


def test_a_store_that_may_not_be_read_says_so(full, monkeypatch):
    def forbidden(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(shards, "open", forbidden, raising=False)
    with pytest.raises(
        PermissionError, match="000000.npz may not be read: give yourself the permission"
    ):
        read_shard(full, 0)
    monkeypatch.setattr(files.Path, "read_bytes", forbidden)
    with pytest.raises(PermissionError, match="cannot read .*manifest.json: Permission denied"):
        open_store(full.folder)


def test_a_saved_result_is_no_store_and_the_message_says_how_to_read_it(tmp_path):
    (tmp_path / "record.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match="it is a saved result: read it with load"):
        open_store(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(FileNotFoundError, match="no store in"):
        open_store(tmp_path / "file")


# merging


@settings(max_examples=15, deadline=None)
@given(which=st.lists(st.sets(st.integers(0, 2)), min_size=3, max_size=3))
def test_merging_is_associative_commutative_and_idempotent(tmp_path_factory, which):
    folder = tmp_path_factory.mktemp("merge")
    a, b, c = (fill(new(folder / n, record={"run": n}), w) for n, w in zip("abc", which))
    ways = [
        merge([merge([a, b], folder / "ab"), c], folder / "ab c"),
        merge([a, merge([b, c], folder / "bc")], folder / "a bc"),
        merge([c, b, a], folder / "cba"),
        merge([a, a, b.folder, c, c], folder / "aabcc"),
    ]
    states = [content(w.folder) for w in ways]
    assert all(s == states[0] for s in states) and set(states[0]) == {
        f"{i:06d}.npz" for i in set().union(*which)
    }
    assert len({(w.folder / "manifest.json").read_bytes() for w in ways}) == 1
    assert content(merge([ways[0]], ways[0].folder).folder) == states[0]
    if set().union(*which) == {0, 1, 2}:
        for k, x in StoredBirths(ways[1]).items():
            np.testing.assert_array_equal(x, BIRTHS[k])


def test_merging_into_a_store_adds_to_it(tmp_path):
    a, b = fill(new(tmp_path / "a"), [0]), fill(new(tmp_path / "b"), [1, 2])
    assert missing(merge([b], a.folder)) == []
    shard(a, 1).write_bytes(b"damaged")
    with pytest.warns(UserWarning, match="not merged: .*000001.npz"):
        assert missing(merge([b], a.folder)) == []
    shard(b, 2).write_bytes(b"damaged")  # a copy, not a link
    assert missing(a) == []


def test_stores_of_other_work_are_not_merged(tmp_path):
    a, b, c = (
        new(tmp_path / "a"),
        new(tmp_path / "b", {**IDENTITY, "seed": 1}),
        new(tmp_path / "c", shard_size=4),
    )
    for other, words in ((b, "seed: 0 -> 1|seed: 1 -> 0"), (c, "shard_size")):
        with pytest.raises(ValueError, match=words):
            merge([a, other], tmp_path / "out")
        with pytest.raises(ValueError, match=words):
            merge([a], other.folder)
    with pytest.raises(ValueError, match="nothing to merge"):
        merge([], tmp_path / "out")
    with pytest.raises(FileNotFoundError, match="no store"):
        merge([tmp_path / "absent"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_conflicting_shards_are_an_error_and_nothing_is_written(tmp_path):
    a, b = fill(new(tmp_path / "a"), [0]), new(tmp_path / "b")
    births, summaries = parts(b, 0)
    write_shard(b, 0, births, {k: s + 1 for k, s in summaries.items()})
    with pytest.raises(ValueError, match="shard 0 has different births"):
        merge([a, b], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_damaged_shards_are_not_merged(tmp_path):
    a, b = fill(new(tmp_path / "a")), fill(new(tmp_path / "b"), [0])
    for i in (0, 1):
        shard(a, i).write_bytes(shard(a, i).read_bytes()[:-1])
    with pytest.warns(UserWarning, match="not merged"):
        out = merge([a, b], tmp_path / "out")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert missing(out) == [1]
