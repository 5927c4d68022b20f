"The explorers of studies, and the door to all: as objects, and in a real JupyterLab."

import html
import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

from featent.assessment.assessing import assess
from featent.assessment.loading import load
from featent.assessment.result import Result
from featent.data import networks
from featent.data.preprocessing import preprocess
from featent.data.sampling import images
from featent.explorers import costs, form as form_chapter, sources
from featent.explorers.ablation_path import ablation_numbers, ablation_study
from featent.explorers.about import field_words
from featent.explorers.app import explore
from featent.explorers.comparison_view import comparison_study
from featent.explorers.costs import ablation_cost
from featent.explorers.registry import lacking
from featent.explorers.requests import (
    EMPTY_FORM,
    lines_of_names,
    requested_images,
    requested_outputs,
)
from featent.explorers.rescaling_grid import rescaling_numbers, rescaling_study
from featent.explorers.sources import Source, first_of_each
from featent.explorers.study import Study
from featent.explorers.surroundings import near_folders
from featent.explorers.training_view import training_study


@pytest.fixture(scope="module")
def few():
    return images("digits", per_class=4, classes=["0", "1", "2"], size=16)


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
def result(net, few):
    return assess(net, few)


@pytest.fixture(scope="module")
def table():
    return pd.DataFrame(
        [
            {
                "epoch": e,
                "layer": f"conv{i}",
                "H": 2 - 0.3 * i * (1 - 0.5**e),
                "eps": 0.9 - 0.1 * i,
                "train_loss": 2.3 * 0.6**e,
            }
            for e in range(6)
            for i in range(1, 5)
        ]
    )


@pytest.fixture(scope="module")
def studies(net, few, result, table):
    test = images("digits", per_class=4, classes=["0", "1", "2"], size=16, split="test")
    return {
        "rescaling": rescaling_study(net, few, factors=(1 / 4, 4), groups=("all", "2")),
        "ablation": ablation_study(
            net, {"train": few, "test": test}, by=("H/eps", "l1"), random=1, n_resamples=10
        ),
        "training": training_study(table),
        "compare": comparison_study({"one": result, "<b>two</b>": assess(small(5), few)}, 10),
    }


@pytest.fixture(scope="module")
def saved(studies, result, tmp_path_factory):
    folder = tmp_path_factory.mktemp("studies")
    for name, study in studies.items():
        study.save(folder / name)
    return folder


SLIDERS = {"rescaling": "factor", "ablation": "step", "training": "epoch", "compare": "depth"}


@pytest.mark.parametrize("name", SLIDERS)
def test_moving_a_slider_changes_picture_and_words(studies, name):
    e = explore(studies[name]).current
    slider = e.controls[SLIDERS[name]]
    seen = set()
    for i in range(len(slider.options)):
        slider.index = i
        assert e.failure is None and e.error.value == "" and e.picture.value == e.png
        assert e.png[:4] == b"\x89PNG"
        seen.add((e.png, e.text.value))
    assert len(seen) == len(slider.options) == len({t for _, t in seen})
    for control in e.controls.values():  # every choice of every control can be made
        for option in getattr(control, "options", ()):
            control.value = option[1] if isinstance(option, tuple) else option
            assert e.failure is None, (name, option, e.failure)


def test_words_are_the_numbers_of_the_tables(studies):
    e = explore(studies["ablation"]).current.show(order="l1", name="1", value="loss", step=5)
    row = ablation_numbers(studies["ablation"], "l1", "1", "loss", 5).set_index("split").loc["test"]
    assert (
        f"test: cross-entropy {row.loss:.3f}" in e.text.value
        and f"turning point at {int(row['turning point'])} removed units" in e.text.value
    )
    t = studies["ablation"].tables["removals"]
    last = t[(t.order == "l1") & (t["class"] == "1") & (t.place == 4)].iloc[0]
    assert f"Removed last: unit {last.unit}, role: {last.role}" in e.text.value
    e = explore(studies["rescaling"]).current.show(factor=4.0, per="channel")
    n = rescaling_numbers(studies["rescaling"], 4.0, "channel").set_index("indicator")
    assert (
        f"l1 ({n.moved['l1']} of {n['values']['l1']})" in e.text.value
        and "100.0% of 12 images keep" in e.text.value
    )
    e = explore(studies["training"]).current.show(epoch=2.0)
    assert "Train loss 0.828" in e.text.value and "<b>Epoch 2.</b>" in e.text.value
    told = Study("training", studies["training"].tables, {"time": "epoch", "images": 80})
    assert "Assessed on 80 images." in explore(told).current.text.value


def test_names_are_text_not_html(studies):
    e = explore(studies["compare"]).current
    assert "<b>two" not in e.text.value + e.tables.value and "&lt;b&gt;two" in e.text.value


def test_an_error_is_shown_and_goes_away(studies):
    study = Study(
        "training",
        {k: t.copy() for k, t in studies["training"].tables.items()},
        studies["training"].about,
    )
    e = explore(study).current
    before = e.png
    study.tables["losses"] = study.tables["losses"].iloc[:0]
    e.controls["epoch"].value = 1.0
    assert (
        e.failure is not None
        and "featent-error" in e.error.value
        and type(e.failure).__name__ in e.error.value
        and e.png == before
    )


def test_choices_follow_each_other(studies):
    e = explore(studies["rescaling"]).current.show(per="uncompensated")
    e.controls["group"].value = "2"
    assert (
        e.controls["per"].options == ("layer", "channel")
        and e.controls["per"].value == "layer"
        and e.failure is None
    )


# opening


def test_open_from_everything(studies, saved, result, table, tmp_path):
    for name in studies:
        app = explore(saved / name)
        assert app.buttons.value == name and app.current is not None and app.failure is None
    everything = explore(saved)
    for name in studies:
        assert everything.choose(name).current is not None, name
    result.save(tmp_path / "runs/a")
    result.save(tmp_path / "runs/b")
    assert explore(tmp_path / "runs").choose("compare").current is not None
    assert explore({"x": result, "y": tmp_path / "runs/a"}).buttons.value == "compare"
    assert explore([tmp_path / "runs/a", str(tmp_path / "runs/b")]).current.view.tables[
        "side by side"
    ].network.tolist() == ["a", "b"]
    assert explore(table).buttons.value == "training"
    table.to_csv(tmp_path / "monitor.csv", index=False)
    assert explore(tmp_path / "monitor.csv").buttons.value == "training"
    assert explore(tmp_path).buttons.value == "training"
    curves = studies["ablation"].tables["curves"].query("`class` != 'all'")
    (tmp_path / "ablation").mkdir()
    curves.to_csv(tmp_path / "ablation/curves.csv", index=False)
    e = explore(tmp_path / "ablation").current
    assert set(
        dict(e.controls["name"].options)
        if isinstance(e.controls["name"].options[0], tuple)
        else e.controls["name"].options
    ) == {"all", "0", "1", "2"}
    app = explore(result, "atlas")
    assert app.current is not None and app.failure is None


def test_what_is_missing_is_said(result, table, tmp_path, net):
    for f, kind, words in [
        (
            lambda: explore(result, "rescaling"),
            ValueError,
            "Rescaling needs the network and its images",
        ),
        (lambda: explore(table, "atlas"), ValueError, "Atlas needs a result"),
        (
            lambda: explore(result, "unit explorer"),
            ValueError,
            "choose from atlas, rescaling, ablation, training, compare",
        ),
        (lambda: explore(tmp_path / "no"), FileNotFoundError, "there is no"),
        (lambda: explore(tmp_path), ValueError, "holds nothing to explore"),
        (lambda: explore(3), TypeError, "cannot explore a int"),
        (lambda: explore([result]), ValueError, "two results or more"),
        (lambda: explore(net), ValueError, "a network needs images"),
        (lambda: explore(pd.DataFrame({"a": [1]})), ValueError, "for no explorer"),
    ]:
        with pytest.raises(kind, match=words):
            f()
    app = explore(result, "atlas")
    app.buttons.value = "ablation"
    assert (
        "Ablation needs the network and its images" in str(app.failure)
        and "featent-error" in app.place.children[0].value
    )
    app.buttons.value = "atlas"
    assert app.current is not None


def test_computed_only_when_asked(result, net, few, monkeypatch):
    app = explore(result, "atlas", network=net, images=few)
    app.choose("ablation")
    panel = app.made["ablation"]
    assert (
        app.current is None
        and "12 units" in panel.children[0].value
        and "ablation" not in app.source.studies
    )
    monkeypatch.setattr(
        costs,
        "ablation_study",
        lambda *a, **k: (_ for _ in ()).throw(RuntimeError("the disk is on fire")),
    )
    panel.compute()
    assert "the disk is on fire" in panel.children[2].value and app.current is None
    monkeypatch.undo()
    panel.compute()
    assert app.current is not None and app.source.studies["ablation"].about["units"] == 12
    app.choose("compare").made["compare"].compute()
    assert app.current.view.tables["side by side"].network.tolist() == [
        "Sequential",
        "random weights",
    ]
    assert "ablation" not in explore(result, "atlas").source.studies


def test_without_a_front_end_there_is_a_picture(studies, capsys):
    app = explore(studies["training"])
    data = app._repr_mimebundle_()
    assert (
        data["image/png"]
        and "training" in data["text/plain"]
        and "application/vnd.jupyter.widget-view+json" in data
    )
    app.buttons.value = "atlas"
    assert "image/png" not in app._repr_mimebundle_()


# one's own network: the form


@pytest.fixture
def here(tmp_path, monkeypatch):
    "A working directory with a checkpoint, pictures by class and a list of outputs"
    from PIL import Image

    for i, (part, name) in enumerate((p, n) for p in ("train", "val") for n in ("cat", "dog")):
        (tmp_path / "pets" / part / name).mkdir(parents=True)
        for k in range(5):
            Image.effect_noise((24, 24), 60 + 9 * i).rotate(k).convert("RGB").save(
                tmp_path / f"pets/{part}/{name}/{k}.png"
            )
    (tmp_path / "runs/.hidden").mkdir(parents=True)
    (tmp_path / "plots").mkdir()
    torch.save(
        networks.network("small_vgg", num_classes=2).state_dict(), tmp_path / "runs/small_vgg-2.pt"
    )
    torch.save({}, tmp_path / "runs/.hidden/other.pt")
    Image.new("L", (8, 8)).save(tmp_path / "plots/figure.png")
    (tmp_path / "outputs.txt").write_text("n02 dog, hound\nn01 cat\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_form_offers_what_there_is_and_makes_nothing(here, few, monkeypatch):
    monkeypatch.setattr(
        sources, "example_source", lambda: pytest.fail("the example is not needed yet")
    )
    app = explore(explorer="open")
    form = app.made["open"]
    assert (
        app.buttons.value == "open"
        and app.current is None
        and app.buttons.options[-1] == ("Open…", "open")
    )
    assert form.fields["weights"].options == ("runs/small_vgg-2.pt",) and form.fields[
        "outputs"
    ].options == ("outputs.txt",)
    assert (
        form.fields["images"].options[-3:] == ("pets", "pets/train", "pets/val")
        and "plots" not in form.fields["images"].options
    )
    assert {"small_vgg", "resnet18"} <= set(form.fields["network"].options)
    form.fields["weights"].value = "runs/small_vgg-2.pt"
    assert form.fields["network"].value == "small_vgg"  # the name of the file says so
    form.fields["weights"].value = "runs/resnet18.pt"
    assert form.fields["network"].value == "small_vgg"  # what is there already stays
    monkeypatch.setattr(sources, "example_source", lambda: Source(assess(small(), few)))
    assert app.choose("atlas").current is not None and app.made["open"] is form


def test_a_checkpoint_and_a_folder_of_pictures_fill_the_form(here):
    form = explore("runs/small_vgg-2.pt").made["open"]
    assert (
        form.fields["weights"].value,
        form.fields["network"].value,
        form.fields["images"].value,
    ) == ("runs/small_vgg-2.pt", "small_vgg", "")
    for folder in ("pets", here / "pets/val"):
        assert explore(folder).made["open"].fields["images"].value == str(folder)
    with pytest.raises(ValueError, match="nor a folder of images for each class"):
        explore("plots")
    with pytest.raises(ValueError, match="Atlas needs a result.*Open…"):
        explore("runs/small_vgg-2.pt", "atlas")


def test_a_form_is_assessed_as_the_code_would(here, result):
    app = explore(result, "atlas")
    old = app.choose("atlas").current
    form = app.choose("open").made["open"]
    form.fill(
        {
            "weights": "runs/small_vgg-2.pt",
            "images": "pets/val",
            "per_class": 2,
            "layers": "features.conv1, features.conv4",
            "filtration": "both",
            "size": "32",
            "save": "kept/pets",
        }
    )
    form.buttons["estimate"].click()
    assert "4 images, 96 units: about" in form.said.value
    form.buttons["assess"].click()
    assert (
        app.failure is None
        and app.buttons.value == "atlas"
        and app.current is not old
        and old.comm is None
    )  # the old explorer is closed
    pets = images("pets/val", per_class=2, size=32)
    net = networks.network("small_vgg", weights="runs/small_vgg-2.pt", num_classes=2)
    same = assess(
        net,
        pets,
        ["features.conv1", "features.conv4"],
        filtration=("clique", "cubical"),
        null="shuffle",
        batch_size=1,
    )
    pd.testing.assert_frame_equal(app.source.result.table, same.table)
    pages = explore("kept/pets").source.kept["atlas"]  # saved with its maps
    assert pages.path == Path("kept/pets/atlas") and '"has_maps":true' in pages.part("index")
    assert pages.part("layer-0") == app.source.kept["atlas"].part("layer-0")
    assert (
        "9 orders of the 64 units of features.conv4"
        in app.choose("ablation").made["ablation"].children[0].value
    )  # two outputs for two classes
    app.choose("compare").made["compare"].compute()
    assert set(app.source.studies["comparison"].tables["profiles"].layer) == set(
        same.layers.layer
    )  # the same layers of the random twin
    form.fill({"result": "kept/pets"})
    form.buttons["open"].click()
    assert (
        app.source.network is None
        and app.current is not None
        and "result" in str(lacking(app.source, "rescaling"))
    )


def test_work_that_is_cancelled_keeps_what_is_done_and_goes_on(here, monkeypatch):
    app = explore(explorer="open")
    form = app.made["open"]
    form.fill({"classes": "1, 7", "per_class": 40, "layers": "features.conv2", "save": "kept"})
    passed, told = [], form._tell

    def ended(done, total, words=""):
        passed.append(done)
        if len(passed) == 5:
            form.stop.click()
        told(done, total, words)

    monkeypatch.setattr(form, "_tell", ended)
    form.buttons["assess"].click()
    assert "cancelled after" in form.said.value and "Assess goes on from there" in form.said.value
    assert app.source.result is None and not Path("kept").exists()
    assert not form.buttons["assess"].disabled and form.stop.disabled
    monkeypatch.setattr(form, "_tell", lambda done, total, words="": passed.append(done))
    n = len(passed)
    form.buttons["assess"].click()
    assert app.failure is None and min(passed[n:]) > 10  # the first images are not read again
    assert len(app.source.result.labels) == 80
    pd.testing.assert_frame_equal(load("kept").table, app.source.result.table)


def test_the_lines_of_a_form_make_what_it_made(here):
    app = explore(explorer="open")
    form = app.made["open"]
    form.fill(
        {
            "weights": "runs/small_vgg-2.pt",
            "images": "pets/val",
            "per_class": 4,
            "layers": "features.conv1",
            "filtration": "cubical",
            "size": "20",
            "crop": "16",
            "mean": "imagenet",
            "channels": 3,
            "outputs": "1 0",
        }
    )
    form.buttons["assess"].click()
    assert app.failure is None, app.failure
    lines = app.host.lines
    assert "fe.explore(result" in lines and "label_map=[1, 0]" in lines and "&#x27;" not in lines
    assert html.escape(lines) in form.lines.value
    made = {}
    exec(lines.rpartition("\n")[0], made)
    pd.testing.assert_frame_equal(made["result"].table, app.source.result.table)
    own = app.source.result.record
    assert made["result"].record["images"]["fingerprint"] == own["images"]["fingerprint"]
    assert made["result"].record["network"]["weights_hash"] == own["network"]["weights_hash"]


def test_images_of_one_channel_and_other_classes(here):
    app = explore(explorer="open")
    form = app.made["open"]
    form.fill({"classes": "1, 7", "per_class": 2, "layers": "features.conv2"})
    form.buttons["assess"].click()
    r = app.source.result.record
    assert (
        app.failure is None
        and r["network"]["in_channels"] == 1
        and r["classes"] == {"1": "1", "7": "7"}
        and len(app.source.test) == 4
        and app.source.test.record["split"] == "test"
    )


@pytest.mark.parametrize(
    "values, words",
    [
        ({"network": "resnet81"}, "unknown network"),
        ({"images": "nowhere"}, "neither a known data set"),
        ({"weights": "no.pt"}, "there is no weights file"),
        (
            {
                "weights": "runs/small_vgg-2.pt",
                "images": "pets/val",
                "network": "small_resnet",
                "per_class": 2,
            },
            "does not fit",
        ),
        ({"layers": "dense9"}, "features.conv1"),
        ({"classes": "eleven"}, "unknown classes"),
        ({"outputs": "1 2"}, "write 10 numbers"),
        ({"mean": "0.5"}, "mean and std go together"),
        ({"size": "big"}, "size &#x27;big&#x27;: pass a number"),
        ({"per_class": 10**5}, "per_class"),
        ({"images": "pets/val", "outputs": "outputs.md", "per_class": 2}, "outputs.md"),
    ],
)
def test_what_goes_wrong_stands_in_the_form(here, result, values, words):
    app = explore(result, "atlas")
    before = app.current
    form = app.choose("open").made["open"]
    form.fill(values)
    form.buttons["assess"].click()
    assert (
        words in form.error.value
        and "role='alert'" in form.error.value
        and type(app.failure).__name__ in form.error.value
    )
    assert (
        app.source.result is result
        and not form.buttons["assess"].disabled
        and app.choose("atlas").current is before
    )


def test_the_folder_is_claimed_before_the_work(here, result, monkeypatch):
    "A folder that is in use, or that cannot be made, is told before anything is read."
    result.save("kept")
    form = (app := explore(explorer="open")).made["open"]
    monkeypatch.setattr(sources, "assess", lambda *a, **k: pytest.fail("the work has begun"))
    Path("plots/file").write_text("x")
    for folder, words in (
        ("pets", "pets exists and is not empty: choose another folder"),
        ("kept", "exists and is not empty"),
        ("plots/file/new", "plots/file"),
    ):
        form.fill({"classes": "1", "per_class": 2, "layers": "features.conv2", "save": folder})
        form.buttons["assess"].click()
        assert (
            isinstance(app.failure, OSError) and words in form.error.value and app.current is None
        ), folder
    assert load("kept").table.equals(result.table) and not list(here.glob(".*claim*"))
    form.buttons["estimate"].click()  # an estimate writes nothing
    assert app.failure is None and "2 images" in form.said.value


def test_a_result_that_cannot_be_saved_is_open_all_the_same(here, monkeypatch):
    app = explore(explorer="open")
    app.made["open"].fill(
        {"classes": "1", "per_class": 2, "layers": "features.conv2", "save": "new"}
    )

    def full(result, folder):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Result, "save", full)
    app.made["open"].buttons["assess"].click()
    assert (
        isinstance(app.failure, OSError)
        and app.current is not None
        and "No space left" in app.place.children[0].value
        and not Path("new").exists()
    )


def test_the_form_says_what_goes_in_before_the_work_and_above_every_view(here, monkeypatch):
    app = explore(explorer="open")
    form, seen, real = app.made["open"], [], sources.assess

    def watched(*args, **options):
        seen.append(form.about.value)
        return real(*args, **options)

    monkeypatch.setattr(sources, "assess", watched)
    form.fill({"classes": "1, 7", "per_class": 3, "layers": "features.conv2"})
    form.buttons["assess"].click()
    assert (
        app.failure is None
        and "random (seed 0): an untrained network" in seen[0]
        and "<b>input</b>" in seen[0]
    )
    for name in ("atlas", "rescaling", "ablation"):
        app.choose(name)
        assert "an untrained network" in app.about.value and app.about in app.children
    assert [t for t, _ in app.source.result.record["preflight"]] == [
        "images",
        "input",
        "fit",
        "weights",
        "accuracy",
        "repeats",
        "layers",
    ]


def test_what_is_doubtful_is_told_and_what_is_wrong_ends_it(here):
    Path("noisy.py").write_text(
        "import torch\n"
        "from torch import nn\n"
        "class Noise(nn.Module):\n"
        "    def forward(self, x): return x + torch.rand_like(x)\n"
        "def net(num_classes=2):\n"
        "    last = nn.Linear(4 * 22 * 22, num_classes)\n"
        "    return nn.Sequential(Noise(), nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), last)\n"
        "def still(num_classes=2): return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())\n"
    )
    app = explore(explorer="open")
    form = app.made["open"]
    form.fill({"network": "noisy.py:net", "images": "pets/val", "per_class": 4})
    form.buttons["assess"].click()
    assert (
        "the same batch twice gives other maps" in form.error.value
        and "in the field if wrong" in form.error.value
        and app.current is None
    )
    assert "<b>repeats</b>" in form.about.value and "preflight=" not in form.error.value
    form.fill({"wrong": "warn"})
    form.buttons["assess"].click()
    assert (
        app.failure is None
        and app.current is not None
        and "wrong: the same batch twice gives other maps" in app.about.value
    )
    form = app.choose("open").made["open"]
    form.fill({"network": "noisy.py:still", "mean": "-300", "std": "1"})
    form.buttons["assess"].click()
    assert (
        app.failure is None
        and "values this large are seldom meant" in app.about.value
        and "role='alert'" in app.about.value
    )


def test_words_of_the_form_are_those_of_the_code(here):
    form = EMPTY_FORM | {
        "images": "pets/val",
        "size": "16",
        "crop": "12",
        "mean": "imagenet",
        "std": "imagenet",
        "channels": 3,
        "per_class": 4,
    }
    own = requested_images(form)
    same = images(
        "pets/val",
        per_class=4,
        transform=preprocess(16, "imagenet", "imagenet", crop=12),
        channels=3,
    )
    assert own.record["fingerprint"] == same.record["fingerprint"] and own[0][0].shape == (
        3,
        12,
        12,
    )
    assert requested_images(EMPTY_FORM | {"images": "pets/val", "channels": 1, "per_class": 4})[0][
        0
    ].shape == (1, 24, 24)
    told = field_words(
        "weights=3, per_class=4: pass pad=True, filtration='cubical', or square images, "
        "or leave it out by classes="
    )
    assert (
        told == "weights 3, per class 4: choose the filtration cubical, or a size, "
        "or leave it out in the field classes"
    )


def test_warnings_stand_in_the_form(here):
    app = explore(explorer="open")
    form = app.made["open"]
    form.fill(
        {"images": "pets/val", "classes": "cat, dog", "per_class": 1, "layers": "features.conv2"}
    )
    form.buttons["assess"].click()
    assert (
        app.failure is None
        and "classes of one image" in app.about.value
        and "in the field classes" in app.about.value
    )
    assert (
        "over one image an entropy is" in app.about.value and "by classes=" not in app.about.value
    )


def test_folders_named_as_data_sets_and_places_that_may_not_be_looked_at(here, monkeypatch):
    import shutil

    shutil.copytree("pets/val", "mnist")
    offered = form_chapter._offers()["images"]
    assert (
        offered.count("mnist") == 1 and "./mnist" in offered and len(set(offered)) == len(offered)
    )
    assert requested_images(EMPTY_FORM | {"images": "./mnist", "per_class": 2}).classes == (
        "cat",
        "dog",
    )
    real = Path.is_dir

    def guarded(path, **options):
        if path.name == "runs":
            raise PermissionError(13, "Permission denied")
        return real(path, **options)

    monkeypatch.setattr(Path, "is_dir", guarded)
    form = explore(explorer="open").made["open"]
    assert (
        form is not None
        and form.fields["weights"].options == ()
        and "./mnist" in form.fields["images"].options
    )


def test_synset_ids_are_shown_in_words(here):
    import shutil

    for k, name in (("cat", "n01440764"), ("dog", "n02102040")):
        shutil.copytree(f"pets/val/{k}", f"photos/{name}")
    app = explore(explorer="open")
    form = app.made["open"]
    form.fill({"images": "photos", "per_class": 3, "layers": "features.conv2"})
    form.buttons["assess"].click()
    index = json.loads(app.source.kept["atlas"].part("index"))
    assert app.failure is None and [c["name"] for c in index["classes"]] == [
        "tench (n01440764)",
        "English springer (n02102040)",
    ]
    assert app.source.result.classes == {
        0: "n01440764",
        1: "n02102040",
    }  # the tables keep the names of the folders


def test_an_ablation_needs_to_know_its_outputs(here, few, net):
    wide = small()
    wide.append(nn.Linear(3, 1000))
    few = images("digits", per_class=1, classes=["0", "1", "2"], size=16)
    app = explore(None, "ablation", network=wide, images=few)
    assert (
        "which outputs of the network belong to the 3 classes (0, 1, 2) is not known: "
        "there are 10 classes"
        in app.place.children[0].value
        and "label_map" in str(app.failure)
    )
    app = explore(None, "ablation", network=wide, images=few, label_map=[5, 900, 7])
    seen = []
    study = ablation_cost(app.source).make(lambda done, total: seen.append(done / total))
    assert (
        set(study.tables["curves"]["class"]) >= {"0", "1", "2"}
        and seen == sorted(seen)
        and seen[-1] == 1
    )
    right = ablation_study(
        wide,
        {"train": first_of_each(few, 10)},
        by=("H/eps", "l1", "apoz"),
        label_map=[5, 900, 7],
    )
    pd.testing.assert_frame_equal(study.tables["curves"], right.tables["curves"])


def test_outputs_by_their_names(here):
    pets = images("pets/val")
    assert requested_outputs("", pets) is None and requested_outputs("7, 3", pets) == [7, 3]
    assert lines_of_names(["n01", "n02"], ["n02 dog, hound", "n01 cat"]) == [1, 0]
    assert (
        lines_of_names(["tiger cat", "tiger"], ["tiger", "tiger cat"]) == [1, 0]
        and lines_of_names(["tiger"], ["tiger cat", "tiger shark"]) is None
    )
    assert lines_of_names(["a"], ["a", "b", "a"]) is None
    with pytest.raises(ValueError, match="a line for each output"):
        requested_outputs("outputs.txt", pets)
    Path("outputs.txt").write_text("a\ndog\ncat\n")
    assert requested_outputs("outputs.txt", pets) == [2, 1]


def test_looking_for_files_ends(tmp_path, monkeypatch):
    for i in range(40):
        (tmp_path / f"a{i:02}/b/c/d/e/f").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert max(len(p.parts) for p in near_folders()) == 4 and len(near_folders(most=50)) == 50


# in a real JupyterLab


def moved(page, words, before, key="ArrowRight"):
    "Press a key on the first slider; the milliseconds to the new picture, once words changed too."
    page.p.evaluate(
        """() => {
        const picture = document.querySelector('img.featent-figure')
        window.t1 = 0
        picture.addEventListener('load', () => window.t1 = performance.now(), {once: true}) }"""
    )
    page.p.locator(".featent-controls .noUi-handle").first.focus()
    page.p.evaluate("() => window.t0 = performance.now()")
    page.p.keyboard.press(key)
    page.p.wait_for_function("() => window.t1 > 0", timeout=30_000)
    page.p.wait_for_function(
        "before => document.querySelector('.featent-text').innerText != before", arg=before
    )
    return page.p.evaluate("() => window.t1 - window.t0")


def test_in_jupyterlab_keys_stay_names_are_there_and_the_theme_follows(lab, saved):
    import shutil

    shutil.copytree(saved / "training", lab.files / "one-study", dirs_exist_ok=True)
    with lab.page(width=1280, theme="light") as page:
        page.open(lab.write("keys.ipynb", "import featent as fe", "fe.explore('one-study')"))
        page.alone()
        page.run_all()
        root, before = page.p.locator(".featent-explorer").first, page.source()
        handle = root.locator(".noUi-handle").first
        page.p.locator(".featent-explorer .noUi-handle[aria-label=epoch]").first.wait_for()
        handle.focus()
        for key in ("x", "d", "d", "m", "a", "b", "ArrowLeft"):
            page.p.keyboard.press(key)
        page.wait_text("Epoch 4")
        assert page.source() == before
        nameless = root.evaluate(
            """root => {
            const all = [...root.querySelectorAll('input, select, button, [role=slider]')]
            const named = e => e.getAttribute('aria-label') || e.innerText || e.title
                || [...(e.labels ?? [])].some(l => l.innerText)
            return all.filter(e => e.offsetWidth && !named(e)).map(e => e.outerHTML) }"""
        )
        assert not nameless, nameless
        picture = root.locator("img.featent-figure")
        light = picture.get_attribute("src")
        page.theme("dark")
        page.p.wait_for_function(
            "src => document.querySelector('img.featent-figure').src !== src", arg=light
        )
        assert root.get_by_label("figure", exact=True).input_value() == "dark"
        page.check()


def test_in_jupyterlab(lab, saved, request):
    "Every explorer of a folder opens and follows its slider by the keyboard; errors are shown."
    import shutil

    shutil.copytree(saved, lab.files / "studies", dirs_exist_ok=True)
    (lab.files / "studies/training/losses.csv").write_text("epoch,train_loss\n0.0,1.0\n")
    times = {}
    with lab.page(width=1280, theme="light") as page:
        page.open(
            lab.write(
                "explorers.ipynb",
                "import featent.explorers.app as fe",
                "app = fe.explore('studies'); app",
            )
        )
        page.alone()
        page.run_all()
        for label, words in (
            ("Rescaling", "keep their predicted class"),
            ("Ablation", "units removed"),
            ("Compare", "Depth"),
        ):
            page.p.get_by_role("button", name=label, exact=True).click()
            page.wait_text(words)
            times[label] = moved(
                page,
                words,
                page.p.locator(".featent-text").first.inner_text(),
                "ArrowLeft" if label == "Compare" else "ArrowRight",
            )
            clipped = page.p.evaluate(
                """() => {
                const kinds = '.featent-explorer .widget-label, .featent-explorer button'
                const cut = e => e.offsetWidth && e.scrollWidth > e.clientWidth + 1
                return [...document.querySelectorAll(kinds)].filter(cut).map(e => e.innerText) }"""
            )
            assert not clipped, (label, clipped)
            wide = page.p.evaluate(
                """() => {
                const box = document.querySelector('img.featent-figure').getBoundingClientRect()
                return [box.left, box.right, window.innerWidth] }"""
            )
            assert wide[0] >= 0 and wide[1] <= wide[2], wide
        page.p.get_by_role("button", name="Training", exact=True).click()
        page.p.locator(".featent-error").first.wait_for()
        assert (
            "epoch=5: choose from 0" in page.p.locator(".featent-error").first.inner_text()
        )  # the error is there, with its cause
        page.p.locator(".featent-controls .noUi-handle").first.focus()
        for _ in range(5):
            page.p.keyboard.press("ArrowLeft")
        page.wait_text("Train loss 1.")
        page.p.locator(".featent-error").first.wait_for(
            state="detached"
        )  # and gone where there is something to see
        page.check()
    print("milliseconds from key to picture:", json.dumps({k: round(v) for k, v in times.items()}))
    assert all(v < 5000 for v in times.values()), times
