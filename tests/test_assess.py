"One verb: the right maps, the same births however the work is cut, early errors, and a result that survives the disk."
import json
import sys
import threading
import zipfile

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import featent as fe

assess_module = sys.modules["featent.assess"]  # `fe.assess` is the function

COLUMNS = "layer unit class n_images n_births eps H H_mm H_cwj warning H/eps score status height width filtration".split()


@pytest.fixture(scope="module")
def digits(): return fe.images("digits", per_class=6)


@pytest.fixture(scope="module")
def net(): return fe.network("small_resnet", in_channels=1)


@pytest.fixture(scope="module")
def result(net, digits): return fe.assess(net, digits, filtration=("clique", "cubical"), null="shuffle")


def test_table_is_tidy_and_complete(result, digits):
    assert set(COLUMNS) | {"eps_null", "H_null"} == set(result.table)
    assert len(result.table) == result.layers.units.sum() * 10 * 2
    assert not result.table.duplicated(["layer", "unit", "class", "filtration"]).any()
    assert (result.table.n_images == 6).all()


def test_births_are_those_of_the_maps(net, digits, result):
    "The whole pass against maps kept in memory and gudhi."
    chosen, _ = fe.select_layers(net, digits, "conv")
    x = torch.stack([digits[i][0] for i in range(4)])
    for row, maps in zip(chosen.itertuples(), fe.read_maps(net, x, chosen).values()):
        if row.height > 16: maps = maps[:, :4]
        for f in ("clique", "cubical"):
            expected = fe.births(maps, f, engine="gudhi")
            np.testing.assert_array_equal(result.births[row.layer, f, "real"][:4, :expected.shape[1]], expected)


@pytest.mark.parametrize("options", [dict(n_jobs=1), dict(budget=1), dict(n_jobs=3, budget=10**6)])
def test_the_result_does_not_depend_on_how_the_work_is_shared_out(net, digits, result, options):
    again = fe.assess(net, digits, filtration=("clique", "cubical"), null="shuffle", **options)
    for k in result.births: np.testing.assert_array_equal(again.births[k], result.births[k])
    pd.testing.assert_frame_equal(again.table, result.table)


def test_another_batch_size_moves_only_rounding(net, digits, result):
    "The network may round the last bit of an activation differently; the shuffles and the kernels do not know of batches."
    again = fe.assess(net, digits, filtration=("clique", "cubical"), null="shuffle", batch_size=1)
    moved = np.concatenate([(again.births[k] != result.births[k]).ravel() for k in result.births])
    assert moved.mean() < .01


def test_maps_from_another_device_give_the_same_result(net, digits, result, monkeypatch):
    "The path of a network on a GPU, with everything but the device."
    kept = assess_module._kept
    monkeypatch.setattr(assess_module, "_kept", lambda maps, on_device, travels: kept(maps, False, True))
    again = fe.assess(net, digits, filtration=("clique", "cubical"), null="shuffle")
    for k in result.births: np.testing.assert_array_equal(again.births[k], result.births[k])
    monkeypatch.setattr(assess_module, "_kept", lambda maps, on_device, travels: kept(maps, True, True))
    again = fe.assess(net, digits)
    for k in again.births: np.testing.assert_array_equal(again.births[k], result.births[k])


def test_other_seeds_shuffle_otherwise(net, digits, result):
    other = fe.assess(net, digits, null="shuffle", seed=1)
    layer = result.layers.layer[0]
    np.testing.assert_array_equal(other.births[layer, "clique", "real"], result.births[layer, "clique", "real"])
    assert (other.births[layer, "clique", "shuffled"] != result.births[layer, "clique", "shuffled"]).any()


def test_conventions(net, digits):
    "The released rules end to end: its births, and an entropy over births only."
    released, text = (fe.assess(net, digits, "conv1", convention=c) for c in ("released", "text"))
    b, t = next(iter(released.births.values())), next(iter(text.births.values()))
    np.testing.assert_array_equal(b, np.where((t > 1) & (t <= 51), t - 1, 0))
    np.testing.assert_allclose(released.table.H, np.concatenate([fe.feature_entropy(b[digits.labels == c], "births") for c in range(10)]))
    assert released.record["convention"] == "released" and released.record["over"] == "births"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(net, digits, dtype):
    half = fe.network("small_resnet", in_channels=1).to(dtype)
    r = fe.assess(half, digits)
    x = torch.stack([digits[i][0] for i in range(60)])
    chosen, _ = fe.select_layers(half, digits, "conv")
    for name, maps in fe.read_maps(half, x[:32], chosen).items():
        np.testing.assert_array_equal(r.births[name, "clique", "real"][:32], fe.births(maps.double().numpy()))
    assert r.record["network"]["dtype"] == str(dtype)


def test_the_record_tells_what_made_the_numbers(net, digits, result):
    r = result.record
    assert r["network"]["weights_hash"] == fe.weights_hash(net) and r["images"]["fingerprint"] == digits.record["fingerprint"]
    assert r["seed"] == 0 and r["versions"]["torch"] == torch.__version__.split("+")[0] or r["versions"]["torch"]
    assert r["rule"] == {"min_eps": .1, "max_share": .5} and r["transform"] == fe.describe_transform(digits.transform)
    json.dumps(r)


def test_networks_preprocessing_is_taken(digits):
    data = [(torch.randint(0, 255, (3, 70, 70), dtype=torch.uint8), 0) for _ in range(2)]
    net = fe.network("squeezenet1_1")
    own = lambda picture: picture.float()[:, :64, :64] / 255
    plain, chosen = fe.assess(net, data, "features.0"), fe.assess(net, fe.images(data, transform=own), "features.0")
    assert plain.layers.height[0] == 34 and chosen.layers.height[0] == 31
    assert plain.record["transform"] != chosen.record["transform"]


def test_errors_come_before_work(net, digits, tmp_path):
    calls = []
    hook = net.register_forward_hook(lambda *_: calls.append(1))
    cases = [(dict(layers="nope"), "no layer matches 'nope'"), (dict(filtration="rips"), "choose from 'clique', 'cubical'"),
             (dict(convention="paper"), "choose 'text' or 'released'"), (dict(null="noise"), "choose from 'shuffle', 'random'"),
             (dict(rule={"p": 1}), "unknown entries in rule"), (dict(filtration="cubical", convention="released"), "about the clique filtration"),
             (dict(n_jobs=0), "n_jobs=0 has no meaning"), (dict(batch_size=0), "batch_size")]
    for options, message in cases:
        with pytest.raises(ValueError, match=message): fe.assess(net, digits, **options)
    hook.remove()
    assert len(calls) <= len(cases)  # one traced image each, at most
    with pytest.raises(ValueError, match="'0' has 8 x 10 .*pass pad=True"):
        fe.assess(nn.Sequential(nn.Conv2d(1, 2, 3)), [(torch.rand(1, 10, 12), 0)], "conv")
    assert fe.assess(nn.Sequential(nn.Conv2d(1, 2, 3)), [(torch.rand(1, 10, 12), 0)], "conv", pad=True).layers.width[0] == 10


def test_a_failing_pass_leaves_no_threads_and_no_hooks(net, digits):
    before = threading.active_count()
    broken = fe.network("small_resnet", in_channels=1)
    with torch.no_grad(): list(broken.parameters())[0][:] = float("nan")
    with pytest.raises(ValueError, match=r"has NaN or infinite activations for image 0 \('digits/train/"): fe.assess(broken, digits)
    assert threading.active_count() == before and not any(m._forward_hooks for m in broken.modules())


def test_save_and_load(result, tmp_path):
    back = fe.load(result.save(tmp_path/"r"))
    pd.testing.assert_frame_equal(back.table, result.table)
    for k in result.births: np.testing.assert_array_equal(back.births[k], result.births[k])
    result.save(tmp_path/"r")  # a saved result may be replaced
    assert [p.name for p in tmp_path.iterdir()] == ["r"]
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path/"r/table.parquet"), result.table, check_dtype=False)
    assert back.plot() is not None


def test_saving_never_overwrites_other_things(result, tmp_path):
    (tmp_path/"mine").mkdir(); (tmp_path/"mine/thesis.txt").write_text("x")
    with pytest.raises(FileExistsError, match="is not a saved result: choose another folder"): result.save(tmp_path/"mine")
    assert [p.name for p in (tmp_path/"mine").iterdir()] == ["thesis.txt"]


def test_damaged_results_are_refused(result, tmp_path):
    with pytest.raises(FileNotFoundError, match="no saved result in .*record.json is missing"): fe.load(tmp_path)
    for name in ("births.npz", "record.json"):
        folder = result.save(tmp_path/name)
        (folder/name).write_bytes((folder/name).read_bytes()[:100])
        with pytest.raises(ValueError, match="is damaged .*assess again"): fe.load(folder)
    folder = result.save(tmp_path/"pickled")
    with zipfile.ZipFile(folder/"births.npz") as z: names = z.namelist()
    np.savez(folder/"births.npz", **{n[:-4]: np.array([object()], dtype=object) for n in names})
    with pytest.raises(ValueError, match="is damaged"): fe.load(folder)


def test_estimate_grows_with_images_only_in_births(net):
    few, many = (fe.estimate(net, fe.images("digits", per_class=n)) for n in (4, 40))
    assert many.births_MB == pytest.approx(10 * few.births_MB) and many.maps == 10 * few.maps and many.seconds > 0


def test_plots(result):
    assert len(result.plot().axes) == 2
    layer = result.layers.layer[0]
    assert fe.plot_births(result, layer, 0, filtration="cubical").axes[0].get_title().startswith(layer)
    assert fe.plot_units(result.table.query("layer == @layer")).axes
    with pytest.raises(ValueError, match="no births for 'x'"): fe.plot_births(result, "x", 0)
    with pytest.raises(ValueError, match="this result has clique, cubical"): result.plot(filtration="rips")


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
