"""The media that stage 1 could not read, and why: a line each in a file that many processes add to."""

import json
import os
import stat
from pathlib import Path

from system import files
from system.errors import UserError


class Failures:
    """The notes in a file: JSON lines of "id" and "reason", added whole, never changed; the last one of an id counts.

    A reason of null says that the medium could be read after all. A line that a killed process left half is no note.
    """

    def __init__(self, path):
        self.path = Path(path)
        self._n_read = 0  # bytes, up to the end of a line

    def note(self, media_id, reason):
        """Add a note: why a medium cannot be read, None where it can. UserError where it cannot be written."""
        line = json.dumps({"id": media_id, "reason": reason}, ensure_ascii=False)
        files.append_line(self.path, line)

    def news(self):
        """What was noted since the last look, by whomever: dict of id -> reason or None. UserError if unreadable."""
        try:
            with open(self.path, "rb", opener=_open_file) as file:
                if os.fstat(file.fileno()).st_size < self._n_read:  # it was removed, and another one begun
                    self._n_read = 0
                file.seek(self._n_read)
                whole, end, _ = file.read().rpartition(b"\n")
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise UserError(f"{self.path} cannot be read ({error}): expected what preprocessing.py notes") from None
        self._n_read += len(whole) + len(end)
        return dict(filter(None, map(_note, whole.split(b"\n"))))

    def all(self):
        """Every medium that could not be read: dict of id -> reason. UserError as from `news`."""
        return {name: reason for name, reason in Failures(self.path).news().items() if reason is not None}


def _open_file(path, flags):
    """Open what is a file; a pipe would be waited for without end."""
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError("it is no file")


def _note(line):
    """(id, reason) of a line, None where it says no such thing."""
    try:
        value = files.parse_json(line.decode())
        media_id, reason = value["id"], value["reason"]
    except (ValueError, TypeError, KeyError):  # UnicodeDecodeError is a ValueError
        return None
    return (media_id, reason) if isinstance(media_id, str) and isinstance(reason, str | None) else None
