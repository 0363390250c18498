"""Series out of the records of a TensorFlow dataset."""

from __future__ import annotations

import numpy as np

from trainer.config.prepare import PrepareConfig
from trainer.tasks.forecast.data.array_series import array_series
from trainer.tasks.forecast.data.csv_series import RawSeries
from trainer.tasks.tfds_source import PIECE_RECORDS, opened


def read_series(config: PrepareConfig, split: str, piece: int) -> list[RawSeries]:
    """The series of the records of one piece of a split; DataError names a record that holds no finite numbers."""
    source = opened(config)
    column = source.features[0].split("/")[-1]
    return [
        array_series(np.asarray(values), f"{split}_{piece * PIECE_RECORDS + number}", place, column)
        for number, (place, (values,)) in enumerate(source.records(split, piece))
    ]
