"Measures of networks against hand-computed values and SciPy; the experiments, small."

import copy
import itertools
import json
import math
import os

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings, strategies as st
from matplotlib.figure import Figure
from scipy.stats import kendalltau, spearmanr
from torch import nn

from featent.commands import cli
from featent.data.networks import network
from featent.data.sampling import images
from featent.studies.correlations import gap_correlations, weighted_kendall, weighted_spearman
from featent.studies.generalization import TOPOLOGY, compare_networks, network_rows
from featent.studies.generalization_plots import (
    plot_class_scatter,
    plot_gap,
    plot_network_profiles,
)
from featent.studies.margins import evaluate
from featent.studies.rescaling import rescale
from featent.studies.weight_norms import weight_measures
from featent.studies.zoo import train_zoo
from featent.studies.zoo_folder import load_network
from featent.studies.zoo_plans import set_a

INVARIANT = [
    "H",
    "H_valid",
    "score",
    "eps",
    "valid",
    "excess",
    "H_null",
    "eps_null",
    "information",
    "apoz",
]


@pytest.fixture(scope="module")
def digits():
    return images("digits", per_class=6, size=16)


@pytest.fixture(scope="module")
def zoo(digits, tmp_path_factory):
    folder, some = tmp_path_factory.mktemp("zoo") / "zoo", dict(epochs=2, batch_size=15)
    plans = pd.concat(
        [
            set_a(("small_vgg", "small_resnet"), (0, 1), ["plain"], **some),
            set_a(settings="shift", seeds=0, **some),
            set_a(settings={"absurd": {"lr": 1e12}}, seeds=0, **some),
        ]
    )
    return folder, train_zoo(
        plans, digits, images("digits", per_class=5, size=16, split="test"), folder
    )


@pytest.fixture(scope="module")
def table(zoo, digits):
    return compare_networks(zoo[0], digits, filtration=("clique", "cubical"), alpha=False, n_jobs=1)


def tiny(bias=False):
    net = nn.Sequential(
        nn.Conv2d(1, 2, 2, bias=bias), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(2, 3)
    ).eval()
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0, 2, 2, 0], [0, 3, 0, 4]]).view(2, 1, 2, 2))
        net[1].running_var.copy_(torch.tensor([4.0, 0.25]) - net[1].eps)
        net[1].running_mean.copy_(torch.tensor([1.0, 2]))
        net[1].weight.copy_(torch.tensor([2.0, 0.5]))
        net[1].bias.copy_(torch.tensor([3.0, 0]))
        net[4].weight.copy_(torch.tensor([[1.0, 0], [0, 2], [1, 1]]))
        net[4].bias.copy_(torch.tensor([0.0, 1, -2]))
    return net


def test_weight_measures_by_hand():
    "Normalisation multiplies the filters by 2/2 and .5/.5, and adds 3 - 1 = 2 and 0 - 2 = -2."
    net = tiny()
    found = weight_measures(net, (1, 2, 2))
    filters, last = np.array([[1.0, 2, 2, 0], [0, 3, 0, 4]]), np.array([[1.0, 0], [0, 2], [1, 1]])
    assert found["log_spectral"] == pytest.approx(
        np.log(np.linalg.svd(filters)[1][0] * np.linalg.svd(last)[1][0]), abs=1e-6
    )
    assert found["log_frobenius"] == pytest.approx(np.log(np.sqrt(9 + 25) * np.sqrt(7)), abs=1e-6)
    assert found["weight_norm"] == pytest.approx(np.sqrt(9 + 25 + 7), abs=1e-5)
    hidden = np.array([1 + 4 + 4 + 2**2, 9 + 16 + (-2) ** 2])
    assert found["log_path"] == pytest.approx(
        0.5 * np.log((last**2 @ hidden + [0, 1, 4]).sum()), abs=1e-6
    )
    assert math.isnan(found["distance"])
    other = copy.deepcopy(net)
    with torch.no_grad():
        other[0].weight[0, 0, 0, 0] += 3
        other[4].bias[1] += 4
    assert weight_measures(net, (1, 2, 2), other)["distance"] == pytest.approx(5)
    with pytest.raises(ValueError, match="other parameters"):
        weight_measures(net, (1, 2, 2), nn.Sequential(nn.Conv2d(1, 2, 2)))


def test_folding_keeps_the_function():
    "The spectral norm of a folded layer is that of the same layer without batch normalisation."
    net = tiny(bias=True)
    with torch.no_grad():
        net[1].weight.copy_(torch.tensor([3.0, -0.7]))
    fused = torch.nn.utils.fusion.fuse_conv_bn_eval(net[0], net[1])
    plain = nn.Sequential(fused, nn.ReLU(), nn.Flatten(), net[4]).eval()
    a, b = weight_measures(net, (1, 2, 2)), weight_measures(plain, (1, 2, 2))
    for k in ("log_spectral", "log_frobenius", "weight_norm", "log_path"):
        assert a[k] == pytest.approx(b[k], abs=1e-5), k


def test_transposed_and_unusual_networks():
    up = nn.Sequential(
        nn.ConvTranspose2d(2, 4, 2, groups=2, bias=False),
        nn.BatchNorm2d(4),
        nn.Sigmoid(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 2),
    ).eval()
    with torch.no_grad():
        up[1].weight.copy_(torch.tensor([1.0, 2, 3, 4]))
    found, scaled = weight_measures(up, (2, 5, 5)), copy.deepcopy(up)
    with torch.no_grad():
        scaled[0].weight.view(2, 2, 4).mul_(torch.tensor([1.0, 2, 3, 4]).view(2, 2, 1))
        scaled[1].weight.fill_(1)
    assert found["weight_norm"] == pytest.approx(
        weight_measures(scaled, (2, 5, 5))["weight_norm"], rel=1e-6
    )
    assert math.isnan(found["log_path"])  # a sigmoid does not pass sums on


def test_measures_of_images(zoo, digits, table):
    rows = network_rows(table).query("filtration == 'clique'").set_index("name")
    for name, r in rows.iterrows():
        net = load_network(zoo[0], name)
        assert (
            r.distance
            == pytest.approx(
                weight_measures(net, digits, load_network(zoo[0], name, initial=True))["distance"]
            )
            and r.distance > 0
        )
        if r.margin > 0:
            assert r.spectral_margin == pytest.approx(r.log_spectral - math.log(r.margin))
        else:
            assert math.isnan(r.spectral_margin)
    alone = compare_networks(
        {"a": load_network(zoo[0], "small_vgg-plain-0")},
        digits,
        ["features.conv6"],
        alpha=False,
        permutations=0,
        n_jobs=1,
    ).iloc[0]
    judged = evaluate(load_network(zoo[0], "small_vgg-plain-0"), digits)
    assert (alone.train_loss, alone.train_accuracy, alone.margin) == (
        judged["loss"],
        judged["accuracy"],
        judged["margin"],
    )
    assert (
        alone.train_loss == pytest.approx(rows.train_loss["small_vgg-plain-0"])
        and "information" not in alone
        and "gap" not in alone
    )


def test_maps_are_invariant_under_rescaling_and_norms_are_not(zoo, digits):
    net = load_network(zoo[0], "small_vgg-plain-0")
    nets = {
        "as it is": net,
        "rescaled": rescale(net, digits, seed=1),
        "by layer": rescale(net, digits, per="layer", seed=2),
    }
    t = compare_networks(nets, digits, alpha=False, n_jobs=1)
    parts = {n: t[t.name == n].reset_index(drop=True) for n in nets}
    for n in ("rescaled", "by layer"):
        pd.testing.assert_frame_equal(
            parts[n][INVARIANT], parts["as it is"][INVARIANT], check_exact=True
        )
        assert (
            parts[n].train_loss[0] == parts["as it is"].train_loss[0]
            and parts[n].margin[0] == parts["as it is"].margin[0]
        )
        assert abs(parts[n].weight_norm[0] / parts["as it is"].weight_norm[0] - 1) > 0.01
    assert abs(parts["rescaled"].log_spectral[0] - parts["as it is"].log_spectral[0]) > 0.01
    assert parts["by layer"].log_spectral[0] == pytest.approx(
        parts["as it is"].log_spectral[0], abs=1e-5
    )  # factors of neighbours cancel in the product
    assert parts["rescaled"].log_path[0] == pytest.approx(
        parts["as it is"].log_path[0], abs=1e-5
    )  # and along every path


def test_table_and_views(table, zoo):
    assert set(table.name) == set(zoo[1].name[zoo[1].state == "done"])
    assert (table.groupby(["name", "filtration", "layer"]).size() == 11).all() and {
        "H",
        "H_valid",
        "score",
        *TOPOLOGY,
    } <= set(table)
    rows, classes = network_rows(table), network_rows(table, per_class=True)
    assert len(rows) == 5 * 2 and len(classes) == 100 and (rows.depth == rows.layers).all()
    means = (
        classes.groupby(["name", "filtration"], sort=False)[["H", "eps", "score", "excess", "apoz"]]
        .mean()
        .reset_index()
    )
    pd.testing.assert_frame_equal(
        means, rows[means.columns], rtol=1e-9
    )  # classes of equal size: the mean over all is the mean of their means
    every = network_rows(table, "all").set_index(["name", "filtration"])
    own = table[
        (table["class"] == "all")
        & (table.name == "small_resnet-plain-0")
        & (table.filtration == "cubical")
    ]
    assert (
        every.H["small_resnet-plain-0", "cubical"] == pytest.approx(own.H.mean())
        and every.gap["small_resnet-plain-0", "cubical"] == own.gap.iloc[0]
    )
    assert ((table.H_null - table.H - table.excess).abs() < 1e-12).all() and (
        table.score >= table.H - 1e-9
    ).all()


def test_stored_work_is_read_again(zoo, digits, tmp_path, monkeypatch):
    nets = {n: load_network(zoo[0], n) for n in ("small_vgg-plain-0", "small_vgg-plain-1")}
    some = dict(layers="features.conv6", alpha=False, n_jobs=1)
    first = compare_networks(nets, digits, store=tmp_path / "s", **some)
    monkeypatch.setattr(
        "featent.assessment.streaming.run_plan", lambda *a, **k: pytest.fail("computed again")
    )
    pd.testing.assert_frame_equal(
        compare_networks(nets, digits, store=tmp_path / "s", **some), first
    )


def test_what_cannot_be_compared(digits, tmp_path):
    with pytest.raises(ValueError, match="no networks"):
        compare_networks({}, digits)
    with pytest.raises(FileNotFoundError, match="no zoo"):
        compare_networks(tmp_path, digits)
    with pytest.raises(ValueError, match="no network 'b'"):
        compare_networks({"a": network("small_vgg", in_channels=1)}, digits, initial={"b": None})


def test_alpha_without_weightwatcher(digits, monkeypatch):
    monkeypatch.setattr("featent.studies.weight_norms.find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install weightwatcher"):
        compare_networks(
            {"a": network("small_vgg", in_channels=1)}, digits, "features.conv6", alpha=True
        )


def test_alpha_is_that_of_weightwatcher(digits):
    "The mean over the layers that it analyses; finite; the network stays as it is."
    import weightwatcher

    net = network("small_resnet", in_channels=1)
    before = copy.deepcopy(net.state_dict())
    found = compare_networks({"a": net}, digits, ["conv1"], alpha=True, permutations=0, n_jobs=1)
    assert (
        found.alpha.nunique() == 1
        and found.alpha[0]
        == pytest.approx(
            weightwatcher.WeightWatcher(model=copy.deepcopy(net)).analyze().alpha.mean()
        )
        and 1 < found.alpha[0] < 50
    )
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


values = st.lists(st.integers(0, 6), min_size=3, max_size=14)


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_correlations_are_those_of_scipy(data):
    x = np.array(data.draw(values), float)
    y = np.array(data.draw(st.lists(st.integers(0, 6), min_size=len(x), max_size=len(x))), float)
    w = (
        np.random.default_rng(len(x))
        .multinomial(len(x), np.full(len(x), 1 / len(x)), 4)
        .astype(float)
    )
    for f, g in ((weighted_spearman, spearmanr), (weighted_kendall, kendalltau)):
        for row, found in zip(w, f(x, y, w)):
            at = np.repeat(np.arange(len(x)), row.astype(int))
            if len(set(x[at])) < 2 or len(set(y[at])) < 2:
                assert np.isnan(found)
            else:
                assert found == pytest.approx(g(x[at], y[at]).statistic, abs=1e-9)


def rows(n, rho, seed=0, architectures=1):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    return pd.DataFrame(
        {
            "name": [f"n{i}" for i in range(n)],
            "architecture": [f"a{i % architectures}" for i in range(n)],
            "setting": [f"s{i // 2}" for i in range(n)],
            "H": x,
            "eps": rng.normal(size=n),
            "gap": rho * x + math.sqrt(1 - rho**2) * rng.normal(size=n),
        }
    )


def test_p_values_and_intervals():
    t = rows(6, 0.8)
    found = gap_correlations(t).set_index("measure").loc["H"]
    exact = [
        abs(spearmanr(t.H, t.gap.to_numpy()[list(o)]).statistic)
        for o in itertools.permutations(range(6))
    ]
    assert found.p == pytest.approx(np.mean(np.array(exact) >= abs(found.rho) - 1e-9), abs=1e-12)
    ps = [
        gap_correlations(rows(12, 0, s), ["H"], n_resamples=0, permutations=99).p[0]
        for s in range(40)
    ]
    assert 0.3 < np.mean(ps) < 0.7 and np.mean(np.array(ps) < 0.1) < 0.25
    strong = gap_correlations(rows(40, 0.9)).set_index("measure").loc["H"]
    assert (
        strong.p < 0.01
        and 0.5 < strong.rho_low < strong.rho < strong.rho_high <= 1
        and strong.q >= strong.p
    )
    again = [gap_correlations(rows(10, 0.9), ["H"], n_resamples=50) for _ in range(2)]
    assert again[0].equals(again[1])
    three = gap_correlations(rows(3, 0.9)).iloc[0]
    assert np.isnan([three.rho_low, three.rho_high, three.p]).all() and three.n == 3


def test_within_architectures_a_difference_between_them_does_not_count():
    t = rows(24, 0, 3, architectures=2)
    t.loc[t.architecture == "a1", ["H", "gap"]] += 10
    found = gap_correlations(t, ["H"]).set_index("group")
    assert found.rho["all"] > 0.6 and found.p["all"] < 0.01
    assert abs(found.rho["within"]) < 0.45 and found.p["within"] > 0.05
    own = [spearmanr(r.H, r.gap).statistic for _, r in t.groupby("architecture")]
    assert found.rho["within"] == pytest.approx(np.mean(own)) and found.rho["a1"] == pytest.approx(
        own[1]
    )
    by_setting = gap_correlations(t.assign(architecture="a"), ["H"], unit="setting").iloc[0]
    means = t.groupby("setting")[["H", "gap"]].mean()
    assert by_setting.n == 12 and by_setting.rho == pytest.approx(
        spearmanr(means.H, means.gap).statistic
    )


def test_missing_values_and_words():
    t = rows(10, 0.5)
    t.loc[3, "H"] = np.nan
    assert gap_correlations(t, ["H"]).n[0] == 9
    constant = gap_correlations(t.assign(H=1.0), ["H"]).iloc[0]
    assert np.isnan(constant.rho) and np.isnan(constant.p)
    with pytest.raises(ValueError, match="no column L1"):
        gap_correlations(t, ["L1"])
    with pytest.raises(ValueError, match="choose 'network' or 'setting'"):
        gap_correlations(t, unit="class")


def test_pictures(table):
    one = table[table.filtration == "clique"].assign(wrong=lambda t: t.seed / 2)
    for fig, panels in (
        (plot_class_scatter(table, "setting"), 2),
        (plot_class_scatter(one, "wrong", controls=one), 1),
        (plot_network_profiles(one, ("H", "score"), "architecture", controls=one), 2),
        (plot_gap(one, ["H", "eps", "apoz", "distance"]), 6),
    ):
        assert isinstance(fig, Figure) and len(fig.axes) == panels
    assert len(plot_class_scatter(one, "setting").axes[0].collections[0].get_offsets()) == 10
    with pytest.raises(ValueError, match="no column 'wrongness'"):
        plot_class_scatter(one, "wrongness")


SMALL = dict(
    size=16,
    per_class=6,
    test_per_class=5,
    classes="0,1,2",
    epochs=1,
    train_batch=9,
    fitted=0,
    untrained=1,
    n_resamples=50,
    permutations=50,
)


def run(name, folder, **options):
    assert (
        cli.main(
            [
                "run",
                name,
                "-o",
                str(folder),
                *itertools.chain(*(["-p", k, str(v)] for k, v in {**SMALL, **options}.items())),
            ]
        )
        == 0
    )
    page = json.loads((folder / f"{name}.ipynb").read_text())
    outputs = [o for c in page["cells"] if c["cell_type"] == "code" for o in c["outputs"]]
    assert not any(o["output_type"] == "error" for o in outputs) and any(
        "image/png" in o.get("data", {}) for o in outputs
    )
    return " ".join(
        "".join(o["data"]["text/markdown"]) for o in outputs if "text/markdown" in o.get("data", {})
    )


def test_experiment_generalization(tmp_path):
    text = run("generalization", tmp_path / "g", settings="plain,quarter", store=tmp_path / "s")
    assert {
        "zoo.csv",
        "comparison.csv",
        "correlations.csv",
        "correlations_by_setting.csv",
        "untrained.csv",
        "verdict.csv",
        "classes.png",
        "profiles.png",
        "gap.png",
        "parameters.json",
    } <= set(os.listdir(tmp_path / "g"))
    t, found = (
        pd.read_csv(tmp_path / "g/comparison.csv"),
        pd.read_csv(tmp_path / "g/correlations.csv").set_index("measure"),
    )
    assert (
        t.name.nunique() == 4 and (t.n_images == 6).all()
    )  # the quarter that all have seen: 2 of 6 images of 3 classes
    last = t[(t["class"] == "all") & (t.depth == 6)]
    assert (
        found.rho["H"] == pytest.approx(spearmanr(last.H, last.gap).statistic, nan_ok=True)
        and found.n["H"] == 4
    )
    assert "cannot be judged with so few networks" in text or "is not decided" in text
    assert (
        len(list((tmp_path / "s/zoo").glob("*.pt"))) == 4
        and len(list((tmp_path / "s/births").iterdir())) == 5
    )


def test_experiment_corruption(tmp_path):
    text = run(
        "corruption", tmp_path / "c", corruption="0,0.5,1", seeds=1, layer="features.conv2+bn+relu"
    )
    assert {
        "zoo.csv",
        "comparison.csv",
        "means.csv",
        "correlations.csv",
        "verdict.csv",
        "corruption.png",
        "parameters.json",
    } <= set(os.listdir(tmp_path / "c"))
    assert (
        pd.read_csv(tmp_path / "c/zoo.csv").label_corruption.tolist() == [0, 0.5, 1]
        and "with the rule, invalid units counted as ln N" in text
    )
