"""How time and memory of saliency grow: with frames, words, vocabulary and grid.

    python benchmarks/scale.py            (or: make bench-scale; some ten minutes on two cores)

Frames: `visualization.py` on clips of 30 to 3,000 frames, a process each, with a small captioner (H 256, V 2,000) and
EfficientNet-lite0; words, vocabulary and grid: `saliency.raw_maps` at the paper's size on 8 frames.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project's own modules

import bench

from system import device, errors


def frames():
    """Rows of (frames, seconds, GiB) of `visualization.py`, from the start of the process to the mp4."""
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
        for n_frames in (30, 100, 300, 1000, 3000):
            clip = Path(folder, "clip.mp4")
            bench.write_clip(clip, n_frames)
            script = Path(bench.HERE.parent, "visualization.py")
            command = [script, "--media", clip, "--experiment", experiment, "--sentence", bench.SENTENCE]
            yield n_frames, *bench.run_script(command)


def maps(n_words=bench.WORDS, vocabulary=bench.V, cells=8):
    """Seconds of `raw_maps` for 8 frames."""
    import s2vt_model
    import saliency

    model = s2vt_model.S2VT(vocabulary, bench.D, bench.H, bench.E, bench.N, bench.L)
    rng = np.random.default_rng(0)
    grids, ids = bench.random_descriptors(rng, 8, cells, cells), rng.integers(1, vocabulary, n_words)
    return bench.take_turns({"maps": lambda: saliency.raw_maps(model, grids, ids)}, 3)["maps"]


def main():
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    device.start_tensorflow()
    print("| | | seconds | peak memory, GiB |\n|---|---|---|---|")
    for n_frames, seconds, memory in frames():
        print(f"| frames | {n_frames} | {seconds:.1f} | {memory:.2f} |", flush=True)
    for what, name, values in (
        ("words", "n_words", (3, 6, 12, 24)),
        ("vocabulary", "vocabulary", (5000, 10000, 20000, 50000)),
        ("grid, cells a side", "cells", (8, 12, 16)),
    ):
        for value in values:
            print(f"| {what} | {value} | {maps(**{name: value}):.2f} | |", flush=True)


if __name__ == "__main__":
    errors.run(main)
