"""Text of others on the terminal: nothing in it acts, and no message grows long by it."""

import io
import subprocess
import sys
from pathlib import Path

import pytest

from system import console

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "text, expected",
    [
        ("a dog, ein Hund, собака, 狗", "a dog, ein Hund, собака, 狗"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x1b[2J\r\x9b31m", "\\x1b[2J\\r\\x9b31m"),
        ("exe\u202efdp", "exe\\u202efdp"),
        ("half \ud83d an emoji", "half \\ud83d an emoji"),
        ("\u2028 is a line\ufeff", "\\u2028 is a line\\ufeff"),
        ("नमस्\u200dते 👩\u200d🚒", "नमस्\u200dते 👩\u200d🚒"),
    ],
)
def test_what_is_not_to_be_seen_is_escaped(text, expected):
    assert console.printable(text) == expected


def test_what_is_quoted_is_short_and_one_line():
    assert console.shown("a\nb") == "a\\nb"
    assert console.shown(12) == "12"
    assert console.shown("x" * 60) == "x" * 60
    long = console.shown("start" + "x" * 10**6 + "end")
    assert len(long) == 61
    assert long.startswith("start")
    assert long.endswith("end")


def test_streams(monkeypatch):
    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    with console.harmless_streams():
        print("a\x1b[1m", end="\r\n")
        print("10 %\r\x1b[A20 %", file=sys.stderr, end="")
    assert (sys.stdout, sys.stderr) == (out, err)
    assert (out.getvalue(), err.getvalue()) == ("a\\x1b[1m\\r\n", "10 %\r\\x1b[A20 %")


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_letters_that_the_terminal_does_not_take(encoding):
    code = "import os; from system import errors; errors.run(lambda: print('a 狗', os.fsdecode(b'x\\xff.jpg')))"
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={"PYTHONIOENCODING": encoding, "PATH": ""}, capture_output=True
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"a \\u72d7 x\\udcff.jpg\n", b"")
