"""Sequence to sequence: source texts in, target texts out."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from trainer.config.trained_model import EvaluateConfig, ExportConfig
from trainer.reports.parts import Evaluation, Section
from trainer.tasks.seq2seq.evaluation import search_function, translate_split
from trainer.tasks.seq2seq.flags import SearchFlags
from trainer.tasks.seq2seq.metrics import translation_metrics
from trainer.tasks.seq2seq.objective import TranslationObjective
from trainer.tasks.seq2seq.report import attention_section, examples, examples_section, headline, length_section
from trainer.tasks.seq2seq.signatures import TranslationServer, seq2seq_serving
from trainer.tasks.seq2seq.task_data import VALIDATION_ROWS, PairData
from trainer.tasks.serving import Serving
from trainer.tasks.task import Task


class Seq2SeqTask(Task):
    name = "seq2seq"
    data_class, objective_class = PairData, TranslationObjective
    data: PairData
    objective: TranslationObjective

    def serving(self, model: keras.Model, config: ExportConfig) -> Serving:
        return seq2seq_serving(model, *self.data.tokenizers, config)

    def evaluate(self, model: keras.Model, config: EvaluateConfig) -> Evaluation:
        store = self.data.store(config.split)
        search = search_function(model, config.of(SearchFlags))
        hypotheses = translate_split(search, self.data, config.split, config.batch_size)
        metrics = translation_metrics(hypotheses, store.target_text)
        metrics |= self.objective.means(model, config.split, min(config.batch_size, VALIDATION_ROWS))
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
            {"count": len(hypotheses), "metrics": metrics, "baselines": baselines},
            headline(self.objective.score_name),
            sections,
        )

    def _attention(self, model: keras.Model, config: EvaluateConfig, text: str) -> list[Section]:
        """The attention over one source; nothing where its translation is empty."""
        server = TranslationServer(model, *self.data.tokenizers, config.of(SearchFlags))
        values = {name: value.numpy()[0] for name, value in server.attention(tf.constant([text])).items()}
        source, target = (
            [piece.decode("utf-8", "replace") for piece in values[f"{side}_pieces"]] for side in ("source", "target")
        )
        written = int(np.sum(values["attention"].any(axis=1)))
        return [attention_section(values["attention"], source, target[:written])] if written else []


TASK = Seq2SeqTask
