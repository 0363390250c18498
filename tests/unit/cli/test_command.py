"""The shared entry of the commands: what goes to stdout and stderr, and which exit code tells what."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
SCRIPT = """
import dataclasses, errno, logging, os, sys
import numpy as np
from trainer import errors
from trainer.cli.command import run_command
from trainer.config.fields import flag

@dataclasses.dataclass(frozen=True)
class Settings:
    GROUP = "toy"
    body: str = flag("what to do")
    size: int = flag("a number", default=1)

def body(config):
    logging.getLogger("trainer.toy").info("at work")
    logging.getLogger("other").info("chatter")
    return eval(config.body)

def fail(error):
    raise error

run_command("trainer.toy", "A toy.", Settings, body)
"""


# Unbuffered, a full disk would show in the print itself and not at the end, which is the harder case.
BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


def run(*arguments: str, stdout: Any = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", SCRIPT, *arguments]
    return subprocess.run(command, cwd=ROOT, env=BUFFERED, stdout=stdout, stderr=subprocess.PIPE, text=True)


def test_a_result_is_the_last_line_and_logs_go_to_stderr() -> None:
    done = run(
        "--body=print('before') or {'a': np.float32(0.5), 'b': np.arange(2), 'c': None, 'd': "
        "os.environ['TF_ENABLE_ONEDNN_OPTS']}"
    )
    assert done.returncode == 0
    assert done.stdout.splitlines()[0] == "before"
    assert json.loads(done.stdout.splitlines()[-1]) == {"a": 0.5, "b": [0, 1], "c": None, "d": "1"}
    assert done.stderr.endswith("INFO at work\n")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("body", "code", "told"),
    [
        ("fail(errors.DataError('a.csv line 2: bad; mend it'))", 65, "error: a.csv line 2: bad; mend it"),
        ("fail(errors.ConfigError([errors.Problem('x', 1, 'is odd', 'use 2')]))", 64, "error: --x=1 is odd; use 2"),
        ("fail(errors.LocationError(config.body, 'is odd', 'use 2'))", 64, "error: --body={} is odd; use 2"),
        ("fail(errors.RestartError('saved; start again'))", 75, "error: saved; start again"),
        ("fail(errors.StorageError('full; free it'))", 1, "error: full; free it"),
        (
            "fail(OSError(errno.ENOSPC, 'No space left on device', 'f'))",
            1,
            "error: f cannot be written (No space left on device); free space and run the same command again",
        ),
        ("fail(KeyboardInterrupt())", 130, "error: interrupted"),
    ],
)
def test_foreseen_failures_are_one_line(body: str, code: int, told: str) -> None:
    done = run(f"--body={body}")
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.splitlines()[1:] == [told.replace("{}", body)]


@pytest.mark.parametrize("body", ["1 / 0", "{'a': float('nan')}", "fail(PermissionError(13, 'denied', 'f'))"])
def test_defects_give_a_traceback(body: str) -> None:
    done = run(f"--body={body}")
    assert (done.returncode, done.stdout) == (1, "")
    assert "Traceback" in done.stderr


def test_all_wrong_flags_are_told() -> None:
    done = run("--size=many", "--colour=red")
    assert done.returncode == 64
    assert [line.partition(" ")[0] for line in done.stderr.splitlines()] == ["error:"] * 3
    assert all(name in done.stderr for name in ("--size=many", "--colour=red", "--body"))


def test_help_goes_to_stdout() -> None:
    done = run("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "--size" in done.stdout


def test_a_closed_pipe_is_no_traceback() -> None:
    command = f"'{sys.executable}' -c '{SCRIPT}' --body='{{\"x\": \"x\" * 1000000}}' | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, env=BUFFERED, capture_output=True, text=True)
    assert done.stdout == "0\n"
    assert done.stderr.splitlines()[1:] == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_stdout_is_a_storage_error() -> None:
    with Path("/dev/full").open("w") as full:
        done = run("--body={}", stdout=full)
    assert done.returncode == 1
    assert done.stderr.splitlines()[1:] == [
        "error: a file cannot be written (No space left on device); free space and run the same command again"
    ]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_stdout_does_not_hide_the_exit_code() -> None:
    with Path("/dev/full").open("w") as full:
        done = run("--body=print('x') or fail(errors.DataError('bad; mend it'))", stdout=full)
    assert done.returncode == 65
    assert done.stderr.splitlines()[1:] == ["error: bad; mend it"]
