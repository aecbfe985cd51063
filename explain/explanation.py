"""Saliency of the words of a query over a medium: maps, curves, and what the captioner thinks of each word."""

import dataclasses
from pathlib import Path

import numpy as np
from PIL import Image

from explain import attribution, page, render
from explain.query import Query


@dataclasses.dataclass(frozen=True)
class Explanation:
    """Saliency of a query over one medium: F frames (1 of an image), T words, a grid of Gy x Gx cells.

    The maps of a film, which no memory holds, are system.rows.Rows: read like arrays, frame by frame.
    """

    path: Path  # or an excerpt.Excerpt of a video
    query: Query
    raw_maps: np.ndarray  # [F, T, Gy, Gx], nats: the paper's, or those of `method`
    maps: np.ndarray  # [F, T, Gy, Gx], in [0, 1]
    normalization: str  # of saliency.NORMALIZERS: from raw_maps to maps
    height: int  # of the picture, in pixels
    width: int
    box: tuple  # (top, left, bottom, right) in pixels: what the cells cover
    log_q: np.ndarray  # [T], nats: log q of each word when the captioner sees the whole medium
    grey_log_q: np.ndarray  # [T], nats: the same when it sees a grey picture
    config: object  # of the captioner: cfg.Config, or of another one a dict
    checkpoint: int
    learnt_from: str = "image"  # what the captioner has learnt from: "image" or "video"
    method: str = attribution.PAPERS  # which maps these are, of attribution.METHODS
    curves: np.ndarray | None = None  # raw temporal curves [F, T], of a video
    fps: float | None = None
    also: tuple = ()  # the same by other methods and normalizations, where several were asked for

    @property
    def words(self):
        """The words that are explained, T of them; "dog, not cat" where one is compared with another."""
        return self.query.labels

    @property
    def gain(self):
        """How much of each word comes from the picture (15), in nats [T]: 0 where the words before it say it all."""
        return self.log_q - self.grey_log_q

    @property
    def is_video(self):
        return self.curves is not None

    def picture(self):
        """A PIL picture: a tile a word; of a video the frames in which each word is most salient."""
        return Image.fromarray(render.picture(self))

    def page(self):
        """The page that one asks, as text: one file with everything in it. A notebook shows it by itself."""
        return page.text_of(self)

    def _repr_html_(self):
        return page.frame(self)

    def write(self, target):
        """Write a picture (.png; of a video also .mp4 or .gif), a page (.html), or all numbers (.npz), by the ending.

        -> the path of the medium that lies beside a large page, else None. UserError for another ending, or where
        nothing can be written.
        """
        return render.write(self, target)
