"""Kept under mixing: partners, mixes, intervals, the alarm; and the experiment."""

import os

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings, strategies as st
from pages import validated

import featent as fe
from featent.commands import cli
from featent.commands.verdicts_of_use import of_mixing
from featent.data.records import weights_hash
from featent.statistics.shares import bare_shares, layer_share, share_influences
from featent.studies import mixing
from featent.studies.mixing import kept_under_mixing, mixes, partners
from featent.studies.regularisers import augmentation

torch.set_num_threads(1)


@given(st.lists(st.integers(2, 6), min_size=1, max_size=4), st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_partners_are_derangements_within_the_labels(sizes, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(range(len(sizes)), sizes))
    found = partners(labels, 4, seed)
    assert (labels[found] == labels).all() and (found != np.arange(len(labels))).all()
    assert (np.sort(found, 1) == np.arange(len(labels))).all()
    assert (partners(labels, 4, seed) == found).all()


def test_a_label_with_one_image_is_refused():
    with pytest.raises(ValueError, match="label 1 has a single image"):
        partners([0, 0, 1])


@pytest.fixture(scope="module")
def digits():
    return fe.images("digits", per_class=6, size=12, classes=[0, 1, 2])


@pytest.fixture(scope="module")
def net(digits):
    net = fe.network("small_vgg", in_channels=1)
    fe.train(net, digits, epochs=12, batch_size=6, until=0.999)
    return net


def test_a_mix_is_the_mean_of_two_images(digits):
    pair = partners(digits.labels, 1)[0]
    found = mixes(digits, pair)
    assert len(found) == len(digits) and (found.labels == digits.labels).all()
    for i in (0, 7):
        half = (digits.tensor(i) + digits.tensor(int(pair[i]))) / 2
        assert found[i][0].equal(half)


def test_the_numbers_are_those_of_the_parts(net, digits):
    before = weights_hash(net)
    found = kept_under_mixing(net, digits, "features.conv6", n_resamples=200)
    row, pairs = found.iloc[0], partners(digits.labels, 4, 0)
    sets = [digits, *(mixes(digits, p) for p in pairs)]
    results = [fe.assess(net, s, "features.conv6") for s in sets]
    shares = [float(r.profiles().share.iloc[0]) for r in results]
    assert row.share == pytest.approx(shares[0], abs=1e-5)
    values = [next(iter(r.summaries[k] for k in r.summaries if k[1] == "mean")) for r in results]
    mixed = [mixing._share_of(v, digits.labels, p)[0] for v, p in zip(values[1:], pairs)]
    assert row.share_mixed == pytest.approx(np.mean(mixed), abs=1e-5)
    assert np.mean(shares[1:]) - 0.1 < row.share_mixed <= np.mean(shares[1:]) + 1e-5
    assert row.kept == pytest.approx(row.share_mixed / row.share)
    right = [fe.accuracy(net, s)["top1"] for s in sets]
    assert row.accuracy == right[0] and row.accuracy_mixed == pytest.approx(np.mean(right[1:]))
    assert row.lo <= row.kept <= row.hi and row.accuracy_lo <= row.accuracy_hi
    assert weights_hash(net) == before
    again = kept_under_mixing(net, digits, "features.conv6", n_resamples=200, batch_size=5)
    pd.testing.assert_frame_equal(found, again, rtol=1e-4)


def test_influences_of_a_layer_foretell_resamples():
    "To first order: against ranking anew with more of one class's images."
    rng = np.random.default_rng(0)
    y = np.repeat(range(4), 60)
    x = rng.normal(size=(240, 30)) + rng.normal(size=(4, 30))[y]
    mean, influence = share_influences(x, y)
    assert mean == pytest.approx(bare_shares(x, y).mean()) == layer_share(x, y).share
    far, true = [], []
    for _ in range(20):
        out = rng.choice(240, 24, False)
        weights = np.ones(240)
        weights[out] = 0
        left = weights > 0
        true.append(bare_shares(x[left], y[left]).mean() - mean)
        far.append((influence * (240 / 216 * weights - 1)).mean())
    assert np.corrcoef(true, far)[0, 1] > 0.98
    assert np.abs(np.array(true) - far).mean() < 0.25 * np.abs(true).mean()


def simulated(rng, k, size, learnt):
    "Shares of images and of four sets of mixes, with influences, and the partners."
    labels = np.repeat(range(k), size)
    things = np.random.default_rng(k)
    centres, project, heart = (things.normal(size=s) for s in ((k, 12), (12, 16), (k, 16)))
    x = centres[labels] + 1.5 * rng.normal(size=(k * size, 12))
    own, pairs = rng.normal(size=(k * size, 16)), partners(labels, 4, int(rng.integers(1e6)))
    both = lambda v: [v, *((v + v[p]) / 2 for p in pairs)]
    found = []
    for i, (shown, said) in enumerate(zip(both(x), both(own))):
        by_heart = 2 * said + (4 * heart[labels] if i == 0 else 0)
        values = (1 - learnt) * np.maximum(shown @ project, 0) + learnt * by_heart
        found.append(mixing._share_of(values, labels, pairs[i - 1] if i else None))
    return found, pairs


@pytest.mark.parametrize("learnt", [0.0, 0.5])
@pytest.mark.parametrize("k,n", [(3, 20), (5, 10), (10, 10), (10, 40)])
def test_the_interval_covers_what_other_images_and_partners_give(k, n, learnt):
    "Units that answer to what is shown, or that have learnt images by heart: no bias, and 93%."
    rng, held, kept = np.random.default_rng(1), [], []
    (plain, *mixed), _ = simulated(rng, k, 1500, learnt)
    true = np.mean([m[0] for m in mixed]) / plain[0]
    for i in range(120):
        (plain, *mixed), pairs = simulated(rng, k, n, learnt)
        draws = mixing._draws(np.repeat(range(k), n), 4, 200, i)
        values, influence = (np.stack([m[j] for m in mixed]) for j in (0, 1))
        low, high = mixing._limits(
            values, influence, plain, pairs=pairs, draws=draws, confidence=0.95
        )
        held.append(low <= true <= high)
        kept.append(values.mean() / plain[0])
    assert np.mean(held) > 0.9 and np.median(kept) == pytest.approx(true, rel=0.08)


@pytest.mark.parametrize("sizes", [(4, 4, 4), (3, 9, 20), (15,) * 10])
def test_mixes_of_units_that_know_nothing_have_no_share(sizes):
    "Whatever a unit makes of a mix: the mean of its two images, or something of its own."
    rng, labels = np.random.default_rng(0), np.repeat(range(len(sizes)), sizes)
    shares, single = [], []
    for seed in range(60):
        x, pair = rng.normal(size=(len(labels), 40)), partners(labels, 1, seed)[0]
        same = np.sort([np.arange(len(pair)), pair], axis=0)
        one = np.unique(same, axis=1, return_inverse=True)[1].ravel()  # one mix of two partners
        new = rng.normal(size=x.shape)[one]
        mixed = {"mean": (x + x[pair]) / 2, "new": new}
        shares.append([mixing._share_of(v, labels, pair)[0] for v in mixed.values()])
        single.append(share_influences(mixed["mean"], labels)[0])
    assert np.abs(np.mean(shares, axis=0)).max() < 0.04 < np.mean(single)
    assert mixing._overlap(np.zeros((len(labels), 2)), labels, pair) == 1


@pytest.mark.parametrize(
    "low,high,word",
    [(0.5, 0.8, "wrong labels likely"), (0.85, 0.95, "undecided"), (0.92, 1.1, "no alarm")],
)
def test_the_alarm_looks_at_the_whole_interval(low, high, word):
    assert mixing._alarm(low, high, 0.9) == word
    assert mixing._alarm(np.nan, np.nan, 0.9) == "undecided"


def test_what_cannot_be_known_is_refused_or_warned_of(net, digits):
    with pytest.raises(ValueError, match="at least 4"):
        kept_under_mixing(net, digits, derangements=3)
    fresh = fe.network("small_vgg", in_channels=1)
    with pytest.warns(UserWarning, match="fit their training images"):
        kept_under_mixing(fresh, digits, "features.conv1", n_resamples=5)


def test_mixup_asks_for_both_labels():
    "The loss of a mix is the weighted loss of both; a network can be trained on it."
    x, net = torch.rand(6, 1, 12, 12), fe.network("small_vgg", in_channels=1, seed=1)
    mixed, partner, share = augmentation("mixup")(x)
    part = share.view(-1, 1, 1, 1)
    assert torch.allclose(mixed, part * x + (1 - part) * x[partner])
    digits = fe.images("digits", per_class=2, size=12, classes=[0, 1, 2])
    log = fe.train(net, digits, epochs=1, batch_size=3, augment=augmentation("mixup"))
    again = fe.network("small_vgg", in_channels=1, seed=1)
    fe.train(again, digits, epochs=1, batch_size=3, augment=augmentation("mixup"))
    assert np.isfinite(log.train_loss).all() and weights_hash(net) == weights_hash(again)


def test_experiment(tmp_path):
    words = dict(
        per_class=6,
        size=12,
        test_per_class=2,
        corruption="0,0.2,0.4",
        settings="noisy-mixup",
        seeds=1,
        epochs=8,
        until=0.9,
        train_batch=4,
        fitted=0.3,
        layers="features.conv6",
        n_resamples=20,
    )
    words = [str(w) for k, v in words.items() for w in ("-p", k, v)]
    folder = tmp_path / "m"
    assert cli.main(["run", "mixing", *words, "-o", str(folder)]) == 0
    tables = "layers networks told alarms ranks zoo".split()
    assert {f"{t}.csv" for t in tables} <= set(os.listdir(folder))
    assert {"by_depth.png", "beside.png", "verdict.md", "parameters.json"} <= set(
        os.listdir(folder)
    )
    networks = pd.read_csv(folder / "networks.csv")
    assert (networks.kept.round(4) == (networks.share_mixed / networks.share).round(4)).all()
    assert {v.claim for v in of_mixing(folder)} == {"mixing"}


@pytest.mark.parametrize(
    "options,message",
    [
        (dict(derangements=2), "at least 4"),
        (dict(settings="none"), "choose from plain"),
        (dict(corruption="0.2,0.4"), "0 and at least one larger share"),
        (dict(corruption="a"), "separated by commas"),
        (dict(per_class=2), "raise per_class"),
        (dict(limit=0.0), "limit above 0"),
        (dict(classes="3"), "at least two"),
    ],
)
def test_the_experiment_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        validated("mixing", **options)


def test_an_alarm_that_sounds_for_clean_labels_is_a_claim_that_fails(tmp_path):
    networks = pd.DataFrame(
        {
            "setting": ["plain", "flip", "corrupted-0.4", "mixup", "noisy-mixup"],
            "label_corruption": [0, 0, 0.4, 0, 0.4],
            "alarm": ["no alarm", "wrong labels likely", "wrong labels likely", "undecided"]
            + ["x"],
            "kept": [1.0, 0.8, 0.6, 0.9, 0.8],
        }
    )
    networks.to_csv(tmp_path / "networks.csv", index=False)
    one = dict(auc=1.0, low=1.0, high=1.0, clean=2, corrupted=1)
    told = pd.DataFrame([{"measure": m, **one} for m in ("kept", "difference")])
    told.to_csv(tmp_path / "told.csv", index=False)
    ranks = pd.DataFrame(columns=["networks", "measure", "n", "rho", "rho_low", "rho_high"])
    ranks.to_csv(tmp_path / "ranks.csv", index=False)
    found = {v.statement: v for v in of_mixing(tmp_path)}
    silent = found["the alarm is silent where labels are clean"]
    assert (silent.verdict, silent.value, silent.case) == ("fails", 0.5, "2 networks")
    assert found["the alarm sounds where labels are redrawn"].verdict == "holds"
