"Maps are read where they should be, whatever the network is made of, and no hook stays on it."

import gc
import tracemalloc

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from featent.data.layers import list_layers, select_layers
from featent.data.maps import read_maps, stream
from featent.data.networks import network
from featent.data.sampling import images


def x_of(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def conv_maps(net, x, layers="conv"):
    "Maps of the chosen layers by their module's name."
    chosen, _ = select_layers(net, x, layers)
    maps = read_maps(net, x, chosen)
    return {row.module: maps[row.layer] for row in chosen.itertuples()}


def clean(net):
    return not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


@pytest.fixture
def resnet():
    torch.manual_seed(0)
    return network("resnet18", seed=3)


def by_hand(resnet, x):
    "Maps of resnet18's first stages, written out without any module's ReLU."
    with torch.no_grad():
        y = F.relu(resnet.bn1(resnet.conv1(x)))
        maps = {"conv1": y}
        y = F.max_pool2d(y, 3, 2, 1)
        for stage in (resnet.layer1, resnet.layer2):
            for block in stage:
                a = F.relu(block.bn1(block.conv1(y)))
                short = y if block.downsample is None else block.downsample(y)
                b = block.bn2(block.conv2(a))
                name = next(n for n, m in resnet.named_modules() if m is block)
                y = F.relu(b + short)
                maps |= {f"{name}.conv1": a, f"{name}.conv2": y}
                if block.downsample is not None:
                    maps[f"{name}.downsample.0"] = short
    return maps


def test_resnet_with_a_reused_in_place_relu(resnet):
    assert resnet.layer1[0].relu.inplace
    x = x_of(2, 3, 64, 64)
    expected, got = by_hand(resnet.eval(), x), conv_maps(resnet, x)
    assert set(expected) <= set(got)
    for name, maps in expected.items():
        assert torch.equal(got[name], maps), name


class Functional(nn.Module):
    "No activation is a module; a convolution used twice, a bare parameter, a tuple as output."

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.bare = nn.Parameter(torch.randn(4, 6, 1, 1))
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        a = F.relu(self.conv1(x))
        b = F.relu(F.max_pool2d(self.conv2(a), 2))
        c = torch.relu_(self.conv2(b))
        d = F.conv2d(c, self.bare).clamp(min=0)
        return self.fc(d.mean((2, 3))), {"aux": d}

    def maps(self, x):
        with torch.no_grad():
            a = F.relu(self.conv1(x))
            b = F.max_pool2d(self.conv2(a), 2).relu()
            c = self.conv2(b).relu()
            return {"conv1": a, "conv2": b, "conv2_1": c, "conv2d": F.conv2d(c, self.bare).relu()}


def test_functional_network():
    torch.manual_seed(0)
    net, x = Functional().eval(), x_of(3, 3, 12, 12)
    got = conv_maps(net, x)
    for name, maps in net.maps(x).items():
        assert torch.equal(got[name], maps), name
    assert set(got) == {"conv1", "conv2", "conv2_1", "conv2d"}
    assert list(list_layers(net, x).activated) == [True] * 4 + [False]
    assert list_layers(net, x).layer[1] == "conv2+pool+relu"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_precision_of_the_network(dtype):
    torch.manual_seed(0)
    net, x = Functional().eval().to(dtype), x_of(2, 3, 12, 12)
    got = conv_maps(net, x)
    for name, maps in net.maps(x.to(dtype)).items():
        assert got[name].dtype == dtype and torch.equal(got[name], maps), name


def test_wrapped_networks(resnet):
    x = x_of(1, 3, 64, 64)
    plain, wrapped = conv_maps(resnet, x), conv_maps(nn.DataParallel(resnet), x)
    assert all(torch.equal(plain[k], wrapped[k]) for k in plain)
    with pytest.raises(TypeError, match="ScriptModule cannot be assessed"):
        list_layers(torch.jit.script(nn.Sequential(nn.Conv2d(3, 3, 3))), x)
    with pytest.raises(TypeError, match="expected an nn.Module, got str"):
        list_layers("resnet18", x)


def test_modes_are_given_back(resnet):
    resnet.train()
    resnet.layer1.eval()
    modes = [m.training for m in resnet.modules()]
    before = {k: v.clone() for k, v in resnet.state_dict().items()}
    conv_maps(resnet, x_of(2, 3, 64, 64))
    assert [m.training for m in resnet.modules()] == modes
    assert all(torch.equal(v, before[k]) for k, v in resnet.state_dict().items())


@pytest.mark.parametrize(
    "shape,told", [((1, 16, 16), "to have 3 channels"), ((3, 9, 9), "cannot be multiplied")]
)
def test_images_that_do_not_fit_are_told_with_their_shape(shape, told):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 14 * 14, 2))
    with pytest.raises(
        ValueError,
        match=rf"image of shape \({shape[0]}, .*{told}.*preprocess\(size=..., channels=...\)",
    ):
        list_layers(net, torch.rand(shape))


@pytest.mark.parametrize("error", [RuntimeError("broken"), KeyboardInterrupt()])
def test_nothing_stays_after_an_error_or_an_interrupt(resnet, error):
    def fail(*_):
        raise error

    x = x_of(1, 3, 64, 64)
    chosen, _ = select_layers(resnet, x, "conv")
    resnet.train()
    with pytest.raises(type(error)):
        read_maps(resnet, x, chosen, fail)
    assert clean(resnet) and resnet.training and torch.is_grad_enabled()
    resnet.layer2.forward = fail
    with pytest.raises(
        ValueError if isinstance(error, RuntimeError) else type(error), match=str(error) or None
    ):
        list_layers(resnet, x)
    del resnet.layer2.forward
    assert clean(resnet) and resnet.training
    assert torch.equal(x + 0, x)  # no listener is left


def test_reads_only_what_was_chosen(resnet):
    assert set(conv_maps(resnet, x_of(1, 3, 64, 64), "layer1.0.*")) == {
        "layer1.0.conv1",
        "layer1.0.conv2",
    }
    assert torch.equal(
        conv_maps(resnet, x_of(1, 3, 64, 64), "layer2")["layer2"],
        conv_maps(resnet, x_of(1, 3, 64, 64))["layer2.1.conv2"],
    )


def test_unknown_layers_are_named(resnet):
    x = x_of(1, 3, 64, 64)
    with pytest.raises(
        ValueError, match=r"no layer matches 'layer9\.conv1'.*any of: conv1, layer1\.0\.conv1"
    ):
        select_layers(resnet, x, "layer9.conv1")
    with pytest.raises(ValueError, match="layer 'fc' has no map.*Layers with maps: conv1"):
        select_layers(resnet, x, "fc")
    with pytest.raises(ValueError, match="no layer selected"):
        select_layers(resnet, x, [])
    assert select_layers(resnet, x, ["conv", "linear"][0:1])[1] == []


def test_layers_without_a_map_are_reported():
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Conv2d(4, 5, 1),
        nn.Flatten(),
        nn.Linear(5, 2),
    )
    chosen, left_out = select_layers(net, x_of(1, 3, 8, 8), "conv")
    assert list(chosen.layer) == ["0+relu"] and left_out == ["3"]


def test_another_path_or_size_is_refused():
    class Fickle(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)

        def forward(self, x):
            return F.relu((self.a if x.mean() < 1 else self.b)(x))

    net, x = Fickle(), torch.zeros(1, 3, 8, 8)
    chosen, _ = select_layers(net, x, "conv")
    with pytest.raises(
        ValueError, match=r"took another path than in the traced example and never reached a\+relu"
    ):
        read_maps(net, x + 2, chosen)
    with pytest.raises(ValueError, match="all images must have one size"):
        read_maps(net, torch.zeros(1, 3, 9, 9), chosen)


class Overwriting(nn.Module):
    "Writes into its own maps: at once, through a view, or only when the image is bright."

    def __init__(self, how):
        super().__init__()
        self.how, self.conv = how, nn.Conv2d(3, 4, 3)

    def forward(self, x):
        y = F.relu(self.conv(x))
        z = y + 0
        if self.how == "whole":
            y.mul_(-1)
        elif self.how == "view":
            y[:, :2].zero_()
        elif x.mean() > 0.5:
            y.add_(1)
        return z


@pytest.mark.parametrize("how", ["whole", "view", "sometimes"])
def test_maps_that_the_network_overwrites_later(how):
    torch.manual_seed(0)
    net, x = Overwriting(how), x_of(2, 3, 8, 8).clamp(max=0.5)
    got = conv_maps(net, x)["conv"]
    assert torch.equal(got, F.relu(net.conv(x)).detach())
    chosen, _ = select_layers(net, x, "conv")
    assert list(chosen.overwritten) == [how != "sometimes"]
    if how == "sometimes":
        with pytest.raises(ValueError, match=r"overwrote the maps of conv\+relu"):
            read_maps(net, x + 2, chosen)


@pytest.mark.parametrize("weight", [[10.0, -10.0], [10.0, 10.0]], ids=["nan", "inf"])
def test_nan_and_inf_name_the_layer_and_the_image(weight):
    data = [(torch.rand(1, 16, 16), 0) for _ in range(6)]
    data[4] = torch.full((1, 16, 16), 3e38), 0  # finite, but not after this convolution
    few, net = images(data), nn.Sequential(nn.Conv2d(1, 1, (1, 2)), nn.ReLU())
    with torch.no_grad():
        net[0].weight[:] = torch.tensor(weight)
    chosen, _ = select_layers(net, few, "conv")
    with pytest.raises(
        ValueError,
        match=rf"layer '0\+relu' has NaN or infinite activations for image 4 \('{few.names[4]}'\)",
    ):
        list(stream(net, few, chosen, batch_size=3))
    assert clean(net)


@pytest.mark.parametrize(
    "name",
    [
        "alexnet",
        "squeezenet1_1",
        "densenet121",
        "mobilenet_v2",
        "efficientnet_b0",
        "googlenet",
        "shufflenet_v2_x0_5",
        "convnext_tiny",
        "inception_v3",
        "vgg11_bn",
        "regnet_y_400mf",
    ],
)
def test_torchvision_networks(name):
    "Every convolution is listed once, and its map is the one that the traced call makes."
    net = network(name)
    size = 96 if name != "inception_v3" else 128
    layers = list_layers(net, (1, 3, size, size))
    convs = [
        n
        for n, m in net.named_modules()
        if isinstance(m, nn.Conv2d) and not n.startswith(("aux", "AuxLogits"))
    ]
    assert sorted(layers.module[layers.kind == "conv"]) == sorted(convs)
    assert layers.layer.is_unique
    if name in ("alexnet", "squeezenet1_1", "vgg11_bn", "googlenet", "inception_v3"):
        assert layers.activated[layers.kind == "conv"][:-1].all()


def test_memory_does_not_grow_with_images():
    net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU())

    def peak(n):
        data = images([(torch.zeros(1, 32, 32), 0)] * n)
        chosen, _ = select_layers(net, data, "conv")
        gc.collect()
        tracemalloc.start()
        for _ in stream(
            net, data, chosen, lambda name, maps, index: maps.mean((2, 3)), batch_size=8
        ):
            pass
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    assert peak(400) < 2 * peak(40) + 200_000
