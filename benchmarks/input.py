"""The input pipeline: how long a step waits for it, and how fast it is alone.

    python benchmarks/input.py [--quick] [--rounds=160] [--work_dir=DIR]

Waiting: short inner loops in pairs, in random order, one with the real pipeline and one with the same batches kept in
memory. A pair's share is 1 - kept / real; the share of a step spent waiting is the median pair's, with a 95% interval
from order statistics (it may begin below 0, and its end is what the measurement rules out). Models and batches are
those of the recipes etth1_96, tinyshakespeare_3min and multi30k_en_de, the data what they are for.

Alone: the training split from its shards into memory (checksums and parsing included) against a plain read of the same
files, and batches cut from memory against a plain read of as many bytes from one file. All files are in the page cache.
Last line on stdout: one JSON object.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as the trainer sets it
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from public_data import prepared  # noqa: E402
from results import machine, table, write_section  # noqa: E402

READ_BYTES = 1 << 20
REPETITIONS = 5  # of what is measured alone
KEPT_PAIRS = 5  # whose batches are in memory at a time
MISSED = 0.05  # how often an interval may lie beside the true median


class Case(NamedTuple):
    recipe: str
    steps: int  # of an inner loop: about half a second


CASES = {
    "forecast": Case("etth1_96", 16),
    "language_model": Case("tinyshakespeare_3min", 8),
    "seq2seq": Case("multi30k_en_de", 2),
}


def median_seconds(call: Callable[[], Any], repetitions: int = REPETITIONS) -> float:
    def once() -> float:
        began = time.perf_counter()
        call()
        return time.perf_counter() - began

    return statistics.median(once() for _ in range(repetitions))


def plain_read(paths: list[Path]) -> int:
    """Reads files from beginning to end; how many bytes they have."""
    total = 0
    for path in paths:
        with path.open("rb", buffering=0) as file:
            while part := file.read(READ_BYTES):
                total += len(part)
    return total


def config_of(name: str, data_dir: Path) -> Any:
    from trainer.cli import flags
    from trainer.tasks.configurations import TrainConfig

    recipe = ROOT / "trainer" / "recipes" / f"{CASES[name].recipe}.flags"
    return flags.parse(
        TrainConfig, [f"--flagfile={recipe}", f"--data_dir={data_dir}", "--model_dir=unused", "--strategy=one_device"]
    )


def loading(config: Any, manifest: Any) -> dict[str, float]:
    """From the shards of the training split into memory."""
    from trainer.tasks.registry import task_for

    split = manifest.splits["train"]
    paths = [Path(config.data_dir) / shard.file for shard in split.shards]
    seconds = median_seconds(lambda: task_for(config, manifest).data.examples_per_epoch)
    plain = median_seconds(lambda: plain_read(paths))
    size = sum(shard.bytes for shard in split.shards)
    return {
        "records_per_second": split.records / seconds,
        "mb_per_second": size / seconds / 1e6,
        "plain_mb_per_second": size / plain / 1e6,
    }


def cutting(task: Any, steps: int) -> dict[str, float]:
    """From memory to batches, as the loop gets them."""
    batches = iter(task.data.training_batches(0, None))
    first = next(batches)
    rows = size = 0
    began = time.perf_counter()
    for batch in itertools.islice(batches, steps):
        rows += int(next(iter(batch.values())).shape[0])
        size += sum(int(part.dtype.size) * part.shape.num_elements() for part in batch.values())
    seconds = time.perf_counter() - began
    del first, batches
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "batches"
        path.write_bytes(bytes(size))
        plain = median_seconds(lambda: plain_read([path]))
    return {
        "records_per_second": rows / seconds,
        "mb_per_second": size / seconds / 1e6,
        "plain_mb_per_second": size / plain / 1e6,
    }


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """An interval that holds the median of the values' distribution, whatever that is, with probability 1 - `MISSED` or
    more.

    Its ends are two of the values, equally far from the ends of their order: the number of values below the median is
    binomial. Fewer than 6 values are too few for that; then they are all of the range.
    """
    ordered, below, rank = sorted(values), 0.0, 0
    while (below := below + math.comb(len(ordered), rank) / 2 ** len(ordered)) <= MISSED / 2:
        rank += 1
    return ordered[max(rank - 1, 0)], ordered[-max(rank, 1)]


def waiting(task: Any, steps: int, rounds: int) -> dict[str, Any]:
    """Seconds of a step with the pipeline and without, and the share of it that is waiting."""
    import tensorflow as tf

    from trainer.training.run import build
    from trainer.training.step import Progress
    from trainer.training.strategy import configure_devices, make_strategy

    config = task.config
    stepper = build(task, make_strategy(config.device, configure_devices(config.device)))
    state = stepper.initial_state(config.budget.batch_size)
    progress = Progress(0, 0.0, 1e-6).tensors()
    sources = {"real": iter(task.data.training_batches(0, None))}
    pairs = []
    order = random.Random(0)
    for turn in range(rounds + 1):  # the first traces, compiles and warms up
        if turn % KEPT_PAIRS == 0:
            kept_batches = task.data.training_batches(turn * steps, None).take(KEPT_PAIRS * steps).cache()
            for _ in kept_batches:
                pass
            sources["kept"] = iter(kept_batches)
        seconds = {}
        for way in order.sample(sorted(sources), 2):
            began = time.perf_counter()
            losses, state = stepper.inner_loop(sources[way], tf.constant(steps), state, *progress)
            losses.numpy()
            seconds[way] = (time.perf_counter() - began) / steps
        if turn:
            pairs.append(seconds)
    assert stepper.traces == 1, "both ways must run the same graph"
    shares = [1 - pair["kept"] / pair["real"] for pair in pairs]
    medians = {f"{way}_step_seconds": statistics.median(pair[way] for pair in pairs) for way in ("real", "kept")}
    interval = [round(end, 4) for end in median_interval(shares)]
    return {
        **medians,
        "waiting_share": round(max(0.0, statistics.median(shares)), 4),
        "waiting_share_interval": interval,
    }


def measure(name: str, work_dir: Path, rounds: int, quick: bool) -> dict[str, Any]:
    from trainer.tasks.datasets import read
    from trainer.tasks.registry import task_for

    data_dir = prepared(name, work_dir)
    config, manifest = config_of(name, data_dir), read(str(data_dir))
    task, case = task_for(config, manifest), CASES[name]
    cut = cutting(task, (2 if quick else 60) * case.steps)
    found = {"task": name, "loading": loading(config, manifest), "cutting": cut, **waiting(task, case.steps, rounds)}
    found["records_per_second_of_training"] = config.budget.batch_size / found["real_step_seconds"]
    print(json.dumps(found), file=sys.stderr)
    return found


def section(rows: list[dict[str, Any]], load: list[float], rounds: int, quick: bool) -> str:
    waits = [
        [
            row["task"],
            *(f"{row[f'{way}_step_seconds'] * 1e3:.1f}" for way in ("real", "kept")),
            f"{row['waiting_share']:.1%}",
            "{:.1%} to {:.1%}".format(*row["waiting_share_interval"]),
        ]
        for row in rows
    ]
    alone = [
        [
            row["task"],
            way,
            *(f"{row[key][name]:.0f}" for name in ("records_per_second", "mb_per_second", "plain_mb_per_second")),
            f"{row['records_per_second_of_training']:.0f}" if key == "cutting" else "",
        ]
        for row in rows
        for key, way in (("loading", "shards to memory"), ("cutting", "memory to batches"))
    ]
    head = (
        f"`python benchmarks/input.py{' --quick' if quick else ''} --rounds={rounds}`, {time.strftime('%Y-%m-%d')}, "
        f"on {machine()}.\n"
        f"Load before and after: {load}. Medians of {rounds} interleaved pairs of inner loops, in random order."
    )
    first = table(["task", "ms a step", "ms a step, batches kept in memory", "waiting", "95% interval"], waits)
    second = table(
        ["task", "pipeline alone", "records/s", "MB/s", "plain read, MB/s", "training takes, records/s"], alone
    )
    return "\n\n".join([head, first, second])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few pairs, to see that it works")
    parser.add_argument("--rounds", type=int, default=0, help="pairs of inner loops; 0 is 160, or 6 with --quick")
    parser.add_argument("--work_dir", type=Path, help="where the datasets are made, or lie from an earlier run")
    options = parser.parse_args()
    rounds = options.rounds or (6 if options.quick else 160)
    load = [round(os.getloadavg()[0], 1)]
    with tempfile.TemporaryDirectory() as directory:
        rows = [measure(name, options.work_dir or Path(directory), rounds, options.quick) for name in CASES]
    load.append(round(os.getloadavg()[0], 1))
    write_section("Input pipelines", section(rows, load, rounds, options.quick))
    share = {row["task"]: row["waiting_share"] for row in rows}
    print(json.dumps({"waiting_share": {"max": max(share.values()), **share}, "rows": rows, "load": load}))


if __name__ == "__main__":
    main()
