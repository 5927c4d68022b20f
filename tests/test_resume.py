"A long run survives: kills, several processes and a cluster give the table of one quiet run."

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from joblib import parallel_config

import featent as fe
from featent.assessment.shards import shard_states
from featent.assessment.store import open_store
from featent.assessment.stored import merge

LAYERS = ["features.conv4", "features.conv6"]
OPTIONS = dict(
    layers=LAYERS,
    filtration=("clique", "cubical"),
    null=("shuffle", "random"),
    twins=1,
    batch_size=8,
)
JOB = """
import sys, time, torch, featent as fe
from featent.assessment import filling
real = filling.write_shard
def slow(*args): time.sleep(float(sys.argv[2])); return real(*args)
filling.write_shard = slow
net = fe.network("small_vgg", in_channels=1, seed=3)
images = fe.images("digits", per_class=8)
layers = ["features.conv4", "features.conv6"]
options = dict(filtration=("clique", "cubical"), null=("shuffle", "random"), twins=1, batch_size=8)
fe.fill(sys.argv[1], net, images, layers, shard_size=8, **options)
"""


@pytest.fixture(scope="module")
def digits():
    return fe.images("digits", per_class=8)


@pytest.fixture(scope="module")
def net():
    return fe.network("small_vgg", in_channels=1, seed=3)


@pytest.fixture(scope="module")
def quiet(net, digits):
    return fe.assess(net, digits, **OPTIONS)


def same(a, b):
    pd.testing.assert_frame_equal(a.table, b.table)
    assert set(a.births) == set(b.births) and set(a.summaries) == set(b.summaries)
    for k in b.births:
        np.testing.assert_array_equal(a.births[k], b.births[k])
    for k in b.summaries:
        np.testing.assert_array_equal(a.summaries[k], b.summaries[k])
    for k in b.kernel_l1:
        np.testing.assert_array_equal(a.kernel_l1[k], b.kernel_l1[k])


@pytest.mark.parametrize("shard_size", [8, 20, 1000])
def test_k_shards_are_one(net, digits, quiet, tmp_path, shard_size):
    "Shards begin where batches begin, so the batches, and every birth, are the same."
    r = fe.assess(net, digits, store=tmp_path / "s", shard_size=shard_size, **OPTIONS)
    same(r, quiet)
    assert open_store(tmp_path / "s").n_shards == {8: 10, 20: 4, 1000: 1}[shard_size]
    same(fe.load(tmp_path / "s"), quiet)  # without network and images


def test_killed_three_times(net, digits, quiet, tmp_path):
    folder, done = tmp_path / "s", []
    for wait in (1, 3, 5):  # shards that must be there before the kill
        job = subprocess.Popen(
            [sys.executable, "-c", JOB, str(folder), ".15"], env={**os.environ, "TQDM_DISABLE": "1"}
        )
        start = time.time()
        while (
            len(list((folder / "shards").glob("[0-9]*.npz"))) < wait and time.time() - start < 120
        ):
            time.sleep(0.02)
        job.send_signal(signal.SIGKILL)
        job.wait()
        done.append({p.name: p.stat().st_mtime_ns for p in (folder / "shards").glob("[0-9]*.npz")})
    assert len(done[0]) >= 1 and len(done[-1]) < 10
    for earlier, later in zip(done, done[1:]):
        assert earlier.items() <= later.items()  # what was finished is not done again
    same(fe.assess(net, digits, store=folder, shard_size=8, **OPTIONS), quiet)
    assert not list((folder / "shards").glob(".*.tmp"))


def test_two_processes_share_a_store(net, digits, quiet, tmp_path):
    jobs = [
        subprocess.Popen(
            [sys.executable, "-c", JOB, str(tmp_path / "s"), ".3"],
            env={**os.environ, "TQDM_DISABLE": "1"},
        )
        for _ in range(2)
    ]
    assert [j.wait(timeout=200) for j in jobs] == [0, 0]
    same(fe.load(tmp_path / "s"), quiet)


def test_job_array_and_merge(net, digits, quiet, tmp_path):
    "Jobs that share no folder; merging in any order gives the same."
    for i in range(3):
        fe.fill(tmp_path / f"job{i}", net, digits, shard=(i, 3), shard_size=16, **OPTIONS)
    parts = [tmp_path / f"job{i}" for i in range(3)]
    merge(parts[::-1], tmp_path / "all")
    same(fe.load(tmp_path / "all"), quiet)
    with pytest.raises(FileNotFoundError, match="shards are missing; run the same command again"):
        fe.load(parts[0])


def test_worker_processes(net, digits, quiet, tmp_path):
    same(fe.assess(net, digits, store=tmp_path / "s", shard_size=16, workers=2, **OPTIONS), quiet)


ORPHANS = """
import sys, time, torch, featent as fe
class Slow(torch.utils.data.Dataset):
    classes = ["a", "b"]
    targets = [i % 2 for i in range(160)]
    def __len__(self): return 160
    def __getitem__(self, i):
        if i > 16: time.sleep(.1)
        return torch.rand(1, 8, 8, generator=torch.Generator().manual_seed(i)), i % 2
if __name__ == "__main__":
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 3, padding=1), torch.nn.ReLU())
    options = dict(batch_size=4, shard_size=4, workers=2, preflight="off")
    fe.fill(sys.argv[1], net, fe.images(Slow()), **options)
"""


def children(pid):
    "Processes that a process has started, and those that they have."
    parents = {}
    for p in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(p.parent.name)] = int(p.read_text().rpartition(")")[2].split()[1])
        except OSError:
            pass
    own = [p for p, parent in parents.items() if parent == pid]
    return own + [c for p in own for c in children(p)]


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_workers_end_with_a_parent_that_is_killed(tmp_path):
    (tmp_path / "job.py").write_text(ORPHANS)
    job = subprocess.Popen(
        [sys.executable, str(tmp_path / "job.py"), str(tmp_path / "s")],
        env={**os.environ, "TQDM_DISABLE": "1"},
    )
    start = time.time()
    while (
        len(list((tmp_path / "s/shards").glob("[0-9]*.npz"))) < 8
        and job.poll() is None
        and time.time() - start < 240
    ):
        time.sleep(0.05)
    workers = children(job.pid)
    assert len(workers) >= 2
    job.kill()
    job.wait()
    end = time.time() + 15
    while any(map(alive, workers)) and time.time() < end:
        time.sleep(0.1)
    left = [Path(f"/proc/{p}/cmdline").read_text().replace("\0", " ") for p in workers if alive(p)]
    assert not left
    states = shard_states(open_store(tmp_path / "s")).state
    assert set(states) == {"done", "missing"} and (states == "done").sum() >= 8


class Noise(torch.utils.data.Dataset):
    classes, targets = ["a", "b"], [0, 1] * 64
    x = torch.rand(128, 1, 12, 12, generator=torch.Generator().manual_seed(0))

    def __len__(self):
        return 128

    def __getitem__(self, i):
        return self.x[i], self.targets[i]


def moody(train):
    "A network whose maps depend on its mode."
    torch.manual_seed(0)
    block = lambda c: [
        torch.nn.Conv2d(c, 8, 3, padding=1),
        torch.nn.BatchNorm2d(8),
        torch.nn.ReLU(),
        torch.nn.Dropout(0.5),
    ]
    return torch.nn.Sequential(*block(1), *block(8)).train(train)


@pytest.mark.parametrize("train", [True, False])
def test_workers_that_are_threads_give_the_same_births_and_leave_the_network_alone(tmp_path, train):
    one, net = fe.assess(moody(train), Noise(), batch_size=4), moody(train)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    for i in range(3):
        with parallel_config(backend="threading"):
            r = fe.assess(
                net, Noise(), batch_size=4, shard_size=8, store=tmp_path / f"s{i}", workers=4
            )
        same(r, one)
    assert net.training == train and all(
        torch.equal(v, before[k]) for k, v in net.state_dict().items()
    )


def test_workers_that_are_threads_refuse_a_network_that_cannot_be_copied(tmp_path):
    class Stubborn(torch.nn.Sequential):
        def __deepcopy__(self, memo):
            raise RuntimeError("one of a kind")

    net = Stubborn(torch.nn.Conv2d(1, 3, 3), torch.nn.ReLU())
    with (
        parallel_config(backend="threading"),
        pytest.raises(
            ValueError,
            match="need a copy of the network each, and this one cannot be copied "
            ".*one of a kind.*: use joblib's processes",
        ),
    ):
        fe.fill(tmp_path / "s", net, Noise(), batch_size=4, shard_size=8, workers=2)


def test_dask_with_a_killed_worker(net, digits, quiet, tmp_path):
    distributed = pytest.importorskip(
        "distributed", reason="dask is an extra: pip install '.[dask]'"
    )
    import dask

    with (
        dask.config.set(
            {
                "distributed.comm.timeouts.connect": "60s",
                "distributed.scheduler.allowed-failures": 5,
            }
        ),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, host="127.0.0.1"
        ) as cluster,
        distributed.Client(cluster) as client,
        _killer(client, tmp_path / "s") as killed,
        parallel_config(backend="dask"),
    ):
        r = fe.assess(net, digits, store=tmp_path / "s", shard_size=8, workers=2, **OPTIONS)
    assert killed and 0 < killed[0] < 10
    same(r, quiet)


class _killer:
    "Kill a worker of the cluster as soon as a shard is there."

    def __init__(self, client, folder):
        self.client, self.folder, self.killed = client, folder, []

    def __enter__(self):
        import threading

        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        return self.killed

    def run(self):
        pids = self.client.run(os.getpid)
        start = time.time()
        while (
            not (n := len(list((self.folder / "shards").glob("[0-9]*.npz"))))
            and time.time() - start < 120
        ):
            time.sleep(0.01)
        os.kill(list(pids.values())[0], signal.SIGKILL)
        self.killed.append(n)

    def __exit__(self, *_):
        self.thread.join()


def test_a_store_refuses_other_work(net, digits, tmp_path):
    fe.fill(tmp_path / "s", net, digits, "features.conv6", null="random", twins=1)
    other = fe.network("small_vgg", in_channels=1, seed=4)
    cases = [
        (other, digits, dict(), "network.weights_hash"),
        (net, fe.images("digits", per_class=9), dict(), "images: .*n_images: 80 -> 90"),
        (net, digits, dict(filtration="cubical"), "filtrations"),
        (net, digits, dict(seed=1), "seed: 0 -> 1"),
        (net, digits, dict(batch_size=16), "batch_size"),
        (net, digits, dict(null="shuffle"), "null"),
        (net, digits, dict(summaries=None), "summaries"),
    ]
    for network, images, options, message in cases:
        with pytest.raises(ValueError, match=f"(?s)holds other births: .*{message}"):
            fe.fill(
                tmp_path / "s",
                network,
                images,
                "features.conv6",
                **{"null": "random", "twins": 1, **options},
            )
    r = fe.assess(
        net,
        digits,
        "features.conv6",
        null="random",
        twins=1,
        store=tmp_path / "s",
        rule={"min_eps": 0.9},
    )  # the rule is not part of the births
    assert r.record["rule"]["min_eps"] == 0.9


def test_a_bad_image_keeps_the_rest(net, tmp_path):
    "NaN in one image is named, finished shards are kept; the repaired set is another one."
    x = torch.rand(24, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    x[17] = 3e38  # finite, but its maps are not
    data = fe.images([(a, 0) for a in x])
    with pytest.raises(
        ValueError, match="layer 'features.conv1.* has NaN or infinite activations for image 17"
    ):
        fe.fill(tmp_path / "s", net, data, batch_size=4, shard_size=4)
    assert list(shard_states(open_store(tmp_path / "s")).state) == ["done"] * 4 + ["missing"] * 2


def test_corrupted_shard_is_named_and_made_again(net, digits, tmp_path):
    r = fe.assess(net, digits, "features.conv6", store=tmp_path / "s", shard_size=32)
    file = sorted((tmp_path / "s/shards").glob("*.npz"))[1]
    good = file.read_bytes()
    file.write_bytes(good[:300] + bytes([good[300] ^ 1]) + good[301:])
    with pytest.raises(
        ValueError, match="000001.npz is damaged .*delete it and run the same command again"
    ):
        fe.load(tmp_path / "s")
    with pytest.warns(UserWarning, match="damaged shards .*000001.npz"):
        again = fe.assess(net, digits, "features.conv6", store=tmp_path / "s", shard_size=32)
    pd.testing.assert_frame_equal(again.table, r.table)
    assert file.read_bytes() == good


def test_ctrl_c_is_a_clean_stop(net, digits, quiet, tmp_path):
    job = subprocess.Popen(
        [sys.executable, "-c", JOB, str(tmp_path / "s"), ".3"],
        env={**os.environ, "TQDM_DISABLE": "1"},
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # a shell's background job would ignore it
    start = time.time()
    while not list((tmp_path / "s/shards").glob("[0-9]*.npz")) and time.time() - start < 120:
        time.sleep(0.02)
    job.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in job.communicate(timeout=60)[1] and job.returncode != 0
    assert 0 < len(list((tmp_path / "s/shards").glob("[0-9]*.npz"))) < 10
    same(fe.assess(net, digits, store=tmp_path / "s", shard_size=8, **OPTIONS), quiet)


def test_memory_stays_flat(net):
    "Twice the images, the same largest layer: only births may grow, with a store not even these."
    few, many = (
        fe.estimate(net, fe.images("digits", per_class=n), null="shuffle", sample=2)
        for n in (8, 16)
    )
    assert (
        many.maps_MB == few.maps_MB
        and many.store_MB == pytest.approx(2 * few.store_MB)
        and 0 < few.bytes_per_birth < 2
    )


def test_options_are_checked(net, digits, tmp_path):
    with pytest.raises(
        ValueError, match="workers=2: several processes share their work through a store"
    ):
        fe.assess(net, digits, workers=2)
    with pytest.raises(ValueError, match="numbered 0 to 2"):
        fe.fill(tmp_path / "s", net, digits, shard=(3, 3))
    with pytest.raises(ValueError, match="workers=0"):
        fe.fill(tmp_path / "s", net, digits, workers=0)
    with pytest.raises(ValueError, match="twins=0"):
        fe.assess(net, digits, null="random", twins=0)
    assert json.loads((tmp_path / "s/manifest.json").read_text())["n_images"] == 80


def test_too_little_space_is_said_before_the_run(net, digits, tmp_path, monkeypatch):
    import shutil
    from collections import namedtuple

    monkeypatch.setattr(
        shutil,
        "disk_usage",
        lambda p: namedtuple("usage", "total used free")(10**9, 10**9 - 1000, 1000),
    )
    with pytest.raises(OSError, match="the store needs about .* MB left: choose another disk"):
        fe.fill(tmp_path / "s", net, digits)
    assert not (tmp_path / "s").exists()


class Forward(torch.nn.Module):
    "Two convolutions, and something in between."

    def __init__(self, between, **buffers):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.first, self.second, self.between = (
            torch.nn.Conv2d(3, 4, 3),
            torch.nn.Conv2d(4, 4, 3),
            between,
        )
        with torch.no_grad():
            for p in self.parameters():
                p.copy_(torch.randn(p.shape, generator=generator))
        for name, value in buffers.items():
            setattr(self, name, value)

    def forward(self, x):
        return torch.relu(self.second(self.between(self, self.first(x))))


BETWEEN = {
    "slope": (
        lambda net, x: torch.nn.functional.leaky_relu(x, 0.1),
        lambda net, x: torch.nn.functional.leaky_relu(x, 0.3),
    ),
    "clamp": (lambda net, x: x.clamp(0, 1), lambda net, x: x.clamp(0, 2)),
    "crop": (lambda net, x: x[:, :, 1:, 1:], lambda net, x: x[:, :, :-1, :-1]),
    "exponent": (lambda net, x: x**2, lambda net, x: x**3),
    "factor": (lambda net, x: x * 2.0 - 1, lambda net, x: x * 3.0 - 1),
    "channels": (lambda net, x: x[:, [0, 1, 2, 3]], lambda net, x: x[:, [3, 2, 1, 0]]),
    "roll": (lambda net, x: x.roll(1, 2), lambda net, x: x.roll(1, 3)),
    "pool": (
        lambda net, x: torch.nn.functional.max_pool2d(x, 2),
        lambda net, x: torch.nn.functional.avg_pool2d(x, 2),
    ),
    "constant": (
        lambda net, x: x - torch.tensor([1.0, 2, 3, 4])[:, None, None],
        lambda net, x: x - torch.tensor([1.0, 2, 3, 5])[:, None, None],
    ),
}


@pytest.fixture(scope="module")
def colours():
    return fe.images(
        [
            (torch.rand(3, 10, 10, generator=torch.Generator().manual_seed(i)), i % 2)
            for i in range(8)
        ]
    )


def filled(folder, net, images):
    options = dict(batch_size=4, shard_size=4, summaries=None, preflight="off")
    return fe.fill(folder, net, images, **options)


@pytest.mark.parametrize("name", BETWEEN)
def test_the_same_weights_in_another_forward_are_another_network(tmp_path, colours, name):
    one, other = map(Forward, BETWEEN[name])
    filled(tmp_path / "s", one, colours)
    (tmp_path / "s/shards/000001.npz").unlink()
    with pytest.raises(ValueError, match="holds other births: calls"):
        filled(tmp_path / "s", other, colours)
    assert list(filled(tmp_path / "s", Forward(BETWEEN[name][0]), colours).state) == ["done"] * 2


def test_another_setting_of_a_module_is_another_network(tmp_path, colours):
    build = lambda slope: torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3),
        torch.nn.LeakyReLU(slope),
        torch.nn.Conv2d(4, 4, 3),
        torch.nn.ReLU(),
    )
    one, other = build(0.1), build(0.3)
    other.load_state_dict(one.state_dict())
    filled(tmp_path / "s", one, colours)
    with pytest.raises(ValueError, match="holds other births: calls"):
        filled(tmp_path / "s", other, colours)


def test_other_pixels_under_the_same_names_are_other_images(tmp_path):
    "Other pixels, or two files that change places, are others; the folder renamed is not."
    from PIL import Image

    net, rng, top = (
        torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU()),
        np.random.default_rng(0),
        tmp_path / "pictures",
    )
    draw = lambda path: Image.fromarray(rng.integers(0, 255, (12, 12, 3), dtype=np.uint8)).save(
        path
    )
    for name in "ab":
        (top / name).mkdir(parents=True)
        for i in range(4):
            draw(top / name / f"{i}.bmp")
    fill = lambda folder=top: filled(tmp_path / "s", net, fe.images(folder))
    fill()
    (tmp_path / "s/shards/000001.npz").unlink()
    kept = (top / "a/0.bmp").read_bytes()
    draw(top / "a/0.bmp")
    with pytest.raises(ValueError, match="holds other births: images"):
        fill()
    (top / "a/0.bmp").write_bytes((top / "a/1.bmp").read_bytes())
    (top / "a/1.bmp").write_bytes(kept)
    with pytest.raises(ValueError, match="holds other births: images"):
        fill()
    (top / "a/1.bmp").write_bytes((top / "a/0.bmp").read_bytes())
    (top / "a/0.bmp").write_bytes(kept)
    top.rename(tmp_path / "renamed")
    assert list(fill(tmp_path / "renamed").state) == ["done"] * 2
