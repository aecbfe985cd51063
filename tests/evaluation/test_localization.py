"""Every measure on maps that one can check by eye."""

import numpy as np
import pytest

from datasets.grounding import Boxes
from evaluation import localization
from vision import geometry

FOUR = np.array([[1.0, 2.0], [3.0, 6.0]])


def test_share_inside_by_hand():
    inside = np.array([[False, True], [False, True]])
    assert localization.share_inside(FOUR, inside) == pytest.approx((1 + 5) / (0 + 1 + 2 + 5))
    assert localization.share_inside(FOUR - 9, inside) == pytest.approx(6 / 8)  # log-probabilities are negative
    assert localization.share_inside(np.full((2, 2), 7.0), inside) == 0.5  # says nothing: the area


def test_area_under_roc_by_hand():
    inside = np.array([[False, True], [False, True]])
    assert localization.area_under_roc(FOUR, inside) == 3 / 4  # 2 > 1, 6 > 1, 6 > 3, but 2 < 3
    assert localization.area_under_roc(FOUR, ~inside) == 1 / 4
    assert localization.area_under_roc(np.ones((2, 2)), inside) == 1 / 2
    assert np.isnan(localization.area_under_roc(FOUR, np.ones((2, 2), bool)))


# Photographs


def region(left, top, right, bottom, height=100, width=100):
    return Boxes(np.array([[left, top, right, bottom]]), height, width)


UPPER_RIGHT = np.array([[-3.0, -1.0], [-2.0, -4.0]])  # its maximum is the centre of that cell: (25, 75) of 100 x 100


def test_maxima():
    assert localization.maxima(UPPER_RIGHT, 100, 100) == (0.25, 0.75)
    assert localization.maxima(UPPER_RIGHT, 100, 200, (0, 50, 100, 150)) == (0.25, 125 / 200)
    y, x = localization.maxima(np.array([[5, 5], [0, 5]]), 100, 100)
    assert (y.tolist(), x.tolist()) == ([0.25, 0.25, 0.75], [0.25, 0.75, 0.75])


def test_a_flat_map_gets_what_chance_gets():
    right = region(40, 0, 100, 100)  # over six of ten columns of cells
    found, chance = localization.score_map(np.ones((10, 10)), right, 100, 100), localization.score_region(right)
    assert found["pointing"] == pytest.approx(chance["chance"]["pointing"]) == 0.6
    assert found["correctness"] == pytest.approx(0.6) and found["auc"] == 0.5


def test_a_picture_of_which_the_cells_cover_no_place():
    """Of 500 x 10 pixels the CNN sees a square between two places."""
    box = geometry.box_crop(10, 500)
    found = localization.score_map(UPPER_RIGHT, region(0, 0, 248, 10, 10, 500), 10, 500, box)
    assert found["pointing"] == 0 and found["auc"] == 0.5


@pytest.mark.parametrize(
    "box, strictly, with_tolerance",
    [((50, 0, 100, 50), 1, 1), ((60, 38, 100, 100), 0, 1), ((55, 60, 100, 100), 0, 0)],
    ids=["on it", "13 pixels beside it", "35 pixels beside it"],
)
def test_pointing(box, strictly, with_tolerance):
    score = localization.score_map(UPPER_RIGHT, region(*box), 100, 100)
    assert (score["pointing"], score["pointing_15"]) == (strictly, with_tolerance)


def test_share_and_order_of_a_map_over_a_region():
    """A map that falls from left to right, over the left half and over the right one."""
    falling = np.tile(np.arange(10.0)[::-1], (10, 1))
    left, right = (
        localization.score_map(falling, region(*box), 100, 100) for box in ((0, 0, 50, 100), (50, 0, 100, 100))
    )
    assert (left["auc"], right["auc"]) == (1, 0)
    # Interpolated between the centres of the first and the last cell, and level beyond them.
    assert left["correctness"] == pytest.approx(0.7725, abs=0.01)
    assert left["correctness"] + right["correctness"] == pytest.approx(1)


def test_what_the_cells_do_not_cover_is_never_salient():
    score = localization.score_map(UPPER_RIGHT, region(0, 0, 24, 100), 100, 100, (25, 25, 75, 75))
    assert (score["pointing"], score["correctness"]) == (0, 0)
    assert score["auc"] < 0.5


def test_what_is_cut_off():
    seen = (0, 24, 100, 76)
    assert localization.share_cut_off(region(0, 0, 48, 100), 100, 100, seen) == 0.5
    assert localization.share_cut_off(region(0, 0, 20, 100), 100, 100, seen) == 1
    assert localization.share_cut_off(region(30, 0, 50, 100), 100, 100, seen) == 0
    assert np.isnan(localization.share_cut_off(region(30.2, 30.2, 30.4, 30.4), 100, 100, seen))  # between all places


def test_which_places_a_region_covers():
    boxes = Boxes(np.array([[0, 0, 10, 100], [5, 0, 20, 50]]), 100, 100)  # the second hides behind the first, by half
    found = localization.covered(boxes)
    assert found[0, :10].all() and not found[0, 10:].any() and found.mean() == pytest.approx(0.15)


def test_centre_and_chance():
    found = localization.score_region(region(50, 0, 100, 50))
    assert found["centre"]["pointing"] == 1  # the picture's centre is the region's corner
    assert found["chance"] == {
        "pointing": 0.25,
        "pointing_15": pytest.approx(0.65 * 0.65, abs=0.01),  # but for the rounded corner
        "correctness": 0.25,
        "auc": 0.5,
    }
    found = localization.score_region(region(55, 60, 100, 100))
    assert (found["centre"]["pointing"], found["centre"]["pointing_15"]) == (0, 1)


# Clips


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
    score = localization.score_clip(maps, mask, np.array([True, True, False]))
    assert score["pointing"] == 0  # the highest, 2, lies beside it
    assert score["pointing_frame"] == 0.5  # one of the two frames in which it is seen
    assert score["temporal"] == pytest.approx((0.5 + 1.5) / (0.5 + 1.5 + 0))  # 1, 2 and 0.5, above the least of them
    maps[0, 0, 0] = 3
    assert localization.score_clip(maps, mask, mask.any(axis=(1, 2)))["pointing"] == 1


def test_a_maximum_where_the_thing_is_not_there_is_a_miss():
    mask = mask_of(2, 0, slice(0, 8), slice(0, 8))
    earlier, later = maps_with_maxima((0, 0, 2.0), (0, 0, 1.0)), maps_with_maxima((0, 0, 1.0), (0, 0, 2.0))
    when = np.array([True, False])
    assert localization.score_clip(earlier, mask, when)["pointing"] == 1
    assert localization.score_clip(later, mask, when)["pointing"] == 0
    the_same = localization.score_clip(maps_with_maxima((0, 0, 1.0), (0, 0, 1.0)), mask, when)
    assert the_same["pointing"] == the_same["temporal"] == 0.5


@pytest.mark.parametrize("row, column", [(0, 0), (0, 2), (2, 0), (3, 3)])
def test_the_maximum_of_a_clip_is_in_the_middle_of_its_cell(row, column):
    """Cells of 8 x 8 pixels; the thing is where the middle of one is, away from its borders."""
    middle = slice(8 * row + 3, 8 * row + 6), slice(8 * column + 3, 8 * column + 6)
    score = localization.score_clip(
        maps_with_maxima((row, column, 1.0)), mask_of(1, 0, *middle, size=32), np.array([True])
    )
    assert score["pointing"] == score["pointing_frame"] == 1


def test_share_and_order_of_the_maps_of_a_clip():
    """In one of two frames the thing is everywhere, and the map is high there."""
    mask, maps, when = mask_of(2, 0, slice(0, 8), slice(0, 8)), np.zeros((2, 4, 4)), np.array([True, False])
    maps[0] = 1
    high, low = localization.score_clip(maps, mask, when), localization.score_clip(-maps, mask, when)
    for score in ("correctness", "auc", "temporal"):
        assert (high[score], low[score]) == (1, 0)


def test_centre_and_chance_of_a_clip():
    mask = mask_of(2, 1, slice(4, 5), slice(4, 5))
    found = localization.score_mask(mask, np.array([False, True]))
    assert found["centre"] == {"pointing": 0.5, "pointing_frame": 1}
    chance = {"pointing": 1 / 128, "pointing_frame": 1 / 64, "correctness": 1 / 128, "auc": 0.5, "temporal": 0.5}
    assert found["chance"] == chance


# Averages


def test_average_and_its_interval():
    """Words of one picture stand and fall together: ten pictures, five of them with ones only."""
    scores = [{"pointing": float(picture < 5), "auc": np.nan} for picture in range(10) for _ in range(3)]
    found = localization.average(scores, [picture for picture in range(10) for _ in range(3)])
    mean, low, high = found["pointing"]
    assert mean == 0.5 and "auc" not in found
    assert (low, high) == (pytest.approx(0.2, abs=0.1), pytest.approx(0.8, abs=0.1))
    apart, *limits = localization.average(scores, range(30))["pointing"]
    assert apart == 0.5 and limits[0] > low and limits[1] < high  # as if nothing depended on the picture
    assert localization.average([{"a": 1.0}, {}, {"a": np.nan}], [0, 1, 2]) == {"a": (1, 1, 1)}


def test_average_of_kinds():
    scores = [{"a": value} for value in (0.0, 0.0, 0.0, 1.0)]
    mean, low, high = localization.average(scores, [0, 1, 2, 3], ["dog", "dog", "dog", "cat"])["a"]
    assert (mean, low, high) == (0.5, 0, 0.5)  # a third of the samples is without the cat
