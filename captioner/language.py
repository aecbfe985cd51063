"""Captions without pictures: the captioner learns how captions are worded before it learns what they are about.

A caption file has a caption a line, or is a token file of Flickr, `name.jpg#k<TAB>caption`. Where the captioner writes
without a picture it has read a descriptor of zeros, of which equation (1) leaves b_x, one vector that it learns.
"""

from pathlib import Path

import numpy as np
from tqdm import tqdm

from system import files
from system.errors import UserError

CAPTIONS_AT_ONCE = 2  # times the batch size: there is nothing to encode


def read_captions(paths):
    """The captions of caption files -> list; UserError where a file is missing or has none."""
    captions = []
    for path in map(Path, paths):
        lines = files.read_text(path, "captions, one a line").split("\n")
        found = [line.rpartition("\t")[2].strip() for line in lines]
        captions += filter(None, found)
        if not any(found):
            raise UserError(f"{path} has no caption: expected one a line")
    return captions


def n_steps(captions, config):
    """How many steps `pretrain` makes."""
    return -(-len(captions) // (CAPTIONS_AT_ONCE * config.batch_size))


def pretrain(step, model, vocabulary, captions, config):
    """Train once on all captions, in shuffled order; `step` is that of training.make_step."""
    encoded = [vocabulary.encode(caption, config.n_lstm_step) for caption in captions]
    ids, masks = (np.array(part) for part in zip(*encoded, strict=True))  # [n, L]
    order = np.random.default_rng([config.seed, len(captions)]).permutation(len(captions))
    nothing = np.zeros((1, 1, model.dim_image), np.float32)
    parts = np.array_split(order, n_steps(captions, config))
    for number, chosen in enumerate(tqdm(parts, unit="step", desc="captions without pictures")):
        length = int(masks[chosen].sum(axis=1).max())
        step((config.seed, number), nothing, ids[chosen, :length], masks[chosen, :length])
