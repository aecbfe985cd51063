"""Equations (7) and (8) for more frames than memory holds: the numbers of saliency.py, to the last bit, in passes.

Each word's lowest and highest value, then its mean, each over the whole film; then the maps, part after part. The
Gaussian over time reaches from one part into the next.
"""

import numpy as np

import saliency
from system import rows

NOT_HALVED = 128


def normalized(raw, name, folder=None):
    """`saliency.NORMALIZERS[name]` of raw maps [F, T, Gy, Gx] in Rows -> Rows in `folder`."""
    spans = rows.spans(raw)
    low = np.min([raw[start:stop].min(axis=(0, 2, 3), keepdims=True) for start, stop in spans], axis=0)
    high = np.max([raw[start:stop].max(axis=(0, 2, 3), keepdims=True) for start, stop in spans], axis=0)

    def linear(start, stop):  # (7)
        return saliency.scale(raw[start:stop], low, high, saliency.RESOLUTION)

    maps = rows.Rows(folder)
    if name == "linear":
        for start, stop in spans:
            maps.append(linear(start, stop))
        return maps
    mean = _sum_by_word(linear, raw, spans) / np.float32(len(raw) * raw.shape[2] * raw.shape[3])  # [1, T, 1, 1]
    for start, stop in spans:
        first, last = max(start - saliency.REACH, 0), min(stop + saliency.REACH, len(raw))
        frames = saliency.scale_frames(np.clip(linear(first, last) - mean, 0, 1))
        maps.append(saliency.smooth_maps(frames)[start - first : stop - first])  # (8)
    return maps


def _sum_by_word(values, raw, spans):
    """The sum of values(start, stop) [f, T, Gy, Gx] by word, over all frames -> [1, T, 1, 1].

    Added up in the order of NumPy: of several words frame after frame, of one by halves, a multiple of 8 long, down to
    NOT_HALVED numbers.
    """
    n_frames, n_words, height, width = raw.shape
    if n_words > 1:
        total = np.zeros((1, n_words, 1, 1), raw.dtype)
        for start, stop in spans:
            for frame in values(start, stop).sum(axis=(2, 3), keepdims=True):  # [T, 1, 1]
                total += frame
        return total
    n_cells = height * width
    longest = max(max(stop - start for start, stop in spans) * n_cells, NOT_HALVED)

    def by_halves(first, last):  # numbers of cells
        if last - first <= longest:
            start = first // n_cells
            cells = values(start, -(-last // n_cells)).ravel()
            return cells[first - start * n_cells : last - start * n_cells].sum()
        half = (last - first) // 2
        half -= half % 8
        return by_halves(first, first + half) + by_halves(first + half, last)

    return np.full((1, 1, 1, 1), by_halves(0, n_frames * n_cells), raw.dtype)
