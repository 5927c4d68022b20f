"What is waited for where there are many classes."

import warnings

import numpy as np
import pytest

from featent.statistics.multiple_testing import drawn_further
from featent.statistics.swapping import swapped
from featent.statistics.uncertainty import RESAMPLES, resamples_for
from featent.tools.side_by_side import in_threads


def test_threads_keep_the_order_and_run_no_further_ahead():
    begun = []
    found = in_threads(lambda i: begun.append(i) or -i, range(1000), 2)
    assert next(found) == 0 and len(begun) <= 6
    found.close()
    assert len(begun) <= 6
    assert list(in_threads(abs, range(-9, 0), 3)) == list(range(9, 0, -1))


def test_nobody_waits_for_intervals_unasked():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert resamples_for(4224 * 50 * 1000) == RESAMPLES
    with pytest.warns(UserWarning, match="100 resamples for .* n_resamples=1000 takes about"):
        assert resamples_for(10**11) == 100


def test_draws_end_with_a_word_where_they_would_take_hours():
    counts, asked = np.array([[2.0, 3.0, 19.0]] * 2), []
    more = lambda at, first, last: asked.append(last) or np.zeros((2, len(at)))
    _, draws = drawn_further(counts, 20, more, size=1.0)
    assert asked
    asked.clear()
    with pytest.warns(UserWarning, match="draws end at 20: .* permutations="):
        p, draws = drawn_further(counts, 20, more, size=1e12)
    assert not asked and (draws == 20).all() and p[0, 0] == 3 / 21


def test_swaps_of_more_images_than_a_word_has_bits():
    rng = np.random.default_rng(0)
    pairs, swaps = rng.integers(0, 9, (3, 150, 2)), rng.integers(0, 2, (4, 150), np.uint8)
    turned = np.where(swaps[:, None, :, None], pairs[..., ::-1], pairs)  # (4, 3, 150, 2)
    direct = [swapped(t, np.zeros((1, 150), np.uint8), 0)[0] for t in turned]
    np.testing.assert_allclose(swapped(pairs, swaps, 0), direct, atol=1e-12)
