"Experiments as notebooks: parameters, one run, sweeps that survive, and what they leave behind."

import asyncio
import csv
import io
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pandas as pd
import pytest
from filelock import FileLock
from hypothesis import given, settings, strategies as st

from featent.commands import cli, experiments, plans, processes, reports, runs, sweeps
from featent.tools import files, places

EVIL = "<script>alert('1')</script>&\"=,{x}"
WORK = """
import json, os, time
from pathlib import Path
import ipykernel
folder = Path(out)
transport = json.loads(Path(ipykernel.get_connection_file()).read_text())["transport"]
told = dict(pid=os.getpid(), transport=transport, threads=os.environ.get("OMP_NUM_THREADS"))
(folder/"kernel.json").write_text(json.dumps(told))
if diary: Path(diary, str(os.getpid())).touch()
time.sleep(0 if os.environ.get("REPAIRED") else sleep)
if os.environ.get("REPAIRED"): mode = "fine"
if mode == "break" and word != "plain": raise RuntimeError(f"broken by {word}")
if mode == "break": os.kill(os.getpid(), 9)
(folder/"table.csv").write_text(f"row,word\\n1,{mode}\\n0.10000000000000001,x\\n", encoding="utf-8")
svg = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/>'
(folder/"a figure.svg").write_text(svg + "</svg>")
"""
PARAMETERS = """n: int = 1  # a number
word: str = "plain"  # a word
mode: str = "fine"  # fine, break
sleep: float = 0  # seconds
diary: str = ""  # folder for the number of the kernel's process
out: str = "x"  # folder for the results"""


def book(path, *code, parameters=PARAMETERS, text="# Fake <b>\n\n> a line"):
    "A notebook with a cell of parameters, a checking cell, and more code."
    tagged = (
        [
            nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}),
            nbformat.v4.new_code_cell(code[0], metadata={"tags": ["validate"]}),
        ]
        if code
        else []
    )
    nb = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_markdown_cell(text),
            *tagged,
            *map(nbformat.v4.new_code_cell, code[1:]),
        ],
        metadata={
            "kernelspec": {"name": "python3", "display_name": "python3", "language": "python"}
        },
    )
    nbformat.write(nb, path)
    return path


def ended(pid, patience=30):
    "Whether a process is gone, or goes soon."

    def alive():
        try:
            return (
                Path(f"/proc/{pid}/stat").read_text().rsplit(")")[-1].split()[0] != "Z"
                if os.path.isdir("/proc/self")
                else not os.kill(pid, 0)
            )
        except OSError:
            return False

    end = time.time() + patience
    while alive() and time.time() < end:
        time.sleep(0.2)
    return not alive()


def hidden(folder):
    return [p.name for p in folder.rglob(".*") if p.name != ".sweep.lock"]


@pytest.fixture(scope="module")
def fake(tmp_path_factory):
    return book(
        tmp_path_factory.mktemp("fake") / "fake {1}.ipynb",
        "if n < 0: raise ValueError(f'n={n}: too small')",
        WORK,
    )


@pytest.fixture(scope="module")
def swept(fake, tmp_path_factory):
    "A sweep by the command line in which half of the runs fail: folder, exit code, what was said."
    folder, out, err = (
        tmp_path_factory.mktemp("swept") / "sweep {x} ü",
        io.StringIO(),
        io.StringIO(),
    )
    with redirect_stdout(out), redirect_stderr(err):
        code = cli.main(
            [
                "sweep",
                str(fake),
                "-p",
                "word",
                "plain",
                EVIL,
                "-p",
                "mode",
                "fine",
                "break",
                "-p",
                "n",
                "3",
                "-j",
                "2",
                "-o",
                str(folder),
            ]
        )
    return folder, code, out.getvalue(), err.getvalue()


# ---- parameters


def test_parameters_are_read_as_python_reads_them(tmp_path):
    path = book(
        tmp_path / "a.ipynb",
        "",
        parameters="tag: str = 'a#b=c'  # with a # and a =\nn = 3\nrate: 'float' = -1e-3\n"
        "names: list = ['a', 'b']  # more\nout: str = 'x'",
    )
    found = experiments.parameters(path)
    assert found["tag"] == {"type": "str", "default": "a#b=c", "help": "with a # and a ="}
    assert [(p["type"], p["default"]) for p in found.values()][1:4] == [
        ("int", 3),
        ("float", -1e-3),
        ("list", ["a", "b"]),
    ]
    assert experiments.read_parameters(path, [("names", "['c']"), ("rate", "2")]) == {
        "names": ["c"],
        "rate": 2.0,
    }


def test_the_home_folder_is_meant_by_a_tilde(fake, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert experiments.read_parameters(fake, [("diary", "~/births"), ("word", "a~/b")]) == {
        "diary": str(tmp_path / "births"),
        "word": "a~/b",
    }
    assert next(iter(plans.plan_runs(fake, {"diary": ["~/births"]}).values()))["parameters"][
        "diary"
    ] == str(tmp_path / "births")


@pytest.mark.parametrize(
    "parameters,message",
    [
        ("n: int = 1", "no parameter `out`"),
        ("n: int = len('x')\nout: str = ''", "cannot be read"),
        ("n: int\nout: str = ''", "cannot be read"),
        ("import os\nout: str = ''", "cannot be read"),
        ("n = \nout = ''", "cannot be read"),
    ],
)
def test_notebooks_that_are_no_experiments(tmp_path, parameters, message):
    with pytest.raises(ValueError, match=message):
        experiments.parameters(book(tmp_path / "a.ipynb", "", parameters=parameters))


def test_files_that_are_no_notebooks(tmp_path):
    for text in ("", "[]", '{"worksheets": []}', "not json"):
        (tmp_path / "a.ipynb").write_text(text)
        with pytest.raises(ValueError, match="a.ipynb is not a notebook"):
            experiments.parameters(tmp_path / "a.ipynb")
    with pytest.raises(ValueError, match="no cell of it has the tag `parameters`"):
        experiments.parameters(book(tmp_path / "b.ipynb"))


@pytest.mark.parametrize(
    "words,message",
    [
        (["dept"], "no experiment 'dept'; choose from"),
        (["nowhere.ipynb"], "no notebook nowhere.ipynb"),
        (["depth", "-p", "epoch", "3"], "no parameter epoch; choose from network"),
        (
            ["depth", "-p", "seed", "0", "-p", "epochs", "1", "many"],
            "epochs='many' is not of type int",
        ),
        (["depth", "-p", "seed", "0", "-p", "seed", "1"], "seed is given twice"),
        (["depth", "-p", "seed"], "seed has no values"),
        (["depth", "-p", "out", "a", "b"], "out cannot be in the grid"),
        (["depth", "-j", "0"], "n_jobs=0"),
    ],
)
def test_a_wrong_sweep_stops_at_once(capsys, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sweeps, "start_run", lambda *a: pytest.fail("something was run"))
    assert cli.main(["sweep", *words, "-o", "s"]) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1 and not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    "grid,error,message",
    [
        ({"seed": [0, 0.5]}, TypeError, "seed=0.5"),
        ({"seed": [True]}, TypeError, "seed=True"),
        ({"seed": 3}, TypeError, "list of values"),
        ({"network": "ab"}, TypeError, "list of values"),
        ({"seed": []}, ValueError, "no values"),
        ({"sed": [1]}, ValueError, "choose from"),
    ],
)
def test_a_wrong_grid_is_refused(tmp_path, grid, error, message):
    with pytest.raises(error, match=message):
        sweeps.sweep("depth", grid, tmp_path / "s")
    assert not any(tmp_path.iterdir())


# ---- the plan

words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=120)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(words, min_size=1, max_size=4, unique=True),
    st.lists(st.integers(), min_size=1, max_size=3, unique=True),
)
def test_plan(fake, names, numbers):
    plan = plans.plan_runs(fake, {"word": names, "n": numbers})
    assert [(r["parameters"]["word"], r["parameters"]["n"]) for r in plan.values()] == list(
        itertools.product(names, numbers)
    )
    assert all(
        re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.=,+-]{0,99}", r["run"]) for r in plan.values()
    )
    assert set(plan) == set(plans.plan_runs(fake, {"n": numbers[::-1], "word": names[::-1]})), (
        "the same runs whatever the order"
    )
    assert set(plan) <= set(
        plans.plan_runs(
            fake, {"n": [*numbers, 10**9], "word": [*names, "another"], "sleep": [0, 1]}
        )
    ), "a larger grid has the runs of the smaller"


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(words, st.lists(st.tuples(words, words), max_size=3)), min_size=1, max_size=4
    )
)
def test_joined_tables_lose_nothing(tables):
    text = reports._joined(
        [([v], [("a", 0), ("b", 0)], [list(row) for row in rows]) for v, rows in tables], ["b"]
    )
    back = list(csv.reader(io.StringIO(text, newline="")))
    assert back[0] == ["b_parameter", "a", "b"] and back[1:] == [
        [v, *row] for v, rows in tables for row in rows
    ]


def test_a_dry_run_writes_nothing(capsys, fake, tmp_path):
    assert (
        cli.main(["sweep", str(fake), "-p", "n", "1", "2", "-o", str(tmp_path / "s"), "--dry-run"])
        == 0
    )
    assert not any(tmp_path.iterdir()) and re.search(
        r"n=1-\w{8} waiting\nn=2-\w{8} waiting\n2 runs: 2 waiting\n",
        re.sub(" +", " ", capsys.readouterr().out).replace("\n ", "\n"),
    )


# ---- a sweep with failures


def test_failures_leave_the_rest_and_are_listed(swept, fake):
    folder, code, out, err = swept
    assert (
        code == 1 and "4 runs: 2 done, 2 failed" in out and "2 runs failed; the rest is kept" in err
    )
    lines = [line for line in err.splitlines() if line.startswith("  ")]
    assert (
        len(lines) == 2
        and "the kernel was killed or died (out of memory?)" in lines[0]
        and f"RuntimeError: broken by {EVIL}" in lines[1]
    )
    for line in lines:
        assert Path(re.search(r"\(see (.*)\)$", line)[1]).is_file()
    assert (
        len(os.listdir(folder / "runs")) == 2
        and len(os.listdir(folder / "failed")) == 2
        and not hidden(folder)
    )
    page = nbformat.read(next((folder / "failed").glob("*script*")) / fake.name, 4)
    assert any(o.output_type == "error" for c in page.cells for o in c.get("outputs", []))


def test_a_finished_run_proves_itself(swept, fake):
    for p in (swept[0] / "runs").iterdir():
        mark = json.loads((p / "run.json").read_text())
        assert set(os.listdir(p)) == {
            "run.json",
            "kernel.json",
            "table.csv",
            "a figure.svg",
            fake.name,
        }
        assert (
            mark["parameters"]
            == {
                "n": 3,
                "word": mark["parameters"]["word"],
                "mode": "fine",
                "sleep": 0.0,
                "diary": "",
            }
            and mark["state"] == "done"
        )
        assert (
            mark["code"] == plans.about_experiment(fake)["code"]
            and mark["featent"] == plans.version("featent")
            and mark["seconds"] > 0
        )


def test_kernels_listen_on_no_port_share_the_cores_and_end(swept):
    told = [json.loads(p.read_text()) for p in swept[0].glob("*/*/kernel.json")]
    assert (
        len({t["pid"] for t in told}) == 4
        and {t["transport"] for t in told} == {"ipc"}
        and {int(t["threads"]) for t in told} == {max(1, processes._cores() // 2)}
    )
    assert all(ended(t["pid"]) for t in told)


def test_tables_over_all_runs(swept):
    summary, table = (
        pd.read_csv(swept[0] / "summary.csv", keep_default_na=False),
        pd.read_csv(swept[0] / "tables/table.csv", dtype=str),
    )
    assert list(summary) == ["run", "word", "mode", "state", "seconds", "error", "folder"]
    assert list(zip(summary.word, summary["mode"])) == list(
        itertools.product(["plain", EVIL], ["fine", "break"])
    )
    assert list(table) == ["word_parameter", "mode", "row", "word"] and list(
        table.word_parameter
    ) == ["plain", "plain", EVIL, EVIL]
    assert list(table.row) == ["1", "0.10000000000000001"] * 2, "not a digit may change"


class Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.links, self.text = set(), [], ""

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.links += [v for k, v in attrs if k in ("href", "src")]

    def handle_data(self, data):
        self.text += data


def test_the_page_is_escaped_and_stands_alone(swept):
    text = (swept[0] / "index.html").read_text(encoding="utf-8")
    page = Links()
    page.feed(text)
    assert (
        not page.tags & {"script", "b>", "iframe", "link", "object"}
        and "script-src 'none'" in text
        and "http:" not in text
        and "https:" not in text
    )
    assert (
        EVIL in page.text
        and f"broken by {EVIL}" in page.text
        and "Fake <b>" in page.text
        and "prefers-color-scheme: dark" in text
    )
    assert "2 done, 2 failed" in page.text and page.text.count("✗ failed") == 2
    targets = [swept[0] / unquote(link) for link in page.links]
    assert len(targets) == 4 + 2 * 2 + 2 and all(p.is_file() for p in targets), page.links


def test_the_same_command_goes_on(swept, fake, monkeypatch):
    "Finished runs stay as they are; failed ones are tried again, and leave no trace then."
    folder = swept[0]
    before = {p: p.stat().st_mtime_ns for p in (folder / "runs").glob("*/*")}
    monkeypatch.setenv("REPAIRED", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    grid = {"word": ["plain", EVIL], "mode": ["fine", "break"], "n": [3]}
    assert list(sweeps.sweep(fake, grid, folder, dry_run=True).state) == ["done", "failed"] * 2
    table = sweeps.sweep(fake, grid, folder, n_jobs=-1)
    assert (
        list(table.state) == ["done"] * 4
        and list(table.error) == [""] * 4
        and os.listdir(folder / "failed") == []
    )
    assert (
        all(p.stat().st_mtime_ns == t for p, t in before.items())
        and len(pd.read_csv(folder / "tables/table.csv")) == 8
    )
    monkeypatch.setattr(sweeps, "start_run", lambda *a: pytest.fail("something was run again"))
    assert sweeps.sweep(fake, grid, folder).equals(table)
    assert (
        list(sweeps.sweep(fake, {**grid, "n": [3, 4]}, folder, dry_run=True).state)
        == ["done", "waiting"] * 4
    )


def test_another_version_is_reported(swept, fake, tmp_path, monkeypatch):
    for change in (
        lambda m: m.setattr(plans, "version", lambda name: "9.9"),
        lambda m: book(tmp_path / fake.name, "", WORK + "n += 1"),
    ):
        with monkeypatch.context() as m:
            path = book(
                tmp_path / fake.name,
                "if n < 0: raise ValueError(f'n={n}: too small')",
                WORK,
                text="# Other words",
            )
            assert (
                sweeps.sweep(path, {"word": ["plain"]}, swept[0], dry_run=True).state == "waiting"
            ).all(), "words do not count"
            change(m)
            with pytest.raises(
                ValueError,
                match=r"featent \S+, not 9.9: choose|another version of fake .1..ipynb: choose",
            ) as e:
                sweeps.sweep(path, {"word": ["plain"]}, swept[0])
            assert "--redo" in str(e.value) and list(
                sweeps.sweep(path, {"word": ["plain"]}, swept[0], redo=True, dry_run=True).state
            ) == ["waiting"]


def test_one_sweep_in_a_folder(swept, fake):
    with (
        FileLock(swept[0] / ".sweep.lock"),
        pytest.raises(RuntimeError, match="another sweep is at work"),
    ):
        sweeps.sweep(fake, {"n": [3]}, swept[0])


def test_folders_of_others_are_not_touched(swept, fake, tmp_path):
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(FileExistsError, match="choose another folder"):
        sweeps.sweep(fake, {"n": [1]}, tmp_path)
    with pytest.raises(ValueError, match=r"has a sweep of fake .1., not of depth"):
        sweeps.sweep("depth", {"seed": [1]}, swept[0])
    assert os.listdir(tmp_path) == ["thesis.txt"]


def test_a_damaged_marker_is_reported(fake, tmp_path):
    (tmp_path / "s/runs/a").mkdir(parents=True)
    (tmp_path / "s/.sweep.lock").touch()
    (tmp_path / "s/runs/a/run.json").write_text('{"run": "a"')
    with pytest.raises(ValueError, match="run.json is damaged"):
        sweeps.sweep(fake, {"n": [1]}, tmp_path / "s")
    (tmp_path / "s/runs/a").rename(
        tmp_path / "s/runs" / next(iter(plans.plan_runs(fake, {"n": [1]}).values()))["run"]
    )
    next((tmp_path / "s/runs").glob("*/run.json")).unlink()
    with pytest.raises(ValueError, match="has no run.json"):
        sweeps.sweep(fake, {"n": [1]}, tmp_path / "s")


def test_a_table_that_is_none_is_left_out(tmp_path):
    (tmp_path / "a.csv").write_text("")
    (tmp_path / "b.csv").write_bytes(b"x,x\n\n1,2\n\xff,\"" + b"y" * 200_000 + b"\"\n")
    assert reports._opened(tmp_path / "a.csv") == ([], []) and reports._opened(
        tmp_path / "b.csv"
    ) == (
        [],
        [],
    )
    (tmp_path / "b.csv").write_bytes(b"x,x\n\n1,2\n\xff,3\n")
    assert reports._opened(tmp_path / "b.csv") == (
        [("x", 0), ("x", 1)],
        [["1", "2"], ["\udcff", "3"]],
    )


def test_a_full_disk_stops_the_sweep_and_keeps_the_run(fake, tmp_path, monkeypatch):
    "The run that is finished is kept under a name that is told, and its page names that place."

    def full(*a):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(processes, "sync_tree", full)
    with pytest.raises(
        RuntimeError,
        match="No space left on device .*; what is done is kept, and the same command goes on",
    ) as e:
        sweeps.sweep(fake, {"n": [1]}, tmp_path / "s")
    place = Path(re.search(r"is kept in (.*?)\);", str(e.value))[1])
    assert (
        os.listdir(tmp_path / "s/runs") == [place.name]
        and {fake.name, "table.csv"} <= set(os.listdir(place))
        and not hidden(tmp_path)
    )
    assert (
        "/.n=" not in (place / fake.name).read_text()
        and str(place) in (place / fake.name).read_text()
    )
    monkeypatch.setattr(
        sweeps, "start_run", lambda *a: pytest.fail("a run that was kept whole is done again")
    )
    assert list(sweeps.sweep(fake, {"n": [1]}, tmp_path / "s", dry_run=True).state) == ["done"]


def test_a_disk_that_is_full_for_the_marker_keeps_the_run_as_well(fake, tmp_path, monkeypatch):
    "Without its marker it is not done, and the same command does it again."

    def full(path, text):
        if path.name == "run.json":
            raise OSError(28, "No space left on device")
        return files.write_whole(path, text)

    with (
        monkeypatch.context() as m,
        pytest.raises(RuntimeError, match="No space left on device .* is kept in"),
    ):
        m.setattr(processes, "write_whole", full)
        sweeps.sweep(fake, {"n": [1]}, tmp_path / "s")
    (kept,) = (tmp_path / "s/runs").iterdir()
    assert (kept / "table.csv").is_file() and not (kept / "run.json").exists()
    assert (
        list(sweeps.sweep(fake, {"n": [1]}, tmp_path / "s").state) == ["done"]
        and (kept / "table.csv").is_file()
    )


def test_a_file_system_without_fsync_of_folders_loses_nothing(fake, tmp_path, monkeypatch):
    "What it refuses is said once, and the sweep is whole."
    real = os.fsync

    def refuse(f):
        if os.path.isdir(f"/proc/self/fd/{f}"):
            raise OSError(22, "Invalid argument")
        return real(f)

    monkeypatch.setattr(os, "fsync", refuse)
    files._told.clear()
    with pytest.warns(UserWarning, match="the file system refuses"):
        table = sweeps.sweep(fake, {"n": [1]}, tmp_path / "s")
    assert (
        list(table.state) == ["done"] and (tmp_path / "s" / table.folder[0] / "table.csv").is_file()
    )


# ---- interrupted and killed

SWEEP = """import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from featent.commands.sweeps import sweep
grid = {"n": [1, 2], "sleep": [600.0], "diary": [sys.argv[2]]}
sweep(sys.argv[1], grid, sys.argv[3], n_jobs=2)"""


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
@pytest.mark.parametrize("kind", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_stopped_at_any_moment(fake, tmp_path, monkeypatch, kind):
    "Nothing goes on computing, what is unfinished is dropped, and the same sweep goes on."
    diary, folder = tmp_path / "diary", tmp_path / "s"
    diary.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", SWEEP, str(fake), str(diary), str(folder)],
        cwd=Path(__file__).parents[1],
        stderr=subprocess.PIPE,
        text=True,
    )
    end = time.time() + 90
    while len(os.listdir(diary)) < 2 and process.poll() is None and time.time() < end:
        time.sleep(0.1)
    process.send_signal(getattr(signal, kind))
    err = process.communicate(timeout=60)[1]
    assert (
        process.returncode != 0
        and len(os.listdir(diary)) == 2
        and all(ended(int(p)) for p in os.listdir(diary))
    ), err
    if kind != "SIGKILL":
        why = (
            "KeyboardInterrupt: interrupted" if kind == "SIGINT" else "Terminated: ended by SIGTERM"
        )
        assert (
            f"{why}: what is done is kept, and the same command goes on" in err
            and os.listdir(folder / "runs") == []
            and not hidden(folder)
        )
        assert "2 waiting" in (folder / "index.html").read_text(encoding="utf-8")
    else:
        monkeypatch.setenv("REPAIRED", "1")
        table = sweeps.sweep(
            fake, {"n": [1, 2], "sleep": [600.0], "diary": [str(diary)]}, folder, n_jobs=2
        )
        assert (
            list(table.state) == ["done"] * 2
            and len(os.listdir(folder / "runs")) == 2
            and not hidden(folder)
        )


def test_an_interrupted_command_exits_with_130(capsys, monkeypatch, tmp_path):
    def stop(*a):
        raise KeyboardInterrupt("interrupted: the same command goes on")

    monkeypatch.setattr(sweeps, "sweep", stop)
    assert (
        cli.main(["sweep", "depth", "-o", str(tmp_path / "s")]) == 130
        and "the same command goes on" in capsys.readouterr().err
    )


# ---- one run, and one job of an array


def test_a_notebook_file_is_run_as_an_experiment(capsys, tmp_path, monkeypatch):
    book(
        tmp_path / "mine.ipynb",
        "if shard >= n_shards: raise ValueError('no')",
        "(__import__('pathlib').Path(out)/'a.txt').write_text(f'{shard} of {n_shards} in {store}')",
        parameters="shard: int = 0  # a\nn_shards: int = 1  # b\nstore: str = ''  # c\n"
        "out: str = 'x'  # d",
    )
    monkeypatch.chdir(tmp_path)
    assert (
        cli.main(["run", "mine.ipynb", "-p", "shard", "7"]) == 2
        and capsys.readouterr().err == "featent: error: no\n"
        and os.listdir() == ["mine.ipynb"]
    )
    for words, message in (
        ([], "--shard and --n-shards go together"),
        (["--n-shards", "2"], "numbered 0 to 1"),
        (["--n-shards", "3"], "-p store DIR"),
    ):
        assert (
            cli.main(["run", "mine.ipynb", "--shard", "2", *words]) == 2
            and message in capsys.readouterr().err
        )
    assert (
        cli.main(["run", "mine.ipynb", "--shard", "2", "--n-shards", "3", "-p", "store", "births"])
        == 0
    )
    assert Path("featent-mine-2-of-3/a.txt").read_text() == "2 of 3 in births" and sorted(
        os.listdir()
    ) == ["featent-mine-2-of-3", "mine.ipynb"]


def test_an_experiment_without_shards_says_so(capsys, fake, tmp_path):
    assert (
        cli.main(["run", str(fake), "--shard", "0", "--n-shards", "2", "-o", str(tmp_path / "x")])
        == 2
    )
    assert "it has no parameter shard, n_shards, store" in capsys.readouterr().err and not any(
        tmp_path.iterdir()
    )


def plain(path, *code):
    "A notebook whose metadata name neither a kernel nor a language."
    nb = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell(
                "x: int = 1  # a number\nout: str = 'o'  # folder",
                metadata={"tags": ["parameters"]},
            ),
            *map(nbformat.v4.new_code_cell, code),
        ]
    )
    nbformat.write(nb, path)
    return path


def test_the_kernel_is_of_this_python_whatever_is_installed(tmp_path, monkeypatch):
    "Another python3 comes first for Jupyter, and the notebook names none; its page says where."
    spec = tmp_path / "share/kernels/python3"
    spec.mkdir(parents=True)
    (spec / "kernel.json").write_text(
        json.dumps(
            {
                "argv": [
                    str(tmp_path / "no/python"),
                    "-m",
                    "ipykernel_launcher",
                    "-f",
                    "{connection_file}",
                ],
                "display_name": "Python 3",
                "language": "python",
            }
        )
    )
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share"))
    monkeypatch.setenv("A_VALUE", "5$x")
    before = dict(os.environ)
    path = plain(
        tmp_path / "mine.ipynb",
        "import os, sys; told = [sys.executable, os.environ['TQDM_DISABLE'], "
        "os.environ['A_VALUE']]; open(f'{out}/t.txt', 'w').write(''.join(told)); print(out)",
    )
    out = runs.run(path, {"x": 2}, tmp_path / "out")
    page = (out / "mine.ipynb").read_text()
    assert (out / "t.txt").read_text() == sys.executable + "15$x" and dict(os.environ) == before
    assert str(out) in page and "/.out." not in page and not hidden(tmp_path)


def test_runs_in_threads_and_coroutines_leave_no_trace(tmp_path):
    "Two at once that end one after the other, from threads, one of them within a running loop."
    path, before, quiet = (
        plain(
            tmp_path / "mine.ipynb",
            "import time; time.sleep(2*x); open(f'{out}/t.txt', 'w').write(str(x))",
        ),
        dict(os.environ),
        list(warnings.filters),
    )

    async def within():
        return runs.run(path, {"x": 1}, tmp_path / "a")

    with ThreadPoolExecutor(2) as pool:
        both = [
            pool.submit(asyncio.run, within()),
            pool.submit(runs.run, path, {"x": 3}, tmp_path / "b"),
        ]
        assert [(f.result() / "t.txt").read_text() for f in both] == ["1", "3"]
    assert dict(os.environ) == before and warnings.filters == quiet


def test_a_killed_kernel_leaves_its_page_and_its_files(tmp_path):
    path = plain(
        tmp_path / "mine.ipynb",
        "open(f'{out}/hours.csv', 'w').write('a,b'); print('done')",
        "import os; os.kill(os.getpid(), 9)",
    )
    with pytest.raises(RuntimeError, match=r"out of memory\?.*kept in") as e:
        runs.run(path, {}, tmp_path / "out")
    place = Path(re.search(r"kept in (.*)\)", str(e.value))[1])
    assert (
        place == tmp_path / "out-failed"
        and sorted(os.listdir(place)) == ["hours.csv", "mine.ipynb"]
        and not hidden(tmp_path)
    )
    assert (
        "done" in (place / "mine.ipynb").read_text()
        and str(place) in (place / "mine.ipynb").read_text()
    )


def test_a_folder_is_claimed_before_the_work(fake, tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "execute_notebook", lambda *a: pytest.fail("something was run"))
    with (
        places.claimed(tmp_path / "out"),
        ThreadPoolExecutor(1) as pool,
        pytest.raises(FileExistsError, match="is in use by process"),
    ):
        pool.submit(runs.run, fake, {}, tmp_path / "out").result()


def test_what_appears_in_the_folder_meanwhile_is_not_touched(tmp_path):
    "The run is kept under another name, and its page names that."
    other = str(tmp_path / "out")
    meanwhile = f"import pathlib; other = pathlib.Path({other!r}); other.mkdir(); "
    meanwhile += "(other/'note.txt').touch()"
    path = plain(tmp_path / "mine.ipynb", "open(f'{out}/t.csv', 'w').write('a')", meanwhile)
    with pytest.raises(RuntimeError, match="other files are there now") as e:
        runs.run(path, {}, tmp_path / "out")
    place = Path(re.search(r"kept in (\S+)", str(e.value))[1])
    assert os.listdir(tmp_path / "out") == ["note.txt"] and sorted(os.listdir(place)) == [
        "mine.ipynb",
        "t.csv",
    ]
    assert str(place) in (place / "mine.ipynb").read_text() and not hidden(tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
def test_a_run_that_is_ended_keeps_what_it_has(tmp_path):
    path = plain(
        tmp_path / "mine.ipynb",
        "open(f'{out}/hours.csv', 'w').write('a,b')",
        "import time; time.sleep(600)",
    )
    command = [
        sys.executable,
        "-c",
        "import sys; from featent.commands.cli import main; sys.exit(main())",
        "run",
        str(path),
        "-o",
        str(tmp_path / "out"),
    ]
    process = subprocess.Popen(
        command, cwd=Path(__file__).parents[1], stderr=subprocess.PIPE, text=True
    )
    end = time.time() + 90
    while (
        not list(tmp_path.glob(".out*/hours.csv")) and process.poll() is None and time.time() < end
    ):
        time.sleep(0.1)
    process.terminate()
    err = process.communicate(timeout=60)[1]
    assert (
        process.returncode == 143
        and "ended by SIGTERM: what was there up to then is kept in" in err
    ), err
    assert sorted(os.listdir(tmp_path / "out-stopped")) == [
        "hours.csv",
        "mine.ipynb",
    ] and not hidden(tmp_path)


def test_a_damaged_list_of_runs_is_reported(swept, fake, tmp_path):
    for text in ("{", "[]", "{}", '{"experiment": "x"}'):
        (tmp_path / "s").mkdir(exist_ok=True)
        (tmp_path / "s/sweep.json").write_text(text)
        with pytest.raises(ValueError, match="sweep.json is damaged"):
            sweeps.sweep(fake, {"n": [1]}, tmp_path / "s")


def test_threads(monkeypatch):
    monkeypatch.setattr(processes, "_cores", lambda: 16)
    for k in processes._THREADS:
        monkeypatch.delenv(k, raising=False)
    monkeypatch.setenv("MKL_NUM_THREADS", "2")
    assert {
        k: processes.shared_environment(4)[k]
        for k in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "MKL_NUM_THREADS")
    } == {"OMP_NUM_THREADS": "4", "NUMBA_NUM_THREADS": "4", "MKL_NUM_THREADS": "2"}
    assert processes.shared_environment(99)[
        "OMP_NUM_THREADS"
    ] == "1" and "OMP_NUM_THREADS" not in processes.shared_environment(1)
    assert [processes.runs_at_once(n) for n in (3, -1, -2, -99)] == [3, 16, 15, 1]


def test_durations():
    assert [reports._duration(s) for s in (None, 3.14159, 125, 3725)] == [
        "",
        "3.1 s",
        "2 min 05 s",
        "1 h 02 min",
    ]
