"""From media to the captioner's input: one way for training and for saliency alike, and its files on disk."""

import collections
import concurrent.futures
import itertools
import zlib

import numpy as np
from tqdm import tqdm

import data_loader
from datasets import annotations
from system import files
from system.errors import UserError
from vision import cnn, geometry, media

FRAMES_AT_ONCE = 32  # through the CNN
DECODERS = 2  # threads that decode ahead of the CNN
N_REGIONS = 128  # of a video, stored for training on single regions
SCALES = (1, 2, 4)  # of a CNN that looks in several sizes: its cells a side, in those of captioning


def load_cnn(config, input_size=None):
    """The configured CNN, for another input size than the configured one if `input_size` is given."""
    return cnn.load(config.cnn, config.cnn_weights, input_size or config.cnn_input_size, config.cnn_precision)


def load_multi_scale_cnn(config):
    """The configured CNN at all of SCALES -> cnn.MultiScale."""
    cells, _ = cnn.grid_shape(config.cnn, config.cnn_input_size)
    return cnn.MultiScale([load_cnn(config, cnn.input_of(config.cnn, scale * cells)) for scale in SCALES])


def input_size(config):
    """Pixels a side of what the configured CNN sees for captioning."""
    return config.cnn_input_size or cnn.CNNS[config.cnn].input_size


def cnn_inputs(config, path, size, whole=False):
    """What the CNN sees of a medium for captioning: uint8 [n, size, size, 3].

    An image under the configured geometry; of a video n_sampled_frames evenly spaced frames, or the middle one for a
    captioner of images. UserError where the file cannot be read; with `whole` also where a video is cut off.
    """
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


# The walk over a data set


def check_weights(config, extractor):
    """UserError if the folder holds descriptors of a CNN with other weights; else note these weights in it."""
    stored = data_loader.cnn_weights_id(config)
    if stored not in (None, extractor.weights_id):
        raise UserError(
            f"{config.descriptors_dir} holds descriptors of {config.cnn} with other weights ({stored}, not "
            f"{extractor.weights_id}): move the folder away, or use those weights"
        )
    files.write_json(
        config.descriptors_dir / data_loader.CNN_FILE, {"cnn": config.cnn, "weights_id": extractor.weights_id}
    )


def _decoded_ahead(config, chosen, size):
    """Yield (medium, CNN inputs or UserError) in order, decoded by threads a bounded number of media ahead.

    Where training asks for mirrored images, the inputs are the image and its mirror image.
    """

    def decode(medium):
        try:
            inputs = cnn_inputs(config, medium.path, size, whole=True)  # [n, size, size, 3]
            return np.concatenate([inputs, inputs[:, :, ::-1]]) if config.flip_probability > 0 else inputs
        except UserError as error:
            return error

    waiting = iter(chosen)
    n_ahead = DECODERS + 2 * FRAMES_AT_ONCE // (config.n_sampled_frames if config.media == "video" else 1)
    with concurrent.futures.ThreadPoolExecutor(DECODERS) as pool:
        pending = collections.deque(
            (medium, pool.submit(decode, medium)) for medium in itertools.islice(waiting, n_ahead)
        )
        while pending:
            medium, future = pending.popleft()
            yield medium, future.result()
            pending.extend((medium, pool.submit(decode, medium)) for medium in itertools.islice(waiting, 1))


def _batched(decoded):
    """Group (medium, inputs) into lists with about FRAMES_AT_ONCE frames for the CNN."""
    batch, n_frames = [], 0
    for medium, inputs in decoded:
        batch.append((medium, inputs))
        n_frames += len(inputs)
        if n_frames >= FRAMES_AT_ONCE:
            yield batch
            batch, n_frames = [], 0
    if batch:
        yield batch


def _store(config, medium, grids):
    """Write the files of a medium that are not there."""
    for path in data_loader.stored_paths(config, medium.id):
        if path.exists():
            continue
        if path == data_loader.regions_path(config, medium.id):
            array = sampled_regions(config, grids, zlib.crc32(medium.id.encode()))
        else:
            mirrored = path == data_loader.mirrored_path(config, medium.id)
            array = captioning_descriptors(config, grids[1:] if mirrored else grids)
        with files.whole(path) as partial:
            np.save(partial, array)


def preprocess(config):
    """Store the descriptors of all media of the data set that lack them -> (number stored, dict of id -> reason).

    The media that could not be read are also written to `failures.json` beside the descriptors.
    """
    chosen = list(annotations.read_media(config).values())
    missing = [medium for medium in chosen if not data_loader.is_stored(config, medium.id)]
    failures = {}
    if not missing and not config.cnn_weights:
        return 0, failures
    extractor = load_cnn(config)
    config.descriptors_dir.mkdir(parents=True, exist_ok=True)
    files.remove_partials(config.descriptors_dir)
    check_weights(config, extractor)
    progress = tqdm(total=len(chosen), initial=len(chosen) - len(missing), unit="media", desc=config.dataset)

    def readable():
        for medium, inputs in _decoded_ahead(config, missing, extractor.input_size):
            if isinstance(inputs, UserError):
                failures[medium.id] = str(inputs)
                progress.update()
            else:
                yield medium, inputs

    with progress:
        for batch in _batched(readable()):
            grids = extractor(np.concatenate([inputs for _, inputs in batch]))  # [frames, Gy, Gx, D]
            ends = np.cumsum([len(inputs) for _, inputs in batch])[:-1]
            for (medium, _), own_grids in zip(batch, np.split(grids, ends), strict=True):
                _store(config, medium, own_grids)
                progress.update()
    files.write_json(config.descriptors_dir / data_loader.FAILURES, failures)
    return len(missing) - len(failures), failures
