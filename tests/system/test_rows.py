"""Arrays that grow on the disk."""

import numpy as np
import pytest

from system import rows
from system.errors import UserError


@pytest.mark.parametrize("limit", [0, 100, 10**6])
def test_rows_are_what_was_appended(monkeypatch, tmp_path, limit):
    monkeypatch.setattr(rows, "IN_MEMORY", limit)
    expected = np.random.default_rng(0).normal(size=(11, 2, 3))
    stored = rows.Rows(tmp_path)
    for lot in np.split(expected, (1, 1, 6)):
        stored.append(lot)
        assert len(stored) == stored.shape[0]
    assert (stored.shape, stored.dtype, stored.nbytes) == (expected.shape, expected.dtype, expected.nbytes)
    assert stored.is_on_disk == (expected.nbytes > limit)
    for key in (0, -1, slice(3, 9), slice(None, None, 4), [2, 0]):
        np.testing.assert_array_equal(stored[key], expected[key])
    np.testing.assert_array_equal(np.asarray(stored), expected)
    assert not list(tmp_path.iterdir())  # the file has no name that a killed program would leave


def test_rows_of_another_shape_are_refused():
    stored = rows.Rows()
    stored.append(np.zeros((2, 3), np.float32))
    for other in (np.zeros((2, 4), np.float32), np.zeros((2, 3))):
        with pytest.raises(ValueError, match="after float32"):
            stored.append(other)


def test_a_full_disk_is_told(monkeypatch):
    monkeypatch.setattr(rows, "IN_MEMORY", 0)
    with open("/dev/full", "wb", buffering=0) as full:
        monkeypatch.setattr(rows.tempfile, "TemporaryFile", lambda dir: full)
        with pytest.raises(UserError, match="no room for maps of so many frames"):
            rows.Rows().append(np.zeros((2, 3), np.float32))
