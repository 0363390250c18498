"""What all models are: Keras models that cast nothing by themselves."""

from __future__ import annotations

import keras


class Model(keras.Model):
    """Computes in the types that its layers say."""

    def __init__(self, name: str):
        super().__init__(autocast=False, name=name)
