"""An array that grows along its first axis, on the disk once it is large, of which a part is in memory at a time."""

import math
import tempfile

import numpy as np

from system.errors import UserError

IN_MEMORY = 64 << 20  # bytes of an array that stays in memory, where several copies of it are made
AT_ONCE = 16 << 20  # bytes of a part, see `spans`


class Rows:
    """Rows of one shape [..., ], appended in lots, then read by number or slice -> array.

    It has len, shape, dtype and nbytes, and becomes an array as a whole by np.asarray. What exceeds IN_MEMORY goes to a
    file without a name in `folder` (by default that for temporary files), which ends with the program.
    """

    def __init__(self, folder=None):
        self._folder, self._file, self._lots = folder, None, []
        self.shape, self.dtype = (0,), np.dtype(np.float32)

    def __len__(self):
        return self.shape[0]

    @property
    def nbytes(self):
        return math.prod(self.shape) * self.dtype.itemsize

    def append(self, rows):
        """Add rows [n, ...]; UserError where the disk does not take them."""
        rows = np.ascontiguousarray(rows)
        if not len(self):
            self.dtype, self.shape = rows.dtype, (0, *rows.shape[1:])
        elif rows.dtype != self.dtype or rows.shape[1:] != self.shape[1:]:
            raise ValueError(f"rows {rows.dtype} {rows.shape[1:]} after {self.dtype} {self.shape[1:]}")
        if self._file is None and self.nbytes + rows.nbytes > IN_MEMORY:
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 (it lives as long as the rows)
            self._write(self._lots)
            self._lots = []
        if self._file is None:
            self._lots.append(rows)
        else:
            self._write([rows])
        self.shape = (len(self) + len(rows), *self.shape[1:])

    def _write(self, lots):
        try:
            for lot in lots:
                self._file.write(lot.data)
            self._file.flush()
        except OSError as error:
            place = self._folder or tempfile.gettempdir()
            raise UserError(f"{place}: no room for maps of so many frames ({error.strerror})") from error

    @property
    def is_on_disk(self):
        return self._file is not None

    def __getitem__(self, key):
        if self._file is None:
            self._lots = [np.concatenate(self._lots)] if len(self._lots) > 1 else self._lots
            return self._lots[0][key]
        # Mapped for this moment: what stays mapped counts as memory of the program.
        return np.array(np.memmap(self._file, self.dtype, "r", shape=self.shape)[key])

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self[:], dtype)


def spans(rows):
    """(start, stop) of parts of Rows or of an array, one after the other, of some AT_ONCE bytes each."""
    n = max(AT_ONCE * len(rows) // max(rows.nbytes, 1), 1)
    return [(start, min(start + n, len(rows))) for start in range(0, len(rows), n)]
