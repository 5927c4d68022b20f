"Births, curves and diagrams against gudhi and the golden cases."

import numpy as np
import pytest
import torch

from featent.topology import filtrations
from featent.topology.filtrations import as_maps, betti_curves, births, diagrams, levels


def random_maps(n, h, w, seed):
    "Noise, ReLU noise, few levels, binary, constant, negative, smooth, products."
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(n, h, w))
    smooth = noise + np.roll(noise, 1, 1) + np.roll(noise, 1, 2)
    product = np.round(rng.random((n, h, 1)) * 4).clip(1) * np.round(
        rng.random((n, 1, w)) * 4
    ).clip(1)
    return {
        "noise": noise,
        "relu": noise.clip(0),
        "sparse": (noise - 1).clip(0),
        "smooth relu": smooth.clip(0),
        "few": rng.integers(0, 5, (n, h, w)),
        "binary": noise > 0,
        "constant": np.full((n, h, w), 3.5),
        "negative": noise.clip(-9, 0) - 1,
        "product": product,
    }


@pytest.mark.parametrize("side", [4, 7, 12])
def test_clique_births_equal_gudhi(side):
    for kind, maps in random_maps(130, side, side, side).items():
        np.testing.assert_array_equal(births(maps), births(maps, engine="gudhi"), kind)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (8, 1), (2, 3), (7, 7), (6, 13), (20, 20)])
def test_cubical_births_equal_gudhi(shape):
    for kind, maps in random_maps(120, *shape, sum(shape)).items():
        np.testing.assert_array_equal(
            births(maps, "cubical"), births(maps, "cubical", engine="gudhi"), kind
        )


def test_dense_ties_in_large_maps():
    "Products of two vectors tie whole rows: an edge may kill any number of loops of its batch."
    rng = np.random.default_rng(0)
    row, column = np.round(rng.random((60, 32, 1)), 1), np.round(rng.random((60, 1, 32)), 1)
    maps = np.concatenate([row * column, np.minimum(row, column), (row > 0.2) * column])
    np.testing.assert_array_equal(births(maps), births(maps, engine="gudhi"))


@pytest.mark.parametrize("side,shape", [("", None), ("28", 28), ("56", 56)])
def test_golden_cases(shared, side, shape):
    with np.load(shared / "golden/clique_births.npz", allow_pickle=False) as z:
        maps, expected = z[f"maps{side}"], z[f"birth_point{side}"]
        sizes = z["n"] if shape is None else np.full(len(maps), shape)
        assert len(maps) > 0
        for n in np.unique(sizes):
            at = sizes == n
            for engine in ("numba", "gudhi") if n < 28 else ("numba",):
                np.testing.assert_array_equal(
                    births(maps[at][:, :n, :n], convention="released", engine=engine), expected[at]
                )


def test_golden_examples(shared):
    with np.load(shared / "golden/clique_births.npz", allow_pickle=False) as z:
        names = [k[3:-2] for k in z.files if k.startswith("ex_") and k.endswith("_M")]
        assert len(names) == 9
        for name in names:
            assert int(births(z[f"ex_{name}_M"], convention="released")) == int(
                z[f"ex_{name}_bp"]
            ), name


def test_golden_curves(shared):
    "The released pipeline stops at 80% of the levels; up to there curves and uncut births agree."
    with np.load(shared / "golden/clique_births.npz", allow_pickle=False) as z:
        for m, n, curve, rows, first in zip(
            z["maps"], z["n"], z["betti1"], z["num_filtrations"], z["first_nonzero_index"]
        ):
            ours = betti_curves(m[:n, :n])
            k = min(rows, len(ours))
            np.testing.assert_array_equal(ours[:k], curve[:k])
            b = int(births(m[:n, :n]))
            if first >= 0:
                assert b == first + 1


@pytest.mark.parametrize("filtration", ["clique", "cubical"])
def test_curves_and_births_agree(filtration):
    for kind, maps in random_maps(60, 9, 9, 5).items():
        alive = betti_curves(maps, filtration) > 0
        np.testing.assert_array_equal(
            births(maps, filtration), np.where(alive.any(1), alive.argmax(1) + 1, 0), kind
        )


def test_diagrams_give_the_curves():
    for kind, maps in random_maps(40, 8, 11, 3).items():
        curves = [betti_curves(maps, "cubical", k) for k in (0, 1)]
        for i, d in enumerate(diagrams(maps)):
            length = int((curves[0][i] >= 0).sum())
            for k in (0, 1):
                alive = [
                    ((d[:, 0] == k) & (d[:, 1] <= v) & ((d[:, 2] > v) | (d[:, 2] == 0))).sum()
                    for v in range(1, length + 1)
                ]
                np.testing.assert_array_equal(curves[k][i][:length], alive, kind)


@pytest.mark.parametrize(
    "dtype",
    [
        torch.float16,
        torch.bfloat16,
        torch.float32,
        torch.float64,
        torch.int32,
        torch.uint8,
        torch.bool,
    ],
)
def test_every_dtype_and_shape(dtype):
    maps = (
        (torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(0)) * 3)
        .clamp(min=0)
        .to(dtype)
    )
    for f in ("clique", "cubical"):
        b = births(maps, f)
        assert b.shape == (2, 3) and b.dtype == np.int32
        np.testing.assert_array_equal(b, births(maps.double().numpy(), f))
    assert births(maps[0, 0]).shape == () and levels(maps).shape == maps.shape


@pytest.mark.parametrize("convention", ["text", "released"])
@pytest.mark.parametrize("side,k", [(4, 3), (9, 8), (14, 256), (30, 60), (30, 2)])
def test_births_from_top_edges_are_exact(convention, side, k):
    "The path that maps on a GPU take, on CPU tensors; few edges send many maps whole."
    for kind, maps in random_maps(200, side, side, k).items():
        maps = torch.from_numpy(maps.astype(np.float32))
        expected = births(maps, convention=convention)
        np.testing.assert_array_equal(
            filtrations._torch_births(maps, convention, 1, k), expected, kind
        )
        for dtype in (torch.float64, torch.bfloat16):
            np.testing.assert_array_equal(
                births(maps.to(dtype), engine="torch"), births(maps.to(dtype)), kind
            )
    with pytest.raises(ValueError, match="the first at index"):
        births(torch.full((2, 5, 5), float("nan")), engine="torch")
    with pytest.raises(ValueError, match="choose 'text' or 'released'"):
        births(maps, convention="paper", engine="torch")


@pytest.mark.parametrize("shape", [(1, 1), (6, 9), (14, 14)])
def test_ranks_that_travel_keep_every_birth(shape):
    "What maps on a GPU are sent as, on CPU tensors."
    for kind, maps in random_maps(100, *shape, 1).items():
        maps = torch.from_numpy(maps.astype(np.float32))
        sent = filtrations.ordinal(maps)
        assert sent.dtype == torch.int16
        np.testing.assert_array_equal(levels(sent), levels(maps), kind)
        for f in ("cubical", "clique")[: 1 + (shape[0] == shape[1])]:
            np.testing.assert_array_equal(births(sent, f), births(maps, f), kind)
    assert filtrations.ordinal(torch.rand(1, 200, 200)).dtype == torch.int32


@pytest.mark.parametrize("device", ["cpu"] + ["cuda"] * torch.cuda.is_available())
def test_births_where_the_maps_are(device):
    maps = torch.randn(500, 28, 28, generator=torch.Generator().manual_seed(0)).clamp(min=0)
    for f in ("clique", "cubical"):
        np.testing.assert_array_equal(births(maps.to(device), f), births(maps.numpy(), f))


def test_padding_keeps_the_map():
    "New vertices get their edges when the graph is complete, so a padded map keeps its birth."
    maps = np.random.default_rng(0).normal(size=(200, 8, 8))
    padded = np.concatenate(
        [maps, np.broadcast_to(maps.min((1, 2), keepdims=True), (200, 8, 3))], 2
    )
    inner, outer = births(maps), births(padded, pad=True)
    np.testing.assert_array_equal(inner[inner > 0], outer[inner > 0])
    with pytest.raises(ValueError, match="these are 8 x 11: pass pad=True"):
        births(padded)


def test_errors_say_what_is_wrong():
    good = np.zeros((3, 5, 5))
    with pytest.raises(ValueError, match="choose 'clique' or 'cubical'"):
        births(good, "rips")
    with pytest.raises(ValueError, match="choose 'text' or 'released'"):
        births(good, convention="paper")
    with pytest.raises(ValueError, match="choose 'numba', 'torch' or 'gudhi'"):
        births(good, engine="ripser")
    with pytest.raises(ValueError, match="clique filtration only"):
        births(good, "cubical", convention="released")
    with pytest.raises(ValueError, match="fails on maps smaller than 4 x 4"):
        births(good[:, :3, :3], convention="released")
    with pytest.raises(
        ValueError, match=r"shape \(\.\.\., height, width\), both at least 1; got \(3, 0, 5\)"
    ):
        births(good[:, :0])
    with pytest.raises(ValueError, match="k=2: the cubical filtration has curves for k = 0 and 1"):
        betti_curves(good, "cubical", 2)
    with pytest.raises(ValueError, match="k=0: the clique filtration has curves for k = 1"):
        betti_curves(good, "clique", 0)
    with pytest.raises(TypeError, match="real values, not complex"):
        as_maps(good * 1j)
    for value in (np.nan, np.inf, -np.inf):
        bad = good.copy()
        bad[2, 1, 1] = value
        with pytest.raises(ValueError, match=r"1 of 3 maps, the first at index \(2,\)"):
            births(bad)
    np.testing.assert_array_equal(
        births(np.full((2, 5, 5), 1e308)), 0
    )  # finite, though its sum is not
