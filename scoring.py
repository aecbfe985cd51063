"""Every method's maps of every phrase whose place in the picture is known, scored by every measure.

A case is a caption of a photograph or a clip, with those of its phrases that have a place. It gives their maps by any
method, and the scores of maps; `score` goes through the cases of a data set, which `photographs` and `clips` find.
"""

import collections
import dataclasses
import functools
import time

import numpy as np

import annotations
import attribution
import checkpoint
import demo_data
import errors
import explanation
import faithfulness
import geometry
import localization
import media
import saliency
from errors import UserError

UNTRAINED, MEAN_MAP = "untrained", "mean_map"
BASELINES = (UNTRAINED, MEAN_MAP)  # the paper's method, of a captioner with its initial weights; one map for all
READINGS = {  # a phrase of several words: their maps [S, F, Gy, Gx] -> one [F, Gy, Gx]
    "mean": lambda maps: maps.mean(axis=0),
    "max": lambda maps: maps.max(axis=0),
    "head": lambda maps: maps[-1],  # its last word
}


class Eye:
    """A captioner with the CNNs that the methods ask for, each loaded when it is first needed.

    seconds: how long each method took for a word of a frame, and each CNN for a frame, time after time.
    """

    def __init__(self, saved):
        self.saved = saved
        self.seconds = collections.defaultdict(list)
        self.extractor = functools.cache(functools.partial(explanation.load_cnn, saved))

    @functools.cached_property
    def untrained(self):
        """The captioner with the weights that training begins with (Adebayo et al., NeurIPS 2018)."""
        saved = self.saved
        model = checkpoint.build_model(saved.config, saved.vocabulary, saved.model.dim_image)
        return dataclasses.replace(saved, model=model)

    def look(self, frames, multi_scale):
        """Frames uint8 [F, size, size, 3] -> [F, Gy, Gx, D]."""
        start = time.perf_counter()
        grids = self.extractor(multi_scale)(frames)
        self.seconds["CNN, several sizes" if multi_scale else "CNN"].append((time.perf_counter() - start) / len(frames))
        return grids

    def maps(self, method, case):
        """Raw maps of all words of a case -> [F, T, Gy, Gx]."""
        saved, by = (self.untrained, attribution.PAPERS) if method == UNTRAINED else (self.saved, method)
        multi_scale = by in attribution.MULTI_SCALE
        grids = case.grids(multi_scale)
        start = time.perf_counter()
        maps = explanation.maps_by(by, saved, self.extractor(multi_scale), grids, case.ids)
        self.seconds[method].append((time.perf_counter() - start) / len(grids) / len(case.ids))
        return maps


class Case:
    """A caption with its phrases to score.

    group: the picture's name; ids [T]: the words that the captioner knows; asked: a pair (what it is, its steps in
    `ids`) for each phrase; height, width, box: of the picture in pixels, and of what the cells cover; grids: from
    whether the CNN looks in several sizes to [F, Gy, Gx, D].
    """

    def __init__(self, eye, group, ids, asked, size, box, grids):
        self.eye, self.group, self.ids, self.asked = eye, group, ids, asked
        (self.height, self.width), self.box, self.grids = size, box, functools.cache(grids)
        self._random_area = functools.cache(self._random_area)

    def maps(self, method, reading):
        """Each phrase's raw map -> list of [F, Gy, Gx]."""
        maps = self.eye.maps(method, self)  # [F, T, Gy, Gx]
        return [READINGS[reading](maps[:, steps].swapaxes(0, 1)) for _, steps in self.asked]

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
        """How much more the captioner depends on the cells in the map's order than in a random one: in nats."""
        ranks = faithfulness.ranks_of(maps[self.frame(k)], self.grids(False).shape[1:3])
        return self._area(k, ranks) - self._random_area(k)

    def _random_area(self, k):
        return self._area(k, faithfulness.random_ranks(self.grids(False)[0, ..., 0].size))

    def _area(self, k, ranks):
        scene = explanation.scene(self.eye.saved, self.eye.extractor(False), self.grids(False)[self.frame(k)])
        return faithfulness.area_between(scene, self.ids, self.asked[k][1], ranks)

    def n_seen(self, word):
        """How often a word was seen in training."""
        return self.eye.saved.vocabulary.counts.get(word, 0)


class Photograph(Case):
    """A caption (grounding.CaptionedImage) over a photograph; asked for are grounding.Phrase."""

    def __init__(self, eye, captioned, image, grids):
        ids, asked = explanation.phrase_steps(eye.saved, captioned.words, captioned.phrases)
        box = explanation.seen_box(eye.saved, image)
        super().__init__(eye, str(captioned.image), ids, asked, image.shape[:2], box, grids)
        self.words, self.image = captioned.words, image

    def about(self, k):
        """What is known of a phrase before there are maps -> dict."""
        phrase, _ = self.asked[k]
        words = [self.words[place] for place in phrase.places]
        cut_off = localization.share_cut_off(phrase.region, self.height, self.width, self.box)
        return {"words": " ".join(words), "kind": phrase.kind, "n_seen": self.n_seen(words[-1]), "cut_off": cut_off}

    def frame(self, k):
        """The frame of which faithfulness is measured."""
        return 0

    def picture(self, k):
        """That frame, uint8 [h, w, 3], and whether the thing is there, bool [h, w]."""
        middle = [(np.arange(size) + 0.5) / size for size in (self.height, self.width)]
        return self.image, self.asked[k][0].region.distance(*np.meshgrid(*middle, indexing="ij")) == 0

    def score(self, k, maps, box=None):
        """Maps [1, Gy, Gx] over the box, by default this one's -> dict of localization.PHRASE_SCORES."""
        return localization.score_map(maps[0], self.asked[k][0].region, self.height, self.width, box or self.box)

    def baselines(self, k):
        return localization.score_region(self.asked[k][0].region)


@dataclasses.dataclass(frozen=True)
class Named:
    """A word of a clip that names something: where it can be seen [F, H, W], and when it is there, or happens [F]."""

    word: str
    mask: np.ndarray
    when: np.ndarray


def find_named(truth, word):
    """What a caption's word names in a clip -> Named, or None where nothing of it can be seen.

    truth: demo_data.SceneTruth. A thing, or its look, is there while it can be seen; a verb while it happens.
    """
    numbers = demo_data.word_things(truth, word)
    mask = truth.masks[numbers].any(axis=0)  # [F, H, W]
    if not mask.any():
        return None
    when = mask.any(axis=(1, 2))
    if demo_data.WORD_CLASSES[word] == "verb":
        frames = np.arange(len(mask))
        things = [truth.things[number] for number in numbers]
        when = np.any([(thing.start <= frames) & (frames < thing.stop) for thing in things], axis=0)
    return Named(word, mask, when)


class Clip(Case):
    """A caption over a clip of Demo; asked for are Named."""

    def __init__(self, eye, medium, sentence):
        query = explanation.parse_sentence(sentence, eye.saved.vocabulary, eye.saved.config.n_lstm_step, "skip")
        truth = demo_data.load_truth(eye.saved.config.data_dir, medium.id)
        found = ((find_named(truth, word), [t]) for t, word in enumerate(query.words))
        size = truth.masks.shape[2:]
        asked = [(named, steps) for named, steps in found if named is not None]
        super().__init__(eye, medium.id, query.ids, asked, size, geometry.box_whole(*size), self._look)
        self.path = medium.path

    def _look(self, multi_scale):
        size = self.eye.extractor(multi_scale).input_size
        batches = media.read_frames(self.path, size=(size, size), batch_size=explanation.FRAMES_AT_ONCE)
        return np.concatenate([self.eye.look(frames, multi_scale) for frames in batches])

    def about(self, k):
        word = self.asked[k][0].word
        return {"words": word, "kind": demo_data.WORD_CLASSES[word], "n_seen": self.n_seen(word), "cut_off": 0.0}

    def frame(self, k):
        """The middle one of the frames in which the thing can be seen."""
        seen = np.flatnonzero(self.asked[k][0].mask.any(axis=(1, 2)))
        return int(seen[len(seen) // 2])

    def picture(self, k):
        frame = self.frame(k)
        return next(media.read_frames(self.path, indices=[frame]))[0], self.asked[k][0].mask[frame]

    def score(self, k, maps, box=None):
        """Maps [F, Gy, Gx], or one for all frames -> dict of localization.CLIP_SCORES, but for temporal."""
        mask = self.asked[k][0].mask
        return localization.score_clip(np.broadcast_to(maps, (len(mask), *maps.shape[1:])), mask)

    def score_curve(self, k):
        named, (step,) = self.asked[k]
        curve = saliency.temporal_curve(self.eye.saved.model, self.grids(False).mean(axis=(1, 2)), self.ids)[:, step]
        return {"temporal": localization.share_inside(curve, named.when)}

    def baselines(self, k):
        named, _ = self.asked[k]
        return localization.score_mask(named.mask, named.when)


# The cases of a data set


def photographs(eye, captioned, limit=None):
    """Generate the Photographs of captions (list of grounding.CaptionedImage), of the first `limit` images.

    An image that cannot be read is told, and left out.
    """
    of_image = collections.defaultdict(list)
    for one in captioned:
        of_image[one.image].append(one)
    for path, captions in list(of_image.items())[:limit]:
        try:
            image = media.read_image(path)
        except UserError as error:  # the others count all the same
            errors.report(error)
            continue

        @functools.cache
        def grids(multi_scale, image=image):
            return eye.look(explanation.as_seen(eye.saved, eye.extractor(multi_scale), image), multi_scale)

        yield from (Photograph(eye, one, image, grids) for one in captions)


def clips(eye, split, limit=None):
    """Generate a Clip for each of the first `limit` clips of Demo: clip k with the caption k modulo their number."""
    chosen = annotations.split_media(annotations.read_media(eye.saved.config), split)[:limit]
    for k, medium in enumerate(chosen):
        yield Clip(eye, medium, medium.captions[k % len(medium.captions)])


@dataclasses.dataclass
class Results:
    """about: a dict for each phrase (the numbers of its case and of itself in it, ...); scores: of each method, one."""

    about: list
    scores: dict


def score(cases, methods, reading="mean", with_faithfulness=False):
    """Score all phrases -> Results; beside the methods there are "centre" and "chance".

    cases: a function that generates them, for MEAN_MAP once more; methods: names of attribution.METHODS or BASELINES,
    with MEAN_MAP always the paper's.
    """
    about, scores, shown = [], collections.defaultdict(list), []
    methods = list(dict.fromkeys([*[attribution.PAPERS] * (MEAN_MAP in methods), *methods]))
    for number, case in enumerate(cases()):
        for k in range(len(case.asked)):
            about.append({"case": number, "phrase": k, "group": case.group, **case.about(k)})
            for name, found in case.baselines(k).items():
                scores[name].append(found)
        for method in methods if case.asked else ():
            if method == MEAN_MAP:
                continue
            for k, maps in enumerate(case.maps(method, reading)):
                found = case.score(k, maps)
                if with_faithfulness:
                    found["faithfulness"] = case.faithfulness(k, maps)
                if method == attribution.PAPERS:
                    found |= case.score_curve(k)
                    shown.append(case.shown(maps))
                scores[method].append(found)
    if MEAN_MAP in methods:
        mean = np.mean(shown, axis=0)[None]  # [1, SIDE, SIDE]
        for case in cases():
            whole = geometry.box_whole(case.height, case.width)
            scores[MEAN_MAP] += [case.score(k, mean, whole) for k in range(len(case.asked))]
    return Results(about, dict(scores))
