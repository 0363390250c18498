"""`config.json` and `flags.txt` of a model directory: what rebuilds the model, and what repeats the run. No TensorFlow
needed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import platform
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from trainer import __version__
from trainer.cli import flags
from trainer.config.fields import from_dict, to_dict
from trainer.config.splits import SPLITS
from trainer.config.trained_model import TrainedModelConfig
from trainer.dataset.schema import Manifest
from trainer.errors import ConfigError, DataError, Problem, StorageError
from trainer.storage.atomic_file import atomic_file
from trainer.tasks import datasets
from trainer.tasks.configurations import TrainConfig

logger = logging.getLogger(__name__)

CONFIG_FILE = "config.json"
FLAGS_FILE = "flags.txt"
METRICS_FILE = "metrics.jsonl"
EVALUATION_FILE = "evaluation-{}.json"
BACKTEST_FILE = "backtest-{}.json"
FORMAT_VERSION = 1
# What a resumed run may have otherwise: where things lie, how long it runs, which devices do the work, what is looked
# at.
FREE = ("data_dir", "model_dir", "budget", "device", "storage", "debug", "optimization")
FIXED_WITHIN_FREE = (
    "budget.batch_size",
    "device.precision",
    "device.jit_compile",
    *("optimization.optimizer", "optimization.momentum"),  # by which the optimizer keeps other values
)


PUBLISHED_LAST = ("*.data-*", "*.index", "*/checkpoint")  # in a bucket: so no checkpoint is there that is not whole


def needed(names: list[str]) -> list[str]:
    """The files of a model directory that a command may read, out of all: everything but logs for TensorBoard."""
    return [
        name
        for name in names
        if name.startswith("checkpoints/") or ("/" not in name and not name.startswith(("events.out.", ".")))
    ]


def write(config: TrainConfig, manifest: Manifest, to_addresses: Callable[[str], str] = str) -> None:
    """Writes both files whole; directories are made as needed.

    Args:
      config: of the run.
      manifest: of its dataset.
      told: puts the addresses that the user gave into the place of the local paths that stand for them.
    """
    directory = Path(config.model_dir)
    directory.mkdir(parents=True, exist_ok=True)
    content = {
        "format_version": FORMAT_VERSION,
        "versions": versions(),
        "config": to_dict(config, manifest.task),
        "dataset": dataclasses.asdict(manifest),
    }
    for file in manifest.facts.files:  # so that an export needs the model directory alone
        _write_whole(directory / file, (Path(config.data_dir) / file).read_bytes())
    _write_whole(directory / CONFIG_FILE, to_addresses(json.dumps(content, indent=1) + "\n").encode())
    _write_whole(
        directory / FLAGS_FILE, to_addresses("".join(line + "\n" for line in flags.to_arguments(config))).encode()
    )


def versions() -> dict[str, str]:
    """Versions of what computes."""
    # numpy and keras are read from their metadata: importing them would cost what this module is there to avoid
    packages = {name: metadata.version(name) for name in ("tensorflow", "keras", "numpy")}
    return {"trainer": __version__, "python": platform.python_version(), **packages}


def read(model_dir: str) -> tuple[TrainConfig, Manifest]:
    """The configuration that a model directory was trained with, and the description of its dataset.

    Raises:
      DataError: there is none, or it is of another version or damaged.
    """
    path, content = Path(model_dir) / CONFIG_FILE, _content(model_dir)
    try:
        return from_dict(TrainConfig, content["config"]), datasets.decode(content["dataset"])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} does not fit this version ({error}); use the version that wrote it") from None


def read_for(config: TrainedModelConfig) -> tuple[TrainConfig, Manifest]:
    """As `read`, of the model directory of a command whose flags have to fit the model.

    Raises:
      ConfigError: they do not; all that is wrong is told.
    """
    run, manifest = read(config.model_dir)
    reason = f"has no effect with {config.model_dir}, a {manifest.task} model"
    if problems := [*config.foreign_problems(manifest.task, reason), *config.problems_with(run)]:
        raise ConfigError(problems)
    return run, manifest


def check_there(model_dir: str) -> None:
    """Raises StorageError where somebody removed the files of a run while it went on."""
    missing = [name for name in (CONFIG_FILE, METRICS_FILE) if not (Path(model_dir) / name).is_file()]
    if missing:
        raise StorageError(
            f"{model_dir} was removed or emptied while the run went on ({' and '.join(missing)} lost); what is saved "
            "now cannot be used without them: start anew, and keep the directory until the end"
        )


def read_versions(model_dir: str) -> dict[str, str]:
    """Versions of what computed the model; DataError as in `read`."""
    return dict(_content(model_dir)["versions"])


def read_metrics(model_dir: str) -> list[dict[str, Any]]:
    """The lines of `metrics.jsonl`, without one that a kill cut off; empty where there is no such file."""
    path = Path(model_dir) / METRICS_FILE
    if not path.exists():
        return []
    entries = []
    for line in path.read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(ValueError):
            entries.append(json.loads(line))
    return entries


def evaluation_file(model_dir: str, split: str, *, whole_split: bool) -> str:
    """Where all scores of an evaluation lie that was given no other place."""
    name = EVALUATION_FILE if whole_split else BACKTEST_FILE
    return f"{model_dir.rstrip('/')}/{name.format(split)}"


def note_evaluation(path: str, manifest: Manifest, result: Mapping[str, Any]) -> None:
    """Leaves all scores of a model beside it, one file a split; a model card reads those of whole splits."""
    content = {**result, "data": {"name": manifest.name, "fingerprint": manifest.fingerprint}}
    try:
        _write_whole(Path(path), (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())
    except OSError as error:
        logger.warning("%s cannot be written (%s): the scores are in the last line alone", path, error.strerror)


def read_evaluations(model_dir: str, weights: str) -> list[dict[str, Any]]:
    """The scores that `note_evaluation` left of the model with these weights, by split."""
    evaluations = []
    for split in SPLITS:
        path = Path(model_dir) / EVALUATION_FILE.format(split)
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            raise DataError(f"{path} cannot be read ({error}); delete it, or evaluate again") from None
        if content["weights"] == weights:
            evaluations.append(content)
    return evaluations


def _content(model_dir: str) -> dict[str, Any]:
    path = Path(model_dir) / CONFIG_FILE
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(
            f"{model_dir} holds no model: it has no {CONFIG_FILE}; train one with python -m trainer.train"
        ) from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}); restore it from a backup or train again") from None
    if content.get("format_version") != FORMAT_VERSION:
        raise DataError(
            f"{path} has format version {content.get('format_version')}, this program reads {FORMAT_VERSION}; train "
            "again"
        )
    return content


def check_resumable(config: TrainConfig, manifest: Manifest) -> bool:
    """Whether `model_dir` holds a run to go on with; changes of the optimizer's flags are logged.

    Raises:
      ConfigError: it holds one of a different configuration; every difference is named.
    """
    if not (Path(config.model_dir) / CONFIG_FILE).exists():
        return False
    before, dataset = read(config.model_dir)
    remedy = "use the run's own value, or another --model_dir"
    problems = [
        Problem(name.rpartition(".")[2], new, f"differs from the run in {config.model_dir}, which has {old}", remedy)
        for name, (old, new) in _differences(to_dict(before), to_dict(config)).items()
    ]
    if dataset.fingerprint != manifest.fingerprint:
        problems.append(Problem("data_dir", config.data_dir, "holds other data than the run was started with", remedy))
    if problems:
        raise ConfigError(problems)
    for flag, value in dataclasses.asdict(config.optimization).items():
        if (old := getattr(before.optimization, flag)) != value:
            logger.warning("--%s=%s from here on, instead of %s", flag, value, old)
    return True


def _differences(
    old: dict[str, Any], new: dict[str, Any], path: str = "", free: bool = False
) -> dict[str, tuple[Any, Any]]:
    differences: dict[str, tuple[Any, Any]] = {}
    for name, value in new.items():
        place = f"{path}{name}"
        is_free = (free or place in FREE) and place not in FIXED_WITHIN_FREE
        if isinstance(value, dict):
            differences |= _differences(old[name], value, f"{place}.", is_free)
        elif not is_free and old[name] != value:
            differences[place] = (old[name], value)
    return differences


def _write_whole(path: Path, content: bytes) -> None:
    with atomic_file(path) as temporary:
        temporary.write_bytes(content)
