"""Predicts with an exported model alone: forecasts for CSV files with history, completions for prompts,
translations.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from trainer.cli.command import run_command
from trainer.errors import ConfigError, DataError
from trainer.saved_model.loaded import find_version, load, read_contract
from trainer.saved_model.versions import newest_among
from trainer.storage.workspace import Workspace
from trainer.tasks.configurations import PredictConfig
from trainer.tasks.registry import packages, part


def main(config: PredictConfig) -> dict[str, Any]:
    with Workspace() as space:
        local = dataclasses.replace(
            config,
            export_dir=space.read(config.export_dir, newest_among),
            input=space.read_files(config.input),
            output=space.write(config.output),
            plot=space.write(config.plot),
        )
        result: dict[str, Any] = space.to_addresses(_predict(local, space.to_addresses))
    return result


def _predict(config: PredictConfig, to_addresses: Callable[[str], str]) -> dict[str, Any]:
    path = find_version(config.export_dir)
    contract = read_contract(path)
    if contract.get("task") not in packages():
        raise DataError(
            f"{path} was exported for {contract.get('task')}, which this version cannot predict; use the version that "
            "wrote it"
        )
    reason = f"has no effect with {to_addresses(config.export_dir)}, a {contract['task']} model"
    if problems := list(config.foreign_problems(contract["task"], reason)):
        raise ConfigError(problems)
    started = time.perf_counter()
    result = part(contract["task"], "predict").run(partial(load, str(path), contract), contract, config, to_addresses)
    seconds = round(time.perf_counter() - started, 3)  # a task may tell its own, without loading the model
    return {"seconds": seconds, **result, "output": config.output or None, "model": str(path)}


if __name__ == "__main__":
    run_command("trainer.predict", __doc__ or "", PredictConfig, main)
