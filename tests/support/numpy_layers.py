"""Recurrent layers as loops in numpy."""

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def numpy_layer(cell, x, lengths, states, kernel, recurrent, bias):
    """One layer, one row and one step at a time: the definition."""
    batch, steps, _ = x.shape
    units = recurrent.shape[0]
    outputs = np.zeros((batch, steps, units), x.dtype)
    last = [state.copy() for state in states]
    for row in range(batch):
        state = [part[row] for part in states]
        for t in range(steps if lengths is None else lengths[row]):
            h = state[0]
            if cell == "lstm":
                i, f, g, o = np.split(x[row, t] @ kernel + h @ recurrent + bias, 4)
                c = sigmoid(f) * state[1] + sigmoid(i) * np.tanh(g)
                state = [sigmoid(o) * np.tanh(c), c]
            else:
                (xz, xr, xn), (hz, hr, hn) = (
                    np.split(x[row, t] @ kernel + bias[0], 3),
                    np.split(h @ recurrent + bias[1], 3),
                )
                z, r = sigmoid(xz + hz), sigmoid(xr + hr)
                state = [z * h + (1 - z) * np.tanh(xn + r * hn)]
            outputs[row, t] = state[0]
        for part, value in zip(last, state):
            part[row] = value
    return outputs, *last


def inputs(cell, batch=4, steps=5, features=3, units=4, dtype="float64", seed=0):
    """x, the initial states and the weights."""
    random = np.random.default_rng(seed)
    gates = 4 if cell == "lstm" else 3
    bias = (gates * units,) if cell == "lstm" else (2, gates * units)
    shapes = [(batch, steps, features), *[(batch, units)] * (2 if cell == "lstm" else 1)]
    shapes += [(features, gates * units), (units, gates * units), bias]
    return [(random.normal(size=shape) * 0.5).astype(dtype) for shape in shapes]
