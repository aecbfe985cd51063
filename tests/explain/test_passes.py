"""(7) and (8) in passes over maps on the disk: the numbers of those in memory, to the last bit."""

import numpy as np
import pytest

import saliency
from explain import passes
from system import rows


@pytest.fixture(params=[0, 10**9], ids=["on disk", "in memory"])
def limit(request, monkeypatch):
    monkeypatch.setattr(rows, "IN_MEMORY", request.param)
    return request.param


def in_rows(maps, lots=(1, 4, 2)):
    stored, start = rows.Rows(), 0
    for k in range(len(maps)):
        if start < len(maps):
            stored.append(maps[start : start + lots[k % len(lots)]])
            start += lots[k % len(lots)]
    return stored


@pytest.mark.parametrize("n_frames, n_words", [(1, 3), (2, 1), (7, 2), (50, 1), (61, 5), (333, 1), (333, 4)])
@pytest.mark.parametrize("frames_at_once", [1, 3, 13, 1000])
@pytest.mark.parametrize("name", saliency.NORMALIZERS)
def test_parts_of_any_size(limit, monkeypatch, name, n_frames, n_words, frames_at_once):
    maps = np.random.default_rng(n_frames).normal(-4, 3, (n_frames, n_words, 5, 7)).astype(np.float32)
    maps[:, 0] = maps[:, 0] if n_words == 1 else -1  # a word that does not depend on what is seen
    monkeypatch.setattr(rows, "AT_ONCE", frames_at_once * maps[0].nbytes)
    stored = in_rows(maps)
    assert rows.spans(stored)[0] == (0, min(frames_at_once, n_frames))
    expected = saliency.NORMALIZERS[name](maps)
    found = passes.normalized(stored, name)
    assert found.is_on_disk == (limit == 0) and found.dtype == expected.dtype
    np.testing.assert_array_equal(np.asarray(found), expected)
    np.testing.assert_array_equal(np.asarray(stored), maps)


def test_the_reach_of_the_gaussian():
    pulse = np.zeros((41, 1, 3, 3), np.float32)
    pulse[20] = 1
    seen = np.flatnonzero(saliency.smooth_maps(pulse)[:, 0, 1, 1])
    assert (seen[0], seen[-1]) == (20 - saliency.REACH, 20 + saliency.REACH)
