"""Why this word and not that, by every method, on a captioner of random weights."""

import functools
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

import s2vt_model
import saliency
from data_loader import Vocabulary
from explain import attribution, contrast, query, render, s2vt_scene
from system.errors import UserError
from tests import captioners

WORDS, OTHERS = [2, 3, 4], [5, 3, 7]
VOCABULARY = Vocabulary([".", "a", "dog", "runs", "cat"])
KNOWN = functools.partial(query.known_word, vocabulary=VOCABULARY)


@pytest.fixture(scope="module")
def captioner():
    return captioners.random_model(np.random.default_rng(0), n_words=11, dim_image=5)


@pytest.fixture
def asked(captioner):
    asked = contrast.Contrast(captioner)
    asked.others.assign(OTHERS)
    return asked


class InTheirPlace(contrast.Contrast):
    """The captioner asked for log q of the other words after the same words as before."""

    def word_log_probs_after(self, state, caption, places=None):
        log_q = tf.nn.log_softmax(self.model.logits_after(state, caption))  # [B, T, V]
        return s2vt_model.at_places(tf.linalg.diag_part(tf.gather(log_q, OTHERS, axis=-1)), places)

    def word_name_scores(self, descriptors, word_ids):
        return tf.linalg.diag_part(tf.gather(self.model.name_scores(descriptors), OTHERS, axis=1))


def test_the_difference_of_two_words_after_the_same_words(captioner, asked):
    descriptors = np.random.default_rng(1).normal(0, 1, (2, 4, 5)).astype(np.float32)
    caption = np.array([WORDS], np.int32)
    log_q = captioner.log_probs(descriptors, caption).numpy()  # [2, 3, 11]
    expected = [[log_q[b, t, word] - log_q[b, t, OTHERS[t]] for t, word in enumerate(WORDS)] for b in range(2)]
    np.testing.assert_allclose(asked.word_log_probs(descriptors, caption), expected, atol=1e-5)
    assert expected[0][1] == 0  # a word against itself


@pytest.mark.parametrize("names", [False, True])
@pytest.mark.parametrize("name", [name for name in attribution.METHODS if name != "grad_cam"])
def test_a_method_that_is_linear_in_log_q_gives_the_difference_of_its_maps(captioner, asked, name, names):
    grid, blank = np.random.default_rng(2).normal(0, 1, (2, 4, 3, 5)).astype(np.float32)
    method = attribution.METHODS[name]
    maps, word, other = (
        method(s2vt_scene.S2VTScene(model, grid, blank, names=names), WORDS)
        for model in (asked, captioner, InTheirPlace(captioner))
    )
    np.testing.assert_allclose(maps, word - other, atol=1e-4)
    assert np.ptp(maps[[0, 2]], axis=(1, 2)).min() > 1e-3
    assert not saliency.normalize_linear(maps[1][None, None].round(5)).any()


def test_grad_cam_weighs_channels_by_the_difference(asked):
    grid, blank = np.random.default_rng(2).normal(0, 1, (2, 4, 3, 5)).astype(np.float32)
    maps = attribution.METHODS["grad_cam"](s2vt_scene.S2VTScene(asked, grid, blank), WORDS)
    assert maps[0].max() > 0 and maps.min() == 0 and abs(maps[1]).max() < 1e-6


def test_graphs_stay_when_the_words_change(captioner, asked):
    grids = np.random.default_rng(3).normal(0, 1, (1, 2, 2, 5)).astype(np.float32)
    first = saliency.raw_maps(asked, grids, WORDS)
    asked.others.assign([6, 7, 8])
    second = saliency.raw_maps(asked, grids, WORDS)
    asked.others.assign([5])
    third = saliency.raw_maps(asked, grids, WORDS[:1])
    np.testing.assert_allclose(third, first[:, :1], atol=1e-5)
    assert abs(first - second).min() > 1e-5


def test_the_words_that_are_compared():
    parsed = query.parse_sentence("A dog runs, a dog", VOCABULARY, 9)
    assert (parsed.places, parsed.labels) == ([0, 1, 2, 3, 4], ["a", "dog", "runs", "a", "dog"])
    one = contrast.contrasted(parsed, "Dog=cat", KNOWN)
    assert (one.places, one.labels) == ([1, 4], ["dog, not cat", "dog, not cat"])
    assert (one.ids, one.sentence) == (parsed.ids, parsed.sentence)
    each = contrast.contrasted(parsed, "dog", KNOWN)
    assert (each.places, each.labels) == ([0, 2, 3], ["a, not dog", "runs, not dog", "a, not dog"])
    refusals = {
        "dog=zebra": "the captioner does not know 'zebra'",
        "zebra=cat": "the captioner does not know 'zebra'",
        "cat=dog": "'cat', to be compared with 'dog', is not in 'A dog runs, a dog'",
        "dog=dog": "no word of 'A dog runs, a dog' would be another one; write WORD=OTHER",
        "dog=": "'dog=' compares nothing: write OTHER, or WORD=OTHER",
        "=dog": "'=dog' compares nothing",
        "": "'' compares nothing",
        "dog=a cat": "'a cat' is not one word",
    }
    for instead, message in refusals.items():
        with pytest.raises(UserError, match=message):
            contrast.contrasted(parsed, instead, KNOWN)


@pytest.mark.parametrize("instead, ending", [("dog=cat", "-dog_not_cat"), ("cat", "-not_cat"), ("dog", "-not_dog")])
def test_comparisons_do_not_write_over_each_other(instead, ending):
    asked = contrast.contrasted(query.parse_sentence("A dog runs", VOCABULARY, 9), instead, KNOWN)
    about = {"path": Path("x.png"), "is_video": False, "normalization": "linear", "method": attribution.PAPERS}
    assert render.name(SimpleNamespace(query=asked, **about)) == f"x-a_dog_runs{ending}"
