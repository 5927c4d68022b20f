"The extension of JupyterLab, from a plain install, in a real JupyterLab in a real Chromium."

import json
import os
import re
import shutil
import subprocess
import sys
from configparser import ConfigParser
from importlib.util import find_spec
from pathlib import Path

import nbformat
import pytest
from nbconvert import HTMLExporter

from featent.explorers.registry import EXPLORERS, launcher_source

root = Path(__file__).resolve().parents[1]
CARD = ".jp-LauncherCard"
QUICK = """from functools import lru_cache, partial
from featent.explorers import sources
small = partial(sources.example_source.__wrapped__, per_class=2, epochs=1)
sources.example_source = lru_cache(small)"""
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    "Folder share/jupyter of a plain, not editable install of a copy of the sources"
    copy, prefix = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("prefix")
    for name in (
        "setup.py",
        "settings.ini",
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "MANIFEST.in",
    ):
        shutil.copy(root / name, copy)
    unwanted = shutil.ignore_patterns("__pycache__", "notebooks", "featent-*", ".ipynb_checkpoints")
    for name in ("featent", "nbs/experiments"):
        shutil.copytree(root / name, copy / name, ignore=unwanted)
    isolation = ["--no-build-isolation"] if find_spec("setuptools") else []
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "-q",
            "--no-deps",
            "--ignore-installed",
            *isolation,
            "--prefix",
            str(prefix),
            ".",
        ],
        cwd=copy,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return next(prefix.rglob("share/jupyter"))


@pytest.fixture(scope="module")
def lab(installed, tmp_path_factory):
    "JupyterLab with the installed extension"
    import lab

    if text := lab.missing():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(text)
    folder = tmp_path_factory.mktemp("lab")
    startup = folder / "ipython/profile_default/startup"
    startup.mkdir(parents=True)
    (startup / "quick.py").write_text(QUICK)
    with lab.serve(folder, JUPYTER_PATH=str(installed)) as server, lab.browse(server):
        yield server


def card(page, label):
    return page.p.locator(f"{CARD}:not([data-category='Notebook'])").filter(
        has=page.p.get_by_text(label, exact=True)
    )


def insisted(act):
    "Do it again until it succeeds: menus and palettes close when another part takes the focus"
    from playwright.sync_api import TimeoutError

    for _ in range(20):
        try:
            return act()
        except TimeoutError as e:
            last = e
    raise last


def listed(page, label):
    "What the command palette offers for these words, the first of them chosen"
    page.command("apputils:activate-command-palette")
    page.p.locator(".lm-CommandPalette-input:visible").fill(label, timeout=3000)
    items = page.p.locator(".lm-CommandPalette-item:visible").filter(has_text=label)
    items.and_(page.p.locator(".lm-mod-active")).wait_for(timeout=3000)
    return items.count()


def run_command(page, label):
    "Run the first command that the palette offers, by the keyboard: the list is drawn ever anew"

    def run():
        listed(page, label)
        page.p.locator(".lm-CommandPalette-input:visible").press("Enter", timeout=3000)

    insisted(run)


def started(page, name):
    "Wait until a notebook of this name is in front, and its first cell of code runs or has run"
    page.p.wait_for_function(
        """name => {
        const panel = window.jupyterapp.shell.currentWidget
        if (panel?.title.label !== name) return false
        const cell = panel.content.widgets?.find(c => c.model.type === 'code')
        if (!cell) return false
        const running = cell.model.sharedModel.executionState === 'running'
        return cell.model.executionCount !== null || running }""",
        arg=name,
        timeout=120_000,
    )


def test_the_list_of_extensions_has_it(installed):
    done = subprocess.run(
        [sys.executable, "-m", "jupyterlab.labextensions", "list"],
        env={**os.environ, "JUPYTER_PATH": str(installed)},
        capture_output=True,
        text=True,
    )
    said = re.sub(r"\x1b\[\d*m", "", done.stdout + done.stderr)
    config = ConfigParser(delimiters=["="])
    config.read(root / "settings.ini")
    assert re.search(
        rf"featent v{config['DEFAULT']['version']} enabled +OK \(python, featent\)", said
    ), said


def test_the_installed_files(installed):
    folder = installed / "labextensions/featent"
    kept = {
        p.relative_to(root / "featent/labextension")
        for p in (root / "featent/labextension").rglob("*")
        if p.is_file() and p.parent.name != "notebooks"
    }
    assert kept and all(
        (folder / p).read_bytes() == (root / "featent/labextension" / p).read_bytes() for p in kept
    )
    experiments = next(installed.parents[1].rglob("featent/experiments"))
    names = [p.stem for p in sorted(experiments.glob("*.ipynb"))]
    index = json.loads((folder / "notebooks/index.json").read_text())
    assert [e["name"] for e in index] == names and all(
        e["title"] and e["description"] for e in index
    )
    for name in names:
        here, there = (
            json.loads(p.read_text(encoding="utf-8"))["cells"]
            for p in (experiments / f"{name}.ipynb", folder / f"notebooks/{name}.ipynb")
        )
        assert [c["source"] for c in here] == [c["source"] for c in there]
        assert not any(c.get("outputs") or c.get("execution_count") for c in there)


def test_the_list_of_explorers_is_that_of_the_registry():
    "Cards, commands and icons in TypeScript are made from the one table of explorers."
    source = root / "lab/src"
    assert (source / "explorers.ts").read_text(encoding="utf-8") == launcher_source()
    icons = re.findall(r"^  (\w+): icon\(", (source / "icons.ts").read_text(encoding="utf-8"), re.M)
    assert set(EXPLORERS) <= set(icons)
    bundle = next((root / "featent/labextension/static").glob("0.*.js")).read_text(encoding="utf-8")
    assert all(entry.caption in bundle for entry in EXPLORERS.values())


def test_a_card_opens_an_explorer_and_runs_it(lab, installed):
    with lab.page() as page:
        page.open()
        card(page, "Depth").wait_for()
        names = page.p.locator(f"{CARD}[data-category=featent]").all_inner_texts()
        assert [n.strip() for n in names] == [entry.card for entry in EXPLORERS.values()]
        index = json.loads((installed / "labextensions/featent/notebooks/index.json").read_text())
        assert len(index) > 5 and page.p.locator(
            f"{CARD}[data-category='featent experiments']"
        ).count() == len(index)
        card(page, "Atlas").click()
        started(page, "explore-atlas.ipynb")
        assert page.source() == ['import featent as fe\nfe.explore(explorer="atlas")']
        page.wait_done(300)
        page.p.locator(".featent-explorer .featent-atlas .fa-said").first.wait_for()
        assert "Traceback" not in page.output() and "Error" not in page.output()
        page.check()


@pytest.fixture(scope="module")
def result(lab):
    "A saved result in the folder of the server"
    import featent as fe

    images = fe.images("digits", per_class=3, seed=0)
    fe.assess(
        fe.network("small_vgg", in_channels=1, seed=0),
        images,
        layers="features.conv1,features.conv2".split(","),
        seed=0,
    ).save(lab.files / "deep/scores")
    (lab.files / "empty").mkdir()
    (lab.files / "deep/net.pth").write_bytes(b"no weights")
    return "deep/scores"


def menu_item(page, folder, name):
    "Open the context menu of a file or folder; the item of featent"
    page.command("filebrowser:open-path", path=folder, dontShowBrowser=False) if folder else None
    item = page.p.locator(".jp-DirListing-item").filter(has_text=name).first
    item.click(button="right", timeout=3000)
    page.p.locator(".lm-Menu-item:visible").first.wait_for(timeout=3000)
    return page.p.locator(".lm-Menu-item:visible").filter(has_text="Explore with featent")


def choose_in_browser(page, folder, name):
    "Click on the item of featent in the context menu of a file or folder"
    insisted(lambda: menu_item(page, folder, name).click(timeout=3000))


def test_a_command_of_the_palette(lab):
    with lab.page() as page:
        page.open()
        run_command(page, "featent: Explore training")
        started(page, "explore-training.ipynb")
        assert page.source() == ['import featent as fe\nfe.explore(explorer="training")']
        page.wait_done(300)
        run_command(page, "featent: Explore training")
        started(page, "explore-training-1.ipynb")
        page.wait_done(300)
        own = [s for s in lab.api("sessions") if "explore-training" in s["path"]]
        assert len(own) == 2 and len({s["kernel"]["id"] for s in own}) == 1  # trained once
        assert insisted(lambda: listed(page, "Experiment depth")) == 1
        page.check()


def test_a_card_opens_an_experiment_with_its_parameters(lab, installed):
    with lab.page() as page:
        page.open()
        card(page, "Depth").click()
        page.p.locator(".jp-NotebookPanel").wait_for()
        page.wait_idle()
        kept = json.loads(
            (installed / "labextensions/featent/notebooks/depth.ipynb").read_text(encoding="utf-8")
        )["cells"]
        assert (
            page.source() == ["".join(c["source"]) for c in kept] and page.title() == "depth.ipynb"
        )
        tags = page.p.evaluate(
            """() => window.jupyterapp.shell.currentWidget.content.widgets
            .map(c => c.model.getMetadata('tags')?.[0])"""
        )
        stored = [(c["metadata"].get("tags") or [None])[0] for c in kept]
        assert tags == stored and {"parameters", "validate"} <= set(tags)
        assert not page.p.locator(".jp-OutputArea-output").count()
        page.check()


def test_the_menu_of_a_result_and_its_static_page(lab, result):
    with lab.page() as page:
        page.open()
        choose_in_browser(page, "deep", "scores")
        started(page, "explore-scores.ipynb")
        assert (
            page.source() == ['import featent as fe\nfe.explore("scores")']
            and (lab.files / "deep/explore-scores.ipynb").exists()
        )
        page.wait_done(300)
        page.p.locator(".featent-explorer .featent-atlas .fa-said").first.wait_for()
        assert "Error" not in page.output()
        page.command("docmanager:save")
        page.check()
    book = nbformat.read(lab.files / "deep/explore-scores.ipynb", 4)
    text, _ = HTMLExporter(require_js_url="", mathjax_url="", jquery_url="").from_notebook_node(
        book
    )
    (lab.files / "scores.html").write_text(text, encoding="utf-8")
    still = lab.browser.new_context(
        offline=True, viewport={"width": 1280, "height": 900}
    ).new_page()
    asked = []
    still.on("request", lambda r: asked.append(r.url))
    still.goto((lab.files / "scores.html").as_uri())
    frame = still.frame_locator("iframe[title=atlas]")
    frame.get_by_role("button", name="Unit", exact=True).click()
    frame.locator(".fa-said").filter(has_text="unit").wait_for()
    assert [url for url in asked if not url.startswith(("file:", "data:", "about:"))] == []
    still.context.close()


def form(page, **values):
    "Fill fields of the form"
    for label, value in values.items():
        page.p.get_by_label(label.replace("_", " "), exact=True).fill(value)
        page.p.keyboard.press("Tab")


def test_the_menu_of_a_checkpoint_and_of_other_files(lab, result):
    with lab.page() as page:
        page.open()
        choose_in_browser(page, "deep", "net.pth")
        started(page, "explore-net.ipynb")
        assert page.source() == ['import featent as fe\nfe.explore("net.pth")']
        page.wait_text("A network and its images", 120)
        assert page.p.get_by_label("weights", exact=True).input_value() == "net.pth"
        page.p.get_by_role("button", name="Assess").click()
        page.p.locator(".featent-error").wait_for()
        assert (
            "net.pth is damaged or is no PyTorch file"
            in page.p.locator(".featent-error").inner_text()
        )
        lab.write("deep/other.ipynb", "1")
        page.command("filebrowser:refresh")
        assert insisted(lambda: menu_item(page, "", "other.ipynb").count()) == 0
        page.check()


def test_one_s_own_network_without_code(lab, imagenette_dir, weights):
    "From the launcher to the loop of a unit of SqueezeNet on photographs, without a cell"
    name = "squeezenet1_1_imagenet.pth"
    (lab.files / name).symlink_to(weights / name)
    (lab.files / "photos").symlink_to(imagenette_dir)
    with lab.page() as page:
        page.open()
        card(page, "Your network").click()
        started(page, "explore-open.ipynb")
        assert page.source() == ['import featent as fe\nfe.explore(explorer="open")']
        page.wait_text("A network and its images", 120)
        page.alone()
        offered = page.p.evaluate(
            "() => [...document.querySelectorAll('datalist option')].map(o => o.value)"
        )
        assert {"squeezenet1_1", name, "photos/val"} <= set(offered)
        form(page, weights=name)
        page.p.wait_for_function(
            """() => [...document.querySelectorAll('input')]
            .some(i => i.value === 'squeezenet1_1')"""
        )
        form(
            page,
            images="photos/val",
            classes="n01440764, n02102040",
            per_class="2",
            layers="features.3.squeeze",
        )
        page.p.get_by_role("button", name="Assess").click()
        said = page.p.locator(".featent-explorer .fa-said")
        said.filter(has_text="1 layers, all classes").wait_for(timeout=120_000)
        # weights of a file of another name: what they expect is not known
        warned = page.p.locator(".featent-error").first.inner_text()
        assert (
            "gets the images as plain values in [0, 1]" in warned
            and "Fill in mean and std" in warned
            and "transform=" not in warned
        ), warned
        page.p.get_by_role("button", name="Open…", exact=True).click()
        form(page, mean="imagenet", std="imagenet", size="224")
        page.p.get_by_role("button", name="Assess").click()
        page.p.locator(".featent-explorer details summary").filter(
            has_text=re.compile("accuracy: [1-4] of 4 images right")
        ).first.wait_for(timeout=120_000)
        said.filter(has_text="1 layers, all classes").wait_for(timeout=120_000)
        about = page.p.locator(".featent-explorer details summary").first.inner_text()
        assert "weights: squeezenet1_1" in about and "labels by synset id" in about, about
        page.p.get_by_role("button", name="Unit", exact=True).click()
        page.p.get_by_label("class", exact=True).select_option(label="tench (n01440764)")
        said.filter(has_text=re.compile(r"unit \d+, class tench \(n01440764\)")).wait_for()
        words = page.p.locator(".featent-explorer output")
        before = words.inner_text()
        page.p.locator(".fa-body").focus()
        page.p.keyboard.press(".")
        page.p.wait_for_function(
            "before => document.querySelector('.featent-explorer output').innerText !== before",
            arg=before,
        )
        page.p.get_by_role("button", name="Ablation", exact=True).click()
        page.wait_text("9 orders of the 16 units of features.3.squeeze")
        assert page.p.evaluate(
            """() => [...document.querySelectorAll('.featent-explorer')]
            .every(e => e.scrollWidth <= e.clientWidth + 1)"""
        )
        page.check()


def test_what_goes_wrong_is_told(lab, result):
    with lab.page() as page:
        page.open()
        choose_in_browser(page, "", "empty")
        assert (
            "empty holds neither a result of featent nor images by class"
            in page.p.locator(".jp-Dialog").inner_text()
        )
        page.p.locator(".jp-Dialog button").first.click()
        for name in ("cat", "dog"):
            (lab.files / "pets" / name).mkdir(parents=True)
            (lab.files / "pets" / name / "1.PNG").touch()
        page.command("filebrowser:refresh")
        choose_in_browser(page, "", "pets")  # pictures by class
        started(page, "explore-pets.ipynb")
        assert page.source() == ['import featent as fe\nfe.explore("pets")']
        choose_in_browser(
            page, "", "deep"
        )  # a folder that holds results, such as that of an experiment
        started(page, "explore-deep.ipynb")
        assert page.source() == ['import featent as fe\nfe.explore("deep")']
        page.check()


def test_a_form_works_beside_the_cells_and_writes_its_lines(lab):
    with lab.page(width=1280, theme="light") as page:
        page.open(
            lab.write(
                "form.ipynb",
                "import featent as fe\napp = fe.explore(explorer='open')\napp",
                "2 + 3",
            )
        )
        page.alone()
        page.run_all()
        fill = lambda label, words: page.p.get_by_label(label, exact=True).fill(words)
        fill("classes", "0, 1, 8")
        fill("per class", "100")
        fill("layers", "features.conv[23]")
        page.p.keyboard.press("Tab")
        page.p.get_by_role("button", name="Assess").click()
        cancel = page.p.get_by_role("button", name="Cancel").first
        page.wait_text("assess: ", 60)
        page.p.locator(".jp-CodeCell").last.locator(".jp-InputPrompt").click()
        page.command("notebook:run-cell")  # while the form works
        page.p.locator(".jp-OutputArea-output", has_text="5").first.wait_for(timeout=20_000)
        cancel.click()
        page.wait_text("what is done is kept", 60)
        page.p.get_by_role("button", name="Assess").click()
        said = page.p.locator(".featent-explorer .fa-said")
        said.filter(has_text="2 layers").wait_for(timeout=120_000)
        lines = page.source()[1]
        assert lines.startswith(
            "import featent as fe\n\nimages = fe.images('digits', per_class=100"
        )
        at = page.p.locator(".jp-CodeCell").nth(1)
        page.p.evaluate(
            """() => {
            const notebook = window.jupyterapp.shell.currentWidget.content
            const words = 'len(result.labels), network.training, len(images)'
            notebook.widgets[1].model.sharedModel.setSource(words) }"""
        )
        at.locator(".jp-InputPrompt").click()
        page.command("notebook:run-cell")
        page.wait_text("(300, False, 300)")
        page.check()
