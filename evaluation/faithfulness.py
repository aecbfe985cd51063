"""Does the captioner depend on what a map says it depends on? Deletion and insertion (Petsiuk et al., BMVC 2018).

The cells of a picture are taken away one after another, the most salient first: log q of the word should fall soon. And
they are put back into a grey picture in the same order: it should rise soon. The mean difference of the two along the
way is the map's faithfulness, in nats. A random order has 0 on average, since the reverse of an order has its negative;
so has a map that says nothing, whose cells go in one order and in its reverse.
"""

import math

import numpy as np

N_STEPS = 16  # of equal numbers of cells, from none to all


def at_cells(raw_map, shape):
    """A map [gy, gx] averaged to a grid of `shape` (Gy, Gx): each cell by what it shares with the map's."""
    fine = [math.lcm(*sizes) for sizes in zip(raw_map.shape, shape, strict=True)]
    parts = raw_map.repeat(fine[0] // raw_map.shape[0], axis=0).repeat(fine[1] // raw_map.shape[1], axis=1)
    return parts.reshape(shape[0], fine[0] // shape[0], shape[1], fine[1] // shape[1]).mean(axis=(1, 3))


def orders(values):
    """The cells [C], the most salient first: of equals the first comes first, and the other way round."""
    forward = np.argsort(-values, kind="stable")
    backward = len(values) - 1 - np.argsort(-values[::-1], kind="stable")
    return forward, backward


def curves(scene, word_ids, steps, order):
    """The mean log q of some words while the cells go, and while they come -> deletion, insertion [N_STEPS + 1].

    scene: attribution.Scene; word_ids [T]; steps: which of the words; order [C]: the numbers of the cells.
    """
    ranks = np.argsort(order)
    n_first = np.round(np.linspace(0, len(ranks), N_STEPS + 1))
    first = ranks < n_first[:, None]  # [N_STEPS + 1, C]
    log_q = scene.log_q(np.concatenate([~first, first]), word_ids)[:, steps].mean(axis=1)
    return np.split(log_q, 2)


def faithfulness(scene, word_ids, steps, raw_map):
    """Insertion minus deletion, averaged along the way, of a map [gy, gx] of some words: in nats."""
    forward, backward = orders(at_cells(raw_map, scene.shape).ravel())
    differences = []
    for order in (forward, backward) if (forward != backward).any() else (forward,):
        deletion, insertion = curves(scene, word_ids, steps, order)
        differences.append((insertion - deletion).mean())
    return float(np.mean(differences))
