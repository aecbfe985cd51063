"""Captions of a split, and their scores."""

import dataclasses
import json
import shutil

import pytest

from captioner import checkpoint, testing, training
from datasets import annotations
from system.errors import UserError
from tests.small_runs import COLOURS, config_of, content

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("workplace")]


def test_scores_and_predictions_are_written_down(copied, no_java):
    best = checkpoint.best_step(copied)
    run, path = testing.test("MSR-VTT", copied)
    assert path == copied / f"model-{best}.json"
    about = {"checkpoint": best, "dataset": "MSR-VTT", "split": "test", "n_media": 3, "beam_size": 1}
    assert run.items() >= about.items()
    assert set(testing.METRICS) <= set(run)
    written = json.loads(path.read_text())
    predictions = {one["media_id"]: one["caption"] for one in written.pop("predictions")}
    assert written == run
    expected = {f"video{n}": COLOURS[n % 3] for n in (12, 13, 14)}
    assert set(predictions) == set(expected)
    for video, colour in expected.items():  # learnt: only its own colour is in the caption
        assert [word for word in predictions[video].split() if word in COLOURS] == [colour]
    assert run["Bleu_1"] > 0.8 and run["METEOR"] is None

    other, _ = testing.test("MSR-VTT", copied, 6, "validate", ["batch_size=2", "beam_size=3"])
    about = {"checkpoint": 6, "dataset": "MSR-VTT", "split": "validate", "n_media": 5, "beam_size": 3}
    assert other.items() >= about.items()
    lines = (copied / "scores.txt").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [run, other]
    assert len(json.loads((copied / "model-6-validate-beam3.json").read_text())["predictions"]) == 5


def test_captions_of_another_data_set_have_its_name(copied, no_java, tmp_path):
    shutil.copytree("DATA/MSR_VTT", tmp_path / "demo")
    config = checkpoint.load(checkpoint.choose(copied)).on("Demo", [f"data_dir={tmp_path}/demo"]).config
    assert (config.dataset, config.data_dir, config.seed) == ("Demo", f"{tmp_path}/demo", 0)
    shutil.copytree(config_of("any").descriptors_dir, config.descriptors_dir)
    run, path = testing.test("Demo", copied, 6, "train", [f"data_dir={tmp_path}/demo"])
    assert path == copied / "model-6-Demo-train.json"
    assert run.items() >= {"checkpoint": 6, "dataset": "Demo", "split": "train", "n_media": 7}.items()
    own, path = testing.test("MSR-VTT", copied, 6, "train")
    assert path == copied / "model-6-train.json"
    assert (own["dataset"], own["CIDEr"]) == ("MSR-VTT", run["CIDEr"])
    training.remove_experiment(copied)
    assert content(copied) == {}
    shutil.rmtree(config.descriptors_dir)


def test_batch_size_does_not_change_the_captions(trainer):
    saved = checkpoint.load("experiments/unbroken/model-24")
    media = annotations.split_media(annotations.read_media(saved.config), "validate")
    captions = []
    for batch_size in (1, 4, 100):
        saved.config = dataclasses.replace(saved.config, batch_size=batch_size)
        captions.append(testing.caption_media(saved, media))
    assert captions[0] == captions[1] == captions[2]
    assert list(captions[0]) == [medium.id for medium in media]


def test_what_cannot_be_tested_is_refused(copied, tmp_path):
    before = content(copied)
    with pytest.raises(UserError, match="no checkpoint 7; there are 3, 6, 10"):
        testing.test("MSR-VTT", copied, 7)
    with pytest.raises(UserError, match=r"model-\d+ was trained on videos, those of MSR-VTT, and Flickr8k has images"):
        testing.test("Flickr8k", copied)
    with pytest.raises(UserError, match="'seed' is fixed by the checkpoint; here one can set data_dir"):
        testing.test("MSR-VTT", copied, assignments=["seed=1"])
    shutil.copytree("DATA/MSR_VTT", tmp_path / "no test set", ignore=shutil.ignore_patterns("test_*"))
    with pytest.raises(UserError, match="no test set has no test split: its annotations are missing"):
        testing.test("MSR-VTT", copied, assignments=[f"data_dir={tmp_path / 'no test set'}"])
    assert content(copied) == before
