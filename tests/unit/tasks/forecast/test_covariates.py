"""Columns that are known for the future and static ones, from the CSV file to the served forecast."""

from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from series_runs import prepare_csv, train_config

from trainer.cli import flags
from trainer.errors import ConfigError, DataError
from trainer.tasks import datasets
from trainer.tasks.configurations import PrepareConfig
from trainer.tasks.forecast.data import covariates
from trainer.tasks.forecast.data.csv_series import read_csv
from trainer.tasks.forecast.facts import SeriesFacts

LOOKBACK, HORIZON = 8, 4


def write_store(path: Path, rows: int, seed: int, store: str, size: str, future: int = 0) -> Path:
    """Sales that follow a random promotion and the store's level: the promotion can't be guessed from the past."""
    random = np.random.default_rng(seed)
    promo = random.integers(0, 2, rows + future)
    sales = 5 + 2 * promo + random.normal(0, 0.1, rows + future)
    lines = ["date,sales,promo,store,size"]
    for row in range(rows + future):
        day = np.datetime64("2022-01-01") + row
        value = f"{sales[row]:.3f}" if row < rows else ""
        lines.append(f"{day},{value},{'' if row == 3 else promo[row]},{store},{size}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    directory = tmp_path_factory.mktemp("stores")
    write_store(directory / "north.csv", 260, 1, "city", "100")
    write_store(directory / "south.csv", 260, 2, "village", "40")
    more = ("--splits=0.6,0.2,0.2", "--future_covariates=promo", "--static_covariates=store,size", "--num_shards=2")
    return prepare_csv(directory / "*.csv", directory / "data", *more)


def test_columns_get_their_roles(tmp_path):
    series = read_csv(
        str(write_store(tmp_path / "a.csv", 20, 0, "city", "100")),
        known_columns=("promo",),
        static_covariates=("size", "store"),
    )
    assert series.columns == ("sales",) and series.values.shape == (20, 1)
    assert series.known.columns == ("promo",) and np.flatnonzero(np.isnan(series.known.values[:, 0])).tolist() == [3]
    assert series.static == {"size": "100", "store": "city"}


@pytest.mark.parametrize(
    "options, said",
    [
        ({"static_covariates": ("store",), "known_columns": ("price",)}, "no column 'price' of --future_covariates"),
        ({"static_covariates": ("town",)}, "no column 'town' of --static_covariates"),
        (
            {"static_covariates": ("sales", "store", "size")},
            "line 3, column 'sales': .* differs from .* of the first row",
        ),
        ({"static_covariates": ("store", "size"), "known_columns": ("sales", "promo")}, "no column to forecast"),
    ],
)
def test_columns_that_do_not_fit_their_roles(tmp_path, options, said):
    with pytest.raises(DataError, match=said):
        read_csv(str(write_store(tmp_path / "a.csv", 20, 0, "city", "100")), **options)


def test_flags_that_make_no_sense_are_told():
    base = ["--task=forecast", "--source=csv", "--input=a", "--output_dir=o"]
    for more, said in (
        (["--future_covariates=a,a"], "twice"),
        (["--future_covariates=a", "--static_covariates=a"], "--static_covariates does"),
        (["--static_covariates=d", "--date_column=d"], "--date_column does"),
        (["--source=npy", "--static_covariates=a"], "has no effect with --source=npy"),
        (
            ["--task=language_model", "--source=text", "--future_covariates=a"],
            "has no effect with --task=language_model",
        ),
    ):
        with pytest.raises(ConfigError, match=said):
            flags.parse(PrepareConfig, [*base, *more])


def test_a_static_column_that_tells_nothing_is_refused(tmp_path):
    write_store(tmp_path / "a.csv", 30, 0, "city", "100")
    with pytest.raises(DataError, match="store is 'city' in all training files"):
        prepare_csv(
            tmp_path / "a.csv", tmp_path / "data", "--static_covariates=store,size", "--future_covariates=promo"
        )


def test_the_manifest_describes_the_training_rows(stores):
    facts = SeriesFacts.of(datasets.read(str(stores)))
    promo = np.concatenate(
        [
            read_csv(str(stores.parent / f"{name}.csv"), static_covariates=("store",)).values[:156, 1]
            for name in ("north", "south")
        ]
    )
    assert facts.known[0].mean == pytest.approx(np.nanmean(promo)) and facts.known[0].std == pytest.approx(
        np.nanstd(promo)
    )
    assert [(column.name, column.categories) for column in facts.static] == [
        ("store", ("city", "village")),
        ("size", ()),
    ]
    np.testing.assert_allclose(covariates.static_features(facts), [[1, 0, 1], [0, 1, -1]])


def test_windows_hold_the_covariates_of_their_rows(tf, stores):
    """Each window's features, cut by hand: the calendar's first, then promo standardised and 0 where missing, store and
    size.
    """
    from trainer.tasks.forecast.data.calendar_features import time_features
    from trainer.tasks.registry import task_for

    read = datasets.read(str(stores))
    config = train_config(stores, "unused", f"--lookback={LOOKBACK}", f"--horizon={HORIZON}")
    task: Any = task_for(config, read)
    windows = task.data.windows("train")
    batch = next(iter(windows.in_order(windows.count)))
    features = np.concatenate([batch["past_features"], batch["future_features"]], axis=1)
    known = SeriesFacts.of(read).known[0]
    expected = []
    for name, static in (("north", [1, 0, 1]), ("south", [0, 1, -1])):
        series = read_csv(
            str(stores.parent / f"{name}.csv"), known_columns=("promo",), static_covariates=("store", "size")
        )
        promo = np.nan_to_num((series.known.values - known.mean) / known.std)
        every = np.concatenate([time_features(tf.constant(series.times)), promo, np.tile(static, (260, 1))], axis=1)
        expected += [every[start : start + LOOKBACK + HORIZON] for start in range(156 - LOOKBACK - HORIZON + 1)]
    np.testing.assert_allclose(features, np.array(expected), atol=1e-6)


@pytest.fixture(scope="module")
def trained(tf, stores, tmp_path_factory):
    """A short run on the stores: its task and model."""
    from trainer.training.preemption import Preemption
    from trainer.training.restore import restored_model
    from trainer.training.run import train
    from trainer.training.supervisor import Heartbeat

    model_dir = tmp_path_factory.mktemp("trained") / "model"
    budget = (
        "--train_steps=300",
        "--batch_size=64",
        "--units=16",
        "--evaluate_every_steps=150",
        "--devices_per_worker=1",
    )
    config = train_config(stores, model_dir, f"--lookback={LOOKBACK}", f"--horizon={HORIZON}", *budget)
    read = datasets.read(str(stores))
    train(config, read, None, Preemption(), Heartbeat())
    task, model, _ = restored_model(config, read, str(model_dir), "best")
    return task, model


def test_the_model_uses_what_is_known_of_the_future(trained):
    """The variance of sales is the promotion's, 1 of 1.01 raw; without it nothing does better than that."""
    from trainer.tasks.configurations import EvaluateConfig

    task, model = trained
    result = task.evaluate(model, EvaluateConfig("unused", "unused")).scores
    assert result["metrics"]["mse"] < 0.2 < 0.8 < result["baselines"]["ridge"]["mse"]


def test_the_served_forecast_is_the_models(tf, trained, stores, tmp_path):
    """`predict` on CSV files with future rows gives what the model gives on the same windows, cut by hand."""
    from trainer.tasks.configurations import ExportConfig
    from trainer.tasks.forecast import predictions as forecast_predictor

    task, model = trained
    serving = task.serving(model, ExportConfig("unused", "unused"))
    signature = serving.signatures["serving_default"]
    assert [spec.name for spec in signature.inputs] == ["values", "times", "known", "group"]
    loaded = SimpleNamespace(signatures={"serving_default": signature.function})
    paths = [str(write_store(tmp_path / "south.csv", 50, 5, "village", "40", future=6))]
    forecasts = list(forecast_predictor.predict(loaded, {**serving.contract, "batch_size": None}, paths, 8))
    assert forecasts[0].values.shape == (HORIZON, 1) and len(forecasts[0].history.values) == 50
    promo = np.array(
        [float(row["promo"] or "nan") for row in csv.DictReader(Path(paths[0]).read_text().splitlines())][
            50 : 50 + HORIZON
        ]
    )
    assert promo.std() > 0 and np.corrcoef(promo, forecasts[0].values[:, 0])[0, 1] > 0.9
    forecast_predictor.write_csv(forecasts, str(tmp_path / "out.csv"), several=False)
    assert next(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))["date"][:10] == "2022-02-20"
    window = task.data.windows("test").batch(tf.constant([5], tf.int64), tf.ones([1]))
    group = task.manifest.facts.groups[0]
    row = group.splits["test"][0] + 5 - LOOKBACK
    north = read_csv(str(stores.parent / "north.csv"), known_columns=("promo",), static_covariates=("store", "size"))
    served = signature.function(
        values=tf.constant(north.values[None, row : row + LOOKBACK]),
        times=tf.constant(north.times[None, row : row + LOOKBACK]),
        known=tf.constant(north.known.values[None, row : row + LOOKBACK + HORIZON]),
        group=tf.constant([0]),
    )["forecast"]
    np.testing.assert_allclose(
        served[0, :, 0], model(window).numpy()[0, :, 0] * group.std[0] + group.mean[0], rtol=1e-4
    )


@pytest.mark.parametrize(
    "future, store, said",
    [
        (3, "village", "has 3 rows of promo after its last value, the model needs 4"),
        (4, "city", "has store 'city', its group was trained"),
    ],
)
def test_futures_that_do_not_fit(trained, tmp_path, future, store, said):
    from trainer.tasks.configurations import ExportConfig
    from trainer.tasks.forecast import predictions as forecast_predictor

    task, model = trained
    contract = task.serving(model, ExportConfig("unused", "unused")).contract
    path = write_store(tmp_path / "south.csv", 50, 5, store, "40", future=future)
    with pytest.raises(DataError, match=said):
        next(forecast_predictor.predict(None, {**contract, "batch_size": None}, [str(path)], 8))
