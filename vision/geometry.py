"""Where the CNN looks: from a picture to the CNN's square input, and from a grid of cells back to pixels."""

import numpy as np
from PIL import Image

# The reference scales the central square to 256 pixels and keeps the central 224 of them.
CROP_RESIZE, CROP_KEEP = 256, 224


def _central_square(height, width):
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return top, left, side


def fit_crop(image, size):
    """The reference's geometry: central square -> 256 -> central 224 -> `size` (Lanczos both times).

    image uint8 [h, w, 3] -> uint8 [size, size, 3].
    """
    top, left, side = _central_square(*image.shape[:2])
    picture = Image.fromarray(image).crop((left, top, left + side, top + side))
    picture = picture.resize((CROP_RESIZE, CROP_RESIZE), Image.Resampling.LANCZOS)
    margin = (CROP_RESIZE - CROP_KEEP) // 2
    picture = picture.crop((margin, margin, margin + CROP_KEEP, margin + CROP_KEEP))
    return np.asarray(picture.resize((size, size), Image.Resampling.LANCZOS))


def fit_whole(image, size):
    """The whole image squashed to the CNN's input: uint8 [h, w, 3] -> uint8 [size, size, 3]."""
    picture = Image.fromarray(image)
    if picture.size != (size, size):
        picture = picture.resize((size, size), Image.Resampling.LANCZOS)
    return np.asarray(picture)


def box_crop(height, width):
    """The box (top, left, bottom, right), in pixels, that `fit_crop` keeps of a picture."""
    top, left, side = _central_square(height, width)
    margin = side * (1 - CROP_KEEP / CROP_RESIZE) / 2
    return top + margin, left + margin, top + side - margin, left + side - margin


def box_whole(height, width):
    """The box (top, left, bottom, right) of the whole picture."""
    return 0.0, 0.0, float(height), float(width)


# name -> (picture to CNN input, the box of the picture that the CNN sees)
GEOMETRIES = {"crop": (fit_crop, box_crop), "whole": (fit_whole, box_whole)}


def fit(image, geometry, size):
    """uint8 [h, w, 3] -> the CNN's input, uint8 [size, size, 3], under the geometry of that name."""
    return GEOMETRIES[geometry][0](image, size)


def seen_box(geometry, height, width):
    """The box (top, left, bottom, right) in pixels of what the CNN sees of a picture of that size."""
    return GEOMETRIES[geometry][1](height, width)


def _interpolation(n_cells, start, stop, n_pixels):
    """Linear interpolation from cells to pixels along one axis, as a matrix [n_pixels, n_cells].

    Cell k covers [start + k * w, start + (k + 1) * w) with w = (stop - start) / n_cells; its value stands at its
    centre. Also returns which pixel centres lie within [start, stop), bool [n_pixels].
    """
    pixels = np.arange(n_pixels) + 0.5
    position = np.clip((pixels - start) / (stop - start) * n_cells - 0.5, 0, n_cells - 1)
    low = np.minimum(position.astype(int), max(n_cells - 2, 0))
    high = np.minimum(low + 1, n_cells - 1)
    matrix = np.zeros((n_pixels, n_cells), np.float32)
    np.add.at(matrix, (np.arange(n_pixels), low), 1 - (position - low))
    np.add.at(matrix, (np.arange(n_pixels), high), position - low)
    return matrix, (pixels >= start) & (pixels < stop)


def enlarge(maps, height, width, box=None, fill=0.0, every=(1, 1)):
    """Enlarge maps of cells to pixels so that the centre of every cell keeps its place.

    maps [..., Gy, Gx] -> float32 [..., height, width]; `box` (top, left, bottom, right) is what the cells cover,
    the whole picture by default; pixels outside it become `fill`. With `every` (n, m) only every n-th row and
    every m-th column are computed.
    """
    top, left, bottom, right = box_whole(height, width) if box is None else box
    rows, inside_y = _interpolation(maps.shape[-2], top, bottom, height)  # [height, Gy]
    columns, inside_x = _interpolation(maps.shape[-1], left, right, width)  # [width, Gx]
    rows, inside_y = rows[:: every[0]], inside_y[:: every[0]]  # [h, Gy]
    columns, inside_x = columns[:: every[1]], inside_x[:: every[1]]  # [w, Gx]
    pixels = rows @ np.asarray(maps, np.float32) @ columns.T  # [..., h, w]
    if inside_y.all() and inside_x.all():
        return pixels
    return np.where(inside_y[:, None] & inside_x, pixels, np.float32(fill))


def shares_covered(rectangle, box, grid_height, grid_width):
    """How much of each cell of a grid over `box` a rectangle covers, both (top, left, bottom, right) -> [Gy, Gx]."""
    top, left, bottom, right = box
    rows = _overlap(rectangle[0], rectangle[2], top, bottom, grid_height)
    columns = _overlap(rectangle[1], rectangle[3], left, right, grid_width)
    return rows[:, None] * columns


def _overlap(start, stop, low, high, n_cells):
    """The share of each of n cells between low and high that lies between start and stop: [n]."""
    edges = np.linspace(low, high, n_cells + 1)
    shared = np.minimum(edges[1:], stop) - np.maximum(edges[:-1], start)
    return np.clip(shared, 0, None) * n_cells / (high - low)
