"""Networks: stored weights reproduce their accuracies; loading, twins, training and every error."""

import copy
import json
import os
import re
import sys
import urllib.error
import warnings

import numpy as np
import pytest
import torch
import torchvision
from torch import nn
from torch.utils.data import TensorDataset

from featent.data.architectures import list_networks
from featent.data.evaluation import accuracy
from featent.data.inputs import expected_input, prepared, preprocessing
from featent.data.networks import network
from featent.data.outputs import label_map_for
from featent.data.preprocessing import preprocess
from featent.data.reading_ahead import batches
from featent.data.records import weights_hash
from featent.data.sampling import images
from featent.data.trainer import train
from featent.data.twins import random_twin

imagenet = preprocess(mean="imagenet", std="imagenet")
SQUEEZE = torchvision.models.SqueezeNet1_1_Weights.IMAGENET1K_V1


# ---- accuracies that belong to the stored weights, to 0.1 percentage points:
# ---- of all images with FEATENT_FULL=1, else of a fixed sample

full = bool(os.environ.get("FEATENT_FULL"))


@pytest.fixture(scope="module")
def cifar10_test(cifar10_dir):
    "CIFAR-10 test images, read from their files once, as tensors in [0, 1]"
    data = images(cifar10_dir, split="test", per_class=None if full else 250)
    return TensorDataset(
        torch.cat([x for _, x, _ in batches(data, 500)]), torch.from_numpy(data.labels)
    )


@pytest.mark.parametrize(
    ("build", "file", "transform", "expected", "sample"),
    [
        (lambda a: a.CifarResNet(20), "resnet20_cifar10.th", imagenet, 91.7, 90.88),
        (lambda a: a.SmallVGG(), "smallvgg_bn_cifar10.pth", imagenet, 88.1, 88.12),
        (
            lambda a: a.SmallVGG(batch_norm=False),
            "smallvgg_folded_cifar10.pth",
            imagenet,
            88.1,
            88.12,
        ),
        (lambda a: a.CifarLeNet(), "lenet_cifar10.pt", preprocess(mean=0.5, std=0.5), 59.1, 58.52),
    ],
)
def test_cifar10_accuracy(cifar10_test, weights, archs, build, file, transform, expected, sample):
    net = network(build(archs), weights=weights / file).eval()
    found = 100 * accuracy(net, images(cifar10_test, transform=transform))["top1"]
    assert found == pytest.approx(expected if full else sample, abs=0.1)


def test_fashion_accuracy(fashion_root, weights, archs):
    net = network(archs.GrayCNN(), weights=weights / "graycnn_fashionmnist.pth").eval()
    assert 100 * accuracy(net, images("fashion_mnist", split="test", root=fashion_root))[
        "top1"
    ] == pytest.approx(90.3, abs=0.1)


def test_imagenette_accuracy(imagenette_dir, weights, imagenet_index):
    net = network("squeezenet1_1", weights=weights / "squeezenet1_1_imagenet.pth").to(
        memory_format=torch.channels_last
    )
    data = images(imagenette_dir, split="val", per_class=None if full else 60, transform=imagenet)
    found = accuracy(
        net, data, topk=(1, 5), batch_size=8, label_map=[imagenet_index[c] for c in data.classes]
    )
    assert len(data) == (3925 if full else 600)
    assert (100 * found["top1"], 100 * found["top5"]) == pytest.approx(
        (59.6, 82.1) if full else (60.67, 83.0), abs=0.1
    )


# ---- networks by name


@pytest.mark.parametrize("name", ["small_vgg", "small_resnet"])
def test_small_networks(name):
    before = torch.get_rng_state()
    net = network(name, in_channels=1, num_classes=7, seed=3)
    assert torch.equal(torch.get_rng_state(), before) and not net.training
    for sides in ((16, 16), (40, 33)):
        assert net(torch.zeros(2, 1, *sides)).shape == (2, 7)
    assert (
        weights_hash(net)
        == weights_hash(network(name, in_channels=1, num_classes=7, seed=3))
        == net.featent["hash"]
    )
    assert weights_hash(net) != weights_hash(network(name, in_channels=1, num_classes=7, seed=4))
    assert json.loads(json.dumps(net.featent)) == net.featent and "featent" not in dict(
        net.named_modules()
    )


def test_torchvision_by_name():
    assert set(list_networks()) >= {
        "small_vgg",
        "small_resnet",
        "vgg16",
        "resnet50",
        "squeezenet1_1",
    }
    assert "fcn_resnet50" not in list_networks()
    net = network("squeezenet1_1", num_classes=5)
    assert net(torch.zeros(1, 3, 64, 64)).shape == (1, 5) and preprocessing(net) is None
    assert network("resnet18").featent["num_classes"] == 1000


def test_a_module_is_returned_itself():
    net = nn.Sequential(nn.Conv2d(1, 2, 3)).train()
    assert network(net) is net and net.training and net.featent["name"] == "Sequential"
    named = network("small_vgg")
    record = named.featent
    assert network(named) is named and named.featent == record
    with pytest.raises(ValueError, match="num_classes applies to networks by name"):
        network(net, num_classes=3)


def test_name_errors():
    with pytest.raises(
        ValueError, match="unknown network 'resnet19'; close are resnet.*list_networks\\(\\)"
    ):
        network("resnet19")
    with pytest.raises(ValueError, match="unknown network 'zzzzz'; list_networks"):
        network("zzzzz")
    with pytest.raises(ValueError, match="squeezenet1_1 takes 3 channels, not 1: .*channels=3"):
        network("squeezenet1_1", in_channels=1)
    with pytest.raises(ValueError, match="must be at least 1"):
        network("small_vgg", num_classes=0)


# ---- published weights


def test_published_weights_without_a_network(monkeypatch, tmp_path):
    def refuse(*a, **k):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr("torch.hub.download_url_to_file", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(
        ConnectionError,
        match=f"{SQUEEZE.name} of squeezenet1_1 could not be downloaded"
        f".*fetch {SQUEEZE.url} .*weights=",
    ):
        network("squeezenet1_1", weights="DEFAULT")
    with pytest.raises(
        ValueError,
        match="unknown weights 'IMAGENET' for squeezenet1_1: "
        "choose .*DEFAULT, IMAGENET1K_V1, a file",
    ):
        network("squeezenet1_1", weights="IMAGENET")
    with pytest.raises(ValueError, match="have 1000 classes: leave num_classes out"):
        network("squeezenet1_1", weights="DEFAULT", num_classes=10)
    with pytest.raises(
        ValueError,
        match="unknown weights 'DEFAULT' for small_vgg: choose None \\(random\\), a file",
    ):
        network("small_vgg", weights="DEFAULT")


@pytest.mark.parametrize("how", ["DEFAULT", "IMAGENET1K_V1", "SqueezeNet1_1_Weights.IMAGENET1K_V1"])
def test_published_weights_from_the_cache(monkeypatch, tmp_path, weights, imagenette_dir, how):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cache = tmp_path / "hub" / "checkpoints" / SQUEEZE.url.rsplit("/", 1)[-1]
    cache.parent.mkdir(parents=True)
    cache.write_bytes((weights / "squeezenet1_1_imagenet.pth").read_bytes())
    net = network("squeezenet1_1", weights=how)
    assert weights_hash(net) == weights_hash(
        network("squeezenet1_1", weights=weights / "squeezenet1_1_imagenet.pth")
    )
    assert net.featent["weights"] == "IMAGENET1K_V1" and json.dumps(net.featent)
    assert len(list(net.modules())) == len(list(network("squeezenet1_1").modules()))
    data = images(imagenette_dir, split="val", per_class=1)
    with_own = prepared(data, net)
    assert torch.equal(with_own[0][0], SQUEEZE.transforms()(data.raw(0))) and with_own.record[
        "transform"
    ].startswith("ImageClassification")
    assert prepared(data.with_transform(imagenet), net).transform == imagenet
    assert network(net) is net and preprocessing(net) is not None
    assert preprocessing(random_twin(net)) is None and random_twin(net).featent["weights"] is None


# ---- weights from files


@pytest.fixture
def small():
    return network("small_vgg", in_channels=1)


def again(path, **kwargs):
    return network("small_vgg", weights=path, in_channels=1, seed=9, **kwargs)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".th", ".bin", ".safetensors"])
def test_every_kind_of_file(small, tmp_path, suffix):
    path = tmp_path / f"w{suffix}"
    if suffix == ".safetensors":
        pytest.importorskip("safetensors.torch").save_file(small.state_dict(), path)
    else:
        torch.save(small.state_dict(), path)
    net = again(path)
    assert weights_hash(net) == weights_hash(small) == weights_hash(again(str(path)))
    assert net.featent["weights"] == path.name and str(tmp_path) not in json.dumps(net.featent)


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "model_state_dict"])
@pytest.mark.parametrize(
    "prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."]
)
def test_wrappers_and_prefixes(small, tmp_path, wrapper, prefix):
    torch.save(
        {wrapper: {prefix + k: v for k, v in small.state_dict().items()}, "epoch": 3, "best": 0.9},
        tmp_path / "w.pt",
    )
    assert weights_hash(again(tmp_path / "w.pt")) == weights_hash(small)


def test_old_files_without_batch_counters(small, tmp_path):
    torch.save(
        {k: v for k, v in small.state_dict().items() if "num_batches" not in k}, tmp_path / "w.pt"
    )
    assert weights_hash(again(tmp_path / "w.pt")) == weights_hash(small)


def test_missing_damaged_and_empty_files(small, tmp_path):
    path = tmp_path / "w.pt"
    with pytest.raises(FileNotFoundError, match="there is no weights file .*w.pt"):
        again(path)
    torch.save(small.state_dict(), path)
    whole = path.read_bytes()
    for damaged in (
        whole[: len(whole) // 2],
        b"",
        b"hello",
        whole[:10],
        whole[::-1],
        bytes(5000),
        bytes([0x80, 2]) + whole[:200],
    ):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="w.pt is damaged or is no PyTorch file"):
            again(path)
    path = tmp_path / "w.safetensors"
    path.write_bytes(whole[:1000])
    with pytest.raises(ValueError, match="w.safetensors is damaged or is no safetensors file"):
        again(path)


def test_code_is_refused_and_not_run(small, tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    for i, content in enumerate(
        [Bomb(), {"state_dict": small.state_dict(), "args": Bomb()}, small]
    ):
        for zipped in (True, False):
            path = tmp_path / f"w{i}.pt"
            torch.save(content, path, _use_new_zipfile_serialization=zipped)
            with pytest.raises(
                ValueError,
                match=r"w\d.pt holds pickled code .* only tensors are loaded; "
                r".*torch.save\(net.state_dict",
            ):
                again(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.filterwarnings("ignore")
def test_scripted_file_is_refused(tmp_path):
    path = tmp_path / "s.pt"
    torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)), path)
    with pytest.raises(ValueError, match="only tensors are loaded"):
        again(path)


def test_foreign_files(small, tmp_path):
    path = tmp_path / "w.pt"
    torch.save(network("small_resnet", in_channels=1).state_dict(), path)
    with pytest.raises(
        ValueError,
        match=r"w.pt does not fit Sequential of 38 entries: 30 missing from the file "
        r"\(features.conv1.weight, .*\.\.\.\); \d+ unknown to the network \(conv1.weight, ",
    ):
        again(path)
    for content in (
        torch.zeros(3),
        [small.state_dict()],
        {},
        {"state_dict": {"a": 3}},
        {"epoch": 3},
    ):
        torch.save(content, path)
        with pytest.raises(ValueError, match="w.pt holds no state_dict"):
            again(path)
    torch.save(network("small_vgg", in_channels=1, num_classes=4).state_dict(), path)
    with pytest.raises(
        ValueError,
        match=r"2 of another shape \(fc.weight \(4, 128\) instead of \(10, 128\), "
        r".*pass num_classes=",
    ):
        again(path, num_classes=10)
    assert (
        again(path).featent["num_classes"] == again(path, num_classes=4).featent["num_classes"] == 4
    )
    assert again(path)(torch.zeros(1, 1, 16, 16)).shape == (1, 4)
    torch.save(
        {
            **network("small_vgg", in_channels=1, num_classes=4).state_dict(),
            "features.bn1.weight": torch.ones(5),
        },
        path,
    )
    with pytest.raises(
        ValueError, match=r"3 of another shape .*pass num_classes="
    ):  # a width that differs is no number of classes
        again(path)
    torch.save({k: v * torch.nan for k, v in small.state_dict().items()}, path)
    with pytest.raises(
        ValueError, match="w.pt holds NaN or infinite weights: features.conv1.weight"
    ):
        again(path)


def test_a_file_that_does_not_fit_leaves_the_module_alone(small, tmp_path):
    torch.save({**small.state_dict(), "fc.bias": torch.zeros(3)}, tmp_path / "w.pt")
    other = network("small_vgg", in_channels=1, seed=5)
    before = weights_hash(other)
    with pytest.raises(ValueError, match="1 of another shape"):
        network(other, weights=tmp_path / "w.pt")
    assert weights_hash(other) == before


def test_safetensors_absent(tmp_path, monkeypatch):
    (tmp_path / "w.safetensors").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(ImportError, match="pip install safetensors"):
        again(tmp_path / "w.safetensors")


# ---- hash


def test_weights_hash_sees_every_part(small):
    h = weights_hash(small)
    assert len(h) == 16 and weights_hash(copy.deepcopy(small)) == h == weights_hash(
        nn.DataParallel(small)
    )
    assert (
        weights_hash(copy.deepcopy(small).double())
        != h
        != weights_hash(copy.deepcopy(small).half())
    )
    for name in ("features.bn6.running_var", "features.bn1.num_batches_tracked", "fc.bias"):
        other = copy.deepcopy(small)
        other.state_dict()[name].view(-1)[-1].add_(1)
        assert weights_hash(other) != h
    assert weights_hash(nn.Linear(2, 3, bias=False)) != weights_hash(nn.Linear(3, 2, bias=False))


# ---- random twin


def test_twin_by_name(small):
    small.double().train()
    small.features.conv1.weight.requires_grad_(False)
    h, rng = weights_hash(small), torch.get_rng_state()
    twin = random_twin(small, seed=4)
    assert weights_hash(small) == h and torch.equal(torch.get_rng_state(), rng)
    assert (
        twin.training
        and twin.fc.weight.dtype == torch.float64
        and not twin.features.conv1.weight.requires_grad
    )
    reference = network("small_vgg", in_channels=1, seed=4).double()
    assert (
        weights_hash(twin) == weights_hash(reference) == twin.featent["hash"]
        and twin.featent["seed"] == 4
    )


def test_twin_of_a_module(archs):
    for net in (
        archs.CifarResNet(20),
        archs.SmallVGG(),
        nn.Sequential(nn.Flatten(), nn.Linear(4, 4), nn.MultiheadAttention(4, 2)),
    ):
        for v in net.state_dict().values():
            v.fill_(7)
        a, b, c = random_twin(net), random_twin(net), random_twin(net, seed=1)
        assert weights_hash(a) == weights_hash(b) != weights_hash(c) and type(a) is type(net)
        assert all((v == 7).all() for v in net.state_dict().values()) and not any(
            (v == 7).all() for v in a.state_dict().values()
        )
        assert all(
            p.data_ptr() != q.data_ptr()
            for p, q in zip(a.parameters(), net.parameters(), strict=True)
        )


def test_twin_of_an_altered_named_network(small):
    small.fc = nn.Linear(128, 3)
    assert random_twin(small).fc.weight.shape == (3, 128)


def test_twin_that_cannot_be_reset():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(2, 2)
            self.gain = nn.Parameter(torch.ones(2))
            self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    with pytest.raises(
        ValueError,
        match=r"no reset_parameters reaches 2 entries of Scaled \(gain, count\): pass build=",
    ):
        random_twin(Scaled())
    net = Scaled()
    assert isinstance(random_twin(net, build=Scaled), Scaled)
    with pytest.raises(
        ValueError, match="the new Linear has other entries than the network .*pass build="
    ):
        random_twin(net, build=lambda: nn.Linear(2, 2))
    with pytest.raises(ValueError, match="build returned the network itself"):
        random_twin(net, build=lambda: net)
    net.hook = torch.zeros(2, requires_grad=True) * 2
    with pytest.raises(ValueError, match="Scaled cannot be copied .*pass build="):
        random_twin(net)


# ---- accuracy


def test_accuracy_restores_modes_and_takes_maps(small):
    data = images(per_class=4, split="test")
    small.train()
    small.features.bn1.eval()
    result = accuracy(small, data, topk=(1, 3, 10), batch_size=7)
    assert (
        set(result) == {"top1", "top3", "top10"}
        and 0 <= result["top1"] <= result["top3"] <= result["top10"] == 1
    )
    assert small.training and not small.features.bn1.training and small.features.bn2.training

    class Oracle(nn.Module):
        def forward(self, x):
            return {"out": nn.functional.one_hot(x[:, 0, 0, 0].long() * 2, 20).float()}

    labelled = images([(torch.full((1, 2, 2), float(y)), y) for y in range(10)])
    scores = {"logits_of": lambda out: out["out"]}
    assert accuracy(Oracle(), labelled, **scores, label_map=range(0, 20, 2)) == {"top1": 1.0}
    assert accuracy(Oracle(), labelled, **scores) == {"top1": 0.1}
    with pytest.raises(ValueError, match="label_map has 4 entries, but there is a label 9"):
        accuracy(Oracle(), labelled, **scores, label_map=range(4))
    with pytest.raises(ValueError, match="the network gives dict, not scores .*logits_of="):
        accuracy(Oracle(), labelled)


def test_accuracy_errors(small):
    data = images(per_class=2, split="test")
    with pytest.raises(
        ValueError,
        match=r"Sequential cannot take a batch \(20, 1, 32, 32\): .*channels= of preprocess",
    ):
        accuracy(network("small_vgg"), data)
    with pytest.raises(ValueError, match="the network has 3 outputs, but there is a label 9"):
        accuracy(network("small_vgg", num_classes=3, in_channels=1), data)
    with pytest.raises(ValueError, match="the network has only 10 outputs"):
        accuracy(small, data, topk=(1, 11))
    with pytest.raises(ValueError, match="must hold positive integers"):
        accuracy(small, data, topk=(0,))


# ---- training


@pytest.fixture(scope="module")
def digits():
    return images(per_class=60, size=16), images(split="test", per_class=30, size=16)


@pytest.mark.parametrize(("name", "epochs"), [("small_vgg", 4), ("small_resnet", 5)])
def test_learns_the_digits(digits, name, epochs):
    net = network(name, in_channels=1)
    history = train(net, *digits, epochs=epochs, batch_size=16)
    assert list(history) == [
        "epoch",
        "lr",
        "train_loss",
        "train_accuracy",
        "test_loss",
        "test_accuracy",
        "seconds",
    ]
    assert (
        history.epoch.tolist() == list(range(1, epochs + 1))
        and history.test_accuracy.iloc[-1] > 0.95
    )
    assert accuracy(net, digits[1])["top1"] == history.test_accuracy.iloc[-1]
    assert not net.training and net.featent["hash"] == weights_hash(net) and json.dumps(net.featent)


def test_training_is_deterministic_and_leaves_chance_alone():
    data = images(per_class=9)

    def run(**kwargs):
        net = nn.Sequential(network("small_vgg", in_channels=1), nn.Dropout(0.1))
        return weights_hash(net), train(net, data, epochs=1, **kwargs), weights_hash(net)

    rng = torch.get_rng_state()
    first, _, a = run()
    assert torch.equal(torch.get_rng_state(), rng)
    torch.rand(5)
    assert run()[2] == a != first and run(seed=1)[2] != a
    noise = {"augment": lambda x: x + torch.rand_like(x)}
    assert run(**noise)[2] == run(**noise)[2] != a
    corrupted = run(label_corruption=0.5)
    assert corrupted[2] != a and corrupted[1].test_loss.isna().all()


def test_checkpoints(tmp_path, monkeypatch):
    data = images(per_class=9)
    net = network("small_vgg", in_channels=1)
    first = weights_hash(net)
    train(net, data, epochs=2, checkpoints=tmp_path / "run")
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == [
        "epoch_0000.pt",
        "epoch_0001.pt",
        "epoch_0002.pt",
    ]
    assert weights_hash(again(tmp_path / "run/epoch_0000.pt")) == first
    assert weights_hash(again(tmp_path / "run/epoch_0002.pt")) == weights_hash(net)
    with pytest.raises(
        ValueError, match="already holds 3 checkpoints .epoch_0000.pt, ....: choose an empty folder"
    ):
        train(net, data, checkpoints=tmp_path / "run")

    def full(*a):
        raise OSError("no space left")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space left"):
        train(net, data, epochs=1, checkpoints=tmp_path / "full")
    assert not list((tmp_path / "full").glob("*.pt"))


def test_training_errors(small):
    data = images(per_class=9)
    with pytest.raises(ValueError, match="the network has 5 outputs, but there is a label 9"):
        train(network("small_vgg", num_classes=5, in_channels=1), data)
    with pytest.raises(ValueError, match="training diverged .the loss is .*pass a lower lr"):
        train(nn.Sequential(nn.Flatten(), nn.Linear(1024, 10)), data, lr=1e30, epochs=3)
    with pytest.raises(ValueError, match="cannot take a batch"):
        train(network("small_vgg"), data)
    with pytest.raises(ValueError, match="epochs and batch_size must be at least 1"):
        train(small, data, epochs=0)
    with pytest.raises(ValueError, match="share=2 must lie in"):
        train(small, data, label_corruption=2)


# ---- labels and outputs


@pytest.fixture(scope="module")
def squeeze(weights):
    return network("squeezenet1_1", weights=weights / "squeezenet1_1_imagenet.pth")


def folders(tmp_path, source, names, n=6):
    "A folder with the first images of some synsets, under other names of the classes"
    for synset, name in names.items():
        (tmp_path / name).mkdir(parents=True)
        for p in sorted((source / "val" / synset).iterdir())[:n]:
            (tmp_path / name / p.name).write_bytes(p.read_bytes())
    return images(tmp_path, transform=imagenet)


def test_folders_of_synset_ids_find_their_outputs(squeeze, imagenette_dir, imagenet_index):
    data = images(imagenette_dir, split="val", per_class=6, transform=imagenet)
    found, reason = label_map_for(squeeze, data)
    expected = [imagenet_index[c] for c in data.classes]
    assert (
        found.dtype == np.int64
        and found.tolist() == expected
        and reason.startswith("by synset id: n01440764 is output 0")
    )
    assert (
        accuracy(squeeze, data) == accuracy(squeeze, data, label_map=expected)
        and accuracy(squeeze, data)["top1"] > 0.5
    )
    assert accuracy(squeeze, images(data, classes=[3])) == accuracy(
        squeeze, images(data, classes=[3]), label_map=expected
    )


def test_the_ids_that_come_with_the_package_are_those_of_the_list(imagenet_index):
    from featent.data.outputs import imagenet_ids

    assert (
        imagenet_ids() == tuple(imagenet_index) == tuple(sorted(imagenet_index))
        and len(imagenet_ids()) == 1000
    )


def test_class_names_in_any_spelling_find_their_outputs(squeeze, imagenette_dir, tmp_path):
    names = {
        "n01440764": "Tench",
        "n02102040": "English_springer",
        "n02979186": "cassette-player",
        "n03000684": "n03000684_saw",
    }
    data = folders(tmp_path, imagenette_dir, names, 2)
    found, reason = label_map_for(squeeze, data)
    assert dict(zip(data.classes, found.tolist())) == {
        "Tench": 0,
        "English_springer": 217,
        "cassette-player": 482,
        "n03000684_saw": 491,
    }
    assert reason.startswith("by name")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("crane", "the name crane means two classes among"),
        ("maillot", "the name maillot means two"),
        ("cardigan", "the name cardigan means two"),
        ("my fish", r"1 of the 2 classes with images \(my fish\) are not among"),
        ("n01440764 again", "mean the same output"),
        ("n99999999", r"1 of the 2 classes with images \(n99999999\) are not among"),
    ],
)
def test_what_cannot_be_matched_is_said_and_never_guessed(
    squeeze, imagenette_dir, tmp_path, name, text
):
    synset = "n01440764" if "again" in name else "tench"
    data = folders(tmp_path, imagenette_dir, {"n01440764": synset, "n02102040": name}, 1)
    found, reason = label_map_for(squeeze, data)
    assert found is None and re.search(text, reason)
    with pytest.raises(
        ValueError,
        match=f"which output stands for which class cannot be known: .*{text}.*pass label_map=",
    ):
        accuracy(squeeze, data)
    assert set(accuracy(squeeze, data, label_map=[0, 217])) == {"top1"}


def test_digits_are_not_classes_of_imagenet(squeeze):
    data = images("digits", per_class=1, transform=preprocess(64, channels=3))
    found, reason = label_map_for(squeeze, data)
    assert found is None and "10 classes (0, 1, 2, 3, 4, ...) and 1000 outputs" in reason
    with pytest.raises(
        ValueError, match=r"label_map=range\(1000\) where the labels are outputs already"
    ):
        accuracy(squeeze, data)
    assert accuracy(squeeze, data, label_map=range(1000))["top1"] < 0.2


def test_labels_by_position(small):
    some = images("digits", per_class=2, classes=[3, 5])
    found, reason = label_map_for(small, some)
    assert (
        found.tolist() == list(range(10))
        and reason == "by position: there are 10 classes and as many outputs"
    )
    wide = network("small_vgg", in_channels=1, num_classes=12)
    assert label_map_for(wide, some)[0] is None
    with pytest.warns(
        UserWarning,
        match="each label is taken for the number of its output: "
        "there are 10 classes .* and 12 outputs.*label_map=",
    ):
        accuracy(wide, some)
    train(wide, images("digits", per_class=2), epochs=1)
    assert (
        label_map_for(wide, some)[0].tolist() == list(range(10))
        and "trained here" in label_map_for(wide, some)[1]
    )


def test_names_that_a_network_brings_itself_are_used():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.config = type(
                "Config",
                (),
                {"id2label": {0: "cat, house cat", 1: "dog", 2: "bird", 3: "crane", 4: "crane"}},
            )()

        def forward(self, x):
            return {"logits": nn.functional.one_hot(x[:, 0, 0, 0].long(), 5).float()}

    class Items(TensorDataset):
        classes = ["Dog", "House_Cat"]

    x = torch.tensor([1.0, 0.0]).reshape(2, 1, 1, 1).expand(2, 1, 4, 4)
    data = images(Items(x, torch.tensor([0, 1])), transform=lambda x: x)
    assert label_map_for(Named(), data)[0].tolist() == [1, 0] and accuracy(Named(), data) == {
        "top1": 1.0
    }
    Items.classes = ["dog", "crane"]
    assert (
        "crane means two classes"
        in label_map_for(Named(), images(data.read.dataset, transform=lambda x: x))[1]
    )


# ---- what weights expect


def test_what_weights_expect_is_known_or_said_to_be_unknown(small, squeeze, tmp_path):
    assert expected_input(small) is None and expected_input(nn.Linear(2, 2)) is None
    found = expected_input(squeeze)
    assert (
        not found["certain"]
        and found["mean"] is None
        and found["source"].startswith("unknown: squeezenet1_1_imagenet.pth is none of")
    )
    data = images("digits", per_class=2)
    train(small, data, epochs=1)
    found = expected_input(small)
    assert found["certain"] and (found["mean"], found["std"], found["size"], found["channels"]) == (
        0.3051,
        0.3762,
        32,
        1,
    )
    assert found["transform"] == data.record["transform"] and json.dumps(small.featent)
    assert expected_input(random_twin(small)) is None


def test_weights_of_unknown_origin_on_plain_pictures_are_a_warning(squeeze, imagenette_dir):
    data = images(imagenette_dir, split="val", per_class=1)
    with pytest.warns(
        UserWarning,
        match="plain values in .0, 1.: squeezenet1_1_imagenet.pth is none of the published"
        '.*mean="imagenet"',
    ):
        assert prepared(data, squeeze) is data
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prepared(data.with_transform(preprocess()), squeeze)
        prepared(data, network("squeezenet1_1"))


def test_timm_says_what_its_weights_expect():
    timm = pytest.importorskip("timm")
    found = expected_input(timm.create_model("vit_tiny_patch16_224", num_classes=3))
    assert (
        found["mean"] == (0.5, 0.5, 0.5)
        and found["size"] == 224
        and not found["certain"]
        and "timm's settings for" in found["source"]
    )


class Scores(nn.Module):
    "As many scores as asked for, the first channel's value being the highest"

    def __init__(self, n):
        super().__init__()
        self.n = n

    def forward(self, x):
        return nn.functional.one_hot(x[:, 0, 0, 0].long(), self.n).float()


class Named(TensorDataset):
    def __init__(self, classes):
        super().__init__(torch.zeros(len(classes), 1, 2, 2), torch.arange(len(classes)))
        self.classes = list(classes)


def test_a_thousand_classes_are_matched_by_position_only_where_no_name_speaks_against_it(
    squeeze, imagenet_index
):
    categories = SQUEEZE.meta["categories"]
    tuples = [
        str((c.split(" ")[0] if c in ("crane bird", "maillot tank suit") else c, "something"))
        for c in categories
    ]  # as torchvision's ImageNet
    for names in (
        list(imagenet_index),
        categories,
        tuples,
        [f"person {i}" for i in range(1000)],
        range(1000),
    ):
        found, reason = label_map_for(
            Scores(1000), images(Named(names), transform=lambda x: x), 1000
        )
        assert found.tolist() == list(range(1000)), reason
    for names, text in (
        (
            sorted(map(str, range(1000))),
            "numbers in another order than the outputs: 10 comes before 2",
        ),
        (
            [categories[1], categories[0], *tuples[2:]],
            "goldfish is output 1, tench is output 0 of ImageNet's classes",
        ),
    ):
        found, reason = label_map_for(
            Scores(1000), images(Named(names), transform=lambda x: x), 1000
        )
        assert found is None and text in reason
    published = Scores(1000)
    published.featent = {**squeeze.featent, "published": True, "weights": "IMAGENET1K_V1"}
    found, reason = label_map_for(
        published, images(Named([f"person {i}" for i in range(1000)]), transform=lambda x: x), 1000
    )
    assert (
        found is None
        and "person 0" in reason
        and "are not among the 1000 classes of SqueezeNet1_1_Weights.IMAGENET1K_V1" in reason
    )
