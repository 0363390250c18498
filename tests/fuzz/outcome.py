"""What a command may do with a file that went wrong: a right result, or one line for people and the exit code 65."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

from tests.support.configured import prepare_config
from trainer import inspect
from trainer.config.inspect import InspectConfig
from trainer.errors import EXIT_CONFIG, EXIT_DATA, TrainerError, VocabularySizeError
from trainer.prepare import prepare

LONGEST_MESSAGE = 1000  # characters; a message is read by a person


class FindingError(AssertionError):
    """The program did what it must not do."""


def demand(condition: bool, text: str) -> None:
    if not condition:
        raise FindingError(text)


@contextlib.contextmanager
def numbers_checked() -> Iterator[None]:
    """Makes errors of numpy's warnings of overflows and invalid values: a number went wrong silently."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        yield


def prepared(output_dir: Path, **settings: object) -> TrainerError | None:
    """Runs prepare in this process on the files of `settings["input"]`; gives its refusal, checked, or None where it
    wrote a dataset.
    """
    shutil.rmtree(output_dir, ignore_errors=True)
    config = prepare_config(output_dir=str(output_dir), num_processes=1, **settings)  # type: ignore[arg-type]
    demand(not list(config.problems()), f"the fuzzer's own configuration is wrong: {list(config.problems())}")
    try:
        with numbers_checked():
            prepare(config)
    except TrainerError as error:
        check_refusal(error, config.input)
        left = [path.name for path in output_dir.parent.iterdir() if path.name.lstrip(".").startswith(output_dir.name)]
        demand(not left, f"refused, and yet {left} is there")
        return error
    inspected(output_dir)  # what was written can be read
    return None


def inspected(directory: Path) -> str:
    """What `trainer.inspect` prints, less the directory; every record is read, checksums of whole files are not looked
    at.
    """
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), numbers_checked():
        result = inspect.main(InspectConfig(str(directory), examples=1000))
    printed.write(json.dumps(result, allow_nan=False, default=lambda value: value.tolist()))
    text = printed.getvalue()
    text.encode()  # as stdout must
    return text.replace(str(directory), "")


def check_refusal(error: TrainerError, files: tuple[str, ...]) -> None:
    """The message is one line that names one of `files`, and a line number in it is one of the file's."""
    text = str(error)
    told = isinstance(error, VocabularySizeError)
    demand(error.exit_code == (EXIT_CONFIG if told else EXIT_DATA), f"exit code {error.exit_code}: {text!r}")
    demand(text.isprintable() and len(text) < LONGEST_MESSAGE, f"no line for people: {text!r}")
    demand("; " in text, f"no remedy: {text!r}")
    demand(told or any(file in text for file in files), f"no file of {files}: {text!r}")
    for file, number in re.findall(r"(\S+) line (\d+)", text):
        if file in files:
            lines = len(re.findall(rb"\r\n|\r|\n", Path(file).read_bytes())) + 1
            demand(1 <= int(number) <= lines, f"there are {lines} lines: {text!r}")
