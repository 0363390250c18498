"""The task: batches, model, loss, scores and the signature of the export."""

import tensorflow as tf

from trainer.dataset.example_batches import batches_in_order, shuffled_batches
from trainer.dataset.record_files import read_checked, record_shards
from trainer.dataset.shard_files import check_files
from trainer.nn.model import Model
from trainer.nn.recurrent import RecurrentStack
from trainer.reports.parts import Evaluation, Headline
from trainer.tasks.serving import Serving, Signature
from trainer.tasks.task import Objective, Task, TaskData


class Majority(Model):
    def __init__(self, config, dtype):
        super().__init__("majority")
        self._stack = RecurrentStack.of(config.model, dtype, kernel=config.device.kernel)
        self._output = tf.keras.layers.Dense(1, name="output")

    def call(self, batch, context=None):  # bits: [B, T] int32 -> logits: [B] float32
        outputs, _ = self._stack.run(tf.cast(batch["bits"], tf.float32)[..., None], context=context)
        return self._output(outputs[:, -1])[:, 0]


class MajorityData(TaskData):
    def read_by(self, batch):
        return (rows := tf.reduce_sum(batch["weight"])), rows * self.manifest.facts.bits

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

    def evaluation_batches(self, split, size):
        return batches_in_order(self._cut(split), self.manifest.splits[split].records, self.signature(size), size)


class MajorityObjective(Objective):
    score_name = "nats"

    def build_model(self, dtype):
        return Majority(self.data.config, dtype)

    def validation_sums(self, model, batch, state, context=None):
        labels, weight = tf.reduce_mean(tf.cast(batch["bits"], tf.float32), axis=1) > 0.5, batch["weight"]
        logits = model(batch, context=context)
        each = {"nats": tf.nn.sigmoid_cross_entropy_with_logits(tf.cast(labels, tf.float32), logits)}
        each |= {"accuracy": tf.cast(labels == (logits > 0), tf.float32), "frequency": tf.cast(labels, tf.float32)}
        return {name: (tf.reduce_sum(value * weight), tf.reduce_sum(weight)) for name, value in each.items()}, state

    def loss(self, model, batch, context, state):
        return *self.validation_sums(model, batch, state, context)[0]["nats"], state


class MajorityTask(Task):
    name, data_class, objective_class = "majority", MajorityData, MajorityObjective

    def evaluate(self, model, config):
        metrics = self.objective.means(model, config.split, config.batch_size)
        baselines = {"most_frequent": {"accuracy": max(often := metrics.pop("frequency"), 1 - often)}}
        scores = {"count": self.manifest.splits[config.split].records, "metrics": metrics, "baselines": baselines}
        return Evaluation(scores, Headline("accuracy", "accuracy", "lines", higher_is_better=True), list)

    def serving(self, model, config):
        n = self.manifest.facts.bits
        inputs, example = (tf.TensorSpec([None, n], tf.int32, "bits"),), {"bits": tf.eye(3, n, dtype=tf.int32).numpy()}
        signature = Signature(lambda bits: {"probability": tf.sigmoid(model({"bits": bits}))}, inputs, example)
        return Serving({"serving_default": signature}, {"task": "majority", "limits": {}})


TASK = MajorityTask
