"""Translation scores, against BLEU and chrF written out from their papers."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Sequence

import pytest

from trainer.tasks.seq2seq.metrics import translation_metrics

HYPOTHESES = ["the dog bit the man .", "it was not surprising .", "The man had just bitten him , again ."]
REFERENCES = ["the dog bit the man .", "it was not unexpected .", "the man bit him first , and again ."]


def grams(items: Sequence[str], size: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(items[first : first + size]) for first in range(len(items) - size + 1))


def bleu(hypotheses: list[list[str]], references: list[list[str]]) -> float:
    """Papineni et al. 2002, of a corpus, one reference."""
    logs = 0.0
    for size in range(1, 5):
        pairs = [(grams(given, size), grams(right, size)) for given, right in zip(hypotheses, references)]
        logs += (
            math.log(sum((given & right).total() for given, right in pairs) / sum(given.total() for given, _ in pairs))
            / 4
        )
    given, right = (sum(map(len, texts)) for texts in (hypotheses, references))
    return 100 * math.exp(logs) * min(1.0, math.exp(1 - right / given))


def chrf(hypotheses: list[str], references: list[str]) -> float:
    """Popovic 2015: beta 2, characters up to 6-grams, spaces left out, counts of the corpus."""
    precisions, recalls = [], []
    for size in range(1, 7):
        pairs = [
            (grams("".join(given.split()), size), grams("".join(right.split()), size))
            for given, right in zip(hypotheses, references)
        ]
        same = sum((given & right).total() for given, right in pairs)
        precisions.append(same / sum(given.total() for given, _ in pairs))
        recalls.append(same / sum(right.total() for _, right in pairs))
    precision, recall = sum(precisions) / 6, sum(recalls) / 6
    return 100 * 5 * precision * recall / (4 * precision + recall)


def test_as_the_papers_compute_them() -> None:
    scores = translation_metrics(HYPOTHESES, REFERENCES)
    tokens, right = ([text.split() for text in texts] for texts in (HYPOTHESES, REFERENCES))
    assert scores["bleu"] == pytest.approx(bleu(tokens, right))
    lowered = bleu([[token.lower() for token in text] for text in tokens], right)
    assert scores["bleu_lower_tokens"] == pytest.approx(lowered) and lowered > scores["bleu"]
    assert scores["chrf"] == pytest.approx(chrf(HYPOTHESES, REFERENCES))
    assert scores["exact_match"] == pytest.approx(1 / 3)


def test_raw_text_is_tokenised() -> None:
    joined = [text.replace(" .", ".").replace(" ,", ",") for text in HYPOTHESES]
    right = [text.replace(" .", ".").replace(" ,", ",") for text in REFERENCES]
    expected, found = translation_metrics(HYPOTHESES, REFERENCES), translation_metrics(joined, right)
    assert found["bleu"] == pytest.approx(expected["bleu"])


def test_best_and_worst(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    best = translation_metrics(REFERENCES * 50, REFERENCES * 50)
    assert best == pytest.approx({"bleu": 100, "bleu_lower_tokens": 100, "chrf": 100, "exact_match": 1})
    worst = translation_metrics(["", ""], ["a b c d", "e f g h"])
    assert worst == {"bleu": 0, "bleu_lower_tokens": 0, "chrf": 0, "exact_match": 0}
    assert all(math.isfinite(value) for value in translation_metrics(["2001-02-03"], ["2001-02-03"]).values())
    assert not caplog.records


def test_texts_that_do_not_belong_together() -> None:
    for given, right in (([], []), (["a"], []), (["a"], ["a", "b"])):
        with pytest.raises(ValueError, match="there must be as many, and one at least"):
            translation_metrics(given, right)
