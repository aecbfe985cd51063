"""Generate the Demo data set: short clips of named things, their captions, and where and when everything happens.

    python -m datasets.demo.clips                  # DATA/Demo: 420 clips, about a minute on two cores, 50 MB
    python -m datasets.demo.clips --folder DATA/Demo --seed 1 --n_train 100 --n_validate 20 --n_test 20

In every clip two or three things that differ in kind, look and event move over a textured ground. The layout is that of
MSR-VTT: `{train_val,test}_videodatainfo.json`, `TrainValVideo/` and `TestVideo/` with H.264 files; beside them
`masks/<video id>.npz` with the exact mask of every named thing in every frame and the interval of every event.
The same seed gives the same clips, whatever the number of workers; clips that are already there are not drawn again.
Descriptors (DATA/descriptors/Demo) do not follow: after another seed or size, remove them.
"""

import argparse
import itertools
import math
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import NamedTuple

import numpy as np

from datasets.demo.events import EVENTS
from datasets.demo.scenes import SIZE, Scene, Thing, render
from datasets.demo.things import KINDS, LOOKS
from system import arrays, errors, files
from system.errors import UserError

FPS = 12
MOST_OF_A_TRUTH = 1 << 24  # bytes of a clip's packed masks: some fifty times what a clip needs
SPLIT_FOLDERS = {"train": "TrainValVideo", "validate": "TrainValVideo", "test": "TestVideo"}
ANNOTATIONS = {"train_val_videodatainfo.json": ("train", "validate"), "test_videodatainfo.json": ("test",)}
WORD_CLASSES = {**dict.fromkeys(KINDS, "noun"), **dict.fromkeys(LOOKS, "look"), **dict.fromkeys(EVENTS, "verb")}

# Descriptors averaged over a frame say that there is a car, that something is red and that something spins; hardly that
# it is the car that is red or spins. So a kind has some looks and events only. Two kinds share at most one look (the
# steps 0, 1, 3 have different differences) and seldom two events: what is there nearly settles what goes together.
LOOKS_OF = {
    kind: [list(LOOKS)[(number + step) % len(LOOKS)] for step in (0, 1, 3)] for number, kind in enumerate(KINDS)
}
EVENTS_OF = {
    "owl": ["appears", "vanishes", "spins"],
    "car": ["appears", "spins", "burns"],
    "clock": ["appears", "flashes", "freezes"],
    "house": ["spins", "flashes", "burns"],
    "butterfly": ["appears", "vanishes", "flashes"],
    "drum": ["flashes", "burns", "freezes"],
    "gift": ["vanishes", "burns", "freezes"],
    "robot": ["vanishes", "spins", "freezes"],
}


# ---------------------------------------------------------------------------------------------- scenes


def plan_scene(rng):
    """Plan a scene: what is in it, and where and when; a third of the scenes has three things, the others two.

    The things differ in kind, look and event; they move on straight paths, anywhere in the frame, that keep them apart.
    """
    n_frames = int(rng.integers(32, 45))
    n_things = int(rng.choice([2, 2, 3]))
    looks = events = []
    while len(set(looks)) < n_things or len(set(events)) < n_things:
        kinds = rng.choice(list(KINDS), n_things, replace=False).tolist()
        looks = [str(rng.choice(LOOKS_OF[kind])) for kind in kinds]
        events = [str(rng.choice(EVENTS_OF[kind])) for kind in kinds]
    intervals = [_plan_interval(rng, EVENTS[event], n_frames) for event in events]
    radii, paths = _plan_paths(rng, n_things)
    things = [
        Thing(kind, look, event, *interval, radius, path, tilt=rng.uniform(-0.2, 0.2), turn=int(rng.choice([-1, 1])))
        for kind, look, event, interval, radius, path in zip(kinds, looks, events, intervals, radii, paths, strict=True)
    ]
    return Scene(n_frames, tuple(things))


def _plan_interval(rng, event, n_frames):
    """When an event happens: frames (start, stop)."""
    length = int(rng.integers(event.shortest, event.longest + 1))
    start = int(rng.integers(event.before, n_frames - event.after - length + 1))
    return start, start + length


def _plan_paths(rng, n_things):
    """Radii, and paths ((x, y), (x, y)) inside the frame on which the things never touch."""
    times = np.linspace(0, 1, 9)[:, None]
    while True:
        radii = rng.uniform(*((44, 58) if n_things == 2 else (40, 46)), n_things)
        starts = rng.uniform(radii, SIZE - radii, (2, n_things)).T  # [n_things, 2]
        angles, lengths = rng.uniform(0, 2 * np.pi, n_things), rng.uniform(0, 80, n_things)
        stops = starts + lengths[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        stops = np.clip(stops, radii[:, None], SIZE - radii[:, None])
        points = starts[:, None] * (1 - times) + stops[:, None] * times  # [n_things, 9, 2]
        if all(
            np.hypot(*(points[i] - points[j]).T).min() > 1.05 * (radii[i] + radii[j])
            for i, j in itertools.combinations(range(n_things), 2)
        ):
            paths = [(tuple(start), tuple(stop)) for start, stop in zip(starts.tolist(), stops.tolist(), strict=True)]
            return radii.tolist(), paths


def write_captions(scene, rng):
    """Six to eight different sentences that are true of a scene, the first with every look and verb.

    `while` joins events only where that of the first thing overlaps in time with all the others.
    """

    def overlap(thing, other):
        return thing.start < other.stop and other.start < thing.stop

    def sentence(things, looks=True, verbs=True, link="and"):
        phrases = [" ".join(["a", *[t.look] * looks, t.kind, *[t.event] * verbs]) for t in things]
        if link == "while" and not all(overlap(things[0], other) for other in things[1:]):
            link = "and"
        return ("" if verbs else "there is ") + f" {link} ".join([phrases[0], " and ".join(phrases[1:])])

    orders = list(itertools.permutations(scene.things))
    captions = [
        sentence(orders[k], **form)
        for form, count in (
            ({"link": "while"}, 3),
            ({}, 1),
            ({"looks": False, "link": "while"}, 2),
            ({"verbs": False}, 2),
        )
        for k in rng.permutation(len(orders))[:count]
    ]
    return list(dict.fromkeys(captions))


# ---------------------------------------------------------------------------------------------- truth


class NamedThing(NamedTuple):
    """What captions say of a thing; its event happens in frames [start, stop)."""

    kind: str
    look: str
    event: str
    start: int
    stop: int


class SceneTruth(NamedTuple):
    masks: np.ndarray  # bool [n_things, F, h, w]: where each thing can be seen
    things: list  # of NamedThing


def _truth_path(folder, video_id):
    return Path(folder) / "masks" / f"{video_id}.npz"


def _named(scene):
    return [NamedThing(t.kind, t.look, t.event, t.start, t.stop) for t in scene.things]


def _save_truth(path, truth):
    with files.whole(path) as partial:
        np.savez_compressed(
            partial,
            shape=truth.masks.shape,
            bits=np.packbits(truth.masks),
            words=[thing[:3] for thing in truth.things],
            intervals=[thing[3:] for thing in truth.things],
        )


def load_truth(folder, video_id):
    """The SceneTruth of a clip of the data set in `folder`; UserError where it is missing or broken."""
    path = _truth_path(folder, video_id)
    try:
        with arrays.archive(path, MOST_OF_A_TRUTH) as stored:
            shape, bits = stored.read("shape", (4,)).tolist(), stored.read("bits")
            words, intervals = (
                stored.read(name, (shape[0], n)).tolist() for name, n in (("words", 3), ("intervals", 2))
            )
        if min(shape) < 0 or not 0 <= 8 * bits.size - math.prod(shape) < 8:
            raise ValueError(f"{bits.size} bytes are no masks of shape {shape}")
        masks = np.unpackbits(bits, count=math.prod(shape)).astype(bool).reshape(shape)
        things = [NamedThing(*named, *interval) for named, interval in zip(words, intervals, strict=True)]
    except FileNotFoundError:
        raise UserError(f"{path} is missing: run `python -m datasets.demo.clips --folder {folder}`") from None
    except Exception as error:  # a broken archive raises nearly anything
        again = "remove it and run `python -m datasets.demo.clips` again"
        raise UserError(f"{path} cannot be read ({error}): {again}") from error
    return SceneTruth(masks, things)


def word_things(truth, word):
    """The numbers of the things of a SceneTruth that a caption's word names, as noun, look or verb."""
    return [number for number, thing in enumerate(truth.things) if word in (thing.kind, thing.look, thing.event)]


# ---------------------------------------------------------------------------------------------- the data set


class Clip(NamedTuple):
    folder: Path
    video_id: str
    split: str
    scene: Scene
    captions: list
    rng: np.random.Generator  # for drawing it

    @property
    def path(self):
        return self.folder / SPLIT_FOLDERS[self.split] / f"{self.video_id}.mp4"


def plan_clip(folder, seed, number, split):
    """Clip `number` of the data set of that seed; it depends on nothing else."""
    plan_rng, caption_rng, drawing_rng = np.random.default_rng([seed, number]).spawn(3)
    scene = plan_scene(plan_rng)
    return Clip(Path(folder), f"video{number}", split, scene, write_captions(scene, caption_rng), drawing_rng)


def _is_drawn(clip):
    """Whether a clip is there already, drawn after the same plan; its truth is written last."""
    try:
        truth = load_truth(clip.folder, clip.video_id)
    except UserError:
        return False
    return clip.path.exists() and truth.things == _named(clip.scene) and truth.masks.shape[1] == clip.scene.n_frames


def _draw_clip(clip):
    """Draw a clip and write its video and its truth."""
    from vision import writing

    masks = []

    def frames():
        for frame, frame_masks in render(clip.scene, clip.rng):
            masks.append(frame_masks)
            yield frame

    writing.write_video(clip.path, frames(), FPS)
    truth = SceneTruth(np.stack(masks, axis=1), _named(clip.scene))
    _save_truth(_truth_path(clip.folder, clip.video_id), truth)


def _follow_parent():
    """Make a worker leave Ctrl-C to the parent, and end when that ends, be it killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def follow():
        parent_process().join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def is_complete(folder):
    """Whether `folder` holds the lists of videos and sentences, which `generate` writes last."""
    return all((Path(folder) / name).exists() for name in ANNOTATIONS)


def _annotations(clips):
    """The JSON of MSR-VTT for some clips."""
    videos = [
        {
            "video_id": clip.video_id,
            "split": clip.split,
            "start time": 0.0,
            "end time": clip.scene.n_frames / FPS,
            "id": number,
            "category": 0,
            "url": "",
        }
        for number, clip in enumerate(clips)
    ]
    sentences = [(clip.video_id, caption) for clip in clips for caption in clip.captions]
    sentences = [
        {"sen_id": number, "video_id": video_id, "caption": caption}
        for number, (video_id, caption) in enumerate(sentences)
    ]
    return {"info": {"description": "Demo, generated by datasets.demo.clips"}, "videos": videos, "sentences": sentences}


def generate(folder, seed=0, n_train=360, n_validate=20, n_test=40, workers=None):
    """Write the Demo data set into `folder`, whole; clips that are there already are not drawn again.

    `workers` processes (default: one for every core) draw; what they draw depends on the seed alone. The lists of
    videos and sentences are written last. UserError where `folder` holds another data set or cannot be written.
    """
    from tqdm import tqdm

    folder = Path(folder)
    counts = {"train": n_train, "validate": n_validate, "test": n_test}
    if min(counts.values()) < 1:
        raise UserError(f"every split needs a clip, not {counts}")
    if seed < 0:
        raise UserError(f"the seed {seed} is negative: take 0 or more")
    if any((folder / name).exists() for name in ANNOTATIONS) and not (folder / "masks").is_dir():
        raise UserError(f"{folder} holds another data set: name a folder of its own for Demo")
    splits = [split for split, count in counts.items() for _ in range(count)]
    clips = [plan_clip(folder, seed, number, split) for number, split in enumerate(splits)]
    try:
        for name in {*SPLIT_FOLDERS.values(), "masks"}:
            (folder / name).mkdir(parents=True, exist_ok=True)
            files.remove_partials(folder / name)
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error}") from error

    missing = [clip for clip in clips if not _is_drawn(clip)]
    if missing:  # until all are drawn the folder holds no data set, neither the old one nor the new one
        for name in ANNOTATIONS:
            (folder / name).unlink(missing_ok=True)
    bar = tqdm(total=len(clips), initial=len(clips) - len(missing), unit="clip", desc="drawing")
    workers = min(workers or os.cpu_count(), len(missing))
    with bar:
        if workers <= 1:
            for clip in missing:
                _draw_clip(clip)
                bar.update()
        else:
            # Fresh processes: a fork of one in which TensorFlow runs threads can hang.
            with ProcessPoolExecutor(workers, get_context("spawn"), _follow_parent) as pool:
                for _ in pool.map(_draw_clip, missing):
                    bar.update()
    for name, of_splits in ANNOTATIONS.items():
        files.write_json(folder / name, _annotations([clip for clip in clips if clip.split in of_splits]))


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", default="DATA/Demo", metavar="DIR", help="where to write it (default: DATA/Demo)")
    parser.add_argument("--seed", type=int, default=0, help="another seed gives other clips (default: 0)")
    parser.add_argument("--n_train", type=int, default=360, metavar="N", help="clips to train on (default: 360)")
    parser.add_argument("--n_validate", type=int, default=20, metavar="N", help="clips to validate on (default: 20)")
    parser.add_argument("--n_test", type=int, default=40, metavar="N", help="clips to test on (default: 40)")
    parser.add_argument("--workers", type=int, metavar="N", help="processes that draw (default: one for every core)")
    return parser.parse_args(argv)


def main(argv=None):
    args = parse_args(argv)
    generate(args.folder, args.seed, args.n_train, args.n_validate, args.n_test, args.workers)
    print(f"the Demo data set is in {args.folder}")


if __name__ == "__main__":
    errors.run(main)
