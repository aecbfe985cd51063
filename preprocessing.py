"""Stage 1: from the media of a data set to CNN descriptors on disk.

    python preprocessing.py --dataset Flickr8k
    python preprocessing.py --dataset Flickr8k COCO PASCAL1k        (to train on all three; the recipe is Flickr8k's)
    python preprocessing.py --dataset MSR-VTT --set cnn=efficientnet_lite0
    python preprocessing.py --dataset MSR-VTT --set cnn_weights=inception_v3.weights.h5
    python preprocessing.py --dataset MSR-VTT --shard 2/8           (the second of eight parts)
    python preprocessing.py --dataset MSR-VTT --ray host0:6379      (on a Ray cluster)

One .npy a medium, under DATA/descriptors/<data set>/: a video's 26 frames, each pooled over the CNN's last grid
[26, D]; an image's grid [8, 8, D]. Where training is to see single regions too (single_region_share, as for Demo), a
video has a second file with some of its regions. A second run computes only what is missing. A file that cannot be
read is noted in `failures.jsonl` there, with the reason, and the rest goes on; a later run tries it again only with
--retry_failures. Demo is generated first, if it is not there. Of several data sets each has its own folder, with what
the recipe of the first asks for.

Any number of processes, on one machine or on many that share the folder, do the work of one: each takes what no other
one has claimed, and what a killed one had is done by another. With --ray one process has it done by a Ray cluster.
"""

import argparse
import collections
import contextlib
import platform
import shlex
import time
import zlib
from typing import NamedTuple

import numpy as np

import cfg
from datasets import annotations, store
from system import ahead, claims, console, device, errors, files, ray_pool
from system.errors import UserError
from vision import descriptors

FRAMES_AHEAD = 64  # decoded ahead of the CNN, or more where a medium has more
DECODERS = 2  # threads that decode
FRAMES_A_TASK = 128  # of an actor of --ray, at most: one of its batches has to be filled up, and where it dies ...
TASKS = 16  # ... they are done again; and so many tasks there should be at least, to be shared


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cfg.add_arguments(parser, several=True)
    claims.add_arguments(parser)
    ray_pool.add_arguments(parser)
    parser.add_argument("--retry_failures", action="store_true", help="try again what earlier runs could not read")
    device.add_arguments(parser)
    return parser.parse_args(argv)


def decoded_ahead(config, media, size):
    """Yield (medium, CNN inputs or what went wrong) in order, decoded by threads a bounded number of media ahead.

    Where training asks for mirrored images, the inputs are the image and its mirror image.
    """

    def decode(medium):
        inputs = descriptors.cnn_inputs(config, medium.path, size, whole=True)  # [n, size, size, 3]
        return np.concatenate([inputs, inputs[:, :, ::-1]]) if config.flip_probability > 0 else inputs

    n_ahead = DECODERS + FRAMES_AHEAD // (config.n_sampled_frames if config.media == "video" else 1)
    return ahead.ahead(decode, media, n_ahead, DECODERS)


def through_cnn(extractor, decoded):
    """Yield (medium, grids [n, Gy, Gx, D]) for (medium, CNN inputs [n, size, size, 3]), in their order.

    What went wrong with a medium, in the place of its inputs, is passed on in its turn.
    Frames go through the CNN so many at a time, always: the processor's library computes by the size of a batch, and
    what comes out for a medium must not depend on which others there are. The last batch is filled up.
    """
    n_at_once, waiting = extractor.frames_at_once, collections.deque()  # of (medium, number of its frames, error)
    frames, grids = [], []  # of the media that wait: those that the CNN has not seen yet, and what came of the others

    def see():
        batch = np.stack(frames[:n_at_once] + frames[:1] * (n_at_once - len(frames)))
        grids.extend(extractor(batch)[: len(frames)])
        del frames[:n_at_once]

    def ready():
        while waiting and len(grids) >= waiting[0][1]:
            medium, n_frames, error = waiting.popleft()
            yield medium, error or np.stack(grids[:n_frames])
            del grids[:n_frames]

    for medium, inputs in decoded:
        error = inputs if isinstance(inputs, Exception) else None
        own = [] if error else inputs
        waiting.append((medium, len(own), error))
        frames.extend(own)
        while len(frames) >= n_at_once:
            see()
        yield from ready()
    if frames:
        see()
    yield from ready()


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


def store_all(stored, extractor, media):
    """Store the descriptors of media; yield (medium, None), or what went wrong where one cannot be read."""
    for medium, grids in through_cnn(extractor, decoded_ahead(stored.config, media, extractor.input_size)):
        if isinstance(grids, Exception):
            yield medium, grids
        else:
            write(stored, medium, grids)
            yield medium, None


class Outcome(NamedTuple):
    """What a run of stage 1 on a data set leaves."""

    n_stored: int  # media, by this process
    failures: dict  # id -> reason: the media that have no descriptors
    n_old: int  # of them noted by earlier runs, and not tried again


def worker(config, gpu, weights_id):
    """What an actor of --ray does: a function from media to what went wrong with each, None where it is stored.

    UserError where its machine has another CNN than the one whose weights_id is given.
    """
    device.start_tensorflow(gpu)
    extractor, stored = descriptors.load_cnn(config), store.Store(config)
    if extractor.weights_id != weights_id:
        raise UserError(f"{platform.node()} has other weights of {config.cnn} than the machine that asks for them")

    def work(media):
        missing = [medium for medium in media if not stored.is_complete(medium.id)]  # by another actor, before it died
        found = {medium.id: error for medium, error in store_all(stored, extractor, missing)}
        return [found.get(medium.id) for medium in media]

    return work


@contextlib.contextmanager
def _storing(stored, extractor, n_media, on_ray, gpu):
    """Context manager of who stores descriptors: a function from media, n_media of them, to pairs as of `store_all`."""
    if not on_ray:
        yield lambda media: store_all(stored, extractor, media)
        return
    n_frames = stored.config.n_sampled_frames if stored.config.media == "video" else 1
    fewest, most = (max(n // n_frames, 1) for n in (extractor.frames_at_once, FRAMES_A_TASK))
    n_at_once = min(max(n_media // TASKS, fewest), most)
    asked = stored.config, gpu, extractor.weights_id
    with ray_pool.Pool("preprocessing:worker", *asked, n_at_once=n_at_once, with_gpus=gpu != "-1") as pool:
        yield pool.results


def preprocess(config, media, retry_failures=False, on_ray=False, gpu=None):
    """Store the descriptors of those media that lack them and that no other process works on -> Outcome.

    media: a dict of id -> annotations.Medium. At the end each has its descriptors or is noted as a failure, whichever
    process has seen to that. on_ray: actors of the cluster that this process is connected to do the work, on `gpu`.
    """
    from tqdm import tqdm

    stored = store.Store(config)
    complete, before = stored.complete(media), stored.noted.news()
    lacking = [media_id for media_id in media if media_id not in complete]
    old = {media_id for media_id in lacking if before.get(media_id) is not None and not retry_failures}
    missing = [media_id for media_id in lacking if media_id not in old]
    if not missing and not config.cnn_weights:
        files.remove_partials(stored.folder)
        return Outcome(0, {media_id: before[media_id] for media_id in lacking}, len(old))
    extractor = descriptors.load_cnn(config)
    n_stored, since = 0, {}  # what is noted from now on, here and by others

    def is_done(media_id):
        """Whether another process has stored it meanwhile, or could not read it."""
        since.update(stored.noted.news())
        done = since.get(media_id) is not None or stored.is_complete(media_id)
        progress.update(done)
        return done

    with claims.Claims(files.writable_folder(stored.folder)) as work:
        for _ in work.take([store.CNN_FILE], lambda _: False):  # or two processes with other weights could both begin
            stored.prepare(extractor)
        progress = tqdm(total=len(media), initial=len(media) - len(missing), unit="media", desc=config.dataset)
        with progress, _storing(stored, extractor, len(missing), on_ray, gpu) as store_media:
            for claimed in work.rounds(missing, is_done):
                for medium, error in store_media(map(media.get, claimed)):
                    if error is not None:
                        stored.noted.note(medium.id, str(error))
                    elif before.get(medium.id) is not None:
                        stored.noted.note(medium.id, None)
                    work.release(medium.id)
                    n_stored += error is None
                    progress.update()
        files.remove_partials(stored.folder)  # of those that died meanwhile
    noted = {**before, **since, **stored.noted.news()}
    failures = {name: noted[name] for name in lacking if noted.get(name) is not None and not stored.is_complete(name)}
    return Outcome(n_stored, failures, len(old & failures.keys()))


def make_demo(folder):
    """Generate the Demo data set where it is not there; where another process does so, wait for it."""
    from datasets.demo import clips

    if not clips.is_complete(folder):
        with claims.Claims(files.writable_folder(folder)) as work:
            for _ in work.take(["Demo"], lambda _: clips.is_complete(folder)):
                clips.generate(folder)


def report(config, outcome, shard, seconds):
    """Print what came out of a data set."""
    part = f", shard {shard}" if shard.count > 1 else ""
    done = f"{outcome.n_stored} media stored in {seconds:.0f} s, {len(outcome.failures)} failures"
    print(f"{config.dataset}{part}: {done}; descriptors: {config.descriptors_dir}")
    for media_id, reason in list(outcome.failures.items())[:5]:
        print(f"  {media_id}: {console.shown(reason, errors.MOST_OF_A_WORD)}")
    if outcome.failures:
        print(f"  all reasons: {store.Store(config).noted.path}")
    if outcome.n_old:
        print(f"  {outcome.n_old} of them failed in earlier runs, and were not tried again: --retry_failures does")


def main(argv=None):
    args = parse_args(argv)
    config, shard = cfg.from_arguments(args), claims.shard_from(args)
    with ray_pool.connected(args):
        run(args, config, shard)
    print("next: " + shlex.join(["python", "run_s2vt.py", "--dataset", *args.dataset, "--train", *_flags(args.set)]))


def run(args, config, shard):
    """Stage 1 of all the data sets, with what comes out of each printed. UserError where a data set gives nothing."""
    configs = [config.of(source) for source in config.sources]
    for one in configs:
        if one.dataset == "Demo":
            make_demo(one.data_dir)
    media = [annotations.read_media(one) for one in configs]  # a wrong layout is told at once, before TensorFlow starts
    on_ray = args.ray is not None
    device.start_tensorflow("-1" if on_ray else args.gpu)  # the GPUs of this machine are its actors'
    for one, found in zip(configs, media, strict=True):
        start, own = time.perf_counter(), {media_id: found[media_id] for media_id in shard.of(found)}
        outcome = preprocess(one, own, args.retry_failures, on_ray, args.gpu)
        report(one, outcome, shard, time.perf_counter() - start)
        if len(outcome.failures) == len(found) > 0:
            raise UserError(f"none of the {len(found)} media of {one.dataset} could be read, for the reasons above")


def _flags(assignments):
    return [word for assignment in assignments for word in ("--set", assignment)]


if __name__ == "__main__":
    errors.run(main)
