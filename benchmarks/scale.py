"""How time and memory grow: of saliency with frames, words, vocabulary and grid; of a folder with its files.

    python benchmarks/scale.py            (or: make bench-scale; some ten minutes on two cores)
    python benchmarks/scale.py files      (some parts only)

Frames: `visualization.py` on clips of 30 to 3,000 frames, a process each, with a small captioner (H 256, V 2,000) and
EfficientNet-lite0; maps, by words, vocabulary and grid: `saliency.raw_maps` at the paper's size on 8 frames. Files: the
stored descriptors of so many media in one folder, as they are, and dealt out to 256 folders by a hash.

    python benchmarks/scale.py film       (up to 60,000 frames: some 20 minutes more, not among the default ones)

Film: as frames, up to maps that are larger than what stays in memory; only numbers are written.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project's own modules

import bench

from system import arrays, device, errors


def frames(numbers, form="mp4"):
    """Rows of (frames, seconds, GiB) of `visualization.py`, from the start of the process to its end."""
    import cfg
    import data_loader
    from captioner import checkpoint

    with tempfile.TemporaryDirectory() as folder:
        experiment = Path(folder, "experiment")
        words = [*dict.fromkeys(bench.SENTENCE.split()), *(f"word{k}" for k in range(2000 - 6))]
        config = cfg.override(
            cfg.DATASETS["MSR-VTT"], ["cnn=efficientnet_lite0", "dim_hidden=256", f"experiment={experiment}"]
        )
        vocabulary = data_loader.Vocabulary([".", *words])
        model = checkpoint.build_model(config, vocabulary, 1280)
        checkpoint.save(experiment, 1, config, vocabulary, model, SimpleNamespace(variables=[]), {})
        for n_frames in numbers:
            clip = Path(folder, "clip.mp4")
            bench.write_clip(clip, n_frames)
            script = Path(bench.HERE.parent, "visualization.py")
            command = [script, "--media", clip, "--experiment", experiment, "--sentence", bench.SENTENCE]
            yield n_frames, *bench.run_script([*command, "--format", form, "--output", Path(folder, "saliency")])


def maps(n_words=bench.WORDS, vocabulary=bench.V, cells=8):
    """Seconds of `raw_maps` for 8 frames."""
    import s2vt_model
    import saliency

    model = s2vt_model.S2VT(vocabulary, bench.D, bench.H, bench.E, bench.N, bench.L)
    rng = np.random.default_rng(0)
    grids, ids = bench.random_descriptors(rng, 8, cells, cells), rng.integers(1, vocabulary, n_words)
    return bench.take_turns({"maps": lambda: saliency.raw_maps(model, grids, ids)}, 3)["maps"]


def files(n_media, n_folders):
    """What is done with the stored descriptors of so many media, dealt out to folders: yields (what, seconds)."""
    import cfg
    from datasets import store
    from system import claims, files

    ids, array = [f"video{k}" for k in range(n_media)], np.zeros((26, 8), np.float16)
    some = np.random.default_rng(0).choice(ids, 1000)
    with tempfile.TemporaryDirectory() as folder:
        stored = store.Store(cfg.override(cfg.DATASETS["MSR-VTT"], [f"descriptors_root={folder}"]))
        paths = {name: stored.path(name) for name in ids}
        if n_folders > 1:
            part = {name: f"{claims.number_of(name) % n_folders:x}" for name in ids}
            paths = {name: path.parent / part[name] / path.name for name, path in paths.items()}
        works = {
            "written": lambda: [stored.write(path, array) for path in paths.values()],
            "listed": lambda: [names for *_, names in os.walk(folder)],
            "1,000 of them read": lambda: [arrays.read(paths[name]) for name in some],
        }
        if n_folders == 1:
            works |= {
                "`is_complete` of each": lambda: [stored.is_complete(name) for name in ids],
                "`complete` of all": lambda: stored.complete(ids),
                "claimed and let go": lambda: list(claims.Claims(stored.folder).take(ids, lambda _: False)),
                "looked through for partial files": lambda: files.remove_partials(stored.folder),
            }
        for what, work in works.items():
            start = time.perf_counter()
            work()
            yield what, time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = ["frames", "maps", "files", "film"]
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(parts)} (default: all but film)")
    args = parser.parse_args()
    if odd := set(args.parts) - set(parts):
        parser.error(f"no part {min(odd)}; the parts are {', '.join(parts)}")
    for part in args.parts or parts[:-1]:
        {"frames": print_frames, "maps": print_maps, "files": print_files, "film": print_film}[part]()


def print_files():
    print("| media | folders | | seconds |\n|---|---|---|---|")
    for n_media in (1_000, 10_000, 100_000):
        for n_folders in (1, 256):
            for what, seconds in files(n_media, n_folders):
                print(f"| {n_media:,} | {n_folders} | {what} | {seconds:.3f} |", flush=True)


def print_frames(numbers=(30, 100, 300, 1000, 3000), **options):
    device.start_tensorflow()
    print("| | | seconds | peak memory, GiB |\n|---|---|---|---|")
    for n_frames, seconds, memory in frames(numbers, **options):
        print(f"| frames | {n_frames} | {seconds:.1f} | {memory:.2f} |", flush=True)


def print_film():
    print_frames((600, 6_000, 60_000), form="npz")


def print_maps():
    device.start_tensorflow()
    print("| | | seconds |\n|---|---|---|")
    for what, name, values in (
        ("words", "n_words", (3, 6, 12, 24)),
        ("vocabulary", "vocabulary", (5000, 10000, 20000, 50000)),
        ("grid, cells a side", "cells", (8, 12, 16)),
    ):
        for value in values:
            print(f"| {what} | {value} | {maps(**{name: value}):.2f} |", flush=True)


if __name__ == "__main__":
    errors.run(main)
