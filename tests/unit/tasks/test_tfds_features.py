"""Which features are picked, and what is told where none or several fit."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from trainer.cli import flags
from trainer.errors import ConfigError
from trainer.tasks import registry
from trainer.tasks.configurations import PrepareConfig
from trainer.tasks.tfds_features import TfdsFeature, choose, readable_features


def chosen(task: str, *arguments: Any) -> tuple[str, ...]:
    """As `choose`, with what the task reads."""
    request = registry.flags_of(task).tfds
    assert request is not None
    return choose(task, request, *arguments)


def features(*entries: tuple[str, tuple[int | None, ...], str]) -> dict[str, TfdsFeature]:
    return {name: TfdsFeature(name, shape, dtype) for name, shape, dtype in entries}


TEXT, OTHER, LABEL = ("text", (), "string"), ("title", (), "string"), ("label", (), "int64")
SERIES, TABLE, RAGGED = ("load", (None,), "int32"), ("wide", (None, 3), "float64"), ("ragged", (None, None), "float32")


def test_features_within_features() -> None:
    def info(shape: tuple[int | None, ...], dtype: str) -> SimpleNamespace:
        return SimpleNamespace(shape=shape, tf_dtype=SimpleNamespace(name=dtype))

    found = readable_features({"a": info((None, 2), "float32"), "deep": {"er": {"b": info((), "string")}}})
    assert found == features(("a", (None, 2), "float32"), ("deep/er/b", (), "string"))
    assert [str(feature) for feature in found.values()] == ["a (float32 [?, 2])", "deep/er/b (string)"]


def test_the_only_one_that_fits_is_picked() -> None:
    found = features(TEXT, LABEL, TABLE, RAGGED)
    assert chosen("language_model", "d", found, None, ()) == ("text",)
    assert chosen("forecast", "d", found, None, ()) == ("wide",)


def test_pairs_need_a_direction() -> None:
    assert chosen("seq2seq", "d", features(TEXT, OTHER, LABEL), ("title", "text"), ()) == ("title", "text")
    named = features(("source", (), "string"), ("target", (), "string"), TEXT)
    assert chosen("seq2seq", "d", named, ("text", "label"), ()) == ("source", "target")
    with pytest.raises(
        ConfigError, match="--feature_map=source=text,target=title or --feature_map=source=title,target=text"
    ):
        chosen("seq2seq", "d", features(TEXT, OTHER), None, ())


@pytest.mark.parametrize(
    ("task", "found", "mapped", "told"),
    [
        (
            "forecast",
            (SERIES, TABLE),
            (),
            r"--feature_map is missing.* d has load \(int32 \[\?\]\), wide .*--feature_map=values=load or",
        ),
        (
            "forecast",
            (TEXT, LABEL, RAGGED),
            (),
            r"--task=forecast needs numbers of shape.*: d has text \(string\), label \(int64\)",
        ),
        ("language_model", (SERIES,), (), "--task=language_model needs a text"),
        ("language_model", (TEXT, OTHER), (), "use --feature_map=text=text or --feature_map=text=title"),
        ("seq2seq", (TEXT, LABEL), (), "--task=seq2seq needs two texts"),
        (
            "seq2seq",
            (TEXT, OTHER),
            ("source=label", "target=text"),
            "--feature_map=source=label,target=text picks 'label'.*no text",
        ),
        (
            "forecast",
            (TABLE,),
            ("values=wdie",),
            "picks 'wdie', which holds no series: d has wide .*; use --feature_map=values=wide",
        ),
    ],
)
def test_what_does_not_fit_is_told(task: str, found: tuple, mapped: tuple[str, ...], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        chosen(task, "d", features(*found), None, mapped)


def test_mapped_features() -> None:
    found = features(TEXT, OTHER, SERIES, TABLE)
    assert chosen("seq2seq", "d", found, ("text", "title"), ("target=text", "source=title")) == ("title", "text")
    assert chosen("forecast", "d", found, None, ("values=load",)) == ("load",)


@pytest.mark.parametrize(
    ("arguments", "flag", "told"),
    [
        (("--source=tfds",), "tfds_name", "is missing"),
        (("--source=csv", "--input=a", "--tfds_name=b"), "tfds_name", "has no effect with --source=csv"),
        (("--source=csv", "--input=a", "--feature_map=values=b"), "feature_map", "has no effect with --source=csv"),
        (("--source=tfds", "--tfds_name=a", "--feature_map=text=b"), "feature_map", "give --feature_map=values=NAME"),
        (("--source=tfds", "--tfds_name=a", "--feature_map=values="), "feature_map", "give --feature_map=values=NAME"),
        (("--source=tfds", "--tfds_name=a", "--test_input=test"), "input", "name the split to train on too"),
        (("--source=tfds", "--tfds_name=a", "--date_column=d"), "date_column", "has no effect with --source=tfds"),
        (("--source=npy", "--input=a", "--date_column=d"), "date_column", "has no effect with --source=npy"),
        (
            ("--source=text", "--input=a"),
            "source",
            "use --source=csv or --source=npy or --source=tfds or --source=sample",
        ),
    ],
)
def test_flags_that_do_not_fit(arguments: tuple[str, ...], flag: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        flags.parse(PrepareConfig, ["--task=forecast", "--output_dir=o", *arguments])
    assert told in {problem.flag: str(problem) for problem in caught.value.problems}[flag]
