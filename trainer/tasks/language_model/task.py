"""Language modelling: tokens in, the next tokens out; lanes over a stream, or documents one by one."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from trainer.config.train import TrainConfig
from trainer.config.trained_model import EvaluateConfig, ExportConfig
from trainer.dataset.schema import Manifest
from trainer.nn.step_context import StepContext
from trainer.reports.parts import Evaluation, Section
from trainer.tasks.language_model import token_store
from trainer.tasks.language_model.evaluation import WINDOW, count_baselines, language_metrics
from trainer.tasks.language_model.facts import TextFacts
from trainer.tasks.language_model.flags import LanguageExportFlags, LanguageFlags
from trainer.tasks.language_model.model import LanguageModel
from trainer.tasks.language_model.report import HEADLINE, Sample, position_section, samples_section
from trainer.tasks.language_model.signatures import LanguageServer, language_serving
from trainer.tasks.language_model.stateful_batches import StatefulBatches, batch_signature
from trainer.tasks.language_model.token_windows import TokenWindows, document_windows, stream_windows
from trainer.tasks.serving import Serving
from trainer.tasks.task import Batch, CarriedState, Sums, Task
from trainer.text.flags import EmbeddingFlags

VALIDATION_LANES = 32
WARM_UP_TOKENS = 256
RESET_SHARE = 0.02  # of the lanes start a step from a zero state, as a prompt does
EXACT_TARGETS = 200_000  # a longer split is read in several lanes, each warmed up, instead of in one
SAMPLES, PROMPT_TOKENS, SAMPLE_TOKENS = 4, 64, 256  # of a report
SAMPLE_TEMPERATURE, SAMPLE_SEED = 0.8, 0


class LanguageTask(Task):
    name = "language_model"
    score_name = "nats_per_token"

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

    def build_model(self, dtype: str) -> keras.Model:
        config = self.config
        return LanguageModel(
            self.facts.vocabulary_size, self.flags, config.of(EmbeddingFlags), config.model, dtype, config.device.kernel
        )

    def build_variables(self, model: keras.Model) -> None:
        model(tf.zeros([1, 2], tf.int32))

    @property
    def nominal_weight(self) -> float:
        return float(self.config.budget.batch_size * self.flags.sequence_length)

    def initial_state(self, batch_size: int) -> CarriedState:
        model, before = self.config.model, self.flags.ngram_order - 1
        parts = 2 if model.cell == "lstm" else 1
        stack = tuple(tuple(tf.zeros([batch_size, model.units]) for _ in range(parts)) for _ in range(model.num_layers))
        return stack, tf.zeros([batch_size, before], tf.int32) if before else ()

    def _nats(
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
        nats, state = self._nats(model, batch, context, state)
        return tf.reduce_sum(nats), tf.reduce_sum(batch["weight"]), tf.nest.map_structure(tf.stop_gradient, state)

    def validation_sums(self, model: keras.Model, batch: Batch, state: CarriedState) -> tuple[Sums, CarriedState]:
        nats, state = self._nats(model, batch, None, state)
        return {"nats_per_token": (tf.reduce_sum(nats), tf.reduce_sum(batch["weight"]))}, state

    def serving(self, model: keras.Model, config: ExportConfig) -> Serving:
        tokenizer = token_store.load_tokenizer(self.config.data_dir, self.manifest)
        return language_serving(model, tokenizer, self.by_documents, self.initial_state, config.of(LanguageExportFlags))

    def evaluate(self, model: keras.Model, config: EvaluateConfig) -> Evaluation:
        store, counts = self.store(config.split), self.facts.splits[config.split]
        stream = store.stream()
        if self.by_documents:
            lanes = config.batch_size
            windows = document_windows(store.tokens, store.lengths, WINDOW)
        else:
            lanes = max(1, min(VALIDATION_LANES, (len(stream) - 1) // EXACT_TARGETS))
            windows = stream_windows(stream, WINDOW)
        carried, scored = self._pass(model, self.evaluation_batches(config.split, lanes), lanes)
        by_position, at_position = self._pass(model, windows.in_order(config.batch_size), config.batch_size)
        targets = windows.targets
        assert scored.sum() == at_position.sum() == targets, (
            f"{scored.sum()} and {at_position.sum()} tokens scored instead of {targets}"
        )
        metrics = language_metrics(float(carried.sum()), targets, counts)
        apart = language_metrics(float(by_position.sum()), targets, counts)
        metrics |= {f"windowed_{name}": value for name, value in apart.items()}
        baselines = count_baselines(self.store("train").stream(), stream, self.facts.vocabulary_size, counts)

        def sections() -> list[Section]:
            position = position_section(by_position, at_position, baselines)
            return [
                position,
                samples_section(self._samples(model, stream), config.split, SAMPLE_TEMPERATURE, SAMPLE_SEED),
            ]

        return Evaluation({"count": targets, "metrics": metrics, "baselines": baselines}, HEADLINE, sections)

    def _pass(self, model: keras.Model, batches: tf.data.Dataset, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
        """Nats and number of the targets at each place of a row, [T] float64 each; the state is carried from batch to
        batch.
        """

        def sums(batch: Batch, state: CarriedState) -> tuple[tf.Tensor, tf.Tensor, CarriedState]:
            nats, state = self._nats(model, batch, None, state)
            return tf.reduce_sum(nats, axis=0), tf.reduce_sum(batch["weight"], axis=0), state

        run = tf.function(sums)
        state, nats, count = self.initial_state(batch_size), np.zeros(1), np.zeros(1)
        for batch in batches:
            part, weight, state = run(batch, state)
            nats, count = nats + part.numpy().astype(np.float64), count + weight.numpy().astype(np.float64)
        return nats, count

    def _samples(self, model: keras.Model, stream: np.ndarray) -> list[Sample]:
        """Continuations of the text at evenly spaced places of `stream: [N]`."""
        tokenizer = token_store.load_tokenizer(self.config.data_dir, self.manifest)
        server = LanguageServer(model, tokenizer, self.by_documents, self.initial_state, LanguageExportFlags())
        spare = max(0, len(stream) - PROMPT_TOKENS - SAMPLE_TOKENS)
        places = sorted({spare * number // SAMPLES for number in range(SAMPLES)})
        prompts = [tokenizer.decode(stream[place : place + PROMPT_TOKENS]) for place in places]
        followed = [
            tokenizer.decode(stream[place + PROMPT_TOKENS : place + PROMPT_TOKENS + SAMPLE_TOKENS]) for place in places
        ]
        size = len(places)
        made = server.complete(
            tf.constant(prompts),
            tf.fill([size], SAMPLE_TOKENS),
            tf.fill([size], SAMPLE_TEMPERATURE),
            tf.zeros([size], tf.int32),
            tf.ones([size]),
            tf.fill([size], tf.constant(SAMPLE_SEED, tf.int64)),
        )["completion"].numpy()
        return [
            Sample(prompt, text.decode("utf-8", "replace"), real) for prompt, text, real in zip(prompts, made, followed)
        ]


TASK = LanguageTask
