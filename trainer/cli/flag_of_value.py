"""Which flag a value comes from that code below the commands could not use."""

from __future__ import annotations

from typing import Any

from trainer.cli import flags
from trainer.errors import (
    CacheSizeError,
    ConfigError,
    LocationError,
    Problem,
    TrainerError,
    UnfitError,
    VocabularySizeError,
)

_FLAGS: dict[type[UnfitError], str] = {CacheSizeError: "cache_gigabytes", VocabularySizeError: "vocab_size"}


def problem_of(error: UnfitError, config: Any) -> Problem | None:
    """The error as a problem of the flag of `config` that gave the value; None where no flag did.

    A location comes from the flag that names it or, where none does, from the one that names a directory above it.
    """
    if not isinstance(error, LocationError):
        return Problem(_FLAGS[type(error)], error.value, error.reason, error.remedy) if type(error) in _FLAGS else None
    location = str(error.value)
    for flag, path in _texts(config):
        if path == location:
            return Problem(flag, path, error.reason, error.remedy)
    for flag, path in _texts(config):
        if path and location.startswith(f"{path.rstrip('/')}/"):
            return Problem(flag, path, f"cannot be used: {location} {error.reason}", error.remedy)
    return None


def named(error: TrainerError, config: Any) -> TrainerError:
    """The error with the flag of `config` that gave the value, where it is one of a value."""
    problem = problem_of(error, config) if isinstance(error, UnfitError) else None
    return error if problem is None else ConfigError([problem])


def _texts(config: Any) -> list[tuple[str, str]]:
    """Each flag with each text that it has."""
    return [
        (spec.name, text)
        for spec, value in flags.values(config)
        for text in (value if isinstance(value, tuple) else [value])
        if isinstance(text, str)
    ]
