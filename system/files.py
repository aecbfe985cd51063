"""Text files read, and files and folders written whole or not at all: beside their final name, then renamed."""

import contextlib
import json
import os
import re
import shutil
import tempfile
from pathlib import Path

from system.errors import UserError

PARTIAL = ".partial"


def partial_name(path):
    """The name beside `path` under which it is written; a killed run leaves only this behind.

    The extension stays last, because ffmpeg and NumPy choose the format by it.
    """
    path = Path(path)
    return path.with_name(f".{path.stem}{PARTIAL}-{os.getpid()}{path.suffix}")


@contextlib.contextmanager
def whole(path):
    """Context manager: yields a temporary path; on success it is renamed to `path`, else removed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_name(path)
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def writable_folder(path):
    """Make a folder if there is none -> its Path. OSError where nothing can be written into it."""
    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=path):
        return path


@contextlib.contextmanager
def whole_folder(path):
    """As `whole`, for a folder: yields a fresh folder that takes the place of `path` at the end.

    Folders cannot be exchanged in one step: a kill between two renames leaves neither under the name.
    """
    path = Path(path)
    partial = partial_name(path)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        old = _set_aside(path) if path.exists() else None
        os.rename(partial, path)
        if old is not None:
            shutil.rmtree(old)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _set_aside(path):
    """Rename a folder to a name that `remove_partials` knows -> that name."""
    partial = partial_name(f"{path}.removed")
    os.rename(path, partial)
    return partial


def remove_folder(path):
    """Remove a folder; a run that is killed meanwhile leaves no half of it under its own name."""
    shutil.rmtree(_set_aside(path))


def remove_partials(folder):
    """Remove what killed runs left half written in `folder`; what another process is still writing stays."""
    for path in Path(folder).glob(f".*{PARTIAL}-*"):
        writer = re.search(re.escape(PARTIAL) + r"-(\d+)(\.\w+)?$", path.name)
        if writer and not _is_running(int(writer[1])):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _is_running(pid):
    """Whether `pid` is another process that is still running."""
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        pass
    return True


def write_text(path, text):
    """Write a text file in UTF-8, whole."""
    with whole(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path, value, indent=1):
    """Write a JSON file in UTF-8, whole; TypeError for what JSON cannot hold."""
    write_text(path, json.dumps(value, indent=indent, ensure_ascii=False) + "\n")


def read_text(path, what):
    """The content of a text file; UserError, saying `what` was expected there, where there is none."""
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{path} is missing: expected {what}; docs/data.md draws the layout") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as text ({error}): expected {what}") from None


def read_json(path, what):
    """The content of a JSON file; UserError, saying `what` was expected there, where it cannot be read."""
    try:
        return json.loads(read_text(path, what))
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is not valid JSON ({error}): expected {what}") from None
