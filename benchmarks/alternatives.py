"""What else the captioner could be computed with, beside what it is computed with.

    python benchmarks/alternatives.py            (two minutes on two cores)

At the paper's size, with random weights, the contenders in turns. The encoder: as it is (tf.while_loop), with its steps
unrolled, with XLA, and by TensorFlow's fused BlockLSTM. The training step: with bfloat16 for the vocabulary's product
alone, and with the encoding shared by several captions of a medium.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the project's own modules

import bench

from system import device, errors


def show(title, contenders, rounds=5):
    """Run the contenders in turns and print their times."""
    print(f"\n| {title} | seconds |\n|---|---|")
    for name, seconds in bench.take_turns(contenders, rounds).items():
        print(f"| {name} | {seconds:.3f} |", flush=True)


def encoders(model):
    """Functions of descriptors [B, N, D] -> h [B, H], all the same but for rounding."""
    import tensorflow as tf

    def inputs(descriptors):
        factors = model._factors()
        x = tf.tensordot(descriptors, factors.embedding, 1) + model.embed_features_b  # [B, N, H]
        return factors, x

    def loop(descriptors):
        return model._encode(model._factors(), descriptors)[1]

    def unrolled(descriptors):
        factors, x = inputs(descriptors)
        products = tf.tensordot(x, factors.input_rows, 1) + model.lstm_bias  # [B, N, 4H]
        c, h = model._cell(products[:, 0], tf.zeros([bench.B, bench.H]))
        for n in range(1, bench.N):
            c, h = model._cell(products[:, n] + h @ factors.recurrent_rows, c)
        return h

    def fused(descriptors):
        factors, x = inputs(descriptors)
        state, peephole = tf.zeros([bench.B, bench.H]), tf.zeros([bench.H])
        block = tf.raw_ops.BlockLSTM(
            seq_len_max=tf.constant(bench.N, tf.int64),
            x=tf.transpose(x, [1, 0, 2]),
            cs_prev=state,
            h_prev=state,
            w=tf.concat([factors.input_rows, factors.recurrent_rows], axis=0),
            wci=peephole,
            wcf=peephole,
            wco=peephole,
            b=model.lstm_bias,
            forget_bias=model.forget_bias,
            cell_clip=-1.0,  # none
        )
        return block.h[-1]

    return loop, unrolled, fused


def with_gradient(model, encode):
    """The encoder with the gradient of its kernel."""
    import tensorflow as tf

    def run(descriptors):
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(encode(descriptors) ** 2)
        return tape.gradient(total, model.lstm_kernel.value)

    return run


def compare_encoders(descriptors):
    import tensorflow as tf

    model = bench.random_model()
    loop, unrolled, fused = encoders(model)
    for other in (unrolled, fused):
        np.testing.assert_allclose(other(descriptors), loop(descriptors), atol=1e-4)

    def timed(function, **options):
        traced = tf.function(function, **options)
        return lambda: traced(descriptors).numpy()

    show(
        "encoder",
        {
            "as it is": timed(loop),
            "unrolled": timed(unrolled),
            "unrolled, XLA": timed(unrolled, jit_compile=True),
            "BlockLSTM": timed(fused),
        },
    )
    show(
        "encoder with gradient",
        {
            "as it is": timed(with_gradient(model, loop)),
            "unrolled": timed(with_gradient(model, unrolled)),
            "unrolled, XLA": timed(with_gradient(model, unrolled), jit_compile=True),
        },
    )


def compare_training_steps(descriptors):
    import tensorflow as tf

    import s2vt_model

    class VocabularyInBfloat16(s2vt_model.S2VT):
        def _logits(self, factors, h):
            return super()._logits(factors._replace(output=tf.cast(factors.output, tf.bfloat16)), h)

    ids, mask = bench.random_captions(np.random.default_rng(0))
    longest = int(mask.sum(axis=1).max())
    words = [tf.constant(array[:, :longest]) for array in (ids, mask)]

    def timed(precision, per_medium=1, kind=s2vt_model.S2VT):
        step = bench.training_step(bench.random_model(precision, kind))
        return lambda: step(descriptors[: bench.B // per_medium], *words)

    show(
        "training step",
        {
            "float32": timed("float32"),
            "bfloat16 for the vocabulary alone": timed("float32", kind=VocabularyInBfloat16),
            "bfloat16": timed("bfloat16"),
        },
        rounds=3,
    )
    for precision in bench.PRECISIONS:
        contenders = {f"{n} captions a medium": timed(precision, n) for n in (1, 5, 20)}
        show(f"training step in {precision}", contenders, rounds=3)


def main():
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    device.start_tensorflow()
    import tensorflow as tf

    descriptors = tf.constant(bench.random_descriptors(np.random.default_rng(0), bench.B, bench.N))
    compare_encoders(descriptors)
    compare_training_steps(descriptors)


if __name__ == "__main__":
    errors.run(main)
