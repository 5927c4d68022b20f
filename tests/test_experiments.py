"What the experiments have in common: test images of their own."

import numpy as np
import pytest
from pages import validated
from PIL import Image

NAMES = {  # experiment: how many images to learn from, to test on; what the two sets are called
    "ablation": ("per_class", "ablate_per_class", "images", "held_out"),
    "roles": ("train_per_class", "ablate_per_class", "own", "held_out"),
    "training": ("train_per_class", "test_per_class", "images", "test"),
    "generalization": ("per_class", "test_per_class", "images", "held_out"),
    "corruption": ("per_class", "test_per_class", "images", "held_out"),
    "pruning": ("train_per_class", "test_per_class", "learn", "test"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    "Class folders without a test part."
    found, rng = tmp_path_factory.mktemp("images") / "set", np.random.default_rng(0)
    for c in ("cat", "dog"):
        (found / c).mkdir(parents=True)
        for i in range(9):
            Image.fromarray(rng.integers(0, 255, (32, 32, 3), np.uint8)).save(
                found / c / f"{i}.png"
            )
    return found


@pytest.mark.parametrize("name", NAMES)
def test_folders_without_a_test_part_need_a_holdout(name, folder):
    learn, test, own, other = NAMES[name]
    few = {"per_class": 4, **({"network": "small_vgg"} if name == "pruning" else {})}
    with pytest.raises(ValueError, match="are in both sets"):
        validated(name, data=str(folder), **{**few, "per_class": 6, learn: 9, test: 6})
    found = validated(name, data=str(folder), holdout=True, **{**few, learn: 4, test: 3})
    assert (
        not set(found[own].names) & set(found[other].names)
        and len(found[own]) == 8
        and len(found[other]) == 6
    )


@pytest.mark.parametrize("name", ["training", "generalization", "corruption"])
def test_a_holdout_needs_its_number(name, folder):
    with pytest.raises(ValueError, match="test_per_class says how many"):
        validated(name, data=str(folder), holdout=True, per_class=4)


def test_classes_are_found_among_the_outputs(folder, tmp_path):
    (tmp_path / "names.txt").write_text("dog a dog\nfox a fox\ncat a cat\n")
    for name in ("ablation", "roles"):
        learn, test = NAMES[name][:2]
        assert validated(
            name,
            data=str(folder),
            holdout=True,
            label_names=str(tmp_path / "names.txt"),
            **{"per_class": 4, learn: 4, test: 3},
        )["label_map"] == [2, 0]
