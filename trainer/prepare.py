"""`python -m trainer.prepare`: raw data -> a dataset directory of TFRecord shards."""

from __future__ import annotations

import dataclasses
import logging
import time
from typing import Any

from trainer.command import run_command
from trainer.data import manifest
from trainer.data.forecast_preparation import prepare_forecast
from trainer.data.pair_preparation import prepare_pairs
from trainer.data.parallel import available_cores
from trainer.data.text_preparation import prepare_text
from trainer.prepare_config import PrepareConfig
from trainer.storage.workspace import Workspace

SUMMARY = """
Turns raw series, text or pairs of texts into a dataset directory for trainer.train.

Each file of --input is split in its order by --splits. Files of --validation_input and --test_input lie wholly in that split;
--input then has no part in it, and its share of --splits goes to train.
"""
PREPARERS = {"forecast": prepare_forecast, "language_model": prepare_text, "seq2seq": prepare_pairs}

_log = logging.getLogger("trainer.prepare")


def prepare(config: PrepareConfig) -> dict[str, Any]:
    """Writes the dataset; gives records, shards and what the task counts. Errors are those of the task's preparer, and of `Workspace`."""
    with Workspace() as space:
        result: dict[str, Any] = space.told(_prepare(_local(config, space)))
        _log.info("wrote %s: %d shards, %.1f MB", result["output_dir"], result["shards"], result["bytes"] / 1e6)
    return result


def _local(config: PrepareConfig, space: Workspace) -> PrepareConfig:
    """The configuration with paths of this host."""
    return dataclasses.replace(
        config,
        output_dir=space.write_new(config.output_dir, "output_dir", manifest.MANIFEST_FILE),
        input=space.read_files(config.input, "input"),
        validation_input=space.read_files(config.validation_input, "validation_input"),
        test_input=space.read_files(config.test_input, "test_input"),
        tfds_dir=space.read(config.tfds_dir, "tfds_dir"),
    )


def _prepare(config: PrepareConfig) -> dict[str, Any]:
    started = time.perf_counter()
    manifest.check_new(config.output_dir)  # before the work, not after it
    written, counts = PREPARERS[config.task](config, config.num_processes or available_cores())
    splits = written.splits
    size = sum(split.bytes for split in splits.values())
    shards = sum(len(split.shards) for split in splits.values())
    return {
        "output_dir": config.output_dir,
        "records": {name: split.records for name, split in splits.items()},
        **counts,
        "shards": shards,
        "bytes": size,
        "fingerprint": written.fingerprint,
        "seconds": round(time.perf_counter() - started, 3),
    }


if __name__ == "__main__":
    run_command("trainer.prepare", SUMMARY, PrepareConfig, prepare)
