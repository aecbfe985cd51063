"""Kill sweeps: `make crash-test`, or

    python -m tests.crash                     every stage, killed at 50 random moments each
    python -m tests.crash --stages training --kills 10

SIGKILL comes at a random moment of a stage. Then the stage is run again, to its end, as its user would: nothing may be
missing, nothing left over, and everything has to be what an unbroken run makes, bit for bit. In the same way SIGKILL
comes in the middle of the n-th write, for every n up to the end of a run; and the n-th write fails (no space left, or
an error of the device): the script has to end with one line and status 2, and a run after that has to make everything
good. At last the stage runs twice at once: each has to do its work or to say in one line who does it.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.crash import server, stages
from tests.crash.failing_writes import count_writes, die_at_write, fail_write

PATIENCE = 300  # seconds: a run that takes longer hangs
TWO = "by another process", "has a checkpoint already"  # what the second of two runs says that cannot both do the work


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [stage.name for stage in stages.STAGES]
    parser.add_argument("--stages", nargs="+", choices=names, default=names)
    parser.add_argument("--kills", type=int, default=50, help="of each stage")
    parser.add_argument("--writes", type=int, default=10**6, help="at most so many writes of each stage")
    parser.add_argument("--pairs", type=int, default=10, help="how often each stage runs twice at once")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def end(child):
    """SIGKILL for a child and all that it has started."""
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)


def ended(child):
    """Wait for a child, as long as PATIENCE -> exit status, None where it hung."""
    status = server.wait(child, PATIENCE)
    if status is None:
        end(child)
    return status


def run(command, folder, before=None):
    """A run to its end -> exit status, None where it hung."""
    return ended(server.start(command, folder, before))


def said(folder, name="said.txt"):
    return (Path(folder) / name).read_text(errors="replace")


def compared(folder, stage, expected):
    """What is wrong with the results, None where they are those of the unbroken run."""
    found = stages.results(folder, stage)
    if left := [name for name in found if ".partial-" in name]:
        return f"left over: {left[0]}"
    if missing := expected.keys() - found.keys():
        return f"missing: {min(missing)}"
    if more := found.keys() - expected.keys():
        return f"not of an unbroken run: {min(more)}"
    different = [name for name in expected if found[name] != expected[name]]
    return f"other content: {different[0]}" if different else None


def finish(stage, folder, expected):
    """Run a stage again after its end came too soon -> what is wrong, or None."""
    command = stage.next_command(folder)
    if command and (status := run(command, folder)) != 0:
        return f"the run after it ended with {status}: {said(folder)[-300:]}"
    return compared(folder, stage, expected)


def note(problem, where):
    """[a line] for a problem, told at once; [] for None."""
    if problem is None:
        return []
    print(f"{where}: {problem}", flush=True)
    return [f"{where}: {problem}"]


def kill_sweep(stage, ready, workplace, seconds, expected, n_kills, chance):
    """Kill a stage at random moments -> number of kills that came before its end, list of what went wrong."""
    problems, n_killed = [], 0
    for k in range(2 * n_kills):
        if n_killed == n_kills:
            break
        folder, moment = stages.copy(ready, workplace), chance.uniform(0, seconds)
        child = server.start(stage.command, folder)
        if server.wait(child, moment) is not None:  # it was quicker
            continue
        end(child)
        n_killed += 1
        problems += note(finish(stage, folder, expected), f"{stage.name}, kill {k} after {moment:.2f} s")
    return n_killed, problems


def line_is_missing(status, folder, name="said.txt", words=("error: ",)):
    """What is wrong with the end of a run that could not do its work, None for a line a medium and status 2."""
    told = said(folder, name)
    if status == 0 or (status == 2 and any(one in told for one in words) and "Traceback" not in told):
        return None
    return f"status {status}: {said(folder, name)[-300:]}"


def write_sweep(stage, ready, workplace, expected, most):
    """Let the n-th write fail, or be the last, for every n -> number of writes, two lists of what went wrong."""
    folder, counted = stages.copy(ready, workplace), Path(workplace).with_suffix(".writes")
    run(stage.command, folder, lambda: count_writes(counted))
    n_writes, killed, failed = min(int(counted.read_text()), most), [], []
    for n in range(n_writes):
        folder = stages.copy(ready, workplace)
        run(stage.command, folder, lambda n=n: die_at_write(n))
        killed += note(finish(stage, folder, expected), f"{stage.name}, killed in write {n} of {n_writes}")
        folder = stages.copy(ready, workplace)
        status = run(stage.command, folder, lambda n=n: fail_write(n))
        problem = line_is_missing(status, folder) or (compared(folder, stage, expected) if status == 0 else None)
        problem = problem or finish(stage, folder, expected)
        failed += note(problem, f"{stage.name}, write {n} of {n_writes} refused")
    return n_writes, killed, failed


def two_at_once(stage, ready, workplace, seconds, expected, n_pairs, chance):
    """Run a stage while it runs -> list of what went wrong."""
    problems = []
    for k in range(n_pairs):
        folder, delay = stages.copy(ready, workplace), chance.uniform(0, seconds) * (k > 0)
        first = server.start(stage.command, folder)
        time.sleep(delay)
        second = server.start(stage.command, folder, said="said_second.txt")
        statuses = [ended(child) for child in (first, second)]
        problem = line_is_missing(statuses[0], folder, words=TWO) or line_is_missing(
            statuses[1], folder, "said_second.txt", TWO
        )
        if not problem and 0 not in statuses:
            problem = "both refused"
        problems += note(
            problem or compared(folder, stage, expected), f"{stage.name}, a second one after {delay:.2f} s"
        )
    return problems


def main():
    args = parse_args()
    server.load()
    chance, rows, n_lost = random.Random(args.seed), [], 0
    with tempfile.TemporaryDirectory() as folder:
        ready, workplace = Path(folder, "ready"), Path(folder, "workplace")
        ready.mkdir()
        child = os.fork()  # TensorFlow computes in there
        if not child:
            stages.prepare(ready)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        for stage in stages.STAGES:
            whole, start = stages.copy(ready, Path(folder, "whole")), time.monotonic()
            status = run(stage.command, whole)
            assert status == 0, f"{stage.name}: {said(whole)}"
            seconds, expected = time.monotonic() - start, stages.results(whole, stage)
            if stage.name in args.stages:
                n_killed, killed = kill_sweep(stage, ready, workplace, seconds, expected, args.kills, chance)
                n_writes, dead, failed = write_sweep(stage, ready, workplace, expected, args.writes)
                paired = two_at_once(stage, ready, workplace, seconds, expected, args.pairs, chance)
                lost = killed, dead, failed, paired
                done = n_killed, n_writes, n_writes, args.pairs
                cells = [f"{n} ({len(problems)})" for n, problems in zip(done, lost, strict=True)]
                rows.append((stage.name, len(expected), f"{seconds:.1f}", *cells))
                print(*rows[-1], flush=True)
                n_lost += sum(map(len, lost))
            stages.copy(whole, ready)
    print("\nIn brackets: of them with a loss.\n")
    print("| stage | files | seconds | killed at a moment | killed in a write | a write fails | two at once |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for row in rows:
        print(f"| {' | '.join(map(str, row))} |")
    sys.exit(1 if n_lost else 0)


if __name__ == "__main__":
    main()
