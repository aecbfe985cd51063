"""Which cells of a picture made the captioner say a word: the paper's way, and others to compare it with.

    maps = METHODS["leave_one_out"](scene, word_ids)    # [T, Gy, Gx]

All explain the same number, log q(w_t | w_<t) of each word of a given sentence, for one picture (or one frame of a
video). The paper's and its relatives (`single_...`, `best`) show the captioner one cell and nothing else. The others
show it the picture as a whole, from which cells are taken away: there it sees what the CNN says of a grey picture. So
they depend on a mask m [C] of the cells, 1 where a cell shows the picture and 0 where it shows grey:

    (10)  v_c(m) = blank_c + m_c (cell_c - blank_c)

The more a map says, the more a cell speaks for the word.
"""

import abc

import numpy as np
import scipy.ndimage
import tensorflow as tf

from system.errors import UserError

PATH_STEPS = 32  # of integrated gradients
N_MASKS = 512  # random ones
KEPT = 0.5  # share of the cells that a random mask keeps
SEED = 0  # of the random masks: the same for every picture
MASKS_AT_ONCE = 256
SURROUNDINGS = 1 / 16  # of the picture's sides: half a cell of an 8 x 8 grid


class Scene(abc.ABC):
    """A picture before a captioner, which says how it takes words under changes of its cells (captioner.py).

    Axes: C = Gy * Gx cells in the order of rows, D, M masks, T words (ids as the captioner numbers them). cells,
    blank_cells: those of the picture and of a grey one, float32 [C, D]; shape: (Gy, Gx); names: whether the captioner
    has learnt to name what it sees (captioner/naming.py).
    """

    cells = blank_cells = shape = None
    names = False

    @abc.abstractmethod
    def log_q_alone(self, cells, word_ids):
        """log q(w_t | w_<t) when the captioner sees one cell and nothing else: [R, D], [T] -> [R, T]."""

    @abc.abstractmethod
    def log_q(self, masks, word_ids):
        """log q(w_t | w_<t) of each word under each mask: [M, C], [T] -> float32 [M, T] (equation 10)."""

    def mask_gradients(self, masks, word_ids):
        """The gradient of each word's log q by the mask, at every one of `masks` [M, C] -> [M, T, C]."""
        raise self.lacks_gradients()

    def cell_gradients(self, word_ids):
        """The gradient of each word's log q by the cells of the picture -> [T, C, D]."""
        raise self.lacks_gradients()

    def gradients_alone(self, cell, word_ids):
        """The gradient of each word's log q by the cell [D] that the captioner sees alone -> [T, D]."""
        raise self.lacks_gradients()

    def name_gradients(self, cell, word_ids):
        """The gradient of each word's score as a name of the cell [D] -> [T, D]; of a captioner that `names`."""
        raise self.lacks_gradients()

    def asking(self, places):
        """The same scene, asked for the words at `places` [P] alone, in that order: P instead of T -> Scene."""
        return _Asking(self, list(places))

    @staticmethod
    def lacks_gradients():
        return UserError("this captioner has no gradients: take single_descriptor, leave_one_out or rise")

    @property
    def grey(self):
        """The mean of the grey cells [D]."""
        return tf.reduce_mean(self.blank_cells, axis=0).numpy()

    def linear_map(self, slopes):
        """Slopes at the mean grey cell [T, D], times each cell less that -> [T, Gy, Gx]."""
        return self.as_map(_products(slopes, self.cells - self.grey))

    def as_map(self, values):
        """[T, C] -> [T, Gy, Gx]."""
        return np.asarray(values, np.float32).reshape(-1, *self.shape)


class _Asking(Scene):
    """A scene of which some words alone are asked for."""

    def __init__(self, scene, places):
        self.scene, self.places = scene, places
        self.cells, self.blank_cells, self.shape, self.names = scene.cells, scene.blank_cells, scene.shape, scene.names

    def log_q_alone(self, cells, word_ids):
        return self.scene.log_q_alone(cells, word_ids)[:, self.places]

    def log_q(self, masks, word_ids):
        return self.scene.log_q(masks, word_ids)[:, self.places]

    def mask_gradients(self, masks, word_ids):
        return self.scene.mask_gradients(masks, word_ids)[:, self.places]

    def cell_gradients(self, word_ids):
        return self.scene.cell_gradients(word_ids)[self.places]

    def gradients_alone(self, cell, word_ids):
        return self.scene.gradients_alone(cell, word_ids)[self.places]

    def name_gradients(self, cell, word_ids):
        return self.scene.name_gradients(cell, word_ids)[self.places]


def _products(slopes, cells):
    """The products of slopes [T, D] with cells [C, D] -> [T, C]."""
    return (tf.constant(slopes, tf.float32) @ tf.transpose(cells)).numpy()


# The methods: (scene, word_ids [T]) -> [T, Gy, Gx]


def single_descriptor(scene, word_ids):
    """The paper's: log q when the captioner sees nothing but the cell (docs/method.md, equation 6)."""
    return scene.as_map(scene.log_q_alone(scene.cells, word_ids).T)


def single_minus_blank(scene, word_ids):
    """`single_descriptor`, minus log q when it sees nothing but the grey cell: without what any cell would give."""
    return single_descriptor(scene, word_ids) - scene.as_map(scene.log_q_alone(scene.blank_cells, word_ids).T)


def single_linear(scene, word_ids):
    """`single_descriptor` to the first order: its gradient at the mean grey cell, times the cell less that."""
    return scene.linear_map(scene.gradients_alone(scene.grey, word_ids))


def naming_linear(scene, word_ids):
    """The same of the words' scores as names of the cell (captioner/naming.py), whatever the sentence."""
    return scene.linear_map(scene.name_gradients(scene.grey, word_ids))


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
    return scene.as_map(scene.mask_gradients(masks, word_ids).mean(axis=0))


def grad_cam(scene, word_ids):
    """The cell's channels, weighted by their mean gradients over the cells; nothing below 0 (Selvaraju, ICCV 2017)."""
    weights = tf.reduce_mean(scene.cell_gradients(word_ids), axis=1)  # [T, D]
    return scene.as_map(np.maximum(_products(weights, scene.cells), 0))


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
