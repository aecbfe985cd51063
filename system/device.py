"""Starting TensorFlow: on the device that was asked for, and without its greetings on stderr."""

import contextlib
import gc
import os
import sys
import tempfile

from system.errors import UserError


def add_arguments(parser):
    """The flag that every script has which runs a network."""
    parser.add_argument(
        "--gpu",
        metavar="ID",
        help="the GPU to use: sets CUDA_VISIBLE_DEVICES (-1: none); without it that variable stays as it is",
    )


@contextlib.contextmanager
def _quiet_stderr():
    """Hold back what native code writes to stderr; show it after all if the block fails."""
    sys.stderr.flush()
    original = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(original, 2)
            held.seek(0)
            os.write(2, held.read())
            raise
        finally:
            os.dup2(original, 2)
            os.close(original)


@contextlib.contextmanager
def _nothing_collected():
    """Context manager: garbage is not looked for in it, nor ever among what is made in it.

    That takes a fifth of the time of an import of half a million objects that stay.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()


def _import_matplotlib():
    """Import matplotlib, as Keras will, though MPLBACKEND may name a backend that is not installed here.

    That of a notebook is inherited by what is started from it, in whatever environment; then it is forgotten.
    """
    backend = os.environ.pop("MPLBACKEND", None)
    import matplotlib

    if backend:
        with contextlib.suppress(ValueError):
            matplotlib.rcParams["backend"] = backend
            os.environ["MPLBACKEND"] = backend


def set_environment():
    """What TensorFlow is told by the environment; numbers are the same to the last bit only under the same settings."""
    if "matplotlib" not in sys.modules:
        _import_matplotlib()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ["TF_USE_LEGACY_KERAS"] = "0"  # not what others ask for, as Ray's workers do
    # TensorFlow picks oneDNN by itself only on processors with AVX-512; elsewhere its products are 2.5 times as quick.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


def numeric_settings():
    """What of the environment the numbers depend on -> dict, for processes elsewhere that are to compute the same.

    The number of threads is among it: some sums are dealt out by it.
    """
    names = "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "TF_ENABLE_ONEDNN_OPTS"
    found = {name: os.environ[name] for name in names if name in os.environ}
    n_cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"TF_NUM_INTRAOP_THREADS": str(n_cpus), **found}  # so many, where nobody says, TensorFlow has by itself


def start_tensorflow(gpu=None, set_up=True):
    """Import TensorFlow, on GPU `gpu` if one is named; call it before any module that imports TensorFlow.

    Where TensorFlow runs already it keeps its devices. Without `set_up` they are left to who comes next, as a cluster
    needs them (captioner/distribution.py). UserError where a GPU is named and TensorFlow finds none.
    """
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu = str(gpu)
    set_environment()
    with _nothing_collected(), _quiet_stderr():  # TensorFlow logs a dozen lines before it reads its own log level
        import tensorflow as tf

        gpus = tf.config.list_physical_devices("GPU")
        tf.get_logger().setLevel("ERROR")  # a captioner after the other in one process is no mistake to warn of
        # Not what the user's ~/.keras/keras.json says.
        tf.keras.config.set_floatx("float32")
        tf.keras.config.set_epsilon(1e-7)
        tf.keras.config.set_image_data_format("channels_last")
        tf.keras.config.set_dtype_policy("float32")
        with contextlib.suppress(RuntimeError):  # TensorFlow runs already, in a notebook
            for gpu_device in gpus:
                tf.config.experimental.set_memory_growth(gpu_device, True)
        if set_up:
            tf.zeros(1)  # the devices are set up, and reported, here
    if gpu not in (None, "-1") and not gpus:
        raise UserError(
            f"--gpu {gpu}: TensorFlow finds no such GPU; leave the flag out to run on the CPU, or, if the GPU is "
            "there, give TensorFlow its libraries: pip install 'tensorflow[and-cuda]'"
        )
