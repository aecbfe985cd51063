"""Files and folders appear whole or not at all, whatever happens meanwhile."""

import errno
import fcntl
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from system import files
from system.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def read(path):
    """The text of a file, or of every file in a folder."""
    return {name: (path / name).read_text() for name in names(path)} if path.is_dir() else path.read_text()


def write_half(partial):
    """Half of what was to be written, where `files.whole` or `files.whole_folder` says."""
    (partial / "b" if partial.is_dir() else partial).write_text("half")


def write_old(kind, path):
    if kind is files.whole:
        path.write_text("old")
    else:
        path.mkdir()
        (path / "a").write_text("old")


KINDS = pytest.mark.parametrize("kind, old", [(files.whole, "old"), (files.whole_folder, {"a": "old"})])


@KINDS
def test_the_name_appears_at_the_end(kind, old, tmp_path):
    path = tmp_path / "made" / "on the way" / "x.y.npy"
    with kind(path) as partial:
        write_half(partial)
        assert not path.exists()
        assert (partial.parent, partial.suffix) == (path.parent, ".npy")  # one file system; NumPy adds no other suffix
    assert names(path.parent) == ["x.y.npy"]
    assert read(path) == ("half" if kind is files.whole else {"b": "half"})


@KINDS
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_nothing_appears_if_the_writer_raises(kind, old, error, tmp_path):
    with pytest.raises(error), kind(tmp_path / "x") as partial:
        write_half(partial)
        raise error
    assert names(tmp_path) == []


@KINDS
def test_the_old_content_stays_if_the_writer_raises(kind, old, tmp_path):
    write_old(kind, tmp_path / "x")
    with pytest.raises(ValueError), kind(tmp_path / "x") as partial:
        write_half(partial)
        raise ValueError
    assert names(tmp_path) == ["x"]
    assert read(tmp_path / "x") == old


@KINDS
def test_the_old_content_is_replaced(kind, old, tmp_path):
    write_old(kind, tmp_path / "x")
    with kind(tmp_path / "x") as partial:
        write_half(partial)
        assert read(tmp_path / "x") == old
    assert names(tmp_path) == ["x"]
    assert read(tmp_path / "x") == ("half" if kind is files.whole else {"b": "half"})


@KINDS
@pytest.mark.parametrize("end", ["os._exit(1)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_a_killed_run_leaves_only_a_partial(kind, old, end, tmp_path):
    write_old(kind, tmp_path / "x.npy")
    write_old(kind, tmp_path / "other")
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from system import files\nfrom tests.system import test_files\n"
        f"with files.{kind.__name__}({str(tmp_path / 'x.npy')!r}) as partial:\n"
        "    test_files.write_half(partial)\n"
        f"    {end}\n"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode in (1, -9)
    partial, *others = names(tmp_path)
    assert others == ["other", "x.npy"]
    assert partial.startswith(".x.partial-")
    assert read(tmp_path / partial) == ("half" if kind is files.whole else {"b": "half"})
    files.remove_partials(tmp_path)
    assert names(tmp_path) == ["other", "x.npy"]
    assert read(tmp_path / "x.npy") == read(tmp_path / "other") == old


def test_two_writers_of_one_name_have_two_partials(tmp_path):
    with files.whole_folder(tmp_path / "x") as one, files.whole_folder(tmp_path / "x") as other:
        write_half(one)
        assert names(other) == []
    assert read(tmp_path / "x") == {"b": "half"}


def test_the_new_folder_is_in_place_before_the_old_one_is_removed(tmp_path, monkeypatch):
    write_old(files.whole_folder, tmp_path / "x")
    rmtree = shutil.rmtree

    def no_permission(path, **options):
        if path.suffix == ".removed":
            raise PermissionError
        rmtree(path, **options)

    monkeypatch.setattr(shutil, "rmtree", no_permission)
    with pytest.raises(UserError, match="x: cannot be written"), files.whole_folder(tmp_path / "x") as partial:
        write_half(partial)
    assert read(tmp_path / "x") == {"b": "half"}


def test_remove_folder_kills_leave_no_half_folder(tmp_path, monkeypatch):
    write_old(files.whole_folder, tmp_path / "x")
    monkeypatch.setattr(shutil, "rmtree", lambda path: (path / "a").unlink())  # and the kill comes here
    files.remove_folder(tmp_path / "x")
    monkeypatch.undo()
    assert len(names(tmp_path)) == 1 and not (tmp_path / "x").exists()
    files.remove_partials(tmp_path)
    assert names(tmp_path) == []


def test_remove_folder_removes_it_and_nothing_else(tmp_path):
    write_old(files.whole_folder, tmp_path / "x")
    write_old(files.whole_folder, tmp_path / "x.y")
    files.remove_folder(tmp_path / "x")
    assert names(tmp_path) == ["x.y"]


def partial_of(pid, place=None):
    return f".x.partial-{place or files._place()}-{pid}-0123abcd.npy"


def test_remove_partials_leaves_what_was_not_left_by_a_kill(tmp_path):
    with subprocess.Popen(["true"]) as ended:
        pass
    keep = [".hidden", ".partial", ".x.partial-a", "a.partial-1", "x.npy"]
    for name in (*keep, partial_of(ended.pid), partial_of(os.getpid())):
        (tmp_path / name).touch()
    files.remove_partials(tmp_path)
    assert names(tmp_path) == keep
    files.remove_partials(tmp_path / "missing")


def test_remove_partials_leaves_what_another_process_is_writing(tmp_path):
    with subprocess.Popen(["sleep", "60"]) as writing:
        mine = tmp_path / partial_of(writing.pid)
        mine.touch()
        files.remove_partials(tmp_path)
        assert mine.exists()
        writing.kill()
    files.remove_partials(tmp_path)
    assert names(tmp_path) == []


def test_what_another_machine_writes_stays_for_a_day(tmp_path):
    """Its process ids mean nothing here."""
    with subprocess.Popen(["true"]) as ended:
        pass
    elsewhere, somebodys = partial_of(ended.pid, "00000000"), f".x.partial-{ended.pid}"
    (tmp_path / elsewhere).touch()
    (tmp_path / somebodys).mkdir()
    (tmp_path / partial_of(1)).touch()  # a number that is in use, if not by the same process
    files.remove_partials(tmp_path)
    assert names(tmp_path) == sorted([elsewhere, somebodys, partial_of(1)])
    yesterday = time.time() - 25 * 3600
    for name in names(tmp_path):
        os.utime(tmp_path / name, (yesterday, yesterday))
    files.remove_partials(tmp_path)
    assert names(tmp_path) == [somebodys]  # it is called otherwise than ours are


def test_hosts_that_are_called_alike_are_told_apart(tmp_path, monkeypatch):
    """By the start of their system: cloned machines share their name, and containers the number of their table too."""
    here, place = files._place(), files._place.__wrapped__  # past the cache
    assert place() == here
    monkeypatch.setattr(files, "BOOT_ID", tmp_path / "boot_id")
    places = {here, place()}
    for start in ("one", "another"):
        files.BOOT_ID.write_text(f"{start}\n")
        places.add(place())
    assert len(places) == 4


@pytest.mark.parametrize("stem", ["n" * 251, "é" * 125 + "n", os.fsdecode(b"\xff" * 251)])
def test_a_name_may_be_as_long_as_a_file_systems(tmp_path, stem):
    path = tmp_path / f"{stem}.npy"
    with files.whole(path) as partial:
        np.save(partial, np.arange(3))
    assert os.listdir(os.fsencode(tmp_path)) == [os.fsencode(path.name)]


def test_arrays_are_stored_under_their_name(tmp_path):
    with files.whole(tmp_path / "video0.npy") as partial:
        np.save(partial, np.arange(3))
    assert names(tmp_path) == ["video0.npy"]
    assert np.load(tmp_path / "video0.npy").tolist() == [0, 1, 2]


def test_text_and_json_are_written_as_utf_8(tmp_path):
    files.write_text(tmp_path / "x.txt", "café\n")
    files.write_json(tmp_path / "x.json", {"café": [1, None]})
    files.write_json(tmp_path / "line.json", ["é", 0.1], indent=None)
    assert (tmp_path / "x.txt").read_bytes() == "café\n".encode()
    assert (tmp_path / "x.json").read_bytes() == '{\n "café": [\n  1,\n  null\n ]\n}\n'.encode()
    assert (tmp_path / "line.json").read_bytes() == '["é", 0.1]\n'.encode()


def test_json_that_cannot_be_written_leaves_the_old_file(tmp_path):
    files.write_json(tmp_path / "x.json", 1)
    with pytest.raises(TypeError):
        files.write_json(tmp_path / "x.json", {"path": os})
    assert names(tmp_path) == ["x.json"]
    assert (tmp_path / "x.json").read_text() == "1\n"


@KINDS
@pytest.mark.parametrize(
    "error, reason",
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (OSError("163840 requested and 81856 written"), "163840 requested and 81856 written"),
    ],
)
def test_what_the_disk_refuses_is_told_by_the_files_name(kind, old, error, reason, tmp_path, monkeypatch):
    with pytest.raises(UserError) as caught, kind(tmp_path / "x"):
        raise error
    assert str(caught.value) == f"{tmp_path / 'x'}: cannot be written ({reason})"
    monkeypatch.setattr(files, "FULL", 1 << 60)
    with pytest.raises(UserError, match=r"x: cannot be written \(the disk is full\)"), kind(tmp_path / "x"):
        raise error
    assert names(tmp_path) == []


def test_lines_are_added(tmp_path):
    files.append_line(tmp_path / "x", "é")
    files.append_line(tmp_path / "x", "half \ud83d")
    assert (tmp_path / "x").read_bytes() == "é\nhalf \\ud83d\n".encode()
    with pytest.raises(UserError, match="none/x: cannot be written"):
        files.append_line(tmp_path / "none/x", "")


def test_a_lock_keeps_others_out_until_its_process_ends(tmp_path):
    code = (
        "import sys\nfrom system import files\n"
        f"with files.locked({str(tmp_path / 'new')!r}, 'training goes on'):\n"
        "    print('mine', flush=True)\n    sys.stdin.read()\n"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, **pipes) as other:
        assert other.stdout.readline() == b"mine\n"
        with (
            pytest.raises(UserError, match="new: training goes on by another process; wait"),
            files.locked(tmp_path / "new", "training goes on"),
        ):
            pass
        other.kill()
    with files.locked(tmp_path / "new", "training goes on"):
        pass


@pytest.mark.parametrize(
    "text, reason",
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ("9" * 5000, "4300 digits"),
        ("", "Expecting value"),
        ("{1}", "Expecting property name"),
    ],
)
def test_json_that_is_none(tmp_path, text, reason):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(UserError, match=rf"x\.json is not valid JSON \(.*{reason}.*\): expected a table$"):
        files.read_json(tmp_path / "x.json", "a table")


def test_half_an_emoji_becomes_the_sign_for_what_cannot_be_shown(tmp_path):
    (tmp_path / "x.json").write_text(r'{"a \ud83d": ["\ude92 b", "\ud83d\ude92", 1, null, "\\ud83d"]}')
    value = files.read_json(tmp_path / "x.json", "a table")
    assert value == {"a \ufffd": ["\ufffd b", "🚒", 1, None, "\\ud83d"]}
    files.write_json(tmp_path / "y.json", value)
    assert files.read_json(tmp_path / "y.json", "a table") == value


def test_what_is_no_file_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero", tmp_path):
        with pytest.raises(UserError, match="is no file: expected a table"):
            files.read_text(path, "a table")


def test_a_line_after_half_a_line(tmp_path):
    path = tmp_path / "lines.txt"
    for line in ("one", "two"):
        files.append_line(path, line)
    assert path.read_text() == "one\ntwo\n"
    path.write_text("one\ntw")  # the run was killed
    files.append_line(path, "three")
    assert path.read_text() == "one\ntw\nthree\n"


def test_a_line_waits_for_those_of_others(tmp_path):
    path = tmp_path / "lines.txt"
    code = (
        "import fcntl, sys, time\n"
        f"file = open({str(path)!r}, 'ab', buffering=0)\n"
        "fcntl.lockf(file, fcntl.LOCK_EX)\nfile.write(b'half ')\nprint('locked', flush=True)\n"
        "time.sleep(0.5)\nfile.write(b'a line\\n')\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"locked\n"
        files.append_line(path, "mine")
    assert path.read_text() == "half a line\nmine\n"


@pytest.mark.parametrize("number, is_written", [(errno.ENOLCK, True), (errno.ENOTSUP, True), (errno.EIO, False)])
def test_a_line_where_there_are_no_locks(tmp_path, monkeypatch, number, is_written):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "lockf", refuse)
    if is_written:
        files.append_line(tmp_path / "x", "line")
        assert (tmp_path / "x").read_text() == "line\n"
    else:
        with pytest.raises(UserError, match="x: cannot be written"):
            files.append_line(tmp_path / "x", "line")


def test_a_folder_that_can_be_written_into(tmp_path):
    assert files.writable_folder(str(tmp_path / "new/one")) == tmp_path / "new/one"
    assert names(tmp_path / "new/one") == []
    (tmp_path / "new" / partial_of(os.getpid())).mkdir()  # left by an earlier run
    assert names(files.writable_folder(tmp_path / "new")) == ["one"]
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file/new"):
        with pytest.raises(UserError, match=rf"{path}: cannot be written \(a file is in the place of a folder\)"):
            files.writable_folder(path)
