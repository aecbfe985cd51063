"""A tiny data set of videos, as descriptors, and short runs of training on it."""

import dataclasses
import json
from pathlib import Path

import numpy as np

import cfg
from captioner import training

COLOURS = ("red", "green", "blue")
SPLITS = ("train",) * 7 + ("validate",) * 5 + ("test",) * 3
SETTINGS = (
    "n_sampled_frames=4",
    "dim_hidden=16",
    "dim_word_emb=6",
    "n_lstm_step=8",
    "batch_size=4",
    "input_keep_prob=0.8",
    "output_keep_prob=0.8",
    "learning_rate=0.05",
    "n_epochs=6",
    "save_every_n_epoch=0.8",
)
# 7 videos of 2 captions, 4 a batch: 4 steps an epoch. 0.8 epochs are 3.2 steps.
DUE = [3, 6, 10, 13, 16, 19, 22, 24]


def config_of(experiment, *assignments):
    config = cfg.override(cfg.DATASETS["MSR-VTT"], [*SETTINGS, *assignments])
    return dataclasses.replace(config, experiment=f"experiments/{experiment}")


def write_data_set(config):
    """Videos of one colour each: descriptors that tell the colour, and captions of several lengths."""
    folder, rng = Path(config.data_dir), np.random.default_rng(0)
    (folder / "videos").mkdir(parents=True)
    config.descriptors_dir.mkdir(parents=True)
    for name, splits in (("train_val", ("train", "validate")), ("test", ("test",))):
        videos, sentences = [], []
        for number, split in enumerate(SPLITS):
            if split in splits:
                video, colour = f"video{number}", COLOURS[number % 3]
                captions = [f"a {colour} square", f"the {colour} one"]
                if number % 4 == 0:
                    captions[0] = f"the square that moves is {colour}"
                videos.append({"video_id": video, "split": split})
                sentences += [{"video_id": video, "caption": caption} for caption in captions]
                descriptors = 10 * np.eye(3)[number % 3] + rng.normal(0, 1, (4, 3))  # [N, D]
                np.save(config.descriptors_dir / f"{video}.npy", descriptors.astype(config.descriptor_dtype))
        (folder / f"{name}_videodatainfo.json").write_text(json.dumps({"videos": videos, "sentences": sentences}))


def content(folder):
    """Every file below a folder, with its bytes."""
    return {path.relative_to(folder): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def loss_rows(experiment):
    """The rows of loss.tsv: [checkpoints, (number, train, validation)]."""
    return np.loadtxt(Path(experiment) / "loss.tsv", skiprows=1)


def trained(name, *assignments):
    """A short run -> its trainer, and the weights after every step, the initial ones first."""
    trainer = training.start(config_of(name, "n_epochs=2", *assignments))
    weights = [trainer.model.reference_weights()]
    for _ in trainer.run():
        weights.append(trainer.model.reference_weights())
    return trainer, weights
