"""What explain/ and evaluation/ ask of a captioner, whatever it is made of (docs/captioners.md shows a small one).

A captioner looks at pictures, which gives it cells: what it says of each place of a picture before it writes. Of what
kind the array of the cells is, is its own affair; its first axis counts the pictures. Asked is log q(w_t | w_<t), the
logarithm of the probability of each word of a given sentence after the words before it, when it sees this or that.
"""

import abc
import dataclasses

import numpy as np

import cfg
from explain import attribution
from system.errors import UserError, outcome
from vision import media

GREY = 128  # of the picture without anything in it


class Captioner(abc.ABC):
    """The questions. `S2VTCaptioner` answers them for the network of this project.

    Axes: n pictures, F frames, T words (of several pieces, where the captioner writes in pieces: `Query.by_word`),
    Gy x Gx cells. multi_scale: whether the picture is looked at in several sizes, as attribution.MULTI_SCALE wants it.
    """

    name = "a captioner"  # in messages
    media = "image"  # what it has learnt from: "image" or "video"
    words = ()  # that it knows, if it knows only some
    checkpoint = 0  # its number, of a training
    patience = 60  # seconds in which ffmpeg may give no frame of a file

    @property
    def config(self):
        """What a result notes of it: a dataclass, or a dict, of JSON."""
        return {}

    @property
    def identity(self):
        """What its answers depend on: a dict of JSON."""
        config = dataclasses.asdict(self.config) if dataclasses.is_dataclass(self.config) else self.config
        return {"name": self.name, "checkpoint": self.checkpoint, "config": config}

    def config_of(self, dataset, assignments=()):
        """The settings under which it sees a data set, `--set` assignments among them -> cfg.Config; or UserError."""
        return cfg.override(cfg.DATASETS[dataset], assignments)

    def count(self, word):
        """How often it has seen a word in training, as far as that is known."""
        return 0

    def load(self, multi_scale=False):  # noqa: B027 (by default nothing waits)
        """Load now what the first picture would else wait for; UserError where that cannot be done."""

    # Looking

    @abc.abstractmethod
    def frame_size(self, multi_scale=False):
        """(width, height) in which frames of a video are to be decoded for `cells`."""

    @abc.abstractmethod
    def as_seen(self, image, multi_scale=False):
        """A picture uint8 [h, w, 3] as `cells` takes it -> uint8 [1, height, width, 3]."""

    def seen_box(self, height, width):
        """What it sees of a picture of that size, and the cells cover: (top, left, bottom, right) in pixels."""
        return 0.0, 0.0, float(height), float(width)

    @abc.abstractmethod
    def cells(self, pictures, multi_scale=False):
        """What it says of pictures uint8 [n, height, width, 3] -> the cells of each, by default [n, Gy, Gx, D]."""

    @abc.abstractmethod
    def grey_cells(self, multi_scale=False):
        """The cells of one grey picture, without the axis of pictures."""

    captions_what_it_sees = True  # whether an image that it captions has the cells of `cells` of `as_seen`

    def pictures_to_caption(self, path):
        """What it looks at when it captions a medium, of a video some frames -> uint8 [n, height, width, 3].

        By default an image as `as_seen`, and of a video the middle frame. UserError where it cannot be read.
        """
        if media.kind(path) == "image":
            return self.as_seen(media.read_image(path))
        return media.sample_frames(path, 1, self.frame_size())

    def cells_to_caption(self, pictures):
        """The cells of those pictures, as it reads them when it captions a medium -> [n, ...]."""
        return self.cells(pictures)

    def covered(self, cells, shares):
        """The cells [n, ...] of pictures of which a part is grey (10); shares [Gy, Gx]: of each cell, how much."""
        return cells + shares[..., None].astype(np.float32) * (self.grey_cells_to_caption() - cells)

    def grey_cells_to_caption(self):
        """As `grey_cells`, in the size in which it captions."""
        return self.grey_cells()

    def grid_to_caption(self, cells):
        """(Gy, Gx) of the cells [n, ...] of what it captions."""
        return cells.shape[1:3]

    # Words

    @abc.abstractmethod
    def query(self, sentence, unknown="error", instead=None):
        """The words of a sentence -> query.Query; UserError where it cannot be asked of this captioner."""

    def phrase_steps(self, words, phrases):
        """A caption (list of words) as it is read, and where each phrase (with its `places`) is in that.

        -> Query, a list of its words' numbers for each phrase, empty where the captioner does not know it. UserError
        where it cannot be scored.
        """
        raise UserError(f"{self.name} does not say which of its words belong to a phrase: it cannot be scored")

    @abc.abstractmethod
    def captions(self, cells):
        """Its own captions of the cells of a medium [n, ...], best first -> list of (sentence, score)."""

    def own_query(self, cells, path, instead=None):
        """The words of its own caption of what it sees -> Query; UserError where it says nothing.

        With `target_log_probs` (equation 5) where it has them: by default its caption is a sentence like any other.
        """
        sentence = self.captions(cells)[0][0]
        if not sentence:
            raise self.says_nothing(path)
        return self.query(sentence, "error", instead)

    def own_queries(self, cells, paths, instead=None):
        """`own_query` of several media, list of cells [n, ...] -> list of Query, or of the UserError."""
        return [outcome(self.own_query, one, path, instead) for one, path in zip(cells, paths, strict=True)]

    def grey_log_q(self, query):
        """`log_q` when it captions a grey picture: what the words before each word say of it."""
        return self.log_q(self.grey_cells_to_caption()[None], query)

    def own_log_q(self, query):
        """`log_q` of an own caption on what it is about, where that is known since it was written, else None."""
        return None

    @staticmethod
    def says_nothing(path):
        return UserError(f"the captioner has nothing to say about {path}: give it a --sentence")

    # log q

    @abc.abstractmethod
    def log_q(self, cells, query):
        """log q of the words that are explained, when it captions the cells [n, ...] of a medium -> [T], nats."""

    @abc.abstractmethod
    def scene(self, cells, query=None, multi_scale=False):
        """One picture, of which these are the cells, as a method of attribution.METHODS asks about it -> Scene."""

    def maps_alone(self, cells, query):
        """The paper's raw maps (6) of pictures, log q when one cell alone is seen: cells [F, ...] -> [F, T, Gy, Gx].

        (5) where the query has `target_log_probs`.
        """
        method = attribution.METHODS[attribution.PAPERS]
        return np.stack([method(self.scene(one, query), query.ids) for one in cells])

    @abc.abstractmethod
    def curve(self, cells, query):
        """The same of each frame as a whole: cells [F, ...] -> [F, T]."""

    def maps(self, method, cells, query, multi_scale=False):
        """Raw maps by a method of attribution.METHODS: cells [F, ...] -> [F, T, Gy, Gx].

        All but the paper's own explain log q of the words, whoever has chosen them.
        """
        if method == attribution.PAPERS:
            return self.maps_alone(cells, query)
        scenes = (self.scene(one, query, multi_scale) for one in cells)
        return np.stack([attribution.METHODS[method](one, query.ids) for one in scenes])
