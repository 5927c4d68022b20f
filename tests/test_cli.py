"The command line as a user types it: what it writes, what it says, how it exits."

import contextlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch

import featent as fe
from featent.commands import arguments, cli, experiments, health
from featent.statistics.indicators import SUMMARIES

HERE = Path(__file__).parents[1]

QUICK = [
    a
    for k, v in dict(
        classes="1,2,3",
        per_class=5,
        size=16,
        epochs=1,
        random_networks=2,
        n_resamples=10,
        filtration="clique",
    ).items()
    for a in ("-p", k, str(v))
]


def told(capsys, *words):
    "Exit code and the line about an error; beside it only what was seen first, and warnings."
    code = cli.main([str(w) for w in words])
    lines = capsys.readouterr().err.splitlines(keepends=True)
    errors = [line for line in lines if line.startswith("featent: error: ")]
    assert len(errors) == (code != 0) and errors == lines[len(lines) - len(errors) :]
    topics = (
        "images",
        "input",
        "fit",
        "weights",
        "accuracy",
        "repeats",
        "layers",
        "cost",
        "        ",
        "featent: warning: ",
    )
    assert all(line.startswith((*topics, "featent: error: ")) for line in lines), lines
    return code, "".join(errors)


def in_folder(folder, *words):
    "The installed command in another folder."
    return subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from featent.commands.cli import main; sys.exit(main())",
            *map(str, words),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "MPLBACKEND": "agg", "OMP_NUM_THREADS": "1"},
    )


@pytest.fixture(scope="module")
def depth(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    done = in_folder(folder, "run", "depth", *QUICK, "-o", "d")
    assert done.returncode == 0, done.stderr
    return folder


def test_depth_writes_what_it_promises(depth):
    assert sorted(os.listdir(depth)) == ["d"]
    assert {
        "depth.ipynb",
        "depth_clique.png",
        "profiles.csv",
        "trends.csv",
        "excess.csv",
        "verdict.csv",
        "training.csv",
        "parameters.json",
        "trained",
    } <= set(os.listdir(depth / "d"))
    profiles = pd.read_csv(depth / "d/profiles.csv")
    assert profiles.groupby("series").run.nunique().to_dict() == {
        "trained": 1,
        "random networks": 2,
        "shuffled maps": 1,
    }
    assert profiles.layer.nunique() == 6 and profiles.H.between(0, np.log(5)).all()
    assert json.loads((depth / "d/parameters.json").read_text())["per_class"] == 5
    back = fe.load(depth / "d/trained")
    assert len(back.labels) == 15 and "shuffle" in back.record["null"]


def test_depth_page_is_clean(depth):
    page = nbformat.read(depth / "d/depth.ipynb", 4)
    outputs = [o for c in page.cells if c.cell_type == "code" for o in c.outputs]
    assert not any(o.output_type == "error" for o in outputs)
    assert not any("widget" in k for o in outputs for k in o.get("data", {}))
    assert any("image/png" in o.get("data", {}) for o in outputs)


def test_a_sweep_of_depth(depth, monkeypatch):
    "Two seeds side by side, of which one repeats the run: the same numbers to the last bit."
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert (
        cli.main(
            [
                "sweep",
                "depth",
                *QUICK,
                "-p",
                "seed",
                "0",
                "1",
                "-j",
                "2",
                "-o",
                str(depth / "seeds"),
            ]
        )
        == 0
    )
    same, other = sorted((depth / "seeds/runs").iterdir())
    assert same.name.startswith("seed=0-")
    for name in ("profiles.csv", "trends.csv", "trained/table.csv", "parameters.json"):
        assert (
            (depth / "d" / name).read_bytes()
            == (same / name).read_bytes()
            != (other / name).read_bytes()
        ), name
    trends = pd.read_csv(depth / "seeds/tables/trends.csv")
    assert trends.seed.value_counts().to_dict() == {
        k: len(pd.read_csv(depth / "d/trends.csv")) for k in (0, 1)
    } and {"trained", "shuffled maps"} <= set(trends.series)
    assert "depth_clique.png" in (depth / "seeds/index.html").read_text(encoding="utf-8")


def test_list_help_and_parameters(capsys):
    assert (
        cli.main(["run", "--list"]) == 0
        and "Does feature entropy fall with depth?" in capsys.readouterr().out
    )
    assert cli.main(["run", "depth", "--parameters"]) == 0
    out = capsys.readouterr().out
    assert (
        all(p["help"] for p in experiments.parameters("depth").values())
        and "random_networks" in out
    )
    for words in (["--help"], ["run", "--help"], ["assess", "--help"]):
        with pytest.raises(SystemExit) as e:
            cli.main(words)
        assert e.value.code == 0 and "examples:" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words,message",
    [
        (["run", "dept"], "no experiment 'dept'; choose from"),
        (
            ["run", "depth", "-p", "epoch", "3"],
            "no parameter epoch; choose from network, weights, data",
        ),
        (["run", "depth", "-p", "epochs", "many"], "parameter epochs='many' is not of type int"),
        (["assess", "--network", "resnet19", "-o", "r"], "resnet18"),
        (["assess", "--network", "small_vgg", "--images", "cifar", "-o", "r"], "cifar10"),
        (
            ["assess", "--network", "small_vgg", "--layers", "conv9", "-o", "r"],
            "any of: features.conv1",
        ),
        (
            ["assess", "--network", "small_vgg", "--weights", "missing.pth", "-o", "r"],
            "missing.pth",
        ),
        (["assess", "--network", "small_vgg", "--per-class", "9999", "-o", "r"], "9999"),
        (["assess", "--network", "small_vgg"], "give a folder for the result with -o"),
        (
            ["assess", "--network", "small_vgg", "--shard", "0", "-o", "r"],
            "--shard and --n-shards go together",
        ),
        (
            ["assess", "--network", "small_vgg", "--shard", "3", "--n-shards", "3", "--store", "s"],
            "the jobs are numbered 0 to 2",
        ),
        (
            ["assess", "--network", "small_vgg", "--shard", "0", "--n-shards", "3"],
            "give it with --store DIR",
        ),
        (
            [
                "assess",
                "--network",
                "small_vgg",
                "--shard",
                "0",
                "--n-shards",
                "3",
                "--store",
                "s",
                "-o",
                "r",
            ],
            "leave out -o",
        ),
        (
            ["assess", "--network", "small_vgg", "--workers", "2", "-o", "r"],
            "--workers and --shard-size need a store",
        ),
        (
            ["assess", "--network", "small_vgg", "--null", "random", "--twins", "0", "-o", "r"],
            "twins=0",
        ),
    ],
)
def test_wrong_words_exit_with_2_and_leave_nothing(capsys, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    code, err = told(capsys, *words)
    assert code == 2 and err.startswith("featent: error: ") and message in err, err
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "given,message",
    [
        (dict(network="resnet19"), "resnet18"),
        (dict(data="cifar"), "cifar10"),
        (dict(data="cifar10", root="nowhere"), "download=True"),
        (dict(layers="features.conv9"), "any of: features.conv1, features.conv2"),
        (dict(filtration="rips"), "choose clique, cubical or both"),
        (dict(per_class=1000), "1000"),
        (dict(epochs=0), "epochs=0: must be at least 1"),
        (dict(weights="missing.pth"), "missing.pth"),
    ],
)
def test_the_checking_cell_of_depth(given, message, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    values, (check, tags) = (
        {k: p["default"] for k, p in experiments.parameters("depth").items()},
        experiments.notebook_cells(experiments.experiments()["depth"], "code")[1],
    )
    with pytest.raises((ValueError, OSError), match=re.escape(message)):
        exec(check, {**values, **given})
    assert tags == ["validate"] and os.listdir(tmp_path) == []


def test_argparse_errors_exit_with_2(capsys):
    for words in (["assess", "--filtration", "rips", "--network", "x", "-o", "y"], ["nothing"], []):
        with pytest.raises(SystemExit) as e:
            cli.main(words)
        assert e.value.code == 2


def test_a_folder_in_use_is_not_touched(capsys, tmp_path):
    (tmp_path / "thesis.txt").write_text("x")
    for words in (["run", "depth"], ["sweep", "depth"], ["assess", "--network", "small_vgg"]):
        code, err = told(capsys, *words, "-o", tmp_path)
        assert code == 2 and "exists and is not empty: choose another folder with -o" in err
    assert os.listdir(tmp_path) == ["thesis.txt"]


def test_assess_from_a_checkpoint(capsys, tmp_path):
    net = fe.network("small_vgg", in_channels=1, seed=5)
    torch.save(net.state_dict(), tmp_path / "net.pth")
    words = [
        "assess",
        "--network",
        "small_vgg",
        "--weights",
        tmp_path / "net.pth",
        "--per-class",
        4,
        "--layers",
        "features.conv1,features.conv6",
        "--null",
        "shuffle",
        "--filtration",
        "both",
        "-o",
        tmp_path / "scores",
    ]
    code, err = told(capsys, *words)
    assert code == 0, err
    result = fe.load(tmp_path / "scores")
    assert result.record["network"]["weights_hash"] == fe.data.records.weights_hash(net)
    assert (
        list(result.layers.module) == ["features.conv1", "features.conv6"]
        and (tmp_path / "scores/profile.png").stat().st_size > 5000
    )
    assert str(tmp_path) not in (tmp_path / "scores/record.json").read_text()


def test_the_command_line_has_the_defaults_of_python():
    from featent.assessment.options import DEFAULTS
    from featent.commands.actions import optional

    args = arguments.command_parser().parse_args("assess --network small_vgg -o r".split())
    options = optional(args)
    assert options == {k: [v] if k == "layers" else v for k, v in DEFAULTS.items() if k in options}
    assert set(DEFAULTS) - set(vars(args)) == {"rule", "budget"}


def test_assess_passes_on_what_was_given(monkeypatch, tmp_path):
    class Seen(BaseException):
        pass  # which the command line leaves alone

    def seen(net, images, **options):
        raise Seen(options)

    monkeypatch.setattr(fe, "assess", seen)
    words, given = (
        ["assess", "--network", "small_vgg", "--per-class", "2", "-o", str(tmp_path / "r")],
        {},
    )
    for more in (
        [],
        ["--null", "shuffle"],
        ["--null", "shuffle", "random", "--twins", "2", "--no-summaries"],
        ["--store", "s", "--shard-size", "4", "--workers", "2", "--summaries"],
    ):
        with pytest.raises(Seen) as e:
            cli.main([*words, *more])
        given[len(more)] = {
            k: v
            for k, v in e.value.args[0].items()
            if k in ("null", "twins", "summaries", "store", "shard_size", "workers", "shard")
        }
    assert given == {
        0: {},
        2: {"null": "shuffle"},
        6: {"null": ("shuffle", "random"), "twins": 2, "summaries": None},
        7: {"store": "s", "shard_size": 4, "workers": 2, "summaries": SUMMARIES},
    }


def test_jobs_of_an_array_fill_one_store(capsys, tmp_path):
    words = [
        "assess",
        "--network",
        "small_vgg",
        "--per-class",
        2,
        "--layers",
        "features.conv6",
        "--batch-size",
        5,
        "--null",
        "shuffle",
        "random",
        "--twins",
        1,
    ]
    store = ["--store", tmp_path / "store", "--shard-size", 5]
    for i in (2, 0, 1):
        assert told(capsys, *words, *store, "--shard", i, "--n-shards", 3)[0] == 0
    for folder, more in (("all", store), ("one", [])):
        assert told(capsys, *words, *more, "-o", tmp_path / folder)[0] == 0
    pd.testing.assert_frame_equal(fe.load(tmp_path / "all").table, fe.load(tmp_path / "one").table)
    assert {"H_null", "H_random"} <= set(fe.load(tmp_path / "all").table)
    code, err = told(capsys, *words, "--seed", 1, *store, "-o", tmp_path / "other")
    assert code == 2 and "store" in err and not (tmp_path / "other").exists(), err


def test_a_failure_of_the_work_exits_with_1_and_keeps_the_page(capsys, tmp_path):
    broken = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_markdown_cell("# broken\n\n> breaks"),
            nbformat.v4.new_code_cell(
                "out: str = ''  # a folder", metadata={"tags": ["parameters"]}
            ),
            nbformat.v4.new_code_cell("raise ValueError('the disk is full')"),
        ],
        metadata={
            "kernelspec": {"name": "python3", "display_name": "python3", "language": "python"}
        },
    )
    nbformat.write(broken, tmp_path / "broken.ipynb")
    code, err = told(capsys, "run", tmp_path / "broken.ipynb", "-o", tmp_path / "out")
    assert (
        code == 1
        and "ValueError: the disk is full" in err
        and f"kept in {tmp_path}/out-failed)" in err
    )
    assert sorted(os.listdir(tmp_path)) == ["broken.ipynb", "out-failed"] and os.listdir(
        tmp_path / "out-failed"
    ) == ["broken.ipynb"]


def test_bench(capsys, tmp_path):
    more = ["--classes", "12", "--units", "1", "--photographs", "4"]
    assert cli.main(["bench", "--quick", *more, "-o", str(tmp_path / "b")]) == 0
    quick = ["bench.csv", "bench.json", "bench.png", "pipeline.csv"]
    asked = ["growth.csv", "growth.png", "photographs.csv"]
    assert sorted(os.listdir(tmp_path / "b")) == sorted(quick + asked)
    said = capsys.readouterr().out
    assert "clique births" in said and "as many as pay" in said and "intervals" in said


@pytest.mark.parametrize(
    "package,code,told",
    [
        (
            "torchvision",
            "raise RuntimeError('operator torchvision::nms does not exist')",
            "RuntimeError: operator torchvision::nms does not exist",
        ),
        (
            "gudhi",
            "raise ImportError('libgudhi: cannot open shared object file')",
            "ImportError: libgudhi: cannot open",
        ),
        (
            "torch",
            "raise OSError('libcudart.so.13: cannot open shared object file')",
            "OSError: libcudart.so.13",
        ),
        ("papermill", "import os; os.abort()", "its process was ended by signal 6"),
        ("ipywidgets", "import sys; sys.exit('no genutils')", "no genutils"),
    ],
)
def test_doctor_tells_what_is_broken_and_what_to_do(monkeypatch, tmp_path, package, code, told):
    "What is broken breaks its own line, and the report goes on."
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text(code)
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    )
    lines, failed = health.doctor(
        [i for i in health.items() if i.name in (package, "numpy", "disk")]
    )
    assert [f.item.name for f in failed] == [package] and told in failed[0].text and len(lines) == 4
    assert f"remedy: {sys.executable} -m pip install" in "\n".join(
        lines
    ) and health.needed_packages()[package] in "\n".join(lines)


def test_doctor_and_wrong_words_need_nothing_that_may_be_broken(tmp_path):
    "With a torch that cannot be imported: a mistyped word, the list, the report; else one line."
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch/__init__.py").write_text(
        "raise OSError('libcudart.so.13: cannot open shared object file')"
    )
    start = (
        "import sys; from featent.commands.cli import main; code = main(); "
        "heavy = {'torch', 'numpy', 'pandas', 'numba', 'matplotlib', 'ipywidgets'}; "
        "sys.exit(code or len(heavy & set(sys.modules)))"
    )

    def typed(*words):
        env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(HERE)])}
        return subprocess.run(
            [sys.executable, "-c", start, *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env=env,
        )

    assert typed("run", "--list").returncode == 0 and typed("--help").returncode == 0
    assert typed("run", "dept").stderr.startswith(
        "featent: error: no experiment 'dept'; choose from ablation"
    )
    needs = typed("assess", "--network", "small_vgg", "-o", "r")
    assert (
        needs.returncode == 1
        and needs.stderr.count("\n") == 1
        and "cannot be loaded (OSError: libcudart.so.13" in needs.stderr
        and "`featent doctor`" in needs.stderr
    )
    broken = typed("doctor")
    assert (
        broken.returncode == 1
        and "FAILED: OSError: libcudart.so.13" in broken.stdout
        and "  numpy  " in broken.stdout
    )


# ---- any error is one line

NETWORKS = """
import torch
from torch import nn
class Fine(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.conv = nn.Conv2d(1, width, 3)
    def forward(self, x): return self.conv(x)
class Asserts(Fine):
    def forward(self, x):
        assert x.shape[-1] == 28, "wrong image size"
        return self.conv(x)
class Looks(Fine):
    def forward(self, x): return {28: 1}[x.shape[-1]] * self.conv(x)
class Counts(Fine):
    def forward(self, x): return self.conv(x) / (x.shape[-1] // 100)
class Divides(Fine):
    def forward(self, x): return self.conv(x[:, :, :1 // (x.shape[-1] - 32)])
class Reads(Fine):
    def forward(self, x): return self.conv(x.pixel_values)
class Full(Fine):
    def forward(self, x): raise MemoryError
class BadInit(nn.Module):
    def __init__(self): raise KeyError("cfg")
class Needs(nn.Module):
    def __init__(self, width): super().__init__()
def ends(): raise SystemExit(3)
def function(): return lambda x: x
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    "A folder with networks of one's own, and files that cannot be imported."
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(NETWORKS)
    for name, text in {
        "syntax": "class A(nn.Module)\n    pass\n",
        "lacks": "import not_there\nclass A: pass\n",
        "leaves": "import sys\nsys.exit(3)\n",
    }.items():
        (tmp_path / f"{name}.py").write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    "network,code,words",
    [
        ("mine.py:Asserts", None, "wrong image size"),
        ("mine.py:Looks", None, "32"),
        ("mine.py:Divides", None, "division"),
        ("mine.py:Reads", None, "pixel_values"),
        ("mine.py:Full", 1, "memory"),
        ("mine.py:BadInit", 2, "cfg"),
        ("mine.py:Needs", 2, "width"),
        ("mine.py:ends", 2, "SystemExit: 3"),
        ("mine.py:function", 2, "not a torch.nn.Module"),
        ("syntax.py:A", 2, "syntax.py"),
        ("lacks.py:A", 2, "not_there"),
        ("leaves.py:A", 2, "SystemExit: 3"),
        ("mine.py:Nothing", 2, "Nothing"),
    ],
)
def test_whatever_a_network_raises_is_one_line(own, capsys, network, code, words):
    found, err = told(capsys, "assess", "--network", network, "--per-class", 2, "-o", "r")
    assert (
        found in ((1, 2) if code is None else (code,))
        and err.startswith("featent: error: ")
        and words in err
    ), err
    assert (
        "Traceback" not in err
        and not (own / "r").exists()
        and not [p for p in os.listdir(own) if p.startswith(".")]
    )


def test_a_line_names_the_place_in_the_user_s_file(own, capsys):
    for words in (["--traceback", "assess"], ["assess", "--debug"], ["assess", "--traceback"]):
        assert (
            cli.main([*words, "--network", "mine.py:BadInit", "--per-class", "2", "-o", "r"]) == 2
        )
        err = capsys.readouterr().err
        assert (
            "Traceback (most recent call last)" in err
            and 'raise KeyError("cfg")' in err
            and err.splitlines()[-1].startswith("featent: error: ")
        )
    assert (
        "mine.py"
        in told(capsys, "assess", "--network", "mine.py:BadInit", "--per-class", 2, "-o", "r")[1]
    )


def test_a_data_set_that_breaks_is_one_line(own, capsys, monkeypatch):
    def broken(*a, **k):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(fe, "images", broken)
    assert told(capsys, "assess", "--network", "small_vgg", "-o", "r") == (
        2,
        "featent: error: reading the images digits: ZeroDivisionError: division by zero "
        f"(test_cli.py, line {broken.__code__.co_firstlineno + 1})\n",
    )


def test_a_reader_that_goes_is_no_error():
    "As in `featent run --list | head -1`."
    start = "import sys; from featent.commands.cli import main; sys.exit(main())"
    command = subprocess.Popen(
        [sys.executable, "-c", start, "run", "--list"],
        cwd=HERE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    command.stdout.close()
    assert command.wait(60) == 141 and command.stderr.read() == b""


# ---- one vocabulary


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    "A folder with a train/ and a val/ part, each of gray pictures in two classes."
    from PIL import Image

    folder, rng = tmp_path_factory.mktemp("scans"), np.random.default_rng(0)
    for part, n in (("train", 3), ("val", 2)):
        for c in ("cat", "dog"):
            (folder / part / c).mkdir(parents=True)
            for i in range(n):
                Image.fromarray(rng.integers(0, 255, (24, 30), np.uint8)).save(
                    folder / part / c / f"{i}.png"
                )
    return folder


def test_gray_folders_normalisation_crops_and_parts(scans, own, capsys):
    "What Python says by `preprocess` and `images`, the command line says by options."
    words = [
        "--images",
        scans,
        "--split",
        "val",
        "--channels",
        1,
        "--mean",
        "0.5",
        "--std",
        "0.25",
        "--size",
        20,
        "--crop",
        16,
        "--layers",
        "conv",
    ]
    code, err = told(capsys, "assess", "--network", "mine.py:Fine", *words, "-o", "r")
    assert code == 0, err
    made = fe.load(own / "r")
    images = fe.images(
        scans, split="val", channels=1, transform=fe.preprocess(20, 0.5, 0.25, crop=16)
    )
    direct = fe.assess(fe.network("mine.py:Fine", num_classes=2, in_channels=1), images)
    pd.testing.assert_frame_equal(made.table, direct.table)
    assert len(made.labels) == 4 and "crop=16" in made.record["images"]["transform"]


@pytest.mark.parametrize(
    "words,here",
    [
        (["--network", "resnet18"], "[here: --channels"),
        (["--network", "small_vgg", "--mean", "0.5"], "--std"),
        (
            ["--network", "small_vgg", "--size", "8", "--crop", "16", "--mean", "0", "--std", "1"],
            "--crop",
        ),
        (["--network", "small_vgg", "--images", "mnist"], "--download"),
        (["--network", "small_vgg", "--per-class", "9999"], "--per-class"),
    ],
)
def test_errors_speak_of_options(own, capsys, words, here):
    code, err = told(capsys, "assess", *words, "-o", "r")
    assert code == 2 and here in err, err


def test_errors_of_an_experiment_speak_of_its_parameters(capsys, tmp_path):
    code, err = told(
        capsys,
        "run",
        "depth",
        "-p",
        "network",
        "resnet18",
        "-p",
        "per_class",
        "3",
        "-o",
        tmp_path / "r",
    )
    assert code == 2 and "-p channels" in err and os.listdir(tmp_path) == [], err


def test_every_help_says_that_a_file_is_executed(capsys):
    for words in (
        ["assess", "--help"],
        ["run", "--help"],
        ["sweep", "--help"],
        ["run", "depth", "--parameters"],
    ):
        with contextlib.suppress(SystemExit):
            cli.main(words)
        assert "executed" in " ".join(capsys.readouterr().out.split())


def test_negative_numbers_with_exponents_are_values(capsys, tmp_path):
    "Before Python 3.14, -1e-3 is an option to argparse."
    words = [
        "sweep",
        "depth",
        "-p",
        "lr",
        "-1e-3",
        "-.5",
        "-2E4",
        "0.1",
        "--dry-run",
        "-o",
        str(tmp_path / "s"),
    ]
    assert cli.main(words) == 0 and "4 runs: 4 waiting" in capsys.readouterr().out
    assert arguments.command_parser().parse_args(["run", "depth", "-p", "lr", "-1e-3"]).p == [
        ["lr", "-1e-3"]
    ]


def test_the_list_of_experiments_has_a_gap_after_each_name(capsys):
    cli.main(["run", "--list"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(experiments.experiments()) and all(
        line.startswith(f"{name}  ") for name, line in zip(experiments.experiments(), lines)
    )


def test_the_home_folder_is_meant_by_a_tilde(own, capsys, monkeypatch):
    monkeypatch.setenv("HOME", str(own / "home"))
    words = ["assess", "--network", "mine.py:Fine", "--per-class", 2]
    assert told(capsys, *words, "--output=~/scores", "--store=~/births")[0] == 0
    assert told(capsys, "sweep", "depth", "--dry-run", "--output=~/s")[0] == 0
    assert sorted(os.listdir(own / "home")) == ["births", "scores"] and "~" not in os.listdir(own)


# ---- a look before the work


def test_check_prints_its_lines_and_assess_begins_with_them(own, capsys):
    words = ["--network", "mine.py:Fine", "--per-class", "2"]
    assert cli.main(["check", *words]) == 0
    out = capsys.readouterr().out
    assert (
        "images    20 of digits" in out
        and "repeats   the same maps twice" in out
        and os.listdir(own).count("r") == 0
    )
    assert cli.main(["assess", *words, "-o", "r"]) == 0
    err = capsys.readouterr().err
    assert err.startswith("images    20 of digits")
    told = dict(fe.load(own / "r").record["preflight"])
    assert told["images"] in err and {"input", "fit", "layers"} <= set(told)


def test_what_is_doubtful_ends_a_check_with_1(own, capsys, monkeypatch):
    class Found:
        doubts = ["fit"]

        def __str__(self):
            return "fit       doubtful: not what the weights were trained with"

    monkeypatch.setattr(fe, "check", lambda *a, **k: Found())
    assert (
        cli.main(["check", "--network", "mine.py:Fine", "--per-class", "2"]) == 1
        and "doubtful" in capsys.readouterr().out
    )
