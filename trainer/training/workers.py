"""Values that the workers of a run exchange between the steps, so that they decide alike."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from trainer.training.cluster import Cluster


class Workers:
    """The workers under a strategy: `count` of them, this one has `index`. Every method is called by all of them, in
    the same order.
    """

    def __init__(self, strategy: tf.distribute.Strategy, cluster: Cluster | None):
        self._strategy = strategy
        self.index, self.count = (cluster.index, len(cluster.addresses)) if cluster else (0, 1)
        self._replicas = strategy.num_replicas_in_sync

    @property
    def is_chief(self) -> bool:
        return self.index == 0

    def exchange(self, *values: float) -> np.ndarray:
        """Gives everybody what everybody told, [workers, values] float64; row 0 is the chief's. Returns when all have
        called it.
        """
        if self.count == 1:
            return np.asarray([values], np.float64)
        rows = np.zeros([self.count, len(values)])
        rows[self.index] = values
        return self._summed(tf.constant(rows)).numpy()

    @tf.function
    def _summed(self, rows: tf.Tensor) -> tf.Tensor:
        def once(rows: tf.Tensor) -> tf.Tensor:
            context = tf.distribute.get_replica_context()
            first = tf.convert_to_tensor(context.replica_id_in_sync_group) % (self._replicas // self.count) == 0
            return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.where(first, rows, tf.zeros_like(rows)))

        return self._strategy.experimental_local_results(self._strategy.run(once, args=(rows,)))[0]
