"""The stages on a tiny Demo data set: training on single regions, the captioner's own captions, scores of maps."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

import cfg
from captioner import training
from datasets import store
from datasets.demo import clips as demo_clips
from system.errors import UserError
from tests.commands import SMALL, run, settings
from vision import media

pytestmark = pytest.mark.slow

DEMO = ("--dataset", "Demo")
COARSE = settings("saliency_input_size=128")  # 4 x 4 cells


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder after stages 1 and 2."""
    folder = tmp_path_factory.mktemp("demo")
    demo_clips.generate(folder / "DATA/Demo", seed=5, n_train=3, n_validate=1, n_test=1, workers=1)
    assert "5 media stored" in run("preprocessing.py", *DEMO, cwd=folder)  # those, and not the usual ones
    run("run_s2vt.py", *DEMO, "--train", *settings(*SMALL, "n_lstm_step=16"), cwd=folder)
    return folder


def test_maps_are_scored_for_every_word_that_names_something(trained):
    methods = ("single_descriptor", "single_linear", "mean_map")
    printed = run("evaluate_saliency.py", *DEMO, *COARSE, "--methods", *methods, "--faithfulness", cwd=trained)
    experiment = trained / "experiments/Demo"
    stored = json.loads((experiment / "saliency_scores.json").read_text())
    assert stored["split"] == "test" and stored["seconds"]["single_linear"] > 0
    words = {word for word in stored["scores"] if not word.startswith("all")}
    info = json.loads((trained / "DATA/Demo/test_videodatainfo.json").read_text())
    said = {word for sentence in info["sentences"] for word in sentence["caption"].split()}
    assert words and words <= said & set(demo_clips.WORD_CLASSES)
    for name, row in stored["scores"].items():
        assert name in printed
        assert 0 < row["chance"]["pointing"][0] < 0.5
        for method in methods:
            scores = ("pointing", "pointing_frame", "correctness", "auc", "temporal")
            assert all(0 <= row[method][score][0] <= 1 for score in scores)
        # The mean map is the same in every frame.
        assert 0 < row["chance"]["temporal"][0] == pytest.approx(row["mean_map"]["temporal"][0])
    assert np.isfinite(stored["scores"]["all"]["single_linear"]["faithfulness"]).all()
    nouns = [word for word in words if demo_clips.WORD_CLASSES[word] == "noun"]
    assert stored["scores"]["all nouns"]["n"] == sum(stored["scores"][word]["n"] for word in nouns)
    assert media.read_image(experiment / "saliency_examples.png").ndim == 3


def test_the_own_caption_is_explained_as_a_gif(trained, tmp_path):
    shutil.copytree(trained / "DATA/Demo", tmp_path / "Demo")
    clip = tmp_path / "Demo/TestVideo/video4.mp4"
    media.write_video(clip, next(media.read_frames(clip, np.arange(8))), demo_clips.FPS)  # a GIF takes long to encode
    show = ("visualization.py", *DEMO, "--media_id", "video4", "--format", "gif")
    printed = run(*show, *COARSE, *settings(f"data_dir={tmp_path / 'Demo'}"), cwd=trained)
    assert "(the captioner's own caption)" in printed
    (gif,) = (trained / "experiments/Demo/saliency").glob("video4-*-own.gif")
    n_frames = media.probe(clip).n_frames
    assert media.probe(gif).n_frames == n_frames == 8  # 12 frames a second: all of them
    with np.load(gif.with_suffix(".npz")) as arrays:
        assert arrays["own_caption"]
        assert arrays["raw_maps"].shape == (n_frames, len(arrays["words"]), 4, 4)
        assert arrays["raw_maps"].max() <= 1e-5  # minus a Kullback-Leibler divergence
        assert arrays["temporal_curves"].shape == (n_frames, len(arrays["words"]))


@pytest.mark.parametrize("change", ["cells", "regions"])
def test_what_does_not_fit_is_told_before_the_old_experiment_is_removed(trained, monkeypatch, change):
    monkeypatch.chdir(trained)
    config = cfg.override(cfg.DATASETS["Demo"], SMALL)
    if change == "cells":
        config, message = dataclasses.replace(config, saliency_input_size=500), "an input of 500 pixels"
    else:
        config, message = dataclasses.replace(config, descriptors_root="copied"), "1 of 3 media have no descriptors"
        shutil.copytree("DATA/descriptors", "copied")
        store.Store(config).regions_path("video2").unlink()
    before = sorted(trained.glob("experiments/Demo/*"))
    with pytest.raises(UserError, match=message):
        training.start(config)
    assert sorted(trained.glob("experiments/Demo/*")) == before
