"Information: against another implementation, known truths, permutation laws, a pilot's numbers."

import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from scipy.stats import kstest
from sklearn.metrics import mutual_info_score

from featent.data.layers import select_layers
from featent.data.maps import stream
from featent.data.networks import network
from featent.data.preprocessing import preprocess
from featent.data.sampling import images
from featent.data.twins import random_twin
from featent.statistics.entropy import feature_entropy
from featent.statistics.information import (
    _counted,
    _informations,
    class_information,
    layer_information,
    rank_bins,
)
from featent.statistics.multiple_testing import false_discovery
from featent.topology.filtrations import births

SCORES = ["I", "I_null", "I_corrected", "z", "p"]


def noise(n, units, seed=0):
    return np.random.default_rng(seed).normal(size=(n, units))


def levels(n, units, seed=0):
    return np.random.default_rng(seed).geometric(0.15, (n, units)) - 1


# ---- bins


def test_bins_are_of_equal_frequency():
    for n, bins in ((120, 12), (121, 12), (50, 7), (9, 2)):
        count = np.apply_along_axis(np.bincount, 0, rank_bins(noise(n, 5), bins) - 1)
        assert count.shape == (bins, 5) and count.max() - count.min() <= 1


@given(st.lists(st.integers(0, 9), min_size=2, max_size=60), st.integers(2, 15))
@settings(max_examples=150, deadline=None)
def test_bins_keep_order_and_ties(v, bins):
    v = np.array(v)
    symbol = rank_bins(v[:, None], bins)[:, 0]
    np.testing.assert_array_equal(symbol == 0, v == 0)
    for a, s in zip(v, symbol):
        assert (symbol[v == a] == s).all() and (symbol[v < a] <= s).all()
    assert symbol.max() <= bins
    real = rank_bins(v[:, None].astype(float), bins)[
        :, 0
    ]  # as real numbers, 0 is a value like any other
    assert real.min() >= 1 and ((v > 0).any() or (real == real[0]).all())


def test_no_birth_is_apart_from_the_bins_of_births():
    b = np.array([0, 0, 0, 0, 0, 0, 5, 6, 7, 8])[:, None]
    np.testing.assert_array_equal(rank_bins(b, 2)[:, 0], [0] * 6 + [1, 1, 2, 2])
    np.testing.assert_array_equal(rank_bins(b[:6], 2), 0)


@pytest.mark.parametrize(
    "change",
    [np.exp, lambda x: 1e-6 * x + 4, lambda x: 1000 * x, lambda x: np.where(x > 0, 9 * x, x)],
)
def test_increasing_changes_change_nothing(change):
    x, y, z = noise(200, 6), np.arange(200) % 4, noise(200, 6, 1)
    x[:90] = np.maximum(x[:90], 0)  # ties
    factor = np.arange(1, 7)
    pd.testing.assert_frame_equal(class_information(x, y), class_information(change(x) * factor, y))
    pd.testing.assert_frame_equal(
        class_information(x, y, given=z), class_information(x, y, given=change(z) * factor)
    )
    b = levels(200, 6)
    pd.testing.assert_frame_equal(
        class_information(b, y), class_information(np.where(b, 7 * b**2 + 1, 0), y)
    )


# ---- information itself


@pytest.mark.parametrize("values", [levels(180, 9), noise(180, 9)], ids=["births", "floats"])
def test_against_scikit_learn(values):
    y = np.random.default_rng(1).choice(["a", "b", "c"], 180, p=[0.5, 0.3, 0.2])
    symbols, z = rank_bins(values, 7), noise(180, 9, 2)
    np.testing.assert_allclose(
        class_information(values, y, 7).I, [mutual_info_score(y, s) for s in symbols.T], atol=1e-10
    )
    np.testing.assert_allclose(
        class_information(values, y, 7, of="b").I,
        [mutual_info_score(y == "b", s) for s in symbols.T],
        atol=1e-10,
    )
    strata = rank_bins(z, 7)
    inside = [
        sum((k == s).mean() * mutual_info_score(y[k == s], x[k == s]) for s in np.unique(k))
        for x, k in zip(symbols.T, strata.T)
    ]
    np.testing.assert_allclose(class_information(values, y, 7, given=z).I, inside, atol=1e-10)
    shared = class_information(values, y, 7, given=z[:, 0])
    pd.testing.assert_frame_equal(
        shared, class_information(values, y, 7, given=np.repeat(z[:, :1], 9, 1))
    )


def test_is_the_entropy_of_births_less_that_within_classes():
    b, y = np.random.default_rng(0).integers(0, 6, (120, 5)), np.arange(120) % 3
    H = feature_entropy(b, "outcomes") - np.mean(
        [feature_entropy(b[y == c], "outcomes") for c in range(3)], 0
    )
    np.testing.assert_allclose(
        class_information(b, y, bins=40).I, H, atol=1e-10
    )  # so many bins that each level has its own


def test_shuffled_labels_give_the_null():
    "The permutations are the ones announced: labels in random order, for all units the same."
    x, y = levels(90, 4), np.arange(90) % 3
    found, _ = _informations(_counted(x, y, 8, None, None), 6, 3)
    rng, symbols = np.random.default_rng(3), rank_bins(x, 8)
    for row in found[1:]:
        dealt = y[rng.permutation(90)]
        np.testing.assert_allclose(
            row, [mutual_info_score(dealt, s) for s in symbols.T], atol=1e-10
        )
    table = class_information(x, y, 8, permutations=6, seed=3)
    np.testing.assert_allclose(table.I_null, found[1:].mean(0))
    np.testing.assert_allclose(table.z, (found[0] - found[1:].mean(0)) / found[1:].std(0, ddof=1))
    np.testing.assert_allclose(table.p, (1 + (found[1:] >= found[0] - 1e-9).sum(0)) / 7)
    np.testing.assert_array_equal(table.q, false_discovery(table.p))


def test_shuffles_stay_within_strata():
    "Where the given value fixes the class, no shuffle changes anything: nothing to test."
    y = np.arange(120) % 2
    z = (y + 0.1 * np.random.default_rng(0).random(120))[:, None]
    t = class_information(noise(120, 1), y, 2, given=z)
    assert t.I[0] == t.I_null[0] == 0 and t[["z", "p", "q"]].isna().all(axis=None)
    z[:3] = 1 - z[:3]  # three images out of place: strata of mixed labels
    assert class_information(noise(120, 1), y, 2, given=z).p.notna().all()


# ---- statistics


@pytest.mark.parametrize("given", [None, noise(240, 800, 5)], ids=["alone", "given"])
def test_p_is_uniform_and_the_bias_gone_without_information(given):
    t = class_information(
        noise(240, 800), np.arange(240) % 4, bins=8, given=given, permutations=199
    )
    assert kstest(t.p, "uniform").pvalue > 1e-3
    assert abs(t.I_corrected.mean()) < 4 * t.I.std() / np.sqrt(800) and t.I.mean() > 0.03
    assert abs(t.z.std() - 1) < 0.1 and (t.q > 0.05).all()
    if given is None:
        assert t.I_null.mean() == pytest.approx(7 * 3 / 480, rel=0.05)  # (K - 1)(C - 1) / 2N


def test_conditional_p_is_uniform_where_all_is_explained():
    "Values and classes that depend on each other only through what is given, up to its bins."
    rng = np.random.default_rng(0)
    z = rng.integers(1, 5, (400, 600))
    y = (rng.random(400) < 0.5).astype(int)
    z[y == 1] += rng.integers(0, 2, (int(y.sum()), 600))
    x = z * 10.0 + rng.integers(0, 3, z.shape)
    alone, beyond = class_information(x, y), class_information(x, y, given=z, permutations=99)
    assert (
        (alone.q < 0.05).mean() > 0.9
        and kstest(beyond.p, "uniform").pvalue > 1e-3
        and abs(beyond.I_corrected.mean()) < 1e-3
    )


def test_known_truths():
    rng, n = np.random.default_rng(1), 4000
    y = np.arange(n) % 2
    flip = lambda v: np.where(rng.random(n) < 0.1, 1 - v, v)
    h = lambda p: -p * np.log(p) - (1 - p) * np.log(1 - p)
    a, coin = flip(y), rng.integers(0, 2, n)
    b, given_ = np.stack([flip(a), flip(y), coin ^ y, y], 1), np.stack([a, a, coin, a], 1)
    np.testing.assert_allclose(
        class_information(b, y).I_corrected,
        [np.log(2) - h(0.18), np.log(2) - h(0.1), 0, np.log(2)],
        atol=0.02,
    )
    found = class_information(b, y, given=given_)
    np.testing.assert_allclose(
        found.I_corrected, [0, h(0.18) - h(0.1), np.log(2), h(0.1)], atol=0.02
    )
    assert found.p[0] > 0.05 and (found.p[1:] < 0.01).all() and found.z[1:].min() > 50


def test_steady_units_have_nothing_to_test_and_do_not_count():
    y = np.arange(60) % 3
    x = np.column_stack([np.full(60, 7), np.zeros(60, int), y + 1, levels(60, 1)])
    t = class_information(x, y)
    assert (t.loc[:1, ["I", "I_null", "I_corrected"]] == 0).all(axis=None) and t.loc[
        :1, ["z", "p", "q"]
    ].isna().all(axis=None)
    assert t.I[2] == pytest.approx(np.log(3)) and t.q[2] == pytest.approx(2 / 201)
    assert (
        feature_entropy(x[:, :1][y == 0]) == 0
    ).all()  # and yet its entropy is the best there is
    assert np.isnan(layer_information(x[:, :2], y).p)


def test_of_finds_the_class():
    y = np.arange(150) % 3
    b = np.where(y == 1, 4, 2 * levels(150, 1)[:, 0] + 5)[:, None]
    I = [class_information(b, y, of=c).I_corrected[0] for c in range(3)]
    assert I[1] > 0.5 > 3 * max(I[0], I[2]) - 0.3 and np.argmax(I) == 1


# ---- layers


@pytest.mark.parametrize("given", [None, noise(90, 7, 4)], ids=["alone", "given"])
def test_layer_is_the_mean_over_units(given):
    x, y = levels(90, 7), np.arange(90) % 3
    t, layer = class_information(x, y, given=given), layer_information(x, y, given=given)
    assert layer.n_units == 7
    np.testing.assert_allclose(
        layer[["I", "I_null", "I_corrected"]].astype(float),
        t[["I", "I_null", "I_corrected"]].mean(),
    )
    copies = layer_information(
        np.repeat(x[:, :1], 20, 1),
        y,
        given=None if given is None else np.repeat(given[:, :1], 20, 1),
    )
    np.testing.assert_allclose(
        copies[SCORES].astype(float), t[SCORES].iloc[0]
    )  # copies of a unit are no new evidence


def test_layer_p_is_uniform_for_correlated_units():
    rng, y, p = np.random.default_rng(0), np.arange(60) % 2, []
    for _ in range(250):
        p.append(
            layer_information(
                rng.normal(size=(60, 1)) + 0.3 * rng.normal(size=(60, 10)), y, 6, permutations=99
            ).p
        )
    assert kstest(p, "uniform").pvalue > 1e-3


def test_seed_decides():
    x, y = noise(60, 3), np.arange(60) % 3
    pd.testing.assert_frame_equal(class_information(x, y), class_information(x, y, seed=0))
    assert not class_information(x, y).I_null.equals(class_information(x, y, seed=1).I_null)
    assert class_information(x, y, permutations=1).z.isna().all()


# ---- errors


@pytest.mark.parametrize("f", [class_information, layer_information])
def test_errors_say_what_is_wrong(f):
    x, y = noise(60, 4), np.arange(60) % 3
    bad = np.where(np.arange(4) >= 2, np.nan, x)
    with pytest.raises(ValueError, match="all images are of class 5: .* at least two classes"):
        f(x, np.full(60, 5))
    with pytest.raises(
        ValueError,
        match="class 0 has 20 images, fewer than the 21 bins: pass more images, or bins=20",
    ):
        f(x, y, 21)
    with pytest.raises(ValueError, match="class 2 has 20 images"):
        f(x, y, 21, of=2)
    with pytest.raises(ValueError, match=r"no images of class 7; labels present: \[0, 1, 2\]"):
        f(x, y, of=7)
    with pytest.raises(ValueError, match="values of 2 of 4 units, the first unit 2"):
        f(bad, y)
    with pytest.raises(ValueError, match="values of 2 of 4 units, the first unit 2"):
        f(x, y, given=bad)
    with pytest.raises(ValueError, match=r"60 images have values but labels have shape \(59,\)"):
        f(x, y[1:])
    with pytest.raises(
        ValueError,
        match=r"given has shape \(60, 3\): it must be \(n_images, units\) = \(60, 4\), or \(60,\)",
    ):
        f(x, y, given=x[:, 1:])
    with pytest.raises(ValueError, match="given has shape"):
        f(x, y, given=x[:30])
    with pytest.raises(ValueError, match="bins=1: at least 2"):
        f(x, y, 1)
    with pytest.raises(ValueError, match="permutations=0: at least 1"):
        f(x, y, permutations=0)
    with pytest.raises(ValueError, match="shape"):
        f(x[:, 0], y)
    with pytest.raises(ValueError, match="negative"):
        f(np.full((60, 1), -1), y)
    with pytest.raises(TypeError, match="real numbers"):
        f(x.astype(complex), y)


# ---- size, and real networks


def test_a_wide_layer_takes_seconds():
    x, z, y = levels(1500, 512), noise(1500, 512), np.repeat(np.arange(10), 150)
    class_information(x[:40, :1], y[:40] * 0 + np.arange(40) % 2)
    start = time.process_time()
    class_information(x, y, given=z)
    assert time.process_time() - start < 15


@pytest.fixture(scope="module")
def first_images(cifar10_dir):
    "The first 60 training images of each class of CIFAR-10; the pilot had the first 150"
    source = images(cifar10_dir, split="train")
    at = np.concatenate([np.flatnonzero(source.labels == c)[:60] for c in range(10)])
    return images(
        [(source.raw(int(i)), int(source.labels[i])) for i in at],
        transform=preprocess(mean="imagenet", std="imagenet"),
    )


def summaries(net, data):
    "Births and means of the first and the last convolution"
    layers = select_layers(net, data)[0].iloc[[0, -1]]
    found = [
        r
        for _, _, r in stream(
            net, data, layers, lambda name, maps, index: (births(maps), maps.mean((2, 3)).numpy())
        )
    ]
    return [[np.concatenate([f[name][k] for f in found]) for name in layers.layer] for k in (0, 1)]


def test_pilot_of_class_information(first_images, weights, archs):
    "Births and means of a trained network know what the pilot found; its twin less with depth."
    net = network(archs.SmallVGG(), weights=weights / "smallvgg_bn_cifar10.pth").eval()
    y = first_images.labels
    birth, mean = (
        [layer_information(v, y).I_corrected for v in kind] for kind in summaries(net, first_images)
    )
    np.testing.assert_allclose(birth, [0.026, 0.064], atol=0.008)
    np.testing.assert_allclose(mean, [0.135, 0.345], atol=0.02)
    birth, mean = summaries(random_twin(net, build=archs.SmallVGG), first_images)
    late = layer_information(birth[1], y)
    assert late.I_corrected == pytest.approx(0.013, abs=0.005) and late.p < 0.01
    assert layer_information(mean[1], y).I_corrected == pytest.approx(0.07, abs=0.02)


def test_few_units_among_many_are_picked_or_it_is_said_that_they_cannot_be():
    "Three of 400 units know the class: 200 shuffles cannot tell, as many as needed can."
    rng, y = np.random.default_rng(4), np.arange(96) % 3
    x = rng.normal(size=(96, 400))
    x[:, :3] += 1.5 * y[:, None]
    with pytest.warns(
        UserWarning,
        match="no test can reach q = 0.05 here: .* of 400 have the smallest p-value there is, "
        "0.005, and it would take 40 of them; pass permutations=7999",
    ):
        fixed = class_information(x, y, 6, permutations=200)
    found = class_information(x, y, 6)
    assert (
        (fixed.q > 0.05).all() and (found.q[:3] <= 0.05).all() and (found.q[3:] <= 0.05).sum() <= 1
    )
    assert found.draws.max() == 7999 and found.draws.mean() < 1500
    same = found.draws == 200
    np.testing.assert_array_equal(found.p[same], fixed.p[same])
    np.testing.assert_array_equal(found.I_corrected, fixed.I_corrected)
    quiet = class_information(rng.normal(size=(60, 3000)), np.arange(60) % 2, 6)
    assert 0.04 < (quiet.p <= 0.05).mean() < 0.06 and (quiet.q > 0.05).all()


def test_bins_do_not_depend_on_how_many_units_are_ranked_at_a_time(monkeypatch):
    rng = np.random.default_rng(0)
    births, means = rng.integers(0, 9, (40, 23)), rng.normal(size=(40, 23)).round(1)
    whole = [rank_bins(v) for v in (births, means)]
    monkeypatch.setattr("featent.statistics.information._RANKED", 100)
    assert all((rank_bins(v) == w).all() for v, w in zip((births, means), whole))
