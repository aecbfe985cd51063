"""Processes that share the work of a stage, of which some are killed: nothing may be lost, and nothing done twice."""

import collections
import os
import time
from pathlib import Path

from tests.crash import server, stages
from tests.crash.runs import compared, end, ended, finish, note, run, said

N_WORKERS = 3
# Of so many frames a worker takes a few clips ahead, and not all of them at once.
STAGE = stages.Stage(
    "sharing",
    ["preprocessing.py", "--dataset", "MSR-VTT", *stages.settings(*stages.SMALL_CNN, "n_sampled_frames=32")],
    ("DATA/descriptors",),
)
BEGUN = "begun.txt"  # which process began which medium, a line each


EVALUATION = stages.STAGES[-1]


def note_beginnings():
    """Have this process note every medium that it begins to decode in stage 1, in its folder's file BEGUN."""
    from vision import descriptors

    descriptors.cnn_inputs = _noted(descriptors.cnn_inputs, lambda config, path, *_: path)


def note_beginnings_of_scores():
    """The same of every medium that it begins to score."""
    from evaluation import scoring

    scoring.score_subject = _noted(scoring.score_subject, lambda eye, subject, *_: subject.id)


def _noted(function, medium_of):
    """The function, which notes of which medium it is called."""
    log = os.open(BEGUN, os.O_APPEND | os.O_CREAT | os.O_WRONLY)

    def noted(*arguments, **options):
        os.write(log, f"{os.getpid()} {Path(medium_of(*arguments)).name}\n".encode())
        return function(*arguments, **options)

    return noted


def beginnings(folder):
    """Who began what, in order: list of (process id, name of the medium)."""
    log = Path(folder, BEGUN)
    if not log.exists():
        return []
    return [(int(pid), name) for pid, name in (line.split(maxsplit=1) for line in log.read_text().splitlines())]


def begun_twice(folder, killed):
    """What is wrong, if a medium was begun by a process after another one that lives, None if not."""
    workers = collections.defaultdict(list)
    for pid, name in beginnings(folder):
        workers[name].append(pid)
    twice = [name for name, pids in workers.items() if set(pids[:-1]) - set(killed)]
    return f"done twice: {twice}" if twice else None


def start_together(command, folder, before):
    """Start the workers, each where the others have loaded everything too -> list of process ids.

    Otherwise one may be through before another one begins, which then has all to do again.
    """
    waiting, loaded = os.pipe(), os.pipe()

    def wait():
        before()
        os.close(waiting[1])
        os.write(loaded[1], b".")
        os.read(waiting[0], 1)  # until the one who starts them closes it, and all of them have

    workers = [server.start(command, folder, wait, f"said{n}.txt") for n in range(N_WORKERS)]
    os.close(loaded[1])
    for _ in workers:
        os.read(loaded[0], 1)
    for pipe in (*waiting, loaded[0]):
        os.close(pipe)
    return workers


def kill_workers(stage, ready, workplace, n_kills, chance):
    """Let workers do a stage together, and kill one or two of them -> number of kills, list of what went wrong."""
    folder, notes = stages.copy(ready, workplace), note_beginnings if stage is STAGE else note_beginnings_of_scores
    assert run(stage.command, folder) == 0, said(folder)
    expected, problems, n_killed, seconds = stages.results(folder, stage), [], 0, 0
    for k in range(2 * n_kills + 1):
        if n_killed == n_kills:
            break
        folder = stages.copy(ready, workplace)
        workers = start_together(stage.command, folder, notes)
        start = time.monotonic()
        n_victims = min(k % N_WORKERS, n_kills - n_killed)  # the first round has none: it says how long one lasts
        moments = sorted(chance.uniform(0, seconds) for _ in range(n_victims))
        statuses, killed = {}, []
        for victim, moment in zip(chance.sample(range(N_WORKERS), n_victims), moments, strict=True):
            status = server.wait(workers[victim], max(start + moment - time.monotonic(), 0.01))
            if status is None:
                end(workers[victim])
                killed.append(workers[victim])
            statuses[victim] = status or 0  # of one that was quicker
        for n in set(range(N_WORKERS)) - set(statuses):
            statuses[n] = ended(workers[n])
        n_killed, seconds = n_killed + len(killed), seconds or time.monotonic() - start
        failed = [f"status {status}: {said(folder, f'said{n}.txt')[-300:]}" for n, status in statuses.items() if status]
        problem = failed[0] if failed else begun_twice(folder, killed)
        problem = problem or compared(folder, stage, expected, with_partials=bool(killed))
        problems += note(
            problem or finish(stage, folder, expected), f"{stage.name} by three, {len(killed)} killed, round {k}"
        )
    return n_killed, problems
