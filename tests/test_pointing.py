"""The pointing game, on maps whose maxima are known."""

import numpy as np
import pytest

import pointing


def maps_with_maxima(*places, cells=4):
    """Maps [F, cells, cells] of zeros with one maximum each: (row, column, value)."""
    maps = np.zeros((len(places), cells, cells))
    for frame, (y, x, value) in zip(maps, places, strict=True):
        frame[y, x] = value
    return maps


def mask_of(n_frames, frames, rows, columns, size=8):
    """bool [n_frames, size, size]: a box in some frames."""
    mask = np.zeros((n_frames, size, size), bool)
    mask[frames, rows, columns] = True
    return mask


def test_the_maximum_of_the_clip_and_that_of_each_frame():
    # Cell (0, 0) of 4 x 4 covers pixels 0 and 1 of 8; the thing is on pixels 0 to 1, in the first two of three frames.
    mask = mask_of(3, slice(0, 2), slice(0, 2), slice(0, 2))
    maps = maps_with_maxima((0, 0, 1.0), (3, 3, 2.0), (0, 0, 0.5))
    score = pointing.score_word(maps, mask)
    assert score["clip"] == 0  # the highest, 2, lies beside it
    assert score["frame"] == 0.5  # one of the two frames in which it is seen
    assert score["clip_chance"] == pytest.approx(2 * 4 / (3 * 64))
    assert score["frame_chance"] == pytest.approx(4 / 64)
    maps[0, 0, 0] = 3
    assert pointing.score_word(maps, mask)["clip"] == 1


def test_a_maximum_where_the_thing_is_not_there_is_a_miss():
    mask = mask_of(2, 0, slice(0, 8), slice(0, 8))
    assert pointing.score_word(maps_with_maxima((0, 0, 1.0), (0, 0, 2.0)), mask)["clip"] == 0
    assert pointing.score_word(maps_with_maxima((0, 0, 2.0), (0, 0, 1.0)), mask)["clip"] == 1


def test_the_centre():
    mask = mask_of(2, 1, slice(4, 5), slice(4, 5))
    score = pointing.score_word(maps_with_maxima((0, 0, 1.0), (0, 0, 1.0)), mask)
    assert score["clip_centre"] == 0.5
    assert score["frame_centre"] == 1


def test_negative_maps_outside_the_box_never_win():
    maps = maps_with_maxima((0, 0, 4.0)) - 5  # as log-probabilities: the box's edge is -1, all else -5
    mask = mask_of(1, 0, slice(2, 4), slice(2, 4))
    assert pointing.score_word(maps, mask, box=(2, 2, 6, 6))["clip"] == 1  # the cell (0, 0) begins at pixel 2


def test_a_thing_that_is_never_seen_is_not_scored():
    assert pointing.score_word(maps_with_maxima((0, 0, 1.0)), np.zeros((1, 8, 8), bool)) is None


def test_average():
    one, other = (dict.fromkeys(pointing.SCORES, value) for value in (0.0, 0.5))
    assert pointing.average([one, other]) == {"n": 2} | dict.fromkeys(pointing.SCORES, 0.25)
