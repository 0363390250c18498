"""The base of all models: Keras models that cast nothing by themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import keras

from trainer.nn.layer import BuiltByCall
from trainer.nn.recurrent import Recurrent


class SequenceModel(Protocol):
    """The contract of a task's model with training, checkpoints and the export; a `Model` keeps it.

    Attributes:
        trainable_variables: what the optimizer updates, always in the same order; their `path` names them in
          checkpoints' tables.
        weights: all variables, those that are not trained too: what a checkpoint holds.
    """

    trainable_variables: Sequence[keras.Variable]
    weights: Sequence[keras.Variable]

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """Computes; only the task calls it, so inputs and outputs are the task's own. State goes in and comes out: a
        model keeps none.
        """

    def use_portable_kernels(self) -> None:
        """Keeps to kernels that every device has, in what is traced from now on; called before an evaluation or export
        traces anything.
        """


class Model(BuiltByCall, keras.Model):
    """Computes in the types that its layers say."""

    def __init__(self, name: str):
        super().__init__(autocast=False, name=name)

    def use_portable_kernels(self) -> None:
        """Keeps cuDNN, XLA and hand-written gradients out of what is traced from now on: an exported graph has to run
        on any device.
        """
        for layer in self._flatten_layers():
            if isinstance(layer, Recurrent):
                layer.use_portable_kernels()
