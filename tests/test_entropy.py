"Entropy against plain definitions, on every unit."
from collections import Counter
from math import log

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays

from featent.entropy import feature_entropy, score_table, selective_rate, status, summarise

births = arrays(np.int32, st.tuples(st.integers(1, 40), st.integers(1, 6)), elements=st.integers(0, 12))


def plain(column, over):
    counts = Counter(column.tolist())
    if over != "outcomes": counts.pop(0, None)
    total = sum(counts.values()) if over == "births" else len(column)
    return -sum(c / total * log(c / total) for c in counts.values())


@given(births, st.sampled_from(["images", "births", "outcomes"]))
@settings(max_examples=300, deadline=None)
def test_feature_entropy_is_its_definition(b, over):
    np.testing.assert_allclose(feature_entropy(b, over), [plain(c, over) for c in b.T], atol=1e-12)


@given(births, st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_invariances_and_bounds(b, rnd):
    order = list(range(len(b)))
    rnd.shuffle(order)
    H = feature_entropy(b)
    np.testing.assert_array_equal(H, feature_entropy(b[order]))
    np.testing.assert_allclose(H, feature_entropy(np.where(b, 3 * b + 5, 0)), atol=1e-12)
    assert (H >= 0).all() and (H <= log(len(b)) + 1e-12).all()
    assert ((feature_entropy(b, "births") == 0) | (selective_rate(b) > 1 / len(b))).all()


def test_dead_units_are_invalid_and_undefined():
    t = score_table(np.zeros((10, 2), np.int32), np.zeros(10), {0: "cat"})
    assert list(t.status) == ["invalid"] * 2 and (t.H == 0).all() and t["H/eps"].isna().all()
    np.testing.assert_allclose(t.score, log(10))


def test_rule_is_explicit():
    assert status(np.array([1.]), np.array([.2]), 100)[0][0] == "effective"
    assert status(np.array([1.]), np.array([.2]), 100, {"max_share": .1})[0][0] == "ineffective"
    assert status(np.array([1.]), np.array([.2]), 100, {"min_eps": .3})[0][0] == "invalid"
    with pytest.raises(ValueError, match=r"unknown entries in rule: \['p'\]; choose from \['min_eps', 'max_share'\]"): status(1., .1, 10, {"p": .1})
    with pytest.raises(ValueError, match="shares between 0 and 1"): status(1., .1, 10, {"min_eps": 10})


def test_errors_say_what_is_wrong():
    b = np.ones((4, 2), np.int32)
    with pytest.raises(ValueError, match="no images"): feature_entropy(b[:0])
    with pytest.raises(TypeError, match="integers"): feature_entropy(b * .5)
    with pytest.raises(ValueError, match="choose 'images', 'births' or 'outcomes'"): feature_entropy(b, "all")
    with pytest.raises(ValueError, match="4 images have births but 3 have labels"): score_table(b, np.zeros(3))
    with pytest.raises(ValueError, match=r"no images of class dog; labels present: \[0\]"): score_table(b, np.zeros(4, int), {0: "cat", 7: "dog"})


def test_summary_means():
    t = score_table(np.array([[4, 0], [4, 0], [4, 0], [5, 0]]), np.array([0, 0, 1, 1])).assign(layer="a")
    s = summarise(t).iloc[0]
    assert s.n_units == 2 and s.valid == .5 and s.eps == .5
    assert s.H == pytest.approx(log(2) / 4) and s.H_valid == pytest.approx(log(2) / 2)
