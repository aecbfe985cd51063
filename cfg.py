"""Settings: one dataclass, one entry per data set, and `--set key=value` to change any of them.

A `Config` is data. It is frozen, it travels with every checkpoint, and nothing reads a setting from anywhere else.
Paths are relative to the folder that the scripts are started in.
"""

import dataclasses
import math
import typing
from pathlib import Path

from system.errors import UserError

BUNDLED = Path(__file__).parent / "experiments/pretrained/flickr8k"  # the captioner that comes with the program


def output_folder(experiment, name=""):
    """Where results go by default: the experiment's folder, or `name` in it; never that of the bundled captioner."""
    if Path(experiment).resolve() == BUNDLED.resolve():
        return Path("saliency")
    return Path(experiment) / name


@dataclasses.dataclass(frozen=True)
class Config:
    """Every setting of the program; the defaults are the paper's, the entries of DATASETS say what differs."""

    dataset: str
    data_dir: str
    experiment: str
    media: str  # "video" or "image": what the data set consists of
    descriptors_root: str = "DATA/descriptors"  # not in data_dir, which may be a link to a folder of others

    # Descriptors (stage 1)
    cnn: str = "inception_v3"
    cnn_weights: str | None = None  # a weights file; None: the CNN's own source
    cnn_input_size: int | None = None  # None: the CNN's own size
    saliency_input_size: int | None = None  # the CNN's input for saliency; larger: finer maps; None: as for captioning
    image_geometry: str = "whole"  # "crop": the reference's central square; "whole": squash the picture
    n_sampled_frames: int = 26
    cnn_precision: str = "float32"  # "bfloat16": quicker where the processor has it
    descriptor_dtype: str = "float16"

    pyramid: str | None = None  # "4,1": a captioner of images reads their grid averaged to 4 x 4 cells, then to one
    full_grid_share: float = 0.0  # of the training batches: the grid itself as the pyramid's first level

    # Model
    dim_hidden: int = 1300
    dim_word_emb: int = 300
    n_lstm_step: int = 25
    forget_bias: float = 1.0
    cell_clip: float | None = None
    input_keep_prob: float = 0.5
    output_keep_prob: float = 0.5
    precision: str = "float32"  # of the factors of matrix products

    # Captions
    beam_size: int = 1  # 1: greedy
    length_penalty: float = 0.0  # of beam search: log-probability / words ** this; 0 prefers short captions, 1 is fair

    # Training (stage 2)
    word_count_threshold: int = 1
    batch_size: int = 100
    captions_per_medium: int = 1  # in a batch; more: each medium is encoded once for all of them
    n_epochs: int = 10
    learning_rate: float = 5e-4
    learning_rate_schedule: str = "constant"  # "cosine": falls to 0 at the end of the last epoch
    weight_decay: float = 0.0  # of AdamW: each step also shrinks the weights by this times the learning rate
    ema_decay: float = 0.0  # above 0: a checkpoint has the running average of the weights, with this decay a step
    self_critical_epochs: int = 0  # the last so many epochs train on CIDEr-D: see self_critical.py
    flip_probability: float = 0.0  # of the images, each epoch anew: shown mirrored
    label_smoothing: float = 0.0  # share of the training target that is spread over the whole vocabulary
    single_region_share: float = 0.0  # of the batches: one region of each medium, as for saliency
    single_region_noise: float = 0.0  # standard deviation of the noise on the descriptors of those regions
    save_every_n_epoch: float = 0.1
    max_to_keep: int = 10
    seed: int = 0

    def __post_init__(self):
        sizes = ("n_sampled_frames", "dim_hidden", "dim_word_emb", "batch_size")
        for name in (*sizes, "n_epochs", "max_to_keep", "beam_size"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        per_medium, most = self.captions_per_medium, self.batch_size
        _require(1 <= per_medium <= most, "captions_per_medium", per_medium, f"from 1 to batch_size, {most}")
        _require(self.n_lstm_step >= 2, "n_lstm_step", self.n_lstm_step, "at least 2 (a word and the end token)")
        _require(self.word_count_threshold >= 1, "word_count_threshold", self.word_count_threshold, "at least 1")
        _require(0 <= self.seed < 2**31, "seed", self.seed, "from 0 to 2147483647 (TensorFlow takes 32 bits)")
        for name in ("cnn_input_size", "saliency_input_size"):
            size = getattr(self, name)
            _require(size is None or size >= 1, name, size, "None or at least 1")
        for name in ("input_keep_prob", "output_keep_prob", "save_every_n_epoch"):
            _require(0 < getattr(self, name) <= 1, name, getattr(self, name), "above 0 and at most 1")
        for name in ("ema_decay", "label_smoothing", "flip_probability"):
            _require(0 <= getattr(self, name) < 1, name, getattr(self, name), "at least 0 and below 1")
        epochs = self.self_critical_epochs
        _require(0 <= epochs <= self.n_epochs, "self_critical_epochs", epochs, f"from 0 to n_epochs, {self.n_epochs}")
        _require(0 <= self.weight_decay < math.inf, "weight_decay", self.weight_decay, "at least 0, and finite")
        share = self.single_region_share
        _require(0 <= share < 1, "single_region_share", share, "at least 0 and below 1")
        noise = self.single_region_noise
        _require(0 <= noise < math.inf, "single_region_noise", noise, "at least 0, and finite")
        _require(0 < self.learning_rate < math.inf, "learning_rate", self.learning_rate, "above 0, and finite")
        _require(math.isfinite(self.forget_bias), "forget_bias", self.forget_bias, "finite")
        _require(self.cell_clip is None or self.cell_clip > 0, "cell_clip", self.cell_clip, "None or above 0")
        _require(
            self.flip_probability == 0 or self.media == "image",
            "flip_probability",
            self.flip_probability,
            "0: videos are not mirrored",
        )
        penalty = self.length_penalty
        _require(0 <= penalty < math.inf, "length_penalty", penalty, "at least 0, and finite")
        _one_of("media", self.media, ("video", "image"))
        levels, is_image = (self.pyramid or "1").split(","), self.media == "image"
        _require(
            all(level.isdecimal() and int(level) >= 1 for level in levels) and (is_image or self.pyramid is None),
            "pyramid",
            self.pyramid,
            "None or, for images, numbers of at least 1 with commas between them",
        )
        share = self.full_grid_share
        _require(0 <= share <= 1, "full_grid_share", share, "from 0 to 1")
        _require(share == 0 or self.pyramid is not None, "full_grid_share", share, "0 without a pyramid")
        _one_of("image_geometry", self.image_geometry, ("crop", "whole"))
        _one_of("learning_rate_schedule", self.learning_rate_schedule, ("constant", "cosine"))
        _one_of("descriptor_dtype", self.descriptor_dtype, ("float16", "float32"))
        for name in ("cnn_precision", "precision"):
            _one_of(name, getattr(self, name), ("float32", "bfloat16"))

    @property
    def pyramid_levels(self):
        """Cells a side of each level of the pyramid, in the order in which they are read; () without one."""
        return tuple(int(level) for level in self.pyramid.split(",")) if self.pyramid else ()

    @property
    def descriptors_dir(self):
        """The folder of this data set's descriptors: one for each way of computing them."""
        parts = [self.cnn, self.image_geometry if self.media == "image" else f"{self.n_sampled_frames}frames"]
        if self.cnn_input_size:
            parts.append(str(self.cnn_input_size))
        if self.cnn_precision != "float32":
            parts.append(self.cnn_precision)
        return Path(self.descriptors_root) / self.dataset / "-".join([*parts, self.descriptor_dtype])


def _require(condition, name, value, expected):
    if not condition:
        raise UserError(f"setting {name}={value}: it must be {expected}")


def _one_of(name, value, choices):
    _require(value in choices, name, value, "one of " + ", ".join(choices))


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
        Config(
            dataset="Flickr8k",
            data_dir="DATA/Flickr8k",
            experiment="experiments/Flickr8k",
            media="image",
            cnn="efficientnet_lite0",
            dim_hidden=512,
            word_count_threshold=5,
            captions_per_medium=5,
            n_epochs=22,
            learning_rate=1e-3,
            learning_rate_schedule="cosine",
            ema_decay=0.999,
            label_smoothing=0.1,
            flip_probability=0.5,
            self_critical_epochs=5,
            save_every_n_epoch=1.0,
            max_to_keep=22,
            beam_size=8,
            length_penalty=1.3,
            saliency_input_size=512,
            pyramid="4,1",
            full_grid_share=0.5,
        ),
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
            single_region_share=0.5,
            single_region_noise=0.75,
            saliency_input_size=512,
            save_every_n_epoch=1.0,
        ),
    )
}

_FIELD_TYPES = typing.get_type_hints(Config)
SETTINGS = tuple(_FIELD_TYPES)


def _parse(key, text):
    """The value of setting `key` from its text; "None" where the setting may be empty."""
    kinds = typing.get_args(_FIELD_TYPES[key]) or (_FIELD_TYPES[key],)
    if type(None) in kinds and text in ("None", "none", ""):
        return None
    kind = kinds[0]
    try:
        return kind(text)
    except ValueError:
        raise UserError(f"--set {key}={text}: {key} takes {kind.__name__}, not '{text}'") from None


def override(config, assignments, allowed=SETTINGS):
    """A copy of `config` with `key=value` texts applied; UserError for an unknown key or a value of the wrong type."""
    values = {}
    for assignment in assignments or ():
        key, equals, text = assignment.partition("=")
        if not equals:
            raise UserError(f"--set {assignment}: write it as key=value")
        if key not in SETTINGS:
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
            f"{', '.join(sorted(odd))}): use that version, or train anew"
        )
    return Config(**values)


def add_arguments(parser, dataset_required=True, datasets=None):
    """The flags that choose the settings: --dataset, one of `datasets` (None: of all), and --set."""
    parser.add_argument(
        "--dataset", choices=datasets or sorted(DATASETS), required=dataset_required, help="the data set"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a setting of cfg.py; may be given several times",
    )


def from_arguments(args, settings=True):
    """The Config that the command line asks for; without `settings`, --set is left to whoever knows the checkpoint."""
    config = DATASETS[args.dataset]
    if getattr(args, "experiment", None):
        config = dataclasses.replace(config, experiment=args.experiment)
    return override(config, args.set) if settings else config
