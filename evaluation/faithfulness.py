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


def masks_of(order):
    """What there is while the cells of an order [C] go, and while they come -> bool [2 * (N_STEPS + 1), C]."""
    ranks = np.argsort(order)
    n_first = np.round(np.linspace(0, len(ranks), N_STEPS + 1))
    first = ranks < n_first[:, None]  # [N_STEPS + 1, C]
    return np.concatenate([~first, first])


def faithfulness(scene, word_ids, asked):
    """Insertion minus deletion, averaged along the way, of maps of some words -> list, in nats.

    scene: attribution.Scene; word_ids [T]; asked: pairs of the words' steps and a map [gy, gx]. All are asked for
    together, each mask once.
    """
    ways = []  # of each map its one or two orders' masks
    for _, raw_map in asked:
        forward, backward = orders(at_cells(raw_map, scene.shape).ravel())
        ways.append([masks_of(order) for order in ((forward, backward) if (forward != backward).any() else (forward,))])
    every = np.concatenate([masks for way in ways for masks in way])
    _, first, number = np.unique(np.packbits(every, axis=1), axis=0, return_index=True, return_inverse=True)
    log_q = iter(np.split(scene.log_q(every[first], word_ids)[number.ravel()], len(every) // (2 * (N_STEPS + 1))))
    return [
        float(np.mean([_difference(next(log_q)[:, steps]) for _ in way]))
        for (steps, _), way in zip(asked, ways, strict=True)
    ]


def _difference(log_q):
    """The mean of insertion minus deletion, of the mean log q of some words under the masks of an order [M, S]."""
    deletion, insertion = np.split(log_q.mean(axis=1), 2)
    return (insertion - deletion).mean()
