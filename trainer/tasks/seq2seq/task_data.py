"""Pairs as batches."""

from __future__ import annotations

import tensorflow as tf

from trainer.config.train import TrainConfig
from trainer.dataset.schema import Manifest
from trainer.tasks.seq2seq import store as pair_store
from trainer.tasks.seq2seq.batches import PairBatches, batch_signature
from trainer.tasks.seq2seq.facts import PairFacts
from trainer.tasks.seq2seq.flags import TranslationFlags
from trainer.tasks.task import Batch, TaskData
from trainer.text.tokenizer import Tokenizer

VALIDATION_ROWS = 64


class PairData(TaskData):
    def __init__(self, config: TrainConfig, manifest: Manifest):
        super().__init__(config, manifest)
        self.facts, self.flags = PairFacts.of(manifest), config.of(TranslationFlags)
        self._stores: dict[str, pair_store.PairStore] = {}
        self._batches: dict[str, PairBatches] = {}
        self._tokenizers: tuple[Tokenizer, Tokenizer] | None = None

    def store(self, split: str) -> pair_store.PairStore:
        """The pairs of a split; read from the shards at the first call."""
        if split not in self._stores:
            self._stores[split] = pair_store.load(self.config.data_dir, self.manifest, split)
        return self._stores[split]

    def batches(self, split: str) -> PairBatches:
        """The batches of a split."""
        if split not in self._batches:
            self._batches[split] = PairBatches(self.store(split), self.config.budget.batch_size, self.flags.batch_unit)
        return self._batches[split]

    @property
    def tokenizers(self) -> tuple[Tokenizer, Tokenizer]:
        """Those of source and target."""
        if self._tokenizers is None:
            self._tokenizers = pair_store.load_tokenizers(self.config.data_dir, self.manifest)
        return self._tokenizers

    @property
    def examples_per_epoch(self) -> int:
        return self.batches("train").pairs

    @property
    def batch_rows(self) -> tuple[int, ...]:
        return self.batches("train").rows

    def steps_for(self, examples: int) -> int:
        training = self.batches("train")
        return -(-examples * training.steps_per_epoch // training.pairs)

    def read_by(self, batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        real = batch["target_lengths"] > 0
        tokens = tf.where(real, batch["source_lengths"] + batch["target_lengths"], 0)
        return tf.reduce_sum(tf.cast(real, tf.float32)), tf.cast(tf.reduce_sum(tokens), tf.float32)

    def signature(self, batch_size: int | None) -> dict[str, tf.TensorSpec]:
        return batch_signature(batch_size)

    def training_batches(self, first_step: int, total_examples: int | None) -> tf.data.Dataset:
        total_steps = None if total_examples is None else self.steps_for(total_examples)
        return self.batches("train").training(first_step, self.config.seed, total_steps)

    @property
    def evaluation_batch_size(self) -> int:
        return VALIDATION_ROWS

    def evaluation_batches(self, split: str, batch_size: int) -> tf.data.Dataset:
        return self.batches(split).in_order(batch_size)
