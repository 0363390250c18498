"""Scores of translations, by sacreBLEU."""

from __future__ import annotations

from collections.abc import Sequence


def translation_metrics(hypotheses: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """BLEU, chrF and exact match of whole texts (Papineni et al. 2002; Popovic 2015; both as Post 2018 computes them).

    Args:
      hypotheses: [P] texts that a model gave, detokenised.
      references: [P] texts that are right, as they were read, one for each hypothesis.

    Returns:
      bleu: 0 to 100, sacreBLEU's 13a tokens, case kept; comparable between papers.
      bleu_lower_tokens: the same on lower-cased tokens, as older tables have it.
      chrf: 0 to 100, chrF2 (characters up to 6-grams).
      exact_match: share of the texts that are equal, 0 to 1.

    Raises:
      ValueError: there is no text, or not one reference for each hypothesis.
    """
    if not hypotheses or len(hypotheses) != len(references):
        raise ValueError(
            f"{len(hypotheses)} hypotheses for {len(references)} references: there must be as many, and one at least"
        )
    from sacrebleu.metrics import BLEU, CHRF  # here: every training run would wait for it

    translations, right = list(hypotheses), [list(references)]
    equal = sum(hypothesis == reference for hypothesis, reference in zip(hypotheses, references))
    # `force` is silence about texts that look tokenised already, which is not a fault of a raw text such as a date.
    return {
        "bleu": float(BLEU(tokenize="13a", force=True).corpus_score(translations, right).score),
        "bleu_lower_tokens": float(
            BLEU(tokenize="13a", lowercase=True, force=True).corpus_score(translations, right).score
        ),
        "chrf": float(CHRF().corpus_score(translations, right).score),
        "exact_match": equal / len(hypotheses),
    }
