"A zoo of networks: killed, shared, damaged or diverging, it ends with the table of one quiet run."

import json
import os
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from featent.data.layers import list_layers
from featent.data.networks import network
from featent.data.records import weights_hash
from featent.data.sampling import corrupt_labels, images
from featent.studies.margins import evaluate
from featent.studies.regularisers import augmentation, dropping
from featent.studies.zoo import train_zoo
from featent.studies.zoo_folder import history, load_network, read_zoo
from featent.studies.zoo_plans import (
    PLAN,
    SETTINGS_A,
    check_plans,
    part,
    set_a,
    set_b,
    training_images,
)

JOB = """
import json, os, random, signal, sys, time, pathlib, torch
import sklearn.datasets, torchvision  # once, and not in every child
torch.set_num_threads(1)
import pandas as pd
from featent.data import resuming
from featent.data.sampling import images
from featent.studies.zoo import train_zoo
folder, plans, wait = pathlib.Path(sys.argv[1]), pd.read_json(sys.argv[2]), [0]
real = resuming._save
def slow(*args): time.sleep(wait[0]); return real(*args)
resuming._save = slow

def begun(name):
    "A process of its own that trains the zoo."
    if pid := os.fork(): return pid
    try:
        test = images("digits", per_class=3, size=8, split="test")
        train_zoo(plans, images("digits", per_class=4, size=8), test, folder/name)
        os._exit(0)
    finally: os._exit(1)

def in_work(killed):
    "Whether the first network has been begun, or one is finished."
    return (killed/"plain-0.resume").exists() or any(killed.glob("*-0.json"))

wait[0], rng, done = .1, random.Random(0), []
for _ in range(3):
    pid = begun("killed")
    start = time.time()
    while not in_work(folder/"killed") and time.time() - start < 60: time.sleep(.01)
    time.sleep(rng.uniform(.1, 1.5))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    done.append({p.name: p.stat().st_mtime_ns for p in (folder/"killed").glob("*.json")})
wait[0] = .01
codes = [os.waitpid(pid, 0)[1] for pid in [begun("shared"), begun("shared")]]
print(json.dumps({"done": done, "codes": codes}))
"""


def plans():
    some = dict(seeds=(0,), epochs=5, batch_size=10)
    return pd.concat(
        [
            set_a(settings=["plain", "dropout", "all", "quarter"], **some),
            set_a("small_resnet", settings={"residual": {"augment": "shift"}}, **some),
            set_b(corruption=(1,), until=0.5, **{**some, "epochs": 7}),
            set_a(settings={"absurd": {"lr": 1e12}}, **some),
        ],
        ignore_index=True,
    )


@pytest.fixture(scope="module")
def digits():
    return images("digits", per_class=4, size=8)


@pytest.fixture(scope="module")
def held_out():
    return images("digits", per_class=3, size=8, split="test")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    "Sums over threads depend on their number."
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def quiet(digits, held_out, tmp_path_factory):
    folder = tmp_path_factory.mktemp("zoo") / "quiet"
    return folder, train_zoo(plans(), digits, held_out, folder)


def same(a, b):
    pd.testing.assert_frame_equal(
        a.drop(columns="seconds"), b.drop(columns="seconds"), check_exact=True
    )


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    "One process starts others: three are killed at random moments, then two work side by side."
    if not hasattr(os, "fork"):
        pytest.skip("this system has no fork")
    folder = tmp_path_factory.mktemp("jobs")
    (folder / "plans.json").write_text(plans().to_json())
    found = subprocess.run(
        [sys.executable, "-c", JOB, str(folder), str(folder / "plans.json")],
        env={**os.environ, "TQDM_DISABLE": "1", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=500,
    )
    return folder, json.loads(found.stdout.splitlines()[-1])


def test_killed_three_times(jobs, quiet, digits, held_out):
    "At random moments, writing included; the table is that of an uninterrupted run, bit for bit."
    folder, done = jobs[0] / "killed", jobs[1]["done"]
    assert len(done[-1]) < 1 + len(plans())  # it was not finished
    for earlier, later in zip(done, done[1:]):
        assert earlier.items() <= later.items()
    same(train_zoo(plans(), digits, held_out, folder), quiet[1])
    assert not [p.name for p in folder.iterdir() if p.name.startswith(".") or ".resume" in p.name]
    for p in folder.glob("*.pt"):
        assert p.read_bytes() == (quiet[0] / p.name).read_bytes()


def test_two_processes_share_a_folder(jobs, quiet):
    assert jobs[1]["codes"] == [0, 0]
    same(read_zoo(jobs[0] / "shared"), quiet[1].sort_values("name", ignore_index=True))


def test_finished_networks_are_not_touched(quiet, digits, held_out):
    folder, table = quiet
    before = {p.name: p.stat().st_mtime_ns for p in folder.iterdir() if p.is_file()}
    pd.testing.assert_frame_equal(train_zoo(plans(), digits, held_out, folder), table)
    pd.testing.assert_frame_equal(
        train_zoo(plans()[2:4], digits, held_out, folder), table[2:4].reset_index(drop=True)
    )
    assert before == {p.name: p.stat().st_mtime_ns for p in folder.iterdir() if p.is_file()}


def test_columns_say_what_the_network_does(quiet, digits, held_out):
    folder, table = quiet
    assert list(table[list(PLAN)]) == list(PLAN) and table.state.tolist() == ["done"] * 6 + [
        "failed"
    ]
    for r in table[:6].itertuples():
        net, own = (
            load_network(folder, r.name),
            training_images(digits, table[list(PLAN)].to_dict("records")[r.Index])[1],
        )
        assert not net.training and weights_hash(net) == r.weights_hash and len(own) == r.n_images
        assert evaluate(net, own) == {
            "loss": r.train_loss,
            "accuracy": r.train_accuracy,
            "margin": r.margin,
        }
        assert (
            evaluate(net, held_out)["accuracy"] == r.test_accuracy
            and r.gap == r.train_accuracy - r.test_accuracy
        )
        assert (
            weights_hash(load_network(folder, r.name, initial=True))
            == weights_hash(network(r.architecture, in_channels=1, seed=0))
            != r.weights_hash
        )
        assert len(history(folder, r.name)) == r.epochs_run
    assert table.n_images.tolist()[3] == 10 and table.epochs_run[:5].eq(5).all()
    random_labels = training_images(digits, {"share": 1.0, "label_corruption": 1.0, "seed": 0})[
        1
    ].labels
    np.testing.assert_array_equal(random_labels, corrupt_labels(digits.labels, 1, 10, 0))


def test_a_diverging_network_is_recorded(quiet):
    folder, table = quiet
    failed = table.iloc[-1]
    assert (
        failed.state == "failed"
        and "diverged" in failed.reason
        and np.isnan(failed.gap)
        and failed.file == ""
    )
    with pytest.raises(ValueError, match="its training failed .*diverged"):
        load_network(folder, "absurd-0")


def test_damage(quiet, digits, held_out, tmp_path):
    "Truncated files are refused by readers, and redone by the trainer with a word."
    import shutil

    folder, table = tmp_path / "zoo", quiet[1]
    shutil.copytree(quiet[0], folder)
    for name, size in (("plain-0.pt", 1000), ("all-0.json", 200)):
        os.truncate(folder / name, size)
    with pytest.raises(ValueError, match="'plain-0': its weights are damaged"):
        load_network(folder, "plain-0")
    with pytest.raises(ValueError, match="all-0.json is damaged"):
        read_zoo(folder)
    text = json.loads((folder / "dropout-0.json").read_text())
    (folder / "dropout-0.json").write_text(json.dumps({**text, "row": {**text["row"], "gap": 0.0}}))
    (folder / "quarter-0.json").unlink()
    (folder / "quarter-0.resume").write_bytes(b"no training")
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        same(train_zoo(plans(), digits, held_out, folder), table)
    words = " ".join(str(w.message) for w in seen)
    for part_ in (
        "plain-0: its weights are damaged",
        "all-0.json is damaged",
        "dropout-0.json is damaged (checksum)",
        "quarter-0.resume is damaged",
    ):
        assert part_ in words
    same(read_zoo(folder), table.sort_values("name", ignore_index=True))


def test_foreign_folders_are_refused(quiet, digits, held_out, tmp_path):
    folder = quiet[0]
    with pytest.raises(ValueError, match="belongs to other images: .*fingerprint"):
        train_zoo(plans(), images("digits", per_class=5, size=8), held_out, folder)
    with pytest.raises(ValueError, match="belongs to other images: test"):
        train_zoo(plans(), digits, digits, folder)
    with pytest.raises(PermissionError, match="another plan: epochs: 5 -> 6"):
        train_zoo(plans().assign(epochs=6), digits, held_out, folder)
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(FileExistsError, match="no zoo"):
        train_zoo(plans(), digits, held_out, tmp_path)
    with pytest.raises(FileNotFoundError, match="no zoo"):
        read_zoo(tmp_path)
    with pytest.raises(ValueError, match="choose from absurd-0"):
        load_network(folder, "nobody")


@pytest.mark.parametrize(
    "plan,message",
    [
        ({"name": "a/b"}, "becomes that of a file"),
        ({"name": "a", "architecture": "vgg99"}, "unknown architecture"),
        ({"name": "a", "augment": "rotate"}, "choose from ''"),
        ({"name": "a", "lr": 0}, "lr above 0"),
        ({"name": "a", "epochs": 0}, "at least 1"),
        ({"name": "a", "dropout": 1}, "dropout lies in"),
        ({"name": "a", "label_corruption": 2}, "label_corruption in"),
        ({"name": "a", "speed": 2}, "no column speed"),
        ({"seed": 2}, "the column name"),
    ],
)
def test_plans_that_cannot_be_trained(plan, message):
    with pytest.raises(ValueError, match=message):
        check_plans([plan])


def test_plans():
    assert len(set_a()) == 2 * len(SETTINGS_A) and set_a().name.is_unique
    t = set_b(("small_vgg", "small_resnet"), (0, 1, 2))
    assert (
        len(t) == 36
        and t.name.is_unique
        and (t.groupby("label_corruption").size() == 6).all()
        and not t[["weight_decay", "dropout"]].any(axis=None)
    )
    with pytest.raises(ValueError, match="two plans have the name 'all-0'"):
        check_plans(pd.concat([set_a(seeds=0), set_a(seeds=0)]))
    with pytest.raises(ValueError, match="cannot take a batch|takes 3 channels"):
        train_zoo(
            [{"name": "a", "architecture": "vgg11"}],
            images("digits", per_class=1),
            images("digits", per_class=1),
            "nowhere/zoo",
        )
    assert not os.path.exists("nowhere")


def test_dropout_leaves_no_trace():
    net, x = network("small_resnet", in_channels=1), torch.randn(8, 1, 16, 16)
    names, keys, plain = list(list_layers(net, x).layer), list(net.state_dict()), net(x)
    with dropping(net, 0.5):
        assert (
            list(list_layers(net, x).layer) == names
            and list(net.state_dict()) == keys
            and net(x).equal(plain)
        )
        seen = []
        hook = net.fc.register_forward_hook(lambda m, a, o: seen.append(a[0]))
        net.train()(x)
        net.eval()
        hook.remove()
        assert 0.3 < (seen[0] == 0).float().mean() < 0.7
    assert not any(m._forward_pre_hooks for m in net.modules()) and not any(
        isinstance(m, nn.Dropout) for m in net.modules()
    )


def test_augmentation_moves_whole_images():
    x = torch.arange(2 * 3 * 16 * 16.0).reshape(2, 3, 16, 16)
    torch.manual_seed(0)
    y = augmentation("shift")(x)
    for a, b in zip(x, y):
        moves = [
            (i, j)
            for i in range(-2, 3)
            for j in range(-2, 3)
            if b[:, 2:-2, 2:-2].equal(a[:, 2 + i : 14 + i, 2 + j : 14 + j])
        ]
        assert len(moves) == 1
    torch.manual_seed(0)
    z = augmentation("flip")(x.repeat(50, 1, 1, 1))
    pairs = list(zip(z, x.repeat(50, 1, 1, 1)))
    flipped = [(i.equal(j.flip(2)), i.equal(j)) for i, j in pairs]
    assert all(a != b for a, b in flipped) and 30 < sum(a for a, _ in flipped) < 70
    assert augmentation("") is None


def test_evaluate_against_plain_pytorch(digits):
    net = network("small_vgg", in_channels=1, seed=2).train()
    found = evaluate(net, digits)
    assert net.training and net.featent["seed"] == 2
    with torch.no_grad():
        z = net.eval()(torch.stack([digits[i][0] for i in range(len(digits))])).double()
    y = torch.tensor(digits.labels)
    margins = [float(a[t] - max(v for j, v in enumerate(a) if j != t)) for a, t in zip(z, y)]
    assert found["loss"] == pytest.approx(float(nn.functional.cross_entropy(z, y)), rel=1e-6)
    assert found["accuracy"] == float((z.argmax(1) == y).double().mean()) and found[
        "margin"
    ] == pytest.approx(np.quantile(margins, 0.1), rel=1e-5)


def test_part_is_nested_and_known(digits):
    half, quarter = part(digits, 0.5), part(digits, 0.25)
    assert set(quarter.names) < set(half.names) < set(digits.names) and part(digits, 1) is digits
    assert np.bincount(quarter.labels).tolist() == [1] * 10 and half.record["fingerprint"] not in (
        digits.record["fingerprint"],
        quarter.record["fingerprint"],
    )
