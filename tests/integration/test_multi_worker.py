"""Two workers, as real processes on this host: what they compute, and how they stop together."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from runs import quick_config
from series_runs import QUICK, train_config

from trainer import prepare
from trainer.cli import flags
from trainer.errors import EXIT_CONFIG, EXIT_DONE, EXIT_RESTART
from trainer.tasks.configurations import PrepareConfig

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 600  # a busy machine takes minutes to start TensorFlow


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def start(configs) -> list[subprocess.Popen]:
    """One worker a configuration; a single one works alone."""
    addresses = [f"127.0.0.1:{port}" for port in free_ports(len(configs))]
    processes = []
    for index, config in enumerate(configs):
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        processes.append(
            subprocess.Popen(
                [sys.executable, "-m", "trainer.train", *flags.to_arguments(config)],
                cwd=ROOT,
                env={**os.environ, "TF_CONFIG": json.dumps(task)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return processes


def end(processes) -> tuple[list[int], list[str], list[str]]:
    """Exit codes, last lines of stdout, and stderr of all."""
    outputs = []
    try:
        for process in processes:
            outputs.append(process.communicate(timeout=PATIENCE_SECONDS))
    finally:
        for process in processes:
            process.kill()
    return (
        [process.returncode for process in processes],
        [out.strip().rpartition("\n")[2] for out, _ in outputs],
        [e for _, e in outputs],
    )


def lines(model_dir) -> list[dict]:
    path = Path(model_dir) / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def losses(model_dir) -> np.ndarray:
    return np.asarray([line["loss"] for line in lines(model_dir) if "loss" in line])


def wait_for_step(config, processes) -> None:
    """Returns when the first steps are reported."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not lines(config.model_dir):
        assert all(process.poll() is None for process in processes), end(processes)
        if time.monotonic() > deadline:
            for process in processes:
                process.kill()
            pytest.fail(f"no step in {PATIENCE_SECONDS} s")
        time.sleep(0.05)


@pytest.fixture(scope="module")
def text_dataset(tmp_path_factory):
    directory = tmp_path_factory.mktemp("text")
    (directory / "text.txt").write_text("the quick brown fox jumps over the lazy dog. " * 200)
    arguments = [
        "--task=language_model",
        "--source=text",
        f"--input={directory}/text.txt",
        f"--output_dir={directory}/data",
    ]
    prepare.prepare(flags.parse(PrepareConfig, [*arguments, "--splits=0.8,0.2", "--num_processes=1"]))
    return directory / "data"


def train_here(config) -> None:
    """The same command without a process of its own."""
    from trainer.tasks.datasets import read
    from trainer.training.preemption import Preemption
    from trainer.training.run import train
    from trainer.training.supervisor import Heartbeat

    with Preemption() as preemption:
        train(config, read(config.data_dir), None, preemption, Heartbeat())


@pytest.fixture(scope="module")
def date_dataset(tmp_path_factory):
    directory = tmp_path_factory.mktemp("dates")
    arguments = [
        "--task=seq2seq",
        "--source=sample",
        f"--output_dir={directory}/data",
        "--splits=0.9,0.02",
        "--num_processes=1",
    ]
    prepare.prepare(flags.parse(PrepareConfig, arguments))
    return directory / "data"


@pytest.mark.parametrize("task, devices", [("forecast", 1), ("language_model", 2), ("seq2seq", 1)])
def test_two_workers_give_the_losses_of_one_device(
    tf, task, devices, small_dataset, text_dataset, date_dataset, tmp_path
):
    def config_of(name, *more):
        options = ["--train_steps=50", "--clip_norm=0.1", *more]
        if task == "forecast":
            forecast = ["--num_layers=2", "--linear_skip=add", "--ensemble_size=2"]
            return train_config(small_dataset, tmp_path / name, *forecast, *options)
        if task == "language_model":
            text = ["--sequence_length=16", "--ngram_order=3"]
            return quick_config(text_dataset, tmp_path / name, QUICK, [*text, *options])
        return quick_config(date_dataset, tmp_path / name, QUICK, ["--cell=gru", "--learning_rate=0.002", *options])

    processes = start([config_of("many", f"--devices_per_worker={devices}")] * 2)
    train_here(config_of("one"))
    codes, results, errors = end(processes)
    assert codes == [EXIT_DONE] * 2, errors
    told = [
        {name: value for name, value in json.loads(result).items() if name != "startup_seconds"} for result in results
    ]
    assert told[0] == told[1], "workers tell different results"
    assert f"bytes over {2 * devices} replicas, in one all-reduce" in errors[0]
    wanted = losses(tmp_path / "one")
    assert len(wanted) == 50 and wanted[-10:].mean() < wanted[:10].mean()
    np.testing.assert_allclose(losses(tmp_path / "many"), wanted, rtol=1e-5)
    readers = [tf.train.load_checkpoint(str(tmp_path / name / "checkpoints")) for name in ("one", "many")]
    names = [name for name in readers[0].get_variable_to_shape_map() if name.startswith("model/")]
    assert len(names) > 5
    for name in names:
        np.testing.assert_allclose(readers[1].get_tensor(name), readers[0].get_tensor(name), atol=1e-4, err_msg=name)


def test_accumulated_parts_carry_their_rows_of_the_state(tf, text_dataset, tmp_path):
    options = ["--sequence_length=16", "--train_steps=30", "--num_layers=2"]
    for name, more in (("whole", []), ("parts", ["--accumulate_steps=4"])):
        train_here(quick_config(text_dataset, tmp_path / name, QUICK, [*options, *more]))
    np.testing.assert_allclose(losses(tmp_path / "parts"), losses(tmp_path / "whole"), rtol=1e-5)


def test_sigterm_to_one_worker_stops_all_at_one_step_and_another_number_goes_on(tf, small_dataset, tmp_path):
    options = ["--schedule=constant", "--evaluate_every_steps=7", "--save_every_steps=100000", "--grace_seconds=200"]
    config = train_config(small_dataset, tmp_path / "m", *options, "--train_steps=100000")
    processes = start([config] * 2)
    wait_for_step(config, processes)
    processes[1].send_signal(signal.SIGTERM)
    codes, _, errors = end(processes)
    assert codes == [EXIT_RESTART] * 2, errors
    told = [[line for line in text.splitlines() if line.startswith("error: asked to stop")] for text in errors]
    assert told[0] == told[1] and len(told[0]) == 1
    saved = len(losses(tmp_path / "m"))
    assert f"step {saved} is saved" in told[0][0], "a step was taken and not saved"
    until = f"--train_steps={saved + 20}"
    alone = start([train_config(small_dataset, tmp_path / "m", *options, until)])
    train_here(train_config(small_dataset, tmp_path / "n", *options, until))
    codes, [result], [text] = end(alone)
    assert codes == [EXIT_DONE], text
    assert json.loads(result)["resumed_from"] == saved
    assert "1 replicas instead of 2: the order of the data goes on" in text
    np.testing.assert_allclose(losses(tmp_path / "m"), losses(tmp_path / "n"), rtol=1e-4)
    scores = [[line["step"] for line in lines(tmp_path / name) if "validation_mse" in line] for name in ("m", "n")]
    assert scores[0] == scores[1], "a validation was lost or done twice"


def test_a_killed_peer_and_workers_started_differently(small_dataset, tmp_path):
    config = train_config(small_dataset, tmp_path / "m", "--train_steps=100000", "--schedule=constant")
    different = [train_config(small_dataset, tmp_path / "n", f"--seed={seed}") for seed in (0, 1)]
    processes = start([config] * 2)
    wait_for_step(config, processes)
    [trainer] = Path(f"/proc/{processes[1].pid}/task/{processes[1].pid}/children").read_text().split()
    os.kill(int(trainer), signal.SIGKILL)
    killed = time.monotonic()
    codes, _, errors = end(processes)
    assert codes == [EXIT_RESTART, 128 + signal.SIGKILL], errors
    assert time.monotonic() - killed < 15
    assert "error: a peer was lost (" in errors[0] and "Traceback" not in errors[0]
    codes, _, errors = end(start(different))
    assert codes == [EXIT_CONFIG] * 2, errors
    assert all("has other flags, data or versions on worker 1 than on worker 0" in text for text in errors)


@pytest.mark.parametrize(
    "strategy, addresses, said",
    [
        ("multi_worker", None, "--strategy=multi_worker finds no cluster"),
        ("mirrored", ["a:1", "b:1"], "--strategy=mirrored keeps to one host, but the environment names 2 workers"),
        ("auto", ["a:1", "b:1", "c:1"], "--batch_size=16 cannot be split over 3 workers; use 15 or 18"),
        ("auto", ["a:1", "a:1"], "TF_CONFIG gives workers 0 and 1 one address"),
    ],
)
def test_clusters_that_do_not_fit_are_told_before_tensorflow_starts(strategy, addresses, said, small_dataset, tmp_path):
    config = train_config(small_dataset, tmp_path, f"--strategy={strategy}")
    text = json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": 0}}) if addresses else ""
    arguments = [sys.executable, "-X", "importtime", "-m", "trainer.train", *flags.to_arguments(config)]
    environ = {**os.environ, "TF_CONFIG": text}
    done = subprocess.run(arguments, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == EXIT_CONFIG
    assert f"error: {said}" in done.stderr and "| tensorflow\n" not in done.stderr


def test_weights_that_differ_between_replicas_stop_the_run(tf, small_dataset):
    from trainer.errors import ReplicaError
    from trainer.tasks.datasets import read
    from trainer.tasks.registry import task_for
    from trainer.training.run import build
    from trainer.training.strategy import make_strategy
    from trainer.training.weight_check import WeightCheck, checksum

    config = train_config(small_dataset, "unused", "--devices_per_worker=2")
    stepper = build(task_for(config, read(config.data_dir)), make_strategy(config.device, ["/cpu:0", "/cpu:1"]))
    check = WeightCheck(stepper.strategy, stepper.optimizer.floats)
    check.run(3)
    first, second = stepper.strategy.experimental_local_results(stepper.optimizer.weights[0])
    value = second.numpy()
    value.flat[-1] = np.nextafter(value.flat[-1], 1, dtype=np.float32)
    second.assign(value)
    with pytest.raises(ReplicaError, match="of replica 1 differ from those of replica 0 at step 4"):
        check.run(4)
    bits = first.numpy().reshape(-1).view(np.int32).astype(object)  # Python's integers never overflow
    wanted = sum(int(bit) * (2 * index + 1) for index, bit in enumerate(bits)) % 2**64
    assert int(checksum(first).numpy()) % 2**64 == wanted
