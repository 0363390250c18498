"""Recurrent layers: against Keras, states, masks, noise, and which kernel a graph gets."""

import logging

import numpy as np
import pytest

KINDS = ("lstm", "gru")


def stack_of(cell, layers=1, units=4, dtype="float32", rate=0.0, **options):
    from trainer.nn.recurrent import RecurrentStack

    return RecurrentStack(cell, layers, units, rate, dtype, **options)


def random_input(tf, *shape, seed=0):
    return tf.constant(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def names_of_ops(function):
    graph = function.graph
    library = [node.op for body in graph.as_graph_def().library.function for node in body.node_def]
    return {op.type for op in graph.get_operations()} | set(library)


@pytest.mark.parametrize("lengths", [None, [3, 5, 1, 2]])
@pytest.mark.parametrize("cell", KINDS)
def test_keras_layers_with_the_same_weights_agree(tf, cell, lengths):
    import keras

    theirs = (keras.layers.LSTM if cell == "lstm" else keras.layers.GRU)(4, return_sequences=True, return_state=True)
    x = random_input(tf, 4, 5, 3)
    mask = None if lengths is None else tf.sequence_mask(lengths, 5)
    theirs.build(x.shape)
    stack = stack_of(cell)
    stack(x)
    for mine, weight in zip(stack.weights, theirs.weights):
        assert mine.shape == weight.shape
        np.testing.assert_array_equal(mine == 0, weight == 0)  # biases start alike
        weight.assign(weight + 0.1)
        mine.assign(weight)
    outputs, *last = theirs(x, mask=mask)
    found, (state,) = stack.run(x, lengths=None if lengths is None else tf.constant(lengths))
    if mask is not None:
        outputs = tf.where(mask[..., None], outputs, 0.0)
    for one, other in zip([found, *state], [outputs, *last]):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("cell", KINDS)
def test_weights_start_as_keras_has_them(tf, cell):
    stack = stack_of(cell, units=32)
    stack(random_input(tf, 2, 3, 16))
    kernel, recurrent, bias = (weight.numpy() for weight in stack.weights)
    np.testing.assert_allclose(recurrent @ recurrent.T, np.eye(32), atol=1e-4)
    limit = np.sqrt(6 / sum(kernel.shape))
    assert 0.9 * limit < np.abs(kernel).max() <= limit
    if cell == "lstm":
        np.testing.assert_array_equal(bias, np.repeat([0, 1, 0, 0], 32))
    else:
        assert bias.shape == (2, 96) and not bias.any()


@pytest.mark.parametrize("options", [{}, {"residual": True}, {"bidirectional": True}])
@pytest.mark.parametrize("cell", KINDS)
def test_paths_are_stable_and_unique(tf, cell, options):
    stack = stack_of(cell, 2, **options)
    stack(random_input(tf, 2, 3, 5))
    paths = [weight.path for weight in stack.variables]
    assert len(set(paths)) == len(paths)
    assert f"recurrent/{cell}_1/{'forward/' if 'bidirectional' in options else ''}kernel" in paths


@pytest.mark.parametrize("options", [{}, {"residual": True}])
@pytest.mark.parametrize("cell", KINDS)
def test_a_sequence_in_two_parts_gives_what_the_whole_gives(tf, cell, options):
    stack = stack_of(cell, 2, **options)
    x = random_input(tf, 3, 7, 5)
    whole, end = stack.run(x)
    first, state = stack.run(x[:, :3], state=stack.zero_state(3))
    second, last = stack.run(x[:, 3:], state=state)
    np.testing.assert_allclose(np.concatenate([first, second], 1), whole, atol=1e-6)
    for one, other in zip(tf.nest.flatten(last), tf.nest.flatten(end)):
        np.testing.assert_allclose(one, other, atol=1e-6)
    np.testing.assert_array_equal(stack(x), whole)


@pytest.mark.parametrize("cell", KINDS)
def test_both_directions_read_the_valid_steps(tf, cell):
    stack = stack_of(cell, bidirectional=True)
    x = random_input(tf, 3, 6, 5)
    lengths = tf.constant([6, 0, 2])
    outputs, ((ahead, back),) = stack.run(x, lengths=lengths)
    short, ((short_ahead, short_back),) = stack.run(x[2:, :2])
    np.testing.assert_allclose(outputs[2:, :2], short, atol=1e-6)
    np.testing.assert_array_equal(outputs[2:, 2:], 0)
    for one, other in zip([*ahead, *back], [*short_ahead, *short_back]):
        np.testing.assert_allclose(one[2:], other, atol=1e-6)
        np.testing.assert_array_equal(one[1], 0)
    np.testing.assert_allclose(outputs[2, 0, 4:], back[0][2], atol=1e-6)


def test_dropped_recurrent_weights_are_the_same_at_all_steps_and_get_no_gradient(tf):
    from trainer.nn.step_context import StepContext

    stack = stack_of("lstm", recurrent_dropout=0.5)
    x = random_input(tf, 2, 6, 3)
    stack(x)
    kernel = stack.trainable_variables[1]
    with tf.GradientTape() as tape:
        noisy = stack(x, context=StepContext.of(0, tf.constant(1), tf.constant(0)))
        loss = tf.reduce_sum(noisy**2)
    slope = tape.gradient(loss, kernel.value).numpy()
    assert 0.3 < (slope == 0).mean() < 0.7
    kernel.assign(kernel * (slope != 0) * 2)
    np.testing.assert_allclose(stack(x), noisy, atol=1e-6)


def test_residual_layers_add_their_input(tf):
    plain, residual = stack_of("gru", 2), stack_of("gru", 2, residual=True)
    x = random_input(tf, 2, 6, 4)
    plain(x), residual(x)
    residual.set_weights(plain.get_weights())
    single = stack_of("gru", 1)
    single(x)
    single.set_weights(plain.get_weights()[:3])
    np.testing.assert_allclose(residual(x), plain(x) + single(x), atol=1e-6)


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_keeps_float32_weights(tf, dtype):
    stack = stack_of("lstm", 2, dtype=dtype)
    outputs, state = stack.run(random_input(tf, 2, 6, 4))
    assert outputs.dtype == dtype.removeprefix("mixed_")
    assert {weight.dtype for weight in stack.variables} == {"float32"}
    assert {part.dtype for part in tf.nest.flatten(state)} == {outputs.dtype}


@pytest.mark.parametrize("cell", KINDS)
def test_a_graph_with_cudnn_has_its_op_and_on_this_machine_auto_has_not(tf, cell):
    x = tf.TensorSpec([4, 5, 3], tf.float32)
    lengths = tf.TensorSpec([4], tf.int32)
    forced, auto = stack_of(cell, kernel="cudnn"), stack_of(cell)
    ops = [
        names_of_ops(
            tf.function(lambda x, lengths, stack=stack: stack.run(x, lengths=lengths)[0]).get_concrete_function(
                x, lengths
            )
        )
        for stack in (forced, auto)
    ]
    assert "CudnnRNNV3" in ops[0]
    if not tf.config.list_logical_devices("GPU"):
        assert "CudnnRNNV3" not in ops[1]
    for layer in forced._stacked:
        layer.use_portable_kernels()
    portable = names_of_ops(tf.function(lambda x: forced(x)).get_concrete_function(x))
    assert "CudnnRNNV3" not in portable


@pytest.mark.parametrize("cell", KINDS)
def test_cudnn_gets_its_weights_and_lengths_as_its_manual_says(tf, cell, monkeypatch):
    """The op is replaced by numpy that unpacks the vector as cuDNN does: each gate's transposed matrix, then both sets
    of biases.
    """
    from numpy_layers import inputs, numpy_layer

    from trainer.nn import cudnn_kernels

    gates = 4 if cell == "lstm" else 3

    def op(*, input, input_h, input_c, params, sequence_lengths, rnn_mode, is_training, time_major):
        assert rnn_mode == cell and is_training and not time_major
        assert (sequence_lengths.numpy() >= 1).all(), "cuDNN refuses empty rows"
        flat, places = params.numpy(), []
        for shape in [(4, 3)] * gates + [(4, 4)] * gates + [(4,)] * 2 * gates:
            count = int(np.prod(shape))
            places.append(flat[:count].reshape(shape))
            flat = flat[count:]
        assert not flat.size
        w, r, b = places[:gates], places[gates : 2 * gates], places[2 * gates :]
        order = range(4) if cell == "lstm" else (1, 0, 2)  # cuDNN's GRU has r, z, n
        kernel, recurrent = (np.concatenate([matrices[i].T for i in order], 1) for matrices in (w, r))
        first, second = (np.concatenate([biases[i] for i in order]) for biases in (b[:gates], b[gates:]))
        bias = first + second if cell == "lstm" else np.stack([first, second])
        states = [input_h.numpy()[:, 0]] + ([input_c.numpy()[:, 0]] if cell == "lstm" else [])
        outputs, *last = numpy_layer(cell, input.numpy(), sequence_lengths.numpy(), states, kernel, recurrent, bias)
        last = [tf.constant(part[:, None]) for part in last]
        return tf.constant(outputs), last[0], last[-1], None, None

    monkeypatch.setattr(tf.raw_ops, "CudnnRNNV3", op)
    x, *rest = [tf.constant(value) for value in inputs(cell, dtype="float32")]
    states, weights = rest[:-3], rest[-3:]
    for lengths in (None, [3, 0, 5, 1]):
        given = None if lengths is None else tf.constant(lengths)
        found = getattr(cudnn_kernels, cell)(x, given, *states, *weights)
        expected = numpy_layer(cell, x.numpy(), lengths, [s.numpy() for s in states], *(w.numpy() for w in weights))
        for one, other in zip(found, expected):
            np.testing.assert_allclose(one, other, atol=1e-5)


def test_the_kernel_is_told_once(tf, caplog):
    from trainer.nn import recurrent

    recurrent._log_once.cache_clear()
    with caplog.at_level(logging.INFO, logger=recurrent.__name__):
        stack_of("lstm", 2, kernel="cpu")(random_input(tf, 1, 2, 3))
    assert [record.message for record in caplog.records] == ["recurrent kernel: cpu"]


def test_exported_graphs_hold_plain_ops_for_any_batch(tf, tmp_path):
    stack = stack_of("gru", 2, bidirectional=True)
    stack(random_input(tf, 1, 4, 3))
    for layer in stack._flatten_layers():
        if hasattr(layer, "use_portable_kernels"):
            layer.use_portable_kernels()
    module = tf.Module()
    module.variables_of_stack = [weight.value for weight in stack.variables]
    module.serve = tf.function(lambda x, n: stack.run(x, lengths=n)[0])
    spec = [tf.TensorSpec([None, None, 3], tf.float32), tf.TensorSpec([None], tf.int32)]
    concrete = module.serve.get_concrete_function(*spec)
    assert not {name for name in names_of_ops(concrete) if "Cudnn" in name or "Xla" in name}
    tf.saved_model.save(module, str(tmp_path), signatures=concrete)
    served = tf.saved_model.load(str(tmp_path)).signatures["serving_default"]
    for batch, steps in ((1, 1), (3, 9)):
        x, lengths = random_input(tf, batch, steps, 3), tf.constant([steps] * batch)
        (found,) = served(x=x, n=lengths).values()
        np.testing.assert_allclose(found, stack.run(x, lengths=lengths)[0], atol=1e-6)
