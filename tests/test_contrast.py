"Contrasts and class shares: as defined, exact under ties, of the promised size and coverage."

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kruskal, mannwhitneyu, rankdata, spearmanr

import featent as fe
from featent.statistics.contrast import values_of
from featent.statistics.indicators import map_summaries
from featent.statistics.redundancy import followed
from featent.statistics.shares import class_shares, layer_share

BOTH = fe.contrasts, class_shares


def labelled(sizes):
    return np.repeat(np.arange(len(sizes)), sizes)


@pytest.fixture(scope="module")
def net():
    return fe.network("small_vgg", in_channels=1)


@pytest.fixture(scope="module")
def digits():
    return fe.images("digits", per_class=8)


def units(n, seed, kinds=("plain", "rounded", "relu", "sparse", "integers")):
    "Units (n, len(kinds)) with more and more ties."
    x = np.random.default_rng(seed).normal(size=(n, 5))
    columns = {
        "plain": x[:, 0],
        "rounded": x[:, 1].round(),
        "relu": np.maximum(x[:, 2], 0),
        "sparse": np.maximum(x[:, 3] - 1.3, 0),
        "integers": (x[:, 4] > 0),
    }
    return np.stack([columns[k].astype(float) for k in kinds], 1)


def brute_force(x, y, c):
    return np.sign(x[y == c][:, None] - x[y != c]).mean()


SIZES = [(4, 4), (5, 9), (1, 3, 8), (5, 5, 5, 5), (2, 30, 7, 11, 1)]


@pytest.mark.parametrize("sizes", SIZES)
def test_a_contrast_is_cliffs_delta_pair_by_pair(sizes):
    y = labelled(sizes)
    y = np.random.default_rng(1).permutation(y)
    x = units(len(y), 2)
    found = fe.contrasts(x, y).pivot(index="class", columns="unit", values="contrast")
    expected = [[brute_force(x[:, u], y, c) for u in range(x.shape[1])] for c in range(len(sizes))]
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("sizes", SIZES)
def test_contrast_and_share_agree_with_scipy(sizes):
    y = labelled(sizes)
    x = units(len(y), 3, ("plain", "rounded", "relu"))
    shares, deltas = class_shares(x, y), fe.contrasts(x, y)
    n, k = len(y), len(sizes)
    for u in range(x.shape[1]):
        groups = [x[y == c, u] for c in range(k)]
        H, p = kruskal(*groups)
        r2, chance = H / (n - 1), (k - 1) / (n - 1)
        np.testing.assert_allclose(shares.share[u], (r2 - chance) / (1 - chance), atol=1e-12)
        np.testing.assert_allclose(shares.p[u], p, atol=1e-12)
        rows = deltas[deltas.unit == u]
        for c, group in enumerate(groups):
            U, p = mannwhitneyu(group, x[y != c, u], use_continuity=False, method="asymptotic")
            np.testing.assert_allclose(
                rows.contrast.iloc[c], 2 * U / (len(group) * (n - len(group))) - 1, atol=1e-12
            )
            np.testing.assert_allclose(rows.p.iloc[c], p, atol=1e-12)


def test_the_variance_by_chance_is_that_of_all_permutations():
    "Six images, 20 ways to choose three of them: mean exactly 0, variance exactly as stated."
    from itertools import combinations

    x = np.array([0.0, 0, 0, 1, 2, 2])[:, None]
    found = []
    for chosen in combinations(range(6), 3):
        y = np.isin(np.arange(6), chosen).astype(int)
        row = fe.contrasts(x, y).iloc[1]
        found.append((row.contrast, row.z))
    delta, z = np.array(found).T
    np.testing.assert_allclose(delta.mean(), 0, atol=1e-12)
    np.testing.assert_allclose((z**2).mean(), 1, atol=1e-12)


def test_the_share_by_chance_is_zero_over_all_permutations():
    from itertools import combinations

    x = np.array([0.0, 0, 0, 1, 2, 2])[:, None]
    found = [
        class_shares(x, np.isin(np.arange(6), chosen)).share[0]
        for chosen in combinations(range(6), 2)
    ]
    np.testing.assert_allclose(np.mean(found), 0, atol=1e-12)


@pytest.mark.parametrize(
    "change", [np.exp, lambda x: 8 * x, lambda x: x / 1024, lambda x: x**3 + x, np.arctan]
)
def test_strictly_increasing_changes_of_a_unit_change_nothing(change):
    y = labelled((7, 12, 20))
    x = units(len(y), 5)
    for f in BOTH:
        a, b = (f(v, y).drop(columns="d_prime", errors="ignore") for v in (x, change(x)))
        pd.testing.assert_frame_equal(a, b, check_exact=True)


def test_a_function_preserving_rescaling_changes_no_contrast(net, digits):
    scaled = fe.rescale(net, digits, seed=1)
    scaled = scaled[0] if isinstance(scaled, tuple) else scaled
    means = []
    for network in (net, scaled):
        kept = fe.assess(network, digits, "features.conv4", filtration="cubical").summaries
        means.append(next(v for k, v in kept.items() if k[1] == "mean"))
    assert not np.array_equal(*means)
    for f in BOTH:
        pd.testing.assert_frame_equal(
            *(f(m, digits.labels).drop(columns="d_prime", errors="ignore") for m in means)
        )


def test_order_of_images_and_chunks_do_not_matter(monkeypatch):
    y = labelled((10, 20, 30))
    x = np.tile(units(60, 7), 4)
    order = np.random.default_rng(0).permutation(60)
    whole = [f(x, y) for f in (*BOTH, followed_only)] + [layer_share(x, y)]
    monkeypatch.setattr("featent.statistics.contrast._AT_ONCE", 60 * 3)
    parts = [f(x[order], y[order]) for f in (*BOTH, followed_only)] + [
        layer_share(x[order], y[order])
    ]
    for a, b in zip(whole[:3], parts[:3], strict=True):
        pd.testing.assert_frame_equal(a, b, rtol=1e-9, atol=1e-12)
    pd.testing.assert_series_equal(whole[3], parts[3], rtol=1e-9)


def followed_only(x, y):
    return followed(x)[["unit", "follows"]]


def test_constant_units_are_untested_and_count_as_nothing():
    y = labelled((6, 6))
    x = np.c_[np.r_[np.arange(6), np.arange(6) + 10.0], np.full(12, 3.0)]
    d, s = fe.contrasts(x, y), class_shares(x, y)
    assert (d.contrast[d.unit == 1] == 0).all() and d[d.unit == 1][
        ["lo", "hi", "d_prime", "z", "p"]
    ].isna().all(axis=None)
    assert s.share[1] == 0 and s.loc[1, ["lo", "hi", "p"]].isna().all()
    np.testing.assert_allclose(layer_share(x, y).share, s.share.mean())
    only = layer_share(x[:, 1:], y)
    assert only.share == 0 and np.isnan([only.lo, only.hi]).all()


def test_with_two_classes_one_contrast_is_the_other_turned_round():
    y = labelled((5, 17))
    t = fe.contrasts(units(22, 9), y)
    a, b = t[t["class"] == 0].reset_index(), t[t["class"] == 1].reset_index()
    np.testing.assert_allclose(a.contrast, -b.contrast, atol=1e-12)
    np.testing.assert_allclose(a.lo, -b.hi, atol=1e-9)
    np.testing.assert_allclose(class_shares(units(22, 9), y).p, a.p, atol=1e-9)


def test_perfect_separation_leaves_an_interval():
    t = fe.contrasts(np.arange(10.0)[:, None], labelled((5, 5)))
    assert t.contrast.tolist() == [-1, 1] and t.hi[1] == 1 and 0.2 < t.lo[1] < 0.9


def test_a_class_of_one_image_has_a_wide_interval():
    x, y = np.arange(30.0)[:, None], labelled((29, 1))
    t = fe.contrasts(x, y)
    assert (
        t.contrast[1] == 1
        and t.hi[1] - t.lo[1] > 0.5
        and np.isfinite(class_shares(x, y).loc[0, ["lo", "hi"]].astype(float)).all()
    )


def test_d_prime_is_the_difference_in_units_of_the_mean_variance():
    y, x = labelled((8, 30)), units(38, 4)
    a, b = x[y == 0], x[y == 1]
    expected = (a.mean(0) - b.mean(0)) / np.sqrt((a.var(0) + b.var(0)) / 2)
    t = fe.contrasts(x, y, {0: "cat", 1: "dog"})
    np.testing.assert_allclose(t[t["class"] == "cat"].d_prime, expected)
    np.testing.assert_allclose(
        fe.contrasts(x.astype(np.float32) + 1e4, y).d_prime, fe.contrasts(x, y).d_prime, rtol=2e-2
    )


def test_influences_are_what_one_more_image_does():
    from featent.statistics.contrast import rank_sums
    from featent.statistics.shares import _influences, _r2

    y, x = labelled((3, 5, 4)), units(12, 8, ("plain", "rounded", "relu"))
    ranks = rank_sums(x, y)
    _, _, influence = next(_influences(x, y, ranks))

    def r2(x, y):
        return _r2(rank_sums(x, y))

    many = np.repeat(x, 3000, 0), np.repeat(y, 3000)
    for i in range(12):
        moved = r2(np.r_[many[0], x[[i]]], np.r_[many[1], y[i]]) - r2(*many)
        np.testing.assert_allclose(influence[:, i], moved * (3000 * 12 + 1), atol=3e-3)


# ----------------------------------------------------------------- simulation
DESIGNS = {
    "two classes of 100": (100, 100),
    "ten of 5": (5,) * 10,
    "ten of 20": (20,) * 10,
    "three of 20": (20,) * 3,
    "unequal": (10, 15, 20, 30, 50),
    "very unequal": (5, 20, 60),
}


@pytest.mark.parametrize("cut", [None, 0.0, 0.5], ids=["no ties", "half zeros", "most zeros"])
@pytest.mark.parametrize("sizes", DESIGNS.values(), ids=DESIGNS)
def test_units_that_know_nothing_are_picked_as_often_as_stated(sizes, cut):
    y = labelled(sizes)
    x = np.random.default_rng(11).normal(size=(len(y), 4000))
    if cut is not None:
        x = np.maximum(x - cut, 0)
    d, s = fe.contrasts(x, y), class_shares(x, y)
    least = (
        0.04 if min(sizes) >= 10 else 0.03
    )  # chi-square and normal distribution are on the safe side with few images
    assert least < (d.p < 0.05).mean() < 0.06 and least < (s.p < 0.05).mean() < 0.06
    assert abs(d.contrast.mean()) < 0.01 and abs(s.share.mean()) < 0.005


def covered(sizes, top, cut, seed, rounds=20, n_units=40):
    "How often the 95% intervals hold the truth, for contrasts, shares and the layer's mean share."
    rng, sizes = np.random.default_rng(seed), np.array(sizes)
    effects = rng.normal(size=(n_units, len(sizes))) * rng.uniform(0, top, (n_units, 1))
    common = rng.normal(size=(n_units, 3)) / 3  # units of a layer see the same things in an image

    def draw(y):
        x = (
            effects[:, y]
            + common @ rng.normal(size=(3, len(y)))
            + rng.normal(size=(n_units, len(y)))
        )
        return (x if cut is None else np.maximum(x - cut, 0)).T

    many = labelled(12_000 * sizes // sizes.sum())
    large, y = draw(many), labelled(sizes)
    true = (
        fe.contrasts(large, many).contrast,
        class_shares(large, many).share.clip(0),
        layer_share(large, many).share,
    )
    held = [[], [], []]
    for _ in range(rounds):
        x = draw(y)
        for h, t, found in zip(
            held, true, (fe.contrasts(x, y), class_shares(x, y), layer_share(x, y)), strict=True
        ):
            h.append(np.mean((found.lo <= t) & (t <= found.hi)))
    return [np.mean(h) for h in held]


@pytest.mark.parametrize("sizes", DESIGNS.values(), ids=DESIGNS)
def test_intervals_hold_the_truth_as_often_as_stated(sizes):
    "Over effects from none to large, without and with ties."
    found = [
        covered(sizes, top, cut, seed)
        for seed, (top, cut) in enumerate([(0.5, None), (1.5, 0.0), (1.5, 0.5)])
    ]
    contrast, share, _ = np.mean(found, 0)
    assert 0.93 < contrast < 0.985 and 0.93 < share < 0.985


def test_the_interval_of_a_layer_holds_the_truth_as_often_as_stated():
    "Layers are few, so designs are taken together; units of a layer are correlated."
    designs = (20,) * 10, (100,) * 3, (10, 15, 20, 30, 50), (30,) * 4
    held = [covered(s, 1.5, 0.0, seed, rounds=50, n_units=16)[2] for seed, s in enumerate(designs)]
    assert 0.92 < np.mean(held) < 0.985


# ----------------------------------------------------------------- redundancy
def test_a_unit_follows_another_whose_ranks_it_has():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 300))
    x[:, 299], x[:, 270] = np.exp(x[:, 3]), -(x[:, 4] ** 3)
    x[:, 100] = x[:, 5] + 0.5 * rng.normal(size=50)
    t = followed(x)
    assert t.follows[299] == 3 and t.follows[270] == 4 and (t.follows >= 0).sum() == 2
    np.testing.assert_allclose(t.rho[[299, 270]], [1, -1], atol=1e-6)
    loose = followed(x, least=0.7)
    np.testing.assert_allclose(loose.rho[100], spearmanr(x[:, 100], x[:, 5]).statistic, atol=1e-6)


def test_the_unit_that_comes_first_stays():
    x = np.random.default_rng(1).normal(size=(40, 1)) @ np.ones((1, 4))
    assert followed(x).follows.tolist() == [-1, 0, 0, 0]
    assert followed(x, first=np.array([0, 3, 1, 2])).follows.tolist() == [1, -1, 1, 1]


def test_nobody_follows_a_unit_that_follows_another():
    a = np.random.default_rng(2).normal(size=200)
    x = np.stack(
        [
            a,
            a + 0.25 * np.random.default_rng(3).normal(size=200),
            a + 0.5 * np.random.default_rng(4).normal(size=200),
        ],
        1,
    )
    t = followed(x, least=0.85)
    assert not set(t.follows[t.follows >= 0]) & set(t.unit[t.follows >= 0])


def test_ranks_under_ties_are_mid_ranks():
    from featent.statistics.redundancy import _standard_ranks

    x = units(40, 6)
    r = rankdata(x, axis=0) - 20.5
    np.testing.assert_allclose(_standard_ranks(x), (r / np.sqrt((r**2).sum(0))).T, atol=1e-7)


# -------------------------------------------------------------------- refusals
@pytest.mark.parametrize(
    "call, words",
    [
        (
            lambda: fe.contrasts(np.ones((4, 2)), [1, 1, 1, 1]),
            "all images are of class 1: a contrast needs at least two classes",
        ),
        (lambda: fe.contrasts(np.ones(4), [0, 1, 0, 1]), r"shape \(n_images, units\)"),
        (
            lambda: class_shares(np.ones((4, 2)), [0, 1]),
            "4 images have values but labels have shape",
        ),
        (
            lambda: layer_share(np.full((4, 2), np.nan), [0, 1, 0, 1]),
            "NaN has no rank: values of 2 of 2 units, the first unit 0",
        ),
        (lambda: fe.contrasts(np.array([["a"], ["b"]]), [0, 1]), "real numbers"),
        (lambda: fe.contrasts(np.ones((4, 2)), [0, 1, 0, 1], {5: "owl"}), "no images of class owl"),
        (lambda: followed(np.ones((4, 2)), least=1.2), "least=1.2"),
        (lambda: values_of({"mean": np.ones((2, 2))}, "median"), "choose 'mean' or 'positive'"),
        (lambda: values_of({"mean": np.ones((2, 2))}, "positive", 4), "needs the summary 'zeros'"),
        (lambda: values_of({"zeros": np.ones((2, 2))}, "positive"), "pass cells=h \\* w"),
    ],
)
def test_refusals_say_what_to_do(call, words):
    with pytest.raises((ValueError, TypeError), match=words):
        call()


def test_positive_cells_are_refused_where_maps_are_negative():
    maps = np.random.default_rng(0).normal(size=(5, 3, 4, 4))
    with pytest.raises(ValueError, match="negative cells"):
        values_of(map_summaries(maps), "positive", 16)
    kept = map_summaries(np.maximum(maps, 0))
    np.testing.assert_allclose(values_of(kept, "positive", 16), (maps > 0).mean((2, 3)))
