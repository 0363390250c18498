"""Values that code below the commands refuses get the names of the flags that they stand in."""

from __future__ import annotations

import pickle

import pytest
from configured import prepare_config

from trainer.cli.flag_of_value import problem_of
from trainer.errors import CacheSizeError, LocationError, UnfitError, VocabularySizeError

CONFIG = prepare_config(
    task="language_model", source="text", input=("a.txt", "gs://b/in/*.txt"), output_dir="gs://b/out/"
)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (LocationError("a.txt", "is odd", "use 2"), "--input=a.txt is odd; use 2"),
        (LocationError("gs://b/in/*.txt", "is odd", "use 2"), "--input=gs://b/in/*.txt is odd; use 2"),
        (
            LocationError("gs://b/out/dataset.json", "may not be written", "grant it"),
            "--output_dir=gs://b/out/ cannot be used: gs://b/out/dataset.json may not be written; grant it",
        ),
        (VocabularySizeError(7, "is too few", "use 8"), "--vocab_size=7 is too few; use 8"),
        (CacheSizeError(0.5, "is too little", "use 1"), "--cache_gigabytes=0.5 is too little; use 1"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_flag_is_named(error: UnfitError, text: str) -> None:
    assert str(problem_of(error, CONFIG)) == text


@pytest.mark.parametrize("path", ["gs://b/outer", "gs://b", "elsewhere"])
def test_a_location_that_no_flag_gave(path: str) -> None:
    assert problem_of(LocationError(path, "is odd", "use 2"), CONFIG) is None


def test_such_errors_go_between_processes() -> None:
    error = pickle.loads(pickle.dumps(LocationError("a", "is odd", "use 2")))
    assert (str(error), error.value) == ("a is odd; use 2", "a")
