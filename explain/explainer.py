"""A captioner with its CNN, loaded once, that explains any number of media and sentences."""

import collections
import contextlib
import dataclasses
import itertools
from pathlib import Path

import numpy as np
from tqdm import tqdm

import saliency
from explain import attribution, passes
from explain.explanation import Explanation
from explain.query import UNKNOWN
from system import ahead, console
from system.errors import UserError, outcome
from system.rows import Rows
from vision import geometry, media
from vision.excerpt import Excerpt

FRAMES_AT_ONCE = 32  # through the CNN
MEDIA_AT_ONCE = 16  # of many


@dataclasses.dataclass(frozen=True)
class _Opened:
    """A medium, decoded for the CNN."""

    path: Path
    to_caption: np.ndarray | None  # uint8 [n, h, w, 3], what the captioner captions: None where that is as_seen[False]
    as_seen: dict  # of an image: uint8 [1, h, w, 3] by whether in several sizes
    height: int
    width: int
    box: tuple
    n_frames: int = 1
    fps: float | None = None


@dataclasses.dataclass(frozen=True)
class Sight:
    """What the CNN says of a medium, whatever is asked about it."""

    path: Path
    cells: np.ndarray  # [n, ...]: of what the captioner reads
    height: int  # of the picture, in pixels
    width: int
    box: tuple  # (top, left, bottom, right) in pixels: what the cells cover
    looks: dict = dataclasses.field(default_factory=dict)  # of an image: its cells [1, ...] by whether in several sizes
    n_frames: int = 1
    fps: float | None = None  # of a video
    own: object = None  # the captioner's own caption, where it has been asked for already: Query, or a UserError

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


def batched(items, n):
    """Lists of n items, one after the other, the last one of fewer (itertools.batched, from Python 3.12 on)."""
    items = iter(items)
    while batch := list(itertools.islice(items, n)):
        yield batch


def _copies(items, n):
    """n iterators of the same items, each of which is let go when all have had it (itertools.tee keeps 57 of them)."""
    items, waiting = iter(items), [collections.deque() for _ in range(n)]

    def copy(own):
        while True:
            if not own:
                try:
                    item = next(items)
                except StopIteration:
                    return
                for one in waiting:
                    one.append(item)
                del item
            yield own.popleft()

    return [copy(own) for own in waiting]


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
    scratch = None  # a folder for the maps of films, by default that for temporary files

    def __init__(self, captioner, method=attribution.PAPERS):
        self.captioner = captioner
        self.methods = tuple(dict.fromkeys(_several(method)))  # the first is that of what an explanation shows itself
        self._scales = tuple(dict.fromkeys(one in attribution.MULTI_SCALE for one in self.methods))

    def load(self):
        """Load the CNN now, not only for the first medium -> self; UserError where that cannot be done."""
        for multi_scale in self._scales:
            self.captioner.load(multi_scale)
        return self

    def __call__(self, path, sentence=None, unknown="error", normalization=None, instead=None):
        """Explain a sentence, or without one the captioner's own caption, over a video or an image -> Explanation.

        unknown: what becomes of a word that the captioner does not know, "error", "skip" or "nearest";
        normalization: "linear" (default for images) or "released" (for videos), or both; instead: "cat", why not this
        in the place of each word, or "dog=cat", in that of "dog". UserError where that cannot be done.
        """
        query = None if sentence is None else self.query(sentence, unknown, instead)
        return self.explain(path, [query], normalization, instead)[0]

    def query(self, sentence, unknown="error", instead=None):
        """The words of a sentence -> Query; UserError where the captioner cannot be asked that."""
        check_choice("unknown", unknown, UNKNOWN)
        return self.captioner.query(sentence, unknown, instead)

    def see(self, path):
        """Show a medium to the CNN -> Sight. Of a video only the frames that are captioned: the others never wait.

        UserError where it cannot be read.
        """
        return self._look(self._open(path))

    def see_many(self, paths, captioned=False, instead=None):
        """`see`, for many media -> yields (path, Sight, or the UserError of what went wrong) one after another.

        They are decoded ahead, and, where they are to be `captioned`, captioned MEDIA_AT_ONCE at a time.
        """
        decoded = ahead.ahead(self._open, paths, MEDIA_AT_ONCE)
        for some in batched(decoded, MEDIA_AT_ONCE if captioned else 1):
            found = [(path, one if isinstance(one, Exception) else outcome(self._look, one)) for path, one in some]
            yield from self._captioned(found, instead) if captioned else found

    def _captioned(self, found, instead):
        """(path, Sight or UserError) of some media, each Sight with the captioner's own caption."""
        sights = [one for _, one in found if isinstance(one, Sight)]
        cells, paths = [one.cells for one in sights], [one.path for one in sights]
        own = iter(self.captioner.own_queries(cells, paths, instead) if sights else ())
        return [
            (path, dataclasses.replace(one, own=next(own)) if isinstance(one, Sight) else one) for path, one in found
        ]

    def _open(self, path):
        """Decode what the CNN is to see of a medium -> _Opened."""
        path, captioner = path if isinstance(path, Excerpt) else Path(path), self.load().captioner
        if media.kind(path) == "video":
            to_caption, info = captioner.pictures_to_caption(path), media.probe(path)
            box = geometry.box_whole(info.height, info.width)
            return _Opened(path, to_caption, {}, info.height, info.width, box, info.n_frames, info.fps)
        if isinstance(path, Excerpt):
            raise UserError(f"{path} is an image: --start, --end and --every are of videos")
        image = media.read_image(path)  # [h, w, 3]
        as_seen = {scale: captioner.as_seen(image, scale) for scale in self._scales}
        is_same = False in as_seen and captioner.captions_what_it_sees
        size = image.shape[:2]
        to_caption = None if is_same else captioner.pictures_to_caption(path)
        return _Opened(path, to_caption, as_seen, *size, captioner.seen_box(*size))

    def _look(self, opened):
        """Show a decoded medium to the CNN, by itself: its last bits depend on how many pictures come together."""
        captioner = self.captioner
        looks = {scale: captioner.cells(pictures, scale) for scale, pictures in opened.as_seen.items()}
        cells = looks[False] if opened.to_caption is None else captioner.cells_to_caption(opened.to_caption)
        about = opened.height, opened.width, opened.box, looks, opened.n_frames, opened.fps
        return Sight(opened.path, cells, *about)

    def own_query(self, sight, instead=None):
        """The captioner's own caption of what it sees -> Query; UserError as from `query`."""
        own = sight.own or self.captioner.own_query(sight.cells, sight.path, instead)
        if isinstance(own, UserError):
            raise own
        return own

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
        own = [query is None for query in queries]
        queries = [self.own_query(sight, instead) if query is None else query for query in queries]
        if sight.is_video:
            with contextlib.nullcontext(progress) if progress else _bar(sight.path) as show:
                smoothings = dict.fromkeys(one == "released" for one in normalizations)
                found = self._video(sight, queries, tuple(smoothings), show)
        else:
            found = self._image(sight, queries)
        views = list(itertools.product(self.methods, normalizations))
        return [
            self._explanation(sight, query, [(*view, *_found(found, sight, *view)[k]) for view in views], own[k])
            for k, query in enumerate(queries)
        ]

    def _maps(self, method, cells, query):
        """Raw maps of the words of a query that are explained: cells [F, ...] -> [F, T, Gy, Gx]."""
        return query.by_word(self.captioner.maps(method, cells, query, method in attribution.MULTI_SCALE), axis=1)

    def _image(self, sight, queries):
        """What `_video` gives, of an image: maps [1, T, Gy, Gx] without curves, which are never smoothed."""
        return {
            (method, False): [
                (self._maps(method, sight.looks[method in attribution.MULTI_SCALE], query), None) for query in queries
            ]
            for method in self.methods
        }

    def _video(self, sight, queries, smoothings, show):
        """Maps [F, T, Gy, Gx] and curves [F, T] of every frame, for each query, by method and smoothing -> dict.

        smoothings: whether each frame's descriptors are averaged with its neighbours', as `released` does. The frames
        pass once for each CNN, as they are decoded; they never wait in memory.
        """
        found, n_done = {}, 0
        for multi_scale in self._scales:
            methods = [one for one in self.methods if (one in attribution.MULTI_SCALE) == multi_scale]
            pieces = {
                key: [(Rows(self.scratch), []) for _ in queries] for key in itertools.product(methods, smoothings)
            }
            cells = self._frame_cells(sight.path, multi_scale)
            copies = zip(smoothings, _copies(cells, len(smoothings)), strict=True)
            streams = [saliency.smooth_stream(one) if smoothed else one for smoothed, one in copies]
            for batches in itertools.zip_longest(*streams):  # of each [b, Gy, Gx, D]; smoothed ones are a frame behind
                for smoothed, batch in zip(smoothings, batches, strict=True):
                    if batch is None:
                        continue
                    for place, query in enumerate(queries):
                        curve = self.captioner.curve(batch, query)  # [b, T]
                        for method in methods:
                            maps, curves = pieces[method, smoothed][place]
                            maps.append(self._maps(method, batch, query))
                            curves.append(query.by_word(curve, axis=1))
                n_done += len(batches[0]) if batches[0] is not None else 0
                show(n_done, len(self._scales) * sight.n_frames)
            found |= {
                key: [(maps if maps.is_on_disk else np.asarray(maps), np.concatenate(curves)) for maps, curves in own]
                for key, own in pieces.items()
            }
        return found

    def _normalized(self, raw, name):
        """Maps of an array or of Rows, as saliency.NORMALIZERS has it."""
        if isinstance(raw, Rows):
            return passes.normalized(raw, name, self.scratch)
        return saliency.NORMALIZERS[name](raw)

    def _frame_cells(self, path, multi_scale):
        """The cells of a video's frames as they are decoded, in batches [b, ...]."""
        size = self.captioner.frame_size(multi_scale)
        batches = media.read_frames(path, size=size, batch_size=self.frames_at_once)
        return (self.captioner.cells(frames, multi_scale) for frames in batches)

    def _explanation(self, sight, query, views, is_own):
        """An Explanation of a query, with those of the further views as `also`.

        views: method, normalization, raw maps [F, T, Gy, Gx], curves [F, T] or None; is_own: it is the captioner's own
        caption of what it sees here.
        """
        log_q = self.captioner.own_log_q(query) if is_own else None
        about = {
            "height": sight.height,
            "width": sight.width,
            "box": sight.box,
            "log_q": self.captioner.log_q(sight.cells, query) if log_q is None else log_q,
            "grey_log_q": self.captioner.grey_log_q(query),
            "config": self.captioner.config,
            "checkpoint": self.captioner.checkpoint,
            "learnt_from": self.captioner.media,
            "fps": sight.fps,
        }
        first, *others = (
            Explanation(
                sight.path, query, raw, self._normalized(raw, name), name, method=method, curves=curves, **about
            )
            for method, name, raw, curves in views
        )
        return dataclasses.replace(first, also=tuple(others))


def _found(found, sight, method, normalization):
    """Of what `Explainer._video` or `_image` gives, that of a method under a normalization."""
    return found[method, sight.is_video and normalization == "released"]
