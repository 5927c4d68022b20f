"Indicators against plain definitions, on arrays and on real networks."

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays
from torch import nn
from torch.nn import functional as F

from featent.data.filters import kernel_l1
from featent.data.layers import select_layers
from featent.data.maps import read_maps
from featent.data.preprocessing import preprocess
from featent.data.sampling import images
from featent.statistics.indicators import (
    INDICATORS,
    SUMMARIES,
    _summarised,
    indicators,
    map_summaries,
)
from featent.statistics.scores import score_table

maps = arrays(
    np.float32,
    st.tuples(st.integers(0, 3), st.integers(1, 3), st.integers(1, 7), st.integers(1, 7)),
    elements=st.integers(-4, 4).map(float),
)


def plain(m):
    a = m.astype(float).reshape(*m.shape[:2], m.shape[2] * m.shape[3])
    return {"l1": np.abs(a).sum(2), "mean": a.mean(2), "max": a.max(2), "zeros": (a == 0).sum(2)}


@given(maps)
@settings(max_examples=80, deadline=None)
def test_summaries_are_their_definitions(m):
    found, expected = map_summaries(m), plain(m)
    assert list(found) == list(SUMMARIES)
    for k in SUMMARIES:
        assert found[k].dtype == np.float32 and found[k].shape == m.shape[:2]
        np.testing.assert_allclose(found[k], expected[k], rtol=1e-6, atol=1e-6)
    for k, v in zip(SUMMARIES, _summarised(torch.from_numpy(m))):
        np.testing.assert_allclose(v, expected[k], atol=1e-6)


@given(maps)
@settings(max_examples=60, deadline=None)
def test_total_persistence_agrees_with_gudhi(m):
    gudhi = pytest.importorskip("gudhi")

    def one(a):
        cubical = gudhi.CubicalComplex(top_dimensional_cells=-a.astype(float))
        cubical.compute_persistence()
        pairs = cubical.persistence_intervals_in_dimension(1)
        return (pairs[:, 1] - pairs[:, 0]).sum() if len(pairs) else 0.0

    expected = np.array([[one(a) for a in unit] for unit in m]).reshape(m.shape[:2])
    np.testing.assert_allclose(
        map_summaries(m, ("persistence",))["persistence"], expected, atol=1e-6
    )


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int16, torch.bool]
)
def test_every_dtype_as_numpy_and_as_torch(dtype):
    t = (torch.randn(2, 3, 5, 4, generator=torch.Generator().manual_seed(0)) * 3).round().to(dtype)
    expected = plain(t.double().numpy())
    for same in [t, t.float().clone().requires_grad_()] + (
        [t.numpy()] if dtype != torch.bfloat16 else []
    ):
        for k, v in map_summaries(same).items():
            np.testing.assert_allclose(v, expected[k], rtol=1e-6)


def test_layout_does_not_matter_and_nothing_is_written():
    m = np.random.default_rng(0).normal(size=(4, 6, 9, 5)).astype(np.float32)
    last = np.ascontiguousarray(m.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    before = m.copy()
    m.flags.writeable = False
    for k, v in map_summaries(m, (*SUMMARIES, "persistence")).items():
        np.testing.assert_array_equal(v, map_summaries(last, k)[k])
        np.testing.assert_array_equal(v[1:2], map_summaries(m[1:2], k)[k])
    np.testing.assert_array_equal(m, before)


def test_sums_are_wide():
    m = np.full((1, 1, 3000, 3000), 0.1, np.float32)
    assert map_summaries(m)["mean"][0, 0] == np.float32(0.1)
    big = np.full((1, 1, 2, 2), 2.0**127, np.float32)
    assert map_summaries(big, "mean")["mean"][0, 0] == np.float32(2.0**127)


def test_bad_maps_are_refused():
    m = np.zeros((2, 2, 3, 3), np.float32)
    for bad in (np.nan, np.inf, -np.inf):
        m[1, 0, 2, 2] = bad
        with pytest.raises(ValueError, match="NaN or infinite values in 1 of 4 maps"):
            map_summaries(m)
        with pytest.raises(ValueError, match="NaN or infinite"):
            map_summaries(m, ("persistence",))
    with pytest.raises(ValueError, match=r"shape \(n, units, height, width\), got \(3, 3\)"):
        map_summaries(m[0, 0])
    with pytest.raises(ValueError, match="shape"):
        map_summaries(m[..., :0])
    with pytest.raises(TypeError, match="real values"):
        map_summaries(m.astype(complex))
    with pytest.raises(
        ValueError,
        match="no summary 'sum': choose from 'l1', 'mean', 'max', 'zeros', 'persistence'",
    ):
        map_summaries(m, ("l1", "sum"))


@given(st.integers(1, 4), st.integers(1, 5), st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_indicators_are_their_definitions(n_classes, units, seed):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.concatenate([np.arange(n_classes), rng.integers(0, n_classes, 12)]))
    m = np.maximum(
        rng.normal(rng.normal(size=(1, units, 1, 1)), 1, (len(labels), units, 3, 4)), 0
    ).astype(np.float32)
    m[:, 0] *= rng.integers(0, 2)  # a silent unit, now and then
    births = rng.integers(0, 3, (len(labels), units))
    table = indicators(map_summaries(m), labels, cells=12, births=births)
    mu = np.array(
        [[m[labels == c, u].mean(dtype=float) for u in range(units)] for c in range(n_classes)]
    )
    for row in table.itertuples():
        a, c, u = m[labels == row[2], row.unit].astype(float), row[2], row.unit
        near = dict(rel=1e-5, abs=1e-7)
        assert row.l1 == pytest.approx(
            np.abs(a).sum((1, 2)).mean(), **near
        ) and row.mean == pytest.approx(a.mean(), **near)
        assert row.max == pytest.approx(a.max(), **near) and row.apoz == pytest.approx(
            (a == 0).mean(), **near
        )
        assert row.eps == (births[labels == c, u] > 0).mean()
        top = mu[:, u].argmax()
        for value, k in ((row.selectivity, top), (row.class_selectivity, c)):
            rest = np.delete(mu[:, u], k).mean() if n_classes > 1 else np.nan
            expected = (
                (mu[k, u] - rest) / (mu[k, u] + rest)
                if n_classes > 1 and mu[:, u].any()
                else np.nan
            )
            assert value == pytest.approx(expected, rel=1e-4, abs=1e-5, nan_ok=True)


def test_rows_are_those_of_the_score_table():
    rng = np.random.default_rng(0)
    labels, births = rng.permutation(np.repeat([3, 1, 2], 4)), rng.integers(0, 5, (12, 6))
    classes = {2: "two", 3: "three"}
    scores = score_table(births, labels, classes)
    table = indicators({"mean": rng.random((12, 6))}, labels, classes, births=births)
    pd.testing.assert_frame_equal(table[["unit", "class", "eps"]], scores[["unit", "class", "eps"]])
    assert list(table) == [
        "unit",
        "class",
        *[c for c in INDICATORS if c in ("mean", "selectivity", "class_selectivity", "eps")],
    ]


def test_undefined_selectivity_is_missing():
    labels = np.repeat([0, 1, 2], 2)
    one = lambda *mu: indicators({"mean": np.repeat(np.array(mu, float), 2)[:, None]}, labels)
    assert list(one(2, 1, 1).selectivity) == pytest.approx([1 / 3] * 3)
    assert one(0, 0, 0)[["selectivity", "class_selectivity"]].isna().all(axis=None)
    t = one(
        3, -4, 0
    )  # the rest of class 0 is negative, and so is class 1; class 2 is silent, its rest negative
    assert t[["selectivity", "class_selectivity"]].isna().all(axis=None)
    t = one(3, -1, 2)
    assert t.selectivity.notna().all() and list(t.class_selectivity.isna()) == [False, True, False]
    t = one(0, 5, 0)
    assert t.selectivity.eq(1).all() and list(t.class_selectivity) == pytest.approx([-1, 1, -1])


def test_bad_tables_are_refused():
    s, labels = {"l1": np.zeros((4, 2)), "zeros": np.zeros((4, 2))}, np.zeros(4, int)
    with pytest.raises(ValueError, match="pass cells"):
        indicators(s, labels)
    with pytest.raises(ValueError, match="4 images have summaries but 3 have labels"):
        indicators(s, labels[:3], cells=9)
    with pytest.raises(ValueError, match="one shape"):
        indicators({**s, "mean": np.zeros((4, 3))}, labels, cells=9)
    with pytest.raises(ValueError, match="one shape"):
        indicators(s, labels, cells=9, births=np.zeros((4, 3), int))
    with pytest.raises(ValueError, match="no summary 'median'"):
        indicators({"median": np.zeros((4, 2))}, labels)
    with pytest.raises(ValueError, match="no summaries"):
        indicators({}, labels)
    with pytest.raises(ValueError, match=r"no images of class dog; labels present: \[0\]"):
        indicators(s, labels, {0: "cat", 1: "dog"}, cells=9)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(6, 8, 3),
        nn.Conv2d(6, 8, (2, 3), groups=2),
        nn.Conv2d(6, 6, 3, groups=6),
        nn.Linear(5, 7),
        nn.ConvTranspose2d(6, 8, 3),
        nn.ConvTranspose2d(6, 8, 3, groups=2),
        nn.ConvTranspose2d(6, 6, 2, groups=6),
        nn.Conv1d(4, 2, 3),
        nn.ConvTranspose1d(4, 6, 3, groups=2),
        nn.Conv3d(2, 3, 2),
    ],
    ids=str,
)
def test_filter_norm_is_the_response_of_positive_weights_to_ones(layer):
    with torch.no_grad():
        norms = kernel_l1(nn.Sequential(layer), "0")["0"]
        layer.weight.abs_()
        layer.bias.zero_()
        dims = layer.weight.ndim - 2
        x = (
            torch.ones(1, layer.in_channels, *[7] * dims)
            if dims
            else torch.ones(1, layer.in_features)
        )
        out = layer(x)
        out = out[(0, slice(None), *[out.shape[2] // 2] * dims)] if dims else out[0]
    np.testing.assert_allclose(norms, out.double().numpy(), rtol=1e-4)


class Odd(nn.Module):
    "A shared convolution, one whose weights are only a parameter, and a sigmoid module."

    def __init__(self):
        super().__init__()
        self.shared, self.w, self.act = (
            nn.Conv2d(3, 3, 3, padding=1),
            nn.Parameter(torch.randn(5, 3, 3, 3)),
            nn.Sigmoid(),
        )

    def forward(self, x):
        return self.act(F.conv2d(self.shared(F.relu(self.shared(x))), self.w))


def test_shared_functional_and_other_modules():
    net = Odd()
    table, _ = select_layers(net, (3, 8, 8), ["conv", "act"])
    with pytest.warns(UserWarning, match="conv2d") as told:
        norms = kernel_l1(net, table)
    assert "act" in str(told[0].message) and "shared" not in str(told[0].message)
    assert [len(v) for v in norms.values()] == list(table.units) and list(norms) == list(
        table.layer
    )
    expected = net.shared.weight.detach().abs().sum((1, 2, 3)).double().numpy()
    for row in table.itertuples():
        if row.module.startswith("shared"):
            np.testing.assert_allclose(norms[row.layer], expected, rtol=1e-6)
        else:
            assert np.isnan(norms[row.layer]).all()
    with pytest.raises(ValueError, match="modules that do: shared"):
        kernel_l1(net, "act")
    with pytest.raises(ValueError, match="nothere"):
        kernel_l1(net, ["shared", "nothere"])


def test_real_network_and_images(cifar10_dir, weights, archs):
    net = archs.SmallVGG()
    net.load_state_dict(torch.load(weights / "smallvgg_bn_cifar10.pth", weights_only=True))
    photos = images(
        cifar10_dir / "test", per_class=3, transform=preprocess(None, "imagenet", "imagenet")
    )
    table, _ = select_layers(net, photos, "conv")
    found = read_maps(net, torch.stack([photos[i][0] for i in range(len(photos))]), table)
    labels = np.array(photos.labels)
    for row in table.itertuples():
        m = found[row.layer].numpy().astype(float)
        t = indicators(map_summaries(found[row.layer]), labels, cells=row.height * row.width)
        assert len(t) == row.units * 10
        for c, rows in t.groupby("class"):
            mine = m[labels == c]
            np.testing.assert_allclose(rows.apoz, (mine == 0).mean((0, 2, 3)), rtol=1e-6)
            np.testing.assert_allclose(rows.l1, np.abs(mine).sum((2, 3)).mean(0), rtol=1e-5)
            np.testing.assert_allclose(rows["max"], mine.max((0, 2, 3)), rtol=1e-6)
        assert (
            t.selectivity.dropna().between(0, 1).all()
            and t.class_selectivity.dropna().between(-1, 1).all()
        )
        assert row.activated and 0 < t.apoz.mean() < 1
    norms = kernel_l1(net, table)
    assert [len(v) for v in norms.values()] == list(table.units) and all(
        (v > 0).all() for v in norms.values()
    )
