"""Deletion and insertion, on a captioner whose log q is what the test says."""

import numpy as np
import pytest

from evaluation import faithfulness


class Given:
    """A picture of 2 x 2 cells; log q of word t under a mask is what `worth` [T, C] gives for the cells there.

    It saturates: what the cells are worth in all counts by its square root.
    """

    shape = 2, 2

    def __init__(self, worth):
        self.worth = np.asarray(worth, float)

    def log_q(self, masks, word_ids):
        self.n_asked = len(masks)
        return np.sqrt(masks @ self.worth.T)


def test_a_finer_map_is_averaged_to_the_cells():
    fine = np.array([[9.0, 0, 1, 1], [0, 0, 1, 2]])
    assert faithfulness.at_cells(fine, (1, 2)).tolist() == [[2.25, 1.25]]
    # Three columns to two cells: the middle one belongs half to each.
    assert faithfulness.at_cells(np.array([[1.0, 9, 2]]), (1, 2)) == pytest.approx(np.array([[11, 13]]) / 3)


def test_orders_by_hand():
    forward, backward = faithfulness.orders(np.array([0.1, 0.9, 0.9, 0.5]))
    assert forward.tolist() == [1, 2, 3, 0] and backward.tolist() == [2, 1, 3, 0]


def test_masks_by_hand(monkeypatch):
    monkeypatch.setattr(faithfulness, "N_STEPS", 2)
    rows = ["1111", "0011", "0000", "0000", "1100", "1111"]  # they go, and they come
    assert faithfulness.masks_of([0, 1, 2, 3]).tolist() == [[cell == "1" for cell in row] for row in rows]


def test_faithfulness_by_hand(monkeypatch):
    """Of two maps that are asked for together, and of two words; each mask is asked for once."""
    monkeypatch.setattr(faithfulness, "N_STEPS", 2)
    scene, map_ = Given([[9, 7, 0, 0], [0, 0, 0, 0]]), np.array([[2.0, 1.0], [-1.0, 0.0]])
    found = faithfulness.faithfulness(scene, [5, 6], [([0], map_), ([0], -map_), ([0, 1], map_)])
    assert found == pytest.approx([4 / 3, -4 / 3, 2 / 3])
    assert scene.n_asked == 4  # all, none, the first two, the last two


def test_what_says_nothing_has_none():
    scene = Given([[1, 1, 1, 30]])
    assert faithfulness.faithfulness(scene, [5], [([0], np.ones((2, 2)))]) == pytest.approx([0], abs=1e-9)
    random = [np.random.default_rng(seed).random((2, 2)) for seed in range(200)]
    found = faithfulness.faithfulness(scene, [5], [([0], map_) for map_ in random])
    assert np.mean(found) == pytest.approx(0, abs=0.3)
    assert faithfulness.faithfulness(scene, [5], [([0], np.array([[0, 0], [0, 1]]))])[0] > 2
