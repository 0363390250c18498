"""`python -m trainer.inspect` against what was put into the datasets; every damage of a shard is told."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trainer import inspect
from trainer.cli import flags
from trainer.config.inspect import InspectConfig
from trainer.errors import DataError
from trainer.prepare import prepare
from trainer.tasks.configurations import PrepareConfig

ROOT = Path(__file__).parents[3]
SOURCES = ["ab", "b", "", "caba", "a" * 30, "zzz"]
TARGETS = ["x", "yyy", "y", "xyx", "x", "x\U0001f600"]


def make(directory: Path, task: str, source: str, content: dict[str, str], *more: str) -> Path:
    directory.mkdir()
    for name, text in content.items():
        (directory / name).write_text(text)
    files = ",".join(str(directory / name) for name in content)
    arguments = [
        f"--task={task}",
        f"--source={source}",
        f"--input={files}",
        f"--output_dir={directory}/data",
        "--num_processes=1",
    ]
    prepare(flags.parse(PrepareConfig, [*arguments, *more]))
    return directory / "data"


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("inspect")
    rows = [f"2020-01-{day:02d},{day},{'' if day % 5 == 0 else -day / 2}" for day in range(1, 31)]
    lines = ["one two", "two", "three one one", "four", "one five"]
    pairs = {"a.src": "\n".join(SOURCES) + "\n", "a.tgt": "\n".join(TARGETS) + "\n"}
    table = {"a.csv": "\n".join(["date,a,b", *rows])}
    return {
        "forecast": make(place / "f", "forecast", "csv", table, "--splits=20,10", "--num_shards=3"),
        "language_model": make(
            place / "t", "language_model", "text", {"a.txt": "\n".join(lines)},
            "--documents=lines", "--tokenizer=word", "--splits=3,2", "--num_shards=3",
        ),
        "seq2seq": make(place / "p", "seq2seq", "pairs", pairs, "--splits=5,1", "--num_shards=2"),
    }  # fmt: skip


def run(directory: Path, *more: str) -> dict[str, Any]:
    return inspect.main(flags.parse(InspectConfig, [f"--data_dir={directory}", *more]))


def test_series(datasets: dict[str, Path]) -> None:
    result = run(datasets["forecast"], "--verify", "--examples=1")
    assert result["verified_shards"] == 6
    assert {name: split["rows"] for name, split in result["splits"].items()} == {"train": 20, "validation": 10}
    assert result["splits"]["train"]["missing_rate"] == pytest.approx(4 / 40)
    first, second = result["series"]
    days = np.array([-day / 2 for day in range(1, 21) if day % 5])
    assert (first["mean"], first["min"], first["max"], first["observed"]) == (10.5, 1, 30, 30)
    assert (second["min"], second["max"], second["observed"]) == (-14.5, -0.5, 24)
    assert (second["mean"], second["std"]) == pytest.approx((days.mean(), days.std()))
    assert result["interval"] == "86400 seconds"
    assert result["examples"]["train"] == [
        {"group": "a", "row": 0, "time": "2020-01-01 00:00:00", "values": {"a": 1.0, "b": -0.5}}
    ]
    assert result["examples"]["validation"][0]["row"] == 20


def test_text(datasets: dict[str, Path]) -> None:
    result = run(datasets["language_model"])
    assert result["splits"]["train"]["documents"] == 3 and result["splits"]["train"]["tokens"] == 6
    assert result["splits"]["train"]["tokens_a_document"] == {"min": 1, "median": 2, "mean": 2, "p95": 2.9, "max": 3}
    assert result["examples"] == {
        "train": [{"text": "one two"}, {"text": "two"}],
        "validation": [{"text": "\ufffd"}, {"text": "one\ufffd"}],
    }
    vocabulary = result["vocabulary"]
    assert (vocabulary["tokenizer"], vocabulary["size"], vocabulary["unused"]) == ("word", 4 + 5, 0)
    assert {entry["token"]: entry["count"] for entry in vocabulary["frequent"]} == {
        " one": 2,
        "one": 1,
        " two": 1,
        "two": 1,
        "three": 1,
    }


def test_pairs(datasets: dict[str, Path]) -> None:
    result = run(datasets["seq2seq"], "--examples=9")
    train = result["splits"]["train"]
    assert train["pairs"] == 5 and train["tokens"] == {
        "source": sum(map(len, SOURCES[:5])),
        "target": sum(map(len, TARGETS[:5])),
    }
    assert train["tokens_a_text"]["source"]["max"] == 30 and train["tokens_a_text"]["source"]["min"] == 0
    assert result["examples"]["train"] == [{"source": a, "target": b} for a, b in zip(SOURCES[:5], TARGETS[:5])]
    assert result["examples"]["validation"] == [{"source": "\ufffd" * 3, "target": "x\ufffd"}]
    assert result["vocabulary"]["source"]["size"] == 4 + 3


def test_the_command(datasets: dict[str, Path], tmp_path: Path) -> None:
    def command(directory: Path) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "trainer.inspect", f"--data_dir={directory}", "--verify"]
        return subprocess.run(line, cwd=ROOT, capture_output=True, text=True)

    for directory in datasets.values():
        done = command(directory)
        assert done.returncode == 0, done.stderr
        *table, last = done.stdout.splitlines()
        assert json.loads(last)["verified_shards"] > 0
        assert any(line.startswith("split ") and "train" in line for line in table)
    assert command(tmp_path).returncode == 65
    copy = tmp_path / "copy"
    shutil.copytree(datasets["forecast"], copy)
    damaged, gone = (sorted(copy.glob("*train*"))[index] for index in (0, 2))
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"!")
    gone.unlink()
    done = command(copy)
    assert (done.returncode, done.stdout) == (65, "")
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 2 and f"{damaged} has the checksum" in errors[0] and f"{gone} cannot be read" in errors[1]


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), task=st.sampled_from(["forecast", "language_model", "seq2seq"]), cut=st.booleans())
def test_a_shard_truncated_or_flipped_anywhere(
    datasets: dict[str, Path], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, task: str, cut: bool
) -> None:
    copy = tmp_path_factory.getbasetemp() / f"copy_{task}"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(datasets[task], copy)
    path = data.draw(st.sampled_from(sorted(copy.glob("*.tfrecord-*"))))
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content[:place] if cut else content)
    for more in ((), ("--verify",)):
        with pytest.raises(DataError) as caught:
            run(copy, *more)
        assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), task=st.sampled_from(["forecast", "language_model", "seq2seq"]), cut=st.booleans())
def test_another_file_truncated_or_flipped_anywhere(
    datasets: dict[str, Path], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, task: str, cut: bool
) -> None:
    copy = tmp_path_factory.getbasetemp() / f"other_{task}"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(datasets[task], copy)
    path = data.draw(st.sampled_from(sorted([copy / "dataset.json", *copy.glob("*vocabulary*")])))
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content[:place] if cut else content)
    try:
        run(copy, "--verify")  # a number in dataset.json may become another that fits as well
    except DataError as error:
        assert str(copy) in str(error)
    else:
        assert path.name == "dataset.json"
