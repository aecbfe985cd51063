"""The network of this project (s2vt_model.py) with its CNN, as explain/ and evaluation/ ask it (captioner.py)."""

import dataclasses
import functools
import zlib

import numpy as np

import data_loader
import saliency
from explain.captioner import GREY, Captioner
from explain.contrast import Contrast, contrasted
from explain.query import Query, known_word, parse_sentence, phrase_steps
from explain.s2vt_scene import S2VTScene
from system.errors import UserError, outcome
from vision import descriptors, geometry

# What --set may change here: the captioner does not depend on it.
SETTINGS = (
    "data_dir",
    "cnn_weights",
    "saliency_input_size",
    "beam_size",
    "length_penalty",
    "cnn_precision",
    "precision",
    "ffmpeg_patience",
)


@functools.lru_cache(maxsize=4)
def blank_grid(extractor):
    """What the CNN says of a grey picture: [Gy, Gx, D]."""
    return extractor(np.full((1, extractor.input_size, extractor.input_size, 3), GREY, np.uint8))[0]


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


class S2VTCaptioner(Captioner):
    """A checkpoint (captioner/checkpoint.py) with its CNN. Cells are descriptors, [n, Gy, Gx, D].

    Where it reads a picture as a whole, one of images reads it as its pictures, one of videos averaged to one
    descriptor.
    """

    def __init__(self, saved):
        self.saved = saved
        self.name, self.media = str(saved.folder), saved.config.media
        self.checkpoint = saved.state.get("step", 0)
        self.words = saved.vocabulary.words[1:]
        self._extractors = {}

    @property
    def config(self):
        return self.saved.config

    @property
    def patience(self):
        return self.config.ffmpeg_patience

    @property
    def identity(self):
        weights = 0
        for name, array in self.saved.model.reference_weights().items():
            weights = zlib.crc32(array, zlib.crc32(name.encode(), weights))
        return {**super().identity, "weights": weights, "words": zlib.crc32(" ".join(self.words).encode())}

    def config_of(self, dataset, assignments=()):
        return self.saved.on(dataset, assignments).config

    def count(self, word):
        return self.saved.vocabulary.counts.get(word, 0)

    def of_model(self, model):
        """The same with another model of that size, and the CNNs that are loaded -> S2VTCaptioner."""
        other = S2VTCaptioner(dataclasses.replace(self.saved, model=model))
        other._extractors = self._extractors
        return other

    def extractor(self, multi_scale=False):
        """The CNN, loaded when it is first asked for; UserError as from `load_cnn`."""
        if multi_scale not in self._extractors:
            self._extractors[multi_scale] = load_cnn(self.saved, multi_scale)
        return self._extractors[multi_scale]

    def load(self, multi_scale=False):
        self.extractor(multi_scale)

    @functools.cached_property
    def captioning_extractor(self):
        """The CNN of the size that the captioner was trained on."""
        loaded = next(iter(self._extractors.values()), None) or self.extractor()
        return loaded.at(descriptors.input_size(self.saved.config))

    # Looking

    def frame_size(self, multi_scale=False):
        return (self.extractor(multi_scale).input_size,) * 2

    def as_seen(self, image, multi_scale=False):
        return geometry.fit(image, self.saved.config.image_geometry, self.extractor(multi_scale).input_size)[None]

    def seen_box(self, height, width):
        return geometry.seen_box(self.saved.config.image_geometry, height, width)

    def cells(self, pictures, multi_scale=False):
        return self.extractor(multi_scale)(pictures)

    def grey_cells(self, multi_scale=False):
        return blank_grid(self.extractor(multi_scale))

    def grey_cells_to_caption(self):
        return blank_grid(self.captioning_extractor)

    @property
    def captions_what_it_sees(self):
        return self.media == "image" and self.captioning_extractor.input_size == self.extractor().input_size

    def pictures_to_caption(self, path):
        return descriptors.cnn_inputs(self.saved.config, path, self.captioning_extractor.input_size)

    def cells_to_caption(self, pictures):
        return self.captioning_extractor(pictures)

    def read(self, cells):
        """The cells of a medium's frames [n, Gy, Gx, D] as the captioner reads them when it captions it -> [N, D]."""
        stored = descriptors.captioning_descriptors(self.saved.config, cells)
        return data_loader.as_sequence(stored, self.saved.config.pyramid_levels)

    # Words

    def query(self, sentence, unknown="error", instead=None):
        query = parse_sentence(sentence, self.saved.vocabulary, self.saved.config.n_lstm_step, unknown)
        return query if instead is None else contrasted(query, instead, self._known_word)

    def _known_word(self, word):
        return known_word(word, self.saved.vocabulary)

    def phrase_steps(self, words, phrases):
        return phrase_steps(self.saved, words, phrases)

    def captions(self, cells):
        config, vocabulary = self.saved.config, self.saved.vocabulary
        (found,) = self.saved.model.beams(self.read(cells)[None], config.beam_size, config.length_penalty)
        return [(vocabulary.decode(ids), score) for ids, score in found]

    def own_query(self, cells, path, instead=None):
        (query,) = self.own_queries([cells], [path], instead)
        if isinstance(query, UserError):
            raise query
        return query

    def own_queries(self, cells, paths, instead=None):
        found = own_captions(self.saved, [self.read(one) for one in cells], paths)
        if instead is None:
            return found
        return [
            query if isinstance(query, UserError) else outcome(contrasted, query, instead, self._known_word)
            for query in found
        ]

    # log q

    @functools.cached_property
    def contrast(self):
        """The captioner, asked for the difference of two words."""
        return Contrast(self.saved.model)

    def _other_ids(self, query):
        return [self.saved.vocabulary.ids[word] for word in query.against]

    def asked(self, query):
        """The model that answers a query: the captioner, or it asked for the difference to other words."""
        if query is None or query.against is None:
            return self.saved.model
        self.contrast.others.assign(self._other_ids(query))
        return self.contrast

    @functools.cached_property
    def _grey_state(self):
        """The state after a grey picture was read."""
        return self.saved.model.encode(self.read(self.grey_cells_to_caption()[None]).astype(np.float32)[None])

    def grey_log_q(self, query):
        return self._log_q(saliency.log_probs_after(self.saved.model, self._grey_state, query.ids), query)

    def own_log_q(self, query):
        return None if query.target_log_probs is None else self._log_q(query.target_log_probs, query)

    def log_q(self, cells, query):
        return self._log_q(saliency.full_input_log_probs(self.saved.model, self.read(cells), query.ids), query)

    def _log_q(self, log_p, query):
        """log q of the words that are explained, from all distributions [L, V]."""
        log_p = log_p[query.places]  # [T, V]
        log_q = log_p[np.arange(len(log_p)), np.take(query.ids, query.places)]
        if query.against is not None:  # less that of the other word
            log_q = log_q - log_p[np.arange(len(log_p)), np.take(self._other_ids(query), query.places)]
        return log_q

    def scene(self, cells, query=None, multi_scale=False):
        config = self.saved.config
        levels = config.pyramid_levels if config.media == "image" else (1,)
        blank = self.grey_cells(multi_scale)
        return S2VTScene(self.asked(query), cells, blank, levels, config.naming_weight > 0)

    def maps_alone(self, cells, query):
        return saliency.raw_maps(self.asked(query), cells, query.ids, query.target_log_probs)

    def curve(self, cells, query):
        pooled = cells.mean(axis=(1, 2))  # [F, D]
        return saliency.temporal_curve(self.asked(query), pooled, query.ids, query.target_log_probs)


def own_captions(saved, sequences, paths):
    """The captioner's own captions of what it reads of media, each [N, D] -> list of Query, or of UserError.

    Each has the distributions behind it; UserError stands for a caption without a word.
    """
    config, queries = saved.config, []
    captions = saved.model.generate(np.stack(sequences), config.beam_size, config.length_penalty)
    for sequence, path, ids in zip(sequences, paths, captions, strict=True):
        words = [saved.vocabulary.words[k] for k in ids]
        # One medium at a time: the last bit of a product depends on how many rows it has.
        log_p = saliency.full_input_log_probs(saved.model, sequence, ids) if ids else None  # [T, V]
        says = Query(" ".join(words), words, ids, target_log_probs=log_p)
        queries.append(says if ids else Captioner.says_nothing(path))
    return queries
