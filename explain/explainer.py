"""A captioner with its CNN, loaded once, that explains any number of media and sentences."""

import contextlib
import dataclasses
import functools
import itertools
from pathlib import Path

import numpy as np
from tqdm import tqdm

import saliency
from explain import attribution
from explain.contrast import Contrast, contrasted
from explain.explanation import Explanation, as_seen, blank_grid, load_cnn, maps_by, seen_box
from explain.query import UNKNOWN, as_read, own_caption, parse_sentence
from system import console
from system.errors import UserError
from vision import descriptors, geometry, media

FRAMES_AT_ONCE = 32  # through the CNN


@dataclasses.dataclass(frozen=True)
class Sight:
    """What the CNN says of a medium, whatever is asked about it."""

    path: Path
    cells: np.ndarray  # [n, Gy, Gx, D]: what the captioner reads
    height: int  # of the picture, in pixels
    width: int
    box: tuple  # (top, left, bottom, right) in pixels: what the cells cover
    grids: dict = dataclasses.field(default_factory=dict)  # of an image: by whether in several sizes, [1, Gy, Gx, D]
    n_frames: int = 1
    fps: float | None = None  # of a video

    @property
    def is_video(self):
        return self.fps is not None


@contextlib.contextmanager
def _bar(path):
    """Context manager: a function of frames done and in all, which shows them as a bar."""
    with tqdm(unit="frame", desc=f"maps of {console.shown(path.name)}") as bar:

        def show(done, total):
            bar.total = total
            bar.update(done - bar.n)

        yield show


def _several(value):
    """One value or several -> tuple."""
    return (value,) if value is None or isinstance(value, str) else tuple(value)


def check_choice(name, value, choices):
    """UserError where a value is not one of the choices, as the command line would say it."""
    if value not in choices:
        raise UserError(f"{name}={value!r}: it must be one of {', '.join(map(repr, choices))}")


class Explainer:
    """A captioner with its CNN, loaded once for any number of media and sentences that one or several methods explain.

    explain(path, sentence) explains one; `query`, `see` and `explain` do it in steps, for many.
    """

    frames_at_once = FRAMES_AT_ONCE

    def __init__(self, saved, method=attribution.PAPERS):
        self.saved = saved
        self.methods = tuple(dict.fromkeys(_several(method)))  # the first is that of what an explanation shows itself
        self._scales = tuple(dict.fromkeys(one in attribution.MULTI_SCALE for one in self.methods))

    @functools.cached_property
    def extractors(self):
        """The CNN as the methods ask for it, by whether in several sizes; UserError as from `load_cnn`."""
        return {multi_scale: load_cnn(self.saved, multi_scale) for multi_scale in self._scales}

    def load(self):
        """Load the CNN now, not only for the first medium -> self."""
        _ = self.extractors
        return self

    @functools.cached_property
    def captioning_extractor(self):
        """The CNN of the size that the captioner was trained on."""
        return next(iter(self.extractors.values())).at(descriptors.input_size(self.saved.config))

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
        normalization: "linear" (default for images) or "released" (for videos), or both; instead: "cat", why not this
        in the place of each word, or "dog=cat", in that of "dog". UserError where that cannot be done.
        """
        query = None if sentence is None else self.query(sentence, unknown, instead)
        return self.explain(path, [query], normalization, instead)[0]

    def query(self, sentence, unknown="error", instead=None):
        """The words of a sentence -> Query; UserError as from `parse_sentence` and `contrasted`."""
        check_choice("unknown", unknown, UNKNOWN)
        query = parse_sentence(sentence, self.saved.vocabulary, self.saved.config.n_lstm_step, unknown)
        return query if instead is None else contrasted(query, instead, self.saved.vocabulary)

    def own_query(self, sight, instead=None):
        """The captioner's own caption of what it sees -> Query; UserError as from `query`."""
        query = own_caption(self.saved, as_read(self.saved, sight.cells), sight.path)
        return query if instead is None else contrasted(query, instead, self.saved.vocabulary)

    def see(self, path):
        """Show a medium to the CNN -> Sight. Of a video only the frames that are captioned: the others never wait.

        UserError where it cannot be read.
        """
        path, saved = Path(path), self.saved
        is_video = media.kind(path) == "video"
        extractor = self.captioning_extractor
        cells = extractor(descriptors.cnn_inputs(saved.config, path, extractor.input_size))
        if is_video:
            info = media.probe(path)
            box = geometry.box_whole(info.height, info.width)
            return Sight(path, cells, info.height, info.width, box, n_frames=info.n_frames, fps=info.fps)
        image = media.read_image(path)  # [h, w, 3]
        grids = {scale: one(as_seen(saved, one, image)) for scale, one in self.extractors.items()}
        return Sight(path, cells, *image.shape[:2], seen_box(saved, image), grids)

    def explain(self, medium, queries, normalization=None, instead=None, progress=None):
        """Explain several queries (None: the captioner's own caption) over one medium -> list of Explanation.

        medium: a path, or a Sight of it. Under several methods or normalizations each has the others as `also`.
        `instead` is for the captioner's own caption; progress: called with the number of frames that are done and that
        of all, instead of a bar. UserError where that cannot be done.
        """
        for one in _several(normalization):
            check_choice("normalization", one, (None, *saliency.NORMALIZERS))
        sight = medium if isinstance(medium, Sight) else self.see(medium)
        usual = "released" if sight.is_video else "linear"
        normalizations = tuple(dict.fromkeys(one or usual for one in _several(normalization)))
        queries = [self.own_query(sight, instead) if query is None else query for query in queries]
        if sight.is_video:
            with contextlib.nullcontext(progress) if progress else _bar(sight.path) as show:
                smoothings = dict.fromkeys(one == "released" for one in normalizations)
                found = self._video(sight, queries, tuple(smoothings), show)
        else:
            found = self._image(sight, queries)
        views = list(itertools.product(self.methods, normalizations))
        return [
            self._explanation(sight, query, [(*view, *_found(found, sight, *view)[k]) for view in views])
            for k, query in enumerate(queries)
        ]

    def log_q(self, sequence, query):
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

    def _maps(self, method, grids, query):
        """Raw maps of the words of a query that are explained: grids [F, Gy, Gx, D] -> [F, T, Gy, Gx]."""
        extractor, asked = self.extractors[method in attribution.MULTI_SCALE], self._asked(query)
        maps = maps_by(method, self.saved, extractor, grids, query.ids, query.target_log_probs, asked)
        return maps[:, query.places]

    def _image(self, sight, queries):
        """What `_video` gives, of an image: maps [1, T, Gy, Gx] without curves, which are never smoothed."""
        return {
            (method, False): [
                (self._maps(method, sight.grids[method in attribution.MULTI_SCALE], query), None) for query in queries
            ]
            for method in self.methods
        }

    def _video(self, sight, queries, smoothings, show):
        """Maps [F, T, Gy, Gx] and curves [F, T] of every frame, for each query, by method and smoothing -> dict.

        smoothings: whether each frame's descriptors are averaged with its neighbours', as `released` does. The frames
        pass once for each CNN, as they are decoded; they never wait in memory.
        """
        found, n_done = {}, 0
        for multi_scale, extractor in self.extractors.items():
            methods = [one for one in self.methods if (one in attribution.MULTI_SCALE) == multi_scale]
            pieces = {key: [([], []) for _ in queries] for key in itertools.product(methods, smoothings)}
            grids = _frame_grids(extractor, sight.path, self.frames_at_once)
            copies = zip(smoothings, itertools.tee(grids, len(smoothings)), strict=True)
            streams = [saliency.smooth_stream(one) if smoothed else one for smoothed, one in copies]
            for batches in itertools.zip_longest(*streams):  # of each [b, Gy, Gx, D]; smoothed ones are a frame behind
                for smoothed, batch in zip(smoothings, batches, strict=True):
                    if batch is None:
                        continue
                    pooled = batch.mean(axis=(1, 2))  # [b, D]
                    for place, query in enumerate(queries):
                        curve = saliency.temporal_curve(self._asked(query), pooled, query.ids, query.target_log_probs)
                        for method in methods:
                            maps, curves = pieces[method, smoothed][place]
                            maps.append(self._maps(method, batch, query))
                            curves.append(curve[:, query.places])
                n_done += len(batches[0]) if batches[0] is not None else 0
                show(n_done, len(self.extractors) * sight.n_frames)
            found |= {key: [tuple(map(np.concatenate, both)) for both in own] for key, own in pieces.items()}
        return found

    def _explanation(self, sight, query, views):
        """An Explanation of a query, with those of the further views as `also`.

        views: method, normalization, raw maps [F, T, Gy, Gx], curves [F, T] or None.
        """
        about = {
            "height": sight.height,
            "width": sight.width,
            "box": sight.box,
            "log_q": self.log_q(as_read(self.saved, sight.cells), query),
            "grey_log_q": self.log_q(self.grey_reading, query),
            "config": self.saved.config,
            "checkpoint": self.saved.state["step"],
            "fps": sight.fps,
        }
        first, *others = (
            Explanation(
                sight.path, query, raw, saliency.NORMALIZERS[name](raw), name, method=method, curves=curves, **about
            )
            for method, name, raw, curves in views
        )
        return dataclasses.replace(first, also=tuple(others))


def _frame_grids(extractor, path, frames_at_once):
    """The grids of a video's frames as they are decoded, in batches [b, Gy, Gx, D]."""
    size = (extractor.input_size, extractor.input_size)
    return (extractor(frames) for frames in media.read_frames(path, size=size, batch_size=frames_at_once))


def _found(found, sight, method, normalization):
    """Of what `Explainer._video` or `_image` gives, that of a method under a normalization."""
    return found[method, sight.is_video and normalization == "released"]
