"""Language modelling: tokens in, the next tokens out; lanes over a stream, or documents one by one."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from trainer.config.trained_model import EvaluateConfig, ExportConfig
from trainer.reports.parts import Evaluation, Section
from trainer.tasks.language_model import token_store
from trainer.tasks.language_model.evaluation import WINDOW, count_baselines, language_metrics
from trainer.tasks.language_model.flags import LanguageExportFlags
from trainer.tasks.language_model.objective import LanguageObjective
from trainer.tasks.language_model.report import HEADLINE, Sample, position_section, samples_section
from trainer.tasks.language_model.signatures import LanguageServer, language_serving
from trainer.tasks.language_model.task_data import VALIDATION_LANES, LanguageData
from trainer.tasks.language_model.token_windows import document_windows, stream_windows
from trainer.tasks.serving import Serving
from trainer.tasks.task import Batch, CarriedState, Task

EXACT_TARGETS = 200_000  # a longer split is read in several lanes, each warmed up, instead of in one
SAMPLES, PROMPT_TOKENS, SAMPLE_TOKENS = 4, 64, 256  # of a report
SAMPLE_TEMPERATURE, SAMPLE_SEED = 0.8, 0


class LanguageTask(Task):
    name = "language_model"
    data_class, objective_class = LanguageData, LanguageObjective
    data: LanguageData
    objective: LanguageObjective

    def serving(self, model: keras.Model, config: ExportConfig) -> Serving:
        tokenizer = token_store.load_tokenizer(self.config.data_dir, self.manifest)
        return language_serving(
            model, tokenizer, self.data.by_documents, self.objective.initial_state, config.of(LanguageExportFlags)
        )

    def evaluate(self, model: keras.Model, config: EvaluateConfig) -> Evaluation:
        store, counts = self.data.store(config.split), self.data.facts.splits[config.split]
        stream = store.stream()
        if self.data.by_documents:
            lanes = config.batch_size
            windows = document_windows(store.tokens, store.lengths, WINDOW)
        else:
            lanes = max(1, min(VALIDATION_LANES, (len(stream) - 1) // EXACT_TARGETS))
            windows = stream_windows(stream, WINDOW)
        carried, scored = self._pass(model, self.data.evaluation_batches(config.split, lanes), lanes)
        by_position, at_position = self._pass(model, windows.in_order(config.batch_size), config.batch_size)
        targets = windows.targets
        assert scored.sum() == at_position.sum() == targets, (
            f"{scored.sum()} and {at_position.sum()} tokens scored instead of {targets}"
        )
        metrics = language_metrics(float(carried.sum()), targets, counts)
        apart = language_metrics(float(by_position.sum()), targets, counts)
        metrics |= {f"windowed_{name}": value for name, value in apart.items()}
        baselines = count_baselines(self.data.store("train").stream(), stream, self.data.facts.vocabulary_size, counts)

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
            nats, state = self.objective.nats(model, batch, None, state)
            return tf.reduce_sum(nats, axis=0), tf.reduce_sum(batch["weight"], axis=0), state

        run = tf.function(sums)
        state, nats, count = self.objective.initial_state(batch_size), np.zeros(1), np.zeros(1)
        for batch in batches:
            part, weight, state = run(batch, state)
            nats, count = nats + part.numpy().astype(np.float64), count + weight.numpy().astype(np.float64)
        return nats, count

    def _samples(self, model: keras.Model, stream: np.ndarray) -> list[Sample]:
        """Continuations of the text at evenly spaced places of `stream: [N]`."""
        tokenizer = token_store.load_tokenizer(self.config.data_dir, self.manifest)
        server = LanguageServer(
            model, tokenizer, self.data.by_documents, self.objective.initial_state, LanguageExportFlags()
        )
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
