"""Does the captioner depend on what a map says it depends on? Deletion and insertion (Petsiuk et al., BMVC 2018).

The cells of a picture are taken away one after another, the most salient first: log q of the word should fall soon. And
they are put back into a grey picture in the same order: it should rise soon. The mean difference of the two along the
way is the map's faithfulness, once that of a random order is subtracted: in nats, 0 for a map that says nothing.
"""

import math

import numpy as np

N_STEPS = 16  # of equal numbers of cells, from none to all
SEED = 0  # of the random order


def ranks_of(raw_map, shape):
    """The rank of each cell of a grid of `shape` (Gy, Gx), the most salient 0 -> int [C]; of equals the first is first.

    A map [gy, gx] of another number of cells is averaged to theirs, each cell by what it shares with the others.
    """
    fine = [math.lcm(*sizes) for sizes in zip(raw_map.shape, shape, strict=True)]
    parts = raw_map.repeat(fine[0] // raw_map.shape[0], axis=0).repeat(fine[1] // raw_map.shape[1], axis=1)
    cells = parts.reshape(shape[0], fine[0] // shape[0], shape[1], fine[1] // shape[1]).mean(axis=(1, 3))  # [Gy, Gx]
    return np.argsort(np.argsort(-cells.ravel(), kind="stable"), kind="stable")


def curves(scene, word_ids, steps, ranks):
    """The mean log q of some words while the cells go, and while they come -> deletion, insertion [N_STEPS + 1].

    scene: attribution.Scene; word_ids [T]; steps: which of the words; ranks [C], as from `ranks_of`.
    """
    n_first = np.linspace(0, len(ranks), N_STEPS + 1)
    first = ranks < n_first[:, None]  # [N_STEPS + 1, C]: the cells of the first so many
    log_q = scene.log_q(np.concatenate([~first, first]), word_ids)[:, steps].mean(axis=1)
    return np.split(log_q, 2)


def area_between(scene, word_ids, steps, ranks):
    """Insertion minus deletion, averaged along the way: in nats."""
    deletion, insertion = curves(scene, word_ids, steps, ranks)
    return float((insertion - deletion).mean())


def random_ranks(n_cells):
    """The same random order every time -> int [C]."""
    return np.random.default_rng(SEED).permutation(n_cells)
