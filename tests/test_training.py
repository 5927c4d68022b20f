"Training survives being killed and watched, and correlations know a lag from a trend."

import json
import math
import os
import random
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings, strategies as st
from pages import validated
from torch import nn

from featent.assessment.assessing import assess
from featent.commands import cli
from featent.data.checkpoints import intact as _intact
from featent.data.evaluation import accuracy, recalibrate
from featent.data.networks import network
from featent.data.records import weights_hash
from featent.data.sampling import images
from featent.data.trainer import train
from featent.studies import moments as module
from featent.studies.looking_back import assess_checkpoints, natural_order, place_of
from featent.studies.training import monitor
from featent.studies.training_plots import plot_training
from featent.studies.trends import follow


def tiny(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 6, 3, 2),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Flatten(),
        nn.Linear(6 * 6 * 6, 10),
    )


def noise(x):
    return x + 0.1 * torch.rand_like(x)


class Unplugged(Exception):
    pass


@pytest.fixture(scope="module")
def data():
    return images("digits", per_class=6, size=16)


@pytest.fixture(scope="module")
def options(data):
    return dict(test=data, epochs=4, batch_size=16, augment=noise, label_corruption=0.2)


@pytest.fixture(scope="module")
def quiet(data, options):
    net = tiny()
    return train(net, data, **options), weights_hash(net)


def same(a, b):
    pd.testing.assert_frame_equal(a.drop(columns="seconds"), b.drop(columns="seconds"))


# ---- interrupted and taken up again

DRIVER = """
import json, os, random, signal, sys, torch
import torchvision  # once, and not in every child
sys.path.insert(0, sys.argv[2])
from test_training import *
torch.set_num_threads(1)
here, rng = sys.argv[1], random.Random(7)
data = images("digits", per_class=6, size=16)
def die(): os.kill(os.getpid(), signal.SIGKILL)
def job(name, step=None, write=None):
    "Train in a child; die at a step, or while the n-th file is being written"
    if (pid := os.fork()) == 0:
        fsync, count = os.fsync, [0]
        def deadly(f):
            count[0] += 1
            if count[0] == write: die()
            fsync(f)
        os.fsync = deadly
        net = tiny()
        watch = monitor(net, data, null="shuffle", store=f"{here}/{name}/moments")
        def look(epoch, step, **logs):
            watch(epoch, step, **logs)
            if step == look.die: die()
        look.die = step
        kept = dict(checkpoints=f"{here}/{name}/run", resume=f"{here}/{name}/training.pt")
        how = dict(epochs=5, batch_size=16, augment=noise, callback=look, **kept)
        history = train(net, data, data, **how)
        history.to_csv(f"{here}/{name}.csv")
        watch.table.to_csv(f"{here}/{name}_moments.csv")
        open(f"{here}/{name}.hash", "w").write(weights_hash(net))
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
codes = [job("quiet"), job("killed", step=rng.randrange(1, 8))]
codes.append(job("killed", write=rng.randrange(4, 9)))
codes += [job("killed", step=rng.randrange(12, 19)), job("killed")]
print(json.dumps(codes))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_three_times(tmp_path):
    "Three SIGKILLs, one while a file is being written: the same weights, history and scores"
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, str(tmp_path), os.path.dirname(__file__)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [0, -9, -9, -9, 0]
    assert (tmp_path / "killed.hash").read_text() == (tmp_path / "quiet.hash").read_text()
    same(*(pd.read_csv(tmp_path / f"{n}.csv") for n in ("killed", "quiet")))
    drop = ["seconds", "share", "training_seconds"]
    pd.testing.assert_frame_equal(
        *(
            pd.read_csv(tmp_path / f"{n}_moments.csv").drop(columns=drop)
            for n in ("killed", "quiet")
        )
    )
    names = [
        sorted(p.name for p in (tmp_path / n / "run").glob("*.pt")) for n in ("killed", "quiet")
    ]
    assert names[0] == names[1] == [f"epoch_{e:04d}.pt" for e in range(6)]
    for name in names[0]:
        a, b = (
            torch.load(tmp_path / n / "run" / name, weights_only=True) for n in ("killed", "quiet")
        )
        assert all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("steps", [(1,), (4,), (5, 11), (3, 8, 14)])
def test_interrupted(data, options, quiet, tmp_path, steps):
    "Of 4 steps: within the first, at the end before its file is written, several times"
    file = tmp_path / "deep" / "training.pt"
    for stop in steps:

        def unplug(epoch, step, **logs):
            if step == stop:
                raise Unplugged

        with pytest.raises(Unplugged):
            train(tiny(), data, **options, resume=file, callback=unplug)
        state = torch.load(file, weights_only=True)  # tensors and plain containers only
        assert len(state["history"]) == (stop - 1) // 4
    net, rng = tiny(), torch.get_rng_state()
    same(train(net, data, **options, resume=file), quiet[0])
    assert (
        weights_hash(net) == quiet[1]
        and not net.training
        and torch.equal(torch.get_rng_state(), rng)
    )
    before = file.read_bytes()
    net = tiny()
    pd.testing.assert_frame_equal(
        train(net, data, **options, resume=file), pd.DataFrame(_intact(file)["history"])
    )  # nothing is trained: not even the seconds differ
    assert weights_hash(net) == quiet[1] and file.read_bytes() == before


def test_another_training_is_refused(data, options, tmp_path):
    file = tmp_path / "training.pt"
    train(tiny(), data, **options, resume=file)
    before = file.read_bytes()
    for change, said in [
        (dict(epochs=5), "epochs: 4 -> 5"),
        (dict(lr=0.1), "lr: 0.05 -> 0.1"),
        (dict(seed=1), "seed: 0 -> 1"),
        (dict(augment=None), "augment: .*noise.* -> none"),
        (dict(label_corruption=0.0), "label_corruption: 0.2 -> 0.0; labels: "),
        (dict(test=None), "test images: .* -> None"),
        (dict(until=0.9), "until: None -> 0.9"),
    ]:
        with pytest.raises(ValueError, match=f"holds another training: .*{said}"):
            train(tiny(), data, **{**options, **change}, resume=file)
    with pytest.raises(ValueError, match="initial weights: .* -> .*pass the same network"):
        train(tiny(1), data, **options, resume=file)
    with pytest.raises(ValueError, match="images: .* -> "):
        train(tiny(), images("digits", per_class=5, size=16), **options, resume=file)
    frozen = tiny()
    frozen[0].weight.requires_grad_(False)
    with pytest.raises(ValueError, match="frozen:  -> 0.weight"):
        train(frozen, data, **options, resume=file)
    assert file.read_bytes() == before


def test_damaged_and_foreign_resume_files(data, options, quiet, tmp_path):
    file, rng = tmp_path / "training.pt", np.random.default_rng(0)
    train(tiny(), data, **options, resume=file)
    good = np.frombuffer(file.read_bytes(), np.uint8)
    for n in (0, 1, 500, len(good) // 2, len(good) - 1):
        file.write_bytes(good[:n].tobytes())
        with pytest.raises(
            ValueError, match="damaged .*remove .*training.pt to train from the start"
        ):
            train(tiny(), data, **options, resume=file)
    refused = 0
    for at in rng.integers(0, len(good), 40):
        bad = good.copy()
        bad[at] ^= 255
        file.write_bytes(bad.tobytes())
        net = tiny()
        try:
            same(train(net, data, **options, resume=file), quiet[0])
        except ValueError as e:
            assert "training.pt" in str(e)
            refused += 1
        else:
            assert weights_hash(net) == quiet[1]  # the byte was one that means nothing
    assert refused > 10
    torch.save(tiny().state_dict(), file)
    before = file.read_bytes()
    with pytest.raises(ValueError, match="does not hold an interrupted training"):
        train(tiny(), data, **options, resume=file)
    assert file.read_bytes() == before
    with pytest.raises(ValueError, match="is a folder"):
        train(tiny(), data, **options, resume=tmp_path)


def test_checkpoints_of_an_interrupted_training(data, options, quiet, tmp_path):
    both = dict(options, resume=tmp_path / "training.pt", checkpoints=tmp_path / "run")

    def unplug(epoch, step, **logs):
        if epoch == 3:
            raise Unplugged

    with pytest.raises(Unplugged):
        train(tiny(), data, **both, callback=unplug)
    assert len(list((tmp_path / "run").iterdir())) == 4  # the checkpoint is ahead of the file
    with pytest.raises(
        ValueError, match="lacks epoch_0000.pt of a training that has finished 2 epochs"
    ):
        train(tiny(), data, **{**both, "checkpoints": tmp_path / "other"})
    wrong = tmp_path / "wrong"
    wrong.mkdir()
    for e in range(3):
        torch.save(tiny().state_dict(), wrong / f"epoch_{e:04d}.pt")
    with pytest.raises(ValueError, match="epoch_0002.pt in .* is of another training"):
        train(tiny(), data, **{**both, "checkpoints": wrong})
    with pytest.raises(ValueError, match="already holds 4 checkpoints"):
        train(tiny(), data, **{**both, "resume": tmp_path / "new.pt"})
    net = tiny()
    same(train(net, data, **both), quiet[0])
    assert (
        weights_hash(network(tiny(1), weights=tmp_path / "run/epoch_0004.pt"))
        == quiet[1]
        == weights_hash(net)
    )


def test_until(data, tmp_path):
    free = train(tiny(), data, epochs=30, batch_size=8)
    reached = int((free.train_accuracy >= 0.7).to_numpy().argmax())
    assert 0 < reached < 29
    net = tiny()
    short = train(net, data, epochs=30, batch_size=8, until=0.7, resume=tmp_path / "t.pt")
    same(short, free[: reached + 1])
    again = tiny()
    pd.testing.assert_frame_equal(
        train(again, data, epochs=30, batch_size=8, until=0.7, resume=tmp_path / "t.pt"), short
    )
    assert weights_hash(net) == weights_hash(again)
    net = network(tiny())
    train(net, data, epochs=30, batch_size=8, until=0.7)
    assert net.featent["trained"]["epochs_done"] == reached + 1 and json.dumps(net.featent)
    for bad in (0, -1, 1.01, 70):
        with pytest.raises(ValueError, match="is a training accuracy"):
            train(tiny(), data, until=bad)


def test_no_callback_disturbs(data, options, quiet):
    net, seen = tiny(), []

    def rude(epoch, step, **logs):
        assert not any(m.training for m in net.modules())
        seen.append((epoch, step, sorted(logs)))
        torch.rand(7)
        net.train()
        nn.functional.cross_entropy(
            net(torch.rand(4, 1, 16, 16)) if step < 0 else net[8](torch.rand(4, 216)),
            torch.tensor([0, 1, 2, 3]),
        ).backward()

    same(train(net, data, **options, callback=rude), quiet[0])
    assert weights_hash(net) == quiet[1]
    assert [s[:2] for s in seen] == [(i / 4, i) for i in range(17)]
    row = ["lr", "seconds", "test_accuracy", "test_loss", "train_accuracy", "train_loss"]
    assert [s[2] for s in seen] == [[]] + ([["batch_loss", "lr"]] * 3 + [row]) * 4


# ---- batch normalisation


def test_recalibrate(data):
    net = nn.Sequential(nn.BatchNorm2d(1), nn.Dropout(0.5), nn.Flatten(), nn.Linear(256, 10))
    net[0].running_mean.fill_(9.0)
    net.train()
    rng, before = torch.get_rng_state(), weights_hash(net)
    twin, x = (
        recalibrate(net, data, batch_size=len(data)),
        torch.stack([data[i][0] for i in range(len(data))]),
    )
    assert (
        torch.equal(torch.get_rng_state(), rng)
        and weights_hash(net) == before
        and net.training
        and not twin.training
    )
    torch.testing.assert_close(twin[0].running_mean[0], x.mean())
    torch.testing.assert_close(twin[0].running_var[0], x.var())
    assert twin[0].momentum == net[0].momentum == 0.1
    mixed = recalibrate(
        net, data, batch_size=10
    )  # sixty images, sorted by class: batches must mix the classes
    torch.testing.assert_close(mixed[0].running_var[0], x.var(), rtol=0.05, atol=0)
    plain = nn.Linear(2, 2)
    assert (
        weights_hash(recalibrate(plain, data)) == weights_hash(plain)
        and recalibrate(plain, data) is not plain
    )


def test_early_checkpoints_need_recalibration(tmp_path):
    some = images("digits", per_class=10, size=16)
    net = network("small_vgg", in_channels=1)
    train(net, some, epochs=2, batch_size=10, checkpoints=tmp_path)
    run = dict(
        checkpoints=[tmp_path / "epoch_0001.pt"], network=net, images=some, layers="features.conv6"
    )
    raw, settled = assess_checkpoints(**run, recalibrate=False), assess_checkpoints(**run)
    assert settled.loss[0] < raw.loss[0] and settled.accuracy[0] > raw.accuracy[0] + 0.2


# ---- looking on


def loop(watch=None, steps=6, batch=20):
    "A plain training loop"
    net, some = tiny(), images("digits", per_class=6, size=16)
    x, y = torch.stack([some[i][0] for i in range(60)]), torch.from_numpy(some.labels)
    opt, watcher = torch.optim.Adam(net.parameters(), 1e-3), watch and watch(net, some)
    torch.manual_seed(5), random.seed(5), np.random.seed(5)
    net.train()
    net[1].eval()
    for i in range(steps):
        at = torch.randperm(60)[:batch]
        loss = nn.functional.cross_entropy(net(x[at]), y[at])
        opt.zero_grad()
        loss.backward()
        opt.step()
        grads, modes = (
            [p.grad.clone() for p in net.parameters()],
            [m.training for m in net.modules()],
        )
        if watcher:
            watcher(train_loss=loss)
        assert all(torch.equal(a, p.grad) for a, p in zip(grads, net.parameters())) and modes == [
            m.training for m in net.modules()
        ]
    return (
        weights_hash(net),
        torch.rand(3).tolist(),
        random.random(),
        np.random.rand(),
        net,
        watcher,
    )


def test_a_plain_loop_is_not_disturbed():
    free = loop()
    for every, unit, where, count in (
        (2, "epoch", "epoch", 3),
        (5, "step", "step", 1),
        ([2, 3, 11], "step", "step", 2),
    ):
        watched = loop(
            lambda net, some: monitor(
                net, some, every=every, unit=unit, filtration=("clique", "cubical"), null="shuffle"
            )
        )
        assert watched[:4] == free[:4]
        table = watched[5].table
        assert (
            len(table) == count * 2 * 2
            and table[where].tolist() == sorted(table[where])
            and table[{"epoch": "step", "step": "epoch"}[where]].isna().all()
        )
        assert (
            (table.seconds > 0).all() and (table.share > 0).all() and table.train_loss.notna().all()
        )


def test_monitor_is_assess(data):
    "Its last row is what `assess` and `accuracy` say of the recalibrated network"
    *_, net, watch = loop(
        lambda net, some: monitor(net, some, every=6, unit="step", null="shuffle")
    )
    settled = recalibrate(net, data)
    expected, table = assess(settled, data, null="shuffle", batch_size=64), watch.table
    for column in ("eps", "H", "H_valid", "score", "H_null"):
        assert table[column].tolist() == expected.summary()[column].tolist()
    assert table.accuracy[0] == accuracy(settled, data)["top1"] and table.n_images[0] == 60
    assert table.excess.tolist() == (table.H_null - table.H).tolist()
    layer = table.layer[1]
    assert (
        table.l1[1] == pytest.approx(expected.summaries[layer, "l1", "real"].mean())
        and 0 < table.apoz[1] < 1
    )
    raw = monitor(net, data, recalibrate=False, unit="step")
    assert raw(step=1).H.tolist() == assess(net, data).summary().H.tolist()


def test_monitor_in_train(data, options, quiet, tmp_path):
    net = tiny()
    watch = monitor(net, data, every=2, store=tmp_path / "m")
    same(train(net, data, **options, callback=watch), quiet[0])
    assert weights_hash(net) == quiet[1]
    assert watch.table.epoch.unique().tolist() == [
        0,
        2,
        4,
    ] and watch.table.step.unique().tolist() == [0, 8, 16]
    assert watch.table.train_loss.dropna().unique().tolist() == quiet[0].train_loss[[1, 3]].tolist()
    later = monitor(tiny(), data, every=2, store=tmp_path / "m")
    pd.testing.assert_frame_equal(later.table, watch.table)
    with pytest.raises(ValueError, match="scores of other settings: .*null: null -> .*shuffle"):
        monitor(net, data, null="shuffle", store=tmp_path / "m")
    file = tmp_path / "m" / "00000002.json"
    for text in (file.read_text()[:-20], file.read_text().replace('"weights":"', '"weights":"0')):
        file.write_text(text)
        assert monitor(
            tiny(), data, every=2, store=tmp_path / "m"
        ).table.epoch.unique().tolist() == [0, 4]
    other = monitor(
        tiny(1), data, store=tmp_path / "m"
    )  # another training in the same folder: what came later is gone
    other(epoch=2)
    assert other.table.epoch.unique().tolist() == [0, 2]


def test_monitor_errors(data, tmp_path):
    net = tiny()
    with pytest.raises(ValueError, match="no layer matches 'conv9'"):
        monitor(net, data, "conv9")
    with pytest.raises(ValueError, match="every=0"):
        monitor(net, data, every=0)
    with pytest.raises(ValueError, match="every must be"):
        monitor(net, data, every=[])
    with pytest.raises(ValueError, match="choose 'epoch' or 'step'"):
        monitor(net, data, unit="batch")
    with pytest.raises(ValueError, match="choose 'shuffle' or None"):
        monitor(net, data, null="random")
    with pytest.raises(ValueError, match="give the loop's number another name, as train_loss"):
        monitor(net, data)(loss=1.0)
    (tmp_path / "x").write_text("")
    with pytest.raises(FileExistsError, match="holds other things"):
        monitor(net, data, store=tmp_path)
    assert (
        monitor(net, data)(epoch=1, train_loss=math.nan).train_loss.isna().all()
    )  # a loop in trouble is reported, not stopped


# ---- looking back

NAMES = [
    ("epoch_0003.pt", 3, None),
    ("net-epoch=12-val_loss=0.31.ckpt", 12, None),
    ("model_10.pth", 10, None),
    ("vgg16_bn_7.pt", 7, None),
    ("checkpoint_step_400.pt", None, 400),
    ("iter-20.bin", None, 20),
    ("Epoch1.5_step30.safetensors", 1.5, 30),
    ("ITERATION_9.pt", None, 9),
    ("7.pt", 7, None),
]


@pytest.mark.parametrize(("name", "epoch", "step"), NAMES)
def test_names(tmp_path, name, epoch, step):
    assert place_of(tmp_path / name) == {"epoch": epoch, "step": step}


def test_foreign_checkpoints(data, tmp_path, monkeypatch):
    nets = {n: tiny(n) for n in (2, 10, 9)}
    torch.save(nets[2].state_dict(), tmp_path / "net_2.pt")
    torch.save(
        {"state_dict": {f"module.{k}": v for k, v in nets[10].state_dict().items()}, "lr": 0.1},
        tmp_path / "net_10.ckpt",
    )
    torch.save(nets[9].state_dict(), tmp_path / "net_9.pth", _use_new_zipfile_serialization=False)
    for other in ("best.pt", "notes_3.txt", ".net_4.pt", "net_5.pt.part"):
        (tmp_path / other).write_bytes(b"")
    store, net = tmp_path / "scores", tiny()
    before = weights_hash(net)
    table = assess_checkpoints(tmp_path, net, data, "3", test=data, store=store)
    assert (
        table.epoch.tolist() == [2, 9, 10]
        and table.checkpoint.tolist() == ["net_2", "net_9", "net_10"]
        and weights_hash(net) == before
    )
    for n, row in zip((2, 9, 10), table.itertuples()):
        settled = recalibrate(nets[n], data)
        assert row.H == assess(settled, data, "3").summary().H[0]
        assert (
            row.accuracy == row.test_accuracy == accuracy(settled, data)["top1"]
            and row.loss == row.test_loss
        )
    calls, real = [], module._moment
    monkeypatch.setattr(module, "_moment", lambda *a: calls.append(1) or real(*a))
    pd.testing.assert_frame_equal(
        assess_checkpoints(tmp_path, net, data, "3", test=data, store=store), table
    )
    assert not calls
    torch.save(tiny(77).state_dict(), tmp_path / "net_9.pth")  # other weights, and a cut-off result
    (store / "net_2.json").write_text((store / "net_2.json").read_text()[:-9])
    again = assess_checkpoints(tmp_path, net, data, "3", test=data, store=store)
    assert (
        len(calls) == 2
        and again.loss[1] != table.loss[1]
        and again.loss[[0, 2]].tolist() == table.loss[[0, 2]].tolist()
    )
    with pytest.raises(ValueError, match="other settings: .*test_: .* -> absent"):
        assess_checkpoints(tmp_path, net, data, "3", store=store)


def test_stopped_between_checkpoints(data, tmp_path, monkeypatch):
    "What was finished before the stop is kept"
    for n in range(3):
        torch.save(tiny(n).state_dict(), tmp_path / f"epoch_{n}.pt")
    calls, real = [], module._moment

    def some(*a):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*a)

    monkeypatch.setattr(module, "_moment", some)
    with pytest.raises(KeyboardInterrupt):
        assess_checkpoints(tmp_path, tiny(), data, store=tmp_path / "s")
    calls.clear()
    assert (
        assess_checkpoints(tmp_path, tiny(), data, store=tmp_path / "s").epoch.unique().tolist()
        == [0, 1, 2]
        and len(calls) == 1
    )


def test_bad_checkpoints(data, tmp_path, monkeypatch):
    "Every one that is not good is named before anything is computed"
    monkeypatch.setattr(
        module, "_moment", lambda *a: pytest.fail("computed before all files were checked")
    )
    for n in (1, 2, 3):
        torch.save(tiny(n).state_dict(), tmp_path / f"epoch_{n}.pt")
    raw = (tmp_path / "epoch_2.pt").read_bytes()
    (tmp_path / "epoch_2.pt").write_bytes(raw[:-700])
    with pytest.raises(
        ValueError, match="1 of 3 checkpoints cannot be read: epoch_2.pt is damaged"
    ):
        assess_checkpoints(tmp_path, tiny(), data)
    at = raw.index(tiny(2)[8].weight.detach().numpy().tobytes()) + 40
    (tmp_path / "epoch_2.pt").write_bytes(
        raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]
    )  # one bit of one weight
    with pytest.raises(ValueError, match="epoch_2.pt is damaged .wrong checksum"):
        assess_checkpoints(tmp_path, tiny(), data)
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "epoch_2.pt")
    with pytest.raises(ValueError, match="epoch_2.pt does not fit Sequential"):
        assess_checkpoints(tmp_path, tiny(), data)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        assess_checkpoints(tmp_path / "none", tiny(), data)
    with pytest.raises(ValueError, match="there is no checkpoint .*epoch_9"):
        assess_checkpoints([tmp_path / "epoch_9.pt"], tiny(), data)
    with pytest.raises(ValueError, match="no checkpoints"):
        assess_checkpoints([], tiny(), data)
    with pytest.raises(ValueError, match="best.pt has no number"):
        assess_checkpoints([tmp_path / "best.pt"], tiny(), data)
    with pytest.raises(ValueError, match="same name"):
        assess_checkpoints([tmp_path / "epoch_1.pt", tmp_path / "s" / "epoch_1.pt"], tiny(), data)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=8, unique=True))
def test_natural_order(numbers):
    from pathlib import Path

    assert sorted((Path(f"net_{n}.pt") for n in numbers), key=natural_order) == [
        Path(f"net_{n}.pt") for n in sorted(numbers)
    ]


# ---- correlations


def curves(*pairs, epochs=None):
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "epoch": np.arange(len(v), dtype=float) if epochs is None else epochs,
                    "step": np.nan,
                    "layer": "conv",
                    "filtration": "clique",
                    "run": i,
                    "H": v,
                    "loss": w,
                }
            )
            for i, (v, w) in enumerate(pairs)
        ],
        ignore_index=True,
    )


@settings(max_examples=8, deadline=None)
@given(st.integers(-4, 4), st.integers(0, 10**6))
def test_a_known_lag_is_found(lag, seed):
    rng = np.random.default_rng(seed)
    pairs = []
    for _ in range(3):
        w = 3 * np.exp(-np.arange(48) / 12) + 0.1 * rng.normal(size=48)
        v = w[8 - lag : 40 - lag] + 0.005 * rng.normal(size=32)  # v[t] = w[t - lag]
        pairs.append((v, w[8:40]))
    found = follow(curves(*pairs), lags=range(-5, 6)).query("measure == 'changes given time'")
    assert found.lag.iloc[found.rho.argmax()] == lag and found.rho.max() > 0.9


def test_trends_alone_do_not_pass():
    rng, t = np.random.default_rng(0), np.arange(30)
    fall = lambda: 2 * np.exp(-t / 10) + 0.05 * rng.normal(size=30)
    rows = follow(curves(*((fall(), fall()) for _ in range(20)))).set_index("measure")
    assert rows.low["levels"] > 0.8 and rows.runs["levels"] == 20 and rows.n["levels"] == 30
    for m in ("given time", "changes given time"):
        assert rows.low[m] < 0 < rows.high[m]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_measures(seed):
    "The partial correlation is that of residuals; ranks do not see a monotone transform"
    from scipy.stats import rankdata, spearmanr

    v, w = np.random.default_rng(seed).normal(size=(2, 12))
    rows = follow(curves((v, w))).set_index("measure").rho
    t, (a, b) = np.arange(12.0), (rankdata(x) for x in (v, w))
    rest = lambda x: x - np.polyval(np.polyfit(t, x, 1), t)
    assert rows["levels"] == pytest.approx(spearmanr(v, w)[0]) and rows["changes"] == pytest.approx(
        spearmanr(np.diff(v), np.diff(w))[0]
    )
    assert rows["given time"] == pytest.approx(np.corrcoef(rest(a), rest(b))[0, 1]) and rows[
        "value with time"
    ] == pytest.approx(spearmanr(v, t)[0])
    assert follow(curves((np.exp(v), w**3))).set_index("measure").rho[
        "given time"
    ] == pytest.approx(rows["given time"])


def test_intervals_and_runs():
    w = np.array([5.0, 4, 3, 2, 1])
    table = curves((w, w), (w[[1, 0, 2, 3, 4]], w), (w[::-1], w))
    each = follow(table, per_run=True)
    assert each[each.measure == "levels"].rho.tolist() == pytest.approx([1, 0.9, -1])
    row = follow(table).query("measure == 'levels'").iloc[0]
    assert row.rho == pytest.approx(0.3) and (row.low, row.high) == (-1, 1)
    one = follow(table[table.run == 0]).set_index("measure")
    assert math.isnan(one.low["levels"]) and math.isnan(
        one.rho["given time"]
    )  # both move in one direction only


def test_follow_errors():
    w = np.arange(6.0)
    with pytest.raises(ValueError, match="no column G in the table"):
        follow(curves((w, w)), "G")
    with pytest.raises(ValueError, match="1 moments; a correlation needs at least 3"):
        follow(curves((w[:1], w[:1])))
    with pytest.raises(ValueError, match="6 moments; .*the largest lag"):
        follow(curves((w, w)), lags=(0, 4))
    with pytest.raises(ValueError, match=r"loss is missing or infinite at epoch \[3.0\]"):
        follow(curves((w, np.where(w == 3, np.nan, w))))
    with pytest.raises(ValueError, match="H is missing or infinite"):
        follow(curves((np.where(w == 3, np.inf, w), w)))
    with pytest.raises(ValueError, match="equal distances"):
        follow(curves((w, w), epochs=[0, 0.1, 1, 2, 3, 4]), lags=(1,))
    with pytest.raises(ValueError, match="two rows of one epoch"):
        follow(curves((w, w), (w, w)).drop(columns="run"))
    with pytest.raises(ValueError, match="empty"):
        follow(curves((w, w))[:0])
    with pytest.raises(ValueError, match="loss is missing or infinite"):
        follow(curves((w, w * np.nan)))
    late = follow(
        curves((w, np.where(w == 0, np.nan, w)))
    )  # no training loss before the first epoch
    assert (late.n == 5).all() and late.rho[0] == pytest.approx(1)


def test_plot(data):
    w = np.linspace(2, 1, 5)
    table = curves((w, w), (w + 1, w)).assign(H_null=2.0, test_loss=w[0])
    fig = plot_training(table)
    drawn = lambda ax: [
        line for line in ax.lines if len(line.get_xdata())
    ]  # without the legend's own
    assert [len(drawn(ax)) for ax in fig.axes] == [2, 2] and fig.axes[1].get_xlabel() == "epoch"
    many = pd.concat(
        [
            table.assign(layer=f"conv{i}", filtration=f)
            for i in range(8)
            for f in ("clique", "cubical")
        ]
    )
    fig = plot_training(many, null=False)
    assert len(fig.axes) == 4 and len({line.get_color() for line in drawn(fig.axes[2])}) == 8


# ---- the experiment


def test_experiment(tmp_path):
    options = dict(
        train_per_class=6,
        per_class=4,
        size=16,
        epochs=4,
        max_lag=1,
        trainings=2,
        random_labels=0,
        early=2,
        batch_size=20,
        classes="0,1,2",
        layers="features.conv[26]",
        store=tmp_path / "store",
    )

    def run(name, **more):
        return cli.main(
            [
                "run",
                "training",
                "-o",
                str(tmp_path / name),
                *(w for k, v in {**options, **more}.items() for w in ("-p", k, str(v))),
            ]
        )

    assert run("a") == 0
    files = {p.name for p in (tmp_path / "a").iterdir()}
    assert {
        "training.png",
        "last_layer.png",
        "correlations_clique.png",
        "moments.csv",
        "history.csv",
        "correlations.csv",
        "lags.csv",
        "verdict.csv",
        "parameters.json",
    } <= files
    table, rho = (pd.read_csv(tmp_path / "a" / f"{n}.csv") for n in ("moments", "correlations"))
    assert (
        sorted(table.run.unique()) == [0, 1] and table.epoch.nunique() == 5 and rho.runs.max() == 2
    )
    text = pd.read_csv(tmp_path / "a" / "verdict.csv").verdict[0]
    row = rho.query("networks == 'true labels' and value == 'H' and measure == 'levels'").iloc[-1]
    assert ("features.conv6+bn+relu follows the loss" in text) == (
        row.low > 0
    ) and f"{row.rho:+.2f}" in text
    with pytest.raises(ValueError, match="correlations with max_lag=1 need at least 4 epochs"):
        validated("training", **{**options, "epochs": 2})


def test_a_moment_says_what_the_units_know_of_the_classes(data, tmp_path):
    "As the chapters compute it; missing for one class; in a store of before, missing and read."
    net = tiny()
    watch = monitor(net, data, recalibrate=False, store=tmp_path / "kept")
    rows = watch(epoch=0)
    result = assess(net, data)
    units = result.units().groupby("layer", sort=False)
    np.testing.assert_allclose(rows.class_share, units.share.mean(), atol=1e-6)
    np.testing.assert_allclose(
        rows.contrast, units.contrast.agg(lambda c: c.abs().mean()), atol=1e-6
    )
    assert (rows.class_share_lo < rows.class_share).all()
    assert (rows.class_share < rows.class_share_hi).all()
    known = ["class_share", "class_share_lo", "class_share_hi", "contrast"]
    one = images("digits", per_class=4, size=16, classes=[5])
    assert monitor(net, one)(epoch=1)[known].isna().all(axis=None)
    path = next((tmp_path / "kept").glob("0*.json"))
    content = json.loads(path.read_bytes())
    at = [i for i, c in enumerate(content["columns"]) if c not in known]
    content["columns"] = [content["columns"][i] for i in at]
    content["rows"] = [[row[i] for i in at] for row in content["rows"]]
    content.pop("sha256")
    content["sha256"] = module.sha256(module.canonical_json(content))
    path.write_bytes(module.canonical_json(content))
    old = monitor(net, data, recalibrate=False, store=tmp_path / "kept")
    old(epoch=1)
    first = old.table.epoch == 0
    assert old.table[first].class_share.isna().all() and old.table[~first].class_share.notna().all()
    with pytest.raises(ValueError, match="class_share is missing"):
        follow(old.table, "class_share", "loss")
