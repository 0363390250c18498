"""Sample paths from the model to the file: drawn value after value, or with the dependence of past errors."""

import csv

import numpy as np
import pytest
from count_series import OUTPUTS, built, counts, evaluated, write_counts  # noqa: F401 - a fixture

from trainer.cli import flags
from trainer.errors import ConfigError
from trainer.tasks.configurations import ExportConfig, PredictConfig, TrainConfig

AUTOREGRESSIVE = "--decoder=autoregressive"
RUNS: tuple[list[str], ...] = (
    [],
    ["--output=normal"],
    ["--output=normal", AUTOREGRESSIVE],
)  # of points, parallel, ancestral


def export_config(*more):
    return flags.parse(ExportConfig, ["--model_dir=m", "--export_dir=e", *more])


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("series", ["global", "multivariate"])
def test_each_value_is_drawn_from_what_the_path_is_so_far(tf, counts, tmp_path, output, series):  # noqa: F811
    """Given its own path as the truth, the model's numbers put every value where its score says."""
    task, model = built(
        counts, tmp_path, f"--output={output}", AUTOREGRESSIVE, f"--series={series}", "--linear_skip=add"
    )
    batch = next(iter(task.data.evaluation_batches("test", 4)))
    channels = batch["past"].shape[2]
    scores = tf.random.stateless_normal([5, 4, 6, channels], [1, 2])
    paths = model.paths(batch, scores)
    assert paths.shape == (5, 4, 6, channels)
    for path, score in zip(paths, scores):
        told = {**batch, "target": path, "target_weight": tf.ones_like(path)}
        want = task.objective.distribution.at_scores(model(told), batch["series"], score)
        np.testing.assert_allclose(path, want, rtol=1e-3, atol=1e-3)
    blank = {**batch, "target": tf.fill(batch["target"].shape, np.float32(np.nan))}
    np.testing.assert_array_equal(model.paths(blank, scores), paths)  # nothing of the future is read
    alone = {name: value[2:3] for name, value in batch.items()}
    np.testing.assert_allclose(model.paths(alone, scores[:, 2:3])[:, 0], paths[:, 2], rtol=1e-4, atol=1e-4)


def test_an_autoregressive_forecast_is_what_its_paths_show(tf, counts, tmp_path):  # noqa: F811
    task, model = built(counts, tmp_path, "--output=normal", AUTOREGRESSIVE)
    batch = next(iter(task.data.evaluation_batches("test", 8)))
    found = task.objective.generator.forecast(model, batch)
    drawn = task.objective.generator.draw(model, batch, tf.constant(4000), tf.constant(1, tf.int64)).numpy()
    width = drawn.std()
    np.testing.assert_allclose(found["mean"], drawn.mean(axis=0), atol=0.1 * width)
    want = np.moveaxis(np.quantile(drawn, task.objective.generator.levels, axis=0), 0, -1)
    np.testing.assert_allclose(found["quantiles"], want, atol=0.35 * width)  # of 100 paths
    assert np.abs(found["quantiles"].numpy() - want).mean() < 0.1 * width
    alone = task.objective.generator.forecast(model, {name: value[5:6] for name, value in batch.items()})
    np.testing.assert_allclose(
        alone["quantiles"][0], found["quantiles"][5], rtol=1e-4, atol=1e-4
    )  # whatever its neighbours


def test_even_scores_and_empirical_quantiles(tf):
    from trainer.tasks.forecast.model.predictor import even_scores, quantiles_of

    scores = even_scores(100, 7, 2).numpy()[:, 0]
    ordered = np.sort(scores, axis=0)
    assert (ordered == ordered[:, :1, :1]).all() and abs(ordered[0, 0, 0] + 2.5758) < 1e-3  # the quantile at .005
    assert np.abs(np.corrcoef(scores.reshape(100, 14).T) - np.eye(14)).max() < 0.35  # another order at every step
    values = np.random.default_rng(0).normal(size=(20, 2, 3, 1)).astype(np.float32)
    found = quantiles_of(tf.constant(values), (0.01, 0.1, 0.5, 0.63, 0.99)).numpy()
    want = np.quantile(values, (0.01, 0.1, 0.5, 0.63, 0.99), axis=0, method="hazen")
    np.testing.assert_allclose(found, np.moveaxis(want, 0, -1), rtol=1e-5)


@pytest.mark.parametrize("output", ["quantiles", "negative_binomial"])
def test_training_lowers_the_likelihood_and_scores_agree(tf, counts, tmp_path, output):  # noqa: F811
    from trainer.training.run import build

    task, _ = built(
        counts, tmp_path, f"--output={output}", AUTOREGRESSIVE, "--quantiles=0.1,0.5,0.9", "--learning_rate=0.02"
    )
    stepper = build(task, tf.distribute.OneDeviceStrategy("/cpu:0"))
    progress = (tf.constant(0, tf.int64), tf.constant(0.0), tf.constant(0.02))
    table, _ = stepper.inner_loop(iter(task.data.training_batches(0, None)), tf.constant(50), (), *progress)
    losses = table.numpy()[:, 0]
    assert np.isfinite(losses).all() and losses[-10:].mean() < losses[:10].mean()
    validation = stepper.validate(task.data.evaluation_batches("validation", 64), 64)
    result = evaluated(task, stepper.model, counts, "--split=validation")
    for name in ("mse", "mae", "weighted_quantile_loss"):
        assert validation[name] == pytest.approx(result["metrics"][name], rel=1e-3)
    metrics = result["metrics"]
    assert metrics["crps_paths"] == pytest.approx(metrics["crps"], rel=0.25)  # three levels stand for the integral
    assert 0 < metrics["crps_sum"] < result["baselines"]["naive"]["crps_sum"] and 0 < metrics["coverage_80_sum"] <= 100
    assert result["baselines"]["last_7_seasons"]["crps_sum"] is None


class Persistent:
    """A forecaster of the last value with the right spread of every step; how its errors go together it cannot say."""

    def __call__(self, batch):
        import tensorflow as tf

        steps = tf.sqrt(tf.range(1.0, 1 + batch["target"].shape[1]))[:, None] * tf.ones_like(batch["target"])
        last = batch["past"][:, -1:] + tf.zeros_like(batch["target"])
        return tf.stack([last, tf.math.log(tf.math.expm1(steps)) - np.log(np.e - 1), tf.ones_like(last)], axis=-1)


@pytest.fixture(scope="module")
def walks(tmp_path_factory):
    """Random walks: the error of a step is all in the next one's."""
    from series_runs import prepare_csv

    directory = tmp_path_factory.mktemp("walks")
    values = np.random.default_rng(5).normal(size=(6000, 2)).cumsum(axis=0)
    (directory / "w.csv").write_text("a,b\n" + "\n".join(f"{a:.4f},{b:.4f}" for a, b in values) + "\n")
    return prepare_csv(directory / "w.csv", directory / "data", "--splits=2000,2000,2000")


def test_sums_of_paths_have_their_true_spread_and_independent_steps_do_not(tf, walks, tmp_path, monkeypatch):
    """Correlations of a random walk's errors are known; the score of sums tells dependent paths from independent
    ones.
    """
    from trainer.tasks.forecast.calibration import Calibration

    task, _ = built(walks, tmp_path, "--output=normal", "--lookback=4", "--horizon=12", "--time_features=false")
    std = task.data.std.mean()
    task.objective.distribution._mean[:], task.objective.distribution._std[:] = 0, 1
    model = lambda batch: Persistent()({**batch}) * tf.constant([1, 1, 1 / std], tf.float32)  # noqa: E731 - raw changes are of size 1
    copula = task.calibration(model).copula()
    place = np.arange(1, 13)
    want = np.sqrt(np.minimum.outer(place, place) / np.maximum.outer(place, place))
    np.testing.assert_allclose(copula.factor @ copula.factor.T, want, atol=0.12)
    together = evaluated(task, model, walks)["metrics"]
    monkeypatch.setattr(Calibration, "copula", lambda self: None)
    apart = evaluated(task, model, walks)["metrics"]
    assert together["crps_paths"] == pytest.approx(apart["crps_paths"], rel=0.02)
    assert together["crps_paths"] == pytest.approx(together["crps"], rel=0.05)
    assert together["crps_sum"] < 0.9 * apart["crps_sum"]
    assert abs(together["coverage_80_sum"] - 80) < 6 and apart["coverage_80_sum"] < 60


@pytest.mark.parametrize("conformal", ["validation", "recent"])
@pytest.mark.parametrize("decoder", ["parallel", "autoregressive"])
def test_calibrated_paths_follow_the_calibrated_quantiles(tf, counts, tmp_path, conformal, decoder):  # noqa: F811
    task, model = built(counts, tmp_path, "--output=normal", "--quantiles=0.1,0.5,0.9", f"--decoder={decoder}")
    raw, metrics = (evaluated(task, model, counts, *more)["metrics"] for more in ([], [f"--conformal={conformal}"]))
    assert metrics["crps_paths"] != raw["crps_paths"] and metrics["crps_paths"] == pytest.approx(
        metrics["crps"], rel=0.2
    )
    generator = (
        task.serving(model, export_config(f"--conformal={conformal}"))
        .signatures["serving_default"]
        .function.__self__.generator
    )
    assert generator.conformal is not None and (generator.copula is None) == (decoder == "autoregressive")
    batch = next(iter(task.data.evaluation_batches("test", 16)))
    drawn = generator.draw(model, batch, tf.constant(500), tf.constant(1, tf.int64)).numpy()
    quantiles = generator.forecast(model, batch)["quantiles"].numpy()
    for index, level in enumerate((0.1, 0.5, 0.9)):
        assert abs((drawn <= quantiles[..., index]).mean() - level) < 0.03


def test_an_export_draws_paths_that_predict_writes(tf, counts, tmp_path):  # noqa: F811
    from trainer import predict
    from trainer.saved_model.loaded import read_contract
    from trainer.saved_model.saved_model import export

    for decoder, copula, told in (
        ("parallel", "validation", "validation"),
        ("parallel", "none", "independent"),
        ("autoregressive", "validation", "autoregressive"),
    ):
        task, model = built(counts, tmp_path, "--output=quantiles", f"--decoder={decoder}", "--quantiles=0.1,0.5,0.9")
        model.use_portable_kernels()
        made = export(task.serving(model, export_config(f"--copula={copula}")), str(tmp_path / "export"))
        assert made["signatures"] == ["sample", "serving_default"] and made["max_difference"] < 1e-3
        assert read_contract(tmp_path / "export" / made["path"].rpartition("/")[2])["paths"] == told
    for name, rows in (("x", 80), ("y", 90)):
        write_counts(tmp_path / f"{name}.csv", rows)
    given = [
        f"--export_dir={tmp_path}/export",
        f"--input={tmp_path}/x.csv,{tmp_path}/y.csv",
        f"--output={tmp_path}/paths.csv",
    ]

    def written(*more):
        result = predict.main(flags.parse(PredictConfig, [*given, *more]))
        return result, list(csv.reader((tmp_path / "paths.csv").open()))

    result, rows = written("--num_samples=30", "--seed=4")
    assert result["predictions"] == 2 and result["rows"] == len(rows) - 1 == 2 * 30 * 6
    assert rows[0] == ["file", "sample", "date", "a", "b"]
    assert [row[1] for row in rows[1:181:6]] == [str(number) for number in range(1, 31)] and rows[1][
        2
    ] == "2021-01-04 08:00:00"
    paths = np.array([row[3:] for row in rows[1:]], float).reshape(2, 30, 6, 2)
    assert (paths.std(axis=1) > 0).all() and written("--num_samples=30", "--seed=4")[1] == rows != written(
        "--num_samples=30"
    )[1]
    bands = np.array([row[2:] for row in written()[1][1:]], float).reshape(2, 6, 2, 4)
    assert 0.6 < ((paths >= bands[:, None, ..., 1]) & (paths <= bands[:, None, ..., 3])).mean() < 0.95
    with pytest.raises(ConfigError, match="--seed=3 has no effect without --num_samples"):
        written("--seed=3")


def test_flags_that_do_not_fit_are_told(tf, counts, tmp_path):  # noqa: F811
    from trainer.tasks.forecast.path_predictions import check

    runs = [flags.parse(TrainConfig, ["--data_dir=d", "--model_dir=m", "--train_steps=1", *more]) for more in RUNS]
    point, parallel, ancestral = runs

    def reads(run, *more):
        assert not list(export_config(*more).problems_with(run))
        return bool(export_config(*more).reading_groups(run))

    assert [reads(run) for run in runs] == [False, True, False] and not reads(parallel, "--copula=none")
    assert reads(ancestral, "--conformal=recent", "--data_dir=d")
    for run, said in ((point, "the model draws no paths"), (ancestral, "no effect with --decoder=autoregressive")):
        (problem,) = export_config("--copula=none").problems_with(run)
        assert said in str(problem)
        (problem,) = export_config("--data_dir=d").problems_with(run)
        assert "--data_dir=d has no effect with this model" in str(problem)
    paths = flags.parse(PredictConfig, ["--export_dir=e", "--input=i", "--num_samples=3"])
    with pytest.raises(ConfigError, match="needs a probabilistic model"):
        check(paths, {"levels": []})
    with pytest.raises(ConfigError, match="shows quantiles, not the paths"):
        flags.parse(PredictConfig, ["--export_dir=e", "--input=i", "--num_samples=3", "--plot=p.png"])
    task, model = built(counts, tmp_path, "--output=normal")
    del task.manifest.splits["validation"]
    with pytest.raises(ConfigError, match="finds no validation split"):
        task.serving(model, export_config())
