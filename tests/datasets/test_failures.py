"""What stage 1 could not read, noted by many processes, killed ones among them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from datasets.failures import Failures
from system.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


def test_the_last_note_of_a_medium_counts(tmp_path):
    noted = Failures(tmp_path / "failures.jsonl")
    assert noted.all() == noted.news() == {}
    for media_id, reason in (("a", "x"), ("b é", "two\nlines"), ("a", "y"), ("c", "z"), ("c", None)):
        noted.note(media_id, reason)
    assert noted.all() == {"a": "y", "b é": "two\nlines"}
    lines = [json.loads(line) for line in noted.path.read_text().splitlines()]
    assert len(lines) == 5 and lines[0] == {"id": "a", "reason": "x"}


def test_news_are_what_was_noted_since_by_whomever(tmp_path):
    noted, other = (Failures(tmp_path / "failures.jsonl") for _ in range(2))
    other.note("a", "x")
    assert noted.news() == {"a": "x"} and noted.news() == {}
    noted.note("b", "y")
    other.note("a", None)
    assert noted.news() == {"b": "y", "a": None}
    assert other.news() == {"a": None, "b": "y"}
    noted.path.unlink()
    assert noted.news() == {}
    other.note("c", "z")
    assert noted.news() == {"c": "z"}


def test_half_a_line_is_no_note_and_spoils_none(tmp_path):
    noted = Failures(tmp_path / "failures.jsonl")
    noted.note("a", "x")
    with open(noted.path, "a") as file:
        file.write('{"id": "b", "rea')  # its writer was killed
    assert noted.news() == {"a": "x"}
    noted.note("c", "z")
    assert noted.news() == {"c": "z"} and noted.all() == {"a": "x", "c": "z"}


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[1]",
        b"{}",
        b"3",
        b"null",
        b'{"id": 1, "reason": "x"}',
        b'{"id": "a", "reason": 1}',
        b"\xff",
        b"[" * 10**5,
    ],
)
def test_other_lines_are_no_notes(tmp_path, line):
    noted = Failures(tmp_path / "failures.jsonl")
    noted.path.write_bytes(line + b'\n{"id": "b", "reason": "y"}\n')
    assert noted.all() == {"b": "y"}


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "failures.jsonl")
    with pytest.raises(UserError, match=r"failures\.jsonl cannot be read \(it is no file\)"):
        Failures(tmp_path / "failures.jsonl").all()


def test_notes_of_several_processes_are_whole(tmp_path):
    code = (
        "import sys\nfrom datasets.failures import Failures\n"
        "for k in range(200):\n"
        f"    Failures({str(tmp_path / 'failures.jsonl')!r}).note(f'{{sys.argv[1]}}-{{k}}', 'long ' * 300)\n"
    )
    workers = [subprocess.Popen([sys.executable, "-c", code, str(number)], cwd=ROOT) for number in range(3)]
    assert [worker.wait(60) for worker in workers] == [0, 0, 0]
    assert Failures(tmp_path / "failures.jsonl").all() == {
        f"{n}-{k}": "long " * 300 for n in range(3) for k in range(200)
    }
