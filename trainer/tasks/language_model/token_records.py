"""Documents -> the shards of a dataset of token ids.

The documents of a split, one after the other, are one run of text. A record is a piece of that run, so it may begin
within a document and hold many short ones:
  document  int64 scalar   number of the document, within the split, that the first token is of
  start     int64 scalar   how many characters of that document lie before
  lengths   int64 [n]      tokens of each document in the record: of the first from `start` on, of the last up to the
    record's end
  tokens    [sum of lengths] uint8, uint16 or int32, the smallest that holds every id less the tokenizer's `lowest` (0,
    4 for bytes)
The arrays are little-endian bytes, which TFDS reads as `Tensor(..., encoding='bytes')`. Records hold what the tokenizer
gave: marks between documents are added by the reader. Shards and records are cut by characters and documents, not by
tokens, so that each can be made without those before it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from trainer.dataset.schema import Feature
from trainer.dataset.tfrecord import FeatureValue
from trainer.text.text_source import Stretch, shard_parts
from trainer.text.tokenizer import CUT_WITHIN, Tokenizer

RECORD_CHARACTERS = 1 << 20


@dataclass(frozen=True)
class TokenShard:
    """The documents of stretches that follow one another."""

    tokenizer: Tokenizer
    stretches: list[Stretch]
    record_characters: int

    def records(self, counts: Counter[str]) -> Iterator[dict[str, FeatureValue]]:
        """Yields the records; counts `tokens`, `characters` and `unknown` tokens."""
        for document, start, texts in self._texts():
            tokens, lengths, unknown = self.tokenizer.store_all(texts)
            counts["tokens"] += int(lengths.sum())
            counts["characters"] += sum(map(len, texts))
            counts["unknown"] += unknown
            yield {"document": document, "start": start, "lengths": lengths.astype("<i8").tobytes(), "tokens": tokens}

    def _texts(self) -> Iterator[tuple[int, int, list[str]]]:
        """Yields what each record holds: number and start of its first document, and the texts of its documents."""
        within = 0 if self.tokenizer.cuts_anywhere else CUT_WITHIN
        head, texts, room = (0, 0), list[str](), self.record_characters
        for document, start, contents in self._documents():
            text = ""  # of the document: what was read and is in no record yet
            for content in chain(contents, [None]):
                text += content or ""
                done = 0
                while len(text) - done > (room + within if content is not None else 0):
                    head = head if texts else (document, start + done)
                    cut = min(self.tokenizer.cut(text, done + room), len(text))
                    texts.append(text[done:cut])
                    room, done = room - (cut - done), cut
                    if room <= 0:
                        yield *head, texts
                        texts, room = [], self.record_characters
                text, start = text[done:], start + done
        if texts:
            yield *head, texts

    def _documents(self) -> Iterator[tuple[int, int, Iterator[str]]]:
        """Yields number, characters before, and text of each document, or of the part of it that is here."""
        for stretch in self.stretches:
            if stretch.source.source.is_stream:
                cut = replace(stretch, first=self._cut(stretch, stretch.first), end=self._cut(stretch, stretch.end))
                yield cut.document, cut.first - cut.whole[0], cut.texts()
                continue
            for number, text in enumerate(stretch.texts(), stretch.document):
                yield number, 0, iter((text,))

    def _cut(self, stretch: Stretch, unit: int) -> int:
        """The place at or after a unit of a stream where text may be cut; the shards on both sides find the same."""
        first, end = stretch.whole
        if self.tokenizer.cuts_anywhere or unit in (first, end):
            return unit
        near = "".join(replace(stretch, first=unit - 1, end=min(unit + CUT_WITHIN, end)).texts())
        return unit - 1 + self.tokenizer.cut(near, 1)


def token_shards(tokenizer: Tokenizer, stretches: Sequence[Stretch], num_shards: int) -> list[TokenShard]:
    """The shards of a split, of equal numbers of characters (of a stream) or documents; fewer than `num_shards` of
    little text.
    """
    units = sum(stretch.end - stretch.first for stretch in stretches)
    smallest = 1 if tokenizer.cuts_anywhere or not stretches[0].source.source.is_stream else CUT_WITHIN
    shards = max(1, min(num_shards, units // smallest))
    return [TokenShard(tokenizer, parts, RECORD_CHARACTERS) for parts in shard_parts(stretches, shards)]


def token_features(tokenizer: Tokenizer) -> tuple[Feature, ...]:
    return (
        Feature("document", (), "int64", "index"),
        Feature("start", (), "int64", "character"),
        Feature("lengths", (None,), "int64", "tokens"),
        Feature("tokens", (None,), tokenizer.stored_dtype, "id", tokenizer.lowest),
    )
