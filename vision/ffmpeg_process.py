"""ffmpeg as a process: which one, how it is started, and what it says when it fails."""

import contextlib
import contextvars
import functools
import math
import os
import re
import resource
import shutil
import subprocess
import threading
import time
from pathlib import Path

from system.errors import UserError

CUT_OFF = ("partial file", "File ended prematurely")  # what ffmpeg says of a file that ends before its index does
PATIENCE = 60  # seconds, unless `patience` says otherwise
READS = 1000  # times the size of its file: an ffmpeg that reads more than that goes round in circles
MOST_BYTES = 1400 << 20  # of memory, for what it decodes
NO_MEMORY = "Cannot allocate memory"
MEANINGS = {
    "matches no streams": "no video in it",
    "moov atom not found": "no video, or one that is cut off: it has no index (moov atom)",
    "Invalid data found when processing input": "no video, or a damaged one (invalid data found)",
    "not on whitelist": "no video by itself: sound, an unknown kind of still, or a list of other files, not followed",
    "No such filter: 'zscale'": "high dynamic range, which this ffmpeg cannot bring to the usual one: it has no zscale",
}
_asked_patience = contextvars.ContextVar("seconds")


@contextlib.contextmanager
def patience(seconds):
    """Context manager: an ffmpeg that is started in it, by this thread, may give nothing for so long."""
    before = _asked_patience.set(seconds)
    try:
        yield
    finally:
        _asked_patience.reset(before)


@functools.cache
def ffmpeg_exe():
    """The path of ffmpeg: the system's where that can do what is asked of it here, else imageio-ffmpeg's.

    The system's is tried out first, because it may be older than 5.1 (no -fps_mode) or built without x264.
    """
    system = shutil.which("ffmpeg")
    trial = "-v quiet -nostdin -f lavfi -i color=s=16x16:d=0.04 -fps_mode passthrough -c:v libx264 -f null -"
    if system and subprocess.run([system, *trial.split()], stdin=subprocess.DEVNULL).returncode == 0:
        return system
    try:
        import imageio_ffmpeg

        return imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        raise UserError("no ffmpeg (5.1 or newer, with x264) was found: install it or imageio-ffmpeg") from None


class _Running:
    """A running ffmpeg: what it gives out, read with patience, and what it says when it fails.

    A damaged file can make it run for ever. Where nothing comes for `patience` seconds while we wait, it is killed;
    but not where it went on reading its input meanwhile, as what merely takes its time does, and no more than READS
    times.
    """

    def __init__(self, path, process, limited):
        self.process, self._limited, self._patience = process, limited, _asked_patience.get(PATIENCE)
        self._most_read = READS * os.path.getsize(path) if limited and os.path.isfile(path) else math.inf
        self._path, self._complaint, self._gave_up, self._lacks_memory = path, None, False, False
        self._waiting_since, self._over = None, threading.Event()
        self._threads = [threading.Thread(target=one, daemon=True) for one in (self._listen, self._watch)]
        for thread in self._threads:
            thread.start()

    def _listen(self):
        """Hear every line, or it would wait on a full pipe; the first one names the cause, or one of a cut end."""
        for line in self.process.stderr:
            said = re.sub(r"\[[^]]* @ 0x[0-9a-f]+\]", "", line.decode(errors="replace")).strip()
            if self._complaint is None or any(words in said for words in CUT_OFF):
                self._complaint = said
            self._lacks_memory |= self._limited and NO_MEMORY in said

    def _watch(self):
        n_read, read_at = None, 0
        while not self._over.wait(1):
            waiting_since, now_read, now = self._waiting_since, self._n_read(), time.monotonic()
            if now_read != n_read and now_read <= self._most_read:
                n_read, read_at = now_read, now
            if waiting_since is not None and now - max(waiting_since, read_at) >= self._patience:
                self._gave_up = True
                self.process.kill()
                return

    def _n_read(self):
        """How much it has read so far, in bytes; 0 where the system does not tell."""
        with contextlib.suppress(OSError, ValueError):
            return int(Path(f"/proc/{self.process.pid}/io").read_text().split()[1])
        return 0

    def _patiently(self, function, *arguments):
        self._waiting_since = time.monotonic()
        try:
            return function(*arguments)
        finally:
            self._waiting_since = None

    def readline(self):
        return self._patiently(self.process.stdout.readline)

    def readinto(self, buffer):
        return self._patiently(self.process.stdout.readinto, buffer)

    def __iter__(self):
        return iter(self.readline, b"")

    def finish(self):
        """Wait for its end -> the reason of a failure.

        UserError where it was killed, by us or somebody else, and as from `check`.
        """
        status = self._patiently(self.process.wait)
        if self._gave_up:
            raise UserError(f"{self._path}: ffmpeg gave nothing for {self._patience} s, and was ended")
        self._threads[0].join()
        self.check()
        if status < 0:
            raise UserError(f"{self._path}: ffmpeg was ended by signal {-status}")
        complaint = self._complaint or "ffmpeg made nothing of it"
        return next((meaning for words, meaning in MEANINGS.items() if words in complaint), complaint)

    def check(self):
        """UserError where it had not memory enough: then frames are missing that are there."""
        if self._lacks_memory:
            raise UserError(f"{self._path}: ffmpeg cannot decode it with {MOST_BYTES / 2**30:.1f} GiB of memory")

    def stop(self):
        """Leave no process behind, and no thread."""
        self.process.kill()
        self._over.set()
        for thread in self._threads:
            thread.join()
        with contextlib.suppress(BrokenPipeError), self.process:  # closes its pipes and waits for it
            pass


@contextlib.contextmanager
def run(path, graph, **pipes):
    """Context manager: run an ffmpeg-python graph that reads or writes `path`, and leave no process behind.

    Yields its output (`readline`, `readinto`, or lines), `process` with the `pipes` asked for, and `finish()`. Where it
    reads, it gets no more than MOST_BYTES, if the system can see to that.
    """
    graph = graph.global_args("-nostdin", "-hide_banner", "-v", "error")
    command = graph.compile(cmd=ffmpeg_exe(), overwrite_output=True)
    limited = "stdin" not in pipes
    process = _start(command, limited, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **pipes)
    running = _Running(path, process, limited)
    try:
        yield running
    finally:
        running.stop()


def describe(path, **options):
    """What ffmpeg says of a file, read with the options of an input, without decoding it -> text of many lines.

    UserError where it says nothing.
    """
    command = [ffmpeg_exe(), "-nostdin", "-hide_banner"]
    command += [str(part) for name, value in options.items() for part in (f"-{name}", value)]
    seconds = _asked_patience.get(PATIENCE)
    process = _start([*command, "-i", url(path)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    with process:
        try:
            return process.communicate(timeout=seconds)[1].decode(errors="replace")
        except subprocess.TimeoutExpired:
            process.kill()
            raise UserError(f"{path}: ffmpeg said nothing for {seconds} s, and was ended") from None


def _start(command, limited=True, **pipes):
    """Start ffmpeg; `limited` to MOST_BYTES of memory, if the system can see to that."""
    process = subprocess.Popen(command, **pipes)
    if limited and hasattr(resource, "prlimit"):
        with contextlib.suppress(OSError):  # it has ended
            resource.prlimit(process.pid, resource.RLIMIT_DATA, (MOST_BYTES, MOST_BYTES))
    return process


def url(path):
    """A name that ffmpeg takes as it stands, whatever its characters."""
    return f"file:{os.path.abspath(path)}"
