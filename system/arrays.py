"""NumPy's files (.npy, .npz): read though of unknown origin, written whatever their size.

What a file claims is checked before anything of it is read or made: a header may promise more than the file holds, and
a compressed member more than any memory does. Nothing needs pickle. Every damage is a ValueError of one line; whoever
reads knows which file to name, and the way out.
"""

import contextlib
import math
import os
import zipfile
import zlib

import numpy as np

from system import rows

MOST_BYTES = 1 << 30  # of one array, unless said otherwise
READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
KINDS = "biufU"  # of what an array may hold: truth values, numbers and text


def _header(file):
    """The shape, the order (whether Fortran's) and the type that an open .npy file claims; ValueError for nonsense."""
    version = np.lib.format.read_magic(file)
    if version not in READERS:
        raise ValueError(f"version {version} of NumPy's format")
    try:
        shape, is_fortran, dtype = READERS[version](file)
    except Exception as error:  # NumPy parses it as Python, and raises whatever Python does
        raise ValueError(f"no header of an array ({error})") from error
    if dtype.kind not in KINDS:
        raise ValueError(f"an array of {dtype}, neither numbers nor text")
    if len(shape) > 8 or any(isinstance(n, bool) or n < 0 for n in shape):
        raise ValueError("an array of an impossible shape")
    return shape, is_fortran, dtype


def _read(file, n_bytes, most_bytes, expected=None):
    """The array of an open .npy file of `n_bytes` in all."""
    shape, is_fortran, dtype = _header(file)
    size = math.prod(shape) * dtype.itemsize
    if expected is not None and shape != tuple(expected):
        raise ValueError(f"shape {_text(shape)}, where {_text(expected)} is needed")
    if size > most_bytes:
        raise ValueError(f"an array of {size} bytes, more than the {most_bytes} that it may have")
    if size != n_bytes - file.tell():
        raise ValueError(f"{n_bytes - file.tell()} bytes where shape and type promise {size}")
    array = np.empty(shape, dtype, order="F" if is_fortran else "C")
    buffer = memoryview(array.reshape(-1, order="A").view(np.uint8)) if size else memoryview(b"")
    done = 0
    while done < size:
        n_read = file.readinto(buffer[done:])
        if not n_read:
            raise ValueError("it ends before its last number")
        done += n_read
    return array


def _text(shape):
    return "x".join(map(str, shape)) or "one number"


@contextlib.contextmanager
def _damage():
    """What reading a damaged file can raise becomes a ValueError; what the system refuses stays an OSError."""
    try:
        yield
    except (EOFError, KeyError, TypeError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(str(error) or type(error).__name__) from error
    except (MemoryError, OverflowError, RecursionError) as error:
        raise ValueError("it claims what no memory holds") from error


def read(path, most_bytes=MOST_BYTES):
    """The array in a .npy file; ValueError where it is damaged or larger than `most_bytes`, OSError as from `open`."""
    with _damage(), open(path, "rb") as file:
        return _read(file, os.fstat(file.fileno()).st_size, most_bytes)


class Archive:
    """An open .npz file, whose arrays are read by name when they are asked for."""

    def __init__(self, file, most_bytes):
        self._zip, self._most = file, most_bytes
        self._members = {info.filename.removesuffix(".npy"): info for info in file.infolist()}

    def _open(self, name):
        if name not in self._members:
            raise ValueError(f"it has no {name}")
        return self._zip.open(self._members[name])

    def shape(self, name):
        """The shape that an array claims, without reading it."""
        with _named(name), self._open(name) as file:
            return _header(file)[0]

    def read(self, name, shape=None):
        """An array; ValueError where it is missing, damaged, too large, or of another shape than `shape`."""
        with _named(name), self._open(name) as file:
            return _read(file, self._members[name].file_size, self._most, shape)


@contextlib.contextmanager
def _named(name):
    try:
        with _damage():
            yield
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


@contextlib.contextmanager
def archive(path, most_bytes=MOST_BYTES):
    """Context manager: a .npz file as an Archive. ValueError where it is none, OSError as from `open`."""
    with _damage(), zipfile.ZipFile(path) as file:
        yield Archive(file, most_bytes)


def write_archive(path, members):
    """Write arrays by name as a compressed .npz file; of Rows a part at a time."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, array in members.items():
            with file.open(f"{name}.npy", "w", force_zip64=True) as member:
                if isinstance(array, rows.Rows):
                    header = {"descr": np.lib.format.dtype_to_descr(array.dtype), "fortran_order": False}
                    np.lib.format.write_array_header_1_0(member, header | {"shape": array.shape})
                    for start, stop in rows.spans(array):
                        member.write(array[start:stop].tobytes())
                else:
                    np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)
