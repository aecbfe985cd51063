"""A page of examples: every method's map of the same phrases side by side, its maximum marked as hit or miss."""

import itertools

import numpy as np
import scipy.ndimage
from PIL import Image, ImageDraw

import saliency
from evaluation import localization, scoring
from explain import attribution, overlay
from vision import writing

N_USUAL, N_WORST = 10, 10
N_BESIDE = 4  # so many methods at most leave room for the worst beside the usual ones
TILE_HEIGHT, TILE_WIDTH = 150, overlay.MIN_TILE  # pixels
HIT, MISS, OUTLINE = (60, 220, 90), (255, 60, 60), (255, 255, 255)


def choose(results, method):
    """The numbers of N_USUAL phrases, evenly spread over the data set, and of the N_WORST that a method finds least.

    The worst are those of the lowest auc, at most one of a picture -> two lists.
    """
    n_phrases = len(results.about)
    usual = np.unique(np.linspace(0, n_phrases - 1, min(N_USUAL, n_phrases)).astype(int)).tolist()
    auc = np.nan_to_num([score["auc"] for score in results.scores[method]], nan=1)
    worst = {}
    for number in np.argsort(auc, kind="stable").tolist():
        worst.setdefault(results.about[number]["group"], number)
    return usual, list(worst.values())[:N_WORST]


def marked(frame, raw_map, box, inside):
    """A frame under its map, the thing outlined, the map's maximum (or maxima) green on it and red beside it -> a tile.

    frame uint8 [h, w, 3]; raw_map [Gy, Gx] over `box`; inside: bool [h, w], the pixels where the thing is.
    """
    height, width = inside.shape
    linear = saliency.normalize_linear(raw_map[None, None])[0, 0]
    tile, scale, left = _tile(overlay.heat(frame, linear, box), inside)
    for y, x in zip(*localization.maxima(raw_map, height, width, box), strict=True):
        hit = inside[min(int(y * height), height - 1), min(int(x * width), width - 1)]
        y, x = y * height * scale, left + x * width * scale
        colour = HIT if hit else MISS
        ImageDraw.Draw(tile).ellipse((x - 6, y - 6, x + 6, y + 6), fill=colour, outline=(0, 0, 0), width=2)
    return np.asarray(tile)


def _tile(picture, inside):
    """A picture with the outline of what is `inside`, in the upper middle of a tile -> tile, its scale, its left."""
    scale = min(TILE_HEIGHT / inside.shape[0], TILE_WIDTH / inside.shape[1])
    size = [max(round(side * scale), 1) for side in inside.shape[::-1]]
    small = np.array(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS))
    there = np.asarray(Image.fromarray(inside).resize(size, Image.Resampling.NEAREST))
    small[there & ~scipy.ndimage.binary_erosion(there, iterations=2)] = OUTLINE
    tile = Image.new("RGB", (TILE_WIDTH, TILE_HEIGHT), overlay.PAPER)
    left = (TILE_WIDTH - size[0]) // 2
    tile.paste(Image.fromarray(small), (left, 0))
    return tile, scale, left


def write(path, subjects, results, methods, reading):
    """Write the page: the maps, made anew, of the usual phrases and of the worst of the last method, a row a phrase.

    The worst stand beside the usual ones, or below them where there are more than N_BESIDE methods. subjects, methods,
    reading: as for scoring.score; results: what it gave.
    """
    methods = [method for method in methods if method != scoring.MEAN_MAP] or [attribution.PAPERS]
    judged = [method for method in methods if method in attribution.METHODS] or methods
    usual, worst = choose(results, judged[-1])
    rows = {
        number: _row(case, results.about[number], methods, reading)
        for number, case in _found(subjects, results, usual + worst)
    }
    columns, place = 1 + len(methods), "below them"
    order = usual + worst
    if len(methods) <= N_BESIDE:
        columns, place = 2 * columns, "beside them"
        order = [number for both in itertools.zip_longest(usual, worst) for number in both]
    blank = [("", False, np.full((TILE_HEIGHT, TILE_WIDTH, 3), overlay.PAPER, np.uint8))] * (1 + len(methods))
    title = (
        f"{len(usual)} examples from the data set, and {place} the {len(worst)} that {judged[-1]} finds least. "
        "The thing is outlined; a map's maximum is green on it and red beside it."
    )
    tiles = [tile for number in order for tile in rows.get(number, blank)]
    writing.write_image(path, overlay.gallery(tiles, columns, title))


def _found(subjects, results, numbers):
    """The case of each of these phrases: pairs (number, cases.Case), those of a medium side by side."""
    by_id = {subject.id: subject for subject in subjects}
    wanted = sorted(set(numbers))  # as the media come
    for subject, of_subject in itertools.groupby(wanted, key=lambda number: results.about[number]["subject"]):
        cases = by_id[subject].cases()
        yield from ((number, cases[results.about[number]["case"]]) for number in of_subject)


def _row(case, about, methods, reading):
    """The tiles of one phrase: what there is, and its map by each method."""
    k = about["phrase"]
    frame, inside = case.picture(k)
    plain = np.asarray(_tile(frame, inside)[0])
    tiles = [(about["words"], True, plain)]
    for method in methods:
        raw_map = case.map_of_picture(method, reading, k)
        if raw_map is None:
            tiles.append((f"{method}: not known", False, plain))
        else:
            tiles.append((method, False, marked(frame, raw_map, case.box, inside)))
    return tiles
