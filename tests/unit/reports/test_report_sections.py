"""What reports choose and tell: ranks of windows and series against sorting by hand, calibration, buckets and
examples.
"""

import itertools
import re

import numpy as np
import pytest

from trainer.reports.comparison import scale_top
from trainer.reports.learning_curves import learning_curves
from trainer.reports.parts import ranked_places
from trainer.tasks.forecast.evaluation.report import calibration_section, horizon_section, ranked_series
from trainer.tasks.forecast.evaluation.window_errors import WindowErrors
from trainer.tasks.language_model.report import position_section
from trainer.tasks.seq2seq.report import examples, length_buckets, length_section


def test_the_best_the_median_and_the_worst_window_of_a_series():
    random = np.random.default_rng(0)
    errors = WindowErrors()
    every = []
    for number in range(3):  # batches of 4 windows, 5 steps, 2 channels: series 0 and 1
        forecast, target = random.normal(size=(2, 4, 5, 2))
        weight = (random.random((4, 5, 2)) > 0.4).astype(np.float32)
        if number == 2:
            weight[3] = 0  # fills the batch up
        errors.add(forecast, np.where(weight > 0, target, 0), weight, np.tile([0, 1], (4, 1)))
        for row in range(4):
            scored = weight[row, :, 1] > 0
            if scored.sum() >= 3:  # half of the fullest, of 5
                every.append((float(np.square(forecast - target)[row, scored, 1].mean()), 4 * number + row))
    every.sort()
    found = errors.ranked(1)
    assert [(window.rank, window.number) for window in found] == [
        ("best", every[0][1]),
        ("median", every[len(every) // 2][1]),
        ("worst", every[-1][1]),
    ]
    assert [window.mse for window in found] == pytest.approx([every[0][0], every[len(every) // 2][0], every[-1][0]])
    assert all(window.channel == 1 and window.series == 1 for window in found)


@pytest.mark.parametrize(
    "count, places",
    [(0, []), (1, [("best", 0)]), (2, [("best", 0), ("worst", 1)]), (5, [("best", 0), ("median", 2), ("worst", 4)])],
)
def test_ranked_places(count, places):
    assert ranked_places(count) == places


def test_series_without_a_score_have_no_rank():
    series = [
        {"series": index, "mse": mse, "windows": 5, "targets": 30 if mse else 0}
        for index, mse in enumerate([3.0, None, 1.0, 2.0])
    ]
    assert ranked_series(series) == [("best", 2), ("median", 3), ("worst", 0)]
    # a series of which hardly a value is observed is none of the three, unless all are so
    sparse = [{"series": 4, "mse": mse, "windows": 5, "targets": 5} for mse in (0.0, 9.0)]
    assert [ranked_series([*series, one]) for one in sparse] == [ranked_series(series)] * 2
    assert ranked_series(sparse[:1]) == [("best", 4)] and ranked_series(series[1:2]) == []


def test_a_window_of_few_values_is_neither_the_best_nor_the_worst():
    errors = WindowErrors()
    truth = np.zeros((4, 6, 1))
    weight = np.ones((4, 6, 1))
    weight[0, 1:], weight[1, 2:] = 0, 0  # one and two of six values
    forecast = np.array([0.0, 9.0, 1.0, 2.0]).reshape(4, 1, 1) * np.ones((4, 6, 1))
    errors.add(forecast, truth, weight, np.zeros((4, 1), int))
    assert [(window.rank, window.number, window.targets) for window in errors.ranked(0)] == [
        ("best", 2, 6),
        ("worst", 3, 6),
    ]
    sparse = WindowErrors()  # no window is half full: the fullest count
    sparse.add(forecast[:2], truth[:2], weight[:2], np.zeros((2, 1), int))
    assert [(window.rank, window.number, window.targets) for window in sparse.ranked(0)] == [
        ("best", 0, 1),
        ("worst", 1, 2),
    ]


def test_calibration_is_shown_of_quantiles_alone():
    assert calibration_section({"mse": 1.0}, 10) is None
    metrics = {
        "levels": [{"level": 0.1, "below": 0.2}, {"level": 0.5, "below": 0.4}, {"level": 0.9, "below": 0.8}],
        "intervals": [{"probability": 0.8, "coverage": 0.6, "width": 1.5}],
    }
    figure, table = calibration_section(metrics, 1234).parts
    assert table.rows == (("80%", "60.0%", 1.5),)
    assert "1,234 observed values" in figure.caption
    assert all(f"model: {value}" in figure.charts[0] for value in (20, 40, 80))


def test_buckets_hold_every_length_once():
    random = np.random.default_rng(0)
    for size in (1, 9, 40, 500):
        lengths = random.integers(1, 30, size)
        buckets = length_buckets(lengths)
        members = [int(((lengths >= low) & (lengths <= high)).sum()) for low, high in buckets]
        assert sum(members) == size and min(members) > 0
        assert all(low <= high for low, high in buckets) and all(
            a[1] + 1 == b[0] for a, b in itertools.pairwise(buckets)
        )
    assert length_buckets(np.full(100, 7)) == [(7, 7)]


def test_bleu_of_a_bucket_is_that_of_its_texts():
    from sacrebleu import corpus_bleu

    sources = ["a b c d e"] * 30 + ["a " * 12] * 30
    right = ["one two three four five six"] * 60
    given = right[:30] + ["one two three four six five"] * 30
    _figure, table = length_section(sources, given, right).parts
    assert [row[:2] for row in table.rows] == [("5", 30), ("6 to 12", 30)]
    expected = [corpus_bleu(given[part], [right[part]], force=True).score for part in (slice(0, 30), slice(30, 60))]
    assert [row[2] for row in table.rows] == pytest.approx(expected) and expected[0] == pytest.approx(100)


def test_examples_are_ranked_and_come_once():
    right = [f"the number {number} is written here" for number in range(20)]
    given = [text if number < 5 else text[: 30 - number] for number, text in enumerate(right)]
    chosen = examples(given, right)
    assert len({pair for _, pair in chosen}) == len(chosen) == 9
    assert {pair for rank, pair in chosen if rank == "best"} <= set(range(5)) and {
        p for r, p in chosen if r == "worst"
    } == {17, 18, 19}
    assert examples(["a"], ["b"]) == [("best", 0)]


def test_the_loss_of_a_position_is_its_mean():
    counts = np.array([4.0, 4.0, 2.0, 0.0])
    figure = position_section(np.array([8.0, 4.0, 1.0, 0.0]), counts, {"unigram": {"nats_per_token": 3.0}}).parts[0]
    assert "over 10 tokens (4 windows at the first position, 2 at the last)" in figure.caption
    assert figure.legend[1][1] == "unigram, mean of the split"


def test_learning_curves_tell_the_best_step():
    entries = [{"step": step, "loss": 1 / step} for step in range(1, 1001)]
    entries += [{"step": step, "validation_mse": value} for step, value in ((400, 0.5), (600, 0.25), (1000, 0.75))]
    figure = learning_curves(entries, "mse", False).parts[0]
    assert "the best, 0.25 at step 600" in figure.caption and "1,000 steps (means of 4 steps)" in figure.caption
    assert "the best, 0.75 at step 1,000" in learning_curves(entries, "mse", True).parts[0].caption
    assert learning_curves([], "mse", False) is None


def scores(values, name="mse"):
    return {"per_step": {name: values}}


def test_a_baseline_far_above_the_rest_leaves_the_chart():
    baselines = {
        "naive": scores([0.2, 5.0, 9.0]),
        "seasonal_naive": scores([0.5, 0.6, 0.7]),
        "ridge": scores([0.1, 0.2, 0.3]),
    }
    figure = horizon_section(scores([0.1, 0.2, 0.4]), baselines, None, 7).parts[0]
    assert {label.partition(" ")[0]: label for _, label in figure.legend}["naive"] == "naive (beyond the axis, up to 9)"
    assert "leaves the chart at its top" in figure.caption and "no dates" not in figure.charts[0]
    heights = [
        float(y)
        for line in re.findall(r'<polyline[^>]*points="([^"]*)"', figure.charts[0])
        for y in re.findall(r",([\d.]+)", line)
    ]
    assert min(heights) == 26 and len(heights) == 2 + 3 + 3 + 3  # to the top of the plot, not beyond
    near = horizon_section(scores([0.1, 0.2, 0.4]), {**baselines, "naive": scores([0.2, 1.0, 2.0])}, None, 7).parts[0]
    assert "beyond" not in str(near.legend) + near.caption


@pytest.mark.parametrize(
    "model, baselines, top",
    [
        (1.0, [], None),
        (1.0, [100.0], None),  # the one baseline that there is
        (1.0, [100.0, 110.0], None),
        (1.0, [2.0, 5.0], None),
        (1.0, [0.5, 100.0], 1.15),
        (17.0, [18.0, 230.0, 230.0, 30.0], 1.15 * 30),
        (500.0, [1.0, 2.0, 600.0], None),  # a model that is the worst is shown
    ],
)
def test_where_the_axis_ends(model, baselines, top):
    assert scale_top(model, baselines) == (None if top is None else pytest.approx(top))
