"""Which features of a TensorFlow Datasets builder a task reads: by --feature_map, or because only they fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trainer.config.task_flags import TfdsFeatures
from trainer.errors import ConfigError, Problem


@dataclass(frozen=True)
class TfdsFeature:
    """A feature of a record; `name` has slashes where it lies in others, `None` in `shape` is a dimension that
    differs.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str

    @property
    def is_text(self) -> bool:
        return self.dtype == "string" and self.shape == ()

    @property
    def is_series(self) -> bool:
        # Columns of unequal lengths make no table, so their number must be known.
        return (
            self.dtype.startswith(("float", "int", "uint", "bfloat"))
            and len(self.shape) in (1, 2)
            and self.shape[1:] != (None,)
        )

    def __str__(self) -> str:
        shape = ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.name} ({self.dtype}{f' [{shape}]' if shape else ''})"


def readable_features(infos: Mapping[str, Any], prefix: str = "") -> dict[str, TfdsFeature]:
    """The features that TFDS's `features.get_tensor_info()` describes, by name."""
    features = {}
    for key, info in infos.items():
        if isinstance(info, Mapping):
            features.update(readable_features(info, f"{prefix}{key}/"))
        else:
            name = f"{prefix}{key}"
            features[name] = TfdsFeature(name, tuple(info.shape), info.tf_dtype.name)
    return features


def choose(
    task: str,
    request: TfdsFeatures,
    dataset: str,
    features: Mapping[str, TfdsFeature],
    supervised: object,
    mapped: Sequence[str],
) -> tuple[str, ...]:
    """The features for the roles of a task, in their order.

    Args:
      task: its name, for errors.
      request: what it reads.
      dataset: its name, for errors.
      features: the features there are.
      supervised: TFDS's pair (input, target), by which datasets of translations tell their direction, or None.
      mapped: `ROLE=FEATURE` for every role, as `PrepareConfig` checks them; empty picks the only ones that fit.

    Raises:
      ConfigError: no feature fits, several do, or a mapped one does not; the text names all features.
    """
    fitting = [
        feature.name for feature in features.values() if (feature.is_series if request.are_series else feature.is_text)
    ]
    has = f"{dataset} has {', '.join(map(str, features.values()))}"
    if mapped:
        by_role = dict(entry.split("=", 1) for entry in mapped)
        wrong = [name for name in by_role.values() if name not in fitting]
        if wrong:
            reason = f"picks {wrong[0]!r}, which holds no {'series' if request.are_series else 'text'}"
            raise ConfigError(
                [
                    Problem(
                        "feature_map", ",".join(mapped), f"{reason}: {has}", f"use {_suggested(request.roles, fitting)}"
                    )
                ]
            )
        return tuple(by_role[role] for role in request.roles)
    if len(request.roles) == 2:
        for pair in (supervised, ("source", "target")):
            if isinstance(pair, tuple) and len(pair) == 2 and all(name in fitting for name in pair):
                return pair
    elif len(fitting) == 1:
        return (fitting[0],)
    if len(fitting) < len(request.roles):
        raise ConfigError([Problem("task", task, f"needs {request.needs}: {has}", "choose another dataset or task")])
    raise ConfigError(
        [
            Problem(
                "feature_map",
                None,
                f"is missing, and several ways fit: {has}",
                f"use {_suggested(request.roles, fitting)}",
            )
        ]
    )


def _suggested(roles: Sequence[str], fitting: Sequence[str]) -> str:
    """Up to three values of --feature_map that would do."""
    if len(fitting) < len(roles):
        return "another dataset or task"
    if len(roles) == 1:
        ways = [f"{roles[0]}={name}" for name in fitting[:3]]
    else:
        one, other = fitting[:2]
        ways = [f"{roles[0]}={one},{roles[1]}={other}", f"{roles[0]}={other},{roles[1]}={one}"]
    return " or ".join(f"--feature_map={way}" for way in ways)
