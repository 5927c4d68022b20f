"Pruning: which units stay, what the smaller network computes, and the comparison of scores."

import builtins
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torchvision
from torch import nn

from featent.commands import cli
from featent.data.evaluation import accuracy, recalibrate
from featent.data.networks import network
from featent.data.preprocessing import preprocess
from featent.data.records import weights_hash
from featent.data.sampling import images
from featent.data.trainer import train
from featent.studies.importance import entropy_importance, unit_importance
from featent.studies.pruning import CRITERIA, cost, prune
from featent.studies.pruning_curves import plot_prune_curve, prune_curve, score_differences

tp = pytest.importorskip("torch_pruning")
shape = (1, 16, 16)


@pytest.fixture(scope="module")
def digits():
    return images("digits", per_class=12, size=16)


@pytest.fixture(scope="module")
def vgg():
    return network("small_vgg", in_channels=1, seed=1)


def table_of(net, seed=0, names=("H",)):
    "Made-up scores of every convolution but none of the shortcuts' own."
    rng = np.random.default_rng(seed)
    parts = [
        pd.DataFrame(
            {
                "layer": f"{n}+bn+relu",
                "unit": np.tile(np.arange(m.out_channels), 2),
                "class": np.repeat(["a", "b"], m.out_channels),
                "n_images": 10,
                **{c: rng.random(2 * m.out_channels) for c in names},
            }
        )
        for n, m in net.named_modules()
        if isinstance(m, nn.Conv2d)
    ]
    return pd.concat(parts, ignore_index=True)


def masked(net, kept):
    "The whole network; maps of removed units are zero after normalisation and activation."

    def mask(keep, out):
        zero = torch.zeros(out.shape[1])
        zero[list(keep)] = 1
        return out * zero.view(1, -1, 1, 1)

    return [
        getattr(net.features, f"relu{i}").register_forward_hook(lambda m, a, o, k=k: mask(k, o))
        for i, k in kept.items()
    ]


# which units stay, and what is computed then


def test_the_smaller_network_equals_the_whole_one_with_removed_maps_at_zero(vgg):
    for m in vgg.modules():
        if isinstance(m, nn.BatchNorm2d):
            nn.init.uniform_(m.weight, 0.5, 1.5)
            nn.init.normal_(m.bias, std=0.3)
            m.running_mean.normal_(std=0.1)
    table = table_of(vgg)
    small = prune(vgg, shape, 0.5, "H", table)
    want = unit_importance(table, "H")
    kept = {}
    for i in range(1, 7):
        v = want[f"features.conv{i}+bn+relu"]
        kept[i] = np.sort(np.argsort(v)[len(v) // 2 :])
        assert getattr(small.features, f"conv{i}").out_channels == len(v) // 2
    assert torch.equal(small.features.conv1.weight, vgg.features.conv1.weight[kept[1]])
    assert torch.equal(small.features.conv4.weight, vgg.features.conv4.weight[kept[4]][:, kept[3]])
    x, hooks = torch.randn(6, *shape), masked(vgg, kept)
    with torch.no_grad():
        whole, part = vgg(x), small(x)
    for h in hooks:
        h.remove()
    assert torch.allclose(whole, part, atol=1e-5) and not torch.allclose(vgg(x), part, atol=1e-3)


def test_reversed_keeps_the_others(vgg):
    table = table_of(vgg)
    a, b = (prune(vgg, shape, 0.5, c, table).features.conv1.weight for c in ("H", "H reversed"))
    rows = {tuple(w.flatten().tolist()) for w in vgg.features.conv1.weight}
    kept = [{tuple(w.flatten().tolist()) for w in part} for part in (a, b)]
    assert kept[0] | kept[1] == rows and not kept[0] & kept[1]


@pytest.mark.parametrize(
    "name,importance",
    [
        *(("small_vgg", c) for c in (*CRITERIA, "H")),
        ("small_resnet", "taylor"),
        ("small_resnet", "H"),
    ],
)
def test_nothing_of_the_given_network_changes(name, importance, digits):
    net = network(name, in_channels=1).train()
    next(net.parameters()).requires_grad_(False)
    before, modes, random = (
        weights_hash(net),
        [m.training for m in net.modules()],
        torch.random.get_rng_state(),
    )
    small = prune(
        net, digits, 0.3, importance, table_of(net), images=images([digits[i] for i in range(10)])
    )
    assert (
        weights_hash(net) == before
        and [m.training for m in net.modules()] == modes
        and torch.equal(torch.random.get_rng_state(), random)
    )
    assert all(p.grad is None for p in [*net.parameters(), *small.parameters()])
    assert [p.requires_grad for p in small.parameters()] == [
        p.requires_grad for p in net.parameters()
    ]
    assert not any(m.training for m in small.modules()) and small(torch.zeros(2, *shape)).shape == (
        2,
        10,
    )
    assert (
        small.featent["pruned"]["ratio"] == 0.3
        and small.featent["hash"] == weights_hash(small) != before
    )
    assert cost(small, digits)["params"] < 0.7 * cost(net, digits)["params"]


def test_coupled_layers_lose_the_same_units():
    net = network("small_resnet", in_channels=1)
    one = {"block2.conv2": np.arange(64.0)}
    small = prune(net, shape, 0.5, one)
    assert torch.equal(small.block2.conv2.weight, net.block2.conv2.weight[32:])
    assert torch.equal(small.block2.shortcut[0].weight, net.block2.shortcut[0].weight[32:])
    assert (
        small.block3.conv1.in_channels == 32
        and small.conv1.out_channels == 32
        and small.block2.conv1.out_channels == 64
    )


def test_reduction_over_coupled_layers():
    net, rng = network("small_resnet", in_channels=1), np.random.default_rng(0)
    a, b = rng.permutation(32) * 1.0, rng.permutation(32) * 7.0 - 3
    graph = tp.DependencyGraph().build_dependency(net, torch.zeros(1, *shape))
    group = graph.get_pruning_group(net.conv1, tp.prune_conv_out_channels, list(range(32)))
    ranks = [(np.argsort(np.argsort(v)) + 0.5) / 32 for v in (a, b)]
    for how, f in (("mean", np.mean), ("max", np.max), ("min", np.min)):
        assert np.allclose(
            entropy_importance({"conv1": a, "block1.conv2+add+relu": b}, net, how)(group),
            f(ranks, axis=0),
        )
    raw = entropy_importance({net.conv1: a, net.block1.conv2: b}, ranks=False)(group)
    assert np.allclose(raw, (a + b) / 2)
    some = graph.get_pruning_group(net.conv1, tp.prune_conv_out_channels, [3, 9])
    assert np.allclose(entropy_importance({"conv1": a}, net)(some), ranks[0][[3, 9]])


def test_through_torch_prunings_own_interface(vgg):
    "The importance serves its pruner, with one ranking over all layers too."
    import copy

    net = copy.deepcopy(vgg)
    scores = unit_importance(table_of(net))
    pruner = tp.pruner.BasePruner(
        net,
        torch.zeros(1, *shape),
        entropy_importance(scores, net),
        global_pruning=True,
        pruning_ratio=0.5,
        ignored_layers=[net.fc],
    )
    pruner.step()
    left = sum(m.out_channels for m in net.features if isinstance(m, nn.Conv2d))
    assert abs(left - 448 / 2) <= 6 and net(torch.zeros(1, *shape)).shape == (1, 10)


def test_concatenation_and_flattening():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c, self.fc = (
                nn.Conv2d(1, 4, 3),
                nn.Conv2d(1, 6, 3),
                nn.Conv2d(10, 8, 3),
                nn.Linear(8 * 4, 10),
            )

        def forward(self, x):
            y = torch.cat([torch.relu(self.a(x)), torch.relu(self.b(x))], 1)
            return self.fc(nn.functional.max_pool2d(torch.relu(self.c(y)), 6).flatten(1))

    torch.manual_seed(0)
    net = Net()
    small = prune(net, shape, 0.5, {"a": np.arange(4.0), "b": -np.arange(6.0), "c": np.arange(8.0)})
    assert torch.equal(small.b.weight, net.b.weight[:3])
    assert torch.equal(small.c.weight, net.c.weight[4:][:, [2, 3, 4, 5, 6]])
    assert torch.equal(small.fc.weight, net.fc.weight[:, 16:])


@pytest.mark.parametrize(
    "ratio,left", [(0.25, 24), (0.3, 22), (0.9, 3), (0.99, 1), (0.0, 32), (1e-9, 31)]
)
def test_shares(vgg, ratio, left):
    small = prune(vgg, shape, ratio, "weight_l1", layers="features.conv1")
    assert small.features.conv1.out_channels == left and small.features.conv2.out_channels == 32


def test_a_share_for_each_layer(vgg):
    small = prune(vgg, shape, {"*conv1": 0.5, "features.conv5": 0.25}, "weight_l2")
    assert [m.out_channels for m in small.features if isinstance(m, nn.Conv2d)] == [
        16,
        32,
        64,
        64,
        96,
        128,
    ]


def test_random_follows_its_seed(vgg):
    hashes = [weights_hash(prune(vgg, shape, 0.5, "random", seed=s)) for s in (0, 0, 1)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_gradients_are_those_of_the_mean_loss(digits):
    "Taylor and Hessian by hand, on a layer without other members."
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(256, 6), nn.ReLU(), nn.Linear(6, 10))
    some = images([digits[i] for i in range(7)])
    x, y = torch.stack([some[i][0] for i in range(7)]), torch.from_numpy(some.labels)
    grads = []
    for at in [slice(None), *(slice(i, i + 1) for i in range(7))]:
        net.zero_grad()
        nn.functional.cross_entropy(net(x[at]), y[at]).backward()
        grads.append([net[1].weight.grad.clone(), net[3].weight.grad.clone()])
    w = net[1].weight.data, net[3].weight.data
    taylor = (w[0] * grads[0][0]).abs().sum(1) + (w[1] * grads[0][1]).abs().sum(0)
    square = [sum(g[k] ** 2 for g in grads[1:]) / 7 for k in (0, 1)]
    hessian = (w[0] ** 2 * square[0]).sum(1) + (w[1] ** 2 * square[1]).sum(0)
    for name, value in (("taylor", taylor), ("hessian", hessian)):
        small = prune(net, digits, 0.5, name, layers="1", images=some)
        assert torch.equal(small[1].weight, w[0][value.argsort()[3:].sort().values]), name


def test_real_network_keeps_its_accuracy_when_little_is_removed(
    shared, weights, archs, cifar10_dir
):
    state = torch.load(weights / "smallvgg_bn_cifar10.pth", weights_only=True)
    net = archs.SmallVGG()
    net.load_state_dict(state)
    photos = images(
        cifar10_dir, per_class=10, split="test", transform=preprocess(None, "imagenet", "imagenet")
    )
    whole = accuracy(net.eval(), photos)["top1"]
    small = prune(net, photos, 0.1, "weight_l2")
    assert (
        whole > 0.8
        and accuracy(
            recalibrate(small, images(cifar10_dir, per_class=6, transform=photos.transform)), photos
        )["top1"]
        > whole - 0.15
    )
    assert small.classifier[1].in_features == 4 * small.features[17].out_channels == 4 * 115


# tables


def test_importance_from_a_table(vgg):
    table = table_of(vgg, names=("H", "eps", "H/eps"))
    one = unit_importance(table, "H")["features.conv2+bn+relu"]
    rows = table[table.layer == "features.conv2+bn+relu"]
    assert np.allclose(-one, [rows[rows.unit == u].H.mean() for u in range(32)])
    assert np.allclose(
        unit_importance(table.sample(frac=1, random_state=0), "H")["features.conv2+bn+relu"], one
    )
    assert (unit_importance(table, "eps")["features.conv1+bn+relu"] > 0).all() and (
        unit_importance(table, "eps reversed")["features.conv1+bn+relu"] < 0
    ).all()
    table.loc[(table.layer == "features.conv1+bn+relu") & (table.unit == 5), "H/eps"] = np.nan
    ratio = unit_importance(table, "H/eps")["features.conv1+bn+relu"]
    assert ratio.argmin() == 5 and ratio[5] == pytest.approx(-10 * np.log(10))
    assert unit_importance(table, "eps", low=True)["features.conv1+bn+relu"][0] < 0


@pytest.mark.parametrize(
    "change,column,message",
    [
        (lambda t: t, "Hh", "no column Hh"),
        (lambda t: t.assign(odd=1.0), "odd", "which end of 'odd'"),
        (lambda t: t.assign(H=t.H.where(t.unit != 3)), "H", "unit 3 of features.conv1"),
        (lambda t: t[t.unit != 3], "H", "every unit from 0"),
        (
            lambda t: pd.concat([t.assign(filtration=f) for f in ("clique", "cubical")]),
            "H",
            "one of clique, cubical",
        ),
    ],
)
def test_bad_tables(vgg, change, column, message):
    with pytest.raises(ValueError, match=message):
        unit_importance(change(table_of(vgg)), column)


@pytest.mark.parametrize(
    "words,message",
    [
        (dict(ratio=1.0), "less than 1"),
        (dict(ratio=-0.1), "from 0"),
        (dict(importance="H"), "pass scores="),
        (dict(importance="taylor"), "needs gradients"),
        (dict(layers="fc"), "nothing to prune"),
        (dict(layers="conv9"), "no layer matches"),
        (dict(importance={"features.conv1": np.ones(3)}), "32 units"),
        (dict(importance={"features.conv1": np.full(32, np.nan)}), "NaN"),
        (dict(importance={"conv9": np.ones(3)}), "no layer matches"),
        (dict(importance={"conv9": np.ones(3)}, layers="conv"), "modules that do: features.conv1"),
        (dict(reduce="sum", importance={"features.conv1": np.ones(32)}), "reduce"),
    ],
)
def test_bad_requests(vgg, words, message):
    with pytest.raises(ValueError, match=message):
        prune(vgg, shape, **{"importance": "weight_l1", **words})


def test_bn_scale_needs_batch_normalisation():
    with pytest.raises(ValueError, match="the network has none"):
        prune(
            nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 196, 10)),
            shape,
            0.5,
            "bn_scale",
        )


def test_without_the_package(vgg, monkeypatch, digits):
    real = builtins.__import__

    def fake(name, *a, **k):
        if name.startswith("torch_pruning"):
            raise ImportError("no module")
        return real(name, *a, **k)

    monkeypatch.setattr(builtins, "__import__", fake)
    for f in (
        lambda: prune(vgg, shape),
        lambda: cost(vgg, shape),
        lambda: prune_curve(vgg, digits, digits),
    ):
        with pytest.raises(ImportError, match=r"pip install '\.\[pruning\]' in the clone"):
            f()


# normalisation


def test_recalibration(digits):
    net = network("small_vgg", in_channels=1)
    train(net, digits, epochs=2)
    before, again = weights_hash(net), recalibrate(net, digits, batch_size=120)
    assert weights_hash(net) == before and not again.training
    x = torch.stack([digits[i][0] for i in range(120)])
    maps = net.features.conv1(x)
    assert torch.allclose(
        again.features.bn1.running_mean, maps.mean((0, 2, 3)), atol=1e-4
    ) and torch.allclose(again.features.bn1.running_var, maps.var((0, 2, 3)), rtol=1e-3)
    assert again.features.bn1.momentum == net.features.bn1.momentum
    plain = nn.Sequential(nn.Flatten(), nn.Linear(256, 10))
    assert weights_hash(recalibrate(plain, digits)) == weights_hash(plain)


# curves


@pytest.fixture(scope="module")
def curve(vgg, digits):
    return prune_curve(
        vgg,
        digits,
        images("digits", per_class=5, split="test", size=16),
        (0.5, 0.25),
        ("H", "random", "taylor"),
        table_of(vgg),
        seeds=(0, 1),
        epochs=1,
        norms=20,
        gradients=20,
    )


def test_curve(vgg, curve, digits):
    assert len(curve) == 3 * 3 * 2 and set(curve.importance) == {"H", "random", "taylor"}
    assert (
        curve[curve.ratio == 0].macs_share.eq(1).all()
        and curve.groupby("ratio").params.nunique().eq(1).all()
    )
    half = curve[curve.ratio == 0.5]
    assert (
        half.params.iloc[0] == cost(prune(vgg, shape, 0.5, "weight_l1"), shape)["params"]
        and half.macs_share.between(0.2, 0.3).all()
    )
    assert curve[["accuracy", "accuracy_norms", "accuracy_tuned"]].notna().all(axis=None)
    assert curve[(curve.importance == "H") & (curve.ratio == 0.5)].accuracy.nunique() == 1
    fig = plot_prune_curve(curve)
    assert len(fig.axes) == 3 and [t.get_text() for t in fig.legends[0].texts] == [
        "H",
        "random",
        "taylor",
    ]
    assert len(plot_prune_curve(curve.assign(accuracy_tuned=np.nan)).axes) == 2
    with pytest.raises(ValueError, match="choose 'macs_share'"):
        plot_prune_curve(curve, x="size")


def test_curve_refuses(vgg, digits):
    for words, message in [
        (dict(importances=("H",)), "pass scores="),
        (dict(ratios=()), "at least one"),
        (dict(epochs=-1), "epochs=-1"),
        (dict(ratios=(2.0,), importances=("random",)), "less than 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            prune_curve(vgg, digits, digits, **words)


def test_differences():
    def made(runs):
        return pd.DataFrame(
            [
                dict(
                    importance=n,
                    ratio=r,
                    run=k,
                    accuracy_norms=a - r / 10 + 0.01 * k * (n == "H"),
                    accuracy_tuned=np.nan,
                )
                for n, a in (("H", 0.8), ("low", 0.7), ("high", 0.95), ("near", 0.81))
                for r in (0.0, 0.3, 0.6)
                for k in range(runs)
            ]
        )

    d = score_differences(made(5)).set_index("rival")
    assert d.verdict.to_dict() == {"low": "better", "high": "worse", "near": "undecided"}
    values = np.arange(5) * 0.01 + 0.1
    half = 2.776445 * values.std(ddof=1) / 5**0.5
    assert (
        d.low["low"] == pytest.approx(values.mean() - half)
        and d.high["low"] == pytest.approx(values.mean() + half)
        and d.runs.eq(5).all()
    )
    assert score_differences(made(1)).verdict.eq("undecided").all()
    same = made(4).assign(accuracy_norms=lambda t: t.importance.map({"H": 0.9}).fillna(0.5))
    assert (
        score_differences(same).verdict.eq("undecided").all()
        and score_differences(same).low.isna().all()
    )
    with pytest.raises(ValueError, match="fine-tune"):
        score_differences(made(3), value="accuracy_tuned")
    with pytest.raises(ValueError, match="the curve has H"):
        score_differences(made(3), "eps")
    with pytest.raises(ValueError, match="some runs lack"):
        score_differences(made(3).query("run > 0 or importance == 'H'"))


# the experiment


def test_experiment(tmp_path):
    out = tmp_path / "out"
    quick = dict(
        per_class=5,
        train_per_class=12,
        test_per_class=5,
        size=16,
        networks=2,
        epochs=1,
        tune_epochs=1,
        ratios="0.5",
        importances="H,random,weight_l1,taylor",
    )
    assert (
        cli.main(
            [
                "run",
                "pruning",
                *[w for k, v in quick.items() for w in ("-p", k, str(v))],
                "-o",
                str(out),
            ]
        )
        == 0
    )
    assert {p.name for p in out.iterdir()} == {
        "pruning.ipynb",
        "pruning.png",
        "curves.csv",
        "differences.csv",
        "training.csv",
        "verdict.md",
        "parameters.json",
    }
    found = pd.read_csv(out / "curves.csv")
    assert (
        found.run.nunique() == 2
        and set(found.importance) == {"H", "random", "weight_l1", "taylor"}
        and len(found) == 2 * 2 * 4
    )
    assert set(pd.read_csv(out / "differences.csv").value) == {
        "as pruned",
        "recalibrated",
        "fine-tuned",
    }
    assert (
        "Over 2 networks" in (out / "verdict.md").read_text()
        and json.loads((out / "parameters.json").read_text())["ratios"] == "0.5"
    )


@pytest.mark.parametrize(
    "change,message",
    [
        (dict(importances="H,H"), "two different"),
        (dict(importances="H,luck"), "unknown luck"),
        (dict(ratios="0.5,x"), "separated by commas"),
        (dict(ratios="1.5"), "between 0 and 1"),
        (dict(networks=0), "networks=0"),
        (dict(filtration="both"), "choose clique or cubical"),
        (dict(network="vgg"), "unknown network"),
    ],
)
def test_experiment_refuses(change, message):
    import nbformat

    page = nbformat.read(Path(__file__).parents[1] / "nbs/experiments/pruning.ipynb", 4)
    space = {}
    given, checks = (
        next(c.source for c in page.cells if tag in c.metadata.get("tags", []))
        for tag in ("parameters", "validate")
    )
    exec(given, space)
    with pytest.raises(ValueError, match=message):
        exec(checks, space | change)


def test_labels_may_be_other_outputs(digits, vgg):
    "A network whose outputs are in another order gives the same curve by its label_map."
    turned = network("small_vgg", in_channels=1, seed=1)
    turned.load_state_dict(vgg.state_dict())
    with torch.no_grad():
        turned.fc.weight.copy_(vgg.fc.weight.flip(0))
        turned.fc.bias.copy_(vgg.fc.bias.flip(0))
    same = dict(
        ratios=(0.3,),
        importances=("weight_l1", "taylor"),
        seeds=(0,),
        epochs=1,
        gradients=8,
        norms=8,
    )
    want = prune_curve(vgg, digits, digits, **same)
    got = prune_curve(turned, digits, digits, **same, label_map=list(range(9, -1, -1)))
    values = ["accuracy", "accuracy_norms", "macs"]
    assert (got[values] == want[values]).all(
        axis=None
    ) and got.accuracy_tuned.tolist() == pytest.approx(want.accuracy_tuned.tolist(), abs=0.05)
    with pytest.raises(ValueError, match="label_map has 3 entries"):
        prune_curve(vgg, digits, digits, **same, label_map=[0, 1, 2])


def test_networks_whose_calls_cannot_be_followed_are_refused_in_words():
    net = torchvision.models.shufflenet_v2_x0_5(num_classes=3).eval()
    before = weights_hash(net)
    with pytest.raises(
        ValueError,
        match=r"Torch-Pruning cannot follow how the layers of ShuffleNetV2 depend on each other "
        r"\(ZeroDivisionError: .*Prune another network; this one is unchanged",
    ):
        prune(net, (3, 64, 64), importance="weight_l2")
    assert weights_hash(net) == before


class InADict(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return {"logits": self.net(x), "nothing": None}


def test_outputs_in_a_dictionary_are_pruned_alike():
    plain = network("small_vgg", in_channels=1, seed=1)
    data = images("digits", per_class=2)
    for how in ({"importance": "weight_l2"}, {"importance": "taylor", "images": data}):
        a, b = prune(plain, data, 0.5, **how), prune(InADict(plain), data, 0.5, **how)
        assert weights_hash(a) == weights_hash(b.net) and b(data[0][0][None])["logits"].shape == (
            1,
            10,
        )

    class Other(InADict):
        def forward(self, x):
            return {"out": self.net(x)}

    assert weights_hash(prune(Other(plain), data, 0.5, importance="weight_l2").net) == weights_hash(
        prune(plain, data, 0.5, importance="weight_l2")
    )
    with pytest.raises(
        ValueError,
        match="the network gives dict, not scores .*choose an importance without gradients",
    ):
        prune(Other(plain), data, importance="taylor", images=data)


def test_a_map_that_is_returned_is_not_pruned_away():
    class Both(InADict):
        def forward(self, x):
            y = self.net.features(x)
            return {"scores": self.net.fc(self.net.flatten(self.net.pool(y))), "maps": (y,)}

    with pytest.raises(
        ValueError,
        match=r"the output changed from \(1, 10\), \(1, 128, 8, 8\) to \(1, 10\), "
        r"\(1, 64, 8, 8\): leave the layers",
    ):
        prune(Both(network("small_vgg", in_channels=1)), (1, 32, 32), importance="weight_l2")


def test_labels_that_are_no_outputs_are_matched_or_refused(weights, imagenette_dir):
    net = network("squeezenet1_1", weights=weights / "squeezenet1_1_imagenet.pth")
    data = images(
        imagenette_dir,
        split="val",
        per_class=4,
        transform=preprocess(64, mean="imagenet", std="imagenet"),
    )
    options = dict(
        ratios=(0.5,), importances=("weight_l1",), layers="features.0", gradients=4, norms=4
    )
    curve = prune_curve(net, data, data, **options)
    assert curve.accuracy[0] == accuracy(net, data)["top1"] > 0.1
    with pytest.raises(
        ValueError, match="which output stands for which class cannot be known.*label_map="
    ):
        prune_curve(
            net,
            images("digits", per_class=2, transform=preprocess(64, channels=3)),
            data,
            **options,
        )
