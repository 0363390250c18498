"""Groups pairs of texts by the lengths of both sides, so that batches of a bounded number of shapes carry little
padding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Rows = Callable[[np.ndarray], np.ndarray]  # the longer side's lengths [n] -> rows of a batch that is padded to them [n]


@dataclass(frozen=True)
class Bucket:
    """Pairs that share a shape of batch: `rows` pairs, padded to `source` and `target` tokens."""

    rows: int
    source: int
    target: int


@dataclass(frozen=True, eq=False)
class _Box:
    """Cells (distinct pairs of lengths) that lie together, and the padded tokens that an epoch of them costs."""

    cells: np.ndarray  # [n] indices
    cost: int


def length_buckets(source: np.ndarray, target: np.ndarray, rows: Rows, most: int) -> tuple[list[Bucket], np.ndarray]:
    """Buckets by source and target length that make an epoch's batches small, counted in tokens with padding.

    One bucket that holds all pairs is cut in two, at the source or the target length that saves most, and so on with
    the bucket whose cut saves most then, until there are `most` buckets or no cut saves anything. A bucket's last batch
    counts as a full one.

    Args:
      source: [P] whole numbers from 1 on, the lengths of the source texts; P is 1 or more.
      target: [P] lengths of the target texts.
      rows: the rows of a batch, from the longer of its two lengths.
      most: buckets at most.

    Returns:
      The buckets, and the bucket of each pair, [P] int64.
    """
    cells, cell_of, counts = np.unique(
        np.stack([source, target], axis=1), axis=0, return_inverse=True, return_counts=True
    )
    everything = np.arange(len(cells))
    widest = cells.max(axis=0)
    boxes = [_Box(everything, int(_costs(counts.sum(), widest[0], widest[1], rows)))]
    cuts = {id(boxes[0]): _best_cut(boxes[0], cells, counts, rows)}
    while len(boxes) < most:
        savings = [box.cost - sum(part.cost for part in cuts[id(box)]) if cuts[id(box)] else 0 for box in boxes]
        best = int(np.argmax(savings))
        if savings[best] <= 0:
            break
        parts = cuts[id(boxes[best])]
        boxes[best : best + 1] = parts
        cuts.update({id(part): _best_cut(part, cells, counts, rows) for part in parts})
    bucket_of_cell = np.empty(len(cells), np.int64)
    buckets = []
    for number, box in enumerate(boxes):
        bucket_of_cell[box.cells] = number
        source_length, target_length = (int(length) for length in cells[box.cells].max(axis=0))
        buckets.append(Bucket(int(rows(np.array(max(source_length, target_length)))), source_length, target_length))
    return buckets, bucket_of_cell[cell_of.reshape(-1)]


def _costs(pairs: np.ndarray, source: np.ndarray, target: np.ndarray, rows: Rows) -> np.ndarray:
    """Padded tokens of an epoch of buckets that hold `pairs` pairs and are padded to `source` and `target`, all [n]."""
    size = rows(np.maximum(source, target))
    return -(-pairs // size) * size * (source + target)


def _best_cut(box: _Box, cells: np.ndarray, counts: np.ndarray, rows: Rows) -> list[_Box]:
    """The two parts of a box that cost least together; none where the box cannot be cut."""
    best: list[_Box] = []
    for axis in (0, 1):
        ordered = box.cells[np.argsort(cells[box.cells, axis], kind="stable")]
        lengths, pairs = cells[ordered], counts[ordered]
        edges = np.flatnonzero(np.diff(lengths[:, axis]))  # cut after these
        if not len(edges):
            continue
        below, above = np.maximum.accumulate(lengths)[edges], np.maximum.accumulate(lengths[::-1])[::-1][edges + 1]
        within = np.cumsum(pairs)[edges]
        low = _costs(within, below[:, 0], below[:, 1], rows)
        high = _costs(pairs.sum() - within, above[:, 0], above[:, 1], rows)
        place = int(np.argmin(low + high))
        if not best or low[place] + high[place] < sum(part.cost for part in best):
            first = edges[place] + 1
            best = [_Box(ordered[:first], int(low[place])), _Box(ordered[first:], int(high[place]))]
    return best
