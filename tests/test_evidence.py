"Evidence from a result: identities, agreement with the chapters it wraps, words of its errors."

import numpy as np
import pandas as pd
import pytest

import featent as fe
from featent.assessment.plots import plot_profile
from featent.data.layers import select_layers
from featent.data.maps import read_maps
from featent.statistics.indicators import SUMMARIES, indicators
from featent.statistics.information import class_information
from featent.statistics.resolution import coarse, n_cells
from featent.statistics.significance import excess_test
from featent.statistics.uncertainty import intervals as unit_intervals

LAYERS = ["features.conv1", "features.conv5", "features.conv6"]


@pytest.fixture(scope="module")
def net():
    return fe.network("small_vgg", in_channels=1, seed=1)


@pytest.fixture(scope="module")
def digits():
    return fe.images("digits", per_class=20)


@pytest.fixture(scope="module")
def result(net, digits):
    return fe.assess(
        net, digits, LAYERS, filtration=("clique", "cubical"), null=("shuffle", "random"), twins=2
    )


def test_random_networks_in_the_same_pass_are_random_networks(net, digits, result):
    "What a twin scores in the common pass is what it scores alone."
    for i in range(2):
        twin = fe.random_twin(net, 1 + i)
        alone = fe.assess(twin, digits, LAYERS, filtration=("clique", "cubical"))
        for layer, f, _ in alone.births:
            np.testing.assert_array_equal(
                alone.births[layer, f, "real"], result.births[layer, f, f"random{i}"]
            )
        for layer, name, _ in alone.summaries:
            np.testing.assert_array_equal(
                alone.summaries[layer, name, "real"], result.summaries[layer, name, f"random{i}"]
            )
        assert result.record["twins"][i]["weights_hash"] == fe.data.records.weights_hash(twin)
        pd.testing.assert_frame_equal(alone.table, result.scores(f"random{i}"))


def test_given_networks_as_twins(net, digits):
    twins = [fe.random_twin(net, 7)]
    r = fe.assess(net, digits, "features.conv6", null="random", twins=twins)
    assert r.record["twins"][0]["weights_hash"] == fe.data.records.weights_hash(
        twins[0]
    ) and r.kinds == ["real", "random0"]


def test_null_columns(result):
    "H_null is of the unit's own shuffled maps; H_random the mean over all units of all twins."
    layer = result.layers.layer.iloc[-1]
    t = result.table.query("layer == @layer and filtration == 'clique'")
    b = result.births[layer, "clique", "shuffled"][result.labels == 3]
    np.testing.assert_allclose(t[t["class"] == "3"].H_null, fe.feature_entropy(b))
    pool = np.concatenate(
        [
            fe.feature_entropy(result.births[layer, "clique", f"random{i}"][result.labels == 3])
            for i in range(2)
        ]
    )
    np.testing.assert_allclose(t[t["class"] == "3"].H_random, pool.mean())


def test_summaries_are_those_of_the_maps(net, digits, result):
    import torch

    chosen, _ = select_layers(net, digits, LAYERS)
    maps = read_maps(net, torch.stack([digits[i][0] for i in range(32)]), chosen)
    for layer, m in maps.items():
        np.testing.assert_allclose(
            result.summaries[layer, "l1", "real"][:32], m.abs().sum((2, 3)), rtol=1e-5
        )
        np.testing.assert_array_equal(result.summaries[layer, "max", "real"][:32], m.amax((2, 3)))
        np.testing.assert_array_equal(
            result.summaries[layer, "zeros", "real"][:32], (m == 0).sum((2, 3))
        )


def test_profiles(result):
    p = result.profiles(n_resamples=50)
    assert p.groupby("series").run.nunique().to_dict() == {
        "network": 1,
        "random networks": 2,
        "shuffled maps": 1,
    }
    own = p[p.series == "network"].set_index(["layer", "filtration"]).H
    pd.testing.assert_series_equal(
        own, result.summary().set_index(["layer", "filtration"]).H, check_like=True
    )
    assert ((p.H_lo <= p.H) & (p.H <= p.H_hi)).all() and (p.H_lo < p.H_hi).any()
    assert len(plot_profile(p[p.filtration == "clique"]).axes) == 2


def test_intervals_agree_with_their_chapter(result):
    layer = result.layers.layer.iloc[-1]
    mine = result.intervals(n_resamples=50).query("layer == @layer and filtration == 'cubical'")
    theirs = unit_intervals(result.births[layer, "cubical", "real"], result.labels, n_resamples=50)
    np.testing.assert_array_equal(
        mine[["H", "H_mm", "H_cwj", "lo", "hi"]], theirs[["H", "H_mm", "H_cwj", "lo", "hi"]]
    )
    t = result.table.query("layer == @layer and filtration == 'cubical'")
    np.testing.assert_allclose(mine.H_cwj, t.H_cwj)
    assert list(mine["class"]) == list(t["class"])


def test_network_interval_is_the_mean_over_units(result):
    rows = result.intervals("network", n_resamples=50).set_index("filtration")
    for f, t in result.table.groupby("filtration"):
        assert rows.H[f] == pytest.approx(t.H.mean()) and rows.lo[f] < rows.H_cwj[f] < rows.hi[f]
    layers = result.intervals("layer", n_resamples=50).set_index(["filtration", "layer"])
    for k, t in result.table.groupby(["filtration", "layer"]):
        assert layers.H[k] == pytest.approx(t.H.mean())


def test_excess(result):
    layer = result.layers.layer.iloc[0]
    mine = result.excess(permutations=99)
    theirs = excess_test(
        result.births[layer, "clique", "real"],
        result.births[layer, "clique", "shuffled"],
        result.labels,
        permutations=99,
        classes=result.classes,
    )
    rows = mine.query("layer == @layer and filtration == 'clique'").reset_index(drop=True)
    np.testing.assert_array_equal(rows.p, theirs.p)
    assert (
        mine.q >= mine.p
    ).all() or mine.q.isna().any()  # over everything tested, so never less than p
    random = result.excess("layer", "random")
    assert set(random["class"]) == {*map(str, range(10)), "all"} and (random.n_twins == 2).all()
    assert len(result.excess("unit", "random")) == len(result.table)


def test_draws_follow_the_number_of_tests_in_all_layers(result):
    "What few draws settle in one layer takes more among all layers; what is settled stays."
    layer = result.layers.layer.iloc[0]
    both = [result.births[layer, "clique", k] for k in ("real", "shuffled")]
    alone = excess_test(*both, result.labels, permutations=999, classes=result.classes)
    mine = (
        result.excess().query("layer == @layer and filtration == 'clique'").reset_index(drop=True)
    )
    first = mine.draws == 999
    assert (
        0 < first.mean() < 1
        and (mine.p[first].dropna() >= 0.02).all()
        and (mine.p[~first] < alone.p[~first] + 0.02).all()
    )
    np.testing.assert_array_equal(mine.p[first], alone.p[first])
    np.testing.assert_array_equal(mine.z, alone.z)
    told = result.information("mean", bins=4)
    assert (told.q <= 0.05).any() and told.draws.max() > 999


def test_information(result):
    layer = result.layers.layer.iloc[-1]
    with pytest.warns(
        UserWarning,
        match="392 of 481 have the smallest p-value there is, 0.048, "
        "and it would take 459 of them; pass permutations=9619",
    ):
        mine = result.information(permutations=20, bins=4).query(
            "layer == @layer and filtration == 'cubical'"
        )
    with pytest.warns(UserWarning, match="or None for as many as each test needs"):
        theirs = class_information(
            result.births[layer, "cubical", "real"], result.labels, 4, None, 20
        )
    np.testing.assert_allclose(mine.I_corrected, theirs.I_corrected)
    mean = result.information("mean", of="layer", bins=4)
    assert list(mean.layer) == list(result.layers.layer) and (mean.filtration == "").all()
    given = result.information("birth", given="mean", of="layer", bins=4, label="3")
    assert len(given) == 2 * len(result.layers)
    pd.testing.assert_frame_equal(
        given, result.information("birth", given="mean", of="layer", bins=4, label=3)
    )
    with pytest.raises(ValueError, match="class 0 has 20 images, fewer than the 30 bins"):
        result.information(bins=30)


def test_indicators(result):
    t, r = result.indicators(), result.layers.iloc[-1]
    assert len(t) == len(result.table) and {
        "l1",
        "mean",
        "max",
        "apoz",
        "selectivity",
        "class_selectivity",
        "kernel_l1",
    } <= set(t)
    rows = t.query("layer == @r.layer and filtration == 'clique'")
    expected = indicators(
        {n: result.summaries[r.layer, n, "real"] for n in SUMMARIES},
        result.labels,
        result.classes,
        r.height * r.width,
    )
    for c in ("l1", "apoz", "selectivity", "class_selectivity"):
        np.testing.assert_array_equal(rows[c], expected[c])
    assert rows.apoz.between(0, 1).all()
    random = result.indicators("random1")
    assert (random.kernel_l1 != t.kernel_l1).all()


def test_coarsen(result):
    coarser, r = result.coarsen(8, "share"), result.layers.iloc[0]
    b = result.births[r.layer, "clique", "real"]
    np.testing.assert_array_equal(
        coarser.births[r.layer, "clique", "real"],
        coarse(b, n_cells("clique", r.height, r.width), 8, "share"),
    )
    assert (
        coarser.record["resolution"] == {"bins": 8, "scale": "share"}
        and (coarser.table.H <= result.table.H + 1e-9).all()
    )
    np.testing.assert_array_equal(coarser.table.eps, result.table.eps)


def test_depth_trends(result):
    t = result.depth_trends(n_resamples=50)
    own = t[t.series == "network"].set_index("filtration")
    for f, rows in result.summary().groupby("filtration", sort=False):
        assert own.fall[f] == pytest.approx(rows.H.iloc[0] - rows.H.iloc[-1])
    controls = t[t.series != "network"]
    expected = own.fall.loc[controls.filtration].to_numpy() - controls.fall
    np.testing.assert_allclose(controls.beyond, expected, atol=1e-9)
    assert ((controls.beyond_lo <= controls.beyond) & (controls.beyond <= controls.beyond_hi)).all()


def test_a_saved_result_answers_as_well(result, tmp_path):
    back = fe.load(result.save(tmp_path / "r"))
    pd.testing.assert_frame_equal(
        back.excess("layer", permutations=20), result.excess("layer", permutations=20)
    )
    pd.testing.assert_frame_equal(back.indicators(), result.indicators())
    pd.testing.assert_frame_equal(back.profiles(n_resamples=20), result.profiles(n_resamples=20))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda r: r.intervals("class"), "choose 'unit', 'layer' or 'network'"),
        (lambda r: r.excess("network"), "choose 'unit' or 'layer'"),
        (lambda r: r.excess(null="noise"), "choose 'shuffle' or 'random'"),
        (lambda r: r.information("median"), "choose from birth, l1, mean, max, zeros"),
        (
            lambda r: r.information(label="ten"),
            "no class 'ten': choose one by its name or its label",
        ),
        (lambda r: r.coarsen().coarsen(), "already coarse"),
        (lambda r: r.scores("random9"), "this result has 'real', 'shuffled', 'random0', 'random1'"),
        (lambda r: r.indicators("shuffled"), "no summaries of 'shuffled' maps"),
        (
            lambda r: r.profiles(("layer", "class", "filtration"), n_resamples=9),
            "limits are those of layers",
        ),
        (lambda r: r.intervals(confidence=95), "between 0 and 1"),
    ],
)
def test_errors_say_what_to_choose(result, call, message):
    with pytest.raises(ValueError, match=message):
        call(result)


def test_without_nulls_and_summaries(net, digits):
    bare = fe.assess(net, digits, "features.conv6", summaries=None)
    with pytest.raises(ValueError, match="assess with null='shuffle'"):
        bare.excess()
    with pytest.raises(ValueError, match="assess with null='random'"):
        bare.excess(null="random")
    with pytest.raises(ValueError, match="assess with summaries"):
        bare.indicators()
    with pytest.raises(ValueError, match="at least two layers"):
        bare.depth_trends()
    assert list(bare.profiles().series) == ["network"]
