"""`report.html`: one page that holds all it shows and loads nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from trainer.evaluation.report_parts import Cell, Headline, Section, Table
from trainer.whole_file import whole_file

REPORT_FILE = "report.html"


def write_report(
    report_dir: str, result: Mapping[str, Any], headline: Headline, sections: Sequence[Section], facts: Mapping[str, Mapping[str, str]]
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
        loader=PackageLoader("trainer.evaluation", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
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
    with whole_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def summary(result: Mapping[str, Any], headline: Headline) -> str:
    """The headline score against the best baseline, in sentences."""
    own = result["metrics"][headline.metric]
    told = f"{headline.name}: {cell(own)} over {result['count']:,} {headline.counted} of the {result['split']} split."
    others = {name: scores[headline.metric] for name, scores in result["baselines"].items() if scores.get(headline.metric) is not None}
    if not others:
        return f"{told} There is no baseline to compare with."
    best = (max if headline.higher_is_better else min)(others, key=lambda name: others[name])
    reached = others[best]
    if own == reached:
        return f"{told} The best baseline, {best}, has the same."
    better = (own > reached) == headline.higher_is_better
    by = f" by {abs(own / reached - 1):.1%}" if reached else ""
    told += f" The best baseline, {best}, has {cell(reached)}: the model is {'better' if better else 'worse'}{by}."
    test = result.get("backtest", {}).get("diebold_mariano", {}).get(best)
    if test is not None:
        p = "" if test["p_value"] is None else f" (p = {test['p_value']:.2g})"
        told += f" Diebold-Mariano test against it: {test['verdict']}{p}."
    return told


def scores_table(result: Mapping[str, Any], headline: Headline) -> Table:
    """All scores that are single numbers, of the model and of each baseline."""
    columns = {"model": result["metrics"], **result["baselines"]}
    names = [name for name, value in result["metrics"].items() if isinstance(value, float)]
    rows = tuple((name, *(scores.get(name) for scores in columns.values())) for name in names)
    counted = f"{result['count']:,} {headline.counted} of the {result['split']} split."
    return Table("All scores", ("", *columns), rows, f"{counted} {headline.caption}")


def cell(value: Cell) -> str:
    """A table's cell: four digits of a number, a dash for none."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
