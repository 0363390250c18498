"""Line-aligned texts -> the pairs of each split: two files (line i of one is translated by line i of the other), or one with a tab."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trainer.config import SPLITS
from trainer.data.split_borders import split_borders
from trainer.data.text_source import read_text
from trainer.errors import ConfigError, DataError, Problem

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TextPairs:
    """Text `i` of `source` and its translation, text `i` of `target`, as they were read.

    `name` is where they are from, for errors; `surplus` counts lines that had no partner and were left out.
    """

    name: str
    source: list[str]
    target: list[str]
    surplus: int = 0


def read_pairs(paths: Sequence[str], flag: str, drop_surplus: bool) -> TextPairs:
    """Reads two files of lines, or one file of lines `source<tab>target`. No line is left out, blank ones are empty texts.

    Args:
      paths: the source's and the target's file, or one file with both.
      flag: the flag that named them, for errors.
      drop_surplus: whether lines that the shorter of two files lacks are left out.

    Raises:
      DataError: a file is missing, empty or no UTF-8, the files have unequal numbers of lines, or a line has not one tab.
      ConfigError: there are more than two files.
    """
    if len(paths) == 1:
        return _read_tabs(paths[0])
    if len(paths) != 2:
        remedy = "name the file of the sources and the file of the targets, or one file with both and a tab between"
        raise ConfigError([Problem(flag, ",".join(paths)[:200], f"names {len(paths)} files", remedy)])
    source, target = (_lines(path) for path in paths)
    surplus = abs(len(source) - len(target))
    if surplus and not drop_surplus:
        raise DataError(
            f"{paths[0]} has {len(source)} lines and {paths[1]} {len(target)}, so they are not line-aligned; correct the files,"
            " or leave the last lines of the longer one out with --drop_pairs=surplus"
        )
    pairs = min(len(source), len(target))
    _log.info("--%s: %s is translated by %s, %d pairs", flag, paths[0], paths[1], pairs)
    return TextPairs(f"{paths[0]} and {paths[1]}", source[:pairs], target[:pairs], surplus)


def split_pairs(given: Mapping[str, TextPairs], splits: Sequence[str]) -> dict[str, TextPairs]:
    """The pairs of each split, in the order of the files; splits without any are absent.

    Args:
      given: split -> its pairs; those of `train` are split by `splits`, the others lie wholly in theirs.
      splits: sizes in pairs, as `split_borders` takes them.

    Raises:
      DataError: there are too few pairs for the splits.
    """
    elsewhere = [split for split in ("validation", "test") if split in given]
    found = {split: given[split] for split in elsewhere}
    whole = given["train"]
    for split, (first, end) in split_borders(len(whole.source), splits, whole.name, "pairs", elsewhere).items():
        surplus = whole.surplus if split == "train" else 0
        found[split] = TextPairs(whole.name, whole.source[first:end], whole.target[first:end], surplus)
    return {split: found[split] for split in SPLITS if split in found}


def _lines(path: str) -> list[str]:
    return read_text(path).text.removesuffix("\n").split("\n")


def _read_tabs(path: str) -> TextPairs:
    rows = [line.split("\t") if line else ["", ""] for line in _lines(path)]
    for number, row in enumerate(rows, start=1):
        if len(row) != 2:
            raise DataError(
                f"{path} line {number}: has {len(row) - 1} tabs, a pair is source, one tab, target;"
                " correct it, or give two files as in --input=source.txt,target.txt"
            )
    return TextPairs(path, [row[0] for row in rows], [row[1] for row in rows])
