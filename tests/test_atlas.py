"Atlases: numbers against the result, maps against plain forward passes, pages in a browser."

import base64
import json
import re
import shutil
import zlib

import numpy as np
import pandas as pd
import pytest
import torch

import featent as fe
from featent.commands.cli import main
from featent.explorers import atlas_parts
from featent.explorers.atlas_parts import BLOCK
from featent.explorers.atlases import Atlas, atlas
from featent.topology.filtrations import births, levels
from featent.topology.loops import first_loop

HOSTILE = "<img src=x onerror=alert(1)>"
FILTRATIONS = ("clique", "cubical")
KINDS = {"u1": "u1", "u2": "<u2", "i2": "<i2", "i4": "<i4", "f4": "<f4"}


def decoded(x):
    "A part with arrays in the place of their texts."
    if isinstance(x, list):
        return [decoded(v) for v in x]
    if not isinstance(x, dict):
        return x
    if set(x) == {"type", "shape", "data"}:
        data = zlib.decompress(base64.b64decode(x["data"]))
        return np.frombuffer(data, KINDS[x["type"]]).reshape(x["shape"])
    return {k: decoded(v) for k, v in x.items()}


def part(made, name):
    return decoded(json.loads(made.part(name)))


@pytest.fixture(scope="module")
def material():
    "Digits of three classes, a small network, and what was found."
    digits = fe.images("digits", per_class=8, classes=[0, 1, 8])
    digits = fe.Images(
        digits.read,
        digits.index,
        digits.labels,
        (HOSTILE, *digits.classes[1:]),
        digits.names,
        digits.transform,
        digits.settings,
    )
    small = fe.network("small_vgg", in_channels=1)
    layers = ["features.conv1", "features.conv2"]
    return digits, small, fe.assess(small, digits, layers, filtration=FILTRATIONS, null="shuffle")


@pytest.fixture(scope="module")
def made(material, tmp_path_factory):
    "An atlas in a folder."
    digits, small, result = material
    folder = tmp_path_factory.mktemp("atlas") / "pages"
    tables = [result.indicators(), removed(result)]
    return atlas(result, folder, small, digits, each=1, n_resamples=20, tables=tables)


def removed(result):
    "A table as an ablation of the last layer gives it."
    names = list(result.classes.values())
    steps = {"split": "test", "step": [0, 1, 2] * 3, "auc": np.linspace(1, 0.5, 9)}
    table = pd.DataFrame({"order": "H", "class": np.repeat(names, 3), **steps})
    table.attrs["layer"] = result.layers.layer.iloc[1]
    return table


def test_columns_of_a_layer_are_those_of_the_table(made, material):
    result = material[2]
    names, tested = list(result.classes.values()), result.excess()
    for i, layer in enumerate(result.layers.layer):
        for f in FILTRATIONS:
            scores = part(made, f"layer-{i}")["scores"][f]
            rows = result.table[(result.table.layer == layer) & (result.table.filtration == f)]
            for column in ("H", "H_cwj", "eps", "H_null", "n_births", "contrast", "contrast_q"):
                wide = rows.pivot(index="unit", columns="class", values=column)[names]
                np.testing.assert_array_equal(scores[column], wide.to_numpy(np.float32))
            own = tested[(tested.layer == layer) & (tested.filtration == f)]
            wide = own.pivot(index="unit", columns="class", values="q")[names]
            np.testing.assert_array_equal(scores["q"], wide.to_numpy(np.float32))


def test_births_of_every_block_are_those_of_the_result(made, material):
    result = material[2]
    for i, row in enumerate(result.layers.itertuples()):
        for start in range(0, row.units, BLOCK):
            block = part(made, f"block-{i}-{start}")
            for name, kind in (("births", "real"), ("shuffled", "shuffled")):
                for f in FILTRATIONS:
                    own = result.births[row.layer, f, kind][:, start : start + BLOCK].T
                    np.testing.assert_array_equal(block[name][f], own)


def plain_maps(network, images, module):
    "Maps of a module after its normalisation and ReLU, by plain torch."
    kept = []
    stop = module + 3
    with torch.no_grad():
        for i in range(len(images)):
            x = images[i][0][None]
            for layer in list(network.features)[:stop]:
                x = layer(x)
            kept.append(x[0].numpy())
    return np.stack(kept)


def test_shown_maps_are_the_ranks_and_loops_of_plain_forward_passes(made, material):
    digits, small, result = material
    names = [name for name, _ in small.features.named_children()]
    block = part(made, "block-0-0")["maps"]
    a = plain_maps(small.eval(), digits, names.index("conv1"))
    checked = 0
    for unit in range(0, BLOCK, 5):
        for slot, image in enumerate(block["shown"][unit]):
            if image < 0:
                continue
            own, at = a[image, unit], unit * block["shown"].shape[1] + slot
            level = levels(own)
            assert block["n_levels"][unit, slot] == level.max()
            if level.max() <= 255:
                np.testing.assert_array_equal(block["steps"][unit, slot], level)
            for f in FILTRATIONS:
                loop, rows = first_loop(own, f), block[f]["cells"]
                assert block[f]["births"][unit, slot, 0] == births(own, f)
                ends = np.r_[0, rows["ends"]]
                cells = rows["rows"][ends[at] : ends[at + 1]]
                np.testing.assert_array_equal(cells, loop.cells if loop else np.zeros((0, 2)))
                checked += loop is not None
    assert checked > 10


def test_the_strongest_and_the_weakest_image_are_those_of_the_means(made, material):
    result = material[2]
    for i, layer in enumerate(result.layers.layer):
        means = result.summaries[layer, "mean", "real"]
        shown = part(made, f"block-{i}-0")["maps"]["shown"]
        for unit, row in enumerate(shown):
            assert means[row[0], unit] == means[:, unit].max()
            assert means[row[1], unit] == means[:, unit].min() or row[0] == row[1]


def test_the_strongest_image_of_each_class_and_numbers_from_tables_are_there(made, material):
    result, layer = material[2], part(made, "layer-1")
    name = result.layers.layer.iloc[1]
    means = result.summaries[name, "mean", "real"]
    shown = part(made, "block-1-0")["maps"]["shown"][:, 4:]
    for unit, row in enumerate(shown):
        for label, image in zip(result.classes, row):
            own = means[result.labels == label, unit]
            assert (result.labels[image], means[image, unit]) == (label, own.max())
    rows = result.indicators().query("layer == @name and filtration == 'clique'")
    wide = rows.pivot(index="unit", columns="class", values="l1")[list(result.classes.values())]
    np.testing.assert_array_equal(layer["more"]["l1"], wide.to_numpy(np.float32))
    assert layer["more"]["share"].shape == (32,)  # the same for all classes
    assert [c["auc"] for c in layer["ablation"]] == np.linspace(1, 0.5, 9).reshape(3, 3).tolist()


def test_without_a_network_there_are_numbers_and_a_sentence_on_the_maps(material, tmp_path):
    made = atlas(material[2], tmp_path / "a", n_resamples=0)
    index = part(made, "index")
    assert not index["has_maps"] and any("No maps" in note for note in index["notes"])
    assert any("not asked for" in note for note in index["notes"])
    assert "maps" not in part(made, "block-0-0")


def test_classes_of_one_image_have_an_atlas_without_limits():
    few = fe.images("digits", per_class=1, classes=[0, 1])
    small = fe.network("small_vgg", in_channels=1)
    result = fe.assess(small, few, "features.conv2", null="shuffle")
    made = atlas(result, network=small, images=few)
    index = part(made, "index")
    assert any("single image" in note for note in index["notes"])
    assert "H_lo" not in index["profile"][0] and len(index["profile"]) == 2


def test_what_does_not_belong_together_is_refused_before_the_work(material, tmp_path):
    digits, small, result = material
    with pytest.raises(ValueError, match="other weights"):
        atlas(result, tmp_path / "a", fe.network("small_vgg", in_channels=1, seed=1), digits)
    with pytest.raises(ValueError, match="not those of the result"):
        atlas(result, tmp_path / "a", small, fe.images("digits", per_class=7, classes=[0, 1, 8]))
    with pytest.raises(ValueError, match="new name that ends in .html"):
        atlas(result, tmp_path / "a", single_file=True)
    with pytest.raises(ValueError, match="at least 1"):
        atlas(result, tmp_path / "a", each=0)
    assert not list(tmp_path.iterdir())


def test_a_failure_leaves_no_half_of_an_atlas(material, tmp_path, monkeypatch):
    from featent.explorers import atlases

    def fail(*_):
        raise OSError("no")

    monkeypatch.setattr(atlases, "block_part", fail)
    with pytest.raises(OSError):
        atlas(material[2], tmp_path / "a", n_resamples=0)
    assert not list(tmp_path.iterdir())


def test_no_part_is_read_from_outside_the_folder(made):
    for name in ("../index", "image-../../x", "nothing"):
        with pytest.raises(ValueError, match="has no"):
            made.part(name)


def test_texts_of_parts_are_json_in_ascii_and_end_no_element(made, material, tmp_path):
    for path in (made.path / "data").iterdir():
        text = path.read_bytes()
        assert text.isascii() and text.startswith(b"featentAtlas(")
    one = atlas(material[2], tmp_path / "one.html", n_resamples=0, single_file=True)
    page = one.path.read_text()
    assert HOSTILE not in page and not re.search(r"https?://(?!www\.w3\.org)", page)


def test_the_command_makes_an_atlas_of_a_saved_result(material, tmp_path, capsys):
    material[2].save(tmp_path / "scores")
    words = ["atlas", str(tmp_path / "scores"), "-o", str(tmp_path / "pages"), "--resamples", "0"]
    assert main(words) == 0
    told = capsys.readouterr()
    assert "MB" in told.err and "index.html" in told.out
    assert Atlas(tmp_path / "pages").title == "small_vgg on digits"
    assert main(words) == 2
    assert "not empty" in capsys.readouterr().err


def test_the_command_takes_tables_and_says_how_much_is_shown(material, tmp_path, capsys):
    result = material[2]
    result.save(tmp_path / "scores")
    pd.DataFrame({"unit": [0, 3], "size": [0.5, 2.0]}).to_csv(tmp_path / "sizes.csv", index=False)
    removed(result).to_csv(tmp_path / "curves.csv", index=False)
    words = [
        *f"atlas {tmp_path}/scores --resamples 0 --of-layer features.conv2 --indicators".split(),
        *f"--table {tmp_path}/sizes.csv --table {tmp_path}/curves.csv --each 1".split(),
        *f"--of-class 0 --side 8 -o {tmp_path}/pages".split(),
    ]
    assert main(words) == 0, capsys.readouterr().err
    made = Atlas(tmp_path / "pages")
    layer, index = part(made, "layer-1"), part(made, "index")
    assert {"size", "l1"} <= set(layer["more"]) and layer["more"]["size"][3] == 2
    assert len(layer["ablation"]) == 3 and index["of_class"] == 0 and index["each"] == 1
    capsys.readouterr()
    words[-1] = f"{tmp_path}/more"
    for wrong, told in ((["--of-layer", "conv9"], "conv9"), (["--table", "no.csv"], "no.csv")):
        assert main([*words, *wrong]) == 2
        assert told in capsys.readouterr().err
    assert main([*words, "--of-class", "-1"]) == 2
    assert "of_class=-1" in capsys.readouterr().err


def test_an_atlas_goes_on_where_it_was_ended(material, tmp_path, monkeypatch):
    "Whatever ends the work, the same call reads no image twice and writes the same pages."
    from featent.explorers import atlas_reading

    digits, small, result = material
    result = fe.assess(small, digits, list(result.layers.layer), null="shuffle", batch_size=4)
    real, seen = atlas_reading.read_finite, []

    def stopped(network, x, chosen, take, index, names):
        if len(seen) == 3:
            raise KeyboardInterrupt
        seen.append(index.tolist())
        return real(network, x, chosen, take, index, names)

    def counted(*args):
        seen.append(args[4].tolist())
        return real(*args)

    options = dict(each=1, n_resamples=20)
    whole = atlas(result, tmp_path / "whole", small, digits, **options)
    monkeypatch.setattr(atlas_reading, "atlas_cost", lambda *_: None)
    monkeypatch.setattr("featent.explorers.atlases.atlas_cost", lambda *_: Free())
    monkeypatch.setattr(atlas_reading, "read_finite", stopped)
    with pytest.raises(KeyboardInterrupt):
        atlas(result, tmp_path / "pages", small, digits, **options)
    assert not (tmp_path / "pages").exists() and len(list(tmp_path.glob(".pages.*.begun"))) == 1
    first = list(seen)
    monkeypatch.setattr(atlas_reading, "read_finite", counted)
    atlas(result, tmp_path / "other", small, digits, each=2, n_resamples=20)  # another plan
    seen.clear()
    made = atlas(result, tmp_path / "pages", small, digits, **options)
    assert seen and not [batch for batch in seen if batch in first]
    for path in sorted((whole.path / "data").iterdir()):
        assert path.read_text() == (made.path / "data" / path.name).read_text(), path.name
    for path in (whole.path / "images").iterdir():
        assert path.read_bytes() == (made.path / "images" / path.name).read_bytes()
    assert not list(tmp_path.glob(".*.begun"))
    pieces = {}
    seen.clear()
    monkeypatch.setattr(atlas_reading, "read_finite", stopped)
    with pytest.raises(KeyboardInterrupt):
        atlas(result, network=small, images=digits, pieces=pieces, **options)
    assert len(pieces) == 3
    seen.clear()
    monkeypatch.setattr(atlas_reading, "read_finite", counted)
    kept = atlas(result, network=small, images=digits, pieces=pieces, **options)
    assert len(seen) == 3 and kept.part("block-1-0") == whole.part("block-1-0")


class Free:
    "What costs nothing."

    megabytes = 0


def test_the_price_that_is_told_is_about_what_is_paid(tmp_path):
    "Bytes within a tenth; seconds are measured by hand, since another process may run beside."
    digits = fe.images("digits", per_class=10, classes=[0, 1, 8])
    small = fe.network("small_vgg", in_channels=1)
    told = []
    for filtration in FILTRATIONS:
        result = fe.assess(small, digits, filtration=filtration, null="shuffle")
        made = atlas(result, tmp_path / filtration, small, digits, told=told.append)
        assert 0.9 < told[-1].megabytes / (made.size / 1e6) < 1.2, (told[-1], made)
        assert told[-1].seconds > 0
    bare = atlas(result, tmp_path / "bare", told=told.append)
    assert 0.8 < told[-1].megabytes / (bare.size / 1e6) < 1.5, (told[-1], bare)


def test_arrays_take_the_smallest_type_that_holds_them():
    for value, kind in ((255, "u1"), (256, "u2"), (-1, "i2"), (65536, "i4")):
        assert atlas_parts.array_text(np.array([value]))["type"] == kind
    with pytest.raises(ValueError, match="32 bits"):
        atlas_parts.array_text(np.array([2**40]))


# in a browser


@pytest.fixture(scope="module")
def browser(lab):
    "A Chromium; its pages have no network."
    return lab.browser


class Seen:
    "A page of an atlas, offline, and what went wrong in it."

    def __init__(self, browser, path, **options):
        self.context = browser.new_context(offline=True, **options)
        self.p, self.faults = self.context.new_page(), []
        note = self.faults.append
        self.p.on("console", lambda m: note(m.text) if m.type in ("error", "warning") else None)
        self.p.on("pageerror", lambda e: note(str(e)))
        self.p.on("requestfailed", lambda r: note(f"failed {r.url[:80]}"))
        self.p.on("dialog", lambda d: note(f"dialog {d.message}"))
        self.p.goto(path)
        self.p.wait_for_selector("[data-drawn]")

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.context.close()
        if kind is None:
            assert not self.faults

    def said(self, text):
        self.p.locator(".fa-said").filter(has_text=text).wait_for()

    def address(self):
        return dict(w.split("=") for w in self.p.evaluate("location.hash")[1:].split("&"))


def test_a_folder_opens_from_the_disk_and_is_used_by_mouse(made, browser):
    with Seen(browser, f"file://{made.path}/index.html") as page:
        page.said("2 layers, all classes; 24 images")
        went = page.p.locator(".fa-went")
        assert "untrained network" in went.locator("summary").inner_text()
        went.locator("summary").click()
        lines = json.loads(made.part("index"))["preflight"]
        assert [row.split(":")[0] for row in went.locator("div").all_inner_texts()] == [
            topic for topic, _ in lines
        ]
        page.p.get_by_role("button", name="features.conv2").click()
        page.said("features.conv2")
        share = part(made, "layer-1")["unit"]["share"]
        assert page.address()["unit"] == str(np.nanargmax(share))  # the most telling one
        assert page.address()["view"] == "layer"
        page.p.locator("circle").nth(30).wait_for()  # figures are drawn a frame later
        box = page.p.locator(".fa-brush .overlay").bounding_box()
        page.p.mouse.move(box["x"] + 2, box["y"] + 2)
        page.p.mouse.down()
        page.p.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] - 2)
        page.p.mouse.up()
        page.p.locator(".fa-count").filter(has_not_text=re.compile(r"^32 of")).wait_for()
        assert page.p.locator("figure", has_text="Ablation").count() == 1
        assert page.p.get_by_role("button", name="l1", exact=True).count() == 1
        rows = page.p.locator("tr[data-unit]")
        unit = rows.nth(0).get_attribute("data-unit")
        rows.nth(0).click()
        page.said(f"unit {unit},")
        assert page.address() | {"view": "unit", "unit": unit} == page.address()
        assert page.p.locator(".fa-strip button").count() == 4 + 3  # and of each class
        page.p.get_by_label("class", exact=True).select_option(label=HOSTILE)
        page.said(HOSTILE)
        page.p.get_by_role("button", name="Compare").click()
        page.said("features.conv2")
        page.p.wait_for_function("document.querySelectorAll('main figure').length == 4")
        page.p.go_back()
        page.p.go_back()
        page.said("all classes")
        assert page.address()["view"] == "unit"


def test_columns_of_the_network_view_stay_in_their_figures(made, browser):
    "With few layers they are wide, and a click must not reach the figure beside."
    with Seen(browser, f"file://{made.path}/index.html#view=network") as page:
        page.p.wait_for_selector(".fa-column")
        columns = page.p.evaluate(
            """[...document.querySelectorAll('.fa-column')].map(column => {
                const own = column.getBoundingClientRect();
                const all = column.ownerSVGElement.getBoundingClientRect();
                return [own.left - all.left, all.right - own.right, own.width];
            })"""
        )
        assert columns and all(min(left, right) > -1 and wide > 0 for left, right, wide in columns)


def test_every_view_is_used_by_keyboard_and_keys_stay_inside(made, browser):
    path = f"file://{made.path}/index.html#view=layer&layer=features.conv1&unit=0"
    with Seen(browser, path, color_scheme="dark", viewport={"width": 390, "height": 800}) as page:
        page.p.evaluate("window.outside = 0; addEventListener('keydown', () => window.outside++)")
        wide = page.p.evaluate("document.documentElement.scrollWidth")
        assert wide <= 390
        page.p.locator(".fa-body").focus()
        press = page.p.keyboard.press
        press("ArrowRight")
        page.said("unit 1: ")
        press("Enter")
        page.p.wait_for_selector(".fa-strip")
        page.said("features.conv1, unit 1,")
        press("ArrowRight")
        page.said("features.conv1, unit 2,")
        press("]")
        page.said(f"class {HOSTILE}")
        words = page.p.locator("output").inner_text()
        press(".")
        assert page.p.locator("output").inner_text() != words
        press("3")
        page.p.locator("#fa-slot-2[aria-pressed=true]").wait_for()
        press("c")
        page.p.locator("#fa-rival").wait_for()
        press("n")
        page.said("2 layers")
        press("Backspace")
        page.p.locator("#fa-rival").wait_for()
        assert page.p.evaluate("window.outside") == 0
        assert page.p.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_single_file_opens_and_what_is_seen_can_be_taken_away(made, tmp_path, browser):
    out = tmp_path / "one.html"
    out.write_text(made.page(), encoding="utf-8")
    with Seen(browser, f"file://{out}#view=unit&layer=features.conv1&unit=7") as page:
        page.said("unit 7,")
        page.p.locator(".fa-strip button").first.wait_for()
        figure = page.p.locator("figure").filter(has_text="Births")
        for word, start in (("CSV", b"image,class,"), ("SVG", b"<svg"), ("PNG", b"\x89PNG")):
            with page.p.expect_download() as download:
                figure.get_by_role("button", name=word).click()
            with open(download.value.path(), "rb") as f:
                assert f.read(len(start)) == start
        page.p.evaluate("location.hash = '#view=unit&layer=nothing&unit=70000'")
        page.said("The address says what this atlas has not")


CELLS = (
    "from featent.explorers.atlases import Atlas\npages = Atlas('pages')",
    "pages.widget().look = '#view=network&layer=features.conv2&unit=0'\npages",
    "pages.widget().look",
)


def test_in_jupyterlab_an_atlas_is_a_widget_and_its_export_needs_no_kernel(made, lab):
    shutil.copytree(made.path, lab.files / "pages")
    with lab.page(theme="dark") as page:
        page.open(lab.write("atlas.ipynb", *CELLS))
        page.run_all()
        seen, before = page.p.locator(".jp-OutputArea .featent-atlas"), page.source()
        said = seen.locator(".fa-said")
        said.filter(has_text="2 layers").wait_for()
        assert seen.evaluate("e => getComputedStyle(e).backgroundColor") == "rgb(22, 22, 22)"
        page.theme("light")
        assert seen.evaluate("e => getComputedStyle(e).backgroundColor") == "rgb(255, 255, 255)"
        seen.get_by_role("button", name="Layer", exact=True).click()
        said.filter(has_text="features.conv2, all classes").wait_for()
        seen.locator(".fa-body").focus()
        for key in ("ArrowRight", "x", "d", "d", "m", "a", "b", "Enter"):
            page.p.keyboard.press(key)
        said.filter(has_text="features.conv2, unit 1,").wait_for()
        assert page.source() == before
        page.p.locator(".jp-CodeCell").last.locator(".jp-InputPrompt").click()
        page.command("notebook:run-cell")
        page.wait_text("#view=unit&layer=features.conv2&unit=1")
        page.command("docmanager:save")
        page.check()
        check_export(lab, lab.files / "atlas.ipynb")


def check_export(lab, path):
    "The HTML of a notebook shows the atlas, offline and without a kernel."
    from nbconvert import HTMLExporter

    text, _ = HTMLExporter().from_filename(str(path))
    context = lab.browser.new_context(offline=True)
    page = context.new_page()
    path.with_suffix(".html").write_text(text, encoding="utf-8")
    page.goto(f"file://{path.with_suffix('.html')}", wait_until="commit")
    frame = page.frame_locator("iframe[title=atlas]")
    frame.get_by_role("button", name="Unit", exact=True).click()
    frame.locator(".fa-strip canvas").first.wait_for()
    context.close()
