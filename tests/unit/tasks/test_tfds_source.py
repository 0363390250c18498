"""Datasets of TFDS, built here on disk, as sources of every task. Nothing is downloaded."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainer.cli import flags
from trainer.errors import ConfigError, DataError
from trainer.prepare import prepare
from trainer.tasks import datasets
from trainer.tasks.configurations import PrepareConfig
from trainer.tasks.forecast.data import series_store
from trainer.tasks.forecast.facts import SeriesFacts
from trainer.tasks.language_model import token_store
from trainer.tasks.language_model.facts import TextFacts
from trainer.tasks.seq2seq import store as pair_store

tfds = pytest.importorskip("tensorflow_datasets")
ROOT = Path(__file__).parents[3]
ROWS = {"train": (12, 16), "dev": (8,), "test": (6, 7)}  # of the series


def _build(
    directory: Path, class_name: str, features: Any, splits: dict[str, list[dict[str, Any]]], supervised: Any = None
) -> Path:
    """A dataset of TFDS on disk, made by a builder of its own; gives the directory of its version."""

    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[name-defined, call-arg]
        VERSION = tfds.core.Version("1.0.0")
        name = class_name

        def _info(self) -> Any:
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features), supervised_keys=supervised
            )

        def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
            return {name: self._generate_examples(examples) for name, examples in splits.items()}

        def _generate_examples(self, examples: list[dict[str, Any]]) -> Iterator[tuple[int, dict[str, Any]]]:
            yield from enumerate(examples)

    builder = Builder(data_dir=str(directory))
    builder.download_and_prepare()
    return Path(builder.data_dir)


def _series(rows: int) -> np.ndarray:
    return np.arange(2.0 * rows).reshape(rows, 2) + 100 * rows


@pytest.fixture(scope="module")
def built(tf: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tfds")
    text, label = tfds.features.Text(), tfds.features.ClassLabel(num_classes=2)
    review = {"review": text, "label": label}
    many = [{"review": f"Film {number}\nwas good, é.", "label": 1} for number in range(20)]
    _build(
        directory,
        "reviews",
        review,
        {"train": many, "test": [*many[:3], {"review": " \n", "label": 0}]},
        ("review", "label"),
    )
    pairs = [{"de": f"das {number}", "en": f"the {number}"} for number in range(12)]
    languages = tfds.features.Translation(("en", "de"))
    _build(directory, "wmt_toy", languages, {"train": pairs[:8], "validation": pairs[8:], "other": pairs}, ("en", "de"))
    values = {
        "meta": {"values": tfds.features.Tensor(shape=(None, 2), dtype=np.float64)},
        "load": tfds.features.Sequence(np.int32),
    }
    series = {
        split: [{"meta": {"values": _series(count)}, "load": np.arange(count)} for count in rows]
        for split, rows in ROWS.items()
    }
    series["bad"] = [{"meta": {"values": np.array([[1, np.inf]])}, "load": [1]}]
    _build(directory, "power", values, series)
    two = {"b": text, "a": tfds.features.Scalar(np.str_)}
    _build(directory, "two_texts", two, {"train": [{"b": "b", "a": "a"}] * 4, "odd": [{"b": b"\xff", "a": "a"}]})
    return directory


def run(built: Path, out: Path, *arguments: str) -> dict[str, Any]:
    directory = [] if any(argument.startswith("--tfds_dir") for argument in arguments) else [f"--tfds_dir={built}"]
    quiet = ["--num_shards=2", "--num_processes=1", "--source=tfds", f"--output_dir={out}"]
    return prepare(flags.parse(PrepareConfig, [*quiet, *directory, *arguments]))


def test_texts_become_documents(built: Path, tmp_path: Path) -> None:
    result = run(built, tmp_path / "d", "--task=language_model", "--tfds_name=reviews")
    assert result["name"] == "reviews"
    # The test split is TFDS's own, its share of --splits goes to train.
    assert result["documents"] == {"train": 18, "validation": 2, "test": 3}
    written = datasets.read(str(tmp_path / "d"))
    assert TextFacts.of(written).documents == "lines"
    store = token_store.load(str(tmp_path / "d"), written, "test")
    tokenizer = token_store.load_tokenizer(str(tmp_path / "d"), written)
    texts = [tokenizer.decode(part) for part in np.split(store.tokens, np.cumsum(store.lengths)[:-1])]
    assert sorted(texts) == [f"Film {number}\nwas good, é." for number in range(3)]


def test_translations_become_pairs_in_their_direction(built: Path, tmp_path: Path) -> None:
    run(built, tmp_path / "d", "--task=seq2seq", "--tfds_name=wmt_toy", "--splits=1.0")
    written = datasets.read(str(tmp_path / "d"))
    assert {name: split.records for name, split in written.splits.items()} == {"train": 8, "validation": 4}
    store = pair_store.load(str(tmp_path / "d"), written, "validation")
    assert sorted(zip(store.source_text, store.target_text)) == sorted((f"the {n}", f"das {n}") for n in range(8, 12))
    run(
        built,
        tmp_path / "e",
        "--task=seq2seq",
        "--tfds_name=wmt_toy",
        "--splits=1.0",
        "--feature_map=source=de,target=en",
    )
    store = pair_store.load(str(tmp_path / "e"), datasets.read(str(tmp_path / "e")), "train")
    assert sorted(zip(store.source_text, store.target_text)) == sorted((f"das {n}", f"the {n}") for n in range(8))


def test_records_of_numbers_become_groups(built: Path, tmp_path: Path) -> None:
    result = run(
        built, tmp_path / "d", "--task=forecast", "--tfds_name=power", "--feature_map=values=meta/values", "--splits=1"
    )
    assert result["rows"] == {"train": 28, "validation": 8, "test": 13}
    written = datasets.read(str(tmp_path / "d"))
    assert SeriesFacts.of(written).columns == ("values_0", "values_1")
    assert [group.name for group in SeriesFacts.of(written).groups] == [
        "train_0",
        "train_1",
        "validation_0",
        "test_0",
        "test_1",
    ]
    groups = series_store.load(str(tmp_path / "d"), written, "test")
    for facts, group in zip(SeriesFacts.of(written).groups, groups):
        raw = group.values * np.array(facts.std) + np.array(facts.mean)
        np.testing.assert_allclose(raw, _series(facts.rows), rtol=1e-5)
    run(built, tmp_path / "e", "--task=forecast", "--tfds_name=power", "--feature_map=values=load", "--splits=1")
    written = datasets.read(str(tmp_path / "e"))
    assert SeriesFacts.of(written).columns == ("load",)


def test_the_directory_of_a_version_and_parts_of_splits(built: Path, tmp_path: Path) -> None:
    place = f"--tfds_dir={built}/wmt_toy/1.0.0"
    parts = ["--input=other[:50%]", "--validation_input=other[50%:75%]", "--test_input=validation", "--splits=1.0"]
    result = run(built, tmp_path / "d", "--task=seq2seq", place, *parts)
    assert result["records"] == {"train": 6, "validation": 3, "test": 4}


def test_what_prepare_wrote_is_a_dataset_of_tfds(built: Path, tmp_path: Path) -> None:
    run(built, tmp_path / "one", "--task=seq2seq", "--tfds_name=wmt_toy", "--splits=1.0")
    mapped = "--feature_map=source=source_text,target=target_text"
    run(built, tmp_path / "two", "--task=seq2seq", f"--tfds_dir={tmp_path}/one", mapped, "--splits=1.0")
    stores = [
        pair_store.load(str(tmp_path / name), datasets.read(str(tmp_path / name)), "train") for name in ("one", "two")
    ]
    assert stores[0].source_text == stores[1].source_text and stores[0].target_text == stores[1].target_text


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ("--task=forecast", "--tfds_name=power"),
            r"--feature_map is missing.*meta/values \(float64 \[\?, 2\]\).*--feature_map=values=",
        ),
        (
            ("--task=seq2seq", "--tfds_name=two_texts"),
            "--feature_map=source=a,target=b or --feature_map=source=b,target=a",
        ),
        (("--task=seq2seq", "--tfds_name=reviews"), r"--task=seq2seq needs two texts.* review \(string\)"),
        (("--task=language_model", "--tfds_name=reviws"), "--tfds_name=reviws cannot be opened"),
        (("--task=language_model", "--tfds_name=reviews:9.9.9"), "--tfds_name=reviews:9.9.9 cannot be opened"),
        (("--task=language_model", "--tfds_dir=/nowhere"), "is not a dataset that TFDS wrote"),
        (
            ("--task=language_model", "--tfds_name=reviews", "--input=trian"),
            "--input=trian is not a split of reviews/.*it has train, test",
        ),
        (("--task=language_model", "--tfds_name=reviews", "--input=train[:0]"), "has no records"),
        (
            ("--task=language_model", "--tfds_name=reviews", "--input=train", "--test_input=train[90%:]"),
            r"--test_input=train\[90%:\] shares records of reviews/1.0.0 with --input=train; name parts",
        ),
    ],
)
def test_flags_that_name_nothing_usable(built: Path, tmp_path: Path, arguments: tuple[str, ...], told: str) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        run(built, tmp_path / "d", *arguments)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "d").exists()


def test_bad_records_are_named(built: Path, tmp_path: Path) -> None:
    mapped = "--feature_map=values=meta/values"
    with pytest.raises(
        DataError, match=r"power/1\.0\.0 split bad record 0 row 0, column 1: inf is not a finite number"
    ):
        run(built, tmp_path / "d", "--task=forecast", "--tfds_name=power", mapped, "--input=bad", "--splits=1")
    with pytest.raises(DataError, match=r"two_texts/1\.0\.0 split odd record 0: the text of 'b' is not UTF-8"):
        run(
            built,
            tmp_path / "d",
            "--task=language_model",
            "--tfds_name=two_texts",
            "--feature_map=text=b",
            "--input=odd",
        )


def test_a_damaged_shard_is_named(built: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(built / "reviews" / "1.0.0", copy)
    (shard,) = copy.glob("*train*")
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    with pytest.raises(DataError, match="copy split train cannot be read"):
        run(built, tmp_path / "d", "--task=language_model", f"--tfds_dir={copy}")
    shard.unlink()
    with pytest.raises(DataError, match="copy split train cannot be read"):
        run(built, tmp_path / "d", "--task=language_model", f"--tfds_dir={copy}")


def test_the_command_needs_no_code_of_the_builder(built: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "trainer.prepare",
        "--task=seq2seq",
        "--source=tfds",
        "--tfds_name=wmt_toy",
        f"--tfds_dir={built}",
    ]
    done = subprocess.run(
        [*command, f"--output_dir={tmp_path}/d", "--splits=1"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["records"] == {"train": 8, "validation": 4}
    assert "wmt_toy/1.0.0: read as source=en, target=de" in done.stderr
