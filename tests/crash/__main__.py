"""Kill sweeps: `make crash-test`, or

    python -m tests.crash                     every stage, killed at 50 random moments each
    python -m tests.crash --stages training --kills 10

SIGKILL comes at a random moment of a stage. Then the stage is run again, to its end, as its user would: nothing may be
missing, nothing left over, and everything has to be what an unbroken run makes, bit for bit. In the same way SIGKILL
comes in the middle of the n-th write, for every n up to the end of a run; and the n-th write fails (no space left, or
an error of the device): the script has to end with one line and status 2, and a run after that has to make everything
good. Then the stage runs twice at once: each has to do its work or to say in one line who does it. At last three
processes share the work of stage 1, and of an evaluation, and any of them are killed: the others have to do all of it,
and nothing twice.
"""

import argparse
import os
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.crash import server, sharing, stages
from tests.crash.failing_writes import count_writes, die_at_write, fail_write
from tests.crash.runs import compared, end, ended, finish, line_is_missing, note, run, said

TWO = "by another process", "has a checkpoint already"  # what the second of two runs says that cannot both do the work


SHARED = {"preprocessing": sharing.STAGE, "evaluation": sharing.EVALUATION}  # stages that processes can share


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [stage.name for stage in stages.STAGES]
    parser.add_argument("--stages", nargs="+", choices=names, default=names)
    parser.add_argument("--kills", type=int, default=50, help="of each stage")
    parser.add_argument("--writes", type=int, default=10**6, help="at most so many writes of each stage")
    parser.add_argument("--pairs", type=int, default=10, help="how often each stage runs twice at once")
    parser.add_argument("--shared", type=int, default=20, help="kills of processes that share the work of a stage")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


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
    chance, rows, together, n_lost = random.Random(args.seed), [], [], 0
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
                if stage.name in SHARED:
                    n_shared, shared = sharing.kill_workers(SHARED[stage.name], ready, workplace, args.shared, chance)
                    together.append(f"{n_shared} in {stage.name} ({len(shared)})")
                    n_lost += len(shared)
                rows.append((stage.name, len(expected), f"{seconds:.1f}", *cells))
                print(*rows[-1], flush=True)
                n_lost += sum(map(len, lost))
            stages.copy(whole, ready)
    print("\nIn brackets: of them with a loss.\n")
    print("| stage | files | seconds | killed at a moment | killed in a write | a write fails | two at once |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for row in rows:
        print(f"| {' | '.join(map(str, row))} |")
    if together:
        print(f"\nKills of three processes that share the work: {', '.join(together)}")
    sys.exit(1 if n_lost else 0)


if __name__ == "__main__":
    main()
