"""The captioner as the published program computes it, written plainly: the contender in the benchmarks.

Every step is unrolled, the zero half of its input is concatenated and multiplied, every word is looked up in its own
step, all L decoder steps have their full softmax whatever the caption's length, greedy decoding never stops early.
Axes as in s2vt_model.py.
"""

import keras
import tensorflow as tf


class PlainCaptioner:
    """Functions of the seven weights, a dict by the published names."""

    def __init__(self, weights, n_lstm_step, keep_prob=0.5):
        self.weights = {name: tf.Variable(array, name=name) for name, array in weights.items()}
        self.n_lstm_step, self.keep_prob = n_lstm_step, keep_prob
        self.dim_word_emb, self.dim_hidden = weights["Wemb"].shape[1], weights["predict_word_W"].shape[0]
        self.optimizer = keras.optimizers.Adam(5e-4, epsilon=1e-8)
        self.optimizer.build(list(self.weights.values()))

    def _dropout(self, x, training):
        return tf.nn.dropout(x, 1 - self.keep_prob) if training else x

    def _step(self, step_input, c, h, training):
        """One step of the LSTM: step_input [B, H + E], c and h [B, H] -> c', h', output."""
        w = self.weights
        inputs = tf.concat([self._dropout(step_input, training), h], axis=1)  # [B, H + E + H]
        i, j, f, o = tf.split(inputs @ w["lstm_kernel"] + w["lstm_bias"], 4, axis=1)
        c = tf.sigmoid(f + 1) * c + tf.sigmoid(i) * tf.tanh(j)
        h = tf.sigmoid(o) * tf.tanh(c)
        return c, h, self._dropout(h, training)

    def _encode(self, descriptors, training=False):
        """descriptors [B, N, D] -> c, h [B, H]."""
        w = self.weights
        n_media, n_descriptors, dim_image = descriptors.shape
        flat = tf.reshape(descriptors, [-1, dim_image]) @ w["embed_features_W"] + w["embed_features_b"]
        x = tf.reshape(flat, [n_media, n_descriptors, self.dim_hidden])
        c = h = tf.zeros([n_media, self.dim_hidden])
        padding = tf.zeros([n_media, self.dim_word_emb])
        for n in range(n_descriptors):
            c, h, _ = self._step(tf.concat([x[:, n], padding], axis=1), c, h, training)
        return c, h

    def _decoder_input(self, word_ids):
        word = tf.nn.embedding_lookup(self.weights["Wemb"], word_ids)  # [B, E]
        return tf.concat([tf.zeros([len(word_ids), self.dim_hidden]), word], axis=1)

    def _logits(self, output):
        return output @ self.weights["predict_word_W"] + self.weights["predict_word_b"]  # [B, V]

    def _cross_entropy(self, descriptors, caption, training):
        """Of every step: descriptors [B, N, D], caption [B, L] -> list of L tensors [B]."""
        c, h = self._encode(descriptors, training)
        step_input = tf.zeros([len(caption), self.dim_hidden + self.dim_word_emb])
        losses = []
        for t in range(self.n_lstm_step):
            c, h, output = self._step(step_input, c, h, training)
            labels = tf.one_hot(caption[:, t], self.weights["predict_word_b"].shape[0])
            losses.append(tf.nn.softmax_cross_entropy_with_logits(labels, self._logits(output)))
            step_input = self._decoder_input(caption[:, t])
        return losses

    @tf.function
    def train_step(self, descriptors, caption, mask):
        """One step of Adam: descriptors [B, N, D], caption [B, L], mask [B, L] -> loss."""
        variables = list(self.weights.values())
        with tf.GradientTape() as tape:
            losses = tf.stack(self._cross_entropy(descriptors, caption, training=True), axis=1)  # [B, L]
            loss = tf.reduce_sum(losses * mask) / tf.reduce_sum(mask)
        gradients = tape.gradient(loss, variables)
        self.optimizer.apply([tf.convert_to_tensor(gradient) for gradient in gradients], variables)
        return loss

    @tf.function
    def generate(self, descriptors):
        """Greedy words: descriptors [B, N, D] -> ids [B, L], whatever comes after an end token included."""
        c, h = self._encode(descriptors)
        step_input = tf.zeros([len(descriptors), self.dim_hidden + self.dim_word_emb])
        words = []
        for _ in range(self.n_lstm_step):
            c, h, output = self._step(step_input, c, h, training=False)
            words.append(tf.argmax(self._logits(output), axis=1))
            step_input = self._decoder_input(words[-1])
        return tf.stack(words, axis=1)

    @tf.function
    def saliency(self, regions, caption):
        """Raw saliency of one frame: regions [R, D], caption [L] with zeros after the words -> [R, L]."""
        captions = tf.tile(caption[None], [len(regions), 1])
        return -tf.stack(self._cross_entropy(regions[:, None], captions, training=False), axis=1)
