"""The configuration of `inspect`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from trainer.config.fields import Configuration, at_least, flag
from trainer.config.places import Places
from trainer.config.storage import CACHE_GIGABYTES, CACHE_HELP, cache_problems
from trainer.errors import Problem


@dataclass(frozen=True)
class InspectConfig(Configuration):
    """`python -m trainer.inspect`."""

    GROUP: ClassVar[str] = "inspect"

    data_dir: str = flag("dataset that trainer.prepare wrote")
    verify: bool = flag("compare every shard with the checksum that it was written with", default=False)
    examples: int = flag("decoded examples of each split", default=2)
    cache_gigabytes: float = flag(CACHE_HELP, default=CACHE_GIGABYTES)

    def places(self) -> Places:
        return Places(read_directories={"data_dir": self.data_dir})

    def command_problems(self) -> Iterator[Problem]:
        yield from at_least(self, 0, "examples")
        yield from cache_problems(self.cache_gigabytes, self.data_dir)
