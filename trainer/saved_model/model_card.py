"""`model_card.md`, which travels with an exported model: its data, settings, versions and figures (Mitchell et al.
2019).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trainer.tasks.task import Task
from trainer.training.run_facts import Facts

CARD_FILE = "model_card.md"


def model_card(
    task: Task,
    step: int,
    weights: str,
    metrics: Sequence[Mapping[str, Any]],
    evaluations: Sequence[Mapping[str, Any]],
    facts: Facts,
) -> str:
    """The card as Markdown.

    Args:
      task: of the model.
      step: of the weights.
      weights: their checksum, as `weights_checksum` gives it.
      metrics: lines of the run's `metrics.jsonl`.
      evaluations: what `trainer.evaluate` noted of these very weights, a split each.
      facts: as `run_facts` gives them.
    """
    lines = [
        f"# {_text(facts['Data']['name'])}",
        "",
        f"A {task.name} model, weights of step {step:,} (CRC32C {weights}).",
        "",
        "## Figures",
        "",
    ]
    lines += [_best_validation(task, metrics), ""]
    for evaluation in evaluations:
        lines += [*_scores(evaluation), ""]
    if not evaluations:
        lines += ["These weights were not evaluated before the export (`python -m trainer.evaluate`).", ""]
    for title, entries in facts.items():
        lines += [f"## {title}", "", *_table(("", ""), list(entries.items())), ""]
    lines += ["`contract.json` beside this file tells what the signatures take and give.", ""]
    return "\n".join(lines)


def _best_validation(task: Task, metrics: Sequence[Mapping[str, Any]]) -> str:
    key = f"validation_{task.objective.score_name}"
    scored = [(entry[key], entry["step"]) for entry in metrics if key in entry]
    if not scored:
        return "The run has no validation score."
    score, step = (max if task.objective.higher_is_better else min)(scored, key=lambda entry: entry[0])
    return f"Best validation score of the run: {task.objective.score_name} {score:.4g} at step {step:,}."


def _scores(evaluation: Mapping[str, Any]) -> list[str]:
    """A table of the scores that are single numbers: the model's and each baseline's."""
    columns = {"model": evaluation["metrics"], **evaluation["baselines"]}
    names = [name for name, value in evaluation["metrics"].items() if isinstance(value, float)]
    rows = [
        (name, *("–" if scores.get(name) is None else f"{scores[name]:.4g}" for scores in columns.values()))
        for name in names
    ]
    data = evaluation["data"]
    reason = (
        f"Scored on the {evaluation['split']} split of {_text(data['name'])} ({data['fingerprint']}), "
        f"{evaluation['count']:,} counted:"
    )
    return [reason, "", *_table(("", *columns), rows)]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(_text(cell) for cell in line) + " |" for line in lines]


def _text(cell: str) -> str:
    """A cell that cannot break its table, nor become markup."""
    return " ".join(cell.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").split())
