"""A process whose n-th write fails, or is its last: Python's own files, and NumPy's, write through here."""

import builtins
import errno
import io
import os
import signal

import numpy as np

REFUSALS = errno.ENOSPC, errno.EIO  # in turn


class _Disk:
    """Counts writes, and does one of them by half; that one and all after it are refused: a full disk stays full.

    deadly: instead, the process is killed in the middle of that write.
    """

    def __init__(self, refused=None, deadly=False, counted=None):
        self.n_writes, self.refused, self.deadly, self.counted = 0, refused, deadly, counted

    def write(self, do_half=lambda: None):
        self.n_writes += 1
        if self.counted is not None:
            self.counted.write_text_now(self.n_writes)
        if self.refused is None or self.n_writes <= self.refused:
            return
        if self.n_writes == self.refused + 1:
            do_half()
        if self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        number = REFUSALS[self.refused % len(REFUSALS)]
        raise OSError(number, os.strerror(number))


class _Counter:
    """A file with a number in it, written past the disk that is counted."""

    def __init__(self, path):
        self._file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)

    def write_text_now(self, number):
        os.pwrite(self._file, str(number).encode(), 0)


class _RawFile(io.FileIO):
    """A file that writes to the disk that fails."""

    disk = None

    def write(self, data):
        self.disk.write(lambda: super(_RawFile, self).write(bytes(data[: len(data) // 2])))
        return super().write(data)


def _counted(function, disk):
    def counted(*arguments, **options):
        disk.write()
        return function(*arguments, **options)

    return counted


def _install(disk):
    """Have every file that is opened for writing from now on write to `disk`."""
    _RawFile.disk = disk
    real_open = io.open

    def opened(file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, closefd=True, opener=None):
        writes = set(mode) & set("wax+")
        if not writes or isinstance(file, int):
            return real_open(file, mode, buffering, encoding, errors, newline, closefd, opener)
        raw = _RawFile(file, mode.replace("b", "").replace("t", ""), closefd, opener)
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        if "b" in mode:
            return buffered
        return io.TextIOWrapper(buffered, encoding or "utf-8", errors, newline)

    builtins.open = io.open = opened
    os.replace, os.rename = _counted(os.replace, disk), _counted(os.rename, disk)  # they need room in their folder
    # NumPy writes large arrays by their file's number, past Python: through its buffer instead.
    np.lib._format_impl.isfileobj = lambda file: False


def count_writes(path):
    """Note in a file how many writes this process makes."""
    _install(_Disk(counted=_Counter(path)))


def fail_write(n):
    """Refuse write number n of this process, and those after it."""
    _install(_Disk(refused=n))


def die_at_write(n):
    """Kill this process in the middle of its write number n."""
    _install(_Disk(refused=n, deadly=True))
