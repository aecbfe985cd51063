"""Which phrases are scored with which maps, on cases whose maps the test gives; and the tables of their scores."""

import collections

import numpy as np
import pytest

import attribution
import demo_data
import evaluate_saliency
import examples_page
import localization
import scoring
from grounding import Boxes

LEFT, RIGHT = ([[0, 0, 50, 100]], [[50, 0, 100, 100]])


class Given(scoring.Case):
    """A photograph of 100 x 100 with a phrase for each region, under maps [T, Gy, Gx] that each method has for it."""

    def __init__(self, group, regions, maps):
        eye = collections.namedtuple("Eye", "maps")(lambda method, case: np.asarray(maps[method])[None])
        asked = [(Boxes(np.array(region), 100, 100), [k]) for k, region in enumerate(regions)]
        super().__init__(eye, group, list(range(len(regions))), asked, (100, 100), (0, 0, 100, 100), grids=dict)

    def about(self, k):
        return {"words": "thing", "kind": "animal", "n_seen": 3, "cut_off": 0.0}

    def score(self, k, maps, box=None):
        return localization.score_map(maps[0], self.asked[k][0], 100, 100, box)

    def baselines(self, k):
        return localization.score_region(self.asked[k][0])

    def frame(self, k):
        return 0

    def picture(self, k):
        inside = np.zeros((100, 100), bool)
        left, top, right, bottom = self.asked[k][0].boxes[0]
        inside[top:bottom, left:right] = True
        return np.full((100, 100, 3), 128, np.uint8), inside


def cases():
    """Two pictures: the paper's maps are high on the left, those of `best` on the right."""
    high_left, high_right = np.array([[[1.0, 0.0]]]), np.array([[[0.0, 2.0]]])
    maps = {attribution.PAPERS: high_left, "best": high_right}
    two = {method: np.repeat(map_, 2, axis=0) for method, map_ in maps.items()}
    yield Given("a", [LEFT], maps)
    yield Given("b", [], {})
    yield Given("c", [LEFT, RIGHT], two)


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


def test_reading_a_phrase_of_several_words():
    case = Given("a", [LEFT, RIGHT], {"rise": np.array([[[0.0, 4.0]], [[2.0, 1.0]]])})
    case.asked = [(case.asked[0][0], [0, 1])]
    read = {reading: case.maps("rise", reading)[0].tolist() for reading in scoring.READINGS}
    assert read == {"mean": [[[1, 2.5]]], "max": [[[2, 4]]], "head": [[[2, 1]]]}


def test_tables():
    results = scoring.score(cases, [attribution.PAPERS])
    results.about[2] |= {"kind": "scene", "n_seen": 400}
    table = evaluate_saliency.tabulate(results, by_word=False)
    assert list(table) == ["all", "seen 400 times", "size to 100%", "animal", "scene", "mean of kinds"]
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
    assert page.stat().st_size > 1000


def test_a_hit_is_green_and_a_miss_red():
    frame, inside = np.full((90, 120, 3), 128, np.uint8), np.zeros((90, 120), bool)
    inside[:, :60] = True
    for values, colour in (((1.0, 0.0), examples_page.HIT), ((0.0, 1.0), examples_page.MISS)):
        tile = examples_page.marked(frame, np.array([values]), None, inside)
        x = 60 if values[0] else 180  # of 240 pixels: the middle of the left, or the right, cell
        assert tuple(tile[90, x]) == colour


def test_what_a_word_names_in_a_clip():
    masks = np.zeros((2, 4, 2, 2), bool)
    masks[0, :3, 0], masks[1, 1:, 1] = True, True  # an owl above in three frames, a car below in three
    things = [demo_data.NamedThing("owl", "red", "spins", 1, 2), demo_data.NamedThing("car", "red", "burns", 2, 4)]
    truth = demo_data.SceneTruth(masks, things)
    owl, red, burns = (scoring.find_named(truth, word) for word in ("owl", "red", "burns"))
    np.testing.assert_array_equal(owl.mask, masks[0])
    np.testing.assert_array_equal(owl.when, [True, True, True, False])
    np.testing.assert_array_equal(red.mask, masks.any(axis=0))
    np.testing.assert_array_equal(burns.mask, masks[1])
    np.testing.assert_array_equal(burns.when, [False, False, True, True])
    assert scoring.find_named(truth, "while") is None
    assert scoring.find_named(truth._replace(masks=np.zeros_like(masks)), "owl") is None
