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
        return np.sqrt(masks @ self.worth.T)


def test_a_finer_map_is_averaged_to_the_cells():
    fine = np.array([[9.0, 0, 1, 1], [0, 0, 1, 2]])
    assert faithfulness.at_cells(fine, (1, 2)).tolist() == [[2.25, 1.25]]
    # Three columns to two cells: the middle one belongs half to each.
    assert faithfulness.at_cells(np.array([[1.0, 9, 2]]), (1, 2)) == pytest.approx(np.array([[11, 13]]) / 3)


def test_orders_by_hand():
    forward, backward = faithfulness.orders(np.array([0.1, 0.9, 0.9, 0.5]))
    assert forward.tolist() == [1, 2, 3, 0] and backward.tolist() == [2, 1, 3, 0]


def test_curves_by_hand(monkeypatch):
    monkeypatch.setattr(faithfulness, "N_STEPS", 2)
    scene = Given([[4, 0, 5, 0], [0, 16, 0, 0]])
    deletion, insertion = faithfulness.curves(scene, [5, 6], [0], [0, 1, 2, 3])
    assert deletion.tolist() == [3, np.sqrt(5), 0]  # all; without the first two; none
    assert insertion.tolist() == [0, 2, 3]
    _, insertion = faithfulness.curves(scene, [5, 6], [0, 1], [0, 1, 2, 3])
    assert insertion.tolist() == [0, (2 + 4) / 2, (3 + 4) / 2]  # the mean of both words


def test_faithfulness_by_hand(monkeypatch):
    monkeypatch.setattr(faithfulness, "N_STEPS", 2)
    scene = Given([[9, 7, 0, 0]])
    assert faithfulness.faithfulness(scene, [5], [0], np.array([[2.0, 1.0], [-1.0, 0.0]])) == pytest.approx(4 / 3)
    assert faithfulness.faithfulness(scene, [5], [0], -np.array([[2.0, 1.0], [-1.0, 0.0]])) == pytest.approx(-4 / 3)


def test_what_says_nothing_has_none():
    scene = Given([[1, 1, 1, 30]])
    assert faithfulness.faithfulness(scene, [5], [0], np.ones((2, 2))) == pytest.approx(0, abs=1e-9)
    random = [np.random.default_rng(seed).random((2, 2)) for seed in range(200)]
    assert np.mean([faithfulness.faithfulness(scene, [5], [0], map_) for map_ in random]) == pytest.approx(0, abs=0.3)
    assert faithfulness.faithfulness(scene, [5], [0], np.array([[0, 0], [0, 1]])) > 2
