"""Recurrent layers against PyTorch and Keras: forward, and forward with backward, side by side.

    python benchmarks/kernels.py [--grid] [--rounds=15] [--torch_python=/path/to/python]

Every library has a process of its own, which lives through the whole run and is asked for one repetition at a time, in
turn: a slow moment of the machine hits all of them. Letters: B batch, T time, D features, H hidden. stdout's last line
is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

CELLS = ("lstm", "gru")
WAYS = ("step", "forward")


class Shape(NamedTuple):
    batch: int
    steps: int
    features: int
    units: int

    def __str__(self) -> str:
        return f"B{self.batch} T{self.steps} D{self.features} H{self.units}"


SHAPES = (Shape(64, 128, 128, 512), Shape(256, 96, 7, 64), Shape(32, 64, 256, 1024))
GRID = tuple(Shape(batch, 64, units, units) for batch in (16, 64, 256) for units in (64, 256, 512))


def torch_case(cell: str, way: str, shape: Shape) -> Callable[[], Any]:
    import torch

    layer = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[cell](shape.features, shape.units, batch_first=True)
    data = torch.randn(shape[:3])

    def forward() -> Any:
        with torch.no_grad():
            return layer(data)[0]

    def step() -> Any:
        layer.zero_grad(set_to_none=True)
        x = data.clone().requires_grad_()
        layer(x)[0].square().mean().backward()
        return x.grad

    return forward if way == "forward" else step


def tensorflow_case(layer: Any, shape: Shape, way: str) -> Callable[[], Any]:
    import tensorflow as tf

    data = tf.random.normal(shape[:3])
    layer(data)
    weights = [weight.value for weight in layer.trainable_variables]

    @tf.function(input_signature=[tf.TensorSpec(shape[:3], tf.float32)])
    def forward(x: tf.Tensor) -> tf.Tensor:
        return layer(x)

    @tf.function(input_signature=[tf.TensorSpec(shape[:3], tf.float32)])
    def step(x: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_mean(tf.square(layer(x)))
        return tape.gradient(loss, [x, *weights])

    if way == "forward":
        return lambda: forward(data).numpy()
    return lambda: [gradient.numpy() for gradient in step(data)]


def case(library: str, cell: str, way: str, shape: Shape) -> Callable[[], Any]:
    if library == "pytorch":
        return torch_case(cell, way, shape)
    import keras

    if library == "keras":
        layer = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU}[cell](shape.units, return_sequences=True)
        return tensorflow_case(layer, shape, way)
    from trainer.nn.recurrent import RecurrentStack

    return tensorflow_case(RecurrentStack(cell, 1, shape.units, 0.0, "float32"), shape, way)


def serve(library: str) -> None:
    """Answers each line `CELL WAY B T D H` with the milliseconds of one repetition."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    cases: dict[str, Callable[[], Any]] = {}
    for line in sys.stdin:
        cell, way, *sizes = line.split()
        if line not in cases:
            cases.clear()
            cases[line] = case(library, cell, way, Shape(*map(int, sizes)))
            for _ in range(2):
                cases[line]()
        start = time.perf_counter()
        cases[line]()
        print((time.perf_counter() - start) * 1e3, file=answers, flush=True)


class Library:
    """A process that measures one library."""

    def __init__(self, name: str, python: str):
        # Keras as it comes, and ours, both with oneDNN, as the trainer sets it.
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "1"}
        command = [python, __file__, f"--serve={name}"]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(command, text=True, bufsize=1, env=environment, **pipes)
        self._name = name

    def milliseconds(self, cell: str, way: str, shape: Shape) -> float:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(" ".join(map(str, (cell, way, *shape))) + "\n")
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the process that measures {self._name} ended with {self._process.wait()}")
        return float(answer)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


def measure(libraries: dict[str, Library], shapes: tuple[Shape, ...], rounds: int) -> list[dict[str, Any]]:
    """Median milliseconds of every library for every case, one repetition of each in turn."""
    found = []
    for way in WAYS:
        for cell in CELLS:
            for shape in shapes:
                times: dict[str, list[float]] = {name: [] for name in libraries}
                for turn in range(rounds + 1):  # the first is for building and warming up
                    for name, library in libraries.items():
                        value = library.milliseconds(cell, way, shape)
                        if turn:
                            times[name].append(value)
                medians = {name: statistics.median(values) for name, values in times.items()}
                found.append({"way": way, "cell": cell, "shape": str(shape), **medians})
                print(
                    f"{way:8} {cell:5} {shape!s:22} "
                    + "  ".join(f"{name} {value:.1f} ms" for name, value in medians.items()),
                    flush=True,
                )
    return found


def ratios(rows: list[dict[str, Any]], peer: str) -> dict[str, float]:
    """How many times ours is faster in a training step, over all rows."""
    values = [row[peer] / row["ours"] for row in rows if row["way"] == "step"]
    return {"geomean": round(math.exp(statistics.fmean(map(math.log, values))), 3), "min": round(min(values), 3)}


def section(rows: list[dict[str, Any]], peers: list[str], summary: dict[str, Any], rounds: int) -> str:
    from benchmarks.results import machine, table

    header = ["", "cell", "shape", "ours", *(f"{peer} (ratio)" for peer in peers)]
    body = [
        [
            row["way"],
            row["cell"],
            row["shape"],
            f"{row['ours']:.1f}",
            *(f"{row[peer]:.1f} ({row[peer] / row['ours']:.2f})" for peer in peers),
        ]
        for row in rows
    ]
    lines = [
        f"{peer}: geometric mean {summary[f'against_{peer}']['geomean']}, least {summary[f'against_{peer}']['min']}"
        for peer in peers
    ]
    text = (
        f"`python benchmarks/kernels.py`, {time.strftime('%Y-%m-%d')}, on {machine()}.\n"
        f"Load before and after: {summary['load']}.\n"
        f"Milliseconds, medians of {rounds} interleaved rounds, float32; the ratio is theirs over ours, above 1 where "
        "ours is faster."
    )
    return "\n\n".join([text, table(header, body), "Training step: " + "; ".join(lines) + "."])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--grid", action="store_true", help="more shapes than the three of the design")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--torch_python", default=sys.executable, help="a Python that has PyTorch")
    parser.add_argument("--serve", choices=("ours", "keras", "pytorch"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    pythons = {"ours": sys.executable, "keras": sys.executable, "pytorch": options.torch_python}
    if subprocess.run([options.torch_python, "-c", "import torch"], capture_output=True, check=False).returncode:
        print(
            f"{options.torch_python} has no PyTorch: left out (pip install torch, or give --torch_python)",
            file=sys.stderr,
        )
        del pythons["pytorch"]
    libraries = {name: Library(name, python) for name, python in pythons.items()}
    load = [os.getloadavg()[0]]
    try:
        rows = measure(libraries, SHAPES + (GRID if options.grid else ()), options.rounds)
    finally:
        for library in libraries.values():
            library.close()
    load.append(os.getloadavg()[0])
    peers = [name for name in libraries if name != "ours"]
    summary: dict[str, Any] = {f"against_{peer}": ratios(rows, peer) for peer in peers}
    summary |= {"rows": rows, "load": [round(value, 1) for value in load]}

    from benchmarks.results import write_section

    write_section(
        "Recurrent kernels" + (" (grid)" if options.grid else ""), section(rows, peers, summary, options.rounds)
    )
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
