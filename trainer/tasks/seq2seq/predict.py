"""Sentences in, translations out, with an exported sequence-to-sequence model alone."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from trainer.config.trained_model import PredictConfig
from trainer.dataset.input_files import find_files, undecodable_line
from trainer.errors import ConfigError, DataError, Problem, TrainerError
from trainer.storage.atomic_file import atomic_file
from trainer.tasks.requests import ask, rows_at_once, strings
from trainer.tasks.seq2seq import attention_plot
from trainer.tasks.seq2seq.attention_plot import Attention
from trainer.tasks.seq2seq.flags import DecodingFlags
from trainer.text.flags import SamplingFlags
from trainer.text.sampling_choices import sampling_choices

Translations = list[dict[str, Any]]  # of one sentence, best first: text, score, log_probability


def run(
    load: Callable[[], Any], contract: dict[str, Any], config: PredictConfig, to_addresses: Callable[[str], str]
) -> dict[str, Any]:
    """Translates sentences; loads the model once the flags are checked.

    Raises:
      ConfigError: flags that do not go together, or not with this model.
      DataError: an input does not fit the model.
    """
    check(config, contract)
    sentences = read_sentences(config)
    model = load()
    if config.plot:
        attention_plot.plot(attend(model, contract, sentences, config), config.plot)
    started = time.perf_counter()
    translations = translate(model, contract, sentences, config)
    seconds = time.perf_counter() - started
    write(sentences, translations, config)
    return {"predictions": len(translations), "seconds": round(seconds, 3)}


def check(config: PredictConfig, contract: dict[str, Any]) -> None:
    """Raises ConfigError for flags that do not go together, or not with this export."""
    problems, flags = [], config.of(DecodingFlags)
    if flags.n_best > contract["n_best"]:
        reason = f"is above the {contract['n_best']} that the model was exported with"
        problems.append(Problem("n_best", flags.n_best, reason, f"export it with --n_best={flags.n_best}"))
    if flags.n_best > 1 and flags.decoding != "beam":
        problems.append(
            Problem("n_best", flags.n_best, f"has no effect with --decoding={flags.decoding}", "use --decoding=beam")
        )
    if config.plot and flags.decoding != "beam":
        problems.append(Problem("plot", config.plot, "shows what beam search attended to", "use --decoding=beam"))
    if problems:
        raise ConfigError(problems)


def read_sentences(config: PredictConfig) -> list[str]:
    """One sentence a line, from the files of --input or (`-`) from stdin; blank lines count.

    Raises:
      DataError: there is no line, or a file is no UTF-8.
    """
    lines: list[str] = []
    if config.input == ("-",):
        lines = [line.rstrip("\r\n") for line in sys.stdin]
    else:
        for path in find_files(config.input):
            try:
                text = Path(path).read_text(encoding="utf-8-sig")
            except UnicodeDecodeError:
                raise DataError(
                    f"{path} line {undecodable_line(path)}: is not UTF-8 text; save the file as UTF-8"
                ) from None
            # Python's splitlines would cut at characters that other tools take for a part of the line.
            lines += [line.rstrip("\r") for line in text.removesuffix("\n").split("\n")] if text else []
    if not lines:
        raise DataError(f"--input={','.join(config.input)} holds no sentence; write one a line")
    return lines


def translate(model: Any, contract: dict[str, Any], sentences: list[str], config: PredictConfig) -> list[Translations]:
    """The translations of every sentence, in their order.

    Sentences of about one length are translated together, so that few wait for others. Blank ones get one empty
    translation.

    Raises:
      DataError: a sentence is too long for the model.
      TrainerError: a score is not a number.
    """
    rows = rows_at_once(config.batch_size, contract)
    run = _signature(model, contract, config)
    written = [index for index, sentence in enumerate(sentences) if sentence.strip()]
    order = sorted(
        written, key=lambda index: -len(sentences[index])
    )  # the longest first, so that too large a batch fails at once
    translated: list[Translations] = [[{"text": "", "score": 0.0, "log_probability": 0.0}] for _ in sentences]
    with tqdm(total=len(order), unit="sentence", disable=None, leave=False) as progress:
        for first in range(0, len(order), rows):
            part = order[first : first + rows]
            try:
                texts, *numbers = run([sentences[index] for index in part], part)
            except DataError as error:
                raise DataError(f"line {part[0] + 1}, or one about as long: {error}") from None
            for row, index in enumerate(part):
                if not np.isfinite(numbers[0][row, 0]):
                    raise TrainerError(
                        f"the translation of line {index + 1} has the score {numbers[0][row, 0]}; train the model again"
                    )
                each = zip(texts[row], *(column[row] for column in numbers))
                translated[index] = [
                    {"text": text.decode(errors="replace"), "score": float(score), "log_probability": float(nats)}
                    for text, score, nats in each
                    if np.isfinite(score)
                ][: config.of(DecodingFlags).n_best]
            progress.update(len(part))
    return translated


def _signature(
    model: Any, contract: dict[str, Any], config: PredictConfig
) -> Callable[[list[str], list[int]], list[np.ndarray]]:
    """Maps texts and their line numbers to translations, scores and log probabilities, [B, N] each."""
    if config.of(DecodingFlags).decoding == "beam":
        name, outputs = "serving_default", ("translations", "scores", "log_probabilities")
    else:
        name, outputs = config.of(DecodingFlags).decoding, ("translation", "score", "log_probability")

    def run(texts: list[str], lines: list[int]) -> list[np.ndarray]:
        choices = (
            sampling_choices(config.of(SamplingFlags), config.seed, lines)
            if config.of(DecodingFlags).decoding == "sample"
            else {}
        )
        outputs_of = ask(model, name, contract, {"text": strings(texts), **choices})
        return [outputs_of[output].reshape(len(texts), -1) for output in outputs]

    return run


def write(sentences: list[str], translated: list[Translations], config: PredictConfig) -> None:
    """Writes one line a sentence, in order, to --output (which appears whole) or to stdout.

    The line is the translation; with --n_best above 1 it is JSON: `{"source", "translations": [{"text", "score",
    "log_probability"}]}`.
    """
    if config.of(DecodingFlags).n_best == 1:
        lines = [" ".join(translations[0]["text"].split("\n")) for translations in translated]
    else:
        both = zip(sentences, translated)
        lines = [
            json.dumps({"source": source, "translations": translations}, ensure_ascii=False)
            for source, translations in both
        ]
    if not config.output:
        sys.stdout.writelines(line + "\n" for line in lines)
        return
    with atomic_file(config.output) as temporary:
        temporary.write_text("".join(line + "\n" for line in lines), encoding="utf-8", newline="\n")


def attend(model: Any, contract: dict[str, Any], sentences: list[str], config: PredictConfig) -> Attention:
    """The attention for the best translation of a single sentence.

    Raises:
      ConfigError: --input holds more than one sentence, or none.
      DataError: the sentence is too long for the model.
      TrainerError: the translation is empty.
    """
    written = [sentence for sentence in sentences if sentence.strip()]
    if len(written) != 1:
        reason = f"shows the attention of one sentence, --input holds {len(written)}"
        raise ConfigError([Problem("plot", config.plot, reason, "give an --input with one line")])
    values = {name: value[0] for name, value in ask(model, "attention", contract, {"text": strings(written)}).items()}
    source, target = (
        [piece.decode(errors="replace") for piece in values[f"{side}_pieces"]] for side in ("source", "target")
    )
    kept = int(np.sum(values["attention"].any(axis=1)))
    if not kept:
        raise TrainerError(
            f"--plot={config.plot} has nothing to show, the translation is empty; train the model longer"
        )
    return Attention(source, target[:kept], values["attention"][:kept])
