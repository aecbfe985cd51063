"""A part of a video: from one time to another, and of its frames only some.

    clip = Excerpt("film.mp4", start=3723.0, end=3900.0, every=5)

Wherever a video's path is asked for an excerpt will do: its frames count from 0, and what is left out is not there.
"""

import dataclasses
import math
import os
import re
from fractions import Fraction
from pathlib import Path

from system.errors import UserError

TIME = re.compile(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d+)?)")  # 1:02:03, 62:03, 3723 or 3723.5
EVERY = re.compile(r"(\d+(?:\.\d+)?)(s?)")  # 5 frames, or 0.5s


@dataclasses.dataclass(frozen=True)
class Excerpt(os.PathLike):
    """The frames of a video from `start` to before `end`, in seconds, by default all.

    every: of them each so many'th, or, where it is a float, one in so many seconds.
    """

    path: Path
    start: float = 0.0
    end: float | None = None
    every: int | float = 1

    def __fspath__(self):
        return os.fspath(self.path)

    def __str__(self):
        return str(self.path)

    @property
    def name(self):
        return Path(self.path).name

    def called(self, name):
        """What its pictures are called, where the whole is called `name`: holiday-from_12.5-to_20-every_5."""
        start = f"-from_{self.start:g}" if self.start > 0 else ""
        end = "" if self.end is None else f"-to_{self.end:g}"
        every = "" if self.every == 1 else f"-every_{self.every:g}{'s' * isinstance(self.every, float)}"
        return name + start + end + every

    def is_empty(self, complaint=""):
        end = "its end" if self.end is None else f"{self.end:g} s"
        return UserError(
            f"{self.path}: there is no frame from {self.start:g} s to {end}{complaint and f' ({complaint})'}"
        )

    def input_options(self):
        """How ffmpeg is told where to begin and to end: options of the input."""
        end = {} if self.end is None else {"t": self.end - self.start}
        return ({"ss": self.start} if self.start > 0 else {}) | end

    def selection(self):
        """ffmpeg's expression for the frames that are kept, None for all; time counts from the start."""
        if self.every == 1:
            return None
        if isinstance(self.every, float):  # the first of each span of so many seconds
            return f"isnan(prev_selected_t)+gt(floor(t/{self.every}),floor(prev_selected_t/{self.every}))"
        return f"not(mod(n,{self.every}))"

    def numbers(self, n_frames, fps):
        """Which of a video's frames are kept, where all of them are at hand and have one rate -> list."""
        first = math.ceil(self.start * fps)
        stop = n_frames if self.end is None else min(math.ceil(self.end * fps), n_frames)
        if not isinstance(self.every, float):
            return list(range(first, stop, self.every))
        spans = [math.floor(Fraction(k - first) / Fraction(fps) / Fraction(self.every)) for k in range(first, stop)]
        return [first + k for k in range(len(spans)) if k == 0 or spans[k] > spans[k - 1]]


def seconds(text):
    """A time such as 1:02:03, 62:03 or 3723.5 -> float; UserError for anything else."""
    match = TIME.fullmatch(text.strip())
    if match is None:
        raise UserError(f"'{text}' is no time: write it as 1:02:03, 62:03 or 3723.5 (seconds)")
    hours, minutes, rest = (float(part or 0) for part in match.groups())
    return 3600 * hours + 60 * minutes + rest


def stride(text):
    """How many frames (5), or seconds (0.5s), from one frame to the next -> int or float; UserError for other text."""
    match = EVERY.fullmatch(text.strip())
    is_time = match is not None and match[2] == "s"
    if match is None or float(match[1]) == 0 or (not is_time and "." in match[1]):
        raise UserError(f"'{text}' is no stride: write a number of frames (5) or of seconds (0.5s)")
    return float(match[1]) if is_time else int(match[1])


def of(path, start=None, end=None, every=None):
    """The excerpt that the command line asks for, the path itself where it asks for none; UserError for nonsense."""
    first, last = (None if text is None else seconds(text) for text in (start, end))
    if last is not None and last <= (first or 0):
        raise UserError(f"--end {end} is not after --start {start or 0}")
    if start is end is every is None:
        return Path(path)
    return Excerpt(Path(path), first or 0.0, last, 1 if every is None else stride(every))
