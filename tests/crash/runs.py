"""Runs of a stage in children, and what is wrong with what they leave."""

import os
import signal
from pathlib import Path

from tests.crash import server, stages

PATIENCE = 300  # seconds: a run that takes longer hangs


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


def compared(folder, stage, expected, with_partials=False):
    """What is wrong with the results, None where they are those of the unbroken run.

    with_partials: what a killed process left half written may be there, until another one starts.
    """
    found = stages.results(folder, stage)
    if with_partials:
        found = {name: content for name, content in found.items() if ".partial-" not in name}
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


def line_is_missing(status, folder, name="said.txt", words=("error: ",)):
    """What is wrong with the end of a run that could not do its work, None for a line a medium and status 2."""
    told = said(folder, name)
    if status == 0 or (status == 2 and any(one in told for one in words) and "Traceback" not in told):
        return None
    return f"status {status}: {said(folder, name)[-300:]}"
