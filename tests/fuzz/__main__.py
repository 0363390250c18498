"""Feeds damaged files to everything that reads files, guided by the code that they reach (atheris).

    python -m tests.fuzz --seconds=600                  all targets, one after the other
    python -m tests.fuzz --target=csv --seconds=60
    python -m tests.fuzz --target=csv --input=FILE      one input again, as a finding tells

A finding is a traceback, a hang, a result that an independent reader does not confirm, or a message that is no line for people.
Inputs that reach new code are kept in runs/fuzz/TARGET, those that found something in runs/fuzz/findings. The last line on stdout is
one JSON object.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import atheris

from .mutation import mutated
from .scratch import scratch_directory

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
with atheris.instrument_imports(include=["trainer"]):
    from .targets import TARGETS, Target

PLACE = Path("runs/fuzz")
FINDINGS = PLACE / "findings"
LARGEST = 1 << 14  # bytes of an input
HANG_SECONDS = 60  # the slowest inputs take one
MOST_MEMORY_MB = 3072


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", choices=["all", *TARGETS], default="all")
    parser.add_argument("--seconds", type=int, default=60, help="of all targets together")
    parser.add_argument("--input", type=Path, help="a file to check once")
    parser.add_argument("--in_this_process", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.input:
        with scratch_directory() as place:
            TARGETS[chosen.target].check(chosen.input.read_bytes(), Path(place))
        return 0
    if chosen.in_this_process:
        _fuzz(chosen.target, TARGETS[chosen.target], chosen.seconds)
    return _fuzz_each(list(TARGETS) if chosen.target == "all" else [chosen.target], chosen.seconds)


def _fuzz(name: str, target: Target, seconds: int) -> None:
    """Fuzzes one target until the time is up or something is found; libFuzzer then ends the process (77 for a finding)."""
    logging.disable(logging.CRITICAL)
    corpus = PLACE / name
    corpus.mkdir(parents=True, exist_ok=True)
    FINDINGS.mkdir(exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)

    def mutator(data: bytes, largest: int, seed: int) -> bytes:
        return mutated(data, seed, largest) if seed % 2 else atheris.Mutate(data, largest)

    with scratch_directory() as place:
        settings = [f"-max_total_time={seconds}", f"-max_len={LARGEST}", f"-timeout={HANG_SECONDS}", f"-rss_limit_mb={MOST_MEMORY_MB}"]
        arguments = [sys.argv[0], *settings, f"-artifact_prefix={FINDINGS}/{name}-", str(corpus)]
        atheris.Setup(arguments, lambda data: target.check(data, Path(place)), custom_mutator=mutator)
        atheris.Fuzz()


def _fuzz_each(names: list[str], seconds: int) -> int:
    """Each target in a process of its own; prints what came out."""
    iterations, found = {}, {}
    ends = time.monotonic() + seconds
    for number, name in enumerate(names):
        share = max(1, int((ends - time.monotonic()) / (len(names) - number)))
        command = [sys.executable, "-m", "tests.fuzz", f"--target={name}", f"--seconds={share}", "--in_this_process"]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False)
        counts = re.findall(r"^(?:Done |#)(\d+)\b", done.stdout, re.MULTILINE)
        iterations[name] = int(counts[-1]) if counts else 0
        if done.returncode:
            found[name] = done.returncode
            sys.stderr.write(done.stdout[-6000:] + "\n")
        sys.stderr.write(f"{name}: {iterations[name]} inputs in {share} s{', and a FINDING' if done.returncode else ''}\n")
    sys.stdout.write(json.dumps({"inputs": iterations, "findings": found}) + "\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
