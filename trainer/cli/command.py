"""The shared entry of all commands: flags in, one JSON line and an exit code out."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeVar

from recurrent_trainer import check_packages, mixed_packages
from trainer.cli import flags, recipe, streams
from trainer.cli.flag_help import help_text, wants_help
from trainer.cli.flag_of_value import named
from trainer.config import writable
from trainer.errors import EXIT_DEFECT, EXIT_DONE, EXIT_INTERRUPTED, ConfigError, StorageError, TrainerError, UnfitError

check_packages(
    "trainer"
)  # at the import: with a foreign `trainer/__init__.py`, modules that commands import later fail in obscure ways

Config = TypeVar("Config")

_log = logging.getLogger("trainer.cli.command")


def run_command(
    name: str, summary: str, config_class: type[Config], body: Callable[[Config], Mapping[str, Any]]
) -> NoReturn:
    """Runs one command and ends the process with its exit code.

    Parses the flags of `config_class` from sys.argv, calls `body` with them and prints what it gives as one JSON
    object, the last line of stdout. Foreseen failures become `error: ` lines on stderr, everything else a traceback and
    exit code 1.

    Args:
      name: the module, as in `trainer.prepare`.
      summary: what the command does, for --help.
      config_class: dataclass of the flags (`trainer.cli.flags`).
      body: the command; its result must be JSON without NaN or infinity (numpy numbers and arrays are converted).
    """

    def text() -> str:
        # Read by TensorFlow when it is imported, which commands do in their bodies only.
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # what is wrong reaches us as an exception
        if wants_help(sys.argv[1:]):
            return help_text(name, summary, config_class)
        if recipe.lists_recipes(config_class, sys.argv[1:]):
            return recipe.listing()
        config = flags.parse(config_class, sys.argv[1:])
        if hasattr(config, "places") and (problems := list(writable.problems(config.places()))):
            raise ConfigError(problems)
        try:
            return line_of(body(config))
        except UnfitError as error:
            raise named(error, config) from error

    finish(text)


def line_of(result: Mapping[str, Any]) -> str:
    """A command's result as the last line of stdout."""
    return json.dumps(result, allow_nan=False, default=_plain)


def answer(text: str) -> None:
    """Puts text on stdout. Whoever read our output may have left: the work is done, so that is not an error."""
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def finish(body: Callable[[], str]) -> NoReturn:
    """Ends the process with the text that `body` gives on stdout, or with what went wrong on stderr and its exit
    code.
    """
    streams.protect()
    _log_to_stderr()
    for text in mixed_packages():
        _log.warning(text)
    try:
        answer(body())
        code = EXIT_DONE
    except KeyboardInterrupt:
        _tell("interrupted")
        code = EXIT_INTERRUPTED
    except TrainerError as error:
        for line in str(error).splitlines():
            _tell(line)
        code = error.exit_code
    except OSError as error:
        code = _storage_failure(error)
    except Exception:
        traceback.print_exc()
        code = EXIT_DEFECT
    _flush_stdout()
    sys.exit(code)


def _log_to_stderr() -> None:
    """Our own messages from INFO, those of libraries from WARNING, as `time level message`."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S"
    )
    for package in ("trainer", "launch"):
        logging.getLogger(package).setLevel(logging.INFO)


def _storage_failure(error: OSError) -> int:
    """Exit code of an OSError that no stage foresaw: a full disk is told in one line, others are defects."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        traceback.print_exception(error)
        return EXIT_DEFECT
    place = error.filename or "a file"
    _tell(f"{place} cannot be written ({error.strerror}); free space and run the same command again")
    return StorageError.exit_code


def _plain(value: Any) -> Any:
    """Numbers and arrays of numpy and TensorFlow as JSON knows them."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "numpy"):
        return value.numpy().tolist()
    raise TypeError(f"{type(value).__name__} is not JSON")


def _tell(text: str) -> None:
    sys.stderr.write(f"error: {text}\n")


def _flush_stdout() -> None:
    """Flushes now; where that fails, the interpreter's own flush at exit goes nowhere instead of changing the exit
    code.
    """
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
