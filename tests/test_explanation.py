"""Sentences to words, and phrases to maps."""

from types import SimpleNamespace

import numpy as np
import pytest

import cfg
import explanation
import s2vt_model
import saliency
from data_loader import Vocabulary
from errors import UserError
from grounding import Boxes, Phrase

VOCABULARY = Vocabulary([".", "a", "dog", "runs", "snowboarder"], related={"poodle": ["dog"]})


def test_unknown_words_are_refused_left_out_or_replaced():
    with pytest.raises(UserError) as refusal:
        explanation.parse_sentence("A poodle, a dgo runs xyzzy.", VOCABULARY, 9)
    for part in ("'poodle' (used like: dog)", "'dgo' (spelled like: dog)", "'xyzzy' (none comes near it)"):
        assert part in str(refusal.value)
    assert "--unknown skip" in str(refusal.value) and "--unknown nearest" in str(refusal.value)
    query = explanation.parse_sentence("A poodle runs xyzzy", VOCABULARY, 9, "skip")
    assert (query.words, query.ids, query.skipped, query.read_as) == (["a", "runs"], [1, 3], ["poodle", "xyzzy"], {})
    query = explanation.parse_sentence("a poodle, snowboarders", VOCABULARY, 9, "nearest")
    assert (query.words, query.skipped) == (["a", "dog", "snowboarder"], [])
    assert query.read_as == {"poodle": "dog", "snowboarders": "snowboarder"}
    assert query.title == "a poodle, snowboarders  (poodle is read as dog, snowboarders is read as snowboarder)"
    with pytest.raises(UserError, match="'xyzzy'"):
        explanation.parse_sentence("a poodle xyzzy", VOCABULARY, 9, "nearest")


def test_maps_of_phrases_are_the_mean_of_their_known_words():
    model = s2vt_model.S2VT(len(VOCABULARY), 3, 6, 4, 1, 3)
    config = cfg.override(cfg.DATASETS["Flickr8k"], ["n_lstm_step=3"])
    saved = SimpleNamespace(model=model, vocabulary=VOCABULARY, config=config)
    grids = np.random.default_rng(0).normal(0, 1, (1, 2, 2, 3)).astype(np.float32)
    words = ("a", "brown", "dog", "runs", "a")  # "brown" is not known, and a fourth known word is one too many
    region = Boxes(np.zeros((1, 4)), 1, 1)
    phrases = [Phrase(places, "animals", region) for places in ((0, 1, 2), (3,), (1,), (4,))]
    raw = saliency.raw_maps(model, grids, [1, 2, 3])[0]  # a dog runs
    found = list(explanation.phrase_maps(saved, grids, words, phrases))
    assert [phrase for phrase, _ in found] == phrases[:2]
    np.testing.assert_allclose(found[0][1], raw[:2].mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(found[1][1], raw[2], rtol=1e-5)
    assert list(explanation.phrase_maps(saved, grids, ("brown",), phrases[2:3])) == []
