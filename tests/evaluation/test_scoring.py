"""Which phrases are scored with which maps, on cases whose maps the test gives; and the tables of their scores."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import cfg
import data_loader
import evaluate_saliency
from captioner import checkpoint
from datasets import grounding
from datasets.annotations import Medium
from datasets.demo import clips as demo_clips
from datasets.grounding import Boxes, CaptionedImage, Phrase
from evaluation import cases, examples_page, faithfulness, scoring, tables
from explain import attribution, overlay
from explain.query import Query
from explain.s2vt_captioner import S2VTCaptioner
from system.errors import UserError
from vision import media

LEFT, RIGHT = (0, 0, 50, 100), (50, 0, 100, 100)


VOCABULARY = data_loader.Vocabulary([".", "a", "thing"], [9, 9, 3])


def eye_of(maps, geometry="whole"):
    """An eye for which each method has the maps [T, Gy, Gx] that are given."""
    config = cfg.override(cfg.DATASETS["Flickr8k"], [f"image_geometry={geometry}"])
    saved = SimpleNamespace(vocabulary=VOCABULARY, config=config, folder="a captioner", state={})
    return SimpleNamespace(
        captioner=S2VTCaptioner(saved), maps=lambda method, case: np.asarray(maps[method])[None, case.places]
    )


def photograph(name, regions, maps, words=None, size=(100, 100), geometry="whole"):
    """A photograph with a phrase, of one word, for each region (left, top, right, bottom)."""
    phrases = tuple(Phrase((k,), "animal", Boxes(np.array([region]), *size)) for k, region in enumerate(regions))
    captioned = CaptionedImage(Path(name), tuple(words or ["thing"] * len(regions)), phrases)
    return cases.Photograph(eye_of(maps, geometry), captioned, np.full((*size, 3), 128, np.uint8), None)


def subjects(*given):
    """Media of one case each."""
    return [cases.Subject(case.group, lambda case=case: [case]) for case in given]


def score(given, methods, **options):
    """All phrases of the media, by captioners whose times do not count."""
    return scoring.score(SimpleNamespace(times=lambda: ({}, {})), given, methods, **options)


def three():
    """Two pictures: the paper's maps are high on the left, those of `best` on the right."""
    high_left, high_right = np.array([[[1.0, 0.0]]]), np.array([[[0.0, 2.0]]])
    maps = {attribution.PAPERS: high_left, "best": high_right}
    two = {method: np.repeat(map_, 2, axis=0) for method, map_ in maps.items()}
    return subjects(photograph("a", [LEFT], maps), photograph("b", [], {}), photograph("c", [LEFT, RIGHT], two))


def test_every_phrase_by_every_method():
    results = score(three(), ["best", scoring.MEAN_MAP])
    places = [(one["subject"], one["case"], one["phrase"], one["group"]) for one in results.about]
    assert places == [("a", 0, 0, "a"), ("c", 0, 0, "c"), ("c", 0, 1, "c")]
    hits = {name: [score["pointing"] for score in found] for name, found in results.scores.items()}
    assert hits[attribution.PAPERS] == [1, 1, 0]  # the mean map is of the paper's maps
    assert hits["best"] == [0, 0, 1]
    assert hits[scoring.MEAN_MAP] == [1, 1, 0]
    assert hits["chance"] == [0.5, 0.5, 0.5] and hits["centre"] == [1, 1, 1]
    assert "best" not in score(three(), [attribution.PAPERS]).scores


def test_the_mean_map_is_that_of_the_other_pictures():
    """Two pictures whose own maps find the thing, each on another side; and one of them alone."""
    sides = {"a": (LEFT, [[[3.0, 0.0]]]), "b": (RIGHT, [[[0.0, 3.0]]])}

    def shown(names):
        return subjects(*(photograph(name, [sides[name][0]], {attribution.PAPERS: sides[name][1]}) for name in names))

    both, alone = (score(shown(names), [scoring.MEAN_MAP]) for names in ("ab", "a"))
    assert [score["pointing"] for score in both.scores[attribution.PAPERS]] == [1, 1]
    assert [score["pointing"] for score in both.scores[scoring.MEAN_MAP]] == [0, 0]
    assert [score["auc"] for score in both.scores[scoring.MEAN_MAP]] == [0, 0]
    assert [score["pointing"] for score in alone.scores[scoring.MEAN_MAP]] == [0.5]  # a flat map


def test_what_each_method_is_asked_of(monkeypatch):
    """The baselines of another captioner, `best` and its twin of several sizes, all others as they are."""
    asked, made = [], []

    def captioner(name):
        def scene(cells, multi_scale):
            made.append(name)
            return SimpleNamespace(asking=lambda places: (name, cells, places))

        return SimpleNamespace(scene=scene)

    for method in attribution.METHODS:
        monkeypatch.setitem(attribution.METHODS, method, lambda *of, by=method: asked.append((by, *of)) or np.zeros(1))
    eye = cases.Eye(captioner("trained"))
    eye.untrained = captioner("untrained")
    case = SimpleNamespace(query=Query("a thing", ["a", "thing"], [1, 2]), places=[1])
    case.seen = cases.Seen(lambda multi_scale: [f"cells, {multi_scale}"])
    for method in ("rise", "best", "untrained", "untrained_best", "grad_cam"):
        eye.maps(method, case)
    assert asked == [
        ("rise", ("trained", "cells, False", [1]), [1, 2]),
        ("best", ("trained", "cells, True", [1]), [1, 2]),
        ("single_descriptor", ("untrained", "cells, False", [1]), [1, 2]),
        ("best", ("untrained", "cells, True", [1]), [1, 2]),
        ("grad_cam", ("trained", "cells, False", [1]), [1, 2]),
    ]
    assert made == ["trained", "trained", "untrained", "untrained"]  # a picture's scene serves every method and case
    seconds, _ = eye.times()
    assert set(seconds) == {"rise", "best", "untrained", "untrained_best", "grad_cam"} and not eye.seconds


def test_the_untrained_captioner_is_another_one():
    config = cfg.override(cfg.DATASETS["Flickr8k"], ["dim_hidden=8", "dim_word_emb=4"])
    model = checkpoint.build_model(config, VOCABULARY, dim_image=5)
    eye = cases.Eye(S2VTCaptioner(checkpoint.Checkpoint(None, config, VOCABULARY, {}, model)))
    initial = model.get_weights()
    model.set_weights([weights + 1 for weights in initial])  # trained
    found = eye.untrained.saved
    assert found.vocabulary is VOCABULARY and found.model is not model
    assert all(np.array_equal(*pair) for pair in zip(initial, found.model.get_weights(), strict=True))


def test_faithfulness_is_that_of_the_phrase_at_its_frame(monkeypatch):
    maps = {"rise": np.array([[[5.0, 5.0]], [[0.0, 4.0]], [[2.0, 1.0]]])}
    case = photograph("a", [LEFT, RIGHT], maps, ["a", "thing", "thing"])
    case.steps = [[1], [2]]
    case.seen = cases.Seen(lambda multi_scale: ["the frame"])
    scene = SimpleNamespace(asking=lambda places: ("scene of the frame", places))
    monkeypatch.setattr(case.eye.captioner, "scene", lambda cells, multi_scale: scene)
    asked = []
    monkeypatch.setattr(faithfulness, "faithfulness", lambda *of: asked.append(of) or [1.0, 2.0, 3.0])
    found = case.maps("rise", "mean")
    assert case.faithfulness([(0, found[0]), (1, found[1]), (0, found[1])]) == [1, 2, 3]
    ((scene, ids, pairs),) = asked
    assert scene == ("scene of the frame", [1, 2]) and ids == case.query.ids
    assert [(steps, raw.tolist()) for steps, raw in pairs] == [([0], [[0, 4]]), ([1], [[2, 1]]), ([0], [[2, 1]])]


def test_names_of_methods():
    assert evaluate_saliency.chosen_methods(None) == [attribution.PAPERS]
    assert evaluate_saliency.chosen_methods(["best", "untrained", "best"]) == ["best", "untrained"]
    for names in (["all"], ["best", "all"]):
        assert set(evaluate_saliency.chosen_methods(names)) == {*attribution.METHODS, *scoring.BASELINES}
    with pytest.raises(UserError, match=r"no method 'all_but_one'; .*single_linear.*mean_map"):
        evaluate_saliency.chosen_methods(["best", "all_but_one"])


def test_the_limit_is_one_of_images(monkeypatch):
    captioned = [CaptionedImage(Path(name), (), ()) for name in "aabbb"]
    monkeypatch.setattr(grounding, "read_coco", lambda folder: captioned)
    args = SimpleNamespace(dataset="COCO", truth=None, limit=1, protocol="phrases")
    (first,) = evaluate_saliency.find_subjects(args, None, "eye")
    assert first.id == "a" and first.cases.args == (Path("a"), captioned[:2])
    args = SimpleNamespace(dataset="COCO", truth=None, limit=2, protocol="entities")
    assert [one.id for one in evaluate_saliency.find_subjects(args, None, "eye")] == ["a", "b"]


def test_reading_a_phrase_of_several_words():
    case = photograph("a", [LEFT, RIGHT], {"rise": np.array([[[0.0, 4.0]], [[2.0, 1.0]]])})
    case.steps = [[0, 1], []]
    read = {reading: case.maps("rise", reading) for reading in cases.READINGS}
    assert all(second is None for _, second in read.values())
    read = {reading: first.tolist() for reading, (first, _) in read.items()}
    assert read == {"mean": [[[1, 2.5]]], "max": [[[2, 4]]], "head": [[[2, 1]]]}


def test_what_the_captioner_does_not_know_gets_what_chance_gets():
    two = subjects(
        photograph("a", [LEFT, RIGHT], {"best": [[[0.0, 2.0]]]}, ["xyzzy", "thing"]),
        photograph("b", [LEFT], {}, ["xyzzy"]),
    )
    results = score(two, ["best"])
    assert [one["n_seen"] for one in results.about] == [0, 3, 0]
    assert [score["pointing"] for score in results.scores["best"]] == [0.5, 1, 0.5]
    assert [score["auc"] for score in results.scores["best"]] == [0.5, 1, 0.5]


def test_the_faithfulness_of_chance_and_of_the_unknown_is_0():
    case = photograph("a", [LEFT, RIGHT], {"best": [[[0.0, 2.0]]]}, ["xyzzy", "thing"])
    case.faithfulness = lambda found: [3.0] * len(found)
    results = score(subjects(case), ["best"], with_faithfulness=True)
    found = {name: [score.get("faithfulness") for score in scores] for name, scores in results.scores.items()}
    assert found == {"best": [0, 3], "chance": [0, 0], "centre": [None, None]}


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
    results = score(three(), [attribution.PAPERS])
    results.about[2] |= {"kind": "scene", "n_seen": 400}
    table = tables.tabulate(results, by_word=False)
    assert list(table) == ["all", "seen 400 times", "seen less", "size to 100%", "animal", "scene", "mean of kinds"]
    assert (table["all"]["n"], table["all"]["pictures"], table["seen 400 times"]["n"]) == (3, 2, 1)
    pointing = {name: row[attribution.PAPERS]["pointing"][0] for name, row in table.items()}
    assert pointing["all"] == pytest.approx(2 / 3) and pointing["mean of kinds"] == (1 + 0) / 2
    assert table["all"][attribution.PAPERS]["pointing - centre"][0] == pytest.approx(-1 / 3)
    assert table["all"]["chance"]["auc - paper's"][0] == pytest.approx((0.5 - 1 + 0.5 - 1 + 0.5 - 0) / 3)
    assert "pointing - centre" not in table["all"]["centre"]
    assert "pointing - paper's" not in table["all"][attribution.PAPERS]
    rows = tables.tabulate(results, by_word=True)
    assert list(rows) == ["all", "all animals", "all scenes", "thing"]
    results.about[2]["kind"] = "animal"
    assert list(tables.tabulate(results, by_word=True)) == ["all", "thing"]


def test_what_is_cut_off_is_summed_up():
    results = score(three(), [attribution.PAPERS])
    for one, share in zip(results.about, (0.5, 1.0, float("nan")), strict=True):
        one["cut_off"] = share
    assert tables.cut_off(results) == {"cut": 2, "wholly": 1, "share": 0.75}


def test_the_page_shows_usual_examples_and_the_worst(tmp_path):
    results = score(three(), [attribution.PAPERS, "best"])
    usual, worst = examples_page.choose(results, "best")
    assert usual == [0, 1, 2]
    assert sorted(worst) == [0, 1]  # one of each picture, and not the one that `best` finds


def test_the_worst_stand_beside_the_usual_where_there_is_room(tmp_path, monkeypatch):
    results, page, sizes = score(three(), [attribution.PAPERS, "best"]), tmp_path / "page.png", []
    for n_beside in (2, 1):
        monkeypatch.setattr(examples_page, "N_BESIDE", n_beside)
        examples_page.write(page, three(), results, [attribution.PAPERS, "best", scoring.MEAN_MAP], "mean")
        sizes.append(media.read_image(page).shape)
    (low, wide, _), (high, narrow, _) = sizes
    assert narrow == 3 * (overlay.MIN_TILE + overlay.MARGIN) + overlay.MARGIN == (wide + overlay.MARGIN) // 2
    assert high > low + examples_page.TILE_HEIGHT  # five rows, and three


def test_the_worst_are_those_of_a_method_and_not_of_a_baseline(tmp_path, monkeypatch):
    results, chosen = score(three(), [attribution.PAPERS]), []
    monkeypatch.setattr(examples_page, "choose", lambda results, method: (chosen.append(method), ([0], []))[1])
    monkeypatch.setattr(examples_page, "_row", lambda *_: [("", True, np.zeros((150, 200, 3), np.uint8))] * 3)
    examples_page.write(tmp_path / "page.png", three(), results, ["best", "untrained", scoring.MEAN_MAP], "mean")
    examples_page.write(tmp_path / "page.png", three(), results, [scoring.MEAN_MAP], "mean")
    assert chosen == ["best", attribution.PAPERS]


def test_a_hit_is_green_and_a_miss_red():
    frame, inside = np.full((90, 90, 3), 128, np.uint8), np.zeros((90, 90), bool)
    inside[:, :45] = True
    for values, colour in (((1.0, 0.0), examples_page.HIT), ((0.0, 1.0), examples_page.MISS)):
        tile = examples_page.marked(frame, np.array([values]), None, inside)
        x = 62 if values[0] else 137  # of 200 pixels, 150 of them picture: the middle of the left, or the right, cell
        assert tuple(tile[75, x]) == colour


def truth_of_a_clip():
    """Four frames of 2 x 2: an owl above in the first three, a car below in the last three."""
    masks = np.zeros((2, 4, 2, 2), bool)
    masks[0, :3, 0], masks[1, 1:, 1] = True, True
    things = [demo_clips.NamedThing("owl", "red", "spins", 1, 2), demo_clips.NamedThing("car", "red", "burns", 2, 4)]
    return demo_clips.SceneTruth(masks, things)


def test_what_a_word_names_in_a_clip():
    truth = truth_of_a_clip()
    masks = truth.masks
    owl, red, burns = cases.find_named(truth, ["a", "owl", "red", "while", "burns"])
    assert [named.places for named in (owl, red, burns)] == [(1,), (2,), (4,)]
    np.testing.assert_array_equal(owl.mask, masks[0])
    np.testing.assert_array_equal(owl.when, [True, True, True, False])
    np.testing.assert_array_equal(red.mask, masks.any(axis=0))
    np.testing.assert_array_equal(burns.mask, masks[1])
    np.testing.assert_array_equal(burns.when, [False, False, True, True])
    assert cases.find_named(truth._replace(masks=np.zeros_like(masks)), ["owl"]) == []


@pytest.mark.parametrize("when, frame", [((0, 4), 2), ((3, 6), 3), ((5, 6), 2)])
def test_the_frame_that_stands_for_a_clip(when, frame):
    """Of the frames 1 to 3, in which the thing can be seen, those in which it does what the verb says, if there are."""
    clip, mask, time = object.__new__(cases.Clip), np.zeros((6, 2, 2), bool), np.zeros(6, bool)
    mask[1:4, 0], time[slice(*when)] = True, True
    clip.asked = [cases.Named("burns", (0,), mask, time)]
    assert clip.frame(0) == frame


def test_scores_of_a_clip(monkeypatch):
    """The curve is that of the word, and what it says of the time of the verb counts."""
    found = media.VideoInfo(2, 2, 12.0, 4)
    monkeypatch.setattr(demo_clips, "load_truth", lambda *_: truth_of_a_clip())
    monkeypatch.setattr(media, "probe", lambda path: found)
    curves = np.array([[9.0, 0], [1, 0], [1, 3], [1, 1]])  # [F, T] of "a" and "burns"
    eye = eye_of({})
    eye.captioner.saved.vocabulary = data_loader.Vocabulary([".", "a", "burns"])
    monkeypatch.setattr(eye.captioner, "curve", lambda cells, query: curves)
    medium = Medium("v", Path("v.mp4"), "test", ("a burns",))
    (subject,) = cases.clips(eye, [medium], "DATA")
    (case,) = subject.cases()
    case.seen = cases.Seen(lambda several: np.zeros((4, 1, 1, 3)))
    assert case.frame(0) == 3  # of frames 2 and 3
    assert case.score_curve(0)["temporal"] == 1
    assert case.about(0)["kind"] == "verb"
    assert case.score(0, np.ones((1, 2, 2)))["pointing"] == 3 / 8  # in three of four frames half of the pixels
    found = media.VideoInfo(2, 2, 12.0, 3)
    with pytest.raises(UserError, match=r"v\.mp4: 3 frames can be decoded, its masks have 4"):
        cases.Clip(eye, "v", Path("v.mp4"), [], [], (4, 2, 2), None)
    found = media.VideoInfo(3, 2, 12.0, 4)
    with pytest.raises(UserError, match=r"v\.mp4: the frames have 3 x 2 pixels, their masks 5 x 2"):
        cases.Clip(eye, "v", Path("v.mp4"), [], [], (4, 2, 5), None)


def test_a_word_on_the_masks_is_meant_wherever_it_stands(monkeypatch):
    """Its map is the mean of those of all its places; it is there while a mask is not empty."""
    masks = np.zeros((4, 2, 2), bool)
    masks[1:, 0] = True
    monkeypatch.setattr(media, "probe", lambda path: media.VideoInfo(2, 2, 24.0, 4))
    words = ["thing", "a", "thing", "xyzzy"]
    named = cases.on_masks(words, ("thing", "xyzzy"), masks)
    maps = np.arange(12).reshape(3, 4, 1, 1) * np.ones((2, 2))
    eye = eye_of({})
    eye.maps = lambda method, case: maps.swapaxes(0, 1)[:, case.places]  # [F, P, 2, 2]
    case = cases.Clip(eye, "v", "v", words, named, masks.shape, None)
    assert [one.places for one in named] == [(0, 2), (3,)] and case.steps == [[0, 2], []]
    thing, unknown = case.maps("best", "mean")
    assert thing[:, 0, 0].tolist() == [4, 5, 6, 7] and unknown is None
    assert named[0].when.tolist() == [False, True, True, True] and case.frame(0) == 2
    assert case.about(0) == {"words": "thing", "kind": "word", "cut_off": 0, "n_seen": 3}
    assert case.baselines(1)["chance"]["pointing_frame"] == 0.5


def test_the_map_of_the_picture_of_a_clip_needs_its_frame_alone(monkeypatch):
    clip, read = object.__new__(cases.Clip), []
    masks = np.zeros((6, 2, 2), bool)
    masks[1:4, 0] = True
    clip.asked, clip.steps, clip.path = [cases.Named("owl", (0,), masks, masks[:, 0, 0])], [[1]], "v.mp4"
    clip.eye = SimpleNamespace(maps=lambda method, case: case.seen.cells(False))  # [F, P = 1, 2, 2]
    clip._seen_alone = lambda frame: cases._seen_of_clip(clip.eye, clip.path, indices=[frame])

    def grids_of_clip(eye, path, several, indices):
        read.append((path, several, indices))
        return np.array(indices, float)[:, None, None, None] * np.ones((1, 1, 2, 2))

    monkeypatch.setattr(cases, "_grids_of_clip", grids_of_clip)
    assert clip.map_of_picture("best", "mean", 0).tolist() == [[2, 2], [2, 2]]  # frame 2, word 1
    assert read == [("v.mp4", False, [2])]


def test_what_cannot_be_read_is_noted_and_the_others_are_scored(monkeypatch):
    monkeypatch.setattr(demo_clips, "load_truth", lambda *_: truth_of_a_clip())
    broken = cases.clips(cases.Eye(None), [Medium("v", Path("no.mp4"), "test", ("owl",))], "DATA")
    results = score([*three(), *broken], [attribution.PAPERS, scoring.MEAN_MAP])
    assert list(results.unread) == ["v"] and "no.mp4" in results.unread["v"]
    assert len(results.about) == 3 and results.n_subjects == 4


def test_a_medium_that_breaks_off_while_it_is_scored_is_noted_as_one_that_cannot_be_read():
    times = []
    eye = SimpleNamespace(times=lambda: times.append("asked") or ({}, {}))
    case = photograph("a", [LEFT], {})
    case.maps = lambda *_: (_ for _ in ()).throw(UserError("a: cut off"))
    assert scoring.score_subject(eye, subjects(case)[0], ["best"]) == {"unread": "a: cut off"}
    assert times == ["asked"]  # those of what is not scored count nothing


def test_sentences_of_a_clip_are_one_medium_wherever_they_stand(monkeypatch):
    """Which the CNN sees once."""
    masks, looks = np.ones((4, 2, 2), bool), []
    monkeypatch.setattr(media, "probe", lambda path: media.VideoInfo(2, 2, 24.0, 4))
    monkeypatch.setattr(cases, "_grids_of_clip", lambda eye, path, *_, **__: looks.append(path))
    clips = [
        SimpleNamespace(id=name, path=f"{name}.mp4", words=words, named=words, read_masks=lambda: masks)
        for name, words in (("one", ["thing"]), ("two", ["thing"]), ("one", ["a", "thing"]))
    ]
    first, second = cases.masked_clips(eye_of({}), clips)
    assert (first.id, second.id) == ("one", "two")
    opened = first.cases()
    assert [case.words for case in opened] == [["thing"], ["a", "thing"]]
    for case in opened:
        case.seen.cells(False)
    assert looks == ["one.mp4"]
