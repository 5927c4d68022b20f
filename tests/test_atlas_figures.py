"Still pictures of an atlas: numbers are those of the result, wrong addresses are refused."

import copy

import numpy as np
import pytest
import torch

import featent as fe
from featent.explorers.atlas_figures import (
    address_of,
    atlas_png,
    layer_figure,
    look_words,
    read_look,
    unit_figure,
)
from featent.explorers.atlases import Atlas, atlas, holds_atlas, saved_atlas


@pytest.fixture(scope="module")
def assessed():
    "Digits, a small untrained network with a dead unit, and what was found."
    digits = fe.images("digits", per_class=6, classes=[0, 1, 8])
    small = copy.deepcopy(fe.network("small_vgg", in_channels=1))
    with torch.no_grad():
        norm = next(m for m in small.modules() if isinstance(m, torch.nn.BatchNorm2d))
        norm.weight[0], norm.bias[0] = 0, -1
    layers, both = ["features.conv1", "features.conv6"], ("clique", "cubical")
    return digits, small, fe.assess(small, digits, layers, filtration=both, null="shuffle")


@pytest.fixture(scope="module")
def made(assessed):
    digits, small, result = assessed
    return atlas(result, network=small, images=digits, n_resamples=20)


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


@pytest.mark.parametrize("unit", [1, 3])
@pytest.mark.parametrize("f", ["clique", "cubical"])
def test_numbers_in_the_figure_of_a_unit_are_those_of_the_result(assessed, made, unit, f):
    result = assessed[2]
    layer = result.layers.layer.iloc[0]
    words = {"view": "unit", "layer": layer, "unit": unit, "class": 8, "filtration": f}
    figure = unit_figure(made.part, read_look(address_of(words), made.part))
    own = rows_of(result.table, layer=layer, unit=unit, filtration=f).set_index("class")
    names = list(result.classes.values())
    h, h_null = ([line.get_ydata() for line in figure.axes[5].lines][i] for i in (0, 2))
    np.testing.assert_allclose(h, own.loc[names, "H"], rtol=1e-6)
    np.testing.assert_allclose(h_null, own.loc[names, "H_null"], rtol=1e-6)
    births = result.births[layer, f, "real"][result.labels == 8, unit]
    bars = [b for b in figure.axes[4].patches]
    heights = sum(b.get_height() for b in bars)
    shuffled = result.births[layer, f, "shuffled"][result.labels == 8, unit]
    assert heights == len(births) + len(shuffled) == 12
    said = words_of(figure)
    assert f"unit {unit}, class 8, {f} filtration, 6 images" in said
    shown = result.births[layer, f, "real"][:, unit]
    number = int(said.split("image ")[1].split(",")[0])
    assert (shown[number] > 0) == ("loop born at" in said)
    if shown[number]:
        assert f"loop born at {shown[number]}" in said


def test_a_unit_without_births_is_shown_as_one(made):
    look = read_look("#view=unit&layer=features.conv1&unit=0&filtration=cubical", made.part)
    figure = unit_figure(made.part, look, "dark")
    assert "loop born" not in words_of(figure)
    none = [b for b in figure.axes[4].patches if b.get_x() < -1]
    assert none and max(b.get_height() for b in none) == 18  # every image is without a birth
    np.testing.assert_array_equal(figure.axes[5].lines[0].get_ydata(), np.zeros(3))


def test_the_figure_of_a_layer_has_the_means_of_the_result(assessed, made):
    result = assessed[2]
    words = {"view": "layer", "layer": "features.conv6", "unit": 3, "filtration": "cubical"}
    look = read_look(address_of(words), made.part)
    figure = layer_figure(made.part, look)
    own = rows_of(result.table, layer=result.layers.layer.iloc[1], filtration="cubical")
    means = own.groupby("unit")[["eps", "H"]].mean()
    points, ring = (c.get_offsets() for c in figure.axes[2].collections)
    np.testing.assert_allclose(points, means.to_numpy(), rtol=1e-5)
    np.testing.assert_allclose(ring[0], means.loc[3], rtol=1e-5)
    summary = rows_of(result.summary(), filtration="cubical").set_index("layer")
    drawn = {line.get_label(): line.get_ydata() for line in figure.axes[0].lines}
    np.testing.assert_allclose(drawn["network"], summary.H[result.layers.layer])


def test_what_does_not_exist_is_refused_by_name(made):
    for look, text in (
        ("layer=conv7", "no layer 'conv7'.*features.conv1"),
        ("layer=features.conv1&unit=10000", "units 0 to"),
        ("class=cat", "no class cat: choose from 0, 1, 8"),
        ("filtration=rips", "choose from 'clique', 'cubical'"),
        ("view=units", "choose from 'network', 'layer', 'unit', 'compare'"),
    ):
        with pytest.raises(ValueError, match=text):
            atlas_png(made.part, f"#{look}")
    widget = made.widget()
    with pytest.raises(ValueError, match="no 'units'"):
        widget.show(units=1)
    widget.show(layer="features.conv6", unit=5)
    assert widget.state == {"view": "unit", "layer": "features.conv6", "unit": "5"}
    before = widget.look
    with pytest.raises(ValueError, match="units 0 to"):
        widget.show(unit=10**4)
    assert widget.look == before and look_words(before)["unit"] == "5"


def test_an_atlas_without_maps_has_pictures_too(assessed):
    bare = atlas(assessed[2], n_resamples=0)
    png, words = atlas_png(bare.part, "#view=unit&unit=2")
    assert png.startswith(b"\x89PNG") and "unit 2" in words
    figure = unit_figure(bare.part, read_look("#view=unit&unit=2", bare.part))
    assert "no maps in this atlas" in words_of(figure)


def test_an_atlas_beside_its_result_is_opened_and_another_one_refused(assessed, made, tmp_path):
    result = assessed[2]
    folder = result.save(tmp_path / "kept")
    assert saved_atlas(result, folder) is None
    made.save(folder / "atlas")
    assert fe.load(folder).table.equals(result.table)
    assert saved_atlas(result, folder).part("layer-0") == made.part("layer-0")
    other = fe.assess(fe.network("small_vgg", in_channels=1, seed=5), assessed[0], "features.conv1")
    with pytest.raises(ValueError, match="atlas of another result"):
        saved_atlas(other, folder)
    (folder / "atlas/data/index.js").write_text("nothing")
    with pytest.raises(ValueError):
        saved_atlas(result, folder)
    assert not holds_atlas(tmp_path) and not holds_atlas(tmp_path / "no.html")
    one = made.save(tmp_path / "one.html", single_file=True)
    assert holds_atlas(one.path) and Atlas(one.path).title == made.title
