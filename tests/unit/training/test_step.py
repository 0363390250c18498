"""What a training step computes, under one device and under replicas."""

import numpy as np
import pytest
from runs import ONE, TWO, losses_of
from series_runs import train_config

from trainer.tasks.datasets import read


@pytest.mark.parametrize(
    "options",
    [
        ["--cell=lstm"],
        ["--cell=gru", "--num_layers=2"],
        ["--jit_compile"],
        ["--optimizer=sgd", "--learning_rate=1", "--series=multivariate"],
    ],
)
def test_two_replicas_give_the_losses_of_one_device(tf, small_dataset, options):
    config = train_config(small_dataset, "unused", "--clip_norm=0.1", *options)
    alone, norms, _, _ = losses_of(tf, config, ONE, 50)
    shared, shared_norms, _, stepper = losses_of(tf, config, TWO, 50)
    np.testing.assert_allclose(shared, alone, rtol=1e-5)
    np.testing.assert_allclose(shared_norms, norms, rtol=1e-3)
    assert (norms > 0.1).any(), "clipping had nothing to do"
    assert alone[-10:].mean() < alone[:10].mean()
    copies = stepper.strategy.experimental_local_results(stepper.model.trainable_variables[0].value)
    np.testing.assert_array_equal(*[copy.numpy() for copy in copies])


def test_dropout_differs_between_replicas_and_repeats_between_runs(tf, small_dataset):
    config = train_config(small_dataset, "unused", "--dropout=0.5", "--num_layers=2")
    first, again = (losses_of(tf, config, TWO, 8)[0] for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert (losses_of(tf, config, ONE, 8)[0] != first).any()
    from trainer.nn.step_context import StepContext, dropout

    masks = [
        dropout(tf.ones([4, 64]), 0.5, StepContext.of(0, tf.constant(3), tf.constant(replica)), "x").numpy()
        for replica in (0, 0, 1)
    ]
    np.testing.assert_array_equal(masks[0], masks[1])
    assert (masks[0] != masks[2]).any()


def test_a_step_is_traced_once(tf, small_dataset):
    from trainer.training.step import Progress

    config = train_config(small_dataset, "unused")
    *_, stepper = losses_of(tf, config, ONE, 3)
    batches = iter(stepper.task.data.training_batches(3, None))
    for steps in (1, 4):
        stepper.inner_loop(batches, tf.constant(steps), (), *Progress(0, 0.0, 0.1).tensors())
    assert stepper.traces == 1
    assert int(stepper.optimizer.step) == 8


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision_learns_and_keeps_float32_weights(tf, small_dataset, precision):
    config = train_config(small_dataset, "unused", f"--precision={precision}")
    losses, _, _, stepper = losses_of(tf, config, ONE, 40)
    exact, *_ = losses_of(tf, train_config(small_dataset, "unused"), ONE, 40)
    assert np.isfinite(losses).all() and losses[-10:].mean() < losses[:10].mean()
    np.testing.assert_allclose(losses, exact, rtol=0.1)
    assert (losses != exact).any()
    assert {variable.dtype for variable in stepper.model.trainable_variables} == {"float32"}
    assert float(stepper.optimizer.loss_scale) == (2.0**15 if precision == "float16" else 1.0)


def test_loss_is_the_mean_over_observed_targets(tf, small_dataset):
    config = train_config(small_dataset, "unused")
    losses, _, _, stepper = losses_of(tf, config, ONE, 1)
    from trainer.tasks.registry import task_for
    from trainer.training.run import build
    from trainer.training.strategy import make_strategy

    fresh = build(task_for(config, read(config.data_dir)), make_strategy(config.device, ONE))
    batch = next(iter(stepper.task.data.training_batches(0, None)))
    error = (fresh.model(batch).numpy() - batch["target"].numpy()) ** 2
    weight = batch["target_weight"].numpy()
    assert weight.min() == 0.0, "the batch has no missing target"
    assert losses[0] == pytest.approx(error[weight > 0].mean(), rel=1e-5)


def test_validation_counts_every_window_once_whatever_the_batch(tf, small_dataset):
    config = train_config(small_dataset, "unused")
    *_, stepper = losses_of(tf, config, TWO, 2)
    scores = [
        stepper.validate(stepper.task.data.evaluation_batches("validation", size), size) for size in (10, 64, 1000)
    ]
    for score in scores[1:]:
        assert score == pytest.approx(scores[0], rel=1e-5)


def test_accumulated_parts_give_the_step_of_as_many_replicas(tf, small_dataset):
    """With dropout too: a part has the noise of the replica that would have had its rows."""
    options = ["--dropout=0.3", "--num_layers=2", "--clip_norm=0.1"]
    shared, *_ = losses_of(tf, train_config(small_dataset, "unused", *options), TWO, 10)
    parts, *_ = losses_of(tf, train_config(small_dataset, "unused", *options, "--accumulate_steps=2"), ONE, 10)
    np.testing.assert_allclose(parts, shared, rtol=1e-5)
