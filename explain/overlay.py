"""From frames and maps to pictures: a tile for each word, its heat over the frame, its curve under it.

Arrays in, arrays out: no files are written here. All that a clip's frames share (the places of the tiles, the text, the
curves) is drawn once by `Layout`; each frame then costs one resize and one table look-up a tile.
"""

import functools
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from explain import fonts
from vision import geometry

MIN_TILE, MAX_TILE = 200, 360  # pixels: the least width of a column, the longer side of a tile at most
STRIP = 40  # pixels: height of the curve under a tile
MARGIN, LABEL, LINE = 8, 22, 24  # pixels: the gap between things, the word above a tile, a line of the head
TITLE, NORMAL, SMALL = 17, 15, 13  # pixels: the sizes of letters
MOST_LINES = 8  # of the head, for the sentence and for what is left out of it
BAR, FULL_BAR = 3, 8.0  # pixels: height of the bar under a word; nats: what makes it as long as its tile
LEGEND = 190  # pixels: width of the colour bar with its two words
PAPER, INK, FAINT = (24, 24, 27), (240, 240, 240), (160, 160, 168)
CURVE, CURVE_AREA, CURSOR = (250, 190, 60), (92, 72, 36), (255, 255, 255)
OPACITY = 0.75  # of the highest saliency; the lowest leaves the picture as it is
DIMMED = 0.5  # brightness of what the CNN does not see
WIDE = 16 / 9  # the shape of picture that the number of columns aims at


def most_salient_frames(scores, n):
    """The `n` most salient frames of each word, spread over the clip, in the order of time.

    scores [F, T], for instance each map's maximum -> int [T, min(n, F)]. The frames of a word are at least F / (4 n)
    apart, so that one peak does not fill them all; n frames always fit, since they take up less than all of F.
    """
    n_frames = len(scores)
    n = min(n, n_frames)
    gap = math.ceil(n_frames / (4 * n)) if n else 1
    chosen = []
    for score in np.asarray(scores, float).T:  # [F]
        free = np.ones(n_frames, bool)
        for _ in range(n):
            best = np.flatnonzero(free)[np.argmax(score[free])]
            free[max(best - gap + 1, 0) : best + gap] = False
            chosen.append(best)
    return np.sort(np.reshape(chosen, (-1, n)).astype(int), axis=1)


@functools.cache
def _heat():
    """What each of 256 levels adds to a pixel, and how much of the pixel it keeps; both uint16 [256, 3], in 1/256."""
    from matplotlib import colormaps

    levels = np.linspace(0, 1, 256)
    colour = (
        255 * colormaps["turbo"](0.1 + 0.8 * levels)[:, :3]
    )  # [256, 3], without the dark ends, which look like holes
    opacity = OPACITY * levels[:, None]  # [256, 1]
    keep = np.repeat(256 * (1 - opacity), 3, axis=1)  # [256, 3]
    return np.round(256 * opacity * colour).astype(np.uint16), np.floor(keep).astype(np.uint16)


def _colour(picture, levels):
    """picture uint8 [h, w, 3] under the heat of levels uint8 [h, w] -> uint8 [h, w, 3]."""
    add, keep = _heat()
    pixels = keep.take(levels, axis=0)  # [h, w, 3]
    pixels *= picture
    pixels += add.take(levels, axis=0)
    pixels >>= 8
    return pixels.astype(np.uint8)


class _View:
    """One frame at the size of a tile, and its maps placed on it; the box that the CNN sees is worked out once."""

    def __init__(self, height, width, tile_height, tile_width, box=None):
        self.height, self.width = tile_height, tile_width
        y, x = tile_height / height, tile_width / width
        top, left, bottom, right = box or geometry.box_whole(height, width)
        self.box = top * y, left * x, bottom * y, right * x  # in pixels of the tile
        self.seen = self._inside(self.box)
        around = self._inside((self.box[0] - 1, self.box[1] - 1, self.box[2] + 1, self.box[3] + 1))
        self.outline = around & ~self.seen

    def _inside(self, box):
        return geometry.enlarge(np.ones((1, 1)), self.height, self.width, box) > 0  # [h, w]

    def shrink(self, frame):
        """frame uint8 [height, width, 3] -> uint8 [h, w, 3], dimmed where the CNN does not see it."""
        small = Image.fromarray(frame).resize((self.width, self.height), Image.Resampling.LANCZOS, reducing_gap=2)
        small = np.asarray(small)
        if self.seen.all():
            return small
        small = np.where(self.seen[..., None], small, (DIMMED * small).astype(np.uint8))
        small[self.outline] = INK
        return small

    def levels(self, maps):
        """maps [..., Gy, Gx] in [0, 1] -> uint8 [..., h, w]."""
        maps = np.clip(maps, 0, 1) * 255
        return np.rint(geometry.enlarge(maps, self.height, self.width, self.box)).astype(np.uint8)


def _curve_points(curves, height, width):
    """Where curves [F, T] run in a strip, each from its own lowest to its highest value: x [F], y [F, T], in pixels."""
    low, high = curves.min(axis=0), curves.max(axis=0)
    scaled = (curves - low) / np.where(high > low, high - low, 1)  # [F, T]
    inset = 3  # the thickness of line and dot stays in the strip
    return np.linspace(inset, width - 1 - inset, len(curves)), height - 1 - inset - scaled * (height - 1 - 2 * inset)


def _plot(x, y, height, width):
    """The curve through x [F], y [F] with the area under it -> uint8 [height, width, 3]."""
    fine = 3  # drawn larger and shrunk, since Pillow's lines have hard edges
    plot = Image.new("RGB", (width * fine, height * fine), PAPER)
    draw = ImageDraw.Draw(plot)
    line = [((px + 0.5) * fine, (py + 0.5) * fine) for px, py in zip(x, y, strict=True)]
    draw.polygon([(line[0][0], height * fine), *line, (line[-1][0], height * fine)], fill=CURVE_AREA)
    draw.line(line, fill=CURVE, width=fine + 1, joint="curve")
    return np.asarray(plot.resize((width, height), Image.Resampling.BOX))


def _columns(n_tiles, tile_height, tile_width, max_width):
    """The number of columns that makes a wide picture with few empty places."""

    def badness(columns):
        rows = math.ceil(n_tiles / columns)
        shape = columns * tile_width / (rows * tile_height)
        return abs(math.log(shape / WIDE)) + 2 * (rows * columns - n_tiles) / n_tiles

    most = max((max_width - MARGIN) // (MIN_TILE + MARGIN), 2)
    return min(range(1, min(n_tiles, most) + 1), key=badness)


@dataclass
class _Page:
    """The still part of a picture: head and labels drawn, the tiles' places empty."""

    canvas: np.ndarray  # uint8 [H, W, 3], H and W even
    places: list  # (y, x) of the upper left corner of each tile's picture
    height: int  # of a tile's picture
    width: int

    def tile(self, canvas, k):
        """The place of picture k in the canvas, a view [height, width, 3]."""
        y, x = self.places[k]
        return canvas[y : y + self.height, x : x + self.width]

    def strip(self, canvas, k):
        """The place of the curve under picture k, a view [STRIP, width, 3]."""
        y, x = self.places[k]
        return canvas[y + self.height : y + self.height + STRIP, x : x + self.width]


def _page(labels, height, width, strip, title, skipped, max_width, columns=None):
    """Lay out a tile for each of the labels (text, whether it is a word), for frames of height x width.

    `strip` pixels stay free under each tile.
    """
    scale = MAX_TILE / max(height, width)
    if columns is None:
        tall = height * scale + LABEL + strip + MARGIN
        columns = _columns(len(labels), tall, max(width * scale, MIN_TILE) + MARGIN, max_width)
    room = max((max_width - MARGIN) // columns - MARGIN, MIN_TILE)
    scale = min(scale, room / width)
    height, width = max(round(height * scale), 1), max(round(width * scale), 1)
    column = max(width, MIN_TILE)  # a label needs room, however narrow the picture
    row = LABEL + height + strip

    rows = math.ceil(len(labels) / columns)
    total_width = MARGIN + columns * (column + MARGIN)
    total_width += total_width % 2  # H.264 with 4:2:0 colour wants even sizes
    text_width = total_width - LEGEND - 3 * MARGIN
    lines = [(line, TITLE, INK) for line in fonts.wrap(title or "", TITLE, text_width, MOST_LINES)]
    if skipped:
        left_out = fonts.wrap("left out: " + ", ".join(skipped), SMALL, text_width, MOST_LINES)
        lines += [(line, SMALL, FAINT) for line in left_out]
    head = MARGIN + LINE * max(len(lines), 1)
    total_height = head + MARGIN + rows * (row + MARGIN)
    total_height += total_height % 2

    page = Image.new("RGB", (total_width, total_height), PAPER)
    draw = ImageDraw.Draw(page)
    for k, (line, size, colour) in enumerate(lines):
        draw.text((MARGIN, MARGIN + LINE * (k + 0.5)), line, colour, fonts.font(size, line), anchor="lm")
    _draw_legend(page, total_width - MARGIN - LEGEND, MARGIN)
    places = []
    for k, (label, is_word) in enumerate(labels):
        colour, label = INK if is_word else FAINT, fonts.shorten(label, NORMAL, column, bold=is_word)
        y = head + MARGIN + (k // columns) * (row + MARGIN) + LABEL
        x = MARGIN + (k % columns) * (column + MARGIN) + (column - width) // 2
        draw.text((x + width / 2, y - LABEL / 2), label, colour, fonts.font(NORMAL, label, is_word), anchor="mm")
        places.append((y, x))
    return _Page(np.array(page), places, height, width)


def _draw_legend(page, x, y):
    """The colours from low to high, as they look over a grey picture."""
    draw, font, middle = ImageDraw.Draw(page), fonts.font(SMALL, "lowhigh"), y + LINE / 2
    draw.text((x, middle), "low", FAINT, font, anchor="lm")
    draw.text((x + LEGEND, middle), "high", FAINT, font, anchor="rm")
    low, high = math.ceil(font.getlength("low")) + 6, math.ceil(font.getlength("high")) + 6
    levels = np.linspace(0, 255, LEGEND - low - high).astype(np.uint8)
    levels = np.tile(levels, (LINE // 2, 1))  # [LINE / 2, bar]
    grey = np.full((*levels.shape, 3), 128, np.uint8)
    page.paste(Image.fromarray(_colour(grey, levels)), (x + low, y + LINE // 4))


def _draw_bars(page, gains, tiles):
    """Under the words of those tiles a bar each: how much of the word comes from the picture, gains [T] in nats."""
    for k, gain in zip(tiles, gains, strict=True):
        y, x = page.places[k]
        bar = page.canvas[y - BAR : y, x : x + page.width]
        bar[:] = CURVE_AREA
        bar[:, : round(page.width * np.clip(gain / FULL_BAR, 0, 1))] = CURVE


class Layout:
    """The pictures of one sentence over one clip or image: prepared once, then `draw` for each frame.

    The first tile is the plain frame, the others are the words in order. words [T] name the tiles of frames of
    height x width pixels. `box` (top, left, bottom, right) is what the CNN sees of a frame (`geometry.seen_box`), all
    of it by default; the rest is shown dimmed, outside a thin line. curves [F, T], if given, run under the tiles, each
    scaled to its own lowest and highest value. gains [T] in nats, if given, become bars under the words. `title` is the
    sentence, `skipped` the words of it that are left out.
    `height` and `width` tell the size of the pictures: even, and at most `max_width` wide (but for two narrow tiles).
    """

    def __init__(self, words, height, width, box=None, curves=None, title=None, skipped=(), max_width=1280, gains=None):
        self._strip = 0 if curves is None else STRIP
        labels = [("input", False), *((word, True) for word in words)]
        self._page = page = _page(labels, height, width, self._strip, title, skipped, max_width)
        self._view = _View(height, width, page.height, page.width, box)
        self.height, self.width = page.canvas.shape[:2]
        if gains is not None:
            _draw_bars(page, gains, range(1, len(labels)))
        if curves is not None:
            self._x, self._y = _curve_points(np.asarray(curves, float), STRIP, page.width)  # [F], [F, T]
            for k, y in enumerate(self._y.T, 1):
                page.strip(page.canvas, k)[:] = _plot(self._x, y, STRIP, page.width)

    def draw(self, frame, maps, cursor=None):
        """frame uint8 [height, width, 3] under maps [T, Gy, Gx] in [0, 1] -> uint8 [self.height, self.width, 3].

        `cursor` is the number of the frame, to be marked on the curves.
        """
        page, canvas = self._page, self._page.canvas.copy()
        small = self._view.shrink(frame)  # [h, w, 3]
        page.tile(canvas, 0)[:] = small
        for k, levels in enumerate(self._view.levels(maps), 1):  # [h, w]
            page.tile(canvas, k)[:] = _colour(small, levels)
            if self._strip and cursor is not None:
                x, y = round(self._x[cursor]), round(self._y[cursor, k - 1])
                strip = page.strip(canvas, k)
                strip[:, x] = CURSOR
                strip[y - 2 : y + 3, x - 2 : x + 3] = CURSOR
        return canvas


def heat(frame, linear_map, box=None):
    """A frame uint8 [height, width, 3] under one map [Gy, Gx] in [0, 1] -> uint8 [height, width, 3]."""
    height, width = frame.shape[:2]
    view = _View(height, width, height, width, box)
    return _colour(view.shrink(frame), view.levels(linear_map))


def gallery(tiles, columns, title=None):
    """A page of pictures of one size, row after row: tiles (label, whether it is bold, uint8 [h, w, 3]) -> uint8.

    Pictures of MIN_TILE pixels' width, at most as high, stay as they are; others are scaled to that.
    """
    height, width = tiles[0][2].shape[:2]
    page = _page([tile[:2] for tile in tiles], height, width, 0, title, (), columns * (MIN_TILE + MARGIN), columns)
    for k, (_, _, picture) in enumerate(tiles):
        small = Image.fromarray(picture).resize((page.width, page.height), Image.Resampling.LANCZOS)
        page.tile(page.canvas, k)[:] = np.asarray(small)
    return page.canvas


def contact_sheet(
    frames, maps, words, curves, times, chosen, box=None, title=None, skipped=(), max_width=1280, gains=None
):
    """A row for each word: its curve over the clip, then its chosen frames under its maps -> uint8 [H, W, 3].

    frames: a dictionary or array from the number of a frame to uint8 [h, w, 3], of which only the chosen are read;
    maps [F, T, Gy, Gx] in [0, 1]; words [T]; curves [F, T]; times [F] in seconds; chosen int [T, n] as from
    `most_salient_frames`, dots on the curve. The rest is as in `Layout`.
    """
    height, width = frames[chosen[0][0]].shape[:2]
    labels = []
    for word, row in zip(words, chosen, strict=True):
        labels += [(word, True), *((f"{times[k]:.2f} s", False) for k in row)]
    columns = 1 + len(chosen[0])
    page = _page(labels, height, width, 0, title, skipped, max_width, columns)
    if gains is not None:
        _draw_bars(page, gains, range(0, len(labels), columns))
    view = _View(height, width, page.height, page.width, box)
    x, y = _curve_points(np.asarray(curves, float), page.height, page.width)  # [F], [F, T]
    for t, row in enumerate(chosen):
        plot = page.tile(page.canvas, t * columns)
        plot[:] = _plot(x, y[:, t], page.height, page.width)
        for position, k in enumerate(row, 1):
            px, py = round(x[k]), round(y[k, t])
            plot[py - 2 : py + 3, px - 2 : px + 3] = CURSOR
            levels = view.levels(maps[k][t])  # [h, w]
            page.tile(page.canvas, t * columns + position)[:] = _colour(view.shrink(frames[k]), levels)
    return page.canvas
