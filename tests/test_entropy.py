"Entropy against plain definitions, on every unit."

from collections import Counter
from math import log

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays

from featent.statistics.entropy import feature_entropy, selective_rate, status
from featent.statistics.scores import (
    class_label,
    class_scores,
    distinct_names,
    read_table,
    score_table,
    summarise,
)

births = arrays(
    np.int32, st.tuples(st.integers(1, 40), st.integers(1, 6)), elements=st.integers(0, 12)
)


def plain(column, over):
    counts = Counter(column.tolist())
    if over != "outcomes":
        counts.pop(0, None)
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


@pytest.mark.parametrize("over", ["images", "births", "outcomes"])
def test_class_scores_are_those_of_each_class_alone(over):
    b = np.random.default_rng(0).integers(0, 6, (30, 7))
    labels = np.random.default_rng(1).permutation(np.repeat([3, 0, 5], 10))
    eps, H = class_scores(b, labels, [5, 0, 3], over)
    assert eps.shape == H.shape == (3, 7) and eps.dtype == H.dtype == np.float64
    for i, c in enumerate([5, 0, 3]):
        np.testing.assert_array_equal(eps[i], selective_rate(b[labels == c]))
        np.testing.assert_array_equal(H[i], feature_entropy(b[labels == c], over))
    table = score_table(b, labels, {5: "e", 0: "a", 3: "c"}, over)
    np.testing.assert_array_equal(table.H, H.ravel())
    np.testing.assert_array_equal(table.eps, eps.ravel())


def test_dead_units_are_invalid_and_undefined():
    t = score_table(np.zeros((10, 2), np.int32), np.zeros(10), {0: "cat"})
    assert list(t.status) == ["invalid"] * 2 and (t.H == 0).all() and t["H/eps"].isna().all()
    np.testing.assert_allclose(t.score, log(10))


def test_rule_is_explicit():
    assert status(np.array([1.0]), np.array([0.2]), 100)[0][0] == "effective"
    assert status(np.array([1.0]), np.array([0.2]), 100, {"max_share": 0.1})[0][0] == "ineffective"
    assert status(np.array([1.0]), np.array([0.2]), 100, {"min_eps": 0.3})[0][0] == "invalid"
    with pytest.raises(
        ValueError,
        match=r"unknown entries in rule: \['p'\]; choose from \['min_eps', 'max_share'\]",
    ):
        status(1.0, 0.1, 10, {"p": 0.1})
    with pytest.raises(ValueError, match="shares between 0 and 1"):
        status(1.0, 0.1, 10, {"min_eps": 10})


def test_errors_say_what_is_wrong():
    b = np.ones((4, 2), np.int32)
    with pytest.raises(ValueError, match="no images"):
        feature_entropy(b[:0])
    with pytest.raises(TypeError, match="integers"):
        feature_entropy(b * 0.5)
    with pytest.raises(ValueError, match="choose 'images', 'births' or 'outcomes'"):
        feature_entropy(b, "all")
    with pytest.raises(ValueError, match="4 images have births but 3 have labels"):
        score_table(b, np.zeros(3))
    with pytest.raises(ValueError, match=r"no images of class dog; labels present: \[0\]"):
        score_table(b, np.zeros(4, int), {0: "cat", 7: "dog"})


def test_summary_means():
    t = score_table(np.array([[4, 0], [4, 0], [4, 0], [5, 0]]), np.array([0, 0, 1, 1])).assign(
        layer="a"
    )
    s = summarise(t).iloc[0]
    assert s.n_units == 2 and s.valid == 0.5 and s.eps == 0.5
    assert s.H == pytest.approx(log(2) / 4) and s.H_valid == pytest.approx(log(2) / 2)


def test_one_image_or_one_birth_makes_no_unit_effective():
    "A single image, and a single birth, always agree with themselves."
    b = np.random.default_rng(0).integers(0, 9, (31, 40))
    t = score_table(b, np.r_[0, np.ones(30, int)], {0: "lone", 1: "many"})
    lone = t[t["class"] == "lone"]
    assert (
        (lone.status == "invalid").all()
        and lone[["H", "H/eps", "score"]].isna().all(axis=None)
        and (lone.eps == lone.n_births).all()
    )
    many = t[t["class"] == "many"]
    assert many[["H", "score"]].notna().all(axis=None) and many.H.equals(
        score_table(b[1:], np.ones(30, int)).H.set_axis(many.index)
    )
    s = summarise(t.assign(layer="a")).iloc[0]
    assert s.H == pytest.approx(many.H.mean()) and s.effective == pytest.approx(
        (many.status == "effective").sum() / 80
    )
    few = score_table(np.array([[3, 3], [0, 3], [0, 0], [0, 0], [0, 0]]), np.zeros(5, int))
    assert list(few.status) == ["invalid", "effective"] and list(few.n_births) == [1, 2]


def test_status_of_two_images_and_more_is_the_rule_alone():
    rng = np.random.default_rng(1)
    for n in (2, 3, 20, 100):
        b = rng.integers(1, 30, (n, 50)) * (rng.random((n, 50)) < rng.random(50))
        H, eps = feature_entropy(b), selective_rate(b)
        label, score = status(H, eps, n)
        enough = (b > 0).sum(0) >= 2
        plain = np.where(
            eps < 0.1, "invalid", np.where(H <= 0.5 * log(n), "effective", "ineffective")
        )
        np.testing.assert_array_equal(label[enough], plain[enough])
        np.testing.assert_allclose(score, np.where(label == "invalid", log(n), H))


def test_names_and_labels_of_classes():
    classes = {0: "crane", 1: "owl", 2: "crane", 3: "all", 4: "4"}
    assert distinct_names(classes) == {
        0: "crane (0)",
        1: "owl",
        2: "crane (2)",
        3: "all (3)",
        4: "4",
    }
    assert distinct_names(None) == {} and distinct_names({1: "a"}) == {1: "a"}
    assert [
        class_label(w, classes) for w in (0, np.int64(2), "owl", "crane (2)", "all (3)", "all", "4")
    ] == [0, 2, 1, 2, 3, 3, 4]
    with pytest.raises(
        ValueError, match="2 classes are named 'crane': choose one by its label, 0, 2"
    ):
        class_label("crane", classes)
    with pytest.raises(
        ValueError,
        match=r"no class 'dog': choose one by its name or its label, 'crane' \(0\), 'owl' \(1\)",
    ):
        class_label("dog", classes)
    for wrong in (9, True, "0"):
        with pytest.raises(ValueError, match="no class"):
            class_label(wrong, {0: "owl", 1: "dog"})


def test_two_classes_of_one_name_have_rows_of_their_own():
    b = np.array([[4], [4], [4], [9], [1], [2]])
    t = score_table(b, np.array([0, 0, 0, 1, 1, 1]), {0: "crane", 1: "crane"})
    assert list(t["class"]) == ["crane (0)", "crane (1)"] and t.H[0] == 0 < t.H[1]


def test_names_survive_a_csv_file(tmp_path):
    words = [
        "NA",
        "null",
        "None",
        "nan",
        "NaN",
        "N/A",
        "<NA>",
        "NULL",
        "true",
        "007",
        "1e5",
        "",
        "-inf",
    ]
    t = pd.DataFrame(
        {
            "class": words,
            "layer": words[::-1],
            "H": [np.nan, *range(12)],
            "unit": range(13),
            "useful": [True] * 13,
            "nothing": np.nan,
            "free": words,
        }
    )
    t.to_csv(tmp_path / "t.csv", index=False)
    back = read_table(tmp_path / "t.csv")
    assert (
        list(back["class"]) == words
        and list(back.layer) == words[::-1]
        and list(back.free) == words
    )
    assert (
        back.useful.all()
        and back.useful.dtype == bool
        and back.unit.dtype == int
        and back.nothing.isna().all()
    )
    np.testing.assert_array_equal(back.H, t.H)
    (tmp_path / "r.csv").write_text("class,H,p\n1,NA,null\n0,0.5,.1\n")
    other = read_table(tmp_path / "r.csv")
    assert (
        list(other["class"]) == ["1", "0"]
        and other.H.isna().tolist() == [True, False]
        and other.p[1] == 0.1
    )
