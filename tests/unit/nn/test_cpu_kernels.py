"""The CPU kernels against a loop in numpy, numerical gradients, Keras and PyTorch."""

import resource

import numpy as np
import pytest
from numpy_layers import inputs, numpy_layer

KINDS = ("lstm", "gru")
LENGTHS = (None, [3, 0, 5, 1])


def ours(cell, lengths, arguments, **options):
    import tensorflow as tf

    from trainer.nn import cpu_kernels

    x, *rest = arguments
    lengths = None if lengths is None else tf.constant(lengths)
    return getattr(cpu_kernels, cell)(x, lengths, *rest, **options)


def seeds(results, seed=1):
    """Weights of a scalar that depends on every result."""
    random = np.random.default_rng(seed)
    return [random.normal(size=result.shape).astype(np.asarray(result).dtype) for result in results]


def gradients(tf, cell, lengths, values, **options):
    arguments = [tf.constant(value) for value in values]
    with tf.GradientTape() as tape:
        tape.watch(arguments)
        results = ours(cell, lengths, arguments, **options)
        weights = seeds([np.zeros(result.shape, result.dtype.as_numpy_dtype) for result in results])
        scalar = tf.add_n([tf.reduce_sum(result * weight) for result, weight in zip(results, weights)])
    return results, tape.gradient(scalar, arguments)


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("cell", KINDS)
def test_results_and_gradients_follow_the_definition(tf, cell, lengths):
    values = inputs(cell)
    expected = numpy_layer(cell, values[0], lengths, *_split(cell, values))

    def scalar(changed):
        results = numpy_layer(cell, changed[0], lengths, *_split(cell, changed))
        return sum((result * weight).sum() for result, weight in zip(results, seeds(results)))

    numeric = []
    for index, value in enumerate(values):
        slope = np.zeros_like(value)
        for place in np.ndindex(value.shape):
            changed = [item.copy() for item in values]
            changed[index][place] += 1e-6
            above = scalar(changed)
            changed[index][place] -= 2e-6
            slope[place] = (above - scalar(changed)) / 2e-6
        numeric.append(slope)
    plain = lambda: gradients(tf, cell, lengths, values)  # noqa: E731
    for way in (plain, tf.function(plain), tf.function(plain, jit_compile=True)):
        results, slopes = way()
        for result, wanted in zip(results, expected):
            np.testing.assert_allclose(result, wanted, atol=1e-12)
        for slope, wanted in zip(slopes, numeric):
            np.testing.assert_allclose(slope, wanted, atol=1e-7)


def _split(cell, values):
    count = 2 if cell == "lstm" else 1
    return values[1 : 1 + count], *values[1 + count :]


@pytest.mark.parametrize("cell", KINDS)
def test_without_our_gradient_the_values_and_tensorflows_gradient_are_the_same(tf, cell):
    values = inputs(cell)
    results, slopes = tf.function(lambda: gradients(tf, cell, [5, 2, 0, 1], values))()
    plain, plain_slopes = tf.function(lambda: gradients(tf, cell, [5, 2, 0, 1], values, custom_gradient=False))()
    for one, other in zip([*results, *slopes], [*plain, *plain_slopes]):
        np.testing.assert_allclose(one, other, atol=1e-12)


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("cell", KINDS)
def test_parts_and_compiled_loops_compute_the_same(tf, cell, lengths, monkeypatch):
    from trainer.nn import cpu_kernels
    from trainer.nn.cpu_plan import KernelPlan

    values = inputs(cell)
    plain, slopes = gradients(tf, cell, lengths, values)
    for plan in (KernelPlan(2, False), KernelPlan(1, True), KernelPlan(2, True)):
        monkeypatch.setattr(cpu_kernels, "plan_for", lambda *_, plan=plan: plan)
        found, found_slopes = tf.function(lambda: gradients(tf, cell, lengths, values))()
        for one, other in zip([*found, *found_slopes], [*plain, *slopes]):
            np.testing.assert_allclose(one, other, atol=1e-12)


def test_the_plan_goes_by_sizes_and_keeps_xla_out_of_what_has_none(tf, monkeypatch):
    from trainer.nn import cpu_plan

    monkeypatch.setattr(cpu_plan, "_cores", lambda: 2)

    def plan(batch, steps, units, dtype=tf.float32, custom_gradient=True):
        spec = tf.TensorSpec([batch, steps, 8], dtype)
        chosen = []
        tf.function(lambda x: chosen.append(cpu_plan.plan_for(x, units, custom_gradient))).get_concrete_function(spec)
        return tuple(chosen[0])

    assert plan(256, 96, 64) == (2, True)
    assert plan(32, 64, 1024) == (1, False)
    assert plan(65, 96, 512) == (1, True)
    assert plan(32, 64, 384) == (2, True)  # compiled loops do with 16 rows each
    assert plan(256, 96, 64, tf.bfloat16) == plan(256, None, 64) == (2, False)
    assert plan(16, 24, 8) == plan(None, 96, 64) == plan(256, 96, 64, custom_gradient=False) == (1, False)


@pytest.mark.parametrize("cell", KINDS)
@pytest.mark.parametrize("shape", [(1, 5), (4, 1), (1, 1), (3, 2)])
def test_one_row_and_one_step(tf, cell, shape):
    values = inputs(cell, *shape)
    expected = numpy_layer(cell, values[0], None, *_split(cell, values))
    unknown = tf.function(
        lambda x, *rest: ours(cell, None, [x, *rest]),
        input_signature=[tf.TensorSpec([None, None, 3], tf.float64)]
        + [tf.TensorSpec([None, *value.shape[1:]], tf.float64) for value in _split(cell, values)[0]]
        + [tf.TensorSpec(value.shape, tf.float64) for value in values[-3:]],
    )
    for results in (ours(cell, None, [tf.constant(value) for value in values]), unknown(*values)):
        for result, wanted in zip(results, expected):
            np.testing.assert_allclose(result, wanted, atol=1e-12)


@pytest.mark.parametrize("cell", KINDS)
def test_padding_is_inert_whatever_it_holds(tf, cell):
    values = inputs(cell)
    lengths = [3, 0, 5, 1]
    padded = [values[0].copy(), *values[1:]]
    for row, length in enumerate(lengths):
        padded[0][row, length:] = np.nan
    clean, dirty = gradients(tf, cell, lengths, values), gradients(tf, cell, lengths, padded)
    for one, other in zip([*clean[0], *clean[1]], [*dirty[0], *dirty[1]]):
        np.testing.assert_array_equal(one, other)
    assert (clean[0][0].numpy()[1] == 0).all()
    np.testing.assert_array_equal(clean[0][1].numpy()[1], values[1][1])


@pytest.mark.parametrize("cell", KINDS)
def test_half_precision_is_close_to_single(tf, cell):
    values = inputs(cell, 8, 40, 6, 16, "float32")
    exact, exact_slopes = gradients(tf, cell, None, values)
    for dtype in (tf.bfloat16, tf.float16):
        results, slopes = gradients(tf, cell, None, [tf.cast(value, dtype).numpy() for value in values])
        for one, other in zip([*results, *slopes], [*exact, *exact_slopes]):
            assert one.dtype == dtype
            error = np.linalg.norm(tf.cast(one, tf.float32).numpy() - other.numpy()) / np.linalg.norm(other.numpy())
            assert error < 0.03


@pytest.mark.parametrize("cell", KINDS)
def test_two_thousand_steps_keep_no_more_than_the_activations(tf, cell):
    batch, units = 32, 64
    weights = [tf.constant(value) for value in inputs(cell, batch, 1, 8, units, "float32")[1:]]

    @tf.function(input_signature=[tf.TensorSpec([None, None, 8], tf.float32)])
    def slopes_of(x):
        with tf.GradientTape() as tape:
            tape.watch([x, *weights])
            loss = tf.reduce_sum(ours(cell, None, [x, *weights])[0] ** 2)
        return tape.gradient(loss, [x, *weights])

    slopes_of(tf.zeros([batch, 50, 8]))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    slopes = slopes_of(tf.ones([batch, 2000, 8]))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert all(np.isfinite(slope).all() for slope in slopes)
    # In units of the outputs' size: input products 4, gates 4, cells 2, outputs 2, their gradients 3; theirs of the
    # gates 4 + 4.
    assert grown < 30 * batch * 2000 * units * 4


@pytest.mark.parametrize("cell", KINDS)
def test_pytorch_agrees(tf, cell):
    torch = pytest.importorskip("torch")
    values = inputs(cell, dtype="float32")
    states, kernel, recurrent, bias = _split(cell, values)
    layer = (torch.nn.LSTM if cell == "lstm" else torch.nn.GRU)(3, 4, batch_first=True)
    swap = (
        (lambda w: w) if cell == "lstm" else (lambda w: np.concatenate([w[..., 4:8], w[..., :4], w[..., 8:]], -1))
    )  # r, z, n
    biases = (bias, np.zeros_like(bias)) if cell == "lstm" else (bias[0], bias[1])
    with torch.no_grad():
        for name, value in zip(("weight_ih_l0", "weight_hh_l0"), (kernel, recurrent)):
            getattr(layer, name).copy_(torch.tensor(swap(value).T.copy()))
        for name, value in zip(("bias_ih_l0", "bias_hh_l0"), biases):
            getattr(layer, name).copy_(torch.tensor(swap(value)))
    x, *first = [torch.tensor(value, requires_grad=True) for value in (values[0], *states)]
    outputs, last = layer(x, tuple(part[None] for part in first) if cell == "lstm" else first[0][None])
    results = [outputs, *(part[0] for part in (last if cell == "lstm" else (last,)))]
    sum(
        (result * torch.tensor(weight)).sum()
        for result, weight in zip(results, seeds([r.detach().numpy() for r in results]))
    ).backward()
    mine, slopes = gradients(tf, cell, None, values)
    for one, other in zip(mine, results):
        np.testing.assert_allclose(one, other.detach().numpy(), atol=1e-6)
    for slope, leaf in zip(slopes, [x, *first]):
        np.testing.assert_allclose(slope, leaf.grad.numpy(), atol=1e-5)
    for slope, name in zip(slopes[-3:], ("weight_ih_l0", "weight_hh_l0")):
        np.testing.assert_allclose(swap(slope.numpy()), getattr(layer, name).grad.numpy().T, atol=1e-5)
