"Shuffled maps keep their values, and each has a stream of its own."

import numpy as np

from featent.topology.nulls import shuffle_pixels


def test_values_stay_and_maps_are_not_written():
    maps = np.random.default_rng(0).normal(size=(4, 5, 7, 3)).astype(np.float32)
    before = maps.copy()
    maps.flags.writeable = False
    out = shuffle_pixels(maps, np.arange(4))
    np.testing.assert_array_equal(maps, before)
    np.testing.assert_array_equal(np.sort(out.reshape(4, 5, -1)), np.sort(maps.reshape(4, 5, -1)))
    assert out.dtype == np.float32 and (out != maps).any((2, 3)).all()


def test_streams_are_named_by_seed_layer_image_and_unit():
    maps = np.broadcast_to(np.arange(64.0).reshape(8, 8), (3, 4, 8, 8))
    seen = [
        shuffle_pixels(maps, np.arange(3), seed, layer)[i, u].tobytes()
        for seed in range(2)
        for layer in range(2)
        for i in range(3)
        for u in range(4)
    ]
    assert len(set(seen)) == len(seen)
    np.testing.assert_array_equal(
        shuffle_pixels(maps[2:], [2], 1, 1)[0], shuffle_pixels(maps, np.arange(3), 1, 1)[2]
    )


def test_every_pixel_lands_everywhere():
    n = 40_000
    maps = np.broadcast_to(np.arange(9.0).reshape(3, 3), (n, 1, 3, 3))
    where = shuffle_pixels(maps, np.arange(n)).reshape(n, 9)
    counts = np.array([[(where[:, p] == v).sum() for p in range(9)] for v in range(9)])
    assert (
        (counts - n / 9) ** 2 / (n / 9)
    ).sum() < 112.3  # well above the 99.9% point of chi-squared with 64 degrees of freedom, 104.7
