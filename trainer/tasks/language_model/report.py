"""Sections of a language model's report: the loss by position, and texts that it went on with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from trainer.reports.parts import Figure, Headline, Meaning, Section, Table
from trainer.reports.svg_charts import Axes, Line, line_chart

HEADLINE = Headline(
    "nats_per_char",
    "Nats per character",
    "tokens",
    higher_is_better=False,
    meanings=(
        Meaning(("*nats_*", "*bits_*", "*perplexity"), "less is better"),
        Meaning(("windowed_*",), "of independent windows that begin with a zero state"),
    ),
    baselines="Baselines are counts of the training split.",
)


@dataclass(frozen=True)
class Sample:
    """A prompt out of a split, what the model made of it, and what really followed."""

    prompt: str
    completion: str
    followed: str


def position_section(nats: np.ndarray, counts: np.ndarray, baselines: Mapping[str, Mapping[str, float]]) -> Section:
    """The loss at each position of independent windows: sums of `nats: [T]` over `counts: [T]` targets, and the best
    baseline's mean.
    """
    positions = np.flatnonzero(counts) + 1
    lines = [Line("model", "s0", positions, nats[positions - 1] / counts[positions - 1])]
    legend = [("s0", "model")]
    scored = {name: scores["nats_per_token"] for name, scores in baselines.items()}
    if scored:
        best = min(scored, key=lambda name: scored[name])
        lines.insert(0, Line(best, "s1", positions[[0, -1]], np.full(2, scored[best]), dashed=True))
        legend.append(("s1", f"{best}, mean of the split"))
    chart = line_chart(lines, Axes("position in the window (token)", "nats per token"))
    caption = (
        f"Mean loss at each position of windows of {len(nats)} tokens that begin with a zero state, over "
        f"{int(counts.sum()):,} tokens "
        f"({int(counts[0]):,} windows at the first position, {int(counts[positions[-1] - 1]):,} at the last). "
        "It falls as far as the model makes use of what it has read."
    )
    return Section("Loss by position", (Figure("", (chart,), caption, tuple(legend)),))


def samples_section(samples: Sequence[Sample], split: str, temperature: float, seed: int) -> Section:
    """Texts side by side: given, made, real."""
    rows = tuple((str(number), one.prompt, one.completion, one.followed) for number, one in enumerate(samples, 1))
    caption = (
        f"Prompts from evenly spaced places of the {split} split; sampled at temperature {temperature:g} with seed "
        f"{seed}, "
        "not chosen from several tries."
    )
    return Section(
        "Samples", (Table("", ("", "prompt", "the model went on", "the text went on"), rows, caption, texts=True),)
    )
