"Comparisons against SciPy, scikit-learn and plain counting; intervals that must cover."

import json
import os
import re

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings, strategies as st
from matplotlib.figure import Figure
from scipy.stats import mannwhitneyu, spearmanr
from sklearn.metrics import roc_auc_score

from featent.assessment.assessing import assess
from featent.assessment.evidence import indicator_table
from featent.commands import cli, experiments
from featent.commands.verdicts import of_randomness
from featent.data.layers import kernel_l1
from featent.data.preprocessing import preprocess
from featent.data.sampling import images
from featent.statistics.indicators import INDICATORS, SUMMARIES
from featent.studies.comparison import plot_correlations, rank_correlations
from featent.studies.separability import SCALED, match_scale, plot_auc, plot_separation, separation


def units(n, runs=1, classes=2, layers=("a",), seed=0, shift=0.0, ties=False):
    "A table of `runs` networks with `n` units in each layer; value x."
    rng = np.random.default_rng(seed)
    index = pd.MultiIndex.from_product(
        [range(runs), layers, range(classes), range(n)], names=["run", "layer", "class", "unit"]
    )
    x = rng.normal(shift, 1, len(index))
    return pd.DataFrame(
        {"x": np.round(x) if ties else x, "y": rng.normal(size=len(index))}, index
    ).reset_index()


@given(
    st.integers(1, 6),
    st.integers(1, 6),
    st.integers(1, 3),
    st.integers(1, 3),
    st.booleans(),
    st.integers(0, 10**6),
)
@settings(max_examples=30, deadline=None)
def test_auc_is_that_of_scikit_learn_and_mann_whitney(n, m, runs, classes, ties, seed):
    a, b = (
        units(n, 1, classes, seed=seed, shift=0.5, ties=ties),
        units(m, runs, classes, seed=seed + 1, ties=ties),
    )
    t = separation(a, b, ["x"], n_resamples=5).iloc[0]
    assert t.auc == pytest.approx(
        roc_auc_score(np.repeat([1, 0], [len(a), len(b)]), np.concatenate([a.x, b.x])), abs=1e-12
    )
    assert t.auc == pytest.approx(mannwhitneyu(a.x, b.x).statistic / (len(a) * len(b)), abs=1e-12)
    assert t.separability == pytest.approx(abs(2 * t.auc - 1)) and (
        t.n_trained,
        t.n_random,
        t.networks,
    ) == (n, m * runs, runs)
    back = separation(b, a, ["x"], n_resamples=2).iloc[0]
    assert back.auc == pytest.approx(1 - t.auc, abs=1e-12)
    grown = separation(a.assign(x=np.exp(a.x)), b.assign(x=np.exp(b.x)), ["x"], n_resamples=5).iloc[
        0
    ]
    assert grown.auc == t.auc and grown.low == t.low and grown.high == t.high


def test_undefined_values_are_left_out_and_counted():
    a, b = units(20, seed=1), units(20, seed=2)
    a.loc[::4, "x"] = np.nan
    t = separation(a, b, ["x", "y"], n_resamples=20).set_index("indicator")
    assert t.auc.x == pytest.approx(
        roc_auc_score(np.repeat([1, 0], [30, 40]), np.concatenate([a.x.dropna(), b.x]))
    )
    assert t.undefined.x == pytest.approx(10 / 80) and t.undefined.y == 0
    empty = separation(a.assign(x=np.nan), b, ["x"], n_resamples=20).iloc[0]
    assert np.isnan([empty.auc, empty.low, empty.high]).all() and empty.trained_is == "undecided"


def test_within_counts_only_pairs_of_one_layer():
    a, b = (
        units(30, layers=("a", "b"), seed=1, shift=1),
        units(30, 2, layers=("a", "b", "c"), seed=2),
    )
    a.x += 100 * (a.layer == "b")
    b.x += 100 * (b.layer == "b")
    each = separation(a, b[b.layer != "c"], ["x"], n_resamples=2).auc
    t = separation(a, b, ["x"], (), "layer", n_resamples=200).iloc[0]
    assert t.auc == pytest.approx(each.mean()) and t.low < t.auc < t.high and t.high - t.low < 0.3
    mixed = separation(a, b[b.layer != "c"], ["x"], (), n_resamples=2).iloc[0]
    assert abs(mixed.auc - 0.5) < abs(t.auc - 0.5) - 0.05


def test_interval_covers_and_has_the_right_width():
    "Independent units: about 95% of the intervals hold the true AUC, as wide as normal ones."
    true, hits, widths = 0.6382, 0, []
    for seed in range(40):
        a, b = units(60, classes=1, seed=seed, shift=0.5), units(60, classes=1, seed=1000 + seed)
        t = separation(a, b, ["x"], n_resamples=200, seed=seed).iloc[0]
        hits += t.low <= true <= t.high
        widths.append(t.high - t.low)
    assert hits >= 33 and 0.15 < np.mean(widths) < 0.25


def test_networks_are_drawn_whole():
    "Random networks that differ as wholes widen the interval; so do classes that repeat a unit."
    a, b = units(50, classes=1, seed=1), units(50, 4, 1, seed=2)
    moved = b.assign(x=b.x + 3 * (b.run % 2) - 1.5)
    width = lambda b, a=a: separation(a, b, ["x"], n_resamples=300).eval("high - low")[0]
    assert width(moved) > 2.5 * width(moved.assign(run=0, unit=moved.unit + 50 * moved.run))
    again = lambda t: pd.concat([t.assign(**{"class": c}) for c in range(8)])
    assert width(again(b), again(a)) == pytest.approx(width(b), rel=1e-9)


def test_seeded():
    a, b = units(10, seed=1), units(10, 3, seed=2)
    pd.testing.assert_frame_equal(separation(a, b, ["x"], seed=3), separation(a, b, ["x"], seed=3))
    assert not separation(a, b, ["x"], seed=3).equals(separation(a, b, ["x"], seed=4))
    pd.testing.assert_frame_equal(
        rank_correlations(a, ["x", "y"], seed=3), rank_correlations(a, ["x", "y"], seed=3)
    )


def test_rank_correlations_are_those_of_scipy():
    t = units(40, layers=("a", "b"), seed=3)
    t["z"] = t.x**3 + t.y
    t.loc[::7, "z"] = np.nan
    t["constant"] = 1.0
    found = rank_correlations(t, ["x", "y", "z", "constant"], n_resamples=50)
    for r in found.itertuples():
        rows = t[t.layer == r.layer][[r.a, r.b]].dropna()
        if "constant" in (r.a, r.b):
            assert np.isnan(r.rho) and np.isnan(r.low)
        else:
            assert (
                r.rho == pytest.approx(spearmanr(rows[r.a], rows[r.b]).statistic)
                and r.low < r.rho < r.high
            )
        assert r.n_units == 40
    assert len(found) == 12 and len(rank_correlations(t, ["x", "y"], (), 5)) == 1


def test_correlation_intervals_are_over_units():
    t = units(40, classes=1, seed=3)
    again = pd.concat([t.assign(**{"class": c}) for c in range(10)], ignore_index=True)
    one, many = (
        rank_correlations(x, ["x", "y"], n_resamples=400).eval("high - low")[0] for x in (t, again)
    )
    assert many == pytest.approx(one, rel=0.2) and 0.4 < one < 0.8


def test_match_scale():
    a, b = (
        units(30, r, layers=("a", "b"), seed=r).rename(columns={"x": "l1", "y": "apoz"})
        for r in (1, 2)
    )
    b.loc[(b.layer == "b") & (b.run == 1), "l1"] = 0
    m = match_scale(b.assign(l1=b.l1 * 50), a)
    for (run, layer), rows in m.groupby(["run", "layer"]):
        if (run, layer) != (1, "b"):
            assert rows.l1.abs().median() == pytest.approx(a[a.layer == layer].l1.abs().median())
        else:
            assert rows.l1.eq(0).all()
    pd.testing.assert_series_equal(m.apoz, b.apoz)
    pd.testing.assert_frame_equal(m, match_scale(b, a))
    assert list(m) == list(b) and set(SCALED) >= {"l1", "kernel_l1", "mean", "max"}


def test_errors_say_what_is_wrong():
    a, b = units(5), units(5, layers=("b",))
    with pytest.raises(
        ValueError, match="no column of numbers H in the given table; it has .*x, y"
    ):
        rank_correlations(a, ["x", "H"])
    with pytest.raises(ValueError, match="two columns or more"):
        rank_correlations(a, ["x"])
    with pytest.raises(ValueError, match="no column unit in the trained table"):
        separation(a.drop(columns="unit"), a, ["x"])
    with pytest.raises(ValueError, match="no column of numbers z in the random table"):
        separation(a.assign(z=1), a, ["z"])
    with pytest.raises(ValueError, match="the random table has no rows for a"):
        separation(a, b, ["x"])
    with pytest.raises(
        ValueError, match="several filtrations: choose one, or add 'filtration' to by"
    ):
        separation(a.assign(filtration=["clique", "cubical"] * 5), b, ["x"])


CONVS = ["features.0", "features.17"]


@pytest.fixture(scope="module")
def result(cifar10_dir, weights, archs):
    net = archs.SmallVGG()
    net.load_state_dict(torch.load(weights / "smallvgg_bn_cifar10.pth", weights_only=True))
    photos = images(
        cifar10_dir / "train",
        per_class=3,
        classes=["cat", "ship"],
        transform=preprocess(None, "imagenet", "imagenet"),
    )
    return assess(
        net,
        photos,
        CONVS,
        filtration=("clique", "cubical"),
        null="random",
        twins=2,
        summaries=(*SUMMARIES, "persistence"),
    ), net


def test_real_networks(result):
    result, net = result
    trained, random = indicator_table(result), indicator_table(result, "random")
    assert (
        len(trained) == len(result.table)
        and len(random) == 2 * len(trained)
        and set(random.run) == {"random0", "random1"}
    )
    assert set(INDICATORS) <= set(trained) and not trained[
        ["H", "eps", "l1", "apoz", "kernel_l1", "persistence"]
    ].isna().any(axis=None)
    pd.testing.assert_series_equal(trained.H, result.table.H)
    norms = kernel_l1(net, result.layers)
    for layer, rows in trained.groupby("layer"):
        np.testing.assert_allclose(rows.kernel_l1, norms[layer][rows.unit])
    by = ("layer", "filtration")
    t = separation(trained, random, by=by, n_resamples=30)
    assert (
        len(t) == 2 * len(result.layers) * 13
        and t.auc.dropna().between(0, 1).all()
        and (t.low <= t.high).all()
    )
    assert t[t.indicator == "l1"].groupby("layer").auc.nunique().eq(1).all()  # no filtration in it
    last = t[t.layer == result.layers.layer.iloc[-1]]
    assert last[last.indicator == "selectivity"].auc.gt(0.8).all()
    c = rank_correlations(trained[trained.filtration == "clique"], n_resamples=3)
    one = c[(c.a == "l1") & (c.b == "mean")]
    assert one.rho.min() > 0.999  # behind a ReLU the mean is the norm over the number of pixels
    figures = plot_correlations(c), plot_auc(t), plot_separation(trained, random, by=by)
    assert all(isinstance(f, Figure) for f in figures)


def test_tables_need_summaries_and_twins(result):
    result, _ = result
    with pytest.raises(ValueError, match="no summaries of 'shuffled' maps|kind='shuffled'"):
        indicator_table(result, "shuffled")
    plain = type(result)(
        **{**vars(result), "births": {k: v for k, v in result.births.items() if k[2] == "real"}}
    )
    with pytest.raises(ValueError, match="no random networks: assess with null='random'"):
        indicator_table(plain, "random")


QUICK = dict(
    per_class=4,
    bins=4,
    epochs=1,
    size=16,
    random_networks=2,
    n_resamples=20,
    filtration="clique",
    layers="features.conv1,features.conv6",
)


def test_experiment_writes_what_it_promises(tmp_path, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    assert (
        cli.main(
            [
                "run",
                "randomness",
                *[a for k, v in QUICK.items() for a in ("-p", k, str(v))],
                "-o",
                str(tmp_path / "r"),
            ]
        )
        == 0
    )
    tables = {
        "auc_layers",
        "auc_pooled",
        "auc_matched",
        "auc_layers_weights",
        "auc_pooled_weights",
        "scale",
        "correlations",
        "table2",
        "units",
        "training",
    }
    promised = {f"{t}.csv" for t in tables} | {
        "auc.png",
        "roc.png",
        "scale.png",
        "correlations.png",
        "verdict.md",
        "parameters.json",
        "randomness.ipynb",
    }
    assert set(os.listdir(tmp_path / "r")) == promised
    assert QUICK.items() <= json.loads((tmp_path / "r/parameters.json").read_text()).items()
    units, pooled = (pd.read_csv(tmp_path / f"r/{t}.csv") for t in ("units", "auc_pooled"))
    assert set(units.run) == {
        "real",
        *("random0", "random1"),
        *("weights0", "weights1"),
    }
    assert len(units) == 5 * 10 * (32 + 128)
    real, random = units[units.run == "real"], units[units.run.str.startswith("random")]
    again = separation(real, random, ["H clique", "l1", "share"], (), "layer", 2).auc
    np.testing.assert_allclose(
        again, pooled.set_index("indicator").auc[["H clique", "l1", "share"]], atol=1e-4
    )
    verdict = (tmp_path / "r/verdict.md").read_text()
    p = pooled.set_index("indicator")
    tells = {
        k: p.separability[k] >= 0.5 and not p.low[k] <= 0.5 <= p.high[k]
        for k in ("H clique", "l1", "apoz")
    }
    holds = tells["H clique"] and p.high["H clique"] < 0.5 and not tells["l1"] and not tells["apoz"]
    assert ("the claim **holds**" if holds else "the claim **does not hold**") in verdict
    assert "**share** of trained units separates from" in verdict and "labels permuted" in verdict
    found = {(v.claim, v.case) for v in of_randomness(tmp_path / "r")}
    assert ("class share", "networks with shuffled weights") in found
    scale = pd.read_csv(tmp_path / "r/scale.csv").set_index("factor")
    assert (
        scale.kernel_l1.iloc[0] > 0.9 > 0.1 > scale.kernel_l1.iloc[-1]
        and (scale.l1.diff().dropna() <= 0).all()
    )


@pytest.mark.parametrize(
    "words,message",
    [
        (dict(bins=13, per_class=5), "bins=13: choose 2 to per_class=5"),
        (dict(separability=2.0), "separability=2.0: choose a number from 0"),
        (dict(lr=0.0), "lr=0.0"),
        (dict(random_networks=0), "random_networks=0: must be at least 1"),
        (dict(classes="3"), "choose at least two"),
        (dict(filtration="rips"), "choose clique, cubical or both"),
        (dict(network="resnet19"), "resnet18"),
        (dict(layers="conv9"), "no layer matches 'conv9'"),
        (dict(normalise="yes"), "choose imagenet"),
    ],
)
def test_experiment_refuses(words, message):
    cells = {
        t: c.source
        for c in nbformat.read(experiments.experiments()["randomness"], 4).cells
        for t in c.metadata.get("tags", [])
    }
    names = {}
    exec(cells["parameters"], names)
    with pytest.raises(ValueError, match=re.escape(message)):
        exec(cells["validate"], {**names, **words})


def test_draws_of_chance_that_all_units_share_are_in_the_interval():
    "Labels permuted: units of a network go up and down together, and nothing may seem apart."
    rng, held, narrow = np.random.default_rng(0), 0, 0
    draws = [f"draw {i}" for i in range(10)]
    keys = {"unit": np.tile(range(12), 4), "run": np.repeat(["real", "a", "b", "c"], 12)}
    for seed in range(40):
        common = rng.normal(size=(4, 10)).repeat(12, 0)
        values = common + 0.3 * rng.normal(size=(48, 10))
        table = pd.DataFrame(values, columns=draws).assign(mean=values.mean(1), layer="l", **keys)
        ours, others = table[:12], table[12:]
        asked = {"permuted": draws, "mean": ["mean"]}
        t = separation(ours, others, asked, n_resamples=100, seed=seed).set_index("indicator")
        each = separation(ours, others, draws, n_resamples=2).auc
        assert t.auc["permuted"] == pytest.approx(each.mean())
        held += t.low["permuted"] <= 0.5 <= t.high["permuted"]
        narrow += t.low["mean"] <= 0.5 <= t.high["mean"]
    assert held >= 37 and narrow < 32
