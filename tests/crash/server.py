"""Runs of the project's scripts as children of one process that has loaded the libraries already.

Python and TensorFlow take seconds to start, in which nothing is written; a child starts where they are loaded, and does
all that a script does. It can be killed like any process.
"""

import contextlib
import importlib
import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def load():
    """Import all that the scripts import; TensorFlow computes nothing here, which a fork would not survive."""
    from system import device

    device.set_environment()
    for name in ("tensorflow", "keras", "h5py", "scipy.ndimage", "pycocotools.mask", "matplotlib.colors"):
        importlib.import_module(name)
    for name in ("preprocessing", "run_s2vt", "visualization", "evaluate_saliency"):
        importlib.import_module(name)


def start(command, folder, before=None, said="said.txt"):
    """Run a script with its arguments in a folder, in a child -> its process id.

    before(): called there first; said: the file in the folder that has what is printed.
    """
    sys.stdout.flush()
    child = os.fork()
    if child:
        with contextlib.suppress(OSError):  # it has done so itself, or has ended
            os.setpgid(child, child)
        return child
    status = 70
    try:
        os.setpgid(0, 0)
        printed = os.open(Path(folder) / said, os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
        os.dup2(printed, 1)
        os.dup2(printed, 2)
        os.chdir(folder)
        if before:
            before()
        from system import errors

        script, *arguments = command
        sys.argv = [str(ROOT / script), *map(str, arguments)]
        errors.run(importlib.import_module(script.removesuffix(".py")).main)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def wait(child, seconds):
    """Wait for a child at most so long -> its exit status (negative: the signal that ended it), None if it runs on."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    return None
