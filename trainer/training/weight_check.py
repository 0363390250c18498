"""Replicas hold the same weights, to the bit: compared at every save, by a checksum that costs one pass over them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from trainer.errors import ReplicaError


class WeightCheck:
    """Compares float32 variables over all replicas of a strategy, on this host and on others."""

    def __init__(self, strategy: tf.distribute.Strategy, variables: Sequence[tf.Variable]):
        self._strategy, self._variables = strategy, list(variables)

    def run(self, step: int) -> None:
        """To be called by all workers.

        Raises:
          ReplicaError: some replica's variables differ from those of the first.
        """
        if self._strategy.num_replicas_in_sync == 1:
            return
        sums = self.checksums()
        odd = np.flatnonzero((sums != sums[0]).any(axis=1))
        if odd.size:
            raise ReplicaError(
                f"the weights of replica {odd[0]} differ from those of replica 0 at step {step} (checksums "
                f"{_hex(sums[odd[0]])}"
                f" and {_hex(sums[0])}), so nothing was saved; check that all workers run the same software and have "
                "sound memory"
            )

    def checksums(self) -> np.ndarray:
        """A checksum of 64 bits for each replica, as its halves: [replicas, 2] float64."""
        return self._all_replicas().numpy()

    @tf.function
    def _all_replicas(self) -> tf.Tensor:
        return self._strategy.experimental_local_results(self._strategy.run(self._one_replica))[0]

    def _one_replica(self) -> tf.Tensor:
        context = tf.distribute.get_replica_context()
        total = tf.constant(0, tf.int64)
        for variable in self._variables:
            total = total * 1_000_003 + checksum(tf.convert_to_tensor(variable))
        halves = tf.stack([tf.bitwise.right_shift(total, 32), tf.bitwise.bitwise_and(total, 0xFFFFFFFF)])
        row = tf.one_hot(context.replica_id_in_sync_group, self._strategy.num_replicas_in_sync, dtype=tf.float64)[
            :, None
        ]
        return context.all_reduce(tf.distribute.ReduceOp.SUM, row * tf.cast(halves, tf.float64))


def checksum(values: tf.Tensor) -> tf.Tensor:
    """64 bits that change with any one element: the bits of `values` (float32) times odd numbers, added up modulo
    2^64.
    """
    bits = tf.cast(tf.bitcast(tf.reshape(values, [-1]), tf.int32), tf.int64)
    return tf.reduce_sum(bits * (2 * tf.range(tf.size(bits, tf.int64)) + 1))


def _hex(halves: np.ndarray) -> str:
    return f"{int(halves[0]) % 2**32:08x}{int(halves[1]):08x}"
