"""ffmpeg as a process: which one, how it is started, and what it says when it fails."""

import contextlib
import functools
import os
import re
import shutil
import subprocess
import threading

from system.errors import UserError

CUT_OFF = ("partial file", "File ended prematurely")  # what ffmpeg says of a file that ends before its index does
MEANINGS = {
    "matches no streams": "no video in it",
    "not on whitelist": "no video by itself: sound, an unknown kind of still, or a list of other files, not followed",
    "No such filter: 'zscale'": "high dynamic range, which this ffmpeg cannot bring to the usual one: it has no zscale",
}


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


@contextlib.contextmanager
def run(path, graph, **pipes):
    """Run an ffmpeg-python graph that reads or writes `path`, and leave no process behind: yields it and `finish`.

    `finish()` waits for its end and returns the reason of a failure; UserError where a signal ended it.
    """
    graph = graph.global_args("-nostdin", "-hide_banner", "-v", "error")
    command = graph.compile(cmd=ffmpeg_exe(), overwrite_output=True)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **pipes)
    complaints = []

    def listen():  # to every line, or ffmpeg would wait on a full pipe; the first one names the cause, or a cut end
        for line in process.stderr:
            said = re.sub(r"\[[^]]* @ 0x[0-9a-f]+\]", "", line.decode(errors="replace")).strip()
            if not complaints or any(words in said for words in CUT_OFF):
                complaints[:] = [said]

    listener = threading.Thread(target=listen)
    listener.start()

    def finish():
        status = process.wait()
        listener.join()
        if status < 0:
            raise UserError(f"{path}: ffmpeg was ended by signal {-status}")
        complaint = complaints[0] if complaints else "ffmpeg made nothing of it"
        return next((meaning for words, meaning in MEANINGS.items() if words in complaint), complaint)

    try:
        yield process, finish
    finally:
        process.kill()
        listener.join()
        with contextlib.suppress(BrokenPipeError), process:  # closes its pipes and waits for it
            pass


def describe(source):
    """What ffmpeg says of an input, a node of ffmpeg-python, without reading its frames -> text of many lines."""
    nothing = source.output("pipe:", format="null", t=0).global_args("-nostdin", "-hide_banner")
    return subprocess.run(nothing.compile(cmd=ffmpeg_exe()), capture_output=True).stderr.decode(errors="replace")


def url(path):
    """A name that ffmpeg takes as it stands, whatever its characters."""
    return f"file:{os.path.abspath(path)}"
