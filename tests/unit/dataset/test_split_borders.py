from __future__ import annotations

import pytest

from trainer.dataset.split_borders import split_borders
from trainer.errors import DataError


def test_counts_fractions_and_files_of_their_own() -> None:
    assert split_borders(17420, ("8640", "2880", "2880"), "a", "rows") == {
        "train": (0, 8640),
        "validation": (8640, 11520),
        "test": (11520, 14400),
    }
    assert split_borders(10, ("0.7", "0.1", "0.2"), "a", "rows") == {
        "train": (0, 7),
        "validation": (7, 8),
        "test": (8, 10),
    }
    assert split_borders(10, ("0.5", "0", "0.5"), "a", "rows") == {"train": (0, 5), "test": (5, 10)}
    assert split_borders(10, ("1.0",), "a", "rows") == {"train": (0, 10)}
    assert split_borders(10, ("0.7", "0.1", "0.2"), "a", "rows", ("validation",)) == {"train": (0, 8), "test": (8, 10)}
    assert split_borders(10, ("0.7", "0.1", "0.2"), "a", "rows", ("validation", "test")) == {"train": (0, 10)}


def test_a_group_too_short_for_its_splits() -> None:
    with pytest.raises(DataError, match=r"a\.csv has 10 rows, --splits=8,2,2 needs 12"):
        split_borders(10, ("8", "2", "2"), "a.csv", "rows")
    with pytest.raises(DataError, match=r"a\.csv has 3 rows, too few for the validation split"):
        split_borders(3, ("0.9", "0.05", "0.05"), "a.csv", "rows")


def test_rows_in_no_split_are_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "trainer")
    split_borders(10, ("5", "2"), "a.csv", "rows")
    assert "the last 3 of 10 rows are in no split" in caplog.text


def test_borders_at_fractions_are_exact_and_rounded_down() -> None:
    assert split_borders(1115394, ("0.9", "0.1"), "a", "characters") == {
        "train": (0, 1003854),
        "validation": (1003854, 1115394),
    }
    thousandths = split_borders(1000, ("0.7", "0.1", "0.2"), "a", "rows")  # 0.7 + 0.1 is below 0.8 in floating point
    assert thousandths == {"train": (0, 700), "validation": (700, 800), "test": (800, 1000)}
    with pytest.raises(DataError, match="a has 5 documents, --splits=9 needs 9"):
        split_borders(5, ("9",), "a", "documents")
