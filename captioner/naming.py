"""Naming: from captions alone the captioner learns which regions its words are about (equation 13, docs/method.md).

Beside writing captions it is asked to name what it sees in each region on its own (S2VT.name_scores). Nobody says which
region a word is about, so the regions of a medium answer together, and each word is judged by whether the captions have
it. A region without the thing then does well to keep silent, since in other media it would be wrong.

Source: multiple-instance learning of words from captions, Fang et al., "From Captions to Visual Concepts and Back",
CVPR 2015, with the mean of the exponentials instead of a noisy-or.
"""

import numpy as np
import tensorflow as tf

from s2vt_model import END

RARE = 1e-4  # added to how often a word is there, so that the logarithm is finite


def log_prior(captions, masks, n_words):
    """The logarithm of how often each word is there: captions int [S, K, L], masks [S, K, L] -> float32 [V]."""
    total = np.zeros(n_words)
    for ids, there in zip(captions.reshape(-1, captions.shape[-1]), masks.reshape(-1, masks.shape[-1]), strict=True):
        total[np.unique(ids[there > 0])] += 1
    return np.log(total / (captions.shape[0] * captions.shape[1]) + RARE).astype(np.float32)


def word_shares(captions, masks, n_media, n_words):
    """In what share of a medium's captions each word is there: captions int [S * K, L], masks [S * K, L] -> [S, V]."""
    places = tf.cast(tf.where(masks > 0), tf.int32)  # [M, 2]: caption, step
    occurrences = tf.stack([places[:, 0], tf.gather_nd(captions, places)], axis=1)  # [M, 2]: caption, word
    shape = tf.stack([tf.shape(captions)[0], n_words])
    there = tf.minimum(tf.scatter_nd(occurrences, tf.ones(tf.shape(places)[0]), shape), 1.0)  # [S * K, V]
    per_medium = tf.shape(captions)[0] // tf.maximum(n_media, 1)
    return tf.reduce_mean(tf.reshape(there, [n_media, per_medium, n_words]), axis=1)


def loss(model, descriptors, captions, masks, prior, share=None):
    """The cross-entropy of the words that are there, over all words, the mean of the media: a scalar.

    descriptors [S, N, D]; captions, masks [S * K, L]; prior [V] from `log_prior`; `share` as of S2VT.caption_loss.
    """
    n_media, n_regions = tf.unstack(tf.shape(descriptors)[:2])
    if share:
        per_medium = tf.shape(captions)[0] // share.n_media
        captions, masks = (part[share.first * per_medium : share.end * per_medium] for part in (captions, masks))
    scores = model.name_scores(tf.reshape(descriptors, [-1, model.dim_image]))  # [S * N, V]
    scores = tf.reshape(scores, [n_media, n_regions, model.n_words])
    pooled = tf.reduce_logsumexp(scores, axis=1) - tf.math.log(tf.cast(n_regions, tf.float32)) + prior  # [S, V]
    shares = word_shares(captions, masks, n_media, model.n_words)  # [S, V]
    losses = tf.nn.sigmoid_cross_entropy_with_logits(shares, pooled)  # [S, V]
    losses = tf.reduce_sum(losses[:, END + 1 :], axis=1)  # [S]
    return tf.reduce_sum(losses) / tf.cast(share.n_media, tf.float32) if share else tf.reduce_mean(losses)
