"""Text -> the stretches of it that each split has.

`stream`: a file is one document, of which each split has a stretch of characters. `lines`: each line that is not blank
is a document, of which each split has a run. Lines end with a line feed; those that end with CR LF are read as if they
did.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from trainer.config.splits import SPLITS
from trainer.dataset.handoff import Handover
from trainer.dataset.split_borders import split_borders
from trainer.errors import DataError
from trainer.text.text_pieces import Facts, Indexed, Source, count_pieces

GROUP_PIECES = 64  # that one job counts

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stretch:
    """The units `[first, end)` of a source, which are a part of the stretch `[whole[0], whole[1])` that a split has of
    it.

    `document` is the number, within the split, of the document that it begins with.
    """

    source: Indexed
    first: int
    end: int
    document: int
    whole: tuple[int, int]

    def part(self, first: int, end: int) -> Stretch:
        passed = 0 if self.source.source.is_stream else first - self.first
        return replace(self, first=first, end=end, document=self.document + passed)

    def parts(self) -> list[Stretch]:
        """The stretch in parts that one job may read."""
        return [self.part(*ends) for ends in self.source.stretches(self.first, self.end, GROUP_PIECES)]

    @property
    def characters(self) -> int:
        """About how many there are."""
        return self.source.characters(self.first, self.end)

    def texts(self) -> Iterator[str]:
        """Its text, piece by piece, or its documents."""
        for content in self.source.read(self.first, self.end):
            yield from [content] if isinstance(content, str) else content


def index_sources(sources: Sequence[Source], parts: Handover) -> list[Indexed]:
    """Counts what is in all pieces of all sources, shared with the other tasks."""
    pieces = [(number, piece) for number, source in enumerate(sources) for piece in range(source.pieces)]
    groups = [pieces[first : first + GROUP_PIECES] for first in range(0, len(pieces), GROUP_PIECES)]
    jobs = [[(sources[number], piece) for number, piece in group] for group in groups]
    facts: list[list[Facts]] = [[] for _ in sources]
    for group, counted in zip(groups, parts.together("count", count_pieces, jobs)):
        for (number, _), counts in zip(group, counted):
            facts[number].append(Facts(*counts))
    return [Indexed(source, facts_here) for source, facts_here in zip(sources, facts)]


def split_texts(
    sources_of: Mapping[str, Sequence[Indexed]], documents: str, splits: Sequence[str]
) -> dict[str, list[Stretch]]:
    """The stretches of each split, in the order of the sources; splits without any are absent.

    Args:
      sources_of: split -> its texts; those of `train` are split by `splits`, the others lie wholly in theirs.
      documents: `stream` or `lines`.
      splits: sizes in characters (stream) or documents (lines) of each source, as `split_borders` takes them.

    Raises:
      DataError: a source is too short for its splits, or has no document.
    """
    unit = "characters" if documents == "stream" else "documents"
    elsewhere = [split for split in ("validation", "test") if sources_of.get(split)]
    stretches: dict[str, list[Stretch]] = {}
    for split, sources in sources_of.items():
        for source in sources:
            _tell(source)
            borders = (
                split_borders(source.units, splits, source.name, unit, elsewhere)
                if split == "train"
                else {split: (0, source.units)}
            )
            for name, (first, end) in borders.items():
                placed = stretches.setdefault(name, [])
                document = (
                    placed[-1].document + (1 if documents == "stream" else placed[-1].end - placed[-1].first)
                    if placed
                    else 0
                )
                placed.append(Stretch(source, first, end, document, (first, end)))
    return {split: stretches[split] for split in SPLITS if split in stretches}


def shard_parts(stretches: Sequence[Stretch], shards: int) -> list[list[Stretch]]:
    """The stretches in so many parts of equal numbers of units, the parts of each shard in order."""
    total = sum(stretch.end - stretch.first for stretch in stretches)
    parts: list[list[Stretch]] = [[] for _ in range(shards)]
    before = 0  # units of the stretches before this one
    for stretch in stretches:
        units = stretch.end - stretch.first
        # Shard i has the units [total * i // shards, total * (i + 1) // shards).
        for shard in range((before * shards) // total, min(shards, ((before + units) * shards) // total + 1)):
            low, high = (min(max(total * border // shards - before, 0), units) for border in (shard, shard + 1))
            if low < high:
                parts[shard].append(stretch.part(stretch.first + low, stretch.first + high))
        before += units
    return parts


def _tell(source: Indexed) -> None:
    if source.crlf:
        _log.info("%s: %d lines end with CR LF, which was read as LF", source.name, source.crlf)
    if not source.units:
        raise DataError(f"{source.name} holds blank lines only; give a file with text, or leave it out")
    if source.blank:
        _log.info("%s: %d blank lines were skipped", source.name, source.blank)
