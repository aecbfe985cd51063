"""From a medium and the words of a query to saliency: maps, curves, and what the captioner thinks of each word."""

import dataclasses
import functools
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

import cfg
import saliency
from explain import attribution, render
from explain.contrast import Contrast, contrasted
from explain.query import UNKNOWN, Query, as_read, own_caption, parse_sentence, reading
from system import console
from system.errors import UserError
from vision import descriptors, geometry, media

FRAMES_AT_ONCE = 32  # through the CNN
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

    def write(self, target):
        """Write a picture (.png; of a video also .mp4 or .gif), or all numbers (.npz), by the ending of `target`.

        UserError for another ending, or where nothing can be written.
        """
        render.write(self, target)


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


def check_choice(name, value, choices):
    """UserError where a value is not one of the choices, as the command line would say it."""
    if value not in choices:
        raise UserError(f"{name}={value!r}: it must be one of {', '.join(map(repr, choices))}")


class Explainer:
    """A captioner with its CNN, loaded once for any number of media and sentences that one method explains.

    explain(path, sentence) explains one; `query` and `explain` do it in two steps, for many.
    """

    def __init__(self, saved, method=attribution.PAPERS):
        self.saved = saved
        self.method = method

    @functools.cached_property
    def extractor(self):
        """The CNN as the method asks for it, loaded when it is first needed; UserError as from `load_cnn`."""
        return load_cnn(self.saved, self.method in attribution.MULTI_SCALE)

    def load(self):
        """Load the CNN now, not only for the first medium -> self."""
        _ = self.extractor
        return self

    @functools.cached_property
    def captioning_extractor(self):
        """The CNN of the size that the captioner was trained on."""
        return self.extractor.at(descriptors.input_size(self.saved.config))

    @functools.cached_property
    def grey_reading(self):
        """What the captioner reads of a grey picture: [N, D]."""
        return as_read(self.saved, blank_grid(self.captioning_extractor)[None])

    @functools.cached_property
    def contrast(self):
        """The captioner, asked for the difference of two words."""
        return Contrast(self.saved.model)

    def __call__(self, path, sentence=None, unknown="error", normalization=None, instead=None):
        """Explain a sentence, or without one the captioner's own caption, over a video or an image -> Explanation.

        unknown: what becomes of a word that the captioner does not know, "error", "skip" or "nearest";
        normalization: "linear" (default for images) or "released" (for videos); instead: "cat", why not this in the
        place of each word, or "dog=cat", in that of "dog". UserError where that cannot be done.
        """
        query = None if sentence is None else self.query(sentence, unknown, instead)
        return self.explain(path, [query], normalization, instead)[0]

    def query(self, sentence, unknown="error", instead=None):
        """The words of a sentence -> Query; UserError as from `parse_sentence` and `contrasted`."""
        check_choice("unknown", unknown, UNKNOWN)
        query = parse_sentence(sentence, self.saved.vocabulary, self.saved.config.n_lstm_step, unknown)
        return query if instead is None else contrasted(query, instead, self.saved.vocabulary)

    def own_query(self, sequence, path, instead=None):
        """The captioner's own caption of what it reads of a medium [N, D] -> Query; UserError as from `query`."""
        query = own_caption(self.saved, sequence, path)
        return query if instead is None else contrasted(query, instead, self.saved.vocabulary)

    def explain(self, path, queries, normalization=None, instead=None):
        """Explain several queries (None: the captioner's own caption) over one medium -> list of Explanation.

        The CNN sees the medium once; `instead` is for the captioner's own caption. UserError where that cannot be done.
        """
        check_choice("normalization", normalization, (None, *saliency.NORMALIZERS))
        path, saved = Path(path), self.saved
        is_video = media.kind(path) == "video"
        normalization = normalization or ("released" if is_video else "linear")
        sequence = reading(saved, self.captioning_extractor, path)  # [N, D]
        queries = [self.own_query(sequence, path, instead) if query is None else query for query in queries]
        read = {"log_q": sequence, "grey_log_q": self.grey_reading}
        seen = [{name: self._log_q(one, query) for name, one in read.items()} for query in queries]
        found = self._video(path, queries, normalization) if is_video else self._image(path, queries)
        about = {"config": saved.config, "checkpoint": saved.state["step"], "method": self.method}
        normalize = saliency.NORMALIZERS[normalization]
        return [
            Explanation(path, query, raw, normalize(raw), normalization, **own, **about, **rest)
            for query, own, (raw, rest) in zip(queries, seen, found, strict=True)
        ]

    def _log_q(self, sequence, query):
        """log q(w_t | w_<t) of the words that are explained, when the captioner reads a sequence [N, D] -> [T]."""
        log_p = saliency.full_input_log_probs(self.saved.model, sequence, query.ids)[query.places]  # [T, V]
        log_q = log_p[np.arange(len(log_p)), np.take(query.ids, query.places)]
        if query.against is not None:  # less that of the other word
            log_q = log_q - log_p[np.arange(len(log_p)), np.take(self._other_ids(query), query.places)]
        return log_q

    def _other_ids(self, query):
        return [self.saved.vocabulary.ids[word] for word in query.against]

    def _asked(self, query):
        """The captioner that answers a query: itself, or asked for the difference to other words."""
        if query.against is None:
            return self.saved.model
        self.contrast.others.assign(self._other_ids(query))
        return self.contrast

    def _image(self, path, queries):
        """For each query the raw maps [1, T, Gy, Gx] of an image, and what an Explanation says of the picture."""
        image = media.read_image(path)  # [h, w, 3]
        grids = self.extractor(as_seen(self.saved, self.extractor, image))  # [1, Gy, Gx, D]
        about = {"height": image.shape[0], "width": image.shape[1], "box": seen_box(self.saved, image)}
        return [(self._maps(grids, query), about) for query in queries]

    def _video(self, path, queries, normalization):
        """As `_image`, [F, T, Gy, Gx] with the curves, of every frame of a video, batch by batch as it is decoded.

        `released` also averages each frame's descriptors with its neighbours', as the released program does.
        """
        info = media.probe(path)
        size = (self.extractor.input_size, self.extractor.input_size)
        grids = (self.extractor(frames) for frames in media.read_frames(path, size=size, batch_size=FRAMES_AT_ONCE))
        raw, curves = [[] for _ in queries], [[] for _ in queries]
        with tqdm(total=info.n_frames, unit="frame", desc=f"maps of {console.shown(path.name)}") as progress:
            for batch in saliency.smooth_stream(grids) if normalization == "released" else grids:  # [b, Gy, Gx, D]
                pooled = batch.mean(axis=(1, 2))  # [b, D]
                for k, query in enumerate(queries):
                    raw[k].append(self._maps(batch, query))
                    curve = saliency.temporal_curve(self._asked(query), pooled, query.ids, query.target_log_probs)
                    curves[k].append(curve[:, query.places])
                progress.update(len(batch))
        box = geometry.box_whole(info.height, info.width)
        about = {"height": info.height, "width": info.width, "box": box, "fps": info.fps}
        return [
            (np.concatenate(maps), {"curves": np.concatenate(curve), **about})
            for maps, curve in zip(raw, curves, strict=True)
        ]

    def _maps(self, grids, query):
        """Raw maps of the words of a query that are explained: grids [F, Gy, Gx, D] -> [F, T, Gy, Gx]."""
        asked, target = self._asked(query), query.target_log_probs
        return maps_by(self.method, self.saved, self.extractor, grids, query.ids, target, asked)[:, query.places]
