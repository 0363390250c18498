"""The loss of a translator: the nats of each target token; validation may translate too."""

from __future__ import annotations

import keras
import tensorflow as tf

from trainer.dataset.special_tokens import START
from trainer.nn.cross_entropy import smoothed_cross_entropy
from trainer.nn.step_context import StepContext
from trainer.tasks.seq2seq.evaluation import GREEDY, Search, search_function, translate_split
from trainer.tasks.seq2seq.metrics import translation_metrics
from trainer.tasks.seq2seq.model import Seq2Seq
from trainer.tasks.seq2seq.task_data import VALIDATION_ROWS, PairData
from trainer.tasks.task import Batch, CarriedState, Objective, Sums
from trainer.text.flags import EmbeddingFlags

LOSS = "nats_per_token"


class TranslationObjective(Objective):
    data: PairData

    def __init__(self, data: PairData):
        super().__init__(data)
        metric = data.flags.best_metric
        self.score_name, self.higher_is_better = (LOSS, False) if metric == "loss" else (metric, True)
        self._greedy: Search | None = None

    def build_model(self, dtype: str) -> keras.Model:
        config, facts, flags = self.data.config, self.data.facts, self.data.flags
        sizes = (facts.source.size, facts.target.size, facts.joint)
        return Seq2Seq(*sizes, flags, config.of(EmbeddingFlags), config.model, dtype, config.device.kernel)

    def build_variables(self, model: keras.Model) -> None:
        model(tf.ones([1, 2], tf.int32), tf.ones([1], tf.int32), tf.ones([1, 2], tf.int32))

    @property
    def nominal_weight(self) -> float:
        counts = self.data.facts.splits["train"]
        return (counts.target_tokens + counts.pairs) / self.data.batches("train").steps_per_epoch

    def _outputs(
        self, model: keras.Model, batch: Batch, context: StepContext | None, compact: bool
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """The output layer's inputs, labels and weights: [N, E], [N], [N]; `compact` leaves padding out."""
        target, lengths = batch["target"], batch["target_lengths"]
        inputs = tf.concat([tf.fill([tf.shape(target)[0], 1], START), target[:, :-1]], axis=1)
        outputs = model.outputs(model.encode(batch["source"], batch["source_lengths"], context), inputs, context)
        flat, labels = tf.reshape(outputs, [-1, outputs.shape[2]]), tf.reshape(target, [-1])
        valid = tf.reshape(tf.sequence_mask(lengths, tf.shape(target)[1]), [-1])
        if not compact:
            return flat, labels, tf.cast(valid, tf.float32)
        places = tf.where(valid)[:, 0]
        labels = tf.gather(labels, places)
        return tf.gather(flat, places), labels, tf.ones_like(labels, tf.float32)

    def loss(
        self, model: keras.Model, batch: Batch, context: StepContext | None, state: CarriedState
    ) -> tuple[tf.Tensor, tf.Tensor, CarriedState]:
        compact = not self.data.config.device.jit_compile  # XLA wants sizes that do not depend on values
        outputs, labels, weights = self._outputs(model, batch, context, compact)
        smoothing = self.data.flags.label_smoothing
        matrix, bias = model.output_weights()
        total = smoothed_cross_entropy(outputs, matrix, bias, labels, weights, smoothing)
        return total, tf.reduce_sum(weights), state

    def validation_sums(self, model: keras.Model, batch: Batch, state: CarriedState) -> tuple[Sums, CarriedState]:
        outputs, labels, weights = self._outputs(model, batch, None, compact=True)
        logits = model.logits(outputs)
        count = tf.reduce_sum(weights)
        nats = tf.reduce_sum(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        right = tf.reduce_sum(tf.cast(tf.argmax(logits, axis=1, output_type=tf.int32) == labels, tf.float32))
        return {LOSS: (nats, count), "token_accuracy": (right, count)}, state

    def validation_scores(self, model: keras.Model, means: dict[str, float]) -> dict[str, float]:
        if self.data.flags.best_metric == "loss":
            return means
        if self._greedy is None:
            self._greedy = search_function(model, GREEDY)
        translations = translate_split(self._greedy, self.data, "validation", VALIDATION_ROWS)
        return means | translation_metrics(translations, self.data.store("validation").target_text)
