"""What the protocols ask of a photograph, on boxes and maps by hand; and where they are refused."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import cfg
import data_loader
from datasets.grounding import Boxes, CaptionedImage, Phrase
from evaluation import cases, protocols, scoring
from explain.s2vt_captioner import S2VTCaptioner
from tests.commands import run

IMAGE = np.full((100, 100, 3), 128, np.uint8)
MAPS = {"dog": [4.0, 0, 3, 0], "animal": [0.0, 0, 3, 2], "grass": [0.0, 1, 0, 0]}  # their cells are 25 pixels wide
VOCABULARY = data_loader.Vocabulary([".", *MAPS], [9, 5, 7, 3])


def eye():
    """An eye for which every word has its map of one row, whatever the method."""
    saved = SimpleNamespace(vocabulary=VOCABULARY, config=cfg.DATASETS["Flickr8k"], folder="a captioner", state={})
    maps = {VOCABULARY.ids[word]: [map_] for word, map_ in MAPS.items()}
    return SimpleNamespace(
        captioner=S2VTCaptioner(saved),
        maps=lambda method, case: np.array([[maps[case.query.ids[place]] for place in case.places]]),
    )


def caption(*named):
    """A caption of phrases of one word: (word, chain, boxes), a box (left, right) or (left, right, bottom)."""
    phrases = []
    for k, (_, chain, boxes) in enumerate(named):
        corners = [[left, 0, right, *(bottom or [100])] for left, right, *bottom in boxes]
        phrases.append(Phrase((k,), "animals", Boxes(np.array(corners), 100, 100), chain))
    return CaptionedImage(Path("a.jpg"), tuple(word for word, *_ in named), tuple(phrases))


TWO_DOGS = ((50, 58), (66, 75))  # between them is the middle of the third cell
CAPTIONS = [
    caption(("dog", 1, TWO_DOGS), ("grass", 2, [(0, 40)])),
    caption(("xyzzy", 1, TWO_DOGS), ("animal", 1, TWO_DOGS)),
    caption(("xyzzy", 3, [(0, 10), (10, 20)])),
]


def scored(protocol, captions=CAPTIONS):
    """Each phrase's words, and its scores by `best` and by chance."""
    subject = cases.Subject("a.jpg", lambda: protocol(eye(), captions, IMAGE, None))
    results = scoring.score(SimpleNamespace(times=lambda: ({}, {})), [subject], ["best"])
    return [one["words"] for one in results.about], results.scores["best"], results.scores["chance"]


def test_ours_asks_for_every_phrase_on_its_boxes():
    words, best, _ = scored(protocols.phrases)
    assert words == ["dog", "grass", "xyzzy", "animal", "xyzzy"]
    assert [score["pointing"] for score in best] == [0, 1, 0.18, 0, 0.2]  # what is not known gets what chance gets


def test_large_phrases_take_a_twentieth_of_the_photograph_by_all_their_boxes_together():
    sizes = {"5 %": [(0, 50, 10)], "4 %": [(0, 4)], "8 %": [(0, 4), (50, 54)], "twice the same 4 %": [(0, 4), (0, 4)]}
    captions = [caption(*((name, k, boxes) for k, (name, boxes) in enumerate(sizes.items())))]
    (case,) = protocols.large_phrases(eye(), captions, IMAGE, None)
    assert [case.words[place] for phrase in case.asked for place in phrase.places] == ["5 %", "8 %"]
    words, best, _ = scored(protocols.large_phrases)
    assert (words, best) == scored(protocols.phrases)[:2]  # all of them are


def test_entities_have_the_mean_map_of_their_known_mentions_and_the_box_around_their_boxes():
    (case,) = protocols.entities(eye(), CAPTIONS, IMAGE, None)
    assert [phrase.region.boxes.tolist() for phrase in case.asked] == [
        [[50, 0, 75, 100]],
        [[0, 0, 40, 100]],
        [[0, 0, 20, 100]],
    ]
    dogs, grass, unknown = case.maps("best", "mean")
    assert dogs.tolist() == [[[2, 0, 3, 1]]] and grass.tolist() == [[MAPS["grass"]]] and unknown is None
    assert case.map_of_picture("best", "mean", 0).tolist() == [[2, 0, 3, 1]]
    words, best, chance = scored(protocols.entities)
    assert words == ["animal", "grass", "xyzzy"]  # of the dogs' mentions the word that was seen most
    assert [score["pointing"] for score in best] == [1, 1, 0.2]
    assert [score["pointing"] for score in chance] == [pytest.approx(0.26, abs=0.02), 0.4, 0.2]
    assert [case.about(k)["n_seen"] for k in range(3)] == [7, 3, 0]


def test_what_the_crop_hides_of_an_entity_is_of_the_box_around_it():
    (case,) = protocols.entities(eye(), [caption(("dog", 1, [(0, 10), (90, 100)]))], IMAGE, None)
    case.box = (0, 50, 100, 100)
    assert case.about(0)["cut_off"] == 0.5
    frame, inside = case.picture(0)
    assert frame is IMAGE and inside.all()


@pytest.mark.parametrize(
    "arguments, told",
    [
        (("Demo", "--protocol", "large_phrases"), "is for photographs: Demo has clips"),
        (("Demo", "--protocol", "entities"), "is for photographs: Demo has clips"),
        (("COCO", "--protocol", "entities"), "COCO does not say which words name the same"),
        (
            ("Flickr8k", "--protocol", "entities", "--faithfulness"),
            "an entity (--protocol entities) has those of sever",
        ),
    ],
)
def test_a_protocol_that_cannot_be_followed_is_refused(arguments, told, tmp_path):
    printed = run("evaluate_saliency.py", "--dataset", *arguments, cwd=tmp_path, status=2)
    assert told in printed and len(printed.splitlines()) == 1
