"""The benchmark: its structure, the check before the clock, and what is written."""

import importlib.util
import json
import os
import socket
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from featent.commands import bench as b, end_to_end, engines as engines_of
from featent.topology.kernels import clique_births, cubical_births


@pytest.fixture(scope="module")
def quick():
    "One quick run: engines, pipeline, machine"
    return b.main(quick=True)


def test_structure(quick):
    engines, pipeline, about = quick
    assert list(engines.columns) == [
        "race",
        "engine",
        "size",
        "cores",
        "maps",
        "status",
        "turns",
        "maps_per_s",
        "ratio",
    ]
    assert set(engines["size"]) == {7, 14} and len(pipeline) == 0
    one = engines[engines.cores == 1]
    assert (
        set(one.engine) == {*engines_of.OURS, *engines_of.PEERS}
        and not one.duplicated(["engine", "size"]).any()
    )
    assert about["cores"] >= 1 and about["versions"]["gudhi"] and about["peak_MB"] == {}


def test_every_installed_engine_agrees_and_is_timed(quick):
    engines = quick[0]
    needed = {name: row[1] for name, row in engines_of.PEERS.items()}
    installed = engines.engine.map(
        lambda e: e in engines_of.OURS or importlib.util.find_spec(needed[e]) is not None
    )
    assert (engines.status[installed] == "ok").all() and (
        engines.status[~installed] == "not installed"
    ).all()
    timed = engines[installed]
    assert (timed.turns >= 3).all() and (timed.maps >= 8).all() and (timed.maps_per_s > 0).all()
    assert engines[~installed].maps_per_s.isna().all()


def test_ratios_are_to_the_yardstick(quick):
    engines = quick[0]
    one = engines[(engines.cores == 1) & (engines.status == "ok")]
    for (race, _), rows in one.groupby(["race", "size"]):
        peers = rows[~rows.engine.isin(engines_of.OURS)]
        yard = (
            peers.maps_per_s.max()
            if race != "cubical"
            else peers.set_index("engine").maps_per_s["gudhi CubicalPersistence"]
        )
        np.testing.assert_allclose(rows.ratio, rows.maps_per_s / yard)
    assert engines[engines.cores > 1].ratio.isna().all()


def test_maps():
    maps = engines_of.relu_maps(500, 14)
    assert maps.shape == (500, 14, 14) and maps.dtype == np.float32 and maps.flags.c_contiguous
    assert 0.45 < (maps == 0).mean() < 0.55
    assert np.array_equal(maps, engines_of.relu_maps(500, 14)) and not np.array_equal(
        maps, engines_of.relu_maps(500, 14, seed=1)
    )


@pytest.mark.parametrize("size", [4, 7, 14, 28])
def test_referee(size):
    maps = engines_of.relu_maps(64, size, seed=5)
    for race, births in (
        ("cubical", cubical_births(maps)),
        ("clique", clique_births(maps)),
        ("clique, 51 levels", clique_births(maps, max_level=51)),
    ):
        assert np.array_equal(engines_of.referee_births(race, maps), births), race


def run(**given):
    return b.bench(**{"sizes": (14,), "seconds": 0.01, "networks": (), "n_jobs": (1,), **given})[
        0
    ].set_index("engine")


@pytest.mark.parametrize(
    "peer", ["gudhi CubicalComplex", "gudhi RipsPersistence", "gudhi RipsPersistence, 51 levels"]
)
def test_a_wrong_peer_is_caught(monkeypatch, peer):
    race, module, prepare, work = engines_of.PEERS[peer]
    off = 1e-3 if race == "cubical" else 1

    def wrong(x):
        found = [np.array(v, float) for v in work(x)]
        k = next(i for i, v in enumerate(found) if len(v))
        found[k][:, 0] += off
        return found

    monkeypatch.setitem(engines_of.PEERS, peer, (race, module, prepare, wrong))
    rows = run(peers=(peer,))
    assert (
        rows.status[peer].startswith("wrong births: 1 of")
        and np.isnan(rows.maps_per_s[peer])
        and rows.maps[peer] == 0
    )
    assert (rows.status.drop(peer) == "ok").all()


def test_a_wrong_kernel_is_caught(monkeypatch):
    monkeypatch.setitem(
        engines_of.OURS,
        "featent births, cubical",
        ("cubical", lambda m, n_jobs: cubical_births(m) + 1, np.asarray),
    )
    rows = run(peers=())
    assert rows.status["featent births, cubical"].startswith("wrong births")
    assert rows.status.drop("featent births, cubical").eq("ok").all()


def test_peers_that_fail_or_are_missing(monkeypatch):
    def fail(x):
        raise RuntimeError("out of order")

    monkeypatch.setitem(engines_of.PEERS, "broken", ("cubical", "gudhi", engines_of.negated, fail))
    monkeypatch.setitem(
        engines_of.PEERS, "absent", ("cubical", "no_such_module_anywhere", engines_of.negated, fail)
    )
    rows = run(peers=("broken", "absent"))
    assert (
        rows.status["broken"] == "failed: RuntimeError: out of order"
        and rows.status["absent"] == "not installed"
    )
    table = b.speeds(run(peers=("absent", "gudhi CubicalPersistence")).reset_index())
    assert table.loc[("cubical", "absent"), 14] == "not installed"


def test_wrong_arguments():
    with pytest.raises(ValueError, match="choose from gudhi"):
        run(peers=("perseus",))
    with pytest.raises(ValueError, match="at least 4"):
        run(sizes=(3,))
    with pytest.raises(ValueError, match="at least 4"):
        run(sizes=())
    with pytest.raises(ValueError, match="positive"):
        run(seconds=0)


def test_pipeline():
    table = end_to_end.pipeline(("small_vgg",), images=4, size=32, turns=1)
    assert list(table["mode"]) == list(end_to_end.MODES) and (table.layers > 0).all()
    assert (table.ratio_whole >= table.ratio).all() and (
        table[["forward_s", "setup_s", "assess_s"]] > 0
    ).all().all()


def test_memory():
    found = end_to_end.peak_memory(per_class=(2,), turns=1)
    assert list(found) == [20] and (found[20] is None or 50 < found[20] < 20000)


def test_targets(quick):
    engines, pipeline, about = quick
    table = b.targets(engines, pipeline, {**about, "peak_MB": {100: 400.0, 1000: 404.0}}).set_index(
        "goal"
    )
    assert table.met["peak memory, 1000 over 100 images"] == "yes"
    assert table.met["assess VGG16, cubical, over forward pass"] == "not measured"
    assert set(table.met) <= {"yes", "no", "not measured"}
    fake = pd.DataFrame(
        {
            "network": "vgg16",
            "mode": list(end_to_end.MODES),
            "ratio": [1.05, 1.2, 1.29, 1.1, 1.4],
        }
    )
    met = b.targets(engines, fake, about).set_index("goal").met
    assert [
        met[f"assess VGG16, {m}, over forward pass"]
        for m in ("clique", "clique as released", "cubical")
    ] == ["yes", "no", "yes"]
    assert met["assess VGG16, clique, null, over forward pass"] == "yes"
    assert met["assess VGG16, cubical, null, over forward pass"] == "no"
    assert met["assess MobileNetV2, clique, null, over forward pass"] == "not measured"


def test_costs_of_the_null_are_differences_of_times():
    speed = {
        "featent births, clique": 2e6,
        "featent births with null, clique": 1.6e6,
        "featent births, cubical": 5e5,
    }
    rows = {"engine": list(speed), "maps_per_s": list(speed.values())}
    table = pd.DataFrame(rows).assign(size=14, cores=1, status="ok")
    costs = b.null_costs(table).set_index("filtration")
    np.testing.assert_allclose(costs.ratio["clique"], 0.25)
    np.testing.assert_allclose(costs.null_us["clique"], 0.125)
    assert np.isnan(costs.ratio["cubical"])


def test_files(quick, tmp_path):
    folder = b.save_bench(tmp_path / "speed", *quick)
    assert sorted(p.name for p in folder.iterdir()) == [
        "bench.csv",
        "bench.json",
        "bench.png",
        "pipeline.csv",
    ]
    assert len(pd.read_csv(folder / "bench.csv")) == len(quick[0])
    text = (folder / "bench.json").read_text(encoding="utf-8")
    assert json.loads(text)["machine"]["versions"]["numpy"] == np.__version__
    here = {
        socket.gethostname(),
        str(Path.home()),
        os.getcwd(),
        str(tmp_path),
        str(Path(b.__file__).parent),
    } - {"", "/"}
    assert not [h for h in here if h in text] and "/root" not in text and "/home" not in text


def test_plot(quick):
    fig = b.plot_bench(quick[0])
    assert isinstance(fig, Figure) and len(fig.axes) == 3
    assert all(ax.get_xscale() == "log" and ax.get_yscale() == "log" for ax in fig.axes)
    for ax in fig.axes:
        assert len({line.get_color() for line in ax.lines}) == len(ax.lines)
