"""The loss of a language model: the nats of each next token."""

from __future__ import annotations

import keras
import tensorflow as tf

from trainer.nn.step_context import StepContext
from trainer.tasks.language_model.model import LanguageModel
from trainer.tasks.language_model.task_data import LanguageData
from trainer.tasks.task import Batch, CarriedState, Objective, Sums
from trainer.text.flags import EmbeddingFlags


class LanguageObjective(Objective):
    score_name = "nats_per_token"
    data: LanguageData

    def build_model(self, dtype: str) -> keras.Model:
        config = self.data.config
        return LanguageModel(
            self.data.facts.vocabulary_size,
            self.data.flags,
            config.of(EmbeddingFlags),
            config.model,
            dtype,
            config.device.kernel,
        )

    def build_variables(self, model: keras.Model) -> None:
        model(tf.zeros([1, 2], tf.int32))

    @property
    def nominal_weight(self) -> float:
        return float(self.data.config.budget.batch_size * self.data.flags.sequence_length)

    def initial_state(self, batch_size: int) -> CarriedState:
        model, before = self.data.config.model, self.data.flags.ngram_order - 1
        parts = 2 if model.cell == "lstm" else 1
        stack = tuple(tuple(tf.zeros([batch_size, model.units]) for _ in range(parts)) for _ in range(model.num_layers))
        return stack, tf.zeros([batch_size, before], tf.int32) if before else ()

    def nats(
        self, model: keras.Model, batch: Batch, context: StepContext | None, state: CarriedState
    ) -> tuple[tf.Tensor, CarriedState]:
        """Nats of each of the batch's targets, [B, T] float32, 0 where it does not count, and the state after them."""
        keep = (1.0 - batch["reset"])[:, None]
        state = tf.nest.map_structure(lambda part: part * tf.cast(keep, part.dtype), state)
        logits, state = model(batch["tokens"], context=context, state=state)
        return tf.nn.sparse_softmax_cross_entropy_with_logits(batch["targets"], logits) * batch["weight"], state

    def loss(
        self, model: keras.Model, batch: Batch, context: StepContext | None, state: CarriedState
    ) -> tuple[tf.Tensor, tf.Tensor, CarriedState]:
        nats, state = self.nats(model, batch, context, state)
        return tf.reduce_sum(nats), tf.reduce_sum(batch["weight"]), tf.nest.map_structure(tf.stop_gradient, state)

    def validation_sums(self, model: keras.Model, batch: Batch, state: CarriedState) -> tuple[Sums, CarriedState]:
        nats, state = self.nats(model, batch, None, state)
        return {"nats_per_token": (tf.reduce_sum(nats), tf.reduce_sum(batch["weight"]))}, state
