"""Kill sweeps: `make crash-test`, or

    python -m tests.crash                     every stage, killed at 50 random moments each
    python -m tests.crash --stages training --kills 10

SIGKILL comes at a random moment of a stage. Then the stage is run again, to its end, as its user would: nothing may be
missing, nothing left over, and everything has to be what an unbroken run makes, bit for bit. In the same way the n-th
write fails, for every n up to the end of a run (no space left, or an error of the device): the script has to end with
one line and status 2, and a run after that has to make everything good.
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
from tests.crash.failing_writes import count_writes, fail_write

PATIENCE = 300  # seconds: a run that takes longer hangs


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [stage.name for stage in stages.STAGES]
    parser.add_argument("--stages", nargs="+", choices=names, default=names)
    parser.add_argument("--kills", type=int, default=50, help="of each stage")
    parser.add_argument("--writes", type=int, default=10**6, help="at most so many failing writes of each stage")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def run(command, folder, before=None):
    """A run to its end -> exit status."""
    child = server.start(command, folder, before)
    status = server.wait(child, PATIENCE)
    if status is None:
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return status


def said(folder):
    return (Path(folder) / "said.txt").read_text(errors="replace")


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


def kill_sweep(stage, ready, workplace, seconds, expected, n_kills, chance):
    """Kill a stage at random moments -> list of what went wrong."""
    problems = []
    for k in range(n_kills):
        folder, moment = stages.copy(ready, workplace), chance.uniform(0, seconds)
        child = server.start(stage.command, folder)
        if server.wait(child, moment) is None:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
        problem = finish(stage, folder, expected)
        if problem:
            problems.append(f"{stage.name}, kill {k} after {moment:.2f} s: {problem}")
            print(problems[-1], flush=True)
    return problems


def failing_sweep(stage, ready, workplace, expected, most):
    """Let the n-th write fail, for every n -> number of writes, list of what went wrong."""
    folder, counted = stages.copy(ready, workplace), Path(workplace).with_suffix(".writes")
    run(stage.command, folder, lambda: count_writes(counted))
    n_writes, problems = min(int(counted.read_text()), most), []
    for n in range(n_writes):
        folder = stages.copy(ready, workplace)
        status = run(stage.command, folder, lambda n=n: fail_write(n))
        lines = [line for line in said(folder).replace("\r", "\n").split("\n") if "error: " in line]
        problem = None
        if status not in (0, 2) or (status == 2 and len(lines) < 1):
            problem = f"status {status}: {said(folder)[-300:]}"
        problem = problem or finish(stage, folder, expected)
        if problem:
            problems.append(f"{stage.name}, write {n} of {n_writes}: {problem}")
            print(problems[-1], flush=True)
    return n_writes, problems


def main():
    args = parse_args()
    server.load()
    chance, problems, rows = random.Random(args.seed), [], []
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
                killed = kill_sweep(stage, ready, workplace, seconds, expected, args.kills, chance)
                n_writes, failed = failing_sweep(stage, ready, workplace, expected, args.writes)
                rows.append((stage.name, len(expected), seconds, args.kills, len(killed), n_writes, len(failed)))
                problems += killed + failed
                print(rows[-1], flush=True)
            stages.copy(whole, ready)
    print("\n| stage | files | seconds | kills | of them with a loss | failing writes | of them with a loss |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name, n_files, seconds, *counts in rows:
        print(f"| {name} | {n_files} | {seconds:.1f} | {' | '.join(map(str, counts))} |")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
