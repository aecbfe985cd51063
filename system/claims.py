"""Several processes, on one machine or many, share the work on a folder: who works on what.

with claims.Claims(folder) as claimed:
    for media_id in claimed.take(ids, is_done):  # those that nobody else has; the last ones when others are through
        write(media_id)

shard = claims.shard_from(args)  # --shard 2/8: of eight parts the second
for media_id in shard.of(ids): ...
"""

import collections
import contextlib
import errno
import fcntl
import hashlib
import itertools
import os
import random
import re
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

from system import console, files
from system.errors import UserError

CLAIMS = ".claims"  # the file in a folder whose bytes are locked
TAKEN = errno.EAGAIN, errno.EACCES  # what a system says of a byte that another process has locked
POLL = 0.5  # seconds between two looks at what others work on
SLURM = "SLURM_ARRAY_TASK_"


def number_of(name):
    """A hash of a text, the same in every process: 0 to 2**62 - 1, where any file may be locked."""
    digest = hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 2


# ---------------------------------------------------------------------------------------------- claims

# Closing any descriptor of a file drops all locks that the process has on it: each file is opened once, for good.
_opened = {}  # path -> descriptor
_opening = threading.Lock()


def _descriptor(path):
    """The descriptor of a file whose bytes are locked, made where it is not there. UserError if it cannot be.

    path: the real one, without links.
    """
    with _opening, files.told(path):
        if path in _opened:
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(_opened[path]), os.stat(path)):
                    return _opened[path]
            os.close(_opened.pop(path))  # the folder was removed, and another one made
        _opened[path] = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        return _opened[path]


class Claims:
    """What this process works on in a folder that other processes may work in; as a context manager it lets go.

    A claim is a lock of one byte (POSIX), at the place that the id's hash says: it ends with the process, however that
    ends, and holds among machines where the folder's file system sees to that, as NFS does. Where there are no locks
    everything counts as claimed, and a line on stderr says what to do. The threads of a process have the same claims.
    """

    def __init__(self, folder):
        self.path = Path(os.path.realpath(folder), CLAIMS)  # made by the first claim
        self.held, self._has_locks = set(), True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for name in list(self.held):
            self.release(name)

    def claim(self, name):
        """Whether `name` is this process's from now on, since no other one has it. UserError if it cannot be told."""
        if self._has_locks and not self._lock(name):
            return False
        self.held.add(name)
        return True

    def _lock(self, name):
        try:
            fcntl.lockf(_descriptor(self.path), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number_of(name))
        except OSError as error:
            if error.errno in TAKEN:
                return False
            if error.errno not in files.NO_LOCKS:
                raise UserError(f"{self.path}: cannot be locked ({error.strerror})") from None
            self._has_locks = False
            console.tell(
                f"{self.path.parent}: its file system has no locks, so that several processes would do the same here; "
                "give each a --shard of its own"
            )
        return True

    def release(self, name):
        """Let others have `name`, whose results are written; nothing happens where it is not held."""
        if name in self.held:
            self.held.remove(name)
            if self._has_locks and self.path in _opened:
                fcntl.lockf(_opened[self.path], fcntl.LOCK_UN, 1, number_of(name))

    def take(self, names, is_done):
        """Yield those names that are not done, each claimed until the next one is asked for.

        Those that other processes have come last, if they turn out not to be done: then their worker died.
        is_done(name): whether its results are there; asked under the claim.
        """
        for claimed in self.rounds(names, is_done):
            for name in claimed:
                try:
                    yield name
                finally:
                    self.release(name)

    def rounds(self, names, is_done):
        """As `take`, for those who work on several names at once: yields iterators over claimed names.

        Each is to be used up, and all its names released, before the next one is asked for: that waits for others, who
        may be waiting for this process. RuntimeError where names are still held then.
        """
        names, told = list(names), False
        while names:
            others = []  # what other processes work on
            claimed = self._claimed(names, is_done, others)
            first = next(claimed, None)
            if first is not None:
                yield itertools.chain([first], claimed)
            if others and self.held:
                raise RuntimeError(f"waiting for others with {len(self.held)} names claimed")
            if len(others) == len(names):
                if not told:
                    console.tell(f"waiting for other processes: they work on {len(others)}, such as {others[0]}")
                told = True
                time.sleep(POLL)
            names = others

    def _claimed(self, names, is_done, others):
        """Claim name after name and yield those that are not done; add to `others` what is another process's."""
        waiting = collections.deque(names)
        while waiting:
            name = waiting.popleft()
            if not self.claim(name):
                if not others:  # nobody walks beside another one, in the same order; who is alone keeps it
                    rest = list(waiting)
                    random.Random().shuffle(rest)
                    waiting = collections.deque(rest)
                others.append(name)
            elif is_done(name):  # not looked at before, when another one might still write it: NFS would remember that
                self.release(name)
            else:
                yield name


# ---------------------------------------------------------------------------------------------- shards


class Shard(NamedTuple):
    """One of `count` parts of any work, by a hash of its names; the first has index 1."""

    index: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text):
        """ "2/8" -> Shard(2, 8). UserError for anything else than a part of a whole."""
        found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text, re.ASCII)
        shard = found and cls(*map(int, found.groups()))
        if not shard or not 1 <= shard.index <= shard.count:
            raise UserError(f"--shard {console.shown(text)}: write it as I/N, from 1/N to N/N")
        return shard

    def of(self, names):
        """Those names that are in this part, in their order -> list."""
        return [name for name in names if number_of(name) % self.count == self.index - 1]

    def __str__(self):
        return f"{self.index}/{self.count}"


def add_arguments(parser):
    """The flag that every script has whose work can be dealt out."""
    parser.add_argument(
        "--shard",
        type=Shard.parse,
        metavar="I/N",
        help="do only part I of N, for N processes or machines (default: of a SLURM array the task's; else everything; "
        "processes on one folder share the work without it, where its file system has locks)",
    )


def shard_from(args):
    """The Shard that the command line asks for, else that of a task of SLURM's array, else the whole.

    What SLURM has chosen is told in one line on stderr.
    """
    return args.shard or _slurm_shard() or Shard()


def _slurm_shard():
    """The part of a task in an array of SLURM's; None outside of one, and where its numbers do not say which."""
    try:
        task, count = (int(os.environ[SLURM + name]) for name in ("ID", "COUNT"))
        first, step = (int(os.environ.get(SLURM + name, default)) for name, default in (("MIN", 0), ("STEP", 1)))
        last = int(os.environ.get(SLURM + "MAX", first + step * (count - 1)))
    except (KeyError, ValueError):
        return None
    if last != first + step * (count - 1) or task not in range(first, last + 1, step):
        print("SLURM's array is not evenly numbered: no --shard is taken from it", file=sys.stderr)
        return None
    shard = Shard((task - first) // step + 1, count)
    print(f"--shard {shard}, as SLURM's array says (--shard 1/1 does everything)", file=sys.stderr)
    return shard
