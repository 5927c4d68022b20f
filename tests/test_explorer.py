"The frame, and the explorers of units and layers: by hand of Python, and in a real JupyterLab."

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from featent.assessment.assessing import assess
from featent.data.networks import network
from featent.data.sampling import images
from featent.explorers.frame import View, shell, slider
from featent.explorers.states import unit_state, unit_topology
from featent.explorers.unit_explorers import explore_layers, explore_units
from featent.explorers.unit_views import save_views, unit_maps


@pytest.fixture(scope="module")
def views():
    "Maps of two layers of a small untrained network, on digits."
    digits = images("digits", per_class=6, classes=[0, 1, 8])
    small = network("small_vgg", in_channels=1)
    how = {"filtration": ("cubical", "clique"), "null": ("shuffle", "random"), "twins": 1}
    result = assess(small, digits, layers=["features.conv2", "features.conv6"], **how)
    return unit_maps(result, small, digits, per_class=2)


def test_an_error_is_shown_with_its_cause_and_the_explorer_lives_on():
    def draw(state):
        if state["k"] == 2:
            try:
                {}["a <b> c"]
            except KeyError as e:
                raise ValueError("no such picture") from e
        return View(b"%d" % state["k"], f"picture {state['k']}")

    e = shell({"k": slider("k", 0, 5)}, draw, theme=False)
    e.controls["k"].value = 2
    for said in ("no such picture", "KeyError", "a &lt;b&gt; c", "role='alert'"):
        assert said in e.error.value
    assert e.png == b"0" and isinstance(e.failure, ValueError)
    e.controls["k"].value = 3
    assert (e.png, e.error.value, e.failure) == (b"3", "", None)
    e.guarded(lambda: 1 / 0)()
    assert "ZeroDivisionError" in e.error.value


def test_what_follows_a_control_is_drawn_once():
    drawn = []

    def draw(state):
        drawn.append(dict(state))
        return View(b"", "")

    def settle(controls, moved):
        controls["b"].value = controls["a"].value * 2

    e = shell({"a": slider("a", 0, 5), "b": slider("b", 0, 10)}, draw, settle, theme=False)
    e.controls["a"].value = 3
    assert drawn == [{"a": 0, "b": 0}, {"a": 3, "b": 6}]
    e.show(a=3)
    assert len(drawn) == 2


def test_the_bundle_has_a_still_picture_beside_the_widget(views):
    e = explore_units(views)
    data = e._repr_mimebundle_()[0]
    assert "application/vnd.jupyter.widget-view+json" in data
    assert data["image/png"].startswith("iVBOR")
    assert data["text/plain"].startswith("unit explorer")


def test_units_are_ordered_and_searched(views):
    e = explore_units(
        views, start={"layer": "features.conv2", "filtration": "cubical", "class": "1"}
    )
    table = views.result.table.query(
        "layer == @e.state['layer'] and filtration == 'cubical' and `class` == '1'"
    )
    e.show(sort="H", order="highest first")
    ordered = table.sort_values("H", ascending=False, kind="stable")
    assert [u for _, u in e.controls["unit"].options] == list(ordered.unit)
    e.controls["search"].value = "7"
    assert e.state["unit"] == 7 and len(e.controls["unit"].options) == 1
    e.controls["search"].value = "dog"
    assert "no unit matches" in e.error.value and "dog" in e.error.value
    e.controls["search"].value = ""
    assert e.error.value == "" and len(e.controls["unit"].options) == len(table)
    units = views.result.units()
    units = units[units.layer == e.state["layer"]].set_index("unit").status
    for word in ("answers", "carries", "redundant", "dead"):
        e.controls["search"].value = word
        found = {u for _, u in e.controls["unit"].options} if not e.error.value else set()
        assert found == set(units.index[units.str.startswith(word)])
    e.show(search="", sort="share", order="highest first")
    shares = views.result.units().query("layer == @e.state['layer']").set_index("unit").share
    assert shares[e.controls["unit"].options[0][1]] == shares.max()


def test_a_new_map_has_its_own_levels_and_begins_at_its_birth(views):
    e = explore_units(views, start={"layer": "features.conv2", "filtration": "clique"})
    for unit in (1, 5, 6):
        e.controls["unit"].value = unit
        shown = {k: e.state[k] for k in ("layer", "filtration", "unit", "image")}
        t = unit_topology(views, unit_state(views, **shown))
        assert e.controls["level"].max == len(t.values) and e.failure is None
        assert e.state["level"] == (t.loop.level if t.loop else 1)
        e.controls["level"].value = 2
        assert f"Level 2 of {len(t.values)}" in e.text.value
    e.controls["class"].value = 8
    assert views.result.labels[e.state["image"]] == 8 and e.failure is None
    e.show(layer=views.result.layers.layer.iloc[1], theme="dark")
    assert e.failure is None and "class 8" in e.text.value


def test_a_unit_is_opened_from_its_layer(views):
    e = explore_layers(views, start={"layer": "features.conv2", "unit": 3})
    before = e.png
    e.controls["unit"].value = 5
    assert e.png != before and "Unit 5: H = " in e.text.value
    e.controls["open"].click()
    assert e.below.state["unit"] == 5 and e.below in e.children and e.failure is None
    e.show(unit=2)
    e.controls["open"].click()
    assert e.below.state["unit"] == 2 and e.children.count(e.below) == 1


def test_an_executed_notebook_shows_its_figure_without_kernel_and_network(tmp_path, views):
    save_views(views, tmp_path / "kept")
    code = "from featent.explorers.unit_explorers import explore_units\nexplore_units('kept')"
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    nbformat.write(book, tmp_path / "a.ipynb")
    convert = [sys.executable, "-m", "nbconvert", "--to", "html", "--execute", "a.ipynb"]
    subprocess.run(convert, cwd=tmp_path, check=True, capture_output=True, timeout=240)
    page = (tmp_path / "a.html").read_text()
    assert "data:image/png;base64,iVBOR" in page


UNIT = """from featent.explorers.unit_explorers import explore_layers, explore_units
explore_units('kept', start={'layer': 'features.conv2', 'filtration': 'cubical'})"""


def test_in_jupyterlab_a_unit_is_chosen_moved_played_and_an_error_seen(lab, views):
    save_views(views, lab.files / "kept")
    with lab.page(width=1280) as page:
        page.open(lab.write("unit.ipynb", UNIT, "layers = explore_layers('kept')\nlayers"))
        page.alone()
        page.run_all()
        p, unit = page.p, page.p.locator(".featent-explorer").first
        picture, text, source = (
            unit.locator("img.featent-figure"),
            unit.locator(".featent-text"),
            lambda: unit.locator("img.featent-figure").get_attribute("src"),
        )
        picture.wait_for()
        assert (
            p.locator(".jp-RenderedImage:visible").count() == 0
        )  # the still pictures hide behind the living ones
        assert picture.evaluate(
            "e => e.naturalWidth > 900 && e.getBoundingClientRect().width > 600"
        )

        def after(act):
            "What is done changes picture and numbers"
            before, said = source(), text.inner_text()
            act()
            p.wait_for_function(
                "([src]) => document.querySelector('img.featent-figure').src !== src", arg=[before]
            )
            p.wait_for_function(
                "([said]) => document.querySelector('.featent-text').innerText !== said", arg=[said]
            )
            return text.inner_text()

        assert "Unit 5 of" in after(
            lambda: unit.get_by_label("unit", exact=True).select_option(index=5)
        )
        handle = unit.locator(".noUi-handle").first
        handle.focus()
        level = int(text.inner_text().split("Level ")[1].split()[0])
        assert f"Level {level + 1} of" in after(lambda: p.keyboard.press("ArrowRight"))
        unit.get_by_label("search").fill("no such unit")
        unit.locator(".featent-error").wait_for()
        assert "no unit matches" in unit.locator(".featent-error").inner_text()
        unit.get_by_label("search").fill("3")
        unit.locator(".featent-error").wait_for(state="detached")
        p.wait_for_function(
            "() => document.querySelector('.featent-text').innerText.includes('Unit 3 of')"
        )
        assert "Level" in after(lambda: unit.locator(".widget-play button").first.click())
        unit.locator(".widget-play button").first.click()
        p.get_by_role("button", name="Open this unit").click()
        p.wait_for_function("() => document.querySelectorAll('img.featent-figure').length === 3")
        assert p.evaluate(
            "() => [...document.querySelectorAll('.featent-explorer')]"
            ".every(e => e.scrollWidth <= e.clientWidth + 1)"
        )
        page.check()
        if folder := os.environ.get("FEATENT_SHOTS"):
            pictures(page, Path(folder))


def pictures(page, folder):
    "Pictures of both explorers, for the book and to be looked at"
    for width, theme in ((1280, "light"), (1920, "dark")):
        page.theme(theme)
        page.width(width, 1000)
        for i, name in enumerate(("unit", "layers")):
            page.p.locator(".featent-explorer").nth(i).scroll_into_view_if_needed()
            page.p.wait_for_timeout(500)
            page.p.locator(".featent-explorer").nth(i).locator("> div").nth(1).screenshot(
                path=str(folder / f"{name}_{width}.png")
            )
