"""Training on several GPUs or machines: every replica computes its share of each batch, and all make the same step.

A replica is a device with all weights. The batch is the one that a single device would have; of its media each replica
has a part, one after another, and their gradients, parts of the gradient of the whole batch's loss, are added up. So N
replicas train what one does, but for the order in which numbers are added. What is drawn at random is drawn for the
whole batch (S2VT.caption_loss).

TensorFlow's engine does it: several GPUs of one process are a MirroredStrategy, several processes (workers), on one
machine or several, a MultiWorkerMirroredStrategy.
https://www.tensorflow.org/guide/distributed_training
"""

import contextlib
import re
import signal
from typing import NamedTuple

import numpy as np
import tensorflow as tf

import data_loader
from system.errors import UserError

# What TensorFlow raises where another worker is gone, and how the reason begins.
GONE = tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.DeadlineExceededError
REASON = re.compile(r"Collective ops is aborted by: (.*)")


class Share(NamedTuple):
    """Of the media of a batch those that one replica computes: from `first` to before `end`, which may be none."""

    first: tf.Tensor
    end: tf.Tensor
    n_media: tf.Tensor  # of the whole batch

    def has(self, media):
        """Which media, numbers in the batch, are in the share."""
        return (media >= self.first) & (media < self.end)

    def of_packed(self, per_medium, media, sizes, places):
        """What is in the share of a batch that s2vt_model has packed, with `per_medium` captions of each medium.

        media [B] of the captions in packed order, sizes, places [M, 2] -> the same of the share, the media counted from
        its first; and for the dropout which of all M places these are, and M.
        """
        own = self.has(places[:, 0] // per_medium)  # [M]
        sizes = tf.math.unsorted_segment_sum(tf.cast(own, tf.int32), places[:, 1], tf.size(sizes))
        rows = tf.where(own)[:, 0]
        media = tf.boolean_mask(media, self.has(media)) - self.first
        return media, sizes, tf.gather(places, rows), (rows, tf.size(own))


class Alone:
    """One device: its share is the whole."""

    is_chief, part = True, data_loader.WHOLE

    def scope(self):
        """Context manager in which variables are made."""
        return contextlib.nullcontext()

    def traced(self, function, signature):
        """`function` of tensors as a graph; every replica computes it, with the methods below, and gives the same."""
        return tf.function(function, input_signature=signature, autograph=False)

    def own(self, descriptors, n_captions, per_medium):
        """Of the descriptors of this worker those of this replica, and which they are -> [S, N, D], Share or None.

        n_captions: those of the whole batch, of which each medium has `per_medium`.
        """
        return descriptors, None

    def sum(self, tensors):
        """A list of tensors, each the sum over all replicas."""
        return tensors

    def total(self, array):
        """A NumPy array of floats, the sum over all workers; they wait for one another."""
        return array

    def any(self, here):
        """Whether something is so in one of the workers; all get the same answer."""
        return bool(here)

    def wait(self):
        """Wait until all workers have come to this place."""

    def all_alike(self, number):
        """Whether a number is the same in all workers."""
        return True


ALONE = Alone()


class Distributed(Alone):
    """The replicas of a strategy of tf.distribute, in this worker and in the others."""

    def __init__(self, strategy, n_workers=1, index=0):
        self.strategy = strategy
        self.part, self.is_chief = (index, n_workers), index == 0
        self.n_replicas = strategy.num_replicas_in_sync
        self._total = self.traced(self._once_each, [tf.TensorSpec([None], tf.float64)])

    def scope(self):
        return self.strategy.scope()

    def traced(self, function, signature):
        def run(*tensors):
            results = self.strategy.run(function, tensors)
            return tf.nest.map_structure(lambda one: self.strategy.experimental_local_results(one)[0], results)

        return tf.function(run, input_signature=signature, autograph=False)

    def own(self, descriptors, n_captions, per_medium):
        n_media = n_captions // per_medium
        number = tf.distribute.get_replica_context().replica_id_in_sync_group
        first, end = data_loader.rows_of((number, self.n_replicas), n_media)
        before, _ = data_loader.rows_of(self.part, n_media)  # those of other workers
        return descriptors[first - before : end - before], Share(first, end, n_media)

    def sum(self, tensors):
        return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, tensors)

    def total(self, array):
        return array if self.part == data_loader.WHOLE else self._total(np.ravel(array)).numpy().reshape(array.shape)

    def any(self, here):
        return self.total(np.float64(bool(here))) > 0

    def wait(self):
        self.total(np.float64(0))

    def all_alike(self, number):
        k, n_workers = self.part
        return np.ptp(self.total(np.where(np.arange(n_workers) == k, float(number), 0.0))) == 0

    def _once_each(self, values):
        """The sum over all workers of what the first replica of each has."""
        context = tf.distribute.get_replica_context()
        is_first = context.replica_id_in_sync_group % (self.n_replicas // self.part[1]) == 0
        return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.where(is_first, values, 0.0))


@contextlib.contextmanager
def joined(cluster):
    """Context manager: yields what this process trains with, Alone or Distributed, once all workers are there.

    cluster: that of TF_CONFIG (system/cluster.py), None for this process alone. Nothing may have run on a device yet.
    UserError where this worker cannot join, or another one ends before it.
    """
    if cluster is None:
        several = len(tf.config.list_logical_devices("GPU")) > 1
        yield Distributed(tf.distribute.MirroredStrategy()) if several else ALONE
        return
    strategy = _joined(cluster)
    try:
        yield Distributed(strategy, cluster.n_workers, cluster.index)
    except tf.errors.OpError as error:
        reason = REASON.search(error.message)
        if reason is None and not isinstance(error, GONE):
            raise
        raise UserError(
            "another worker has ended or cannot be reached, so this one ends, too: see what that one says, then start "
            f"all of them with --train --resume (TensorFlow: {reason[1] if reason else error.message})"
        ) from None


def _joined(cluster):
    """The strategy of this worker, once all others are there."""
    print(f"worker {cluster.index} of {cluster.n_workers}, {cluster.address}: waiting for the others", flush=True)
    handler = signal.signal(signal.SIGINT, signal.SIG_DFL)  # native code waits: Python would not see Ctrl-C
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except tf.errors.OpError as error:
        raise UserError(f"worker {cluster.index} cannot join at {cluster.address}: {error.message}") from None
    finally:
        signal.signal(signal.SIGINT, handler)
