"Estimates against definitions, intervals against truth, warnings and bins against counting."

import json
import time
from collections import Counter
from math import log

import nbformat
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import digamma

import featent as fe
from featent.data.layers import select_layers
from featent.data.maps import stream
from featent.statistics import estimators, resampling, resolution, uncertainty as un
from featent.statistics.entropy import feature_entropy
from featent.topology.filtrations import births as births_of

NODES = np.polynomial.legendre.leggauss(200)
births = arrays(
    np.int32, st.tuples(st.integers(1, 40), st.integers(1, 5)), elements=st.integers(0, 12)
)
overs = st.sampled_from(["images", "births", "outcomes"])


def cwj(counts):
    "Chao, Wang and Jost (2013), as printed; the tail from the integral that it stands for."
    n, f1, f2 = sum(counts), counts.count(1), counts.count(2)
    seen = sum(c / n * (digamma(n) - digamma(c)) for c in counts if c < n)
    if f1 == 0:
        return seen
    a = 2 * f2 / ((n - 1) * f1 + 2 * f2) if f2 else 2 / ((n - 1) * (f1 - 1) + 2)
    if a == 1:
        return seen
    t, w = NODES  # the tail is f1/n times the integral of x^(n-1) q / (1 - q x) over [0, 1]
    u = (t + 1) / 2
    y = 1 - (1 - u**4)  # nodes crowded at x = 1
    return seen + f1 / n * float(
        ((1 - y) ** (n - 1) * (1 - a) / (1 - (1 - a) * (1 - y)) * 4 * u**3 * w / 2).sum()
    )


PLAIN = {
    "H": lambda c: -sum(x / sum(c) * log(x / sum(c)) for x in c),
    "H_cwj": cwj,
    "H_mm": lambda c: -sum(x / sum(c) * log(x / sum(c)) for x in c) + (len(c) - 1) / 2 / sum(c),
}


def plain(column, over, name):
    "Feature entropy of one unit."
    counts = Counter(int(x) for x in column)
    none = counts.pop(0, 0)
    if over == "outcomes":
        return PLAIN[name]([*counts.values(), *([none] if none else [])])
    if not counts:
        return 0.0
    H, eps = PLAIN[name](list(counts.values())), sum(counts.values()) / len(column)
    return H if over == "births" else eps * H - eps * log(eps)


@given(births, overs)
@settings(max_examples=120, deadline=None)
def test_estimates_are_their_definitions(b, over):
    found = estimators.entropy_estimates(b, over)
    assert list(found) == list(estimators.ESTIMATORS)
    for name, v in found.items():
        np.testing.assert_allclose(v, [plain(c, over, name) for c in b.T], atol=1e-6, err_msg=name)
    np.testing.assert_array_equal(found["H"], feature_entropy(b, over))


@pytest.mark.parametrize(
    "n,f1,f2",
    [
        (2, 2, 0),
        (100, 100, 0),
        (100, 1, 0),
        (100, 2, 0),
        (1000, 998, 1),
        (400, 3, 150),
        (5000, 12, 2000),
        (100, 0, 50),
    ],
)
def test_the_unseen_part_at_its_extremes(n, f1, f2):
    "Against exact rational arithmetic."
    from fractions import Fraction as F

    found = estimators.unseen_part(n, f1, f2)
    a = F(2 * f2, (n - 1) * f1 + 2 * f2) if f2 else F(2, (n - 1) * (f1 - 1) + 2) if f1 else F(1)
    if a == 1 or f1 == 0:
        assert found == 0
        return
    if n > 1000:
        assert 0 < found < f1 / n
        return
    mp = pytest.importorskip("mpmath")
    mp.mp.dps = 400
    q = 1 - mp.mpf(a.numerator) / a.denominator
    exact = (
        mp.mpf(f1) / n * q ** (1 - n) * (-mp.log(1 - q) - mp.fsum(q**r / r for r in range(1, n)))
    )
    assert found == pytest.approx(float(exact), rel=1e-9)


@given(births, overs, st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_order_and_names_of_levels_do_not_matter(b, over, rnd):
    order = list(range(len(b)))
    rnd.shuffle(order)
    a, c, d = (
        estimators.entropy_estimates(b, over),
        estimators.entropy_estimates(b[order], over),
        estimators.entropy_estimates(np.where(b > 0, 40 - 2 * b, 0), over),
    )
    for name in a:
        np.testing.assert_allclose(a[name], c[name], atol=1e-12)
        np.testing.assert_allclose(a[name], d[name], atol=1e-12)
        assert (a[name] >= 0).all()
    assert all((a["H"] <= a[k] + 1e-12).all() for k in a)


def test_more_dimensions():
    b = np.random.default_rng(0).integers(0, 9, (30, 4, 3))
    for name, v in estimators.entropy_estimates(b).items():
        assert v.shape == (4, 3)
        np.testing.assert_array_equal(v[:, 1], estimators.entropy_estimates(b[:, :, 1])[name])
    assert resampling.bootstrap(b, n_resamples=7).shape == (7, 4, 3)
    assert resampling.bootstrap(b, np.arange(30) % 2, 7).shape == (7, 4, 3, 2)
    np.testing.assert_array_equal(
        resampling.bootstrap(b, n_resamples=7)[:, 2, 1],
        resampling.bootstrap(b[:, 2, 1], n_resamples=7),
    )


@pytest.mark.parametrize("over", ["images", "births", "outcomes"])
@pytest.mark.parametrize("estimator", ["H", "H_mm", "H_cwj"])
def test_plain_resamples_are_estimates_of_resampled_images(over, estimator):
    rng = np.random.default_rng(1)
    b, labels = rng.integers(0, 12, (50, 4)), np.repeat([7, 3], [20, 30])
    found = resampling.bootstrap(b, labels, 25, over, estimator, unseen=False, seed=5)
    draws = dict(resampling.in_resamples(lambda *found: found, b, labels, 25, 5))
    assert list(draws) == [3, 7] and found.shape == (25, 4, 2)
    for k, (part, drawn, _) in enumerate(draws.values()):
        assert drawn.shape == (25, len(part)) and drawn.max() < len(part)
        for r in range(25):
            np.testing.assert_allclose(
                found[r, :, k],
                estimators.entropy_estimates(part[drawn[r]], over)[estimator],
                atol=1e-12,
            )


def test_resamples_with_unseen_births():
    "Second copies of unique births become new ones, with the chance f0 / (f0 + f1)."
    b = np.r_[1:21, [30] * 6, [40] * 2, [41] * 2, [0] * 10][:, None]
    f1, f2, n = 20, 2, 30
    f0 = (n - 1) / n * f1**2 / (2 * f2)
    ((_, drawn, coin),) = resampling.in_resamples(lambda _, draw: draw, b, None, 40, 3)
    found = resampling.bootstrap(b, None, 40, "births", "H", seed=3)
    for r in range(40):
        seen, values = set(), []
        for i, c in zip(drawn[r], coin[r]):
            v = int(b[i, 0])
            if 1 <= v <= 20 and v in seen and c < f0 / (f0 + f1):
                v = 100 + len(values)
            seen.add(v)
            values.append(v)
        assert found[r, 0] == pytest.approx(plain(values, "births", "H"), abs=1e-12)
    assert (
        found.mean()
        > resampling.bootstrap(b, None, 40, "births", "H", unseen=False, seed=3).mean() + 0.1
    )


def test_resamples_are_the_same_for_all_units_and_layers():
    rng = np.random.default_rng(2)
    b, labels = rng.integers(0, 30, (60, 8)), np.arange(60) % 3
    whole = resampling.bootstrap(b, labels, 50)
    np.testing.assert_array_equal(resampling.bootstrap(b[:, [6, 2]], labels, 50), whole[:, [6, 2]])
    np.testing.assert_array_equal(resampling.bootstrap(b, labels, 50), whole)
    assert (resampling.bootstrap(b, labels, 50, seed=1) != whole).any()
    np.testing.assert_allclose(un.bootstrap_means(b, labels, 50), whole.mean((1, 2)), atol=1e-12)
    twins = resampling.bootstrap(np.c_[b[:, :1], b[:, :1] * 2], labels, 50)
    np.testing.assert_array_equal(twins[:, 0], twins[:, 1])


def test_interval_has_the_estimate_s_place_and_the_resamples_width():
    rng = np.random.default_rng(3)
    r = rng.normal(5, 1, (4000, 2))
    lo, hi = resampling.interval(np.array([10.0, 0.1]), r, 0.9)
    assert (
        lo[0] == pytest.approx(10 - 1.645, abs=0.1)
        and hi[0] == pytest.approx(10 + 1.645, abs=0.1)
        and lo[1] == 0
    )
    narrow = resampling.interval(np.array([10.0, 0.1]), r, 0.5)
    assert lo[0] < narrow[0][0] < narrow[1][0] < hi[0]


def test_intervals_and_mean_interval_agree_with_their_parts():
    rng = np.random.default_rng(4)
    b, labels = rng.integers(0, 15, (80, 5)), np.repeat(["cat", "ant"], 40)
    t = un.intervals(b, labels, n_resamples=100, confidence=0.8)
    assert (
        list(t.columns) == ["unit", "class", "H", "H_mm", "H_cwj", "lo", "hi"]
        and list(t["class"].unique()) == ["ant", "cat"]
        and len(t) == 10
    )
    cat = t[t["class"] == "cat"]
    np.testing.assert_array_equal(cat.H_cwj, estimators.entropy_estimates(b[:40])["H_cwj"])
    lo, hi = resampling.interval(
        cat.H_cwj.to_numpy(), resampling.bootstrap(b, labels, 100)[..., 1], 0.8
    )
    np.testing.assert_allclose(cat[["lo", "hi"]], np.c_[lo, hi], atol=1e-12)
    m = un.mean_interval(b, labels, n_resamples=100, confidence=0.8)
    np.testing.assert_allclose(
        m[["H", "H_mm", "H_cwj"]].astype(float), t[["H", "H_mm", "H_cwj"]].mean()
    )
    assert m.lo < m.H_cwj < m.hi and m.hi - m.lo < (t.hi - t.lo).mean()


TRUTH = {
    "equal": np.ones(30) / 30,
    "tail": (w := 1 / np.arange(1, 101)) / w.sum(),
    "steep": (g := 0.7 ** np.arange(40)) / g.sum(),
}


def sample(p, n, units, eps, rng, rho=0.0):
    "Births of units that share a part of what decides them."
    from scipy.special import ndtr

    z = np.sqrt(rho) * rng.normal(size=(n, 1)) + np.sqrt(1 - rho) * rng.normal(size=(n, units))
    b = 1 + np.searchsorted(p.cumsum(), ndtr(z)).clip(max=len(p) - 1)
    return np.where(rng.random((n, units)) < eps, b, 0)


def true_value(p, eps, over):
    H = -(p * np.log(p)).sum()
    if over == "outcomes":
        return eps * H - eps * log(eps) - (1 - eps) * log(1 - eps)
    return H if over == "births" else eps * H - eps * log(eps)


@pytest.mark.parametrize("name", TRUTH)
@pytest.mark.parametrize(
    "eps,over", [(1, "births"), (0.6, "images"), (0.6, "births"), (0.6, "outcomes")]
)
def test_coverage_of_units(name, eps, over):
    rng = np.random.default_rng(5)
    p = TRUTH[name]
    b, H = sample(p, 100, 400, eps, rng), true_value(p, eps, over)
    t = un.intervals(b, None, over, n_resamples=300)
    covered = ((t.lo <= H) & (H <= t.hi)).mean()
    assert 0.86 <= covered <= 1, covered
    assert abs(t.H_cwj.mean() - H) < 0.6 * abs(t.H.mean() - H)
    if name != "steep":
        lo, hi = np.quantile(
            resampling.bootstrap(b, None, 300, over, "H", unseen=False), [0.025, 0.975], axis=0
        )
        assert ((lo <= H) & (H <= hi)).mean() < 0.6 < covered


@pytest.mark.parametrize("rho", [0, 0.5])
def test_coverage_of_means(rho):
    rng = np.random.default_rng(6)
    p, hits = TRUTH["equal"], []
    H = true_value(p, 0.8, "images")
    for _ in range(60):
        b = sample(p, 80, 24, 0.8, rng, rho)
        m = un.mean_interval(b, n_resamples=150)
        hits.append(m.lo <= H <= m.hi)
    assert np.mean(hits) >= 0.85, np.mean(hits)


def test_real_births_converge():
    "With 100 digits the corrected mean is nearer to that of 1000 than the plug-in is."
    images = fe.images("digits", per_class=100, seed=0)
    net = fe.network("small_vgg", in_channels=1, seed=1)
    chosen, _ = select_layers(net, images, "features.conv2")
    b = np.concatenate(
        [
            found["features.conv2+bn+relu"]
            for _, _, found in stream(
                net, images, chosen, lambda name, maps, i: births_of(maps, "cubical")
            )
        ]
    )
    t = un.convergence(b, sizes=[100, 1000], n_subsets=10).pivot(
        index="estimator", columns="n_images", values="mean"
    )
    best = t.loc["H_cwj", 1000]
    assert (
        abs(t.loc["H_cwj", 100] - best) < 0.25 * abs(t.loc["H", 100] - best)
        and t.loc["H", 100] < t.loc["H", 1000] < best
    )


def test_convergence():
    rng = np.random.default_rng(7)
    b, labels = rng.integers(0, 25, (90, 6)), np.repeat([0, 1], [40, 50])
    t = un.convergence(b, labels, sizes=[40, 10, 20], n_subsets=8)
    assert (
        t.n_images.tolist() == [10] * 3 + [20] * 3 + [40] * 3
        and t.estimator.tolist() == list(estimators.ESTIMATORS) * 3
    )
    H = t.pivot(index="n_images", columns="estimator", values="mean")
    assert H.H.is_monotonic_increasing and (H.H < H.H_mm).all()
    full = un.convergence(b[:40], n_subsets=3)
    assert full.n_images.max() == 40 and len(full.n_images.unique()) == 8
    for name, v in estimators.entropy_estimates(b[:40]).items():
        assert full[full.estimator == name]["mean"].iloc[-1] == pytest.approx(v.mean())
    assert (
        full.sd.iloc[-1] == pytest.approx(0, abs=1e-12)
        and full.unit_sd.iloc[0] > full.sd.iloc[0] > 0
    )
    fig = un.plot_convergence(full, truth=3.0)
    assert len(fig.axes) == 1 and len(fig.axes[0].lines) == 5


@given(births, overs)
@settings(max_examples=100, deadline=None)
def test_warn_counts_births_and_coincidences(b, over):
    limits = {"min_births": 8, "ceiling_distance": 0.4}
    found = un.warn((b > 0).sum(0), feature_entropy(b, over), len(b), over, limits)
    for column, text in zip(b.T, found):
        kept = column if over == "outcomes" else column[column > 0]
        distance = (
            np.mean(np.log([Counter(kept.tolist())[v] for v in kept.tolist()]))
            if len(kept) >= 2
            else 1
        )
        if abs(distance - 0.4) < 1e-9:
            continue
        if len(b) < 2:
            assert text == "too few images"
            continue
        assert text == "; ".join(
            ["few births"] * int((column > 0).sum() < 8) + ["near ceiling"] * int(distance < 0.4)
        )


def test_warn_shapes_and_limits():
    assert un.warn(np.full((2, 3), 100), np.full((2, 3), 2.0), 100).shape == (2, 3)
    assert (
        un.warn(0, 0.0, 100) == "few births"
        and un.warn(19, 0.3, 100) == "few births"
        and un.warn(20, 0.4, 100) == ""
    )
    assert (
        un.warn(100, log(100), 100) == "near ceiling"
        and un.warn(3, 3 / 100 * log(100), 100) == "few births; near ceiling"
    )
    with pytest.raises(
        ValueError,
        match=r"unknown entries in limits: \['p'\]; "
        r"choose from \['min_births', 'ceiling_distance'\]",
    ):
        un.warn(1, 1.0, 9, limits={"p": 1})
    with pytest.raises(ValueError, match="from 0 up"):
        un.warn(1, 1.0, 9, limits={"min_births": -1})
    with pytest.raises(ValueError, match="between 0 and n_images"):
        un.warn(10, 1.0, 9)


@pytest.mark.parametrize("filtration", ["clique", "cubical"])
def test_share_is_the_share_of_cells_at_or_above_the_birth(filtration):
    maps = np.random.default_rng(8).normal(size=(40, 9, 9))
    b, cells = births_of(maps, filtration), resolution.n_cells(filtration, 9, 9)
    for m, birth, got in zip(maps, b, resolution.coarse(b, cells, cells, "share")):
        weights = np.sort(
            (np.maximum(m, m.T)[np.triu_indices(9, 1)] if filtration == "clique" else m.ravel())
        )[::-1]
        assert cells == len(weights)
        assert got == birth and (birth == 0 or (weights >= weights[birth - 1]).sum() == birth)


@given(st.integers(1, 5000), st.integers(1, 60), st.sampled_from(["log", "share"]))
@settings(max_examples=100, deadline=None)
def test_coarse_is_monotone_and_within_its_bins(cells, bins, scale):
    b = np.unique(np.linspace(0, cells, 200).astype(int))
    c = resolution.coarse(b, cells, bins, scale)
    assert (
        c[0] == 0
        and (c[1:] >= 1).all()
        and c[-1] == bins
        and (np.diff(c) >= 0).all()
        and c.dtype == np.int32
    )
    if scale == "share":
        np.testing.assert_array_equal(c, -(-b * bins // cells))


def test_coarse_edges():
    exact = resolution.coarse(
        2 ** np.arange(11), 1024, 10
    )  # exact powers: each level opens its bin
    assert exact.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10]
    assert resolution.coarse(np.array([1, 5]), 10**6).tolist() == [1, 1]
    assert resolution.n_cells("clique", 5, 7) == 21 and resolution.n_cells("cubical", 5, 7) == 35
    assert resolution.coarse(np.zeros((3, 2), int), 10).tolist() == [[0, 0]] * 3


def test_coarse_makes_sizes_comparable():
    rng = np.random.default_rng(9)
    for f in ("clique", "cubical"):
        b = [births_of(rng.normal(size=(1500, m, m)).astype("float32"), f) for m in (14, 42)]
        level = [float(feature_entropy(x)) for x in b]
        log_ = [
            float(feature_entropy(resolution.coarse(x, resolution.n_cells(f, m, m))))
            for x, m in zip(b, (14, 42))
        ]
        assert level[1] - level[0] > 0.6 and abs(log_[1] - log_[0]) < 0.2


def test_a_layer_in_seconds():
    b = np.random.default_rng(10).integers(0, 40, (100, 512))
    resampling.bootstrap(b[:, :2], n_resamples=2)
    start = time.process_time()
    resampling.bootstrap(b)
    assert time.process_time() - start < 5


def test_errors_say_what_is_wrong():
    b = np.ones((4, 2), np.int32)
    for f in (
        estimators.entropy_estimates,
        resampling.bootstrap,
        un.intervals,
        un.mean_interval,
        un.bootstrap_means,
        un.convergence,
    ):
        with pytest.raises(TypeError, match="integers"):
            f(b * 0.5)
        with pytest.raises(ValueError, match="no images"):
            f(b[:0])
        with pytest.raises(
            ValueError, match="over='all': choose from 'images', 'births', 'outcomes'"
        ):
            f(b, over="all")
    for f in (resampling.bootstrap, un.intervals, un.mean_interval, un.convergence):
        with pytest.raises(
            ValueError,
            match=r"at least 2 images of every class are needed to resample them \(class 1: 1\)",
        ):
            f(b, [0, 0, 0, 1])
        with pytest.raises(ValueError, match="4 images have births but 3 have labels"):
            f(b, [0, 0, 0])
    with pytest.raises(ValueError, match="estimator='x': choose from 'H', 'H_mm', 'H_cwj'"):
        resampling.bootstrap(b, estimator="x")
    with pytest.raises(ValueError, match="n_resamples=0: must be at least 1"):
        resampling.bootstrap(b, n_resamples=0)
    for level in (0, 1, 95):
        with pytest.raises(ValueError, match="between 0 and 1"):
            un.intervals(b, confidence=level)
    with pytest.raises(ValueError, match="n_subsets=1"):
        un.convergence(b, n_subsets=1)
    for sizes in ([1], [5], [2.5]):
        with pytest.raises(ValueError, match="whole numbers from 2 to 4"):
            un.convergence(b, sizes=sizes)
    for bins in (0, -1, 2.5):
        with pytest.raises(ValueError, match="whole number, at least 1"):
            resolution.coarse(b, 10, bins)
    with pytest.raises(ValueError, match="'log', 'share'"):
        resolution.coarse(b, 10, 5, "sqrt")
    with pytest.raises(ValueError, match="floor=0"):
        resolution.coarse(b, 10, 5, floor=0)
    with pytest.raises(ValueError, match="level 1 in maps of 0 cells"):
        resolution.coarse(b, 0)
    with pytest.raises(ValueError, match="choose from 'clique', 'cubical'"):
        resolution.n_cells("rips", 4, 4)


QUICK = dict(
    classes="0,1",
    per_class=8,
    changed_per_class=4,
    size=12,
    epochs=1,
    n_subsets=3,
    n_resamples=20,
    noise="0.05",
)


def test_reliability_experiment(tmp_path):
    "A quick run writes what it promises, and finds what must not move unmoved."
    from featent.commands import cli

    words = [a for k, v in QUICK.items() for a in ("-p", k, str(v))]
    assert cli.main(["run", "reliability", *words, "-o", str(tmp_path / "r")]) == 0
    assert {p.name for p in (tmp_path / "r").iterdir()} == {
        "reliability.ipynb",
        "convergence.png",
        "moved.png",
        "dH.png",
        "convergence.csv",
        "layers.csv",
        "changes.csv",
        "training.csv",
        "parameters.json",
    }
    assert json.loads((tmp_path / "r/parameters.json").read_text())["noise"] == "0.05"
    c = pd.read_csv(tmp_path / "r/changes.csv").dropna(subset=["moved"])
    moved = c[c.changed == "maps"].groupby(["filtration", "change"]).moved
    assert (
        moved.max()[
            [
                ("clique", "transpose"),
                ("clique", "shift of rows and columns"),
                ("cubical", "flip"),
                ("cubical", "rotation"),
                ("cubical", "transpose"),
            ]
        ]
        == 0
    ).all()
    assert (
        moved.max()[
            [
                ("clique", "flip"),
                ("clique", "shift of columns"),
                ("clique", "noise 0.05"),
                ("cubical", "noise 0.05"),
            ]
        ]
        > 0.1
    ).all()
    exact = c[c.moved == 0]
    assert (
        (exact.dH == 0).all()
        and (exact.hi == 0).all()
        and (c.lo <= c.dH).all()
        and (c.dH <= c.hi).all()
    )
    s = pd.read_csv(tmp_path / "r/layers.csv")
    assert (
        len(s) == 12
        and (s.lo <= s.H_cwj + 1e-9).all()
        and (s.H <= s.H_mm + 1e-9).all()
        and s["few births"].eq(1).all()
    )
    page = nbformat.read(tmp_path / "r/reliability.ipynb", 4)
    verdict = next(
        o.data["text/markdown"]
        for c in page.cells
        for o in c.get("outputs", [])
        if "text/markdown" in o.get("data", {}) and "**clique**" in o.data["text/markdown"]
    )
    assert (
        "No birth moves under transpose, shift of rows and columns of the maps" in verdict
        and "No birth moves under flip, rotation, transpose" in verdict
    )
    assert "Against the mathematics" not in verdict and "With 8 images of each class" in verdict


@pytest.mark.parametrize(
    "name,value,message",
    [
        ("noise", "0.1,loud", "give numbers separated by commas"),
        ("noise", "-1", "strengths must be positive"),
        ("changed_per_class", "1", "changed_per_class=1: must be at least 2"),
        ("filtration", "rips", "choose clique, cubical or both"),
        ("epochs", "0", "epochs=0: must be at least 1"),
    ],
)
def test_reliability_refuses_before_any_work(name, value, message):
    from featent.commands.experiments import experiments

    parameters, validate = [
        c.source
        for c in nbformat.read(experiments()["reliability"], 4).cells
        if c.cell_type == "code"
    ][:2]
    scope = {}
    exec(parameters, scope)
    assert name in scope
    scope[name] = type(scope[name])(value)
    with pytest.raises(ValueError, match=message):
        exec(validate, scope)
