"""Checkpoints: a folder `model-<step>` with all that one needs to caption, to explain, or to go on training.

    weights.npz      the seven weights, by their names in s2vt_model.WEIGHT_NAMES
    config.json      every setting (cfg.Config)
    vocabulary.json  the words in the order of their ids
    words.json       how often each was seen in training; and for other words of the training captions known ones that
                     are used like them
    state.json       step, losses and the like
    optimizer.npz    Adam's moments, for --resume; and where weights.npz has averages, the weights themselves

Nothing in it needs pickle. The folder is written beside its name and renamed.
"""

import dataclasses
import math
import re
from pathlib import Path

import numpy as np

import cfg
import data_loader
import s2vt_model
from datasets import store
from system import arrays, console, files
from system.errors import UserError

NAME = re.compile(r"model-(\d+)")

MOST_WEIGHT = 1e4  # those of a captioner stay below 100
DAMAGES = (OSError, ValueError)  # what reading a damaged file raises

# What the parts of state.json may be; None stands for what is not in every checkpoint.
STATE = {
    "step": lambda value: _is_count(value),
    "losses_since_save": lambda value: value is None or (isinstance(value, list) and all(map(_is_number, value))),
    "validation_loss": lambda value: value is None or _is_number(value),
    "n_samples": lambda value: value is None or _is_count(value),
    "cnn_weights_id": lambda value: value is None or isinstance(value, str),
}


def _is_count(value):
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


def _is_number(value):
    return isinstance(value, float) or _is_count(value)


@dataclasses.dataclass
class Checkpoint:
    """A checkpoint as read; the model has its weights."""

    folder: Path
    config: cfg.Config
    vocabulary: data_loader.Vocabulary
    state: dict
    model: s2vt_model.S2VT

    def check_dataset(self, dataset):
        """UserError if the checkpoint was trained on another data set."""
        if self.config.dataset != dataset:
            raise UserError(
                f"{self.folder} was trained on {self.config.dataset}, not {dataset}: name another --experiment"
            )

    def on(self, dataset, assignments=()):
        """This captioner with its settings for a data set by itself, its own or another -> Checkpoint.

        assignments: those of `load`, for a data_dir among them. UserError where that data set's media are of the other
        kind.
        """
        media = cfg.DATASETS[dataset].media
        if media != self.config.media:
            raise UserError(
                f"{self.folder} was trained on {self.config.media}s, those of {self.config.dataset}, and {dataset} has "
                f"{media}s: name another --experiment"
            )
        return dataclasses.replace(self, config=cfg.override(self.config.of(dataset), assignments))

    def check_descriptors(self):
        """UserError if the stored descriptors come from other weights of the CNN than those it was trained on."""
        trained_on, stored = self.state.get("cnn_weights_id"), store.Store(self.config).cnn_weights_id()
        if None not in (trained_on, stored) and trained_on != stored:
            raise UserError(
                f"{self.folder} was trained on descriptors of {self.config.cnn} with other weights ({trained_on}) than "
                f"those in {self.config.descriptors_dir} ({stored}): move that folder away and run preprocessing.py "
                "with --set cnn_weights=FILE, or train anew"
            )


def folder_of(experiment, step):
    """The folder of checkpoint `step`."""
    return Path(experiment) / f"model-{step}"


def steps(experiment):
    """The numbers of the checkpoints of an experiment, rising."""
    names = (NAME.fullmatch(path.name) for path in Path(experiment).glob("model-*") if path.is_dir())
    return sorted(int(match[1]) for match in names if match)


def build_model(config, vocabulary, dim_image, output_bias=None):
    """The captioner that `config` describes, with its initial weights."""
    return s2vt_model.S2VT(
        len(vocabulary),
        dim_image,
        config.dim_hidden,
        config.dim_word_emb,
        config.n_sampled_frames,
        config.n_lstm_step,
        forget_bias=config.forget_bias,
        cell_clip=config.cell_clip,
        input_keep_prob=config.input_keep_prob,
        output_keep_prob=config.output_keep_prob,
        label_smoothing=config.label_smoothing,
        seed=config.seed,
        output_bias=output_bias,
        precision=config.precision,
    )


def save(experiment, step, config, vocabulary, model, optimizer, state, unaveraged=None):
    """Write `model-<step>`; `state` is whatever JSON can hold.

    `unaveraged`: the weights from which training goes on, where the model has their running average.
    """
    with files.whole_folder(folder_of(experiment, step)) as folder:
        np.savez(folder / "weights.npz", **model.reference_weights())
        moments = {str(k): np.asarray(variable) for k, variable in enumerate(optimizer.variables)}
        np.savez(folder / "optimizer.npz", **moments, **(unaveraged or {}))
        files.write_json(folder / "config.json", dataclasses.asdict(config))
        _write_vocabulary(folder, vocabulary)
        files.write_json(folder / "state.json", {"step": step, **state})


def _write_vocabulary(folder, vocabulary):
    files.write_json(folder / "vocabulary.json", vocabulary.words, indent=None)
    about = {"counts": list(vocabulary.counts.values()), "related": vocabulary.related}
    files.write_json(folder / "words.json", about, indent=None)


def _read_vocabulary(folder):
    words = _read_json(folder / "vocabulary.json")
    path = folder / "words.json"  # older checkpoints lack it
    about = _read_json(path) if path.exists() else {}
    if not isinstance(about, dict):
        raise ValueError("words.json is no table")
    counts, related = about.get("counts") or [], about.get("related") or {}
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError("vocabulary.json is no list of words")
    if not isinstance(counts, list) or not all(map(_is_count, counts)) or len(counts) not in (0, len(words)):
        raise ValueError("words.json does not count the words")
    known = set(words)
    if not isinstance(related, dict) or not all(
        isinstance(alike, list) and all(isinstance(word, str) and word in known for word in alike)
        for alike in related.values()
    ):
        raise ValueError("words.json does not say which known words are used like others")
    return data_loader.Vocabulary(words, counts, related)


def _read_json(path):
    return files.parse_json(path.read_text(encoding="utf-8"))


def publish(saved, experiment):
    """Write a checkpoint into another experiment's folder as one to be shipped -> its folder.

    The weights are float16, and there is nothing to resume from. UserError where the folder has a checkpoint already,
    or the weights do not fit float16.
    """
    if steps(experiment):
        raise UserError(f"{experiment} has a checkpoint already: name a new folder")
    with np.errstate(over="ignore"):
        weights = {name: array.astype(np.float16) for name, array in saved.model.reference_weights().items()}
    if not all(np.isfinite(array).all() for array in weights.values()):
        raise UserError(f"some weights of {saved.folder} exceed float16")
    files.writable_folder(experiment)
    with files.whole_folder(folder_of(experiment, saved.state["step"])) as folder:
        np.savez_compressed(folder / "weights.npz", **weights)
        files.write_json(folder / "config.json", dataclasses.asdict(saved.config))
        _write_vocabulary(folder, saved.vocabulary)
        files.write_json(folder / "state.json", {**saved.state, "losses_since_save": []})
    return folder_of(experiment, saved.state["step"])


def load(folder, assignments=(), allowed=()):
    """Read a checkpoint, with the `--set` assignments applied to its settings -> Checkpoint.

    UserError where the folder is not one, or a damaged one, or where a setting is assigned that is not `allowed`.
    """
    folder = Path(folder)
    if not (folder / "weights.npz").is_file():
        raise UserError(f"{folder} is no checkpoint: there is no weights.npz in it")
    config = cfg.override(load_config(folder), assignments, allowed)
    try:
        vocabulary = _read_vocabulary(folder)
        weights = _read_weights(folder / "weights.npz", config, vocabulary)
        model = build_model(config, vocabulary, len(weights["embed_features_W"]))
        model.load_reference_weights(weights)
    except DAMAGES as error:
        raise _damaged(folder, error) from None
    return Checkpoint(folder, config, vocabulary, _read_state(folder), model)


def _read_weights(path, config, vocabulary):
    """The seven weights of a captioner with these settings and words, by name; ValueError where they are not that."""
    with arrays.archive(path) as stored:
        dim_image, *_ = stored.shape("embed_features_W") or (0,)
        shapes = s2vt_model.weight_shapes(len(vocabulary), dim_image, config.dim_hidden, config.dim_word_emb)
        weights = {name: stored.read(name, shape) for name, shape in shapes.items()}
    for name, array in weights.items():
        if not is_sound(array):
            raise ValueError(f"{name} has values beyond all bounds, as those of a training that diverged")
    return weights


def is_sound(weight):
    """Whether an array may be a captioner's weight: of numbers, all finite and none huge."""
    return weight.dtype.kind == "f" and bool((np.abs(weight) < MOST_WEIGHT).all())


def load_config(folder):
    """The settings of a checkpoint -> cfg.Config; UserError where they are damaged or of another version."""
    path = Path(folder) / "config.json"
    try:
        values = _read_json(path)
    except DAMAGES as error:
        raise _damaged(folder, error) from None
    return cfg.from_dict(values, path)


def _read_state(folder):
    try:
        state = _read_json(folder / "state.json")
        if not isinstance(state, dict):
            raise ValueError("state.json is no table")
        for name, allows in STATE.items():
            if not allows(state.get(name)):
                raise ValueError(f"{name} in state.json is {console.shown(state.get(name))}")
    except DAMAGES as error:
        raise _damaged(folder, error) from None
    return state


def _damaged(folder, error):
    return UserError(f"the checkpoint {folder} is damaged ({error}): choose another one, or remove it")


def load_optimizer(folder, optimizer, model):
    """Put the stored moments into an optimizer that was built on the weights of `model`.

    The model gets the weights from which training goes on, where it has their average. UserError for damaged files.
    """
    try:
        with arrays.archive(Path(folder) / "optimizer.npz") as stored:
            moments = [stored.read(str(k), variable.shape) for k, variable in enumerate(optimizer.variables)]
            shapes = {name: array.shape for name, array in model.reference_weights().items() if optimizer.use_ema}
            weights = {name: stored.read(name, shape) for name, shape in shapes.items()}
        finite = (array.dtype.kind in "iuf" and np.isfinite(array).all() for array in moments)
        if not all(finite) or not all(map(is_sound, weights.values())):
            raise ValueError("optimizer.npz has values beyond all bounds")
        for variable, moment in zip(optimizer.variables, moments, strict=True):
            variable.assign(moment)
        if weights:
            model.load_reference_weights(weights)
    except DAMAGES as error:
        raise _damaged(folder, error) from None


def choose(experiment, number=None):
    """The folder of checkpoint `number`, or of the best on validation; UserError naming those there are."""
    present = steps(experiment)
    if not present:
        raise UserError(f"there is no checkpoint in {experiment}: run run_s2vt.py --train, or name --experiment")
    if number is None:
        return folder_of(experiment, best_step(experiment))
    if number not in present:
        raise UserError(f"{experiment} has no checkpoint {number}; there are {', '.join(map(str, present))}")
    return folder_of(experiment, number)


def validation_loss(experiment, step):
    """The validation loss that the checkpoint was saved with; infinite where it was not measured, or is no number."""
    loss = _read_state(folder_of(experiment, step)).get("validation_loss")
    return float("inf") if loss is None or math.isnan(loss) else loss


def best_step(experiment):
    """The number of the checkpoint with the lowest validation loss (the first of equals)."""
    return min(steps(experiment), key=lambda step: (validation_loss(experiment, step), step))
