"""What our GRU is compared with."""

import numpy as np


def gru(x, h, layer):
    """One step of a GRU whose reset gate comes after the product, with numpy."""
    kernel, recurrent, (bias, recurrent_bias) = (
        weight.numpy() for weight in (layer.kernel, layer.recurrent_kernel, layer.bias)
    )
    update, reset, candidate = np.split(x @ kernel + bias, 3, axis=1)
    update_h, reset_h, candidate_h = np.split(h @ recurrent + recurrent_bias, 3, axis=1)
    update, reset = (1 / (1 + np.exp(-part)) for part in (update + update_h, reset + reset_h))
    return update * h + (1 - update) * np.tanh(candidate + reset * candidate_h)
