"""A step of training: the loss of a batch, its gradient, Adam."""

import keras
import tensorflow as tf

from captioner import self_critical
from captioner.distribution import ALONE


class Adam(keras.optimizers.Adam):
    """Adam by TensorFlow's own kernel, which goes over weights and moments once: the same numbers, sooner."""

    def update_step(self, gradient, variable, learning_rate):
        """Update one variable; what Keras calls for each of them."""
        k = self._get_variable_index(variable)
        step = tf.cast(self.iterations.value + 1, tf.float32)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[k].value.handle,
            v=self._velocities[k].value.handle,
            beta1_power=tf.pow(self.beta_1, step),
            beta2_power=tf.pow(self.beta_2, step),
            lr=tf.cast(learning_rate, tf.float32),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )

    def _all_reduce_sum_gradients(self, grads_and_vars):
        """They are added up over all replicas already, where there are several (distribution.py)."""
        return grads_and_vars


def make_optimizer(config, n_steps):
    """Adam as `config` asks for it, for a run of so many steps."""
    rate = config.learning_rate
    if config.learning_rate_schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(rate, n_steps)
    averages = {"use_ema": True, "ema_momentum": config.ema_decay} if config.ema_decay > 0 else {}
    # Keras' Adam has its epsilon outside the bias correction, as TensorFlow 1 had it; only the default differs.
    decay = config.weight_decay or None
    optimizer = Adam(rate, beta_1=0.9, beta_2=0.999, epsilon=1e-8, weight_decay=decay, **averages)
    optimizer.exclude_from_weight_decay(var_names=[r"_b\b", r"_bias\b"])
    return optimizer


def batch_signature(model, descriptor_dtype):
    """Of a batch, descriptors [B, N, D], captions [B, L] and masks [B, L]: one traced graph serves every size."""
    return [
        tf.TensorSpec([None, None, model.dim_image], descriptor_dtype),
        tf.TensorSpec([None, None], tf.int32),
        tf.TensorSpec([None, None], tf.float32),
    ]


def make_step(model, optimizer, descriptor_dtype, beside=None, per_medium=1, distribution=ALONE):
    """The training step: a function of a batch and the dropout's seed [2] that changes the weights.

    It gives the loss, and whether that is sound (self_critical.is_sound). `beside`: a function of the batch, which has
    `per_medium` captions of each medium, and of a share of it; what it gives is added to the loss.
    """
    variables = model.trainable_variables
    optimizer.build(variables)

    def step(descriptors, captions, masks, seed):
        descriptors, share = distribution.own(descriptors, tf.shape(captions)[0], per_medium)
        with tf.GradientTape() as tape:
            loss = model.caption_loss(descriptors, captions, masks, training=True, seed=seed, share=share)
            total = loss + beside(descriptors, captions, masks, share=share) if beside else loss
        gradients = tape.gradient(total, [variable.value for variable in variables])
        # Dense gradients: an embedding whose word is not in the batch still moves by its moments.
        gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
        loss, total, *gradients = distribution.sum([loss, total, *gradients])
        optimizer.apply(gradients)
        return loss, self_critical.is_sound(total, gradients)

    return distribution.traced(step, [*batch_signature(model, descriptor_dtype), tf.TensorSpec([2], tf.int32)])
