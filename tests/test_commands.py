"""Every stage on tiny data sets in each of the three layouts: what it prints, what it writes, how it fails."""

import json

import keras
import numpy as np
import pytest
from PIL import Image

from tests.commands import SMALL, run, settings
from tests.tiny_data import LAYOUTS, picture, write_coco, write_entities
from vision import media, writing

pytestmark = pytest.mark.slow

# Flickr8k's own recipe trains for longer, and has finer maps than a test needs.
RECIPE = {
    "Flickr8k": [
        "self_critical_epochs=1",
        "captions_per_medium=2",
        "word_count_threshold=1",
        "saliency_input_size=256",
        "length_penalty=0",
    ]
}


@pytest.fixture(scope="module", params=LAYOUTS)
def trained(request, tmp_path_factory):
    """(data set, folder) after stages 1 and 2; Flickr30k and MSR-VTT with Inception-v3 from a weights file."""
    dataset = request.param
    folder = tmp_path_factory.mktemp(dataset)
    make, data_dir, _, _ = LAYOUTS[dataset]
    make(folder / data_dir)
    cnn = []
    if dataset != "Flickr8k":
        weights = inception_weights(tmp_path_factory)
        cnn = [f"cnn_weights={weights}", "cnn_input_size=107"]  # 2 x 2 cells
    printed = run("preprocessing.py", "--dataset", dataset, *settings(*cnn), cwd=folder)
    assert "12 media stored" in printed
    assert "0 failures" in printed
    run("run_s2vt.py", "--dataset", dataset, "--train", *settings(*SMALL, *cnn, *RECIPE.get(dataset, [])), cwd=folder)
    return dataset, folder


def inception_weights(tmp_path_factory):
    """A weights file with small random weights, made once."""
    path = tmp_path_factory.getbasetemp() / "inception.weights.h5"
    if not path.exists():
        keras.utils.set_random_seed(0)
        keras.applications.InceptionV3(weights=None, include_top=False, input_shape=(107, 107, 3)).save_weights(path)
    return path


def test_a_second_run_of_preprocessing_has_nothing_to_do(trained):
    dataset, folder = trained
    cnn = [] if dataset == "Flickr8k" else ["cnn_input_size=107"]
    assert "0 media stored" in run("preprocessing.py", "--dataset", dataset, *settings(*cnn), cwd=folder)


def test_test_scores_every_caption_of_the_split(trained, no_java):
    dataset, folder = trained
    printed = run("run_s2vt.py", "--dataset", dataset, "--test", "--beam_size", "2", cwd=folder)
    assert "CIDEr" in printed
    experiment = folder / "experiments" / dataset
    run_line = json.loads((experiment / "scores.txt").read_text().splitlines()[-1])
    assert run_line["beam_size"] == 2
    assert 0 <= run_line["Bleu_1"] <= 1
    predictions = json.loads((experiment / f"model-{run_line['checkpoint']}-beam2.json").read_text())["predictions"]
    assert len(predictions) == 3


def test_visualization_of_a_media_id(trained):
    dataset, folder = trained
    _, _, media_id, form = LAYOUTS[dataset]
    sentence = ["--sentence", "a Red square."]
    printed = run("visualization.py", "--dataset", dataset, "--media_id", media_id, *sentence, cwd=folder)
    picture_path = folder / "experiments" / dataset / "saliency" / f"{media_id}-a_red_square.{form}"
    assert str(picture_path.relative_to(folder)) in printed
    n_frames = 12 if dataset == "MSR-VTT" else 1
    if form == "mp4":
        assert media.probe(picture_path).n_frames == n_frames
    else:
        assert media.read_image(picture_path).ndim == 3
    cells = 8 if dataset == "Flickr8k" else 2
    with np.load(picture_path.with_suffix(".npz")) as arrays:
        assert arrays["raw_maps"].shape == (n_frames, 3, cells, cells)
        assert arrays["words"].tolist() == ["a", "red", "square"]
        assert (arrays["raw_maps"] < 0).all()
        assert 0 <= arrays["maps"].min() <= arrays["maps"].max() <= 1


def test_bad_input_is_one_line_and_status_2(trained):
    dataset, folder = trained
    _, _, media_id, _ = LAYOUTS[dataset]
    show = ("visualization.py", "--dataset", dataset, "--media_id")
    unknown_word = run(*show, media_id, "--sentence", "a red sqare", cwd=folder, status=2)
    assert "'sqare'" in unknown_word
    assert "square" in unknown_word
    assert len(unknown_word.splitlines()) == 1
    unknown_id = run(*show, "vido9", cwd=folder, status=2)
    assert "vido9" in unknown_id
    assert len(unknown_id.splitlines()) == 1


def test_other_media_than_the_captioner_was_trained_on(trained, tmp_path):
    """A captioner of videos explains an image, one of images a video, for a caption of its own or a given one."""
    dataset, folder = trained
    other = tmp_path / "-än other.v2.dat"  # the kind of a file is told by its content
    if dataset == "MSR-VTT":
        Image.fromarray(picture("red", 1)).save(other, format="PNG")
    else:
        writing.write_video(tmp_path / "clip.mp4", [picture("blue", k) for k in range(5)], 10)
        (tmp_path / "clip.mp4").rename(other)
    experiment = ["--experiment", f"experiments/{dataset}", "--output", tmp_path]
    sentence = ["--sentence", "the striped blue square", "--unknown", "skip", "--format", "png"]
    printed = run("visualization.py", f"--media={other}", *experiment, *sentence, cwd=folder)
    assert "left out, not known to the captioner: striped" in printed
    assert media.read_image(tmp_path / "-än other.v2-the_striped_blue_square-skip.png").size


def test_many_media_and_sentences_in_one_run(trained, tmp_path):
    """What cannot be explained is told, and the others are done all the same."""
    dataset, folder = trained
    for name in ("one", "two"):
        Image.fromarray(picture("red", 1)).save(tmp_path / f"{name}.png")
    (tmp_path / "broken.png").write_bytes(b"nothing")
    (tmp_path / "sentences.txt").write_text("a red square\n\na green squares\nred xyzzy\n")
    media_files = [tmp_path / f"{name}.png" for name in ("one", "broken", "two")]
    command = ("visualization.py", "--media", *media_files, "--experiment", f"experiments/{dataset}", "--format", "png")
    options = ("--sentence", tmp_path / "sentences.txt", "--unknown", "nearest", "--output", tmp_path)
    printed = run(*command, *options, cwd=folder, status=2)
    assert "5 of 9 could not be explained" in printed and printed.count("broken.png: ") == 1
    assert printed.count("does not know 'xyzzy'") == 1
    assert printed.count("'squares' is not known to the captioner, read as 'square'") == 2
    for name in ("one", "two"):
        with np.load(tmp_path / f"{name}-a_green_squares-nearest.npz") as arrays:
            assert arrays["words"].tolist() == ["a", "green", "square"]
            assert arrays["read_as"].tolist() == [["squares", "square"]]
        assert (tmp_path / f"{name}-a_red_square.npz").exists()
    (tmp_path / "sentences.txt").write_text("xyzzy\nred xyzzy\n")
    printed = run(*command, *options, cwd=folder, status=2)
    assert (
        "6 of 6 could not be explained" in printed and "broken.png" not in printed
    )  # no medium is looked at for nothing
    (tmp_path / "other").mkdir()
    Image.fromarray(picture("red", 1)).save(tmp_path / "other/one.png")
    twice = ("--media", tmp_path / "one.png", tmp_path / "other/one.png")
    printed = run("visualization.py", *twice, "--experiment", f"experiments/{dataset}", cwd=folder, status=2)
    assert "2 of the media are called one" in printed
    asked = ("--sentence", "a square", "--output", tmp_path, "--format", "npz")
    run("visualization.py", "--media", tmp_path / "other", *command[-4:-2], *asked, cwd=folder)  # all in a folder
    assert (tmp_path / "one-a_square.npz").exists() and not (tmp_path / "one-a_square.png").exists()


def test_another_method(trained, tmp_path):
    dataset, folder = trained
    Image.fromarray(picture("red", 1)).save(tmp_path / "one.png")
    show = ("visualization.py", "--media", tmp_path / "one.png", "--experiment", f"experiments/{dataset}")
    options = ("--sentence", "a red square", "--output", tmp_path, "--format", "png", "--method")
    run(*show, *options, "leave_one_out", cwd=folder)
    with np.load(tmp_path / "one-a_red_square-leave_one_out.npz") as arrays:
        assert arrays["method"] == "leave_one_out" and np.ptp(arrays["raw_maps"]) > 0
    printed = run(*show, *options, "leave_two_out", cwd=folder, status=2)
    assert "no method 'leave_two_out'" in printed and "integrated_gradients" in printed


def test_maps_of_photographs_are_scored(trained, tmp_path):
    dataset, folder = trained
    write_coco(tmp_path)
    score = ("evaluate_saliency.py", "--dataset", "COCO", "--experiment", f"experiments/{dataset}", "--truth", tmp_path)
    methods = ("single_descriptor", *(["untrained", "best"] if dataset == "Flickr8k" else ["leave_one_out"]))
    printed = run(*score, "--output", tmp_path, "--methods", *methods, "--faithfulness", cwd=folder)
    assert printed.count("2.png: ") == 1
    scores = json.loads((tmp_path / "saliency_scores-COCO.json").read_text())["scores"]
    assert scores["square"]["n"] == scores["size to 100%"]["n"] == 2
    assert scores["seen less"]["n"] == scores["not known"]["n"] == 1  # "squares", which is read as "square"
    assert "size to 40%" not in scores
    chance = scores["square"]["chance"]
    assert chance["pointing"][0] == 0.5 and chance["pointing_15"][0] > 0.7
    for method in methods:
        found = scores["all"][method]
        assert set(found) >= {"pointing", "pointing_15", "correctness", "auc", "faithfulness", "pointing - centre"}
        assert f"\n{method} " in printed
    paper = scores["all"]["single_descriptor"]
    assert all(scores["all"][method]["auc"] != paper["auc"] for method in methods[1:])
    assert media.read_image(tmp_path / "saliency_examples-COCO.png").ndim == 3
    assert ("the crop cuts 2 regions" in printed) == (dataset == "Flickr30k")

    if dataset == "MSR-VTT":
        (tmp_path / "annotations/instances_val.json").write_text("{}")
        assert "are not COCO's" in run(*score, cwd=folder, status=2)
        return
    write_entities(tmp_path)
    score = ("evaluate_saliency.py", "--dataset", dataset, "--truth", tmp_path, "--limit", "2")
    for protocol, n_other, n_scene in (("phrases", 4, 2), ("large_phrases", 4, 0), ("entities", 2, 2)):
        printed = run(*score, "--protocol", protocol, "--methods", "single_descriptor", "mean_map", cwd=folder)
        assert f"{n_other + n_scene} {protocol.replace('_', ' ')} of 2 pictures, " in printed
        suffix = dataset if protocol == "phrases" else f"{dataset}-{protocol}"
        stored = json.loads((folder / f"experiments/{dataset}/saliency_scores-{suffix}.json").read_text())
        assert stored["split"] == "test" and stored["protocol"] == protocol
        rows = stored["scores"]
        assert (rows["other"]["n"], rows.get("scene", {"n": 0})["n"]) == (n_other, n_scene)
        assert rows["other"]["single_descriptor"]["pointing"] == [1, 1, 1]  # the boxes are the whole picture
        assert "mean_map" in rows["all"]
        assert media.read_image(folder / f"experiments/{dataset}/saliency_examples-{suffix}.png").ndim == 3


def test_exported_captioner_explains_as_the_one_it_comes_from(trained, tmp_path):
    dataset, folder = trained
    Image.fromarray(picture("red", 1)).save(tmp_path / "one.png")
    published = tmp_path / "published"
    assert " MB, with " in run("run_s2vt.py", "--dataset", dataset, "--export", published, cwd=folder)
    maps = []
    for experiment in (f"experiments/{dataset}", published):
        show = ("visualization.py", "--media", tmp_path / "one.png", "--sentence", "a red square", "--output", tmp_path)
        run(*show, "--experiment", experiment, "--format", "png", cwd=folder)
        with np.load(tmp_path / "one-a_red_square.npz") as arrays:
            maps.append(arrays["raw_maps"])
    np.testing.assert_allclose(*maps, atol=2e-2)
