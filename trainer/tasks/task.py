"""The contract of a task with the training loop, the export and the commands. None of them knows which task it is.

A task is its data (how examples are batched), its objective (the model, what it is fitted to, and the validation score)
and two things that are done with a model: signatures for the export, and the full score of a split.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from trainer.config.train import TrainConfig
from trainer.config.trained_model import EvaluateConfig, ExportConfig
from trainer.dataset.schema import Manifest
from trainer.nn.model import SequenceModel
from trainer.nn.step_context import StepContext
from trainer.reports.parts import Evaluation
from trainer.tasks.serving import Serving

Batch = dict[str, tf.Tensor]
MakeTask = Callable[[TrainConfig, Manifest], "Task"]
Refit = Callable[[MakeTask], SequenceModel]  # trains such a task and gives the model
CarriedState = Any  # a nest of tensors
Sums = dict[str, tuple[tf.Tensor, tf.Tensor]]  # name -> (sum over the batch, weight it is divided by in the end)


class TaskData(abc.ABC):
    """The examples of a dataset, as batches."""

    def __init__(self, config: TrainConfig, manifest: Manifest):
        """Takes the run's configuration and the description of the dataset at `config.data_dir`."""
        self.config, self.manifest = config, manifest

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self.manifest.splits)

    @property
    def examples_per_epoch(self) -> int:
        """Examples in the training split; by default a record holds one."""
        return self.manifest.splits["train"].records

    @property
    def batch_rows(self) -> tuple[int, ...]:
        """All numbers of rows that training batches have."""
        return (self.config.budget.batch_size,)

    def steps_for(self, examples: int) -> int:
        """Training steps that this many examples take."""
        return -(-examples // self.config.budget.batch_size)

    @abc.abstractmethod
    def read_by(self, batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        """Examples of a batch, and time steps (tokens) that the model reads of it without padding; both float32
        scalars.
        """

    @abc.abstractmethod
    def signature(self, batch_size: int | None) -> dict[str, tf.TensorSpec]:
        """Names, shapes and types of a batch; the first dimension of each is the batch."""

    @abc.abstractmethod
    def training_batches(self, first_step: int, total_examples: int | None) -> tf.data.Dataset:
        """Endless global batches from `first_step` on, a function of (seed, step) alone."""

    @property
    def evaluation_batch_size(self) -> int:
        """Examples scored at once during training."""
        return 256

    @abc.abstractmethod
    def evaluation_batches(self, split: str, batch_size: int) -> tf.data.Dataset:
        """Every example of a split once, in order; the last batch filled up with examples of weight 0."""


class Objective(abc.ABC):
    """A model, and what it is fitted to."""

    score_name: str  # validation score that picks the best checkpoint
    higher_is_better: bool = False  # of that score

    def __init__(self, data: TaskData):
        self.data = data

    def fit(self) -> None:  # noqa: B027 - most tasks have nothing to fit
        """Fits to the training split what `build_model` is to begin with; called before training only, by default
        nothing is fitted.
        """

    @property
    def starts_fitted(self) -> bool:
        """Whether the model forecasts well before the first step, so that validation may find that the best."""
        return False

    @abc.abstractmethod
    def build_model(self, dtype: str) -> SequenceModel:
        """The model without its variables; `dtype` is a Keras dtype policy."""

    def build_variables(self, model: SequenceModel) -> None:
        """Makes the variables of a model that `build_model` gave."""
        model({name: tf.zeros(spec.shape, spec.dtype) for name, spec in self.data.signature(1).items()})

    def initial_state(self, batch_size: int) -> CarriedState:
        """The state that a step hands to the next one, as a nest of tensors whose first dimension is the batch; by
        default nothing.
        """
        return ()

    @abc.abstractmethod
    def loss(
        self, model: SequenceModel, batch: Batch, context: StepContext | None, state: CarriedState
    ) -> tuple[tf.Tensor, tf.Tensor, CarriedState]:
        """Sum of the loss over the batch and the weight to divide it by, both float32 scalars, and the state for the
        next step.
        """

    @property
    def nominal_weight(self) -> float:
        """The weight of a full global batch, by default its rows; keeps gradients near 1 before the reduction, nothing
        else.
        """
        return float(self.data.config.budget.batch_size)

    @abc.abstractmethod
    def validation_sums(self, model: SequenceModel, batch: Batch, state: CarriedState) -> tuple[Sums, CarriedState]:
        """The sums of validation during training, and the state for the next batch."""

    def validation_scores(self, model: SequenceModel, means: dict[str, float]) -> dict[str, float]:
        """Scores of the validation split, from the means of `validation_sums` and what else a task measures; by default
        the means.
        """
        return means

    def means(self, model: SequenceModel, split: str, batch_size: int) -> dict[str, float]:
        """The means of `validation_sums` over a whole split, for tasks without state, summed in float64."""
        run = tf.function(lambda batch: self.validation_sums(model, batch, ())[0])
        totals: dict[str, list[float]] = {}
        for batch in self.data.evaluation_batches(split, batch_size):
            for name, pair in run(batch).items():
                sums = totals.setdefault(name, [0.0, 0.0])
                sums[0], sums[1] = sums[0] + float(pair[0]), sums[1] + float(pair[1])
        return {name: total / count for name, (total, count) in totals.items()}


class Task(abc.ABC):
    """One kind of sequence.

    Attributes:
        name: its folder's.
        data_class: made of the configuration and the description of the dataset.
        objective_class: made of the data.
    """

    name: str
    data_class: type[TaskData]
    objective_class: type[Objective]

    def __init__(self, config: TrainConfig, manifest: Manifest):
        """Takes the run's configuration and the description of the dataset at `config.data_dir`."""
        self.config, self.manifest = config, manifest
        self.data = self.data_class(config, manifest)
        self.objective = self.objective_class(self.data)

    @abc.abstractmethod
    def serving(self, model: SequenceModel, config: ExportConfig) -> Serving:
        """Signatures on raw values, for the export."""

    @abc.abstractmethod
    def evaluate(self, model: SequenceModel, config: EvaluateConfig) -> Evaluation:
        """The full, honest score of a split."""
