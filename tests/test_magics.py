"What `%featent` does in a notebook, and what the Tab key offers."

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from IPython.core.completer import provisionalcompleter
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell

import featent as fe
from featent.commands import arguments, cli
from featent.commands.magics import _call, _magic_parser, completions, load_ipython_extension


@pytest.fixture(scope="module")
def ip():
    shell = InteractiveShell()  # one of its own, not the process's
    shell.Completer.use_jedi = False
    load_ipython_extension(shell)
    shell.user_ns.update(
        net=fe.network("small_vgg", in_channels=1, seed=3),
        images=fe.images("digits", per_class=3, classes=[1, 2]),
        mine=[1, 2],
    )
    return shell


@pytest.fixture(scope="module")
def result(ip):
    return ip.run_line_magic(
        "featent",
        "assess --network net --images images --null shuffle "
        "--layers features.conv1,features.conv2",
    )


def offered(ip, line):
    with provisionalcompleter():
        return [
            c.text
            for c in ip.Completer._complete(
                cursor_line=0, cursor_pos=len(line), line_buffer=line, full_text=line
            )["featent"]["completions"]
        ]


def test_variables_stand_for_network_and_images(ip, result):
    assert (
        isinstance(result, fe.Result)
        and list(result.layers.module) == ["features.conv1", "features.conv2"]
        and "shuffle" in result.record["null"]
    )
    assert (
        result.record["network"]["weights_hash"] == fe.data.records.weights_hash(ip.user_ns["net"])
        and len(result.labels) == 6
    )
    direct = fe.assess(
        ip.user_ns["net"],
        ip.user_ns["images"],
        layers=["features.conv1", "features.conv2"],
        null="shuffle",
    )
    assert result.table.equals(direct.table)


def test_words_mean_what_they_mean_in_a_terminal(ip, tmp_path, capsys):
    torch.save(fe.network("small_vgg", in_channels=1, seed=5).state_dict(), tmp_path / "net.pth")
    words = [
        "assess",
        "--network",
        "small_vgg",
        "--weights",
        str(tmp_path / "net.pth"),
        "--per-class",
        "2",
        "--layers",
        "features.conv6",
        "--seed",
        "1",
    ]
    assert cli.main([*words, "-o", str(tmp_path / "a")]) == 0
    capsys.readouterr()
    made = _call([*words, "-o", str(tmp_path / "b")], {})
    assert (tmp_path / "a/table.csv").read_bytes() == (tmp_path / "b/table.csv").read_bytes()
    assert made.table.equals(_call(words, {}).table) and capsys.readouterr().out == ""


def test_it_can_be_assigned_and_spread_over_lines(ip):
    ip.run_cell(
        "r = %featent assess --network net --images images --layers features.conv1"
    ).raise_error()
    assert len(ip.user_ns["r"].layers) == 1
    out = ip.run_cell(
        "%%featent assess --network net\n--images images\n--layers 'features.conv2'\n"
    )
    out.raise_error()
    assert list(out.result.layers.module) == ["features.conv2"]


@pytest.mark.parametrize(
    "line,told",
    [
        ("assess --network nett --images images", "%featent assess: error: unknown network 'nett'"),
        ("assess", "%featent assess: error: the following arguments are required: --network"),
        ("asess", "%featent: error: argument"),
        ("assess --network net --images images --layers conv9", "conv9"),
        ("run dept", "no experiment 'dept'; choose from"),
        (
            "assess --network net --images images --per-class 2",
            "--per-class cannot change the images in the variable images",
        ),
        ("explore scores", "'scores' is neither"),
        ("assess --network net --images mine", "mine"),
        ("assess --network net --images images --shard 0", "--shard and --n-shards go together"),
        ("assess --network net --images images --workers 2", "need a store"),
        ("explore --explorer units", "invalid choice: 'units'"),
        ("assess --filtration rips --network net", "invalid choice: 'rips'"),
    ],
)
def test_errors_are_one_line_and_the_shell_goes_on(ip, capsys, monkeypatch, tmp_path, line, told):
    monkeypatch.chdir(tmp_path)
    done = ip.run_cell(f"%featent {line}\nafter = 1")
    said = "".join(capsys.readouterr())
    assert isinstance(done.error_in_exec, UsageError) and told in str(done.error_in_exec)
    assert (
        said.strip().splitlines() == [f"UsageError: {done.error_in_exec}"]
        and os.listdir(tmp_path) == []
    )
    assert ip.run_cell("1 + 1").result == 2


def test_debug_keeps_the_traceback(ip):
    with pytest.raises(ValueError, match="neither"):
        ip.run_line_magic("featent", "--debug explore nothing")


def test_a_folder_in_use_is_not_touched(ip, tmp_path):
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(UsageError, match="not empty"):
        _call(["assess", "--network", "net", "--images", "images", "-o", str(tmp_path)], ip.user_ns)
    assert os.listdir(tmp_path) == ["thesis.txt"]


@pytest.mark.parametrize(
    "words",
    ["", "--help", "assess --help", "explore --help", "run --list", "run depth --parameters"],
)
def test_help(ip, capsys, words):
    ip.run_cell(f"%featent {words}").raise_error()
    said = capsys.readouterr().out
    assert len(said.splitlines()) > 5 and "  featent " not in said
    if "help" in words:
        assert (
            f"usage: %featent {words.split()[0] if ' ' in words else ''}".strip() in said
            and "\n  %featent " in said
        )


def test_no_option_of_the_command_line_is_lost():
    options = lambda parser: {
        name: set(p._option_string_actions)
        for name, p in parser._subparsers._group_actions[0].choices.items()
    }
    here, there = options(_magic_parser()), options(arguments.command_parser())
    assert {k: here[k] for k in there} == there and set(here) - set(there) in ({"explore"}, set())
    assert there["assess"] | {"--explorer", "--layer", "--unit"} == here["explore"]


def test_explore_opens_where_it_is_told(ip, result, tmp_path):
    ip.user_ns["r"] = result
    made = ip.run_line_magic("featent", "explore r --layer features.conv2 --unit 3")
    layer = result.layers.layer[1].split("+")[0]
    assert made.current.state == {"view": "unit", "layer": layer, "unit": "3"}
    for words, told in {
        "--layer conv9": "choose from features.conv1, features.conv2",
        "--unit 99": "units 0 to 31",
        "--explorer open --unit 3": "words of --explorer atlas",
    }.items():
        with pytest.raises(UsageError, match=told):
            ip.run_line_magic("featent", f"explore r {words}")
    result.save(tmp_path / "scores")
    assert (
        _call(["explore", str(tmp_path / "scores"), "--explorer", "atlas"], {}).buttons.value
        == "atlas"
    )
    given = ip.run_line_magic("featent", "explore r --network net --images images")
    assert given.current.still[0].startswith(b"\x89PNG")


def test_paths_of_windows_keep_their_backslashes(ip):
    from featent.commands.magics import _words

    assert _words(r"assess --images C:\photos\cats -o D:\out") == [
        "assess",
        "--images",
        r"C:\photos\cats",
        "-o",
        r"D:\out",
    ]
    assert _words(r"""explore 'C:\my results\scores' "a b" it's o'k""") == [
        "explore",
        r"C:\my results\scores",
        "a b",
        "its ok",
    ]
    with pytest.raises(UsageError, match="results.*scores' is neither"):
        ip.run_line_magic("featent", r"explore C:\results\scores")
    with pytest.raises(UsageError, match="a quote is never closed"):
        ip.run_line_magic("featent", "run depth -o d'un")


def test_any_error_is_one_line(ip, capsys, monkeypatch):
    def broken(*a, **k):
        raise AssertionError("wrong image size")

    monkeypatch.setattr(fe, "assess", broken)
    done = ip.run_cell("%featent assess --network net --images images")
    assert isinstance(
        done.error_in_exec, UsageError
    ) and "assessing net with images: AssertionError: wrong image size" in str(done.error_in_exec)
    assert "".join(capsys.readouterr()).count("\n") == 1


def test_the_home_folder_is_meant_by_a_tilde(ip, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    ip.run_line_magic(
        "featent", "assess --network net --images images --layers features.conv1 -o ~/scores"
    )
    assert os.listdir(tmp_path) == ["home"] and fe.load(
        tmp_path / "home/scores"
    ).layers.module.tolist() == ["features.conv1"]


def test_completion_of_commands_and_options(ip):
    assert set(offered(ip, "%featent ")) >= {
        "assess",
        "run",
        "explore",
        "doctor",
        "--help",
    } and offered(ip, "x = %featent ass") == ["assess"]
    assert (
        offered(ip, "%featent assess --null shuffle --nor") == ["--normalise"]
        and offered(ip, "%featent assess --seed 1 --see") == []
    )
    assert offered(ip, "%featent assess --filtration c") == ["clique", "cubical"] and offered(
        ip, "%featent explore --explorer a"
    ) == ["atlas", "ablation"]
    assert "depth" in offered(ip, "%featent run ") and offered(ip, "%featent run depth -p epo") == [
        "epochs"
    ]
    assert offered(ip, "%featent assess --network small") == [
        "small_vgg",
        "small_resnet",
        "small_vit",
        "small_vgg_narrow",
    ] and offered(ip, "%featent assess --network net --images ima") == ["images"]
    assert (
        offered(ip, "%featent nothing ") == []
        and offered(ip, "fe.assess(ne") == []
        and completions("featent = ne", ip.user_ns, "ne") == ([], True)
    )


def test_completion_of_layers_and_units(ip, result, tmp_path, monkeypatch):
    ip.user_ns["r"] = result
    assert offered(ip, "%featent assess --network net --layers features.conv") == [
        f"features.conv{i}" for i in range(1, 7)
    ]
    assert offered(ip, "%featent assess --network resnet18 --layers conv1,layer4.1.c") == [
        "layer4.1.conv1",
        "layer4.1.conv2",
    ]
    assert offered(ip, "%featent assess --layers co --network net"[:-14]) == ["conv"]
    assert offered(ip, "%featent explore r --layer ") == ["features.conv1", "features.conv2"]
    units = offered(ip, "%featent explore r --layer features.conv2 --unit ")
    assert units == [str(i) for i in range(int(result.layers.units[1]))]
    result.save(tmp_path / "scores")
    monkeypatch.chdir(tmp_path)
    assert offered(ip, "%featent explore scores --layer ") == ["features.conv1", "features.conv2"]
    with provisionalcompleter():
        assert "scores" in [
            c.text.rstrip("/") for c in ip.Completer.completions("%featent explore sco", 20)
        ]


def test_named_layers_are_those_that_can_be_assessed():
    from featent.commands.magics import _named_layers

    table = fe.list_layers(fe.network("resnet18"), (3, 64, 64))
    assert dict(_named_layers("resnet18")) == dict(zip(table.module, table.units))


def test_load_ext_twice_in_a_fresh_process(tmp_path):
    "As a notebook says it; loading again does no harm."
    code = (
        "from IPython.core.interactiveshell import InteractiveShell as S; s = S(); "
        "[s.run_line_magic('load_ext', 'featent') for _ in '12']; "
        "s.run_line_magic('reload_ext', 'featent'); "
        "n = len([m for m in s.Completer.custom_matchers if 'featent' in m.__name__]); "
        "print(n, s.run_line_magic('featent', 'run --list'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(tmp_path),
        capture_output=True,
        text=True,
        env={**os.environ, "IPYTHONDIR": str(tmp_path), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "1 None", done.stderr
