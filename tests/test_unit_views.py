"Pictures of units and layers, their numbers and their errors."

import copy
import io

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from featent.assessment.assessing import assess
from featent.assessment.loading import load
from featent.data.networks import network
from featent.data.sampling import images
from featent.explorers.layer_pictures import layer_units, layers_figure, layers_words
from featent.explorers.states import layers_state, unit_state, unit_topology
from featent.explorers.unit_numbers import birth_table, ranked_images, unit_scores, unit_words
from featent.explorers.unit_pictures import unit_figure, unit_painter
from featent.explorers.unit_views import as_views, bare_views, load_views, save_views, unit_maps
from featent.topology.filtrations import births
from featent.topology.loops import map_topology


@pytest.fixture(scope="module")
def assessed():
    "Digits, a small untrained network, and what was found."
    digits = images("digits", per_class=6, classes=[0, 1, 8])
    small = network("small_vgg", in_channels=1)
    layers = ["features.conv1", "features.conv6"]
    both = ("clique", "cubical")
    return digits, small, assess(small, digits, layers=layers, filtration=both, null="shuffle")


@pytest.fixture(scope="module")
def views(assessed):
    digits, small, result = assessed
    return unit_maps(result, small, digits, per_class=2)


def words_of(figure):
    "Every text of a figure, titles too."
    said = [t.get_text() for t in figure.texts]
    for ax in figure.axes:
        said += [t.get_text() for t in ax.texts]
        said += [ax.get_title(loc=where) for where in ("left", "center")]
    return "\n".join(said)


def rows_of(table, **wanted):
    "Rows of a table that have the wanted values."
    for column, value in wanted.items():
        table = table[table[column] == value]
    return table


def test_maps_give_the_births_of_the_result_again(assessed, views):
    result = assessed[2]
    assert views.notes == () and len(views.kept) == 6 and views.thumbs.shape == (18, 64, 64, 3)
    for layer, a in views.maps.items():
        for f in ("clique", "cubical"):
            assert (births(a, f) == result.births[layer, f, "real"][views.kept]).all()
        for k in range(3):
            t = map_topology(a[k, 0], "clique")
            own = result.births[layer, "clique", "real"][views.kept[k], 0]
            assert (t.loop.level if t.loop else 0) == own


@pytest.mark.parametrize("unit", [0, 3])
@pytest.mark.parametrize("layer", [0, 1])
def test_numbers_in_figures_words_and_tables_are_those_of_the_result(assessed, views, layer, unit):
    result, layer = assessed[2], list(views.maps)[layer]
    which = {"layer": layer, "unit": unit, "class": "8", "filtration": "clique"}
    s = unit_state(views, **which)
    row, own = (rows_of(t, **which).iloc[0] for t in (result.table, result.intervals()))
    scores = unit_scores(views, s)
    for name in ("H", "eps", "H_null", "eps_null", "n_births", "status"):
        assert scores[name] == row[name]
    interval = scores["lo"], scores["hi"]
    assert np.allclose(interval, (own.lo, own.hi), rtol=1e-9, equal_nan=True)
    counts = birth_table(views, s)
    b = result.births[layer, "clique", "real"][result.labels == s["class"], unit]
    assert counts.images.sum() == len(b) == 6
    for v in set(b.tolist()):
        assert counts.images[counts.level == v].iloc[0] == (b == v).sum()
    text, t = words_of(unit_figure(views, **s)), unit_topology(views, s)
    assert f"H {row.H:.2f}" in text and f"ε {row.eps:.2f}" in text
    assert f"shuffled maps: H {row.H_null:.2f}, ε {row.eps_null:.2f}" in text
    if t.loop:
        n_loops = t.betti[1][t.loop.level - 1]
        assert f"loop born at {t.loop.level}" in text
        assert f"level {t.loop.level} of {len(t.values)}: {n_loops} loop" in text
    assert f"H = {row.H:.3f}" in unit_words(views, s, t)[0]


def test_the_images_at_the_ends_are_those_of_the_summary(assessed, views):
    result, layer = assessed[2], next(iter(views.maps))
    rows = ranked_images(views, unit_state(views, layer=layer, unit=2, by="max"))
    value = result.summaries[layer, "max", "real"][:, 2]
    top, bottom = (sorted(rows[rows.place == place]["max"]) for place in ("top", "bottom"))
    assert top == sorted(np.sort(value)[-6:]) and bottom == sorted(np.sort(value)[:6])


def test_the_painter_draws_what_the_figure_shows_at_every_level(views):
    paint = unit_painter(views)
    for filtration, theme in (("clique", "light"), ("cubical", "dark")):
        s = unit_state(views, filtration=filtration, unit=1, theme=theme)
        t = unit_topology(views, s)
        for level in (2, len(t.values) // 2):
            canvas = FigureCanvasAgg(unit_figure(views, **{**s, "level": level}))
            canvas.draw()
            fast = np.asarray(Image.open(io.BytesIO(paint({**s, "level": level}, t))))
            assert (fast == np.asarray(canvas.buffer_rgba())[..., :3]).all()


def test_a_unit_without_births_is_shown_as_one(assessed):
    digits, small, _ = assessed
    dead = copy.deepcopy(small)
    with torch.no_grad():
        bn = next(m for m in dead.modules() if isinstance(m, torch.nn.BatchNorm2d))
        bn.weight[0], bn.bias[0] = 0, -1
    result = assess(dead, digits, layers="features.conv1", filtration="cubical")
    views = unit_maps(result, dead, digits, per_class=1)
    text = words_of(unit_figure(views, unit=0))
    assert "no image of this class\nhas a birth" in text and "H 0.00" in text and "ε 0.00" in text
    s = unit_state(views, unit=0)
    assert "This map has no loop at any level." in unit_words(views, s, unit_topology(views, s))


def test_what_does_not_exist_is_refused_by_name(assessed, views):
    digits, small, result = assessed
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
            unit_figure(views, **state)
    with pytest.raises(ValueError, match="no layer"):
        layers_figure(views, layer="conv7")
    with pytest.raises(ValueError, match="other weights"):
        unit_maps(result, network("small_vgg", in_channels=1, seed=5), digits)
    with pytest.raises(ValueError, match="images are not those"):
        unit_maps(result, small, images("digits", per_class=5, classes=[0, 1, 8]))
    with pytest.raises(ValueError, match="choose fewer layers"):
        unit_maps(result, small, digits, budget=10**4)
    with pytest.raises(ValueError, match="pass both"):
        as_views(result, small)
    with pytest.raises(TypeError, match="opens a result"):
        as_views(3)
    with pytest.raises(FileNotFoundError, match="no saved result"):
        as_views("nowhere")


def test_a_small_budget_keeps_fewer_images_and_says_so(assessed):
    digits, small, result = assessed
    one = sum(r.units * r.height * r.width * 4 for r in result.layers.itertuples()) * 3
    less = unit_maps(result, small, digits, per_class=5, budget=one * 4)
    assert len(less.kept) == 9 and "Maps of 3 images of each class" in less.notes[0]
    assert sum(a.nbytes for a in less.maps.values()) <= one * 4
    some = {"layers": "features.conv6", "units": [2, 5], "classes": "8"}
    few = unit_maps(result, small, digits, **some, per_class=2)
    assert {k: v.shape[:2] for k, v in few.maps.items()} == {result.layers.layer.iloc[1]: (2, 2)}
    assert "no maps kept of unit 3" in words_of(unit_figure(few, unit=3, **{"class": "8"}))


def test_views_come_back_from_a_folder_and_bare_results_open(assessed, views, tmp_path):
    folder = save_views(views, tmp_path / "kept")
    again = load_views(folder)
    assert load(folder).table.equals(again.result.table)
    assert (again.names == views.names).all() and (again.thumbs == views.thumbs).all()
    assert all((again.maps[k] == views.maps[k]).all() for k in views.maps)
    other = bare_views(assessed[2])
    assert "no maps" in words_of(unit_figure(other))
    assert "explore_units(result, network, images)" in other.notes[0]
    (folder / "views.npz").write_bytes(b"not a file")
    with pytest.raises(ValueError, match="damaged"):
        load_views(folder)


def test_layers_show_the_means_of_the_result(assessed, views):
    result = assessed[2]
    s = layers_state(views, layer="features.conv6", filtration="cubical", unit=3)
    rows, summary = layer_units(views, s), result.summary()
    own = summary[(summary.layer == s["layer"]) & (summary.filtration == "cubical")].iloc[0]
    assert np.isclose(rows.H.mean(), own.H) and np.isclose(rows.eps.mean(), own.eps)
    assert f"mean H = {own.H:.3f}" in layers_words(views, s)[0]
    assert "unit 3" in words_of(layers_figure(views, **s))
