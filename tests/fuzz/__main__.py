"""Feeds damaged files to everything that reads files, guided by the code that they reach (atheris).

    python -m tests.fuzz --seconds=600                  all targets, one after the other
    python -m tests.fuzz --target=csv --seconds=60
    python -m tests.fuzz --target=csv --input=FILE      one input again, as a finding tells

A finding is a traceback, a hang, a result that an independent reader does not confirm, or a message that is not a line
for people. Inputs that reach new code are kept in runs/fuzz/TARGET, those that found something in runs/fuzz/findings.
The last line on stdout is one JSON object.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import atheris

from .mutation import mutated
from .scratch import scratch_directory

if TYPE_CHECKING:
    from .targets import Target

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

PLACE = Path("runs/fuzz")
FINDINGS = PLACE / "findings"
LARGEST = 1 << 14  # bytes of an input
HANG_SECONDS = 120  # by the clock: on a busy machine the import of TensorFlow alone takes a minute
MOST_MEMORY_MB = 3072


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--target", default="all")
    parser.add_argument("--seconds", type=int, default=60, help="of all targets together")
    parser.add_argument("--input", type=Path, help="a file to check once")
    parser.add_argument("--in_this_process", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    with atheris.instrument_imports(include=["trainer"]) if chosen.in_this_process else contextlib.nullcontext():
        from .targets import TARGETS
    if chosen.target not in ("all", *TARGETS):
        parser.error(f"--target={chosen.target} is none of all, {', '.join(TARGETS)}")
    if chosen.input:
        with scratch_directory() as place:
            TARGETS[chosen.target].check(chosen.input.read_bytes(), Path(place))
        return 0
    if chosen.in_this_process:
        _fuzz(chosen.target, TARGETS[chosen.target], chosen.seconds, chosen.in_this_process)
    return _fuzz_each(list(TARGETS) if chosen.target == "all" else [chosen.target], chosen.seconds)


def _fuzz(name: str, target: Target, seconds: int, place: Path) -> None:
    """Fuzzes one target until the time is up or something is found; libFuzzer then ends the process (77 for a
    finding).
    """
    logging.disable(logging.CRITICAL)
    corpus = PLACE / name
    corpus.mkdir(parents=True, exist_ok=True)
    FINDINGS.mkdir(exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)

    def mutator(data: bytes, largest: int, seed: int) -> bytes:
        return mutated(data, seed, largest) if seed % 2 else atheris.Mutate(data, largest)

    settings = {
        "max_total_time": seconds,
        "max_len": LARGEST,
        "timeout": HANG_SECONDS,
        "report_slow_units": HANG_SECONDS,
        "rss_limit_mb": MOST_MEMORY_MB,
        "artifact_prefix": f"{FINDINGS}/{name}-",
    }
    arguments = [sys.argv[0], *(f"-{key}={value}" for key, value in settings.items()), str(corpus)]
    atheris.Setup(arguments, lambda data: target.check(data, place), custom_mutator=mutator)
    atheris.Fuzz()


def _fuzz_each(names: list[str], seconds: int) -> int:
    """Each target in a process of its own; prints what came out."""
    iterations, found = {}, {}
    ends = time.monotonic() + seconds
    for number, name in enumerate(names):
        share = max(1, int((ends - time.monotonic()) / (len(names) - number)))
        command = [sys.executable, "-m", "tests.fuzz", f"--target={name}", f"--seconds={share}"]
        with scratch_directory() as place:  # ours to remove: libFuzzer ends its process without a farewell
            done = subprocess.run(
                [*command, f"--in_this_process={place}"],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                check=False,
            )
        counts = re.findall(r"^(?:Done |#)(\d+)\b", done.stdout, re.MULTILINE)
        iterations[name] = int(counts[-1]) if counts else 0
        if done.returncode:
            found[name] = done.returncode
            sys.stderr.write(done.stdout[-6000:] + "\n")
        sys.stderr.write(
            f"{name}: {iterations[name]} inputs in {share} s{', and a FINDING' if done.returncode else ''}\n"
        )
    sys.stdout.write(json.dumps({"inputs": iterations, "findings": found}) + "\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
