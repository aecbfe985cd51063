"""Self-critical training: the captioner writes captions by chance, and learns from how good each of them is.

Of each medium it writes several captions w^1 ... w^K. What CIDEr-D says of a caption, minus the mean of what it says
of the others, is the advantage A_k; the loss is the mean over their words of -A_k log q(w_t^k | w_<t^k, v). So a
caption that is better than its fellows becomes more probable. The end token is a word to CIDEr-D, or captions would
learn to break off ("a dog in a").

Sources: Rennie et al., "Self-critical Sequence Training for Image Captioning", CVPR 2017; the other captions as the
baseline: Luo, "A Better Variant of Self-Critical Sequence Training", 2020; CIDEr-D: Vedantam et al., CVPR 2015.
"""

import collections

import numpy as np
import tensorflow as tf

import data_loader
from captioner.distribution import ALONE

END_WORD = "."  # the end token, as the vocabulary writes it
N_SAMPLES = 5  # captions of each medium, K
N_GRAMS = 4
MOST_LOSS = 1e4  # nats a word; knowing nothing costs the logarithm of the number of words, some 8
SIGMA = 6.0  # of the Gaussian over the difference in length


class CiderD:
    """CIDEr-D of single captions against the references of a fixed set of media, whose n-gram frequencies count.

    The same numbers as `pycocoevalcap`'s, which weighs by the media that it is given to score.
    """

    def __init__(self, references):
        """references: id -> list of captions, each a list of words."""
        counted = {media_id: [_count(words) for words in captions] for media_id, captions in references.items()}
        frequency = collections.Counter(gram for counts in counted.values() for gram in set().union(*counts))
        self._most = np.log(len(references))
        self._weights = {gram: self._most - np.log(count) for gram, count in frequency.items()}
        self._references = {media_id: [self._vector(one) for one in counts] for media_id, counts in counted.items()}

    def _vector(self, counts):
        """Counts of n-grams -> their tf-idf weights, the norm of the vector for each n, and the number of bigrams."""
        vector = {gram: count * self._weights.get(gram, self._most) for gram, count in counts.items()}
        squares = np.zeros(N_GRAMS)
        for gram, value in vector.items():
            squares[len(gram) - 1] += value**2
        return vector, np.sqrt(squares), sum(count for gram, count in counts.items() if len(gram) == 2)

    def score(self, media_id, words):
        """Of a caption, a list of words, for that medium -> 0 to 10."""
        vector, norms, length = self._vector(_count(words))
        total = 0.0
        for other, other_norms, other_length in self._references[media_id]:
            products = np.zeros(N_GRAMS)
            for gram, value in vector.items():
                if gram in other:
                    products[len(gram) - 1] += min(value, other[gram]) * other[gram]
            cosines = products / np.where(norms * other_norms > 0, norms * other_norms, 1)
            total += cosines.mean() * np.exp(-((length - other_length) ** 2) / (2 * SIGMA**2))
        return 10 * total / len(self._references[media_id])


def _count(words):
    """The n-grams of a caption, n from 1 to N_GRAMS, with their counts."""
    spans = ((k, k + n) for n in range(1, N_GRAMS + 1) for k in range(len(words) - n + 1))
    return collections.Counter(tuple(words[first:end]) for first, end in spans)


def advantages(rewards):
    """rewards [S, K] -> how much each is above the mean of the others of its row, float32 [S, K]."""
    n = rewards.shape[1]
    return ((rewards - rewards.mean(axis=1, keepdims=True)) * n / (n - 1)).astype(np.float32)


def is_sound(loss, gradients):
    """Whether a loss is one that training can have, and all its gradients are finite: a bool tensor."""
    finite = [tf.reduce_all(tf.math.is_finite(gradient)) for gradient in gradients]
    return tf.reduce_all([tf.abs(loss) < MOST_LOSS, *finite])


class SelfCritical:
    """Self-critical training of a model, with the training captions of each medium as references."""

    def __init__(
        self,
        model,
        optimizer,
        vocabulary,
        descriptor_dtype,
        train,
        validate,
        beside=None,
        per_medium=1,
        distribution=ALONE,
    ):
        """train and validate: the media of these splits (annotations.Medium).

        `beside`: a function of a batch of given captions, `per_medium` of each medium, and a share of it; what it gives
        is added to the loss. `distribution`: that of the model (distribution.py).
        """
        self.model, self.vocabulary, self.distribution = model, vocabulary, distribution
        self.reward, self.validation_reward = (
            CiderD({medium.id: [[*data_loader.tokenize(one), END_WORD] for one in medium.captions] for medium in media})
            for media in (train, validate)
        )
        variables = model.trainable_variables
        descriptors = tf.TensorSpec([None, None, model.dim_image], descriptor_dtype)
        words = tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None, None], tf.float32)

        def sample(descriptors, n_media, seed):
            descriptors, share = distribution.own(descriptors, n_media, 1)
            descriptors = tf.cast(descriptors, tf.float32)
            if share is None:
                return model.sample(descriptors, N_SAMPLES, seed)  # [S * K, L]
            captions = model.sample(descriptors, N_SAMPLES, seed, share.first)
            others = share.first, n_media - share.end
            captions = tf.pad(tf.cast(captions, tf.float32), [[N_SAMPLES * n for n in others], [0, 0]])
            return tf.cast(distribution.sum([captions])[0], tf.int32)  # of all: a GPU adds up no integers

        def learn(descriptors, captions, masks, weights, *given):
            descriptors, share = distribution.own(descriptors, tf.shape(captions)[0], N_SAMPLES)
            with tf.GradientTape() as tape:
                loss, n_words = model.caption_loss_sum(
                    descriptors, captions, masks, caption_weights=weights, share=share
                )
                loss /= n_words
                if beside:
                    loss += beside(descriptors, *given, share=share)
            gradients = tape.gradient(loss, [variable.value for variable in variables])
            gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
            loss, *gradients = distribution.sum([loss, *gradients])
            optimizer.apply(gradients)
            return is_sound(loss, gradients)

        seed, number = tf.TensorSpec([2], tf.int32), tf.TensorSpec([], tf.int32)
        weights = tf.TensorSpec([None], tf.float32)
        self._sample = distribution.traced(sample, [descriptors, number, seed])
        self._learn = distribution.traced(learn, [descriptors, *words, weights, *words])

    def _words(self, ids):
        """The words of a caption, the end token with them unless the caption takes up every step."""
        words = [self.vocabulary.words[k] for k in ids]
        return [*words, END_WORD] if len(words) < self.model.n_lstm_step else words

    def step(self, media_ids, batch, seed):
        """Learn from captions of some media, drawn by `seed` [2] -> their mean CIDEr-D, whether the loss is sound.

        batch: the descriptors of these media [S, N, D], and their given captions with masks. Of several workers each
        has the descriptors of its part, and tells the others what its captions are worth.
        """
        descriptors, *given = batch
        captions = self._sample(descriptors, len(media_ids), seed).numpy()  # [S * K, L]
        lengths = (captions > 0).sum(axis=1)  # [S * K]
        masks = (np.arange(captions.shape[1]) <= lengths[:, None]).astype(np.float32)  # the words and the end token
        rewards = np.zeros((len(media_ids), N_SAMPLES))  # [S, K]
        for k in range(*data_loader.rows_of(self.distribution.part, len(media_ids))):
            for one in range(N_SAMPLES):
                ids = captions[k * N_SAMPLES + one, : lengths[k * N_SAMPLES + one]]
                rewards[k, one] = self.reward.score(media_ids[k], self._words(ids))
        rewards = self.distribution.total(rewards)
        is_sound = self._learn(descriptors, captions, masks, advantages(rewards).ravel(), *given)
        return float(rewards.mean()), is_sound

    def validate(self, samples):
        """The mean CIDEr-D of the captions that the model gives to `samples`, greedy (data_loader.Samples)."""
        part, scores = self.distribution.part, np.zeros(len(samples))
        for number, (descriptors, captions, _) in enumerate(samples.batches(part=part)):
            first, end = data_loader.rows_of(part, len(captions))
            before = number * samples.samples_per_batch
            for k, ids in enumerate(self.model.generate(descriptors) if end > first else [], before + first):
                scores[k] = self.validation_reward.score(samples.media_ids[k], self._words(ids))
        return float(self.distribution.total(scores).mean())
