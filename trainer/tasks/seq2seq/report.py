"""Sections of a translator's report: BLEU by source length, examples, an attention map."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trainer.reports.parts import Figure, Headline, Meaning, Section, Table, ranked_places
from trainer.reports.svg_charts import bar_chart, heat_map
from trainer.tasks.seq2seq.metrics import translation_metrics

MOST_BUCKETS = 6
LEAST_PAIRS = 10  # in a bucket: BLEU of fewer says little
EXAMPLES_A_RANK = 3
LONGEST_ATTENTION = 40  # pieces of either side
MEANINGS = (
    Meaning(("bleu", "bleu_lower_tokens", "chrf"), "0 to 100, by sacreBLEU on whole texts"),
    Meaning(("bleu",), "13a, mixed case"),
    Meaning(("exact_match", "token_accuracy"), "shares from 0 to 1"),
    Meaning(("token_accuracy", "nats_per_token"), "of the next token, the right ones before it given"),
)


def headline(score_name: str) -> Headline:
    """The score that picked the best checkpoint, or BLEU where that was the loss."""
    names = {"exact_match": "Exact match (share of texts)"}
    return Headline(
        score_name if score_name in names else "bleu",
        names.get(score_name, "BLEU (0 to 100)"),
        "pairs",
        higher_is_better=True,
        meanings=MEANINGS,
    )


def length_section(sources: Sequence[str], hypotheses: Sequence[str], references: Sequence[str]) -> Section:
    """BLEU of the texts in buckets of source length in words (characters where no source has two words)."""
    words = [len(text.split()) for text in sources]
    lengths = np.array(words if max(words) > 1 else [len(text) for text in sources])
    unit = "words" if max(words) > 1 else "characters"
    buckets = length_buckets(lengths)
    labels, scores, rows = [], [], []
    for low, high in buckets:
        members = np.flatnonzero((lengths >= low) & (lengths <= high)).tolist()
        bleu = translation_metrics([hypotheses[i] for i in members], [references[i] for i in members])["bleu"]
        label = f"{low}" if low == high else f"{low} to {high}"
        labels.append(label)
        scores.append(bleu)
        rows.append((label, len(members), bleu))
    chart = bar_chart(labels, scores, f"source length ({unit})", "BLEU (0 to 100)")
    caption = f"BLEU (13a, mixed case) of each bucket as a corpus by itself, over {len(sources):,} pairs."
    table = Table("", (f"source length ({unit})", "pairs", "BLEU"), tuple(rows), "The bars as numbers.")
    return Section("BLEU by source length", (Figure("", (chart,), caption), table))


def length_buckets(lengths: np.ndarray) -> list[tuple[int, int]]:
    """Ranges of lengths, first and last, of about equally many texts each: `lengths: [P]`."""
    count = int(np.clip(len(lengths) // LEAST_PAIRS, 1, MOST_BUCKETS))
    borders = np.unique(np.quantile(lengths, np.linspace(0, 1, count + 1)[1:], method="lower"))
    lows = [int(lengths.min()), *(int(border) + 1 for border in borders[:-1])]
    return [(low, int(high)) for low, high in zip(lows, borders)]


def examples(hypotheses: Sequence[str], references: Sequence[str]) -> list[tuple[str, int]]:
    """The best, the median and the worst by chrF of the text, as (rank, pair): `EXAMPLES_A_RANK` of each, each pair
    once.
    """
    from sacrebleu.metrics import CHRF

    metric = CHRF()
    scores = np.array(
        [metric.sentence_score(hypothesis, [right]).score for hypothesis, right in zip(hypotheses, references)]
    )
    order = np.argsort(-scores, kind="stable")
    chosen: dict[int, str] = {}
    for rank, place in ranked_places(len(order)):
        first = int(
            np.clip(place - (EXAMPLES_A_RANK // 2 if rank == "median" else 0), 0, max(0, len(order) - EXAMPLES_A_RANK))
        )
        for pair in order[first : first + EXAMPLES_A_RANK]:
            chosen.setdefault(int(pair), rank)
    return [(rank, pair) for pair, rank in chosen.items()]


def examples_section(
    chosen: Sequence[tuple[str, int]], sources: Sequence[str], hypotheses: Sequence[str], references: Sequence[str]
) -> Section:
    """Sources, references and translations of the chosen pairs."""
    rows = tuple((rank, sources[pair], hypotheses[pair], references[pair]) for rank, pair in chosen)
    caption = f"The best, the median and the worst of {len(sources):,} pairs by chrF of the text."
    return Section("Examples", (Table("", ("", "source", "translation", "reference"), rows, caption, texts=True),))


def attention_section(weights: np.ndarray, source: Sequence[str], target: Sequence[str]) -> Section:
    """A map of the attention: `weights: [T, S]` of the pieces of a translation over those of its source."""
    source, target = (
        [piece.replace(" ", "▁").replace("\n", "\\n") for piece in side[:LONGEST_ATTENTION]]
        for side in (source, target)
    )
    chart = heat_map(weights[: len(target), : len(source)], target, source, "source pieces", "translation pieces")
    caption = (
        "Attention of the decoder over the source while it wrote each piece of a median example, from 0 (empty) to 1 "
        "(full colour); "
        "▁ is a space."
    )
    return Section("Attention", (Figure("", (chart,), caption),))
