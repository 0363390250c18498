"""LSTM and GRU over whole sequences on NVIDIA GPUs: same arguments, weights and results as `cpu_kernels`, by one cuDNN
op.

Letters: B batch, T time, D features, H hidden.
"""

from __future__ import annotations

import tensorflow as tf


def lstm(
    x: tf.Tensor,
    lengths: tf.Tensor | None,
    h0: tf.Tensor,
    c0: tf.Tensor,
    kernel: tf.Tensor,
    recurrent_kernel: tf.Tensor,
    bias: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """See `cpu_kernels.lstm`."""
    outputs, h, c = _run(x, lengths, h0, c0, packed_lstm(kernel, recurrent_kernel, bias), "lstm")
    return outputs, h, c


def gru(
    x: tf.Tensor,
    lengths: tf.Tensor | None,
    h0: tf.Tensor,
    kernel: tf.Tensor,
    recurrent_kernel: tf.Tensor,
    bias: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """See `cpu_kernels.gru`."""
    outputs, h, _ = _run(x, lengths, h0, None, packed_gru(kernel, recurrent_kernel, bias), "gru")
    return outputs, h


def packed_lstm(kernel: tf.Tensor, recurrent_kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """Packs cuDNN's one vector: transposed matrices of i, f, c, o (input, then recurrent), then both sets of biases,
    the first 0.
    """
    matrices = [*tf.split(kernel, 4, axis=1), *tf.split(recurrent_kernel, 4, axis=1)]
    return _flat(matrices, [tf.zeros_like(bias), bias])


def packed_gru(kernel: tf.Tensor, recurrent_kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """Packs cuDNN's one vector: as for the LSTM, with the gates in the order r, z, h where ours is z, r, h."""
    matrices, biases = [], []
    for matrix, vector in ((kernel, bias[0]), (recurrent_kernel, bias[1])):
        z, r, candidate = tf.split(matrix, 3, axis=1)
        matrices += [r, z, candidate]
        z, r, candidate = tf.split(vector, 3)
        biases += [r, z, candidate]
    return _flat(matrices, biases)


def _flat(matrices: list[tf.Tensor], biases: list[tf.Tensor]) -> tf.Tensor:
    return tf.concat([*(tf.reshape(tf.transpose(matrix), [-1]) for matrix in matrices), *biases], axis=0)


def _run(
    x: tf.Tensor, lengths: tf.Tensor | None, h0: tf.Tensor, c0: tf.Tensor | None, packed: tf.Tensor, mode: str
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Runs the op on rows of at least one step, since cuDNN refuses empty ones, and gives those their initial state
    afterwards.
    """
    full = tf.fill([tf.shape(x)[0]], tf.shape(x)[1])
    steps = full if lengths is None else tf.maximum(tf.cast(lengths, tf.int32), 1)
    first_c = h0 if c0 is None else c0
    outputs, h, c, _, _ = tf.raw_ops.CudnnRNNV3(
        input=x,
        input_h=h0[:, None],
        input_c=first_c[:, None] if mode == "lstm" else tf.zeros([], x.dtype),
        params=packed,
        sequence_lengths=steps,
        rnn_mode=mode,
        is_training=True,  # the gradient reads what this makes the op keep
        time_major=False,
    )
    outputs.set_shape([x.shape[0], x.shape[1], h0.shape[1]])
    h = tf.reshape(h, tf.shape(h0))
    c = tf.reshape(c, tf.shape(h0)) if mode == "lstm" else h
    if lengths is None:
        return outputs, h, c
    there = (lengths > 0)[:, None]
    outputs = tf.where(there[:, None], outputs, tf.zeros([], x.dtype))
    return outputs, tf.where(there, h, h0), tf.where(there, c, first_c)
