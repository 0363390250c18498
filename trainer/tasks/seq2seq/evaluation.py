"""Translating the pairs of a split, in the order of the split."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from trainer.tasks.seq2seq.decoding import Hypotheses
from trainer.text.tokenizer import Tokenizer

Search = Callable[
    [tf.Tensor, tf.Tensor], Hypotheses
]  # source [B, S] int32 and its lengths [B] int32 -> the best translations


def translate(search: Search, batches: tf.data.Dataset, pairs: int, tokenizer: Tokenizer) -> list[str]:
    """The best translation of each of `pairs` pairs; `batches` are as `PairBatches.in_order` gives them.

    Raises:
      ValueError: a pair is missing in the batches.
    """
    texts: list[str | None] = [None] * pairs
    for batch in batches:
        best = search(batch["source"], batch["source_lengths"])
        rows, lengths = best.tokens[:, 0].numpy(), best.lengths[:, 0].numpy()
        for number, row, length in zip(batch["index"].numpy(), rows, lengths):
            if number >= 0:
                texts[number] = tokenizer.decode(row[:length])
    found = [text for text in texts if text is not None]
    if len(found) != pairs:
        raise ValueError(f"{pairs - len(found)} of {pairs} pairs were in no batch")
    return found
