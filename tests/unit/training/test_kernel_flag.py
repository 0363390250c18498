"""`--kernel` reaches every recurrent layer of every task, and asks for a GPU in time."""

import json
from pathlib import Path
from typing import Any

import pytest
from commands import call
from pair_runs import config_for as pair_config
from pair_runs import pair_data  # noqa: F401 (a fixture)
from series_runs import train_config
from text_runs import config_for as text_config
from text_runs import text_data  # noqa: F401 (a fixture)

from trainer.cli import flags
from trainer.errors import EXIT_CONFIG, ConfigError
from trainer.tasks.configurations import TrainConfig
from trainer.tasks.datasets import read


@pytest.mark.parametrize("kernel", ["auto", "cudnn", "cpu"])
@pytest.mark.parametrize("task, layers", [("forecast", 2), ("language", 2), ("pairs", 7)])
def test_every_recurrent_layer_gets_it(tf, small_dataset, text_data, pair_data, task, layers, kernel):  # noqa: F811
    from trainer.nn.recurrent import Recurrent
    from trainer.tasks.registry import task_for

    options = ["--num_layers=2", f"--kernel={kernel}"]
    config = {
        "forecast": lambda: train_config(small_dataset, "m", *options),
        "language": lambda: text_config(text_data, "m", *options),
        "pairs": lambda: pair_config(pair_data, "m", *options),
    }[task]()
    model: Any = task_for(config, read(config.data_dir)).objective.build_model("float32")
    found = [layer for layer in model._flatten_layers() if isinstance(layer, Recurrent)]
    assert len(found) == layers
    assert {layer._kernel for layer in found} == {kernel}


def test_cudnn_without_a_gpu_is_told_before_training(tf, small_dataset, tmp_path):
    if tf.config.list_physical_devices("GPU"):
        pytest.skip("this host has a GPU")
    arguments = flags.to_arguments(train_config(small_dataset, tmp_path / "m", "--kernel=cudnn"))
    done = call("trainer.train", *arguments)
    assert done.returncode == EXIT_CONFIG, done.stderr
    assert (
        "error: --kernel=cudnn needs a GPU, and TensorFlow finds none on this host; use --kernel=auto"
        in done.stderr.splitlines()
    )
    assert not done.stdout and not (tmp_path / "m").exists()


def test_cudnn_cannot_be_compiled():
    with pytest.raises(ConfigError, match="--kernel=cudnn cannot be compiled by --jit_compile"):
        flags.parse(
            TrainConfig, ["--data_dir=d", "--model_dir=m", "--train_steps=1", "--kernel=cudnn", "--jit_compile"]
        )


def test_a_model_trained_with_cudnn_is_restored_without_a_gpu(tf, small_dataset, tmp_path):
    """As if it came from a host with a GPU: its configuration says cudnn, its weights are the same ones."""
    from trainer.training import run_files
    from trainer.training.preemption import Preemption
    from trainer.training.restore import restored_model
    from trainer.training.run import train
    from trainer.training.supervisor import Heartbeat

    model_dir = str(tmp_path / "m")
    with Preemption() as preemption:
        train(
            train_config(small_dataset, model_dir, "--train_steps=2"),
            read(small_dataset),
            None,
            preemption,
            Heartbeat(),
        )
    path = Path(model_dir) / run_files.CONFIG_FILE
    content = json.loads(path.read_text())
    content["config"]["device"]["kernel"] = "cudnn"
    path.write_text(json.dumps(content))
    config, manifest = run_files.read(model_dir)
    assert config.device.kernel == "cudnn"
    model: Any
    _, model, step = restored_model(config, manifest, model_dir, "last")
    assert step == 2 and model.built


def test_gpus_that_are_required_and_absent_are_told_before_training(tf, small_dataset, tmp_path):
    if tf.config.list_physical_devices("GPU"):
        pytest.skip("this host has a GPU")
    config = train_config(small_dataset, tmp_path / "m", "--require_gpus=2")
    done = call("trainer.train", *flags.to_arguments(config))
    assert done.returncode == EXIT_CONFIG, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: --require_gpus=2 finds none: /dev/nvidiactl is not there"), last
    assert not (tmp_path / "m").exists()
