"""Networks: stored weights reproduce their accuracies; loading, twins, training and every error."""
import copy
import json
import sys

import pytest
import torch
import torchvision
from torch import nn

from featent.images import images, preprocess
from featent.networks import (
    accuracy, list_networks, network, prepared, preprocessing, random_twin, train, weights_hash,
)

imagenet = preprocess(mean="imagenet", std="imagenet")


def measured(net, data, **kwargs):
    return {k: 100 * v for k, v in accuracy(net, data, batch_size=100, **kwargs).items()}


# ---- accuracies of shared/data/README.md, to 0.1 percentage points

@pytest.mark.parametrize(("build", "file", "transform", "expected"), [
    (lambda a: a.CifarResNet(20), "resnet20_cifar10.th", imagenet, 91.7),
    (lambda a: a.SmallVGG(), "smallvgg_bn_cifar10.pth", imagenet, 88.1),
    (lambda a: a.SmallVGG(batch_norm=False), "smallvgg_folded_cifar10.pth", imagenet, 88.1),
    (lambda a: a.CifarLeNet(), "lenet_cifar10.pt", preprocess(mean=0.5, std=0.5), 59.1),
])
def test_cifar10_accuracy(cifar10_dir, weights, archs, build, file, transform, expected):
    net = network(build(archs), weights=weights / file).eval()
    assert measured(net, images(cifar10_dir, split="test", transform=transform))["top1"] == pytest.approx(expected, abs=0.1)


def test_fashion_accuracy(fashion_root, weights, archs):
    net = network(archs.GrayCNN(), weights=weights / "graycnn_fashionmnist.pth").eval()
    assert measured(net, images("fashion_mnist", split="test", root=fashion_root))["top1"] == pytest.approx(90.3, abs=0.1)


def test_imagenette_accuracy(imagenette_dir, weights, imagenet_index):
    net = network("squeezenet1_1", weights=weights / "squeezenet1_1_imagenet.pth")
    data = images(imagenette_dir, split="val", transform=imagenet)
    found = measured(net, data, topk=(1, 5), label_map=[imagenet_index[c] for c in data.classes])
    assert len(data) == 3925
    assert found == pytest.approx({"top1": 59.6, "top5": 82.1}, abs=0.1)
