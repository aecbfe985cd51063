"""Damage: what a file becomes when bits flip, ends are cut off, or somebody writes it who means no good.

Every change is drawn by a generator of random numbers, so that its seed gives it again.
"""

import io
import json
import struct
import zipfile

import numpy as np

DEEP, LONG = "@deep@", "@long@"  # what stands in JSON for that which Python cannot write

ODD_TEXTS = (
    *("", " ", "\0", "../../etc/passwd", "/etc/passwd", "a/b", "..", "\x1b]0;title\x07", "\u202eabc", "\ud83d"),
    *("e\u0301", "\u200b", "x" * 100_000, "\u72d7", "<script>", "NaN", "-1", "%s%n", "a\nb", "'; --"),
)
ODD_NUMBERS = (0, -1, 1, 2, 2**31 - 1, 2**31, 2**63, 10**30, 1e308, -1e-300, 0.5, float("nan"), float("inf"))
ODD_VALUES = (None, True, False, [], {}, [[]], [None], {"": None}, DEEP, LONG, *ODD_TEXTS, *ODD_NUMBERS)


def pick(rng, choices):
    return choices[rng.integers(len(choices))]


# Bytes


def _place(rng, data):
    return int(rng.integers(len(data) + 1))


def _chunk(rng, data):
    start = _place(rng, data)
    return start, min(len(data), start + int(rng.integers(1, 1 + max(1, len(data) // 4))))


def flip_bit(rng, data):
    if data:
        data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))


def set_bytes(rng, data):
    start = _place(rng, data)
    data[start : start + 4] = struct.pack(pick(rng, "<>") + "I", pick(rng, (0, 1, 2**16, 2**31 - 1, 2**32 - 1)))


def cut(rng, data):
    del data[_place(rng, data) :]


def remove(rng, data):
    start, end = _chunk(rng, data)
    del data[start:end]


def repeat(rng, data):
    start, end = _chunk(rng, data)
    data[start:start] = data[start:end]


def insert(rng, data):
    start = _place(rng, data)
    data[start:start] = rng.integers(0, 256, int(rng.integers(1, 64)), np.uint8).tobytes()


def exchange(rng, data):
    (a, b), (c, d) = sorted((_chunk(rng, data), _chunk(rng, data)))
    if b <= c:
        data[a:d] = data[c:d] + data[b:c] + data[a:b]


def write_number(rng, data):
    """Another number in the place of one in digits."""
    places = [k for k, byte in enumerate(data[:10_000]) if 48 <= byte < 58]
    if places:
        k = pick(rng, places)
        data[k : k + 1] = str(pick(rng, ODD_NUMBERS)).encode()


def empty(rng, data):
    data[:] = pick(rng, (b"", b"\0" * 1000, b"<html>404</html>", b"PK\x03\x04", b"\x80\x02."))


BYTES = (flip_bit, flip_bit, set_bytes, set_bytes, cut, remove, repeat, insert, exchange, write_number, empty)


def bytes_of(rng, content):
    """One to four changes of bytes -> bytes."""
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 5))):
        pick(rng, BYTES)(rng, data)
    return bytes(data)


# Text


def text_of(rng, content):
    """Lines lost, doubled, exchanged or with odd text in them; or bytes."""
    if rng.random() < 0.5:
        return bytes_of(rng, content)
    lines = content.decode(errors="replace").split("\n")
    k = int(rng.integers(len(lines)))
    change = int(rng.integers(5))
    if change == 0:
        del lines[k]
    elif change == 1:
        lines[k:k] = lines[k : k + 1] * 3
    elif change == 2:
        lines[k] = pick(rng, ODD_TEXTS)
    else:
        place = int(rng.integers(len(lines[k]) + 1))
        odd = pick(rng, (*ODD_TEXTS, "9" * 5000, "\t", "#", "[/EN#1/x y]", "\ufeff", "\r"))
        lines[k] = lines[k][:place] + odd + lines[k][place:]
    ending = pick(rng, ("\n", "\n", "\r\n", "\r"))
    return ending.join(lines).encode(errors="surrogatepass")


# JSON


def _nodes(value, found):
    """All (container, key) of a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in items:
        found.append((value, key))
        _nodes(one, found)
    return found


def json_of(rng, content):
    """A value in it replaced by an odd one, lost or doubled; or its text changed."""
    if rng.random() < 0.2:
        return text_of(rng, content)
    value = json.loads(content)
    for _ in range(int(rng.integers(1, 3))):
        nodes = _nodes(value, [])
        if not nodes or rng.random() < 0.05:
            value = pick(rng, ODD_VALUES)
            continue
        container, key = pick(rng, nodes)
        change = int(rng.integers(6))
        if change == 0:
            del container[key]
        elif change == 1 and isinstance(container, list):
            container.insert(key, container[key])
        elif change == 2 and isinstance(container, dict):
            container[pick(rng, ODD_TEXTS)] = container.pop(key)
        else:
            container[key] = pick(rng, ODD_VALUES)
    text = json.dumps(value).replace(json.dumps(DEEP), "[" * 100_000 + "]" * 100_000)
    return text.replace(json.dumps(LONG), "9" * 5000).encode()


# NumPy's files


def npy_of(rng, content):
    """A header that claims something else, another array, or other bytes."""
    change = int(rng.integers(4))
    if change == 0:
        return bytes_of(rng, content)
    if change == 1:
        header, separator, data = content.partition(b"}")
        return bytes_of(rng, header) + separator + data
    array = np.load(io.BytesIO(content))
    odd = (
        lambda: array.astype(
            pick(rng, ("U3", "O") if array.dtype.kind == "U" else ("f2", "f8", "i4", "U3", "O", "c8", "?"))
        ),
        lambda: array[None],
        lambda: array.ravel(),
        lambda: array[:0],
        lambda: np.full_like(array, pick(rng, (0, 1)), dtype=np.float32) * np.float32("nan"),
        lambda: np.concatenate([np.atleast_1d(array)] * 2),
        lambda: np.array(pick(rng, (3, "text", 1e308))),
        lambda: np.zeros((1 << 12, 1 << 12), np.uint8),
    )
    file = io.BytesIO()
    np.save(file, pick(rng, odd)())  # objects too, which NumPy pickles: to be refused
    return file.getvalue()


def npz_of(rng, content):
    """A member changed, lost, or put beside others; or other bytes."""
    if rng.random() < 0.3:
        return bytes_of(rng, content)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = pick(rng, sorted(members))
    change = int(rng.integers(6))
    if change == 0:
        del members[name]
    elif change == 1:
        members["more.npy"] = npy_of(rng, members[name])
    else:
        members[name] = npy_of(rng, members[name])
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", pick(rng, (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


BY_ENDING = {
    ".json": json_of,
    ".npz": npz_of,
    ".npy": npy_of,
    **dict.fromkeys((".txt", ".token", ".tsv", ".xml"), text_of),
}


def change(rng, name, content):
    """What a file becomes: changes that suit its ending, or its bytes -> bytes."""
    ending = name[name.rfind(".") :]
    return BY_ENDING.get(ending, bytes_of)(rng, content)
