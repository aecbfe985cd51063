"""Self-critical training: the reward is that of the scorer, and what is rewarded becomes likelier."""

import numpy as np
import pytest
from pycocoevalcap.cider.cider import Cider

import s2vt_model
from captioner import self_critical, training_step
from data_loader import Vocabulary
from datasets import annotations

WORDS = ["a", "red", "green", "square", "moves", "stands", "the", "one"]


def random_captions(rng, n):
    return [list(rng.choice(WORDS, size=rng.integers(1, 9))) for _ in range(n)]


def test_cider_d_is_that_of_the_scorer():
    rng = np.random.default_rng(0)
    references = {f"v{k}": random_captions(rng, 1 + k % 5) for k in range(12)}
    captions = {media_id: [*references[media_id][0][:-1], "one"] for media_id in references}
    captions["v3"] = ["unheard", "of"]
    captions["v4"] = []
    as_text = ({i: [" ".join(one) for one in captions] for i, captions in references.items()},)
    expected = Cider().compute_score(*as_text, {i: [" ".join(words)] for i, words in captions.items()})[1]
    reward = self_critical.CiderD(references)
    scores = [reward.score(media_id, words) for media_id, words in captions.items()]
    np.testing.assert_allclose(scores, expected, atol=1e-9)
    assert min(scores) == 0 and max(scores) > 1


def test_advantages_by_hand():
    rewards = np.array([[1.0, 2.0, 6.0], [4.0, 4.0, 4.0]])
    # Of the others: (2 + 6) / 2, (1 + 6) / 2, (1 + 2) / 2.
    expected = [[1 - 4, 2 - 3.5, 6 - 1.5], [0, 0, 0]]
    np.testing.assert_allclose(self_critical.advantages(rewards), expected, rtol=1e-6)


def test_a_caption_that_breaks_off_is_worth_less():
    media = [
        annotations.Medium(f"v{k}", None, "train", captions) for k, captions in enumerate((("a red square",), ("a",)))
    ]
    model, optimizer = model_and_optimizer()
    vocabulary = Vocabulary([".", "red", "a", "square"])
    trained = self_critical.SelfCritical(model, optimizer, vocabulary, "float32", media, media)
    whole, cut_off = (trained.reward.score("v0", words) for words in (["a", "red", "square", "."], ["a", "red", "."]))
    assert trained.reward.score("v0", ["a", "red", "square"]) < whole
    assert cut_off < whole / 2


def model_and_optimizer():
    model = s2vt_model.S2VT(4, 2, 6, 3, 1, 4)
    optimizer = training_step.Adam(0.02)
    optimizer.build(model.trainable_variables)
    return model, optimizer


@pytest.mark.slow
def test_what_is_rewarded_becomes_likelier():
    media = [
        annotations.Medium(f"v{k}", None, "train", captions)
        for k, captions in enumerate((("red square",), ("a square",), ("red",), ("a",)))
    ]
    vocabulary = Vocabulary([".", "red", "a", "square"])
    model, optimizer = model_and_optimizer()
    trained = self_critical.SelfCritical(model, optimizer, vocabulary, "float32", media, media)
    descriptors = np.zeros((4, 1, 2), np.float32)
    descriptors[:, 0] = [[1, 1], [-1, 1], [1, -1], [-1, -1]]
    ids = [medium.id for medium in media]
    given = np.zeros((4, 1), np.int32), np.ones((4, 1), np.float32)
    rewards = [trained.step(ids, (descriptors, *given), (0, step)) for step in range(150)]
    assert np.mean(rewards[-20:]) > 1.5 * np.mean(rewards[:20])
    written = [vocabulary.decode(words).split()[0] for words in model.generate(descriptors)]
    assert written == ["red", "a", "red", "a"]


@pytest.mark.slow
def test_steps_depend_on_weights_and_seed_alone():
    media = [
        annotations.Medium("v0", None, "train", ("red square", "a")),
        annotations.Medium("v1", None, "train", ("a",)),
    ]
    vocabulary = Vocabulary([".", "red", "a", "square"])
    model, optimizer = model_and_optimizer()
    trained = self_critical.SelfCritical(model, optimizer, vocabulary, "float32", media, media)
    given = np.zeros((2, 1), np.int32), np.ones((2, 1), np.float32)
    weights, moments, results = model.reference_weights(), [one.numpy() for one in optimizer.variables], []
    for seed in (3, 3, 4):
        model.load_reference_weights(weights)
        for variable, start in zip(optimizer.variables, moments, strict=True):
            variable.assign(start)
        trained.step(["v1", "v0"], (np.ones((2, 3, 2), np.float32), *given), (0, seed))
        results.append(model.reference_weights()["predict_word_W"])
    assert not np.array_equal(results[0], weights["predict_word_W"])
    np.testing.assert_array_equal(results[0], results[1])
    assert not np.array_equal(results[0], results[2])
