"""One captioner from several data sets, by the commands that a user types."""

import json

import numpy as np
import pytest

import cfg
from tests.commands import SMALL, run, settings
from tests.tiny_data import write_coco_captions, write_flickr8k, write_msr_vtt, write_pascal1k

pytestmark = pytest.mark.slow

THREE = ("--dataset", "Flickr8k", "COCO", "PASCAL1k")
RECIPE = ["self_critical_epochs=1", "word_count_threshold=1", "captions_per_medium=2", "max_to_keep=1"]
WAY = cfg.DATASETS["Flickr8k"].descriptors_dir.name


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with three data sets and their descriptors; one of PASCAL1k's pictures is broken."""
    folder = tmp_path_factory.mktemp("several")
    write_flickr8k(folder / "DATA/Flickr8k")
    write_coco_captions(folder / "DATA/COCO")
    write_pascal1k(folder / "DATA/PASCAL1k")
    (folder / "DATA/PASCAL1k/images/im 3.x.jpg").write_bytes(b"nothing")
    printed = run("preprocessing.py", *THREE, cwd=folder)
    assert "Flickr8k: 12 media stored" in printed and "COCO: 6 media stored" in printed
    assert "PASCAL1k: 11 media stored" in printed and "  im 3.x: " in printed
    assert "next: python run_s2vt.py --dataset Flickr8k COCO PASCAL1k --train" in printed
    return folder


@pytest.fixture(scope="module")
def trained(folder):
    """The same with a captioner that has learnt from all three."""
    printed = run("run_s2vt.py", *THREE, "--train", *settings(*SMALL, *RECIPE), cwd=folder)
    assert "Flickr8k, COCO, PASCAL1k: 40 training captions, 3 for validation" in printed  # 12 + 6 + 11 * 2
    assert "next: python run_s2vt.py --dataset Flickr8k --test" in printed
    return folder


def test_each_data_set_has_its_own_descriptors_as_the_first_ones_recipe_asks(folder):
    for dataset, n_media in (("Flickr8k", 12), ("COCO", 6), ("PASCAL1k", 11)):
        stored = folder / "DATA/descriptors" / dataset / WAY
        assert len(list(stored.glob("*.npy"))) == 2 * n_media  # and their mirror images
        assert (stored / "cnn.json").exists()
    assert json.loads((stored / "failures.jsonl").read_text())["id"] == "im 3.x"
    assert run("preprocessing.py", *THREE, cwd=folder).count(": 0 media stored") == 3


def test_a_captioner_remembers_its_sources(trained):
    experiment = trained / "experiments/Flickr8k"
    (checkpoint,) = experiment.glob("model-*")
    assert json.loads((checkpoint / "config.json").read_text())["more_sources"] == "COCO,PASCAL1k"
    assert {"thing", "square"} <= set(json.loads((checkpoint / "vocabulary.json").read_text()))
    resume = ("--train", "--resume", "--experiment", "experiments/Flickr8k")
    printed = run("run_s2vt.py", "--dataset", "Flickr8k", *resume, cwd=trained)
    assert "Flickr8k, COCO, PASCAL1k: 40 training captions" in printed
    printed = run("run_s2vt.py", "--dataset", "Flickr8k", "COCO", *resume, cwd=trained, status=2)
    assert "was trained on Flickr8k COCO PASCAL1k: --resume takes no others" in printed
    captions = trained / "DATA/COCO/annotations/captions_train2017.json"
    before = captions.read_text()
    info = json.loads(before)
    captions.write_text(json.dumps(info | {"annotations": [*info["annotations"], {"image_id": 1, "caption": "new"}]}))
    printed = run("run_s2vt.py", "--dataset", "Flickr8k", *resume, cwd=trained, status=2)
    captions.write_text(before)
    assert "trained on 40 captions, and now there are 41: the media of Flickr8k, COCO, PASCAL1k" in printed


def test_it_is_tested_and_shown_on_any_of_them(trained, no_java, tmp_path):
    captioner = ("--experiment", "experiments/Flickr8k")
    (trained / "DATA/COCO").rename(tmp_path / "COCO")  # its sources are not needed any more
    printed = run("run_s2vt.py", "--dataset", "Flickr8k", "--test", "--beam_size", "1", cwd=trained)
    assert "Flickr8k, test split, 3 media" in printed
    test = ("run_s2vt.py", *captioner, "--test", "--split", "train", "--beam_size", "1")
    own = run(*test, "--dataset", "Flickr8k", cwd=trained)
    moved = settings(f"data_dir={tmp_path / 'COCO'}")
    other = run(*test, "--dataset", "COCO", *moved, cwd=trained)
    assert "Flickr8k, train split, 6 media" in own and "COCO, train split, 6 media" in other
    (step,) = (path.name for path in (trained / "experiments/Flickr8k").glob("model-*") if path.is_dir())
    written = {path.name for path in (trained / "experiments/Flickr8k").glob("model-*.json")}
    assert written == {f"{step}.json", f"{step}-train.json", f"{step}-COCO-train.json"}
    lines = (trained / "experiments/Flickr8k/scores.txt").read_text().splitlines()
    runs = [(one["dataset"], one["split"]) for one in map(json.loads, lines)]
    assert runs == [("Flickr8k", "test"), ("Flickr8k", "train"), ("COCO", "train")]

    show = ("visualization.py", "--dataset", "COCO", "--media_id", "4", *captioner, "--sentence", "one green thing")
    run(*show, *settings("saliency_input_size=256"), *moved, "--output", tmp_path, cwd=trained)
    with np.load(tmp_path / "4-one_green_thing.npz") as arrays:
        assert arrays["words"].tolist() == ["one", "green", "thing"]
    (tmp_path / "COCO").rename(trained / "DATA/COCO")


def test_what_does_not_go_together_is_refused(folder, tmp_path):
    for names, about in (
        (("Flickr8k", "MSR-VTT"), "more_sources=MSR-VTT: it must be None or, .* other data sets of images than Fl"),
        (("Flickr8k", "COCO", "COCO"), "more_sources=COCO,COCO: it must be None or"),
        (("COCO", "COCO"), "more_sources=COCO: it must be None or"),
        (("Flickr8k", "Flickr30k"), "DATA/Flickr30k is missing: put (or link) Flickr30k there"),
    ):
        for script, options in (("preprocessing.py", ()), ("run_s2vt.py", ("--train",))):
            printed = run(script, "--dataset", *names, *options, cwd=folder, status=2)
            assert len(printed.splitlines()) == 1
            assert all(part in printed for part in about.split(" .* "))
    assert "invalid choice: 'MSVD'" in run("preprocessing.py", "--dataset", "Flickr8k", "MSVD", cwd=folder, status=2)
    for options in (("--test",), ("--export", tmp_path / "mine")):
        assert "several data sets go with --train" in run("run_s2vt.py", *THREE, *options, cwd=folder, status=2)
    printed = run("run_s2vt.py", "--dataset", "PASCAL1k", "--train", cwd=folder, status=2)
    assert "a split of DATA/PASCAL1k has no media: training needs a train and a validate split" in printed


def test_descriptors_that_a_source_lacks_are_told_with_the_command(folder, tmp_path):
    (folder / "DATA/descriptors/COCO" / WAY / "3.mirrored.npy").rename(tmp_path / "aside.npy")
    printed = run("run_s2vt.py", *THREE, "--train", "--experiment", "experiments/other", cwd=folder, status=2)
    (tmp_path / "aside.npy").rename(folder / "DATA/descriptors/COCO" / WAY / "3.mirrored.npy")
    assert f"1 of 24 media have no descriptors in DATA/descriptors/COCO/{WAY}, such as COCO/3" in printed
    assert "run `python preprocessing.py --dataset Flickr8k COCO PASCAL1k` with the same --set" in printed


def test_a_captioner_of_images_is_not_tested_on_videos(trained):
    write_msr_vtt(trained / "DATA/MSR_VTT")
    test = ("run_s2vt.py", "--dataset", "MSR-VTT", "--experiment", "experiments/Flickr8k", "--test")
    printed = run(*test, cwd=trained, status=2)
    assert "was trained on images, those of Flickr8k, and MSR-VTT has videos: name another --experiment" in printed
    assert len(printed.splitlines()) == 1
