"""How time and memory grow: of saliency with frames, words, vocabulary and grid; of a folder with its files.

    python benchmarks/scale.py            (or: make bench-scale; some ten minutes on two cores)
    python benchmarks/scale.py files      (some parts only)

Frames: `visualization.py` on clips of 30 to 3,000 frames, a process each, with a small captioner (H 256, V 2,000) and
EfficientNet-lite0; maps, by words, vocabulary and grid: `saliency.raw_maps` at the paper's size on 8 frames. Files: the
stored descriptors of so many media in one folder, as they are, and dealt out to 256 folders by a hash.

    python benchmarks/scale.py film       (up to 60,000 frames: some 30 minutes more, not among the default ones)

Film: as frames, up to maps that are larger than what stays in memory; not the film but a contact sheet is written.

    python benchmarks/scale.py frames film --before ../earlier     (a checkout of another version beside this one)
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project's own modules

import bench

from system import arrays, device, errors

CLIPS, FILMS = (30, 100, 300, 1_000, 3_000), (600, 6_000, 60_000)  # frames


def frames(numbers, form, versions):
    """How `visualization.py` takes clips of so many frames, from the start of the process to its end.

    versions: folders of the program by name -> yields (frames, {name: (seconds, GiB)}).
    """
    with tempfile.TemporaryDirectory() as folder:
        for name, version in versions.items():
            words = bench.SENTENCE.split()
            subprocess.run(
                [sys.executable, bench.HERE / "small_captioner.py", Path(folder, name), version, *words],
                check=True,
                stdout=subprocess.DEVNULL,
            )
        clip = Path(folder, "clip.mp4")
        for n_frames in numbers:
            bench.write_clip(clip, n_frames)
            found = {}
            for name, version in versions.items():
                command = [version / "visualization.py", "--media", clip, "--experiment", Path(folder, name)]
                command += ["--sentence", bench.SENTENCE, "--format", form, "--output", Path(folder, "saliency")]
                found[name] = bench.run_script(command)
            yield n_frames, found


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
    parser.add_argument(
        "--before", type=bench.checkout, metavar="DIR", help="a checkout of an earlier version, for clips"
    )
    args = parser.parse_args()
    if odd := set(args.parts) - set(parts):
        parser.error(f"no part {min(odd)}; the parts are {', '.join(parts)}")
    versions = {"before": args.before} if args.before else {}
    versions["now"] = bench.HERE.parent
    for part in args.parts or parts[:-1]:
        {
            "frames": lambda: print_frames(versions),
            "maps": print_maps,
            "files": print_files,
            "film": lambda: print_frames(versions, FILMS, form="png"),
        }[part]()


def print_files():
    print("| media | folders | | seconds |\n|---|---|---|---|")
    for n_media in (1_000, 10_000, 100_000):
        for n_folders in (1, 256):
            for what, seconds in files(n_media, n_folders):
                print(f"| {n_media:,} | {n_folders} | {what} | {seconds:.3f} |", flush=True)


def print_frames(versions, numbers=CLIPS, form="mp4"):
    print(f"| |{''.join(f' | {name}, seconds | {name}, peak memory, GiB' for name in versions)} |")
    print(f"|---|{'---|' * (1 + 2 * len(versions))}")
    for n_frames, found in frames(numbers, form, versions):
        cells = " | ".join(f"{seconds:.1f} | {memory:.2f}" for seconds, memory in found.values())
        print(f"| frames | {n_frames} | {cells} |", flush=True)


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
