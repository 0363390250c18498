"""What of Keras 3 keeps it from being our training loop: `fit` on two workers, and Adam on a token that comes often.

    python benchmarks/keras_fit.py

A small LSTM, processes of this host. stdout's last line is one JSON object.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

OFTEN = 9  # times that the token comes in a batch
WAYS = (("two workers", 1), ("two replicas", 1), ("two replicas", 2))


def run(way: str, steps_per_execution: int) -> None:
    """Prints what `fit` and `evaluate` end with, as a JSON object."""
    import keras
    import numpy as np
    import tensorflow as tf

    if way == "two workers":
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    else:
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    rows = np.ones((64, 8, 3), np.float32), np.ones((64, 1), np.float32)
    data = tf.data.Dataset.from_tensor_slices(rows).batch(16)
    with strategy.scope():
        model = keras.Sequential([keras.Input((8, 3)), keras.layers.LSTM(8), keras.layers.Dense(1)])
        model.compile("adam", "mse", steps_per_execution=steps_per_execution)
    ends = {}
    for name in ("fit", "evaluate"):
        try:
            getattr(model, name)(data, verbose=0)
            ends[name] = "runs"
        except Exception as error:
            ends[name] = f"{type(error).__name__}: {str(error).partition(chr(10))[0].strip()}"
    print(json.dumps(ends), flush=True)
    os._exit(0)  # neither worker waits for the other


def first_step(sparse: bool) -> float:
    """How far Adam at a rate of 0.1 moves the row of a token that comes `OFTEN` times in a batch."""
    import keras
    import tensorflow as tf

    table, adam = keras.Variable(tf.zeros([4, 1])), keras.optimizers.Adam(0.1)
    adam.build([table])
    gradient = tf.IndexedSlices(tf.ones([OFTEN, 1]), tf.zeros([OFTEN], tf.int32), tf.constant([4, 1]))
    adam.apply([gradient if sparse else tf.convert_to_tensor(gradient)])
    return round(-float(table.numpy()[0, 0]), 3)


def ends_of(way: str, steps_per_execution: int) -> dict[str, str]:
    """Of worker 0, or of the one process."""
    from launch.ports import HOST, reserved_ports

    command = [sys.executable, __file__, way, str(steps_per_execution)]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with reserved_ports(2) as ports:
        workers = [f"{HOST}:{port}" for port in ports]
        processes = []
        for index in range(2 if way == "two workers" else 1):
            environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
            if way == "two workers":
                cluster = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
                environment["TF_CONFIG"] = json.dumps(cluster)
            processes.append(subprocess.Popen(command, env=environment, **pipes))
        answers = [process.communicate(timeout=300)[0] for process in processes]
    return json.loads(answers[0].splitlines()[-1])


def main() -> None:
    if len(sys.argv) == 3:
        run(sys.argv[1], int(sys.argv[2]))
        return
    from importlib.metadata import version

    from benchmarks.results import machine, table, write_section

    found: dict[str, Any] = {f"{way}, steps_per_execution={steps}": ends_of(way, steps) for way, steps in WAYS}
    text = (
        f"`python benchmarks/keras_fit.py`, {time.strftime('%Y-%m-%d')}, Keras {version('keras')}, TensorFlow "
        f"{version('tensorflow')}, on {machine()}. A small LSTM; the first line of an error."
    )
    rows = [[way, f"`{ends['fit']}`", f"`{ends['evaluate']}`"] for way, ends in found.items()]
    found["adam"] = {"sparse": first_step(sparse=True), "dense": first_step(sparse=False)}
    adam = (
        f"First step of Keras' Adam at a rate of 0.1, for a token that comes {OFTEN} times in a batch: "
        f"{found['adam']['sparse']} with the sparse gradient that an embedding has, {found['adam']['dense']} with the "
        "same gradient as a dense tensor."
    )
    write_section("Keras fit", f"{text}\n\n{table(['devices', '`fit`', '`evaluate`'], rows)}\n\n{adam}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
