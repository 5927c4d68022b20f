"Writing that is whole, precautions that may be refused, locks that end, places that are claimed."

import errno
import fcntl
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import pytest

from featent.tools import files, locks, places
from featent.tools.ending import Terminated, ending_well
from featent.tools.files import (
    affordable,
    as_path,
    explained,
    make_folder,
    read_json,
    sync_folder,
    sync_tree,
    write_whole,
)
from featent.tools.locks import Busy, alone
from featent.tools.places import claimed, keep, leftovers, publish, workplace

REFUSALS = [errno.EINVAL, errno.EPERM, errno.ENOTSUP, errno.EBADF, errno.ENOSYS]
NO_LOCKS = [errno.ENOLCK, errno.ENOSYS, errno.EBADF, errno.EOPNOTSUPP]


@pytest.fixture(autouse=True)
def nothing_told(monkeypatch):
    monkeypatch.setattr(files, "_told", set())


def refusing(code):
    def refuse(*_, **__):
        raise OSError(code, os.strerror(code))

    return refuse


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def python(code, *words, **options):
    return subprocess.Popen(
        [sys.executable, "-c", code, *words], stdout=subprocess.PIPE, text=True, **options
    )


# paths


def test_the_home_folder_is_meant_by_a_tilde(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert as_path("~/a") == tmp_path / "a" and as_path("b").as_posix() == "b"
    assert as_path("./~") == Path.cwd() / "~" == as_path(as_path("./~"))


@pytest.mark.parametrize(
    "where, error, words",
    [
        ("", ValueError, "is empty"),
        (" ", ValueError, "is empty"),
        ("a\0b", ValueError, "zero character"),
        (3, TypeError, "is not a path"),
        (None, TypeError, "is not a path"),
        ("~nobody-here/a", ValueError, "write the folder in full"),
    ],
)
def test_what_is_no_path_is_refused(where, error, words):
    with pytest.raises(error, match=words):
        as_path(where)


# precautions


@pytest.mark.parametrize("code", REFUSALS)
def test_a_refused_sync_is_said_once_and_ends_nothing(tmp_path, monkeypatch, code):
    monkeypatch.setattr(os, "fsync", refusing(code))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for name in "abc":
            assert write_whole(tmp_path / name, name).read_text() == name
        sync_tree(tmp_path)
    assert len(said) == 2 and all(
        "the work goes on without it" in str(w.message) for w in said
    )  # files, and folders
    assert names(tmp_path) == ["a", "b", "c"]


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_an_error_of_the_disk_is_no_refusal(tmp_path, monkeypatch, code):
    (tmp_path / "a").write_text("old")
    monkeypatch.setattr(os, "fsync", refusing(code))
    with pytest.raises(OSError) as e:
        write_whole(tmp_path / "a", "new")
    assert (
        e.value.errno == code and names(tmp_path) == ["a"] and (tmp_path / "a").read_text() == "old"
    )


def test_a_folder_that_cannot_be_opened_for_its_sync_is_no_obstacle(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "open", refusing(errno.EACCES))
    with pytest.warns(UserWarning, match="names in a folder"):
        sync_folder(tmp_path)


# files


@pytest.mark.parametrize(
    "content, found",
    [
        (b"\x00\xff", b"\x00\xff"),
        ("ü\n", "ü\n".encode()),
        (lambda f: f.write(b"x") and None, b"x"),
    ],
)
def test_bytes_text_and_functions_are_written(tmp_path, content, found):
    assert write_whole(tmp_path / "a", content).read_bytes() == found


def test_a_writer_that_fails_leaves_the_old_file_alone(tmp_path):
    write_whole(tmp_path / "a", "old")

    def broken(f):
        f.write(b"half")
        raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        write_whole(tmp_path / "a", broken)
    assert names(tmp_path) == ["a"] and (tmp_path / "a").read_text() == "old"


@pytest.mark.parametrize(
    "umask, parent, folder, file",
    [(0o077, 0o700, 0o700, 0o600), (0o002, 0o2775, 0o2775, 0o664), (0o022, 0o755, 0o755, 0o644)],
)
def test_the_umask_and_the_folder_above_decide_who_may_read(tmp_path, umask, parent, folder, file):
    mode = lambda p: stat.S_IMODE(p.stat().st_mode)
    top = tmp_path / "top"
    top.mkdir()
    top.chmod(parent)
    before = os.umask(umask)
    try:
        work = workplace(top / "out")
        write_whole(work / "a", "a")
        publish(work, top / "out")
    finally:
        os.umask(before)
    assert (mode(top / "out"), mode(top / "out/a")) == (folder, file)


def test_a_disk_without_permissions_is_no_obstacle(tmp_path, monkeypatch):
    for name in ("chmod", "lchmod"):
        monkeypatch.setattr(os, name, refusing(errno.EPERM), raising=False)
    work, _ = workplace(tmp_path / "out"), make_folder(tmp_path / "out")
    write_whole(work / "a", "a")
    assert names(publish(work, tmp_path / "out")) == ["a"]


def test_a_folder_that_the_user_closed_to_others_stays_closed(tmp_path):
    (tmp_path / "out").mkdir(mode=0o700)
    publish(workplace(tmp_path / "out"), tmp_path / "out")
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "code, words",
    [
        (errno.ENOSPC, "the disk is full: 3 kept; free some space"),
        (errno.EDQUOT, "the disk is full"),
        (errno.EACCES, "cannot write in the store x: 3 kept"),
        (errno.EROFS, "cannot write in"),
        (errno.ENOTDIR, "a part of this path is a file"),
        (errno.ENOENT, "the store x is gone"),
    ],
)
def test_errors_of_the_system_are_put_into_words(code, words):
    with pytest.raises(OSError, match=words) as e, explained("the store x", lambda: "3 kept"):
        refusing(code)()
    assert e.value.errno == code


# what is read


@pytest.mark.parametrize(
    "text, words",
    [
        ("[" * 10**5, "nested too deeply"),
        (b"\xff\xfe\x00", "no JSON"),
        ("", "no JSON"),
        ("{", "no JSON"),
        ("9" * 10**4, "no JSON"),
        (b"\x80abc", "no JSON"),
        (" " * 2**21, "no such file has more"),
    ],
)
def test_odd_json_is_one_kind_of_error(tmp_path, text, words):
    with pytest.raises(ValueError, match=words):
        read_json(write_whole(tmp_path / "a", text), most=2**20)


def test_more_than_the_memory_is_refused(monkeypatch):
    monkeypatch.setattr(files, "free_memory", lambda: 10**9)
    affordable(10**9, "it")
    with pytest.raises(
        ValueError, match="it says that it holds 2.0 GB, and 1.0 GB of memory are free"
    ):
        affordable(2 * 10**9, "it")
    monkeypatch.setattr(files, "free_memory", lambda: None)
    affordable(10**18, "it")


# locks


def test_a_lock_names_its_owner_and_ends_with_its_block(tmp_path):
    with alone(tmp_path / "lock"):
        with pytest.raises(Busy, match=f"process {os.getpid()} on "), alone(tmp_path / "lock"):
            pass
    with alone(tmp_path / "lock", remove=True):
        pass
    assert names(tmp_path) == []


HOLD = """
import sys, time
from featent.tools.locks import alone
with alone(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""
NO_FLOCK = """
import errno, fcntl, os, warnings
warnings.simplefilter("ignore")
def flock(f, how): raise OSError(errno.ENOSYS, "Function not implemented")
fcntl.flock = flock
"""


def holding(path, before=""):
    "A process that holds a lock."
    process = python(before + HOLD, str(path))
    assert process.stdout.readline() == "held\n"
    return process


def killed(process):
    process.kill()
    process.wait()


@pytest.mark.parametrize("before", ["", NO_FLOCK], ids=["locks", "no locks"])
def test_a_lock_ends_with_a_killed_process(tmp_path, monkeypatch, before):
    process = holding(tmp_path / "lock", before)
    if before:
        monkeypatch.setattr(fcntl, "flock", refusing(errno.ENOSYS))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises(Busy, match=f"process {process.pid} on "), alone(tmp_path / "lock"):
                pass
            killed(process)
            with alone(tmp_path / "lock"):
                pass
    finally:
        killed(process)


@pytest.mark.parametrize("code", NO_LOCKS)
def test_where_there_are_no_locks_a_file_stands_in(tmp_path, monkeypatch, code):
    monkeypatch.setattr(fcntl, "flock", refusing(code))
    with pytest.warns(UserWarning, match="has no locks"), alone(tmp_path / "lock"):
        with pytest.raises(Busy, match=f"process {os.getpid()} on "), alone(tmp_path / "lock"):
            pass
    with alone(tmp_path / "lock", remove=True):
        pass
    assert names(tmp_path) == []


def test_a_stale_file_of_another_machine_is_taken_over_and_a_living_one_is_not(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(fcntl, "flock", refusing(errno.ENOSYS))
    monkeypatch.setattr(locks, "_PATIENCE", 0.6)
    monkeypatch.setattr(locks, "_BEAT", 0.1)
    held, far = (
        tmp_path / "lock.held",
        {"host": "node17", "pid": 1, "started": 5, "since": "yesterday"},
    )
    held.write_text(json.dumps(far))
    files._told.add(f"the file system of {tmp_path} has no locks: a file stands in for one")
    with (
        pytest.warns(UserWarning, match="belongs to process 1 on node17, since yesterday"),
        alone(tmp_path / "lock"),
    ):
        assert json.loads(held.read_text())["host"] == socket.gethostname()
    held.write_text(json.dumps(far))
    stop = threading.Event()

    def renew():
        while not stop.wait(0.05):
            held.write_text(json.dumps({**far, "renewed": time.time()}))

    thread = threading.Thread(target=renew)
    thread.start()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises(Busy, match="node17"), alone(tmp_path / "lock"):
                pass
    finally:
        stop.set()
        thread.join()


HERE = socket.gethostname()
STALE = {
    "a number that another process has now": {"host": HERE, "pid": os.getpid(), "started": 1},
    "a process that has ended": {"host": HERE, "pid": 2**22 + 5},
    "no process": {"host": HERE, "pid": "x"},
}


@pytest.mark.parametrize("text", [json.dumps(v) for v in STALE.values()], ids=list(STALE))
def test_a_stale_file_of_this_machine_is_taken_over_at_once(tmp_path, monkeypatch, text):
    monkeypatch.setattr(fcntl, "flock", refusing(errno.ENOSYS))
    (tmp_path / "lock.held").write_text(text)
    start = time.monotonic()
    with pytest.warns(UserWarning, match="no locks"), alone(tmp_path / "lock"):
        pass
    assert time.monotonic() - start < 2


def test_a_file_that_another_has_made_meanwhile_stays(tmp_path, monkeypatch):
    "Between the look at a stale file and its removal a faster process takes it over."
    monkeypatch.setattr(fcntl, "flock", refusing(errno.ENOSYS))
    held, alive = tmp_path / "lock.held", locks._alive
    held.write_text(json.dumps({"host": HERE, "pid": 2**22 + 5}))
    other = {"host": HERE, "pid": os.getpid(), "turn": "another"}

    def seen(holder):
        found = alive(holder)
        held.write_text(json.dumps(other))
        return found

    monkeypatch.setattr(locks, "_alive", seen)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(Busy, match=f"process {os.getpid()}"), alone(tmp_path / "lock"):
            pass
    assert json.loads(held.read_text()) == other and names(tmp_path) == ["lock", "lock.held"]


def test_a_process_that_only_waits_to_be_reaped_holds_nothing(tmp_path):
    process = python("pass")
    process.stdout.read()
    while locks._status(process.pid)[0] != "Z":
        time.sleep(0.01)
    assert not locks._alive({"pid": process.pid})
    process.wait()


@pytest.mark.parametrize("before", ["", NO_FLOCK], ids=["locks", "no locks"])
def test_of_many_only_one_is_alone(tmp_path, before):
    "Six processes take turns; each finds nobody in the room, though two die with the lock."
    code = (
        before
        + """
import os, sys, time
from featent.tools.locks import Busy, alone
done = 0
while done < 5:
    try:
        with alone(sys.argv[1] + "/lock", remove=True):
            os.mkdir(sys.argv[1] + "/room")
            time.sleep(.005)
            os.rmdir(sys.argv[1] + "/room")
            done += 1
            if sys.argv[2] == "dies" and done == 2: os._exit(0)
    except Busy: pass
    time.sleep(.003)
"""
    )
    jobs = [python(code, str(tmp_path), end) for end in ["lives", "lives", "dies"] * 2]
    assert [j.wait(60) for j in jobs] == [0] * 6


# places


def test_a_place_is_claimed_before_the_work(tmp_path):
    process = python(
        "import time\nfrom featent.tools.places import claimed\n"
        f"with claimed({str(tmp_path / 'out')!r}):\n"
        "    print('held', flush=True)\n    time.sleep(60)"
    )
    try:
        assert process.stdout.readline() == "held\n"
        with (
            pytest.raises(
                FileExistsError,
                match=f"out is in use by process {process.pid} on .*: "
                "wait for it, or choose another folder",
            ),
            claimed(tmp_path / "out"),
        ):
            pass
    finally:
        killed(process)
    with claimed(tmp_path / "out"):
        pass  # its claim ended with it
    assert names(tmp_path) == []


def test_a_claim_holds_for_every_spelling_of_a_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "link").symlink_to(tmp_path / "real/out")
    found = []

    def other(spelling):
        try:
            with claimed(spelling):
                found.append("claimed")
        except FileExistsError:
            found.append("refused")

    with claimed("real/out"):
        for spelling in ("real/out", "~/real/out", "real/../real/out", "link"):
            thread = threading.Thread(target=other, args=(spelling,))
            thread.start()
            thread.join()
        with claimed("~/real/out"):
            pass  # the same work
    assert found == ["refused"] * 4


@pytest.mark.parametrize(
    "make", [lambda p: p.write_text("x"), lambda p: (p.mkdir(), (p / "thesis.txt").write_text("x"))]
)
def test_a_place_in_use_is_refused(tmp_path, make):
    make(tmp_path / "out")
    with (
        pytest.raises(FileExistsError, match="exists and is not empty: choose another folder"),
        claimed(tmp_path / "out"),
    ):
        pass
    assert names(tmp_path) == ["out"]


def test_a_place_under_a_file_is_refused_in_words(tmp_path):
    (tmp_path / "file").write_text("x")
    with (
        pytest.raises(OSError, match="a part of this path is a file"),
        claimed(tmp_path / "file/a/out"),
    ):
        pass


def test_what_a_killed_process_left_is_told(tmp_path):
    work = workplace(tmp_path / "out")
    (tmp_path / ".out.b.00000000.work").mkdir()  # of another place
    with (
        pytest.warns(
            UserWarning, match=rf"has left .*{work.name}: look at it, or remove it"
        ) as said,
        claimed(tmp_path / "out"),
    ):
        pass
    assert len(said) == 1 and work.exists() and leftovers(tmp_path / "out") == [work]


def test_a_result_whose_replacement_was_killed_comes_back(tmp_path):
    (tmp_path / ".out.0123abcd.old").mkdir()
    (tmp_path / ".out.0123abcd.old/a").write_text("old")
    with (
        pytest.warns(UserWarning, match="the old content is back"),
        claimed(tmp_path / "out", lambda folder: None),
    ):
        pass
    assert (tmp_path / "out/a").read_text() == "old" and names(tmp_path) == ["out"]


def finished(out, text="new"):
    work = workplace(out)
    write_whole(work / "a", text)
    make_folder(work / "b")
    return work


def test_work_survives_a_folder_that_has_filled_meanwhile(tmp_path):
    work = finished(tmp_path / "out")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").write_text("x")
    with pytest.raises(
        OSError,
        match="could not become .*out .other files are there now.: it is kept in .*out-kept",
    ):
        publish(work, tmp_path / "out")
    assert (
        names(tmp_path) == ["out", "out-kept"]
        and names(tmp_path / "out-kept") == ["a", "b"]
        and names(tmp_path / "out") == ["mine"]
    )
    with pytest.raises(OSError, match="out-kept-2"):
        publish(finished(tmp_path / "out"), tmp_path / "out")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_work_survives_a_disk_that_fails_in_the_last_step(tmp_path, monkeypatch, code):
    work = finished(tmp_path / "out")
    monkeypatch.setattr(os, "fsync", refusing(code))
    with pytest.raises(OSError, match="it is kept in .*out-kept"):
        publish(work, tmp_path / "out")
    assert names(tmp_path / "out-kept") == ["a", "b"]


def test_work_survives_where_nothing_can_be_renamed(tmp_path, monkeypatch):
    work = finished(tmp_path / "out")
    monkeypatch.setattr(os, "rename", refusing(errno.EACCES))
    with pytest.raises(OSError, match=rf"it is kept in .*{work.name}"):
        publish(work, tmp_path / "out")
    assert names(work) == ["a", "b"]


@pytest.mark.parametrize("code", [errno.EBUSY, errno.EXDEV, errno.EACCES])
def test_a_folder_that_cannot_be_replaced_is_filled(tmp_path, monkeypatch, code):
    "A disk mounted there, or a parent that is not ours."
    work, rename = finished(tmp_path / "out"), os.rename
    (tmp_path / "out").mkdir()

    def stubborn(a, b):
        if str(b) == str(tmp_path / "out"):
            raise OSError(code, os.strerror(code))
        rename(a, b)

    monkeypatch.setattr(os, "rename", stubborn)
    publish(work, tmp_path / "out")
    assert names(tmp_path / "out") == ["a", "b"] and names(tmp_path) == ["out"]


def test_on_a_disk_of_its_own_the_work_is_done_inside(tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    monkeypatch.setattr(os.path, "ismount", lambda p: str(p) == str(tmp_path / "out"))
    with claimed(tmp_path / "out") as out:
        work = finished(out)
        assert work.parent == tmp_path / "out"
        with pytest.raises(FileExistsError, match="in use"):
            places._mine.set(frozenset())
            with claimed(out):
                pass
        publish(work, out)
    assert names(tmp_path / "out") == ["a", "b"] and names(tmp_path) == ["out"]


def test_what_is_replaced_is_removed_last(tmp_path, monkeypatch):
    publish(finished(tmp_path / "out", "old"), tmp_path / "out")
    publish(finished(tmp_path / "out", "newer"), tmp_path / "out", replace=True)
    assert (tmp_path / "out/a").read_text() == "newer" and names(tmp_path) == ["out"]
    rename, work = os.rename, finished(tmp_path / "out", "newest")

    def stubborn(a, b):
        if a == work and b == tmp_path / "out":
            raise OSError(errno.EIO, "Input/output error")
        rename(a, b)

    monkeypatch.setattr(os, "rename", stubborn)
    with pytest.raises(OSError, match="it is kept in .*out-kept"):
        publish(work, tmp_path / "out", replace=True)
    assert (
        (tmp_path / "out/a").read_text() == "newer"
        and (tmp_path / "out-kept/a").read_text() == "newest"
        and len(names(tmp_path)) == 2
    )


def test_without_being_asked_nothing_is_replaced(tmp_path):
    publish(finished(tmp_path / "out", "old"), tmp_path / "out")
    with pytest.raises(OSError, match="other files are there now"):
        publish(finished(tmp_path / "out"), tmp_path / "out")
    assert (tmp_path / "out/a").read_text() == "old"


def test_unfinished_work_is_kept_under_a_name_that_is_seen(tmp_path):
    assert keep(finished(tmp_path / "out"), tmp_path / "out", "failed") == tmp_path / "out-failed"
    assert keep(finished(tmp_path / "out"), tmp_path / "out", "failed") == tmp_path / "out-failed-2"
    assert names(tmp_path) == ["out-failed", "out-failed-2"]


# signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_process_that_is_asked_to_end_cleans_up(tmp_path, number):
    code = f"""
import shutil, time
from featent.tools.ending import ending_well
from featent.tools.places import claimed, workplace
with ending_well(), claimed({str(tmp_path / 'out')!r}) as out:
    work = workplace(out)
    try:
        print('at work', flush=True)
        time.sleep(60)
    finally: shutil.rmtree(work)
"""
    process = python(code, stderr=subprocess.PIPE)
    assert process.stdout.readline() == "at work\n"
    process.send_signal(number)
    assert (
        f"Terminated: ended by {number.name}" in process.communicate(timeout=20)[1]
        and names(tmp_path) == []
    )


def test_plans_of_others_for_a_signal_are_kept():
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with ending_well():
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        with pytest.raises(Terminated), ending_well():
            os.kill(os.getpid(), signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)

    def elsewhere():
        with ending_well():
            pass

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
