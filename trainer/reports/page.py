"""`report.html`: one page that holds all it shows and loads nothing."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from trainer.reports.parts import Cell, Headline, Meaning, Section, Table
from trainer.storage.atomic_file import atomic_file

REPORT_FILE = "report.html"


def write_report(
    report_dir: str,
    result: Mapping[str, Any],
    headline: Headline,
    sections: Sequence[Section],
    facts: Mapping[str, Mapping[str, str]],
) -> Path:
    """Writes `REPORT_DIR/report.html`, which appears whole.

    Args:
      report_dir: made where it is absent.
      result: what `evaluation.json` holds: `split`, `step`, `count`, `metrics`, `baselines`.
      headline: the score of the summary.
      sections: below the table of all scores.
      facts: title -> name -> value, at the end of the page.
    """
    environment = Environment(
        loader=PackageLoader("trainer.reports", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = cell
    page = environment.get_template("report.html.jinja").render(
        summary=summary(result, headline),
        scores=scores_table(result, headline),
        sections=sections,
        facts=facts,
        split=result["split"],
        step=result["step"],
        is_table=lambda part: isinstance(part, Table),
    )
    path = Path(report_dir) / REPORT_FILE
    with atomic_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def summary(result: Mapping[str, Any], headline: Headline) -> str:
    """The headline score against the best baseline, in sentences."""
    score = result["metrics"][headline.metric]
    reason = (
        f"{headline.name}: {cell(score)} over {result['count']:,} {headline.counted} of the {result['split']} split."
    )
    others = {
        name: scores[headline.metric]
        for name, scores in result["baselines"].items()
        if scores.get(headline.metric) is not None
    }
    if not others:
        return f"{reason} There is no baseline to compare with."
    best = (max if headline.higher_is_better else min)(others, key=lambda name: others[name])
    reached = others[best]
    if score == reached:
        return f"{reason} The best baseline, {best}, has the same."
    better = (score > reached) == headline.higher_is_better
    reason += (
        f" The best baseline, {best}, has {cell(reached)}: the model is "
        f"{'better' if better else 'worse'}{_compared(score, reached)}."
    )
    test = result.get("backtest", {}).get("diebold_mariano", {}).get(best)
    if test is not None:
        p = "" if test["p_value"] is None else f" (p = {test['p_value']:.2g})"
        reason += f" Diebold-Mariano test against it: {test['verdict']}{p}."
    return reason


def _compared(score: float, reached: float) -> str:
    """How far two scores are apart: a share up to 100% of the baseline's, else how many times it; nothing of a baseline
    of 0 or below.
    """
    if reached <= 0:
        return ""
    ratio = score / reached
    return f" by {abs(ratio - 1):.1%}" if ratio < 2 else f": {ratio:,.1f} times the baseline's"


def scores_table(result: Mapping[str, Any], headline: Headline) -> Table:
    """All scores that are single numbers, of the model and of each baseline."""
    columns = {"model": result["metrics"], **result["baselines"]}
    names = [name for name, value in result["metrics"].items() if isinstance(value, float)]
    rows = tuple((name, *(scores.get(name) for scores in columns.values())) for name in names)
    caption = [
        f"{result['count']:,} {headline.counted} of the {result['split']} split.",
        _explained(names, headline.meanings),
    ]
    if result["baselines"]:
        caption.append(headline.baselines)
    return Table("All scores", ("", *columns), rows, " ".join(filter(None, caption)))


def _explained(names: Sequence[str], meanings: Sequence[Meaning]) -> str:
    """The meanings of the scores of these names, and of no others."""
    meanings_of = []
    for meaning in meanings:
        fitting = [pattern for pattern in meaning.scores if fnmatch.filter(names, pattern)]
        if fitting:
            meanings_of.append(f"{', '.join(pattern.replace('*', '…') for pattern in fitting)}: {meaning.text}")
    return "; ".join(meanings_of) + "." if meanings_of else ""


def cell(value: Cell) -> str:
    """A table's cell: four digits of a number, a dash for none."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
