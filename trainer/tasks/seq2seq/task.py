"""Sequence to sequence: source texts in, target texts out."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from trainer.config.train import TrainConfig
from trainer.config.trained_model import EvaluateConfig, ExportConfig
from trainer.dataset.schema import Manifest
from trainer.dataset.special_tokens import START
from trainer.nn.cross_entropy import smoothed_cross_entropy
from trainer.nn.step_context import StepContext
from trainer.reports.parts import Evaluation, Section
from trainer.tasks.seq2seq import store as pair_store
from trainer.tasks.seq2seq.batches import PairBatches, batch_signature
from trainer.tasks.seq2seq.beam_search import beam_search
from trainer.tasks.seq2seq.decoding import greedy, length_limit
from trainer.tasks.seq2seq.evaluation import Search, translate
from trainer.tasks.seq2seq.facts import PairFacts
from trainer.tasks.seq2seq.flags import SearchFlags, TranslationFlags
from trainer.tasks.seq2seq.metrics import translation_metrics
from trainer.tasks.seq2seq.model import Seq2Seq
from trainer.tasks.seq2seq.report import attention_section, examples, examples_section, headline, length_section
from trainer.tasks.seq2seq.signatures import TranslationServer, seq2seq_serving
from trainer.tasks.serving import Serving
from trainer.tasks.task import Batch, CarriedState, Sums, Task
from trainer.text.flags import EmbeddingFlags
from trainer.text.tokenizer import Tokenizer

LOSS = "nats_per_token"
VALIDATION_ROWS = 64
GREEDY = SearchFlags(beam_size=1, length_penalty=0.0)


class Seq2SeqTask(Task):
    name = "seq2seq"

    def __init__(self, config: TrainConfig, manifest: Manifest):
        super().__init__(config, manifest)
        self.facts, self.flags = PairFacts.of(manifest), config.of(TranslationFlags)
        metric = self.flags.best_metric
        self.score_name, self.higher_is_better = (LOSS, False) if metric == "loss" else (metric, True)
        self._stores: dict[str, pair_store.PairStore] = {}
        self._batches: dict[str, PairBatches] = {}
        self._tokenizers: tuple[Tokenizer, Tokenizer] | None = None
        self._greedy: Search | None = None

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

    def build_model(self, dtype: str) -> keras.Model:
        config, facts = self.config, self.facts
        sizes = (facts.source.size, facts.target.size, facts.joint)
        return Seq2Seq(*sizes, self.flags, config.of(EmbeddingFlags), config.model, dtype, config.device.kernel)

    def build_variables(self, model: keras.Model) -> None:
        model(tf.ones([1, 2], tf.int32), tf.ones([1], tf.int32), tf.ones([1, 2], tf.int32))

    @property
    def nominal_weight(self) -> float:
        counts = self.facts.splits["train"]
        return (counts.target_tokens + counts.pairs) / self.batches("train").steps_per_epoch

    def _outputs(
        self, model: keras.Model, batch: Batch, context: StepContext | None, compact: bool
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """What the output layer reads, labels and weights: [N, E], [N], [N]; `compact` leaves padding out."""
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
        compact = not self.config.device.jit_compile  # XLA wants sizes that do not depend on values
        outputs, labels, weights = self._outputs(model, batch, context, compact)
        smoothing = self.flags.label_smoothing
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
        if self.flags.best_metric == "loss":
            return means
        if self._greedy is None:
            self._greedy = _search_function(model, GREEDY)
        translations = self._translations(self._greedy, "validation", VALIDATION_ROWS)
        return means | translation_metrics(translations, self.store("validation").target_text)

    def _translations(self, search: Search, split: str, batch_size: int) -> list[str]:
        return translate(
            search, self.evaluation_batches(split, batch_size), len(self.store(split).target_text), self.tokenizers[1]
        )

    def serving(self, model: keras.Model, config: ExportConfig) -> Serving:
        return seq2seq_serving(model, *self.tokenizers, config)

    def evaluate(self, model: keras.Model, config: EvaluateConfig) -> Evaluation:
        store = self.store(config.split)
        hypotheses = self._translations(
            _search_function(model, config.of(SearchFlags)), config.split, config.batch_size
        )
        metrics = translation_metrics(hypotheses, store.target_text)
        metrics |= self.means(model, config.split, min(config.batch_size, VALIDATION_ROWS))
        baselines = {"copy_source": translation_metrics(store.source_text, store.target_text)}

        def sections() -> list[Section]:
            texts = store.source_text, hypotheses, store.target_text
            chosen = examples(hypotheses, store.target_text)
            shown = next((pair for rank, pair in chosen if rank == "median"), chosen[0][1])
            return [
                length_section(*texts),
                examples_section(chosen, *texts),
                *self._attention(model, config, store.source_text[shown]),
            ]

        return Evaluation(
            {"count": len(hypotheses), "metrics": metrics, "baselines": baselines}, headline(self.score_name), sections
        )

    def _attention(self, model: keras.Model, config: EvaluateConfig, text: str) -> list[Section]:
        """The attention over one source; nothing where its translation is empty."""
        server = TranslationServer(model, *self.tokenizers, config.of(SearchFlags))
        found = {name: value.numpy()[0] for name, value in server.attention(tf.constant([text])).items()}
        source, target = (
            [piece.decode("utf-8", "replace") for piece in found[f"{side}_pieces"]] for side in ("source", "target")
        )
        written = int(np.sum(found["attention"].any(axis=1)))
        return [attention_section(found["attention"], source, target[:written])] if written else []


def _search_function(model: keras.Model, search: SearchFlags) -> Search:
    """One graph for sources of any shape; a beam of 1 without penalties is the greedy search, which is faster."""

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None], tf.int32)])
    def run(source: tf.Tensor, lengths: tf.Tensor) -> Any:
        memory, limit = model.encode(source, lengths), length_limit(lengths)
        if search == GREEDY:
            return greedy(model, memory, limit, search)
        return beam_search(model, memory, limit, search)

    return run


TASK = Seq2SeqTask
