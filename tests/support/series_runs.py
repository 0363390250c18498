"""Small series, and runs on them."""

from pathlib import Path

import numpy as np
from runs import quick_config

from trainer.tasks.configurations import TrainConfig
from trainer.tasks.forecast.data.series_slices import SeriesSlice


def write_series_csv(path: Path, rows: int, columns: int = 2, seed: int = 0, missing: float = 0.0) -> Path:
    """An hourly CSV of sines with noise; a share `missing` of its cells is empty."""
    random = np.random.default_rng(seed)
    hours = np.arange(rows)
    times = np.datetime64("2021-01-01T00:00:00") + hours.astype("timedelta64[h]")
    values = (
        10
        + 3 * np.sin(2 * np.pi * hours / 24)[:, None] * np.arange(1, columns + 1)
        + random.normal(0, 0.3, (rows, columns))
    )
    gone = random.random((rows, columns)) < missing
    lines = ["date," + ",".join(f"s{i}" for i in range(columns))]
    for time, row, gaps in zip(times, values, gone):
        lines.append(
            f"{str(time).replace('T', ' ')}," + ",".join("" if gap else f"{value:.4f}" for value, gap in zip(row, gaps))
        )
    path.write_text("\n".join(lines) + "\n")
    return path


def prepare_csv(path: Path, output_dir: Path, *more: str):
    """Runs the prepare stage on a CSV in this process and gives the dataset's directory."""
    from trainer import prepare
    from trainer.cli import flags
    from trainer.tasks.configurations import PrepareConfig

    arguments = [
        "--task=forecast",
        "--source=csv",
        f"--input={path}",
        f"--output_dir={output_dir}",
        "--num_processes=1",
        *more,
    ]
    prepare.prepare(flags.parse(PrepareConfig, arguments))
    return output_dir


QUICK = ("--units=8", "--batch_size=16", "--learning_rate=0.01")  # for a dataset of any task


def train_config(data_dir, model_dir, *more: str) -> TrainConfig:
    """A quick forecasting run."""
    quick = [*QUICK, "--time_features", "--lookback=24", "--horizon=6"]
    if not any(argument.startswith(("--train_steps", "--epochs", "--train_seconds")) for argument in more):
        quick.append("--train_steps=20")
    return quick_config(data_dir, model_dir, quick, more)


def untrained(config: TrainConfig):
    """The task of a configuration's dataset and its model with the first weights, as an export computes with it."""
    from trainer.tasks.datasets import read
    from trainer.tasks.registry import task_for

    task = task_for(config, read(config.data_dir))
    model = task.objective.build_model("float32")
    model.use_portable_kernels()
    task.objective.build_variables(model)
    return task, model


def windows_with_gaps(seed: int, lookback: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Windows `[6, L, 3]` with gaps, their masks, and the same filled by a plain loop."""
    rng = np.random.default_rng(seed)
    past = rng.normal(size=(6, lookback, 3)).astype(np.float32)
    observed = rng.random(past.shape) > 0.3
    observed[0, :, 0], observed[1, :4, 1], observed[2] = False, False, True
    past[~observed] = np.nan  # must not be read
    filled = np.zeros_like(past)
    for b, c in np.ndindex(6, 3):
        value = np.float32(0)
        for step in range(lookback):
            value = past[b, step, c] if observed[b, step, c] else value
            filled[b, step, c] = value
    return past, observed, filled


def noisy_waves(seed: int, gaps: float, rows: int = 160) -> tuple[SeriesSlice, SeriesSlice]:
    """Training and validation part of two noisy waves."""
    rng = np.random.default_rng(seed)
    values = (np.sin(np.arange(rows)[:, None] * [0.3, 0.5]) + rng.normal(size=(rows, 2)) * 0.3).astype(np.float32)
    observed = rng.random(values.shape) >= gaps
    values[~observed] = 0
    return SeriesSlice(values, observed, 0, 120, (0, 1)), SeriesSlice(values, observed, 120, rows, (0, 1))
