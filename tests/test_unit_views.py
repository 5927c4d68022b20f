"Pictures of units and layers, their numbers and their errors."

import copy
import io

import numpy as np
import pytest
import torch
from PIL import Image

from featent.assessment.assessing import assess
from featent.assessment.loading import load
from featent.data.sampling import images
from featent.data.networks import network
from featent.explorers import unit_views as uv
from featent.topology.filtrations import births
from featent.topology.loops import map_topology


@pytest.fixture(scope="module")
def assessed():
    "Digits, a small untrained network, and what was found"
    digits, net = (
        images("digits", per_class=6, classes=[0, 1, 8]),
        network("small_vgg", in_channels=1),
    )
    return (
        digits,
        net,
        assess(
            net,
            digits,
            layers=["features.conv1", "features.conv6"],
            filtration=("clique", "cubical"),
            null="shuffle",
        ),
    )


@pytest.fixture(scope="module")
def views(assessed):
    digits, net, result = assessed
    return uv.unit_maps(result, net, digits, per_class=2)


def words_of(figure):
    return "\n".join(
        t.get_text()
        for ax in figure.axes
        for t in [*ax.texts, ax.title, *ax.get_figure().texts, *[getattr(ax, "_left_title")]]
    )


def test_maps_give_the_births_of_the_result_again(assessed, views):
    result = assessed[2]
    assert views.notes == () and len(views.kept) == 6 and views.thumbs.shape == (18, 64, 64, 3)
    for layer, a in views.maps.items():
        for f in ("clique", "cubical"):
            assert (births(a, f) == result.births[layer, f, "real"][views.kept]).all()
        for k in range(3):
            t = map_topology(a[k, 0], "clique")
            assert (t.loop.level if t.loop else 0) == result.births[layer, "clique", "real"][
                views.kept[k], 0
            ]


def test_numbers_in_figures_words_and_tables_are_those_of_the_result(assessed, views):
    result = assessed[2]
    table, found = result.table, result.intervals()
    for layer in views.maps:
        for unit in (0, 3):
            s = uv.unit_state(
                views, **{"layer": layer, "unit": unit, "class": "8", "filtration": "clique"}
            )
            row = table[
                (table.layer == layer)
                & (table.unit == unit)
                & (table["class"] == "8")
                & (table.filtration == "clique")
            ].iloc[0]
            own = found[
                (found.layer == layer)
                & (found.unit == unit)
                & (found["class"] == "8")
                & (found.filtration == "clique")
            ].iloc[0]
            scores = uv.unit_scores(views, s)
            assert all(
                scores[k] == row[k]
                for k in ("H", "eps", "H_null", "eps_null", "n_births", "status")
            )
            assert np.allclose(
                (scores["lo"], scores["hi"]), (own.lo, own.hi), rtol=1e-9, equal_nan=True
            )
            counts = uv.birth_table(views, s)
            b = result.births[layer, "clique", "real"][result.labels == s["class"], unit]
            assert counts.images.sum() == len(b) == 6 and all(
                counts.images[counts.level == v].iloc[0] == (b == v).sum() for v in set(b.tolist())
            )
            text = words_of(uv.unit_figure(views, **s))
            assert (
                f"H {row.H:.2f}" in text
                and f"ε {row.eps:.2f}" in text
                and f"shuffled maps: H {row.H_null:.2f}, ε {row.eps_null:.2f}" in text
            )
            t = uv.unit_topology(views, s)
            if t.loop:
                n_loops = t.betti[1][t.loop.level - 1]
                assert f"loop born at {t.loop.level}" in text
                assert f"level {t.loop.level} of {len(t.values)}: {n_loops} loop" in text
            assert f"H = {row.H:.3f}" in uv.unit_words(views, s, t)[0]


def test_the_images_at_the_ends_are_those_of_the_summary(assessed, views):
    result, layer = assessed[2], next(iter(views.maps))
    rows = uv.ranked_images(views, uv.unit_state(views, layer=layer, unit=2, by="max"))
    value = result.summaries[layer, "max", "real"][:, 2]
    assert sorted(rows[rows.place == "top"]["max"]) == sorted(np.sort(value)[-6:]) and sorted(
        rows[rows.place == "bottom"]["max"]
    ) == sorted(np.sort(value)[:6])


def test_the_painter_draws_what_the_figure_shows_at_every_level(views):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    paint = uv.unit_painter(views)
    for filtration, theme in (("clique", "light"), ("cubical", "dark")):
        s = uv.unit_state(views, filtration=filtration, unit=1, theme=theme)
        t = uv.unit_topology(views, s)
        for level in (2, len(t.values) // 2):
            canvas = FigureCanvasAgg(uv.unit_figure(views, **{**s, "level": level}))
            canvas.draw()
            fast = np.asarray(Image.open(io.BytesIO(paint({**s, "level": level}, t))))
            assert (fast == np.asarray(canvas.buffer_rgba())[..., :3]).all()


def test_a_unit_without_births_is_shown_as_one(assessed):
    digits, net, _ = assessed
    dead = copy.deepcopy(net)
    with torch.no_grad():
        bn = next(m for m in dead.modules() if isinstance(m, torch.nn.BatchNorm2d))
        bn.weight[0], bn.bias[0] = 0, -1
    views = uv.unit_maps(
        assess(dead, digits, layers="features.conv1", filtration="cubical"),
        dead,
        digits,
        per_class=1,
    )
    text = words_of(uv.unit_figure(views, unit=0))
    assert "no image of this class\nhas a birth" in text and "H 0.00" in text and "ε 0.00" in text
    s = uv.unit_state(views, unit=0)
    assert "This map has no loop at any level." in uv.unit_words(
        views, s, uv.unit_topology(views, s)
    )


def test_what_does_not_exist_is_refused_by_name(assessed, views):
    digits, net, result = assessed
    for state, text in (
        ({"layer": "conv7"}, "no layer 'conv7'.*features.conv1"),
        ({"unit": 10**4}, "units 0 to"),
        ({"class": "cat"}, "no class 'cat'.*'0' .0., '1' .1., '8' .8."),
        ({"filtration": "rips"}, "choose from 'clique', 'cubical'"),
        ({"image": 99}, "images 0 to 17"),
        ({"by": "l7"}, "'mean', 'max'"),
        ({"units": 1}, "no 'units'"),
    ):
        with pytest.raises(ValueError, match=text):
            uv.unit_figure(views, **state)
    with pytest.raises(ValueError, match="no layer"):
        uv.layers_figure(views, layer="conv7")
    with pytest.raises(ValueError, match="other weights"):
        uv.unit_maps(result, network("small_vgg", in_channels=1, seed=5), digits)
    with pytest.raises(ValueError, match="images are not those"):
        uv.unit_maps(result, net, images("digits", per_class=5, classes=[0, 1, 8]))
    with pytest.raises(ValueError, match="choose fewer layers"):
        uv.unit_maps(result, net, digits, budget=10**4)
    with pytest.raises(ValueError, match="pass both"):
        uv.as_views(result, net)
    with pytest.raises(TypeError, match="opens a result"):
        uv.as_views(3)
    with pytest.raises(FileNotFoundError, match="no saved result"):
        uv.as_views("nowhere")


def test_a_small_budget_keeps_fewer_images_and_says_so(assessed):
    digits, net, result = assessed
    one = sum(r.units * r.height * r.width * 4 for r in result.layers.itertuples()) * 3
    less = uv.unit_maps(result, net, digits, per_class=5, budget=one * 4)
    assert (
        len(less.kept) == 9
        and "Maps of 3 images of each class" in less.notes[0]
        and sum(a.nbytes for a in less.maps.values()) <= one * 4
    )
    few = uv.unit_maps(
        result, net, digits, layers="features.conv6", units=[2, 5], classes="8", per_class=2
    )
    assert {k: v.shape[:2] for k, v in few.maps.items()} == {result.layers.layer.iloc[1]: (2, 2)}
    assert "no maps kept of unit 3" in words_of(uv.unit_figure(few, unit=3, **{"class": "8"}))


def test_views_come_back_from_a_folder_and_bare_results_open(assessed, views, tmp_path):
    folder = uv.save_views(views, tmp_path / "kept")
    again = uv.load_views(folder)
    assert (
        load(folder).table.equals(again.result.table)
        and (again.names == views.names).all()
        and (again.thumbs == views.thumbs).all()
    )
    assert all((again.maps[k] == views.maps[k]).all() for k in views.maps)
    other = uv.bare_views(assessed[2])
    assert (
        "no maps" in words_of(uv.unit_figure(other))
        and "explore_units(result, network, images)" in other.notes[0]
    )
    (folder / "views.npz").write_bytes(b"not a file")
    with pytest.raises(ValueError, match="damaged"):
        uv.load_views(folder)


def test_layers_show_the_means_of_the_result(assessed, views):
    result = assessed[2]
    s = uv.layers_state(views, layer="features.conv6", filtration="cubical", unit=3)
    rows, summary = uv.layer_units(views, s), result.summary()
    own = summary[(summary.layer == s["layer"]) & (summary.filtration == "cubical")].iloc[0]
    assert np.isclose(rows.H.mean(), own.H) and np.isclose(rows.eps.mean(), own.eps)
    assert f"mean H = {own.H:.3f}" in uv.layers_words(views, s)[0] and "unit 3" in words_of(
        uv.layers_figure(views, **s)
    )
