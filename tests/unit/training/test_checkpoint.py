import numpy as np
import pytest
from series_runs import train_config

from trainer.errors import DataError
from trainer.tasks.datasets import read


def make(config):
    from trainer.tasks.registry import task_for
    from trainer.training.run import build
    from trainer.training.strategy import make_strategy

    return build(task_for(config, read(config.data_dir)), make_strategy(config.device, ["/cpu:0"]))


def test_every_variable_is_saved_and_restored(tf, small_dataset, tmp_path):
    from trainer.training.checkpoint import Checkpoints, LoopState, restore_weights

    config = train_config(small_dataset, tmp_path, "--num_layers=3", "--cell=gru", "--segment_length=3")
    stepper = make(config)
    random = np.random.default_rng(0)
    model_variables = [variable.value for variable in stepper.model.weights]
    everything = [*model_variables, *(slot for slots in stepper.optimizer.slots for slot in slots)]
    wanted = [random.normal(size=variable.shape).astype(np.float32) for variable in everything]
    for variable, value in zip(everything, wanted):
        variable.assign(value)
    stepper.optimizer.step.assign(17)
    state = LoopState(train_seconds=1.5, best_score=0.25, best_step=9, evaluations_without_gain=2)
    carried = random.normal(size=[4, 5]).astype(np.float32)
    saved = Checkpoints(str(tmp_path), stepper.model, stepper.optimizer, state, keep=2)
    saved.save([carried])
    saved.save_best()
    stepper.model.trainable_variables[0].assign(wanted[0] * 0)  # the copy is what counts
    saved.wait()
    fresh, restored = make(config), LoopState()
    again = Checkpoints(str(tmp_path), fresh.model, fresh.optimizer, restored, keep=2)
    [found] = again.restore(again.newest())
    np.testing.assert_array_equal(found, carried)
    assert again.step == 17 and restored == state
    values = [variable.value for variable in fresh.model.weights]
    for variable, value in zip([*values, *(slot for slots in fresh.optimizer.slots for slot in slots)], wanted):
        np.testing.assert_array_equal(variable.numpy(), value)
    other = make(config)
    assert restore_weights(str(tmp_path), other.model, "best") == 17
    for variable, value in zip(other.model.weights, wanted):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_only_the_last_ones_are_kept_and_tensorflow_finds_them(tf, small_dataset, tmp_path):
    from trainer.training.checkpoint import Checkpoints, LoopState

    stepper = make(train_config(small_dataset, tmp_path))
    checkpoints = Checkpoints(str(tmp_path), stepper.model, stepper.optimizer, LoopState(), keep=2)
    for step in (10, 20, 30):
        stepper.optimizer.step.assign(step)
        checkpoints.save([])
    checkpoints.wait()
    assert sorted(path.stem for path in (tmp_path / "checkpoints").glob("*.index")) == ["ckpt-20", "ckpt-30"]
    assert tf.train.latest_checkpoint(str(tmp_path / "checkpoints")).endswith("ckpt-30")


def test_weights_of_another_shape_are_refused(tf, small_dataset, tmp_path):
    from trainer.training.checkpoint import Checkpoints, LoopState, restore_weights

    stepper = make(train_config(small_dataset, tmp_path))
    saved = Checkpoints(str(tmp_path), stepper.model, stepper.optimizer, LoopState(), keep=2)
    saved.save([])
    saved.wait()
    wider = make(train_config(small_dataset, tmp_path, "--units=9"))
    with pytest.raises(DataError, match="does not fit the model"):
        restore_weights(str(tmp_path), wider.model, "last")
    with pytest.raises(DataError, match="has no checkpoint"):
        restore_weights(str(tmp_path / "nowhere"), wider.model, "last")


def test_the_mean_of_the_last_checkpoints(tf, small_dataset, tmp_path):
    from trainer.training.checkpoint import Checkpoints, LoopState, restore_weights

    stepper = make(train_config(small_dataset, tmp_path))
    checkpoints = Checkpoints(str(tmp_path), stepper.model, stepper.optimizer, LoopState(), keep=3)
    for step in (10, 20, 30, 40):
        stepper.optimizer.step.assign(step)
        for index, variable in enumerate(stepper.model.weights):
            variable.assign(tf.fill(variable.shape, float(step * step + index)))
        checkpoints.save([])
    checkpoints.wait()
    other = make(train_config(small_dataset, tmp_path))
    assert restore_weights(str(tmp_path), other.model, "best", average=2) == 40
    for index, variable in enumerate(other.model.weights):
        np.testing.assert_allclose(variable.numpy(), (30**2 + 40**2) / 2 + index, rtol=1e-6)
    with pytest.raises(
        DataError, match="holds 3 checkpoints, not 4; average fewer, or train with --keep_checkpoints=4"
    ):
        restore_weights(str(tmp_path), other.model, "best", average=4)
    data = next((tmp_path / "checkpoints").glob("ckpt-30.data-*"))
    data.write_bytes(data.read_bytes()[:100])
    with pytest.raises(DataError, match=r"ckpt-30 is damaged .*; average fewer checkpoints"):
        restore_weights(str(tmp_path), other.model, "best", average=2)
