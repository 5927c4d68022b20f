"""A rescaled network computes the same, to the last bit where floating point allows it.

The scores that should not notice do not."""

import copy
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
import torchvision
from hypothesis import given, settings, strategies as st
from torch import nn

from featent.assessment.assessing import assess
from featent.commands import cli
from featent.data.evaluation import accuracy
from featent.data.layers import select_layers
from featent.data.maps import read_maps
from featent.data.networks import network
from featent.data.preprocessing import preprocess
from featent.data.records import weights_hash
from featent.data.sampling import images
from featent.studies.halving import halve_filters, halve_images, target_only
from featent.studies.invariance import check_rescaling, indicator_changes
from featent.studies.rescaling import rescale
from featent.studies.scale_groups import rescaling_groups
from featent.topology.filtrations import births

imagenet = preprocess(mean="imagenet", std="imagenet")
STILL = [
    "top class",
    "births clique",
    "births cubical",
    "H clique",
    "H cubical",
    "eps clique",
    "eps cubical",
    "apoz",
    "selectivity",
    "class_selectivity",
]
NORMS = ["l1", "mean", "max", "kernel_l1"]


def x_of(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def out(net, x):
    with torch.no_grad():
        return net.eval()(x)


def lively(net, seed=0):
    "BatchNorms with statistics and weights as training leaves them."
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for m in net.modules():
            if isinstance(m, nn.BatchNorm2d):
                m.weight.uniform_(0.5, 1.5, generator=g)
                m.bias.normal_(0, 0.3, generator=g)
                m.running_mean.normal_(0, 0.1, generator=g)
                m.running_var.uniform_(0.5, 2, generator=g)
    return net.eval()


def proved(report, equal=True):
    "Nothing moved but the norms; with powers of two nothing else differs."
    by = report.groupby("indicator")[["values", "differ", "moved"]].sum()
    assert by.loc[NORMS, "moved"].gt(0).all() and by.moved["l1"] > 0.3 * by["values"]["l1"]
    if equal:
        assert (by.loc[["predictions", *STILL], "differ"] == 0).all() and (report.place == "").all()
    else:
        assert by.moved["predictions"] == by.moved["top class"] == 0 and report.place[0] != ""
        assert (
            by.moved["births clique"] <= 0.01 * by["values"]["births clique"]
            and by.moved["births cubical"] <= 0.01 * by["values"]["births cubical"]
        )


# ---- real networks, real images

REAL = {
    "smallvgg_bn": (
        lambda a: a.SmallVGG(),
        "smallvgg_bn_cifar10.pth",
        6,
        512 - 64,
        "the network's output",
    ),
    "smallvgg_folded": (
        lambda a: a.SmallVGG(batch_norm=False),
        "smallvgg_folded_cifar10.pth",
        6,
        448,
        "the network's output",
    ),
    "resnet20": (
        lambda a: a.CifarResNet(20),
        "resnet20_cifar10.th",
        10,
        None,
        "the network's output",
    ),
}


@pytest.fixture(scope="module")
def photos(cifar10_dir):
    return images(cifar10_dir, split="test", per_class=1, transform=imagenet)


@pytest.mark.parametrize("name", REAL)
def test_cifar10_networks(name, photos, weights, archs):
    build, file, n_groups, channels, kept = REAL[name]
    net = network(build(archs), weights=weights / file)
    before, groups = weights_hash(net), rescaling_groups(net, photos)
    assert (
        len(groups[0]) == n_groups
        and channels in (None, groups[0].channels.sum())
        and groups[1].why.tolist() == [kept]
    )
    chosen = {
        "smallvgg_bn": "conv",
        "smallvgg_folded": ["features.2", "features.12"],
        "resnet20": ["conv1", "layer1.2.*", "layer2.0.*", "layer3.2.*"],
    }[name]
    first = assess(net, photos, chosen, filtration=("clique", "cubical"))
    for per in ("channel", "layer"):
        proved(check_rescaling(net, photos, chosen, per=per, seed=1, before=first))
    proved(
        check_rescaling(net, photos, chosen, powers_of_two=False, seed=2, before=first), equal=False
    )
    assert weights_hash(net) == before and not hasattr(net, "rescaling")


def test_resnet20_stream_shares_its_factors(photos, weights, archs):
    net = network(archs.CifarResNet(20), weights=weights / "resnet20_cifar10.th")
    groups, _ = rescaling_groups(net, photos)
    stream = groups.iloc[0]
    assert (
        stream.writes.split(", ")
        == ["bn1", *(f"layer{s}.{b}.bn2" for s in (1, 2, 3) for b in (0, 1, 2))]
        and "linear" in stream.reads
    )
    # 16 go through all three stages, 16 join in the second, 32 in the third:
    # padded zeros take any factor
    assert stream.channels == 64
    assert all(groups.channels[1:] == [16] * 3 + [32] * 3 + [64] * 3)


def test_squeezenet_on_photographs(imagenette_dir, weights):
    net = network("squeezenet1_1", weights=weights / "squeezenet1_1_imagenet.pth")
    data = images(imagenette_dir, split="val", per_class=1, transform=imagenet, classes=range(2))
    before, (groups, refused) = weights_hash(net), rescaling_groups(net, data)
    assert (
        len(groups) == 25
        and groups.channels.sum() == 2944
        and refused.layers.tolist() == ["classifier.1"]
    )
    fire = groups.set_index("writes").reads
    assert fire["features.3.expand1x1"] == fire["features.3.expand3x3"] == "features.4.squeeze"
    chosen = ["features.0", "features.4.expand*", "features.12.*"]
    first = assess(net, data, chosen, filtration=("clique", "cubical"))
    proved(check_rescaling(net, data, chosen, seed=3, before=first))
    proved(
        check_rescaling(net, data, chosen, powers_of_two=False, seed=4, before=first), equal=False
    )
    assert weights_hash(net) == before


@pytest.mark.parametrize("name", ["small_vgg", "small_resnet"])
def test_small_networks(name):
    net, data = lively(network(name, in_channels=1)), images("digits", per_class=2)
    proved(
        check_rescaling(
            net, data, ["conv1", "block*"] if name == "small_resnet" else "*conv[246]", seed=5
        )
    )


# ---- torchvision's architectures


def vgg11():
    "VGG-11 with a small head."
    features = torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs["A"])
    return nn.Sequential(
        features,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(512, 64),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(64, 10),
    )


@pytest.mark.parametrize(
    "name,groups,refused",
    [
        ("resnet18", 12, 1),
        ("densenet121", 120, 63),
        ("mobilenet_v2", 7, 36),
        ("vgg11", 9, 1),
        ("shufflenet_v2_x0_5", 56, 1),
        ("mobilenet_v3_small", 19, 29),
    ],
)
def test_torchvision(name, groups, refused):
    net, x = (
        vgg11() if name == "vgg11" else network(name, seed=0, num_classes=10),
        x_of(1, 3, 48, 48),
    )
    lively(net)
    before, other = weights_hash(net), rescale(net, x, seed=1, partial=True)
    assert len(other.rescaling["groups"]) == groups and len(other.rescaling["refused"]) == refused
    assert torch.equal(out(net, x), out(other, x)) and other.rescaling["lost_bits"] == 0
    if name in ("resnet18", "densenet121"):
        assert torch.allclose(
            out(net, x), out(rescale(net, x, powers_of_two=False), x), rtol=1e-4, atol=1e-4
        )
    table, _ = select_layers(net, x, "conv")
    table = table[table.height > 3]
    table = table.iloc[:: 20 if name == 'densenet121' else 1]
    a, b = (read_maps(n, x, table) for n in (net, other))
    assert all(np.array_equal(births(a[k]), births(b[k])) for k in a) and not all(
        torch.equal(a[k], b[k]) for k in a
    )
    assert weights_hash(net) == before


def test_relu6_is_named_with_its_layers():
    net, x = network("mobilenet_v2", seed=0), x_of(1, 3, 64, 64)
    before = weights_hash(net)
    said = (
        r"features.0.1 \(hardtanh in features.0.2 \(ReLU6\)\); "
        ".*partial=True to rescale the other 7 groups"
    )
    with pytest.raises(ValueError, match=said):
        rescale(net, x, inplace=True)
    assert weights_hash(net) == before
    groups, refused = rescaling_groups(net, x)
    assert all(
        "bn" not in n and n.startswith("features.") for n in groups.writes
    )  # the linear ends of the blocks
    assert (refused.why.str.contains("ReLU6") | (refused.layers == "classifier.1")).all()


def test_groups_scale_maps_by_their_factors():
    net, x = lively(network("small_resnet", seed=2)), x_of(3, 3, 32, 32)
    other = rescale(net, x, seed=3)
    table, _ = select_layers(net, x, "conv")
    a, b = (read_maps(n, x, table) for n in (net, other))
    stream, inner = other.rescaling["factors"][:2]
    for layer, c in (("conv1", stream), ("block1.conv2", stream), ("block1.conv1", inner)):
        name = table.layer[table.module == layer].item()
        assert torch.equal(b[name], a[name] * torch.tensor(c, dtype=torch.float32)[:, None, None])


def test_training_mode_too():
    "Batch statistics are rescaled where they should be, so that training passes agree as well."
    net, x = lively(network("small_resnet", seed=2)), x_of(8, 3, 32, 32)
    other = rescale(net, x, seed=3)
    assert torch.equal(net.train()(x), other.train()(x))


# ---- all that a network may be made of


class Made(nn.Module):
    "A network from a function of its layers and the input."

    def __init__(self, forward, **layers):
        super().__init__()
        for name, layer in layers.items():
            setattr(self, name, layer)
        self.f = forward

    def forward(self, x):
        return self.f(self, x)


def conv(cin, cout, k=3, **kw):
    return nn.Conv2d(cin, cout, k, padding=k // 2, **kw)


CASES = {
    "leaky, prelu, dropout, pools": (
        Made(
            lambda m, x: m.c(
                F.avg_pool2d(F.dropout(m.p(m.b(F.leaky_relu(m.a(x), 0.1))), 0.5, False), 2).flatten(
                    1
                )
            ),
            a=conv(1, 4),
            b=conv(4, 6),
            p=nn.PReLU(6),
            c=nn.Linear(96, 3),
        ),
        [4, 6],
    ),
    "depthwise and grouped": (
        Made(
            lambda m, x: m.c(F.relu(m.b(F.relu(m.d(F.relu(m.a(x))))))),
            a=conv(1, 4),
            d=conv(4, 8, groups=4),
            b=conv(8, 6, groups=2),
            c=conv(6, 2),
        ),
        [4, 8, 6],
    ),
    "transposed, grouped": (
        Made(
            lambda m, x: m.c(F.relu(m.b(F.relu(m.a(x))))),
            a=conv(1, 4),
            b=nn.ConvTranspose2d(4, 6, 2, groups=2),
            c=conv(6, 2),
        ),
        [4, 6],
    ),
    "concatenation, slices, shuffle": (
        Made(
            lambda m, x: m.c(
                F.channel_shuffle(
                    torch.cat([(y := F.relu(m.a(x)))[:, 3:], F.relu(m.b(y)), y[:, :3]], 1), 2
                )
            ),
            a=conv(1, 6),
            b=conv(6, 4),
            c=conv(10, 2),
        ),
        [6, 4],
    ),
    "sum of two branches": (
        Made(
            lambda m, x: m.c(F.relu(m.a(x) + F.relu(m.b(x)))),
            a=conv(1, 4),
            b=conv(1, 4),
            c=conv(4, 2),
        ),
        [4],
    ),
    "sum of crossed channels": (
        Made(lambda m, x: m.c((y := F.relu(m.a(x))) + y.flip(1)), a=conv(1, 4), c=conv(4, 2)),
        [2],
    ),
    "in-place sum": (
        Made(
            lambda m, x: m.c(m.a(x).relu_().add_(m.b(x))), a=conv(1, 4), b=conv(1, 4), c=conv(4, 2)
        ),
        [4],
    ),
    "maximum and mean of channels": (
        Made(
            lambda m, x: m.c(torch.maximum(m.a(x), m.b(x)).mean(1, keepdim=True)),
            a=conv(1, 4),
            b=conv(1, 4),
            c=conv(1, 2),
        ),
        [1],
    ),
    "gate": (
        Made(
            lambda m, x: m.c(
                (y := F.relu(m.a(x))) * torch.sigmoid(m.g(y.mean((2, 3), keepdim=True)))
            ),
            a=conv(1, 4),
            g=conv(4, 4, 1),
            c=conv(4, 2),
        ),
        [4],
    ),
    "product of maps": (
        Made(
            lambda m, x: m.c(F.relu(m.b(m.a(x) * m.a2(x)))),
            a=conv(1, 4),
            a2=conv(1, 4),
            b=conv(4, 4),
            c=conv(4, 2),
        ),
        [4],
    ),
    "constant in a sum": (
        Made(
            lambda m, x: m.c(F.relu(m.b(F.relu(m.a(x) + 1)))),
            a=conv(1, 4),
            b=conv(4, 5),
            c=conv(5, 2),
        ),
        [5],
    ),
    "shared convolution": (
        Made(
            lambda m, x: m.c(F.relu(m.b(F.relu(m.b(F.relu(m.a(x))))))),
            a=conv(1, 4),
            b=conv(4, 4),
            c=conv(4, 2),
        ),
        [4],
    ),
    "normalisations": (
        Made(
            lambda m, x: m.c(m.l(F.relu(m.i(m.b(F.relu(m.g(m.a(x)))))))),
            a=conv(1, 4),
            g=nn.GroupNorm(2, 4),
            b=conv(4, 6),
            i=nn.InstanceNorm2d(6, affine=True),
            l=nn.LayerNorm((6, 8, 8)),
            c=conv(6, 2),
        ),
        [4, 6],
    ),
    "batch normalisation alone": (
        Made(
            lambda m, x: m.c(F.relu(m.n(m.b(F.relu(m.a(x)))))),
            a=conv(1, 4),
            b=conv(4, 4),
            n=nn.BatchNorm2d(4, affine=False),
            c=conv(4, 2),
        ),
        [4],
    ),
    "weight normalisation": (
        Made(
            lambda m, x: m.c(F.relu(m.b(F.relu(m.a(x))))),
            a=conv(1, 4),
            b=nn.utils.parametrizations.weight_norm(conv(4, 4)),
            c=conv(4, 2),
        ),
        None,
    ),
    "weights in a penalty": (
        Made(
            lambda m, x: m.c(F.relu(m.b(F.relu(m.a(x))))) + m.b.weight.abs().sum(),
            a=conv(1, 4),
            b=conv(4, 4),
            c=conv(4, 2),
        ),
        None,
    ),
    "resize, padding, permutation": (
        Made(
            lambda m, x: m.c(
                F.relu(
                    m.b(F.pad(F.interpolate(F.relu(m.a(x)), scale_factor=2.0), (1, 1), value=0.0))
                    .permute(0, 2, 3, 1)
                    .flatten(1, 2)
                    .mean(1)
                )
            ),
            a=conv(1, 4),
            b=conv(4, 6),
            c=nn.Linear(6, 2),
        ),
        [4, 6],
    ),
    "reflected padding": (
        Made(lambda m, x: m.c(F.relu(m.a(x))), a=conv(1, 4), c=conv(4, 2, padding_mode="reflect")),
        [4],
    ),
    "written into a buffer": (
        Made(
            lambda m, x: m.c(m.into(F.relu(m.b(F.relu(m.a(x)))))),
            a=conv(1, 4),
            b=conv(4, 5),
            c=conv(5, 2),
        ),
        [4],
    ),
    "looked at": (
        Made(
            lambda m, x: m.c(F.relu(m.b(y))) if (y := F.relu(m.a(x))).mean() > -1 else x,
            a=conv(1, 4),
            b=conv(4, 5),
            c=conv(5, 2),
        ),
        [5],
    ),
    "two outputs": (
        Made(
            lambda m, x: {"scores": m.c(y := F.relu(m.b(F.relu(m.a(x))))), "features": [y]},
            a=conv(1, 4),
            b=conv(4, 5),
            c=conv(5, 2),
        ),
        [4],
    ),
    "unbatched inside": (
        Made(
            lambda m, x: m.c(F.max_pool2d(F.relu(m.a(x[0])), 2))[None], a=conv(1, 4), c=conv(4, 2)
        ),
        [4],
    ),
    "one dimension": (
        Made(
            lambda m, x: m.c(F.max_pool1d(F.relu(m.a(x.flatten(2))), 2)),
            a=nn.Conv1d(1, 4, 3),
            c=nn.Conv1d(4, 2, 3),
        ),
        [4],
    ),
    "one memory under two names": (
        Made(
            lambda m, x: m.c(F.relu(m.b(F.relu(m.a(x))))), a=conv(1, 4), b=conv(4, 4), c=conv(4, 4)
        ),
        None,
    ),
}
CASES["written into a buffer"][0].into = lambda y: (
    (z := torch.zeros(y.shape)).__setitem__(slice(None), y) or z
)
CASES["one memory under two names"][0].c.weight = nn.Parameter(
    CASES["one memory under two names"][0].b.weight.data
)


def numbers(net, x):
    with torch.no_grad():
        y = net.eval()(x)
    return (
        torch.cat([y["scores"].flatten(), y["features"][0].flatten()])
        if isinstance(y, dict)
        else y.flatten()
    )


@pytest.mark.parametrize("name", CASES)
def test_every_kind_of_call(name):
    net, channels = CASES[name]
    with torch.no_grad():
        for i, p in enumerate(net.parameters()):
            p.copy_(x_of(*p.shape, seed=i) * 0.3)
    x = x_of(1, 1, 8, 8, seed=9)
    # where the weights of b are used in a way that no factor can follow, both its sides keep theirs
    if channels is None:
        with pytest.raises(ValueError, match="nothing in this network can be rescaled"):
            rescale(net, x, partial=True)
        return
    groups, _ = rescaling_groups(net, x)
    assert groups.channels.tolist() == channels, (groups, rescaling_groups(net, x)[1])
    before = weights_hash(net)
    for seed in range(3):
        assert torch.equal(numbers(net, x), numbers(rescale(net, x, seed=seed, partial=True), x))
    assert weights_hash(net) == before


def test_weight_normalisation_is_named():
    net = nn.Sequential(
        conv(1, 4),
        nn.ReLU(),
        nn.utils.parametrizations.weight_norm(conv(4, 4)),
        nn.ReLU(),
        conv(4, 4),
        nn.ReLU(),
        conv(4, 2),
    )
    with pytest.raises(ValueError, match=r"0 \(conv2d in 2 \(ParametrizedConv2d\)\)"):
        rescale(net, (1, 8, 8))


def test_parts_that_cannot_be_heard():
    net = nn.Sequential(conv(1, 4), nn.ReLU(), torch.jit.script(conv(4, 4)), nn.ReLU(), conv(4, 2))
    with pytest.raises(TypeError, match="^2 is a .*ScriptModule"):
        rescale(net, (1, 8, 8))
    unheard = torch.jit.trace(lambda y: torch.sigmoid(y).sum(1, keepdim=True), x_of(1, 4, 8, 8))
    with pytest.raises(ValueError, match="cannot be followed back"):
        rescale(Made(lambda m, x: unheard(m.a(x)), a=conv(1, 4)), (1, 8, 8))
    sly = Made(lambda m, x: m.b(y := F.relu(m.a(x))) * unheard(y), a=conv(1, 4), b=conv(4, 2))
    before = weights_hash(sly)
    with pytest.raises(ValueError, match="does not compute the same, so nothing was changed"):
        rescale(sly, (1, 8, 8), inplace=True)
    assert weights_hash(sly) == before


def test_activations_that_are_not_homogeneous_are_named():
    for act in (
        nn.GELU(),
        nn.SiLU(),
        nn.Sigmoid(),
        nn.Tanh(),
        nn.ELU(),
        nn.Softplus(),
        nn.Hardswish(),
        nn.ReLU6(),
        nn.Softmax(1),
        nn.Mish(),
    ):
        net = nn.Sequential(conv(1, 4), act, conv(4, 2))
        kind = type(act).__name__
        nothing = rf"nothing in this network can be rescaled. 0: \w+ in 1 \({kind}\); "
        with pytest.raises(ValueError, match=nothing + "2: the network's output"):
            rescale(net, (1, 8, 8))
        net = nn.Sequential(conv(1, 4), nn.ReLU(), conv(4, 4), act, conv(4, 2))
        with pytest.raises(
            ValueError, match=rf"let no factor through: 2 \(\w+ in 3 \({type(act).__name__}\)\)"
        ):
            rescale(net, (1, 8, 8))
        other = rescale(net, (1, 8, 8), partial=True)
        assert other.rescaling["refused"].layers.tolist() == ["2", "4"] and torch.equal(
            out(net, x := x_of(1, 1, 8, 8)), out(other, x)
        )


# ---- factors


@pytest.fixture
def chain():
    return nn.Sequential(conv(1, 4), nn.ReLU(), conv(4, 6), nn.ReLU(), conv(6, 2)).eval()


@pytest.mark.parametrize(
    "factors,message",
    [
        (0, "positive and finite"),
        (-2.0, "factor -2.0 for all groups"),
        (float("nan"), "factor nan"),
        (float("inf"), "factor inf"),
        (np.ones(7), r"one number or 10 of them, got shape \(7,\)"),
        (np.r_[np.ones(9), 0], "factor 0.0 for all groups, per channel, number 9"),
        ({0: np.ones(6)}, r"group 0: one number or 4 of them, got shape \(6,\)"),
        ({"2": [1, 1, 1, 1, 1, -1]}, "factor -1.0 for group '2', number 5"),
        ({2: 2.0}, "no group 2: choose a number below 2, or a layer among 0, 2"),
        ({True: 2.0}, "no group True"),
        ("all", "factors='all'"),
        (None, None),
    ],
)
def test_bad_factors(chain, factors, message):
    before = weights_hash(chain)
    with pytest.raises((ValueError, TypeError), match=message):
        rescale(chain, (1, 8, 8), factors, inplace=True)
    assert weights_hash(chain) == before and not hasattr(chain, "rescaling")


def test_bad_options(chain):
    with pytest.raises(TypeError, match="must be numbers"):
        rescale(chain, (1, 8, 8), {0: "two"})
    with pytest.raises(ValueError, match="per='unit': choose 'channel' or 'layer'"):
        rescale(chain, (1, 8, 8), per="unit")
    with pytest.raises(ValueError, match=r"got shape \(10,\)"):
        rescale(chain, (1, 8, 8), np.ones(10), per="layer")
    with pytest.raises(ValueError, match="overflow torch.float32"):
        rescale(chain, (1, 8, 8), 1e39)
    with pytest.raises(ValueError, match="nothing in this network can be rescaled"):
        rescale(nn.Sequential(conv(1, 4)), (1, 8, 8))


def test_forms_of_factors(chain):
    x, w = x_of(2, 1, 8, 8), chain[0].weight.detach()
    forms = [2.0, np.full(10, 2.0), torch.full((10,), 2.0), {0: 2.0, "2": np.full(6, 2)}]
    results = [rescale(chain, x, f) for f in forms] + [
        rescale(chain, x, f, per="layer") for f in (2.0, [2, 2], {"0": 2, 1: 2})
    ]
    assert len({weights_hash(r) for r in results}) == 1 and torch.equal(results[0][0].weight, 2 * w)
    one = rescale(chain, x, {0: [1, 8, 1, 1]})
    assert (
        torch.equal(one[0].weight[1], 8 * w[1])
        and torch.equal(one[0].weight[2], w[2])
        and torch.equal(one[2].weight[:, 1], chain[2].weight[:, 1] / 8)
    )
    assert torch.equal(rescale(chain, x, 1.0)[2].weight, chain[2].weight)


def test_inplace_and_wrappers(chain):
    x = x_of(2, 1, 8, 8)
    expected, wrapped = out(chain, x), nn.DataParallel(chain)
    other = rescale(wrapped, x, seed=3)
    assert type(other) is nn.Sequential and torch.equal(out(other, x), expected)
    assert (
        rescale(chain, x, seed=3, inplace=True) is chain
        and weights_hash(chain) == weights_hash(other)
        and torch.equal(out(chain, x), expected)
    )
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in chain.modules())


def test_lost_bits_are_counted(chain):
    with torch.no_grad():
        chain[2].weight[0, 0, 0, 0] = 3e-45
    assert (
        rescale(chain, (1, 8, 8), 4.0).rescaling["lost_bits"] == 0
    )  # up and down by the same factor
    assert rescale(chain, (1, 8, 8), {0: 4.0}).rescaling["lost_bits"] == 1


def test_half_precision(chain):
    net, x = copy.deepcopy(chain).bfloat16(), x_of(2, 1, 8, 8).bfloat16()
    other = rescale(net, x, seed=1)
    assert other[0].weight.dtype == torch.bfloat16 and torch.equal(out(net, x), out(other, x))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(-8, 8), min_size=10, max_size=10), st.integers(0, 99))
def test_any_powers_of_two_are_exact(exponents, seed):
    net = nn.Sequential(
        conv(1, 4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        conv(4, 6),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(96, 3, bias=False),
    )
    with torch.no_grad():
        for i, p in enumerate(net.parameters()):
            p.copy_(x_of(*p.shape, seed=seed + i))
    x, c = x_of(3, 1, 8, 8, seed=seed), np.exp2(exponents)
    other = rescale(net, x, c)
    assert torch.equal(out(net, x), out(other, x))
    assert torch.equal(
        out(net[:3], x) * torch.tensor(c[:4], dtype=torch.float32)[:, None, None], out(other[:3], x)
    )
    assert torch.equal(out(net, x), out(rescale(other, x, 1 / c), x)) and weights_hash(
        rescale(other, x, 1 / c)
    ) == weights_hash(net)


# ---- the checker can fail, and the halvings


def test_the_checker_notices_what_is_no_rescaling():
    net, data = lively(network("small_vgg", in_channels=1)), images("digits", per_class=3)
    first = assess(net, data, filtration=("clique", "cubical"))
    other = copy.deepcopy(net)
    with torch.no_grad():
        other.features.conv2.weight.add_(x_of(*other.features.conv2.weight.shape) * 0.01)
    changes = (
        indicator_changes(first, assess(other, data, filtration=("clique", "cubical")))
        .set_index(["layer", "indicator"])
        .moved
    )
    assert changes["features.conv1+bn+relu"].sum() == 0
    assert all(
        changes["features.conv3+bn+relu", name] > 0
        for name in ("births clique", "H clique", "H cubical", "selectivity", "apoz", "l1")
    )
    assert indicator_changes(first, first)[["differ", "moved"]].to_numpy().sum() == 0
    with pytest.raises(ValueError, match="same layers, filtrations and images"):
        indicator_changes(first, assess(net, data))


def test_halvings(photos, weights, archs):
    net = network(archs.SmallVGG(batch_norm=False), weights=weights / "smallvgg_folded_cifar10.pth")
    before, layer = weights_hash(net), "features.12"
    halved = halve_filters(net, layer, photos)
    assert weights_hash(net) == before and torch.equal(
        halved.features[12].weight, net.features[12].weight / 2
    )
    a, b, c = (
        assess(n, d, layer)
        for n, d in ((net, photos), (halved, photos), (net, halve_images(photos)))
    )
    name = a.layers.layer[0]
    for k in ("l1", "mean", "max"):
        assert np.array_equal(b.summaries[name, k, "real"], a.summaries[name, k, "real"] / 2)
    assert np.array_equal(
        a.births[name, "clique", "real"], b.births[name, "clique", "real"]
    ) and a.table.H.equals(b.table.H)
    l1 = [r.summaries[name, "l1", "real"].mean() for r in (a, c)]
    assert 0.5 < l1[1] / l1[0] < 1  # the biases are not halved with the images
    with torch.no_grad():
        [m.bias.zero_() for m in net.features if isinstance(m, nn.Conv2d)]
    d, e = (assess(net, images, layer) for images in (photos, halve_images(photos)))
    assert np.array_equal(
        e.summaries[name, "l1", "real"], d.summaries[name, "l1", "real"] / 2
    ) and d.table.H.equals(e.table.H)
    both = target_only(a, b, name, 0).dropna()
    assert np.allclose(both.class_selectivity_all, both.class_selectivity_before) and np.allclose(
        both.selectivity_all, both.selectivity_before
    )
    alive = both[both.class_selectivity_before > -1]
    s = (
        alive.class_selectivity_before
    )  # what the formula says when the target's mean alone is halved
    ratio = (1 + s) / (1 - s) / 2
    inner = s < 0.999
    assert len(alive) > 30 and np.allclose(
        alive.class_selectivity_target[inner], ((ratio - 1) / (ratio + 1))[inner], atol=1e-5
    )
    with pytest.raises(ValueError, match="no class 99: choose one by its name or its label"):
        target_only(a, b, name, 99)


def test_halved_images(photos, weights, archs):
    half = halve_images(photos)
    assert (
        torch.equal(half[3][0], photos[3][0] / 2)
        and half.record["fingerprint"] != photos.record["fingerprint"]
    )
    assert halve_images(photos).record == half.record and " at 0x" not in half.record["transform"]
    with pytest.raises(ValueError, match="positive and finite"):
        halve_images(photos, -1)
    net = network(archs.SmallVGG(), weights=weights / "smallvgg_bn_cifar10.pth")
    assert 0.3 < accuracy(net, half)["top1"] <= 1
    halved = halve_filters(net, "features.3", photos)  # the BatchNorm after it carries the factor
    assert torch.equal(halved.features[4].weight, net.features[4].weight / 2) and torch.equal(
        halved.features[3].weight, net.features[3].weight
    )
    with pytest.raises(ValueError, match="no layer matches"):
        halve_filters(net, "features.99", photos)


# ---- the experiment


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "r"
    quick = dict(
        per_class=4,
        epochs=1,
        trainings=1,
        draws=1,
        filtration="clique",
        layers="features.conv2,features.conv6",
        classes="0,1,2",
    )
    code = cli.main(
        [
            "run",
            "rescaling",
            *[a for k, v in quick.items() for a in ("-p", k, str(v))],
            "-o",
            str(folder),
        ]
    )
    assert code == 0
    return folder


def test_experiment_writes_what_it_promises(experiment):
    files = {"groups", "refused", "runs", "moved", "halvings", "table1", "training"}
    assert {f"{f}.csv" for f in files} | {
        "rescaling.ipynb",
        "rescaling.png",
        "verdict.txt",
        "parameters.json",
    } == {p.name for p in experiment.iterdir()}
    runs = pd.read_csv(experiment / "runs.csv")
    assert runs.groupby(["factors", "per"]).ngroups == 4 and runs.indicator.nunique() == 12
    exact = runs[runs.factors == "powers of two"].groupby("indicator")[["differ", "moved"]].sum()
    assert (
        exact.differ[["predictions", "births clique", "H clique", "class_selectivity"]].sum() == 0
        and exact.moved["l1"] > 0
    )
    verdict = (experiment / "verdict.txt").read_text()
    said = "H is invariant under function-preserving rescaling, L1 is not, and class selectivity is"
    assert f"{said} invariant too" in verdict
    assert "the median L1 is 0.50 of what it was, H is the same in 100.0%" in verdict


def test_experiment_halvings(experiment):
    table = pd.read_csv(experiment / "halvings.csv").set_index(["unit", "class"])
    x, half = (table[(table.images == "x") & (table.filters == f)] for f in ("x", "half"))
    assert (
        np.allclose(half.l1, x.l1 / 2)
        and (half["H clique"] == x["H clique"]).all()
        and (half.apoz == x.apoz).all()
    )
    assert np.allclose(half.class_selectivity, x.class_selectivity, equal_nan=True)
    alive = x.class_selectivity.between(-1, 0.999, inclusive="neither")
    assert (half.class_selectivity_target[alive] < x.class_selectivity[alive]).all()


@pytest.mark.parametrize(
    "name,value,message",
    [
        ("halved", "features.conv*", r"halved='features.conv\*' means 6 layers"),
        ("target", "cat", "target='cat': choose from 0, 1"),
        ("draws", 0, "draws=0: must be at least 1"),
        ("filtration", "rips", "choose clique, cubical or both"),
        ("classes", "3", "at least two classes"),
        ("network", "mobilenet_v3_small", "takes 3 channels"),
        ("normalise", "cifar", "choose imagenet"),
    ],
)
def test_experiment_refuses(name, value, message):
    "The first two cells of the page alone: parameters, then validation before any work."
    cells = json.loads(
        (Path(__file__).parent.parent / "nbs/experiments/rescaling.ipynb").read_text(
            encoding="utf-8"
        )
    )["cells"]
    by_tag = {tag: "".join(c["source"]) for c in cells for tag in c["metadata"].get("tags", [])}
    parameters, validate = by_tag["parameters"], by_tag["validate"]
    values = {}
    exec(parameters, values)
    assert name in values
    with pytest.raises(ValueError, match=message):
        exec(validate, {**values, name: value})
