"""Backtests: origins and scores against plain loops, and no value after an origin in any forecast."""

import dataclasses

import numpy as np
import pytest
from series_runs import prepare_csv, train_config, write_series_csv

from trainer.cli import flags
from trainer.errors import ConfigError, TrainerError
from trainer.tasks.configurations import EvaluateConfig

LOOKBACK, HORIZON = 24, 6


def evaluate_config(data_dir, *more):
    given = ["--model_dir=none", f"--data_dir={data_dir}", "--backtest", "--batch_size=3", *more]
    return flags.parse(EvaluateConfig, given)


def task_on(data_dir, *more):
    from trainer.tasks.datasets import read
    from trainer.tasks.forecast.task import ForecastTask

    return ForecastTask(train_config(data_dir, "none", *more), read(str(data_dir)))


def built(task, seed=1):
    import keras

    keras.utils.set_random_seed(seed)
    model = task.objective.build_model("float32")
    task.objective.build_variables(model)
    return model


def run(task, model, *more, refit=None):
    from trainer.tasks.forecast.evaluate import backtest_evaluation

    return backtest_evaluation(task, model, evaluate_config(task.config.data_dir, *more), refit)


@pytest.mark.parametrize("series", ["global", "multivariate"])
def test_scores_are_those_of_a_loop_over_origins(tf, small_dataset, series):
    """Every origin's windows cut by hand out of the rows, its error added up target by target."""
    task = task_on(small_dataset, f"--series={series}")
    model = built(task)
    result = run(task, model, "--windows=5", "--stride=4").scores
    group = task.data.groups("test")[0]
    end = group.splits["test"][1]
    assert result["count"] == 5 and [row["origin"] for row in result["backtest"]["origins"]] == [
        str(np.datetime64(int(group.times[end - HORIZON - 4 * back]), "s")).replace("T", " ")
        for back in (4, 3, 2, 1, 0)
    ]
    squares, targets = 0.0, 0
    for back, row in zip((4, 3, 2, 1, 0), result["backtest"]["origins"]):
        first = end - HORIZON - 4 * back
        windows = task.data.windows("test")
        every = next(iter(windows.in_order(windows.count)))
        own = [
            number
            for number in range(windows.count)
            if np.array_equal(
                every["target"][number, :, 0], group.values[first : first + HORIZON, int(every["series"][number, 0])]
            )
        ]
        batch = {name: tf.gather(value, own) for name, value in every.items()}
        weight = batch["target_weight"].numpy()
        error = float((np.square(model(batch).numpy() - batch["target"].numpy()) * weight).sum())
        assert row["targets"] == weight.sum() == group.observed[first : first + HORIZON].sum()
        assert row["scores"]["model"]["mse"] == pytest.approx(error / weight.sum(), rel=1e-4)
        last = np.array([group.values[:first][group.observed[:first, c], c][-1] for c in range(2)])
        naive = np.square(group.values[first : first + HORIZON] - last)[group.observed[first : first + HORIZON]].mean()
        assert row["scores"]["naive"]["mse"] == pytest.approx(naive, rel=1e-4)
        squares, targets = squares + error, targets + weight.sum()
    assert result["metrics"]["mse"] == pytest.approx(squares / targets, rel=1e-4)
    assert set(result["backtest"]["diebold_mariano"]) == {"naive", "seasonal_naive", "seasonal_mean", "ridge"}
    assert (
        result["backtest"]["diebold_mariano"]["ridge"]["lags"] == 1
    )  # windows of 6 steps, 4 apart: neighbours overlap


def test_a_model_that_looks_ahead_is_noticed(tf, small_dataset):
    """A planted leak: a model that gives its targets. The evaluation would call it perfect, the backtest stops."""
    task = task_on(small_dataset)
    leak = lambda batch: batch["target"]  # noqa: E731
    with pytest.raises(TrainerError, match="NaN"):
        run(task, leak, "--windows=3")
    slight = lambda batch: batch["past"][:, -HORIZON:] + 1e-9 * batch["target"]  # noqa: E731
    with pytest.raises(TrainerError, match="NaN"):
        run(task, slight, "--windows=3")
    run(task, lambda batch: batch["past"][:, -HORIZON:], "--windows=3")


def changed_after(task, split, before):
    """The task's data with every value of the last `before` rows replaced."""
    from trainer.tasks.forecast.task import ForecastTask

    groups = []
    for group in task.data.groups(split):
        values = group.values.copy()
        end = group.splits[split][1]
        values[end - before : end] = 1e3 + np.arange(before)[:, None]
        groups.append(dataclasses.replace(group, values=values))
    return ForecastTask(task.config, task.manifest, groups)


def forecasts_of(task, model_at, monkeypatch, *more, refit=None):
    """What the model and ridge forecast from the first origin."""
    from trainer.tasks.forecast.evaluation import scoring as module

    seen = {}

    class Recorder(module.ForecastMetrics):
        def add(self, forecast, *rest):
            seen.setdefault(id(self), forecast)
            super().add(forecast, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(module, "ForecastMetrics", Recorder)
        run(task, model_at, *more, refit=refit)
    return list(seen.values())


def test_values_after_an_origin_do_not_change_its_forecast(tf, small_dataset, monkeypatch):
    task = task_on(small_dataset)
    model = built(task)
    flags_of = "--windows=3", "--stride=5"
    other = changed_after(task, "test", HORIZON + 2 * 5)  # all that the first of the three origins does not know
    ours, theirs = (forecasts_of(one, model, monkeypatch, *flags_of) for one in (task, other))
    assert len(ours) == 5
    for before, after in zip(ours, theirs):
        np.testing.assert_array_equal(before, after)
    sooner = changed_after(task, "test", HORIZON + 2 * 5 + 1)  # one row more, which it knows
    assert (forecasts_of(sooner, model, monkeypatch, *flags_of)[0] != ours[0]).any()


def refit_with(task):
    """As trainer.evaluate wires it."""
    from trainer.training.refit import refitted
    from trainer.training.restore import restored

    def refit(make_task):
        with refitted(task.config, task.manifest, make_task) as model_dir:
            return restored(make_task(task.config, task.manifest), model_dir, "best")[0]

    return refit


def test_refitting_knows_nothing_after_its_origin(tf, small_dataset, monkeypatch, tmp_path):
    task = task_on(small_dataset, "--train_steps=6", "--evaluate_every_steps=3")
    task.config = dataclasses.replace(task.config, model_dir=str(tmp_path / "own"))
    model = built(task)
    flags_of = "--windows=1"
    other = changed_after(task, "test", HORIZON)
    ours, theirs = (forecasts_of(one, model, monkeypatch, flags_of, refit=refit_with(one)) for one in (task, other))
    for before, after in zip(ours, theirs):
        np.testing.assert_array_equal(before, after)
    frozen = forecasts_of(task, model, monkeypatch, flags_of)
    assert (frozen[0] != ours[0]).any()  # it was trained
    assert (frozen[-1] != ours[-1]).any()  # ridge was fitted on the newer rows
    assert not (tmp_path / "own").exists()  # the run's own directory is left alone


def test_refitting_takes_all_rows_before_the_origin(small_dataset):
    from trainer.tasks.forecast.evaluate import groups_before
    from trainer.tasks.forecast.evaluation.backtest import Origin

    task = task_on(small_dataset)
    (group,) = groups_before(task, "test", Origin("", 10))
    assert (
        group.splits == {"train": (0, 490), "validation": (490, 590)} and len(group.values) == len(group.times) == 590
    )
    np.testing.assert_array_equal(group.values, task.data.groups("test")[0].values[:590])


def test_more_origins_than_fit_are_refused(small_dataset):
    task = task_on(small_dataset)
    with pytest.raises(
        ConfigError, match=r"--windows=17 with a stride of 6 steps goes beyond the split, .* room for 16"
    ):
        run(task, None, "--windows=17")
    assert len(run(task, lambda batch: batch["past"][:, -HORIZON:], "--windows=16").scores["backtest"]["origins"]) == 16


@pytest.mark.parametrize(
    "given, told",
    [
        (["--backtest"], "--windows is missing"),
        (["--windows=3"], "--windows=3 has no effect without --backtest"),
        (["--refit"], "--refit=True has no effect without --backtest"),
        (["--backtest", "--windows=3", "--split=train"], "--split=train is what the model was trained on"),
        (["--backtest", "--windows=0"], "--windows=0 is below 1"),
    ],
)
def test_flags_that_do_not_fit(given, told):
    with pytest.raises(ConfigError, match=told):
        flags.parse(EvaluateConfig, ["--model_dir=m", "--data_dir=d", *given])


def test_several_files_count_back_from_their_own_ends(tf, tmp_path):
    for name, rows in (("a", 200), ("b", 300)):
        write_series_csv(tmp_path / f"{name}.csv", rows)
    task = task_on(prepare_csv(tmp_path / "*.csv", tmp_path / "data", "--splits=0.6,0.2,0.2"))
    result = run(task, lambda batch: batch["past"][:, -HORIZON:], "--windows=2").scores
    assert result["count"] == 4 and result["backtest"]["origins"][0]["targets"] == 2 * 2 * HORIZON


QUANTILES = ["--output=quantiles", "--quantiles=0.1,0.5,0.9"]


@pytest.mark.parametrize(
    "series, conformal", [("global", "none"), ("multivariate", "none"), ("global", "recent"), ("global", "validation")]
)
def test_probabilistic_scores_are_those_of_a_loop_over_origins(tf, small_dataset, series, conformal):
    """Weighted quantile loss and coverage of every origin added up target by target, and the empirical quantiles of the
    week before it.
    """
    from trainer.tasks.forecast.calibration import predictor

    task = task_on(small_dataset, f"--series={series}", *QUANTILES)
    model = built(task)
    result = run(task, model, "--windows=6", "--stride=9", f"--conformal={conformal}").scores
    group, found = task.data.groups("test")[0], result["backtest"]
    assert found["loss"] == "weighted_quantile_loss"
    end, inside, total, own, rival = group.splits["test"][1], 0, 0, [], []
    generator, adjust = task.calibration(model).of_split(conformal, "test")
    every = next(iter(task.data.windows("test").in_order(task.data.windows("test").count)))
    prediction = predictor(model, generator)(every)
    quantiles = (
        prediction.quantiles if adjust is None else adjust(np.arange(len(prediction.median)), prediction).quantiles
    )
    for back, row in zip(range(5, -1, -1), found["origins"]):
        first, loss, size, held, count, weeks = end - HORIZON - 9 * back, 0.0, 0.0, 0, 0, 0.0
        for step, column in np.ndindex(HORIZON, 2):
            if not group.observed[first + step, column]:
                continue
            number, channel = (
                first - 500 + (96 - 1) * column * (series == "global"),
                column * (series == "multivariate"),
            )
            y, raw = float(group.values[first + step, column]), task.data.std[column]
            for level, q in zip((0.1, 0.5, 0.9), quantiles[number, step, channel]):
                loss += 2 * max(level * (y - q), (level - 1) * (y - q)) * raw / 3
            size += abs(y * raw + task.data.mean[column])
            held += quantiles[number, step, channel, 0] <= y <= quantiles[number, step, channel, 2]
            count += 1
            filled = group.values[first - 168 : first, column][group.observed[first - 168 : first, column]]
            for level, q in zip((0.1, 0.5, 0.9), np.quantile(filled, (0.1, 0.5, 0.9))):
                weeks += 2 * max(level * (y - q), (level - 1) * (y - q)) * raw / 3
        scores = row["scores"]
        assert scores["model"]["weighted_quantile_loss"] == pytest.approx(loss / size, rel=1e-3)
        assert scores["model"]["coverage_80"] == pytest.approx(100 * held / count)
        assert scores["last_7_seasons"]["weighted_quantile_loss"] == pytest.approx(
            weeks / size, rel=0.05
        )  # gaps are left out here
        inside, total = inside + held, total + count
        own.append(scores["model"]["weighted_quantile_loss"])
        rival.append(scores["seasonal_naive"]["weighted_quantile_loss"])
    assert result["metrics"]["coverage_80"] == pytest.approx(100 * inside / total)
    test = found["diebold_mariano"]["seasonal_naive"]
    assert test["mean_difference"] == pytest.approx(np.mean(np.subtract(own, rival))) and test["origins"] == 6
    assert {"last_7_seasons", "last_7_seasons_by_step", "ridge"} <= set(found["diebold_mariano"])


@pytest.mark.parametrize("conformal", ["none", "recent"])
@pytest.mark.parametrize("decoder", ["parallel", "autoregressive"])
def test_intervals_know_nothing_after_their_origin(tf, small_dataset, conformal, decoder):
    """What follows the first of three origins is replaced: its scores are of other targets, its quantiles are the
    same.
    """
    from trainer.tasks.forecast.calibration import predictor

    options = ["--output=normal", "--quantiles=0.1,0.5,0.9", f"--decoder={decoder}"]
    task = task_on(small_dataset, *options)
    model = built(task)
    other = changed_after(task, "test", HORIZON + 2 * 5)
    seen = []
    for one in (task, other):
        _, adjust = one.calibration(model).of_split(conformal, "test")
        predict = predictor(model, one.objective.generator)
        number = np.array([94 - 2 * 5])
        found = predict(one.data.windows("test").batch(tf.constant(number), tf.ones(1)))
        seen.append(found.quantiles if adjust is None else adjust(number, found).quantiles)
    np.testing.assert_array_equal(*seen)
    run(task, model, "--windows=3", "--stride=5", f"--conformal={conformal}")


def test_refitting_goes_with_quantiles_and_calibration(tf, small_dataset):
    task = task_on(small_dataset, "--train_steps=4", "--evaluate_every_steps=2", *QUANTILES)
    result = run(task, built(task), "--windows=2", "--conformal=recent", refit=refit_with(task)).scores
    origins = result["backtest"]["origins"]
    assert len(origins) == 2 and all(0 <= row["scores"]["model"]["coverage_80"] <= 100 for row in origins)
    assert result["backtest"]["refit"] and "weighted_quantile_loss" in result["metrics"]
