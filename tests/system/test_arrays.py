"""Arrays of unknown origin: good ones come back, and of the others nothing is read that they do not hold."""

import io
import struct
import zipfile

import numpy as np
import pytest

from system import arrays

GOOD = [
    np.arange(12, dtype=np.float32).reshape(3, 4),
    np.asfortranarray(np.arange(12, dtype=np.int64).reshape(3, 4)),
    np.array(3.5),
    np.zeros((0, 5)),
    np.array(["a", "dög"]),
    np.array([True, False]),
    np.arange(5, dtype=">f2"),
]


@pytest.mark.parametrize("array", GOOD, ids=str)
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_good_arrays(tmp_path, array, save):
    np.save(tmp_path / "x.npy", array)
    save(tmp_path / "x.npz", a=array, b=1)
    found = [arrays.read(tmp_path / "x.npy")]
    with arrays.archive(tmp_path / "x.npz") as archive:
        assert archive.shape("a") == array.shape
        found.append(archive.read("a", array.shape))
    for one in found:
        assert one.dtype == array.dtype
        np.testing.assert_array_equal(one, array)


def npy(header, data=b"", version=(1, 0)):
    """The bytes of a .npy file with that text as its header."""
    header = header.encode() + b"\n"
    return b"\x93NUMPY" + bytes(version) + struct.pack("<H" if version == (1, 0) else "<I", len(header)) + header + data


CLAIM = "{{'descr': '{}', 'fortran_order': False, 'shape': {}}}"
BAD = {
    "promises more": (npy(CLAIM.format("<f4", "(3,)"), b"\0" * 8), "8 bytes where .* promise 12"),
    "holds more": (npy(CLAIM.format("<f4", "(3,)"), b"\0" * 16), "16 bytes where .* promise 12"),
    "too large": (npy(CLAIM.format("<f8", "(1000000, 1000000)")), "8000000000000 bytes, more than"),
    "beyond all numbers": (npy(CLAIM.format("<f8", f"({10**30},)")), "bytes, more than"),
    "negative": (npy(CLAIM.format("<f8", "(-1,)")), "impossible shape"),
    "many axes": (npy(CLAIM.format("<f8", "(1,1,1,1,1,1,1,1,1)")), "impossible shape"),
    "a pickle": (npy(CLAIM.format("|O", "(1,)"), b"cos\nsystem\n"), "neither numbers nor text"),
    "a table": (npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}", b"\0" * 4), "neither numbers"),
    "no header": (b"\x93NUMPY\x01\x00", "no header"),
    "empty": (b"", "EOF|magic"),
    "something else": (b"PNG" * 100, "magic"),
    "deep header": (npy("(" * 9000), "no header"),
    "wrong header": (npy("{'shape': 3}"), "no header"),
    "another version": (npy(CLAIM.format("<f4", "(1,)"), b"\0" * 4, version=(9, 0)), "version|format"),
}


@pytest.mark.parametrize("content, reason", BAD.values(), ids=BAD)
def test_bad_arrays(tmp_path, content, reason):
    (tmp_path / "x.npy").write_bytes(content)
    with pytest.raises(ValueError, match=reason):
        arrays.read(tmp_path / "x.npy")
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as file:
        file.writestr("a.npy", content)
    with arrays.archive(tmp_path / "x.npz") as archive, pytest.raises(ValueError, match=f"^a: .*({reason})"):
        archive.read("a")


def test_a_member_is_not_unpacked_beyond_what_it_may_have(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "x.npz", bomb=np.zeros(4_000_000, np.uint8), small=np.arange(3))
    read = []
    readinto = io.BufferedIOBase.readinto
    monkeypatch.setattr(
        zipfile.ZipExtFile, "readinto", lambda file, buffer: read.append(len(buffer)) or readinto(file, buffer)
    )
    with arrays.archive(tmp_path / "x.npz", most_bytes=1_000_000) as archive:
        with pytest.raises(ValueError, match="bomb: an array of 4000000 bytes, more than the 1000000"):
            archive.read("bomb")
        with pytest.raises(ValueError, match="small: shape 3, where 2x2 is needed"):
            archive.read("small", (2, 2))
        with pytest.raises(ValueError, match=r"^none: it has no none"):
            archive.read("none")
        assert read == []
        assert archive.read("small", (3,)).tolist() == [0, 1, 2]


@pytest.mark.parametrize("damage", ["cut", "flipped", "no archive", "empty"])
def test_damaged_archives(tmp_path, damage):
    path = tmp_path / "x.npz"
    np.savez_compressed(path, a=np.random.default_rng(0).random(1000))
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[200:220] = bytes(20)
    path.write_bytes({"cut": content[:500], "flipped": content, "no archive": b"x" * 500, "empty": b""}[damage])
    with pytest.raises(ValueError), arrays.archive(path) as archive:
        archive.read("a")


def test_a_missing_file_is_the_systems_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        arrays.read(tmp_path / "none.npy")
    with pytest.raises(FileNotFoundError), arrays.archive(tmp_path / "none.npz"):
        pass
