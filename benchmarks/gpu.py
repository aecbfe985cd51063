"""Stage 1's CNN on a GPU: frames a second of Keras' Inception-v3, from uint8 frames in memory to descriptors in memory.

    python benchmarks/gpu.py      (it needs Keras, NumPy and JAX, and nothing of the project)

By JAX, one compiled function as the project has one with TensorFlow; weights are random, which changes no time. In
float32, with convolutions in TF32 (which JAX and TensorFlow take on NVIDIA's cards unless told otherwise), and in
bfloat16 (`cnn_precision`), for batches of a clip's 26 frames and of four clips'.
"""

import argparse
import os
import time

import numpy as np

SIZE, ROUNDS = 299, 3
BATCHES, FRAMES = (26, 104), 2080  # frames a round
WAYS = {"float32": ("float32", "highest"), "TF32": ("float32", None), "bfloat16": ("mixed_bfloat16", None)}


def descriptors_in(policy, precision):
    """A function of uint8 frames [n, SIZE, SIZE, 3] -> float16 [n, Gy, Gx, D]."""
    import jax
    import keras

    keras.config.set_dtype_policy(policy)
    jax.config.update("jax_default_matmul_precision", precision)
    cnn = keras.applications.InceptionV3(include_top=False, weights=None, input_shape=(SIZE, SIZE, 3))

    @jax.jit
    def forward(weights, others, frames):
        return cnn.stateless_call(weights, others, frames / 127.5 - 1, training=False)[0].astype("float16")

    weights, others = ([one.value for one in some] for some in (cnn.trainable_variables, cnn.non_trainable_variables))
    return lambda frames: np.asarray(forward(weights, others, frames))


def seconds(descriptors, frames):
    """Of FRAMES frames in batches: the median of ROUNDS."""
    found = []
    for _ in range(1 + ROUNDS):  # the first one compiles
        start = time.perf_counter()
        for _ in range(FRAMES // len(frames)):
            descriptors(frames)
        found.append(time.perf_counter() - start)
    return np.median(found[1:])


def main():
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    os.environ["KERAS_BACKEND"] = "jax"
    try:
        import jax
    except ModuleNotFoundError:
        raise SystemExit("JAX is not installed: pip install 'jax[cuda13]'") from None
    if jax.default_backend() != "gpu":
        raise SystemExit("JAX finds no GPU here")
    rng = np.random.default_rng(0)
    print(f"{jax.devices()[0].device_kind}, JAX {jax.__version__}\n")
    print("| | frames a batch | frames a second |\n|---|---|---|", flush=True)
    for name, way in WAYS.items():
        descriptors = descriptors_in(*way)
        for n in BATCHES:
            frames = rng.integers(0, 256, (n, SIZE, SIZE, 3), np.uint8)
            print(f"| {name} | {n} | {FRAMES / seconds(descriptors, frames):,.0f} |", flush=True)


if __name__ == "__main__":
    main()
