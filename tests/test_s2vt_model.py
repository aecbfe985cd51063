"""The captioner, against the released program's numbers and against equations written out in NumPy."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import s2vt_model
from tests.captioners import model_of, plain_log_probs, random_batch, random_model

SHARED = Path(__file__).resolve().parents[2] / "shared"
GOLDEN = SHARED / "golden" / "golden_model.npz"


@pytest.fixture(scope="module")
def golden():
    if not GOLDEN.exists():
        pytest.skip(f"the released program's numbers are not here: {GOLDEN}")
    with np.load(GOLDEN) as arrays:
        return dict(arrays)


# The released program


def test_loss_of_the_released_program(golden):
    model = model_of(golden, 6)
    for mask, loss in (("caption_mask", "loss"), ("caption_mask_validation", "loss_validation_mask")):
        computed = model.caption_loss(golden["video"], golden["caption"], golden[mask])
        np.testing.assert_allclose(computed, golden[loss], rtol=1e-6)


def test_word_log_probs_of_the_released_program(golden):
    log_probs = model_of(golden, 6).word_log_probs(golden["video"], golden["caption"]).numpy()
    expected = golden["saliency"].T  # [B, L], zeros beyond the mask
    np.testing.assert_allclose(log_probs * golden["caption_mask"], expected, atol=1e-5)


def test_gradients_of_the_released_program(golden):
    model = model_of(golden, 6)
    with tf.GradientTape() as tape:
        loss = model.caption_loss(golden["video"], golden["caption"], golden["caption_mask"])
    gradients = tape.gradient(loss, [getattr(model, name).value for name in s2vt_model.WEIGHT_NAMES])
    for name, gradient in zip(s2vt_model.WEIGHT_NAMES, gradients, strict=True):
        expected = golden[f"grad_{name}"]
        tolerance = 1e-5 * np.abs(expected).max()
        np.testing.assert_allclose(tf.convert_to_tensor(gradient), expected, rtol=0, atol=tolerance, err_msg=name)


def test_cell_clip_of_the_released_program(golden):
    model = model_of(golden, 6, cell_clip=0.25)
    batch = golden["video"], golden["caption"]
    np.testing.assert_allclose(
        model.caption_loss(*batch, golden["caption_mask"]), golden["loss_cell_clip_0.25"], rtol=1e-6
    )
    log_probs = model.word_log_probs(*batch).numpy() * golden["caption_mask"]
    np.testing.assert_allclose(log_probs, golden["saliency_cell_clip_0.25"].T, atol=1e-5)


@pytest.mark.parametrize("prefix", ["", "eos_"])
def test_greedy_captions_of_the_released_program(golden, prefix):
    bias = golden[f"{prefix}predict_word_b"]
    model = model_of({**golden, "predict_word_b": bias}, 6)
    words = golden[f"{prefix}inference_words"].T  # [B, L]; it writes on after the end token
    endings = [list(row).index(0) if 0 in row else len(row) for row in words]
    assert (
        len(set(endings)) > 1 or prefix == ""
    )  # the set with another bias has captions that end and one that does not
    expected = [row[:end].tolist() for row, end in zip(words, endings, strict=True)]
    assert model.generate(golden["video"]) == expected
    logits = model.logits(golden["video"], words.astype(np.int32))
    np.testing.assert_allclose(logits, golden[f"{prefix}inference_logits"].transpose(1, 0, 2), atol=1e-4)


# The equations


@pytest.mark.parametrize(
    ("n_media", "n_descriptors", "n_steps", "sizes"),
    [
        (1, 1, 1, {}),
        (3, 1, 2, {"forget_bias": 0.0}),
        (1, 7, 5, {"n_words": 11, "dim_hidden": 5, "dim_word_emb": 8}),
        (5, 3, 7, {"n_words": 2, "dim_image": 1, "dim_hidden": 3, "dim_word_emb": 1}),
        (3, 9, 3, {"cell_clip": 0.3}),
        (2, 64, 25, {"cell_clip": 1.5, "dim_hidden": 16}),
    ],
)
def test_forward_pass_is_the_equations(n_media, n_descriptors, n_steps, sizes):
    rng = np.random.default_rng(n_descriptors)
    model = random_model(rng, scale=0.5, **sizes)
    descriptors, caption, mask = random_batch(rng, model, n_media, n_descriptors, n_steps)
    expected = plain_log_probs(
        model.reference_weights(), descriptors, caption, model.forget_bias, model.cell_clip
    )  # [B, L, V]
    np.testing.assert_allclose(model.log_probs(descriptors, caption), expected, atol=1e-5)
    of_words = np.take_along_axis(expected, caption[..., None], axis=2)[..., 0]  # [B, L]
    np.testing.assert_allclose(model.word_log_probs(descriptors, caption), of_words, atol=1e-5)
    loss = -(of_words * mask).sum() / mask.sum()
    np.testing.assert_allclose(model.caption_loss(descriptors, caption, mask), loss, atol=1e-5)
    sums = model.caption_loss_sum(descriptors, caption, mask)
    np.testing.assert_allclose(sums, [loss * mask.sum(), mask.sum()], rtol=1e-5)


def test_captions_of_one_medium_share_its_encoding():
    rng = np.random.default_rng(11)
    model = random_model(rng)
    descriptors, caption, mask = random_batch(rng, model, 6, 3, 5)
    mask[3] = 0  # an empty caption
    loss = model.caption_loss(descriptors[:2], caption, mask)
    expected = model.caption_loss(np.repeat(descriptors[:2], 3, axis=0), caption, mask)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


@pytest.mark.parametrize("traced", [False, True])
def test_gradients_do_not_depend_on_the_order_of_the_captions(traced):
    rng = np.random.default_rng(12)
    model = random_model(rng)
    batch = random_batch(rng, model, 7, 3, 5)

    def gradients(*batch):
        with tf.GradientTape() as tape:
            loss = model.caption_loss(*batch)
        return [tf.convert_to_tensor(one) for one in tape.gradient(loss, [v.value for v in model.trainable_variables])]

    compute = tf.function(gradients) if traced else gradients
    order = rng.permutation(7)
    for one, other in zip(compute(*batch), compute(*(part[order] for part in batch)), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_bfloat16_products_change_little():
    rng = np.random.default_rng(13)
    sizes = {"n_words": 50, "dim_image": 32, "dim_hidden": 48, "dim_word_emb": 16, "scale": 0.5}
    model = random_model(rng, **sizes)
    half = model_of(model.reference_weights(), model.n_lstm_step, precision="bfloat16")
    batch = random_batch(rng, model, 8, 4, 6)
    expected, computed = (one.word_log_probs(*batch[:2]).numpy() for one in (model, half))
    assert 0 < np.abs(computed - expected).max() < 0.2  # of log-probabilities that range over many units
    assert np.ptp(expected) > 3
    np.testing.assert_allclose(half.caption_loss(*batch), model.caption_loss(*batch), rtol=5e-3)
    assert {str(array.dtype) for array in half.reference_weights().values()} == {"float32"}


def test_mask_may_have_holes():
    rng = np.random.default_rng(10)
    model = random_model(rng)
    descriptors, caption, _ = random_batch(rng, model, 2, 3, 5)
    mask = np.array([[0, 0, 1, 0, 0], [1, 0, 0, 1, 0]], np.float32)
    of_words = model.word_log_probs(descriptors, caption).numpy()
    expected = -(of_words[0, 2] + of_words[1, 0] + of_words[1, 3]) / 3
    np.testing.assert_allclose(model.caption_loss(descriptors, caption, mask), expected, atol=1e-5)


def test_logits_are_what_log_probs_normalises():
    rng = np.random.default_rng(0)
    model = random_model(rng)
    batch = random_batch(rng, model, 2, 3, 4)[:2]
    logits = model.logits(*batch).numpy()
    expected = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    np.testing.assert_allclose(model.log_probs(*batch), expected, atol=1e-5)


def test_one_caption_serves_the_batch():
    rng = np.random.default_rng(1)
    model = random_model(rng)
    descriptors, caption, _ = random_batch(rng, model, 4, 3, 5)
    repeated = np.repeat(caption[:1], 4, axis=0)
    for method in (model.word_log_probs, model.logits):
        np.testing.assert_allclose(method(descriptors, caption[:1]), method(descriptors, repeated), atol=1e-6)


def test_float16_descriptors_are_computed_in_float32():
    rng = np.random.default_rng(2)
    model = random_model(rng)
    descriptors, caption, mask = random_batch(rng, model, 3, 4, 5)
    half = descriptors.astype(np.float16)
    widened = half.astype(np.float32)
    assert model.caption_loss(half, caption, mask) == model.caption_loss(widened, caption, mask)
    np.testing.assert_array_equal(model.word_log_probs(half, caption), model.word_log_probs(widened, caption))
    assert model.generate(half) == model.generate(widened)


# Training


def test_label_smoothing_is_the_cross_entropy_with_a_flatter_target():
    rng = np.random.default_rng(1)
    model = random_model(rng, scale=0.5)
    smoothed = s2vt_model.S2VT(
        model.n_words, model.dim_image, model.dim_hidden, model.dim_word_emb, 3, 5, label_smoothing=0.2
    )
    smoothed.load_reference_weights(model.reference_weights())
    descriptors, caption, mask = random_batch(rng, model, 4, 3, 5)
    log_p = model.log_probs(descriptors, caption).numpy()  # [B, L, V]
    target = 0.8 * np.eye(model.n_words)[caption] + 0.2 / model.n_words
    expected = -((target * log_p).sum(axis=2) * mask).sum() / mask.sum()
    np.testing.assert_allclose(smoothed.caption_loss(descriptors, caption, mask, training=True), expected, rtol=1e-5)
    plain = model.caption_loss(descriptors, caption, mask)
    np.testing.assert_allclose(smoothed.caption_loss(descriptors, caption, mask), plain, rtol=1e-6)
    assert abs(float(plain) - expected) > 1e-3


def test_dropout_follows_its_seed_and_stays_out_of_inference():
    rng = np.random.default_rng(5)
    model = random_model(rng, input_keep_prob=0.5, output_keep_prob=0.5)
    batch = random_batch(rng, model, 3, 4, 5)

    def loss(**settings):
        return float(model.caption_loss(*batch, **settings))

    assert loss(training=True, seed=(1, 2)) == loss(training=True, seed=(1, 2))
    losses = {loss(training=True, seed=seed) for seed in ((1, 2), (1, 3), (2, 2))}
    assert len(losses) == 3 and loss() not in losses
    assert loss(seed=(1, 2)) == loss(seed=(1, 3)) == loss()


@pytest.mark.parametrize("place", ["input_keep_prob", "output_keep_prob"])
def test_dropout_acts_in_either_place(place):
    model = random_model(np.random.default_rng(6), **{place: 0.5})
    batch = random_batch(np.random.default_rng(6), model, 3, 4, 5)
    assert model.caption_loss(*batch, training=True, seed=(0, 1)) != model.caption_loss(*batch)


def test_dropout_draws_anew_for_inputs_words_and_outputs(monkeypatch):
    drawn = []
    monkeypatch.setattr(
        s2vt_model, "_dropout", lambda x, keep, seed, _: drawn.append((x.shape, keep, tuple(seed.numpy()))) or x
    )
    model = random_model(np.random.default_rng(6), input_keep_prob=0.6, output_keep_prob=0.7)
    descriptors, caption, _ = random_batch(np.random.default_rng(6), model, 3, 4, 5)
    mask = np.float32([[1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 0, 0, 0, 0]])
    model.caption_loss(descriptors, caption, mask, training=True, seed=(0, 1))
    shapes, keep_probs, seeds = zip(*drawn, strict=True)
    assert shapes == ((3, 4, 6), (8, 3), (8, 6))  # [B, N, H], and [M, E] and [M, H] of the M places under the mask
    assert keep_probs == (0.6, 0.6, 0.7)
    assert len(set(seeds)) == 3


def test_dropout_keeps_the_mean():
    dropped = s2vt_model._dropout(tf.ones([100, 100]), 0.8, (0, 0)).numpy()
    np.testing.assert_allclose(np.unique(dropped), [0, 1.25])
    assert dropped.mean() == pytest.approx(1, abs=0.02)  # 4 standard deviations


def test_initial_weights_follow_the_seed():
    first, same, other = (s2vt_model.S2VT(5, 3, 4, 2, 6, 7, seed=seed).reference_weights() for seed in (0, 0, 1))
    for name in s2vt_model.WEIGHT_NAMES:
        np.testing.assert_array_equal(first[name], same[name])
        drawn = name in ("Wemb", "lstm_kernel", "embed_features_W", "predict_word_W")
        assert np.any(first[name] != other[name]) == drawn
        assert np.any(first[name] != 0) == drawn


def test_initial_output_bias_is_taken_over():
    model = s2vt_model.S2VT(3, 3, 4, 2, 6, 7, output_bias=[0.0, -1.5, -2.0])
    np.testing.assert_array_equal(model.predict_word_b, np.float32([0.0, -1.5, -2.0]))


def test_reference_weights_go_back_and_forth():
    rng = np.random.default_rng(7)
    model = random_model(rng)
    weights = model.reference_weights()
    assert tuple(weights) == s2vt_model.WEIGHT_NAMES
    other = random_model(rng)
    other.load_reference_weights(weights)
    for name, array in other.reference_weights().items():
        np.testing.assert_array_equal(array, weights[name])


def test_wrong_reference_weights_are_refused():
    model = random_model(np.random.default_rng(8))
    weights = model.reference_weights()
    with pytest.raises(ValueError, match="lack 'lstm_bias'"):
        model.load_reference_weights({name: weights[name] for name in weights if name != "lstm_bias"})
    with pytest.raises(ValueError, match=r"Wemb has shape \(9, 4\), the model \(9, 3\)"):
        model.load_reference_weights({**weights, "Wemb": np.zeros((9, 4))})
