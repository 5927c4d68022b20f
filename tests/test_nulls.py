"Shuffled maps keep their values, each has a stream of its own, and births need no shuffling."

import numpy as np
import pytest
from scipy.stats import chi2_contingency
from test_kernels import KINDS, draw

from featent.topology.filtrations import births
from featent.topology.kernels import random_cells, streams
from featent.topology.nulls import births_with_null, shuffle_pixels


def test_values_stay_and_maps_are_not_written():
    maps = np.random.default_rng(0).normal(size=(4, 5, 7, 3)).astype(np.float32)
    before = maps.copy()
    maps.flags.writeable = False
    out = shuffle_pixels(maps, np.arange(4))
    np.testing.assert_array_equal(maps, before)
    np.testing.assert_array_equal(np.sort(out.reshape(4, 5, -1)), np.sort(maps.reshape(4, 5, -1)))
    assert out.dtype == np.float32 and (out != maps).any((2, 3)).all()
    for dtype in (np.float16, np.int32, bool, np.float64):
        kept = shuffle_pixels(maps.astype(dtype), np.arange(4))
        assert (
            kept.dtype == dtype
            and (np.sort(kept.ravel()) == np.sort(maps.astype(dtype).ravel())).all()
        )


def test_streams_are_named_by_seed_layer_draw_image_and_unit():
    maps = np.broadcast_to(np.arange(64.0).reshape(8, 8), (3, 4, 8, 8))
    seen = [
        shuffle_pixels(maps, np.arange(3), seed, layer, which)[i, u].tobytes()
        for seed in range(2)
        for layer in range(2)
        for which in range(2)
        for i in range(3)
        for u in range(4)
    ]
    assert len(set(seen)) == len(seen)
    np.testing.assert_array_equal(
        shuffle_pixels(maps[2:], [2], 1, 1)[0], shuffle_pixels(maps, np.arange(3), 1, 1)[2]
    )


@pytest.mark.parametrize("h,w", [(3, 3), (2, 5), (1, 7)])
def test_every_pixel_lands_everywhere(h, w):
    "Each pixel in each cell, and each pair of neighbours in rank in each pair of cells."
    n, size = 40_000, h * w
    cells = random_cells(streams(np.zeros(1, np.uint64), np.arange(n), 1)[0], h, w)
    assert (np.sort(cells, axis=1) == np.arange(size)).all()
    for k in range(size):
        counts = np.bincount(cells[:, k], minlength=size)
        assert ((counts - n / size) ** 2 / (n / size)).sum() < 35  # 99.99% points are 27 to 32
    pairs = np.bincount(cells[:, size // 2] * size + cells[:, size // 2 + 1], minlength=size**2)
    expected = n / size / (size - 1)
    seen = pairs.reshape(size, size)[~np.eye(size, dtype=bool)]
    assert ((seen - expected) ** 2 / expected).sum() < 130  # 72 cells at most


SIZES = ((4, 4, 60), (5, 5, 60), (7, 7, 60), (9, 9, 30), (14, 14, 30), (5, 8, 40), (9, 6, 40))


@pytest.mark.parametrize("kind", KINDS)
def test_births_of_the_null_are_those_of_the_shuffled_maps(kind):
    "To the last integer, in both filtrations and conventions, whatever the ties."
    for h, w, n in (*SIZES, (3, 9, 20), (28, 28, 6), (70, 70, 2)):
        maps = draw(kind, 2 * n, h, w, 5).reshape(n, 2, h, w)
        shuffled = [shuffle_pixels(maps, np.arange(n), 3, 1, k) for k in range(2)]
        for f, rules in (("clique", "text"), ("clique", "released"), ("cubical", "text")):
            if rules == "released" and max(h, w) < 4:
                continue
            real, null = births_with_null(maps, np.arange(n), 3, 1, 2, f, rules, pad=True)
            np.testing.assert_array_equal(real, births(maps, f, rules, pad=True))
            for k in range(2):
                np.testing.assert_array_equal(null[k], births(shuffled[k], f, rules, pad=True))


@pytest.mark.parametrize("m,n", [(31, 20), (260, 1)])
def test_after_a_plateau_on_top_all_values_may_be_needed(m, n):
    "Half of the graph comes at once: often no loop is left, and the rest has to be gone through."
    maps = np.random.default_rng(m).standard_normal((n, 2, m, m)).astype(np.float32)
    maps = np.where(maps > 0, np.float32(3), maps)
    _, null = births_with_null(maps, np.arange(n), draws=2)
    for k in range(2):
        shuffled = shuffle_pixels(maps, np.arange(n), draw=k)
        np.testing.assert_array_equal(null[k], births(shuffled))


def numpys_shuffles(maps, n):
    "`n` shuffles of one map by numpy's own generator."
    rng, flat = np.random.default_rng(1), maps.ravel()
    return np.stack([rng.permutation(flat) for _ in range(n)]).reshape(n, *maps.shape)


@pytest.mark.parametrize("kind", KINDS)
def test_the_null_has_the_distribution_of_shuffled_maps(kind):
    "Against shuffles by numpy, 4,000 of either: chi-square, with rare levels put together."
    n = 4000
    for f, (h, w) in (("clique", (9, 9)), ("cubical", (7, 8)), ("clique", (5, 7))):
        one = draw(kind, 1, h, w, 11)
        many = np.broadcast_to(one[None], (n, 1, h, w))
        _, ours = births_with_null(many, np.arange(n), filtration=f, pad=True)
        theirs = births(numpys_shuffles(one[0], n), f, pad=True)
        table = np.array([np.bincount(b.ravel(), minlength=h * w + 1) for b in (ours, theirs)])
        common = table.sum(0) >= 20
        cells = np.c_[table[:, common], table[:, ~common].sum(1)]
        cells = cells[:, cells.sum(0) > 0]
        if cells.shape[1] > 1:
            assert chi2_contingency(cells).pvalue > 1e-5, (f, cells)


def test_a_null_does_not_depend_on_its_batch_or_on_threads():
    from featent.topology.filtrations import null_births

    maps = draw("relu", 600, 9, 9, 2)
    starts = streams(np.arange(3, dtype=np.uint64), np.arange(300), 2)
    for f in "clique", "cubical":
        whole = null_births(maps, starts, f)
        for n_jobs in (2, 5):
            for a, b in zip(whole, null_births(maps, starts, f, n_jobs=n_jobs)):
                np.testing.assert_array_equal(a, b)
        part = null_births(maps[100:130], starts[:, 100:130], f)
        np.testing.assert_array_equal(part[1], whole[1][:, 100:130])
        np.testing.assert_array_equal(null_births(maps, starts[:1], f)[1], whole[1][:1])


def test_maps_without_a_pattern_to_lose():
    for f in "clique", "cubical":
        flat = np.ones((3, 2, 6, 6), np.float32)
        assert (births_with_null(flat, np.arange(3), filtration=f)[1] == 0).all()
        small = np.random.default_rng(0).random((3, 2, 2, 2))
        assert (births_with_null(small, np.arange(3), draws=2, filtration=f)[1] == 0).all()
        none = births_with_null(np.ones((0, 2, 6, 6), np.float32), np.arange(0), filtration=f)
        assert [b.shape for b in none] == [(0, 2), (1, 0, 2)]
    with pytest.raises(ValueError, match="clique filtration only"):
        births_with_null(flat, np.arange(3), filtration="cubical", convention="released")
    with pytest.raises(ValueError, match="smaller than 4 x 4"):
        births_with_null(small, np.arange(3), convention="released")
    with pytest.raises(ValueError, match="pass pad=True"):
        births_with_null(np.ones((1, 1, 5, 6), np.float32), np.arange(1))
