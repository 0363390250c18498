"""Prompts in, completions out, with an exported language model alone."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from trainer.data.input_files import find_files, undecodable_line
from trainer.errors import ConfigError, DataError, Problem
from trainer.serving.sampling_choices import sampling_choices
from trainer.trained_model_config import PredictConfig
from trainer.whole_file import whole_file


def read_prompts(config: PredictConfig) -> list[str]:
    r"""One prompt a line, from the files of --input or (`-`) from stdin; `\n` and `\t` in a line stand for the characters.

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
                raise DataError(f"{path} line {undecodable_line(path)}: is no UTF-8 text; save the file as UTF-8") from None
    if not lines:
        raise DataError(f"--input={','.join(config.input)} holds no prompt; write one a line")
    return [line.replace("\\n", "\n").replace("\\t", "\t") for line in lines]


def predict(model: Any, contract: dict[str, Any], config: PredictConfig) -> int:
    """Writes one JSON object a prompt, `{"prompt", "completion", "tokens"}`, in order, and gives their number.

    With an --output the file appears whole; without one the lines go to stdout as they come, and to a terminal the text of a single
    prompt goes token by token.
    """
    prompts = read_prompts(config)
    if not config.output:
        if sys.stdout.isatty() and len(prompts) == 1:
            return _stream(model, contract, config, prompts[0])
        return _write(sys.stdout, _completions(model, config, prompts))
    with whole_file(config.output) as temporary, temporary.open("w", encoding="utf-8") as file:
        return _write(file, _completions(model, config, prompts))


def _write(file: TextIO, lines: Iterator[dict[str, Any]]) -> int:
    count = 0
    for line in lines:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")
        file.flush()
        count += 1
    return count


def _completions(model: Any, config: PredictConfig, prompts: list[str]) -> Iterator[dict[str, Any]]:
    import tensorflow as tf

    function = model.signatures["serving_default"]
    for first in range(0, len(prompts), config.batch_size):
        part = prompts[first : first + config.batch_size]
        limits = np.full(len(part), config.max_tokens, np.int32)
        inputs = {"max_tokens": limits, **sampling_choices(config, range(first, first + len(part)))}
        outputs = function(prompt=tf.constant(part), **{name: tf.constant(value) for name, value in inputs.items()})
        for prompt, completion, count in zip(part, outputs["completion"].numpy(), outputs["num_tokens"].numpy()):
            yield {"prompt": prompt, "completion": completion.decode(errors="replace"), "tokens": int(count)}


def _stream(model: Any, contract: dict[str, Any], config: PredictConfig, prompt: str) -> int:
    """Writes prompt and completion to the terminal as they are chosen; the same text as without a terminal."""
    import tensorflow as tf

    tokens = model.signatures["encode"](text=tf.constant([prompt]))["tokens"].numpy()[0]
    step = model.signatures["step"]
    inputs = step.structured_input_signature[1]
    state = {name: tf.zeros([1, *spec.shape[1:]], spec.dtype) for name, spec in inputs.items() if name.startswith("state_")}
    choices = {name: tf.constant(value) for name, value in sampling_choices(config, [0]).items()}
    sys.stdout.write(prompt)
    for token in tokens[:-1]:
        after = step(token=tf.constant([token]), position=tf.constant([0], tf.int64), **choices, **state)
        state = {name: after[name] for name in state}
    token = tf.constant(tokens[-1:])
    for position in range(config.max_tokens):
        after = step(token=token, position=tf.constant([position], tf.int64), **choices, **state)
        token, state = after["next"], {name: after[name] for name in state}
        if int(token.numpy()[0]) == contract["stop_token"]:
            break
        sys.stdout.write(after["text"].numpy()[0].decode(errors="replace"))
        sys.stdout.flush()
    sys.stdout.write("\n")
    return 1


def check(config: PredictConfig) -> None:
    """Raises ConfigError for flags that text has no use for."""
    if config.plot:
        raise ConfigError([Problem("plot", config.plot, "shows forecasts, not text", "leave it out")])
