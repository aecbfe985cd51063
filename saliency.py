"""The method: which regions, and when, make the captioner say a word (equations 5 to 8, docs/method.md).

Every descriptor is shown to the captioner on its own, the query sentence is its forced output, and the loss of each
word is read off: the smaller the loss, the more salient the descriptor for that word.

Axes: F frames, T words, Gy x Gx cells of the grid (the paper's is 8 x 8), D descriptor size, V vocabulary.
"""

import numpy as np
import scipy.ndimage
import tensorflow as tf

# Logits [regions, T, V] are the largest thing in memory: so many of them at once, 4 bytes each, and copies of them. Of
# regions whole rows of the processor's blocks, since the last bits depend on the rest.
LOGITS_AT_ONCE, BLOCK = 16 * 2**20, 64

RESOLUTION = 1e-6  # nats: float32 holds the logarithm of a probability hardly finer

SIGMA = 2, 1, 1  # over (frame, y, x), of the Gaussian in the released normalization (8)
REACH = 8  # frames to either side that it looks at: four sigmas, where SciPy cuts it off


@tf.function(autograph=False, reduce_retracing=True)
def _word_log_probs(model, descriptors, word_ids, places=None):
    return model.word_log_probs_after(model.encode(descriptors[:, None]), word_ids[None], places)  # [R, T]


@tf.function(autograph=False, reduce_retracing=True)
def _log_probs(model, descriptors, word_ids):
    return model.log_probs(descriptors[None], word_ids[None])[0]  # [T, V]


@tf.function(autograph=False, reduce_retracing=True)
def _log_probs_after(model, c, h, word_ids):
    return tf.nn.log_softmax(model.logits_after((c, h), word_ids[None]))[0]  # [T, V]


@tf.function(autograph=False, reduce_retracing=True)
def _negative_kl(model, descriptors, word_ids, target_log_probs):
    log_q = model.log_probs(descriptors[:, None], word_ids[None])  # [R, T, V]
    # A word that the target rules out counts nothing, though its logarithm is -inf.
    terms = tf.math.multiply_no_nan(log_q - target_log_probs, tf.exp(target_log_probs))  # [R, T, V]
    return tf.reduce_sum(terms, axis=-1)  # [R, T]


def _each_alone(model, descriptors, word_ids, target_log_probs=None, places=None):
    """The negative loss of every word when the captioner sees one descriptor: [R, D], [T] -> [R, T].

    Without a target, of the words at `places` [P] alone, where they are given -> [R, P].
    """
    word_ids = tf.constant(np.asarray(word_ids), tf.int32)
    places = None if places is None else tf.constant(places, tf.int32)
    at_once = max(1, LOGITS_AT_ONCE // (max(1, len(word_ids)) * model.n_words))
    at_once = at_once // BLOCK * BLOCK or at_once
    parts = []
    for start in range(0, len(descriptors), at_once):
        part = tf.constant(np.asarray(descriptors[start : start + at_once], np.float32))
        if target_log_probs is None:
            parts.append(_word_log_probs(model, part, word_ids, places).numpy())
        else:
            parts.append(_negative_kl(model, part, word_ids, tf.constant(target_log_probs)).numpy())
    return np.concatenate(parts)


def raw_maps(model, grids, word_ids, target_log_probs=None):
    """Raw saliency of every word at every region: grids [F, Gy, Gx, D], word_ids [T] -> float32 [F, T, Gy, Gx].

    For a given sentence it is log q_i(w_t | w_<t), q_i being the captioner's distribution when it sees region i alone
    (equation 6). With `target_log_probs` [T, V], the captioner's own distribution p_t for the full input, it is
    -KL(p_t || q_i,t) (equation 5).
    """
    n_frames, height, width, dim = grids.shape
    losses = _each_alone(model, grids.reshape(-1, dim), word_ids, target_log_probs)  # [F * Gy * Gx, T]
    return losses.reshape(n_frames, height, width, -1).transpose(0, 3, 1, 2)


def temporal_curve(model, descriptors, word_ids, target_log_probs=None, places=None):
    """Raw saliency of every word at every frame, from pooled descriptors: [F, D], [T] -> float32 [F, T].

    Without a target, of the words at `places` [P] alone, where they are given -> [F, P].
    """
    return _each_alone(model, descriptors, word_ids, target_log_probs, places)


def full_input_log_probs(model, descriptors, word_ids):
    """log p_t, the distribution of every step when the captioner sees everything: [N, D], [T] -> float32 [T, V]."""
    word_ids = tf.constant(np.asarray(word_ids), tf.int32)
    return _log_probs(model, tf.constant(np.asarray(descriptors, np.float32)), word_ids).numpy()


def log_probs_after(model, state, word_ids):
    """`full_input_log_probs` of what was read already, the state c, h [1, H] of S2VT.encode: [T] -> [T, V]."""
    return _log_probs_after(model, *state, tf.constant(np.asarray(word_ids), tf.int32)).numpy()


# From raw maps to saliency in [0, 1]. None of these changes its argument.


def scale(values, low, high, least=0):
    """Scale from `low` to `high`, both of which broadcast, to [0, 1]; where that is not above `least` to 0."""
    span = high - low
    return np.where(span > least, (values - low) / np.where(span > least, span, 1), 0)


def _min_max(values, axis, least=0):
    """Scale to [0, 1] along `axis`; where the range is not above `least` everything becomes 0."""
    return scale(values, values.min(axis=axis, keepdims=True), values.max(axis=axis, keepdims=True), least)


def smooth_descriptors(grids):
    """Average every frame with its neighbours, weights (1, 1, 1) / 3, the border reflected: [F, ...] -> [F, ...]."""
    return scipy.ndimage.convolve1d(np.asarray(grids, np.float32), np.full(3, 1 / 3), axis=0)


def smooth_stream(batches):
    """`smooth_descriptors` for a clip that comes in batches [b, ...] of any size: yields the same frames."""
    context, started = None, False  # the last two frames: a left neighbour, and one whose right neighbour is to come
    for batch in batches:
        window = batch if context is None else np.concatenate([context, batch])
        smoothed = smooth_descriptors(window)[1 if started else 0 : -1]
        context = window[-2:]
        if len(smoothed):
            started = True
            yield smoothed
    if context is not None:
        yield smooth_descriptors(context)[-1:]


def normalize_linear(maps):
    """The paper's: per word, min-max over all frames and regions: [F, T, Gy, Gx] -> [0, 1].

    A word whose whole range is within RESOLUTION does not depend on what is seen: zeros.
    """
    return _min_max(np.asarray(maps), (0, 2, 3), RESOLUTION)


def subtract_word_mean(maps):
    """`normalize_linear`, then minus each word's mean, clipped to [0, 1]: what stands out for the word."""
    linear = normalize_linear(maps)
    return np.clip(linear - linear.mean(axis=(0, 2, 3), keepdims=True), 0, 1)


def scale_frames(maps):
    """Per frame min-max over words and regions: [F, T, Gy, Gx] -> [0, 1]. A frame without range is zeros."""
    return _min_max(maps, (1, 2, 3))


def normalize_frames(maps):
    """`subtract_word_mean`, then per frame min-max over words and regions: what stands out among the words."""
    return scale_frames(subtract_word_mean(maps))


def smooth_maps(maps):
    """A Gaussian of sigma SIGMA over (frame, y, x) that reflects the border: [F, T, Gy, Gx] -> the same shape."""
    frame, y, x = SIGMA
    return scipy.ndimage.gaussian_filter(maps, (frame, 0, y, x))


def normalize_released(maps):
    """The released program's, for video: `normalize_frames`, then `smooth_maps`: [F, T, Gy, Gx] -> [0, 1].

    A frame or word without range is zeros.
    """
    return smooth_maps(normalize_frames(maps))


NORMALIZERS = {"linear": normalize_linear, "released": normalize_released}
