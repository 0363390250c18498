"""The vocabulary of a tokenizer, from training text that need not fit into memory.

Characters and words are counted in parts, which tasks share and each adds up in the same order (a word on the border of
two pieces of a file counts as two). Sentencepiece trains on a bounded sample of places spread evenly over the text:
reading it again in every task costs seconds, and the model is the same, so that no task has to wait for another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Protocol, TypeVar

from trainer.dataset.handoff import Handover
from trainer.text import tokenizers
from trainer.text.tokenizer import Tokenizer

SAMPLE_CHARACTERS = 10_000_000  # that sentencepiece trains on at most
SAMPLE_PLACES = 250  # of long text, from which the sample is taken

Self = TypeVar("Self", bound="Training")


class Training(Protocol):
    """A stretch of training text. Instances can be sent to other processes."""

    @property
    def first(self) -> int: ...

    @property
    def end(self) -> int: ...

    @property
    def characters(self) -> int:
        """About how many there are."""

    def part(self: Self, first: int, end: int) -> Self:
        """The units `[first, end)`."""

    def parts(self: Self) -> Sequence[Self]:
        """The whole, in parts that one job may read."""

    def texts(self) -> Iterator[str]: ...


def build(
    parts: Handover, name: str, kind: str, training: Sequence[Training], size: int | None, **options: Any
) -> Tokenizer:
    """Makes a vocabulary, or reads it where a task has made it.

    Args:
      parts: what tasks share.
      name: of the vocabulary, unique in `parts`.
      kind: of the tokenizer.
      training: the text.
      size: largest vocabulary, as `tokenizers.build` takes it.
      options: those of `tokenizers.build`.

    Raises:
      VocabularySizeError: as `tokenizers.build`.
    """
    if kind == "byte":
        return tokenizers.build(kind, ())

    def make() -> bytes:
        if kind == "sentencepiece":
            return tokenizers.build(kind, sample(training), size, **options).content
        counts: Counter[str] = Counter()
        jobs = [(kind, part) for stretch in training for part in stretch.parts()]
        for counter in parts.together(f"{name}-count", _count, jobs):
            counts.update(counter)
            tokenizers.keep_frequent(counts)
        return tokenizers.from_counts(kind, counts, size).content

    return tokenizers.from_content(kind, parts.content(name, make))


def sample(training: Sequence[Training]) -> Iterator[str]:
    """All of short text; of long text, about SAMPLE_CHARACTERS from places at even distances."""
    sizes = [stretch.characters for stretch in training]
    whole = sum(sizes)
    if whole <= SAMPLE_CHARACTERS:
        for stretch in training:
            yield from stretch.texts()
        return
    room = SAMPLE_CHARACTERS // SAMPLE_PLACES
    before = 0
    for stretch, characters in zip(training, sizes):
        # Place i is in the middle of the i-th of SAMPLE_PLACES equal parts of all text.
        low, high = (-(-(2 * SAMPLE_PLACES * place - whole) // (2 * whole)) for place in (before, before + characters))
        for place in range(max(low, 0), high):
            into = (2 * place + 1) * whole - 2 * SAMPLE_PLACES * before  # of 2 * SAMPLE_PLACES * characters
            unit = stretch.first + (stretch.end - stretch.first) * into // (2 * SAMPLE_PLACES * characters)
            yield from _lines_from(stretch.part(min(unit, stretch.end - 1), stretch.end), room)
        before += characters


def _lines_from(stretch: Training, room: int) -> Iterator[str]:
    """Lines from a place on, `room` characters; the rest of the line that the place is in is left out where others
    follow.
    """
    for number, text in enumerate(stretch.texts()):
        begin = text.find("\n", 0, room) + 1 if number == 0 else 0
        taken = text[begin : begin + room]
        yield taken
        room -= len(taken)
        if room <= 0:
            return


def _count(job: tuple[str, Training]) -> Counter[str]:
    kind, stretch = job
    return tokenizers.count(kind, stretch.texts())
