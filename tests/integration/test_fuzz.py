"""A few seconds of every fuzz target, and that each would tell of a fault; `python -m tests.fuzz` is the long run."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzz import damaged_datasets, outcome, raw_files
from fuzz.mutation import mutated
from fuzz.outcome import FindingError
from fuzz.scratch import scratch_directory
from fuzz.targets import TARGETS

from trainer.dataset import manifest, tfrecord
from trainer.prepare import prepare
from trainer.tasks.configurations import PrepareConfig
from trainer.text import tokenizer, tokenizers

ROOT = Path(__file__).parents[2]
INPUTS = 60  # of each target


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def place() -> Iterator[Path]:
    with scratch_directory() as directory:
        yield Path(directory)


def inputs(name: str) -> Iterator[bytes]:
    seeds = TARGETS[name].seeds()
    yield from seeds
    for number in range(INPUTS):
        data = mutated(seeds[number % len(seeds)], number)
        yield data


@pytest.mark.parametrize("name", sorted(set(TARGETS) - {"store"}))  # which is slow, and has a test of its own
def test_nothing_is_found(name: str, place: Path) -> None:
    for data in inputs(name):
        TARGETS[name].check(data, place)


@pytest.mark.parametrize(
    ("name", "change"),
    [("csv", (b",2", b",3")), ("npy", (b"\xf0?", b"\xe0?")), ("text", (b"e", b"a")), ("pairs", (b"d", b"t"))],
)
def test_a_file_misread_is_found(
    name: str, change: tuple[bytes, bytes], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def misreading(config: PrepareConfig) -> None:
        for path in map(Path, config.input):
            path.write_bytes(path.read_bytes().replace(*change))
        prepare(config)

    monkeypatch.setattr(outcome, "prepare", misreading)
    with pytest.raises(FindingError, match="became"):
        TARGETS[name].check(TARGETS[name].seeds()[0], place)


@pytest.mark.parametrize(
    ("name", "owners", "function", "blind"),
    [
        ("manifest", [manifest], "_checksum", "0"),
        ("shard", [tfrecord], "masked_crc32c", 0),
        ("vocabulary", [tokenizer, tokenizers], "checksum", "0"),
    ],
)
def test_a_blind_checksum_is_found(
    name: str, owners: list[Any], function: str, blind: object, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged_datasets.original.cache_clear()
    for owner in owners:
        monkeypatch.setattr(owner, function, lambda *content: blind)
    try:
        sound = TARGETS[name].seeds()[0]
        with pytest.raises(FindingError, match="was read"):
            for at in range(len(sound) - 1, 0, -1):
                TARGETS[name].check(sound[:at] + bytes([sound[at] ^ 1]) + sound[at + 1 :], place)
    finally:
        damaged_datasets.original.cache_clear()


@pytest.mark.parametrize("task", damaged_datasets.TASKS)
def test_what_training_reads_is_checked_too(tf: Any, task: str, place: Path) -> None:
    choice = damaged_datasets.TASKS.index(task)
    sound = damaged_datasets.original(task)
    content = sound.files[sound.named(".tfrecord-")[0]]
    places = np.random.default_rng(0).integers(0, len(content), 6).tolist()
    damages = [content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :] for place in places]
    damages += [content[:12], content + content[:20], content, b""]
    for damaged in damages:
        damaged_datasets.check_store(bytes([choice]) + damaged, place)


def test_the_command(place: Path) -> None:
    pytest.importorskip("atheris", reason="it has wheels for Python 3.11 and newer on x86-64 only")
    command = [sys.executable, "-m", "tests.fuzz", "--target=npy", "--seconds=2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["findings"] == {} and result["inputs"]["npy"] > len(raw_files.NPY_SEEDS)
    (place / "a").write_bytes(raw_files.NPY_SEEDS[0])
    done = subprocess.run([*command, f"--input={place}/a"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
