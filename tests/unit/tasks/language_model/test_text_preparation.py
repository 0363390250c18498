"""`python -m trainer.prepare --task=language_model` as its users run it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from configured import prepare_config

from trainer.cli import flags
from trainer.errors import ConfigError
from trainer.prepare import prepare
from trainer.tasks import datasets
from trainer.tasks.configurations import PrepareConfig
from trainer.tasks.language_model.facts import TextFacts

ROOT = Path(__file__).parents[4]
SHAKESPEARE = ROOT.parent / "shared" / "data" / "tinyshakespeare.txt"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "trainer.prepare", "--task=language_model", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def config(tmp_path: Path, **settings: Any) -> PrepareConfig:
    return prepare_config(
        **{"task": "language_model", "source": "text", "output_dir": str(tmp_path / "out"), **settings}
    )


def problems(*arguments: str) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        flags.parse(PrepareConfig, ["--output_dir=o", *arguments])
    return {problem.flag: str(problem) for problem in caught.value.problems}


def test_the_sample_end_to_end(tmp_path: Path) -> None:
    done = run("--source=sample", f"--output_dir={tmp_path}/d", "--num_shards=2")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert {
        "records",
        "shards",
        "bytes",
        "seconds",
        "tokens",
        "characters",
        "documents",
        "unknown_rate",
        "vocabulary_size",
    } <= set(result)
    assert result["shards"] == 6 and list(result["tokens"]) == ["train", "validation", "test"]
    assert result["tokens"] == result["characters"]
    total = sum(result["characters"].values())
    assert total > 200_000 and abs(result["characters"]["train"] - 0.7 * total) < 1
    assert result["documents"] == {"train": 1, "validation": 1, "test": 1}
    assert "characters" not in done.stderr  # no progress bar where stderr is not a terminal


@pytest.mark.skipif(not SHAKESPEARE.exists(), reason=f"{SHAKESPEARE} is absent")
def test_tinyshakespeare_has_the_published_sizes(tmp_path: Path) -> None:
    result = prepare(config(tmp_path, input=(str(SHAKESPEARE),), splits=("0.9", "0.1")))
    assert result["characters"] == result["tokens"] == {"train": 1_003_854, "validation": 111_540}
    assert result["vocabulary_size"] == 65 + 4
    assert result["unknown_rate"] == {"train": 0, "validation": 0}


def test_the_vocabulary_knows_training_text_only(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("abab\n" * 10)
    (tmp_path / "b.txt").write_text("abc\n")
    result = prepare(config(tmp_path, input=(f"{tmp_path}/a.txt",), validation_input=(f"{tmp_path}/b.txt",)))
    assert result["vocabulary_size"] == 4 + 3
    assert result["unknown_rate"] == {"train": 0, "validation": 0.25, "test": 0}
    assert result["documents"] == {"train": 1, "validation": 1, "test": 1}


@pytest.mark.parametrize("tokenizer", ["byte", "word", "sentencepiece"])
def test_lines_of_several_files(tmp_path: Path, tokenizer: str) -> None:
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text("".join(f"line {number} of {name}\n\n" for number in range(50)))
    size = 60 if tokenizer == "sentencepiece" else None
    settings = {
        "documents": "lines",
        "tokenizer": tokenizer,
        "vocab_size": size,
        "splits": ("40", "10"),
        "num_shards": 2,
    }
    result = prepare(config(tmp_path, input=(f"{tmp_path}/*.txt",), **settings))
    assert result["documents"] == {"train": 80, "validation": 20}
    facts = TextFacts.of(datasets.read(str(tmp_path / "out")))
    assert (facts.tokenizer, facts.documents, facts.vocabulary_size) == (tokenizer, "lines", result["vocabulary_size"])
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert {facts.vocabulary_file} <= files | {None}
    assert len([name for name in files if ".tfrecord-" in name]) == 4


def test_exit_codes_and_one_line_each(tmp_path: Path) -> None:
    (tmp_path / "bad.txt").write_bytes(b"a\nb\xff\n")
    (tmp_path / "good.txt").write_text("ab ab ab\n")
    out = f"--output_dir={tmp_path}/out"
    for arguments, code, told in (
        ((f"--input={tmp_path}/bad.txt",), 65, "bad.txt line 2: is not UTF-8 text"),
        (
            (f"--input={tmp_path}/good.txt", "--tokenizer=sentencepiece"),
            64,
            "--vocab_size=10000 is more than the training text gives",
        ),
    ):
        done = run("--source=text", out, *arguments)
        assert (done.returncode, done.stdout) == (code, ""), done.stderr
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert told in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.txt", "good.txt"]


def test_flags_that_do_not_go_together() -> None:
    text = ("--task=language_model", "--source=text", "--input=a.txt")
    assert (
        "--source=csv is nothing for --task=language_model; use --source=text"
        in problems(*text, "--source=csv")["source"]
    )
    assert "is nothing for --task=forecast; use --source=csv" in problems(*text, "--task=forecast")["source"]
    assert (
        "has no effect with --tokenizer=byte" in problems(*text, "--tokenizer=byte", "--vocab_size=300")["vocab_size"]
    )
    assert "is below 8" in problems(*text, "--vocab_size=3")["vocab_size"]
    assert (
        "has no effect with --tokenizer=char" in problems(*text, "--sentencepiece_type=unigram")["sentencepiece_type"]
    )
    assert "has no effect" in problems(*text, "--date_column=none")["date_column"]
    assert set(problems("--task=forecast", "--source=sample", "--tokenizer=word", "--documents=lines")) == {
        "tokenizer",
        "documents",
    }
    assert "use one of char, byte, word, sentencepiece" in problems(*text, "--tokenizer=letter")["tokenizer"]
    assert set(problems("--task=language_model", "--source=text")) == {"input"}
    assert set(problems(*text, "--source=web")) >= {"source"}
