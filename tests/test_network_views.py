"Studies and their figures: what is shown is in the tables, and what they say is computed anew."

import io
import json
import shutil
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

from featent.assessment.assessing import assess
from featent.data.sampling import images
from featent.explorers.ablation_path import (
    ablation_numbers,
    ablation_study,
    ablation_tables,
    removed_units,
    unit_removals,
)
from featent.explorers.ablation_view import ablation_figure, ablation_scene
from featent.explorers.comparison_view import (
    comparison_caution,
    comparison_figure,
    comparison_numbers,
    comparison_scene,
    comparison_study,
)
from featent.explorers.looks import png
from featent.explorers.rescaling_grid import rescaling_numbers, rescaling_study
from featent.explorers.rescaling_view import rescaling_figure, rescaling_scene
from featent.explorers.scenes import painter
from featent.explorers.study import Study, load_study
from featent.explorers.training_view import (
    training_figure,
    training_losses,
    training_numbers,
    training_scene,
    training_study,
)
from featent.studies.ablation import ablate, pooled
from featent.studies.rescaling import rescale
from featent.studies.roles import roles, useful_units
from featent.studies.transitions import change_points, turning_points


@pytest.fixture(scope="module")
def few():
    return images("digits", per_class=4, classes=["0", "1", "2"], size=16)


@pytest.fixture(scope="module")
def held_out():
    return images("digits", per_class=4, classes=["0", "1", "2"], size=16, split="test")


def small(seed=0, width=12):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, width, 3),
        nn.ReLU(),
        nn.Conv2d(width, width, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(width * 144, 3),
    ).eval()


@pytest.fixture(scope="module")
def net():
    return small()


@pytest.fixture(scope="module")
def rescaled(net, few):
    return rescaling_study(net, few, factors=(1 / 4, 3, 4), groups=("all", "2"))


@pytest.fixture(scope="module")
def ablated(net, few, held_out):
    return ablation_study(
        net, {"train": few, "test": held_out}, by=("H/eps", "l1"), random=2, n_resamples=20
    )


@pytest.fixture(scope="module")
def trained():
    rows = [
        {
            "epoch": e,
            "layer": f"conv{i}",
            "filtration": f,
            "H": 2 - 0.1 * e * i,
            "eps": 0.9 - 0.1 * i,
            "H_null": 2.2,
            "train_loss": 2 / (1 + e) if e else np.nan,
            "test_accuracy": 0.2 * e,
        }
        for e in range(4)
        for f in ("clique", "cubical")
        for i in (1, 2, 3)
    ]
    return training_study(pd.DataFrame(rows))


@pytest.fixture(scope="module")
def compared(net, few):
    return comparison_study(
        {"a": assess(net, few), "b": assess(small(5), few), "c": assess(small(7, 8), few)},
        n_resamples=10,
    )


def drawn(figure):
    return np.asarray(Image.open(io.BytesIO(png(figure))).convert("RGB")).astype(int)


# what moves and what does not


def test_rescaling_against_a_network_rescaled_by_hand(rescaled, net, few):
    t = rescaling_numbers(
        rescaled,
        4.0,
        "layer",
        layer="2+relu" if "2+relu" in rescaled.about["layers"] else rescaled.about["layers"][-1],
    ).set_index("indicator")
    other = rescale(net, few, {0: 4.0, 1: 4.0}, "layer")
    after, before = assess(other, few, "conv"), assess(net, few, "conv")
    layer = before.layers.layer.iloc[-1]
    assert t.before["l1"] == pytest.approx(before.summaries[layer, "l1", "real"].mean())
    assert (
        t.after["l1"]
        == pytest.approx(after.summaries[layer, "l1", "real"].mean())
        == pytest.approx(4 * t.before["l1"])
    )
    assert t.after["H"] == t.before["H"] == before.table[before.table.layer == layer].H.mean()
    assert (t.moved[["H", "eps", "apoz"]] == 0).all() and t.moved["l1"] > 0
    p = (
        rescaled.tables["predictions"]
        .query("per == 'layer' and factor == 4 and group == 'all'")
        .iloc[0]
    )
    assert p.equal == 1 and p.largest_difference == 0 and p.images == len(few)


def test_a_factor_that_is_no_power_of_two_rounds_and_one_that_nothing_makes_up_for_shows(rescaled):
    p = rescaled.tables["predictions"].query("group == 'all'").set_index(["per", "factor"])
    assert 0 < p.largest_difference["layer", 3.0] < 1e-4 * p.largest_output["layer", 3.0]
    assert p.largest_difference["uncompensated", 4.0] > 0.1 * p.largest_output["uncompensated", 4.0]
    assert (p.largest_difference.xs(1.0, level="factor") == 0).all()


def test_one_group_alone_leaves_the_layers_before_it(rescaled):
    first = rescaled.about["layers"][0]
    still = rescaling_numbers(rescaled, 4.0, "layer", "2", first)
    assert (still.moved == 0).all() and (
        rescaling_numbers(rescaled, 4.0, "layer", "2").set_index("indicator").moved["l1"] > 0
    )


def test_channel_factors_stay_between_the_factor_and_its_inverse(rescaled):
    u = rescaled.tables["units"].query("per == 'channel' and group == 'all'")
    layer = rescaled.about["layers"][-1]
    a, b = (u[(u.layer == layer) & (u.factor == c)].l1.to_numpy() for c in (1.0, 4.0))
    ratio = b[a > 0] / a[a > 0]
    assert (
        ratio.min() >= 1 / 4 * (1 - 1e-5)
        and ratio.max() <= 4 * (1 + 1e-5)
        and ratio.max() > ratio.min()
    )
    assert np.allclose(np.log2(ratio), np.round(np.log2(ratio)), atol=1e-5)


def test_ablation_says_what_the_ablation_says(ablated, net, few, held_out):
    scored = {
        o: {c: g.sort_values("place").unit.to_numpy() for c, g in t.groupby("class")}
        for o, t in ablated.tables["removals"].groupby("order")
    }
    curves, samples = ablate(
        net, {"train": few, "test": held_out}, ablated.about["layer"], scored, per_image=True
    )
    own = ablated.tables["curves"]
    both = own.merge(curves, on=["order", "class", "split", "step"], suffixes=("", "_again"))
    assert (
        len(both) == len(curves)
        and np.allclose(both.loss, both.loss_again)
        and (both.top1 == both.top1_again).all()
    )
    turning = turning_points(curves, "loss").set_index(["order", "class", "split"]).step
    breaks = change_points(pooled(samples), "top1", 20).set_index(["order", "split"])
    for order, name, split in [("H/eps", "0", "test"), ("l1 reversed", "2", "train")]:
        row = ablation_numbers(ablated, order, name, "loss", 3).set_index("split").loc[split]
        assert row["turning point"] == turning[order, name, split]
        assert (
            row.loss
            == own[
                (own.order == order)
                & (own["class"] == name)
                & (own.split == split)
                & (own.step == 3)
            ].loss.item()
        )
    row = ablation_numbers(ablated, "H/eps", "all", "top1", 0).set_index("split").loc["test"]
    assert (row["break"], row["from"], row["to"]) == tuple(
        breaks.loc[("H/eps", "test"), ["step", "low", "high"]]
    )
    path = {"H/eps reversed": scored["H/eps reversed"]}
    expected = (
        roles(useful_units(curves, path, "train"), useful_units(curves, path, "test"))
        .set_index(["class", "unit"])
        .role
    )
    assert all(r.role == expected[r[2], r.unit] for r in ablated.tables["removals"].itertuples())


def test_removed_units_are_counted(ablated):
    units = int(ablated.about["units"])
    for step in (0, 3, units):
        t = removed_units(ablated, "H/eps", "1", step)
        assert t.removed.sum() == step and t.left.sum() == units - step
        assert unit_removals(ablated, "H/eps", "1", step).removed.sum() == step
        assert unit_removals(ablated, "H/eps", "all", step).removed.sum() == pytest.approx(step)


def test_curves_alone_are_enough(ablated):
    curves = ablated.tables["curves"].query("`class` != 'all'")
    bare = ablation_tables(curves)
    assert list(bare.tables) == ["curves", "turning"]
    everyone = (
        bare.tables["curves"]
        .query("`class` == 'all' and order == 'l1' and split == 'test' and step == 5")
        .loss.item()
    )
    assert everyone == pytest.approx(
        curves.query("order == 'l1' and split == 'test' and step == 5").loss.mean()
    )
    assert drawn(ablation_figure(bare, "l1")).std() > 0
    with pytest.raises(ValueError, match="does not know which unit"):
        removed_units(bare)


def test_training_numbers(trained):
    t = training_numbers(trained, 3, "cubical")
    assert (
        t.H.tolist() == pytest.approx([1.7, 1.4, 1.1])
        and t.H_change.tolist() == pytest.approx([-0.3, -0.6, -0.9])
        and (t.H_null == 2.2).all()
    )
    assert training_losses(trained, 1).train_loss.item() == 1
    units = pd.DataFrame({"step": [5, 5], "layer": "c", "H": [1.0, 3.0], "eps": [0.2, 0.4]})
    by_step = training_study(units)
    assert by_step.about["time"] == "step" and training_numbers(by_step, 5).H.item() == 2
    assert drawn(training_figure(by_step, 5)).std() > 0


def test_comparison_numbers(compared):
    t = comparison_numbers(compared, 0.0, name="1").set_index("network")
    u = compared.tables["units"]
    own = u[(u.network == "b") & (u["class"] == "1") & (u.layer == t.layer["b"])]
    assert (
        t.H["b"] == pytest.approx(own.H.mean())
        and t.dH["b"] == pytest.approx(own.H.mean() - t.H["a"])
        and t.N["b"] == "4"
    )
    assert t.units.to_dict() == {"a": 12, "b": 12, "c": 8} and t.dH["a"] == 0
    assert comparison_caution(compared) == ""


def test_comparison_of_different_images_warns(net, few):
    more = images("digits", per_class=6, classes=["0", "1", "2"], size=16)
    caution = comparison_caution(
        comparison_study({"a": assess(net, few), "b": assess(net, more)}, 0)
    )
    assert "4 to 6" in caution and "ln N" in caution and "different images" in caution


# figures


def states(rescaled, ablated, trained, compared):
    last = rescaled.about["layers"][-1]
    yield (
        rescaling_scene,
        rescaled,
        (4.0, 1 / 4),
        dict(per="channel", group="all", layer=last, indicator="l1"),
    )
    yield (
        rescaling_scene,
        rescaled,
        (3.0, 4.0),
        dict(per="layer", group="2", layer=last, indicator="class_selectivity"),
    )
    yield ablation_scene, ablated, (0, 5), dict(order="H/eps", name="all", value="loss")
    yield ablation_scene, ablated, (1, 7), dict(order="random 0", name="2", value="top1")
    yield training_scene, trained, (0, 3), dict(filtration="clique")
    yield comparison_scene, compared, (1.0, 0.0), dict(filtration="clique", name="all")


def test_what_a_painter_paints_is_the_figure(rescaled, ablated, trained, compared):
    "Only the moving parts are drawn again, and the pixels are those of the whole figure."
    for scene, study, values, choices in states(rescaled, ablated, trained, compared):
        paint, seen = painter(partial(scene, study)), []
        for v in values:
            figure, move = scene(study, **choices)
            move(v)
            a, b = (
                drawn(figure),
                np.asarray(Image.open(io.BytesIO(paint(v, **choices)))).astype(int),
            )
            assert (np.abs(a - b).max(2) > 8).mean() < 0.002, (scene.__name__, v)
            seen.append(b.tobytes())
        assert len(set(seen)) == len(values), scene.__name__
    dark = np.asarray(Image.open(io.BytesIO(paint(values[0], "dark", **choices)))).astype(int)
    assert np.median(dark) < 40 and dark.max() > 200


def test_no_text_is_cut_off_or_written_over_another(rescaled, ablated, trained, compared):
    "Every text lies inside the figure, and none across another one."
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    for scene, study, values, choices in states(rescaled, ablated, trained, compared):
        figure, move = scene(study, **choices)
        move(values[0])
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        ticks = [
            (tick, axis.get_view_interval())
            for ax in figure.axes
            for axis in (ax.xaxis, ax.yaxis)
            for tick in axis.get_major_ticks()
        ]
        undrawn = {
            id(label)
            for tick, view in ticks
            if not min(view) - 1e-9 <= tick.get_loc() <= max(view) + 1e-9
            for label in (tick.label1, tick.label2)
        }
        texts = [
            t
            for t in figure.findobj(Text)
            if t.get_visible()
            and t.get_text().strip()
            and t.get_rotation() in (0, 90)
            and id(t) not in undrawn
        ]
        boxes = [
            (t.get_text(), t.get_window_extent(canvas.get_renderer()))
            for t in texts
            if t.axes is None or t.axes.axison
        ]
        inside = [(s, b) for s, b in boxes if b.width > 1]
        assert len(inside) > 10
        for s, b in inside:
            assert (
                b.x0 >= -1
                and b.y0 >= -1
                and b.x1 <= figure.bbox.width + 1
                and b.y1 <= figure.bbox.height + 1
            ), (scene.__name__, s)
        for i, (s, b) in enumerate(inside):
            for other, c in inside[:i]:
                wide, high = min(b.x1, c.x1) - max(b.x0, c.x0), min(b.y1, c.y1) - max(b.y0, c.y0)
                assert wide < 2 or high < 2 or s == other, (scene.__name__, s, other)


def test_the_points_are_where_the_table_says(compared, rescaled):
    figure = comparison_figure(compared, 1.0)
    layer = comparison_numbers(compared, 1.0).layer[0]
    u = compared.tables["units"]
    own = u[(u.network == "a") & (u.layer == layer)]
    points = max((line for line in figure.axes[2].lines), key=lambda line: len(line.get_xdata()))
    assert np.allclose(points.get_xdata(), own.eps) and np.allclose(points.get_ydata(), own.H)
    assert any(
        f"{m} of {v}" in {t.get_text() for t in rescaling_figure(rescaled, 4.0).axes[0].texts}
        for m, v in rescaling_numbers(rescaled, 4.0)[["moved", "values"]].itertuples(index=False)
    )


# folders and errors


def test_studies_come_back_from_their_folders(rescaled, ablated, trained, compared, tmp_path):
    for study in (rescaled, ablated, trained, compared):
        again = load_study(study.save(tmp_path / study.kind))
        assert again.kind == study.kind and again.about == json.loads(json.dumps(study.about))
        for name, t in study.tables.items():
            pd.testing.assert_frame_equal(
                again.tables[name], t.reset_index(drop=True), check_dtype=False, check_exact=True
            )
        assert not list(tmp_path.glob(".*"))
        study.save(tmp_path / study.kind)


def test_damaged_and_foreign_folders(trained, tmp_path):
    with pytest.raises(FileNotFoundError, match="study.json is missing"):
        load_study(tmp_path)
    folder = trained.save(tmp_path / "s")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/x").write_text("mine")
    with pytest.raises(FileExistsError, match="not a saved study"):
        trained.save(tmp_path / "other")
    (folder / "profiles.csv").write_text("epoch\nx\n")
    with pytest.raises(ValueError, match="damaged"):
        load_study(folder)
    shutil.copy(folder / "losses.csv", folder / "study.json")
    with pytest.raises(ValueError, match="damaged"):
        load_study(folder)


def test_errors_list_the_choices(rescaled, ablated, trained, compared, net, few):
    cases = [
        (lambda: rescaling_figure(rescaled, 5.0), "factor=5: choose from 0.25, 1, 3, 4"),
        (
            lambda: rescaling_figure(rescaled, 4.0, "unit"),
            "choose from layer, channel, uncompensated",
        ),
        (
            lambda: rescaling_figure(rescaled, 4.0, "uncompensated", "2"),
            "choose from layer, channel",
        ),
        (lambda: rescaling_figure(rescaled, 4.0, indicator="score"), "choose from H, eps, l1"),
        (lambda: ablation_figure(ablated, "entropy"), "choose from H/eps, H/eps reversed"),
        (lambda: ablation_figure(ablated, "l1", step=99), "step=99: choose from 0, 1, 2"),
        (lambda: ablation_figure(ablated, "l1", "9"), "choose from 0, 1, 2, all"),
        (
            lambda: ablation_figure(ablated, "l1", value="error"),
            "choose from auc, loss, top1, top5",
        ),
        (lambda: training_figure(trained, 9), "epoch=9: choose from 0, 1, 2, 3"),
        (lambda: training_figure(trained, 0, "rips"), "choose from clique, cubical"),
        (lambda: comparison_figure(compared, 2.0), "from 0, the first layer, to 1"),
        (lambda: comparison_figure(compared, 1.0, "cubical"), "choose from clique"),
        (lambda: ablation_figure(trained), "about training"),
        (lambda: rescaling_study(net, few, factors=(0, 2)), "positive and finite"),
        (lambda: rescaling_study(net, few, groups=("conv9",)), "choose from all"),
        (lambda: comparison_study({"a": assess(net, few, "0")}), "two results or more"),
        (
            lambda: training_study(pd.DataFrame({"layer": ["a"], "H": 1.0, "eps": 1.0})),
            "no column epoch",
        ),
        (lambda: ablation_tables(pd.DataFrame({"order": []})), "no column class"),
        (lambda: Study("lesson", {}), "choose from rescaling"),
    ]
    for f, words in cases:
        with pytest.raises(ValueError, match=words.replace(".", r"\.").replace("(", r"\(")):
            f()
    for f in (
        lambda: ablation_figure(3),
        lambda: rescaling_study(net, few, factors=("a",)),
        lambda: comparison_study([1, 2]),
    ):
        with pytest.raises(TypeError):
            f()


def test_another_study_is_replaced_only_when_asked(trained, compared, tmp_path):
    folder = trained.save(tmp_path / "s")
    with pytest.raises(
        FileExistsError,
        match=r"holds another study: choose another folder, "
        r"or replace it with save\(folder, replace=True\)",
    ):
        compared.save(folder)
    assert load_study(folder).kind == trained.kind and [p.name for p in tmp_path.iterdir()] == ["s"]
    assert load_study(compared.save(folder, replace=True)).kind == compared.kind and [
        p.name for p in tmp_path.iterdir()
    ] == ["s"]
