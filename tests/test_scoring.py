"""Which phrases are scored with which maps, on cases whose maps the test gives; and the tables of their scores."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import annotations
import attribution
import cfg
import data_loader
import demo_data
import evaluate_saliency
import examples_page
import media
import overlay
import saliency
import scoring
from annotations import Medium
from errors import UserError
from grounding import Boxes, CaptionedImage, Phrase

LEFT, RIGHT = (0, 0, 50, 100), (50, 0, 100, 100)


VOCABULARY = data_loader.Vocabulary([".", "a", "thing"], [9, 9, 3])


def eye_of(maps, geometry="whole"):
    """An eye for which each method has the maps [T, Gy, Gx] that are given."""
    config = cfg.override(cfg.DATASETS["Flickr8k"], [f"image_geometry={geometry}"])
    saved = SimpleNamespace(vocabulary=VOCABULARY, config=config)
    return SimpleNamespace(saved=saved, maps=lambda method, case: np.asarray(maps[method])[None])


def photograph(name, regions, maps, words=None, size=(100, 100), geometry="whole"):
    """A photograph with a phrase, of one word, for each region (left, top, right, bottom)."""
    phrases = tuple(Phrase((k,), "animal", Boxes(np.array([region]), *size)) for k, region in enumerate(regions))
    captioned = CaptionedImage(Path(name), tuple(words or ["thing"] * len(regions)), phrases)
    return scoring.Photograph(eye_of(maps, geometry), captioned, np.full((*size, 3), 128, np.uint8), None)


def cases():
    """Two pictures: the paper's maps are high on the left, those of `best` on the right."""
    high_left, high_right = np.array([[[1.0, 0.0]]]), np.array([[[0.0, 2.0]]])
    maps = {attribution.PAPERS: high_left, "best": high_right}
    two = {method: np.repeat(map_, 2, axis=0) for method, map_ in maps.items()}
    yield photograph("a", [LEFT], maps)
    yield photograph("b", [], {})
    yield photograph("c", [LEFT, RIGHT], two)


def test_every_phrase_by_every_method():
    results = scoring.score(cases, ["best", scoring.MEAN_MAP])
    assert [(one["case"], one["phrase"], one["group"]) for one in results.about] == [
        (0, 0, "a"),
        (2, 0, "c"),
        (2, 1, "c"),
    ]
    hits = {name: [score["pointing"] for score in found] for name, found in results.scores.items()}
    assert hits[attribution.PAPERS] == [1, 1, 0]  # the mean map is of the paper's maps
    assert hits["best"] == [0, 0, 1]
    assert hits[scoring.MEAN_MAP] == [1, 1, 0]
    assert hits["chance"] == [0.5, 0.5, 0.5] and hits["centre"] == [1, 1, 1]
    assert "best" not in scoring.score(cases, [attribution.PAPERS]).scores


def test_names_of_methods():
    assert evaluate_saliency.chosen_methods(None) == [attribution.PAPERS]
    assert evaluate_saliency.chosen_methods(["best", "untrained", "best"]) == ["best", "untrained"]
    assert set(evaluate_saliency.chosen_methods(["all"])) == {*attribution.METHODS, *scoring.BASELINES}
    with pytest.raises(UserError, match=r"--methods all_but_one: .*single_linear.*mean_map"):
        evaluate_saliency.chosen_methods(["best", "all_but_one"])


def test_reading_a_phrase_of_several_words():
    case = photograph("a", [LEFT, RIGHT], {"rise": np.array([[[0.0, 4.0]], [[2.0, 1.0]]])})
    case.steps = [[0, 1], []]
    read = {reading: case.maps("rise", reading) for reading in scoring.READINGS}
    assert all(second is None for _, second in read.values())
    read = {reading: first.tolist() for reading, (first, _) in read.items()}
    assert read == {"mean": [[[1, 2.5]]], "max": [[[2, 4]]], "head": [[[2, 1]]]}


def test_what_the_captioner_does_not_know_gets_what_chance_gets():
    def two():
        yield photograph("a", [LEFT, RIGHT], {"best": [[[0.0, 2.0]]]}, ["xyzzy", "thing"])
        yield photograph("b", [LEFT], {}, ["xyzzy"])

    results = scoring.score(two, ["best"])
    assert [one["n_seen"] for one in results.about] == [0, 3, 0]
    assert [score["pointing"] for score in results.scores["best"]] == [0.5, 1, 0.5]
    assert [score["auc"] for score in results.scores["best"]] == [0.5, 1, 0.5]


def test_a_photograph_that_is_cropped():
    """Of 160 x 100 pixels the CNN sees rows 36.25 to 123.75 and columns 6.25 to 93.75; the map is high at the top left.

    The cell there, of 2 x 2, has its centre at row 58.125 and column 28.125.
    """
    maps = {"best": np.repeat([[[1.0, 0.0], [0.0, 0.0]]], 3, axis=0)}
    regions = [(27, 57, 30, 60), (57, 27, 60, 30), (0, 0, 100, 30)]  # there; with x and y exchanged; cut off
    case = photograph("a", regions, maps, size=(160, 100), geometry="crop")
    scores = [case.score(k, found) for k, found in enumerate(case.maps("best", "mean"))]
    assert [score["pointing"] for score in scores] == [1, 0, 0]
    assert scores[2]["correctness"] == 0
    assert [case.about(k)["cut_off"] for k in range(3)] == [0, 1, 1]
    image, inside = case.picture(0)
    assert image.shape == (160, 100, 3) and inside[57:60, 27:30].all() and inside.sum() == 9
    shown = case.shown(case.maps("best", "mean")[0])  # 50 x 50 places, of 3.2 x 2 pixels
    assert shown[18, 14] > 0.9 and shown[:11].max() == 0 and shown[-5:].max() == 0


def test_tables():
    results = scoring.score(cases, [attribution.PAPERS])
    results.about[2] |= {"kind": "scene", "n_seen": 400}
    table = evaluate_saliency.tabulate(results, by_word=False)
    assert list(table) == ["all", "seen 400 times", "seen less", "size to 100%", "animal", "scene", "mean of kinds"]
    assert (table["all"]["n"], table["all"]["pictures"], table["seen 400 times"]["n"]) == (3, 2, 1)
    pointing = {name: row[attribution.PAPERS]["pointing"][0] for name, row in table.items()}
    assert pointing["all"] == pytest.approx(2 / 3) and pointing["mean of kinds"] == (1 + 0) / 2
    assert table["all"][attribution.PAPERS]["pointing - centre"][0] == pytest.approx(-1 / 3)
    rows = evaluate_saliency.tabulate(results, by_word=True)
    assert list(rows) == ["all", "all animals", "all scenes", "thing"]


def test_what_is_cut_off_is_summed_up():
    results = scoring.score(cases, [attribution.PAPERS])
    for one, share in zip(results.about, (0.5, 1.0, float("nan")), strict=True):
        one["cut_off"] = share
    assert evaluate_saliency.cut_off(results) == {"cut": 2, "wholly": 1, "share": 0.75}


def test_the_page_shows_usual_examples_and_the_worst(tmp_path):
    results = scoring.score(cases, [attribution.PAPERS, "best"])
    usual, worst = examples_page.choose(results, "best")
    assert usual == [0, 1, 2]
    assert sorted(worst) == [0, 1]  # one of each picture, and not the one that `best` finds
    page = tmp_path / "page.png"
    examples_page.write(page, cases, results, [attribution.PAPERS, "best", scoring.MEAN_MAP], "mean")
    assert media.read_image(page).shape[1] > 3 * overlay.MIN_TILE


def test_the_worst_are_those_of_a_method_and_not_of_a_baseline(tmp_path, monkeypatch):
    results, chosen = scoring.score(cases, [attribution.PAPERS]), []
    monkeypatch.setattr(examples_page, "choose", lambda results, method: (chosen.append(method), ([0], []))[1])
    monkeypatch.setattr(examples_page, "_row", lambda *_: [("", True, np.zeros((150, 200, 3), np.uint8))] * 3)
    examples_page.write(tmp_path / "page.png", cases, results, ["best", "untrained", scoring.MEAN_MAP], "mean")
    examples_page.write(tmp_path / "page.png", cases, results, [scoring.MEAN_MAP], "mean")
    assert chosen == ["best", attribution.PAPERS]


def test_a_hit_is_green_and_a_miss_red():
    frame, inside = np.full((90, 120, 3), 128, np.uint8), np.zeros((90, 120), bool)
    inside[:, :60] = True
    for values, colour in (((1.0, 0.0), examples_page.HIT), ((0.0, 1.0), examples_page.MISS)):
        tile = examples_page.marked(frame, np.array([values]), None, inside)
        x = 50 if values[0] else 150  # of 200 pixels: the middle of the left, or the right, cell
        assert tuple(tile[75, x]) == colour


def truth_of_a_clip():
    """Four frames of 2 x 2: an owl above in the first three, a car below in the last three."""
    masks = np.zeros((2, 4, 2, 2), bool)
    masks[0, :3, 0], masks[1, 1:, 1] = True, True
    things = [demo_data.NamedThing("owl", "red", "spins", 1, 2), demo_data.NamedThing("car", "red", "burns", 2, 4)]
    return demo_data.SceneTruth(masks, things)


def test_what_a_word_names_in_a_clip():
    truth = truth_of_a_clip()
    masks = truth.masks
    owl, red, burns = scoring.find_named(truth, ["a", "owl", "red", "while", "burns"])
    assert [named.places for named in (owl, red, burns)] == [(1,), (2,), (4,)]
    np.testing.assert_array_equal(owl.mask, masks[0])
    np.testing.assert_array_equal(owl.when, [True, True, True, False])
    np.testing.assert_array_equal(red.mask, masks.any(axis=0))
    np.testing.assert_array_equal(burns.mask, masks[1])
    np.testing.assert_array_equal(burns.when, [False, False, True, True])
    assert scoring.find_named(truth._replace(masks=np.zeros_like(masks)), ["owl"]) == []


def test_scores_of_a_clip(monkeypatch):
    """The curve is that of the word, and what it says of the time of the verb counts."""
    monkeypatch.setattr(demo_data, "load_truth", lambda *_: truth_of_a_clip())
    curves = np.array([[9.0, 0], [1, 0], [1, 3], [1, 1]])  # [F, T] of "a" and "burns"
    monkeypatch.setattr(saliency, "temporal_curve", lambda model, pooled, ids: curves)
    eye = eye_of({})
    eye.saved.model, eye.saved.vocabulary = None, data_loader.Vocabulary([".", "a", "burns"])
    medium = Medium("v", Path("v.mp4"), "test", ())
    case = scoring.Clip(eye, medium, "a burns", lambda several: np.zeros((4, 1, 1, 3)))
    assert case.frame(0) == 2  # of frames 1 to 3
    assert case.score_curve(0)["temporal"] == 1
    assert case.about(0)["kind"] == "verb"
    assert case.score(0, np.ones((1, 2, 2)))["pointing"] == 0  # the first of equal pixels is the owl's


def test_a_clip_that_cannot_be_read_is_told_once(monkeypatch, capsys):
    monkeypatch.setattr(annotations, "read_media", lambda config: {"v": Medium("v", Path("no.mp4"), "test", ("owl",))})
    eye = scoring.Eye(SimpleNamespace(config=None))
    assert list(scoring.clips(eye, "test")) == list(scoring.clips(eye, "test")) == []
    assert capsys.readouterr().err.count("no.mp4") == 1 and list(eye.unread) == [Path("no.mp4")]
