"""Test error of the ETTh1 recipes, each trained and scored by the commands with several seeds, beside baselines and
published figures.

    python benchmarks/forecast.py [--quick] [--horizons=96,192,336,720] [--seeds=3] [--lookback=96] [--work_dir=DIR]

Every window of the test split is counted. With --work_dir, runs that are there are not repeated, and one that was
stopped goes on. The recipes are etth1_HORIZON, with --lookback=96 etth1_HORIZON_lookback96. Last line on stdout: one
JSON object.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from own_command import command
from public_data import ROOT, SERIES, prepared
from results import machine, table, write_section

HORIZONS = (96, 192, 336, 720)
BASELINES = ("ridge", "seasonal_mean", "seasonal_naive", "naive")
LIMITS = {96: (0.375, 0.425, 0.465, 0.453), None: (0.405,)}  # of issue 9: by horizon with lookback 96, else the average
PUBLISHED = {96: (0.368, 0.408, 0.444, 0.446)}  # SegRNN (Lin et al. 2023), which drops the last batch
RIDGE = {96: (0.383, 0.434, 0.474, 0.462), 336: (0.370, 0.403, 0.425, 0.421)}  # docs/forecasting.md


def trained_and_scored(
    horizon: int, lookback: int | None, seed: int, data: Path, work: Path, more: list[str]
) -> dict[str, Any]:
    """One run of a recipe: the last lines of `train` and `evaluate`."""
    recipe = (
        ROOT
        / "trainer"
        / "recipes"
        / (f"etth1_{horizon}_lookback{lookback}.flags" if lookback else f"etth1_{horizon}.flags")
    )
    settings = zlib.crc32("\n".join([recipe.read_text(encoding="utf-8"), *more]).encode())
    model = work / f"{recipe.stem}-seed_{seed}-{settings:08x}"
    kept = model / "benchmark.json"
    if not kept.exists():
        train = command(
            "train", f"--flagfile={recipe}", f"--data_dir={data}", f"--model_dir={model}", f"--seed={seed}", *more
        )
        score = command("evaluate", f"--model_dir={model}", f"--data_dir={data}")
        kept.write_text(json.dumps({"train": train, "evaluate": score}), encoding="utf-8")
    result: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
    return result


def baseline_errors(data: Path, lookback: int, horizon: int) -> dict[str, float]:
    """Test error of every baseline at a lookback that no recipe needs to have."""
    from trainer.tasks import datasets
    from trainer.tasks.forecast.data import series_store
    from trainer.tasks.forecast.data.windows import Windows, WindowShape
    from trainer.tasks.forecast.evaluation.scoring import baselines_for, season_of
    from trainer.tasks.forecast.facts import SeriesFacts

    manifest = datasets.read(str(data))
    groups = series_store.load(str(data), manifest, "test")
    train, validation, test = (series_store.segments(groups, split, False) for split in ("train", "validation", "test"))
    baselines = baselines_for(train, validation, lookback, horizon, season_of(SeriesFacts.of(manifest).interval))
    sums, count = dict.fromkeys(baselines, 0.0), 0.0
    for batch in Windows(test, WindowShape(lookback, horizon, 1, 0)).in_order(512):
        past, observed, target, weight = (
            batch[name].numpy() for name in ("past", "past_observed", "target", "target_weight")
        )
        count += float(weight.sum())
        for name, baseline in baselines.items():
            sums[name] += float((np.square(baseline(past, observed) - target) * weight).sum(dtype=np.float64))
    return {name: total / count for name, total in sums.items()}


def _row(
    index: int, horizon: int, lookback: int | None, runs: list[dict[str, Any]]
) -> tuple[list[str], dict[str, Any]]:
    errors = [run["evaluate"]["metrics"]["mse"] for run in runs]
    others = {name: values["mse"] for name, values in runs[0]["evaluate"]["baselines"].items()}
    seconds = [run["train"]["train_seconds"] for run in runs]
    published, limit = (
        f"{known[lookback][index]:.3f}" if lookback in known and lookback else "-" for known in (PUBLISHED, LIMITS)
    )
    cells = [
        str(horizon), f"**{np.mean(errors):.4f}**", " ".join(f"{error:.4f}" for error in errors), limit, published,
        *(f"{others[name]:.4f}" for name in BASELINES), str(runs[0]["evaluate"]["count"]), f"{max(seconds):.0f}",
    ]  # fmt: skip
    validation = [run["train"]["best"]["score"] for run in runs]
    return cells, {
        "mse": float(np.mean(errors)),
        "each": errors,
        "validation": validation,
        "seconds": seconds,
        **others,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="a few steps and one seed, to see that all works; RESULTS.md is left alone"
    )
    parser.add_argument("--horizons", default=",".join(map(str, HORIZONS)))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--lookback", type=int, choices=(96,), default=None)
    parser.add_argument("--work_dir", type=Path, default=None)
    arguments = parser.parse_args()
    if not SERIES.exists():
        sys.exit(f"{SERIES} is not here: this benchmark needs the public data set ETTh1")
    horizons = [int(horizon) for horizon in arguments.horizons.split(",")]
    with tempfile.TemporaryDirectory() as scratch:
        result = _measure(arguments, horizons, (arguments.work_dir or Path(scratch)).resolve())
    print(json.dumps(result))


def _measure(arguments: argparse.Namespace, horizons: list[int], work: Path) -> dict[str, Any]:
    data = prepared("forecast", work)
    seeds = 1 if arguments.quick else arguments.seeds
    more = ["--train_steps=2", "--evaluate_every_steps=2"] if arguments.quick else []
    rows, result = [], {}
    for horizon in horizons:
        runs = [trained_and_scored(horizon, arguments.lookback, seed, data, work, more) for seed in range(seeds)]
        cells, result[str(horizon)] = _row(HORIZONS.index(horizon), horizon, arguments.lookback, runs)
        rows.append(cells)
    average = float(np.mean([row["mse"] for row in result.values()]))
    header = [
        "horizon",
        "mean test MSE",
        "each seed",
        "to reach",
        "SegRNN, published",
        *BASELINES,
        "windows",
        "longest training, s",
    ]
    ridge = [
        [
            str(lookback),
            str(horizon),
            *(f"{errors[name]:.4f}" for name in BASELINES),
            f"{RIDGE[lookback][HORIZONS.index(horizon)]:.3f}",
        ]
        for lookback in RIDGE
        for horizon in horizons
        for errors in [baseline_errors(data, lookback, horizon)]
    ]
    body = "\n\n".join(
        [
            f"`python benchmarks/forecast.py {' '.join(sys.argv[1:])}`, {datetime.date.today()}, on {machine()}.",
            table(header, rows),
            f"Average over the horizons: {average:.4f}."
            + (f" To reach with any lookback: {LIMITS[None][0]}." if not arguments.lookback else ""),
            table(["lookback", "horizon", *BASELINES, "ridge as published"], ridge),
        ]
    )
    print(body)
    if not arguments.quick:
        write_section(
            "Forecasts of ETTh1, "
            f"{f'lookback {arguments.lookback}' if arguments.lookback else 'lookback of the recipes'}",
            body,
        )
    return {"lookback": arguments.lookback, "average": average, "horizons": result}


if __name__ == "__main__":
    main()
