"""Which cells of a picture made the captioner say a word: the paper's way, and others to compare it with.

    maps = METHODS["leave_one_out"](scene, word_ids)    # [T, Gy, Gx]

All explain the same number, log q(w_t | w_<t) of each word of a given sentence, for one picture (or one frame of a
video). The paper's and its relatives (`single_...`, `best`) show the captioner one cell and nothing else. The others
show it the picture as a whole, from which cells are taken away: there it sees what the CNN says of a grey picture. So
they depend on a mask m [C] of the cells, 1 where a cell shows the picture and 0 where it shows grey:

    (10)  v_c(m) = blank_c + m_c (cell_c - blank_c)

The more a map says, the more a cell speaks for the word.
"""

import dataclasses
import functools

import numpy as np
import scipy.ndimage
import tensorflow as tf

import data_loader
import saliency
from system.errors import UserError

PATH_STEPS = 32  # of integrated gradients
N_MASKS = 512  # random ones
KEPT = 0.5  # share of the cells that a random mask keeps
SEED = 0  # of the random masks: the same for every picture
MASKS_AT_ONCE = 256
SURROUNDINGS = 1 / 16  # of the picture's sides: half a cell of an 8 x 8 grid


@dataclasses.dataclass(frozen=True)
class Scene:
    """A picture as the captioner `model` sees it: its cells and those of a grey picture, float32 [Gy, Gx, D].

    Axes: C = Gy * Gx cells, N descriptors that the captioner reads, M masks, T words. levels: of the captioner's
    pyramid (data_loader.as_sequence). names: whether it has learnt to name what it sees (captioner/naming.py).
    """

    model: object
    grid: np.ndarray
    blank: np.ndarray
    levels: tuple = ()
    names: bool = False

    @functools.cached_property
    def reading(self):
        """How the sequence that the captioner reads comes from the cells: [N, C], sequence = reading @ cells."""
        n_cells = self.grid.shape[0] * self.grid.shape[1]
        one_hot = np.eye(n_cells, dtype=np.float32).reshape(*self.grid.shape[:2], n_cells)
        return tf.constant(data_loader.as_sequence(one_hot, self.levels))

    @property
    def cells(self):
        """[C, D], row after row."""
        return tf.constant(self.grid.reshape(-1, self.grid.shape[-1]), tf.float32)

    @property
    def blank_cells(self):
        """[C, D]."""
        return tf.constant(self.blank.reshape(-1, self.grid.shape[-1]), tf.float32)

    @property
    def grey(self):
        """The mean of the grey cells [1, D]."""
        return tf.reduce_mean(self.blank_cells, axis=0, keepdims=True)

    def linear_map(self, slopes):
        """Slopes at the mean grey cell [T, D], times each cell less that -> [T, Gy, Gx]."""
        return self.as_map(slopes @ tf.transpose(self.cells - self.grey))

    def as_map(self, values):
        """[T, C] -> [T, Gy, Gx]."""
        return np.asarray(values, np.float32).reshape(-1, *self.grid.shape[:2])

    def log_q(self, masks, word_ids):
        """log q(w_t | w_<t) of each word under each mask: [M, C], [T] -> float32 [M, T] (equation 10)."""
        word_ids = tf.constant(np.asarray(word_ids), tf.int32)
        parts = [
            _masked_log_probs(self.model, self.cells, self.blank_cells, self.reading, part, word_ids).numpy()
            for part in np.split(np.asarray(masks, np.float32), range(MASKS_AT_ONCE, len(masks), MASKS_AT_ONCE))
        ]
        return np.concatenate(parts)


@tf.function(reduce_retracing=True)
def _masked_log_probs(model, cells, blank, reading, masks, word_ids):
    sequences = reading @ blank + tf.einsum("nc,mc,cd->mnd", reading, masks, cells - blank)  # [M, N, D]
    return model.word_log_probs(sequences, word_ids[None])  # [M, T]


@tf.function(reduce_retracing=True)
def _mask_gradients(model, cells, blank, reading, masks, word_ids):
    """The gradient of each word's log q by the mask, at every one of `masks` [M, C] -> [M, T, C]."""
    n_words = tf.size(word_ids)
    copies = tf.repeat(masks, n_words, axis=0)  # [M * T, C]: each copy is asked for one word
    with tf.GradientTape() as tape:
        tape.watch(copies)
        log_q = tf.reshape(_masked_log_probs(model, cells, blank, reading, copies, word_ids), [-1, n_words, n_words])
        total = tf.reduce_sum(tf.linalg.diag_part(log_q))
    return tf.reshape(tape.gradient(total, copies), [-1, n_words, tf.shape(masks)[1]])


@tf.function(reduce_retracing=True)
def _cell_gradients(model, cells, reading, word_ids):
    """The gradient of each word's log q by the cells -> [T, C, D]."""
    n_words = tf.size(word_ids)
    copies = tf.repeat(cells[None], n_words, axis=0)  # [T, C, D]
    with tf.GradientTape() as tape:
        tape.watch(copies)
        log_q = model.word_log_probs(tf.einsum("nc,tcd->tnd", reading, copies), word_ids[None])  # [T, T]
        total = tf.reduce_sum(tf.linalg.diag_part(log_q))
    return tape.gradient(total, copies)


@tf.function(reduce_retracing=True)
def _naming_gradients(model, cell, word_ids):
    """The gradient of each word's score as a name of the cell [1, D] -> [T, D]."""
    copies = tf.repeat(cell, tf.size(word_ids), axis=0)  # [T, D]
    with tf.GradientTape() as tape:
        tape.watch(copies)
        total = tf.reduce_sum(model.word_name_scores(copies, word_ids))
    return tape.gradient(total, copies)


# The methods: (scene, word_ids [T]) -> [T, Gy, Gx]


def single_descriptor(scene, word_ids):
    """The paper's: log q when the captioner sees nothing but the cell (docs/method.md, equation 6)."""
    return saliency.raw_maps(scene.model, scene.grid[None], word_ids)[0]


def single_minus_blank(scene, word_ids):
    """`single_descriptor`, minus log q when it sees nothing but the grey cell: without what any cell would give."""
    return single_descriptor(scene, word_ids) - saliency.raw_maps(scene.model, scene.blank[None], word_ids)[0]


def single_linear(scene, word_ids):
    """`single_descriptor` to the first order: its gradient at the mean grey cell, times the cell less that."""
    word_ids = tf.constant(np.asarray(word_ids), tf.int32)
    return scene.linear_map(_cell_gradients(scene.model, scene.grey, tf.ones([1, 1]), word_ids)[:, 0])


def naming_linear(scene, word_ids):
    """The same of the words' scores as names of the cell (captioner/naming.py), whatever the sentence."""
    return scene.linear_map(_naming_gradients(scene.model, scene.grey, tf.constant(np.asarray(word_ids), tf.int32)))


def best(scene, word_ids):
    """`single_linear` of descriptors from several sizes of the picture (`MULTI_SCALE`), with what stands around a cell.

    (12) a Gaussian of the map with a sigma of SURROUNDINGS. Beyond the edge of the picture there is 0, as there is for
    the mean grey cell. A captioner that has learnt to name what it sees is asked for the words in that way as well
    (14).
    """
    maps = single_linear(scene, word_ids)
    if scene.names:
        maps = maps + naming_linear(scene, word_ids)
    sigma = [SURROUNDINGS * side for side in maps.shape[1:]]
    return scipy.ndimage.gaussian_filter(maps, sigma, mode="constant", axes=(1, 2))


def leave_one_out(scene, word_ids):
    """How much log q falls when the cell is taken away from the picture (Zeiler and Fergus, ECCV 2014)."""
    n_cells = len(scene.cells)
    log_q = scene.log_q(np.concatenate([np.ones((1, n_cells)), 1 - np.eye(n_cells)]), word_ids)  # [1 + C, T]
    return scene.as_map((log_q[0] - log_q[1:]).T)


def gradient_x_input(scene, word_ids):
    """The gradient of log q by the cell times what the cell has beyond grey (Shrikumar et al., 2016)."""
    return _mean_gradients(scene, np.ones(1), word_ids)


def integrated_gradients(scene, word_ids):
    """The same, averaged on the way from the grey picture to the picture (Sundararajan et al., ICML 2017).

    The cells of a map sum to log q of the picture minus log q of the grey one.
    """
    return _mean_gradients(scene, (np.arange(PATH_STEPS) + 0.5) / PATH_STEPS, word_ids)


def _mean_gradients(scene, shares, word_ids):
    """The mean gradient by the mask where all of it is each of `shares` -> [T, Gy, Gx]."""
    masks = np.repeat(np.asarray(shares, np.float32)[:, None], len(scene.cells), axis=1)  # [M, C]
    word_ids = tf.constant(np.asarray(word_ids), tf.int32)
    at_once = max(1, MASKS_AT_ONCE // len(word_ids))
    gradients = [
        _mask_gradients(scene.model, scene.cells, scene.blank_cells, scene.reading, part, word_ids).numpy()
        for part in np.split(masks, range(at_once, len(masks), at_once))
    ]  # of [m, T, C]
    return scene.as_map(np.concatenate(gradients).mean(axis=0))


def grad_cam(scene, word_ids):
    """The cell's channels, weighted by their mean gradients over the cells; nothing below 0 (Selvaraju, ICCV 2017)."""
    word_ids = tf.constant(np.asarray(word_ids), tf.int32)
    weights = tf.reduce_mean(_cell_gradients(scene.model, scene.cells, scene.reading, word_ids), axis=1)  # [T, D]
    return scene.as_map(tf.nn.relu(weights @ tf.transpose(scene.cells)))


def rise(scene, word_ids):
    """How much higher log q is under the random masks that keep the cell than under all (Petsiuk et al., BMVC 2018)."""
    masks = np.random.default_rng(SEED).random((N_MASKS, len(scene.cells))) < KEPT
    log_q = scene.log_q(masks, word_ids)  # [M, T]
    above = (log_q - log_q.mean(axis=0)).T @ masks  # [T, C]
    return scene.as_map(above / masks.sum(axis=0))


PAPERS = single_descriptor.__name__


def check(name, others=()):
    """UserError for a name that is neither a method nor one of the `others` that are taken."""
    if name not in METHODS and name not in others:
        raise UserError(f"there is no method '{name}'; choose from {', '.join([*METHODS, *others])}")


METHODS = {
    method.__name__: method
    for method in (
        single_descriptor,
        single_minus_blank,
        single_linear,
        leave_one_out,
        gradient_x_input,
        integrated_gradients,
        grad_cam,
        rise,
        best,
    )
}
MULTI_SCALE = (best.__name__,)  # those for which the CNN looks at the picture in several sizes (cnn.MultiScale)
