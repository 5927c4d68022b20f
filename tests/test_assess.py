"One verb: the right maps, the same births however the work is cut, results that survive the disk."

import errno
import json
import os
import shutil
import tempfile
import threading
import tracemalloc
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import featent as fe
from featent.assessment import loading, saving, streaming
from featent.assessment.evidence import indicator_table
from featent.assessment.plots import plot_births, plot_units
from featent.assessment.shards import npy_bytes
from featent.data.layers import select_layers
from featent.data.maps import read_maps
from featent.data.preprocessing import describe_transform
from featent.statistics.scores import read_table
from featent.tools import files
from featent.tools.digests import sha256

DATA = Path(__file__).parent / "data"

COLUMNS = (
    "layer unit class n_images n_births eps H H_mm H_cwj warning H/eps score status "
    "height width filtration"
).split()


class Pictures(torch.utils.data.Dataset):
    "Eight pictures of noise in some classes."

    def __init__(self, classes):
        self.classes, self.targets = list(classes), [i % len(classes) for i in range(8)]
        self.x = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))

    def __len__(self):
        return 8

    def __getitem__(self, i):
        return self.x[i], self.targets[i]


def WORK(classes=("left", "right"), seed=0):
    "A network of three units, and eight pictures."
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.ReLU()), Pictures(classes)


@pytest.fixture(scope="module")
def tiny():
    return fe.assess(*WORK(), null="shuffle")


@pytest.fixture(scope="module")
def digits():
    return fe.images("digits", per_class=6)


@pytest.fixture(scope="module")
def net():
    return fe.network("small_resnet", in_channels=1)


@pytest.fixture(scope="module")
def result(net, digits):
    return fe.assess(net, digits, filtration=("clique", "cubical"), null="shuffle")


def test_table_is_tidy_and_complete(result, digits):
    contrast = {"contrast", "contrast_lo", "contrast_hi", "contrast_q", "d_prime"}
    assert set(COLUMNS) | {"eps_null", "H_null"} | contrast == set(result.table)
    assert len(result.table) == result.layers.units.sum() * 10 * 2
    assert not result.table.duplicated(["layer", "unit", "class", "filtration"]).any()
    assert (result.table.n_images == 6).all()


def test_births_are_those_of_the_maps(net, digits, result):
    "The whole pass against maps kept in memory and gudhi."
    chosen, _ = select_layers(net, digits, "conv")
    x = torch.stack([digits[i][0] for i in range(4)])
    for row, maps in zip(chosen.itertuples(), read_maps(net, x, chosen).values()):
        if row.height > 16:
            maps = maps[:, :4]
        for f in ("clique", "cubical"):
            expected = fe.births(maps, f, engine="gudhi")
            np.testing.assert_array_equal(
                result.births[row.layer, f, "real"][:4, : expected.shape[1]], expected
            )


@pytest.mark.parametrize("options", [dict(n_jobs=1), dict(budget=1), dict(n_jobs=3, budget=10**6)])
def test_the_result_does_not_depend_on_how_the_work_is_shared_out(net, digits, result, options):
    again = fe.assess(net, digits, filtration=("clique", "cubical"), null="shuffle", **options)
    for k in result.births:
        np.testing.assert_array_equal(again.births[k], result.births[k])
    pd.testing.assert_frame_equal(again.table, result.table)


def test_another_batch_size_moves_only_rounding(net, digits, result):
    "The network may round otherwise; the shuffles and the kernels do not know of batches."
    again = fe.assess(net, digits, filtration=("clique", "cubical"), null="shuffle", batch_size=1)
    moved = np.concatenate([(again.births[k] != result.births[k]).ravel() for k in result.births])
    assert moved.mean() < 0.01


def test_maps_from_another_device_give_the_same_result(net, digits, result, monkeypatch):
    "The path of a network on a GPU, with everything but the device."
    kept = streaming._kept
    monkeypatch.setattr(
        streaming, "_kept", lambda maps, on_device, travels: kept(maps, False, True)
    )
    again = fe.assess(net, digits, filtration=("clique", "cubical"), null="shuffle")
    for k in result.births:
        np.testing.assert_array_equal(again.births[k], result.births[k])
    monkeypatch.setattr(streaming, "_kept", lambda maps, on_device, travels: kept(maps, True, True))
    again = fe.assess(net, digits)
    for k in again.births:
        np.testing.assert_array_equal(again.births[k], result.births[k])


def test_other_seeds_shuffle_otherwise(net, digits, result):
    other = fe.assess(net, digits, null="shuffle", seed=1)
    layer = result.layers.layer[0]
    np.testing.assert_array_equal(
        other.births[layer, "clique", "real"], result.births[layer, "clique", "real"]
    )
    assert (
        other.births[layer, "clique", "shuffled"] != result.births[layer, "clique", "shuffled"]
    ).any()


def test_conventions(net, digits):
    "The released rules end to end: its births, and an entropy over births only."
    released, text = (fe.assess(net, digits, "conv1", convention=c) for c in ("released", "text"))
    b, t = next(iter(released.births.values())), next(iter(text.births.values()))
    np.testing.assert_array_equal(b, np.where((t > 1) & (t <= 51), t - 1, 0))
    np.testing.assert_allclose(
        released.table.H,
        np.concatenate([fe.feature_entropy(b[digits.labels == c], "births") for c in range(10)]),
    )
    assert released.record["convention"] == "released" and released.record["over"] == "births"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(net, digits, dtype):
    half = fe.network("small_resnet", in_channels=1).to(dtype)
    few = fe.images("digits", per_class=2)
    r = fe.assess(half, few)
    x = torch.stack([few[i][0] for i in range(20)])
    chosen, _ = select_layers(half, few, "conv")
    for name, maps in read_maps(half, x, chosen).items():
        np.testing.assert_array_equal(
            r.births[name, "clique", "real"], fe.births(maps.double().numpy())
        )
    assert r.record["network"]["dtype"] == str(dtype)


def test_the_record_tells_what_made_the_numbers(net, digits, result):
    r = result.record
    assert (
        r["network"]["weights_hash"] == fe.data.records.weights_hash(net)
        and r["images"]["fingerprint"] == digits.record["fingerprint"]
    )
    assert (
        r["seed"] == 0
        and r["versions"]["torch"] == torch.__version__.split("+")[0]
        or r["versions"]["torch"]
    )
    assert r["rule"] == {"min_eps": 0.1, "max_share": 0.5} and r["transform"] == describe_transform(
        digits.transform
    )
    json.dumps(r)


def test_networks_preprocessing_is_taken(digits):
    data = [(torch.randint(0, 255, (3, 70, 70), dtype=torch.uint8), 0) for _ in range(2)]
    net = fe.network("squeezenet1_1")
    own = lambda picture: picture.float()[:, :64, :64] / 255
    plain, chosen = (
        fe.assess(net, data, "features.0"),
        fe.assess(net, fe.images(data, transform=own), "features.0"),
    )
    assert plain.layers.height[0] == 34 and chosen.layers.height[0] == 31
    assert plain.record["transform"] != chosen.record["transform"]


def test_errors_come_before_work(net, digits, tmp_path):
    calls = []
    hook = net.register_forward_hook(lambda *_: calls.append(1))
    cases = [
        (dict(layers="nope"), "no layer matches 'nope'"),
        (dict(filtration="rips"), "choose from 'clique', 'cubical'"),
        (dict(convention="paper"), "choose 'text' or 'released'"),
        (dict(null="noise"), "choose from 'shuffle', 'random'"),
        (dict(rule={"p": 1}), "unknown entries in rule"),
        (dict(filtration="cubical", convention="released"), "about the clique filtration"),
        (dict(n_jobs=0), "n_jobs=0 has no meaning"),
        (dict(batch_size=0), "batch_size"),
    ]
    for options, message in cases:
        with pytest.raises(ValueError, match=message):
            fe.assess(net, digits, **options)
    hook.remove()
    assert len(calls) <= len(cases)  # one traced image each, at most
    with pytest.raises(ValueError, match="'0' has 8 x 10 .*pass pad=True"):
        fe.assess(nn.Sequential(nn.Conv2d(1, 2, 3)), [(torch.rand(1, 10, 12), 0)], "conv")
    assert (
        fe.assess(
            nn.Sequential(nn.Conv2d(1, 2, 3)), [(torch.rand(1, 10, 12), 0)], "conv", pad=True
        ).layers.width[0]
        == 10
    )


def test_a_failing_pass_leaves_no_threads_and_no_hooks(net, digits):
    before = threading.active_count()
    broken = fe.network("small_resnet", in_channels=1)
    with torch.no_grad():
        list(broken.parameters())[0][:] = float("nan")
    with pytest.raises(
        ValueError, match=r"has NaN or infinite activations for image 0 \('digits/train/"
    ):
        fe.assess(broken, digits)
    assert threading.active_count() == before and not any(
        m._forward_hooks for m in broken.modules()
    )


def test_save_and_load(result, tmp_path):
    back = fe.load(result.save(tmp_path / "r"))
    pd.testing.assert_frame_equal(back.table, result.table)
    for k in result.births:
        np.testing.assert_array_equal(back.births[k], result.births[k])
    back.births[next(iter(back.births))][:] = 0  # arrays of one's own
    result.save(tmp_path / "r")  # the same result may be saved again
    assert [p.name for p in tmp_path.iterdir()] == ["r"]
    pd.testing.assert_frame_equal(
        pd.read_parquet(tmp_path / "r/table.parquet"), result.table, check_dtype=False
    )
    assert back.plot() is not None


def test_another_result_is_replaced_only_when_asked(tiny, tmp_path):
    "And the old one goes only when the new one is there."
    other = fe.assess(*WORK(), filtration="cubical")
    folder = tiny.save(tmp_path / "r")
    before = (folder / "record.json").read_bytes()
    with pytest.raises(
        FileExistsError,
        match=r"r holds another result \(filtrations: .*\): choose another folder, "
        r"or replace it with save\(folder, replace=True\)",
    ):
        other.save(folder)
    changed = replace(tiny, births={k: b + 1 for k, b in tiny.births.items()})
    with pytest.raises(
        FileExistsError, match="the same record with other births; the new one is kept in .*r-kept"
    ):
        changed.save(folder)
    assert (folder / "record.json").read_bytes() == before and sorted(
        p.name for p in tmp_path.iterdir()
    ) == ["r", "r-kept"]
    assert all(
        np.array_equal(fe.load(tmp_path / "r-kept").births[k], b) for k, b in changed.births.items()
    )
    other.save(folder, replace=True)
    assert fe.load(folder).record["filtrations"] == ["cubical"] and sorted(
        p.name for p in tmp_path.iterdir()
    ) == ["r", "r-kept"]


def test_saving_never_overwrites_other_things(tiny, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("x")
    with pytest.raises(FileExistsError, match="is not a saved result: choose another folder"):
        tiny.save(tmp_path / "mine")
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    with pytest.raises(FileExistsError, match="is not a saved result"):
        tiny.save(tmp_path / "mine/thesis.txt")
    folder = tiny.save(tmp_path / "r")
    (folder / "thesis.txt").write_text("x")
    for asked in (False, True):
        with pytest.raises(
            FileExistsError,
            match=r"other things, which would be lost \(thesis.txt\): "
            "choose another folder, or move them away",
        ):
            tiny.save(folder, replace=asked)
    assert (folder / "thesis.txt").read_text() == "x" and sorted(
        p.name for p in tmp_path.iterdir()
    ) == ["mine", "r"]


def test_a_folder_that_fills_while_a_result_is_written_keeps_both(tiny, tmp_path, monkeypatch):
    write = saving._write

    def meanwhile(result, work):
        write(result, work)
        (tmp_path / "r").mkdir()
        (tmp_path / "r/note.txt").write_text("came in between")

    monkeypatch.setattr(saving, "_write", meanwhile)
    with pytest.raises(
        OSError, match="the work is finished but could not become .*r .*: it is kept in .*r-kept"
    ):
        tiny.save(tmp_path / "r")
    assert [p.name for p in (tmp_path / "r").iterdir()] == ["note.txt"]
    pd.testing.assert_frame_equal(fe.load(tmp_path / "r-kept").table, tiny.table)
    with pytest.raises(
        FileNotFoundError,
        match=r"no saved result in .*r: record.json is missing.*\(but see .*r-kept\)",
    ):
        fe.load(tmp_path / "r")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_a_result_that_cannot_be_written_is_kept_elsewhere(tiny, tmp_path, monkeypatch, code):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    write = saving._write

    def full(result, work):
        write(result, work)
        if work.parent == tmp_path:
            raise OSError(code, os.strerror(code))

    monkeypatch.setattr(saving, "_write", full)
    with pytest.raises(
        OSError,
        match="the result could not be saved in .*r .*: it is kept in .*temporary/featent-r-",
    ) as e:
        tiny.save(tmp_path / "r")
    (kept,) = (tmp_path / "temporary").iterdir()
    assert str(kept) in str(e.value) and [p.name for p in tmp_path.iterdir()] == ["temporary"]
    pd.testing.assert_frame_equal(fe.load(kept).table, tiny.table)
    monkeypatch.setattr(
        saving, "_write", lambda *_: (_ for _ in ()).throw(OSError(code, os.strerror(code)))
    )
    with pytest.raises(
        OSError, match="it is still in memory, and nowhere on a disk; free some space"
    ):
        tiny.save(tmp_path / "r")
    assert list((tmp_path / "temporary").iterdir()) == [kept] and [
        p.name for p in tmp_path.iterdir()
    ] == ["temporary"]


def test_a_tilde_is_the_home_folder(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert tiny.save("~/r") == tmp_path / "r" and fe.load("~/r").table.equals(tiny.table)
    fe.fill("~/s", *WORK())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["r", "s"]


def test_a_relative_store_stays_where_it_is_when_the_working_folder_changes(tmp_path, monkeypatch):
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    r = fe.assess(*WORK(), store="store")
    monkeypatch.chdir(tmp_path / "there")
    assert all(b.any() for b in r.births.values()) and not list((tmp_path / "there").iterdir())


# damage


def test_damaged_results_are_refused(result, tmp_path):
    with pytest.raises(FileNotFoundError, match="no saved result in .*record.json is missing"):
        fe.load(tmp_path)
    with pytest.raises(
        FileNotFoundError, match="no saved result in .*nowhere: there is no such folder"
    ):
        fe.load(tmp_path / "nowhere")
    for name in ("births.npz", "record.json"):
        folder = result.save(tmp_path / f"without {name}")
        (folder / name).write_bytes((folder / name).read_bytes()[:100])
        with pytest.raises(ValueError, match="is damaged .*assess again"):
            fe.load(folder)
        (folder / name).unlink()
        with pytest.raises(
            (ValueError, FileNotFoundError),
            match="is damaged .*assess again|record.json is missing",
        ):
            fe.load(folder)
    with pytest.raises(FileNotFoundError, match="but see .*without births.npz"):
        fe.load(tmp_path)


def bits(data, step, start=0):
    "The data with one bit flipped, every so many bits."
    for bit in range(start, 8 * len(data), step):
        bad = bytearray(data)
        bad[bit // 8] ^= 1 << bit % 8
        yield bit, bytes(bad)


@pytest.mark.parametrize(
    "name, step, start",
    [("record.json", 61, 0), ("births.npz", 37, 0), ("record.json", 1, -8 * 84)],
)
def test_any_flipped_bit_of_a_saved_result_is_found(tiny, tmp_path, name, step, start):
    folder = tiny.save(tmp_path / "r")
    data = (folder / name).read_bytes()
    for bit, bad in bits(data, step, start and 8 * len(data) + start):
        (folder / name).write_bytes(bad)
        with pytest.raises(
            ValueError, match="is damaged .*: assess again, or restore it from a copy"
        ) as e:
            fe.load(folder)
        assert "\n" not in str(e.value), bit
    (folder / name).write_bytes(data)
    pd.testing.assert_frame_equal(fe.load(folder).table, tiny.table)


def test_births_of_other_weights_are_refused_under_a_record(tiny, tmp_path):
    a, b = tiny.save(tmp_path / "a"), fe.assess(*WORK(seed=1)).save(tmp_path / "b")
    shutil.copy(b / "births.npz", a / "births.npz")
    with pytest.raises(ValueError, match="births.npz is not the file that record.json vouches for"):
        fe.load(a)
    shutil.copy(b / "record.json", a / "record.json")
    assert fe.load(a).table.equals(fe.load(b).table)


def test_a_record_without_its_checksum_is_refused(tiny, tmp_path):
    folder = tiny.save(tmp_path / "r")
    content = json.loads((folder / "record.json").read_text())
    for drop in (("sha256",), ("sha256", "format"), ("sha256", "format", "version", "files")):
        (folder / "record.json").write_text(
            json.dumps({k: v for k, v in content.items() if k not in drop})
        )
        with pytest.raises(ValueError, match="the checksum of record.json is missing"):
            fe.load(folder)
    sealed = {k: v for k, v in content.items() if k != "sha256"} | {"version": 99}
    (folder / "record.json").write_bytes(saving._sealed(sealed))
    with pytest.raises(
        ValueError, match="featent result, version 99: this featent reads version 2"
    ):
        fe.load(folder)


@pytest.mark.parametrize(
    "text, words",
    [
        ("[" * 10**5, "nested too deeply"),
        ("[]", "holds no record"),
        ("{}", "KeyError"),
        ('{"record": 1, "keys": 2, "layers": 3}', "TypeError"),
        (b"\xff\xfe", "no JSON"),
        ("", "no JSON"),
    ],
)
def test_odd_records_are_damage_in_one_line(tiny, tmp_path, text, words):
    folder = tiny.save(tmp_path / "r")
    (folder / "record.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=f"is damaged .*{words}") as e:
        fe.load(folder)
    assert "\n" not in str(e.value)


def forged(folder, arrays, record=None):
    "A saved result with other arrays, and checksums that vouch for them."
    content = {
        k: v for k, v in json.loads((folder / "record.json").read_text()).items() if k != "sha256"
    }
    np.savez_compressed(folder / "births.npz", **arrays)
    data = (folder / "births.npz").read_bytes()
    content["files"] = {"births.npz": {"bytes": len(data), "sha256": sha256(data)}}
    content["arrays"] = {
        k: {
            "dtype": a.dtype.str,
            "shape": list(a.shape),
            "sha256": sha256(npy_bytes(a)),
        }
        for k, a in arrays.items()
    }
    (folder / "record.json").write_bytes(saving._sealed({**content, **(record or {})}))
    return folder


def arrays_of(folder):
    with np.load(folder / "births.npz") as z:
        return {k: z[k] for k in z.files}


def peak_of(f):
    tracemalloc.start()
    try:
        f()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_small_file_that_unpacks_to_gigabytes_is_refused_packed(tiny, tmp_path):
    folder = tiny.save(tmp_path / "r")
    good = arrays_of(folder)
    zeros = {**good, "births_0": np.zeros((len(tiny.labels), 10**7), np.int32)}
    forged(folder, zeros)
    assert (folder / "births.npz").stat().st_size < 2 * 10**6

    def refused():
        with pytest.raises(
            ValueError, match=r"is damaged \(births_0.npy has 320000128 bytes for 24 numbers"
        ):
            fe.load(folder)

    assert peak_of(refused) < 20 * 10**6


def test_more_than_the_memory_is_refused_packed(tiny, tmp_path, monkeypatch):
    folder = tiny.save(tmp_path / "r")
    monkeypatch.setattr(files, "free_memory", lambda: 1000)
    with pytest.raises(ValueError, match="says that it holds .* GB of memory are free"):
        fe.load(folder)


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda a: {**a, "births_0": a["births_0"].astype(float)}, "births_0"),
        (lambda a: {**a, "births_0": a["births_0"][:, :2]}, "bytes for 24 numbers|births_0"),
        (lambda a: {**a, "labels": a["labels"][:-1]}, "births_0"),
        (lambda a: {k: v for k, v in a.items() if k != "births_1"}, "other arrays"),
        (lambda a: {**a, "extra": a["labels"]}, "other arrays"),
        (lambda a: {**a, "labels": a["labels"].reshape(2, -1)}, "labels.npy: it is int64"),
        (lambda a: {**a, "labels": a["labels"] + 5}, "no images of class"),
        (lambda a: {**a, "births_0": a["births_0"] - 1}, "levels"),
    ],
)
def test_forged_arrays_are_damage_in_one_line(tiny, tmp_path, change, words):
    "With checksums that vouch for them."
    folder = tiny.save(tmp_path / "r")
    forged(folder, change(arrays_of(folder)))
    with pytest.raises(ValueError, match=f"is damaged .*({words})") as e:
        fe.load(folder)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    "path, value, words",
    [
        (("record", "classes"), 5, "AttributeError"),
        (("record", "classes"), {"x": "y"}, "invalid literal"),
        (("record", "over"), "no", "over"),
        (("record", "rule"), {"p": 1}, "unknown entries in rule"),
        (("keys", "births"), [["x", "clique", "real"]] * 2, "other arrays"),
        (("keys", "births"), [[x, "clique", "real"] for x in "xy"], "KeyError"),
        (("layers", "units"), [10**12], "bytes for"),
        (("layers",), {}, "KeyError"),
        (("record",), [], "TypeError"),
    ],
)
def test_forged_records_are_damage_in_one_line(tiny, tmp_path, path, value, words):
    folder = tiny.save(tmp_path / "r")
    content = {
        k: v for k, v in json.loads((folder / "record.json").read_text()).items() if k != "sha256"
    }
    inner = content
    for word in path[:-1]:
        inner = inner[word]
    inner[path[-1]] = value
    (folder / "record.json").write_bytes(saving._sealed(content))
    with pytest.raises(ValueError, match=f"is damaged .*{words}") as e:
        fe.load(folder)
    assert "\n" not in str(e.value)


def test_pickles_are_not_loaded(tiny, tmp_path, monkeypatch):
    folder = tiny.save(tmp_path / "pickled")
    names, old = arrays_of(folder), tmp_path / "old"
    shutil.copytree(DATA / "result-0.1.0", old)
    evil = lambda names: {n: np.array([object()], dtype=object) for n in names}
    np.savez(folder / "births.npz", **evil(names))
    np.savez(old / "births.npz", **evil(arrays_of(DATA / "result-0.1.0")))
    for f in (folder, old):
        with pytest.raises(ValueError, match="is damaged"):
            fe.load(f)


def test_a_result_that_may_not_be_read_says_so(tiny, tmp_path, monkeypatch):
    folder = tiny.save(tmp_path / "r")

    def forbidden(path, *_):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(saving, "read_bounded", forbidden)
    with pytest.raises(PermissionError, match="may not be read: give yourself the permission"):
        fe.load(folder)


# results and stores of the first version


@pytest.fixture
def old():
    return DATA / "result-0.1.0", DATA / "store-0.1.0"


def test_a_result_without_checksums_is_read_to_the_same_numbers_with_one_warning(old):
    with pytest.warns(
        UserWarning, match="carries no checksum, .* so damage cannot be told; result.save adds one"
    ) as said:
        r = fe.load(old[0])
    table = read_table(old[0] / "table.csv")
    assert (
        len(said) == 1
        and set(table["class"]) == {"left", "NA"}
        and table["class"].tolist() == r.table["class"].tolist()
    )
    for column in (
        "n_births",
        "eps",
        "H",
        "H_mm",
        "H_cwj",
        "score",
        "eps_null",
        "H_null",
        "eps_random",
        "H_random",
    ):
        np.testing.assert_allclose(
            r.table[column], table[column], rtol=1e-12, equal_nan=True, err_msg=column
        )
    assert {k: int(b.sum()) for k, b in r.births.items()} == SUMS


SUMS = {
    ("0+relu", "clique", "real"): 46,
    ("0+relu", "clique", "shuffled"): 88,
    ("0+relu", "clique", "random0"): 127,
    ("0+relu", "cubical", "real"): 194,
    ("0+relu", "cubical", "shuffled"): 209,
    ("0+relu", "cubical", "random0"): 391,
}


def test_an_old_store_is_read_to_the_same_numbers(old):
    "As births of that day, not of this one: nothing is computed."
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        s = fe.load(old[1])
    assert {k: int(b.sum()) for k, b in s.births.items()} == SUMS and s.classes == {
        0: "left",
        1: "NA",
    }
    with pytest.warns(UserWarning, match="no checksum"):
        r = fe.load(old[0])
    pd.testing.assert_frame_equal(s.table, r.table)


def test_an_old_store_is_not_gone_on_with(old, tmp_path):
    shutil.copytree(old[1], tmp_path / "s")
    (tmp_path / "s/shards/000001.npz").unlink()
    before = sorted(p.name for p in (tmp_path / "s").rglob("*"))
    with pytest.raises(
        ValueError,
        match="was made by an earlier version of featent, which told networks and images apart "
        "in another way: .* load reads it as it is; to go on, choose another folder",
    ) as e:
        fe.fill(
            tmp_path / "s",
            *WORK(),
            filtration=("clique", "cubical"),
            null=("shuffle", "random"),
            twins=1,
            batch_size=2,
            shard_size=4,
        )
    assert (
        len(str(e.value)) < 500
        and "->" not in str(e.value)
        and sorted(p.name for p in (tmp_path / "s").rglob("*")) == before
    )


def test_a_damaged_old_result_never_raises_anything_but_its_message(old, tmp_path):
    shutil.copytree(old[0], tmp_path / "r")
    for name, step in (("record.json", 163), ("births.npz", 257)):
        data = (old[0] / name).read_bytes()
        for bit, bad in bits(data, step):
            (tmp_path / "r" / name).write_bytes(bad)
            try:
                with pytest.warns(UserWarning):
                    fe.load(tmp_path / "r")
            except ValueError as e:
                assert "is damaged" in str(e) and "\n" not in str(e), bit
            except pytest.fail.Exception:
                pass
        (tmp_path / "r" / name).write_bytes(data)


# names


def test_two_classes_of_one_name_stay_two(tmp_path):
    network, data = WORK(classes=("crane", "shark", "crane"))
    r = fe.assess(network, data)
    assert r.classes == {0: "crane (0)", 1: "shark", 2: "crane (2)"}
    assert (
        r.table["class"].unique().tolist() == ["crane (0)", "shark", "crane (2)"]
        and not r.table.duplicated(["layer", "unit", "class", "filtration"]).any()
    )
    single = r.summary(("class",)).set_index("class")
    for label, name in r.classes.items():
        alone = fe.feature_entropy(r.births["0+relu", "clique", "real"][r.labels == label])
        assert single.H[name] == pytest.approx(alone.mean()) and single.n_units[name] == 3
    table = indicator_table(r)
    assert len(table) == 9 and table["class"].nunique() == 3
    assert r.record["classes"] == {
        "0": "crane",
        "1": "shark",
        "2": "crane",
    }  # as the images have them
    back = fe.load(r.save(tmp_path / "r"))
    pd.testing.assert_frame_equal(back.table, r.table)
    assert set(read_table(tmp_path / "r/table.csv")["class"]) == set(r.classes.values())


def test_a_class_called_NA_survives_a_round_trip(tmp_path):
    for names in (("NA", "null", "nan"), ("1", "02", "1e3"), ("", "None", "True")):
        r = fe.assess(*WORK(classes=names))
        folder = r.save(tmp_path / f"r{names[0]}")
        assert (
            fe.load(folder).table["class"].tolist()
            == r.table["class"].tolist()
            == read_table(folder / "table.csv")["class"].tolist()
        )


def test_estimate_grows_with_images_only_in_births(net):
    few, many = (fe.estimate(net, fe.images("digits", per_class=n)) for n in (4, 40))
    assert (
        many.births_MB == pytest.approx(10 * few.births_MB)
        and many.maps == 10 * few.maps
        and many.seconds > 0
    )


def test_plots(result):
    assert len(result.plot().axes) == 2
    layer = result.layers.layer[0]
    assert plot_births(result, layer, 0, filtration="cubical").axes[0].get_title().startswith(layer)
    assert plot_units(result.table.query("layer == @layer")).axes
    with pytest.raises(ValueError, match="no births for 'x'"):
        plot_births(result, "x", 0)
    with pytest.raises(ValueError, match="this result has clique, cubical"):
        result.plot(filtration="rips")


def test_names_from_data_are_text_and_not_html(net):
    "A class, a folder or a network may be called anything; a notebook must show it and not run it."
    x = [(torch.rand(1, 16, 16), 0) for _ in range(3)]
    data = fe.images(x)
    from dataclasses import replace

    data = replace(data, classes=("<script>alert(1)</script>|",))
    assert "<script>" not in data._repr_markdown_() and "&lt;script&gt;" in data._repr_markdown_()
    r = fe.assess(net, data, "conv1")
    r.record["network"]["name"] = r.record["images"]["source"] = "<img src=x onerror=alert(1)>"
    assert "<img" not in r._repr_markdown_() and "&lt;img" in r._repr_markdown_()
    evil = (
        "![t](http://127.0.0.1:9/beacon.png) [click](javascript:alert(4)) "
        "line1\n\n<b>line2</b> `code` $x$ |"
    )
    table = r.table.assign(layer=evil)
    r = replace(
        r,
        table=table,
        record={**r.record, "left_out": [evil], "filtrations": [evil], "network": {"name": evil}},
    )
    text = r._repr_markdown_()
    assert (
        "![t](" not in text
        and "[click](" not in text
        and "<b>" not in text
        and "\n\n<" not in text
        and "`code`" not in text
        and "$x$" not in text
    )
    assert (
        "beacon.png" in text and text.count("\n|") == 3
    )  # the words are there, and the table has its rows


def test_a_large_saved_result_waits_on_the_disk_and_says_the_same(tiny, tmp_path, monkeypatch):
    folder = tiny.save(tmp_path / "r")
    monkeypatch.setattr(loading, "_AT_ONCE", 0)
    large = fe.load(folder)
    assert isinstance(large.births, loading.SavedArrays) and isinstance(large.kernel_l1, dict)
    pd.testing.assert_frame_equal(large.table, tiny.table)
    pd.testing.assert_frame_equal(large.units(), tiny.units())
    again = fe.load(large.save(tmp_path / "again"))
    assert all((again.births[k] == b).all() for k, b in tiny.births.items())
    assert fe.load(large.save(folder, replace=True)).record == large.record


def test_a_saved_result_that_changes_after_it_was_loaded_is_not_read(tiny, tmp_path, monkeypatch):
    folder = tiny.save(tmp_path / "r")
    monkeypatch.setattr(loading, "_AT_ONCE", 0)
    large, (key, *_) = fe.load(folder), tiny.births
    data = bytearray((folder / "births.npz").read_bytes())
    for damage in (lambda: flipped(folder, data), lambda: (folder / "births.npz").unlink()):
        damage()
        with pytest.raises(ValueError, match="no longer what was loaded .*restore it"):
            large.births[key]
    with pytest.raises(KeyError):
        large.births["conv9"]


def flipped(folder, data):
    "The archive with one bit of the first array's bytes flipped."
    at = data.index(b"births_0.npy") + 60
    data[at] ^= 1
    (folder / "births.npz").write_bytes(data)
