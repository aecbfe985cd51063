"""Every method's maps of every phrase whose place in the picture is known, scored by every measure.

A case is a caption of a photograph or a clip, with those of its phrases that have a place. It gives their maps by any
method, and the scores of maps; `score` goes through the cases of a data set, which `photographs` (by a protocol of
protocols.py) and `clips` find.
"""

import collections
import contextlib
import copy
import dataclasses
import functools
import itertools
import time

import numpy as np

import data_loader
import saliency
from captioner import checkpoint
from datasets.demo import clips as demo_clips
from evaluation import faithfulness, localization
from explain import attribution, explainer
from system import errors
from system.errors import UserError
from vision import geometry, media

MEAN_MAP = "mean_map"  # of a picture, the mean of the paper's maps of all others
UNTRAINED = {  # methods, of a captioner with its initial weights (Adebayo et al., NeurIPS 2018)
    "untrained": attribution.PAPERS,
    "untrained_best": attribution.best.__name__,
}
BASELINES = (*UNTRAINED, MEAN_MAP)
READINGS = {  # a phrase of several words: their maps [S, F, Gy, Gx] -> one [F, Gy, Gx]
    "mean": lambda maps: maps.mean(axis=0),
    "max": lambda maps: maps.max(axis=0),
    "head": lambda maps: maps[-1],  # its last word that the captioner knows
}


class Eye:
    """A captioner with the CNNs that the methods ask for, each loaded when it is first needed.

    seconds: how long each method took for a word of a frame, time after time; cnn_seconds: the CNN for a frame, in one
    size and in several (False, True); unread: why media could not be read.
    """

    def __init__(self, captioner):
        self.captioner = captioner
        self.seconds, self.cnn_seconds = collections.defaultdict(list), collections.defaultdict(list)
        self.unread = {}

    @functools.cached_property
    def untrained(self):
        """The captioner with the weights that training begins with (but for the words' bias)."""
        saved = self.captioner.saved
        return self.captioner.of_model(checkpoint.build_model(saved.config, saved.vocabulary, saved.model.dim_image))

    def look(self, frames, multi_scale):
        """Frames, as the captioner takes them, uint8 [F, h, w, 3] -> their cells [F, ...]."""
        start = time.perf_counter()
        cells = self.captioner.cells(frames, multi_scale)
        self.cnn_seconds[multi_scale].append((time.perf_counter() - start) / len(frames))
        return cells

    def maps(self, method, case):
        """Raw maps of all words of a case -> [F, T, Gy, Gx]."""
        captioner, by = (self.untrained, UNTRAINED[method]) if method in UNTRAINED else (self.captioner, method)
        multi_scale = by in attribution.MULTI_SCALE
        cells = case.grids(multi_scale)
        start = time.perf_counter()
        maps = captioner.maps(by, cells, case.query, multi_scale)
        self.seconds[method].append((time.perf_counter() - start) / len(cells) / len(case.query.ids))
        return maps


class Case:
    """A caption with its phrases to score.

    group: the picture's name; words: of the caption; asked: its phrases, each with `places` among the words; height,
    width, box: of the picture in pixels, and of what the cells cover; grids: from whether the CNN looks in several
    sizes to their cells [F, ...]. `query` has the words that the captioner reads, T of them, `steps` those of each
    phrase, which it does not know where it has none.
    """

    def __init__(self, eye, group, words, asked, size, box, grids):
        self.eye, self.group, self.words, self.asked = eye, group, words, asked
        (self.height, self.width), self.box, self.grids = size, box, grids
        self.query, self.steps = eye.captioner.phrase_steps(words, asked)

    def maps(self, method, reading):
        """Each phrase's raw map -> list of [F, Gy, Gx], None for a phrase that the captioner does not know."""
        if not any(self.steps):
            return [None] * len(self.asked)
        maps = self.eye.maps(method, self)  # [F, T, Gy, Gx]
        return [READINGS[reading](maps[:, steps].swapaxes(0, 1)) if steps else None for steps in self.steps]

    def map_of_picture(self, method, reading, k):
        """Phrase k's raw map of the frame that stands for the medium [Gy, Gx], None where it is not known."""
        maps = self.maps(method, reading)[k]
        return None if maps is None else maps[self.frame(k)]

    def shown(self, maps):
        """Of a phrase's maps, scaled to [0, 1] (equation 7), the mean over the frames, at places of the whole picture.

        [F, Gy, Gx] -> [SIDE, SIDE] of localization.py.
        """
        linear = saliency.normalize_linear(maps[:, None])[:, 0]
        return localization.at_places(linear, self.height, self.width, self.box, fill=0).mean(axis=0)

    def score_curve(self, k):
        """Scores of the paper's temporal curve of a phrase -> dict, of clips {"temporal": ...}."""
        return {}

    def faithfulness(self, k, maps):
        """How much the captioner depends on what the maps [F, Gy, Gx] show at a frame: in nats."""
        frame = self.frame(k)
        scene = self.eye.captioner.scene(self.grids(False)[frame])
        return faithfulness.faithfulness(scene, self.query.ids, self.steps[k], maps[frame])

    def about(self, k):
        """What is known of a phrase before there are maps -> dict."""
        words = [self.words[place] for place in self.asked[k].places]
        return {"words": " ".join(words), "n_seen": self.eye.captioner.count(words[-1])}


class Photograph(Case):
    """A caption (grounding.CaptionedImage) over a photograph; asked for are grounding.Phrase."""

    def __init__(self, eye, captioned, image, grids):
        size, box = image.shape[:2], eye.captioner.seen_box(*image.shape[:2])
        super().__init__(eye, str(captioned.image), captioned.words, captioned.phrases, size, box, grids)
        self.image = image

    def about(self, k):
        phrase = self.asked[k]
        cut_off = localization.share_cut_off(phrase.region, self.height, self.width, self.box)
        return {**super().about(k), "kind": phrase.kind, "cut_off": cut_off}

    def frame(self, k):
        """The frame that stands for the medium."""
        return 0

    def picture(self, k):
        """That frame, uint8 [h, w, 3], and whether the thing is there, bool [h, w]."""
        middle = [(np.arange(size) + 0.5) / size for size in (self.height, self.width)]
        return self.image, self.asked[k].region.distance(*np.meshgrid(*middle, indexing="ij")) == 0

    def score(self, k, maps, box=None):
        """Maps [1, Gy, Gx] over the box, by default this one's -> dict of scores, see localization.score_map."""
        return localization.score_map(maps[0], self.asked[k].region, self.height, self.width, box or self.box)

    def baselines(self, k):
        """The scores of centre and chance."""
        return localization.score_region(self.asked[k].region)


@dataclasses.dataclass(frozen=True)
class Named:
    """A word of a clip that names something: where it can be seen [F, H, W], and when it is there, or happens [F]."""

    word: str
    places: tuple
    mask: np.ndarray
    when: np.ndarray
    kind: str = "word"


def find_named(truth, words):
    """What the words of a caption name in a clip -> list of Named; a word of which nothing can be seen names nothing.

    truth: demo_clips.SceneTruth. A thing, or its look, is there while it can be seen; a verb while it happens.
    """
    found, frames = [], np.arange(truth.masks.shape[1])
    for place, word in enumerate(words):
        numbers = demo_clips.word_things(truth, word)
        mask = truth.masks[numbers].any(axis=0)  # [F, H, W]
        when, kind = mask.any(axis=(1, 2)), demo_clips.WORD_CLASSES.get(word)
        if kind == "verb":
            things = [truth.things[number] for number in numbers]
            when = np.any([(thing.start <= frames) & (frames < thing.stop) for thing in things], axis=0)
        if mask.any():
            found.append(Named(word, (place,), mask, when, kind))
    return found


def on_masks(words, named, masks):
    """The words of a caption that name what the masks [F, H, W] show -> list of Named, each at all of its places."""
    places = {word: tuple(place for place, other in enumerate(words) if other == word) for word in named}
    return [Named(word, places[word], masks, masks.any(axis=(1, 2))) for word in named]


class Clip(Case):
    """A caption over a clip; asked for are Named, whose masks are of `shape` [F, H, W].

    UserError where the clip cannot be read, or has not the frames of its masks.
    """

    def __init__(self, eye, group, path, words, named, shape):
        (n_frames, *size), found = shape, media.probe(path)
        if found.n_frames != n_frames:
            raise UserError(f"{path}: {found.n_frames} frames can be decoded, its masks have {n_frames}")
        if [found.height, found.width] != size:
            masks = "{1} x {0}".format(*size)
            raise UserError(f"{path}: the frames have {found.width} x {found.height} pixels, their masks {masks}")
        grids = functools.cache(functools.partial(_grids_of_clip, eye, path))
        super().__init__(eye, group, words, named, size, geometry.box_whole(*size), grids)
        self.path = path

    def about(self, k):
        named = self.asked[k]
        return {**super().about(k), "words": named.word, "kind": named.kind, "cut_off": 0.0}

    def frame(self, k):
        """The middle one of the frames in which the thing can be seen, and does what the word says if it ever does."""
        named = self.asked[k]
        seen = named.mask.any(axis=(1, 2))
        both = seen & named.when
        frames = np.flatnonzero(both if both.any() else seen)
        return int(frames[len(frames) // 2])

    def picture(self, k):
        frame = self.frame(k)
        return next(media.read_frames(self.path, indices=[frame]))[0], self.asked[k].mask[frame]

    def map_of_picture(self, method, reading, k):
        alone = copy.copy(self)  # with that frame alone: every frame has its maps from itself
        alone.grids = functools.partial(_grids_of_clip, self.eye, self.path, indices=[self.frame(k)])
        maps = alone.maps(method, reading)[k]
        return None if maps is None else maps[0]

    def score(self, k, maps, box=None):
        """Maps [F, Gy, Gx], or one for all frames -> dict of scores, see localization.score_clip."""
        named = self.asked[k]
        every = np.broadcast_to(maps, (len(named.mask), *maps.shape[1:]))
        return localization.score_clip(every, named.mask, named.when)

    @functools.cached_property
    def curves(self):
        """The paper's temporal curves of all words [F, T]."""
        return self.eye.captioner.curve(self.grids(False), self.query)

    def score_curve(self, k):
        curve = self.curves[:, self.steps[k]].mean(axis=1)
        return {"temporal": localization.share_inside(curve, self.asked[k].when)}

    def baselines(self, k):
        return localization.score_mask(self.asked[k].mask, self.asked[k].when)


# The cases of a data set


def photographs(eye, captioned, protocol):
    """Generate the Photographs of captions (list of grounding.CaptionedImage, those of an image side by side).

    protocol: of protocols.py, makes those of an image. An image that cannot be read is told, and left out.
    """
    for path, captions in itertools.groupby(captioned, key=lambda one: one.image):
        with _telling(eye, path):
            image = media.read_image(path)
            grids = functools.cache(functools.partial(_grids_of_image, eye, image))
            yield from protocol(eye, list(captions), image, grids)


def clips(eye, chosen, folder):
    """Generate the Clips of the chosen media (annotations.Medium) of Demo, number k with caption k modulo their number.

    folder: of the data set.

    A clip that cannot be read is told, and left out.
    """
    for k, medium in enumerate(chosen):
        with _telling(eye, medium.path):
            words = data_loader.tokenize(medium.captions[k % len(medium.captions)])
            truth = demo_clips.load_truth(folder, medium.id)
            yield Clip(eye, medium.id, medium.path, words, find_named(truth, words), truth.masks.shape[1:])


def masked_clips(eye, masked):
    """Generate the Clips of sentences with masks (list of davis.MaskedClip).

    A clip that cannot be read is told, and left out.
    """
    for clip in masked:
        with _telling(eye, clip.path):
            masks = clip.read_masks()
            named = on_masks(clip.words, clip.named, masks)
            yield Clip(eye, clip.id, clip.path, clip.words, named, masks.shape)


def _grids_of_image(eye, image, multi_scale):
    return eye.look(eye.captioner.as_seen(image, multi_scale), multi_scale)


def _grids_of_clip(eye, path, multi_scale, indices=None):
    size = eye.captioner.frame_size(multi_scale)
    batches = media.read_frames(path, indices, size, explainer.FRAMES_AT_ONCE)
    return np.concatenate([eye.look(frames, multi_scale) for frames in batches])


@contextlib.contextmanager
def _telling(eye, path):
    """Context manager: a UserError about a medium is told the first time; the other media count all the same."""
    try:
        yield
    except UserError as error:
        if path not in eye.unread:
            errors.report(error)
        eye.unread[path] = str(error)


class MeanMap:
    """For each picture the mean of the maps of all other pictures; flat where there is none."""

    def __init__(self):
        self.sums = collections.defaultdict(lambda: np.zeros((localization.SIDE, localization.SIDE)))
        self.counts = collections.Counter()

    def add(self, group, shown):
        """Add a map [SIDE, SIDE] of the picture `group`."""
        self.sums[group] += shown
        self.counts[group] += 1

    @functools.cached_property
    def total(self):
        return sum(self.sums.values())

    def of(self, group):
        """The map for that picture -> [1, SIDE, SIDE]."""
        others = self.counts.total() - self.counts[group]
        return ((self.total - self.sums[group]) / others if others else np.zeros_like(self.sums[group]))[None]


@dataclasses.dataclass
class Results:
    """about: a dict for each phrase (the numbers of its case and of itself in it, ...); scores: of each method, one."""

    about: list
    scores: dict


def score(cases, methods, reading="mean", with_faithfulness=False):
    """Score all phrases -> Results; beside the methods there are "centre" and "chance".

    cases: a function that generates them, for MEAN_MAP once more; methods: names of attribution.METHODS or BASELINES,
    with MEAN_MAP always the paper's. A phrase that the captioner does not know gets what chance gets, and that has a
    faithfulness of 0.
    """
    about, scores = [], collections.defaultdict(list)
    methods = list(dict.fromkeys([*[attribution.PAPERS] * (MEAN_MAP in methods), *methods]))
    mean_map = MeanMap()
    for number, case in enumerate(cases()):
        for k in range(len(case.asked)):
            about.append({"case": number, "phrase": k, "group": case.group, **case.about(k)})
            for name, found in case.baselines(k).items():
                scores[name].append(found)
            if with_faithfulness:
                scores["chance"][-1]["faithfulness"] = 0.0
        first = len(about) - len(case.asked)
        for method in methods:
            if method == MEAN_MAP:
                continue
            for k, maps in enumerate(case.maps(method, reading)):
                if maps is None:
                    scores[method].append(scores["chance"][first + k])
                    continue
                found = case.score(k, maps)
                if method == attribution.PAPERS:
                    found |= case.score_curve(k)
                    if MEAN_MAP in methods:
                        mean_map.add(case.group, case.shown(maps))
                if with_faithfulness:
                    found["faithfulness"] = case.faithfulness(k, maps)
                scores[method].append(found)
    if MEAN_MAP in methods:
        for case in cases():
            whole, mean = geometry.box_whole(case.height, case.width), mean_map.of(case.group)
            scores[MEAN_MAP] += [case.score(k, mean, whole) for k in range(len(case.asked))]
    return Results(about, dict(scores))
