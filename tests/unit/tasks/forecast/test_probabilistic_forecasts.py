"""Probabilistic forecasts from the task to the exported file, in one process."""

import csv
import json

import numpy as np
import pytest
from count_series import OUTPUTS, built, evaluated, write_counts
from series_runs import prepare_csv, train_config

from trainer.cli import flags
from trainer.errors import ConfigError, DataError
from trainer.tasks.configurations import EvaluateConfig, ExportConfig, TrainConfig


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("series", ["global", "multivariate"])
def test_a_few_steps_and_every_score(tf, counts, tmp_path, output, series):
    from trainer.training.run import build

    task, _ = built(
        counts,
        tmp_path,
        f"--output={output}",
        f"--series={series}",
        "--linear_skip=add",
        "--quantiles=0.1,0.3,0.5,0.7,0.9",
    )
    stepper = build(task, tf.distribute.OneDeviceStrategy("/cpu:0"))
    batches = iter(task.data.training_batches(0, None))
    progress = (tf.constant(0, tf.int64), tf.constant(0.0), tf.constant(0.01))
    split = task.data.evaluation_batches("validation", 64)
    before = stepper.validate(split, 64)
    table, _ = stepper.inner_loop(batches, tf.constant(60), (), *progress)
    assert np.isfinite(table.numpy()[:, 0]).all()
    validation = stepper.validate(split, 64)
    assert validation["weighted_quantile_loss"] < before["weighted_quantile_loss"]
    result = evaluated(task, stepper.model, counts, "--split=validation")
    for name in (
        "mse",
        "mae",
        "weighted_quantile_loss",
    ):  # the score that picks the best checkpoint is the reported one
        assert validation[name] == pytest.approx(result["metrics"][name], rel=1e-4)
    assert task.objective.score_name == "weighted_quantile_loss"
    assert {"naive", "seasonal_naive", "last_7_seasons", "last_7_seasons_by_step"} <= set(result["baselines"])
    assert (
        result["baselines"]["last_7_seasons_by_step"]["weighted_quantile_loss"]
        < result["baselines"]["seasonal_naive"]["weighted_quantile_loss"]
    )
    json.dumps(result, allow_nan=False)


def test_a_point_forecast_is_scored_as_ever(tf, counts, tmp_path):
    task, model = built(counts, tmp_path)
    result = evaluated(task, model, counts)
    assert (
        task.objective.score_name == "mse"
        and "crps" not in result["metrics"]
        and set(result["baselines"])
        == {
            "naive",
            "seasonal_naive",
            "seasonal_mean",
            "ridge",
        }
    )
    assert task.objective.validation_sums(model, next(iter(task.data.evaluation_batches("test", 8))), ())[0].keys() == {
        "mse",
        "mae",
    }


@pytest.mark.parametrize("options", [[], ["--segment_length=2", "--linear_skip=add"]])
def test_a_shifted_window_gets_its_location_shifted_and_its_widths_as_they_were(tf, counts, tmp_path, options):
    """The unit of the widths is the mean absolute change of neighbours that are both observed, by a loop."""
    task, model = built(counts, tmp_path, "--output=quantiles", *options)
    batch = next(iter(task.data.evaluation_batches("test", 8)))
    numbers = model(batch).numpy()
    moved = model({**batch, "past": batch["past"] + 30}).numpy()
    np.testing.assert_allclose(moved[..., 0], numbers[..., 0] + 30, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(moved[..., 1:], numbers[..., 1:], rtol=1e-3, atol=1e-3)
    past, seen = batch["past"].numpy()[..., 0], batch["past_observed"].numpy()[..., 0] > 0
    for row in range(8):
        changes = [abs(past[row, t] - past[row, t - 1]) for t in range(1, 24) if seen[row, t] and seen[row, t - 1]]
        np.testing.assert_allclose(numbers[row, :, 0, -1], 0.05 + np.mean(changes), rtol=1e-5)


@pytest.mark.parametrize("bad, said", [(2.5, "is not a count"), (-3, "is negative")])
def test_what_is_no_count_is_refused(tf, tmp_path, bad, said):
    data = prepare_csv(write_counts(tmp_path / "c.csv", bad=bad), tmp_path / "data", "--splits=400,100,100")
    task, _ = built(data, tmp_path, "--output=negative_binomial")
    assert task.data.windows("train").count
    with pytest.raises(DataError, match=f"series b has {bad:g} in row 451, which {said}"):
        task.data.windows("validation")


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("conformal", ["none", "validation", "recent"])
def test_signatures_give_raw_values_of_what_is_scored(tf, counts, tmp_path, output, conformal):
    task, model = built(counts, tmp_path, f"--output={output}", "--quantiles=0.1,0.5,0.9")
    config = flags.parse(ExportConfig, ["--model_dir=m", "--export_dir=e", f"--conformal={conformal}"])
    serving = task.serving(model, config)
    group = task.manifest.facts.groups[0]
    mean, std = np.array(group.mean), np.array(group.std)
    windows = task.data.windows("test")
    batch = next(iter(windows.in_order(windows.count)))
    half = windows.count // 2
    raw = np.stack([batch["past"][:half, :, 0], batch["past"][half:, :, 0]], axis=-1) * std + mean
    times = group.first_time + 3600 * (500 - 24 + np.arange(half)[:, None] + np.arange(24))
    inputs = {"values": tf.constant(raw, tf.float32), "times": tf.constant(times)}
    found = serving.signatures["serving_default"].function(**inputs)
    generator = serving.signatures["serving_default"].function.__self__.generator
    assert (generator.conformal is None) == (conformal == "none")
    expected = generator.forecast(model, batch)
    for name, key in (("forecast", "median"), ("mean", "mean"), ("quantiles", "quantiles")):
        value = expected[key].numpy()[:, :, 0]
        both = np.stack([value[:half], value[half:]], axis=2)
        scale, zero = (std, mean) if key != "quantiles" else (std[:, None], mean[:, None])
        np.testing.assert_allclose(found[name].numpy(), both * scale + zero, rtol=1e-3, atol=1e-3)
    drawn = (
        serving.signatures["sample"]
        .function(**inputs, num_samples=tf.constant(400), seed=tf.constant(5, tf.int64))["samples"]
        .numpy()
    )
    assert drawn.shape == (half, 400, 6, 2) and np.isfinite(drawn).all()
    below = (drawn <= found["quantiles"].numpy()[:, None, ..., 2] + 1e-3).mean()
    assert 0.88 < below < (0.97 if output == "negative_binomial" else 0.92)


def test_calibration_reaches_the_promise_on_the_split_that_it_is_made_on(tf, counts, tmp_path):
    task, model = built(counts, tmp_path, "--output=normal", "--quantiles=0.1,0.5,0.9")
    config = flags.parse(ExportConfig, ["--model_dir=m", "--export_dir=e", "--conformal=validation"])
    generator = task.serving(model, config).signatures["serving_default"].function.__self__.generator
    batch = next(iter(task.data.evaluation_batches("validation", task.data.windows("validation").count)))
    quantiles = generator.forecast(model, batch)["quantiles"].numpy()
    inside = (batch["target"].numpy() >= quantiles[..., 0]) & (batch["target"].numpy() <= quantiles[..., 2])
    assert 0.8 <= inside.mean() < 0.82
    raw = evaluated(task, model, counts)["metrics"]
    recent = evaluated(task, model, counts, "--conformal=recent")["metrics"]
    assert (
        abs(recent["coverage_80"] - 80) < 6
        and recent["mae"] == raw["mae"]
        and recent["coverage_80"] != raw["coverage_80"]
    )


def test_the_exported_file_alone_gives_quantiles_to_predict(tf, counts, tmp_path):
    from tensorflow.core.protobuf import saved_model_pb2

    from trainer.saved_model.loaded import load, read_contract
    from trainer.saved_model.saved_model import export
    from trainer.tasks.forecast import plot as forecast_plot
    from trainer.tasks.forecast import predictions as forecast_predictor

    task, model = built(counts, tmp_path, "--output=student_t")
    model.use_portable_kernels()
    config = flags.parse(ExportConfig, ["--model_dir=m", "--export_dir=e", "--conformal=recent"])
    result = export(task.serving(model, config), str(tmp_path / "export"))
    assert result["signatures"] == ["sample", "serving_default"] and result["max_difference"] < 1e-3
    path = tmp_path / "export" / "1"
    graph = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    ops = {
        node.op
        for meta in graph.meta_graphs
        for function in meta.graph_def.library.function
        for node in function.node_def
    }
    assert not any("PyFunc" in op or "Cudnn" in op for op in ops)
    contract = read_contract(path)
    assert contract["levels"][:2] == [0.05, 0.1] and contract["calibrated"]
    history = str(write_counts(tmp_path / "history.csv", 100))
    forecasts = list(forecast_predictor.predict(load(str(path), contract), contract, [history], 8))
    assert forecast_predictor.write_csv(forecasts, str(tmp_path / "f.csv"), several=False) == 6
    rows = list(csv.reader((tmp_path / "f.csv").open()))
    levels = ["0.05", "0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7", "0.8", "0.9", "0.95"]
    assert rows[0] == ["date", "a", *(f"a_q{level}" for level in levels), "b", *(f"b_q{level}" for level in levels)]
    numbers = np.array([row[1:] for row in rows[1:]], np.float32).reshape(6, 2, 12)
    assert (np.diff(numbers[..., 1:], axis=-1) >= 0).all() and (numbers[..., 0] == numbers[..., 6]).all()
    forecast_plot.plot(forecasts, 24, str(tmp_path / "f.png"))
    assert (tmp_path / "f.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    "options, said",
    [
        (["--quantiles=0.1,0.5"], "has no effect with --output=point"),
        (["--output=quantiles", "--quantiles=0.1,0.9"], "lacks the median"),
        (["--output=quantiles", "--quantiles=0.5,0.1,0.9"], "does not rise"),
        (["--output=quantiles", "--quantiles=0.5,1"], "does not rise between 0 and 1"),
        (["--output=quantiles", "--quantiles=half"], "is not a list of numbers"),
        (["--output=normal", "--forecast_loss=mae"], "has no effect with --output=normal"),
        (["--output=gamma"], "is not known"),
    ],
)
def test_flags_that_do_not_fit_are_told(options, said):
    with pytest.raises(ConfigError, match=said):
        train_config("d", "m", *options)


def test_calibration_that_cannot_be_is_told():
    def problems(conformal, *more):
        run = flags.parse(TrainConfig, ["--data_dir=d", "--model_dir=m", "--train_steps=1", *more])
        evaluated = flags.parse(
            EvaluateConfig, ["--model_dir=m", "--data_dir=d", f"--conformal={conformal}"]
        ).problems_with(run)
        exported = flags.parse(
            ExportConfig, ["--model_dir=m", "--export_dir=e", f"--conformal={conformal}"]
        ).problems_with(run)
        found = list(evaluated)
        assert found == list(exported)
        return [str(problem) for problem in found]

    assert problems("none") == problems("recent", "--output=normal") == []
    assert "needs a model that forecasts quantiles" in problems("recent")[0]
    assert "finds no interval" in problems("validation", "--output=normal", "--quantiles=0.5,0.9")[0]
    for split, conformal in (("train", "recent"), ("validation", "validation")):
        with pytest.raises(ConfigError, match="by what it was fitted on"):
            flags.parse(
                EvaluateConfig, ["--model_dir=m", "--data_dir=d", f"--split={split}", f"--conformal={conformal}"]
            )
    with pytest.raises(ConfigError, match="has no effect with --conformal=none --copula=none"):
        flags.parse(ExportConfig, ["--model_dir=m", "--export_dir=e", "--data_dir=d", "--copula=none"])
