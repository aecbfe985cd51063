"""Captioners of random or given weights, and their equations written out in NumPy, one step at a time."""

import numpy as np

import s2vt_model


def model_of(arrays, n_lstm_step, **settings):
    """The captioner whose weights are `arrays`."""
    (n_words, dim_word_emb), (dim_image, dim_hidden) = arrays["Wemb"].shape, arrays["embed_features_W"].shape
    model = s2vt_model.S2VT(n_words, dim_image, dim_hidden, dim_word_emb, 5, n_lstm_step, **settings)
    model.load_reference_weights(arrays)
    return model


def random_model(rng, n_words=9, dim_image=4, dim_hidden=6, dim_word_emb=3, n_lstm_step=6, scale=1.0, **settings):
    """A captioner whose weights, biases among them, are large enough to matter."""
    model = s2vt_model.S2VT(n_words, dim_image, dim_hidden, dim_word_emb, 5, n_lstm_step, **settings)
    shapes = {name: array.shape for name, array in model.reference_weights().items()}
    model.load_reference_weights({name: rng.normal(0, scale, shape) for name, shape in shapes.items()})
    return model


def random_batch(rng, model, n_media, n_descriptors, n_steps):
    """Descriptors [B, N, D], captions [B, L] and their masks, of which the first covers all L steps."""
    descriptors = rng.normal(0, 1, (n_media, n_descriptors, model.dim_image)).astype(np.float32)
    caption = rng.integers(0, model.n_words, (n_media, n_steps)).astype(np.int32)
    lengths = np.array([n_steps, *rng.integers(1, n_steps + 1, n_media - 1)])
    return descriptors, caption, (np.arange(n_steps) < lengths[:, None]).astype(np.float32)


def plain_log_probs(weights, descriptors, caption, forget_bias=1.0, cell_clip=None):
    """log q(v | w_<t) in float64, one step at a time, zero halves and all: [B, N, D], [B, L] -> [B, L, V]."""
    w = {name: np.asarray(array, np.float64) for name, array in weights.items()}
    n_media, dim_hidden, dim_word_emb = len(descriptors), w["embed_features_b"].size, w["Wemb"].shape[1]
    c = h = np.zeros((n_media, dim_hidden))

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    def cell(x, word, c, h):
        gates = np.concatenate([x, word, h], axis=1) @ w["lstm_kernel"] + w["lstm_bias"]  # [B, 4H]
        i, j, f, o = np.split(gates, 4, axis=1)
        c = sigmoid(f + forget_bias) * c + sigmoid(i) * np.tanh(j)
        c = c if cell_clip is None else np.clip(c, -cell_clip, cell_clip)
        return c, sigmoid(o) * np.tanh(c)

    no_x, no_word = np.zeros((n_media, dim_hidden)), np.zeros((n_media, dim_word_emb))
    for n in range(descriptors.shape[1]):
        c, h = cell(descriptors[:, n] @ w["embed_features_W"] + w["embed_features_b"], no_word, c, h)
    steps = []
    for t in range(caption.shape[1]):
        c, h = cell(no_x, w["Wemb"][caption[:, t - 1]] if t else no_word, c, h)
        logits = h @ w["predict_word_W"] + w["predict_word_b"]  # [B, V]
        steps.append(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)))
    return np.stack(steps, axis=1)


def plain_total(model, descriptors, words):
    """Total log-probability of one caption (ids, end token left out) of one medium, the end token counted."""
    ended = [*words, s2vt_model.END][: model.n_lstm_step]
    log_probs = plain_log_probs(model.reference_weights(), descriptors[None], np.array([ended]))[0]  # [L, V]
    return log_probs[np.arange(len(ended)), ended].sum()
