"""The last line of an evaluation: its scores in short, whatever the number of series and steps."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

MOST_BYTES = 2000
SCORES_OF_BASELINES = 3  # beside the headline's, where all would be too many


def summary_of(result: Mapping[str, Any], headline: str, scores: str) -> dict[str, Any]:
    """The part of an evaluation's result that is printed.

    Args:
      result: all of it.
      headline: the metric that sums the model up.
      scores: the file that holds all of it.

    Returns:
      The entries that are one value each, `metrics` and `baselines` without what is by step or by series, the verdicts
      of a backtest, and `scores`. Baselines have all metrics where that makes no more than `MOST_BYTES`, else a few.
    """
    summary = {name: value for name, value in result.items() if not isinstance(value, Mapping | list)}
    if isinstance(result.get("season"), Mapping):
        summary["season"] = result["season"]
    summary["metrics"] = _numbers(result["metrics"])
    summary["baselines"] = {name: _numbers(values) for name, values in result["baselines"].items()}
    if "backtest" in result:
        summary["backtest"] = _backtest(result["backtest"])
    summary["scores"] = scores
    if len(json.dumps(summary)) > MOST_BYTES:
        kept = {headline, *list(summary["metrics"])[:SCORES_OF_BASELINES]}
        summary["baselines"] = {
            name: {metric: value for metric, value in values.items() if metric in kept}
            for name, values in summary["baselines"].items()
        }
    return summary


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {name: value for name, value in values.items() if isinstance(value, float)}


def _backtest(backtest: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a backtest and the verdict against each baseline."""
    summary = {name: value for name, value in backtest.items() if not isinstance(value, Mapping | list)}
    summary["origins"] = len(backtest["origins"])
    return summary | {"verdicts": {name: test["verdict"] for name, test in backtest["diebold_mariano"].items()}}
