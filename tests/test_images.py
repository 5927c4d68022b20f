"""Images: sources, sampling, records, transforms, and every error."""

import copy
import functools
import gzip
import json
import pickle
import shutil
import tracemalloc
import urllib.error

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given, settings, strategies as st
from PIL import Image
from torch.utils.data import Dataset, Subset, TensorDataset

from featent.data.image_sets import Images
from featent.data.preprocessing import as_given, describe_transform, preprocess
from featent.data.reading_ahead import batches
from featent.data.sampling import corrupt_labels, images


@pytest.fixture
def folder(tmp_path):
    "Two classes of six 8 x 8 gray images whose value tells which they are"
    for i in range(12):
        path = tmp_path / "set" / ("b" if i % 2 else "a") / f"{i:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 10 * i).save(path)
    return tmp_path / "set"


# ---- named sets


def test_digits_parts_are_disjoint_complete_and_stratified():
    train, test = images("digits"), images("digits", split="test")
    assert len(train) + len(test) == 1797 and not set(train.names) & set(test.names)
    share = [len(at) / (len(at) + len(test.by_class[c])) for c, at in train.by_class.items()]
    assert np.allclose(share, 0.8, atol=0.01)
    assert train[0][0].shape == (1, 32, 32) and train[0][0].dtype == torch.float32
    assert images("digits", size=8)[0][0].shape == (1, 8, 8)


def test_digits_split_does_not_depend_on_seed():
    assert images("digits", seed=5).names == images("digits").names


def test_digits_values_are_the_real_ones():
    from sklearn.datasets import load_digits

    d = images("digits", size=8, transform=preprocess())
    at = int(d.names[7].split("/")[-1])
    assert torch.equal(d[7][0][0], torch.from_numpy(load_digits().images[at] / 16).float())


def test_fashion_mnist(fashion_root):
    d = images("fashion_mnist", split="test", root=fashion_root, per_class=3)
    assert d.classes == tuple(torchvision.datasets.FashionMNIST.classes) and len(d) == 30
    reference = torchvision.datasets.FashionMNIST(fashion_root, train=False)
    at = int(d.names[4].split("/")[-1])
    picture, label = reference[at]
    assert torch.allclose(
        d[4][0], (torchvision.transforms.functional.to_tensor(picture) - 0.2860) / 0.3530
    )
    assert d[4][1] == label
    assert d.record["transform"].startswith("preprocess(") and str(fashion_root) not in json.dumps(
        d.record
    )


def test_customary_normalisation_is_that_of_the_training_images(fashion_root):
    data = torchvision.datasets.FashionMNIST(fashion_root).data.double() / 255
    assert (data.mean(), data.std()) == (
        pytest.approx(0.2860, abs=1e-4),
        pytest.approx(0.3530, abs=1e-4),
    )


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10", "cifar100"])
def test_absent_set_says_where_and_what(name, tmp_path):
    with pytest.raises(
        FileNotFoundError,
        match=f"{name} is not in .*{tmp_path.name}.*pass root= .* or download=True",
    ):
        images(name, root=tmp_path)


def test_damaged_set_is_named(tmp_path, fashion_root):
    shutil.copytree(fashion_root / "FashionMNIST", tmp_path / "FashionMNIST")
    path = tmp_path / "FashionMNIST/raw/t10k-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ValueError, match="fashion_mnist in .* cannot be read .* delete them"):
        images("fashion_mnist", split="test", root=tmp_path)


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_no_network_is_a_connection_error(name, tmp_path, monkeypatch):
    def refuse(*a, **k):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    with pytest.raises(
        ConnectionError, match=f"{name} could not be downloaded into .*no route to host.*pass root="
    ):
        images(name, root=tmp_path, download=True)


# ---- folders


def test_cifar10_folder(cifar10_dir):
    d = images(cifar10_dir, split="test", per_class=2)
    assert d.classes[0] == "airplane" and len(d.classes) == 10 and len(d) == 20
    assert d[0][0].shape == (3, 32, 32) and 0 <= d[0][0].min() and d[0][0].max() <= 1
    assert d.names[0].startswith("test/airplane/") and d.record["source"] == "cifar10"
    assert d.transform is None and d.record["transform"] == "none"
    reference = torchvision.datasets.ImageFolder(cifar10_dir / "test")
    assert reference.classes == list(d.classes)
    assert len(images(str(cifar10_dir), split="train")) == 15000


def test_split_of_a_folder(imagenette_dir):
    assert len(images(imagenette_dir, split="test", per_class=1)) == 10
    assert len(images(imagenette_dir / "val", per_class=1)) == 10
    with pytest.raises(FileNotFoundError, match="has the parts val but none for split='train'"):
        images(imagenette_dir)


def test_folder_is_read_lazily(cifar10_dir):
    tracemalloc.start()
    d = images(cifar10_dir, split="train", per_class=1000)
    for i in range(0, len(d), 100):
        d[i]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 30e6  # the pixels alone would be 123 MB as float32


def test_other_files_are_passed_over(folder):
    (folder / "a" / "notes.txt").write_text("x")
    (folder / "a" / "._00.png").write_bytes(b"x")
    (folder / ".cache").mkdir()
    (folder / "list.csv").write_text("x")
    (folder / "a" / "deeper").mkdir()
    Image.new("RGB", (8, 8)).save(folder / "a" / "deeper" / "z.JPG")
    d = images(folder)
    assert len(d) == 13 and d.classes == ("a", "b")


def test_folder_errors(tmp_path, folder):
    with pytest.raises(
        FileNotFoundError,
        match="neither a known data set \\(digits, mnist, .*nor an existing folder",
    ):
        images("digts")
    with pytest.raises(FileNotFoundError, match="not a folder"):
        images(tmp_path / "nowhere")
    (tmp_path / "x.tar").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match="is a file; unpack it"):
        images(tmp_path / "x.tar")
    (tmp_path / "flat").mkdir()
    shutil.copy(folder / "a" / "00.png", tmp_path / "flat")
    with pytest.raises(
        ValueError, match="flat has no class folders: put the images of each class in a subfolder"
    ):
        images(tmp_path / "flat")
    (folder / "c").mkdir()
    with pytest.raises(ValueError, match="class folder 'c' of set has no image"):
        images(folder)


def test_unreadable_image_stops_or_is_skipped(folder):
    (folder / "b" / "05.png").write_bytes(b"nonsense")
    with pytest.raises(ValueError, match=r'b/05.png cannot be read .*on_error="skip"'):
        images(folder)
    d = images(folder, per_class=5, on_error="skip")
    assert [len(at) for at in d.by_class.values()] == [5, 5] and "b/05.png" not in d.names
    assert images(folder, on_error="skip").record["skipped"] == 1
    with pytest.raises(ValueError, match="6 images per class were asked for, but b has 5"):
        images(folder, per_class=6, on_error="skip")


def test_truncated_image_is_named_when_read(folder):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(folder / "b" / "05.png")
    data = (folder / "b" / "05.png").read_bytes()
    (folder / "b" / "05.png").write_bytes(data[: len(data) // 2])
    d = images(folder)  # the header is whole
    with pytest.raises(ValueError, match=r'b/05.png cannot be read .*on_error="skip"'):
        d[d.names.index("b/05.png")]
    assert "b/05.png" not in images(folder, on_error="skip").names


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    (tmp_path / "s" / "a").mkdir(parents=True)
    Image.fromarray(np.full((8, 8), 257 * 51, np.uint16)).save(tmp_path / "s" / "a" / "x.png")
    assert images(tmp_path / "s")[0][0].allclose(torch.full((3, 8, 8), 0.2))


# ---- data sets and iterables


class Broken(Dataset):
    classes = ("x", "y")

    def __len__(self):
        return 6

    def __getitem__(self, i):
        if i == 3:
            raise OSError("disk on fire")
        return np.full((4, 4), i / 8), i % 2


def test_map_style_dataset():
    x = torch.rand(6, 3, 4, 5)
    d = images(TensorDataset(x, torch.tensor([0, 1, 2, 0, 1, 2])))
    assert torch.equal(d[4][0], x[4]) and d[4][1] == 1 and d.classes == ("0", "1", "2")
    assert d.transform is as_given and d.record["transform"] == "the data set's own"
    again = images(TensorDataset(x + 1, torch.tensor([0, 1, 2, 0, 1, 2])))
    assert again.record["fingerprint"] != d.record["fingerprint"]


def test_torchvision_dataset_and_subset(fashion_root):
    f = torchvision.datasets.FashionMNIST(fashion_root, train=False)
    d = images(Subset(f, range(100, 400)), per_class=2)
    assert d.classes == tuple(f.classes) and len(d) == 20
    at = 100 + int(d.names[0].split("/")[-1])
    assert torch.allclose(d[0][0], f.data[at][None] / 255) and d[0][1] == f.targets[at]


def test_broken_dataset():
    with pytest.raises(ValueError, match="item 3 of the Broken cannot be read .disk on fire."):
        images(Broken())
    d = images(Broken(), on_error="skip")
    assert len(d) == 5 and d.record["skipped"] == 1 and d.classes == ("x", "y")


def test_random_dataset_is_warned_of():
    class Random(Broken):
        def __getitem__(self, i):
            return torch.rand(1, 4, 4), 0

    with pytest.warns(UserWarning, match="different pixels each time"):
        images(Random())


def test_every_form_of_image_gives_the_same_numbers():
    rgb = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    forms = [
        rgb,
        Image.fromarray(rgb),
        torch.from_numpy(rgb).permute(2, 0, 1),
        rgb / 255,
        (rgb / 255).astype(np.float32),
    ]
    d = images((f, 0) for f in forms)
    for i in range(len(forms)):
        assert torch.allclose(d[i][0], torch.from_numpy(rgb).permute(2, 0, 1) / 255, atol=1e-6)


@pytest.mark.parametrize(
    ("item", "error", "text"),
    [
        ((np.zeros((3, 32, 32)), 0), ValueError, "an array is \\(H, W, C\\)"),
        ((np.zeros(5), 0), ValueError, "must be \\(H, W\\)"),
        ((torch.zeros(1, 1, 4, 4), 0), ValueError, "must be \\(C, H, W\\)"),
        ((torch.zeros(1, 4, 4, dtype=torch.int64), 0), TypeError, "uint8 or floating point"),
        (("x.png", 0), TypeError, "PIL image, an array or a tensor, not str"),
        ((np.zeros((4, 4)), "cat"), TypeError, "a label must be an integer, not 'cat'"),
        ((np.zeros((4, 4)), -1), ValueError, "must not be negative"),
        (np.zeros((4, 4)), TypeError, "expected a pair"),
    ],
)
def test_bad_items(item, error, text):
    with pytest.raises((error, ValueError), match=text):
        images([item])[0]


def test_nan_and_empty_and_wrong_source():
    with pytest.raises(ValueError, match="iterable/00000: the image holds NaN"):
        images([(torch.full((1, 4, 4), torch.nan), 0)])[0]
    with pytest.raises(ValueError, match="iterable has no image"):
        images([])
    with pytest.raises(TypeError, match="source must be one of digits, .*not int"):
        images(3)


# ---- sampling


def test_sample_is_seeded_nested_and_independent_of_the_classes():
    a, b = images(per_class=10), images(per_class=10)
    assert a.names == b.names and a.record == b.record
    assert images(per_class=10, seed=1).names != a.names
    assert set(a.names) < set(images(per_class=20).names)
    some = images(per_class=10, classes=[7, "2"])
    assert set(some.names) < set(a.names) and set(some.labels) == {2, 7} and len(some.classes) == 10


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(1, 5), st.integers(0, 99))
def test_sample_has_n_different_images_of_each_class(labels, n, seed):
    labels = np.array(labels + [0, 1, 2, 3, 4])
    data = TensorDataset(
        torch.arange(len(labels)).float().view(-1, 1, 1, 1), torch.from_numpy(labels)
    )
    counts = np.bincount(labels)
    if counts.min() < n:
        with pytest.raises(ValueError, match=f"{n} images per class were asked for"):
            images(data, per_class=n, seed=seed)
        return
    d = images(data, per_class=n, seed=seed)
    assert [len(at) for at in d.by_class.values()] == [n] * 5 and len(set(d.names)) == 5 * n
    assert all(labels[int(x.item())] == y for x, y in d)


def test_sampling_errors():
    with pytest.raises(
        ValueError,
        match="unknown classes \\['ten', 10\\]; valid are the indices 0..9 and the names 0, 1",
    ):
        images(classes=["ten", 10])
    with pytest.raises(ValueError, match="classes is empty"):
        images(classes=[])
    with pytest.raises(ValueError, match="142 images per class were asked for, but 8 has"):
        images(per_class=142)
    for bad in (0, -1, 2.5, True):
        with pytest.raises(ValueError, match="per_class=.* must be an integer >= 1"):
            images(per_class=bad)
    with pytest.raises(ValueError, match="seed=-1 must be"):
        images(seed=-1)
    with pytest.raises(ValueError, match='split=.* choose "train" or "test"'):
        images(split="dev")
    with pytest.raises(ValueError, match='digits has no part "val"'):
        images(split="val")
    with pytest.raises(ValueError, match='on_error=.*choose "stop" or "skip"'):
        images(on_error="ignore")


# ---- the set and its record


def test_record_is_json_and_sees_every_choice(folder):
    base = images(per_class=5)
    assert json.loads(json.dumps(base.record)) == base.record
    others = [
        images(per_class=6),
        images(per_class=5, seed=1),
        images(per_class=5, split="test"),
        images(per_class=5, size=16),
        images(per_class=5, transform=preprocess()),
        base.with_transform(None),
        base.with_labels(base.labels[::-1].copy()),
    ]
    prints = {d.record["fingerprint"] for d in [base, *others]}
    assert len(prints) == 8
    before = images(folder).record
    Image.new("L", (9, 9), 77).save(folder / "a" / "00.png")
    assert images(folder).record["fingerprint"] != before["fingerprint"]
    assert str(folder.parent) not in json.dumps(before)


def test_copies_leave_the_original_alone():
    d = images(per_class=5)
    record = dict(d.record)
    t = d.with_transform(preprocess(mean=1))
    assert torch.allclose(t[0][0], t.raw(0) - 1) and d.record == record and t.names == d.names
    with pytest.raises(AttributeError):
        d.labels = None
    with pytest.raises(ValueError, match="labels must lie in 0..9"):
        d.with_labels(d.labels + 5)
    with pytest.raises(ValueError, match="labels must be 50 integers"):
        d.with_labels(d.labels[:3])


def test_images_of_images_keep_names_and_transform():
    d = images(per_class=9)
    e = images(d, per_class=4, classes=[3, 4])
    assert set(e.names) < set(d.names) and e.transform == d.transform
    assert torch.equal(e[0][0], d[d.names.index(e.names[0])][0])


def test_pickle_copy_loader_and_repr(folder):
    for d in (images(per_class=2), images(folder)):
        for other in (pickle.loads(pickle.dumps(d)), copy.deepcopy(d)):
            assert other.record == d.record and torch.equal(other[3][0], d[3][0])
        x, y = next(iter(torch.utils.data.DataLoader(d, batch_size=4)))
        assert len(x) == 4 and y.dtype == torch.int64
        assert d.record["fingerprint"] in repr(d) and "| class | images |" in d._repr_markdown_()
    many = images([(np.zeros((2, 2)), i) for i in range(40)])
    assert "28 more" in many._repr_markdown_() and sum(1 for _ in many) == 40


def test_batches():
    d = images(per_class=7)
    seen = list(batches(d, 32))
    assert [len(at) for at, _, _ in seen] == [32, 32, 6]
    at, x, y = seen[-1]
    assert (
        at.tolist() == list(range(64, 70))
        and torch.equal(x[0], d[64][0])
        and y.tolist() == d.labels[64:].tolist()
    )
    mixed = images([(np.zeros((s, 8)), 0) for s in (8, 8, 9)])
    with pytest.raises(ValueError, match="iterable/00002 has shape \\(1, 9, 8\\).*pass size="):
        list(batches(mixed))
    assert next(batches(images(mixed, size=8)))[1].shape == (3, 1, 8, 8)
    with pytest.raises(ValueError, match="batch_size=0"):
        next(batches(d, 0))


# ---- transforms


def test_preprocess():
    x = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    t = torchvision.transforms
    imagenet = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    reference = t.Compose(
        [t.ToTensor(), t.Resize(16, antialias=True), t.CenterCrop(16), t.Normalize(*imagenet)]
    )
    ours = preprocess(size=16, mean="imagenet", std="imagenet")
    assert torch.allclose(ours(x), reference(Image.fromarray(x)), atol=1e-6)
    assert preprocess(size=(10, 40))(x).shape == (3, 10, 40)
    assert preprocess(channels=1)(x).shape == (1, 20, 30) and preprocess(channels=3)(
        x[..., 0]
    ).shape == (3, 20, 30)
    gray = torch.from_numpy(np.asarray(Image.fromarray(x).convert("L")).copy()) / 255
    assert torch.allclose(preprocess(channels=1)(x)[0], gray, atol=1.5 / 255)
    assert eval(repr(ours)) == ours and hash(ours) == hash(eval(repr(ours)))


def test_preprocess_errors():
    for bad in (0, -3, (1, 2, 3), 2.5, "big"):
        with pytest.raises(ValueError, match="size=.* must be a positive integer or a pair"):
            preprocess(size=bad)
    with pytest.raises(ValueError, match="std=0 must be positive"):
        preprocess(std=0)
    with pytest.raises(ValueError, match='mean=\'cifar\': pass numbers or "imagenet"'):
        preprocess(mean="cifar")
    with pytest.raises(ValueError, match="the image has 1: pass channels=3"):
        preprocess(mean="imagenet")(np.zeros((4, 4), np.uint8))
    with pytest.raises(ValueError, match="cannot make 4 channels out of 3"):
        preprocess(channels=4)(np.zeros((4, 4, 3), np.uint8))


def double(x):
    return x * 2


class Gain:
    def __init__(self, g):
        self.g = g

    def __call__(self, x):
        return x * self.g


def test_describe_transform_is_stable_and_tells_apart():
    def scaled(k):
        return lambda x: x * k

    t = torchvision.transforms
    make = [
        lambda: None,
        lambda: double,
        lambda: functools.partial(double),
        lambda: Gain(2),
        lambda: Gain(3),
        lambda: scaled(2),
        lambda: scaled(3),
        lambda: t.Compose([t.ToTensor(), t.Lambda(double)]),
        lambda: t.Compose([t.ToTensor(), t.Lambda(Gain(4))]),
        lambda: t.ToTensor(),
        lambda: torchvision.models.SqueezeNet1_1_Weights.DEFAULT.transforms(),
        lambda: preprocess(3),
        lambda: preprocess(4),
    ]
    texts = [describe_transform(m()) for m in make]
    assert texts == [describe_transform(m()) for m in make] and len(set(texts)) == len(texts)
    assert not any(" at 0x" in text or "\n" in text for text in texts)


def test_transforms_of_others_receive_pictures(folder):
    t = torchvision.transforms
    d = images(folder, transform=t.Compose([t.Resize(4), t.ToTensor()]))
    assert d[0][0].shape == (3, 4, 4)
    with pytest.raises(ValueError, match="a/00.png: the transform gives a int"):
        images(folder, transform=lambda p: 3)[0]
    with pytest.raises(ValueError, match="a/00.png: the transform gives a torch.uint8 tensor"):
        images(folder, transform=t.PILToTensor())[0]
    with pytest.raises(ValueError, match="a/00.png: the transform .* failed: oh"):
        images(folder, transform=_fail)[0]


def _fail(p):
    raise RuntimeError("oh")


# ---- corrupted labels


def test_corrupt_labels():
    y = np.arange(10_000) % 10
    for share in (0, 0.2, 0.5, 1):
        z = corrupt_labels(y, share, 10, 3)
        assert z.dtype == np.int64 and abs((z != y).mean() - 0.9 * share) < 0.015
    assert (
        np.array_equal(corrupt_labels(y, 0.5, 10, 3), corrupt_labels(y, 0.5, 10, 3)) and y[0] == 0
    )
    few, more = corrupt_labels(y, 0.2, 10, 0), corrupt_labels(y, 0.6, 10, 0)
    assert (more[few != y] == few[few != y]).all()
    with pytest.raises(ValueError, match="share=20 must lie in"):
        corrupt_labels(y, 20, 10, 0)


def test_named_set_from_its_packed_files(shared, tmp_path):
    "download=True unpacks what lies there already, without a network"
    raw = tmp_path / "FashionMNIST" / "raw"
    shutil.copytree(shared / "data/images/FashionMNIST/raw", raw)
    for p in raw.iterdir():
        p.chmod(0o644)
    raw.chmod(0o755)
    with gzip.open(raw / "t10k-labels-idx1-ubyte.gz") as f:
        labels = f.read()[8:]
    d = images("fashion_mnist", split="test", root=tmp_path, download=True, transform=preprocess())
    assert isinstance(d, Images) and bytes(d.labels.astype(np.uint8)) == labels
