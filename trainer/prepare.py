"""`python -m trainer.prepare`: raw data -> a dataset directory of TFRecord shards."""

from __future__ import annotations

import dataclasses
import logging
import os
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from trainer.cli import flags
from trainer.cli.command import run_command
from trainer.config.prepare import INPUTS
from trainer.config.splits import SPLITS
from trainer.dataset import manifest
from trainer.dataset.handoff import PreparationTask
from trainer.dataset.input_files import find_split_files
from trainer.dataset.output_directory import check_new
from trainer.dataset.preparation import make_dataset
from trainer.dataset.process_pool import available_cores
from trainer.dataset.shared_directory import SharedBucket
from trainer.errors import ConfigError, Problem
from trainer.storage.workspace import Workspace
from trainer.tasks import tfds_source
from trainer.tasks.configurations import PrepareConfig
from trainer.tasks.dataset_name import dataset_name
from trainer.tasks.registry import part

SUMMARY = """
Turns raw series, text or pairs of texts into a dataset directory for trainer.train.

Each file of --input is split in its order by --splits. Files of --validation_input and --test_input lie wholly in
that split; --input then has no part in it, and its share of --splits goes to train.

Several tasks, on hosts that share the output directory or its gs:// address: the same command with --num_tasks=N and
--task_index=0 to N-1, in any order or at once. The one that ends last completes the dataset; --num_tasks=N --finish
does the same by hand and names the tasks that are missing.
"""
# Flags that change no record: places, which may differ between hosts, and who does the work.
NOT_OF_THE_DATA = (*INPUTS.values(), "tfds_dir", "output_dir", "num_processes", "num_tasks", "task_index", "finish")
POOL_BYTES = 8 << 20  # of input; reading less takes no longer than starting processes

_log = logging.getLogger("trainer.prepare")


def prepare(config: PrepareConfig) -> dict[str, Any]:
    """Writes the dataset, or the part of a task; gives records, shards and what the task counts.

    Raises:
      ConfigError, DataError, StorageError: as `make_dataset`, the plans and `Workspace`.
    """
    with Workspace() as space:
        if config.num_tasks > 1:
            directory, address = space.write_shared(config.output_dir)
        else:
            directory, address = space.write_new(config.output_dir, manifest.MANIFEST_FILE), None
        place = SharedBucket(Path(directory), address) if address is not None else None
        result: dict[str, Any] = space.to_addresses(_prepare(_local(config, directory, space), place))
        _log.info("wrote %s: %d shards, %.1f MB", result["output_dir"], result["shards"], result["bytes"] / 1e6)
    return result


def _local(config: PrepareConfig, output_dir: str, space: Workspace) -> PrepareConfig:
    """The configuration with paths of this host."""
    return dataclasses.replace(
        config,
        output_dir=output_dir,
        input=space.read_files(config.input),
        validation_input=space.read_files(config.validation_input),
        test_input=space.read_files(config.test_input),
        tfds=dataclasses.replace(config.tfds, tfds_dir=space.read(config.tfds.tfds_dir)),
    )


def _prepare(config: PrepareConfig, place: SharedBucket | None) -> dict[str, Any]:
    started = time.perf_counter()
    task = task_of(config, os.environ)
    if task is None:
        check_new(config.output_dir)  # before the work, not after it
    preparation = part(config.task, "prepare")
    sizes = _sizes(config)
    sources = preparation.find_sources(config)
    pays = sum(sizes.values()) > POOL_BYTES or (
        config.source == "tfds" and tfds_source.total_pieces(config) > len(SPLITS)
    )
    processes = (config.num_processes or available_cores()) if pays else 1
    name = dataset_name(config)
    request = _request(config, name, tfds_source.described(config) if config.source == "tfds" else sizes)
    facts = part(config.task, "facts").FACTS
    outcome = make_dataset(
        config.output_dir,
        name,
        request,
        partial(preparation.plan, sources, config),
        processes,
        task,
        place,
        facts=facts,
    )
    shards = [shard for split in outcome.splits.values() for shard in split.shards]
    size, seconds = sum(shard.bytes for shard in shards), time.perf_counter() - started
    if sizes and task is None:
        _log.info("read %.0f MB/s", sum(sizes.values()) / seconds / 1e6)
    return {
        "output_dir": config.output_dir,
        "name": name,
        "complete": outcome.manifest is not None,
        "records": {name: split.records for name, split in outcome.splits.items()},
        **outcome.summary,
        "shards": len(shards),
        "bytes": size,
        "fingerprint": outcome.manifest.fingerprint if outcome.manifest else None,
        "seconds": round(seconds, 3),
    }


def task_of(config: PrepareConfig, environ: Mapping[str, str]) -> PreparationTask | None:
    """Which task of several this process is, by --task_index or an Indexed Job's JOB_COMPLETION_INDEX; None where there
    is one only.

    Raises:
      ConfigError: neither tells it, or it is none of --num_tasks.
    """
    if config.num_tasks == 1:
        return None
    if config.finish:
        return PreparationTask(None, config.num_tasks)
    flag, text = "task_index", str(config.task_index)
    if config.task_index is None:
        flag, text = "JOB_COMPLETION_INDEX", environ.get("JOB_COMPLETION_INDEX", "")
    if not text:
        remedy = f"give 0 to {config.num_tasks - 1}, or --finish once all tasks have run"
        raise ConfigError(
            [
                Problem(
                    "task_index",
                    None,
                    f"is missing, as is JOB_COMPLETION_INDEX, with --num_tasks={config.num_tasks}",
                    remedy,
                )
            ]
        )
    if not text.isdigit() or int(text) >= config.num_tasks:
        raise ConfigError(
            [
                Problem(
                    flag, text, f"is not a task of --num_tasks={config.num_tasks}", f"use 0 to {config.num_tasks - 1}"
                )
            ]
        )
    return PreparationTask(int(text), config.num_tasks)


def _sizes(config: PrepareConfig) -> dict[str, int]:
    """The files that are read, by split, place and name, and their sizes in bytes."""
    if not config.reads_files:
        return {}
    files = find_split_files(config).items()
    return {
        f"{Path(path).name} (--{INPUTS[split]}, {place})": Path(path).stat().st_size
        for split, paths in files
        for place, path in enumerate(paths)
    }


def _request(config: PrepareConfig, name: str, inputs: Mapping[str, int]) -> dict[str, Any]:
    """All that decides what the dataset holds: flags, the name as it was found, and inputs."""
    values = flags.values(config, config.foreign_groups(config.task))
    request = {f"--{spec.name}": value for spec, value in values if spec.name not in NOT_OF_THE_DATA}
    request["--name"] = name
    return {flag: list(value) if isinstance(value, tuple) else value for flag, value in request.items()} | dict(inputs)


if __name__ == "__main__":
    run_command("trainer.prepare", SUMMARY, PrepareConfig, prepare)
