"""From one video or image and a sentence to saliency, and from saliency to pictures and numbers on disk."""

import dataclasses
import functools
import json
import re
import zlib
from pathlib import Path

import numpy as np

import data_loader
import saliency
from explain import attribution, overlay
from system import files
from system.errors import UserError
from vision import descriptors, geometry, media

FRAMES_AT_ONCE = 32  # through the CNN
GIF_FPS = 10  # at most: a gif of every frame would be huge
MAX_NAME = 80  # letters of the sentence in a file's name
GREY = 128  # of the picture without anything in it
SHEET_FRAMES = 5  # a word, on a contact sheet
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
class Query:
    """The words to explain: `words` [T] with their `ids`, and p_t if the words are the model's own.

    Of the sentence's other words, which the captioner does not know: those left out, and those read as another word.
    """

    sentence: str
    words: list
    ids: list
    skipped: list = dataclasses.field(default_factory=list)
    read_as: dict = dataclasses.field(default_factory=dict)
    target_log_probs: np.ndarray | None = None  # [T, V]

    @property
    def title(self):
        """The sentence, with what is read instead of some of its words."""
        changes = ", ".join(f"{word} is read as {known}" for word, known in self.read_as.items())
        return f"{self.sentence}  ({changes})" if changes else self.sentence


def parse_sentence(sentence, vocabulary, n_lstm_step, unknown="error"):
    """A sentence -> Query. What becomes of a word that the captioner does not know is for `unknown` to say:

    "error", "skip" (leave it out) or "nearest" (read `Vocabulary.stand_in` instead). UserError for such a word under
    "error", or without a stand-in; where no word is left; and where there are more than n_lstm_step.
    """
    words = data_loader.tokenize(sentence)
    strange = [word for word in dict.fromkeys(words) if word not in vocabulary.ids]
    read_as = {}
    if unknown == "nearest":
        read_as = {word: known for word in strange if (known := vocabulary.stand_in(word))}
    lost = [word for word in strange if word not in read_as]
    if lost and unknown != "skip":
        raise UserError(
            f"the captioner does not know {'; '.join(_described(word, vocabulary) for word in lost)}; change the "
            f"sentence, leave them out (--unknown skip)"
            + (", or take the nearest words (--unknown nearest)" if unknown == "error" else "")
        )
    known = [read_as.get(word, word) for word in words if word not in lost]
    if not known:
        raise UserError(f"the sentence '{sentence}' has no word that the captioner knows")
    if len(known) > n_lstm_step:
        raise UserError(f"the sentence has {len(known)} words; this captioner takes at most {n_lstm_step}")
    skipped = [word for word in words if word in lost]
    return Query(sentence, known, [vocabulary.ids[word] for word in known], skipped, read_as)


def _described(word, vocabulary):
    """An unknown word with the known ones that come near it."""
    hints = {"spelled like": vocabulary.nearest(word), "used like": vocabulary.related.get(word)}
    found = "; ".join(f"{how}: {', '.join(words)}" for how, words in hints.items() if words)
    return f"'{word}' ({found or 'none comes near it'})"


def own_caption(saved, extractor, path):
    """The captioner's own caption of the medium -> Query, with the distributions from which it was chosen.

    `extractor` is the CNN of the size that the captioner was trained on.
    """
    grids = extractor(descriptors.cnn_inputs(saved.config, path, extractor.input_size))  # [n, Gy, Gx, D]
    stored = descriptors.captioning_descriptors(saved.config, grids)
    sequence = data_loader.as_sequence(stored, saved.config.pyramid_levels)  # [N, D]
    ids = saved.model.generate(sequence[None], saved.config.beam_size, saved.config.length_penalty)[0]
    if not ids:
        raise UserError(f"the captioner has nothing to say about {path}: give it a --sentence")
    words = [saved.vocabulary.words[k] for k in ids]
    log_p = saliency.full_input_log_probs(saved.model, sequence, ids)  # [T, V]
    return Query(" ".join(words), words, ids, target_log_probs=log_p)


@dataclasses.dataclass(frozen=True)
class Explanation:
    """Saliency of a query over one medium: maps [F, T, Gy, Gx], raw and in [0, 1], and where the cells lie."""

    path: Path
    query: Query
    raw_maps: np.ndarray
    maps: np.ndarray
    normalization: str
    height: int  # of the picture, in pixels
    width: int
    box: tuple  # (top, left, bottom, right) in pixels: what the cells cover
    method: str = attribution.PAPERS  # which maps these are, of attribution.METHODS
    curves: np.ndarray | None = None  # raw temporal curves [F, T], of a video
    fps: float | None = None

    @property
    def is_video(self):
        return self.curves is not None

    def save(self, path, saved):
        """Write everything, with the checkpoint's settings, as .npz (no pickle), for those who plot themselves."""
        arrays = {
            "sentence": self.query.sentence,
            "words": self.query.words,
            "skipped": np.array(self.query.skipped, dtype=str),
            "read_as": np.array(list(self.query.read_as.items()), dtype=str).reshape(-1, 2),
            "own_caption": self.query.target_log_probs is not None,
            "raw_maps": self.raw_maps,
            "maps": self.maps.astype(np.float32),
            "normalization": self.normalization,
            "method": self.method,
            "picture_size": (self.height, self.width),
            "box": self.box,
            "checkpoint": saved.state["step"],
            "config": json.dumps(dataclasses.asdict(saved.config)),
        }
        if self.curves is not None:
            arrays |= {"temporal_curves": self.curves, "fps": self.fps}
        with files.whole(path) as partial:
            np.savez_compressed(partial, **arrays)


def as_seen(saved, extractor, image):
    """An image uint8 [h, w, 3] as the CNN sees it, in the geometry of training -> uint8 [1, size, size, 3]."""
    return geometry.fit(image, saved.config.image_geometry, extractor.input_size)[None]


def seen_box(saved, image):
    """The box (top, left, bottom, right), in pixels, of what the CNN sees of an image uint8 [h, w, 3]."""
    return geometry.seen_box(saved.config.image_geometry, *image.shape[:2])


def phrase_steps(saved, words, phrases):
    """A caption as the captioner reads it, and the steps of each phrase in that: ids [T], list of lists.

    words of the caption; phrases, each with the `places` of its words. For a word that the captioner does not know its
    stand-in is read, else it is left out; what lies beyond the captioner's longest sentence is, too. So a phrase can be
    without steps.
    """
    vocabulary = saved.vocabulary
    read = [word if word in vocabulary.ids else vocabulary.stand_in(word) for word in words]
    known = [place for place, word in enumerate(read) if word is not None][: saved.config.n_lstm_step]
    steps = [[known.index(place) for place in phrase.places if place in known] for phrase in phrases]
    return [vocabulary.ids[read[place]] for place in known], steps


@functools.cache
def blank_grid(extractor):
    """What the CNN says of a grey picture: [Gy, Gx, D]."""
    return extractor(np.full((1, extractor.input_size, extractor.input_size, 3), GREY, np.uint8))[0]


def maps_by(method, saved, extractor, grids, word_ids, target_log_probs=None):
    """Raw maps by a method of attribution.METHODS: grids [F, Gy, Gx, D], word_ids [T] -> [F, T, Gy, Gx].

    All but the paper's own explain log q of the words, whoever has chosen them. Where the captioner reads a frame as a
    whole, one of images reads it as its pictures, one of videos averaged to one descriptor. `extractor` made the grids.
    """
    if method == attribution.PAPERS:
        return saliency.raw_maps(saved.model, grids, word_ids, target_log_probs)
    return np.stack([attribution.METHODS[method](scene(saved, extractor, grid), word_ids) for grid in grids])


def scene(saved, extractor, grid):
    """A frame [Gy, Gx, D], which `extractor` has seen, as the captioner reads it -> attribution.Scene."""
    levels = saved.config.pyramid_levels if saved.config.media == "image" else (1,)
    return attribution.Scene(saved.model, grid, blank_grid(extractor), levels)


def explain_image(saved, extractor, path, query, normalization="linear", method=attribution.PAPERS):
    """Explain one image -> Explanation with F = 1."""
    image = media.read_image(path)  # [h, w, 3]
    grids = extractor(as_seen(saved, extractor, image))  # [1, Gy, Gx, D]
    raw = maps_by(method, saved, extractor, grids, query.ids, query.target_log_probs)  # [1, T, Gy, Gx]
    maps = saliency.NORMALIZERS[normalization](raw)
    (height, width), box = image.shape[:2], seen_box(saved, image)
    return Explanation(path, query, raw, maps, normalization, height, width, box, method)


def explain_video(saved, extractor, path, query, normalization="released", method=attribution.PAPERS):
    """Explain every frame of a video, batch by batch as it is decoded -> Explanation.

    `released` also averages each frame's descriptors with its neighbours', as the released program does.
    """
    info = media.probe(path)
    size = (extractor.input_size, extractor.input_size)
    grids = (extractor(frames) for frames in media.read_frames(path, size=size, batch_size=FRAMES_AT_ONCE))
    raw, curves = [], []
    for batch in saliency.smooth_stream(grids) if normalization == "released" else grids:  # [b, Gy, Gx, D]
        raw.append(maps_by(method, saved, extractor, batch, query.ids, query.target_log_probs))
        pooled = batch.mean(axis=(1, 2))  # [b, D]
        curves.append(saliency.temporal_curve(saved.model, pooled, query.ids, query.target_log_probs))
    raw, curves = np.concatenate(raw), np.concatenate(curves)
    maps = saliency.NORMALIZERS[normalization](raw)
    box = geometry.box_whole(info.height, info.width)
    return Explanation(path, query, raw, maps, normalization, info.height, info.width, box, method, curves, info.fps)


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


class Explainer:
    """A captioner with its CNN, loaded once for any number of media and sentences that one method explains."""

    def __init__(self, saved, method=attribution.PAPERS):
        self.saved = saved
        self.method = method
        self.extractor = load_cnn(saved, method in attribution.MULTI_SCALE)

    @functools.cached_property
    def captioning_extractor(self):
        """The CNN of the size that the captioner was trained on: the same one, unless saliency asks for another."""
        own_size = descriptors.input_size(self.saved.config)
        loaded = self.extractor.extractors if self.method in attribution.MULTI_SCALE else [self.extractor]
        same = [extractor for extractor in loaded if extractor.input_size == own_size]
        return same[0] if same else descriptors.load_cnn(self.saved.config)

    def explain(self, path, sentence=None, unknown="error", normalization=None, form=None):
        """Explain a sentence, or without one the captioner's own caption, over any video or image -> Explanation.

        UserError where that cannot be done, or could not be drawn in that `form` (see `draw`).
        """
        saved = self.saved
        is_image = media.kind(path) == "image"
        check_form(path, is_image, form)
        if sentence is None:
            query = own_caption(saved, self.captioning_extractor, path)
        else:
            query = parse_sentence(sentence, saved.vocabulary, saved.config.n_lstm_step, unknown)
        options = {"method": self.method, **({"normalization": normalization} if normalization else {})}
        return (explain_image if is_image else explain_video)(saved, self.extractor, path, query, **options)


# Pictures


def draw_image(explanation, target):
    """Write a png: a tile a word."""
    query, height, width = explanation.query, explanation.height, explanation.width
    layout = overlay.Layout(query.words, height, width, explanation.box, title=query.title, skipped=query.skipped)
    media.write_image(target, layout.draw(media.read_image(explanation.path), explanation.maps[0]))


def draw_frames(explanation, target):
    """Write a video's overlay, frame by frame: an mp4 at its own rate, or a gif of at most GIF_FPS."""
    query, is_gif = explanation.query, Path(target).suffix == ".gif"
    layout = overlay.Layout(
        query.words,
        explanation.height,
        explanation.width,
        curves=explanation.curves,
        title=query.title,
        skipped=query.skipped,
    )
    every = max(1, round(explanation.fps / GIF_FPS)) if is_gif else 1
    indices = np.arange(0, len(explanation.maps), every)
    frames = (frame for batch in media.read_frames(explanation.path, indices=indices) for frame in batch)
    pictures = (layout.draw(frame, explanation.maps[k], cursor=k) for k, frame in zip(indices, frames, strict=True))
    write = media.write_gif if is_gif else media.write_video
    write(target, pictures, explanation.fps / every)


def draw_contact_sheet(explanation, target):
    """Write a png: for each word the frames of a video in which it is most salient."""
    query, maps = explanation.query, explanation.maps
    chosen = overlay.most_salient_frames(maps.max(axis=(2, 3)), SHEET_FRAMES)  # [T, n]
    wanted = np.unique(chosen)
    decoded = (frame for batch in media.read_frames(explanation.path, indices=wanted) for frame in batch)
    frames = dict(zip(wanted.tolist(), decoded, strict=True))
    times = np.arange(len(maps)) / explanation.fps
    picture = overlay.contact_sheet(
        frames, maps, query.words, explanation.curves, times, chosen, title=query.title, skipped=query.skipped
    )
    media.write_image(target, picture)


def check_form(path, is_image, form):
    """UserError where a medium has no picture of that form."""
    if is_image and form not in (None, "png"):
        raise UserError(f"{path} is an image: --format {form} is for videos, leave it out")


def draw(explanation, folder, form=None):
    """Write the picture of an explanation into `folder` -> its path.

    `form`: "mp4" (default), "gif" or "png" for a video, "png" for an image. UserError for another.
    """
    is_image = not explanation.is_video
    check_form(explanation.path, is_image, form)
    form = form or ("png" if is_image else "mp4")
    query = explanation.query
    words = re.sub(r"\W+", "_", query.sentence.lower()).strip("_")
    if len(words) > MAX_NAME:
        words = f"{words[:MAX_NAME]}-{zlib.crc32(words.encode()):08x}"
    unusual = "-own" if query.target_log_probs is not None else ""  # another question: equation 5, not 6
    unusual += "-skip" if query.skipped else "-nearest" if query.read_as else ""
    if explanation.normalization != ("linear" if is_image else "released"):
        unusual += f"-{explanation.normalization}"
    if explanation.method != attribution.PAPERS:
        unusual += f"-{explanation.method}"
    files.remove_partials(folder)
    target = Path(folder) / f"{Path(explanation.path).stem}-{words}{unusual}.{form}"
    if is_image:
        draw_image(explanation, target)
    elif form == "png":
        draw_contact_sheet(explanation, target)
    else:
        draw_frames(explanation, target)
    return target
