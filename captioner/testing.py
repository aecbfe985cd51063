"""Captions of a whole split, and their scores."""

import json
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

import data_loader
from captioner import checkpoint
from datasets import annotations, store
from system import files
from system.errors import UserError

sys.path.insert(0, str(Path(__file__).parents[1] / "coco-caption"))
import caption_scores  # its folder's name is no module name

METRICS = ("Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4", "METEOR", "ROUGE_L", "CIDEr")
# What --set may change here: what the captioner has learnt does not depend on it.
TEST_SETTINGS = (
    "data_dir",
    "descriptors_root",
    "batch_size",
    "beam_size",
    "length_penalty",
    "precision",
    "cnn_precision",
    "descriptor_dtype",
)


def caption_media(saved, media):
    """The captions that a checkpoint gives to `media`, from their stored descriptors: dict of id -> sentence."""
    stored = store.Store(saved.config)
    captions, size = {}, saved.config.batch_size
    with tqdm(total=len(media), unit="media", desc="caption") as progress:
        for start in range(0, len(media), size):
            batch = media[start : start + size]
            read = [data_loader.as_sequence(stored.load(one.id), saved.config.pyramid_levels) for one in batch]
            descriptors = np.stack(read)  # [B, N, D]
            captioned = saved.model.generate(descriptors, saved.config.beam_size, saved.config.length_penalty)
            for medium, ids in zip(batch, captioned, strict=True):
                captions[medium.id] = saved.vocabulary.decode(ids)
            progress.update(len(batch))
    return captions


def test(dataset, experiment, number=None, split="test", assignments=()):
    """Caption a split with one checkpoint (the best on validation without `number`) and score the captions.

    Writes every prediction to `model-<step>.json` (`model-<step>-validate.json`, `-beam5` and the like for what is not
    the default, the data set among them where it is not the captioner's own) and a line to `scores.txt` -> the scores
    with what they are of, and the path of the predictions.
    Media without captions cannot be scored; that there are some is among the warnings.
    UserError where checkpoint, split or descriptors are missing, no medium has a caption, the descriptors are of
    another CNN, or the data set has videos where the captioner was trained on images, or the other way round.
    """
    experiment = Path(experiment)
    saved = checkpoint.load(checkpoint.choose(experiment, number), assignments, TEST_SETTINGS)
    own = saved.config.dataset
    saved = saved.on(dataset, assignments)
    saved.check_descriptors()
    media = annotations.split_media(annotations.read_media(saved.config), split)
    if not media:
        raise UserError(
            f"{saved.config.data_dir} has no {split} split: its annotations are missing; docs/data.md draws the layout"
        )
    captioned = annotations.captioned(media)
    n_without = len(media) - len(captioned)
    media = store.Store(saved.config).usable(captioned, for_training=False)
    files.writable_folder(experiment)  # else one would find out after all captions
    predictions = caption_media(saved, media)
    scores = caption_scores.score({medium.id: list(medium.captions) for medium in media}, predictions)
    if n_without:
        scores["warnings"].append(f"left out: {n_without} of the split's media that have no caption to compare with")

    step, beam_size = saved.state["step"], saved.config.beam_size
    run = {"checkpoint": step, "dataset": dataset, "split": split, "n_media": len(media), "beam_size": beam_size}
    run |= {"length_penalty": saved.config.length_penalty, **scores}
    unusual = (f"-{dataset}" if dataset != own else "") + (f"-{split}" if split != "test" else "")
    unusual += f"-beam{beam_size}" if beam_size > 1 else ""
    unusual += f"-penalty{saved.config.length_penalty:g}" if beam_size > 1 and saved.config.length_penalty else ""
    path = experiment / f"model-{step}{unusual}.json"
    listed = [{"media_id": media_id, "caption": caption} for media_id, caption in predictions.items()]
    files.write_json(path, {**run, "predictions": listed})
    files.append_line(experiment / "scores.txt", json.dumps(run))
    return run, path
