"""Deletion and insertion, on a captioner whose log q is what the test says."""

import numpy as np
import pytest

import faithfulness


class Linear:
    """log q of word t under a mask is the sum of what its cells that are there are worth: values [T, C]."""

    def __init__(self, values):
        self.values = np.asarray(values, float)

    def log_q(self, masks, word_ids):
        return masks @ self.values.T


def test_ranks_by_hand():
    ranks = faithfulness.ranks_of(np.array([[0.1, 0.9], [0.9, 0.5]]), (2, 2))
    assert ranks.tolist() == [3, 0, 1, 2]


def test_a_finer_map_is_averaged_to_the_cells():
    fine = np.array([[9.0, 0, 1, 1], [0, 0, 1, 2]])  # cells of 2 x 2: 2.25 and 1.25
    assert faithfulness.ranks_of(fine, (1, 2)).tolist() == [0, 1]
    # Three columns to two cells: the middle one belongs to both.
    assert faithfulness.ranks_of(np.array([[1.0, 9, 2]]), (1, 2)).tolist() == [1, 0]


def test_curves_by_hand(monkeypatch):
    monkeypatch.setattr(faithfulness, "N_STEPS", 2)
    scene = Linear([[4, 1, 2, 0], [8, 0, 0, 0]])
    deletion, insertion = faithfulness.curves(scene, [5, 6], [0], np.array([0, 2, 1, 3]))
    assert deletion.tolist() == [7, 1, 0]  # all; without the first two, 4 and 2; none
    assert insertion.tolist() == [0, 6, 7]
    deletion, _ = faithfulness.curves(scene, [5, 6], [0, 1], np.array([0, 2, 1, 3]))
    assert deletion.tolist() == [7.5, 0.5, 0]  # the mean of both words


def test_the_right_order_is_the_most_faithful():
    values = np.random.default_rng(0).normal(0, 1, 64)
    scene, maps = Linear([values]), values.reshape(8, 8)
    areas = [
        faithfulness.area_between(scene, [0], [0], ranks)
        for ranks in (
            faithfulness.ranks_of(maps, (8, 8)),
            faithfulness.random_ranks(64),
            faithfulness.ranks_of(-maps, (8, 8)),
        )
    ]
    assert areas[0] > areas[1] + 1 and areas[2] < areas[1] - 1
    assert areas[0] == pytest.approx(-areas[2], abs=1e-9)
    assert sorted(faithfulness.random_ranks(64)) == list(range(64))
