"""The captioner: S2VT, one LSTM that reads the descriptors, then writes the words (equations 1 to 4, docs/method.md).

Axes, as in the paper's notation: B batch, N input descriptors (encoder steps), L decoder steps, D descriptor size,
H LSTM units, E word embedding, V vocabulary, K beams. Word 0 is the end token.

The LSTM's step input is concat(x_n, 0_E) while it reads and concat(0_H, word embedding) while it writes. A product with
zeros is zero, so each side is multiplied with its own rows of the kernel, and all steps of a sequence in one product.
"""

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from s2vt_decoding import END, Decoding


def weight_shapes(n_words, dim_image, dim_hidden, dim_word_emb):
    """The shapes of a captioner's seven weights, by the released program's variable names."""
    return {
        "Wemb": (n_words, dim_word_emb),
        "lstm_kernel": (dim_hidden + dim_word_emb + dim_hidden, 4 * dim_hidden),
        "lstm_bias": (4 * dim_hidden,),
        "embed_features_W": (dim_image, dim_hidden),
        "embed_features_b": (dim_hidden,),
        "predict_word_W": (dim_hidden, n_words),
        "predict_word_b": (n_words,),
    }


WEIGHT_NAMES = tuple(weight_shapes(0, 0, 0, 0))


class Factors(NamedTuple):
    """What the equations multiply with."""

    embedding: tf.Tensor  # W_x [D, H]
    input_rows: tf.Tensor  # the rows of W for the embedded descriptor [H, 4H]
    word_rows: tf.Tensor  # ... for the embedding of a word [E, 4H]
    recurrent_rows: tf.Tensor  # ... for h [H, 4H]
    output: tf.Tensor  # W_p [H, V]


def _uniform(seed):
    return keras.initializers.RandomUniform(-0.1, 0.1, seed=seed)


class S2VT(Decoding, keras.layers.Layer):
    """The S2VT encoder-decoder.

    n_words V, dim_image D, dim_hidden H, dim_word_emb E; n_frame_step: the number of descriptors it is trained on
    (it reads any number); n_lstm_step L: the most words it writes; forget_bias, cell_clip: see the equations of
    `_cell`; input_keep_prob, output_keep_prob: dropout, in training only; label_smoothing: share of the target that is
    spread over the vocabulary, in training only; seed: of the initial weights; output_bias [V]: the initial
    `predict_word_b` (zeros if None); precision: of the factors of matrix products, "float32" or "bfloat16" (everything
    else is float32).
    """

    def __init__(
        self,
        n_words,
        dim_image,
        dim_hidden,
        dim_word_emb,
        n_frame_step,
        n_lstm_step,
        forget_bias=1.0,
        cell_clip=None,
        input_keep_prob=1.0,
        output_keep_prob=1.0,
        label_smoothing=0.0,
        seed=0,
        output_bias=None,
        precision="float32",
    ):
        super().__init__(name="s2vt")
        self.n_words, self.dim_image, self.dim_hidden, self.dim_word_emb = n_words, dim_image, dim_hidden, dim_word_emb
        self.n_frame_step, self.n_lstm_step = n_frame_step, n_lstm_step
        self.forget_bias, self.cell_clip = forget_bias, cell_clip
        self.input_keep_prob, self.output_keep_prob = input_keep_prob, output_keep_prob
        self.label_smoothing = label_smoothing
        self.precision = precision

        bias = np.zeros(n_words, np.float32) if output_bias is None else np.asarray(output_bias, np.float32)
        initializers = {
            "Wemb": _uniform(seed),
            "lstm_kernel": keras.initializers.GlorotUniform(seed=seed + 1),
            "lstm_bias": "zeros",
            "embed_features_W": _uniform(seed + 2),
            "embed_features_b": "zeros",
            "predict_word_W": _uniform(seed + 3),
            "predict_word_b": lambda shape, dtype: tf.constant(bias),
        }
        for name, shape in weight_shapes(n_words, dim_image, dim_hidden, dim_word_emb).items():
            setattr(self, name, self.add_weight(shape=shape, initializer=initializers[name], name=name))
        self.built = True

    # The reference's variables, by name

    def reference_weights(self):
        """The seven weights as NumPy arrays, by the released program's variable names."""
        return {name: np.asarray(getattr(self, name)) for name in WEIGHT_NAMES}

    def load_reference_weights(self, arrays):
        """Take the seven weights from a mapping of arrays; ValueError for a missing name or a wrong shape."""
        for name in WEIGHT_NAMES:
            variable = getattr(self, name)
            if name not in arrays:
                raise ValueError(f"the weights lack '{name}'")
            if tuple(arrays[name].shape) != tuple(variable.shape):
                raise ValueError(f"{name} has shape {tuple(arrays[name].shape)}, the model {tuple(variable.shape)}")
            variable.assign(np.asarray(arrays[name], np.float32))

    # The LSTM

    def _factors(self):
        """The weights that matrices are multiplied with, in the precision of the products; the kernel in its parts."""
        input_rows, word_rows, recurrent_rows = tf.split(
            tf.cast(self.lstm_kernel, self.precision), [self.dim_hidden, self.dim_word_emb, self.dim_hidden]
        )
        embedding, output = (tf.cast(w, self.precision) for w in (self.embed_features_W, self.predict_word_W))
        return Factors(embedding, input_rows, word_rows, recurrent_rows, output)

    def _cell(self, products, c):
        """One step of equation 2: products = concat(input, h) @ kernel + bias [B, 4H], c [B, H] -> c', h' [B, H]."""
        i, j, f, o = tf.split(products, 4, axis=-1)  # each [B, H]
        c = tf.sigmoid(f + self.forget_bias) * c + tf.sigmoid(i) * tf.tanh(j)  # [B, H]
        if self.cell_clip is not None:
            c = tf.clip_by_value(c, -self.cell_clip, self.cell_clip)
        return c, tf.sigmoid(o) * tf.tanh(c)

    def _step(self, factors, products, c, h):
        """`_cell` for the input products [B, 4H], or [1, 4H], after h [B, H]."""
        return self._cell(products + _product(h, factors.recurrent_rows), c)

    def _recur(self, factors, inputs, c, h, first=0, sizes=None):
        """Run the LSTM over a sequence of input products, from step `first` on.

        inputs: a TensorArray of T products [B, 4H] (or [1, 4H], shared by the batch), c and h [B, H] -> the outputs
        [B, H] as a TensorArray, the last c and h. With `sizes` int [T], falling, step t has the first sizes[t] rows.
        """
        n_steps = inputs.size()
        outputs = tf.TensorArray(h.dtype, n_steps, infer_shape=False, element_shape=[None, self.dim_hidden])

        def step(t, c, h, outputs):
            if sizes is not None:
                c, h = c[: sizes[t]], h[: sizes[t]]
            c, h = self._step(factors, inputs.read(t), c, h)
            return t + 1, c, h, outputs.write(t, h)

        rows = tf.TensorShape([None, self.dim_hidden])
        _, c, h, outputs = tf.while_loop(
            lambda t, *_: t < n_steps,
            step,
            (first, c, h, outputs),
            shape_invariants=(tf.TensorShape([]), rows, rows, tf.TensorShape(None)),
            maximum_iterations=n_steps,
        )
        return outputs, c, h

    def _encode(self, factors, descriptors, keep_prob=1.0, seed=None, drawn=None):
        """Read the descriptors [B, N, D] from the zero state -> state c, h [B, H] (equation 1)."""
        x = _product(descriptors, factors.embedding) + self.embed_features_b  # [B, N, H]
        x = tf.transpose(_dropout(x, keep_prob, seed, drawn), [1, 0, 2])  # [N, B, H]
        return self._read(factors, _product(x, factors.input_rows) + self.lstm_bias)

    def _read(self, factors, products):
        """The state c, h [B, H] after a sequence of input products [N, B, 4H], from the zero state."""
        inputs = tf.TensorArray(products.dtype, tf.shape(products)[0]).unstack(products)
        start = tf.zeros_like(products[0, :, : self.dim_hidden])
        c, h = self._cell(inputs.read(0), start)  # h = 0: nothing to multiply in the first step
        _, c, h = self._recur(factors, inputs, c, h, first=1)
        return c, h

    def _decode(self, factors, state, caption):
        """Write with `caption` as forced input: state c, h [B, H], caption [B, L] -> outputs h' [B, L, H].

        Step 0 has the zero vector as its word, step t the embedding of word t - 1. A caption [1, L] serves the batch.
        """
        words = tf.pad(tf.gather(self.Wemb, caption[:, :-1]), [[0, 0], [1, 0], [0, 0]])  # [B, L, E]
        products = _product(tf.transpose(words, [1, 0, 2]), factors.word_rows) + self.lstm_bias  # [L, B, 4H]
        inputs = tf.TensorArray(products.dtype, tf.shape(products)[0]).unstack(products)
        outputs, _, _ = self._recur(factors, inputs, *state)
        return tf.transpose(outputs.stack(), [1, 0, 2])

    def _decode_packed(self, factors, state, caption, sizes, places, keep_prob=1.0, seed=None, drawn=None):
        """As `_decode`, but only at the places that `_pack` found, from states in its order -> outputs h' [M, H]."""
        previous = tf.pad(caption[:, :-1], [[0, 0], [1, 0]])  # [B, L]
        words = tf.where(places[:, 1:] > 0, tf.gather(self.Wemb, tf.gather_nd(previous, places)), 0.0)  # [M, E]
        products = _product(_dropout(words, keep_prob, seed, drawn), factors.word_rows) + self.lstm_bias  # [M, 4H]
        inputs = tf.TensorArray(
            products.dtype, tf.size(sizes), infer_shape=False, element_shape=[None, 4 * self.dim_hidden]
        )
        outputs, _, _ = self._recur(factors, inputs.split(products, sizes), *state, sizes=sizes)
        return outputs.concat()

    def _word_products(self, factors, words):
        """Input products of a step whose previous words are `words` int [B] -> [B, 4H]."""
        return _product(tf.gather(self.Wemb, words), factors.word_rows) + self.lstm_bias

    def _logits(self, factors, h):
        """h' [..., H] -> logits [..., V]."""
        return _product(h, factors.output) + self.predict_word_b

    # What others call

    def caption_loss(self, descriptors, caption, mask, training=False, seed=(0, 0), share=None):
        """Mean cross-entropy of the words under the mask: sum(cross-entropy * mask) / sum(mask).

        descriptors [B, N, D], caption int [B, L], mask [B, L] of zeros and ones -> scalar. There may be K captions of
        each medium, one after another [B * K, L]: it is then encoded once for all of them. `seed` (two integers) fixes
        the dropout of a training step. `share`: the descriptors are those of some media of the batch alone
        (captioner/distribution.py), caption and mask of all; it is then their share of the loss: all add up to it.
        """
        loss, n_words = self.caption_loss_sum(descriptors, caption, mask, training, seed, share=share)
        return loss / n_words

    def caption_loss_sum(
        self, descriptors, caption, mask, training=False, seed=(0, 0), caption_weights=None, share=None
    ):
        """As `caption_loss`, but the two sums apart, for a mean over several batches -> (scalar, scalar).

        With `caption_weights` [B] the cross-entropies of each caption are multiplied by its weight. The second sum is
        that of the whole batch, whatever the `share`.
        """
        input_keep, output_keep = (self.input_keep_prob, self.output_keep_prob) if training else (1.0, 1.0)
        encoder_seed, word_seed, output_seed = (tf.random.experimental.stateless_fold_in(seed, k) for k in range(3))
        factors, (order, sizes, places) = self._factors(), _pack(mask)
        per_medium = tf.shape(caption)[0] // (share.n_media if share else tf.shape(descriptors)[0])
        media = order // per_medium  # the medium of each caption
        media_drawn = words_drawn = None
        if share:
            media_drawn = tf.range(share.first, share.end), share.n_media
            media, sizes, places, words_drawn = share.of_packed(per_medium, media, sizes, places)
        state = self._encode(factors, descriptors, input_keep, encoder_seed, media_drawn)
        state = [tf.gather(part, media) for part in state]
        h = self._decode_packed(factors, state, caption, sizes, places, input_keep, word_seed, words_drawn)  # [M, H]
        logits = self._logits(factors, _dropout(h, output_keep, output_seed, words_drawn))  # [M, V]
        words = tf.gather_nd(caption, places)  # [M]
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(words, logits)  # [M]
        if training and self.label_smoothing > 0:  # the cross-entropy with (1 - s) one-hot + s uniform
            spread = tf.gather(logits, words, batch_dims=1) - tf.reduce_mean(logits, axis=-1)  # [M]
            loss += self.label_smoothing * spread
        weights = tf.cast(tf.gather_nd(mask, places), tf.float32)  # [M]
        if caption_weights is not None:
            loss *= tf.gather(caption_weights, places[:, 0])
        return tf.reduce_sum(loss * weights), tf.reduce_sum(mask if share else weights)

    def encode(self, descriptors):
        """Read descriptors [B, N, D] -> the state c, h [B, H] from which the caption is written."""
        return self._encode(self._factors(), descriptors)

    def input_products(self, descriptors):
        """What the gates get from descriptors [..., D], an affine function -> [..., 4H]."""
        factors = self._factors()
        x = _product(descriptors, factors.embedding) + self.embed_features_b
        return _product(x, factors.input_rows) + self.lstm_bias

    def encode_products(self, products):
        """As `encode`, from the `input_products` of the descriptors [N, B, 4H]."""
        return self._read(self._factors(), products)

    def logits_after(self, state, caption, places=None):
        """Logits from the state c, h [B, H] on: caption int [B, L] or [1, L] as forced input -> [B, L, V].

        places: those steps alone, int [P], or [B, P] of each row -> [B, P, V].
        """
        factors = self._factors()
        if places is None:
            return self._logits(factors, self._decode(factors, state, caption))
        h = self._decode(factors, state, caption[:, : tf.reduce_max(places) + 1])
        return self._logits(factors, at_places(h, places))

    def logits(self, descriptors, caption):
        """descriptors [B, N, D], caption int [B, L] or [1, L] as forced input -> logits of every step [B, L, V]."""
        return self.logits_after(self.encode(descriptors), caption)

    def log_probs(self, descriptors, caption):
        """The whole distribution of every step, log q(v | w_<t): shapes as in `logits`."""
        return tf.nn.log_softmax(self.logits(descriptors, caption))

    def word_log_probs(self, descriptors, caption):
        """log q(w_t | w_<t) of the given words: descriptors [B, N, D], caption int [B, L] or [1, L] -> [B, L]."""
        return self.word_log_probs_after(self.encode(descriptors), caption)

    def word_log_probs_after(self, state, caption, places=None):
        """The same from the state c, h [B, H] on, of all words or of those at `places` (`logits_after`) -> [B, P]."""
        logits = self.logits_after(state, caption, places)  # [B, P, V]
        words = at_places(tf.broadcast_to(caption, [tf.shape(logits)[0], tf.shape(caption)[1]]), places)  # [B, P]
        return tf.gather(logits, words, batch_dims=2) - tf.reduce_logsumexp(logits, axis=-1)

    def name_scores(self, descriptors):
        """How much each word is a name of what the captioner sees: descriptors [R, D], each alone -> [R, V].

        It is asked by the end token, which is never followed by a word in a caption; what it answers comes from
        training alone (captioner/naming.py). The words' bias is left out: differences between descriptors count.
        """
        factors = self._factors()
        c, h = self._encode(factors, descriptors[:, None])
        _, h = self._step(factors, self._word_products(factors, [END]), c, h)  # [R, H]
        return _product(h, factors.output)

    def word_name_scores(self, descriptors, word_ids):
        """`name_scores` of a word for each descriptor: [R, D], [R] -> [R]."""
        return tf.gather(self.name_scores(descriptors), word_ids, batch_dims=1)


def at_places(values, places):
    """Of values [B, L, ...] those at places int [P], or [B, P] of each row -> [B, P, ...]; None: all."""
    return values if places is None else tf.gather(values, places, axis=1, batch_dims=len(places.shape) - 1)


def _product(x, weights):
    """x [..., m] times weights [m, n], in their precision, as one matrix product (`@` makes one for each index)."""
    return tf.cast(tf.tensordot(tf.cast(x, weights.dtype), weights, 1), tf.float32)


def _pack(mask):
    """Where the captions of a batch still go on, so that no step is computed that nobody reads.

    mask [B, L]; a caption ends with the last position under it. -> the captions by falling length, int [B]; how many of
    them step t still has, int [longest]; and the (caption, step) of every such place, step after step, int [M, 2].
    """
    lengths = tf.reduce_max(tf.where(mask > 0, tf.range(1, tf.shape(mask)[1] + 1), 0), axis=1)  # [B]
    order = tf.argsort(lengths, direction="DESCENDING", stable=True)
    going_on = tf.transpose(tf.sequence_mask(tf.gather(lengths, order)))  # [longest, B]
    sizes = tf.math.count_nonzero(going_on, axis=1, dtype=tf.int32)
    step, place = tf.unstack(tf.cast(tf.where(going_on), tf.int32), axis=1)  # [M]
    return order, sizes, tf.stack([tf.gather(order, place), step], axis=1)


def _dropout(x, keep_prob, seed, drawn=None):
    """Inverted dropout with a stateless seed, so that a resumed run draws what the unbroken one would have drawn.

    `drawn` (rows, n): x has these of the n rows of what one worker alone would have had, and gets what they would have
    got. All n are drawn for that, which costs little beside the products.
    """
    if keep_prob == 1.0:
        return x
    if drawn is None:
        return tf.nn.experimental.stateless_dropout(x, rate=1 - keep_prob, seed=seed)
    rows, n_rows = drawn

    def draw(shape, dtype):
        whole = tf.random.stateless_uniform(tf.concat([[n_rows], shape[1:]], axis=0), seed, dtype=dtype)
        return tf.gather(whole, rows)

    return tf.nn.experimental.general_dropout(x, rate=1 - keep_prob, uniform_sampler=draw)
