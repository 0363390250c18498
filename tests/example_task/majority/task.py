"""The task: batches, model, loss, scores and the signature of the export."""

import keras
import numpy as np
import tensorflow as tf

from trainer.dataset.example_batches import batches_in_order, shuffled_batches
from trainer.dataset.record_files import read_checked, record_shards
from trainer.dataset.shard_files import check_files
from trainer.nn.model import Model
from trainer.nn.recurrent import RecurrentStack
from trainer.reports.parts import Evaluation, Headline
from trainer.tasks.serving import Serving, Signature
from trainer.tasks.task import Task


class Majority(Model):
    def __init__(self, config, dtype):
        super().__init__("majority")
        self._stack = RecurrentStack.of(config.model, dtype, kernel=config.device.kernel)
        self._output = keras.layers.Dense(1, name="output")

    def call(self, batch, context=None):  # bits: [B, T] int32 -> logits: [B] float32
        outputs, _ = self._stack.run(tf.cast(batch["bits"], tf.float32)[..., None], context=context)
        return self._output(outputs[:, -1])[:, 0]


class MajorityTask(Task):
    name, score_name = "majority", "nats"

    def read_by(self, batch):
        rows = tf.reduce_sum(batch["weight"])
        return rows, rows * self.manifest.facts.bits

    def signature(self, batch_size):
        bits = tf.TensorSpec([batch_size, self.manifest.facts.bits], tf.int32)
        return {"bits": bits, "weight": tf.TensorSpec([batch_size], tf.float32)}

    def _cut(self, split):
        paths = check_files(self.config.data_dir, self.manifest, (split,))
        schema = {"bits": tf.io.FixedLenFeature([], tf.string)}
        records = record_shards(paths).map(lambda record: tf.io.parse_single_example(record, schema))
        lines = tf.constant([list(record["bits"].numpy()) for record in read_checked(records, paths)])
        return lambda numbers, weight: {"bits": tf.gather(lines, numbers), "weight": weight}

    def training_batches(self, first_step, total_examples):
        size, order = self.config.budget.batch_size, (first_step, self.config.seed, total_examples)
        return shuffled_batches(self._cut("train"), self.examples_per_epoch, self.signature(size), size, *order)

    def evaluation_batches(self, split, batch_size):
        count = self.manifest.splits[split].records
        return batches_in_order(self._cut(split), count, self.signature(batch_size), batch_size)

    def build_model(self, dtype):
        return Majority(self.config, dtype)

    def validation_sums(self, model, batch, state, context=None):
        labels, weight = tf.reduce_sum(batch["bits"], axis=1) * 2 > self.manifest.facts.bits, batch["weight"]
        logits = model(batch, context=context)
        each = {"nats": tf.nn.sigmoid_cross_entropy_with_logits(tf.cast(labels, tf.float32), logits)}
        each |= {"accuracy": tf.cast(labels == (logits > 0), tf.float32), "frequency": tf.cast(labels, tf.float32)}
        return {name: (tf.reduce_sum(value * weight), tf.reduce_sum(weight)) for name, value in each.items()}, state

    def loss(self, model, batch, context, state):
        return *self.validation_sums(model, batch, state, context)[0]["nats"], state

    def evaluate(self, model, config):
        metrics = self.means(model, config.split, config.batch_size)
        often = max(metrics["frequency"], 1 - metrics.pop("frequency"))
        baselines = {"most_frequent": {"accuracy": often}}
        scores = {"count": self.manifest.splits[config.split].records, "metrics": metrics, "baselines": baselines}
        return Evaluation(scores, Headline("accuracy", "accuracy", "lines", higher_is_better=True), list)

    def serving(self, model, config):
        bits = self.manifest.facts.bits
        inputs, example = (tf.TensorSpec([None, bits], tf.int32, "bits"),), {"bits": np.eye(3, bits, dtype=np.int32)}
        signature = Signature(lambda bits: {"probability": tf.sigmoid(model({"bits": bits}))}, inputs, example)
        return Serving({"serving_default": signature}, {"task": "majority", "limits": {}})


TASK = MajorityTask
