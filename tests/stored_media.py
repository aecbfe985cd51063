"""Three media with random descriptors, for tests of what is stored and of batches."""

from pathlib import Path

import numpy as np

import cfg
from data_loader import Vocabulary
from datasets.annotations import Medium

VIDEOS = cfg.override(cfg.DATASETS["MSR-VTT"], ["n_lstm_step=6", "batch_size=2", "n_sampled_frames=3"])
IMAGES = cfg.override(cfg.DATASETS["Flickr30k"], ["n_lstm_step=6", "batch_size=2", "descriptor_dtype=float32"])
MEDIA = [
    Medium("v0", Path("v0.mp4"), "train", ("a dog runs", "a dog")),
    Medium("v1", Path("v1.mp4"), "train", ("a cat",)),
    Medium("v2", Path("v2.mp4"), "train", ("the dog runs to the cat", "cat")),
]
VOCABULARY = Vocabulary([".", "a", "cat", "dog", "runs", "the", "to"])


def write_descriptors(config, media=MEDIA):
    """Random descriptors for media -> dict of id -> array."""
    config.descriptors_dir.mkdir(parents=True, exist_ok=True)
    rng, shape = np.random.default_rng(0), (3, 4) if config.media == "video" else (2, 3, 4)
    stored = {medium.id: rng.normal(size=shape).astype(config.descriptor_dtype) for medium in media}
    for media_id, descriptors in stored.items():
        np.save(config.descriptors_dir / f"{media_id}.npy", descriptors)
    return stored


def damage(path, how):
    content = path.read_bytes()
    path.write_bytes(
        {
            "empty": b"",
            "cut": content[:-1],
            "cut in its header": content[:40],
            "header": content.replace(b"}", b" "),  # NumPy raises tokenize.TokenError
            "text": b"descriptors",
        }[how]
    )
