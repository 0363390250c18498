"""Tokens as batches: lanes over a stream, or documents one by one."""

from __future__ import annotations

import tensorflow as tf

from trainer.config.train import TrainConfig
from trainer.dataset.schema import Manifest
from trainer.tasks.language_model import token_store
from trainer.tasks.language_model.facts import TextFacts
from trainer.tasks.language_model.flags import LanguageFlags
from trainer.tasks.language_model.stateful_batches import StatefulBatches, batch_signature
from trainer.tasks.language_model.token_windows import TokenWindows, document_windows
from trainer.tasks.task import Batch, TaskData

VALIDATION_LANES = 32
WARM_UP_TOKENS = 256
RESET_SHARE = 0.02  # of the lanes start a step from a zero state, as a prompt does


class LanguageData(TaskData):
    def __init__(self, config: TrainConfig, manifest: Manifest):
        super().__init__(config, manifest)
        self.facts, self.flags = TextFacts.of(manifest), config.of(LanguageFlags)
        self._stores: dict[str, token_store.TokenStore] = {}
        self._training: StatefulBatches | TokenWindows | None = None

    def store(self, split: str) -> token_store.TokenStore:
        """The tokens of a split; read from the shards at the first call."""
        if split not in self._stores:
            self._stores[split] = token_store.load(self.config.data_dir, self.manifest, split)
        return self._stores[split]

    @property
    def by_documents(self) -> bool:
        """Whether documents are read one by one, from a zero state, instead of as one stream."""
        return self.facts.documents == "lines"

    @property
    def training(self) -> StatefulBatches | TokenWindows:
        """The training split, cut into lanes or document windows."""
        if self._training is None:
            store, length = self.store("train"), self.flags.sequence_length
            if self.by_documents:
                self._training = document_windows(store.tokens, store.lengths, length)
            else:
                self._training = StatefulBatches(store.stream(), self.config.budget.batch_size, length)
        return self._training

    @property
    def examples_per_epoch(self) -> int:
        cut = self.training
        return cut.examples_per_epoch if isinstance(cut, StatefulBatches) else cut.count

    def read_by(self, batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        rows = tf.cast(tf.shape(batch["tokens"])[0], tf.float32)
        return rows, rows * self.flags.sequence_length

    def signature(self, batch_size: int | None) -> dict[str, tf.TensorSpec]:
        return batch_signature(batch_size, self.flags.sequence_length)

    def training_batches(self, first_step: int, total_examples: int | None) -> tf.data.Dataset:
        cut, config = self.training, self.config
        if isinstance(cut, StatefulBatches):
            return cut.training(first_step, config.seed, total_examples, RESET_SHARE)
        return cut.training(first_step, config.budget.batch_size, config.seed, total_examples)

    @property
    def evaluation_batch_size(self) -> int:
        if self.by_documents or "validation" not in self.splits:
            return VALIDATION_LANES
        return max(1, min(VALIDATION_LANES, len(self.store("validation").stream()) // (2 * WARM_UP_TOKENS)))

    def evaluation_batches(self, split: str, batch_size: int) -> tf.data.Dataset:
        store, length = self.store(split), self.flags.sequence_length
        if self.by_documents:
            return document_windows(store.tokens, store.lengths, length).in_order(batch_size)
        return StatefulBatches(store.stream(), batch_size, length).in_order(WARM_UP_TOKENS if batch_size > 1 else 0)
