"""Parts that the tasks of one preparation leave for each other, in a directory that they share.

Every step of the work that others need (a count of pieces, a vocabulary, a shard) has a file under a name that says
what it is. Who needs one that is not there makes it, so no task ever waits for another: tasks may run one after the
other, at once, or again after they were killed, and each begins at its own share and then helps with what is left.
Results depend on inputs and flags alone, so it does not matter who makes one, nor that two may make the same; files
appear whole.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from trainer.dataset.process_pool import Workers
from trainer.dataset.shared_directory import SharedDirectory
from trainer.errors import DataError

PARTS = "parts"  # the folder, beside the shards
REQUEST_FILE = "request.json"
ROUND = 4  # jobs of a process before a task looks again at what others have made

Job = TypeVar("Job")


@dataclass(frozen=True)
class PreparationTask:
    """Task `index` of `count`; None is the finishing step, which makes nothing that tasks make."""

    index: int | None = 0
    count: int = 1

    def owner(self, number: int) -> int:
        """The task that shard `number` of a split is written by."""
        return number % self.count


class Handover:
    """The files of one request: the flags and inputs that decide what the dataset holds.

    Attributes:
        place: where shards are, and all else in the folder `PARTS`.
        workers: the processes of this task.
    """

    def __init__(self, place: SharedDirectory, request: dict[str, Any], task: PreparationTask, workers: Workers):
        self.place, self.request, self.task, self.workers = place, request, task, workers
        self._folder = f"{PARTS}/{digest(request)}"
        if task.index is not None and REQUEST_FILE not in self.names():
            self._write(REQUEST_FILE, json.dumps(request).encode())

    @property
    def output(self) -> Path:
        """The dataset's directory on this host, where shards are written."""
        return self.place.directory

    @property
    def directory(self) -> Path:
        """The folder of this request on this host, for files of `together`."""
        return self.place.directory / self._folder

    def content(self, name: str, make: Callable[[], bytes]) -> bytes:
        """The content of a file, which is made if it is not there."""
        if name not in self.names():
            self._must_not_be_missing(name)
            self._write(name, make())
        return self._read(name)[0]

    def together(
        self,
        name: str,
        function: Callable[[Job], Any],
        jobs: Sequence[Job],
        files: Callable[[Any], list[str]] = lambda result: [],
    ) -> Iterator[Any]:
        """Yields `function(job)`, JSON, of all jobs in order; tasks that run at the same time share them.

        `files` names what a job has left in `directory`, from its result: it is there for every task.
        """
        names = [f"{name}-{number:06d}.json" for number in range(len(jobs))]
        first = len(jobs) * (self.task.index or 0) // self.task.count
        waiting = [*range(first, len(jobs)), *range(first)]
        step = len(jobs) if self.task.count == 1 else ROUND * self.workers.processes
        with tqdm(total=len(jobs), unit=" parts", desc=name, disable=not sys.stderr.isatty()) as bar:
            while waiting:
                there = self.names()
                waiting = [number for number in waiting if names[number] not in there]
                bar.update(len(jobs) - len(waiting) - bar.n)
                share, waiting = waiting[:step], waiting[step:]
                if share:
                    self._must_not_be_missing(names[share[0]])
                for number, result in zip(share, self.workers.run(function, [jobs[number] for number in share])):
                    if shared := files(result):
                        self.place.share(*(f"{self._folder}/{file}" for file in shared))
                    self._write(names[number], json.dumps(result).encode())
                    bar.update()
        for content in self._read(*names):
            result = json.loads(content)
            self.place.fetch(*(f"{self._folder}/{file}" for file in files(result)))
            yield result

    def make(self, names: Sequence[str], function: Callable[[Job], Any], jobs: Sequence[Job]) -> Iterator[None]:
        """Makes those shards of `names` that are not there, each by `function(job)`; yields after each, and for those
        that are there.
        """
        there = self.names()
        missing = [(name, job) for name, job in zip(names, jobs) if f"{name}.json" not in there]
        for _ in range(len(names) - len(missing)):
            yield
        stale = [folder for folder in self._folders() if folder != self._folder] if missing else []
        for name, _ in missing:  # what another request made under this name is overwritten now
            for folder in stale:
                self.place.delete(f"{folder}/{name}.json")
        for (name, _), result in zip(missing, self.workers.run(function, [job for _, job in missing])):
            self.place.share(name)
            self.place.drop(name)
            self._write(f"{name}.json", json.dumps(result).encode())
            yield

    def read(self, names: Sequence[str]) -> list[Any]:
        """The parts that `make` made."""
        return [json.loads(content) for content in self._read(*(f"{name}.json" for name in names))]

    def forget(self, name: str) -> None:
        """Has what `make` made made again."""
        self.place.delete(f"{self._folder}/{name}.json")

    def names(self) -> set[str]:
        """The files that are there."""
        return self.place.names(self._folder)

    def others(self) -> Iterator[tuple[set[str], str]]:
        """The files that were made by other requests, and in which flag or input each of those differs first."""
        for folder in self._folders():
            names = self.place.names(folder)
            if folder != self._folder and REQUEST_FILE in names:
                yield names, difference(json.loads(self.place.read(f"{folder}/{REQUEST_FILE}")[0]), self.request)

    def _folders(self) -> list[str]:
        return [f"{PARTS}/{name}" for name in sorted(self.place.names(PARTS))]

    def _read(self, *names: str) -> list[bytes]:
        return self.place.read(*(f"{self._folder}/{name}" for name in names))

    def _write(self, name: str, content: bytes) -> None:
        self.place.write(f"{self._folder}/{name}", content)

    def _must_not_be_missing(self, name: str) -> None:
        if self.task.index is not None:
            return
        for files, differs in self.others():
            if name in files:
                raise DataError(
                    f"the tasks were run with {differs}; run the finishing step with the same flags and inputs, or "
                    "the tasks again"
                )
        raise DataError(
            f"{self.output} lacks {name}, which every task makes; run the tasks of --num_tasks={self.task.count} first"
        )


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
