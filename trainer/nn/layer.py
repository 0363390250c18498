"""Layers and models that are made of other layers."""

from __future__ import annotations

from typing import Any

import keras


class BuiltByCall:
    """Their parts make their variables where the first call reaches them.

    Keras does the same for layers without a `build`, after it has traced the whole of `call` on symbolic tensors, which
    takes longer than the call (`docs/decisions/measured_choices.md`).
    """

    def build(self, shape: Any) -> None:
        """Makes nothing: there are no variables but those of the parts."""


class Layer(BuiltByCall, keras.layers.Layer):
    """A layer that is made of layers."""
