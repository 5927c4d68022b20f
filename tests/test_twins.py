"""Random twins are of the network as it is; networks of one's own code and their errors."""

import functools
import json

import pytest
import torch
import torchvision
from torch import nn

from featent.data.evaluation import accuracy
from featent.data.networks import network
from featent.data.records import weights_hash
from featent.data.sampling import images
from featent.data.twins import random_twin


def swapped(net, new):
    "The network with its ReLUs exchanged"
    for n, c in net.named_children():
        if isinstance(c, nn.ReLU):
            setattr(net, n, new())
        else:
            swapped(c, new)
    return net


def kinds(net):
    return [type(m).__name__ for m in net.modules()]


def lazy_shift(m, x, y):
    return y + 1


ALTERED = {
    "activation": lambda net: swapped(net, nn.GELU),
    "slope": lambda net: swapped(net, functools.partial(nn.LeakyReLU, 0.3)),
    "no pooling": lambda net: setattr(net.features, "pool2", nn.Identity()),
    "stride": lambda net: setattr(net.features.conv3, "stride", (2, 2)),
    "padding": lambda net: setattr(net.features.conv3, "padding_mode", "circular"),
    "eps": lambda net: setattr(net.features.bn1, "eps", 0.1),
    "head": lambda net: setattr(net, "fc", nn.Sequential(nn.Linear(128, 3), nn.Linear(3, 10))),
    "shorter": lambda net: (
        [delattr(net.features, k) for k in ("conv6", "bn6", "relu6")]
        and setattr(net.features, "conv5", nn.Conv2d(64, 128, 3))
    ),
    "forward": lambda net: setattr(
        net.pool, "forward", functools.partial(torch.mean, dim=(2, 3), keepdim=True)
    ),
}


@pytest.mark.parametrize("how", ALTERED)
def test_the_twin_of_an_altered_named_network_is_altered_too(how):
    net = network("small_vgg", in_channels=1, seed=0)
    ALTERED[how](net)
    x = torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    twin = random_twin(net, seed=3)
    assert twin.featent["control"] == "reset_parameters" and kinds(twin) == kinds(net)
    with torch.no_grad():
        expected, found = net(x), twin(x)
    assert not torch.equal(expected, found)
    twin.load_state_dict(net.state_dict())
    with torch.no_grad():
        assert torch.equal(twin(x), expected)  # the same function, once the weights are the same


def test_an_unaltered_named_network_is_built_again_bit_by_bit():
    net = network("small_vgg", in_channels=1, seed=0)
    twin = random_twin(net, seed=4)
    assert (
        weights_hash(twin) == weights_hash(network("small_vgg", in_channels=1, seed=4))
        and twin.featent["control"] == "constructor"
    )
    assert json.dumps(twin.featent)
    net.note = "a word about it"  # no setting: nothing in the class knows it
    assert random_twin(net, seed=4).featent["control"] == "constructor"
    resnet = network("resnet18", num_classes=3)
    assert weights_hash(random_twin(resnet, seed=2)) == weights_hash(
        network("resnet18", num_classes=3, seed=2)
    )
    resnet.maxpool = nn.Identity()
    assert isinstance(random_twin(resnet).maxpool, nn.Identity)


def test_hooks_that_compute_belong_to_the_twin_as_well():
    net = network("small_vgg", in_channels=1)
    x = torch.ones(1, 1, 16, 16)
    plain = random_twin(net, seed=1)(x)
    net.register_forward_hook(lazy_shift)
    twin = random_twin(net, seed=1)
    assert torch.equal(twin(x), plain + 1) and twin.featent["control"] == "constructor"


def test_running_statistics_of_a_twin_are_fresh():
    for net in (
        network("small_vgg", in_channels=1),
        nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)),
    ):
        net.train()(torch.rand(8, 1, 32, 32) * 9)
        before = weights_hash(net)
        twin = random_twin(net)
        assert weights_hash(net) == before
        for k, v in twin.named_buffers():
            assert torch.equal(v, torch.ones_like(v) if "var" in k else torch.zeros_like(v)), k


def test_weights_without_a_reset_are_refused_and_own_initialisations_used():
    class Positions(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 4, 3)
            self.place = nn.Parameter(torch.zeros(1, 4, 1, 1))

        def forward(self, x):
            return self.conv(x) + self.place

    with pytest.raises(
        ValueError,
        match=r"no reset_parameters reaches 1 entries of Positions \(place\): pass build=",
    ):
        random_twin(Positions())

    class Own(Positions):
        def init_weights(self):
            nn.init.normal_(self.place, std=0.02)

    a, b = random_twin(Own(), seed=1), random_twin(Own(), seed=2)
    assert (
        a.place.abs().max() > 0
        and not torch.equal(a.place, b.place)
        and a.featent["control"] == "reset_parameters"
    )

    class Fails(Positions):
        def reset_parameters(self):
            raise KeyError("std")

    with pytest.raises(
        ValueError, match=r"Fails.reset_parameters of Fails fails \(KeyError: 'std'\): pass build="
    ):
        random_twin(Fails())
    assert random_twin(Positions(), build=Positions).featent["control"] == "build="


def test_timm_networks_are_made_by_timm_again():
    timm = pytest.importorskip("timm")
    for name in ("resnet10t", "vit_tiny_patch16_224"):
        net = timm.create_model(name, num_classes=3, in_chans=1)
        twin = random_twin(net, seed=2)
        torch.manual_seed(2)
        assert twin.featent["control"] == "constructor" and weights_hash(twin) == weights_hash(
            timm.create_model(name, num_classes=3, in_chans=1)
        )
    net = swapped(timm.create_model("resnet10t", num_classes=3), nn.SiLU)
    assert (
        "SiLU" in kinds(random_twin(net))
        and random_twin(net).featent["control"] == "reset_parameters"
    )


# ---- networks of one's own code

CODE = '''
from torch import nn
import torch

class Net(nn.Module):
    def __init__(self, num_classes=10, width=4, *, act="relu"):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, width, 3), nn.Linear(width, num_classes)
        self.act = {"relu": torch.relu, "tanh": torch.tanh}[act]
        self.seen = None
        nn.init.constant_(self.conv.bias, .5)
        nn.init.normal_(self.conv.weight, std=7.)
    def forward(self, x):
        self.seen = self.act(self.conv(x))
        return self.fc(self.seen.mean((2, 3)))

class Broken(nn.Module):
    def __init__(self):
        raise KeyError("cfg")

class Leaves(nn.Module):
    def __init__(self):
        raise SystemExit(3)

class Bare(nn.Module): pass

class Picky(Net):
    def forward(self, x):
        assert x.shape[-1] == 28
        return super().forward(x)

class Missing(Net):
    def forward(self, x): return {28: 1}[x.shape[-1]]

class Hungry(Net):
    def forward(self, x): raise MemoryError("too much")
'''


@pytest.fixture
def mine(tmp_path):
    (tmp_path / "mine.py").write_text(CODE)
    return tmp_path / "mine.py"


def test_twins_of_own_code_are_drawn_by_its_constructor(mine):
    net = network(f"{mine}:Net(width=6)", num_classes=3)
    with torch.no_grad():
        net(torch.zeros(1, 1, 8, 8))  # leaves a tensor behind, which is no setting
    twin = random_twin(net, seed=5)
    assert (
        twin.featent["control"] == "constructor" and twin.featent["name"] == "mine.py:Net(width=6)"
    )
    assert (
        weights_hash(twin)
        == weights_hash(network(f"{mine}:Net(width=6)", num_classes=3, seed=5))
        != weights_hash(net)
    )
    assert torch.equal(twin.conv.bias, torch.full((6,), 0.5)) and twin.conv.weight.std() > 4
    net.act = torch.sigmoid
    other = random_twin(net, seed=5)
    assert (
        other.act is torch.sigmoid
        and other.featent["control"] == "reset_parameters"
        and other.conv.weight.std() < 1
    )


def test_arguments_of_own_code(mine):
    assert (
        list(network(f"{mine}:Bare", num_classes=3).parameters()) == []
    )  # nn.Module takes anything by name, and refuses it then
    net = network(f"{mine}:Net(7, width=3, act='tanh')")
    assert (
        net.fc.weight.shape == (7, 3)
        and net.act is torch.tanh
        and net.featent["name"] == "mine.py:Net(7, width=3, act='tanh')"
    )
    assert (
        network(f"{mine}:Net(num_classes=2)", num_classes=5).fc.out_features == 2
    )  # what is written counts
    assert network(f"{mine}:Net()").fc.out_features == network(f"{mine}:Net").fc.out_features == 10
    torch.save(network(f"{mine}:Net(width=3)", num_classes=4).state_dict(), mine.parent / "w.pt")
    assert network(f"{mine}:Net(width=3)", weights=mine.parent / "w.pt").fc.out_features == 4


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            "Net(depth=2)",
            r"got an unexpected keyword argument 'depth'; "
            r"it is Net\(num_classes=10, width=4, \*, act='relu'\)",
        ),
        (
            "Net(width=open('x'))",
            r"the arguments must be plain numbers, words or lists.*it is Net\(num_classes=10",
        ),
        ("Net(width=", "not of the form file.py:Name"),
        ("Net(width=4", "not of the form"),
        ("Net(**{'width': 4})", "arguments must be plain"),
        ("Net(__import__('os'))", "arguments must be plain"),
        ("Net(width=4)(3)", "arguments must be plain"),
        ("Broken", r"mine.py:Broken cannot be made: KeyError: 'cfg' \(mine.py, line 19\)"),
        ("Leaves", r"mine.py:Leaves cannot be made: SystemExit: 3 \(mine.py, line 23\)"),
        (
            "Net(act='gelu')",
            r"Net\(act='gelu'\) cannot be made: KeyError: 'gelu' \(mine.py, line 9\)",
        ),
        ("Nothing", "mine.py has no function or class 'Nothing'; it has Net, Broken, Leaves"),
        (
            "Net(3, num_classes=4)",
            r"^mine.py:Net\(3, num_classes=4\): "
            r"multiple values for argument 'num_classes'; it is Net",
        ),
    ],
)
def test_errors_in_own_code_are_one_clear_error(mine, call, text):
    with pytest.raises(ValueError, match=text):
        network(f"{mine}:{call}")


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("class A(nn.Module)\n    pass\n", r"a.py cannot be run: SyntaxError: .* \(a.py, line 1\)"),
        (
            "import not_there\n",
            r"a.py cannot be run: ModuleNotFoundError: "
            r"No module named 'not_there' \(a.py, line 1\)",
        ),
        (
            "x = 1\nclass A(nn.Module): pass\n",
            r"a.py cannot be run: NameError: name 'nn' is not defined \(a.py, line 2\)",
        ),
        ("import sys\nsys.exit(3)\n", r"a.py cannot be run: SystemExit: 3 \(a.py, line 2\)"),
        (
            "def f():\n    raise AssertionError\nf()\n",
            r"a.py cannot be run: AssertionError \(a.py, line 2\)",
        ),
    ],
)
def test_files_that_cannot_be_run_say_where(tmp_path, code, text):
    (tmp_path / "a.py").write_text(code)
    with pytest.raises(ValueError, match=text) as e:
        network(f"{tmp_path / 'a.py'}:A")
    assert e.value.__cause__ is not None


def test_whatever_a_forward_pass_raises_names_the_shape(mine):
    data = images("digits", per_class=2)
    for name, text in (
        ("Picky", "AssertionError; check size="),
        ("Missing", "KeyError: 32; check size="),
    ):
        with pytest.raises(
            ValueError, match=rf"{name} cannot take a batch \(20, 1, 32, 32\): {text}"
        ):
            accuracy(network(f"{mine}:{name}"), data)
    with pytest.raises(MemoryError):
        accuracy(network(f"{mine}:Hungry"), data)


def test_accuracy_on_another_device_leaves_the_network_where_it_is():
    net = network("small_vgg", in_channels=1)
    pointers = [p.data_ptr() for p in net.parameters()]
    accuracy(net, images("digits", per_class=2), device="cpu")
    with pytest.raises(RuntimeError, match="meta"):
        accuracy(net, images("digits", per_class=2), device="meta")
    assert (
        pointers == [p.data_ptr() for p in net.parameters()]
        and next(net.parameters()).device.type == "cpu"
    )


def test_twins_of_published_inception_like_networks_lose_the_same_heads():
    made = network("googlenet", num_classes=3)
    made.aux_logits, made.aux1, made.aux2 = False, None, None
    twin = random_twin(made, seed=1)
    assert twin.aux1 is None and twin.featent["control"] == "constructor"
    assert torch.equal(
        twin.conv1.conv.weight, network("googlenet", num_classes=3, seed=1).conv1.conv.weight
    )


def test_torchvision_names_all_have_twins_by_constructor():
    for name in ("alexnet", "mobilenet_v3_small", "shufflenet_v2_x0_5", "efficientnet_b0"):
        net = network(name, num_classes=2)
        assert random_twin(net, seed=1).featent["control"] == "constructor", name
    assert (
        random_twin(torchvision.models.resnet18(num_classes=2)).featent["control"]
        == "reset_parameters"
    )
