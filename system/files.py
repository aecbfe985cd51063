"""Text files read, and files and folders written whole or not at all: beside their final name, then renamed."""

import contextlib
import errno
import fcntl
import functools
import json
import os
import re
import secrets
import shutil
import socket
import stat
import tempfile
import time
import zlib
from pathlib import Path

from system.errors import UserError

PARTIAL = ".partial"
LOCK = ".lock"
MOST_OF_A_NAME = 255  # bytes, on every file system in use
FULL = 1 << 20  # bytes: a disk with less is full
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
A_DAY = 24 * 3600  # seconds
NO_LOCKS = errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS  # what a file system says that has no locks
SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")  # half of a letter beyond the 16 bits of JSON's escapes


@functools.cache
def _place():
    """Where process ids mean what they mean here: this host and, in a container, its own table of processes.

    Hosts may be called alike, and tables are numbered alike everywhere; the start of a host's system is its own.
    """
    start = table = None
    with contextlib.suppress(OSError):  # not on Linux
        start = BOOT_ID.read_text().strip()
        table = os.stat("/proc/self/ns/pid").st_ino
    return f"{zlib.crc32(f'{socket.gethostname()} {start} {table}'.encode()):08x}"


def partial_name(path):
    """A name beside `path` under which to write it, another one each time; a killed run leaves only this behind.

    It says who writes. The extension stays last, because ffmpeg and NumPy choose the format by it.
    """
    path = Path(path)
    writer = f"{PARTIAL}-{_place()}-{os.getpid()}-{secrets.token_hex(4)}"
    room = MOST_OF_A_NAME - len(f".{writer}") - len(os.fsencode(path.suffix))
    stem = os.fsencode(path.stem)[: max(room, 0)].decode(errors="ignore")
    return path.with_name(f".{stem}{writer}{path.suffix}")


@contextlib.contextmanager
def told(path):
    """What the system refuses while a file is written becomes a UserError that names the file."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)  # NumPy has its own words for a write that was cut short
        if isinstance(error, FileExistsError | NotADirectoryError):
            reason = "a file is in the place of a folder"
        with contextlib.suppress(OSError):
            if shutil.disk_usage(Path(path).parent).free < FULL:
                reason = "the disk is full"
        raise UserError(f"{path}: cannot be written ({reason})") from error


@contextlib.contextmanager
def whole(path):
    """Context manager: yields a temporary path; on success it is renamed to `path`, else removed.

    UserError where the system refuses to write.
    """
    path = Path(path)
    with told(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = partial_name(path)
        try:
            yield partial
            os.replace(partial, path)
        finally:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)


def append_line(path, line):
    """Add a line to a text file in UTF-8, to which other processes and machines may add; UserError as from `whole`.

    It is written in one piece, while nobody else writes; half a line that a killed run left stays one.
    """
    with told(path), open(path, "ab+") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX)  # until it is closed, which is after all is written
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            line = line if file.read(1) == b"\n" else f"\n{line}"
        file.write(f"{line}\n".encode(errors="backslashreplace"))


def writable_folder(path):
    """Make a folder if there is none, and rid it of what killed runs left -> its Path.

    UserError where nothing can be written into it.
    """
    path = Path(path)
    with told(path):
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
        remove_partials(path)
    return path


@contextlib.contextmanager
def whole_folder(path):
    """As `whole`, for a folder: yields a fresh folder that takes the place of `path` at the end.

    Folders cannot be exchanged in one step: a kill between two renames leaves neither under the name.
    """
    path = Path(path)
    partial = partial_name(path)
    with told(path):
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
    """Remove what killed runs left half written in `folder`; what another process may still be writing stays.

    That of a process on another machine, or in another container, counts as left when a day has passed. What others
    have called alike stays.
    """
    for path in Path(folder).glob(f".*{PARTIAL}-*"):
        with contextlib.suppress(OSError):  # another process was quicker, or it is another user's
            if _is_left(path):
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _is_left(partial):
    """Whether a file is a partial one whose writer is gone for certain, or has not touched it for a day."""
    writer = re.search(re.escape(PARTIAL) + r"-([0-9a-f]{8})-(\d+)-[0-9a-f]{8}(\.\w+)?$", partial.name)
    if writer is None:
        return False
    gone = writer[1] == _place() and not _is_running(int(writer[2]))
    return gone or time.time() - partial.stat().st_mtime > A_DAY


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


@contextlib.contextmanager
def locked(folder, what):
    """Context manager: nobody else has this folder locked meanwhile. UserError, saying `what` goes on there, else.

    The lock ends with the process, however that ends.
    """
    folder = Path(folder)
    with told(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / LOCK).touch()
    with open(folder / LOCK, "ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{folder}: {what} by another process; wait for it, or name another folder") from None
        yield


def write_text(path, text):
    """Write a text file in UTF-8, whole; half an emoji, which UTF-8 cannot hold, is escaped."""
    with whole(path) as partial:
        partial.write_bytes(text.encode(errors="backslashreplace"))


def write_json(path, value, indent=1):
    """Write a JSON file in UTF-8, whole; TypeError for what JSON cannot hold."""
    write_text(path, json.dumps(value, indent=indent, ensure_ascii=False) + "\n")


def read_text(path, what):
    """The content of a text file; UserError, saying `what` was expected there, where there is none."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # to read from a pipe or a device may never end
            raise UserError(f"{path} is no file: expected {what}")
        return Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{path} is missing: expected {what}; docs/data.md draws the layout") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as text ({error}): expected {what}") from None


def parse_json(text):
    """What JSON text says; ValueError, of one line, for what is not JSON or nested without end.

    Half an emoji, as captions that were cut off have it, becomes the sign for what cannot be shown.
    """
    try:
        value = json.loads(text)
        return _whole_letters(value) if SURROGATE.search(text) else value
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _whole_letters(value):
    """A JSON value with the halves of emoji in its texts replaced."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_whole_letters(one) for one in value]
    if isinstance(value, dict):
        return {_whole_letters(key): _whole_letters(one) for key, one in value.items()}
    return value


def read_json(path, what):
    """The content of a JSON file; UserError, saying `what` was expected there, where it cannot be read."""
    text = read_text(path, what)
    try:
        return parse_json(text)
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON ({error}): expected {what}") from None


def read_table(path, what):
    """As `read_json`, of a table (dict); UserError where the file holds anything else."""
    value = read_json(path, what)
    if not isinstance(value, dict):
        raise UserError(f"{path} holds no table: expected {what}")
    return value
