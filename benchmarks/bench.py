"""How fast the stages are: each beside the plain way of the published program, and beside the machine's limit.

    python benchmarks/bench.py                            (or: make bench)
    python benchmarks/bench.py training captions          (some rows only)

All at the paper's size, with random weights. The contenders of a row take turns in one process, several rounds; the
medians count. The limit is the time in which a matrix product of 4096^3 in the same process does as many floating-point
operations as the result needs at least. The table is printed and, with everything measured, written to a JSON file.
"""

import argparse
import contextlib
import dataclasses
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project's own modules

from system import device, errors

HERE = Path(__file__).resolve().parent
D, H, E, N, L, V, B = 2048, 1300, 300, 26, 25, 20_000, 100  # the paper's size; axes as in s2vt_model.py
REGIONS, WORDS, FRAMES, FPS = 64, 6, 300, 30
LIVE_STEPS = 10  # after so many steps the greedy captions of the benchmark have ended
SENTENCE = "a man is driving a car"
PRECISIONS = ("float32", "bfloat16")


# Measuring


def take_turns(contenders, rounds):
    """Run the contenders, a dict of name -> function, in turns, the first turn for nothing -> their median seconds."""
    seconds = {name: [] for name in contenders}
    for turn in range(rounds + 1):
        for name, run in contenders.items():
            start = time.perf_counter()
            run()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return {name: float(np.median(values)) for name, values in seconds.items()}


def peak(precision):
    """Floating-point operations a second of a matrix product of 4096^3."""
    import tensorflow as tf

    a, b = (tf.cast(tf.random.normal([4096, 4096]), precision) for _ in range(2))
    multiply = tf.function(lambda: tf.matmul(a, b))
    return 2 * 4096**3 / take_turns({"product": lambda: multiply().numpy()}, 5)["product"]


# What the results need at least, in floating-point operations (two for each product and sum of a matrix product)


def needed_of_encoder(n_sequences, n_steps):
    return 2 * n_sequences * (n_steps * (D * H + H * 4 * H) + (n_steps - 1) * H * 4 * H)


def needed_of_words(n_places, own_inputs=True):
    """Of decoder steps whose distribution is asked for; for saliency all regions share the inputs."""
    return 2 * n_places * (H * 4 * H + own_inputs * E * 4 * H + H * V)


def needed_of_training(n_places):
    forward = needed_of_encoder(B, N) + needed_of_words(n_places)
    return 3 * forward - 2 * B * N * D * H  # the descriptors themselves need no gradient


# Random inputs of the paper's size


def random_model(precision="float32", kind=None):
    import s2vt_model

    build = kind or s2vt_model.S2VT
    return build(V, D, H, E, N, L, input_keep_prob=0.5, output_keep_prob=0.5, precision=precision)


def random_captions(rng):
    """Captions of 4 to 20 words, 9 on average -> ids [B, L], masks [B, L]."""
    lengths = np.clip(np.rint(rng.gamma(6, 1.53, B)), 4, 20).astype(int)
    places = np.arange(L)
    ids = np.where(places < lengths[:, None], rng.integers(1, V, (B, L)), 0)
    return ids.astype(np.int32), (places <= lengths[:, None]).astype(np.float32)


def random_descriptors(rng, *shape):
    return rng.gamma(0.5, 0.8, (*shape, D)).astype(np.float32)


def stop_after(weights, n_steps):
    """Make every greedy caption end after some steps: one unit of the LSTM counts them, and the end token waits for it.

    Its gates stand open and its input is constant, so that its cell grows by the same amount in each step.
    """
    weights = {name: array.copy() for name, array in weights.items()}
    clock, tick = 0, 0.02
    for gate, value in enumerate((20.0, np.arctanh(tick), 20.0, 20.0)):  # i, j, f, o
        weights["lstm_kernel"][:, gate * H + clock] = 0
        weights["lstm_bias"][gate * H + clock] = value
    end_word = 0
    strength = 1e4
    weights["predict_word_W"][clock] = 0
    weights["predict_word_W"][:, end_word] = 0
    weights["predict_word_W"][clock, end_word] = strength
    weights["predict_word_b"][end_word] = -strength * np.tanh(tick * (N + n_steps - 0.5))
    return weights


# The rows: each a function of the number of rounds -> a dict of what was measured


def training(rounds):
    """A training step of 100 captions, Adam included; every precision has weights of its own."""
    import tensorflow as tf
    from plain_captioner import PlainCaptioner

    rng = np.random.default_rng(0)
    descriptors, (ids, mask) = random_descriptors(rng, B, N), random_captions(rng)
    longest = int(mask.sum(axis=1).max())
    contenders = {}
    for precision in PRECISIONS:
        step = training_step(random_model(precision))
        batch = [tf.constant(array) for array in (descriptors, ids[:, :longest], mask[:, :longest])]
        contenders[precision] = lambda step=step, batch=batch: step(*batch)
    plain = PlainCaptioner(random_model().reference_weights(), L)
    batch = [tf.constant(array) for array in (descriptors, ids, mask)]
    contenders["plain"] = lambda: plain.train_step(*batch).numpy()
    return {
        "seconds": take_turns(contenders, rounds),
        "needed": needed_of_training(int(mask.sum())),
        "peak_memory_gib": {name: memory_of_training(name) for name in contenders},
    }


def training_step(model):
    """The step that run_s2vt.py takes, as a function of (descriptors, ids, mask)."""
    from captioner import training_step as stage

    step = stage.make_step(model, stage.Adam(5e-4, epsilon=1e-8), "float32")
    return lambda *batch: float(step(*batch, (0, 0))[0])


def memory_of_training(name):
    """Peak memory in GiB of a process that does nothing but three training steps."""
    return run_script([__file__, "--three-steps", name])[1]


def take_three_steps(name):
    """What that process does."""
    import tensorflow as tf
    from plain_captioner import PlainCaptioner

    rng = np.random.default_rng(0)
    batch = [tf.constant(array) for array in (random_descriptors(rng, B, N), *random_captions(rng))]
    if name == "plain":
        captioner = PlainCaptioner(random_model().reference_weights(), L)  # a traced method does not keep its object
        step = captioner.train_step
    else:
        step = training_step(random_model(name))
    for _ in range(3):
        step(*batch)


def captions(rounds):
    """Greedy captions of 100 clips, all of which end after LIVE_STEPS steps."""
    import tensorflow as tf
    from plain_captioner import PlainCaptioner

    rng = np.random.default_rng(0)
    descriptors = tf.constant(random_descriptors(rng, B, N))
    weights = stop_after(random_model().reference_weights(), LIVE_STEPS)
    contenders = {}
    for precision in PRECISIONS:
        model = random_model(precision)
        model.load_reference_weights(weights)
        lengths = {len(words) for words in model.generate(descriptors)}
        assert lengths == {LIVE_STEPS - 1}, f"the captions should have {LIVE_STEPS - 1} words, not {lengths}"
        contenders[precision] = lambda model=model: model.generate(descriptors)
    plain = PlainCaptioner(weights, L)
    contenders["plain"] = lambda: plain.generate(descriptors).numpy()
    needed = needed_of_encoder(B, N) + needed_of_words(B * LIVE_STEPS)
    return {"seconds": take_turns(contenders, rounds), "needed": needed}


def saliency(rounds):
    """Maps of six words for one frame: the plain way a frame a call, ours 32 frames a call."""
    import tensorflow as tf
    from plain_captioner import PlainCaptioner

    import saliency as method

    rng, n_frames = np.random.default_rng(0), 32
    grids = random_descriptors(rng, n_frames, 8, 8)
    ids = rng.integers(1, V, WORDS).astype(np.int32)
    contenders = {}
    for precision in PRECISIONS:
        model = random_model(precision)
        contenders[precision] = lambda model=model: method.raw_maps(model, grids, ids)
        contenders[f"{precision}, one frame"] = lambda model=model: method.raw_maps(model, grids[:1], ids)
    plain = PlainCaptioner(random_model().reference_weights(), L)
    regions, caption = tf.constant(grids[0].reshape(REGIONS, D)), tf.constant([*ids, *[0] * (L - WORDS)], tf.int32)
    contenders["plain"] = lambda: plain.saliency(regions, caption).numpy()
    seconds = take_turns(contenders, rounds)
    for precision in PRECISIONS:
        seconds[precision] /= n_frames
    return {"seconds": seconds, "needed": needed_of_encoder(REGIONS, 1) + needed_of_words(REGIONS * WORDS, False)}


def write_clip(path, n_frames=FRAMES):
    """A clip of 640 x 360 with movement everywhere."""
    from vision import ffmpeg_process

    source = f"testsrc2=size=640x360:rate={FPS},trim=end_frame={n_frames}"
    command = [
        ffmpeg_process.ffmpeg_exe(),
        "-v",
        "error",
        "-y",
        "-f",
        "lavfi",
        "-i",
        source,
        "-pix_fmt",
        "yuv420p",
        path,
    ]
    subprocess.run(command, check=True)


def write_inception_weights(path):
    """Random weights of the paper's CNN, in a file."""
    import keras

    keras.utils.set_random_seed(0)
    keras.applications.InceptionV3(weights=None).save_weights(path)


def descriptors(rounds):
    """Descriptors of a clip of 10 s, from its 26 frames, by Inception-v3."""
    import plain_visualization

    import cfg
    from vision import cnn, media
    from vision import descriptors as stage

    with tempfile.TemporaryDirectory() as folder:
        clip, weights = f"{folder}/clip.mp4", f"{folder}/inception_v3.weights.h5"
        write_clip(clip)
        write_inception_weights(weights)
        extractors = {precision: cnn.load("inception_v3", weights, precision=precision) for precision in PRECISIONS}
        config = cfg.DATASETS["MSR-VTT"]

        def ours(extractor):
            grids = extractor(stage.cnn_inputs(config, Path(clip), extractor.input_size))
            return stage.captioning_descriptors(config, grids)

        def plain():
            with tempfile.TemporaryDirectory() as jpegs:
                paths = plain_visualization.write_jpegs(clip, jpegs)
                chosen = [paths[k] for k in media.sample_indices(len(paths), N)]
                extractor = extractors["float32"]
                plain_visualization.descriptors_one_by_one(extractor, chosen, extractor.input_size)

        contenders = {
            precision: lambda extractor=extractor: ours(extractor) for precision, extractor in extractors.items()
        }
        seconds = take_turns({**contenders, "plain": plain}, rounds)
    return {"seconds": seconds, "needed": N * 11.46e9}  # of Inception-v3 at 299 x 299, a frame


def overlay(rounds):
    """One frame of the overlay video, six words."""
    import plain_visualization

    from explain import overlay as drawing

    rng, words = np.random.default_rng(0), SENTENCE.split()
    frame, maps = rng.integers(0, 256, (360, 640, 3), np.uint8), rng.random((WORDS, 8, 8))
    layout = drawing.Layout(words, 360, 640, curves=rng.random((FRAMES, WORDS)), title=SENTENCE)
    figure = plain_visualization.Figure(words)
    with tempfile.TemporaryDirectory() as folder:
        contenders = {
            "float32": lambda: layout.draw(frame, maps, cursor=0),
            "plain": lambda: figure.draw(frame, maps, f"{folder}/frame.png"),
        }
        return {"seconds": take_turns(contenders, 3 * rounds)}


def write_experiment(folder, weights):
    """A checkpoint of the paper's size with random weights, as run_s2vt.py would leave it."""
    import cfg
    import data_loader
    from captioner import checkpoint

    vocabulary = data_loader.Vocabulary([".", *dict.fromkeys(SENTENCE.split()), *(f"word{k}" for k in range(V - 6))])
    config = dataclasses.replace(cfg.DATASETS["MSR-VTT"], experiment=str(folder), cnn_weights=str(weights))
    checkpoint.save(folder, 1, config, vocabulary, random_model(), SimpleNamespace(variables=[]), {})


def visualization(_rounds):
    """`visualization.py` on a clip of 10 s, from the start of the process to the mp4, once each."""
    with tempfile.TemporaryDirectory() as folder:
        clip, weights, experiment = (
            Path(folder, name) for name in ("clip.mp4", "inception_v3.weights.h5", "experiment")
        )
        write_clip(clip)
        write_inception_weights(weights)
        write_experiment(experiment, weights)
        ours = [HERE.parent / "visualization.py", "--media", clip, "--experiment", experiment, "--sentence", SENTENCE]
        commands = {
            "float32": ours,
            "bfloat16": [*ours, "--set", "precision=bfloat16", "--set", "cnn_precision=bfloat16"],
            "plain": [HERE / "plain_visualization.py", clip, experiment, SENTENCE, Path(folder, "plain.mp4")],
        }
        seconds = {name: run_script(command)[0] for name, command in commands.items()}
    needed = FRAMES * (needed_of_encoder(REGIONS + 1, 1) + needed_of_words((REGIONS + 1) * WORDS, False) + 11.46e9)
    return {"seconds": seconds, "needed": needed}


def checkout(text):
    """Of an argument the folder of a version of the program; argparse.ArgumentTypeError where it is none."""
    if not Path(text, "visualization.py").is_file():
        raise argparse.ArgumentTypeError(f"there is no visualization.py in {text}")
    return Path(text).resolve()


def run_script(command):
    """Run a Python script -> seconds, and the peak memory of its process in GiB (NaN outside Linux)."""
    start, peak_memory = time.perf_counter(), float("nan")
    process = subprocess.Popen([sys.executable, *map(str, command)], stdout=subprocess.DEVNULL)
    while process.poll() is None:
        # Asked again and again, since what the system reports after the end also counts the process that started it.
        with contextlib.suppress(OSError):
            found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
            peak_memory = int(found[1]) / 2**20 if found else peak_memory
        time.sleep(0.1)
    if process.returncode:
        raise SystemExit(f"{command[0]} failed")
    return time.perf_counter() - start, peak_memory


ROWS = {
    "training": training,
    "captions": captions,
    "saliency": saliency,
    "descriptors": descriptors,
    "overlay": overlay,
    "visualization": visualization,
}


# The table


def table(results):
    """The rows as Markdown."""
    peaks = results["peak"]
    lines = [
        "| | plain | ours, float32 | ours, bfloat16 | ratios | needed GFLOP | of the limit | ratios at the limit |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in results["rows"].items():
        seconds, needed = row["seconds"], row.get("needed")
        present = [precision for precision in PRECISIONS if precision in seconds]
        memory = row.get("peak_memory_gib", {})

        def shown(contender, seconds=seconds, memory=memory):
            if contender not in seconds:
                return ""
            return f"{seconds[contender]:.3g} s" + (f", {memory[contender]:.1f} GiB" if memory else "")

        ratios = " / ".join(f"{seconds['plain'] / seconds[precision]:.2f}" for precision in present)
        cells = [name, *map(shown, ("plain", *PRECISIONS)), ratios]
        if needed:
            limits = {precision: needed / peaks[precision] for precision in present}  # seconds
            shares = " / ".join(f"{limit / seconds[precision]:.0%}" for precision, limit in limits.items())
            at_limit = " / ".join(f"{seconds['plain'] / limit:.2f}" for limit in limits.values())
            cells += [f"{needed / 1e9:.0f}", shares, at_limit]
        else:
            cells += ["", "", ""]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)}; default: all")
    parser.add_argument("--rounds", type=int, default=3, help="default: 3")
    parser.add_argument(
        "--json", default=str(HERE / "results.json"), metavar="FILE", help="default: benchmarks/results.json"
    )
    parser.add_argument("--three-steps", help=argparse.SUPPRESS)  # used by this script itself
    args = parser.parse_args()
    unknown = set(args.rows) - set(ROWS)
    if unknown:
        parser.error(f"no row {', '.join(unknown)}; there are {', '.join(ROWS)}")
    device.start_tensorflow()
    if args.three_steps:
        return take_three_steps(args.three_steps)
    results = {"peak": {precision: peak(precision) for precision in PRECISIONS}, "rows": {}}
    for name in args.rows or ROWS:
        print(f"{name} ...", file=sys.stderr, flush=True)
        results["rows"][name] = ROWS[name](args.rounds)
        Path(args.json).write_text(json.dumps(results, indent=1) + "\n")
    print(
        "peak of a matrix product: " + ", ".join(f"{results['peak'][p] / 1e9:.0f} GFLOP/s in {p}" for p in PRECISIONS)
    )
    print(table(results))


if __name__ == "__main__":
    errors.run(main)
