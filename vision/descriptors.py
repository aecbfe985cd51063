"""From media to the captioner's input: one way for training and for saliency alike."""

import numpy as np

from system.errors import UserError
from vision import cnn, ffmpeg_process, geometry, media

N_REGIONS = 128  # of a video, stored for training on single regions
SCALES = (1, 2, 4)  # of a CNN that looks in several sizes: its cells a side, in those of captioning


def load_cnn(config, input_size=None):
    """The configured CNN, for another input size than the configured one if `input_size` is given."""
    return cnn.load(config.cnn, config.cnn_weights, input_size or config.cnn_input_size, config.cnn_precision)


def load_multi_scale_cnn(config):
    """The configured CNN at all of SCALES -> cnn.MultiScale."""
    cells, _ = cnn.grid_shape(config.cnn, config.cnn_input_size)
    extractor = load_cnn(config)
    return cnn.MultiScale([extractor.at(cnn.input_of(config.cnn, scale * cells)) for scale in SCALES])


def input_size(config):
    """Pixels a side of what the configured CNN sees for captioning."""
    return config.cnn_input_size or cnn.CNNS[config.cnn].input_size


def cnn_inputs(config, path, size, whole=False):
    """What the CNN sees of a medium for captioning: uint8 [n, size, size, 3].

    An image under the configured geometry; of a video n_sampled_frames evenly spaced frames, or the middle one for a
    captioner of images. UserError where the file cannot be read, also for want of patience (ffmpeg_patience); with
    `whole` also where a video is cut off.
    """
    with ffmpeg_process.patience(config.ffmpeg_patience):
        if media.kind(path) == "image":
            return geometry.fit(media.read_image(path), config.image_geometry, size)[None]
        n_frames = config.n_sampled_frames if config.media == "video" else 1
        return media.sample_frames(path, n_frames, (size, size), whole)


def captioning_descriptors(config, grids):
    """Grids [n, Gy, Gx, D] of `cnn_inputs` -> descriptors for a captioner of videos [N, D] or of images [Gy, Gx, D].

    An image, for a captioner of videos, is a clip of one frame. UserError where the configured dtype cannot hold them.
    """
    if config.media == "image":
        values = grids[0]
    else:
        values = grids.mean(axis=(1, 2))  # [n, D]
        values = values if len(values) > 1 else values.repeat(config.n_sampled_frames, axis=0)
    return _as_stored(config, values)


def sampled_regions(config, grids, seed):
    """N_REGIONS cells, drawn from the grids [n, Gy, Gx, D] of a clip's sampled frames -> [R, D]."""
    cells = grids.reshape(-1, grids.shape[-1])  # [n * Gy * Gx, D]
    return _as_stored(config, cells[np.random.default_rng(seed).integers(len(cells), size=N_REGIONS)])


def _as_stored(config, values):
    """`values` in the configured dtype; UserError where it cannot hold them."""
    with np.errstate(over="ignore"):
        values = values.astype(config.descriptor_dtype)
    if not np.isfinite(values).all():
        raise UserError(f"some descriptors exceed {config.descriptor_dtype}: --set descriptor_dtype=float32")
    return values
