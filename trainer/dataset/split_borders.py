"""Where train, validation and test lie in a source: borders by --splits."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from decimal import Decimal
from fractions import Fraction

from trainer.config.splits import SPLITS
from trainer.errors import DataError

_log = logging.getLogger(__name__)


def split_borders(
    count: int, splits: Sequence[str], source: str, unit: str, elsewhere: Collection[str] = ()
) -> dict[str, tuple[int, int]]:
    """Borders of train, validation and test in a source of `count` entries, in order; empty splits are absent.

    A border at a fraction is rounded down, so that 0.9 of 1,115,394 characters are 1,003,854.

    Args:
      count: entries of the source.
      splits: up to three sizes, all fractions (0 to 1) or all counts, as `PrepareConfig` checks them.
      source: the file, for errors.
      unit: what is counted, in the plural, for errors.
      elsewhere: splits that have files of their own: the source has no part in them, their share goes to train.

    Raises:
      DataError: the source is too short.
    """
    sizes = dict(zip(SPLITS, (Fraction(Decimal(size)) for size in splits)))
    fractions = all(size <= 1 for size in sizes.values())
    for name in elsewhere:
        sizes["train"] += sizes.pop(name, 0)
    shown = ",".join(splits)
    if not fractions and sum(sizes.values()) > count:
        requested = f"--splits={shown} needs {int(sum(sizes.values()))}"
        raise DataError(f"{source} has {count} {unit}, {requested}; ask for fewer, or for fractions")
    borders: dict[str, tuple[int, int]] = {}
    first, total = 0, Fraction(0)
    for name, size in sizes.items():
        total += size
        end = min(count, int(count * total)) if fractions else int(total)
        if size and end == first:
            raise DataError(
                f"{source} has {count} {unit}, too few for the {name} split of --splits={shown}; give more data or "
                "other --splits"
            )
        if size:
            borders[name] = (first, end)
        first = end
    if first < count:
        _log.info("%s: the last %d of %d %s are in no split of --splits=%s", source, count - first, count, unit, shown)
    return borders
