"""The first five minutes: every stage, as the commands one would type, on a data set that the project generates.

    python demo.py            (or: make demo)

It generates the Demo clips, computes their descriptors, trains a captioner, scores its captions on the test split,
scores its saliency maps against the exact masks of the things, and draws overlay videos. A second run goes on where a
killed one stopped, and does only what is missing. Under ten minutes on two cores.
"""

import argparse
import json
import shlex
import subprocess
import sys
import time
from pathlib import Path

import cfg
import errors

N_VIDEOS = 6
N_SCORED = 40  # clips whose maps are scored
SCRIPTS = Path(__file__).resolve().parent


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    return parser.parse_args()


def run(*command):
    """Run one of the project's scripts, showing the command; its failure is ours."""
    print(f"\n$ python {shlex.join(command)}", flush=True)
    start = time.perf_counter()
    status = subprocess.run([sys.executable, SCRIPTS / command[0], *command[1:]]).returncode
    if status:
        sys.exit(status)
    print(f"({time.perf_counter() - start:.0f} s)", flush=True)


def test_clips(config):
    """The first clips of the Demo test split, each with one of its captions: list of (video id, caption)."""
    info = json.loads((Path(config.data_dir) / "test_videodatainfo.json").read_text(encoding="utf-8"))
    captions = {sentence["video_id"]: sentence["caption"] for sentence in reversed(info["sentences"])}
    return [(video["video_id"], captions[video["video_id"]]) for video in info["videos"][:N_VIDEOS]]


def main():
    parse_args()
    config = cfg.DATASETS["Demo"]
    demo = ("--dataset", "Demo")
    start = time.perf_counter()
    run("preprocessing.py", *demo)
    resume = ["--resume"] if list(Path(config.experiment).glob("model-*/weights.npz")) else []
    run("run_s2vt.py", *demo, "--train", *resume)
    run("run_s2vt.py", *demo, "--test")
    run("evaluate_saliency.py", *demo, "--limit", str(N_SCORED))
    for video_id, caption in test_clips(config):
        run("visualization.py", *demo, "--media_id", video_id, "--sentence", caption)
    print(f"\nAll stages took {time.perf_counter() - start:.0f} s. Look at {config.experiment}/saliency/*.mp4:")
    print("one tile a word, each under its map; the curve below a tile tells when the word is salient.")


if __name__ == "__main__":
    errors.run(main)
