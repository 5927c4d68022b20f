"""Weights in files: every place that people keep them, what is refused, published files."""

import argparse
import collections
import copy
import hashlib
import json
import os
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from featent.data.checkpoints import intact, read_weights, weights_address
from featent.data.evaluation import accuracy
from featent.data.inputs import expected_input, prepared, preprocessing
from featent.data.matching import find_weights, load_weights, outputs_in
from featent.data.networks import network
from featent.data.preprocessing import preprocess
from featent.data.records import weights_hash
from featent.data.sampling import images


def tiny(classes=3, seed=0):
    "A small network with batch normalisation; another seed, other weights"
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            collections.OrderedDict(
                conv1=nn.Conv2d(1, 4, 3),
                bn1=nn.BatchNorm2d(4),
                pool=nn.AdaptiveAvgPool2d(1),
                flat=nn.Flatten(),
                fc=nn.Linear(4, classes),
            )
        )


own = tiny(seed=1)
state = own.state_dict()
mean = {k: v + 1 for k, v in state.items()}


def under(prefix, s=state):
    return {prefix + k: v for k, v in s.items()}


def loaded(tmp_path, content, **how):
    "The hash of a fresh network with the weights of a file that holds `content`"
    path = tmp_path / "w.pth"
    torch.save(content, path)
    net = tiny(seed=5)
    path, key, prefix = weights_address(
        how.pop("address", path) if "address" not in how else f"{path}::{how.pop('address')}"
    )
    load_weights(net, read_weights(path), path.name, **{"key": key, "prefix": prefix, **how})
    return weights_hash(net)


KEYS = [
    "net",
    "network",
    "weights",
    "params",
    "params_ema",
    "module",
    "model_state",
    "model_state_dict",
    "state_dict_ema",
    "model_ema",
    "ema",
    "student",
    "backbone",
    "any_name_at_all",
]
PREFIXES = [
    "",
    "module.",
    "model.",
    "net.",
    "_orig_mod.",
    "module.encoder_q.",
    "backbone.",
    "model.backbone.",
    "model.module.",
]


@pytest.mark.parametrize("key", KEYS)
def test_weights_are_found_under_any_key(tmp_path, key):
    assert loaded(
        tmp_path,
        {key: state, "epoch": 3, "optimizer": {"state": {0: {"exp_avg": torch.ones(4, 1, 3, 3)}}}},
    ) == weights_hash(own)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_prefix_is_taken_off_where_everything_fits_without_it(tmp_path, prefix):
    assert loaded(tmp_path, {"state_dict": under(prefix), "epoch": 1}) == weights_hash(own)


@pytest.mark.parametrize(
    "content",
    [
        {"model": {"state_dict": state}},
        {"a": {"b": {"c": under("module.")}}},
        {**state, "epoch": 3, "acc": 0.9, "note": "x"},
        {**state, "total_ops": torch.zeros(1), "conv1.total_params": torch.zeros(1)},
        {k: v.numpy() for k, v in state.items()},
        {
            "state_dict": under("model."),
            "callbacks": {"best": {"score": torch.tensor(0.5)}},
            "hyper_parameters": {"lr": 0.1},
        },
        {
            "state_dict": state,
            "best": np.float64(93.2),
            "n": np.int32(3),
            "flags": np.array([True]),
            "history": np.arange(3.0),
        },
        {
            "model": state,
            "args": argparse.Namespace(
                lr=0.1, out=Path("/data"), names=collections.defaultdict(list)
            ),
        },
        torch.optim.swa_utils.AveragedModel(own).state_dict(),
        {k: v for k, v in state.items() if "num_batches" not in k},
        {"teacher": state, "student": state},
    ],
    ids=[
        "nested",
        "deep",
        "numbers beside",
        "profiler",
        "numpy",
        "lightning",
        "numpy scalars",
        "namespace",
        "averaged",
        "old",
        "twice the same",
    ],
)
def test_what_lies_beside_the_weights_does_no_harm(tmp_path, content):
    assert loaded(tmp_path, content) == weights_hash(own)


def test_a_network_with_a_prefix_that_the_file_lacks(tmp_path):
    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = tiny()

    net = Wrapped()
    load_weights(net, {"state_dict": state}, "w.pt")
    assert weights_hash(net.backbone) == weights_hash(own)


def test_half_precision_becomes_that_of_the_network(tmp_path):
    half = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    assert (
        loaded(tmp_path, half)
        == weights_hash(copy.deepcopy(own).half().float())
        != weights_hash(own)
    )


def test_weights_beside_their_average_are_taken_and_the_choice_is_said(tmp_path):
    averaged = tiny()
    averaged.load_state_dict(mean)
    for name in ("model_ema", "ema", "state_dict_ema", "params_ema", "swa"):
        content = {"model": state, name: mean}
        with pytest.warns(
            UserWarning,
            match=rf"w.pth holds 2 sets of weights that fit \(model, {name}\): "
            rf"model is taken.*'w.pth::{name}'",
        ):
            assert loaded(tmp_path, content) == weights_hash(own)
        assert (
            loaded(tmp_path, content, address=name)
            == loaded(tmp_path, content, key=name)
            == weights_hash(averaged)
        )
    moco = {
        "state_dict": {
            **under("module.encoder_q."),
            **under("module.encoder_k.", mean),
            "module.queue": torch.zeros(4, 8),
        }
    }
    with pytest.warns(UserWarning, match=r"state_dict encoder_q.\* is taken"):
        assert loaded(tmp_path, moco) == weights_hash(own)
    assert (
        loaded(tmp_path, moco, address="state_dict::encoder_k.")
        == loaded(tmp_path, moco, prefix="encoder_k.")
        == weights_hash(averaged)
    )


def test_between_equals_the_user_must_choose(tmp_path):
    content = {"teacher": under("backbone."), "student": under("backbone.", mean), "epoch": 1}
    with pytest.raises(
        ValueError,
        match=r"holds 2 sets of weights that fit \(teacher backbone.\*, student backbone.\*\): "
        r"choose by .*::student::backbone.",
    ):
        loaded(tmp_path, content)
    assert (
        loaded(tmp_path, content, key="teacher")
        == weights_hash(own)
        != loaded(tmp_path, content, key="student")
    )
    with pytest.raises(
        ValueError,
        match="w.pth holds no state_dict.*a list of 2, of which one must be chosen by key=",
    ):
        loaded(tmp_path, [state, mean])
    assert (
        loaded(tmp_path, [state, mean], key="0")
        == loaded(tmp_path, {"models": [mean, state]}, key="models.1")
        == weights_hash(own)
    )
    with pytest.raises(ValueError, match="w.pth has no key 'ema' under model; it has state_dict"):
        loaded(tmp_path, {"model": {"state_dict": state}}, key="model.ema")


def test_a_prefix_is_no_excuse_for_what_is_missing(tmp_path):
    part = {k: v for k, v in under("encoder.").items() if "fc" not in k}
    with pytest.raises(
        ValueError,
        match=r"w.pth does not fit Sequential .* 2 missing from the file "
        r"\(fc.weight, fc.bias\). The file has the keys state_dict, epoch",
    ):
        loaded(tmp_path, {"state_dict": part, "epoch": 3})
    with pytest.raises(ValueError, match=r"1 unknown to the network \(fc2.weight\)"):
        loaded(tmp_path, {**state, "fc2.weight": torch.ones(3)})


@pytest.mark.parametrize(
    "dtype",
    [torch.int8, torch.uint8, torch.int64, torch.bool, torch.complex64, torch.float8_e4m3fn],
)
def test_numbers_that_are_no_weights_are_not_cast(tmp_path, dtype):
    with pytest.raises(
        ValueError,
        match=rf"quantised, whole or complex numbers .*conv1.weight {dtype} for torch.float32",
    ):
        loaded(tmp_path, {**state, "conv1.weight": state["conv1.weight"].to(dtype)})
    quantised = torch.quantize_per_tensor(state["conv1.weight"], 0.1, 0, torch.qint8)
    with pytest.raises(ValueError, match="quantised, whole or complex numbers"):
        load_weights(tiny(), {**state, "conv1.weight": quantised}, "w.pt")


def test_nothing_changes_where_something_is_refused():
    net = tiny()
    before = weights_hash(net)
    for bad in (
        {**state, "fc.bias": state["fc.bias"] * torch.nan},
        {**state, "fc.bias": state["fc.bias"].int()},
        {**state, "x": torch.ones(1)},
    ):
        with pytest.raises(ValueError):
            load_weights(net, bad, "w.pt")
    assert weights_hash(net) == before


class Harmful:
    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def test_the_refused_name_is_told_and_nothing_runs(tmp_path):
    torch.save({"state_dict": state, "hook": Harmful(str(tmp_path / "ran"))}, tmp_path / "w.pt")
    with pytest.raises(
        ValueError,
        match=r"w.pt holds pickled code or objects \((posix|nt).mkdir\), "
        r"and only tensors are loaded; .*torch.save",
    ):
        read_weights(tmp_path / "w.pt")
    assert not (tmp_path / "ran").exists()


def test_what_is_allowed_is_allowed_for_reading_only(tmp_path):
    torch.save({"a": argparse.Namespace(x=np.float64(1))}, tmp_path / "w.pt")

    def allowed():
        return {str(g) for g in torch.serialization.get_safe_globals()}

    before = allowed()
    threads = [threading.Thread(target=read_weights, args=(tmp_path / "w.pt",)) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert read_weights(tmp_path / "w.pt")["a"].x == 1 and allowed() == before
    with pytest.raises(Exception, match="Namespace"):
        torch.load(tmp_path / "w.pt", weights_only=True)


def test_the_number_of_outputs_is_in_the_file():
    assert (
        outputs_in(tiny(3), {"model": tiny(7).state_dict()}, "w.pt") == 7
        and outputs_in(tiny(3), state, "w.pt") is None
    )
    assert (
        outputs_in(tiny(3), {**state, "conv1.weight": torch.ones(5, 1, 3, 3)}, "w.pt") == 5
    )  # it is for the caller to load it
    assert (
        outputs_in(tiny(3), {**tiny(7).state_dict(), "conv1.bias": torch.ones(5)}, "w.pt") is None
    )
    assert find_weights(tiny(), state, "w.pt").faults == {}


def test_damage_is_found(tmp_path):
    torch.save(state, tmp_path / "w.pt")
    whole = (tmp_path / "w.pt").read_bytes()
    assert intact(tmp_path / "w.pt").keys() == state.keys()
    (tmp_path / "w.pt").write_bytes(whole.replace(state["fc.weight"].numpy().tobytes(), bytes(48)))
    with pytest.raises(ValueError, match="w.pt is damaged .wrong checksum"):
        intact(tmp_path / "w.pt")
    with pytest.raises(FileNotFoundError, match="is a folder: pass the weights file in it"):
        read_weights(tmp_path)


# ---- networks with such files


def test_the_record_tells_what_was_taken(tmp_path):
    small = network("small_vgg", in_channels=1, num_classes=4, seed=3)
    path = tmp_path / "last.ckpt"
    torch.save(
        {
            "net": {f"model.{k}": v for k, v in small.state_dict().items()}
            | {"loss.weight": torch.ones(4)}
        },
        path,
    )
    net = network("small_vgg", weights=path, in_channels=1)
    assert weights_hash(net) == weights_hash(small) and net.featent["num_classes"] == 4
    assert (
        net.featent["taken"] == "net model.*, 1 other entries left"
        and net.featent["weights"] == "last.ckpt"
        and json.dumps(net.featent)
    )
    again = network("small_vgg", weights=f"{path}::net::model.", in_channels=1)
    assert (
        weights_hash(again) == weights_hash(small) and again.featent["weights"] == "last.ckpt::net"
    )
    with pytest.raises(ValueError, match="pass weights= the file"):
        network("small_vgg", key="net")


@pytest.fixture(scope="module")
def squeeze_file(weights):
    return weights / "squeezenet1_1_imagenet.pth"


def known_by_checksum(monkeypatch, path):
    "Let the checksum of a file be that of the published weights"
    real = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(
        "featent.data.architectures._checksum",
        lambda p: "b8a52dc0" + "0" * 56 if Path(p).read_bytes() == path.read_bytes() else real,
    )


@pytest.mark.parametrize("name", ["squeezenet1_1-b8a52dc0.pth", "renamed.bin"])
def test_published_weights_in_a_file_bring_their_preprocessing(
    monkeypatch, tmp_path, squeeze_file, imagenette_dir, name
):
    path = tmp_path / name
    path.write_bytes(squeeze_file.read_bytes())
    known_by_checksum(monkeypatch, squeeze_file)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net = network("squeezenet1_1", weights=path)
    preset = torchvision.models.SqueezeNet1_1_Weights.IMAGENET1K_V1
    assert net.featent["published"] and (
        net.featent["weights"],
        net.featent["file"],
        net.featent["known_by"],
    ) == (preset.name, name, "checksum")
    data = images(imagenette_dir, split="val", per_class=6)
    assert torch.equal(prepared(data, net)[0][0], preset.transforms()(data.raw(0)))
    assert accuracy(net, data)["top1"] > 0.5
    found = expected_input(net)
    assert (
        found["certain"]
        and (found["mean"], found["size"], found["resize"]) == ((0.485, 0.456, 0.406), 224, 256)
        and name in found["source"]
    )
    module = network(torchvision.models.squeezenet1_1(weights=None), weights=path)
    assert module.featent["name"] == "SqueezeNet" and str(preprocessing(module)) == str(
        preprocessing(net)
    )


def test_a_file_known_by_its_name_alone_is_taken_with_a_warning(tmp_path, squeeze_file):
    for name in ("squeezenet1_1-b8a52dc0.pth", "squeezenet1_1-b8a52dc0 (1).pth"):
        (tmp_path / name).write_bytes(squeeze_file.read_bytes())
        with pytest.warns(
            UserWarning,
            match="taken for the published weights SqueezeNet1_1_Weights.IMAGENET1K_V1 "
            "by its name, but its sha256 begins with 27d6d7c6",
        ):
            net = network("squeezenet1_1", weights=tmp_path / name)
        assert net.featent["known_by"] == "name" and preprocessing(net) is not None


def test_a_chosen_size_is_not_undone_by_the_preset(monkeypatch, squeeze_file, imagenette_dir):
    known_by_checksum(monkeypatch, squeeze_file)
    net, data = (
        network("squeezenet1_1", weights=squeeze_file),
        images(imagenette_dir, split="val", per_class=1, size=64),
    )
    seen = prepared(data, net)
    assert seen[0][0].shape == (3, 64, 64) and torch.equal(
        seen[0][0], preprocess(mean="imagenet", std="imagenet")(data.raw(0))
    )
    text = seen.record["transform"]
    assert (
        text.startswith("normalisation of IMAGENET1K_V1 (mean=(0.485, 0.456, 0.406), ")
        and "at the size 64" in text
        and "without its resize to 256 and crop to 224" in text
    )


@pytest.mark.parametrize(
    ("name", "file"),
    [("googlenet", "googlenet-1378be20.pth"), ("inception_v3", "inception_v3_google-0cc3c7bd.pth")],
)
def test_published_files_switch_on_what_their_networks_need(tmp_path, name, file):
    made = torchvision.models.get_model(name, weights=None, init_weights=False)
    torch.save(made.state_dict(), tmp_path / file)
    with pytest.warns(UserWarning, match="by its name"):
        net = network(name, weights=tmp_path / file)
    assert (
        net.transform_input and net.featent["transform_input"] and not network(name).transform_input
    )
    if name == "googlenet":
        assert net.aux1 is None  # as torchvision has it for published weights
        torch.save(net.state_dict(), tmp_path / "mine.pth")
        assert weights_hash(network(name, weights=tmp_path / "mine.pth")) == weights_hash(net)


def test_features_without_a_classifier_are_refused():
    with pytest.raises(ValueError, match="IMAGENET1K_FEATURES of vgg16 have no classifier"):
        network("vgg16", weights="IMAGENET1K_FEATURES")


def test_a_network_of_torchvisions_own_making_is_known_by_the_cache(
    monkeypatch, tmp_path, squeeze_file
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cache = tmp_path / "hub" / "checkpoints" / "squeezenet1_1-b8a52dc0.pth"
    cache.parent.mkdir(parents=True)
    cache.write_bytes(squeeze_file.read_bytes())
    net = torchvision.models.squeezenet1_1(weights="DEFAULT")
    found = expected_input(net)
    assert found["certain"] and found["mean"] == (0.485, 0.456, 0.406)
    assert (
        found["source"]
        == "its weights are SqueezeNet1_1_Weights.IMAGENET1K_V1, as in PyTorch's cache"
        and not hasattr(net, "featent")
    )
    with torch.no_grad():
        net.features[0].bias[0] += 1
    assert (
        expected_input(net) is None and expected_input(torchvision.models.squeezenet1_0()) is None
    )
    cache.write_bytes(b"damaged")
    assert expected_input(torchvision.models.squeezenet1_1(weights=None)) is None
