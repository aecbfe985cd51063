"""The pointing game: does the maximum of a word's map lie on the thing that the word names? (Zhang et al., ECCV 2016.)

Maps are raw, float [F, Gy, Gx]; masks say where the thing is, bool [F, H, W]; of photographs [Gy, Gx] and a region of
grounding.py. Every score is a share between 0 and 1.
"""

import numpy as np

import geometry

SCORES = ("clip", "clip_centre", "clip_chance", "frame", "frame_centre", "frame_chance")


def score_word(maps, mask, box=None):
    """Score one word of one clip -> dict of SCORES, or None where the mask is empty throughout.

    clip: whether the maximum over all frames and pixels lies on the thing; frame: the same of each frame's own maximum,
    averaged over the frames in which the thing can be seen. *_centre: what the frame's centre gets, *_chance: a random
    pixel. The maps are enlarged to the mask's pixels first; `box` is what the cells cover, by default the whole frame.
    """
    visible = mask.any(axis=(1, 2))  # [F]
    if not visible.any():
        return None
    n_frames, height, width = mask.shape
    pixels = geometry.enlarge(maps, height, width, box, fill=-np.inf).reshape(n_frames, -1)  # [F, H * W]
    hits = mask.reshape(n_frames, -1)[np.arange(n_frames), pixels.argmax(axis=1)]  # [F], of each frame's own maximum
    centre = mask[:, height // 2, width // 2]  # [F]
    area = mask.mean(axis=(1, 2))  # [F]
    return {
        "clip": float(hits[pixels.max(axis=1).argmax()]),
        "clip_centre": float(centre.mean()),
        "clip_chance": float(area.mean()),
        "frame": float(hits[visible].mean()),
        "frame_centre": float(centre[visible].mean()),
        "frame_chance": float(area[visible].mean()),
    }


PHRASE_SCORES = ("maps", "centre", "chance", "maps_15", "centre_15", "chance_15")
TOLERANCE = 15  # pixels of the photograph beside the thing that the second score of a phrase forgives
CHANCE_GRID = 50  # points a side, for the share of a photograph that a region takes


def score_phrase(raw_map, region, height, width, box=None):
    """Score one map [Gy, Gx] over a photograph of height x width pixels against a region -> dict of scores.

    maps: whether the maximum of the map lies on the region; centre: that of the photograph; chance: the share of the
    photograph that the region takes. The same with "_15" forgive TOLERANCE pixels. `box`: what the cells cover.
    """
    # A map that is enlarged by linear interpolation has its maximum at the centre of a cell.
    cells_y, cells_x = raw_map.shape
    row, column = np.unravel_index(raw_map.argmax(), raw_map.shape)
    top, left, bottom, right = box or geometry.box_whole(height, width)
    y, x = top + (row + 0.5) / cells_y * (bottom - top), left + (column + 0.5) / cells_x * (right - left)
    grid = (np.arange(CHANCE_GRID) + 0.5) / CHANCE_GRID
    distances = {
        "maps": region.distance(y / height, x / width),
        "centre": region.distance(0.5, 0.5),
        "chance": region.distance(*np.meshgrid(grid, grid, indexing="ij")),
    }
    scores = {name: float(np.mean(distance == 0)) for name, distance in distances.items()}
    return scores | {f"{name}_15": float(np.mean(distance <= TOLERANCE)) for name, distance in distances.items()}


def average(scores):
    """The mean of each score over a list of results of one kind, and how many there were."""
    return {"n": len(scores), **{name: float(np.mean([score[name] for score in scores])) for name in scores[0]}}
