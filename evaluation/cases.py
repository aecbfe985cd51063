"""What is scored: a caption of a photograph or a clip, with those of its phrases that have a place.

A case gives the maps of its phrases by any method, and the scores of maps; scoring.py goes through the cases of a data
set, which `photographs` (by a protocol of protocols.py), `clips` and `masked_clips` find.
"""

import collections
import copy
import dataclasses
import functools
import itertools
import time
from collections.abc import Callable

import numpy as np

import data_loader
import saliency
from captioner import checkpoint
from datasets.demo import clips as demo_clips
from evaluation import faithfulness, localization
from explain import attribution, explainer
from system.errors import UserError
from vision import geometry, media

UNTRAINED = {  # methods, of a captioner with its initial weights (Adebayo et al., NeurIPS 2018)
    "untrained": attribution.PAPERS,
    "untrained_best": attribution.best.__name__,
}
READINGS = {  # a phrase of several words: their maps [S, F, Gy, Gx] -> one [F, Gy, Gx]
    "mean": lambda maps: maps.mean(axis=0),
    "max": lambda maps: maps.max(axis=0),
    "head": lambda maps: maps[-1],  # its last word that the captioner knows
}


class Eye:
    """A captioner with the CNNs that the methods ask for, each loaded when it is first needed.

    seconds: how long each method took for a word that is asked for, of a frame, time after time; cnn_seconds: the CNN
    for a frame, in one size and in several (False, True).
    """

    def __init__(self, captioner):
        self.captioner = captioner
        self.seconds, self.cnn_seconds = collections.defaultdict(list), collections.defaultdict(list)

    @functools.cached_property
    def untrained(self):
        """The captioner with the weights that training begins with (but for the words' bias)."""
        saved = self.captioner.saved
        return self.captioner.of_model(checkpoint.build_model(saved.config, saved.vocabulary, saved.model.dim_image))

    def times(self):
        """What is in `seconds` and `cnn_seconds`, which begin anew -> two dicts of lists."""
        taken = dict(self.seconds), dict(self.cnn_seconds)
        self.seconds, self.cnn_seconds = collections.defaultdict(list), collections.defaultdict(list)
        return taken

    def look(self, frames, multi_scale):
        """Frames, as the captioner takes them, uint8 [F, h, w, 3] -> their cells [F, ...]."""
        start = time.perf_counter()
        cells = self.captioner.cells(frames, multi_scale)
        self.cnn_seconds[multi_scale].append((time.perf_counter() - start) / len(frames))
        return cells

    def maps(self, method, case):
        """Raw maps of the words of a case that are asked for -> [F, P, Gy, Gx]."""
        captioner, by = (self.untrained, UNTRAINED[method]) if method in UNTRAINED else (self.captioner, method)
        scenes = case.seen.scenes(captioner, by in attribution.MULTI_SCALE)
        start = time.perf_counter()
        maps = np.stack([attribution.METHODS[by](one.asking(case.places), case.query.ids) for one in scenes])
        self.seconds[method].append((time.perf_counter() - start) / len(maps) / len(case.places))
        return maps


class Seen:
    """What captioners see of a medium, which its cases share.

    cells: from whether the CNN looks in several sizes to the cells of its frames [F, ...], asked once for each.
    """

    def __init__(self, cells):
        self.cells, self._scenes = functools.cache(cells), {}

    def scenes(self, captioner, multi_scale):
        """The frames before a captioner -> list of attribution.Scene; that of a picture is the same for every case."""
        cells = self.cells(multi_scale)
        key = id(captioner), multi_scale
        if key in self._scenes:
            return self._scenes[key]
        scenes = [captioner.scene(one, multi_scale=multi_scale) for one in cells]
        if len(scenes) == 1:  # those of a clip keep too much
            self._scenes[key] = scenes
        return scenes


class Case:
    """A caption with its phrases to score.

    group: the picture's name; words: of the caption; asked: its phrases, each with `places` among the words; height,
    width, box: of the picture in pixels, and of what the cells cover; seen: Seen. `query` has the words that the
    captioner reads, T of them, `steps` those of each phrase, which it does not know where it has none; `places` [P] are
    the steps of all phrases.
    """

    def __init__(self, eye, group, words, asked, size, box, seen):
        self.eye, self.group, self.words, self.asked = eye, group, words, asked
        (self.height, self.width), self.box, self.seen = size, box, seen
        self.query, self.steps = eye.captioner.phrase_steps(words, asked)

    @property
    def places(self):
        return sorted({step for steps in self.steps for step in steps})

    def _among_places(self, k):
        """The steps of a phrase, as numbers of `places`."""
        return [self.places.index(step) for step in self.steps[k]]

    def maps(self, method, reading):
        """Each phrase's raw map -> list of [F, Gy, Gx], None for a phrase that the captioner does not know."""
        if not any(self.steps):
            return [None] * len(self.asked)
        maps = self.eye.maps(method, self).swapaxes(0, 1)  # [P, F, Gy, Gx]
        steps = map(self._among_places, range(len(self.asked)))
        return [READINGS[reading](maps[own]) if own else None for own in steps]

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

    def faithfulness(self, found):
        """How much the captioner depends on what maps show: pairs of phrase k and its maps [F, Gy, Gx] -> list, nats.

        Of a clip at the frame that stands for it.
        """
        values, scenes = [0.0] * len(found), self.seen.scenes(self.eye.captioner, False)
        for frame in {self.frame(k) for k, _ in found}:
            numbers = [number for number, (k, _) in enumerate(found) if self.frame(k) == frame]
            asked = [(self._among_places(found[number][0]), found[number][1][frame]) for number in numbers]
            own = faithfulness.faithfulness(scenes[frame].asking(self.places), self.query.ids, asked)
            for number, value in zip(numbers, own, strict=True):
                values[number] = value
        return values

    def about(self, k):
        """What is known of a phrase before there are maps -> dict."""
        words = [self.words[place] for place in self.asked[k].places]
        return {"words": " ".join(words), "n_seen": self.eye.captioner.count(words[-1])}


class Photograph(Case):
    """A caption (grounding.CaptionedImage) over a photograph; asked for are grounding.Phrase."""

    def __init__(self, eye, captioned, image, seen):
        size, box = image.shape[:2], eye.captioner.seen_box(*image.shape[:2])
        super().__init__(eye, str(captioned.image), captioned.words, captioned.phrases, size, box, seen)
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

    def __init__(self, eye, group, path, words, named, shape, seen):
        (n_frames, *size), found = shape, media.probe(path)
        if found.n_frames != n_frames:
            raise UserError(f"{path}: {found.n_frames} frames can be decoded, its masks have {n_frames}")
        if [found.height, found.width] != size:
            masks = "{1} x {0}".format(*size)
            raise UserError(f"{path}: the frames have {found.width} x {found.height} pixels, their masks {masks}")
        super().__init__(eye, group, words, named, size, geometry.box_whole(*size), seen)
        self.path = path
        self._seen_alone = functools.cache(lambda frame: _seen_of_clip(eye, path, indices=[frame]))

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
        alone.seen = self._seen_alone(self.frame(k))
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
        return self.eye.captioner.curve(self.seen.cells(False), self.query)

    def score_curve(self, k):
        curve = self.curves[:, self.steps[k]].mean(axis=1)
        return {"temporal": localization.share_inside(curve, self.asked[k].when)}

    def baselines(self, k):
        return localization.score_mask(self.asked[k].mask, self.asked[k].when)


# The subjects of a data set


@dataclasses.dataclass(frozen=True)
class Subject:
    """A medium with what is asked about it; `cases` opens it -> list of Case. UserError where it cannot be read."""

    id: str
    cases: Callable


def photographs(eye, captioned, protocol):
    """The photographs of captions (grounding.CaptionedImage, those of an image side by side) -> list of Subject.

    protocol: of protocols.py, makes the cases of an image.
    """

    def open_photograph(path, captions):
        image = media.read_image(path)
        return protocol(eye, captions, image, Seen(functools.partial(_grids_of_image, eye, image)))

    return [
        Subject(str(path), functools.partial(open_photograph, path, list(captions)))
        for path, captions in itertools.groupby(captioned, key=lambda one: one.image)
    ]


def clips(eye, chosen, folder):
    """The chosen media (annotations.Medium) of Demo, number k with caption k modulo their number -> list of Subject.

    folder: of the data set.
    """

    def open_clip(k, medium):
        words = data_loader.tokenize(medium.captions[k % len(medium.captions)])
        truth = demo_clips.load_truth(folder, medium.id)
        named, seen = find_named(truth, words), _seen_of_clip(eye, medium.path)
        return [Clip(eye, medium.id, medium.path, words, named, truth.masks.shape[1:], seen)]

    return [Subject(medium.id, functools.partial(open_clip, k, medium)) for k, medium in enumerate(chosen)]


def masked_clips(eye, masked):
    """Sentences with masks (list of davis.MaskedClip), in any order -> list of Subject, one a clip."""
    by_clip = {}
    for clip in masked:
        by_clip.setdefault(clip.id, []).append(clip)

    def open_clips(sentences):
        masks = sentences[0].read_masks()  # of the clip
        named = [on_masks(one.words, one.named, masks) for one in sentences]
        seen = _seen_of_clip(eye, sentences[0].path)
        return [
            Clip(eye, one.id, one.path, one.words, words, masks.shape, seen)
            for one, words in zip(sentences, named, strict=True)
        ]

    return [Subject(name, functools.partial(open_clips, sentences)) for name, sentences in by_clip.items()]


def _grids_of_image(eye, image, multi_scale):
    return eye.look(eye.captioner.as_seen(image, multi_scale), multi_scale)


def _seen_of_clip(eye, path, indices=None):
    return Seen(functools.partial(_grids_of_clip, eye, path, indices=indices))


def _grids_of_clip(eye, path, multi_scale, indices=None):
    size = eye.captioner.frame_size(multi_scale)
    batches = media.read_frames(path, indices, size, explainer.FRAMES_AT_ONCE)
    return np.concatenate([eye.look(frames, multi_scale) for frames in batches])
