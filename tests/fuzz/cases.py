"""One case of fuzzing: a number gives the target, the change and what comes of it."""

import contextlib
import io
import shutil
import signal
import traceback
import warnings
from pathlib import Path

import numpy as np

from system import errors
from tests.fuzz import mutations
from tests.fuzz.targets import TARGETS
from vision import ffmpeg_process

SEED = 18
MOST_SECONDS = 20  # of a case
PATIENCE = 3  # seconds for ffmpeg, of the minute that users have
READ, REFUSED = "read", "refused"


class _TooSlow(BaseException):
    """No Exception, or the code that is tried would take it for a damage."""


def _give_up(_number, _frame):
    raise _TooSlow


class Cases:
    """Runs cases by their number; the sound files of each target are written once, into a folder below `workplace`."""

    def __init__(self, workplace):
        self.workplace, self.names = Path(workplace), {}

    def _sound(self, k):
        """The folder of target k with its sound files, and the names of those to change."""
        folder = self.workplace / str(k)
        if k not in self.names:
            folder.mkdir(parents=True)
            self.names[k] = TARGETS[k].prepare(folder)
        return folder, self.names[k]

    def run_sound(self, k):
        """What comes of target k as it is written -> as `run`."""
        folder, _ = self._sound(k)
        return _outcome(TARGETS[k], folder, np.random.default_rng(0))

    def run(self, number):
        """What comes of a case: READ, REFUSED, or what went wrong, in one line."""
        k, rng = number % len(TARGETS), np.random.default_rng([SEED, number])
        folder, names = self._sound(k)
        if not names:
            return _outcome(TARGETS[k], folder, rng)
        path = folder / mutations.pick(rng, names)
        sound = path.read_bytes()
        path.write_bytes(mutations.change(rng, path.name, sound))
        try:
            return _outcome(TARGETS[k], folder, rng)
        finally:
            path.write_bytes(sound)

    def keep(self, number, folder):
        """Write what case `number` reads into a folder, to be looked at."""
        k, rng = number % len(TARGETS), np.random.default_rng([SEED, number])
        sound, names = self._sound(k)
        shutil.copytree(sound, folder, dirs_exist_ok=True)
        if names:
            path = Path(folder) / mutations.pick(rng, names)
            path.write_bytes(mutations.change(rng, path.name, path.read_bytes()))


def _outcome(target, folder, rng):
    before, patience = signal.signal(signal.SIGALRM, _give_up), ffmpeg_process.PATIENCE
    ffmpeg_process.PATIENCE = PATIENCE
    signal.alarm(MOST_SECONDS)
    printed = io.StringIO()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            warnings.simplefilter("ignore")
            target.read(folder, rng)
        return READ
    except _TooSlow:
        return f"more than {MOST_SECONDS} s"
    except Exception as error:
        told = errors.as_user_error(error)
        if told is not None and not isinstance(error, MemoryError) and len(str(told)) < 5000:
            return REFUSED
        where = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {str(error)[:200]} ({Path(where.filename).name}:{where.lineno})".replace(
            "\n", " "
        )
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        ffmpeg_process.PATIENCE = patience
