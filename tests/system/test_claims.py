"""Several processes share the work: nothing twice, nothing lost, whoever dies; parts dealt out by hashes."""

import argparse
import contextlib
import errno
import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from system import claims
from system.claims import Claims, Shard
from system.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
NAMES = [f"video{k}" for k in range(60)]

# Waits for a line, takes every name, notes in `log` that it has begun, works for argv[2] seconds, writes its result.
WORKER = """
import os, sys, time
from pathlib import Path
from system.claims import Claims
folder, seconds = Path(sys.argv[1]), float(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
log = os.open(folder / "log", os.O_APPEND | os.O_CREAT | os.O_WRONLY)
with Claims(folder) as claimed:
    for name in claimed.take([f"video{k}" for k in range(60)], lambda name: (folder / name).exists()):
        os.write(log, f"{name} {os.getpid()}\\n".encode())
        time.sleep(seconds)
        (folder / name).write_text(name)
"""
HOLDER = """
import sys
from system.claims import Claims
claimed = Claims(sys.argv[1])
print(*[claimed.claim(name) for name in sys.argv[2:]], flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def started(code, *arguments):
    """A Python process that runs the code; killed at the end, if it still runs."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, **pipes, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def go(*workers):
    """Let workers begin, when all are ready."""
    for process in workers:
        assert process.stdout.readline() == "ready\n"
    for process in workers:
        print(file=process.stdin, flush=True)


def until(condition):
    """Wait for something to be so, for a minute at most."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def begun(folder):
    """What workers have begun so far: list of (name, process id)."""
    log = folder / "log"
    return [tuple(line.split()) for line in log.read_text().splitlines()] if log.exists() else []


def nothing_is_done(name):
    return False


def test_a_claim_keeps_others_out_until_its_process_is_killed(tmp_path):
    mine = Claims(tmp_path)
    with started(HOLDER, tmp_path, "a", "b") as holder:
        assert holder.stdout.readline() == "True True\n"
        assert [mine.claim(name) for name in "abc"] == [False, False, True]
        with started(HOLDER, tmp_path, "b", "c", "d") as other:
            assert other.stdout.readline() == "False False True\n"
        holder.kill()
    assert mine.claim("a") and mine.held == {"a", "c"}
    mine.release("a")
    mine.release("never held")
    with started(HOLDER, tmp_path, "a", "c") as other:
        assert other.stdout.readline() == "True False\n"
        assert not mine.claim("a")


def test_another_claims_on_the_folder_drops_none(tmp_path):
    """To close a file drops all locks that the process has on it, by whatever descriptor."""
    mine = Claims(tmp_path)
    mine.claim("a")
    (tmp_path / "link").symlink_to(tmp_path)
    with Claims(tmp_path / "link") as again:
        again.claim("b")
    with started(HOLDER, tmp_path, "a", "b") as other:
        assert other.stdout.readline() == "False True\n"


def test_a_folder_that_was_removed_and_made_anew_has_claims_of_its_own(tmp_path):
    mine = Claims(tmp_path)
    mine.claim("a")
    mine.path.unlink()
    with started(HOLDER, tmp_path, "a") as other:
        assert other.stdout.readline() == "True\n"
        assert not mine.claim("a")


def test_three_workers_do_everything_once(tmp_path):
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(started(WORKER, tmp_path, 0.01)) for _ in range(3)]
        go(*workers)
        assert [process.wait(60) for process in workers] == [0, 0, 0]
    names, workers = zip(*begun(tmp_path), strict=True)
    assert sorted(names) == sorted(NAMES)
    assert len(set(workers)) == 3


def test_what_a_killed_worker_had_is_done_by_another(tmp_path):
    """The first one works on its first name for a minute: nobody waits for that before all else is done."""
    with started(WORKER, tmp_path, 60) as slow:
        go(slow)
        until(lambda: begun(tmp_path))
        assert begun(tmp_path) == [("video0", str(slow.pid))]  # who is alone goes in order
        with started(WORKER, tmp_path, 0) as quick:
            go(quick)
            until(lambda: len(begun(tmp_path)) == len(NAMES))
            time.sleep(2 * claims.POLL)
            assert quick.poll() is None and not (tmp_path / "video0").exists()
            slow.kill()
            assert quick.wait(60) == 0
            assert quick.stderr.read() == "waiting for other processes: they work on 1, such as video0\n"
    names = [name for name, _ in begun(tmp_path)]
    assert sorted(names) == sorted([*NAMES, "video0"]) and names[-1] == "video0"
    assert all((tmp_path / name).exists() for name in NAMES)


def test_who_is_alone_goes_in_order_and_leaves_out_what_is_done(tmp_path):
    with Claims(tmp_path) as mine:
        taken = []
        for name in mine.take(iter(NAMES), lambda name: name in ("video1", "video2")):
            assert mine.held == {name}
            taken.append(name)
    assert taken == [name for name in NAMES if name not in ("video1", "video2")]


def test_beside_another_one_the_order_is_another(tmp_path):
    with started(HOLDER, tmp_path, "video1") as holder:
        holder.stdout.readline()
        with Claims(tmp_path) as mine:
            round_ = next(mine.rounds(NAMES, nothing_is_done))
            taken = list(round_)
            assert taken[0] == "video0" and taken[1:] != NAMES[2:]
            assert sorted(["video1", *taken]) == sorted(NAMES)


def test_what_is_raised_on_the_way_lets_go(tmp_path):
    mine = Claims(tmp_path)
    with pytest.raises(ValueError), mine:
        for _ in mine.take(["a"], nothing_is_done):
            raise ValueError
    with started(HOLDER, tmp_path, "a") as other:
        assert other.stdout.readline() == "True\n"


def test_nobody_waits_for_others_with_names_in_hand(tmp_path):
    """Two processes that did would wait for each other for ever."""
    with started(HOLDER, tmp_path, "a") as holder:
        holder.stdout.readline()
        with Claims(tmp_path) as mine:
            rounds = mine.rounds(["a", "b", "c"], nothing_is_done)
            assert set(next(rounds)) == mine.held == {"b", "c"}
            with pytest.raises(RuntimeError, match="with 2 names claimed"):
                next(rounds)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_is_told_once(tmp_path, monkeypatch, capsys, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "lockf", refuse)
    with Claims(tmp_path) as mine:
        assert list(mine.take(["a", "b"], nothing_is_done)) == ["a", "b"]
    told = capsys.readouterr().err
    assert told.count("has no locks") == 1 and "--shard" in told and len(told.splitlines()) == 1


def test_what_cannot_be_locked_is_told(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"none/\.claims: cannot be written \(No such file"):
        Claims(tmp_path / "none").claim("a")

    def refuse(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "lockf", refuse)
    with pytest.raises(UserError, match=r"\.claims: cannot be locked \(Input/output error\)"):
        Claims(tmp_path).claim("a")


def test_numbers_are_the_same_everywhere():
    """Processes of two versions would work on the same things at once, and shards miss some."""
    assert claims.number_of("video7") == 3475130949784090725
    assert all(0 <= claims.number_of(name) < 2**62 for name in NAMES)
    assert claims.number_of("a\udcff") != claims.number_of("a")


# Shards


@pytest.mark.parametrize("count", [1, 2, 8])
def test_shards_are_parts_of_the_whole(count):
    parts = [Shard(index, count).of(NAMES) for index in range(1, count + 1)]
    assert sorted(name for part in parts for name in part) == sorted(NAMES)
    for part in parts:
        assert part == [name for name in NAMES if name in set(part)]
        assert len(part) > len(NAMES) / count / 4


def shard_of(*arguments):
    parser = argparse.ArgumentParser()
    claims.add_arguments(parser)
    return claims.shard_from(parser.parse_args(arguments))


@pytest.mark.parametrize("text", ["0/8", "9/8", "8", "1/", "-1/8", "1/8/2", "a/b", "1.0/8", "", "²/3", "1/0"])
def test_what_is_no_shard_is_refused(text):
    with pytest.raises(UserError, match=r"^--shard .*: write it as I/N, from 1/N to N/N$"):
        shard_of(f"--shard={text}")


@pytest.fixture
def slurm(monkeypatch):
    """A function that sets what SLURM tells the task of an array."""
    for name in [name for name in os.environ if name.startswith(claims.SLURM)]:
        monkeypatch.delenv(name)

    def tell(**values):
        for name, value in values.items():
            monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", str(value))

    return tell


def test_without_a_flag_everything_is_done(slurm, capsys):
    assert shard_of() == Shard(1, 1) and shard_of("--shard", "2/8") == Shard(2, 8)
    assert Shard().of(NAMES) == NAMES
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "told, expected",
    [
        ({"ID": 0, "COUNT": 4, "MIN": 0, "MAX": 3}, Shard(1, 4)),
        ({"ID": 4, "COUNT": 4, "MIN": 1, "MAX": 4, "STEP": 1}, Shard(4, 4)),
        ({"ID": 15, "COUNT": 3, "MIN": 5, "MAX": 25, "STEP": 10}, Shard(2, 3)),
        ({"ID": 2, "COUNT": 4}, Shard(3, 4)),
    ],
)
def test_a_task_of_an_array_has_its_part(slurm, capsys, told, expected):
    slurm(**told)
    assert shard_of() == expected
    assert capsys.readouterr().err == f"--shard {expected}, as SLURM's array says (--shard 1/1 does everything)\n"
    assert shard_of("--shard", "1/1") == Shard(1, 1) and capsys.readouterr().err == ""


@pytest.mark.parametrize("told", [{"ID": 1, "COUNT": 3, "MIN": 1, "MAX": 9}, {"ID": 9, "COUNT": 2, "MIN": 0, "MAX": 1}])
def test_an_uneven_array_has_none(slurm, capsys, told):
    slurm(**told)
    assert shard_of() == Shard(1, 1)
    assert "not evenly numbered" in capsys.readouterr().err
    slurm(COUNT="many")
    assert shard_of() == Shard(1, 1) and capsys.readouterr().err == ""
