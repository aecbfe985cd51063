"""How a script ends: in one line and an exit status, whatever was wrong."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from system import errors
from system.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


def end_of(main, monkeypatch, capsys):
    """Run `main` as the script show.py -> exit status, stdout, stderr."""
    monkeypatch.setattr(sys, "argv", ["some/where/show.py", "--media", "x"])
    with pytest.raises(SystemExit) as end:
        errors.run(main)
    return end.value.code, *capsys.readouterr()


def raising(error):
    def main():
        print("printed before")
        raise error

    return main


@pytest.mark.parametrize(
    "message, line",
    [
        ("x.mp4 is missing: name another", "show.py: error: x.mp4 is missing: name another\n"),
        ("no such id: " + "x" * 10**6, "show.py: error: no such id: " + "x" * 200 + "…" + "x" * 100 + "\n"),
        ("\x1b]0;a\x07.mp4: \u202eempty", "show.py: error: \\x1b]0;a\\x07.mp4: \\u202eempty\n"),
        ("cannot read:\n  Invalid data\n\tat 3\r\n", "show.py: error: cannot read: Invalid data at 3\n"),
    ],
)
def test_a_user_error_is_one_line_and_status_2(message, line, monkeypatch, capsys):
    assert end_of(raising(UserError(message)), monkeypatch, capsys) == (2, "printed before\n", line)


def test_no_text_in_a_message_makes_it_long():
    """From Python too, where nobody prints it for us."""
    message = str(UserError(f"x.json: 'a\n{'b' * 10**6}' and {' '.join(['word'] * 10**5)}: no number"))
    assert message.startswith("x.json: 'a bbb") and message.endswith("word: no number")
    assert len(message) < 2000 and "\n" not in message


def test_what_the_system_refuses_is_one_line_and_status_2(tmp_path, monkeypatch, capsys):
    status, _, line = end_of(lambda: (tmp_path / "none" / "x").write_text("x"), monkeypatch, capsys)
    assert status == 2
    assert line == f"show.py: error: [Errno 2] No such file or directory: '{tmp_path}/none/x'\n"


class ResourceExhaustedError(Exception):
    """As TensorFlow tells it, in forty lines."""


@pytest.mark.parametrize("error", [MemoryError(), ResourceExhaustedError("OOM\n" * 40)])
def test_too_little_memory_is_one_line_and_status_2(error, monkeypatch, capsys):
    status, _, line = end_of(raising(error), monkeypatch, capsys)
    assert (status, line.count("\n")) == (2, 1)
    assert line.startswith("show.py: error: memory does not suffice: make the work smaller (--set batch_size=...")


def test_ctrl_c_is_status_130(monkeypatch, capsys):
    assert end_of(raising(KeyboardInterrupt), monkeypatch, capsys) == (130, "printed before\n", "interrupted\n")


def test_success_does_not_exit(capsys):
    assert errors.run(lambda: print("done")) is None
    assert capsys.readouterr() == ("done\n", "")


@pytest.mark.parametrize("error", [ValueError("ours"), SystemExit(7)])
def test_a_mistake_of_the_program_and_an_exit_are_left_as_they_are(error):
    with pytest.raises(type(error)) as raised:
        errors.run(raising(error))
    assert raised.value is error


@pytest.mark.parametrize("n_lines", [1, 100_000])  # less than the buffer of stdout, and more
def test_a_reader_that_goes_away_is_no_error(n_lines):
    """As with `script | head -1`: no message, and the status that a shell gives to SIGPIPE."""
    code = f"from system import errors; errors.run(lambda: (input(), [print('line', k) for k in range({n_lines})]))"
    environment = {**os.environ, "PYTHONUNBUFFERED": ""}
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=environment, **pipes) as process:
        process.stdout.close()
        assert process.communicate(b"\n")[1] == b""
    assert process.returncode == 141
