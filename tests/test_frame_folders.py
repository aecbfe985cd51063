"""Clips as folders of frames through the commands: explained, and scored on masks, by the bundled captioner."""

import json

import numpy as np
import pytest

from tests.commands import run, settings
from tests.tiny_data import write_davis, write_frames
from vision import media

pytestmark = pytest.mark.slow
COARSE = settings("saliency_input_size=128")  # 4 x 4 cells
SCORE = ("evaluate_saliency.py", "--dataset", "DAVIS", *COARSE)


def test_a_folder_is_explained(tmp_path):
    write_davis(tmp_path)
    (tmp_path / "JPEGImages/one").rename(tmp_path / "walk.v2")
    (tmp_path / "empty").mkdir()
    show = ("visualization.py", *COARSE, "--sentence", "a dog runs", "--media")
    run(*show, "walk.v2/", cwd=tmp_path)
    found = media.probe(tmp_path / "saliency/walk.v2-a_dog_runs.mp4")
    assert (found.n_frames, found.fps) == (4, media.FOLDER_FPS)
    with np.load(tmp_path / "saliency/walk.v2-a_dog_runs.npz") as arrays:
        assert arrays["raw_maps"].shape == (4, 3, 4, 4) and arrays["fps"] == media.FOLDER_FPS
        assert arrays["picture_size"].tolist() == [48, 64]
    printed = run(*show, "empty", "walk.v2", "--format", "png", cwd=tmp_path, status=2)
    assert printed.count("empty: a folder without pictures") == 1 and "1 of 2 could not be explained" in printed
    assert media.kind(tmp_path / "saliency/walk.v2-a_dog_runs.png") == "image"
    run(*show, ".", "--format", "gif", cwd=tmp_path / "walk.v2")
    assert (
        media.probe(tmp_path / "walk.v2/saliency/walk.v2-a_dog_runs.gif").n_frames == 2
    )  # of 24 a second, every other


def test_a_part_of_a_folder_is_explained(tmp_path):
    write_davis(tmp_path)
    show = ("visualization.py", *COARSE, "--sentence", "a dog runs", "--media", "JPEGImages/one", "--format", "png")
    run(*show, "--start", "0:00.05", "--every", "2", cwd=tmp_path)
    with np.load(tmp_path / "saliency/one-from_0.05-every_2-a_dog_runs.npz") as arrays:
        assert len(arrays["raw_maps"]) == 1 and arrays["start"] == 0.05  # the third of four, 24 a second
    assert "'soon' is no time" in run(*show, "--end", "soon", cwd=tmp_path, status=2)
    assert "no frame from 9 s to its end" in run(*show, "--start", "9", cwd=tmp_path, status=2)


def test_clips_are_scored_on_their_masks(tmp_path):
    write_davis(tmp_path / "DATA/DAVIS")
    methods = ("single_descriptor", "leave_one_out", "mean_map")
    printed = run(*SCORE, "--methods", *methods, "--faithfulness", cwd=tmp_path)
    stored = json.loads((tmp_path / "saliency/saliency_scores-DAVIS.json").read_text())
    assert stored["split"] is None and stored["unread"] == {}
    scores = stored["scores"]
    assert {name: (row["n"], row["pictures"]) for name, row in scores.items()} == {
        "all": (3, 2),
        "dog": (2, 2),
        "running": (1, 1),
    }
    assert scores["all"]["chance"]["pointing_frame"] == scores["all"]["chance"]["pointing"] == [0.5] * 3
    for method in methods:
        found = scores["all"][method]
        assert set(found) >= {"pointing", "pointing_frame", "correctness", "auc", "pointing_frame - centre"}
        assert found["temporal"][0] == 1 and "pointing_15" not in found  # the thing is there all the time
        assert f"\n{method} " in printed
    assert "\nby frame, in %" in printed
    assert media.read_image(tmp_path / "saliency/saliency_examples-DAVIS.png").ndim == 3


def test_bad_clips(tmp_path):
    """What the table says wrongly ends the run; what is wrong with a clip's files is told, and the others count."""
    assert "DATA/DAVIS/sentences.tsv is missing" in run(*SCORE, cwd=tmp_path, status=2)
    write_davis(tmp_path)
    score = (*SCORE, "--truth", tmp_path)
    write_frames(tmp_path / "Annotations/two", [np.full((24, 32, 3), 255, np.uint8)] * 4)
    printed = run(*score, cwd=tmp_path)
    assert printed.count("JPEGImages/two: the frames have 64 x 48 pixels, their masks 32 x 24") == 1
    assert "2 phrases of 1 pictures" in printed
    (tmp_path / "JPEGImages/one/00002.png").write_bytes(b"nothing")
    printed = run(*score, cwd=tmp_path, status=2)  # all was there, so that it begins anew
    assert "JPEGImages/one/00002.png: not a picture" in printed
    assert "no phrase to score" in printed
