"""Flags that tell how a dataset in Cloud Storage is read."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from trainer.config.fields import FlagGroup, flag
from trainer.errors import Problem
from trainer.storage.addresses import is_address

CACHE_GIGABYTES = 16.0
CACHE_HELP = "largest size of this host's cache of shards from gs://"


@dataclass(frozen=True)
class StorageFlags(FlagGroup):
    GROUP: ClassVar[str] = "Cloud Storage"
    FIELD: ClassVar[str] = "storage"

    gcs: str = flag(
        "how shards are read from gs://: stage copies them into this host's cache, stream has TensorFlow read them in "
        "the bucket",
        default="stage",
        choices=("stage", "stream"),
    )
    cache_gigabytes: float = flag(CACHE_HELP, default=CACHE_GIGABYTES)

    def problems_in(self, config: Any) -> Iterator[Problem]:
        data_dir: str = config.data_dir
        if self.gcs == "stream" and not is_address(data_dir):
            yield Problem(
                "gcs", self.gcs, f"has no effect with --data_dir={data_dir}", "leave it out, or give a gs:// address"
            )
        yield from cache_problems(self.cache_gigabytes, data_dir)
        if self.gcs == "stream" and self.cache_gigabytes != CACHE_GIGABYTES:
            yield Problem("cache_gigabytes", self.cache_gigabytes, "has no effect with --gcs=stream", "leave it out")


def cache_problems(gigabytes: float, data_dir: str) -> Iterator[Problem]:
    if not 0 < gigabytes < math.inf:
        yield Problem("cache_gigabytes", gigabytes, "is not a positive number", "use a number above 0")
    elif gigabytes != CACHE_GIGABYTES and not is_address(data_dir):
        yield Problem(
            "cache_gigabytes",
            gigabytes,
            f"has no effect with --data_dir={data_dir}",
            "leave it out, or give a gs:// address",
        )
