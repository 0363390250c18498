"""Our commands as processes: of an interpreter of their own, or, seconds sooner, forked from one that has imported
TensorFlow.
"""

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]

_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(["tensorflow"])


def start_anew(module: str, *arguments: str, **options) -> subprocess.CompletedProcess[str]:
    """Runs `python -m module`, as a user does; `options` are those of `subprocess.run`."""
    return subprocess.run(
        [sys.executable, "-m", module, *arguments], cwd=ROOT, capture_output=True, text=True, check=False, **options
    )


def call(module: str, *arguments: str, input: str = "") -> subprocess.CompletedProcess[str]:
    """Runs a command of ours in a process that finds TensorFlow imported and nothing else done.

    All that follows the import is as in `start_anew`: arguments, environment, standard streams, signals, exit code.
    What happens at an interpreter's end is not, nor is what a command does before it imports TensorFlow, where that
    changes the import.
    """
    with tempfile.TemporaryDirectory() as directory:
        paths = [Path(directory, name) for name in ("stdin", "stdout", "stderr")]
        paths[0].write_text(input, encoding="utf-8")
        process = _forks.Process(target=_run, args=(module, arguments, paths, dict(os.environ)))
        process.start()
        process.join()
        code, out, errors = process.exitcode, *(path.read_text(encoding="utf-8") for path in paths[1:])
    assert code is not None
    return subprocess.CompletedProcess([module, *arguments], code, out, errors)


def _run(module: str, arguments: tuple[str, ...], paths: list[Path], environment: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    for number, path in enumerate(paths):
        os.dup2(os.open(path, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT), number)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 (a forked process has none)
    sys.argv[1:] = arguments
    runpy.run_module(module, run_name="__main__", alter_sys=True)
