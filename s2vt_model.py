"""The captioner: S2VT, one LSTM that reads the descriptors and then writes the words (README, equations 1 to 4).

Axes, as in the paper's notation: B batch, N input descriptors (encoder steps), L decoder steps, D descriptor size,
H LSTM units, E word embedding, V vocabulary, K beams. Word 0 is the end token.

The LSTM's step input is concat(x_n, 0_E) while it reads and concat(0_H, word embedding) while it writes. A product with
zeros is zero, so each side is multiplied with its own rows of the kernel, and all steps of a sequence in one product.
"""

import keras
import numpy as np
import tensorflow as tf

END = 0  # the id of the end token

WEIGHT_NAMES = (
    "Wemb",
    "lstm_kernel",
    "lstm_bias",
    "embed_features_W",
    "embed_features_b",
    "predict_word_W",
    "predict_word_b",
)

DESCRIPTORS = tf.TensorSpec([None, None, None], tf.float32)  # [B, N, D]; one traced graph serves every size


def _uniform(seed):
    return keras.initializers.RandomUniform(-0.1, 0.1, seed=seed)


class S2VT(keras.layers.Layer):
    """The S2VT encoder-decoder.

    n_words V, dim_image D, dim_hidden H, dim_word_emb E; n_frame_step: the number of descriptors it is trained on
    (it reads any number); n_lstm_step L: the most words it writes; forget_bias, cell_clip: see the equations of
    `_cell`; input_keep_prob, output_keep_prob: dropout, in training only; seed: of the initial weights;
    output_bias [V]: the initial `predict_word_b` (zeros if None).
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
        seed=0,
        output_bias=None,
    ):
        super().__init__(name="s2vt")
        self.n_words, self.dim_image, self.dim_hidden, self.dim_word_emb = n_words, dim_image, dim_hidden, dim_word_emb
        self.n_frame_step, self.n_lstm_step = n_frame_step, n_lstm_step
        self.forget_bias, self.cell_clip = forget_bias, cell_clip
        self.input_keep_prob, self.output_keep_prob = input_keep_prob, output_keep_prob

        kernel_rows = dim_hidden + dim_word_emb + dim_hidden
        glorot = keras.initializers.GlorotUniform(seed=seed + 1)
        bias = np.zeros(n_words, np.float32) if output_bias is None else np.asarray(output_bias, np.float32)
        for name, shape, initializer in (
            ("Wemb", (n_words, dim_word_emb), _uniform(seed)),
            ("lstm_kernel", (kernel_rows, 4 * dim_hidden), glorot),
            ("lstm_bias", (4 * dim_hidden,), "zeros"),
            ("embed_features_W", (dim_image, dim_hidden), _uniform(seed + 2)),
            ("embed_features_b", (dim_hidden,), "zeros"),
            ("predict_word_W", (dim_hidden, n_words), _uniform(seed + 3)),
            ("predict_word_b", (n_words,), lambda shape, dtype: tf.constant(bias)),
        ):
            setattr(self, name, self.add_weight(shape=shape, initializer=initializer, name=name))
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

    @property
    def _input_rows(self):
        """The kernel's rows for the embedded descriptors."""
        return self.lstm_kernel[: self.dim_hidden]  # [H, 4H]

    @property
    def _word_rows(self):
        """The kernel's rows for the word embedding."""
        return self.lstm_kernel[self.dim_hidden : -self.dim_hidden]  # [E, 4H]

    @property
    def _recurrent_rows(self):
        """The kernel's rows for the previous output h."""
        return self.lstm_kernel[-self.dim_hidden :]  # [H, 4H]

    def _cell(self, products, c):
        """One step of equation 2: products = concat(input, h) @ kernel + bias [B, 4H], c [B, H] -> c', h' [B, H]."""
        i, j, f, o = tf.split(products, 4, axis=-1)  # each [B, H]
        c = tf.sigmoid(f + self.forget_bias) * c + tf.sigmoid(i) * tf.tanh(j)  # [B, H]
        if self.cell_clip is not None:
            c = tf.clip_by_value(c, -self.cell_clip, self.cell_clip)
        return c, tf.sigmoid(o) * tf.tanh(c)

    def _recur(self, products, state=None):
        """Run the LSTM over the input products of a sequence, from `state` or from the zero state.

        products [T, B, 4H] (or [T, 1, 4H], shared by the batch), state c, h [B, H] -> outputs [T, B, H], last c and h.
        """
        n_steps = tf.shape(products)[0]
        inputs = tf.TensorArray(products.dtype, n_steps).unstack(products)
        outputs = tf.TensorArray(products.dtype, n_steps)
        recurrent_rows = self._recurrent_rows
        first = 0
        if state is None:  # h = 0: nothing to multiply in the first step
            c, h = self._cell(inputs.read(0), tf.zeros([tf.shape(products)[1], self.dim_hidden]))
            first, outputs = 1, outputs.write(0, h)
        else:
            c, h = state

        def step(t, c, h, outputs):
            c, h = self._cell(inputs.read(t) + h @ recurrent_rows, c)
            return t + 1, c, h, outputs.write(t, h)

        _, c, h, outputs = tf.while_loop(
            lambda t, *_: t < n_steps, step, (first, c, h, outputs), maximum_iterations=n_steps
        )
        return outputs.stack(), c, h

    def _encode(self, descriptors, keep_prob=1.0, seed=None):
        """Read the descriptors [B, N, D] from the zero state -> state c, h [B, H] (equation 1)."""
        descriptors = tf.cast(descriptors, tf.float32)
        x = _product(descriptors, self.embed_features_W) + self.embed_features_b  # [B, N, H]
        x = tf.transpose(_dropout(x, keep_prob, seed), [1, 0, 2])  # [N, B, H]
        _, c, h = self._recur(_product(x, self._input_rows) + self.lstm_bias)  # products [N, B, 4H]
        return c, h

    def _decode(self, state, caption, keep_prob=1.0, seed=None):
        """Write with `caption` as forced input: state c, h [B, H], caption [B, L] -> outputs h' [B, L, H].

        Step 0 has the zero vector as its word, step t the embedding of word t - 1. A caption [1, L] serves the batch.
        """
        words = tf.gather(self.Wemb, caption[:, :-1])  # [B, L - 1, E]
        words = _dropout(tf.pad(words, [[0, 0], [1, 0], [0, 0]]), keep_prob, seed)  # [B, L, E]
        words = tf.transpose(words, [1, 0, 2])  # [L, B, E]
        products = _product(words, self._word_rows) + self.lstm_bias  # [L, B, 4H]
        outputs, _, _ = self._recur(products, state)  # [L, B, H]
        return tf.transpose(outputs, [1, 0, 2])

    def _logits(self, h):
        """h' [..., H] -> logits [..., V]."""
        return _product(h, self.predict_word_W) + self.predict_word_b

    # What others call

    def caption_loss(self, descriptors, caption, mask, training=False, seed=(0, 0)):
        """Mean cross-entropy of the words under the mask: sum(cross-entropy * mask) / sum(mask).

        descriptors [B, N, D], caption int [B, L], mask [B, L] of zeros and ones -> scalar. `seed` (two integers)
        fixes the dropout of a training step.
        """
        loss, n_words = self.caption_loss_sum(descriptors, caption, mask, training, seed)
        return loss / n_words

    def caption_loss_sum(self, descriptors, caption, mask, training=False, seed=(0, 0)):
        """As `caption_loss`, but the two sums apart, for a mean over several batches -> (scalar, scalar)."""
        input_keep, output_keep = (self.input_keep_prob, self.output_keep_prob) if training else (1.0, 1.0)
        encoder_seed, word_seed, output_seed = (tf.random.experimental.stateless_fold_in(seed, k) for k in range(3))
        # Only the positions under the mask need logits, and no step after the last of them matters.
        live = mask > 0
        length = tf.reduce_max(tf.where(live, tf.range(1, tf.shape(mask)[1] + 1), 0))
        live, caption, weights = live[:, :length], caption[:, :length], mask[:, :length]
        state = self._encode(descriptors, input_keep, encoder_seed)
        h = self._decode(state, caption, input_keep, word_seed)  # [B, length, H]
        h = _dropout(tf.boolean_mask(h, live), output_keep, output_seed)  # [n live words, H]
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.boolean_mask(caption, live), self._logits(h))
        weights = tf.cast(tf.boolean_mask(weights, live), tf.float32)
        return tf.reduce_sum(loss * weights), tf.reduce_sum(weights)

    def logits(self, descriptors, caption):
        """descriptors [B, N, D], caption int [B, L] or [1, L] as forced input -> logits of every step [B, L, V]."""
        return self._logits(self._decode(self._encode(descriptors), caption))

    def log_probs(self, descriptors, caption):
        """The whole distribution of every step, log q(v | w_<t): shapes as in `logits`."""
        return tf.nn.log_softmax(self.logits(descriptors, caption))

    def word_log_probs(self, descriptors, caption):
        """log q(w_t | w_<t) of the given words: descriptors [B, N, D], caption int [B, L] or [1, L] -> [B, L]."""
        logits = self.logits(descriptors, caption)  # [B, L, V]
        words = tf.broadcast_to(caption, tf.shape(logits)[:2])  # [B, L]
        return tf.gather(logits, words, batch_dims=2) - tf.reduce_logsumexp(logits, axis=-1)

    def generate(self, descriptors, beam_size=1):
        """Caption the descriptors [B, N, D] -> list of B lists of word ids, the end token left out.

        A caption ends at the end token or at n_lstm_step words. beam_size 1 is greedy decoding; above, the beam's
        caption of the highest total log-probability.
        """
        descriptors = tf.cast(descriptors, tf.float32)
        words = self._greedy(descriptors) if beam_size == 1 else self._beam(descriptors, beam_size)  # [B, L]
        return [row[: np.argmax(row == END)].tolist() if END in row else row.tolist() for row in words.numpy()]

    # Decoding

    def _word_products(self, words):
        """Input products of a step whose previous words are `words` int [B] -> [B, 4H]."""
        return tf.gather(self.Wemb, words) @ self._word_rows + self.lstm_bias

    @tf.function(input_signature=[DESCRIPTORS])
    def _greedy(self, descriptors):
        """The most probable word at every step: [B, N, D] -> ids [B, L], zeros after the end token."""
        c, h = self._encode(descriptors)
        n_media = tf.shape(c)[0]
        words = tf.TensorArray(tf.int32, self.n_lstm_step, element_shape=[None])
        words = words.unstack(tf.zeros([self.n_lstm_step, n_media], tf.int32))

        def step(t, products, c, h, ended, words):
            c, h = self._cell(products + h @ self._recurrent_rows, c)
            word = tf.where(ended, END, tf.argmax(self._logits(h), axis=-1, output_type=tf.int32))  # [B]
            return t + 1, self._word_products(word), c, h, ended | (word == END), words.write(t, word)

        *_, words = tf.while_loop(
            lambda t, products, c, h, ended, words: (t < self.n_lstm_step) & ~tf.reduce_all(ended),
            step,
            (0, tf.tile(self.lstm_bias[None], [n_media, 1]), c, h, tf.zeros([n_media], tf.bool), words),
        )
        return tf.transpose(words.stack())

    @tf.function(input_signature=[DESCRIPTORS, tf.TensorSpec([], tf.int32)])
    def _beam(self, descriptors, n_beams):
        """The caption of the highest total log-probability that a beam search finds: [B, N, D] -> ids [B, L]."""
        c, h = (tf.repeat(state, n_beams, axis=0) for state in self._encode(descriptors))  # [B * K, H]
        n_media = tf.shape(descriptors)[0]
        # A finished caption goes on with end tokens at no cost; all beams but the first start out impossible.
        only_end = tf.one_hot(END, self.n_words, 0.0, -np.inf)  # [V]
        scores = tf.tile(tf.one_hot([0], n_beams, 0.0, -np.inf), [n_media, 1])  # [B, K]
        words = tf.zeros([n_media, n_beams, self.n_lstm_step], tf.int32)

        def step(t, products, c, h, ended, scores, words):
            c, h = self._cell(products + h @ self._recurrent_rows, c)
            log_probs = tf.reshape(tf.nn.log_softmax(self._logits(h)), [n_media, n_beams, self.n_words])
            totals = scores[..., None] + tf.where(ended[..., None], only_end, log_probs)  # [B, K, V]
            scores, best = tf.math.top_k(tf.reshape(totals, [n_media, -1]), n_beams)  # [B, K]
            parent, word = best // self.n_words, best % self.n_words  # [B, K]
            c, h = (
                tf.reshape(tf.gather(tf.reshape(state, [n_media, n_beams, -1]), parent, batch_dims=1), tf.shape(c))
                for state in (c, h)
            )
            ended = tf.gather(ended, parent, batch_dims=1) | (word == END)
            place = tf.one_hot(t, self.n_lstm_step, dtype=tf.int32)  # [L]
            words = tf.gather(words, parent, batch_dims=1) + place * word[..., None]
            return t + 1, self._word_products(tf.reshape(word, [-1])), c, h, ended, scores, words

        *_, words = tf.while_loop(
            lambda t, products, c, h, ended, scores, words: (t < self.n_lstm_step) & ~tf.reduce_all(ended),
            step,
            (
                0,
                tf.tile(self.lstm_bias[None], [n_media * n_beams, 1]),
                c,
                h,
                tf.zeros([n_media, n_beams], tf.bool),
                scores,
                words,
            ),
        )
        return words[:, 0]  # top_k sorts: the first beam is the best


def _product(x, weights):
    """x [..., m] times weights [m, n] as one matrix product: `@` makes one for each index of the first axis."""
    return tf.tensordot(x, weights, 1)


def _dropout(x, keep_prob, seed):
    """Inverted dropout with a stateless seed, so that a resumed run draws what the unbroken one would have drawn."""
    if keep_prob == 1.0:
        return x
    return tf.nn.experimental.stateless_dropout(x, rate=1 - keep_prob, seed=seed)
