"The frame, and the atlas as an explorer: by hand of Python, and in a real JupyterLab."

import re
import subprocess
import sys
import time

import nbformat
import pytest

import featent as fe
from featent.explorers.app import Panel, explore
from featent.explorers.atlas_widget import AtlasWidget
from featent.explorers.atlases import atlas
from featent.explorers.frame import Still, View, shell, slider
from featent.explorers.registry import EXPLORERS
from featent.explorers.waiting import Cancelled, Work
from featent.tools.progress import progress


@pytest.fixture(scope="module")
def material():
    "Digits, a small untrained network, and what was found in two layers."
    digits = fe.images("digits", per_class=6, classes=[0, 1, 8])
    small = fe.network("small_vgg", in_channels=1)
    how = {"filtration": ("cubical", "clique"), "null": ("shuffle", "random"), "twins": 1}
    return digits, small, fe.assess(small, digits, ["features.conv2", "features.conv6"], **how)


@pytest.fixture(scope="module")
def kept(material, tmp_path_factory):
    "The folder of a result with its atlas."
    digits, small, result = material
    folder = result.save(tmp_path_factory.mktemp("explorer") / "kept")
    atlas(result, folder / "atlas", small, digits, each=1, n_resamples=20)
    return folder


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


def test_every_way_to_a_result_leads_to_its_atlas(material, kept):
    digits, small, result = material
    assert list(EXPLORERS)[0] == "atlas" and not {"unit", "layers"} & set(EXPLORERS)
    for app in (explore(kept), explore(str(kept / "atlas")), explore(atlas(result))):
        assert app.buttons.value == "atlas" and app.failure is None
        assert isinstance(app.current, AtlasWidget)
    assert explore(kept).current.show(layer="features.conv6", unit=7).state["unit"] == "7"
    one = explore(kept / "atlas").source.kept["atlas"].save(kept.parent / "one.html", True)
    assert explore(one.path).buttons.value == "atlas"
    with pytest.raises(ValueError, match="choose from atlas, rescaling"):
        explore(result, "unit")


def test_what_takes_long_is_offered_with_its_price_and_can_be_ended(material, monkeypatch):
    from featent.explorers import costs

    monkeypatch.setattr(costs, "_UNASKED", 0)
    digits, small, result = material
    app = explore(result, network=small, images=digits)
    panel = app.made["atlas"]
    assert isinstance(panel, Panel) and app.current is None
    assert re.search(r"160 units, [\d,]+ maps of them, about \d", panel.children[0].value)
    said, tell = [], panel._tell

    def watched(done, total, words=""):
        said.append(words)
        if words == "pages":
            panel.stop.click()
        tell(done, total, words)

    panel._tell = watched
    panel.compute()
    assert {"maps", "intervals", "excess", "pages"} <= set(said)
    assert "cancelled after" in panel.said.value and app.current is None
    assert not panel.button.disabled and panel.stop.disabled
    panel._tell = tell
    app.look_at(layer="features.conv6", unit=3)
    app.compute()
    assert app.current.state == {"view": "unit", "layer": "features.conv6", "unit": "3"}


def test_work_beside_the_cells_ends_at_the_next_word(monkeypatch):
    from featent.explorers import waiting

    monkeypatch.setattr(waiting, "has_kernel", lambda: True)
    ended = []

    def slow(tell):
        for _ in progress(range(1000), desc="slow"):
            time.sleep(0.01)

    work = Work(slow, lambda *_: None, ended.append).start()
    assert not ended  # the caller goes on
    work.cancel()
    work.wait()
    assert isinstance(ended[0], Cancelled)
    Work(lambda tell: 1 / 0, lambda *_: None, ended.append).start().wait()
    assert isinstance(ended[1], ZeroDivisionError)


def test_the_still_picture_follows_the_widget(monkeypatch):
    from featent.explorers import frame

    monkeypatch.setattr(frame, "has_kernel", lambda: True)
    monkeypatch.setattr(frame, "_REST", 0.01)
    shown = []

    class Handle:
        def update(self, data, **_):
            shown.append(data)

    monkeypatch.setattr(frame, "display", lambda data, **_: shown.append(data) or Handle())
    now = [1]
    still = Still(lambda: ({"text/plain": str(now[0])}, {}))
    for value in (2, 3):
        now[0] = value
        still.follow()
    for _ in range(200):
        if len(shown) > 1:
            break
        time.sleep(0.01)
    assert shown == [{"text/plain": "1"}, {"text/plain": "3"}]


def test_the_bundle_has_a_still_picture_beside_the_widget(kept):
    data = explore(kept)._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data
    assert data["image/png"].startswith("iVBOR")
    assert data["text/plain"].startswith("Explorers(atlas")
    still, metadata = explore(kept).still_bundle()
    assert "<iframe" in still["text/html"] and metadata["image/png"]["alt"]


def test_an_executed_notebook_shows_the_atlas_without_kernel_and_network(tmp_path, kept, lab):
    code = f"import featent as fe\nfe.explore({str(kept)!r})"
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    nbformat.write(book, tmp_path / "a.ipynb")
    convert = [sys.executable, "-m", "nbconvert", "--to", "html", "--execute", "a.ipynb"]
    options = ["--ExecutePreprocessor.store_widget_state=False"]
    subprocess.run([*convert, *options], cwd=tmp_path, check=True, capture_output=True, timeout=240)
    alive(lab, tmp_path / "a.html")


def alive(lab, path):
    "The atlas in a page of HTML answers, offline and without a kernel."
    context = lab.browser.new_context(offline=True)
    page = context.new_page()
    page.goto(f"file://{path}", wait_until="commit")
    frame = page.frame_locator("iframe[title=atlas]")
    frame.get_by_role("button", name="Unit", exact=True).click()
    frame.locator(".fa-strip canvas").first.wait_for()
    frame.locator("#fa-slot-1").click()
    frame.locator("#fa-slot-1[aria-pressed=true]").wait_for()
    context.close()


def test_in_jupyterlab_a_unit_is_chosen_and_the_page_lives_when_the_kernel_is_gone(lab, kept):
    import shutil

    shutil.copytree(kept, lab.files / "kept")
    with lab.page(width=1280) as page:
        page.open(lab.write("atlas-explorer.ipynb", "import featent as fe", "fe.explore('kept')"))
        page.alone()
        page.run_all()
        seen = page.p.locator(".featent-explorer .featent-atlas")
        said, before = seen.locator(".fa-said"), page.source()
        said.filter(has_text="2 layers").wait_for()
        assert page.p.locator("iframe[title=atlas]:visible").count() == 0
        seen.locator(".fa-body").focus()
        for key in ("u", "ArrowRight", "x", "d", "d", "m"):
            page.p.keyboard.press(key)
        said.filter(has_text="unit").wait_for()
        assert page.source() == before
        page.command("docmanager:save")
        page.check()
    with lab.page(width=1280) as page:  # another day: the kernel has ended
        page.open("atlas-explorer.ipynb")
        frame = page.p.frame_locator("iframe[title=atlas]")
        frame.get_by_role("button", name="Unit", exact=True).click()
        frame.locator(".fa-strip canvas").first.wait_for()
        assert page.p.get_by_text("Error displaying widget").locator("visible=true").count() == 0
