"""Prompts in, completions out, with an exported language model alone."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from trainer.config.trained_model import PredictConfig
from trainer.dataset.input_files import find_files, undecodable_line
from trainer.errors import ConfigError, DataError, Problem
from trainer.storage.atomic_file import atomic_file
from trainer.tasks.language_model.flags import CompletionFlags
from trainer.tasks.requests import ask, check_limit, rows_at_once, strings
from trainer.text.flags import SamplingFlags
from trainer.text.sampling_choices import sampling_choices


def run(
    load: Callable[[], Any], contract: dict[str, Any], config: PredictConfig, to_addresses: Callable[[str], str]
) -> dict[str, Any]:
    """Completes prompts; loads the model once the flags are checked.

    Raises:
      ConfigError: flags that do not go together, or not with this model.
      DataError: an input does not fit the model.
    """
    check(config, contract)
    model = load()
    started = time.perf_counter()
    count = predict(model, contract, config)
    return {"predictions": count, "seconds": round(time.perf_counter() - started, 3)}


def read_prompts(config: PredictConfig) -> list[str]:
    r"""One prompt a line, from the files of --input or (`-`) from stdin; `\n` and `\t` in a line stand for the
    characters.

    Raises:
      DataError: there is no prompt, or a file is no UTF-8.
    """
    if config.input == ("-",):
        lines = [line.rstrip("\r\n") for line in sys.stdin]
    else:
        lines = []
        for path in find_files(config.input):
            try:
                lines += Path(path).read_text(encoding="utf-8-sig").splitlines()
            except UnicodeDecodeError:
                raise DataError(
                    f"{path} line {undecodable_line(path)}: is not UTF-8 text; save the file as UTF-8"
                ) from None
    if not lines:
        raise DataError(f"--input={','.join(config.input)} holds no prompt; write one a line")
    return [line.replace("\\n", "\n").replace("\\t", "\t") for line in lines]


def predict(model: Any, contract: dict[str, Any], config: PredictConfig) -> int:
    """Writes one JSON object a prompt, `{"prompt", "completion", "tokens"}`, in order, and gives their number.

    With an --output the file appears whole; without one the lines go to stdout as they come, and to a terminal the text
    of a single prompt goes token by token.
    """
    prompts = read_prompts(config)
    _check_lengths(model, contract, config, prompts)
    if not config.output:
        if sys.stdout.isatty() and len(prompts) == 1:
            return _stream(model, contract, config, prompts[0])
        return _write(sys.stdout, _completions(model, contract, config, prompts))
    with atomic_file(config.output) as temporary, temporary.open("w", encoding="utf-8") as file:
        return _write(file, _completions(model, contract, config, prompts))


def _write(file: TextIO, lines: Iterator[dict[str, Any]]) -> int:
    count = 0
    for line in lines:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")
        file.flush()
        count += 1
    return count


def _check_lengths(model: Any, contract: dict[str, Any], config: PredictConfig, prompts: list[str]) -> None:
    """Raises DataError for the first prompt that is too long, before any is completed."""
    rows, most = rows_at_once(config.batch_size, contract), contract["limits"]["prompt_tokens"]
    for first in range(0, len(prompts), rows):
        lengths = ask(model, "encode", contract, {"text": strings(prompts[first : first + rows])})["lengths"]
        for row in np.flatnonzero(lengths > most):
            reason = f"prompt {first + row + 1} has {lengths[row]} tokens, the model was exported for at most {most}"
            raise DataError(f"{reason}; shorten it, or export the model with --largest_prompt_tokens={lengths[row]}")


def _completions(
    model: Any, contract: dict[str, Any], config: PredictConfig, prompts: list[str]
) -> Iterator[dict[str, Any]]:
    rows = rows_at_once(config.batch_size, contract)
    for first in range(0, len(prompts), rows):
        part = prompts[first : first + rows]
        limits = np.full(len(part), config.of(CompletionFlags).max_tokens, np.int32)
        inputs = {
            "max_tokens": limits,
            **sampling_choices(config.of(SamplingFlags), config.seed, range(first, first + len(part))),
        }
        outputs = ask(model, "serving_default", contract, {"prompt": strings(part), **inputs})
        for prompt, completion, count in zip(part, outputs["completion"], outputs["num_tokens"]):
            yield {"prompt": prompt, "completion": completion.decode(errors="replace"), "tokens": int(count)}


def _stream(model: Any, contract: dict[str, Any], config: PredictConfig, prompt: str) -> int:
    """Writes prompt and completion to the terminal as they are chosen; the same text as without a terminal."""
    tokens = ask(model, "encode", contract, {"text": strings([prompt])})["tokens"][0]
    inputs = model.signatures["step"].structured_input_signature[1]
    parts = {name: spec for name, spec in inputs.items() if name.startswith("state_")}
    state = {name: np.zeros([1, *spec.shape[1:]], spec.dtype.as_numpy_dtype) for name, spec in parts.items()}
    choices = sampling_choices(config.of(SamplingFlags), config.seed, [0])

    def step(token: np.ndarray, position: int) -> dict[str, np.ndarray]:
        return ask(
            model, "step", contract, {"token": token, "position": np.array([position], np.int64), **choices, **state}
        )

    sys.stdout.write(prompt)
    for place in range(len(tokens) - 1):
        after = step(tokens[place : place + 1], 0)
        state = {name: after[name] for name in state}
    token = tokens[-1:]
    for position in range(config.of(CompletionFlags).max_tokens):
        after = step(token, position)
        token, state = after["next"], {name: after[name] for name in state}
        if token[0] == contract["stop_token"]:
            break
        sys.stdout.write(after["text"][0].decode(errors="replace"))
        sys.stdout.flush()
    sys.stdout.write("\n")
    return 1


def check(config: PredictConfig, contract: dict[str, Any]) -> None:
    """Raises ConfigError for flags that text has no use for, or that are above the limits of this export."""
    check_limit(contract, "max_tokens", config.of(CompletionFlags).max_tokens)
    if config.plot:
        raise ConfigError([Problem("plot", config.plot, "shows forecasts, not text", "leave it out")])
