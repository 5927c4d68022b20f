"What a network is about to see is looked at before the work, and said."

import shutil
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import featent as fe
from featent.assessment.preflight import _judged, _spread, act, check


def plain(channels=1, outputs=4):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(channels, 6, 3),
        nn.ReLU(),
        nn.Conv2d(6, 6, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, outputs),
    ).eval()


def pictures(n=40, channels=1, size=12, classes=4):
    x = torch.rand(n, channels, size, size, generator=torch.Generator().manual_seed(1))
    return fe.images([(v, i % classes) for i, v in enumerate(x)], transform=lambda x: x)


def state(found, topic):
    return found.table.set_index("topic").state[topic]


def finding(found, topic):
    return found.table.set_index("topic").finding[topic]


class Around(nn.Module):
    "A network with something odd before it."

    def __init__(self, odd):
        super().__init__()
        self.inner, self.odd, self.seen = plain(), odd, 0

    def forward(self, x):
        self.seen += 1
        return self.inner(self.odd(x, self.seen))


def test_an_ordinary_network_repeats_itself():
    found = check(plain(), pictures())
    assert state(found, "repeats") == "fine" and not len(
        found.doubts[found.doubts.state == "wrong"]
    )


ODD = {
    "dropout that stays on": lambda x, n: F.dropout(x, 0.2, training=True),
    "noise": lambda x, n: x + 0.01 * torch.randn_like(x),
    "kept state": lambda x, n: x * (1 + n % 2) + n,
    "drawn gain": lambda x, n: x.roll(int(torch.randint(1, 5, ())), -1) * torch.rand(()),
}


@pytest.mark.parametrize("odd", ODD)
def test_a_network_that_answers_differently_twice_is_refused(odd):
    found = check(Around(ODD[odd]), pictures())
    assert state(found, "repeats") == "wrong" and "twice" in finding(found, "repeats")
    with pytest.raises(ValueError, match="repeats: wrong: the same batch twice gives other maps"):
        fe.assess(Around(ODD[odd]), pictures())


def batchy():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3),
        nn.BatchNorm2d(6, track_running_stats=False),
        nn.ReLU(),
        nn.Conv2d(6, 6, 3),
        nn.ReLU(),
    )


@pytest.mark.parametrize(
    "make",
    [
        batchy,
        lambda: Around(lambda x, n: x - x.mean()),
        lambda: Around(lambda x, n: x * len(x) - x.flip(0).abs()),
    ],
)
def test_maps_that_depend_on_the_batch_are_refused(make):
    found = check(make(), pictures())
    assert state(found, "repeats") in ("wrong", "doubtful")
    assert "depend on its batch" in finding(found, "repeats")


class Sorting(nn.Module):
    "Images are put in another order within the network, and back again."

    def __init__(self, order):
        super().__init__()
        self.inner, self.order = plain(), order

    def forward(self, x):
        order = self.order(x)
        return self.inner(x[order])[torch.as_tensor(order).argsort()]


ORDERS = {
    "by brightness": lambda x: x.mean((1, 2, 3)).argsort(),
    "by numbers of Python": lambda x: sorted(range(len(x)), key=lambda i: float(x[i].sum())),
    "darkest first": lambda x: x.amax((1, 2, 3)).argsort(descending=True),
}


@pytest.mark.parametrize("order", ORDERS)
def test_a_network_that_sorts_its_images_is_refused(order):
    with pytest.raises(ValueError, match="place in the batch|first axis"):
        fe.assess(Sorting(ORDERS[order]), pictures())


def test_going_on_all_the_same_is_a_choice_and_is_kept_in_the_record():
    with pytest.warns(UserWarning, match="depend on its batch"):
        result = fe.assess(batchy(), pictures(), preflight="warn")
    assert any("depend on its batch" in text for _, text in result.record["preflight"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fe.assess(batchy(), pictures(), preflight="off").record["preflight"] == []
    with pytest.raises(ValueError, match="choose from 'stop', 'warn', 'off'"):
        fe.assess(plain(), pictures(), preflight="maybe")


class Restless(nn.Module):
    "Batch statistics that are taken in eval mode too, and written."

    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x):
        self.bn.num_batches_tracked.add_(1)
        return F.relu(self.bn(self.conv(x)))


def test_a_network_that_writes_into_itself_is_refused():
    assert "changes itself" in finding(check(Restless(), pictures()), "repeats")


def test_images_that_differ_each_time_are_refused():
    noisy = pictures().with_transform(lambda x: x + torch.rand_like(x))
    with pytest.raises(ValueError, match="read twice and differ"):
        fe.assess(plain(), noisy)


def test_black_images_and_bytes_are_doubted():
    black = pictures().with_transform(lambda x: x * 0)
    assert "of one value" in check(plain(), black).table.advice[1]
    bytes_ = pictures().with_transform(lambda x: x * 255)
    assert "divide by 255" in check(plain(), bytes_).table.advice[1]


def test_a_class_of_one_image_is_doubted():
    x = torch.rand(9, 1, 12, 12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        few = fe.images([(v, int(i == 0)) for i, v in enumerate(x)], transform=lambda x: x)
    assert state(check(plain(), few), "images") == "doubtful"


def test_accuracy_is_judged_by_chance_and_by_what_is_published():
    assert _judged(10, 64, 10, None, False)[1] == "fine"
    assert _judged(6, 64, 10, None, False)[1] == "doubtful"
    assert _judged(6, 64, 10, None, True)[1] == "fine"
    assert _judged(30, 64, 1000, {"accuracy": 0.58}, False)[1] == "fine"
    assert _judged(9, 64, 1000, {"accuracy": 0.58}, False)[1] == "doubtful"


def test_images_are_taken_from_every_class_in_turn():
    images = fe.images("digits", per_class=7)
    assert np.bincount(images.labels[_spread(images, 10)]).tolist() == [1] * 10
    assert _spread(images, 10).tolist() == sorted(_spread(images, 10).tolist())


def test_nothing_of_the_network_changes():
    net = fe.network("small_vgg", in_channels=1, num_classes=10).train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    check(net, fe.images("digits", per_class=4))
    assert net.training and all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def test_lines_are_the_same_in_every_run_and_are_kept():
    net, images = plain(), pictures()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one, two = (fe.assess(net, images).record["preflight"] for _ in range(2))
    assert one == two and [t for t, _ in one][:2] == ["images", "input"]


def test_text_from_data_is_escaped():
    found = check(plain(), pictures())
    evil = found.table.assign(finding="<img src=x onerror=alert(1)> [a](javascript:b) | `c` $d$")
    text = type(found)(evil, 0.0)._repr_markdown_()
    assert "<img" not in text and "](" not in text and "`c`" not in text and "$d$" not in text


own, again = (fe.preprocess(mean="imagenet", std="imagenet") for _ in range(2))
WAYS = {
    "never": fe.preprocess(),
    "twice": lambda p: again(own(p)),
    "bytes": lambda p: fe.preprocess()(p) * 255,
}


@pytest.fixture(scope="module")
def published(weights, tmp_path_factory):
    "SqueezeNet's weights under the name of torchvision's file, by which they are known."
    path = tmp_path_factory.mktemp("published") / "squeezenet1_1-b8a52dc0.pth"
    shutil.copy(weights / "squeezenet1_1_imagenet.pth", path)
    return fe.network("squeezenet1_1", weights=path)


def test_published_weights_know_their_scale_and_their_labels(published, imagenette_dir):
    images = fe.images(imagenette_dir, per_class=6, split="val")
    found = check(published, images)
    assert not len(found.doubts) and state(found, "fit") == "fine"
    right = int(finding(found, "accuracy").split()[0])
    assert right > 20  # of 60, among a thousand outputs


@pytest.mark.parametrize("wrong", WAYS)
def test_a_wrong_scale_is_doubted(published, imagenette_dir, wrong):
    images = fe.images(imagenette_dir, per_class=4, split="val", transform=WAYS[wrong])
    found = check(published, images)
    assert state(found, "fit") == "doubtful"
    with pytest.warns(UserWarning, match="fit: doubtful"):
        act(found)


@pytest.mark.parametrize(
    "wrong,told", [("never", "with ImageNet's mean"), ("twice", "without ImageNet")]
)
def test_weights_of_unknown_origin_are_asked_themselves(weights, imagenette_dir, wrong, told):
    net = fe.network("squeezenet1_1", weights=weights / "squeezenet1_1_imagenet.pth")
    images = fe.images(imagenette_dir, per_class=6, split="val", transform=WAYS[wrong])
    found = check(net, images)
    assert state(found, "accuracy") == "doubtful"
    assert told in found.table.set_index("topic").advice["accuracy"]
    right = check(net, images.with_transform(own))
    assert state(right, "accuracy") == "fine" and state(right, "fit") == "unknown"


def test_a_network_trained_here_is_compared_with_its_own_transform():
    net, images = fe.network("small_vgg", in_channels=1), fe.images("digits", per_class=12)
    fe.train(net, images, epochs=1)
    assert state(check(net, images), "fit") == "fine"
    other = images.with_transform(fe.preprocess(mean=0.1, std=0.5))
    assert state(check(net, other), "fit") == "doubtful"
