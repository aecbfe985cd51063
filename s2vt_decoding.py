"""How the captioner writes a caption of its own: greedily, drawn by probability, or by a beam search.

Axes as in s2vt_model.py: B media, N descriptors, L steps, V vocabulary, K beams.
"""

import numpy as np
import tensorflow as tf

END = 0  # the id of the end token

DESCRIPTORS = tf.TensorSpec([None, None, None], tf.float32)  # [B, N, D]; one traced graph serves every size


class Decoding:
    """What S2VT (s2vt_model.py) writes by its equations, step after step, each word from the one before."""

    def generate(self, descriptors, beam_size=1, length_penalty=0.0):
        """Caption the descriptors [B, N, D] -> list of B lists of word ids, the end token left out.

        A caption ends at the end token or at n_lstm_step words. beam_size 1 is greedy decoding; above, the caption in
        the last beam of the highest score: total log-probability / number of its words (the end token is one) to the
        power of `length_penalty`.
        """
        descriptors = tf.cast(descriptors, tf.float32)
        if beam_size == 1:
            return [_until_end(row) for row in self._greedy(descriptors).numpy()]
        words, _ = self._beam(descriptors, beam_size, length_penalty)  # [B, K, L]
        return [_until_end(row) for row in words[:, 0].numpy()]  # top_k sorts: the first beam is the best

    def beams(self, descriptors, beam_size, length_penalty=0.0):
        """All captions of the last beam with their scores, best first: [B, N, D] -> list of B lists of (ids, score)."""
        words, scores = self._beam(tf.cast(descriptors, tf.float32), beam_size, length_penalty)  # [B, K, L], [B, K]
        return [
            [(_until_end(row), float(score)) for row, score in zip(*one, strict=True) if np.isfinite(score)]
            for one in zip(words.numpy(), scores.numpy(), strict=True)
        ]

    @tf.function(autograph=False, input_signature=[DESCRIPTORS])
    def _greedy(self, descriptors):
        """The most probable word at every step: [B, N, D] -> ids [B, L], zeros after the end token."""
        factors = self._factors()  # once, outside the loop
        state = self._encode(factors, descriptors)
        return self._write(factors, state, lambda t, logits: tf.argmax(logits, axis=-1, output_type=tf.int32))

    def sample(self, descriptors, n_samples, seed, first=None):
        """Captions drawn by their probability: descriptors [B, N, D], seed [2] -> ids [B * n_samples, L].

        Those of one medium follow one another; after the end token there are zeros. `first`: these are the media of a
        larger batch from that one on, and get what they would get there.
        """
        factors = self._factors()
        state = [tf.repeat(part, n_samples, axis=0) for part in self._encode(factors, descriptors)]

        def draw(t, logits):  # [B * n_samples, V] -> [B * n_samples]
            seed_of_step = tf.random.experimental.stateless_fold_in(seed, t)
            if first is None:
                return tf.random.stateless_categorical(logits, 1, seed_of_step, dtype=tf.int32)[:, 0]
            before = first * n_samples  # a row's draws depend on its place
            logits = tf.pad(logits, [[before, 0], [0, 0]])
            return tf.random.stateless_categorical(logits, 1, seed_of_step, dtype=tf.int32)[before:, 0]

        return self._write(factors, state, draw)

    def _write(self, factors, state, choose):
        """Write word after word from state c, h [B, H]: `choose` takes (step, logits [B, V]) to words [B] -> [B, L]."""
        c, h = state
        n_media = tf.shape(c)[0]
        words = tf.TensorArray(tf.int32, self.n_lstm_step, element_shape=[None])
        words = words.unstack(tf.zeros([self.n_lstm_step, n_media], tf.int32))

        def step(t, products, c, h, ended, words):
            c, h = self._step(factors, products, c, h)
            word = tf.where(ended, END, choose(t, self._logits(factors, h)))  # [B]
            return t + 1, self._word_products(factors, word), c, h, ended | (word == END), words.write(t, word)

        *_, words = tf.while_loop(
            lambda t, products, c, h, ended, words: (t < self.n_lstm_step) & ~tf.reduce_all(ended),
            step,
            (0, tf.tile(self.lstm_bias[None], [n_media, 1]), c, h, tf.zeros([n_media], tf.bool), words),
        )
        return tf.transpose(words.stack())

    @tf.function(
        autograph=False, input_signature=[DESCRIPTORS, tf.TensorSpec([], tf.int32), tf.TensorSpec([], tf.float32)]
    )
    def _beam(self, descriptors, n_beams, length_penalty):
        """The captions of the highest scores that a beam search finds: [B, N, D] -> ids [B, K, L], scores [B, K]."""
        factors = self._factors()
        c, h = (tf.repeat(state, n_beams, axis=0) for state in self._encode(factors, descriptors))  # [B * K, H]
        n_media = tf.shape(descriptors)[0]
        # A finished caption goes on with end tokens at no cost; all beams but the first start out impossible.
        only_end = tf.one_hot(END, self.n_words, 0.0, -np.inf)  # [V]
        totals = tf.tile(tf.one_hot([0], n_beams, 0.0, -np.inf), [n_media, 1])  # [B, K]
        words = tf.zeros([n_media, n_beams, self.n_lstm_step], tf.int32)

        def step(t, products, c, h, lengths, ended, totals, words):
            c, h = self._step(factors, products, c, h)
            log_probs = tf.reshape(tf.nn.log_softmax(self._logits(factors, h)), [n_media, n_beams, self.n_words])
            totals = totals[..., None] + tf.where(ended[..., None], only_end, log_probs)  # [B, K, V]
            lengths = tf.where(ended, lengths, t + 1)  # [B, K], of all that come from the same beam
            scores = totals / tf.pow(tf.cast(lengths, tf.float32), length_penalty)[..., None]  # [B, K, V]
            _, best = tf.math.top_k(tf.reshape(scores, [n_media, -1]), n_beams)  # [B, K]
            totals = tf.gather(tf.reshape(totals, [n_media, -1]), best, batch_dims=1)  # [B, K]
            parent, word = best // self.n_words, best % self.n_words  # [B, K]
            lengths = tf.gather(lengths, parent, batch_dims=1)
            c, h = (
                tf.reshape(tf.gather(tf.reshape(state, [n_media, n_beams, -1]), parent, batch_dims=1), tf.shape(c))
                for state in (c, h)
            )
            ended = tf.gather(ended, parent, batch_dims=1) | (word == END)
            place = tf.one_hot(t, self.n_lstm_step, dtype=tf.int32)  # [L]
            words = tf.gather(words, parent, batch_dims=1) + place * word[..., None]
            return t + 1, self._word_products(factors, tf.reshape(word, [-1])), c, h, lengths, ended, totals, words

        *_, lengths, _, totals, words = tf.while_loop(
            lambda t, products, c, h, lengths, ended, totals, words: (t < self.n_lstm_step) & ~tf.reduce_all(ended),
            step,
            (
                0,
                tf.tile(self.lstm_bias[None], [n_media * n_beams, 1]),
                c,
                h,
                tf.zeros([n_media, n_beams], tf.int32),
                tf.zeros([n_media, n_beams], tf.bool),
                totals,
                words,
            ),
        )
        return words, totals / tf.pow(tf.cast(lengths, tf.float32), length_penalty)


def _until_end(row):
    """The word ids of a row int [L], up to the end token -> list."""
    return row[: np.argmax(row == END)].tolist() if END in row else row.tolist()
