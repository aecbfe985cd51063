"""JSON values, a line each, in a file that many processes add to and read."""

import json
import os
import stat
from pathlib import Path

from system import files
from system.errors import UserError


class Lines:
    """Such a file: lines are added whole and never changed. What a killed process left half is no line."""

    def __init__(self, path, what):
        """what: the file holds, for errors."""
        self.path, self.what = Path(path), what
        self._n_read = 0  # bytes, up to the end of a line

    def add(self, value):
        """Add a value (NumPy's numbers are numbers). UserError where it cannot be written."""
        files.append_line(self.path, json.dumps(value, ensure_ascii=False, default=lambda number: number.item()))

    def news(self):
        """The values that were added since the last look, by whomever -> list. UserError where it cannot be read."""
        try:
            with open(self.path, "rb", opener=_open_file) as file:
                if os.fstat(file.fileno()).st_size < self._n_read:  # it was removed, and another one begun
                    self._n_read = 0
                file.seek(self._n_read)
                whole, end, _ = file.read().rpartition(b"\n")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise UserError(f"{self.path} cannot be read ({error}): expected {self.what}") from None
        self._n_read += len(whole) + len(end)
        return [value for line in whole.split(b"\n") if (value := _value(line)) is not None]


def _open_file(path, flags):
    """Open what is a file; a pipe would be waited for without end."""
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError("it is no file")


def _value(line):
    """The value of a line, None where it is none."""
    try:
        return files.parse_json(line.decode())
    except ValueError:  # UnicodeDecodeError is one
        return None
