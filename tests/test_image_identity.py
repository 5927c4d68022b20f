"""The fingerprint of images is their content: what changes an image changes it, and no more."""

import json
import os
import pickle
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch.utils.data import Dataset, TensorDataset

from featent.assessment.assessing import assess
from featent.data.image_sets import FINGERPRINT_VERSION, check_unchanged, other_images
from featent.data.pictures import ImageError
from featent.data.preprocessing import preprocess
from featent.data.sampling import check_disjoint, hold_out, images
from featent.explorers.origins import same_origin


def noise(seed, shape=(16, 16)):
    return np.random.default_rng(seed).integers(0, 255, shape, dtype=np.uint8)


@pytest.fixture
def folder(tmp_path):
    "Two classes of ten gray BMP files, all of the same size in bytes"
    for i in range(20):
        path = tmp_path / "pics" / "ab"[i % 2] / f"{i:02d}.bmp"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(i)).save(path)
    return tmp_path / "pics"


def fingerprint(*a, **k):
    return images(*a, **k).record["fingerprint"]


def test_one_replaced_file_of_the_same_size_is_another_set(folder):
    before, path = fingerprint(folder), folder / "a/04.bmp"
    kept, size, times = path.read_bytes(), path.stat().st_size, path.stat()
    Image.fromarray(noise(99)).save(path)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert path.stat().st_size == size and fingerprint(folder) != before
    path.write_bytes(kept)
    assert fingerprint(folder) == before


def test_two_files_that_change_places_are_another_set(folder):
    before, a = fingerprint(folder), folder / "a"
    (a / "04.bmp").rename(a / "x")
    (a / "06.bmp").rename(a / "04.bmp")
    (a / "x").rename(a / "06.bmp")
    assert fingerprint(folder) != before


def test_a_folder_that_is_renamed_or_copied_is_the_same_set(folder, tmp_path):
    before = images(folder)
    shutil.copytree(folder, tmp_path / "elsewhere/train")
    after = images(tmp_path / "elsewhere")
    assert (
        after.record["fingerprint"] == before.record["fingerprint"]
        and after.record["source"] == "elsewhere"
    )
    assert (
        fingerprint(folder, per_class=10, seed=7) == before.record["fingerprint"]
    )  # the same images, found otherwise
    (tmp_path / "elsewhere/train/a").rename(tmp_path / "elsewhere/train/A")
    assert fingerprint(tmp_path / "elsewhere") != before.record["fingerprint"]


def test_a_file_that_changes_after_the_record_is_an_error_when_it_is_read(folder):
    got = images(folder)
    got.record
    os.utime(folder / "a/04.bmp")  # touched only
    list(got)
    Image.fromarray(noise(99)).save(folder / "a/04.bmp")
    for read in (
        got.__getitem__,
        got.with_transform(preprocess(channels=1)).raw,
        pickle.loads(pickle.dumps(got)).tensor,
    ):
        with pytest.raises(
            ImageError,
            match="a/04.bmp: the file has changed since these images were made: make them again",
        ):
            [read(i) for i in range(20)]
    assert len([*images(folder)]) == 20


class Tensors(Dataset):
    def __init__(self, x):
        self.x = x

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i], i % 2


@pytest.mark.parametrize(
    "make",
    [
        Tensors,
        lambda x: [(v.clone(), i % 2) for i, v in enumerate(x)],
        lambda x: TensorDataset(x, torch.arange(len(x)) % 2),
    ],
)
def test_every_item_of_a_data_set_counts(make):
    x = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    before = fingerprint(make(x))
    assert fingerprint(make(x.clone())) == before
    for i in (0, 7, 39):
        other = x.clone()
        other[i, 0, 3, 3] += 1e-3
        assert fingerprint(make(other)) != before


def test_the_palette_of_a_picture_counts():
    def picture(palette):
        p = Image.fromarray(noise(0) % 4, "P")
        p.putpalette(palette)
        return [(p, 0), (p, 0)]

    palettes = (
        [0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255],
        [9, 9, 9, 255, 0, 0, 0, 255, 0, 0, 0, 255],
    )
    assert fingerprint(picture(palettes[0])) != fingerprint(picture(palettes[1]))


def test_an_item_that_changes_after_the_record_is_an_error():
    x = torch.rand(40, 1, 8, 8)
    got = images(Tensors(x))
    got.record
    x[7] = 0
    with pytest.raises(
        ImageError, match="Tensors/00007: the item is another .changed, or drawn at random. since"
    ):
        list(got)


def test_an_inverted_published_set_is_another_one(fashion_root, tmp_path):
    shutil.copytree(fashion_root / "FashionMNIST", tmp_path / "FashionMNIST")
    path = tmp_path / "FashionMNIST/raw/t10k-images-idx3-ubyte"
    data = np.frombuffer(path.read_bytes(), np.uint8).copy()
    data[16:] = 255 - data[16:]
    path.chmod(0o644)
    path.write_bytes(data.tobytes())
    how = dict(split="test", per_class=3)
    assert fingerprint("fashion_mnist", root=tmp_path, **how) != fingerprint(
        "fashion_mnist", root=fashion_root, **how
    )


SETTING = {"k": 1.0}


def reads_a_global(picture):
    return preprocess(channels=1)(picture) ** SETTING["k"]


class Hidden:
    def __init__(self, k):
        self.k = k

    def __call__(self, picture):
        return preprocess(channels=1)(picture) * self.k

    def __repr__(self):
        return "Hidden()"


def test_what_a_transform_hides_counts(folder, monkeypatch):
    got = images(folder, transform=reads_a_global)
    before = got.record["fingerprint"]
    check_unchanged(got)
    monkeypatch.setitem(SETTING, "k", 3.0)
    assert fingerprint(folder, transform=reads_a_global) != before
    with pytest.raises(
        ValueError, match="reads_a_global.* gives other values than when the images were recorded"
    ):
        check_unchanged(got)
    with pytest.raises(ValueError, match="gives other values than when the images were recorded"):
        assess(torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU()), got)
    check_unchanged(images(folder, transform=reads_a_global))
    kinds = {fingerprint(folder, transform=Hidden(k)) for k in (1, -1, 1.01)}
    flips = [
        lambda p: preprocess()(p),
        lambda p: preprocess()(p).flip(2),
        lambda p: preprocess()(p).flip(1),
        lambda p: preprocess()(p)[[2, 1, 0]],
    ]
    assert (
        len(kinds) == 3
        and len({images(folder, transform=f).record["yields"] for f in flips[:3]}) == 3
    )


def test_a_random_transform_is_told_and_moves_no_generator(folder):
    t = torchvision.transforms
    got = images(folder, transform=t.Compose([t.ToTensor(), t.Lambda(lambda x: x + torch.rand(1))]))
    torch.manual_seed(5)
    with pytest.warns(UserWarning, match="the transform gives different values each time"):
        got.record
    assert torch.equal(torch.rand(3), torch.rand(3, generator=torch.Generator().manual_seed(5)))
    check_unchanged(got)


def test_halves_of_a_random_data_set_share_nothing():
    class Random(Tensors):
        def __getitem__(self, i):
            return torch.rand(1, 4, 4), i % 2

    with pytest.warns(UserWarning, match="different pixels each time"):
        got = images(Random(torch.zeros(12)))
    check_disjoint(*hold_out(got, 2))


def test_size_channels_labels_and_classes_count(folder):
    base = images(folder)
    others = [
        images(folder, size=8),
        images(folder, channels=1),
        images(folder, full=255),
        images(folder, classes="a"),
        base.with_labels(1 - base.labels),
        base.with_transform(preprocess()),
        images(base, size=8),
        hold_out(base, 2)[0],
    ]
    prints = {d.record["fingerprint"] for d in [base, *others]}
    assert len(prints) == 9
    assert (
        json.loads(json.dumps(base.record)) == base.record
        and base.record["fingerprint_version"] == FINGERPRINT_VERSION
    )


def test_two_records_say_how_they_differ(folder):
    a, b = images(folder), images(folder, size=8, transform=preprocess())
    assert other_images(a.record, images(folder).record) == ""
    assert set(other_images(a.record, b.record)[7:].split(", ")) == {
        "size",
        "transform",
        "what the transform gives",
    }
    assert "labels" in other_images(a.record, a.with_labels(1 - a.labels).record)
    old = {k: v for k, v in a.record.items() if k not in ("fingerprint_version", "yields")} | {
        "fingerprint": "0" * 16
    }
    assert "made by an earlier version of featent" in other_images(a.record, old)


def test_a_result_says_why_images_are_not_its_own(folder):
    other = SimpleNamespace(record={"images": images(folder, size=8).record})
    with pytest.raises(ValueError, match="not those of the result .*; other: size, what the tr"):
        same_origin(other, torch.nn.ReLU(), images(folder))


def test_a_text_shows_even_where_there_is_no_fingerprint(folder):
    got = images(folder)
    (folder / "b/03.bmp").unlink()
    assert "20 of pics, 2 classes, no fingerprint: b/03.bmp cannot be read" in repr(got)
