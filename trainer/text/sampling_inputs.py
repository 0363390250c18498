"""How a request says what it wants sampled: the inputs that every signature that draws tokens has."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

SAMPLING_INPUTS = (
    tf.TensorSpec([None], tf.float32, "temperature"),
    tf.TensorSpec([None], tf.int32, "top_k"),
    tf.TensorSpec([None], tf.float32, "top_p"),
    tf.TensorSpec([None], tf.int64, "seed"),
)


def sampling_example() -> dict[str, np.ndarray]:
    """An example of them, a batch of 3: the likeliest token, one of the five likeliest, one of the likeliest nine
    tenths.
    """
    return {
        "temperature": np.array([0.0, 1.0, 0.7], np.float32),
        "top_k": np.array([0, 5, 0], np.int32),
        "top_p": np.array([1.0, 1.0, 0.9], np.float32),
        "seed": np.array([1, 2, 2**40], np.int64),
    }
