"""Evaluation results for people: a table on stdout, everything in `evaluation.json`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from trainer.storage.atomic_file import atomic_file

SCORES_FILE = "evaluation.json"


def write_tables(result: dict[str, Any], report_dir: str) -> None:
    """Prints one row of scores for the model and each baseline; with a `report_dir` writes the whole result there."""
    rows = {"model": result["metrics"], **result.get("baselines", {})}
    names = [name for name, value in result["metrics"].items() if isinstance(value, float)]
    sys.stdout.write(f"{result['split']}: {result['count']} scored\n")
    first = max(14, *(len(label) + 2 for label in rows))
    widths = [max(12, len(name) + 2) for name in names]
    sys.stdout.write("".ljust(first) + "".join(name.rjust(width) for name, width in zip(names, widths)) + "\n")
    for label, metrics in rows.items():
        cells = ("-" if metrics.get(name) is None else f"{metrics[name]:.4g}" for name in names)
        sys.stdout.write(label.ljust(first) + "".join(cell.rjust(width) for cell, width in zip(cells, widths)) + "\n")
    if report_dir:
        with atomic_file(Path(report_dir) / SCORES_FILE) as path:
            path.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")
