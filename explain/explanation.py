"""Saliency of the words of a query over a medium: maps, curves, and what the captioner thinks of each word."""

import dataclasses
import functools
from pathlib import Path

import numpy as np
from PIL import Image

import cfg
import saliency
from explain import attribution, page, render
from explain.query import Query
from system.errors import UserError
from vision import descriptors, geometry

GREY = 128  # of the picture without anything in it
# What --set may change here: the captioner does not depend on it.
SETTINGS = (
    "data_dir",
    "cnn_weights",
    "saliency_input_size",
    "beam_size",
    "length_penalty",
    "cnn_precision",
    "precision",
)


@dataclasses.dataclass(frozen=True)
class Explanation:
    """Saliency of a query over one medium: F frames (1 of an image), T words, a grid of Gy x Gx cells."""

    path: Path
    query: Query
    raw_maps: np.ndarray  # [F, T, Gy, Gx], nats: the paper's, or those of `method`
    maps: np.ndarray  # [F, T, Gy, Gx], in [0, 1]
    normalization: str  # of saliency.NORMALIZERS: from raw_maps to maps
    height: int  # of the picture, in pixels
    width: int
    box: tuple  # (top, left, bottom, right) in pixels: what the cells cover
    log_q: np.ndarray  # [T], nats: log q of each word when the captioner sees the whole medium
    grey_log_q: np.ndarray  # [T], nats: the same when it sees a grey picture
    config: cfg.Config  # of the captioner
    checkpoint: int
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


def as_seen(saved, extractor, image):
    """An image uint8 [h, w, 3] as the CNN sees it, in the geometry of training -> uint8 [1, size, size, 3]."""
    return geometry.fit(image, saved.config.image_geometry, extractor.input_size)[None]


def seen_box(saved, image):
    """The box (top, left, bottom, right), in pixels, of what the CNN sees of an image uint8 [h, w, 3]."""
    return geometry.seen_box(saved.config.image_geometry, *image.shape[:2])


@functools.lru_cache(maxsize=4)
def blank_grid(extractor):
    """What the CNN says of a grey picture: [Gy, Gx, D]."""
    return extractor(np.full((1, extractor.input_size, extractor.input_size, 3), GREY, np.uint8))[0]


def maps_by(method, saved, extractor, grids, word_ids, target_log_probs=None, model=None):
    """Raw maps by a method of attribution.METHODS: grids [F, Gy, Gx, D], word_ids [T] -> [F, T, Gy, Gx].

    All but the paper's own explain log q of the words, whoever has chosen them. Where the captioner reads a frame as a
    whole, one of images reads it as its pictures, one of videos averaged to one descriptor. `extractor` made the grids.
    model: a contrast.Contrast instead of the captioner itself.
    """
    model = model or saved.model
    if method == attribution.PAPERS:
        return saliency.raw_maps(model, grids, word_ids, target_log_probs)
    scenes = (scene(saved, extractor, grid, model) for grid in grids)
    return np.stack([attribution.METHODS[method](one, word_ids) for one in scenes])


def scene(saved, extractor, grid, model=None):
    """A frame [Gy, Gx, D], which `extractor` has seen, as the captioner reads it -> attribution.Scene."""
    levels = saved.config.pyramid_levels if saved.config.media == "image" else (1,)
    names = saved.config.naming_weight > 0
    return attribution.Scene(model or saved.model, grid, blank_grid(extractor), levels, names)


def load_cnn(saved, multi_scale=False):
    """The CNN of a checkpoint, of the size that saliency asks for, or of several (descriptors.SCALES).

    UserError if its weights are not those that the captioner was trained on.
    """
    if multi_scale:
        extractor = descriptors.load_multi_scale_cnn(saved.config)
    else:
        extractor = descriptors.load_cnn(saved.config, saved.config.saliency_input_size)
    trained_on = saved.state.get("cnn_weights_id")
    if trained_on not in (None, extractor.weights_id):
        raise UserError(
            f"{saved.folder} was trained on descriptors of {saved.config.cnn} with other weights ({trained_on}, not "
            f"{extractor.weights_id}): name their file with --set cnn_weights=FILE"
        )
    return extractor
