"Pictures of a result: classes by name, names as they stand, classes of a single image."

import io
import re
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

import featent as fe
from featent.assessment.plots import literal, plot_births, plot_profile

NAMES = (r"$\frac{1}{0}", "a$b$c", "crane", "crane", "<b>owl</b>")


@pytest.fixture(scope="module")
def result():
    digits = fe.images("digits", per_class=6, classes=list(range(5)), size=16)
    named = replace(digits, classes=NAMES + digits.classes[5:])
    return fe.assess(
        fe.network("small_vgg", in_channels=1), named, "features.conv[12]", null="shuffle"
    )


def drawn(figure):
    "All texts of a figure that is really drawn."
    figure.savefig(io.BytesIO(), format="png")
    return {t.get_text() for t in figure.findobj(Text)}


def test_names_with_dollar_signs_are_no_formulas(result):
    layer = result.layers.layer[0]
    for label, name in result.classes.items():
        assert any(literal(name) in t for t in drawn(plot_births(result, layer, 0, label)))
    assert literal("cost in $") == r"cost in \$" and literal(3) == "3"
    summary = result.summary(("layer", "class"))
    drawn(plot_profile(summary.assign(layer=summary["class"], series=r"$\frac{")))
    drawn(result.plot())


def test_a_class_is_asked_for_by_name_or_label(result):
    layer = result.layers.layer[0]
    bars = [
        sorted(p.get_height() for p in plot_births(result, layer, 1, w).axes[0].patches)
        for w in (4, "<b>owl</b>", np.int64(4))
    ]
    assert bars[0] == bars[1] == bars[2] and sum(bars[0]) == 12
    with pytest.raises(
        ValueError, match="2 classes are named 'crane': choose one by its label, 2, 3"
    ):
        plot_births(result, layer, 1, "crane")
    with pytest.raises(
        ValueError, match=re.escape("no class 'dog': choose one by its name or its label, ")
    ):
        plot_births(result, layer, 1, "dog")
    with pytest.raises(ValueError, match="no unit 99: layer"):
        plot_births(result, layer, 99)


def test_two_classes_of_one_name_are_two_in_every_table(result, tmp_path):
    units = int(result.layers.units.sum())
    for r in (result, fe.load(result.save(tmp_path / "r"))):
        assert list(r.classes.values()) == [
            r"$\frac{1}{0}",
            "a$b$c",
            "crane (2)",
            "crane (3)",
            "<b>owl</b>",
        ]
        for t in (r.table, r.indicators(), r.intervals(n_resamples=5), r.excess()):
            assert len(t) == 5 * units and (t.groupby("class").size() == units).all()
        assert len(r.summary(("class",))) == 5
        assert set(r.excess("layer")["class"]) == {*r.classes.values(), "all"}


def test_a_class_of_one_image_is_drawn_without_an_interval_and_told():
    digits = fe.images("digits", per_class=6, classes=[0, 1], size=16)
    keep = np.sort(np.r_[digits.by_class[0], digits.by_class[1][:1]])
    few = replace(
        digits,
        index=digits.index[keep],
        labels=digits.labels[keep],
        names=tuple(digits.names[i] for i in keep),
    )
    r = fe.assess(fe.network("small_vgg", in_channels=1), few, "features.conv1")
    lone = r.table[r.table.n_images == 1]
    assert (
        set(lone["class"]) == {"1"}
        and (lone.status == "invalid").all()
        and (lone.warning == "too few images").all()
    )
    assert lone[["H", "H_mm", "H_cwj", "score"]].isna().all(axis=None)
    with pytest.warns(
        UserWarning, match="no interval of H is drawn, because there is one image only of 1"
    ):
        drawn(r.plot())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn(r.plot(n_resamples=0))
    with pytest.raises(
        ValueError,
        match="at least 2 of every class, and there is one of 1: "
        "assess more images, leave these classes out",
    ):
        r.intervals()
    assert (
        isinstance(r._repr_markdown_(), str)
        and np.isfinite(r.summary().H).all()
        and isinstance(r.table, pd.DataFrame)
    )
