"""Line-aligned texts -> the pairs of each split: two files (line i of one is translated by line i of the other), or one
with a tab.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from trainer.config.splits import SPLITS
from trainer.dataset.split_borders import split_borders
from trainer.errors import ConfigError, DataError, Problem
from trainer.text.text_pieces import Indexed, Source, open_text
from trainer.text.text_source import GROUP_PIECES

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PairStretch:
    """The pairs `[first, end)` of sources that hold line-aligned texts: two with one side each, or one with both (a
    list of pairs or of texts with a tab). No pair is left out, blank sides are empty texts.

    `begin` is the first of the split, `surplus` counts lines of the source that have no partner.
    """

    sources: tuple[Indexed, ...]
    first: int
    end: int
    begin: int = 0
    surplus: int = 0

    @property
    def name(self) -> str:
        return " and ".join(source.name for source in self.sources)

    def part(self, first: int, end: int) -> PairStretch:
        return replace(self, first=first, end=end)

    def pairs(self) -> Iterator[tuple[str, str]]:
        if len(self.sources) == 2:
            yield from zip(*(source.entries(self.first, self.end) for source in self.sources))
            return
        for entry in self.sources[0].entries(self.first, self.end):
            if isinstance(entry, str):
                source, _, target = entry.partition("\t")
                yield source, target
            else:
                yield entry


@dataclass(frozen=True)
class PairTexts:
    """The texts of pairs as training text of a vocabulary: of one side (0 or 1), or of both; without pairs with a blank
    side, or with.
    """

    stretch: PairStretch
    sides: tuple[int, ...]
    drop_empty: bool

    @property
    def first(self) -> int:
        return self.stretch.first

    @property
    def end(self) -> int:
        return self.stretch.end

    @property
    def characters(self) -> int:
        sources = self.stretch.sources
        sources_here = [sources[side] for side in self.sides] if len(sources) == 2 else sources
        return sum(source.characters(self.first, self.end) for source in sources_here)

    def part(self, first: int, end: int) -> PairTexts:
        return replace(self, stretch=self.stretch.part(first, end))

    def parts(self) -> list[PairTexts]:
        source = self.stretch.sources[self.sides[0] % len(self.stretch.sources)]
        return [self.part(*ends) for ends in source.stretches(self.first, self.end, GROUP_PIECES)]

    def texts(self) -> Iterator[str]:
        kept = (pair for pair in self.stretch.pairs() if not self.drop_empty or is_whole(pair))
        return chain.from_iterable((pair[side] for side in self.sides) for pair in kept)


def is_whole(pair: tuple[str, str]) -> bool:
    """Whether neither side is blank."""
    return bool(pair[0].strip() and pair[1].strip())


def open_pairs(paths: Sequence[str], flag: str) -> list[Source]:
    """Two files of lines, or one file of lines `source<tab>target`.

    Args:
      paths: the source's and the target's file, or one file with both.
      flag: the flag that named them, for errors.

    Raises:
      DataError: a file is missing or empty.
      ConfigError: there are more than two files.
    """
    if len(paths) > 2:
        remedy = "name the file of the sources and the file of the targets, or one file with both and a tab between"
        raise ConfigError([Problem(flag, ",".join(paths)[:200], f"names {len(paths)} files", remedy)])
    return [open_text(path, "lines" if len(paths) == 2 else "tabs") for path in paths]


def align(sources: Sequence[Indexed], flag: str, drop_surplus: bool) -> PairStretch:
    """All pairs of sources; DataError where two files have unequal numbers of lines and the surplus is not to be
    dropped.
    """
    if len(sources) == 1:
        return PairStretch((sources[0],), 0, sources[0].units)
    source, target = sources
    surplus, pairs = abs(source.units - target.units), min(source.units, target.units)
    if surplus and not drop_surplus:
        raise DataError(
            f"{source.name} has {source.units} lines and {target.name} {target.units}, so they are not line-aligned; "
            "correct the files,"
            " or leave the last lines of the longer one out with --drop_pairs=surplus"
        )
    _log.info("--%s: %s is translated by %s, %d pairs", flag, source.name, target.name, pairs)
    return PairStretch((source, target), 0, pairs, 0, surplus)


def split_pairs(stretches: Mapping[str, PairStretch], splits: Sequence[str]) -> dict[str, PairStretch]:
    """The pairs of each split, in the order of the files; splits without any are absent.

    Args:
      stretches: split -> its pairs; those of `train` are split by `splits`, the others lie wholly in theirs.
      splits: sizes in pairs, as `split_borders` takes them.

    Raises:
      DataError: there are too few pairs for the splits.
    """
    elsewhere = [split for split in ("validation", "test") if split in stretches]
    split_stretches = {split: stretches[split] for split in elsewhere}
    whole = stretches["train"]
    for split, (first, end) in split_borders(whole.end, splits, whole.name, "pairs", elsewhere).items():
        split_stretches[split] = replace(
            whole, first=first, end=end, begin=first, surplus=whole.surplus if split == "train" else 0
        )
    return {split: split_stretches[split] for split in SPLITS if split in split_stretches}
