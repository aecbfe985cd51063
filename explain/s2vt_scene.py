"""A picture before the network of this project: log q, and its gradients, as it changes (attribution.Scene)."""

import collections
import copy
import functools

import numpy as np
import tensorflow as tf

import data_loader
import saliency
from explain import attribution

MASKS_KEPT = 3  # sets of masks whose encoded states are kept: for the next sentence over the same picture


class S2VTScene(attribution.Scene):
    """A picture as the captioner `model` sees it: its cells and those of a grey picture, float32 [Gy, Gx, D].

    N descriptors that the captioner reads; H its state's size. levels: of the captioner's pyramid
    (data_loader.as_sequence); names: whether it has learnt to name what it sees.
    """

    def __init__(self, model, grid, blank, levels=(), names=False):
        self.model, self.grid, self.blank, self.levels, self.names = model, grid, blank, levels, names
        self.places = None  # of the words that are asked for, where not all are
        self._states = collections.OrderedDict()

    def asking(self, places):
        other = copy.copy(self)  # with all that has been computed, or will be, whatever is asked
        other.places = tf.constant(places, tf.int32)
        return other

    @property
    def shape(self):
        return self.grid.shape[:2]

    @property
    def cells(self):
        return self.grid.reshape(-1, self.grid.shape[-1]).astype(np.float32)

    @property
    def blank_cells(self):
        return self.blank.reshape(-1, self.grid.shape[-1]).astype(np.float32)

    @functools.cached_property
    def reading(self):
        """How the sequence that the captioner reads comes from the cells: [N, C], sequence = reading @ cells."""
        n_cells = self.grid.shape[0] * self.grid.shape[1]
        one_hot = np.eye(n_cells, dtype=np.float32).reshape(*self.grid.shape[:2], n_cells)
        return tf.constant(data_loader.as_sequence(one_hot, self.levels))

    @functools.cached_property
    def _gates(self):
        """What the gates get from the grey picture [N, 4H], and what each cell's being there adds [C, 4H]."""
        return _gates(self.model, tf.constant(self.cells), tf.constant(self.blank_cells), self.reading)

    def log_q_alone(self, cells, word_ids):
        return saliency.temporal_curve(self.model, cells, word_ids, places=self.places)

    def log_q(self, masks, word_ids):
        word_ids = _ids(word_ids)
        parts = (_log_q(self.model, *state, word_ids, self.places) for state in self._encoded(masks))
        return np.concatenate([part.numpy() for part in parts])

    def _encoded(self, masks):
        """The states c, h [m, H] in which the captioner is under masks [M, C], part after part -> list."""
        masks = np.asarray(masks, np.float32)
        key = masks.tobytes()
        if key not in self._states:
            parts = np.split(masks, range(attribution.MASKS_AT_ONCE, len(masks), attribution.MASKS_AT_ONCE))
            self._states[key] = [_encode(self.model, *self._gates, self.reading, tf.constant(part)) for part in parts]
            if len(self._states) > MASKS_KEPT:
                self._states.popitem(last=False)
        self._states.move_to_end(key)
        return self._states[key]

    def mask_gradients(self, masks, word_ids):
        places = self._asked(word_ids)
        at_once = max(1, attribution.MASKS_AT_ONCE // len(places))
        parts = np.split(np.asarray(masks, np.float32), range(at_once, len(masks), at_once))
        asked = self.model, *self._gates, self.reading
        return np.concatenate([_mask_gradients(*asked, tf.constant(m), _ids(word_ids), places).numpy() for m in parts])

    def cell_gradients(self, word_ids):
        asked = _ids(word_ids), self._asked(word_ids)
        return _cell_gradients(self.model, tf.constant(self.cells), self.reading, *asked).numpy()

    def gradients_alone(self, cell, word_ids):
        asked = _ids(word_ids), self._asked(word_ids)
        return _cell_gradients(self.model, tf.constant(cell[None]), tf.ones([1, 1]), *asked)[:, 0].numpy()

    def name_gradients(self, cell, word_ids):
        return _naming_gradients(self.model, tf.constant(cell[None]), _ids(word_ids)).numpy()[self._asked(word_ids)]

    def _asked(self, word_ids):
        return tf.range(len(word_ids)) if self.places is None else self.places


def _ids(word_ids):
    return tf.constant(np.asarray(word_ids), tf.int32)


# (10) is linear in the mask, and so is what the gates get from the descriptors: a mask mixes that of the cells.


@tf.function(autograph=False, reduce_retracing=True)
def _gates(model, cells, blank, reading):
    gates_of_blank = model.input_products(blank)  # [C, 4H]
    return model.input_products(reading @ blank), model.input_products(cells) - gates_of_blank


def _mixed(grey, added, reading, masks):
    """What the gates get under masks [M, C] -> [N, M, 4H]."""
    return grey[:, None] + tf.einsum("nc,mc,cg->nmg", reading, masks, added)


@tf.function(autograph=False, reduce_retracing=True)
def _encode(model, grey, added, reading, masks):
    return model.encode_products(_mixed(grey, added, reading, masks))


@tf.function(autograph=False, reduce_retracing=True)
def _log_q(model, c, h, word_ids, places):
    return model.word_log_probs_after((c, h), word_ids[None], places)  # [M, P]


# Of gradients each word has a copy of what is differentiated, which is asked for that word alone.


@tf.function(autograph=False, reduce_retracing=True)
def _mask_gradients(model, grey, added, reading, masks, word_ids, places):
    """The gradient of log q of the words at `places` by the mask, at every one of `masks` [M, C] -> [M, P, C]."""
    copies = tf.repeat(masks, tf.size(places), axis=0)  # [M * P, C]
    own = tf.tile(places, [tf.shape(masks)[0]])[:, None]  # [M * P, 1]
    with tf.GradientTape() as tape:
        tape.watch(copies)
        state = model.encode_products(_mixed(grey, added, reading, copies))
        total = tf.reduce_sum(model.word_log_probs_after(state, word_ids[None], own))
    return tf.reshape(tape.gradient(total, copies), [-1, tf.size(places), tf.shape(masks)[1]])


@tf.function(autograph=False, reduce_retracing=True)
def _cell_gradients(model, cells, reading, word_ids, places):
    """The gradient of log q of the words at `places` by the cells -> [P, C, D]."""
    copies = tf.repeat(cells[None], tf.size(places), axis=0)  # [P, C, D]
    with tf.GradientTape() as tape:
        tape.watch(copies)
        state = model.encode(tf.einsum("nc,pcd->pnd", reading, copies))
        total = tf.reduce_sum(model.word_log_probs_after(state, word_ids[None], places[:, None]))
    return tape.gradient(total, copies)


@tf.function(autograph=False, reduce_retracing=True)
def _naming_gradients(model, cell, word_ids):
    """The gradient of each word's score as a name of the cell [1, D] -> [T, D]."""
    copies = tf.repeat(cell, tf.size(word_ids), axis=0)  # [T, D]
    with tf.GradientTape() as tape:
        tape.watch(copies)
        total = tf.reduce_sum(model.word_name_scores(copies, word_ids))
    return tape.gradient(total, copies)
