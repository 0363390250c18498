"""What an autoregressive decoder is told in training: shares, layouts of replicas, and that no forecast sees the
truth.
"""

import numpy as np
import pytest
from autoregressive import HORIZON, LOOKBACK, SEGMENT, make
from runs import ONE, TWO, losses_of
from series_runs import train_config

from trainer.errors import ConfigError
from trainer.tasks.datasets import read
from trainer.tasks.forecast.flags import ForecastFlags

TOLD = [
    "--decoder=autoregressive",
    "--lookback=24",
    "--horizon=6",
    "--segment_length=2",
    "--teacher_forcing=1",
    "--final_teacher_forcing=0",
]


def context(tf, part=0, parts=1, progress=0.0, step=3):
    from trainer.nn.step_context import StepContext

    return StepContext.of(7, tf.constant(step), tf.constant(part), parts, progress)


def test_rows_have_their_numbers_in_whatever_part_they_are(tf):
    whole = [getattr(context(tf), kind)(8, [3, 2], "x").numpy() for kind in ("normal_of_rows", "uniform_of_rows")]
    for parts in (2, 4):
        own = [context(tf, part, parts) for part in range(parts)]
        for kind, every in zip(("normal_of_rows", "uniform_of_rows"), whole):
            np.testing.assert_array_equal(
                np.concatenate([getattr(one, kind)(8 // parts, [3, 2], "x") for one in own]), every
            )
    assert len(np.unique(whole[0])) == 48 and (whole[1] >= 0).all() and (whole[1] < 1).all()
    assert (context(tf, step=4).normal_of_rows(8, [3, 2], "x").numpy() != whole[0]).all()


def test_the_share_falls_evenly_and_missing_values_are_never_told(tf):
    from trainer.tasks.forecast.model.teacher_forcing import true_values

    random = np.random.default_rng(0)
    weight = (random.random((4000, 6, 1)) > 0.25).astype(np.float32)
    batch = {"target": tf.constant(np.where(weight > 0, 5.0, np.nan), tf.float32), "target_weight": tf.constant(weight)}
    zero = tf.fill([4000, 1, 1], 2.0)
    for share in (0.0, 0.3, 1.0):
        truth, chosen = (part.numpy() for part in true_values(batch, zero, 2, share, context(tf)))
        assert np.isfinite(truth).all() and (truth[weight > 0] == 3).all() and not chosen[weight == 0].any()
        assert chosen[weight > 0].mean() == pytest.approx(share, abs=0.03)
        for first in (0, 2, 4):  # both steps of a segment, if they are known
            both = weight[:, first : first + 2].all(axis=(1, 2))
            assert (chosen[both, first] == chosen[both, first + 1]).all()
    assert true_values(batch, zero, 2, 1.0, None)[1].numpy().sum() == weight.sum()


def fed_by_hand(model, batch, chosen):
    """The forecast when segment t + 1 reads the truth where `chosen [B, segments]` says so, with the layer's own
    products.
    """
    import tensorflow as tf

    layers, zero = model._decoder, batch["past"][:, -1:]
    past = batch["past"] - zero
    x = np.concatenate([past, np.zeros_like(past), batch["past_features"]], axis=-1).reshape(4, LOOKBACK // SEGMENT, -1)
    _, state = model._encoder.stack.run(model._encoder._embed(tf.constant(x, tf.float32)))
    series, before, found = model._encoder._series(batch["series"])[:, 0], past[:, -SEGMENT:, 0], []
    for t in range(HORIZON // SEGMENT):
        rows = slice(t * SEGMENT, (t + 1) * SEGMENT)
        read = np.concatenate([before, batch["future_features"][:, rows].reshape(4, -1), series], axis=1)
        outputs, state = layers.stack.run(layers._read(read)[:, None], state=state)
        own = layers._write(outputs[:, 0]).numpy()
        found.append(own)
        before = np.where(chosen[:, t : t + 1], (batch["target"] - zero)[:, rows, 0], own)
    return np.concatenate(found, axis=1)[..., None] + zero


def test_training_reads_what_the_coins_say(tf):
    """Half the segments, against a loop; without noise none, with a share of 1 all."""
    model, batch = make(tf, teacher_forcing=0.5)
    batch["target_weight"] = np.ones_like(batch["target"])
    model(batch)
    coins = context(tf).uniform_of_rows(4, [HORIZON // SEGMENT], "truth").numpy() < 0.5
    assert 0 < coins[:, :-1].sum() < 8
    np.testing.assert_allclose(
        model(batch, context=context(tf)), fed_by_hand(model, batch, coins), rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(model(batch), fed_by_hand(model, batch, np.zeros_like(coins)), rtol=1e-4, atol=1e-5)
    told, _ = make(tf, teacher_forcing=1.0, final_teacher_forcing=0.0)
    told(batch)
    told.set_weights(model.get_weights())
    np.testing.assert_allclose(
        told(batch, context=context(tf)), fed_by_hand(model, batch, np.ones_like(coins)), rtol=1e-4, atol=1e-5
    )
    at_last = told(batch, context=context(tf, progress=1.0))
    np.testing.assert_allclose(at_last, fed_by_hand(model, batch, np.zeros_like(coins)), rtol=1e-4, atol=1e-5)
    blank = {**batch, "target": np.full_like(batch["target"], np.nan)}
    np.testing.assert_array_equal(model(blank), model(batch))  # a forecast sees no truth


@pytest.mark.parametrize("output", ["point", "student_t"])
def test_layouts_of_replicas_read_the_same(tf, small_dataset, output):
    """Draws, coins and their falling share are those of the row: two replicas and one device have the same losses."""
    options = [option for option in TOLD if output == "point" or "segment" not in option]
    config = train_config(small_dataset, "unused", *options, f"--output={output}")
    np.testing.assert_allclose(losses_of(tf, config, TWO, 6)[0], losses_of(tf, config, ONE, 6)[0], rtol=1e-5)


def test_xla_compiles_the_draws(tf, small_dataset):
    options = ["--decoder=autoregressive", "--output=student_t", "--teacher_forcing=0.5", "--lookback=6", "--horizon=2"]
    losses = [
        losses_of(tf, train_config(small_dataset, "unused", *options, *more), ONE, 1)[0]
        for more in ([], ["--jit_compile"])
    ]
    np.testing.assert_allclose(losses[1], losses[0], rtol=0.1)  # XLA draws other numbers
    told = [*options[:2], "--lookback=6", "--horizon=2"]  # no draws
    losses = [
        losses_of(tf, train_config(small_dataset, "unused", *told, *more), ONE, 1)[0]
        for more in ([], ["--jit_compile"])
    ]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)


def test_a_run_that_goes_on_reads_what_it_would_have_read(tf, small_dataset):
    """Steps 4 to 7 begun anew from the weights of step 4: the noise is a function of seed and step, the share of the
    progress.
    """
    from trainer.tasks.registry import task_for
    from trainer.training.run import build
    from trainer.training.step import Progress
    from trainer.training.strategy import make_strategy

    config = train_config(small_dataset, "unused", *TOLD, "--dropout=0.2")
    whole = losses_of(tf, config, ONE, 8)[0]
    progress = Progress(0, 0.0, 1 / 8).tensors()
    first = build(task_for(config, read(config.data_dir)), make_strategy(config.device, ONE))
    parts = []
    for begin in (0, 4):
        batches = iter(first.task.data.training_batches(begin, None))
        table, _ = first.inner_loop(batches, tf.constant(4), first.initial_state(16), *progress)
        parts.append(table.numpy()[:, 0])
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_the_share_that_is_meant():
    assert ForecastFlags(decoder="autoregressive").teacher_forcing_course == (0.0, 0.0)
    assert ForecastFlags(decoder="autoregressive", output="normal").teacher_forcing_course == (1.0, 1.0)
    assert ForecastFlags(
        decoder="autoregressive", teacher_forcing=0.8, final_teacher_forcing=0.1
    ).teacher_forcing_course == (0.8, 0.1)


@pytest.mark.parametrize(
    "options, said",
    [
        (["--teacher_forcing=0.5"], "has no effect with --decoder=parallel"),
        (["--final_teacher_forcing=0"], "has no effect with --decoder=parallel"),
        (["--decoder=autoregressive", "--teacher_forcing=1.5"], r"--teacher_forcing=1.5 is outside \[0, 1\]"),
        (["--decoder=autoregressive", "--final_teacher_forcing=0"], "is the share at the start too"),
        (["--decoder=autoregressive", "--output=normal", "--final_teacher_forcing=1"], "is the share at the start too"),
        (
            ["--decoder=autoregressive", "--output=normal", "--segment_length=3"],
            "would draw the steps of a segment independently",
        ),
    ],
)
def test_flags_that_do_not_fit_are_told(options, said):
    with pytest.raises(ConfigError, match=said):
        train_config("d", "m", *options)
