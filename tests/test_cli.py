"The command line as a user types it: what it writes, what it says, how it exits."
import json
import os
import re
import subprocess
import sys

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch

import featent as fe
from featent import cli, runs

QUICK = [a for k, v in dict(classes="1,2,3", per_class=5, epochs=1, random_networks=2, n_resamples=10, filtration="clique").items() for a in ("-p", k, str(v))]


def told(capsys, *words):
    "Exit code and what was said on stderr, one line."
    code = cli.main([str(w) for w in words])
    err = capsys.readouterr().err
    assert err.count("\n") <= 1
    return code, err


def in_folder(folder, *words):
    "The installed command in another folder."
    return subprocess.run([sys.executable, "-c", "import sys; from featent.cli import main; sys.exit(main())", *map(str, words)], cwd=folder, capture_output=True, text=True,
                          env={**os.environ, "MPLBACKEND": "agg", "OMP_NUM_THREADS": "1"})


@pytest.fixture(scope="module")
def depth(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    done = in_folder(folder, "run", "depth", *QUICK, "-o", "d")
    assert done.returncode == 0, done.stderr
    return folder


def test_depth_writes_what_it_promises(depth):
    assert sorted(os.listdir(depth)) == ["d"]
    assert {"depth.ipynb", "depth_clique.png", "profiles.csv", "trends.csv", "excess.csv", "verdict.csv", "training.csv", "parameters.json", "trained"} <= set(os.listdir(depth/"d"))
    profiles = pd.read_csv(depth/"d/profiles.csv")
    assert profiles.groupby("series").run.nunique().to_dict() == {"trained": 1, "random networks": 2, "shuffled maps": 1}
    assert profiles.layer.nunique() == 6 and profiles.H.between(0, np.log(5)).all()
    assert json.loads((depth/"d/parameters.json").read_text())["per_class"] == 5
    back = fe.load(depth/"d/trained")
    assert len(back.labels) == 15 and "shuffle" in back.record["null"]


def test_depth_page_is_clean(depth):
    page = nbformat.read(depth/"d/depth.ipynb", 4)
    outputs = [o for c in page.cells if c.cell_type == "code" for o in c.outputs]
    assert not any(o.output_type == "error" for o in outputs)
    assert not any("widget" in k for o in outputs for k in o.get("data", {}))
    assert any("image/png" in o.get("data", {}) for o in outputs)


def test_a_sweep_of_depth(depth, monkeypatch):
    "Two seeds side by side, of which one repeats the run: the same numbers to the last bit."
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert cli.main(["sweep", "depth", *QUICK, "-p", "seed", "0", "1", "-j", "2", "-o", str(depth/"seeds")]) == 0
    same, other = sorted((depth/"seeds/runs").iterdir())
    assert same.name.startswith("seed=0-")
    for name in ("profiles.csv", "trends.csv", "trained/table.csv", "parameters.json"):
        assert (depth/"d"/name).read_bytes() == (same/name).read_bytes() != (other/name).read_bytes(), name
    trends = pd.read_csv(depth/"seeds/tables/trends.csv")
    assert trends.seed.value_counts().to_dict() == {k: len(pd.read_csv(depth/"d/trends.csv")) for k in (0, 1)} and {"trained", "shuffled maps"} <= set(trends.series)
    assert "depth_clique.png" in (depth/"seeds/index.html").read_text(encoding="utf-8")


def test_list_help_and_parameters(capsys):
    assert cli.main(["run", "--list"]) == 0 and "Does feature entropy fall with depth?" in capsys.readouterr().out
    assert cli.main(["run", "depth", "--parameters"]) == 0
    out = capsys.readouterr().out
    assert all(p["help"] for p in cli.parameters("depth").values()) and "random_networks" in out
    for words in (["--help"], ["run", "--help"], ["assess", "--help"]):
        with pytest.raises(SystemExit) as e: cli.main(words)
        assert e.value.code == 0 and "examples:" in capsys.readouterr().out


@pytest.mark.parametrize("words,message", [
    (["run", "dept"], "no experiment 'dept'; choose from"),
    (["run", "depth", "-p", "epoch", "3"], "no parameter epoch; choose from network, weights, data"),
    (["run", "depth", "-p", "epochs", "many"], "parameter epochs='many' is not of type int"),
    (["assess", "--network", "resnet19", "-o", "r"], "resnet18"),
    (["assess", "--network", "small_vgg", "--images", "cifar", "-o", "r"], "cifar10"),
    (["assess", "--network", "small_vgg", "--layers", "conv9", "-o", "r"], "any of: features.conv1"),
    (["assess", "--network", "small_vgg", "--weights", "missing.pth", "-o", "r"], "missing.pth"),
    (["assess", "--network", "small_vgg", "--per-class", "9999", "-o", "r"], "9999"),
    (["assess", "--network", "small_vgg"], "give a folder for the result with -o"),
    (["assess", "--network", "small_vgg", "--shard", "0", "-o", "r"], "--shard and --n-shards go together"),
    (["assess", "--network", "small_vgg", "--shard", "3", "--n-shards", "3", "--store", "s"], "the jobs are numbered 0 to 2"),
    (["assess", "--network", "small_vgg", "--shard", "0", "--n-shards", "3"], "give it with --store DIR"),
    (["assess", "--network", "small_vgg", "--shard", "0", "--n-shards", "3", "--store", "s", "-o", "r"], "leave out -o"),
    (["assess", "--network", "small_vgg", "--workers", "2", "-o", "r"], "--workers and --shard-size need a store"),
    (["assess", "--network", "small_vgg", "--null", "random", "--twins", "0", "-o", "r"], "twins=0"),
])
def test_wrong_words_exit_with_2_and_leave_nothing(capsys, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    code, err = told(capsys, *words)
    assert code == 2 and err.startswith("featent: error: ") and message in err, err
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("given,message", [
    (dict(network="resnet19"), "resnet18"), (dict(data="cifar"), "cifar10"), (dict(data="cifar10", root="nowhere"), "download=True"), (dict(layers="features.conv9"), "any of: features.conv1, features.conv2"),
    (dict(filtration="rips"), "choose clique, cubical or both"), (dict(per_class=1000), "1000"), (dict(epochs=0), "epochs=0: must be at least 1"), (dict(weights="missing.pth"), "missing.pth"),
])
def test_the_checking_cell_of_depth(given, message, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    values, (check, tags) = {k: p["default"] for k, p in cli.parameters("depth").items()}, runs._cells(cli.experiments()["depth"], "code")[1]
    with pytest.raises((ValueError, OSError), match=re.escape(message)): exec(check, {**values, **given})
    assert tags == ["validate"] and os.listdir(tmp_path) == []


def test_argparse_errors_exit_with_2(capsys):
    for words in (["assess", "--filtration", "rips", "--network", "x", "-o", "y"], ["nothing"], []):
        with pytest.raises(SystemExit) as e: cli.main(words)
        assert e.value.code == 2


def test_a_folder_in_use_is_not_touched(capsys, tmp_path):
    (tmp_path/"thesis.txt").write_text("x")
    for words in (["run", "depth"], ["sweep", "depth"], ["assess", "--network", "small_vgg"]):
        code, err = told(capsys, *words, "-o", tmp_path)
        assert code == 2 and "exists and is not empty: choose another folder with -o" in err
    assert os.listdir(tmp_path) == ["thesis.txt"]


def test_assess_from_a_checkpoint(capsys, tmp_path):
    net = fe.network("small_vgg", in_channels=1, seed=5)
    torch.save(net.state_dict(), tmp_path/"net.pth")
    words = ["assess", "--network", "small_vgg", "--weights", tmp_path/"net.pth", "--per-class", 4, "--layers", "features.conv1,features.conv6", "--null", "shuffle",
             "--filtration", "both", "-o", tmp_path/"scores"]
    code, err = told(capsys, *words)
    assert code == 0, err
    result = fe.load(tmp_path/"scores")
    assert result.record["network"]["weights_hash"] == fe.weights_hash(net)
    assert list(result.layers.module) == ["features.conv1", "features.conv6"] and (tmp_path/"scores/profile.png").stat().st_size > 5000
    assert str(tmp_path) not in (tmp_path/"scores/record.json").read_text()


def test_assess_passes_on_what_was_given(monkeypatch, tmp_path):
    class Seen(Exception): pass
    def seen(net, images, **options): raise Seen(options)
    monkeypatch.setattr(fe, "assess", seen)
    words, given = ["assess", "--network", "small_vgg", "--per-class", "2", "-o", str(tmp_path/"r")], {}
    for more in ([], ["--null", "shuffle"], ["--null", "shuffle", "random", "--twins", "2", "--no-summaries"], ["--store", "s", "--shard-size", "4", "--workers", "2", "--summaries"]):
        with pytest.raises(Seen) as e: cli.main([*words, *more])
        given[len(more)] = {k: v for k, v in e.value.args[0].items() if k in ("null", "twins", "summaries", "store", "shard_size", "workers", "shard")}
    assert given == {0: {}, 2: {"null": "shuffle"}, 6: {"null": ("shuffle", "random"), "twins": 2, "summaries": None}, 7: {"store": "s", "shard_size": 4, "workers": 2}}


def test_jobs_of_an_array_fill_one_store(capsys, tmp_path):
    words = ["assess", "--network", "small_vgg", "--per-class", 2, "--layers", "features.conv6", "--batch-size", 5, "--null", "shuffle", "random", "--twins", 1]
    store = ["--store", tmp_path/"store", "--shard-size", 5]
    for i in (2, 0, 1): assert told(capsys, *words, *store, "--shard", i, "--n-shards", 3)[0] == 0
    for folder, more in (("all", store), ("one", [])): assert told(capsys, *words, *more, "-o", tmp_path/folder)[0] == 0
    pd.testing.assert_frame_equal(fe.load(tmp_path/"all").table, fe.load(tmp_path/"one").table)
    assert {"H_null", "H_random"} <= set(fe.load(tmp_path/"all").table)
    code, err = told(capsys, *words, "--seed", 1, *store, "-o", tmp_path/"other")
    assert code == 2 and "store" in err and not (tmp_path/"other").exists(), err


def test_a_failure_of_the_work_exits_with_1_and_keeps_the_page(capsys, tmp_path):
    broken = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# broken\n\n> breaks"), nbformat.v4.new_code_cell("out: str = ''  # a folder", metadata={"tags": ["parameters"]}),
                                             nbformat.v4.new_code_cell("raise ValueError('the disk is full')")], metadata={"kernelspec": {"name": "python3", "display_name": "python3", "language": "python"}})
    nbformat.write(broken, tmp_path/"broken.ipynb")
    code, err = told(capsys, "run", tmp_path/"broken.ipynb", "-o", tmp_path/"out")
    assert code == 1 and "the disk is full" in err and "out-failed.ipynb" in err
    assert sorted(os.listdir(tmp_path)) == ["broken.ipynb", "out-failed.ipynb"]


def test_bench(capsys, tmp_path):
    assert cli.main(["bench", "--quick", "-o", str(tmp_path/"b")]) == 0
    assert sorted(os.listdir(tmp_path/"b")) == ["bench.csv", "bench.json", "bench.png", "pipeline.csv"] and "clique births" in capsys.readouterr().out


def test_doctor(capsys, monkeypatch):
    assert cli.main(["doctor"]) == 0 and "gudhi" in capsys.readouterr().out
    monkeypatch.setattr(cli, "NEEDED", [*cli.NEEDED, "no-such-package"])
    assert cli.main(["doctor"]) == 1 and "MISSING: python -m pip install no-such-package" in capsys.readouterr().out
