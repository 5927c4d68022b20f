"""Cumulative ablation: replays equal whole runs, curves are what they say, nothing is left."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from torch import nn

import featent as fe
from featent.data.layers import select_layers
from featent.data.maps import stream
from featent.data.records import weights_hash
from featent.studies import ablation, masking, replay, transitions
from featent.studies.ablation import Sample, ablate, curves, pooled
from featent.studies.ablation_plots import plot_ablation
from featent.studies.areas import area, compare_areas
from featent.studies.masking import masked_scores, speedup
from featent.studies.one_against_rest import Odds, exact_log_odds
from featent.studies.orders import unit_orders
from featent.studies.replay import Cut, gated
from featent.studies.transitions import change_points, held_out_gain, turning_points
from featent.studies.unit_effects import unit_effects

torch.set_num_threads(1)


class Odd(nn.Module):
    """Everything that a cut between modules cannot follow.

    Functions, a shared conv, in-place sums, a shortcut around the layer, ignored results."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c, self.fc = (
            nn.Conv2d(3, 8, 3, padding=1),
            nn.Conv2d(8, 8, 3, padding=1),
            nn.Conv2d(8, 8, 3, padding=1),
            nn.Linear(16, 5),
        )

    def forward(self, x):
        n = x.shape[0]
        if x.abs().max() > 1e6:
            return x.new_zeros(n, 5)
        h = F.relu(self.a(x))
        s = h.mean((2, 3))
        y = F.relu(self.b(h))
        torch.relu_(y)  # the result is not used
        y = self.c(y)
        y += h  # in place, a value from before
        h.add_(y)  # in place on a value from before, result not used
        out = torch.zeros(n, 16, dtype=x.dtype)
        out[:, :8] = F.adaptive_avg_pool2d(h, 1).view(n, -1)
        out[:, 8:] = s
        return self.fc(out)


class Split(nn.Module):
    "Chunks, a class token, batched matrix products with the batch folded into the heads."

    def __init__(self):
        super().__init__()
        self.a, self.b, self.token, self.fc = (
            nn.Conv2d(3, 8, 4, 4),
            nn.Conv2d(4, 8, 1),
            nn.Parameter(torch.randn(1, 1, 8)),
            nn.Linear(8, 4),
        )

    def forward(self, x):
        p, q = self.a(x).chunk(2, 1)
        h = F.gelu(self.b(p)) + torch.cat([q, q], 1)
        h = torch.cat([self.token.expand(x.shape[0], -1, -1), h.flatten(2).transpose(1, 2)], 1)
        heads = h.reshape(len(h), -1, 2, 4).transpose(1, 2).reshape(2 * len(h), -1, 4)
        att = torch.bmm(torch.bmm(heads, heads.transpose(1, 2)).softmax(-1), heads)
        return self.fc(att.reshape(len(h), 2, -1, 4).transpose(1, 2).reshape(len(h), -1, 8)[:, 0])


class Branching(nn.Module):
    "Another path for some values of the layer."

    def __init__(self):
        super().__init__()
        self.a, self.fc = nn.Conv2d(3, 6, 3), nn.Linear(6, 3)

    def forward(self, x):
        h = F.relu(self.a(x)).mean((2, 3))
        return self.fc(h) if h.sum() > 0.1 else -self.fc(h)


class OfTheBatch(nn.Module):
    "Normalises by the statistics of the batch even in eval mode."

    def __init__(self):
        super().__init__()
        self.a, self.bn, self.fc = (
            nn.Conv2d(3, 6, 3),
            nn.BatchNorm2d(6, track_running_stats=False),
            nn.Linear(6, 3),
        )

    def forward(self, x):
        return self.fc(F.relu(self.bn(F.relu(self.a(x)))).mean((2, 3)))


def made(cls, seed=0):
    torch.manual_seed(seed)
    return cls().eval()


def masks(units, m=4, seed=0):
    removed = np.random.default_rng(seed).random((m, units)) < np.linspace(0, 1, m)[:, None]
    return removed


def zeroed_by_hand(net, x, module, removed, fill=0.0):
    "The reference, by hooks on a module whose output is the map."

    def hook(m, a, out):
        out = out.clone()
        out[:, removed] = (
            fill
            if np.ndim(fill) == 0
            else torch.tensor(fill, dtype=out.dtype)[removed][:, None, None]
        )
        return out

    handle = module.register_forward_hook(hook)
    try:
        with torch.no_grad():
            return net(x)
    finally:
        handle.remove()


@pytest.mark.parametrize("cls,layers", [(Odd, ["a", "b", "c"]), (Split, ["a", "b"])])
def test_replay_equals_whole_passes_on_networks_without_a_cut(cls, layers):
    net, x = made(cls), torch.randn(3, 3, 12, 12)
    for layer in layers:
        removed = masks(8)
        a, b = (masked_scores(net, x, layer, removed, engine=e) for e in ("replay", "rerun"))
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
        with torch.no_grad():
            torch.testing.assert_close(a[0], net(x), rtol=1e-5, atol=1e-6)
        assert (b[-1] - b[0]).abs().max() > 1e-3


@pytest.mark.parametrize(
    "name,layers",
    [
        ("small_resnet", ["conv1", "block2.conv1", "block2.conv2", "block3.shortcut.0"]),
        ("squeezenet1_1", ["features.0", "features.7.expand1x1"]),
        ("shufflenet_v2_x0_5", ["stage3.1.branch2.5"]),
        ("densenet121", ["features.denseblock4.denselayer2.conv1"]),
    ],
)
def test_replay_equals_whole_passes_on_known_networks(name, layers):
    net, x = fe.network(name), torch.randn(2, 3, 64, 64)
    for layer in layers:
        units = int(fe.list_layers(net, x[:1]).set_index("module").units[layer])
        a, b = (
            masked_scores(net, x, layer, masks(units, 3), engine=e) for e in ("replay", "rerun")
        )
        assert masking._distance(a, b) < 64, layer


@pytest.mark.parametrize("cls", [Branching, OfTheBatch])
def test_what_cannot_be_replayed_falls_back_and_says_so(cls):
    net, x = made(cls), torch.randn(4, 3, 8, 8)
    removed = masks(6)
    with pytest.warns(UserWarning, match="every step runs the whole network"):
        a = masked_scores(net, x, "a", removed)
    torch.testing.assert_close(
        a, masked_scores(net, x, "a", removed, engine="rerun"), rtol=0, atol=0
    )
    with pytest.raises(ValueError, match="cannot be replayed"):
        masked_scores(net, x, "a", removed, engine="replay")
    im = fe.images([(torch.randn(3, 8, 8), i % 3) for i in range(6)])
    with pytest.warns(UserWarning):
        table = ablate(net, im, "a", {"o": np.arange(6)})
    assert table.attrs["engine"] == "rerun"


def test_masks_agree_with_hooks():
    "Against maps zeroed by hand, where the map is the output of a module."
    net = fe.network("small_vgg").eval()
    x, removed = torch.randn(3, 3, 32, 32), masks(64, 3)
    fill = np.random.default_rng(1).random(64).astype(np.float32)
    for f in (0.0, fill):
        scores = masked_scores(net, x, "features.conv3", removed, f)
        for s, r in zip(scores, removed):
            torch.testing.assert_close(
                s, zeroed_by_hand(net, x, net.features.relu3, r, f), rtol=1e-5, atol=1e-6
            )


def test_a_linear_layer_and_float64():
    net, x = made(Odd).double(), torch.randn(2, 3, 8, 8)
    a, b = (masked_scores(net, x, "b", masks(8), engine=e) for e in ("replay", "rerun"))
    assert a.dtype == torch.float64 and masking._distance(a, b) < 64
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 7), nn.ReLU(), nn.Linear(7, 3)).eval()
    x, removed = torch.randn(5, 3, 2, 2), masks(7)
    with torch.no_grad():
        h = torch.relu(net[1](x.flatten(1)))
        expected = torch.stack([net[3](torch.where(torch.from_numpy(r), 0.0, h)) for r in removed])
    torch.testing.assert_close(masked_scores(net, x, "1", removed), expected)


@pytest.fixture(scope="module")
def net():
    return fe.network("small_vgg", in_channels=1, seed=3)


@pytest.fixture(scope="module")
def digits():
    return {
        s: fe.images("digits", per_class=n, split=s, classes=[1, 4, 7])
        for s, n in (("train", 5), ("test", 4))
    }


@pytest.fixture(scope="module")
def orders():
    rng = np.random.default_rng(0)
    return {
        "a": rng.permutation(32),
        "b": {c: rng.permutation(32) for c in "147"},
        "random 0": np.stack([rng.permutation(32) for _ in range(3)]),
    }


@pytest.fixture(scope="module")
def done(net, digits, orders):
    return ablate(
        net, digits, "features.conv2", orders, per_image=True, steps=[0, 1, 5, 20, 31, 32]
    )


def test_curves_are_the_loss_and_accuracy_of_the_masked_network(net, digits, orders, done):
    table, samples = done
    every = {s: torch.stack([im[i][0] for i in range(len(im))]) for s, im in digits.items()}
    for (order, name, split), (steps, loss, rank, parts) in samples.items():
        x = torch.stack([digits[split][i][0] for i in digits[split].by_class[int(name)]])
        rows = {"a": orders["a"], "b": orders["b"][name]}
        perm = rows.get(order, orders["random 0"]["147".index(name)])
        for i, k in enumerate(steps):
            removed = np.isin(np.arange(32), perm[:k])
            z = zeroed_by_hand(net, x, net.features.relu2, removed)
            y = torch.full((len(x),), int(name))
            np.testing.assert_allclose(
                loss[i], F.cross_entropy(z, y, reduction="none"), rtol=1e-4, atol=1e-5
            )
            row = table[
                (table.order == order)
                & (table["class"] == name)
                & (table.split == split)
                & (table.step == k)
            ].iloc[0]
            assert (
                row.top1 == (z.argmax(1) == y).float().mean().item()
                or (z.topk(2).values.diff(dim=1).abs() < 1e-5).any()
            )
            np.testing.assert_allclose(row.loss, loss[i].mean(), rtol=1e-6)
            assert row.top5 == (rank[i] < 5).mean()
            if order != "a" or k not in (5, 32):
                continue
            z = zeroed_by_hand(net, every[split], net.features.relu2, removed).double()
            odds = z[:, int(name)] - z.logsumexp(1)
            own = digits[split].labels == int(name)
            close = (odds[own][:, None] - odds[~own]).numpy()  # nearer than the grid: a draw or not
            assert (close > 3e-5).mean() <= row.auc + 1e-9 <= (close > -3e-5).mean() + 2e-9
            assert (parts[0].own == own).all()


def test_result_does_not_depend_on_how_the_work_is_cut(net, digits, orders, done):
    table = done[0][(done[0].order != "a") & (done[0]["class"] == "4")].reset_index(drop=True)
    order = {
        k: v if isinstance(v, dict) else {c: v[i] for i, c in enumerate("147")}
        for k, v in orders.items()
        if k != "a"
    }
    for options in (dict(batch_size=2), dict(budget=1), dict(engine="rerun", batch_size=3)):
        again = ablate(
            net,
            digits,
            "features.conv2",
            order,
            steps=[0, 1, 5, 20, 31, 32],
            classes=["4"],
            **options,
        )
        assert (
            again[["order", "split", "step"]].to_numpy()
            == table[["order", "split", "step"]].to_numpy()
        ).all()
        np.testing.assert_allclose(again.loss, table.loss, rtol=1e-4, atol=1e-5)
        assert again.attrs["distance"] < 64 and again.attrs["engine"] == options.get(
            "engine", "replay"
        )


def test_ablating_to_the_mean(net, digits):
    maps = []
    chosen, _ = select_layers(net, digits["train"], "features.conv2")
    for _, _, found in stream(net, digits["train"], chosen):
        maps += found.values()
    mean = torch.cat(maps).double().mean((0, 2, 3))
    table = ablate(net, digits, "features.conv2", {"o": np.arange(32)}, value="mean", steps=[16])
    x, y = (
        torch.stack([digits["test"][i][0] for i in range(12)]),
        torch.from_numpy(digits["test"].labels),
    )
    loss = F.cross_entropy(
        zeroed_by_hand(net, x, net.features.relu2, np.arange(32) < 16, mean.numpy()), y
    )
    np.testing.assert_allclose(
        table[(table.step == 16) & (table.split == "test")].loss.mean(), loss, rtol=1e-4
    )


def state(net):
    return (
        weights_hash(net),
        [m.training for m in net.modules()],
        sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.modules()),
    )


def test_nothing_of_the_network_changes_even_after_errors(digits, orders, monkeypatch):
    net = fe.network("small_vgg", in_channels=1).train()
    before = state(net)
    ablate(net, digits, "features.conv2", orders, steps=2)
    assert state(net) == before

    def interrupted(*a):
        raise KeyboardInterrupt

    monkeypatch.setattr(ablation, "_judged", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ablate(net, digits, "features.conv2", orders, steps=2)
    monkeypatch.undo()
    assert state(net) == before
    net.fc.weight.data[0] = torch.inf
    with pytest.raises(ValueError, match="NaN or infinite scores, with all its units"):
        ablate(net, digits, "features.conv2", orders, steps=2)
    x = torch.randn(2, 1, 32, 32, requires_grad=True)
    assert net(x).requires_grad and not torch.overrides._get_current_function_mode_stack()


def test_equal_scores_are_not_all_right():
    loss, rank = ablation._judged(torch.zeros(1, 4, 4), torch.arange(4))
    assert rank[0].tolist() == [0, 1, 2, 3]
    z = torch.randn(3, 20, 7)
    y = torch.randint(7, (20,))
    _, rank = ablation._judged(z, y)
    for k in (1, 5):
        np.testing.assert_array_equal(rank < k, (z.topk(k, -1).indices == y[None, :, None]).any(-1))


@pytest.mark.parametrize(
    "change,message",
    [
        (dict(layer="features.conv9"), "features.conv1"),
        (dict(layer="conv"), "means 6 layers"),
        (dict(value="median"), "choose 'zero' or 'mean'"),
        (dict(engine="fast"), "choose 'auto'"),
        (dict(classes=["2"]), "no train images of class 2"),
        (dict(classes=["x"]), "no class 'x': choose one by its name or its label"),
        (dict(steps=33), "only 32 units"),
        (dict(steps=[-1]), "steps="),
        (dict(steps=[1, 40]), "only 32 units"),
        (dict(orders={}), "dictionary"),
        (dict(orders={"o": np.arange(31)}), r"shape \(32,\)"),
        (dict(orders={"o": np.zeros(32, int)}), "not a permutation"),
        (dict(orders={"o": np.linspace(0, 1, 32)}), "unit numbers"),
        (dict(orders={"o": np.full(32, np.nan)}), "NaN"),
        (dict(orders={"o": {"1": np.arange(32)}}), "class 4, 7"),
        (dict(label_map=[0, 1]), "label_map has 2 entries"),
    ],
)
def test_bad_input_is_refused_before_any_work(net, digits, orders, monkeypatch, change, message):
    monkeypatch.setattr(ablation, "_ablated", lambda *a: pytest.fail("work has started"))
    options = {"layer": "features.conv2", "orders": orders, **change}
    with pytest.raises(ValueError, match=message):
        ablate(net, digits, **options)


def test_a_class_without_test_images_is_named(net, digits, orders):
    with pytest.raises(ValueError, match="no test images of class 7"):
        ablate(
            net,
            {**digits, "test": fe.images(digits["test"], classes=[1, 4])},
            "features.conv2",
            orders,
        )
    with pytest.raises(ValueError, match="outputs"):
        ablate(
            fe.network("small_vgg", in_channels=1, num_classes=3), digits, "features.conv2", orders
        )
    with pytest.raises(ValueError, match="different lists of classes"):
        ablate(
            net,
            {"train": digits["train"], "test": fe.images([(torch.zeros(1, 32, 32), 0)])},
            "features.conv2",
            orders,
        )
    with pytest.raises(TypeError, match="image set"):
        ablate(net, {"train": 3}, "features.conv2", orders)


def scores(**columns):
    return pd.DataFrame({"unit": [0, 1, 2, 3] * 2, "class": list("aaaabbbb"), **columns})


def test_orders_are_sorted_scores():
    table = scores(H=[3.0, 1, 2, 0, 0, 1, 2, 3], l1=[3.0, 1, 2, 0, 0, 1, 2, 3])
    found = unit_orders(table, ("H", "l1"), random=2)
    assert (
        found["H"]["a"].tolist() == [3, 1, 2, 0]
        and found["l1"]["a"].tolist() == [0, 2, 1, 3]
        and found["H reversed"]["b"].tolist() == [3, 2, 1, 0]
    )
    assert sorted(found["random 1"]["b"]) == [0, 1, 2, 3] and list(found) == [
        "H",
        "H reversed",
        "l1",
        "l1 reversed",
        "random 0",
        "random 1",
    ]
    assert unit_orders(table, {"l1": "low"})["l1"]["b"].tolist() == [0, 1, 2, 3]
    again = unit_orders(table, "H", random=2)
    assert all((again["random 0"][c] == found["random 0"][c]).all() for c in "ab")


def test_missing_scores_and_the_released_rule():
    table = scores(
        **{"H/eps": [0.05, np.nan, 2, 0.5, 1, 2, 3, 4], "mean": [1, np.nan, 2, 3, 1, 2, 3, 4]}
    )
    assert unit_orders(table)["H/eps"]["a"].tolist() == [0, 3, 2, 1]  # without births: last
    assert unit_orders(table, released=True)["H/eps"]["a"].tolist() == [3, 2, 0, 1]  # and below 0.1
    with pytest.raises(
        ValueError, match="NaN for 1 units and classes, the first being unit 1 for class 'a'"
    ):
        unit_orders(table, "mean")
    assert unit_orders(table, "mean", nan="worst")["mean"]["a"].tolist() == [3, 2, 0, 1]
    with pytest.raises(ValueError, match="several of layer"):
        unit_orders(table.assign(layer=list("xxxxyyyy")))
    with pytest.raises(ValueError, match="every unit from 0"):
        unit_orders(table[table.unit > 0], "H/eps")


def made_samples(steps, p, n=400, seed=0, classes="ab"):
    "Images that are right with probability p[k] after k removals."
    rng = np.random.default_rng(seed)
    level = rng.random((len(classes), n))
    return {
        ("o", c, s): (
            steps,
            (-np.log(p))[:, None] + rng.normal(0, 0.1, (1, n)),
            (level[i] > p[:, None]).astype(np.uint16) * 9,
        )
        for i, c in enumerate(classes)
        for s in ("train", "test")
    }


def test_change_point_is_found_where_it_is_and_not_where_it_is_not():
    steps = np.arange(101)
    found = change_points(
        made_samples(steps, np.where(steps < 60, 0.95, 0.95 - (steps - 60) * 0.022)), "top1"
    )
    assert (
        found.step.between(55, 65).all()
        and (found.low <= found.step).all()
        and (found.step <= found.high).all()
        and (found.fit_gain > 0.9).all()
    )
    assert ((found.high - found.low) < 20).all() and (found.width < 0.5).all()
    straight = change_points(made_samples(steps, 0.99 - steps * 0.009), "top1")
    assert (straight.fit_gain < found.fit_gain.min()).all() and straight.width.between(
        0.6, 0.95
    ).all()


@given(st.integers(8, 40), st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_two_lines_are_the_best_pair(n, seed):
    "Against every break point by numpy's least squares."
    rng = np.random.default_rng(seed)
    x, y = np.sort(rng.choice(200, n, False)).astype(float), rng.normal(size=n)
    residual = lambda a, b: np.sum((b - np.polyval(np.polyfit(a, b, 1), a)) ** 2)
    all_pairs = [residual(x[:k], y[:k]) + residual(x[k:], y[k:]) for k in range(3, n - 2)]
    at, one, two = (v[0] for v in transitions._two_lines(x, y[None]))
    assert at == 3 + int(np.argmin(all_pairs)) or np.isclose(all_pairs[at - 3], min(all_pairs))
    np.testing.assert_allclose([one, two], [residual(x, y), min(all_pairs)], rtol=1e-6, atol=1e-9)


def test_change_point_agrees_with_ruptures():
    ruptures = pytest.importorskip("ruptures")
    x = np.arange(80.0)
    y = np.where(x < 50, 1 - x / 400, 0.4 - (x - 50) / 80) + np.random.default_rng(0).normal(
        0, 0.01, 80
    )
    signal = np.column_stack([y, x, np.ones(80)])
    assert (
        ruptures.Dynp(model="linear", min_size=3, jump=1).fit(signal).predict(1)[0]
        == transitions._two_lines(x, y[None])[0][0]
    )


def test_turning_point_and_gain_that_was_not_chosen_on_the_same_images():
    steps = np.arange(51)
    flat = made_samples(steps, np.full(51, 0.8), n=50)
    rng = np.random.default_rng(1)
    noise = {
        k: (steps, v[1], (rng.random(v[2].shape) > 0.8).astype(np.uint16)) for k, v in flat.items()
    }
    best = turning_points(curves(noise), "top1")
    assert (best.best > best.start).all()  # the best of many is better, though nothing happened
    gain = held_out_gain(noise, "top1")
    assert ((gain.low <= 0) & (gain.high >= 0)).all()
    rising = made_samples(steps, np.where(steps < 30, 0.6 + steps * 0.01, 0.3))
    risen = held_out_gain(rising, "top1")
    assert (risen.low > 0).all() and (risen.step == 29).all()
    assert turning_points(curves(noise), "loss").step.between(0, 50).all()
    with pytest.raises(ValueError, match="choose from 'auc', 'loss'"):
        turning_points(curves(noise), "accuracy")


def test_areas_and_their_comparison():
    step, rng = np.arange(11), np.random.default_rng(0)
    rows = [
        pd.DataFrame(
            {
                "order": o,
                "class": c,
                "split": "test",
                "step": step,
                "top1": np.clip(
                    1 - step / 10 + (0.1 if o == "good" else 0) + rng.normal(0, 0.01), 0, 2
                ),
                "loss": 0.0,
                "top5": 1.0,
            }
        )
        for o in ("good", "random 0", "random 1")
        for c in range(8)
    ]
    areas = area(pd.concat(rows), "top1")
    np.testing.assert_allclose(areas[areas.order == "random 0"].area, 0.5, atol=0.05)
    found = compare_areas(areas, "good")
    assert (
        list(found.against) == ["random"]
        and abs(found.difference[0] - 0.1) < 0.01
        and 0.08 < found.low[0] < found.difference[0] < found.high[0] < 0.12
    )
    assert compare_areas(areas, "random", ["good"]).difference[0] == -found.difference[0]
    thinned = pd.concat(rows)
    np.testing.assert_allclose(
        area(thinned[thinned.step.isin([0, 2, 5, 10])], "top1").area.mean(),
        areas.area.mean(),
        atol=0.01,
    )


def told_apart(steps, gain, n=30, classes="abc", seed=0):
    "Samples in which the odds of a class's own images are larger by `gain[k]` after k removals."
    rng, samples = np.random.default_rng(seed), {}
    labels = np.repeat(list(classes), n)
    for c in classes:
        own = labels == c
        odds = rng.normal(size=len(labels)) + np.outer(gain, own)
        right = np.zeros((len(steps), n), np.uint16)
        parts = (Odds(odds, own),)
        for s in ("train", "test"):
            samples["o", c, s] = Sample(steps, right.astype(np.float32), right, parts)
    return samples


def test_a_class_is_judged_by_whether_it_is_told_from_the_others():
    "Where everything is taken for the class its own images stay right, and the AUC does not."
    steps = np.arange(41)
    samples = told_apart(steps, np.where(steps < 20, 2.0 + steps / 20, 0.0))
    found = curves(samples)
    assert (found.top1 == 1).all() and found.auc[0] > 0.85
    assert found.auc[found.step > 20].between(0.3, 0.7).all()
    assert turning_points(found).step.between(15, 19).all()
    assert change_points(pooled(samples), n_resamples=20).step.between(18, 22).all()
    gain = held_out_gain(samples, n_resamples=50)
    assert (gain.low <= gain.gain).all() and (gain.gain > 0).all()
    together = curves(pooled(samples)).groupby(["split", "step"]).auc.first()
    np.testing.assert_allclose(together, found.groupby(["split", "step"]).auc.mean())
    alone = {
        k: v._replace(parts=(Odds(v.parts[0].odds[:, :30], np.ones(30, bool)),))
        for k, v in samples.items()
    }
    with pytest.raises(ValueError, match="at least two classes"):
        turning_points(curves(alone))
    with pytest.raises(ValueError, match="at least two classes"):
        change_points(alone)


def test_an_order_that_classes_share_is_walked_once_and_says_the_same(net, digits):
    order = np.random.default_rng(3).permutation(32)
    own = {c: order for c in "14"} | {"7": order[::-1]}
    how = dict(steps=[0, 8, 32])
    same = ablate(net, digits, "features.conv2", {"o": order}, **how)
    mixed = ablate(net, digits, "features.conv2", {"o": own}, **how)
    a, b = (t[t["class"] != "7"].reset_index(drop=True) for t in (same, mixed))
    pd.testing.assert_frame_equal(a, b, rtol=1e-4, atol=1e-5)


def test_pooled_curves_and_the_figure(done):
    table, samples = done
    together = curves(pooled(samples))
    assert set(together["class"]) == {"all"}
    np.testing.assert_allclose(
        together[(together.split == "train")].groupby("order").loss.mean(),
        table[table.split == "train"].groupby("order").loss.mean(),
        rtol=1e-6,
    )
    fig = plot_ablation(table, ("top1", "loss"), ["a", "random"])
    assert len(fig.axes) == 4 and [t.get_text() for t in fig.legends[0].get_texts()] == [
        "a",
        "random",
    ]
    with pytest.raises(ValueError, match="choose from a, b, random"):
        plot_ablation(table, orders=["c"])


def test_speedup_is_measured(net, digits):
    found = speedup(net, digits["train"], "features.conv6", batch_size=8)
    assert found.units == 128 and found.replay > 0 and found.speedup > 1


def test_labels_that_are_not_outputs(net, digits):
    "label_map, as in `accuracy`."
    mapped = [(i + 1) % 10 for i in range(10)]
    table = ablate(
        net,
        {"test": digits["test"]},
        "features.conv6",
        {"o": np.arange(128)},
        steps=1,
        label_map=mapped,
    )
    assert table[table.step == 0].top1.mean() == pytest.approx(
        fe.accuracy(net, digits["test"], label_map=mapped)["top1"]
    )


def test_real_networks_and_images(cifar10_dir, weights, archs):
    """The accuracy at step 0 is the network's, and the replay that of whole runs.

    For a network with in-place ReLUs, and for one with shortcuts."""
    transform = fe.preprocess(None, "imagenet", "imagenet")
    im = {
        s: fe.images(
            cifar10_dir, per_class=3, classes=["cat", "dog", "ship"], split=s, transform=transform
        )
        for s in ("train", "test")
    }
    for net, file, layer in (
        (archs.SmallVGG(), "smallvgg_bn_cifar10.pth", "features.17"),
        (archs.CifarResNet(20), "resnet20_cifar10.th", "layer3.1.conv2"),
    ):
        net = fe.network(net.eval(), weights / file)
        units = int(fe.list_layers(net, im["train"]).set_index("module").units[layer])
        order = {"o": np.random.default_rng(0).permutation(units)}
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            table = ablate(net, im, layer, order, steps=[units // 2, units])
        assert table.attrs["engine"] == "replay"
        whole = ablate(net, im, layer, order, steps=[units // 2, units], engine="rerun")
        np.testing.assert_allclose(table.loss, whole.loss, rtol=1e-4, atol=1e-4)
        for s in im:
            assert table[(table.step == 0) & (table.split == s)].top1.mean() == pytest.approx(
                fe.accuracy(net, im[s])["top1"]
            )


@pytest.mark.parametrize("cls,layers", [(Odd, ["a", "b"]), (Split, ["b"])])
def test_effects_are_gradients_and_trials_on_networks_without_a_cut(cls, layers):
    "Taylor's order against finite differences, leaving out against masked scores."
    net = made(cls)
    x = torch.randn(12, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    im = fe.images([(x[i], i % 3) for i in range(12)])
    for layer in layers:
        row = next(n for n in fe.list_layers(net, x).layer if n.split("+")[0] == layer)
        found = unit_effects(net, im, row)
        cut = Cut(net, masking.one_layer(net, x, row))
        own = torch.arange(12) % 3 == 1

        def loss(gates):
            z = exact_log_odds(gated(cut, x.double(), gates), 1)
            return (F.softplus(-z[own]).mean() + F.softplus(z[~own]).mean()) / 2

        net.double()
        for unit in (0, 3):
            ends = [torch.ones(12, cut.layer.units).double() for _ in range(2)]
            ends[0][:, unit], ends[1][:, unit] = 1 - 1e-4, 1 + 1e-4
            with torch.no_grad():
                slope = (loss(ends[0]) - loss(ends[1])) / 2e-4
                ends[0][:, unit], ends[1][:, unit] = 0, 1
                lost = loss(ends[0]) - loss(ends[1])
            mine = found[(found["class"] == found["class"].unique()[1]) & (found.unit == unit)]
            assert mine.taylor.iloc[0] == pytest.approx(float(slope), abs=1e-5)
            assert mine.leave_one_out.iloc[0] == pytest.approx(float(lost), abs=1e-5)
            assert (mine["|taylor|"] >= mine.taylor.abs() - 1e-9).all()
        net.float()


def test_masks_by_multiplication_and_by_choice_are_the_same():
    rng = torch.Generator().manual_seed(0)
    maps = torch.randn(3, 5, 2, 2, generator=rng)
    removed = torch.rand(4, 5, generator=rng) < 0.5
    hole = removed.reshape(4, 1, 5, 1, 1)
    for fill in (torch.zeros(5), torch.arange(5.0), torch.full((5,), torch.nan)):
        chosen = torch.where(hole, fill.reshape(5, 1, 1), maps).flatten(0, 1)
        assert torch.equal(
            replay._masked(maps, removed, fill, 1).nan_to_num(7), chosen.nan_to_num(7)
        )
    maps[0, 0, 0, 0] = torch.inf
    chosen = torch.where(hole, 0.0, maps).flatten(0, 1)
    assert torch.equal(replay._masked(maps, removed, torch.zeros(5), 1), chosen)
