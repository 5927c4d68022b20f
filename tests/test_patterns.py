"Activation patterns: what is read, entropy against brute force, the controls and the advice."

import json
import math
from collections import Counter
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays
from torch import nn

from featent.commands import cli
from featent.data.networks import network
from featent.data.preprocessing import preprocess
from featent.data.records import weights_hash
from featent.data.sampling import images
from featent.data.trainer import train
from featent.data.twins import random_twin
from featent.studies.activation_patterns import as_patterns, patterns, plot_patterns
from featent.studies.linear_depth import depth_advice, depth_trials, plot_depths
from featent.studies.linear_networks import linear_stack, unit_means
from featent.studies.pattern_controls import (
    pattern_information,
    pattern_profile,
    plot_pattern_profile,
)
from featent.studies.pattern_entropies import (
    binary_entropy,
    layer_falls,
    neuron_entropy,
    pattern_entropy,
)

bits = arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 20)))


@pytest.fixture(scope="module")
def digits():
    return images("digits", per_class=20, size=16)


@pytest.fixture(scope="module")
def net():
    return linear_stack((1, 16, 16), 10, (24, 17), seed=3)


@pytest.fixture(scope="module")
def seen(net, digits):
    return patterns(net, digits)


def plain(h):
    return -sum(p * math.log(p) for p in (h, 1 - h) if p > 0)


class Functional(nn.Module):
    "ReLU as a function, in place, after batch normalisation and dropout."

    def __init__(self):
        super().__init__()
        self.a, self.bn, self.b = nn.Linear(256, 12), nn.BatchNorm1d(12), nn.Linear(12, 10)

    def forward(self, x):
        return self.b(
            nn.functional.dropout(
                torch.relu_(self.bn(self.a(x.flatten(1)))), training=self.training
            )
        )


class Tokens(nn.Module):
    "A linear layer for each row of the image, then one for the whole."

    def __init__(self, head=True):
        super().__init__()
        self.rows, self.head = nn.Linear(16, 8), nn.Linear(8, 10) if head else nn.Identity()

    def forward(self, x):
        return self.head(torch.relu(self.rows(x[:, 0])).mean(1))


# the entropy of a switch


@given(st.floats(0, 1))
def test_binary_entropy(p):
    h = float(binary_entropy(p))
    assert h == pytest.approx(plain(p), abs=1e-12) and 0 <= h <= math.log(2) + 1e-12
    assert h == pytest.approx(float(binary_entropy(1 - p)), abs=1e-9)


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
def test_no_share(p):
    with pytest.raises(ValueError, match="between 0 and 1"):
        binary_entropy([0.5, p])


# reading


def test_patterns_of_lenet_equal_its_own_forward_pass(shared, weights, archs, cifar10_dir):
    state = torch.load(weights / "lenet_cifar10.pt", weights_only=True)
    lenet = archs.CifarLeNet()
    lenet.load_state_dict(state.get("state_dict", state))
    photos = images(cifar10_dir, per_class=12, split="test", transform=preprocess(None, 0.5, 0.5))
    found = patterns(lenet, photos, batch_size=32)
    kept, hooks = (
        {},
        [
            getattr(lenet, k).register_forward_hook(lambda m, a, o, k=k: kept.update({k: o > 0}))
            for k in ("relu3", "relu4", "fc3")
        ],
    )
    with torch.no_grad():
        lenet.eval()(torch.stack([photos[i][0] for i in range(len(photos))]))
    for h in hooks:
        h.remove()
    assert list(found.packed) == [
        "fc1+relu",
        "fc2+relu",
        "fc3",
    ] and found.layers.activated.tolist() == [True, True, False]
    for name, k in zip(found.packed, ("relu3", "relu4", "fc3")):
        assert (
            found[name] != kept[k].numpy()
        ).mean() < 1e-3  # another batch size may round an output at 0 to the other side
    twin = linear_stack((3, 32, 32), 10, (120, 84), "lenet")
    twin.load_state_dict(lenet.state_dict())
    x = photos[0][0][None]
    assert torch.equal(twin(x), lenet(x))


def test_reading_changes_nothing_and_does_not_depend_on_the_batch(digits):
    net = Functional().train()
    before, state = weights_hash(net), [m.training for m in net.modules()]
    a, b = patterns(net, digits, batch_size=200), patterns(net, digits, batch_size=7)
    assert weights_hash(net) == before and [m.training for m in net.modules()] == state
    assert list(a.packed) == ["a+bn+relu", "b"]
    for k in a.packed:
        assert (a[k] != b[k]).mean() < 1e-3
    assert (
        a["a+bn+relu"].shape == (200, 12)
        and a["a+bn+relu"].dtype == bool
        and a.packed["a+bn+relu"].shape == (200, 2)
    )
    x = torch.stack([digits[i][0] for i in range(200)])
    assert np.array_equal(a["a+bn+relu"], (net.eval().bn(net.a(x.flatten(1))) > 0).numpy())


def test_threshold(digits):
    sigmoid = nn.Sequential(nn.Flatten(), nn.Linear(256, 9), nn.Sigmoid())
    assert patterns(sigmoid, digits)["1+sigmoid"].all()
    half = patterns(sigmoid, digits, threshold=0.5)["1+sigmoid"]
    raw = (
        torch.stack([digits[i][0] for i in range(200)]).flatten(1) @ sigmoid[1].weight.T
        + sigmoid[1].bias
    )
    assert np.array_equal(half, (raw > 0).detach().numpy())
    with pytest.raises(ValueError, match="finite"):
        patterns(sigmoid, digits, threshold=float("nan"))


def test_a_vector_for_each_token_is_left_out(digits):
    found = patterns(Tokens(), digits)
    assert list(found.packed) == ["head"] and found.left_out == ("rows+relu",)
    with pytest.raises(ValueError, match="rows: a vector for each token"):
        patterns(Tokens(head=False), digits)


def test_what_has_no_patterns_is_refused(digits, net):
    conv = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    calls = []
    conv[0].register_forward_hook(lambda *a: calls.append(1))
    with pytest.raises(ValueError, match="no linear layer.*1 convolutional layers: 0"):
        patterns(conv, digits)
    assert len(calls) == 1  # the traced image, and no other
    with pytest.raises(ValueError, match="not a linear layer; linear layers: fc"):
        patterns(network("small_vgg", in_channels=1), digits, "conv")
    with pytest.raises(ValueError, match="no layer matches 'fc7'"):
        patterns(net, digits, "fc7")
    nan = linear_stack((1, 16, 16), 10)
    nan.fc1.weight.data[0] = float("nan")
    nan.fc1.bias.data[0] = float("nan")
    with pytest.raises(ValueError, match="fc.*NaN"):
        patterns(nan, digits)


# entropy


@settings(deadline=None)
@given(bits)
def test_entropies_against_brute_force(a):
    row = pattern_entropy({"x": a}, np.zeros(len(a), int), n_resamples=0).iloc[0]
    h = [plain(sum(map(int, column)) / len(a)) for column in a.T]
    count = Counter(map(tuple, a.tolist())).values()
    assert row.h_mean == pytest.approx(sum(h) / len(h)) and row.h_sum == pytest.approx(sum(h))
    assert row.H_pattern == pytest.approx(
        -sum(c / len(a) * math.log(c / len(a)) for c in count), abs=1e-9
    )
    assert row.distinct == len(count) and row.ceiling == pytest.approx(math.log(len(a)))
    assert row.H_pattern <= min(row.h_sum, row.ceiling) + 1e-9


@settings(deadline=None, max_examples=30)
@given(bits, st.randoms(use_true_random=False))
def test_order_and_sign_do_not_matter(a, random):
    rows, columns = (
        random.sample(range(len(a)), len(a)),
        random.sample(range(a.shape[1]), a.shape[1]),
    )
    y = np.zeros(len(a), int)
    one, two = (
        pattern_entropy({"x": v}, y, n_resamples=0).iloc[0] for v in (a, ~a[rows][:, columns])
    )
    for k in ("h_mean", "h_sum", "H_pattern", "distinct"):
        assert one[k] == pytest.approx(two[k])
    assert one.never == pytest.approx(two.always)


def test_classes_are_apart(seen):
    table, layer = pattern_entropy(seen), "fc2+relu"
    assert len(table) == 3 * 10 and table.depth.tolist() == sorted(table.depth)
    for name, r in table[table.layer == layer].set_index("class").iterrows():
        p = seen[layer][seen.labels == int(name)].mean(0)
        assert (
            r.h_mean == pytest.approx(binary_entropy(p).mean())
            and r.rate == pytest.approx(p.mean())
            and r.n_images == 20
        )
    single = neuron_entropy(seen)
    assert len(single) == (24 + 17 + 10) * 10
    mean = single.groupby(["layer", "class"]).h.mean()
    assert np.allclose(table.set_index(["layer", "class"]).h_mean.sort_index(), mean.sort_index())


@pytest.mark.parametrize("n,neurons,shared_coin", [(40, 30, 0.0), (100, 200, 0.5)])
def test_the_interval_covers(n, neurons, shared_coin):
    "Neurons of known rates, independent or half of them tied to one coin."
    rng = np.random.default_rng(1)
    p = rng.random(neurons)
    tied = rng.random(neurons) < shared_coin
    truth, hits = binary_entropy(p).mean(), 0
    for i in range(150):
        u = np.where(tied, rng.random((n, 1)), rng.random((n, neurons)))
        r = pattern_entropy({"x": u < p}, np.zeros(n, int), seed=i).iloc[0]
        hits += r.h_low <= truth <= r.h_high
    assert 0.88 <= hits / 150 <= 1


def test_bad_arrays():
    a, y = np.ones((4, 3), bool), np.zeros(4, int)
    for active, labels, message in [
        ({}, y, "no layers"),
        ({"x": a, "y": a[:2]}, y, "same images"),
        ({"x": a}, None, "labels are needed"),
        ({"x": a}, y[:3], "4 integers"),
        ({"x": a}, y + 0.5, "4 integers"),
        ({"x": a[:0]}, y[:0], "at least one"),
    ]:
        with pytest.raises(ValueError, match=message):
            pattern_entropy(active, labels)
    with pytest.raises(TypeError, match="boolean"):
        pattern_entropy({"x": a * 1.0}, y)
    with pytest.raises(ValueError, match="no images of class 7"):
        pattern_entropy({"x": a}, y, {0: "0", 1: "7"})
    for bad in (dict(n_resamples=-1), dict(confidence=1.0)):
        with pytest.raises(ValueError, match="n_resamples"):
            pattern_entropy({"x": a}, y, **bad)


# controls


def test_shuffled_labels_measure_information(digits, net, seen):
    profile = pattern_profile(
        seen, [patterns(random_twin(net, s), digits) for s in (1, 2)], shuffles=20
    )
    assert profile.groupby("series").run.nunique().to_dict() == {
        "trained": 1,
        "untrained": 2,
        "shuffled labels": 20,
    }
    assert (
        pattern_information(profile).information > 0.02
    ).all()  # even random neurons see which digit it is
    noise = seen.with_labels(np.random.default_rng(0).permutation(seen.labels))
    assert pattern_information(pattern_profile(noise, shuffles=20)).information.abs().max() < 0.02
    with pytest.raises(ValueError, match="same layers"):
        pattern_profile(seen, [noise])
    with pytest.raises(ValueError, match="no shuffled labels"):
        pattern_information(pattern_profile(seen, shuffles=0))


def test_training_adds_information(digits):
    fresh = linear_stack((1, 16, 16), 10, (24, 17), seed=3)
    untrained = pattern_information(pattern_profile(patterns(fresh, digits)))
    train(fresh, digits, epochs=8)
    trained = pattern_information(pattern_profile(patterns(fresh, digits)))
    assert trained.information.iloc[-1] > untrained.information.iloc[-1] + 0.1


def test_falls_are_recognised(digits):
    rng, y = np.random.default_rng(0), np.repeat(np.arange(4), 50)
    layers = {
        "coins": rng.random((200, 60)) < 0.5,
        "coins again": rng.random((200, 60)) < 0.5,
        "sure": rng.random((200, 60)) < 0.95,
        "coins at last": rng.random((200, 60)) < 0.5,
    }
    falls = layer_falls(as_patterns(layers, y))
    assert falls.verdict.tolist() == ["undecided", "falls", "rises"]
    assert falls.fall[1] == pytest.approx(math.log(2) - plain(0.95), abs=0.03)
    assert layer_falls(as_patterns({"one": layers["coins"]}, y)).empty


# how many layers


def made_up(h, untrained, score, seeds=(0, 1, 2)):
    return pd.DataFrame(
        [
            dict(
                depth=d,
                seed=s,
                at=a,
                layer=f"fc{a}",
                activated=a < d,
                h_mean=h[a - 1],
                h_untrained=untrained[a - 1],
                test_accuracy=score[d - 1] + 0.001 * s,
            )
            for d in range(1, len(score) + 1)
            for s in seeds
            for a in range(1, d + 1)
        ]
    )


@pytest.mark.parametrize(
    "h,untrained,score,expected",
    [
        ((0.6, 0.3, 0.3, 0.3), (0.6, 0.6, 0.6, 0.6), (0.7, 0.8, 0.9, 0.9), (3, 3, 2, True)),
        ((0.6, 0.3, 0.3, 0.3), (0.6, 0.5, 0.5, 0.1), (0.7, 0.8, 0.9, 0.9), (3, 3, 3, False)),
        ((0.6, 0.5, 0.4, 0.3), (0.6, 0.6, 0.6, 0.6), (0.9, 0.9, 0.9, 0.9), (1, 4, 2, False)),
        ((0.3, 0.4, 0.5, 0.6), (0.6, 0.5, 0.4, 0.3), (0.5, 0.9, 0.7, 0.6), (2, 2, 4, True)),
        ((0.3, 0.4, 0.5, 0.6), (0.6, 0.5, 0.4, 0.3), (0.897, 0.9, 0.9, 0.9), (1, 2, 4, False)),
    ],
)
def test_advice(h, untrained, score, expected):
    advice = depth_advice(made_up(h, untrained, score))
    assert (
        advice.by_accuracy,
        advice.by_entropy,
        advice.by_entropy_untrained,
        advice.tells,
    ) == expected
    assert (
        advice.text.startswith(f"{expected[0]} linear layer")
        and ("does not tell" in advice.text) != expected[3]
    )


def test_advice_needs_something_to_compare():
    two = made_up((0.6, 0.5), (0.6, 0.5), (0.7, 0.8))
    for trials in (two, two[two.depth == 2]):
        with pytest.raises(ValueError, match="at least two depths"):
            depth_advice(trials)


def test_depth_trials(digits):
    test = images("digits", per_class=10, split="test", size=16)
    trials = depth_trials(digits, test, (1, 3), (0, 1), width=16, epochs=3)
    assert trials.groupby(["depth", "seed"]).size().to_dict() == {
        (1, 0): 1,
        (1, 1): 1,
        (3, 0): 3,
        (3, 1): 3,
    }
    assert trials.activated.sum() == 4 and trials.test_accuracy.between(0.2, 1).all()
    assert trials.equals(depth_trials(digits, test, (3, 1), (0, 1), width=16, epochs=3))
    fresh = linear_stack((1, 16, 16), 10, (16, 16), seed=1)
    before = (
        pattern_entropy(patterns(fresh, test), n_resamples=0)
        .groupby("layer", sort=False)
        .h_mean.mean()
    )
    assert np.allclose(trials[(trials.depth == 3) & (trials.seed == 1)].h_untrained, before)
    for bad in (dict(depths=()), dict(depths=(0, 1)), dict(depths=(2, 2))):
        with pytest.raises(ValueError, match="different numbers"):
            depth_trials(digits, test, **bad)
    with pytest.raises(ValueError, match="seeds is empty"):
        depth_trials(digits, test, seeds=())
    assert len(plot_depths(trials).axes) == 2


def test_stack():
    assert [type(m).__name__ for m in linear_stack((1, 8, 8), 10, ())] == ["Flatten", "Linear"]
    state = torch.random.get_rng_state()
    a, b = (linear_stack((1, 8, 8), 10, seed=s) for s in (0, 1))
    assert torch.equal(state, torch.random.get_rng_state()) and not torch.equal(
        a.fc1.weight, b.fc1.weight
    )
    for bad, message in [
        (dict(trunk="vgg"), "flatten"),
        (dict(hidden=(0,)), "at least 1"),
        (dict(trunk="lenet"), "16 x 16"),
    ]:
        with pytest.raises(ValueError, match=message):
            linear_stack((1, 8, 8), 10, **bad)


# pictures


def test_pictures(seen):
    fig = plot_patterns(seen, per_class=5, neurons=12)
    assert len(fig.axes) == 3
    drawn = fig.axes[0].images[0].get_array()
    assert drawn.shape == (12, 50) and set(np.unique(drawn)) <= {0, 1}
    assert plot_patterns(seen, ["fc3"]).axes[0].images[0].get_array().shape == (10, 200)
    with pytest.raises(ValueError, match="no patterns of fc1;"):
        plot_patterns(seen, ["fc1"])
    assert len(plot_pattern_profile(pattern_profile(seen, shuffles=2)).axes) == 2


# the experiment


def test_experiment(tmp_path):
    out, quick = (
        tmp_path / "out",
        dict(
            per_class=10,
            size=16,
            epochs=1,
            random_networks=1,
            shuffles=2,
            max_linear=3,
            seeds=1,
            width=16,
            hidden="16,16",
        ),
    )
    assert (
        cli.main(
            [
                "run",
                "fc_patterns",
                *[w for k, v in quick.items() for w in ("-p", k, str(v))],
                "-o",
                str(out),
            ]
        )
        == 0
    )
    files = {p.name for p in out.iterdir()}
    assert {
        "fc_patterns.ipynb",
        "patterns.png",
        "profile.png",
        "depths.png",
        "entropy.csv",
        "profile.csv",
        "information.csv",
        "falls.csv",
        "depths.csv",
        "advice.json",
        "parameters.json",
        "training.csv",
        "verdict.md",
    } <= files
    profile = pd.read_csv(out / "profile.csv")
    assert (
        profile.groupby("series").run.nunique().to_dict()
        == {"trained": 1, "untrained": 1, "shuffled labels": 2}
        and profile.layer.nunique() == 3
    )
    assert pd.read_csv(out / "depths.csv").depth.unique().tolist() == [1, 2, 3]
    assert json.loads((out / "parameters.json").read_text())["hidden"] == "16,16"


@pytest.mark.parametrize(
    "change,message",
    [
        (dict(network="small_vgg", layers="conv"), "not a linear layer"),
        (dict(per_class=0), "at least 1"),
        (dict(hidden="16,x"), "hidden='16,x'"),
        (dict(network="mlpp"), "mlp, lenet"),
        (dict(max_linear=2), "choose 3 or more"),
        (dict(normalise="no"), "choose imagenet, half"),
    ],
)
def test_experiment_refuses(change, message):
    page = nbformat.read(Path(__file__).parents[1] / "nbs/experiments/fc_patterns.ipynb", 4)
    space = {}
    given, checks = (
        next(c.source for c in page.cells if tag in c.metadata.get("tags", []))
        for tag in ("parameters", "validate")
    )
    exec(given, space)
    with pytest.raises(ValueError, match=message):
        exec(checks, space | change)


# linear layers on the features of a convolutional network


def test_unit_means_are_the_means_of_the_maps():
    net, data = network("small_vgg", in_channels=1, seed=3), images("digits", per_class=3, size=16)
    got = unit_means(net, data, "*conv5+bn+relu", batch_size=7)
    with torch.no_grad():
        want = net.features[:-3](torch.stack([data[i][0] for i in range(len(data))])).mean((2, 3))
    assert (
        got[0][0].shape == (128, 1, 1)
        and got.classes == data.classes
        and (got.labels == data.labels).all()
    )
    assert torch.allclose(
        torch.stack([got[i][0][:, 0, 0] for i in range(len(got))]), want, atol=1e-6
    )
    with pytest.raises(ValueError, match="means 6 layers"):
        unit_means(net, data, "conv")
