"""The CNNs: from frames to grids of descriptors.

    extract = cnn.load("efficientnet_lite0")
    grids = extract(frames)  # uint8 [n, 256, 256, 3] -> float32 [n, 8, 8, 1280]

A CNN is one entry of `CNNS`. Its last grid has a cell every `stride` pixels, so a larger input gives a finer grid.
"""

import contextlib
import copy
import functools
import hashlib
import itertools
import socket
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from system.errors import UserError
from vision import efficientnet_lite, geometry

CHUNK = 16  # frames at a time; larger chunks are hardly quicker
PIXELS_AT_ONCE = CHUNK * 256**2  # fewer frames, but two, if they are larger than that, which bounds the memory
DOWNLOAD_TIMEOUT = 20  # seconds without an answer

INCEPTION_FILE = "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5"
INCEPTION_URL = f"https://storage.googleapis.com/tensorflow/keras-applications/inception_v3/{INCEPTION_FILE}"
H5_BYTES, H5_OBJECTS = 512 << 20, 10_000  # of a file of weights, at most
INCEPTION_MD5 = "bcbd6486424b2319ff4ef7d526e38f63"


@dataclass(frozen=True)
class CNN:
    """A CNN up to its last grid, which has (input_size - margin) / stride cells a side."""

    input_size: int  # pixels a side that it was made for; others are allowed
    stride: int
    margin: int  # pixels that convolutions without padding lose
    dim: int
    preprocess: Callable  # RGB in 0..255, float -> what the network was trained on
    build: Callable  # weights file (None: its own source), precision -> a function of images of any size: their grids


def check_h5(path):
    """UserError unless an HDF5 file is sound, holds its arrays itself, and no more of them than a network has.

    The format can refer to other files, which would be read, and promise arrays that it does not hold.
    """
    try:
        n_bytes, n_objects = _measured_h5(path)
    except UserError:
        raise
    except Exception as error:  # the library raises nearly anything for a damaged file
        raise UserError(f"{path}: not a sound HDF5 file ({error})") from error
    if n_bytes > H5_BYTES or n_objects > H5_OBJECTS:
        raise UserError(f"{path}: promises more than {H5_BYTES >> 20} MB or {H5_OBJECTS} arrays")


def _measured_h5(path):
    """The bytes of all arrays of an HDF5 file, and its number of objects, as far as they are counted: to the limits."""
    import h5py

    with h5py.File(path, "r") as file:
        groups, n_objects, n_bytes = [file], 0, 0
        while groups and n_bytes <= H5_BYTES and n_objects <= H5_OBJECTS:
            group = groups.pop()
            for name in itertools.islice(group, H5_OBJECTS + 1):
                if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                    raise UserError(f"{path}: refers to something outside, which no weights do")
                one = group[name]
                if isinstance(one, h5py.Group):
                    groups.append(one)
                elif one.external or one.is_virtual:
                    raise UserError(f"{path}: refers to other files, which no weights do")
                else:
                    n_bytes += one.size * one.dtype.itemsize
                n_objects += 1
        return n_bytes, n_objects


@contextlib.contextmanager
def _computing_in(precision):
    """Context manager: Keras models that are built in it compute in that precision, with weights in float32."""
    import keras

    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32" if precision == "float32" else f"mixed_{precision}")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(previous)


def _inception_v3(weights, precision):
    """Keras' InceptionV3; the file may hold the classifier as well."""
    import keras

    path = weights or _download_inception()
    check_h5(path)
    with _computing_in(precision):
        to_grid = keras.applications.InceptionV3(include_top=False, weights=None, input_shape=(None, None, 3))
    for include_top in (False, True):
        model = keras.applications.InceptionV3(weights=None) if include_top else to_grid
        with warnings.catch_warnings(), contextlib.suppress(Exception):  # a damaged file raises nearly anything
            warnings.simplefilter("ignore")  # of a file that does not fit, Keras also warns hundreds of times
            model.load_weights(path)
            weights = model.get_weights()[: len(to_grid.weights)]  # the classifier's come last
            if all(np.isfinite(array).all() for array in weights):
                to_grid.set_weights(weights)
                return to_grid
    raise UserError(
        f"{path}: not weights of Keras' InceptionV3 (.h5 or .weights.h5); "
        f"set cnn_weights to a file like {INCEPTION_FILE}"
    )


def _efficientnet_lite(name, weights, precision):
    return efficientnet_lite.build(name, weights=weights, precision=precision)


def _download_inception():
    """The file in Keras' cache, fetched if need be."""
    import keras

    patience = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)
    try:
        return keras.utils.get_file(INCEPTION_FILE, INCEPTION_URL, file_hash=INCEPTION_MD5, cache_subdir="models")
    except Exception as error:  # the class that Keras raises
        raise UserError(
            f"no weights for inception_v3: the download failed ({str(error).split(' -- ')[-1]}). Either fetch "
            f"{INCEPTION_URL} elsewhere and name the file with --set cnn_weights=FILE, or take the CNN whose weights "
            "are installed with --set cnn=efficientnet_lite0"
        ) from error
    finally:
        socket.setdefaulttimeout(patience)


CNNS = {
    "inception_v3": CNN(  # 299 -> 8 x 8, the paper's
        input_size=299,
        stride=32,
        margin=43,
        dim=2048,
        preprocess=lambda frames: frames / 127.5 - 1,
        build=_inception_v3,
    ),
    **{  # 256 -> 8 x 8, weights from an installed package
        name: CNN(
            input_size=256,
            stride=32,
            margin=0,
            dim=efficientnet_lite.DIM,
            preprocess=efficientnet_lite.preprocess,
            build=functools.partial(_efficientnet_lite, name),
        )
        for name in efficientnet_lite.VARIANTS
    },
}


def _entry(name):
    if name not in CNNS:
        raise UserError(f"cnn: no CNN {name!r}; there are {', '.join(CNNS)}")
    return CNNS[name]


def dim_image(name):
    """Numbers in a descriptor of that CNN. UserError for an unknown name."""
    return _entry(name).dim


def grid_shape(name, input_size=None):
    """Cells (Gy, Gx) for a square input, by default of the CNN's own size, without loading the CNN.

    UserError for an unknown name or a size that does not divide into whole cells.
    """
    cnn = _entry(name)
    size = cnn.input_size if input_size is None else input_size
    cells, rest = divmod(size - cnn.margin, cnn.stride)
    if cells < 1 or rest:
        cells = max(cells, 1)
        raise UserError(
            f"an input of {size} pixels (cnn_input_size, saliency_input_size) is no whole number of cells of {name}; "
            f"take {input_of(name, cells)} or {input_of(name, cells + 1)} (its own is {cnn.input_size})"
        )
    return cells, cells


def input_of(name, cells):
    """The input, in pixels a side, that gives a grid of so many cells a side."""
    cnn = _entry(name)
    return cells * cnn.stride + cnn.margin


class Extractor:
    """A loaded CNN: `extractor(frames)` gives their grids. Made by `load`; `at` gives the same for another size."""

    def __init__(self, name, model, input_size):
        import tensorflow as tf

        self.name = name
        self.input_size, self.grid = input_size, grid_shape(name, input_size)
        self.dim = dim_image(name)
        self.weights_id = _weights_id(model)
        preprocess = CNNS[name].preprocess

        @tf.function(autograph=False, input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8)])
        def forward(frames):  # one trace for frames of any number and size
            grids = model(preprocess(tf.cast(frames, tf.float32)))  # [n, Gy, Gx, D]
            return tf.cast(grids, tf.float32)

        self._forward = forward

    @property
    def frames_at_once(self):
        """How many frames go through the network together."""
        return max(min(CHUNK, PIXELS_AT_ONCE // self.input_size**2), 2)  # one alone has other last bits

    def at(self, input_size):
        """The same CNN for frames of `input_size` pixels a side -> Extractor; UserError where that is no whole grid."""
        other = copy.copy(self)
        other.input_size, other.grid = input_size, grid_shape(self.name, input_size)
        return other

    def __call__(self, frames):
        """Descriptors of RGB frames: uint8 [n, input_size, input_size, 3] -> float32 [n, Gy, Gx, D].

        ValueError for frames of another size or type; see `geometry.fit`.
        """
        size = self.input_size
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[1:] != (size, size, 3):
            raise ValueError(f"frames must be uint8 [n, {size}, {size}, 3], not {frames.dtype} {list(frames.shape)}")
        grids = np.empty((len(frames), *self.grid, self.dim), np.float32)  # [n, Gy, Gx, D]
        for start in range(0, len(frames), self.frames_at_once):
            some = slice(start, start + self.frames_at_once)
            grids[some] = self._forward(frames[some])
        return grids


class MultiScale:
    """A CNN that looks at frames in several sizes, and at their mirror images: the mean of the grids.

    A larger size shows more of small things, a smaller one more of what stands around them; grids are enlarged to the
    finest. Called as an Extractor is, with frames of the largest size.
    """

    def __init__(self, extractors):
        self.extractors = extractors
        finest = max(extractors, key=lambda extractor: extractor.input_size)
        self.name, self.dim, self.weights_id = finest.name, finest.dim, finest.weights_id
        self.input_size, self.grid = finest.input_size, finest.grid

    def at(self, input_size):
        """The CNN for frames of that size alone -> Extractor."""
        return self.extractors[0].at(input_size)

    def __call__(self, frames):
        """Descriptors of RGB frames: uint8 [n, input_size, input_size, 3] -> float32 [n, Gy, Gx, D]."""
        total = 0
        for extractor in self.extractors:
            small = np.stack([geometry.fit_whole(frame, extractor.input_size) for frame in frames])
            mirrored = extractor(np.ascontiguousarray(small[:, :, ::-1]))[:, :, ::-1]  # and back: [n, gy, gx, D]
            channels = np.moveaxis((extractor(small) + mirrored) / 2, -1, 1)  # [n, D, gy, gx]
            total += geometry.enlarge(channels, *self.grid)  # [n, D, Gy, Gx]
        return np.ascontiguousarray(np.moveaxis(total / len(self.extractors), 1, -1))


def load(name, weights=None, input_size=None, precision="float32"):
    """A CNN with its weights, ready for frames of `input_size` pixels a side (its own size by default).

    It computes in `precision`, "float32" or "bfloat16"; its descriptors are float32 in any case. `weights` is a file;
    without one they come from the CNN's own source (a download for `inception_v3`, an installed package for
    `efficientnet_lite0`). It has `name`, `input_size`, `grid` (Gy, Gx), `dim` and `weights_id`, a hash of the
    weights that stays the same whichever file they come from. UserError where there are no weights, the file does not
    fit the CNN, or the size gives no whole grid.
    """
    grid_shape(name, input_size)
    if weights and not Path(weights).is_file():
        raise UserError(f"cnn_weights: no file {weights}")
    size = input_size or CNNS[name].input_size
    return Extractor(name, CNNS[name].build(weights, precision), size)


def _weights_id(model):
    digest = hashlib.sha256()
    for array in model.get_weights():
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()[:12]
