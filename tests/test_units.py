"Units of a result: contrasts in its table, statuses, twins with shuffled weights; also saved."

import inspect

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import featent as fe
from featent.assessment.answers import SMALLEST, unit_table
from featent.assessment.result import Result
from featent.data.records import weights_hash
from featent.data.twins import shuffled_twin
from featent.statistics.contrast import contrasts
from featent.statistics.multiple_testing import false_discovery
from featent.statistics.shares import class_shares, layer_share

LAYERS = ["features.conv4", "features.conv6"]
NEW = ["contrast", "contrast_lo", "contrast_hi", "contrast_q", "d_prime"]


@pytest.fixture(scope="module")
def net():
    net = fe.network("small_vgg", in_channels=1, seed=1)
    fe.train(net, fe.images("digits", per_class=20), epochs=2, batch_size=20)
    with torch.no_grad():  # unit 0 of the last layer is dead, unit 2 is three times unit 1
        conv, norm = net.features.conv6, net.features.bn6
        for tensor in (conv.weight, norm.weight, norm.bias, norm.running_mean, norm.running_var):
            tensor[2] = tensor[1]
        norm.weight[2] *= 3
        norm.bias[2] *= 3
        norm.weight[0] = 0
        norm.bias[0] = -1
    return net


@pytest.fixture(scope="module")
def digits():
    return fe.images("digits", per_class=12)


@pytest.fixture(scope="module")
def result(net, digits):
    return fe.assess(
        net,
        digits,
        LAYERS,
        filtration=("cubical", "clique"),
        null=("shuffle", "random", "weights"),
        twins=2,
    )


def test_the_table_holds_the_contrasts_of_the_kept_means(result):
    for layer in result.layers.layer:
        for f in ("clique", "cubical"):
            rows = result.table[
                (result.table.layer == layer) & (result.table.filtration == f)
            ].reset_index(drop=True)
            own = contrasts(result.summaries[layer, "mean", "real"], result.labels, result.classes)
            assert (rows.unit == own.unit).all() and (rows["class"] == own["class"]).all()
            np.testing.assert_array_equal(
                rows[["contrast", "contrast_lo", "contrast_hi", "d_prime"]],
                own[["contrast", "lo", "hi", "d_prime"]],
            )


def test_q_counts_each_test_once_whatever_the_filtrations(net, digits, result):
    "Births of two filtrations do not make two tests of one mean."
    alone = fe.assess(net, digits, LAYERS, filtration="clique")
    both = result.table[result.table.filtration == "clique"]
    np.testing.assert_allclose(alone.table.contrast_q, both.contrast_q, atol=1e-12)
    p = pd.concat(
        [
            contrasts(result.summaries[n, "mean", "real"], result.labels).p
            for n in result.layers.layer
        ]
    )
    np.testing.assert_allclose(alone.table.contrast_q, false_discovery(p), atol=1e-12)


def test_twins_have_contrasts_and_shuffled_maps_have_none(result):
    assert set(NEW) <= set(result.scores("weights1")) and set(NEW) <= set(result.scores("random0"))
    assert not set(NEW) & set(result.scores("shuffled"))


def test_without_means_or_with_one_class_there_are_no_contrasts_and_units_say_why(net, digits):
    bare = fe.assess(net, digits, LAYERS[:1], summaries=None)
    assert not set(NEW) & set(bare.table) and "share" not in bare.summary()
    with pytest.raises(ValueError, match="assess with summaries=SUMMARIES"):
        bare.units()
    one = fe.assess(net, fe.images("digits", classes=[3], per_class=12), LAYERS[:1])
    assert not set(NEW) & set(one.table) and "share" not in one.summary()
    with pytest.raises(ValueError, match="takes at least two"):
        one.units()


def test_saved_results_and_stores_of_before_gain_the_columns(net, digits, result, tmp_path):
    back = fe.load(result.save(tmp_path / "saved"))
    pd.testing.assert_frame_equal(back.table, result.table)
    pd.testing.assert_frame_equal(back.units(), result.units())
    stored = fe.assess(
        net, digits, LAYERS, null="weights", twins=1, store=tmp_path / "store", shard_size=64
    )
    assert set(NEW) <= set(stored.table) and stored.kinds == ["real", "weights0"]
    pd.testing.assert_frame_equal(fe.load(tmp_path / "store").units(), stored.units())


def test_statuses_of_units(result):
    units = result.units().set_index(["layer", "unit"])
    last = units.xs(result.layers.layer.iloc[-1])
    assert (
        last.status[0] == "dead"
        and last.label[0] == -1
        and pd.isna(last["class"][0])
        and np.isnan(last.share_q[0])
        and last.share[0] == 0
    )
    pair = last.loc[[1, 2]]
    assert sorted(pair.status) == ["answers", "redundant"]
    assert (
        pair.follows[pair.status == "redundant"].item() in (1, 2)
        and abs(pair.rho[pair.status == "redundant"].item()) > 0.999
    )
    assert (last.status == "answers").mean() > 0.5
    assert (units.share_q[units.status == "carries no class"] > 0.05).all() and (
        units.share_q[units.status == "answers"] <= 0.05
    ).all()
    assert (units.answers_up + units.answers_down)[units.share_q > 0.05].eq(0).all()


def test_units_agree_with_the_chapter(result):
    units, layer = result.units(), result.layers.layer.iloc[0]
    values = result.summaries[layer, "mean", "real"]
    own, rows = class_shares(values, result.labels), units[units.layer == layer].reset_index()
    np.testing.assert_array_equal(
        rows[["share", "share_lo", "share_hi", "share_p"]], own[["share", "lo", "hi", "p"]]
    )
    matrix = (
        contrasts(values, result.labels)
        .pivot(index="unit", columns="class", values="contrast")
        .to_numpy()
    )
    np.testing.assert_array_equal(rows.label, np.abs(matrix).argmax(1))
    np.testing.assert_allclose(rows.contrast.abs(), np.abs(matrix).max(1))


def test_units_without_knowledge_carry_no_class(digits):
    "Labels dealt at random: hardly a unit answers."
    shuffled = digits.with_labels(np.random.default_rng(0).permutation(digits.labels))
    units = fe.assess(fe.network("small_vgg", in_channels=1), shuffled, LAYERS).units()
    assert (units.status == "answers").mean() < 0.02 and (
        units.status == "carries no class"
    ).mean() > 0.5


def test_positive_cells_answer_too(result):
    by = result.units(by="positive")
    assert (by.status != "dead").sum() and not by.share.equals(result.units().share)
    with pytest.raises(ValueError, match="choose 'mean' or 'positive'"):
        result.units(by="max")


def test_layers_and_profiles_carry_the_mean_share(result):
    table = result.summary()
    for row in table.itertuples():
        own = layer_share(result.summaries[row.layer, "mean", "real"], result.labels)
        assert (row.share, row.share_lo, row.share_hi) == (own.share, own.lo, own.hi)
    means = result.units().groupby("layer").share.mean()
    np.testing.assert_allclose(table.share, table.layer.map(means), atol=1e-12)
    profile = result.profiles()
    assert set(profile.series) == {
        "network",
        "shuffled maps",
        "random networks",
        "shuffled weights",
    }
    assert profile.share.isna().eq(profile.series == "shuffled maps").all()
    assert "share" not in result.summary(("layer", "class")) and result.plot() is not None


def test_columns_of_twins(result):
    for kind in ("random", "weights"):
        H = np.mean(
            [
                result.scores(f"{kind}{i}").groupby(["layer", "filtration", "class"]).H.mean()
                for i in range(2)
            ],
            0,
        )
        own = result.table.groupby(["layer", "filtration", "class"])[f"H_{kind}"]
        np.testing.assert_allclose(own.first(), H)
        units, shares = (
            result.units(),
            [result.units(kind=f"{kind}{i}").groupby("layer").share.mean() for i in range(2)],
        )
        np.testing.assert_allclose(
            units.groupby("layer")[f"share_{kind}"].first(), np.mean(shares, 0), atol=1e-12
        )
    assert result.record["null"] == ["shuffle", "random", "weights"]
    assert len(result.excess(null="weights")) == len(result.table) and len(
        result.indicators("weights")
    ) == 2 * len(result.table)


def test_a_shuffled_twin_has_the_values_of_every_tensor(net, digits):
    before = weights_hash(net)
    twin = shuffled_twin(net, 3, digits)
    assert weights_hash(net) == before and twin.training == net.training
    for (name, a), b in zip(net.named_parameters(), twin.parameters(), strict=True):
        assert a.dtype == b.dtype and torch.equal(a.flatten().sort()[0], b.flatten().sort()[0]), (
            name
        )
        if a.numel() > 50:
            assert not torch.equal(a, b), name
    assert (
        weights_hash(shuffled_twin(net, 3, digits))
        == twin.featent["hash"]
        != weights_hash(shuffled_twin(net, 4, digits))
    )
    assert fe.accuracy(twin, digits)["top1"] < 0.4


def test_batch_normalisation_of_a_twin_fits_what_it_computes(net, digits):
    "Once measured, outputs of the first normalisation have mean and spread of its shift and scale."
    twin = shuffled_twin(net, 1, digits)
    x = torch.stack(
        [
            digits.tensor(int(i))
            for i in np.linspace(0, len(digits) - 1, min(len(digits), 128)).round()
        ]
    )
    with torch.no_grad():
        out = twin.features.bn1(twin.features.conv1(x))
    np.testing.assert_allclose(out.mean((0, 2, 3)), twin.features.bn1.bias.detach(), atol=1e-4)
    together = shuffled_twin(net, 1)
    mean, var = (net.features.bn3.running_mean, net.features.bn3.running_var)
    pairs = set(zip(mean.tolist(), var.tolist()))
    assert (
        set(
            zip(
                together.features.bn3.running_mean.tolist(),
                together.features.bn3.running_var.tolist(),
            )
        )
        == pairs
    )


def test_the_number_of_threads_does_not_change_a_twin(net, digits):
    "Its hash is part of a store's identity."
    threads, hashes = torch.get_num_threads(), []
    try:
        for n in (1, 2):
            torch.set_num_threads(n)
            hashes.append(weights_hash(shuffled_twin(net, 5, digits)))
    finally:
        torch.set_num_threads(threads)
    assert hashes[0] == hashes[1]


def test_tied_weights_stay_tied_and_networks_without_normalisation_work(digits):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(1, 4, 3), nn.Conv2d(1, 4, 3)
            self.b.weight = self.a.weight

        def forward(self, x):
            return torch.relu(self.a(x)).mean((2, 3)) + torch.relu(self.b(x)).mean((2, 3))

    twin = shuffled_twin(Tied(), 0, digits)
    assert twin.a.weight is twin.b.weight


def test_twins_that_are_not_what_was_asked_for_are_refused(net, digits):
    with pytest.raises(ValueError, match="pass twins= a number"):
        fe.assess(net, digits, LAYERS[:1], null="weights", twins=[net])
    with pytest.raises(ValueError, match="at least one random network"):
        fe.assess(net, digits, LAYERS[:1], null=("random", "weights"), twins=0)
    with pytest.raises(ValueError, match="choose from 'shuffle', 'random', 'weights'"):
        fe.assess(net, digits, LAYERS[:1], null="noise")


def test_a_command_shows_the_units_of_a_class(result, tmp_path, capsys):
    "As a table in the terminal, whole in a file, and as what a cell of a notebook returns."
    from featent.commands.cli import main

    result.save(tmp_path / "scores")
    words = ["units", str(tmp_path / "scores"), "--class", "3", "--sort", "H", "-n", "5"]
    assert main([*words, "-o", str(tmp_path / "all.csv")]) == 0
    said = capsys.readouterr().out
    assert "contrast_q" in said and " H" in said and said.count("\n") == 7
    whole = pd.read_csv(tmp_path / "all.csv")
    assert len(whole) == result.layers.units.sum() and set(whole["class"]) == {3}
    assert whole.H.is_monotonic_increasing
    assert main([*words, "-o", str(tmp_path / "all.csv")]) == 2
    assert "exists already" in capsys.readouterr().err
    assert main([*words[:2], "--layer", "nowhere*"]) == 2
    assert "no layer of this result fits 'nowhere*': choose from" in capsys.readouterr().err


def test_an_answer_has_a_size_as_well_as_a_q_value(result):
    "Old results are read the same way: the rule is asked of the table of units, and kept nowhere."
    plain, default, strict = (result.units(smallest=s) for s in (0, 1 / 3, 0.9))
    pd.testing.assert_frame_equal(result.units(), default)
    assert "weak" not in set(plain.status)
    for units, size in ((default, 1 / 3), (strict, 0.9)):
        same = plain.status != "answers"
        assert (units.status[same] == plain.status[same]).all()
        large = units.contrast.abs() >= size
        assert (units.status[~same] == np.where(large[~same], "answers", "weak")).all()
        counted = units.answers_up + units.answers_down
        assert (counted[~large] == 0).all() and (
            counted <= plain.answers_up + plain.answers_down
        ).all()
    assert (strict.status == "weak").sum() > (default.status == "weak").sum()
    with pytest.raises(ValueError, match="a size of contrasts"):
        result.units(smallest=-0.1)


def test_the_smallest_contrast_of_an_answer_is_the_same_for_method_and_function():
    told = [inspect.signature(f).parameters["smallest"].default for f in (Result.units, unit_table)]
    assert told == [SMALLEST, SMALLEST]
