"""Property: every map is what a plain forward hook sees, or there is an error.

It is compared image by image, for 1, 2 and 32 images. The reference is made without any of the
package's code: by hooks on modules for networks made of modules, and by hand for networks that are
not. `pytest -s` prints a table of networks, layers and verdicts.
"""

import copy
import warnings

import pytest
import torch
import torch.nn.functional as F
import torch.nn.utils.prune
from torch import nn
from torch.utils.checkpoint import checkpoint
from torchvision import models as tv

from featent.data.layers import list_layers, select_layers
from featent.data.maps import read_maps

torch.set_num_threads(1)
SEEN = []  # rows of the table

NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm)
ACTIVE = {
    "relu": F.relu,
    "relu6": F.relu6,
    "silu": F.silu,
    "gelu": F.gelu,
    "hardswish": F.hardswish,
    "sigmoid": torch.sigmoid,
    "hardsigmoid": F.hardsigmoid,
    "leaky_relu": None,
    "elu": F.elu,
    "hardtanh": None,
    "tanh": torch.tanh,
}


def pictures(n, size, channels=3, seed=1):
    return torch.rand(n, channels, size, size, generator=torch.Generator().manual_seed(seed))


def hooked(net, x):
    "What plain hooks see, in order: [(name, module, inputs, copy of the output, the output)]."
    seen, handles = [], []

    def hook(name):
        def keep(m, args, out):
            if isinstance(out, torch.Tensor):
                seen.append((name, m, args, out.detach().clone(), out))

        return keep

    for name, m in net.named_modules():
        handles.append(m.register_forward_hook(hook(name)))
    try:
        with torch.no_grad():
            net(x)
    finally:
        for h in handles:
            h.remove()
    return seen


def candidates(seen, module, k, parts):
    "What the k-th output of a module can be after the named calls: one tensor, or several."
    at = [i for i, s in enumerate(seen) if s[0] == module][k]
    value, thing = seen[at][3], seen[at][4]
    for part in parts:
        readers = [
            s
            for s in seen[at + 1 :]
            if any(a is thing for a in s[2]) and not isinstance(s[1], nn.Sequential)
        ]
        norms, acts = (
            [s for s in readers if isinstance(s[1], NORMS)],
            [
                s
                for s in readers
                if type(s[1]).__name__.lower()
                in ("relu", "relu6", "silu", "gelu", "hardswish", "sigmoid", "hardsigmoid")
            ],
        )
        if part in ("bn", "gn", "ln") and norms:
            value, thing = norms[0][3:]
        elif part in ACTIVE and acts:
            value, thing = acts[0][3:]
        elif ACTIVE.get(part):
            value, thing = ACTIVE[part](value), None
        else:
            return [s[3] for s in seen[at + 1 :]] + [F.relu(s[3]) for s in seen[at + 1 :]]
    return [value]


def agrees(net, x, layers):
    "Read the maps of a batch and compare them with the hooks'."
    got, seen, wrong = read_maps(net, x, layers), hooked(net, x), []
    paths = {n for n, _ in net.named_modules()}
    for row in layers.itertuples():
        base, _, number = row.module.rpartition("_")
        module, k = (row.module, 0) if row.module in paths else (base, int(number))
        want = candidates(seen, module, k, row.layer.removeprefix(row.module).split("+")[1:])
        maps = got[row.layer]
        maps = maps if row.kind != "linear" and not row.last else maps.movedim(1, -1)
        assert len(maps) == len(x), row.layer
        if not any(w.shape == maps.shape and torch.equal(w, maps) for w in want):
            wrong.append(row.layer)
    return wrong


TORCHVISION = {
    "alexnet": (lambda: tv.alexnet(num_classes=3), 64),
    "vgg11": (lambda: tv.vgg11(num_classes=3), 32),
    "vgg11_bn": (lambda: tv.vgg11_bn(num_classes=3), 32),
    "squeezenet1_0": (lambda: tv.squeezenet1_0(num_classes=3), 32),
    "squeezenet1_1": (lambda: tv.squeezenet1_1(num_classes=3), 32),
    "resnet18": (lambda: tv.resnet18(num_classes=3), 32),
    "resnet50": (lambda: tv.ResNet(tv.resnet.Bottleneck, [1, 1, 1, 1], num_classes=3), 32),
    "resnext": (
        lambda: tv.ResNet(tv.resnet.Bottleneck, [1, 1, 1, 1], groups=32, width_per_group=4),
        32,
    ),
    "wide_resnet": (lambda: tv.ResNet(tv.resnet.Bottleneck, [1, 1, 1, 1], width_per_group=128), 32),
    "densenet": (lambda: tv.DenseNet(8, (2, 2, 2, 2), 16, num_classes=3), 32),
    "googlenet": (lambda: tv.googlenet(num_classes=3, init_weights=False, aux_logits=True), 32),
    "inception_v3": (lambda: tv.inception_v3(num_classes=3, init_weights=False), 75),
    "shufflenet_v2": (lambda: tv.shufflenet_v2_x0_5(num_classes=3), 32),
    "mobilenet_v2": (lambda: tv.mobilenet_v2(num_classes=3, width_mult=0.25), 32),
    "mobilenet_v3": (lambda: tv.mobilenet_v3_small(num_classes=3), 32),
    "mnasnet": (lambda: tv.mnasnet0_5(num_classes=3), 32),
    "efficientnet": (lambda: tv.efficientnet_b0(num_classes=3), 32),
    "efficientnet_v2": (lambda: tv.efficientnet_v2_s(num_classes=3), 32),
    "regnet_x": (lambda: tv.regnet_x_400mf(num_classes=3), 32),
    "regnet_y": (lambda: tv.regnet_y_400mf(num_classes=3), 32),
    "convnext": (
        lambda: tv.ConvNeXt(
            [tv.convnext.CNBlockConfig(8, 16, 1), tv.convnext.CNBlockConfig(16, None, 1)],
            num_classes=3,
        ),
        32,
    ),
    "swin": (lambda: tv.SwinTransformer([2, 2], 8, [1, 2], [2, 2], [4, 4], num_classes=3), 32),
    "swin_v2": (
        lambda: tv.SwinTransformer(
            [2, 2],
            8,
            [1, 2],
            [2, 2],
            [4, 4],
            num_classes=3,
            block=tv.swin_transformer.SwinTransformerBlockV2,
            downsample_layer=tv.swin_transformer.PatchMergingV2,
        ),
        32,
    ),
    "maxvit": (lambda: tv.MaxVit((64, 64), 8, 2, [8, 16], [1, 1], 8, 0.0, num_classes=3), 64),
    "vit": (lambda: tv.VisionTransformer(32, 8, 1, 2, 16, 32, num_classes=3), 32),
    "lraspp": (
        lambda: tv.segmentation.lraspp_mobilenet_v3_large(
            weights=None, weights_backbone=None, num_classes=3
        ),
        32,
    ),
}
HEAVY = {
    "inception_v3",
    "efficientnet_v2",
    "wide_resnet",
    "alexnet",
    "resnext",
}  # 32 images would take too long here


def checked(name, net, size, layers="conv", batches=(1, 2, 32), channels=3):
    "All three batch sizes against the hooks."
    net.eval()
    chosen, left_out = select_layers(net, pictures(2, size, channels), layers)
    for n in batches:
        wrong = agrees(net, pictures(n, size, channels, n), chosen)
        assert not wrong, (name, n, wrong)
    SEEN.append((name, len(chosen), len(left_out), "equal"))


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision_families(name):
    torch.manual_seed(0)
    make, size = TORCHVISION[name]
    checked(name, make(), size, batches=(1, 2) if name in HEAVY else (1, 2, 32))


@pytest.mark.parametrize("name", ["fasterrcnn", "ssdlite"])
def test_backbones_of_detectors(name):
    torch.manual_seed(0)
    detection = tv.detection
    net = (
        detection.ssdlite320_mobilenet_v3_large
        if name == "ssdlite"
        else detection.fasterrcnn_mobilenet_v3_large_320_fpn
    )(
        weights=None,
        weights_backbone=None,
        num_classes=3,
        **({} if name == "ssdlite" else {"min_size": 64, "max_size": 64}),
    )
    checked(name, net, 64, "backbone.*", (1, 2))


TIMM = {
    "resnet10t": 32,
    "seresnet18": 32,
    "skresnet18": 32,
    "resnetv2_18": 32,
    "repvgg_a0": 32,
    "lcnet_035": 32,
    "tinynet_e": 32,
    "ghostnet_050": 32,
    "mobilenetv4_conv_small_035": 32,
    "selecsls42": 32,
    "resnetblur18": 32,
    "nf_resnet26": 32,
    "poolformerv2_s12": 32,
    "edgenext_xx_small": 64,
    "fastvit_t8": 64,
    "efficientvit_b0": 64,
    "hardcorenas_a": 32,
    "mixnet_s": 32,
}


@pytest.mark.parametrize("name", TIMM)
def test_odd_networks_from_timm(name):
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        checked(
            name,
            timm.create_model(name, num_classes=3),
            TIMM[name],
            batches=(1, 2, 32) if TIMM[name] == 32 else (1, 2),
        )


# Networks written by hand. `maps(x)` is the reference, {module: maps}; `refused` is what the
# error says instead.


class Net(nn.Module):
    "Two convolutions and a head; the parts to be changed by the networks below."

    def __init__(self, act=F.relu):
        super().__init__()
        self.conv1, self.bn1, self.conv2, self.fc = (
            nn.Conv2d(3, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.Conv2d(6, 6, 3, padding=1),
            nn.Linear(6, 3),
        )
        self.act = act

    def first(self, x):
        return self.act(self.bn1(self.conv1(x)))

    def forward(self, x):
        return self.fc(self.act(self.conv2(self.first(x))).mean((2, 3)))

    def maps(self, x):
        a = self.first(x)
        return {"conv1": a, "conv2": self.act(self.conv2(a))}


class Swish(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * torch.sigmoid(x)


def set_item(x):
    x = x.clone()
    x[x < 0] = 0
    return x


def overwrite(x):
    x[x < 0] = 0
    return x


ACTIVATIONS = {
    "autograd function": Swish.apply,
    "swish": lambda x: x * torch.sigmoid(x),
    "swish in place": lambda x: x.mul_(x.sigmoid()),
    "hard swish": lambda x: x * F.relu6(x + 3) / 6,
    "mish": lambda x: x * torch.tanh(F.softplus(x)),
    "item assignment": set_item,
    "where": lambda x: torch.where(x > 0, x, torch.zeros_like(x)),
    "leaky where": lambda x: torch.where(x > 0, x, x * 0.1),
    "maximum": lambda x: torch.maximum(x, torch.zeros(())),
    "half of the sum": lambda x: (x + x.abs()) / 2,
    "gelu by tanh": lambda x: 0.5 * x * (1 + torch.tanh(0.79788 * (x + 0.044715 * x**3))),
    "softsign": F.softsign,
    "log sigmoid": F.logsigmoid,
    "hard shrink": F.hardshrink,
    "soft shrink": F.softshrink,
    "tanh shrink": F.tanhshrink,
    "square": torch.square,
    "star": lambda x: 0.8944 * F.relu(x) ** 2 - 0.4472,
    "clamp": lambda x: x.clamp(min=0),
    "relu in place": lambda x: x.relu_(),
    "masked fill": lambda x: x.masked_fill(x < 0, 0),
    "sine": torch.sin,
    "concatenated later": lambda x: F.relu(x),
    "snake": lambda x: x + torch.sin(x) ** 2,
    "by a mask": lambda x: x * (x > 0),
    "by a mask of floats": lambda x: x * (x > 0).float(),
    "softplus by hand": lambda x: torch.log1p(torch.exp(x)),
    "celu": F.celu,
    "threshold": lambda x: F.threshold(x, 0.1, 0),
    "hard tanh": F.hardtanh,
    "bounded": lambda x: torch.minimum(torch.maximum(x, torch.tensor(0.0)), torch.tensor(1.0)),
    "written over": overwrite,
    "exponential": lambda x: torch.exp(-x * x),
    "selu": F.selu,
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_of_any_making_are_followed_to_their_end(name):
    torch.manual_seed(0)
    by_hand(f"act: {name}", Net(ACTIVATIONS[name]).eval())


def by_hand(name, net, size=12, batches=(1, 2, 32), channels=3, layers="conv", reference=None):
    "Maps against the network's own reference."
    chosen, left_out = select_layers(net, pictures(2, size, channels), layers)
    for n in batches:
        x = pictures(n, size, channels, n)
        with torch.no_grad():
            want = {k: v.clone() for k, v in (reference or net).maps(x.clone()).items()}
        got = read_maps(net, x.clone(), chosen)
        assert set(chosen.module) == set(want), (name, set(chosen.module) ^ set(want))
        for row in chosen.itertuples():
            assert torch.equal(got[row.layer], want[row.module]), (name, n, row.layer)
        for i in range(min(n, 3)):
            with torch.no_grad():
                alone = (reference or net).maps(x[i : i + 1].clone())
            for row in chosen.itertuples():
                torch.testing.assert_close(
                    got[row.layer][i : i + 1], alone[row.module], rtol=1e-4, atol=1e-5
                )
    SEEN.append((name, len(chosen), len(left_out), "equal"))
    return chosen


class Skipping(Net):
    "A block that only bright images go through; blocks are alike."

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Conv2d(6, 6, 3, padding=1) for _ in range(3))

    def forward(self, x):
        bright, x = x.mean() > 0.5, self.first(x)
        for i, b in enumerate(self.blocks):
            if i != 1 or bright:
                x = F.relu(x + b(x))
        return self.fc(x.mean((2, 3)))


class Leaving(Net):
    "An early exit."

    def forward(self, x):
        a = self.first(x)
        return self.fc(a.mean((2, 3))) if x.mean() > 0.5 else super().forward(x)


class Shared(Net):
    "One convolution in two places, the first of them for some images only."

    def forward(self, x):
        a = self.first(x)
        if x.mean() > 0.5:
            a = F.relu(self.conv2(a))
        return self.fc(F.relu(self.conv2(a)).mean((2, 3)))


class Weights(Net):
    "Two filters used by functions, the first for some images only."

    def __init__(self):
        super().__init__()
        self.a, self.b = (
            nn.Parameter(torch.randn(6, 6, 1, 1)),
            nn.Parameter(torch.randn(6, 6, 1, 1)),
        )

    def forward(self, x):
        bright, x = x.mean() > 0.5, self.first(x)
        if bright:
            x = F.relu(F.conv2d(x, self.a))
        return self.fc(F.relu(F.conv2d(x, self.b)).mean((2, 3)))


class Alternating(Net):
    "Another layer each time it is called."

    calls = 0

    def forward(self, x):
        self.calls += 1
        return super().forward(x) if self.calls % 2 else self.fc(self.first(x).mean((2, 3)))


@pytest.mark.parametrize(
    "cls,layer",
    [
        (Skipping, "blocks.1"),
        (Leaving, "conv2"),
        (Shared, "conv2"),
        (Shared, "conv2_1"),
        (Weights, "conv2d"),
    ],
)
def test_a_path_that_depends_on_the_image_is_an_error_where_it_matters(cls, layer):
    torch.manual_seed(0)
    net, bright, dark = cls().eval(), pictures(2, 12) * 0.2 + 0.8, pictures(2, 12) * 0.2
    first = dark if cls is Leaving else bright
    chosen, _ = select_layers(net, first, [layer])
    got = read_maps(net, first, chosen)
    assert len(got) == 1
    other = bright if cls is Leaving else dark
    with pytest.raises(ValueError, match="took another path than in the traced example"):
        read_maps(net, other, chosen)
    SEEN.append((cls.__name__, 1, 0, "refused"))


def test_a_skipped_block_does_not_move_the_others():
    torch.manual_seed(0)
    net, seen = Skipping().eval(), []
    chosen, _ = select_layers(net, pictures(1, 12) * 0.2 + 0.8, "blocks.2")
    for x in (pictures(1, 12) * 0.2 + 0.8, pictures(1, 12) * 0.2):
        h = net.blocks[2].register_forward_hook(lambda m, a, o: seen.append(F.relu(a[0] + o)))
        with torch.no_grad():
            net(x)
        h.remove()
        assert torch.equal(next(iter(read_maps(net, x, chosen).values())), seen[-1])


def test_a_filter_is_known_by_its_weight():
    "The first of two filters is left out for dark images; the second is still itself."
    torch.manual_seed(0)
    net, dark = Weights().eval(), pictures(2, 12) * 0.2
    chosen, _ = select_layers(net, pictures(2, 12) * 0.2 + 0.8, "conv2d_1")
    with torch.no_grad():
        assert torch.equal(
            read_maps(net, dark, chosen)["conv2d_1+relu"], F.relu(F.conv2d(net.first(dark), net.b))
        )


def test_a_network_that_answers_differently_each_time_is_not_believed():
    torch.manual_seed(0)
    net = Alternating().eval()
    chosen, _ = select_layers(net, pictures(2, 12), "conv2")
    with pytest.raises(ValueError, match=r"never reached conv2\+relu"):
        read_maps(net, pictures(2, 12), chosen)
    assert torch.equal(
        *(
            read_maps(net, pictures(2, 12), chosen)["conv2+relu"],
            net.maps(pictures(2, 12))["conv2"].detach(),
        )
    )


class Crops(Net):
    "An image and its mirror image."

    def forward(self, x):
        return super().forward(torch.cat([x, x.flip(-1)])).view(2, len(x), -1).mean(0)


class Patches(Net):
    "Four patches of each image."

    def cut(self, x):
        p = x.unfold(2, 6, 6).unfold(3, 6, 6).permute(0, 2, 3, 1, 4, 5)
        return p.reshape(-1, x.shape[1], 6, 6)

    def forward(self, x):
        return super().forward(self.cut(x)).view(len(x), 4, -1).mean(1)

    def maps(self, x):
        found = super().maps(self.cut(x))
        whole = lambda p: p.view(len(x), 2, 2, 6, 6, 6).permute(0, 3, 1, 4, 2, 5).flatten(4)
        return {name: whole(p).flatten(2, 3) for name, p in found.items()}


class Overlapping(Net):
    "Patches that share pixels."

    def forward(self, x):
        p = x.unfold(2, 6, 3).unfold(3, 6, 3).permute(0, 2, 3, 1, 4, 5).reshape(-1, 3, 6, 6)
        return super().forward(p).view(len(x), 9, -1).mean(1)


class Brightest(Net):
    "Images in the order of their brightness."

    def forward(self, x):
        order = x.mean((1, 2, 3)).argsort()
        return super().forward(x[order])[order.argsort()]


class OneByOne(Net):
    "Images in a loop."

    def forward(self, x):
        return torch.cat([super(OneByOne, self).forward(x[i : i + 1]) for i in range(len(x))])

    def maps(self, x):
        found = [super(OneByOne, self).maps(x[i : i + 1]) for i in range(len(x))]
        return {name: torch.cat([f[name] for f in found]) for name in found[0]}


class Clip(Net):
    "Frames folded into the batch."

    def forward(self, x):
        return (
            super()
            .forward(x.repeat(1, 3, 1, 1).reshape(-1, 3, *x.shape[2:]))
            .view(len(x), 3, -1)
            .mean(1)
        )


class Turned(Net):
    "Images in the order of their brightness turned round."

    def forward(self, x):
        return super().forward(x.flip(0)).flip(0)


@pytest.mark.parametrize("cls", [Crops, Overlapping, Clip, Turned, Brightest])
@pytest.mark.parametrize("n", [1, 2, 5])
def test_rows_that_are_no_images_are_refused_before_the_pass(cls, n):
    torch.manual_seed(0)
    with pytest.raises(
        ValueError, match="layer 'conv1?' has no map: .*its first axis does not count images"
    ):
        select_layers(cls().eval(), pictures(n, 12), ["conv1"])
    with pytest.raises(ValueError, match="has no map"):
        select_layers(cls().eval(), pictures(n, 12), "conv", maps=False)
    SEEN.append((cls.__name__, 0, 2, "refused"))


@pytest.mark.parametrize("cls", [Patches, OneByOne])
def test_parts_of_an_image_are_put_together_and_images_of_a_loop_in_a_row(cls):
    torch.manual_seed(0)
    by_hand(cls.__name__, cls().eval(), batches=(1, 2, 5))


class Sometimes(Net):
    "Mirror images for dark images only: the example does not show it."

    def forward(self, x):
        return super().forward(x if x.mean() > 0.5 else torch.cat([x, x.flip(-1)]))[: len(x)]


def test_rows_that_are_no_images_are_refused_in_the_pass():
    torch.manual_seed(0)
    net = Sometimes().eval()
    chosen, _ = select_layers(net, pictures(2, 12) * 0.2 + 0.8, "conv")
    with pytest.raises(ValueError, match=r"layer 'conv1\+bn\+relu' gives 4 rows for 2 images"):
        read_maps(net, pictures(2, 12) * 0.2, chosen)


def keep(m, a, o):
    m.kept = o.detach().clone()


def first_only(m, a, o):
    m.__dict__.setdefault("kept", o.detach().clone())


def finite(m, a, o):
    assert torch.isfinite(o).all()


def logged(m, a, o):
    m.norm = float(o.norm())


def edges(m, a, o):
    m.edges = F.conv2d(o, torch.ones(6, 1, 3, 3), groups=6).abs().mean()


def rectified(m, a, o):
    m.sparsity = (F.relu(o) == 0).float().mean()


def printed(m, a, o):
    str(o.shape), o.size(2), o.cpu().numpy()


@pytest.mark.parametrize("look", [keep, first_only, finite, logged, edges, rectified, printed])
def test_those_who_look_change_nothing(look):
    torch.manual_seed(0)
    plain = Net().eval()
    for name in ("bn1", "conv1", "conv2"):
        net = copy.deepcopy(plain)
        getattr(net, name).register_forward_hook(look)
        table = by_hand(f"seen by {look.__name__}", net, reference=plain)
        assert list(table.layer) == ["conv1+bn+relu", "conv2+relu"]


class Deep(Net):
    "Deep supervision from a map before its activation."

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        a = self.bn1(self.conv1(x))
        side = self.head(a.mean((2, 3)))
        return {"aux": side, "out": self.fc(F.relu(self.conv2(F.relu(a))).mean((2, 3)))}


class Cached(Net):
    "A grid that is made in the first pass, with calls of its own."

    def forward(self, x):
        if not hasattr(self, "grid"):
            self.grid = (
                F.relu(F.conv2d(torch.ones(1, 1, *x.shape[2:]), torch.ones(6, 1, 1, 1))) * 0.1
            )
        a = self.first(x) + self.grid
        return self.fc(F.relu(self.conv2(a)).mean((2, 3)))

    def maps(self, x):
        a = self.first(x)
        return {"conv1": a, "conv2": F.relu(self.conv2(a + self.grid))}


class InPlace(Net):
    "Sums, activations and views that write into what is there."

    def forward(self, x):
        a = self.conv1(x)
        a[:, :3].relu_()
        b = self.conv2(F.relu_(a))
        b += a
        F.relu_(b)
        c = b + 0
        b.zero_()
        return self.fc(c.mean((2, 3)))

    def maps(self, x):
        a = F.relu(self.conv1(x))
        return {"conv1": self.conv1(x), "conv2": F.relu(self.conv2(a) + a)}


class Checkpointed(Net):
    def forward(self, x):
        return self.fc(
            checkpoint(
                lambda y: F.relu(self.conv2(y)),
                checkpoint(self.first, x, use_reentrant=True),
                use_reentrant=False,
            ).mean((2, 3))
        )


class Cast(Net):
    def forward(self, x):
        with torch.autocast("cpu", torch.bfloat16):
            return super().forward(x)

    def maps(self, x):
        with torch.autocast("cpu", torch.bfloat16):
            return super().maps(x)


class Context(Net):
    "A 1 x 1 layer that is added to a whole map."

    def __init__(self):
        super().__init__()
        self.context = nn.Conv2d(6, 6, 1)

    def forward(self, x):
        a = self.first(x)
        return self.fc(
            F.relu(self.conv2(a) + self.context(a.mean((2, 3), keepdim=True))).mean((2, 3))
        )

    def maps(self, x):
        a = self.first(x)
        return {
            "conv1": a,
            "conv2": F.relu(self.conv2(a) + self.context(a.mean((2, 3), keepdim=True))),
        }


class Gated(Net):
    "Squeeze and excitation."

    def __init__(self):
        super().__init__()
        self.down, self.up = nn.Conv2d(6, 2, 1), nn.Conv2d(2, 6, 1)

    def forward(self, x):
        a = self.first(x)
        gate = torch.sigmoid(self.up(F.relu(self.down(F.adaptive_avg_pool2d(a, 1)))))
        return self.fc(F.relu(self.conv2(a * gate)).mean((2, 3)))

    def maps(self, x):
        a = self.first(x)
        return {
            "conv1": a,
            "conv2": F.relu(
                self.conv2(
                    a * torch.sigmoid(self.up(F.relu(self.down(F.adaptive_avg_pool2d(a, 1)))))
                )
            ),
        }


class Blurred(Net):
    "Anti-aliased pooling by a fixed filter."

    def __init__(self):
        super().__init__()
        self.register_buffer("blur", torch.ones(6, 1, 3, 3) / 9)

    def forward(self, x):
        return self.fc(
            F.relu(self.conv2(F.conv2d(self.first(x), self.blur, stride=2, groups=6))).mean((2, 3))
        )

    def maps(self, x):
        a = self.first(x)
        return {"conv1": a, "conv2": F.relu(self.conv2(F.conv2d(a, self.blur, stride=2, groups=6)))}


class Direct(Net):
    "Calls forward itself, so that no hook fires, and swallows what is raised."

    def forward(self, x):
        try:
            return super().forward(x)
        except ValueError:
            return self.fc(self.first(x).mean((2, 3)))


class Hooked(Net):
    "A hook that replaces the output of a module."

    def __init__(self):
        super().__init__()
        self.conv1.register_forward_hook(lambda m, a, o: o * 2)


class Recounted(Net):
    "Convolutions called conv, again, and conv_1."

    def __init__(self):
        super().__init__()
        self.conv1_1 = nn.Conv2d(6, 6, 3, padding=1)
        self.conv1 = nn.Conv2d(6, 6, 3, padding=1)
        self.bn1, self.stem = nn.Identity(), nn.Conv2d(3, 6, 1)

    def forward(self, x):
        return self.fc(
            F.relu(self.conv1_1(F.relu(self.conv1(F.relu(self.conv1(self.stem(x))))))).mean((2, 3))
        )

    def maps(self, x):
        s = self.stem(x)
        a = F.relu(self.conv1(s))
        b = F.relu(self.conv1(a))
        return {"stem": s, "conv1": a, "conv1#1": b, "conv1_1": F.relu(self.conv1_1(b))}


class Branches(Net):
    "Three convolutions in one sum: the map belongs to one of them."

    def __init__(self):
        super().__init__()
        self.b, self.c = nn.Conv2d(6, 6, 1), nn.Conv2d(6, 6, 5, padding=2)

    def forward(self, x):
        a = self.first(x)
        return self.fc(F.relu(self.conv2(a) + self.b(a) + self.c(a)).mean((2, 3)))

    def maps(self, x):
        a = self.first(x)
        return {
            "conv1": a,
            "conv2": F.relu(self.conv2(a) + self.b(a) + self.c(a)),
            "b": self.b(a),
            "c": self.c(a),
        }


class Last(Net):
    "Channels last between the convolutions, as in ConvNeXt."

    def __init__(self):
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(6), nn.Linear(6, 12), nn.Linear(12, 6)

    def forward(self, x):
        a = self.first(x)
        b = self.down(F.gelu(self.up(self.norm(a.permute(0, 2, 3, 1))))).permute(0, 3, 1, 2)
        return self.fc(F.relu(self.conv2(a + b)).mean((2, 3)))

    def maps(self, x):
        a = self.first(x)
        up = F.gelu(self.up(self.norm(a.permute(0, 2, 3, 1))))
        b = self.down(up).permute(0, 3, 1, 2)
        return {
            "conv1": a,
            "up": up.permute(0, 3, 1, 2),
            "down": b,
            "conv2": F.relu(self.conv2(a + b)),
        }


class Tokens(Net):
    "Attention over positions, in windows and over all, and back to an image."

    def __init__(self):
        super().__init__()
        self.qkv, self.pixels, self.heads, self.windows = (
            nn.Linear(6, 18),
            nn.Conv2d(6, 6, 1),
            nn.Linear(2, 2),
            nn.Linear(6, 6),
        )

    def forward(self, x):
        a = self.first(x)
        n, c, h, w = a.shape
        q, k, v = (
            self.qkv(a.flatten(2).transpose(1, 2)).reshape(n, h * w, 3, 2, 3).permute(2, 0, 3, 1, 4)
        )
        mixed = self.heads((q @ k.transpose(-1, -2)).softmax(-1).permute(0, 2, 3, 1)).permute(
            0, 3, 1, 2
        )
        a = a + (mixed @ v).transpose(1, 2).reshape(n, h * w, c).transpose(1, 2).reshape(n, c, h, w)
        p = self.pixels(
            a.reshape(n, c, h // 2, 2, w // 2, 2).permute(0, 1, 3, 5, 2, 4).reshape(n, c, 4, -1)
        )
        a = a + p.reshape(n, c, 2, 2, h // 2, w // 2).permute(0, 1, 4, 2, 5, 3).reshape(n, c, h, w)
        s = self.windows(
            a.permute(0, 2, 3, 1)
            .reshape(n, h // 2, 2, w // 2, 2, c)
            .transpose(2, 3)
            .reshape(n, -1, 4, c)
        )
        a = a + s.reshape(n, h // 2, w // 2, 2, 2, c).transpose(2, 3).reshape(n, h, w, c).permute(
            0, 3, 1, 2
        )
        self.seen = a
        return self.fc(F.relu(self.conv2(a)).mean((2, 3)))

    def maps(self, x):
        self.forward(x)
        return {"conv1": self.first(x), "conv2": F.relu(self.conv2(self.seen))}


HANDMADE = {
    "plain": (Net, "conv"),
    "deep supervision": (Deep, "conv"),
    "cached": (Cached, ["conv1", "conv2"]),
    "in place": (InPlace, "conv"),
    "checkpointed": (Checkpointed, "conv"),
    "autocast": (Cast, "conv"),
    "context": (Context, "conv"),
    "gated": (Gated, "conv"),
    "blurred": (Blurred, "conv"),
    "direct": (Direct, "conv"),
    "hooked": (Hooked, ["conv1", "conv2"]),
    "recounted": (Recounted, "conv"),
    "branches": (Branches, "conv"),
    "channels last": (Last, ["conv", "up", "down"]),
    "tokens": (Tokens, ["conv1", "conv2"]),
}


@pytest.mark.parametrize("name", HANDMADE)
def test_networks_written_by_hand(name):
    torch.manual_seed(0)
    cls, layers = HANDMADE[name]
    net = cls().eval()
    if name == "cached":
        net(pictures(1, 12))
    by_hand(name, net, layers=layers)


def test_what_is_made_in_the_first_pass_only_moves_nothing():
    torch.manual_seed(0)
    net = Cached().eval()
    chosen, _ = select_layers(net, pictures(2, 12), ["conv1", "conv2"])
    assert torch.equal(
        read_maps(net, pictures(2, 12), chosen)["conv2+relu"],
        net.maps(pictures(2, 12))["conv2"].detach(),
    )


def test_layers_without_image_planes_have_no_map_and_the_others_keep_theirs():
    torch.manual_seed(0)
    table = list_layers(Tokens().eval(), pictures(2, 12)).set_index("module")
    assert table.height["heads"] == 0
    assert "not height and width of the image" in table.note["heads"]
    with pytest.raises(
        ValueError,
        match="layer 'heads' has no map: its axes are not height and width of the image",
    ):
        select_layers(Tokens().eval(), pictures(2, 12), "heads")
    for module in ("qkv", "pixels", "windows", "conv2"):
        assert (table.height[module], table.width[module], table.note[module]) == (12, 12, "")


def test_a_fixed_filter_is_no_convolution_of_the_network():
    torch.manual_seed(0)
    net = Blurred().eval()
    assert list(list_layers(net, pictures(2, 12)).module) == ["conv1", "conv2", "fc"]
    assert list(list_layers(net, pictures(2, 12), ("fixed",)).layer) == ["conv2d"]
    assert list(select_layers(net, pictures(2, 12), "conv2d")[0].kind) == ["fixed"]


def changed(how):
    "A network in another form, and the plain one."
    torch.manual_seed(0)
    plain = Net().eval()
    net = copy.deepcopy(plain)
    if how == "weight norm":
        torch.nn.utils.parametrizations.weight_norm(net.conv1)
    elif how == "spectral norm":
        torch.nn.utils.parametrizations.spectral_norm(net.conv2).eval()
    elif how == "pruned":
        torch.nn.utils.prune.random_unstructured(net.conv1, "weight", 0.5)
    elif how == "double":
        net, plain = net.double(), plain.double()
    elif how == "bfloat16":
        net, plain = net.bfloat16(), plain.bfloat16()
    elif how == "channels last":
        net = net.to(memory_format=torch.channels_last)
    elif how == "traced by fx":
        net = torch.fx.symbolic_trace(net)
    elif how == "wrapped":
        return nn.DataParallel(net), plain
    elif how == "averaged":
        return torch.optim.swa_utils.AveragedModel(net).eval(), plain
    elif how == "in training mode":
        net.train()
    elif how == "inference":
        net.forward = torch.inference_mode()(net.forward)
    elif how == "scripted activation":
        net.act = torch.jit.script(swish)
    elif how == "scripted part":
        net = Parts(net, torch.jit.script)
    elif how == "recorded part":
        net = Parts(net, lambda m: torch.jit.trace(m, torch.rand(2, 3, 12, 12)))
    elif how == "compiled part":
        net = Parts(net, lambda m: torch.compile(m, backend="eager"))
    return net, (
        net if how in ("weight norm", "spectral norm", "pruned", "scripted activation") else plain
    )


def swish(x):
    return x.mul(x.sigmoid())


class Parts(Net):
    "A part of the network in another form."

    def __init__(self, net, f):
        super().__init__()
        self.part = f(nn.Sequential(net.conv1, net.bn1, nn.ReLU()).eval())
        self.conv2, self.fc = net.conv2, net.fc
        del self.conv1, self.bn1

    def forward(self, x):
        return self.fc(F.relu(self.conv2(self.part(x))).mean((2, 3)))


@pytest.mark.parametrize(
    "how",
    [
        "weight norm",
        "spectral norm",
        "pruned",
        "double",
        "bfloat16",
        "channels last",
        "traced by fx",
        "wrapped",
        "averaged",
        "in training mode",
        "inference",
        "scripted activation",
        "scripted part",
        "recorded part",
        "compiled part",
    ],
)
def test_forms_of_one_network(how):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net, plain = changed(how)
        chosen, _ = select_layers(net, pictures(2, 12).to(next(plain.parameters()).dtype), "conv")
        assert len(chosen) == 2
        for n in (1, 2, 32, 2, 3):
            x = pictures(n, 12, seed=n).to(next(plain.parameters()).dtype)
            got = read_maps(net, x, chosen)
            with torch.no_grad():
                want = plain.maps(x)
            for maps, module in zip(got.values(), want):
                torch.testing.assert_close(maps, want[module], rtol=1e-5, atol=1e-6)
    SEEN.append((how, len(chosen), 0, "equal"))


def quantised():
    net = nn.Sequential(
        torch.ao.quantization.QuantStub(), nn.Conv2d(3, 4, 3), torch.ao.quantization.DeQuantStub()
    ).eval()
    net.qconfig = torch.ao.quantization.get_default_qconfig(torch.backends.quantized.engine)
    torch.ao.quantization.prepare(net, inplace=True)
    net(pictures(2, 8))
    return torch.ao.quantization.convert(net)


REFUSED = {
    "lazy": (
        lambda: nn.Sequential(nn.LazyConv2d(4, 3), nn.ReLU()),
        ValueError,
        "have no weights yet: run the network once",
    ),
    "meta": (lambda: Net().to("meta"), ValueError, "meta device and has no values"),
    "scripted": (
        lambda: torch.jit.script(nn.Sequential(nn.Conv2d(3, 4, 3))),
        TypeError,
        "Pass the nn.Module that it was made from",
    ),
    "exported": (
        lambda: torch.export.export(Net().eval(), (pictures(2, 12),)).module(),
        TypeError,
        "torch.export module cannot be put in eval mode",
    ),
    "quantised": (quantised, ValueError, "is quantised.*Pass the floating point network"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_listened_to_is_told_with_what_to_pass_instead(name):
    make, kind, text = REFUSED[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = make()
    with pytest.raises(kind, match=text):
        list_layers(net, pictures(2, 12))
    SEEN.append((name, 0, 0, "refused"))


@pytest.mark.parametrize(
    "error",
    [
        AssertionError("odd size"),
        KeyError("stage"),
        IndexError("no more"),
        AttributeError("nothing"),
        TypeError("bad"),
        NotImplementedError(),
        ZeroDivisionError("by zero"),
    ],
)
def test_whatever_a_network_raises_is_told_with_the_shape(error):
    class Raising(Net):
        def forward(self, x):
            raise error

    with pytest.raises(
        ValueError, match=rf"fails on an image of shape \(3, 12, 12\) with {type(error).__name__}: "
    ) as found:
        list_layers(Raising(), pictures(2, 12))
    assert found.value.__cause__ is error

    class Full(Net):
        def forward(self, x):
            raise MemoryError

    with pytest.raises(MemoryError):
        list_layers(Full(), pictures(2, 12))


def test_a_gate_that_halves_the_units_is_told():
    torch.manual_seed(0)
    net = Net(lambda x: F.glu(x, 1).repeat(1, 2, 1, 1)).eval()
    with pytest.warns(
        UserWarning,
        match=r"conv1\+bn, conv2 are not the activated ones: read before what follows \(glu\)",
    ):
        chosen, _ = select_layers(net, pictures(2, 12), "conv")
    assert not chosen.activated.any()
    assert torch.equal(
        read_maps(net, pictures(2, 12), chosen)["conv1+bn"],
        net.bn1(net.conv1(pictures(2, 12))).detach(),
    )


def test_an_activation_that_cannot_be_heard_is_told():
    class Numpy(Net):
        def first(self, x):
            return torch.from_numpy(self.bn1(self.conv1(x)).detach().numpy().clip(0))

    with pytest.warns(
        UserWarning,
        match=r"maps of conv1\+bn are not the activated ones: read before its activation, "
        "or its output goes where calls cannot be heard",
    ):
        chosen, _ = select_layers(Numpy().eval(), pictures(2, 12), "conv")
    assert dict(zip(chosen.layer, chosen.activated)) == {"conv1+bn": False, "conv2+relu": True}


def test_parts_that_are_compiled_are_named():
    net, _ = changed("scripted part")
    with pytest.warns(
        UserWarning,
        match=r"layers inside part \(RecursiveScriptModule\).*cannot be told apart by name",
    ):
        select_layers(net, pictures(2, 12), "conv")


class Made(Net):
    "Goes on with what a function makes of the first convolution."

    def __init__(self, after, **parts):
        super().__init__()
        self.after = after
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        y = self.after(self, self.conv1(x))
        return self.fc(F.relu(self.conv2(y)).mean((2, 3)))


def written(write):
    "A function that writes into a map, and goes on with it."

    def after(m, y):
        write(y)
        return y

    return after


def halves(how):
    return lambda m, y: how(y[:, :3], y[:, 3:]).repeat(1, 2, 1, 1)


def half_by_a_mask(y):
    y[:, :3][y[:, :3] < 0] = 0


def half_at_a_time(y):
    y[:, :3], y[:, 3:] = F.relu(y[:, :3]), F.relu(y[:, 3:])


HIDDEN = {
    "folded": (lambda m, y: F.relu(y.reshape(-1, 1, *y.shape[2:])).reshape(y.shape), "relu"),
    "permuted": (lambda m, y: F.gelu(y.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), "gelu"),
    "flattened": (lambda m, y: torch.sigmoid(y.flatten(2)).unflatten(2, y.shape[2:]), "sigmoid"),
    "pooled first": (lambda m, y: F.relu(F.avg_pool2d(y, 2)), "relu"),
    "shuffled first": (lambda m, y: F.relu(F.pixel_shuffle(y.repeat(1, 4, 1, 1), 2)), "relu"),
    "copied": (written(lambda y: y.copy_(F.relu(y))), "relu"),
    "half at a time": (written(half_at_a_time), "relu"),
    "half of it": (written(lambda y: y[:, :3].relu_()), "relu"),
    "in a view": (written(lambda y: y.view(-1).clamp_(min=0)), "clamp"),
    "in its data": (written(lambda y: y.data.clamp_(min=0)), "clamp"),
    "half by a mask": (written(half_by_a_mask), "lt"),
    "stacked": (lambda m, y: torch.stack([y, torch.zeros_like(y)]).amax(0), "amax"),
    "of both signs": (lambda m, y: torch.cat([F.relu(y), F.relu(-y)], 1)[:, 3:9], "relu"),
    "maxout": (halves(torch.max), "max"),
    "gate of halves": (halves(torch.mul), "mul"),
    "gated linear": (halves(lambda a, b: a * torch.sigmoid(b)), "sigmoid"),
    "normalised, then folded": (
        lambda m, y: F.relu(m.bn1(y).reshape(-1, 1, *y.shape[2:])).reshape(y.shape),
        "relu",
    ),
    "sorted in pairs": (
        lambda m, y: y.view(len(y), 3, 2, *y.shape[2:]).sort(2)[0].view(y.shape),
        "sort",
    ),
    "by an unusual name": (lambda m, y: torch.special.expit(y), "special_expit"),
    "of another kind": (lambda m, y: torch.atan2(y, torch.ones_like(y)), "atan2"),
    "energy": (
        lambda m, y: y * torch.sigmoid((y - y.mean((2, 3), keepdim=True)) ** 2),
        "pow, sigmoid",
    ),
}


@pytest.mark.parametrize("how", HIDDEN)
def test_an_activation_that_hides_from_the_walk_is_told(how):
    torch.manual_seed(0)
    after, ops = HIDDEN[how]
    net, x = Made(after).eval(), pictures(2, 12)
    with pytest.warns(
        UserWarning,
        match=r"^the maps of conv1(\+bn)? are not the activated ones: read before what follows \(",
    ) as told:
        chosen, _ = select_layers(net, x, "conv")
    note = chosen.note[0]
    assert len(told) == 1 and list(chosen.activated) == [False, True] and chosen.note[1] == ""
    assert set(ops.split(", ")) & set(note.partition("(")[2].rstrip(")").split(", ")), note
    raw = net.conv1(x) if chosen.layer[0] == "conv1" else net.bn1(net.conv1(x))
    assert torch.equal(read_maps(net, x, chosen)[chosen.layer[0]], raw.detach())


def layer_norm(y):
    centred = y - y.mean(1, keepdim=True)
    return centred / torch.sqrt(centred.pow(2).mean(1, keepdim=True) + 1e-6)


def convolution():
    return nn.Conv2d(6, 6, 1)


def attended(m, y):
    return y * torch.sigmoid(
        m.part(torch.cat([y.mean(1, keepdim=True), y.amax(1, keepdim=True)], 1))
    )


def noted(m, y):
    m.share = (F.relu(y.flatten(2)) == 0).float().mean()


HONEST = {
    "straight on": (lambda m, y: y, None),
    "normalised": (lambda m, y: m.bn1(y), None),
    "normalised by hand": (lambda m, y: layer_norm(y), None),
    "of one length": (lambda m, y: y * torch.rsqrt(y.pow(2).mean(1, keepdim=True) + 1e-8), None),
    "pooled": (lambda m, y: F.max_pool2d(y, 2), None),
    "averaged": (lambda m, y: F.avg_pool2d(y.flip(3), 2), None),
    "moved and scaled": (lambda m, y: 0.5 * y.permute(0, 2, 3, 1).permute(0, 3, 1, 2) - 1, None),
    "a border of zeros": (written(lambda y: y[:, :, 0].fill_(0)), None),
    "before a residual": (lambda m, y: y + m.part(F.relu(m.bn1(y))), convolution),
    "before a residual in place": (lambda m, y: y.add_(m.part(F.relu(m.bn1(y)))), convolution),
    "before a residual, folded": (
        lambda m, y: y + m.part(F.relu(y.flatten(2)).view(y.shape)),
        convolution,
    ),
    "squeezed and excited": (
        lambda m, y: y * torch.sigmoid(m.part(F.adaptive_avg_pool2d(y, 1))),
        convolution,
    ),
    "gated by its mean": (lambda m, y: y * torch.sigmoid(y.mean((2, 3), keepdim=True)), None),
    "attended": (attended, lambda: nn.Conv2d(2, 1, 3, padding=1)),
    "joined": (lambda m, y: torch.cat([y, F.relu(y)], 1)[:, 2:8], None),
    "of one length by a call": (lambda m, y: F.normalize(y, dim=1), None),
    "normalised by its neighbours": (lambda m, y: F.local_response_norm(y, 3), None),
    "weights of an average": (lambda m, y: y.flatten(2).softmax(-1).view(y.shape), None),
    "gated by another": (lambda m, y: y * torch.sigmoid(m.part(F.relu(m.bn1(y)))), convolution),
    "looked at": (lambda m, y: (noted(m, y), y)[1], None),
}


@pytest.mark.parametrize("how", HONEST)
def test_a_map_that_the_network_takes_as_it_is_is_no_reason_to_warn(how):
    torch.manual_seed(0)
    after, part = HONEST[how]
    net = Made(after, **({"part": part()} if part else {})).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chosen, _ = select_layers(net, pictures(2, 12), ["conv1", "conv2"])
    assert list(chosen.note) == ["", ""] and not chosen.activated[0]


@pytest.mark.parametrize(
    "write",
    [
        written(lambda y: y.__setitem__((slice(None), slice(None), 0), 0)),
        lambda m, y: torch.where(torch.eye(12) > 0, y, -y),
        lambda m, y: y.masked_fill(torch.eye(12) > 0, 1.0),
    ],
)
def test_constants_in_a_map_are_no_activation_and_the_next_one_is_found(write):
    torch.manual_seed(0)
    net, x = Made(lambda m, y: F.relu(write(m, y))).eval(), pictures(2, 12)
    assert torch.equal(
        conv1 := read_maps(net, x, select_layers(net, x, "conv1")[0]).popitem()[1],
        F.relu(write(net, net.conv1(x))).detach(),
    ), conv1
    plain = Made(write).eval()
    assert (
        list(list_layers(plain, x).activated) == [False, True, False]
        and not list_layers(plain, x).note.any()
    )


@pytest.mark.parametrize(
    "head",
    [
        lambda y: y,
        lambda y: torch.sigmoid(y.mean((2, 3))),
        lambda y: y.amax((2, 3)),
        lambda y: F.softmax(y, 1),
    ],
)
def test_the_end_of_a_network_is_no_hidden_activation(head):
    torch.manual_seed(0)

    class Ends(Net):
        def forward(self, x):
            return head(self.conv2(self.first(x)))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(select_layers(Ends().eval(), pictures(2, 12), "conv")[0].note) == ["", ""]


def test_a_change_that_nobody_counts_is_told_and_the_map_is_copied_before_it():
    torch.manual_seed(0)

    def change(y):
        y.numpy()[...] = y.numpy().clip(0) * 2

    net, x = Made(written(change)).eval(), pictures(2, 12)
    with pytest.warns(
        UserWarning,
        match="conv1 are not the activated ones: read before its memory was changed "
        "where calls cannot be heard",
    ):
        chosen, _ = select_layers(net, x, "conv")
    assert torch.equal(read_maps(net, x, chosen)["conv1"], net.conv1(x).detach())
    net = Made(lambda m, y: written(change)(m, F.relu(y))).eval()
    chosen, _ = select_layers(net, x, "conv")
    assert torch.equal(read_maps(net, x, chosen)["conv1+relu"], F.relu(net.conv1(x)).detach())


def test_a_network_that_is_mapped_over_its_images_is_traced_all_the_same():
    torch.manual_seed(0)
    net, x = (
        Made(lambda m, y: torch.vmap(lambda v: F.relu(m.bn1(m.conv2(v[None])))[0])(y)).eval(),
        pictures(2, 12),
    )
    chosen, left = select_layers(net, x, "conv")
    assert list(chosen.module) == ["conv1", "conv2_1"] and left == ["conv2+bn+relu"]


class Facing(Net):
    "Sees its images turned."

    def __init__(self, turn, back, channels=3):
        super().__init__()
        self.turn, self.back = turn, back
        self.conv1 = nn.Conv2d(channels, 6, 3, padding=1)

    def forward(self, x):
        return self.fc(F.relu(self.conv2(self.back(self.first(self.turn(x))))).mean((2, 3)))

    def maps(self, x):
        a = self.first(self.turn(x))
        return {"conv1": a, "conv2": F.relu(self.conv2(self.back(a)))}


TURNS = {
    "transposed": (lambda x: x.transpose(2, 3), lambda y: y.transpose(2, 3), 3),
    "transposed for good": (lambda x: x.mT.contiguous(), lambda y: y, 3),
    "transposed, of one channel": (
        lambda x: x[:, :1].transpose(2, 3),
        lambda y: y.transpose(2, 3),
        1,
    ),
    "rotated": (lambda x: torch.rot90(x, 1, (2, 3)), lambda y: torch.rot90(y, -1, (2, 3)), 3),
    "upside down": (lambda x: x.flip(2), lambda y: y.flip(2), 3),
    "mirrored": (lambda x: x.flip(3), lambda y: y, 3),
    "both": (lambda x: x.flip(2, 3).transpose(2, 3), lambda y: y.transpose(2, 3).flip(2, 3), 3),
    "unshuffled": (
        lambda x: F.pixel_unshuffle(x, 2),
        lambda y: F.pixel_shuffle(y.repeat(1, 4, 1, 1), 2),
        12,
    ),
    "every second pixel": (
        lambda x: torch.cat([x[..., ::2, ::2], x[..., 1::2, 1::2]], 1),
        lambda y: y,
        6,
    ),
    "channels last between": (
        lambda x: x.permute(0, 2, 3, 1).permute(0, 3, 1, 2),
        lambda y: y.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2),
        3,
    ),
    "channels last, transposed": (
        lambda x: x.permute(0, 3, 2, 1).permute(0, 3, 1, 2),
        lambda y: y,
        3,
    ),
    "at another scale": (
        lambda x: F.interpolate(x.transpose(2, 3), scale_factor=0.5),
        lambda y: y,
        3,
    ),
}


@pytest.mark.parametrize("how", TURNS)
@pytest.mark.parametrize("size", [(12, 12), (12, 8), (6, 12)])
def test_a_turned_image_has_the_map_that_a_hook_sees(how, size):
    torch.manual_seed(0)
    turn, back, channels = TURNS[how]
    net = Facing(turn, back, channels).eval()
    x = torch.rand(5, 3, *size)
    chosen, left = select_layers(net, x, "conv")
    assert list(chosen.module) == ["conv1", "conv2"] and not left
    maps = read_maps(net, x, chosen)
    for row in chosen.itertuples():
        want = net.maps(x)[row.module].detach()
        assert (
            torch.equal(maps[row.layer], want)
            and (row.units, row.height, row.width) == want.shape[1:]
        ), row.layer


@pytest.mark.parametrize(
    "turn",
    [lambda x: x.permute(0, 2, 1, 3), lambda x: x.transpose(1, 3), lambda x: x.permute(0, 3, 2, 1)],
)
def test_an_image_with_its_channels_among_its_planes_has_no_map(turn):
    torch.manual_seed(0)
    net = Facing(turn, lambda y: y, 12).eval()
    assert (
        dict(zip(*(list_layers(net, pictures(2, 12))[c] for c in ("module", "height"))))["conv1"]
        == 0
    )
    with pytest.raises(
        ValueError, match="layer 'conv1' has no map: its axes are not height and width of the image"
    ):
        select_layers(net, pictures(2, 12), "conv1")


def test_a_layer_that_mixes_the_rows_of_an_image_has_no_map():
    torch.manual_seed(0)
    net = Made(
        lambda m, y: y + m.rows(y.permute(0, 3, 1, 2)).permute(0, 2, 3, 1), rows=nn.Linear(12, 12)
    ).eval()
    with pytest.raises(
        ValueError, match="layer 'rows' has no map: its axes are not height and width of the image"
    ):
        select_layers(net, pictures(2, 12), "rows")
    assert list(select_layers(net, pictures(2, 12), "conv")[0].module) == ["conv1", "conv2"]


def test_convolutions_without_a_call_are_kept_in_the_table():
    class Deaf(Net):
        def __init__(self):
            super().__init__()
            self.aux, self.mixed, self.lent, self.tall = (
                nn.Conv2d(6, 3, 1),
                nn.Conv2d(6, 6, 1),
                nn.Conv2d(6, 6, 1),
                nn.Linear(6, 2),
            )

        def forward(self, x):
            y = torch.einsum("nchw,oc->nohw", self.first(x), self.mixed.weight[:, :, 0, 0])
            out = self.fc(F.relu(self.conv2(F.conv2d(y, self.lent.weight))).mean((2, 3)))
            return (out, self.aux(y)) if self.training else out

    torch.manual_seed(0)
    net, x = Deaf(), pictures(2, 12)
    for network in (net, nn.DataParallel(net)):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            chosen, _ = select_layers(network, x, ["conv1", "conv2"])
        assert (
            chosen.attrs["unheard"] == list_layers(network, x).attrs["unheard"] == ["aux", "mixed"]
        )
    assert select_layers(Net(), x, "conv")[0].attrs["unheard"] == []


def test_every_note_is_told_once_with_the_layers_that_it_belongs_to():
    class Many(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = (
                nn.ModuleList([nn.Conv2d(4, 4, 1) for _ in range(n)]) for n in (7, 1, 2)
            )

        def forward(self, x):
            for conv in self.a:
                x = F.gelu(conv(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            for conv in self.b:
                x = F.glu(conv(x), 1).repeat(1, 2, 1, 1)
            for conv in self.c:
                x = torch.max(*conv(x).chunk(2, 1)).repeat(1, 2, 1, 1)
            return x.mean((2, 3))  # an average of curved values

    with pytest.warns(UserWarning, match="maps of") as told:
        select_layers(Many(), pictures(2, 8, 4), "conv")
    (text,) = [str(w.message) for w in told]
    before = "are not the activated ones: read before what follows"
    assert text == (
        f"the maps of a.0, a.1, a.2, a.3, a.4 and 2 more {before} (gelu); "
        f"the maps of b.0 {before} (glu); "
        f"the maps of c.0, c.1 {before} (max). list_layers shows it in its column note"
    )


@pytest.mark.parametrize(
    "name,size",
    [
        ("resnet18", 64),
        ("densenet121", 64),
        ("mobilenet_v3_small", 64),
        ("efficientnet_b0", 64),
        ("convnext_tiny", 64),
        ("googlenet", 64),
        ("inception_v3", 96),
        ("swin_t", 64),
        ("vgg11_bn", 64),
    ],
)
def test_ordinary_networks_are_read_without_a_warning(name, size):
    net = getattr(tv, name)(
        weights=None, **({"init_weights": False} if name in ("googlenet", "inception_v3") else {})
    ).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chosen, left = select_layers(net, pictures(2, size), "conv")
    assert set(chosen.note) == {""}
    aux = {
        "googlenet": ["aux1.conv.conv", "aux2.conv.conv"],
        "inception_v3": ["AuxLogits.conv0.conv", "AuxLogits.conv1.conv"],
    }
    assert chosen.attrs["unheard"] == aux.get(name, [])


def test_the_zoo_is_large_enough():
    "Last: the table."
    print(
        "\n"
        + "\n".join(
            f"{name:32} {layers:4} layers  {out:3} left out  {verdict}"
            for name, layers, out, verdict in SEEN
        )
    )
    assert {v for *_, v in SEEN} <= {"equal", "refused"}
    if any(name == "vit" for name, *_ in SEEN):
        assert len({name for name, *_ in SEEN}) >= 40
