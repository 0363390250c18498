"""Makes a dataset directory from a plan: in one task, or in several that share the directory or a bucket."""

from __future__ import annotations

import contextlib
import logging
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

import trainer
from trainer.dataset import manifest
from trainer.dataset.handoff import PARTS, Handover, PreparationTask, digest
from trainer.dataset.output_directory import check_new, new_directory, storage_errors
from trainer.dataset.process_pool import Workers
from trainer.dataset.schema import Facts, Manifest, Shard, Split
from trainer.dataset.shards import Content, ShardJob, read_result, shard_file, total, write_shard
from trainer.dataset.shared_directory import SharedDirectory
from trainer.dataset.tfds_files import file_prefix
from trainer.errors import DataError, LocationError
from trainer.storage.workspace import SHARD_MARK

tqdm.monitor_interval = 0  # no thread that looks after slow bars: `parallel` forks where there is none

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DatasetPlan:
    """The contents of a dataset that is to be written.

    Attributes:
        shards: split -> the contents of its shards, in order.
        describe: the splits as written and the counts of each -> the manifest, and what the command tells beside.
        save: writes vocabularies and the like into the dataset's directory; raises OSError.
    """

    shards: Mapping[str, Sequence[Content]]
    describe: Callable[[str, dict[str, Split], dict[str, Counter[str]]], tuple[Manifest, dict[str, Any]]]
    save: Callable[[Path], None]


@dataclass(frozen=True)
class Outcome:
    """The work of a task: the splits that it wrote (all of the dataset's, where that is complete), and the manifest of
    a complete one.
    """

    splits: dict[str, Split]
    manifest: Manifest | None
    summary: dict[str, Any]


def make_dataset(
    output_dir: str,
    name: str,
    request: dict[str, Any],
    plan: Callable[[Handover], DatasetPlan],
    processes: int,
    task: PreparationTask | None = None,
    place: SharedDirectory | None = None,
    *,
    facts: type[Facts],
) -> Outcome:
    """Writes the shards of one task; the task that finds that all are there writes the dataset's description, last.

    A single task fills a temporary directory, which becomes `output_dir` whole or not at all. Several write into
    `output_dir` itself, or into `place`, where what they leave for each other is under `parts` until the dataset is
    complete; any of them may be run again at any time.

    Args:
      output_dir: directory to make.
      name: of the dataset; in snake case its files begin with it.
      request: flags and inputs, JSON: all that decides what the dataset holds.
      plan: says what the dataset holds; may leave and read parts.
      processes: of this task.
      task: None is the only task.
      place: of several tasks, if it is another than `output_dir` itself.
      facts: what the dataset's description tells of its task.

    Raises:
      LocationError: `output_dir` holds something else.
      DataError: the finishing step finds that parts are missing or were made by another request; all that is wrong is
        told. Errors of the plan and of the contents are handed on.
      StorageError: the file system refused.
    """
    with _place(output_dir, task is None, place) as shared, Workers(processes) as workers:
        if (made := _made_before(shared, output_dir, request, facts)) is not None:
            return Outcome(made.splits, made, {})
        parts = Handover(shared, request, task or PreparationTask(), workers)
        try:
            return _run(parts, plan(parts), name)
        except FileNotFoundError:  # another task was faster: it has completed the dataset and removed the parts
            if (made := _made_before(shared, output_dir, request, facts)) is None:
                raise
            return Outcome(made.splits, made, {})


@contextlib.contextmanager
def _place(output_dir: str, alone: bool, place: SharedDirectory | None) -> Iterator[SharedDirectory]:
    if alone:
        with new_directory(output_dir) as directory:
            yield SharedDirectory(directory)
            shutil.rmtree(directory / PARTS)
        return
    place = place or SharedDirectory(Path(output_dir))
    names = place.names()
    if not names & {PARTS, manifest.MANIFEST_FILE}:
        if names:
            raise LocationError(output_dir, "holds something else", "choose another")
        check_new(output_dir)
    with storage_errors(output_dir):
        yield place


def _made_before(
    place: SharedDirectory, output_dir: str, request: dict[str, Any], facts: type[Facts]
) -> Manifest | None:
    """The dataset that is there, where it was made by this very request: a task that is run again has nothing to do."""
    if manifest.MANIFEST_FILE not in place.names():
        return None
    made = manifest.parse(
        place.read(manifest.MANIFEST_FILE)[0], f"{output_dir}/{manifest.MANIFEST_FILE}", lambda _: facts
    )
    if made.prepared_from != digest(request):
        reason = "holds a dataset of other flags or inputs"
        raise LocationError(output_dir, reason, "choose another, or delete it")
    _log.info("%s is complete", output_dir)
    place.delete_folder(PARTS)
    return made


def _run(parts: Handover, plan: DatasetPlan, name: str) -> Outcome:
    task = parts.task
    prefix = file_prefix(name)
    files = {
        split: [shard_file(prefix, split, number, len(jobs)) for number in range(len(jobs))]
        for split, jobs in plan.shards.items()
    }
    jobs = [
        ShardJob(parts.output / file, content)
        for split, contents in plan.shards.items()
        for number, (file, content) in enumerate(zip(files[split], contents))
        if task.index is not None and task.owner(number) == task.index
    ]
    with tqdm(total=len(jobs), unit=" shards", desc="write", disable=not sys.stderr.isatty()) as bar:
        for _ in parts.make([job.path.name for job in jobs], write_shard, jobs):
            bar.update()
    missing = _missing(parts, files)
    if not missing:
        return _finished(parts, plan, name, files)
    if task.index is None:
        raise DataError("\n".join(missing))
    _log.info("task %d of %d is done; not yet: %s", task.index, task.count, missing[0])
    shards = {
        split: [read_result(made)[0] for made in parts.read(jobs[task.index :: task.count])]
        for split, jobs in files.items()
    }
    return Outcome(
        {split: Split(sum(shard.records for shard in jobs), tuple(jobs)) for split, jobs in shards.items()}, None, {}
    )


def _missing(parts: Handover, files: Mapping[str, Sequence[str]]) -> list[str]:
    """A line for each task that has not written its part, or wrote one of another request."""
    there, others, lines = parts.names(), list(parts.others()), {}
    for names_of_split in files.values():
        for number, file in enumerate(names_of_split):
            task = parts.task.owner(number)
            if f"{file}.json" in there or task in lines:
                continue
            differs = next(
                (difference for names, difference in others if _same_part(file) in map(_same_part, names)), None
            )
            reason = f"was run with {differs}" if differs else "has not written it"
            again = f"run it with --num_tasks={parts.task.count} --task_index={task}"
            lines[task] = f"{parts.output / file} is missing: task {task} of {parts.task.count} {reason}; {again}"
    return [lines[task] for task in sorted(lines)]


def _same_part(file: str) -> str:
    """The name of a shard or of its part without the dataset's, in which two requests may differ."""
    return file.removesuffix(".json").partition("-")[2]


def _finished(parts: Handover, plan: DatasetPlan, name: str, files: Mapping[str, Sequence[str]]) -> Outcome:
    splits, counts, there = {}, {}, parts.place.sizes()
    for split, names in files.items():
        results = [read_result(made) for made in parts.read(names)]
        for shard, _ in results:
            _check(parts, shard, there.get(shard.file))
        shards = tuple(shard for shard, _ in results)
        splits[split] = Split(sum(shard.records for shard in shards), shards)
        counts[split] = total(each for _, each in results)
    described, counted = plan.describe(name, splits, counts)
    plan.save(parts.output)
    described = replace(described, prepared_from=digest(parts.request), created_by=f"trainer {trainer.__version__}")
    manifest.write(described, parts.output)
    parts.place.complete()
    if parts.task.count > 1:
        parts.place.delete_folder(PARTS)
        for stale in there.keys() - {
            file for names in files.values() for file in names
        }:  # of tasks that had other flags
            if SHARD_MARK in stale:
                parts.place.delete(stale)
        for leftover in parts.output.glob(f".{file_prefix(name)}-*"):  # of killed tasks
            leftover.unlink(missing_ok=True)
    return Outcome(splits, described, counted)


def _check(parts: Handover, shard: Shard, stored: tuple[int, str | None] | None) -> None:
    """Raises DataError unless the shard is as it was written; its part is then forgotten, so that its task can make it
    again.
    """
    if stored is None:
        reason = "is missing"
    elif stored[0] != shard.bytes:
        reason = f"has {stored[0]} bytes, {shard.bytes} were written"
    elif stored[1] not in (None, shard.crc32c):
        reason = f"has the checksum {stored[1]}, {shard.crc32c} was written"
    else:
        return
    parts.forget(shard.file)
    raise DataError(f"{parts.output / shard.file} {reason}; run the tasks again")
