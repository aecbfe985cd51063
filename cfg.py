"""Settings: one dataclass, one entry per data set, and `--set key=value` to change any of them.

A `Config` is data. It is frozen, it travels with every checkpoint, and nothing reads a setting from anywhere else.
Paths are relative to the folder that the scripts are started in.
"""

import dataclasses
import functools
import math
import typing
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from system import console
from system.errors import UserError

BUNDLED = Path(__file__).parent / "experiments/pretrained/photographs"  # the captioner that comes with the program


def output_folder(experiment, name="", captioner=None):
    """Where results go by default: the experiment's folder, or `name` in it; never that of the bundled captioner.

    captioner: the name of one of the transformers library, whose results lie by themselves.
    """
    if captioner:
        return Path("saliency", Path(captioner).name)
    if Path(experiment).resolve() == BUNDLED.resolve():
        return Path("saliency")
    return Path(experiment) / name


class Rule(NamedTuple):
    """What the value of a setting has to be; None, where a setting may be empty, obeys every rule."""

    expected: str
    allows: Callable


def setting(default=dataclasses.MISSING, rule=None):
    """A field of the settings, with its rule beside it."""
    return dataclasses.field(default=default, metadata={"rule": rule})


def one_of(*choices):
    return Rule("one of " + ", ".join(choices), lambda value: value in choices)


def between(low, high, or_none=False):
    """A number with two ends: what is larger would fill any memory, or take for ever."""
    return Rule(f"{'None or ' if or_none else ''}from {low} to {high}", lambda value: low <= value <= high)


UNITS = between(1, 10_000)
PIXELS = between(1, 2048, or_none=True)
OFTEN = between(1, 100_000)
MOST_LEVELS, MOST_CELLS = 8, 64  # of a pyramid: levels, and cells a side
NONE_OR_ABOVE_0 = Rule("None or above 0, and finite", lambda value: 0 < value < math.inf)
FINITE = Rule("finite", math.isfinite)
NOT_NEGATIVE = Rule("at least 0, and finite", lambda value: 0 <= value < math.inf)
POSITIVE = Rule("above 0, and finite", lambda value: 0 < value < math.inf)
PART = Rule("above 0 and at most 1", lambda value: 0 < value <= 1)
SHARE = Rule("from 0 to 1", lambda value: 0 <= value <= 1)
SHARE_BELOW_1 = Rule("at least 0 and below 1", lambda value: 0 <= value < 1)
SEED = between(0, 2**31 - 1)  # TensorFlow takes 32 bits
PRECISION = one_of("float32", "bfloat16")


# The settings, a class for those who read them; `Config` has them all. Rules about several of them: `_relations`.


@dataclasses.dataclass(frozen=True)
class Data:
    """What the data set is, and where things lie: read by datasets/ and the scripts."""

    dataset: str
    data_dir: str
    experiment: str
    media: str = setting(rule=one_of("video", "image"))  # what the data set consists of
    descriptors_root: str = "DATA/descriptors"  # not in data_dir, which may be a link to a folder of others
    more_sources: str | None = None  # "COCO,PASCAL1k": data sets whose training media are trained on as well

    @property
    def sources(self):
        """The names of the data sets that are trained on, its own first."""
        return (self.dataset, *(self.more_sources.split(",") if self.more_sources else ()))


@dataclasses.dataclass(frozen=True)
class Descriptors:
    """From media to what the captioner reads: vision/, preprocessing.py, data_loader.py."""

    cnn: str = "inception_v3"
    cnn_weights: str | None = None  # a weights file; None: the CNN's own source
    cnn_input_size: int | None = setting(None, PIXELS)  # None: the CNN's own size
    saliency_input_size: int | None = setting(None, PIXELS)  # larger: finer maps; None: as for captioning
    image_geometry: str = setting("whole", one_of("crop", "whole"))  # the reference's central square; or squashed
    n_sampled_frames: int = setting(26, between(1, 10_000))
    ffmpeg_patience: int = setting(60, between(1, 86_400))  # seconds without a frame, then a file counts as broken
    cnn_precision: str = setting("float32", PRECISION)  # "bfloat16": quicker where the processor has it
    descriptor_dtype: str = setting("float16", one_of("float16", "float32"))
    pyramid: str | None = None  # "4,1": a captioner of images reads their grid averaged to 4 x 4 cells, then to one
    full_grid_share: float = setting(0.0, SHARE)  # of the training batches: the grid itself as its first level

    @property
    def pyramid_levels(self):
        """Cells a side of each level of the pyramid, in the order in which they are read; () without one."""
        return tuple(int(level) for level in self.pyramid.split(",")) if self.pyramid else ()


@dataclasses.dataclass(frozen=True)
class Captioner:
    """The network: s2vt_model.py. The paper's symbols are those of docs/method.md."""

    dim_hidden: int = setting(1300, UNITS)  # H
    dim_word_emb: int = setting(300, UNITS)  # E
    n_lstm_step: int = setting(25, between(2, 1000))  # L: a word and the end token at least
    forget_bias: float = setting(1.0, FINITE)
    cell_clip: float | None = setting(None, NONE_OR_ABOVE_0)
    input_keep_prob: float = setting(0.5, PART)  # dropout, in training only
    output_keep_prob: float = setting(0.5, PART)
    precision: str = setting("float32", PRECISION)  # of the factors of matrix products


@dataclasses.dataclass(frozen=True)
class Captions:
    """How captions are searched for: captioner/testing.py, explain/."""

    beam_size: int = setting(1, between(1, 1000))  # 1: greedy
    length_penalty: float = setting(0.0, between(0, 100))  # log-probability / words ** this; 0 prefers short captions


@dataclasses.dataclass(frozen=True)
class Training:
    """Stage 2's training: captioner/training.py, and what data_loader.py draws at random for it."""

    word_count_threshold: int = setting(1, OFTEN)
    batch_size: int = setting(100, OFTEN)
    captions_per_medium: int = 1  # in a batch; more: each medium is encoded once for all of them
    n_epochs: int = setting(10, OFTEN)
    learning_rate: float = setting(5e-4, POSITIVE)
    learning_rate_schedule: str = setting("constant", one_of("constant", "cosine"))  # "cosine": down to 0 at the end
    weight_decay: float = setting(0.0, NOT_NEGATIVE)  # of AdamW: times the learning rate, off the weights, every step
    ema_decay: float = setting(0.0, SHARE_BELOW_1)  # above 0: checkpoints have the running average of the weights
    self_critical_epochs: int = 0  # the last so many epochs train on CIDEr-D: see captioner/self_critical.py
    flip_probability: float = setting(0.0, SHARE_BELOW_1)  # of the images, each epoch anew: shown mirrored
    label_smoothing: float = setting(0.0, SHARE_BELOW_1)  # share of the target, spread over the whole vocabulary
    naming_weight: float = setting(0.0, NOT_NEGATIVE)  # of the loss of naming what is in each region: naming.py
    single_region_share: float = setting(0.0, SHARE_BELOW_1)  # of the batches: one region of each medium
    single_region_noise: float = setting(0.0, NOT_NEGATIVE)  # standard deviation of the noise on those regions
    save_every_n_epoch: float = setting(0.1, between(0.0001, 1))
    max_to_keep: int = setting(10, OFTEN)
    seed: int = setting(0, SEED)


def _relations(config):
    """The rules about several settings; yields (setting, whether it may be what it is, what it must be)."""
    if config.more_sources:
        others = [name for name, one in DATASETS.items() if one.media == config.media and name != config.dataset]
        more = config.sources[1:]
        yield (
            "more_sources",
            len(set(more)) == len(more) and set(more) <= set(others),
            f"None or, with commas between them and each once, other data sets of {config.media}s than "
            f"{config.dataset}: {', '.join(others)}",
        )
    levels, is_image = (config.pyramid or "1").split(","), config.media == "image"
    yield (
        "pyramid",
        (is_image or config.pyramid is None)
        and len(levels) <= MOST_LEVELS
        and all(len(level) <= 4 and level.isdecimal() and 1 <= int(level) <= MOST_CELLS for level in levels),
        f"None or, for images, at most {MOST_LEVELS} numbers from 1 to {MOST_CELLS} with commas between them",
    )
    yield "full_grid_share", config.full_grid_share == 0 or config.pyramid is not None, "0 without a pyramid"
    most, n_epochs = config.batch_size, config.n_epochs
    yield "captions_per_medium", 1 <= config.captions_per_medium <= most, f"from 1 to batch_size, {most}"
    yield "self_critical_epochs", 0 <= config.self_critical_epochs <= n_epochs, f"from 0 to n_epochs, {n_epochs}"
    may_flip = config.media == "image" or config.flip_probability == 0
    yield "flip_probability", may_flip, "0: videos are not mirrored"


MOST_TOLD = 10  # settings, in one message
KIND_NAMES = {str: "text", int: "a whole number", float: "a number", type(None): "None"}


@functools.cache
def _field_types():
    return typing.get_type_hints(Config)


def _kinds(name):
    """The types that a setting may have."""
    kind = _field_types()[name]
    return typing.get_args(kind) or (kind,)


def _is_a(value, kinds):
    """Whether a value is of one of the types; a whole number may stand for a number, and True is none."""
    return not isinstance(value, bool) and isinstance(value, (*kinds, int) if float in kinds else kinds)


@dataclasses.dataclass(frozen=True)
class Config(Training, Captions, Captioner, Descriptors, Data):  # fields stand in the order from the last to the first
    """Every setting of the program, by one flat name; the defaults are the paper's, DATASETS says what differs.

    UserError, naming the setting, where one is not what it has to be.
    """

    def __post_init__(self):
        for field in dataclasses.fields(self):
            rule, value = field.metadata.get("rule"), getattr(self, field.name)
            kinds = _kinds(field.name)
            self._require(field.name, _is_a(value, kinds), " or ".join(KIND_NAMES[kind] for kind in kinds))
            if rule is not None and value is not None:
                self._require(field.name, rule.allows(value), rule.expected)
        for relation in _relations(self):
            self._require(*relation)

    def _require(self, name, allowed, expected):
        if not allowed:
            raise UserError(f"setting {name}={console.shown(getattr(self, name))}: it must be {expected}")

    def of(self, dataset):
        """These settings for a data set by itself; unless it is their own, it lies where DATASETS says."""
        data_dir = self.data_dir if dataset == self.dataset else DATASETS[dataset].data_dir
        return dataclasses.replace(self, dataset=dataset, data_dir=data_dir, more_sources=None)

    @property
    def descriptors_dir(self):
        """The folder of this data set's descriptors: one for each way of computing them."""
        parts = [self.cnn, self.image_geometry if self.media == "image" else f"{self.n_sampled_frames}frames"]
        if self.cnn_input_size:
            parts.append(str(self.cnn_input_size))
        if self.cnn_precision != "float32":
            parts.append(self.cnn_precision)
        return Path(self.descriptors_root) / self.dataset / "-".join([*parts, self.descriptor_dtype])


FLICKR8K = Config(
    dataset="Flickr8k",
    data_dir="DATA/Flickr8k",
    experiment="experiments/Flickr8k",
    media="image",
    cnn="efficientnet_lite2",
    dim_hidden=512,
    word_count_threshold=5,
    captions_per_medium=5,
    n_epochs=19,
    learning_rate=1e-3,
    learning_rate_schedule="cosine",
    ema_decay=0.999,
    label_smoothing=0.1,
    naming_weight=0.05,
    flip_probability=0.5,
    self_critical_epochs=5,
    save_every_n_epoch=1.0,
    max_to_keep=19,
    beam_size=5,
    length_penalty=1.2,
    saliency_input_size=512,
    pyramid="4,1",
    full_grid_share=0.5,
)


def _as_flickr8k(dataset):
    """A data set of photographs with the recipe of Flickr8k."""
    own = {"data_dir": f"DATA/{dataset}", "experiment": f"experiments/{dataset}"}
    return dataclasses.replace(FLICKR8K, dataset=dataset, **own)


DATASETS = {
    config.dataset: config
    for config in (
        Config(dataset="MSR-VTT", data_dir="DATA/MSR_VTT", experiment="experiments/MSR-VTT", media="video"),
        Config(
            dataset="Flickr30k",
            data_dir="DATA/Flickr30k",
            experiment="experiments/Flickr30k",
            media="image",
            image_geometry="crop",
            save_every_n_epoch=0.2,
        ),
        FLICKR8K,
        _as_flickr8k("COCO"),
        _as_flickr8k("PASCAL1k"),
        Config(
            dataset="Demo",
            data_dir="DATA/Demo",
            experiment="experiments/Demo",
            media="video",
            cnn="efficientnet_lite0",
            n_sampled_frames=13,  # the clips last three seconds
            dim_hidden=256,
            dim_word_emb=64,
            batch_size=64,
            n_epochs=20,
            learning_rate=2e-3,
            ema_decay=0.98,
            input_keep_prob=0.8,
            output_keep_prob=0.8,
            single_region_share=0.5,
            single_region_noise=1.0,
            saliency_input_size=512,
            save_every_n_epoch=1.0,
        ),
    )
}

SETTINGS = tuple(_field_types())


def _parse(key, text):
    """The value of setting `key` from its text; "None" where the setting may be empty."""
    kinds = _kinds(key)
    if type(None) in kinds and text in ("None", "none", ""):
        return None
    kind = kinds[0]
    try:
        return kind(text)
    except ValueError:
        text = console.shown(text)
        raise UserError(f"--set {key}={text}: {key} takes {kind.__name__}, not '{text}'") from None


def override(config, assignments, allowed=SETTINGS):
    """A copy of `config` with `key=value` texts applied; UserError for an unknown key or a value of the wrong type."""
    values = {}
    for assignment in assignments or ():
        key, equals, text = assignment.partition("=")
        assignment = console.shown(assignment)
        if not equals:
            raise UserError(f"--set {assignment}: write it as key=value")
        if key not in SETTINGS:
            key = console.shown(key)
            raise UserError(f"--set {assignment}: there is no setting '{key}'; the settings are {', '.join(SETTINGS)}")
        if key not in allowed:
            raise UserError(
                f"--set {assignment}: '{key}' is fixed by the checkpoint; here one can set {', '.join(allowed)}"
            )
        if key == "dataset":
            raise UserError(f"--set {assignment}: the data set is chosen by --dataset")
        values[key] = _parse(key, text)
    return dataclasses.replace(config, **values)


def from_dict(values, source):
    """The Config that `dataclasses.asdict` wrote.

    A setting that was not there yet has its default, which has to be what the program did without that setting.
    UserError, naming `source`, where there are settings that this version does not know, or one without default lacks.
    """
    needed = {field.name for field in dataclasses.fields(Config) if field.default is dataclasses.MISSING}
    if not isinstance(values, dict):
        raise UserError(f"{source} holds no table of settings: choose another checkpoint")
    odd = (set(values) - set(SETTINGS)) | (needed - set(values))
    if odd:
        raise UserError(
            f"{source} was written by another version of this program (settings that differ: "
            f"{', '.join(map(console.shown, sorted(odd)[:MOST_TOLD]))}): use that version, or train anew"
        )
    try:
        return Config(**values)
    except UserError as error:
        raise UserError(f"{source} is damaged: {error}") from None


def add_arguments(parser, dataset_required=True, datasets=None, several=False):
    """The flags that choose the settings: --dataset, one (or `several`) of `datasets` (None: of all), and --set."""
    also = "; the training media of those named after it are trained on as well" if several else ""
    parser.add_argument(
        "--dataset",
        choices=datasets or sorted(DATASETS),
        required=dataset_required,
        nargs="+" if several else None,
        help=f"the data set{also}",
    )
    add_set_argument(parser)


def add_set_argument(parser):
    """The flag that changes settings."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a setting of cfg.py; may be given several times",
    )


def from_arguments(args, settings=True):
    """The Config that the command line asks for; without `settings`, --set is left to whoever knows the checkpoint."""
    first, *more = [args.dataset] if isinstance(args.dataset, str) else args.dataset
    config = dataclasses.replace(DATASETS[first], more_sources=",".join(more) or None)
    if getattr(args, "experiment", None):
        config = dataclasses.replace(config, experiment=args.experiment)
    return override(config, args.set) if settings else config
