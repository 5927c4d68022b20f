"Excess over a null: against brute force, exact distributions and known rates of false alarms."

import time
from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import false_discovery_control, kstest, t as student_t

from featent.data.layers import select_layers
from featent.data.maps import stream
from featent.data.networks import network
from featent.data.preprocessing import preprocess
from featent.data.sampling import images
from featent.statistics.entropy import feature_entropy
from featent.statistics.multiple_testing import (
    drawn_further,
    draws_needed,
    false_discovery,
    further_stages,
)
from featent.statistics.scores import score_table
from featent.statistics.significance import (
    Setting,
    _excesses,
    excess_test,
    excess_tests,
    layer_excess,
    layer_excesses,
)
from featent.statistics.twins import layer_twins, twin_test
from featent.topology.filtrations import births
from featent.topology.nulls import shuffle_pixels

levels = st.tuples(st.integers(1, 12), st.integers(1, 4)).flatmap(
    lambda shape: st.tuples(
        *[arrays(np.int32, shape, elements=st.sampled_from([0, 0, 1, 2, 3, 7, 25_000]))] * 2
    )
)


def dice(shape, seed=0):
    return np.random.default_rng(seed).geometric(0.3, shape)


# ---- the arithmetic


@given(levels, st.sampled_from(["images", "births", "outcomes"]), st.integers(0, 3))
@settings(max_examples=80, deadline=None)
def test_every_drawn_excess_is_that_of_swapped_births(pair, over, seed):
    real, null = pair
    ((_, a, b, drawn),) = _excesses(real, null, Setting(over=over, seed=seed), 5)
    np.testing.assert_array_equal(a, real)
    swaps = np.random.default_rng(seed).integers(0, 2, (len(real), 5), np.uint8).T.astype(bool)
    for swap, found in zip([np.zeros(len(real), bool), *swaps], drawn):
        x, y = np.where(swap[:, None], null, real), np.where(swap[:, None], real, null)
        np.testing.assert_allclose(
            found, feature_entropy(y, over) - feature_entropy(x, over), atol=1e-10
        )


def test_p_against_all_swaps():
    "Eight pairs have 256 swaps: the drawn p-values approach the exact ones."
    real, null = dice((8, 30), 1), dice((8, 30), 2)
    exact = np.array(
        [
            feature_entropy(np.where(s, real, null)) - feature_entropy(np.where(s, null, real))
            for s in (np.array(s)[:, None] for s in product([False, True], repeat=8))
        ]
    )
    seen = feature_entropy(null) - feature_entropy(real)
    found = excess_test(real, null, permutations=20_000)
    for column, p in (
        ("p", (exact >= seen - 1e-9).mean(0)),
        ("p_two_sided", (abs(exact) >= abs(seen) - 1e-9).mean(0)),
    ):
        np.testing.assert_allclose(found[column], p, atol=4.5 * np.sqrt(0.25 / 20_000))
    ok = found.z.notna()
    np.testing.assert_allclose(found.z[ok], (seen / np.sqrt((exact**2).mean(0)))[ok], rtol=0.03)


def test_table_agrees_with_score_table_for_every_class():
    real, null, labels = dice((60, 7), 1) - 1, dice((60, 7), 2) - 1, np.arange(60) % 3
    names = {2: "dog", 0: "cat"}
    found, a, b = (
        excess_test(real, null, labels, "births", 19, classes=names),
        *(score_table(x, labels, names, "births") for x in (real, null)),
    )
    pd.testing.assert_frame_equal(
        found[["unit", "class", "n_images", "eps", "H"]],
        a[["unit", "class", "n_images", "eps", "H"]],
    )
    np.testing.assert_array_equal(found[["eps_null", "H_null"]], b[["eps", "H"]])
    np.testing.assert_allclose(found.excess, found.H_null - found.H, atol=1e-12)
    np.testing.assert_array_equal(found.q, false_discovery(found.p))
    alone = excess_test(real[labels == 2], null[labels == 2], over="births", permutations=19)
    np.testing.assert_allclose(alone.excess, found.excess[:7], atol=1e-12)


# ---- laws


def test_exchanging_the_sides_and_renaming_levels():
    real, null = dice((40, 25), 1) - 1, dice((40, 25), 2) - 1
    one, other = excess_test(real, null), excess_test(null, real)
    np.testing.assert_allclose(one.excess, -other.excess, atol=1e-12)
    np.testing.assert_allclose(one.z, -other.z)
    np.testing.assert_array_equal(one.p_two_sided, other.p_two_sided)
    up = lambda b: np.where(b > 0, 3 * b**2 + 11, 0)
    pd.testing.assert_frame_equal(one, excess_test(up(real), up(null)))
    pd.testing.assert_frame_equal(one, excess_test(real, null, seed=0))
    assert not one.p.equals(excess_test(real, null, seed=1).p)


def test_p_is_uniform_where_there_is_no_pattern():
    found = excess_test(dice((60, 1500), 1), dice((60, 1500), 2))
    for column in ("p", "p_two_sided"):
        assert kstest(found[column], "uniform").pvalue > 1e-3
    assert abs(found.z.mean()) < 0.1 and abs(found.z.std() - 1) < 0.1 and (found.q > 0.05).all()


def test_stable_and_scattered_births_are_found_each_on_its_side():
    null = dice((50, 40), 1) + 3
    stable, scattered = (
        np.where(np.random.default_rng(2).random((50, 40)) < 0.6, 5, null),
        np.arange(50)[:, None] * 7 + null,
    )
    low, high = excess_test(stable, null), excess_test(scattered, null)
    assert (low.q < 0.01).all() and (low.z > 2).all()
    assert (high.p > 0.99).all() and (high.p_two_sided < 0.01).all() and (high.z < -2).all()


def test_two_classes_of_one_name_stay_apart():
    real, null = dice((40, 3), 1), dice((40, 3), 2)
    found = excess_test(real, null, np.arange(40) % 2, classes={0: "crane", 1: "crane"})
    assert list(found["class"].unique()) == ["crane (0)", "crane (1)"] and len(found) == 6


def test_units_without_births_are_not_tested():
    real, null = dice((20, 4), 1), dice((20, 4), 2)
    real[:, :2] = null[:, 0] = 0
    null[:, 3] = real[:, 3]
    found = excess_test(real, null)
    tests = ["z", "p", "p_two_sided", "q"]
    assert found.loc[0, tests].isna().all() and found.excess[0] == 0
    assert found.loc[1, tests].isna().all() and found.excess[1] > 1  # none against many
    assert found.p[3] == found.p_two_sided[3] == 1 and np.isnan(
        found.z[3]
    )  # the same births: no swap changes anything
    np.testing.assert_allclose(found.q[2:], false_discovery_control(found.p[2:]))
    layer = layer_excess(real[:, :2], null[:, :2])
    assert layer[["z", "p", "p_two_sided"]].isna().all(axis=None) and layer.n_units[0] == 0


def test_units_that_hardly_ever_have_a_loop_are_not_called_stable():
    "Neither by themselves nor in the mean of their layer, nor among random twins."
    real, null = dice((40, 6), 1), dice((40, 6), 2)
    real[3:, :5] = 0  # three births on forty images, in five of six units
    labels = np.repeat([0, 1], 20)
    whole, found = excess_test(real, null), excess_test(real, null, labels)
    assert (whole.H[:5] < whole.H_null[:5]).all() and (whole.eps[:5] < 0.1).all()
    assert whole.p[:5].isna().all() and whole.p[5] > 0.01
    judged = found.p.notna()
    assert set(found.unit[judged & (found["class"] == 1)]) == {5}  # no births at all in class 1
    layer, one = layer_excess(real, null), layer_excess(real[:, 5:], null[:, 5:])
    pd.testing.assert_frame_equal(layer, one)
    by_class = layer_excess(real, null, labels)
    assert list(by_class.n_units) == [6, 1, 6] and by_class.excess.notna().all()
    ranks = twin_test(real, [null, dice((40, 6), 3)])
    assert ranks.p[:5].isna().all() and ranks.p[5] > 0.01
    twins = layer_twins(real, [null, dice((40, 6), 3), dice((40, 6), 4)])
    np.testing.assert_allclose(twins.H, feature_entropy(real[:, 5:]).mean())


# ---- layers


def test_layer_is_the_mean_over_units_and_classes():
    real, null, labels = dice((60, 7), 1) - 1, dice((60, 7), 2) - 1, np.arange(60) % 3
    units, layer = excess_test(real, null, labels), layer_excess(real, null, labels)
    assert list(layer["class"]) == [0, 1, 2, "all"] and (layer.n_units == 7).all()
    means = units.groupby("class")[["H", "H_null", "excess"]].mean()
    np.testing.assert_allclose(
        layer[["H", "H_null", "excess"]], [*means.to_numpy(), means.mean()], atol=1e-12
    )
    one = layer_excess(real[:, :1], null[:, :1], labels)
    np.testing.assert_array_equal(one.p[:3], units.p[units.unit == 0])


def test_layer_p_knows_that_units_share_their_images():
    "Copies of a unit are no new evidence; means of correlated units give uniform p-values."
    rng = np.random.default_rng(0)
    real, null = dice((30, 1), 1), dice((30, 1), 2)
    np.testing.assert_allclose(
        layer_excess(real, null).z, layer_excess(np.repeat(real, 50, 1), np.repeat(null, 50, 1)).z
    )
    p = []
    for _ in range(150):
        common, own = rng.integers(0, 9, (2, 25, 1)), rng.integers(0, 2, (2, 25, 12))
        p.append(layer_excess(*(common + own + 1), permutations=99).p[0])
    assert kstest(p, "uniform").pvalue > 1e-3


# ---- many tests


@given(
    arrays(float, st.integers(1, 30), elements=st.one_of(st.floats(0, 1), st.just(np.nan))),
    st.sampled_from(["bh", "by"]),
)
@settings(max_examples=60, deadline=None)
def test_false_discovery_by_its_definition(p, method):
    q = false_discovery(p, method)
    np.testing.assert_array_equal(np.isnan(q), np.isnan(p))
    v = p[~np.isnan(p)]
    m, c = len(v), (1 / np.arange(1, len(v) + 1)).sum() if method == "by" else 1
    order = np.sort(v)
    expected = [
        min([1, *(c * m / (j + 1) * order[j] for j in range(m) if order[j] >= x)]) for x in v
    ]
    np.testing.assert_allclose(q[~np.isnan(p)], expected, rtol=1e-10)


def test_false_discovery_bounds_the_share_of_false_ones():
    rng, shares = np.random.default_rng(0), []
    for _ in range(200):
        p = rng.uniform(size=300)
        p[:40] = p[:40] ** 6
        picked = false_discovery(p) <= 0.2
        shares.append(picked[40:].sum() / max(picked.sum(), 1))
    assert 0.1 < np.mean(shares) < 0.2


def test_false_discovery_keeps_shape_and_refuses_what_is_no_p():
    assert false_discovery(np.full((2, 3), 0.5)).shape == (2, 3)
    assert np.isnan(false_discovery([np.nan])).all() and len(false_discovery([])) == 0
    with pytest.raises(ValueError, match="choose 'bh' or 'by'"):
        false_discovery([0.1], "holm")
    with pytest.raises(ValueError, match="between 0 and 1"):
        false_discovery([-0.1, np.nan])


# ---- as many draws as the number of tests asks for


def test_the_smallest_p_is_within_reach_of_the_correction():
    for m in (1, 20, 50, 51, 512, 40_640):
        R = draws_needed(m)
        assert m / (R + 1) <= 0.05 + 1e-12 and (R == 1 or m / R > 0.05)
        assert (further_stages(m, 999) or [999])[-1] >= R
    assert further_stages(50, 999) == [] and further_stages(51, 999) == [draws_needed(51)]


def test_small_tables_are_drawn_as_before():
    real, null = dice((40, 25), 1), dice((40, 25), 2)
    real[:, 0] = 5
    found, fixed = excess_test(real, null), excess_test(real, null, permutations=999)
    pd.testing.assert_frame_equal(found, fixed)
    assert (found.draws == 999).all() and found.q[0] <= 0.05


def signals(n_images=60, units=2000, strong=8):
    "Births of noise, but for a few units that prefer one level."
    rng = np.random.default_rng(5)
    real, null = rng.geometric(0.3, (2, n_images, units))
    real[:, :strong] = np.where(rng.random((n_images, strong)) < 0.75, 3, real[:, :strong])
    return real, null


def test_few_units_among_thousands_are_picked_or_it_is_said_that_they_cannot_be():
    real, null = signals()
    with pytest.warns(
        UserWarning,
        match="no test can reach q = 0.05 here: .* of 2,000 .* it would take 40 of them; "
        "pass permutations=39999",
    ):
        fixed = excess_test(real, null, permutations=999)
    found = excess_test(real, null)
    assert (
        (fixed.q > 0.05).all()
        and (found.q[:8] <= 0.05).sum() >= 7
        and (found.q[8:] <= 0.05).sum() <= 1
    )
    assert found.draws.mean() < 3000 and found.draws.max() == draws_needed(2000)
    np.testing.assert_array_equal(found.p[found.draws == 999], fixed.p[found.draws == 999])
    pd.testing.assert_frame_equal(found, excess_test(real, null))
    assert not found.p.equals(excess_test(real, null, seed=1).p)


def test_p_in_stages_is_as_honest_as_from_a_fixed_number_of_draws():
    "At every level the share of false alarms is that level, also where only later draws can tell."
    chance = np.random.default_rng(0).uniform(size=400_000)
    toss = np.random.default_rng(1)

    def more(at, first, last):
        return toss.binomial(last - first, chance[at])[None]

    (p,), draws = drawn_further(more(np.arange(len(chance)), 0, 999), 999, more)
    assert draws.max() == draws_needed(len(chance)) and draws.mean() < 3000
    for a in (0.2, 0.05, 0.01, 0.003, 1e-3, 3e-4, 1e-4):
        assert (p <= a).mean() < a + 3 * np.sqrt(a / len(chance)) and (p <= a).mean() > 0.8 * a
    seen = excess_test(dice((60, 6000), 1), dice((60, 6000), 2))
    assert (
        0.04 < (seen.p <= 0.05).mean() < 0.06
        and 0.008 < (seen.p <= 0.01).mean() < 0.012
        and (seen.q > 0.05).all()
    )
    both = (seen.p_two_sided <= 0.05).mean(), (seen.p_two_sided <= 0.01).mean()
    assert 0.04 < both[0] < 0.06 and 0.008 < both[1] < 0.012


def test_draws_end_where_all_that_would_go_on_are_picked():
    counts = np.r_[np.zeros(900), np.full(100, 500)][None]

    def never(at, first, last):
        raise AssertionError("no draw could change a decision")

    p, draws = drawn_further(counts, 999, never)
    assert (draws == 999).all() and (false_discovery(p[0])[:900] <= 0.05).all()


def test_several_layers_are_one_family():
    real, null = signals(units=1200)
    parts = {
        k: (real[:, i : i + 400], null[:, i : i + 400])
        for i, k in ((0, "a"), (400, "b"), (800, "c"))
    }
    found = excess_tests({k: lambda v=v: v for k, v in parts.items()}, np.arange(60) % 2)
    whole = excess_test(real, null, np.arange(60) % 2)
    order = whole.assign(key=whole.unit // 400).sort_values(["key", "class", "unit"])
    np.testing.assert_array_equal(found.p, order.p)
    np.testing.assert_array_equal(found.q, order.q)
    np.testing.assert_array_equal(found.draws, order.draws)


def test_layers_are_drawn_further_too():
    rng, layers = np.random.default_rng(1), {}
    for i in range(40):
        real, null = rng.geometric(0.3, (2, 40, 12))
        layers[i] = (
            lambda real=np.where(rng.random(real.shape) < 0.5 * (i == 7), 3, real), null=null: (
                real,
                null,
            )
        )
    labels = np.arange(40) % 2
    found = layer_excesses(layers, labels)
    assert (
        len(found) == 120
        and set(found.key[found.q <= 0.05]) == {7}
        and found.draws.max() == draws_needed(120)
    )
    one = layer_excess(*layers[3](), labels)
    np.testing.assert_array_equal(
        found[found.key == 3].p[found.draws == 999],
        one.p[(found[found.key == 3].draws == 999).to_numpy()],
    )


# ---- twins


def test_twins_that_are_too_few_for_the_correction_are_told():
    real, twins = dice((20, 60), 1), [dice((20, 60), 2)]
    real[:, 0] = 4
    with pytest.warns(
        UserWarning,
        match="1 of 60 have the smallest p-value there is, 0.016, and it would take 20 of them; "
        "take more twins, or test whole layers",
    ):
        assert (twin_test(real, twins).q > 0.05).all()


def test_twins_rank_units_by_hand():
    stable, wild, dead = np.full(6, 3), np.arange(1, 7), np.zeros(6, int)
    half = np.array([1, 1, 1, 2, 2, 2])
    found = twin_test(
        np.stack([half, dead, stable], 1),
        [np.stack(t, 1) for t in ((wild, wild, dead), (half, stable, wild))],
    )
    assert (found.n_twin_units == 5).all()
    np.testing.assert_allclose(found.p, [3 / 6, np.nan, 2 / 6])
    np.testing.assert_allclose(found.p_two_sided, [1, np.nan, 4 / 6])
    np.testing.assert_allclose(found.H_twins, (3 * np.log(6) + np.log(2)) / 5)
    np.testing.assert_allclose(found.q, [0.5, np.nan, 0.5])


def test_layer_of_twins_by_hand():
    rng = np.random.default_rng(0)
    real, twins, labels = (
        rng.integers(1, 4, (40, 9)),
        [rng.integers(0, 9, (40, 9)) for _ in range(5)],
        np.arange(40) % 2,
    )
    found = layer_twins(real, twins, labels)
    assert list(found["class"]) == [0, 1, "all"] and (found.n_twins == 5).all()
    means = np.array(
        [[feature_entropy(b[labels == c]).mean() for b in (real, *twins)] for c in (0, 1)]
    ).mean(0)
    row, others = found.iloc[2], means[1:]
    z = (others.mean() - means[0]) / (others.std(ddof=1) * np.sqrt(1.2))
    np.testing.assert_allclose(
        [row.H, row.H_twins, row.sd_twins, row.z, row.p, row.p_rank],
        [means[0], others.mean(), others.std(ddof=1), z, student_t.sf(z, 4), 1 / 6],
    )


def test_p_of_one_more_twin_is_uniform():
    rng, p, rank = np.random.default_rng(0), [], []
    for _ in range(400):
        nets = [rng.integers(1, rng.integers(6, 20), (12, 6)) for _ in range(4)]
        row = layer_twins(nets[0], nets[1:]).iloc[0]
        p.append(row.p), rank.append(row.p_rank)
    assert (
        abs(np.mean(np.array(p) <= 0.1) - 0.1) < 0.06
        and abs(np.mean(np.array(rank) == 0.25) - 0.25) < 0.07
    )


def test_one_twin_has_no_spread_and_dead_twins_no_rank():
    b = dice((10, 3))
    assert layer_twins(b, [b])[["sd_twins", "z", "p"]].isna().all(axis=None)
    found = twin_test(b, [b * 0])
    assert (found.n_twin_units == 0).all() and found[["p", "q", "H_twins", "excess"]].isna().all(
        axis=None
    )


# ---- errors


@pytest.mark.parametrize("test", [excess_test, layer_excess])
def test_errors_say_what_is_wrong(test):
    b = dice((6, 2))
    with pytest.raises(
        ValueError, match=r"one shape \(n_images, units\); got \(6, 2\) and \(6, 1\)"
    ):
        test(b, b[:, :1])
    with pytest.raises(ValueError, match="one shape"):
        test(b[:, 0], b[:, 0])
    with pytest.raises(ValueError, match="no images"):
        test(b[:0], b[:0])
    with pytest.raises(TypeError, match="integers"):
        test(b * 0.5, b)
    with pytest.raises(ValueError, match="negative"):
        test(b, -b)
    with pytest.raises(ValueError, match=r"6 images have births but labels have shape \(4,\)"):
        test(b, b, np.zeros(4))
    with pytest.raises(ValueError, match=r"no images of class dog; labels present: \[0\]"):
        test(b, b, np.zeros(6, int), classes={3: "dog"})
    with pytest.raises(ValueError, match="permutations=0: at least 1"):
        test(b, b, permutations=0)
    with pytest.raises(ValueError, match="choose from 'images', 'births', 'outcomes'"):
        test(b, b, over="units")


@pytest.mark.parametrize("test", [twin_test, layer_twins])
def test_errors_of_twins(test):
    b = dice((6, 2))
    with pytest.raises(ValueError, match="no twins: pass the births of at least one"):
        test(b, [])
    with pytest.raises(ValueError, match="one shape"):
        test(b, [b, b[:5]])
    with pytest.raises(ValueError, match="choose 'images', 'births' or 'outcomes'"):
        test(b, [b], over="units")


# ---- size, and a real network


def test_a_wide_layer_takes_seconds():
    real, null = dice((100, 512), 1), dice((100, 512), 2)
    excess_test(real[:, :1], null[:, :1])
    start = time.process_time()
    assert len(excess_test(real, null, permutations=999)) == 512
    assert time.process_time() - start < 8


def test_first_layer_of_a_trained_network_lies_above_its_null(cifar10_dir, weights, archs):
    "As in the pilot: the maps are smooth, their births scatter more than those of shuffled pixels."
    net = network(archs.SmallVGG(), weights=weights / "smallvgg_bn_cifar10.pth").eval()
    data = images(
        cifar10_dir,
        per_class=50,
        classes=["cat"],
        transform=preprocess(mean="imagenet", std="imagenet"),
    )
    layer = select_layers(net, data)[0].iloc[:1]
    pairs = [
        both[layer.layer[0]]
        for _, _, both in stream(
            net,
            data,
            layer,
            lambda name, maps, index: (
                births(maps),
                births(shuffle_pixels(maps.numpy(), index.numpy())),
            ),
        )
    ]
    real, null = (np.concatenate(x) for x in zip(*pairs))
    row = layer_excess(real, null).iloc[0]
    assert row.excess < -0.1 and row.p_two_sided <= 0.01 and row.p > 0.99
    assert (excess_test(real, null).query("z < 0").p_two_sided < 0.05).sum() > 4
