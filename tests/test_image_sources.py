"""Images from folders, data sets and iterables: right labels and pictures, or what to do."""

import itertools
import os
from collections import namedtuple

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    TensorDataset,
)

from featent.data.pictures import ImageError
from featent.data.preprocessing import as_given, preprocess
from featent.data.reading_ahead import batches
from featent.data.sampling import check_disjoint, images

X = torch.from_numpy(np.random.default_rng(0).random((6, 3, 8, 8), np.float32))
Y = [0, 1, 2, 0, 1, 2]


class Items(Dataset):
    "A data set of n items made by a function, with any attributes"

    def __init__(self, of, n=6, **attributes):
        self.of, self.n = of, n
        vars(self).update(attributes)

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        if i >= self.n:
            raise IndexError(i)
        return self.of(i)


def pairs(n=6, **attributes):
    return Items(lambda i: (X[i % 6], Y[i % 6]), n, **attributes)


def put(path, value=0, mode="L", size=(8, 8)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path)
    return path


@pytest.fixture
def animals(tmp_path):
    "A folder of four classes of three images"
    for c in ("airplane", "cat", "dog", "truck"):
        for i in range(3):
            put(tmp_path / "set" / c / f"{i}.png", 10 * i)
    return tmp_path / "set"


# ---- labels


def is_animal(y):
    return int(y in (1, 2))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda d: d,
        lambda d: Subset(d, [0, 3, 6, 9]),
        lambda d: ConcatDataset([d, d]),
        lambda d: Subset(Subset(d, range(2, 12)), [0, 5, 9]),
    ],
)
def test_a_target_transform_reaches_the_labels_and_takes_the_names_away(animals, wrap):
    d = wrap(torchvision.datasets.ImageFolder(animals, target_transform=is_animal))
    got = images(d)
    assert got.labels.tolist() == [d[i][1] for i in range(len(d))] == [y for _, y in got]
    assert got.classes == ("0", "1")  # "airplane" and "cat" would be wrong


def test_names_stay_where_labels_do(animals):
    folder = torchvision.datasets.ImageFolder(animals)
    for d in (folder, Subset(folder, [0, 3, 6, 9]), ConcatDataset([folder, folder])):
        assert images(d).classes == ("airplane", "cat", "dog", "truck")


def test_changed_targets_of_an_image_folder_are_not_its_labels(animals):
    d = torchvision.datasets.ImageFolder(animals)
    d.targets = [0] * 12  # torchvision takes the label from `samples`
    assert images(d).labels.tolist() == [d[i][1] for i in range(12)]


class Relabelled(Subset):
    def __getitem__(self, i):
        x, y = self.dataset[self.indices[i]]
        return x, {1: 0, 2: 1}[y]

    def __getitems__(self, at):
        return [self[i] for i in at]


def test_a_subset_that_relabels_is_read():
    d = Relabelled(pairs(targets=Y, classes=["a", "b", "c"]), [1, 2, 4, 5])
    got = images(d)
    assert got.labels.tolist() == [0, 1, 0, 1] and got.classes == ("0", "1")
    assert images(Subset(d, [1, 2])).labels.tolist() == [1, 0]


@pytest.mark.parametrize("attribute", [{"targets": [y + 1 for y in Y]}, {"labels": Y[::-1]}])
def test_an_attribute_that_disagrees_is_told_and_the_items_are_believed(attribute):
    with pytest.warns(
        UserWarning,
        match="labels that Items has as an attribute are not those of its items .item 0: ",
    ):
        got = images(pairs(classes=["x", "y", "z", "w"], **attribute))
    assert got.labels.tolist() == Y and got.classes == ("0", "1", "2")


@pytest.mark.parametrize(
    "attribute", [["a", "b", "c", "a", "b", "c"], np.eye(3)[Y], Y + [0], None, 3]
)
def test_an_attribute_of_another_kind_is_passed_over(attribute):
    assert images(pairs(targets=attribute)).labels.tolist() == Y


def test_a_large_set_is_not_read_through_but_a_wrong_label_never_passes():
    reads = []

    def item(i):
        reads.append(i)
        return X[i % 6], i % 3 if i != 1234 else 2

    n = 3000
    got = images(Items(item, n, targets=[i % 3 for i in range(n)]))
    assert len(set(reads)) < 60
    with pytest.raises(
        ImageError, match="/01234: the label of the item is 2, and 1 was believed .*pass item=tuple"
    ):
        got[1234]
    with pytest.raises(ImageError, match="/01234: the label of the item is 2"):
        got.record
    assert images(got.read.dataset, item=tuple).labels[1234] == 2
    with pytest.warns(UserWarning, match="not those of its items"):
        assert images(Items(item, n, targets=[0] * n)).labels[1234] == 2


def test_labels_that_change_between_two_readings_are_an_error():
    count = itertools.count()
    got = images(Items(lambda i: (X[i], Y[i] if next(count) < 30 else 2 - Y[i])))
    with pytest.raises(ImageError, match="the label of the item is"):
        list(got)
        list(got)
        list(got)
        list(got)


def test_parts_that_name_their_classes_differently_are_told():
    d = ConcatDataset([pairs(classes=["cat", "dog", "cow"]), pairs(classes=["car", "bus", "van"])])
    with pytest.warns(UserWarning, match="label 0 means cat, car"):
        assert images(d).classes == ("0", "1", "2")


def test_names_that_are_synonyms_are_read_as_one():
    d = pairs(classes=[("tench", "Tinca tinca"), ("crane",), "dog"])
    assert images(d).classes == ("tench, Tinca tinca", "crane", "dog")


def test_a_warning_points_at_the_line_that_led_to_it():
    with pytest.warns(UserWarning, match="not those of its items") as told:
        images(pairs(targets=Y[::-1]))
    assert told[0].filename == __file__


@pytest.mark.parametrize(
    "classes",
    [{"cat": 0, "bee": 1, "ant": 2}, {2: "ant", 0: "cat", 1: "bee"}, ["cat", "bee", "ant"]],
)
def test_names_in_any_form_follow_the_labels(classes):
    assert images(pairs(classes=classes)).classes == ("cat", "bee", "ant")


def test_too_few_names_are_told():
    with pytest.warns(UserWarning, match=r"names 2 classes \(cat, dog\) and has labels up to 2"):
        assert images(pairs(classes=["cat", "dog"])).classes == ("0", "1", "2")


def test_labels_that_differ_when_items_are_asked_for_together_are_refused():
    class Batched(Subset):
        def __getitems__(self, at):
            return [(x, 2 - y) for x, y in super().__getitems__(at)]

    with pytest.raises(
        ImageError, match="item 0 has the label 0 by __getitem__ and 2 by __getitems__"
    ):
        images(Batched(pairs(), range(6)))
    assert len(images(Relabelled(pairs(), [1, 2, 4, 5]))) == 4


def test_two_classes_of_one_name_are_chosen_by_index():
    d = pairs(classes=["crane", "dog", "crane"])
    with pytest.raises(ValueError, match="'crane' names the classes 0, 2: choose by index"):
        images(d, classes="crane")
    assert set(images(d, classes=[2, "dog"]).labels) == {1, 2}


@pytest.mark.parametrize(
    "label, words",
    [
        (
            torch.tensor([0.0, 1, 0]),
            r"one-hot, pass item=lambda item: \(item\[0\], int\(item\[1\].argmax",
        ),
        ("b", r"NAMES.index\(item\[1\]\)"),
        (1.0, r"int\(item\[1\]\)"),
        (None, "leave out what has no label"),
        (True, r"int\(item\[1\]\)"),
        (torch.tensor([1, 0, 1]), "an image has one class"),
        ({"labels": [1]}, "pass item="),
        (torch.rand(3, 8, 8), r"\(item\[1\], item\[0\]\)"),
        (-1, "be negative, it is -1; leave out"),
    ],
)
def test_a_label_of_another_kind_says_what_to_pass(label, words):
    with pytest.raises((TypeError, ValueError), match=f"item 0: a label must .*{words}"):
        images(Items(lambda i: (X[i], label)))


@pytest.mark.parametrize(
    "label", [np.int64(1), np.uint8(1), torch.tensor(1), torch.tensor([1]), np.array([1])]
)
def test_an_integer_of_any_type_is_a_label(label):
    assert images(Items(lambda i: (X[i], label if i else 0))).labels.tolist() == [0, 1, 1, 1, 1, 1]


def test_labels_that_begin_at_one_are_told_and_labels_that_are_no_indices_refused():
    with pytest.warns(UserWarning, match=r"labels begin at 1 \(1, 2, 3\)"):
        got = images(Items(lambda i: (X[i], Y[i] + 1)), per_class=2)
    assert got.labels.tolist() == [1, 2, 3, 1, 2, 3] and got.record["classes"] == ["1", "2", "3"]
    with pytest.raises(ValueError, match=r"labels are 0, 1440764, 2881528: a label is the index"):
        images(Items(lambda i: (X[i], 1440764 * Y[i])))


# ---- items

Pair = namedtuple("Pair", "picture target")


@pytest.mark.parametrize(
    "of, item, words",
    [
        (lambda i: (X[i], Y[i], i), lambda item: item[:2], "got 3 things: pass item="),
        (
            lambda i: {"image": X[i], "label": Y[i]},
            lambda item: (item["image"], item["label"]),
            r"'image', 'label': pass item=lambda item: \(item\['image'\], item\['label'\]\)",
        ),
        (
            lambda i: {"pixel_values": X[i], "labels": Y[i]},
            lambda item: (item["pixel_values"], item["labels"]),
            r"item\['pixel_values'\]",
        ),
        (
            lambda i: (X[i], np.eye(3)[Y[i]]),
            lambda item: (item[0], int(item[1].argmax())),
            "one-hot",
        ),
        (
            lambda i: (X[i], "abc"[Y[i]]),
            lambda item: (item[0], "abc".index(item[1])),
            "NAMES.index",
        ),
    ],
)
def test_items_of_another_form_are_understood_by_item(of, item, words):
    with pytest.raises(TypeError, match=words):
        images(Items(of))
    got = images(Items(of), item=item)
    assert got.labels.tolist() == Y and torch.equal(got[4][0], X[4])
    assert images([of(i) for i in range(6)], item=item).labels.tolist() == Y


def test_a_named_pair_needs_no_words():
    assert images([Pair(X[i], Y[i]) for i in range(6)]).labels.tolist() == Y


def test_an_item_function_that_fails_is_named():
    with pytest.raises(
        ImageError, match="item= failed for item 0 .KeyError: 'label'.: it must make a pair"
    ):
        images(
            Items(lambda i: {"image": X[i], "target": Y[i]}),
            item=lambda item: (item["image"], item["label"]),
        )
    with pytest.raises(TypeError, match="item= must be a function"):
        images(pairs(), item="label")


@pytest.mark.parametrize(
    "source, words",
    [
        (DataLoader(pairs(), 2), "a DataLoader gives batches: pass its data set, loader.dataset"),
        ((X, torch.tensor(Y)), "pass zip.images, labels."),
        ({1: 2}, "source must be one of"),
        (["a.png"], "a path or text: pass a folder"),
        (X, "pass pairs, zip.images, labels."),
        (np.zeros((4, 8, 8)), "pass pairs"),
    ],
)
def test_what_is_no_source_says_what_to_pass(source, words):
    with pytest.raises(TypeError, match=words):
        images(source)


class Stream(IterableDataset):
    def __init__(self, n, said=None):
        self.n, self.said = n, said

    def __iter__(self):
        return ((X[i % 6], Y[i % 6]) for i in itertools.islice(itertools.count(), self.n))


class Sized(Stream):
    def __len__(self):
        return self.said


def test_arguments_that_would_do_nothing_are_refused(animals):
    for source in ("digits", animals, images(per_class=2)):
        with pytest.raises(TypeError, match="item= is for data sets and iterables, and .* is none"):
            images(source, item=tuple)
    for source in ("digits", images(per_class=2)):
        with pytest.raises(
            ValueError, match="full= is for files and data sets; the range of digits is known"
        ):
            images(source, full=255)
    with pytest.raises(ValueError, match="upright= is for folders"):
        images(pairs(), upright=True)


def test_a_data_set_without_a_length_says_so():
    class Endless(Dataset):
        def __getitem__(self, i):
            return X[i % 6], Y[i % 6]

    with pytest.raises(TypeError, match="the data set Endless has no length: give it __len__"):
        images(Endless())


def test_a_stream_that_does_not_end_is_refused():
    with pytest.raises(
        ValueError, match=r"has not ended after 100000 items \(\d+ MB\): pass itertools.islice"
    ):
        images(Stream(None))
    big = (np.zeros((512, 512, 3), np.uint8), 0)
    with pytest.raises(ValueError, match="has not ended after 13[0-9][0-9] items"):
        images(itertools.repeat(big))
    assert (
        len(images(itertools.islice(Stream(None), 6))) == 6
        and images(Stream(6)).labels.tolist() == Y
    )
    with pytest.raises(ValueError, match="says that it has 4 items and gives more than 4"):
        images(Sized(None, said=4))


def test_lengths_that_lie_and_items_that_fail_are_named():
    class Lie(Dataset):
        targets = Y

        def __len__(self):
            return 9

        def __getitem__(self, i):
            return X[i], Y[i]

    with pytest.raises(ValueError, match="item 6 of the Lie cannot be read .*its length being 9"):
        images(Lie())

    def late(i, count=itertools.count()):
        if next(count) > 40:
            raise OSError("network share gone")
        return X[i], Y[i]

    got = images(Items(late))
    with pytest.raises(
        ValueError, match="dataset Items/0000. cannot be read .OSError: network share gone"
    ):
        [list(got) for _ in range(8)]


# ---- what was prepared by its data set


def test_float_tensors_are_taken_as_they_are_and_pictures_are_left_open(animals):
    t = torchvision.transforms
    own = t.Compose([t.ToTensor(), t.Normalize([0.5] * 3, [0.25] * 3)])
    given = images(torchvision.datasets.ImageFolder(animals, own))
    assert given.transform is as_given and given.record["transform"] == "the data set's own"
    assert given.record["prepared by"].startswith("Compose(ToTensor(), Normalize(")
    assert torch.equal(given[0][0], own(Image.open(animals / "airplane/0.png").convert("RGB")))
    for d in (
        torchvision.datasets.ImageFolder(animals),
        torchvision.datasets.ImageFolder(animals, t.PILToTensor()),
        [(np.zeros((4, 4)), 0)] * 2,
        [(np.zeros((4, 4), np.uint8), 0)] * 2,
    ):
        assert images(d).transform is None
    for d in (
        [(x, y) for x, y in zip(X, Y)],
        TensorDataset(X, torch.tensor(Y)),
        Subset(TensorDataset(X, torch.tensor(Y)), [1, 4]),
    ):
        assert images(d).transform is as_given
    assert (
        images(TensorDataset(X, torch.tensor(Y)), transform=preprocess()).transform == preprocess()
    )


def test_tensors_of_every_float_type_are_read():
    for make in (
        torch.Tensor.half,
        torch.Tensor.bfloat16,
        torch.Tensor.double,
        lambda x: x.clone().requires_grad_(),
    ):
        got = images([(make(x), y) for x, y in zip(X, Y)])
        x = got[2][0]
        assert (
            x.dtype == torch.float32
            and not x.requires_grad
            and torch.allclose(x, X[2], atol=0.01)
            and got.record["content"]
        )


def test_a_transform_that_works_in_place_changes_nothing_of_the_user():
    x = X.clone()
    in_place = torchvision.transforms.Normalize([0.5] * 3, [0.5] * 3, inplace=True)
    for transform in (in_place, None):
        got = images(TensorDataset(x, torch.tensor(Y)), transform=transform)
        assert torch.equal(got[1][0].mul_(2), got[1][0].mul_(2)) and torch.equal(x, X)
    digits = images("digits", per_class=1, size=8, transform=lambda v: v.mul_(2))
    assert torch.equal(digits[0][0], digits[0][0])


def test_pictures_among_tensors_are_refused():
    with pytest.raises(
        ImageError, match="the item is a picture, others are a float tensor: make them alike"
    ):
        images([(X[0], 0), (np.zeros((8, 8, 3), np.uint8), 0)])
    many = [(X[0], i % 2) for i in range(40)]
    many[13] = (np.zeros((8, 8, 3), np.uint8), 1)
    with pytest.raises(ImageError, match="iterable/00013: the item is a picture"):
        list(batches(images(many)))


@pytest.mark.parametrize(
    "image, words",
    [
        (torch.zeros(8, 9, 3, dtype=torch.uint8), r"looks like \(H, W, C\)"),
        (torch.zeros(3, 0, 0), "has no pixels"),
        (torch.rand(8, 9, 3), r"\(8, 9, 3\) looks like \(H, W, C\): pass x.permute"),
        (
            np.random.rand(8, 8, 3) * 255,
            "a floating point array is a picture with values in .0, 1., this one has .* pass full=",
        ),
        (np.random.randn(8, 8), "values in .0, 1."),
        (torch.rand(1, 3, 8, 8), "must be .C, H, W."),
        (np.zeros((3, 9, 9)), "an array is .H, W, C."),
    ],
)
def test_axes_and_ranges_that_cannot_be_right_are_refused(image, words):
    with pytest.raises(ValueError, match=words):
        images([(image, 0)] * 2)[0]


def test_floats_that_look_like_bytes_are_told_or_scaled():
    with pytest.warns(UserWarning, match="float tensors hold values from .* pass full=255"):
        images([(x * 254, y) for x, y in zip(X, Y)])
    got = images([(x * 254, y) for x, y in zip(X, Y)], full=254)
    assert torch.allclose(got[3][0], X[3], atol=1e-6) and got.transform is None


def test_a_class_of_one_image_is_told():
    with pytest.warns(
        UserWarning, match=r"classes of one image \(b, c\): over one image an entropy is 0"
    ):
        images(Subset(pairs(classes=["a", "b", "c"]), [0, 1, 2, 3]))


# ---- folders


def test_a_folder_is_the_same_when_the_working_folder_changes(animals, monkeypatch):
    monkeypatch.chdir(animals.parent)
    got = images("set")
    monkeypatch.chdir("/")
    assert len([*got]) == 12


def test_hidden_folders_never_count(animals):
    for hidden in (
        ".ipynb_checkpoints",
        "cat/.ipynb_checkpoints",
        "dog/deep/.cache",
        "__MACOSX",
        "cat/__MACOSX",
    ):
        put(animals / hidden / "1.png", 99)
    got = images(animals)
    assert len(got) == 12 and got.classes == ("airplane", "cat", "dog", "truck")


def test_links_are_followed_and_loops_do_not_matter(animals, tmp_path):
    put(tmp_path / "elsewhere/birds/deep/a.png")
    put(tmp_path / "elsewhere/birds/b.png")
    (animals / "bird").symlink_to(tmp_path / "elsewhere/birds")
    (animals / "cat/more").symlink_to(tmp_path / "elsewhere/birds")
    (animals / "dog/again").symlink_to(animals / "dog")
    (animals / "truck/3.png").symlink_to(animals / "truck/0.png")
    got = images(animals)
    assert {got.classes[c]: len(at) for c, at in got.by_class.items()} == {
        "airplane": 3,
        "bird": 2,
        "cat": 5,
        "dog": 3,
        "truck": 4,
    }
    (animals / "truck/4.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(ValueError, match="truck/4.png cannot be read"):
        images(animals)


def test_a_link_to_a_folder_above_brings_no_images_of_other_classes(animals, tmp_path):
    (animals / "cat/up").symlink_to(animals)
    (animals / "dog/top").symlink_to(tmp_path)
    assert [len(at) for at in images(animals).by_class.values()] == [3, 3, 3, 3]


def test_an_unreadable_folder_is_an_error_and_not_a_smaller_class(animals, monkeypatch):
    put(animals / "cat/deep/9.png")
    real = os.scandir

    def scandir(path):
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(
        ValueError,
        match="folder .*cat/deep cannot be read .Permission denied.: its images would be missing",
    ):
        images(animals)


def test_a_folder_one_level_too_high_is_refused_with_the_right_path(tmp_path):
    for c in ("cat", "dog"):
        for part in ("train", "val"):
            put(tmp_path / "out/photos" / part / c / "1.png")
            put(tmp_path / "out/photos" / part / c / "2.png")
    assert images(tmp_path / "out/photos").classes == ("cat", "dog")
    with pytest.raises(
        ValueError,
        match=r"photos holds folders itself \(train, val\).* pass .*/out/photos$",
    ):
        images(tmp_path / "out")
    put(tmp_path / "out/photos/unlabelled/x.png")
    with pytest.raises(
        ValueError,
        match="holds train, unlabelled, val, and train holds .* .cat, dog.: .*/photos/train$",
    ):
        images(tmp_path / "out/photos")


def test_other_signs_of_a_wrong_level_are_told(tmp_path):
    for camera in ("east", "west"):
        for c in ("cat", "dog"):
            put(tmp_path / "a" / camera / c / "1.png")
            put(tmp_path / "a" / camera / c / "2.png")
    with pytest.warns(
        UserWarning, match="east is taken as a class, and its images lie in the folders cat, dog"
    ):
        assert images(tmp_path / "a").classes == ("east", "west")
    for i in range(2):
        put(tmp_path / "b/train/steam" / f"{i}.png")
        put(tmp_path / "b/bus" / f"{i}.png")
    with pytest.warns(UserWarning, match="train is taken as a class"):
        assert images(tmp_path / "b").classes == ("bus", "train")


def test_train_and_training_are_parts(tmp_path):
    for part in ("Training", "validation"):
        for c in ("cat", "dog"):
            put(tmp_path / part / c / "1.png")
            put(tmp_path / part / c / "2.png")
    assert images(tmp_path).names[0] == "Training/cat/1.png" and images(
        tmp_path, split="val"
    ).names[0].startswith("validation/")


def test_images_that_are_left_out_are_told(animals):
    put(animals / "loose.png")
    (animals / "cat/x.avif").write_bytes(b"x")
    with pytest.warns(UserWarning) as told:
        assert len(images(animals)) == 12
    texts = " ".join(str(w.message) for w in told)
    assert "1 images lie beside the class folders of set and are left out (loose.png)" in texts
    assert "files in cat are left out, since .avif is not read" in texts


def test_names_that_are_not_utf8_work_and_can_be_written(tmp_path):
    import json

    for c in (b"a", b"b\xe9"):
        folder = os.fsencode(tmp_path / "set") + b"/" + c
        os.makedirs(folder)
        for name in (b"1.png", b"\xe4.png"):
            with open(folder + b"/" + name, "wb") as f:
                Image.new("L", (8, 8), 7).save(f, "png")
    got = images(tmp_path / "set")
    assert len(got) == 4 and got.classes == ("a", "b\\udce9") and "a/\\udce4.png" in got.names
    json.dumps(got.record, ensure_ascii=False).encode()
    got._repr_markdown_().encode()
    (tmp_path / "set/a" / os.fsdecode(b"\xe4.png")).write_bytes(b"x")
    with pytest.raises(ValueError, match=r"a/\\udce4.png cannot be read"):
        images(tmp_path / "set")


def test_names_are_no_markdown():
    names = [
        "![t](http://127.0.0.1/b.png)",
        "[a](javascript:x)",
        "`c`",
        "$x^2$",
        "a\n\nb",
        "<b>",
        "**d**",
        "e|f",
        "_g_",
        "www.h.org",
        "x\\(y",
    ]
    text = images(Items(lambda i: (np.zeros((2, 2)), i % 11), 22, classes=names))._repr_markdown_()
    rows = text.split("|---|---|\n")[1]
    assert len(rows.splitlines()) == 11 and not set("[]`$<>*\\") & set(rows)
    assert "://" not in rows and "www." not in rows and "_g_" not in rows
    plain = images(
        Items(lambda i: (np.zeros((2, 2)), i % 2), classes=["polka_dot", "conv1.weight (a)"])
    )._repr_markdown_()
    assert "| polka_dot | 3 |" in plain and "| conv1.weight (a) | 3 |" in plain


# ---- shared images


def test_shared_images_are_found_by_content(animals, tmp_path):
    for i in range(4):
        put(tmp_path / "other/cat" / f"{i}.png", 200 + i)
    ours, other = images(animals), images(tmp_path / "other")
    check_disjoint(ours, other)
    (tmp_path / "other/cat/copy.png").write_bytes((animals / "dog/2.png").read_bytes())
    with pytest.raises(
        ValueError, match=r"images \(\w+/2.png is cat/copy.png, ...\) are in both sets"
    ):
        check_disjoint(ours, images(tmp_path / "other"))
    half = [images(Subset(pairs(), at)) for at in ([0, 1, 3, 4], [2, 5])]
    check_disjoint(*half)  # the same names, other images
