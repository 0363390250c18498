"""What the tasks of one preparation leave for each other, in a directory that they share.

Every step of the work that others need (a count of pieces, a vocabulary, a shard) has a file under a name that says what it is. Who needs
one that is not there makes it, so no task ever waits for another: tasks may run one after the other, at once, or again after they were
killed, and each begins at its own share and then helps with what is left. Results depend on inputs and flags alone, so it does not matter
who makes one, nor that two may make the same; files appear whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from trainer.data.parallel import Workers
from trainer.errors import DataError
from trainer.whole_file import whole_file

PARTS = "parts"  # the directory, beside the shards
REQUEST_FILE = "request.json"
ROUND = 4  # jobs of a process before a task looks again at what others have made

Job = TypeVar("Job")


@dataclass(frozen=True)
class Task:
    """Task `index` of `count`; None is the finishing step, which makes nothing that tasks make."""

    index: int | None = 0
    count: int = 1

    def owner(self, number: int) -> int:
        """The task that shard `number` of a split is written by."""
        return number % self.count


class Parts:
    """The files of one request: the flags and inputs that decide what the dataset holds.

    Attributes:
        output: the dataset's directory, for shards.
        directory: for all else.
        workers: the processes of this task.
    """

    def __init__(self, output: Path, request: dict[str, Any], task: Task, workers: Workers):
        self.output, self.request, self.task, self.workers = output, request, task, workers
        self.directory = output / PARTS / digest(request)
        if task.index is not None:
            self.directory.mkdir(parents=True, exist_ok=True)
            if not (self.directory / REQUEST_FILE).exists():
                self._write(REQUEST_FILE, json.dumps(request).encode())

    def content(self, name: str, make: Callable[[], bytes]) -> bytes:
        """The content of a file, which is made if it is not there."""
        path = self.directory / name
        if not path.exists():
            self._must_not_be_missing(name)
            self._write(name, make())
        return path.read_bytes()

    def together(self, name: str, function: Callable[[Job], Any], jobs: Sequence[Job]) -> Iterator[Any]:
        """Yields `function(job)`, JSON, of all jobs in order; tasks that run at the same time share them."""
        names = [f"{name}-{number:06d}.json" for number in range(len(jobs))]
        first = len(jobs) * (self.task.index or 0) // self.task.count
        waiting = [*range(first, len(jobs)), *range(first)]
        step = len(jobs) if self.task.count == 1 else ROUND * self.workers.processes
        with tqdm(total=len(jobs), unit=" parts", desc=name, disable=not sys.stderr.isatty()) as bar:
            while waiting:
                there = self.names()
                waiting = [number for number in waiting if names[number] not in there]
                bar.update(len(jobs) - len(waiting) - bar.n)
                own, waiting = waiting[:step], waiting[step:]
                if own:
                    self._must_not_be_missing(names[own[0]])
                for number, result in zip(own, self.workers.run(function, [jobs[number] for number in own])):
                    self._write(names[number], json.dumps(result).encode())
                    bar.update()
        for each in names:
            yield json.loads((self.directory / each).read_bytes())

    def make(self, names: Sequence[str], function: Callable[[Job], Any], jobs: Sequence[Job]) -> Iterator[None]:
        """Makes those of `names` that are not there, each by `function(job)`; yields after each, and for those that are there."""
        there = self.names()
        missing = [(name, job) for name, job in zip(names, jobs) if f"{name}.json" not in there]
        for _ in range(len(names) - len(missing)):
            yield
        for name, _ in missing:  # what another request made under this name is overwritten now
            for stale in (self.output / PARTS).glob(f"*/{name}.json"):
                stale.unlink(missing_ok=True)
        for (name, _), result in zip(missing, self.workers.run(function, [job for _, job in missing])):
            self._write(f"{name}.json", json.dumps(result).encode())
            yield

    def read(self, name: str) -> Any:
        """What `make` made."""
        return json.loads((self.directory / f"{name}.json").read_bytes())

    def names(self) -> set[str]:
        """The files that are there. (A listing: a file system over the network may remember for long that one name was missing.)"""
        return set(os.listdir(self.directory)) if self.directory.is_dir() else set()  # noqa: PTH208

    def others(self) -> Iterator[tuple[set[str], str]]:
        """The files that were made by other requests, and in which flag or input each of those differs first."""
        for path in sorted((self.output / PARTS).glob(f"*/{REQUEST_FILE}")):
            if path.parent != self.directory:
                yield set(os.listdir(path.parent)), difference(json.loads(path.read_bytes()), self.request)  # noqa: PTH208

    def _write(self, name: str, content: bytes) -> None:
        with whole_file(self.directory / name) as path:
            path.write_bytes(content)

    def _must_not_be_missing(self, name: str) -> None:
        if self.task.index is not None:
            return
        for files, differs in self.others():
            if name in files:
                raise DataError(
                    f"the tasks were run with {differs}; run the finishing step with the same flags and inputs, or the tasks again"
                )
        raise DataError(f"{self.output} lacks {name}, which every task makes; run the tasks of --num_tasks={self.task.count} first")


def digest(request: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()[:16]


def difference(theirs: dict[str, Any], ours: dict[str, Any]) -> str:
    """The first flag or input in which two requests differ, as in `--tokenizer=word instead of char`."""
    for name in sorted(theirs.keys() | ours.keys()):
        one, two = theirs.get(name), ours.get(name)
        if one != two and name.startswith("--"):
            return f"{name}={_shown(one)} instead of {_shown(two)}"
        if one != two:
            return f"{name} of {one} bytes instead of {two}" if one and two else f"other inputs ({name})"
    return "another version of this program"


def _shown(value: Any) -> str:
    return ",".join(value) if isinstance(value, list) else str(value)
