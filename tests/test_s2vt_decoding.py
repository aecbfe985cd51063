"""Captions that the captioner writes: greedy, by beam search, or by chance; on chains whose probabilities are given."""

import itertools

import numpy as np
import pytest

import s2vt_model
from tests.captioners import model_of, plain_total, random_model


def markov_model(start, transitions, n_lstm_step):
    """A captioner that chooses the next word by the last one alone: q(v) = start[v] at first, then transitions[w, v].

    The forget gate is shut, the input and output gates open, and the input saturates: after word w the output h' is
    tanh(1) at unit w and 0 elsewhere, and before the first word it is zero.
    """
    n_words = len(start)
    shut = np.zeros(4 * n_words)
    shut[:n_words], shut[2 * n_words : 3 * n_words], shut[3 * n_words :] = 50, -50, 50  # i, f, o
    kernel = np.zeros((3 * n_words, 4 * n_words))
    kernel[n_words : 2 * n_words, n_words : 2 * n_words] = 50 * np.eye(n_words)  # the word reaches j
    arrays = {
        "Wemb": np.eye(n_words),
        "lstm_kernel": kernel,
        "lstm_bias": shut,
        "embed_features_W": np.zeros((1, n_words)),
        "embed_features_b": np.zeros(n_words),
        "predict_word_W": (np.log(transitions) - np.log(start)) / np.tanh(1),
        "predict_word_b": np.log(start),
    }
    return model_of(arrays, n_lstm_step)


def test_beam_leaves_the_greedy_path():
    # Greedy: word 1 (0.5), then the end (0.4), 0.2 in all. Word 2 (0.4) nearly always ends (0.9): 0.36.
    transitions = [[1 / 3, 1 / 3, 1 / 3], [0.4, 0.3, 0.3], [0.9, 0.05, 0.05]]
    model = markov_model([0.1, 0.5, 0.4], transitions, n_lstm_step=4)
    descriptors = np.zeros((2, 3, 1), np.float32)
    assert model.generate(descriptors) == [[1], [1]]
    assert model.generate(descriptors, beam_size=2) == [[2], [2]]
    for length_penalty in (0, 1):  # the end token is a word
        for found in model.beams(descriptors, 2, length_penalty):
            assert [ids for ids, _ in found] == [[2], [1]]
            assert [score for _, score in found] == pytest.approx(np.log([0.36, 0.2]) / 2**length_penalty, abs=1e-6)
    assert [ids for ids, _ in model.beams(descriptors, 1)[0]] == [[1]]
    assert plain_total(model, descriptors[0], [1]) == pytest.approx(np.log(0.2), abs=1e-6)
    assert plain_total(model, descriptors[0], [2]) == pytest.approx(np.log(0.36), abs=1e-6)


@pytest.mark.parametrize("beam_size", [1, 2, 5])
def test_caption_without_end_token_is_all_the_words(beam_size):
    # 1 and 2 take turns; the end token is always the least likely.
    model = markov_model([0.01, 0.9, 0.09], [[0.02, 0.49, 0.49], [0.01, 0.09, 0.9], [0.01, 0.9, 0.09]], n_lstm_step=5)
    assert model.generate(np.zeros((1, 1, 1), np.float32), beam_size) == [[1, 2, 1, 2, 1]]


def test_caption_that_ends_at_once_is_empty():
    model = markov_model([0.8, 0.1, 0.1], np.full((3, 3), 1 / 3), n_lstm_step=3)
    for beam_size in (1, 3):
        assert model.generate(np.zeros((1, 2, 1), np.float32), beam_size) == [[]]


def test_beam_of_one_is_greedy():
    rng = np.random.default_rng(9)
    model = random_model(rng, n_lstm_step=5)
    descriptors = rng.normal(0, 1, (12, 3, model.dim_image)).astype(np.float32)
    greedy = model._greedy(descriptors).numpy()
    words, _ = model._beam(descriptors, 1, 0.0)  # [B, 1, L]
    np.testing.assert_array_equal(words[:, 0], greedy)
    ended = (greedy == s2vt_model.END).any(axis=1)
    assert ended.any() and not ended.all()  # both kinds of caption were compared


@pytest.mark.slow
def test_wide_beam_finds_the_best_of_all_captions():
    rng = np.random.default_rng(0)
    model = random_model(rng, n_words=4, n_lstm_step=4)
    model.predict_word_b.assign(model.predict_word_b - 1.5 * np.eye(4)[s2vt_model.END])
    descriptors = rng.normal(0, 2, (6, 2, model.dim_image)).astype(np.float32)
    captions = [list(words) for n in range(5) for words in itertools.product(range(1, 4), repeat=n)]
    assert len(captions) == 1 + 3 + 9 + 27 + 81
    best = [max(captions, key=lambda words, one=one: plain_total(model, one, words)) for one in descriptors]
    assert {len(words) for words in best} == {0, 1, 2, 4}  # some that end, and some that do not
    assert model.generate(descriptors, beam_size=4**4) == best
    assert model.generate(descriptors) != best  # not every one of them lies on the greedy path


def test_length_penalty_chooses_between_short_and_long():
    # [1] has probability 0.5 * 0.4 in two words, [2, 1] has 0.4 * 0.9 * 0.4 in three: totals -1.61 and -1.94.
    transitions = [[1 / 3, 1 / 3, 1 / 3], [0.4, 0.3, 0.3], [0.05, 0.9, 0.05]]
    model = markov_model([0.1, 0.5, 0.4], transitions, n_lstm_step=6)
    descriptors = np.zeros((1, 1, 1), np.float32)
    assert model.generate(descriptors, beam_size=30) == [[1]]
    for penalty in (0.3, 0.7, 1.0):
        captions = [list(words) for n in range(7) for words in itertools.product((1, 2), repeat=n)]
        scores = [plain_total(model, descriptors[0], words) / min(len(words) + 1, 6) ** penalty for words in captions]
        assert model.generate(descriptors, beam_size=200, length_penalty=penalty) == [captions[np.argmax(scores)]]
    assert len(captions[np.argmax(scores)]) > 2


def test_samples_come_as_often_as_they_are_probable():
    transitions = [[1 / 3, 1 / 3, 1 / 3], [0.5, 0.2, 0.3], [0.1, 0.8, 0.1]]
    model = markov_model([0.2, 0.5, 0.3], transitions, n_lstm_step=3)
    drawn = model.sample(np.zeros((2, 1, 1), np.float32), 4000, (1, 2)).numpy()  # [8000, L]
    assert drawn.shape == (8000, 3)
    for words, probability in (([0, 0, 0], 0.2), ([1, 0, 0], 0.25), ([2, 1, 0], 0.12), ([1, 2, 1], 0.12)):
        assert (drawn == words).all(axis=1).mean() == pytest.approx(probability, abs=0.02)
    np.testing.assert_array_equal(model.sample(np.zeros((2, 1, 1), np.float32), 4000, (1, 2)), drawn)
