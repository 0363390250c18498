"""The name of a dataset, in reports and on model cards."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from pathlib import Path

from trainer.config.prepare import LONGEST_NAME, PrepareConfig
from trainer.dataset.input_files import find_split_files, readable
from trainer.tasks import tfds_source

STREAM = "stream"  # what comes through a pipe has no name

_WORDS = re.compile(r"[^\W\d_]+|\d+|[\W_]+")


def dataset_name(config: PrepareConfig) -> str:
    """--name, or what the source suggests. Paths count by their last part alone: hosts may keep the same files in
    different places.

    Raises:
      DataError, ConfigError: as `find_split_files` and `tfds_source.open_source`.
    """
    if config.name:
        return config.name
    if config.source == "sample":
        return config.TASKS[config.task].sample
    if config.source == "tfds":
        return tfds_source.dataset_name(config)
    files = find_split_files(config)
    every = [path for paths in files.values() for path in paths]
    name = readable(
        _common(every) or _common(files["train"]) or f"{_stem(files['train'][0])} and {len(files['train']) - 1} more"
    )
    return "".join(letter if letter.isprintable() else " " for letter in name)[:LONGEST_NAME].strip() or STREAM


def _common(paths: Sequence[str]) -> str:
    """The common beginning of the names of files, in whole words, without suffixes: `store` of `store_01.csv` and
    `store_02.csv`; may be empty.

    Two languages of one text, `train.en` and `train.de`, are `train.en-de`.
    """
    stems = list(dict.fromkeys(_stem(path) for path in paths))
    if len(stems) == 1:
        suffixes = list(dict.fromkeys(Path(path).suffix[1:] for path in paths))
        return f"{stems[0]}.{'-'.join(suffixes)}" if len(suffixes) > 1 else stems[0]
    words = zip(*(_WORDS.findall(stem) for stem in stems))
    return "".join(same[0] for same in itertools.takewhile(lambda same: len(set(same)) == 1, words)).strip(" _-.")


def _stem(path: str) -> str:
    return STREAM if Path(path).is_relative_to("/dev") else Path(path).stem
