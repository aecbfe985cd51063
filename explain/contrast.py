"""Why this word and not that: the maps of log q(w_t | w_<t) - log q(v_t | w_<t) (equation 16, docs/method.md).

A captioner that is asked for the difference takes the place of the one that is asked for log q, so that every method of
attribution.METHODS explains it.
"""

import dataclasses

import tensorflow as tf

from s2vt_model import at_places
from system import console
from system.errors import UserError


class Contrast:
    """A captioner (s2vt_model.S2VT) asked for each word of a sentence less another word in its place, `others` [T]."""

    def __init__(self, model):
        self.model, self.n_words = model, model.n_words
        self.others = tf.Variable([0], shape=[None], dtype=tf.int32, trainable=False)  # graphs stay when it changes

    def encode(self, descriptors):
        return self.model.encode(descriptors)

    def input_products(self, descriptors):
        return self.model.input_products(descriptors)

    def encode_products(self, products):
        return self.model.encode_products(products)

    def word_log_probs(self, descriptors, caption):
        """log q(w_t | w_<t) - log q(v_t | w_<t): shapes as of S2VT.word_log_probs; the softmax' sums cancel out."""
        return self.word_log_probs_after(self.encode(descriptors), caption)

    def word_log_probs_after(self, state, caption, places=None):
        """The same: shapes as of S2VT.word_log_probs_after."""
        logits = self.model.logits_after(state, caption, places)  # [B, P, V]
        every = [tf.shape(logits)[0], tf.shape(caption)[1]]
        words, others = (at_places(tf.broadcast_to(ids, every), places) for ids in (caption, self.others[None]))
        return tf.gather(logits, words, batch_dims=2) - tf.gather(logits, others, batch_dims=2)

    def word_name_scores(self, descriptors, word_ids):
        """The same of the scores as names: shapes as of S2VT.word_name_scores, with R = T."""
        scores = self.model.name_scores(descriptors)  # [T, V]
        return tf.gather(scores, word_ids, batch_dims=1) - tf.gather(scores, self.others, batch_dims=1)


def contrasted(query, instead, known):
    """A Query with another word in the place of its words: "cat", of each, or "dog=cat", of "dog" -> Query.

    known: from a word to it as the captioner writes it. UserError where the captioner does not know that word, or the
    sentence has not the one that it is to stand for.
    """
    asked, separator, other = (part.strip() for part in instead.rpartition("="))
    if not other or (separator and not asked):
        raise UserError(f"'{console.shown(instead)}' compares nothing: write OTHER, or WORD=OTHER")
    other = known(other)
    asked = [known(asked)] if separator else query.words
    if separator and asked[0] not in query.words:
        raise UserError(f"'{asked[0]}', to be compared with '{other}', is not in '{console.shown(query.sentence)}'")
    against = [other if word in asked else word for word in query.words]
    if against == query.words:
        raise UserError(
            f"'{console.shown(instead)}': no word of '{console.shown(query.sentence)}' would be another one; write "
            "WORD=OTHER with a word of the sentence"
        )
    return dataclasses.replace(query, against=against, target_log_probs=None)
