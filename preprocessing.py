"""Stage 1: from the media of a data set to CNN descriptors on disk.

    python preprocessing.py --dataset Flickr8k
    python preprocessing.py --dataset Flickr8k COCO PASCAL1k        (to train on all three; the recipe is Flickr8k's)
    python preprocessing.py --dataset MSR-VTT --set cnn=efficientnet_lite0
    python preprocessing.py --dataset MSR-VTT --set cnn_weights=inception_v3.weights.h5

One .npy a medium, under DATA/descriptors/<data set>/: a video's 26 frames, each pooled over the CNN's last grid
[26, D]; an image's grid [8, 8, D]. Where training is to see single regions too (single_region_share, as for Demo), a
video has a second file with some of its regions. A second run computes only what is missing. A file that cannot be
read is recorded in `failures.json` there, with the reason, and the rest goes on. Demo is generated first, if it is not
there. Of several data sets each has its own folder, with what the recipe of the first asks for.
"""

import argparse
import collections
import concurrent.futures
import itertools
import shlex
import time
import zlib

import numpy as np

import cfg
from datasets import annotations, store
from system import console, device, errors
from system.errors import UserError
from vision import descriptors

FRAMES_AT_ONCE = 32  # through the CNN
DECODERS = 2  # threads that decode ahead of the CNN


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cfg.add_arguments(parser, several=True)
    device.add_arguments(parser)
    return parser.parse_args(argv)


def decoded_ahead(config, media, size):
    """Yield (medium, CNN inputs or what went wrong) in order, decoded by threads a bounded number of media ahead.

    Where training asks for mirrored images, the inputs are the image and its mirror image.
    """

    def decode(medium):
        try:
            inputs = descriptors.cnn_inputs(config, medium.path, size, whole=True)  # [n, size, size, 3]
            return np.concatenate([inputs, inputs[:, :, ::-1]]) if config.flip_probability > 0 else inputs
        except Exception as error:
            told = errors.as_user_error(error)
            if told is None:
                raise
            return told

    waiting = iter(media)
    n_ahead = DECODERS + 2 * FRAMES_AT_ONCE // (config.n_sampled_frames if config.media == "video" else 1)
    with concurrent.futures.ThreadPoolExecutor(DECODERS) as pool:
        pending = collections.deque(
            (medium, pool.submit(decode, medium)) for medium in itertools.islice(waiting, n_ahead)
        )
        while pending:
            medium, future = pending.popleft()
            yield medium, future.result()
            pending.extend((medium, pool.submit(decode, medium)) for medium in itertools.islice(waiting, 1))


def batched(decoded):
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


def write(stored, medium, grids):
    """Write the files of a medium that are not there, from the grids [n, Gy, Gx, D] of its CNN inputs."""
    config = stored.config
    for path in stored.paths(medium.id):
        if path.exists():
            continue
        if path == stored.regions_path(medium.id):
            array = descriptors.sampled_regions(config, grids, zlib.crc32(medium.id.encode()))
        else:
            mirrored = path == stored.mirrored_path(medium.id)
            array = descriptors.captioning_descriptors(config, grids[1:] if mirrored else grids)
        stored.write(path, array)


def preprocess(config, media):
    """Store the descriptors of those media that lack them -> (number stored, dict of id -> reason).

    media: a dict of id -> annotations.Medium. Those that could not be read are also written to `failures.json` beside
    the descriptors.
    """
    from tqdm import tqdm

    stored = store.Store(config)
    missing = [medium for medium in media.values() if not stored.is_complete(medium.id)]
    failures = {}
    if not missing and not config.cnn_weights:
        stored.forget_failures()  # of a run that was killed before it noted them, or of another one
        return 0, failures
    extractor = descriptors.load_cnn(config)
    stored.prepare(extractor)
    progress = tqdm(total=len(media), initial=len(media) - len(missing), unit="media", desc=config.dataset)

    def readable():
        for medium, inputs in decoded_ahead(config, missing, extractor.input_size):
            if isinstance(inputs, Exception):
                failures[medium.id] = str(inputs)
                progress.update()
            else:
                yield medium, inputs

    with progress:
        for batch in batched(readable()):
            grids = extractor(np.concatenate([inputs for _, inputs in batch]))  # [frames, Gy, Gx, D]
            ends = np.cumsum([len(inputs) for _, inputs in batch])[:-1]
            for (medium, _), own_grids in zip(batch, np.split(grids, ends), strict=True):
                write(stored, medium, own_grids)
                progress.update()
    stored.write_failures(failures)
    return len(missing) - len(failures), failures


def make_demo(folder):
    """Generate the Demo data set where it is not there."""
    from datasets.demo import clips

    if not clips.is_complete(folder):
        clips.generate(folder)


def report(config, n_stored, failures, seconds):
    """Print what came out of a data set."""
    print(
        f"{config.dataset}: {n_stored} media stored in {seconds:.0f} s, {len(failures)} failures; "
        f"descriptors: {config.descriptors_dir}"
    )
    for media_id, reason in list(failures.items())[:5]:
        print(f"  {media_id}: {console.shown(reason, errors.MOST_OF_A_WORD)}")
    if failures:
        print(f"  all reasons: {store.Store(config).failures_path}")


def main(argv=None):
    args = parse_args(argv)
    config = cfg.from_arguments(args)
    configs = [config.of(source) for source in config.sources]
    for one in configs:
        if one.dataset == "Demo":
            make_demo(one.data_dir)
    media = [annotations.read_media(one) for one in configs]  # a wrong layout is told at once, before TensorFlow starts
    device.start_tensorflow(args.gpu)
    for one, found in zip(configs, media, strict=True):
        start = time.perf_counter()
        n_stored, failures = preprocess(one, found)
        report(one, n_stored, failures, time.perf_counter() - start)
        if len(failures) == len(found) > 0:
            raise UserError(f"none of the {len(found)} media of {one.dataset} could be read, for the reasons above")
    print("next: " + shlex.join(["python", "run_s2vt.py", "--dataset", *args.dataset, "--train", *_flags(args.set)]))


def _flags(assignments):
    return [word for assignment in assignments for word in ("--set", assignment)]


if __name__ == "__main__":
    errors.run(main)
