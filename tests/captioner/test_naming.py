"""Naming: which words are there, the loss of a bag of regions, and that it finds the regions by itself."""

import numpy as np
import pytest
import tensorflow as tf

import s2vt_model
from captioner import naming, training, training_step
from tests.small_runs import config_of, trained

# Two media with two captions each; words 1 to 3, the end token under the mask, what follows it not.
CAPTIONS = np.array([[1, 2, 0, 3], [1, 1, 0, 0], [3, 0, 0, 0], [0, 0, 0, 0]], np.int32)
MASKS = np.array([[1, 1, 1, 0], [1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0]], np.float32)


def test_shares_count_a_word_once_in_a_caption():
    shares = naming.word_shares(CAPTIONS, MASKS, 2, 4)
    np.testing.assert_allclose(shares[:, 1:], [[1, 0.5, 0], [0, 0, 0.5]])


def test_prior_is_how_often_captions_have_a_word():
    prior = naming.log_prior(CAPTIONS.reshape(2, 2, 4), MASKS.reshape(2, 2, 4), 4)
    np.testing.assert_allclose(np.exp(prior[1:]), np.array([0.5, 0.25, 0.25]) + naming.RARE, rtol=1e-5)


def test_loss_of_two_regions_is_that_of_the_mean_of_their_exponentials():
    model = s2vt_model.S2VT(4, 2, 3, 2, 2, 4)
    descriptors = np.random.default_rng(0).normal(size=(2, 2, 2)).astype(np.float32)
    prior = np.log([1, 0.5, 0.25, 0.25]).astype(np.float32)
    scores = model.name_scores(descriptors.reshape(4, 2)).numpy().reshape(2, 2, 4)
    odds = np.exp(scores).mean(axis=1) * np.exp(prior)  # [S, V]
    there, shares = odds / (1 + odds), np.array([[1, 0.5, 0], [0, 0, 0.5]])
    expected = -(shares * np.log(there[:, 1:]) + (1 - shares) * np.log(1 - there[:, 1:])).sum(axis=1).mean()
    assert float(naming.loss(model, descriptors, CAPTIONS, MASKS, prior)) == pytest.approx(expected, rel=1e-5)


def test_name_scores_are_the_step_after_the_end_token():
    model = s2vt_model.S2VT(4, 2, 3, 2, 2, 4, output_bias=np.arange(4.0))
    descriptors = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    w = model.reference_weights()
    c = h = np.zeros((5, 3))
    seen = descriptors @ w["embed_features_W"] + w["embed_features_b"]
    for part in (np.hstack([seen, np.zeros((5, 2))]), np.hstack([np.zeros((5, 3)), np.tile(w["Wemb"][0], (5, 1))])):
        i, j, f, o = np.split(np.hstack([part, h]) @ w["lstm_kernel"] + w["lstm_bias"], 4, axis=1)
        i, f, o = (1 / (1 + np.exp(-gate)) for gate in (i, f + 1, o))
        c = f * c + i * np.tanh(j)
        h = o * np.tanh(c)
    np.testing.assert_allclose(model.name_scores(descriptors), h @ w["predict_word_W"], atol=1e-6)


def test_regions_are_found_from_captions_alone():
    """Each medium has a region of each of two things and two of clutter; nobody says which is which."""
    rng = np.random.default_rng(0)
    things = np.eye(6, dtype=np.float32)[:3]
    model = s2vt_model.S2VT(4, 6, 12, 4, 4, 3)
    optimizer = training_step.Adam(0.02)
    optimizer.build(model.trainable_variables)

    @tf.function
    def learn(descriptors, captions, masks):
        with tf.GradientTape() as tape:
            loss = naming.loss(model, descriptors, captions, masks, np.log(np.float32([1, 0.6, 0.6, 0.6])))
        gradients = tape.gradient(loss, [variable.value for variable in model.trainable_variables], None, "zero")
        optimizer.apply([tf.convert_to_tensor(gradient) for gradient in gradients])

    for _ in range(400):
        pairs = np.array([rng.permutation(3)[:2] for _ in range(16)])  # [S, 2]
        clutter = np.zeros((16, 2, 6), np.float32)
        clutter[..., 3:] = rng.random((16, 2, 3))
        captions = np.pad(pairs + 1, [(0, 0), (0, 1)]).astype(np.int32)
        learn(np.concatenate([things[pairs], clutter], axis=1), captions, np.ones((16, 3), np.float32))
    clutter = np.pad(rng.random((8, 3)), [(0, 0), (3, 0)]).astype(np.float32)
    scores = model.name_scores(np.concatenate([things, clutter])).numpy()[:, 1:]  # [3 + 8, 3]
    assert scores.argmax(axis=0).tolist() == [0, 1, 2]
    assert (scores.diagonal() > scores[3:].max(axis=0) + 1).all()


@pytest.mark.slow
@pytest.mark.usefixtures("workplace")
def test_training_with_naming_goes_on_to_the_bit():
    naming_run, weights = trained("naming", "naming_weight=0.5")
    _, without = trained("without naming")
    assert not np.array_equal(weights[1]["Wemb"][0], without[1]["Wemb"][0])  # the end token is asked
    naming_run.save(train_loss=1.0, validation_loss=1.0)
    unbroken, _ = trained("unbroken naming", "naming_weight=0.5", "n_epochs=3")
    resumed = training.resume(config_of("naming"), ["n_epochs=3"])
    for _ in resumed.run():
        pass
    for mine, other in zip(resumed.model.variables, unbroken.model.variables, strict=True):
        np.testing.assert_array_equal(np.asarray(mine), np.asarray(other))
