"""Roles of units: found where they were put, and how firm they are.

And the experiments `ablation` and `roles`, from the command line."""

import json
import os

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings, strategies as st
from pages import validated

import featent as fe
from featent.commands import cli
from featent.commands.verdicts_of_use import of_ablation
from featent.studies.ablation import ablate, curves
from featent.studies.orders import unit_orders
from featent.studies.roles import (
    ROLES,
    agreement,
    contributions,
    plot_roles,
    resampled_roles,
    role_shares,
    roles,
    stability,
    useful_units,
)

torch.set_num_threads(1)


def additive(effects, orders, n=30, noise=0.0, seed=0):
    """Samples of a world in which a unit has one effect, whatever else is gone.

    Removing unit u raises the loss by effects[class, split][u]."""
    rng, samples = np.random.default_rng(seed), {}
    for name, order in orders.items():
        for (c, s), e in effects.items():
            loss = (
                np.concatenate([[0.0], np.cumsum(e[order[c]])])[:, None]
                + rng.normal(0, noise, (1, n)) * np.arange(len(e) + 1)[:, None]
            )
            samples[name, c, s] = (
                np.arange(len(e) + 1),
                (loss + 5).astype(np.float32),
                (loss > 0).astype(np.uint16),
            )
    return samples


@pytest.fixture(scope="module")
def world():
    "Two classes, eight units, with known effects; the path removes the least useful first."
    e = {
        ("a", "train"): np.array([-2, -1, -1, 1, 1, 2, 3, 4.0]),
        ("a", "test"): np.array([-1, -1, -1, -1, 1, 1, 1, 1.0]),
        ("b", "train"): np.array([1, 2, -1, -1, 3, 3, -2, -2.0]),
        ("b", "test"): np.array([1, -1, 1, -1, 3, 3, -2, 2.0]),
    }
    rng = np.random.default_rng(0)
    orders = {"H/eps reversed": {c: np.argsort(e[c, "train"]) for c in "ab"}} | {
        f"random {i}": {c: rng.permutation(8) for c in "ab"} for i in range(4)
    }
    return e, orders, additive(e, orders)


def test_contributions_are_the_effects(world):
    e, orders, samples = world
    for split in ("train", "test"):
        found = contributions(samples, orders, split, "loss")
        for c in "ab":
            np.testing.assert_allclose(found[found["class"] == c].effect, e[c, split], atol=1e-5)
        assert (found.se < 1e-5).all() and (found.useful == (found.effect > 0)).all()


def test_roles_by_average_are_those_that_were_put_in(world):
    e, orders, samples = world
    table = (
        roles(*(contributions(samples, orders, s, "loss") for s in ("train", "test")))
        .set_index(["class", "unit"])
        .role
    )
    for c in "ab":
        for u in range(8):
            train, test = e[c, "train"][u] > 0, e[c, "test"][u] > 0
            role = {(True, True): "both", (True, False): "train only", (False, True): "test only"}
            assert table[c, u] == role.get((bool(train), bool(test)), "neither")
    assert set(table) == set(ROLES)


def test_the_path_ends_where_the_loss_is_smallest(world):
    e, orders, samples = world
    found = useful_units(curves(samples), orders, "train", value="loss")
    for c in "ab":
        assert set(found[(found["class"] == c) & found.useful].unit) == set(
            np.flatnonzero(e[c, "train"] > 0)
        )
    test = useful_units(curves(samples), orders, "test", value="loss")
    for c in "ab":
        path = np.concatenate([[0.0], np.cumsum(e[c, "test"][orders["H/eps reversed"][c]])])
        best = len(path) - 1 - np.argmin(path[::-1])  # the last among equals
        assert test[(test["class"] == c)].useful.sum() == 8 - best


@given(st.integers(0, 10_000))
@settings(max_examples=8, deadline=None)
def test_sets_on_one_path_are_nested_and_shares_add_up(seed):
    rng = np.random.default_rng(seed)
    orders = {"H/eps reversed": {c: rng.permutation(6) for c in "ab"}}
    samples = additive(
        {(c, s): rng.normal(size=6) for c in "ab" for s in ("train", "test")}, orders
    )
    table = roles(
        *(useful_units(curves(samples), orders, s, value="loss") for s in ("train", "test"))
    )
    shares = role_shares(table, "class")
    assert ((shares["train only"] == 0) | (shares["test only"] == 0)).all()
    np.testing.assert_allclose(shares[list(ROLES)].sum(axis=1), 1)
    assert shares.n.tolist() == [6, 6] and len(role_shares(table)) == 1


def test_agreement_is_chance_corrected():
    rng = np.random.default_rng(0)
    index = pd.MultiIndex.from_product([range(20), range(200)], names=["class", "unit"]).to_frame(
        index=False
    )
    a, b = (
        index.assign(role=rng.choice(ROLES, len(index), p=[0.7, 0.1, 0.1, 0.1])) for _ in range(2)
    )
    found = agreement(a, b)
    assert abs(found.agreement - 0.52) < 0.03 and abs(found.kappa) < 0.05 and found.n == 4000
    assert agreement(a, a).kappa == 1
    shuffled = a.sample(frac=1, random_state=0)
    assert agreement(a, shuffled).agreement == 1  # rows are matched by class and unit
    constant = index.assign(role="both")
    assert (
        np.isnan(agreement(constant, constant).kappa)
        and agreement(constant, constant).agreement == 1
    )
    with pytest.raises(ValueError, match="different units"):
        agreement(a, a[a.unit < 5])
    assert stability(a, [a, b]).agreement.tolist() == [1, found.agreement]


def test_resampled_roles_are_firm_without_noise_and_loose_with_it(world):
    e, orders, samples = world
    for order in ("H/eps reversed", None):
        quiet = resampled_roles(samples, orders, order, "loss", 4)
        assert stability(quiet[0], quiet).agreement.eq(1).all()
        noisy = additive(e, orders, n=8, noise=4.0)
        loose = resampled_roles(noisy, orders, order, "loss", 5)
        assert stability(loose[0], loose[1:]).agreement.mean() < 1
        again = resampled_roles(noisy, orders, order, "loss", 5)
        assert (
            stability(loose[3], [again[3]]).agreement[0] == 1
            and (loose[3].role == again[3].role).all()
        )


def test_errors_name_what_is_valid(world):
    e, orders, samples = world
    table, on = curves(samples), contributions(samples, orders, "train", "loss")
    for f, message in [
        (lambda: useful_units(table, orders, "train"), "these curves have no AUC"),
        (lambda: useful_units(table, orders, "val"), "choose from 'train', 'test'"),
        (lambda: useful_units(table, orders, "train", "H"), "H/eps reversed"),
        (
            lambda: useful_units(table, orders, "train", value="acc"),
            "'auc', 'loss', 'top1', 'top5'",
        ),
        (lambda: contributions(samples, orders, "val"), "split='val'"),
        (lambda: contributions(samples, orders, "train", prefix="x"), "no order begins with 'x'"),
        (lambda: roles(on, on[on.unit > 2]), "different units"),
        (lambda: roles(on, on.drop(columns="useful")), "test has no column useful"),
        (lambda: role_shares(roles(on, on), "layer"), "by='layer'"),
        (lambda: stability(roles(on, on), []), "at least one table"),
        (lambda: resampled_roles(samples, orders, "H"), "choose from H/eps reversed"),
        (lambda: plot_roles(table), "no column both"),
    ]:
        with pytest.raises(ValueError, match=message):
            f()
    few = {k: (s[::2], loss[::2], rank[::2]) for k, (s, loss, rank) in samples.items()}
    with pytest.raises(ValueError, match="every step"):
        contributions(few, orders, "train", "loss")


def test_roles_of_a_real_layer():
    "Contributions add up to the worth of the layer, on real maps."
    net, images = (
        fe.network("small_vgg", in_channels=1),
        {s: fe.images("digits", per_class=3, classes=[0, 1], split=s) for s in ("train", "test")},
    )
    orders = unit_orders(fe.assess(net, images["train"], "features.conv2").table, random=2)
    table, samples = ablate(net, images, "features.conv2", orders, per_image=True)
    found = contributions(samples, orders, "test").groupby("class").effect.sum()
    end = (
        table[(table.split == "test") & (table.order == "random 0")]
        .set_index(["class", "step"])
        .auc.unstack()
    )
    np.testing.assert_allclose(found, end[0] - end[32], atol=1e-5)
    own = roles(*(useful_units(table, orders, s) for s in ("train", "test")))
    assert len(own) == 64 and len(plot_roles(role_shares(own, "class")).axes) == 1


def run(name, folder, **options):
    "The experiment, quick, through the command line; its files."
    words = [str(w) for k, v in options.items() for w in ("-p", k, v)]
    assert cli.main(["run", name, *words, "-o", str(folder)]) == 0
    page = nbformat.read(folder / f"{name}.ipynb", 4)
    outputs = [o for c in page.cells if c.cell_type == "code" for o in c.outputs]
    assert not any(o.output_type == "error" for o in outputs) and any(
        "image/png" in o.get("data", {}) for o in outputs
    )
    return " ".join(
        o["data"]["text/markdown"] for o in outputs if "text/markdown" in o.get("data", {})
    )


def test_experiment_ablation(tmp_path):
    folder = tmp_path / "a"
    text = run(
        "ablation",
        folder,
        per_class=8,
        ablate_per_class=2,
        every=8,
        epochs=1,
        random_orders=2,
        rivals="|contrast|,taylor,leave_one_out",
        classes="0,1,2",
    )
    assert {
        "curves.csv",
        "areas.csv",
        "comparison.csv",
        "transition.csv",
        "turning_points.csv",
        "one_order_last.png",
        "parameters.json",
    } <= set(os.listdir(folder))
    table, comparison = pd.read_csv(folder / "curves.csv"), pd.read_csv(folder / "comparison.csv")
    assert (
        table.order.nunique() == 18
        and table.step.max() == 128
        and table["class"].nunique() == 3
        and set(table.split) == {"train", "test"}
    )
    assert json.loads((folder / "parameters.json").read_text())["engine"] == "replay"
    test = comparison[comparison.split == "test"]
    own = test[test.order == "H/eps"]
    assert (
        set(own.against) == {"|contrast|", "taylor", "leave_one_out", "random"} and len(own) == 16
    )
    assert set(test.order) == {"H/eps", "|contrast|"} and len(test) == 32
    better = [
        (r.high < 0) if r.direction.startswith("most") else (r.low > 0) for r in test.itertuples()
    ]
    assert [b == "better" for b in test["it is"]] == better
    assert {v.claim for v in of_ablation(folder)} == {"ordering", "contrast", "phase transition"}
    assert text.count("**confirmed**") <= 2 and "phase transition" in text


def test_experiment_roles(tmp_path):
    folder = tmp_path / "r"
    text = run(
        "roles",
        folder,
        train_per_class=12,
        per_class=6,
        ablate_per_class=2,
        epochs=1,
        random_orders=2,
        resamples=2,
        corruption="0,0.5",
        classes="0,1,2",
        layer="features.conv2",
    )
    assert {
        "roles.csv",
        "shares.csv",
        "stability.csv",
        "networks.csv",
        "association.csv",
        "curves.csv",
        "roles.png",
        "parameters.json",
    } <= set(os.listdir(folder))
    table, shares = pd.read_csv(folder / "roles.csv"), pd.read_csv(folder / "shares.csv")
    assert len(table) == 2 * 2 * 3 * 32 and set(table.role) <= set(ROLES) and len(shares) == 4
    np.testing.assert_allclose(shares[list(ROLES)].sum(axis=1), 1)
    assert "too few networks" in text


@pytest.mark.parametrize(
    "name,options,message",
    [
        ("ablation", dict(value="median"), "choose zero or mean"),
        ("ablation", dict(rivals="l2"), r"no score l2; choose usual, or from \|contrast\|"),
        ("ablation", dict(ablate_per_class=99), "more than per_class"),
        ("ablation", dict(layer="features.conv9"), "features.conv1"),
        ("ablation", dict(every=30), "at most 16"),
        ("ablation", dict(classes="3"), "at least two classes"),
        ("ablation", dict(filtration="rips"), "choose clique or cubical"),
        ("ablation", dict(random_orders=0), "random_orders=0: must be at least 1"),
        ("ablation", dict(label_names="nowhere.txt"), "there is no file nowhere.txt"),
        ("roles", dict(corruption="0,2"), "lie between 0 and 1"),
        ("roles", dict(corruption="a"), "separated by commas"),
        ("roles", dict(random_orders=1), "at least 2"),
        ("roles", dict(layer="conv"), "means 6 layers"),
        ("roles", dict(train_per_class=5), "more than train_per_class"),
    ],
)
def test_experiments_refuse_what_they_cannot_do(name, options, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        validated(name, **options)


def test_the_command_of_a_claim_names_the_layer_that_was_asked_for():
    "A run on another layer than the usual one is repeated on that layer."
    from featent.commands.claims import _command

    chosen = {"layer": "", "layer_name": "features.conv6+bn+relu", "every": 4}
    assert _command("ablation", chosen) == "featent run ablation -o ablation"
    asked = {"layer": "features.12.expand3x3", "layer_name": "features.12.expand3x3+relu"}
    assert _command("roles", asked).endswith("-p layer features.12.expand3x3")
