"""Does a map lie on the thing that the word names? Measures of raw maps, each a share between 0 and 1.

pointing: whether the map's maximum lies on the thing (the pointing game: Zhang et al., ECCV 2016); of equal ones the
share that does. pointing_15: 15 pixels beside the thing count as well.
correctness: the share of the map, scaled to [0, 1] by equation (7), that lies on the thing (attention correctness: Liu
et al., AAAI 2017).
auc: how often a place on the thing has a higher value than one beside it; the area under the ROC of the places.

And of clips, temporal: the share of the word's curve over the frames that falls into the time in which the thing is
there, or does what the word says.
The frame's centre and chance are scored beside the maps: what a random place, a flat map or a flat curve gets.
"""

import numpy as np
import scipy.stats

from vision import geometry

TOLERANCE = 15  # pixels of the photograph beside the thing that `pointing_15` forgives
SIDE = 50  # places a side at which a picture is compared with the map


def share_inside(values, inside):
    """The share of `values`, scaled from their minimum 0 to their maximum 1, that is `inside` (bool, same shape).

    Of equal values it is the share of the places inside; nan where there is none.
    """
    if not inside.any():
        return float("nan")
    low = values.min()
    weights = values - low if values.max() > low else np.ones_like(values)
    return float(weights[inside].sum() / weights.sum())


def area_under_roc(values, inside):
    """How often one of the `values` inside is higher than one outside, an equal one counting half.

    values and inside (bool) of one shape; nan where all places are inside, or none.
    """
    n_inside, n_outside = inside.sum(), (~inside).sum()
    if not n_inside or not n_outside:
        return float("nan")
    ranks = scipy.stats.rankdata(values)[inside.ravel()]  # 1 for the lowest; equals share theirs
    return float((ranks.sum() - n_inside * (n_inside + 1) / 2) / (n_inside * n_outside))


# Photographs: a map [Gy, Gx], and a region of grounding.py


def _places():
    """The centres of SIDE x SIDE equal parts of a picture, in shares of its height and width: two of [SIDE, SIDE]."""
    middle = (np.arange(SIDE) + 0.5) / SIDE
    return np.meshgrid(middle, middle, indexing="ij")


def covered(region):
    """Which of the places lie on a region: bool [SIDE, SIDE]; their mean is the share of the picture that it takes."""
    return region.distance(*_places()) == 0


def at_places(maps, height, width, box, fill=-np.inf):
    """Maps [..., Gy, Gx] over `box` of a picture of height x width, in pixels -> values [..., SIDE, SIDE].

    The places are the centres of SIDE x SIDE equal parts of the picture; those beside the box are `fill`.
    """
    rows, columns = SIDE / height, SIDE / width
    top, left, bottom, right = box
    return geometry.enlarge(maps, SIDE, SIDE, (top * rows, left * columns, bottom * rows, right * columns), fill)


def _map_scores(values, inside):
    """correctness and auc of values that are -inf where there is no map: the least that there is."""
    there = np.isfinite(values)
    values = np.where(there, values, values[there].min() if there.any() else 0)
    return {"correctness": share_inside(values, inside), "auc": area_under_roc(values, inside)}


def _hits(distance):
    return {"pointing": float(np.mean(distance == 0)), "pointing_15": float(np.mean(distance <= TOLERANCE))}


def maxima(raw_map, height, width, box=None):
    """Where the maximum of a map [Gy, Gx] lies in a picture: y [n] and x [n], in shares of its height and width.

    A map that is enlarged by linear interpolation has its maximum at the centre of a cell; of a flat map, every cell
    is one. `box` (top, left, bottom, right), in pixels, is what the cells cover, by default the whole picture.
    """
    rows, columns = np.nonzero(raw_map == raw_map.max())
    top, left, bottom, right = box or geometry.box_whole(height, width)
    y = top + (rows + 0.5) / raw_map.shape[0] * (bottom - top)
    x = left + (columns + 0.5) / raw_map.shape[1] * (right - left)
    return y / height, x / width


def score_map(raw_map, region, height, width, box=None):
    """Score a map [Gy, Gx] over a photograph of height x width pixels against a region -> dict of scores.

    They are pointing, pointing_15, correctness and auc.
    `box`: as for `maxima`. Nothing is salient beside it.
    """
    box = box or geometry.box_whole(height, width)
    hits = _hits(region.distance(*maxima(raw_map, height, width, box)))
    return hits | _map_scores(at_places(raw_map, height, width, box), covered(region))


def score_region(region):
    """What needs no map -> {"centre": ..., "chance": ...}, dicts of those scores of `score_map` that they have.

    pointing by chance is the share of the photograph that the region takes.
    """
    distance = region.distance(*_places())
    chance = _hits(distance)
    return {
        "centre": _hits(region.distance(0.5, 0.5)),
        "chance": chance | {"correctness": chance["pointing"] or float("nan"), "auc": 0.5},
    }


def share_cut_off(region, height, width, box):
    """The share of a region that lies beside the `box`, in places; nan where the region is between all of them."""
    inside = covered(region)
    seen = np.isfinite(at_places(np.zeros((1, 1)), height, width, box))
    return float(np.mean(~seen[inside])) if inside.any() else float("nan")


# Clips: maps [F, Gy, Gx], masks of what the word names [F, H, W]


def score_clip(maps, mask, when):
    """Score the maps [F, Gy, Gx] of one word of one clip -> dict of scores.

    They are pointing, pointing_frame, correctness, auc and temporal.
    mask: bool [F, H, W], not empty; when: bool [F], the frames in which the thing is there, or does what the word says.
    pointing: the maximum over all frames and pixels; pointing_frame: each frame's own, over the frames in which the
    thing can be seen; temporal: of the maps' means over the cells.
    """
    _, height, width = mask.shape
    highest = maps.max(axis=(1, 2))  # [F]
    hits = np.array([_share_on(*frame) for frame in zip(maps, mask, strict=True)])  # [F], of each frame's own maximum
    every = -(-height // SIDE), -(-width // SIDE)
    pixels = geometry.enlarge(maps, height, width, every=every)  # [F, h, w]: of every sixth row and column
    some = slice(None), *(slice(None, None, step) for step in every)
    return {
        "pointing": float(hits[highest == highest.max()].mean()),  # of one frame, unless several are the same
        "pointing_frame": float(hits[mask.any(axis=(1, 2))].mean()),
        **_map_scores(pixels, mask[some]),
        "temporal": share_inside(maps.mean(axis=(1, 2)), when),
    }


def _share_on(raw_map, mask):
    """The share of a map's maxima [Gy, Gx] that lie on a mask [H, W]."""
    height, width = mask.shape
    y, x = maxima(raw_map, height, width)
    return mask[(y * height).astype(int), (x * width).astype(int)].mean()


def score_mask(mask, when):
    """As `score_region`, of a word of a clip; mask and when as for `score_clip`."""
    _, height, width = mask.shape
    centre, area = mask[:, height // 2, width // 2], mask.mean(axis=(1, 2))  # [F]
    seen = mask.any(axis=(1, 2))
    chance = {"pointing": area.mean(), "pointing_frame": area[seen].mean(), "correctness": area.mean(), "auc": 0.5}
    return {
        "centre": {"pointing": float(centre.mean()), "pointing_frame": float(centre[seen].mean())},
        "chance": {name: float(value) for name, value in chance.items()} | {"temporal": float(when.mean())},
    }


# Averages over many


def average(scores, groups, kinds=None, n_samples=1000, seed=0):
    """The mean of each score over a list of dicts, with a 95 % interval -> dict of name -> (mean, low, high).

    groups [n]: the picture that each comes from. The interval is a bootstrap over the pictures: words of one picture
    are not independent. With kinds [n] it is the plain mean of the kinds' means. nan counts nothing; a score that
    nobody has is left out.
    """
    pictures, picture = np.unique(groups, return_inverse=True)
    _, kind = np.unique(kinds if kinds is not None else np.zeros(len(scores)), return_inverse=True)
    n = len(pictures)
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), n_samples)  # how often each: [samples, n]
    drawn = np.concatenate([np.ones((1, n), int), drawn])  # the first is the data set itself
    found = {}
    for name in dict.fromkeys(name for score in scores for name in score):
        values = np.array([score.get(name, np.nan) for score in scores])
        there = np.isfinite(values)
        of_kinds = []
        for number in np.unique(kind[there]):
            chosen = there & (kind == number)
            sums = np.bincount(picture[chosen], values[chosen], n)
            counts = drawn @ np.bincount(picture[chosen], minlength=n)  # [1 + samples]
            of_kinds.append(np.where(counts > 0, drawn @ sums / np.maximum(counts, 1), np.nan))
        if of_kinds:
            known = np.isfinite(of_kinds)  # a sample can be without a kind
            means = np.where(known, of_kinds, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
            means = means[known.any(axis=0)]
            found[name] = (float(means[0]), *np.quantile(means[1:], (0.025, 0.975)).tolist())
    return found
