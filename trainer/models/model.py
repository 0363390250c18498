"""What all models are: Keras models whose signatures are ours alone."""

from __future__ import annotations

import keras


class Model(keras.Model):
    """Computes in the types that its layers say, and hands a SavedModel no signature of Keras' own.

    Keras would trace one with a single float32 argument, which models on tokens do not take; the export names its signatures itself.
    """

    def __init__(self, name: str):
        super().__init__(autocast=False, name=name)

    @property
    def _default_save_signature(self) -> None:
        return None
