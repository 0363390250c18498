"""Translating the pairs of a split, in the order of the split."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from trainer.tasks.seq2seq.beam_search import beam_search
from trainer.tasks.seq2seq.decoding import Hypotheses, greedy, length_limit
from trainer.tasks.seq2seq.flags import SearchFlags
from trainer.tasks.seq2seq.task_data import PairData
from trainer.text.tokenizer import Tokenizer

Search = Callable[
    [tf.Tensor, tf.Tensor], Hypotheses
]  # source [B, S] int32 and its lengths [B] int32 -> the best translations
GREEDY = SearchFlags(beam_size=1, length_penalty=0.0)


def search_function(model: keras.Model, search: SearchFlags) -> Search:
    """One graph for sources of any shape; a beam of 1 without penalties is the greedy search, which is faster."""

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None], tf.int32)])
    def run(source: tf.Tensor, lengths: tf.Tensor) -> Any:
        memory, limit = model.encode(source, lengths), length_limit(lengths)
        if search == GREEDY:
            return greedy(model, memory, limit, search)
        return beam_search(model, memory, limit, search)

    return run


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
    translated = [text for text in texts if text is not None]
    if len(translated) != pairs:
        raise ValueError(f"{pairs - len(translated)} of {pairs} pairs were in no batch")
    return translated


def translate_split(search: Search, data: PairData, split: str, batch_size: int) -> list[str]:
    """The best translation of each pair of a split."""
    pairs = len(data.store(split).target_text)
    return translate(search, data.evaluation_batches(split, batch_size), pairs, data.tokenizers[1])
