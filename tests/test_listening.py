"Who is listening: threads, identities, words for layers, and nothing left behind."

import subprocess
import sys
import threading

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import featent as fe
from featent.data import listening
from featent.data.forward import evaluating
from featent.data.layers import list_layers, select_layers
from featent.data.listening import Listener, OtherPath
from featent.data.maps import network_identity, read_maps
from featent.data.records import weights_hash
from featent.studies.masking import masked_scores


def x_of(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def made(train=False):
    torch.manual_seed(0)
    parts = (
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Conv2d(4, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
    )
    return nn.Sequential(*parts).train(train)


def untouched(net):
    return [int(m.num_batches_tracked) for m in net if isinstance(m, nn.BatchNorm2d)] == [0, 0]


def nothing_left():
    return (
        not listening._handles
        and listening._users == [0]
        and getattr(listening._here, "listener", None) is None
        and not nn.modules.module._global_forward_hooks
        and not nn.modules.module._global_forward_pre_hooks
    )


@pytest.mark.parametrize("train", [True, False])
def test_threads_on_one_network_get_the_births_of_one_after_the_other(train):
    from concurrent.futures import ThreadPoolExecutor

    sets = [
        fe.images(
            [(v, i % 2) for i, v in enumerate(x_of(n, 1, 8, 8, seed=n))], transform=lambda x: x
        )
        for n in (12, 16, 20, 24)
    ]
    want = [fe.assess(made(), s, batch_size=2, n_jobs=1) for s in sets]
    net = made(train)
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda s: fe.assess(net, s, batch_size=2, n_jobs=1), sets))
    for g, w in zip(got, want):
        for key in w.births:
            np.testing.assert_array_equal(g.births[key], w.births[key])
    assert untouched(net) and all(m.training == train for m in net.modules()) and nothing_left()


def test_a_network_put_in_training_mode_meanwhile_is_an_error():
    net, x = made(), x_of(4, 1, 8, 8)
    chosen, _ = select_layers(net, x, "conv")
    net[2].register_forward_hook(lambda m, a, o: [net.train()] and None)  # as another thread might
    with pytest.raises(
        OtherPath,
        match="module '3' was put in training mode while the network was being listened to"
        ".*copy.deepcopy",
    ):
        read_maps(net, x, chosen)
    assert untouched(net) and not any(m.training for m in net.modules()) and nothing_left()


def test_modes_are_given_back_by_the_last_of_several_users():
    net = made(True)
    net[1].eval()
    own = [m.training for m in net.modules()]
    first, second = evaluating(net), evaluating(net)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not any(m.training for m in net.modules())
    second.__exit__(None, None, None)
    assert [m.training for m in net.modules()] == own
    with pytest.raises(KeyboardInterrupt), evaluating(net):
        raise KeyboardInterrupt
    assert [m.training for m in net.modules()] == own


def test_a_pass_in_another_thread_is_not_heard():
    net, other, x = made(), made(), x_of(2, 1, 8, 8)
    heard = []

    class Notes(Listener):
        def hear(self, func, args, kwargs):
            heard.append(self.frames[-1].path)
            return func(*args, **kwargs)

    with torch.no_grad(), Notes(net):
        thread = threading.Thread(target=lambda: (net(x), other(x)))
        thread.start()
        thread.join()
        assert heard == []
        net(x)
    assert heard[0] == "0" and nothing_left()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_nothing_is_left_whatever_ends_the_pass(error):
    net, x = made(True), x_of(2, 1, 8, 8)
    chosen, _ = select_layers(net, x, "conv")

    def fail(name, maps):
        raise error

    with pytest.raises(error):
        read_maps(net, x, chosen, fail)
    assert (
        nothing_left() and net.training and not torch.overrides._get_current_function_mode_stack()
    )


def test_what_a_network_swallows_is_raised_in_the_end():
    class Swallowing(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.drop = nn.Conv2d(1, 2, 3), nn.Dropout(0.5)

        def forward(self, x):
            try:
                return self.drop(F.relu(self.a(x)))
            except Exception:
                return x

    net, x = Swallowing().eval(), x_of(2, 1, 8, 8)
    chosen, _ = select_layers(net, x, "conv")
    net.a.register_forward_hook(lambda m, a, o: [net.drop.train()] and None)
    with pytest.raises(OtherPath, match="was put in training mode"):
        read_maps(net, x, chosen)


class Function(nn.Module):
    "The same weights; everything else can be chosen."

    def __init__(self, **options):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.fc, self.options = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 2), options
        self.register_buffer("scale", torch.ones(1) * options.get("buffer", 1.0), persistent=False)

    def forward(self, x):
        o = self.options
        x = (x - torch.tensor(o.get("mean", (0.5, 0.5, 0.5))).view(3, 1, 1)) / o.get("std", 0.25)
        x = x[:, o.get("order", [0, 1, 2])][..., o.get("crop", slice(0, 8))] * self.scale
        x = F.leaky_relu(self.conv(x), o.get("slope", 0.1)).clamp(
            max=o.get("clamp", 6.0)
        ).abs() ** o.get("exponent", 1.5)
        return self.fc(
            F.interpolate(x, scale_factor=o.get("zoom", 1.0), mode=o.get("mode", "nearest")).mean(
                (2, 3)
            )
        )


@pytest.mark.parametrize(
    "change",
    [
        dict(mean=(0.5, 0.5, 0.4)),
        dict(std=0.2),
        dict(order=[2, 1, 0]),
        dict(crop=slice(1, 8)),
        dict(slope=0.2),
        dict(clamp=5.0),
        dict(exponent=2.0),
        dict(zoom=2.0),
        dict(mode="bilinear"),
        dict(buffer=2.0),
    ],
    ids=lambda c: next(iter(c)),
)
def test_another_number_in_forward_is_another_network(change):
    a, b, x = Function(), Function(**change), x_of(2, 3, 8, 8)
    assert weights_hash(a) == weights_hash(b)
    assert network_identity(a, x) == network_identity(Function(), x) != network_identity(b, x)


def test_settings_of_modules_belong_to_the_identity():
    x = x_of(2, 1, 8, 8)
    for change in (
        lambda n: setattr(n[1], "eps", 1e-3),
        lambda n: n.__setitem__(2, nn.LeakyReLU()),
        lambda n: n.__setitem__(2, nn.ReLU6()),
        lambda n: n.append(nn.Identity()),
    ):
        net = made()
        change(net)
        assert network_identity(net, x) != network_identity(made(), x)


def test_the_identity_is_that_of_every_process_and_of_any_number_of_images():
    x = x_of(5, 3, 8, 8)
    found = {
        network_identity(Function(), x),
        network_identity(Function(), x[:2]),
        network_identity(Function().train(), x),
    }
    code = (
        "import torch, sys; sys.path.insert(0, 'tests'); "
        "from test_listening import Function, x_of; "
        "from featent.data.maps import network_identity; "
        "print(network_identity(Function(), x_of(5, 3, 8, 8)))"
    )
    from pathlib import Path

    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[1]
    )
    assert found == {out.stdout.strip()}, out.stderr


def test_a_counter_that_a_network_keeps_is_not_part_of_it():
    class Counting(Function):
        passes = 0

        def forward(self, x):
            self.passes += 1
            return super().forward(x)

    net, x = Counting(), x_of(2, 3, 8, 8)
    assert network_identity(net, x) == network_identity(net, x) == network_identity(Counting(), x)


def test_a_store_refuses_the_same_weights_in_another_forward(tmp_path):
    images = fe.images([(v, i % 2) for i, v in enumerate(x_of(6, 3, 8, 8))], transform=lambda x: x)
    fe.assess(Function(), images, layers="conv", store=tmp_path / "s", n_jobs=1)
    assert fe.assess(Function(), images, layers="conv", store=tmp_path / "s", n_jobs=1).births
    with pytest.raises(ValueError, match="calls"):
        fe.assess(Function(slope=0.2), images, layers="conv", store=tmp_path / "s", n_jobs=1)


@pytest.fixture(scope="module")
def resnet():
    return fe.network("resnet18", num_classes=2)


X = x_of(2, 3, 64, 64)


@pytest.mark.parametrize(
    "words,want",
    [
        (["conv1", "conv1", "conv1+bn+relu"], ["conv1+bn+relu"]),
        ({"conv1"}, ["conv1+bn+relu"]),
        (pd.Series(["conv1"]), ["conv1+bn+relu"]),
        (np.array(["conv1"]), ["conv1+bn+relu"]),
        ("layer4", ["layer4"]),
        ("layer4.1.c*", ["layer4.1.conv1+bn+relu", "layer4.1.conv2+bn+add+relu"]),
    ],
    ids=["duplicates", "set", "series", "array", "stage", "pattern"],
)
def test_words_for_layers(resnet, words, want):
    assert list(select_layers(resnet, X, words)[0].layer) == want


def test_modules_name_their_layers(resnet):
    assert list(select_layers(resnet, X, resnet.layer4[-1].conv2)[0].layer) == [
        "layer4.1.conv2+bn+add+relu"
    ]
    assert list(select_layers(resnet, X, [resnet.conv1, resnet.layer4])[0].layer) == [
        "conv1+bn+relu",
        "layer4",
    ]
    assert len(select_layers(nn.DataParallel(resnet), X, [resnet.conv1])[0]) == 1
    assert len(select_layers(resnet, X, list_layers(resnet, X).head(2))[0]) == 2
    with pytest.raises(TypeError, match="a module that is no part of this network.*list_layers"):
        select_layers(resnet, X, nn.Conv2d(3, 3, 3))


@pytest.mark.parametrize(
    "words,kind,text",
    [
        (None, ValueError, "no layer selected"),
        ([], ValueError, "no layer selected"),
        (-1, TypeError, "layers=-1: choose layers by name"),
        ([0, 1], TypeError, "layers=0: choose layers by name"),
        ("conv9", ValueError, "no layer matches 'conv9'; did you mean conv1"),
    ],
)
def test_words_that_mean_nothing_are_told_with_the_choices(resnet, words, kind, text):
    with pytest.raises(kind, match=text):
        select_layers(resnet, X, words)


def test_names_that_look_like_patterns_mean_themselves():
    net = nn.Module()
    for name in ("a[0]", "b*", "b*2", "conv"):
        net.add_module(name, nn.Conv2d(3, 3, 3))
    net.forward = lambda x: [x := m(x) for m in net.children()][-1]
    for word in ("a[0]", "b*", "b*2"):
        assert list(select_layers(net, x_of(2, 3, 16, 16), word)[0].layer) == [word]
    assert len(select_layers(net, x_of(2, 3, 16, 16), "conv")[0]) == 4


def test_ablation_of_a_network_that_takes_another_path_is_an_error():
    class Skipping(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.fc = (
                nn.Conv2d(3, 4, 3),
                nn.Conv2d(4, 4, 3, padding=1),
                nn.Linear(4, 2),
            )

        def forward(self, x):
            a = F.relu(self.a(x))
            return self.fc((F.relu(self.b(a)) if x.mean() > 0.5 else a).mean((2, 3)))

    torch.manual_seed(0)
    bright = [(x_of(3, 8, 8, seed=i) * 0.2 + (0.8 if i < 2 else 0), i % 2) for i in range(4)]
    for engine in ("auto", "rerun"):
        with pytest.raises(
            ValueError, match=r"another path than in the traced example and never reached b\+relu"
        ):
            fe.ablate(
                Skipping().eval(),
                fe.images(bright, transform=lambda x: x),
                "b",
                {"o": np.arange(4)},
                batch_size=1,
                engine=engine,
            )
    assert nothing_left()


def test_units_are_removed_after_an_activation_of_several_calls():
    class Swish(nn.Module):
        def __init__(self, act):
            super().__init__()
            self.a, self.fc, self.act = nn.Conv2d(3, 4, 3), nn.Linear(4, 2), act

        def forward(self, x):
            return self.fc(self.act(self.a(x)).mean((2, 3)))

    def assigned(x):
        x = x + 0
        x[x < 0] = 0
        return x

    x, removed = x_of(5, 3, 8, 8), np.array([[False] * 4, [True, False, False, True], [True] * 4])
    for act in (lambda x: x * torch.sigmoid(x), assigned, lambda x: torch.where(x > 0, x, x * 0.1)):
        torch.manual_seed(0)
        net = Swish(act).eval()
        with torch.no_grad():
            maps = act(net.a(x))
        for engine in ("replay", "rerun"):
            got = masked_scores(net, x, "a", removed, fill=0.5, engine=engine)
            for row, mask in zip(got, removed):
                with torch.no_grad():
                    want = net.fc(
                        torch.where(
                            torch.tensor(mask)[:, None, None], torch.tensor(0.5), maps
                        ).mean((2, 3))
                    )
                torch.testing.assert_close(row, want, rtol=1e-5, atol=1e-6)
