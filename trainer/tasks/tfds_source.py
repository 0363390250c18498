"""TensorFlow Datasets -> documents, pairs or series. TFDS, and with it TensorFlow, is imported only when it is asked
for.
"""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.cli.quiet import banner_hidden
from trainer.config.prepare import INPUTS, PrepareConfig
from trainer.config.splits import SPLITS
from trainer.errors import ConfigError, DataError, Problem
from trainer.tasks import tfds_features
from trainer.text.text_pieces import Facts, Source

# What builders call the splits that we call by the first name.
SPLIT_NAMES = {"train": ("train",), "validation": ("validation", "valid", "val", "dev"), "test": ("test",)}
PIECE_RECORDS = 1 << 14  # that are in memory at once

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TfdsSource:
    """A prepared dataset of TFDS and what is read of it.

    Attributes:
        builder: TFDS's builder.
        name: its name with configuration and version.
        splits: our splits -> expressions of TFDS, as in `train[:90%]`.
        features: the features that are read.
    """

    builder: Any
    name: str
    splits: Mapping[str, str]
    features: tuple[str, ...]

    def pieces(self, split: str) -> int:
        """How many pieces one of our splits is read in."""
        return max(1, -(-self.builder.info.splits[self.splits[split]].num_examples // PIECE_RECORDS))

    def records(self, split: str, piece: int) -> Iterator[tuple[str, tuple[Any, ...]]]:
        """Yields the place (for errors) and the features of every record of a piece of a split, always in the same
        order.

        Raises:
          DataError: a shard is damaged.
        """
        import tensorflow as tf
        import tensorflow_datasets as tfds

        expression, pieces = self.splits[split], self.pieces(split)
        part = expression if pieces == 1 else tfds.even_splits(expression, pieces)[piece]
        place = f"{self.name} split {expression}" + (f" part {piece + 1} of {pieces}" if pieces > 1 else "")
        tops = {name.split("/")[0]: True for name in self.features}  # others are not decoded
        try:
            dataset = self.builder.as_dataset(
                split=part,
                shuffle_files=False,
                decoders=tfds.decode.PartialDecoding(tops),
                read_config=tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False),
            )
            for number, record in enumerate(tfds.as_numpy(dataset)):
                yield f"{place} record {number}", tuple(_inside(record, name) for name in self.features)
        except (tf.errors.OpError, OSError) as error:
            reason = str(getattr(error, "message", error)).partition("\n")[0]
            raise DataError(
                f"{self.builder.data_dir} split {expression} cannot be read ({reason}); prepare it again"
            ) from None


@dataclass(frozen=True)
class TfdsPieces:
    """One split as texts, blank ones left out, or pairs of texts; a `Source`. Each process opens the dataset for
    itself.
    """

    config: PrepareConfig
    split: str
    name: str
    pieces: int
    is_stream: bool = False

    def read(self, piece: int) -> tuple[list[Any], Facts]:
        """Raises DataError where a shard is damaged or a text is not UTF-8; the record is named."""
        source = opened(self.config)
        texts_of = [
            tuple(_text(place, name, text) for name, text in zip(source.features, texts))
            for place, texts in source.records(self.split, piece)
        ]
        if len(source.features) == 2:
            return texts_of, Facts(len(texts_of), sum(len(one) + len(two) for one, two in texts_of), 0, 0, 0)
        kept = [text for (text,) in texts_of if text and not text.isspace()]
        return kept, Facts(len(kept), sum(map(len, kept)), len(texts_of) - len(kept), 0, 0)


@functools.cache
def opened(config: PrepareConfig) -> TfdsSource:
    return open_source(config)


def open_source(config: PrepareConfig) -> TfdsSource:
    """Finds the dataset of --tfds_name and --tfds_dir (TFDS prepares it where it is not yet), its splits and the task's
    features.

    Raises:
      ConfigError: there is no such dataset, split or feature, or two splits share records.
      DataError: TFDS cannot prepare it.
    """
    requested = config.TASKS[config.task].tfds
    assert requested is not None, f"{config.task} has the source tfds and declares no features"
    builder = _builder(config)
    name = builder.info.full_name
    # TFDS reads its features.json in no fixed order.
    features_of = dict(sorted(tfds_features.readable_features(builder.info.features.get_tensor_info()).items()))
    features = tfds_features.choose(
        config.task, requested, name, features_of, builder.info.supervised_keys, config.tfds.feature_map
    )
    splits = _splits(config, builder, name)
    _log.info("%s: %s", name, ", ".join(f"{split} is {expression}" for split, expression in splits.items()))
    _log.info("%s: read as %s", name, ", ".join(f"{role}={one}" for role, one in zip(requested.roles, features)))
    return TfdsSource(builder, name, splits, features)


def pieces(config: PrepareConfig) -> dict[str, list[Source]]:
    """Split -> its texts or pairs. Raises ConfigError or DataError as `open_source`."""
    source = opened(config)
    return {
        split: [TfdsPieces(config, split, f"{source.name} split {expression}", source.pieces(split))]
        for split, expression in source.splits.items()
    }


def described(config: PrepareConfig) -> dict[str, int]:
    """The splits that are read, and how many records they have."""
    source = opened(config)
    splits = {f"{source.name} {expression}": expression for expression in source.splits.values()}
    return {name: source.builder.info.splits[expression].num_examples for name, expression in splits.items()}


def dataset_name(config: PrepareConfig) -> str:
    """The dataset's name with its configuration, without its version. Raises ConfigError or DataError as
    `open_source`.
    """
    return opened(config).name.rpartition("/")[0]


def total_pieces(config: PrepareConfig) -> int:
    return sum(source.pieces for sources in pieces(config).values() for source in sources)


def _builder(config: PrepareConfig) -> Any:
    with banner_hidden():
        import tensorflow  # noqa: F401 (TFDS imports it later, with its banner)
        import tensorflow_datasets as tfds

    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    directory = config.tfds.tfds_dir
    is_version = bool(directory) and (Path(directory) / "dataset_info.json").is_file()
    if directory and not is_version and not config.tfds.tfds_name:
        no_version = "is not a dataset that TFDS wrote: it has no dataset_info.json"
        raise ConfigError(
            [Problem("tfds_dir", directory, no_version, "name the directory of a version, or add --tfds_name")]
        )
    try:
        builder = (
            tfds.builder_from_directory(directory)
            if is_version
            else tfds.builder(config.tfds.tfds_name, data_dir=directory or None)
        )
    except Exception as error:  # TFDS hands on whatever goes wrong in loading, as many kinds of errors
        flag, value = ("tfds_dir", directory) if is_version else ("tfds_name", config.tfds.tfds_name)
        remedy = "prepare it again" if is_version else "check the name (NAME/CONFIG:VERSION) and --tfds_dir"
        raise ConfigError([Problem(flag, value, f"cannot be opened ({_first_line(error)})", remedy)]) from None
    if is_version and config.tfds.tfds_name and builder.name != config.tfds.tfds_name.split("/")[0].split(":")[0]:
        raise ConfigError(
            [
                Problem(
                    "tfds_name",
                    config.tfds.tfds_name,
                    f"is not in --tfds_dir={directory}, but {builder.name}",
                    "leave it out",
                )
            ]
        )
    if not builder.info.splits:
        _log.info("%s is not prepared yet: TFDS does it now, in %s", builder.info.full_name, builder.data_dir)
        try:
            builder.download_and_prepare()
        except Exception as error:  # as above, of downloads and of other people's code
            reason = f"TFDS cannot prepare {builder.info.full_name} in {builder.data_dir} ({_first_line(error)})"
            raise DataError(f"{reason}; prepare it with `tfds build`, or name its directory with --tfds_dir") from None
    return builder


def _splits(config: PrepareConfig, builder: Any, name: str) -> dict[str, str]:
    """Our splits -> TFDS's: as the flags say, or by their usual names."""
    has = list(builder.info.splits)
    if not config.input:
        if "train" not in has:
            raise ConfigError(
                [Problem("input", None, f"is missing: {name} has no train split, it has {', '.join(has)}", "name one")]
            )
        usual = {split: next((each for each in SPLIT_NAMES[split] if each in has), None) for split in SPLITS}
        requested = {split: each for split, each in usual.items() if each is not None}
    else:
        requested = {split: "+".join(getattr(config, flag)) for split, flag in INPUTS.items() if getattr(config, flag)}
    problems = []
    for split, expression in requested.items():
        try:
            empty = builder.info.splits[expression].num_examples == 0
        except (ValueError, AssertionError, KeyError) as error:
            problems.append(
                Problem(
                    INPUTS[split],
                    expression,
                    f"is not a split of {name} ({_first_line(error)})",
                    f"it has {', '.join(has)}",
                )
            )
            continue
        if empty:
            problems.append(Problem(INPUTS[split], expression, f"has no records in {name}", "name another split"))
    if not problems:
        problems = list(_overlaps(builder, requested, name))
    if problems:
        raise ConfigError(problems)
    return requested


def _overlaps(builder: Any, expressions: Mapping[str, str], name: str) -> Iterator[Problem]:
    """Yields a problem for each split that shares records with one before it: its scores would be too good."""
    stretches: dict[str, list[tuple[str, int, int]]] = {}
    for split, expression in expressions.items():
        instructions = builder.info.splits[expression].file_instructions
        ranges = [
            (each.filename, each.skip, each.skip + (each.take if each.take >= 0 else sys.maxsize))
            for each in instructions
        ]
        for other, theirs in stretches.items():
            if any(
                file == file2 and first < end2 and first2 < end
                for file, first, end in ranges
                for file2, first2, end2 in theirs
            ):
                reason = f"shares records of {name} with --{INPUTS[other]}={expressions[other]}"
                yield Problem(
                    INPUTS[split], expression, reason, "name parts that lie apart, as in train[:90%] and train[90%:]"
                )
        stretches[split] = ranges


def _inside(record: Any, name: str) -> Any:
    for key in name.split("/"):
        record = record[key]
    return record


def _text(place: str, feature: str, text: bytes) -> str:
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:
        raise DataError(f"{place}: the text of {feature!r} is not UTF-8; build the dataset with UTF-8 texts") from None


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:200] or type(error).__name__
