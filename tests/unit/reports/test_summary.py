"""The last line of an evaluation does not grow with the data."""

import json

from trainer.reports.summary import MOST_BYTES, summary_of


def result(series: int, metrics: int) -> dict[str, object]:
    numbers = {f"metric_{index}": 0.123456789012345 + index for index in range(metrics)}
    scores = {**numbers, "per_series": [{"name": f"s{index}", "mse": 0.5} for index in range(series)], "targets": 7}
    tests = {"naive": {"verdict": "better", "p_value": 0.01}}
    return {
        "split": "test",
        "count": 5,
        "season": {"name": "day", "steps": 24},
        "metrics": scores,
        "baselines": {name: dict(scores) for name in ("naive", "seasonal_naive", "ridge")},
        "backtest": {"stride": 3, "loss": "mse", "origins": [{"origin": index} for index in range(series)]}
        | {"diebold_mariano": tests, "refit": False},
    }


def test_many_series_make_no_longer_line() -> None:
    short, long = (json.dumps(summary_of(result(series, 4), "metric_3", "f.json")) for series in (1, 1000))
    assert len(long) - len(short) == 3 and len(long) < MOST_BYTES  # origins are counted
    found = summary_of(result(1000, 4), "metric_3", "f.json")
    assert found["baselines"]["ridge"] == found["metrics"] == {f"metric_{i}": 0.123456789012345 + i for i in range(4)}
    assert found["backtest"] == {
        "stride": 3, "loss": "mse", "refit": False, "origins": 1000, "verdicts": {"naive": "better"},
    }  # fmt: skip
    assert (found["scores"], found["season"]) == ("f.json", {"name": "day", "steps": 24})


def test_of_many_metrics_baselines_have_a_few() -> None:
    found = summary_of(result(3, 20), "metric_9", "f.json")
    assert set(found["baselines"]["naive"]) == {"metric_0", "metric_1", "metric_2", "metric_9"}
    assert len(found["metrics"]) == 20 and len(json.dumps(found)) < MOST_BYTES
