"""The scripts as a user starts them: from another folder, each in a process of its own, and with the real METEOR."""

import json
import subprocess
import sys

import numpy as np
import pytest

from captioner import testing
from tests.commands import ROOT, SMALL, run_process, settings
from tests.tiny_data import write_coco, write_flickr8k
from vision import media

pytestmark = pytest.mark.slow

FLICKR8K = ("--dataset", "Flickr8k")
# Without what Flickr8k's own recipe has beyond the paper's: test_commands.py trains by all of it.
PLAIN = ["self_critical_epochs=0", "flip_probability=0", "word_count_threshold=1", "captions_per_medium=1"]


def test_all_stages_from_another_folder(tmp_path):
    write_flickr8k(tmp_path / "DATA/Flickr8k")
    printed = run_process("preprocessing.py", *FLICKR8K, *settings(*PLAIN), cwd=tmp_path)
    assert "12 media stored" in printed and "0 failures" in printed

    printed = run_process("run_s2vt.py", *FLICKR8K, "--train", *settings(*SMALL, *PLAIN), cwd=tmp_path)
    assert "next: python run_s2vt.py --dataset Flickr8k --test" in printed

    printed = run_process("run_s2vt.py", *FLICKR8K, "--test", "--beam_size", "2", cwd=tmp_path)
    experiment = tmp_path / "experiments/Flickr8k"
    scores = json.loads((experiment / "scores.txt").read_text())
    assert scores["n_media"] == 3 and "CIDEr" in printed
    try:
        testing.caption_scores.find_java()
    except testing.caption_scores.JavaError:
        assert scores["METEOR"] is None
    else:
        assert 0 <= scores["METEOR"] <= 1 and scores["warnings"] == []

    show = ("visualization.py", *FLICKR8K, "--media_id", "im 9.x")
    printed = run_process(*show, "--sentence", "a Red square.", *settings("saliency_input_size=256"), cwd=tmp_path)
    assert "experiments/Flickr8k/saliency/im 9.x-a_red_square.png" in printed
    assert media.read_image(experiment / "saliency/im 9.x-a_red_square.png").ndim == 3
    with np.load(experiment / "saliency/im 9.x-a_red_square.npz") as arrays:
        assert arrays["raw_maps"].shape == (1, 3, 8, 8)

    printed = run_process(*show, "--sentence", "a red poodle", cwd=tmp_path, status=2)  # after TensorFlow has started
    assert printed.startswith("visualization.py: error: the captioner does not know 'poodle'")
    assert len(printed.splitlines()) == 1

    write_coco(tmp_path / "DATA/COCO")
    score = ("evaluate_saliency.py", "--dataset", "COCO", "--experiment", "experiments/Flickr8k")
    printed = run_process(*score, *settings("saliency_input_size=256"), cwd=tmp_path)
    assert "\nsingle_descriptor " in printed
    assert json.loads((experiment / "saliency_scores-COCO.json").read_text())["scores"]["square"]["n"] == 2


@pytest.mark.parametrize(
    "script", ["preprocessing.py", "run_s2vt.py", "visualization.py", "explore.py", "evaluate_saliency.py"]
)
def test_help_does_not_start_tensorflow(script, tmp_path):
    command = [sys.executable, "-X", "importtime", ROOT / script, "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0
    assert "usage" in done.stdout
    assert "tensorflow" not in done.stderr


def test_a_missing_data_set_is_told_before_anything_starts(tmp_path):
    printed = run_process("preprocessing.py", "--dataset", "MSR-VTT", cwd=tmp_path, status=2)
    assert printed.startswith("preprocessing.py: error: DATA/MSR_VTT is missing")
    assert len(printed.splitlines()) == 1
