"""`python -m trainer.prepare --task=seq2seq` as its users run it."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from configured import prepare_config

from trainer.cli import flags
from trainer.errors import ConfigError, DataError
from trainer.prepare import prepare
from trainer.tasks import datasets
from trainer.tasks.configurations import PrepareConfig
from trainer.tasks.seq2seq.facts import PairFacts
from trainer.text import tokenizers

ROOT = Path(__file__).parents[4]
MULTI30K = ROOT.parent / "shared" / "data" / "multi30k"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "trainer.prepare", "--task=seq2seq", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def config(tmp_path: Path, **settings: Any) -> PrepareConfig:
    return prepare_config(
        **{"task": "seq2seq", "source": "pairs", "output_dir": str(tmp_path / "out"), "splits": ("1.0",), **settings}
    )


def files(tmp_path: Path, sources: list[str], targets: list[str], name: str = "train") -> tuple[str, ...]:
    paths = [tmp_path / f"{name}.{side}" for side in ("source", "target")]
    for path, lines in zip(paths, (sources, targets)):
        path.write_text("".join(f"{line}\n" for line in lines))
    return tuple(map(str, paths))


def problems(*arguments: str) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        flags.parse(PrepareConfig, ["--output_dir=o", *arguments])
    return {problem.flag: str(problem) for problem in caught.value.problems}


def test_the_sample_end_to_end(tmp_path: Path) -> None:
    done = run("--source=sample", f"--output_dir={tmp_path}/d", "--num_shards=2")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["records"] == {"train": 14_000, "validation": 2000, "test": 4000} and result["shards"] == 6
    assert {"bytes", "seconds", "fingerprint"} <= set(result)
    assert result["tokens"]["test"]["target"] == 40_000  # ten characters of an ISO date
    assert result["vocabulary_size"]["target"] == 4 + len("0123456789-")
    none = {"empty": 0, "surplus": 0, "over_long": 0}
    assert set(map(str, result["dropped"].values())) == {str(none)} and not any(result["empty"].values())
    assert "pairs" not in done.stderr  # no progress bar, no warning


@pytest.mark.skipif(not MULTI30K.exists(), reason=f"{MULTI30K} is absent")
def test_multi30k_has_the_published_sizes(tmp_path: Path) -> None:
    given = {
        flag: (str(MULTI30K / f"{name}.en"), str(MULTI30K / f"{name}.de"))
        for flag, name in (("input", "train"), ("validation_input", "val"), ("test_input", "test_2016_flickr"))
    }
    result = prepare(
        config(
            tmp_path,
            **given,
            splits=("0.7", "0.1", "0.2"),
            tokenizer="sentencepiece",
            vocab_size=8000,
            joint_vocabulary=True,
        )
    )
    assert result["records"] == {"train": 29_000, "validation": 1014, "test": 1000}
    assert result["vocabulary_size"] == {"source": 8000, "target": 8000}
    assert result["unknown_rate"]["train"] == {"source": 0, "target": 0}
    assert result["empty"] == result["over_long"] == {"train": 0, "validation": 0, "test": 0}


def test_nothing_is_left_out_without_a_rule(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    given = files(tmp_path, ["a b", "", "c " * 50, " "], ["x", "y", "z", ""])
    result = prepare(config(tmp_path, input=given, tokenizer="word"))
    assert result["records"] == {"train": 4} and result["empty"] == {"train": 2} and result["over_long"] == {"train": 0}
    assert result["dropped"] == {"train": {"empty": 0, "surplus": 0, "over_long": 0}}
    assert result["longest"] == {"train": {"source": 51, "target": 1}}
    assert [record.message for record in caplog.records] == ["train: 2 pairs have a blank side, kept"]


def test_rules_leave_out_what_they_name_and_count_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    sources, targets = ["a b", "", "c " * 50, "d", "e", "surplus"], ["x", "y", "z", " ", "w " * 9]
    given = {
        "input": files(tmp_path, sources, targets),
        "test_input": files(tmp_path, ["q " * 60, ""], ["r", "s"], "test"),
    }
    rules = {"drop_pairs": ("empty", "surplus"), "max_source_tokens": 20, "max_target_tokens": 8}
    result = prepare(config(tmp_path, **given, **rules, tokenizer="char"))
    # A score counts every pair of its split, so only training leaves out what is long.
    assert result["records"] == {"train": 1, "test": 1}
    assert result["empty"] == {"train": 2, "test": 1} and result["over_long"] == {"train": 2, "test": 1}
    dropped = {"train": {"empty": 2, "surplus": 1, "over_long": 2}, "test": {"empty": 1, "surplus": 0, "over_long": 0}}
    assert result["dropped"] == dropped
    facts = PairFacts.of(datasets.read(str(tmp_path / "out")))
    assert facts is not None and {split: counts.dropped for split, counts in facts.splits.items()} == dropped
    assert (facts.splits["train"].source_tokens, facts.splits["train"].target_tokens) == (3, 1)
    told = "\n".join(record.message for record in caplog.records)
    assert "train: 1 lines have no partner, left out" in told
    assert "test: 1 pairs are over --max_source_tokens or --max_target_tokens, kept" in told


def test_rules_that_leave_nothing(tmp_path: Path) -> None:
    given = files(tmp_path, ["aaaa", ""], ["b", "c"])
    with pytest.raises(DataError, match="every training pair is over --max_source_tokens"):
        prepare(config(tmp_path, input=given, drop_pairs=("empty",), max_source_tokens=3))
    with pytest.raises(DataError, match="every pair of the train split has a blank side"):
        prepare(config(tmp_path, input=files(tmp_path, ["", " "], ["b", "c"]), drop_pairs=("empty",)))
    assert not (tmp_path / "out").exists()


def test_vocabularies_know_training_text_only(tmp_path: Path) -> None:
    given = {
        "input": files(tmp_path, ["ab"] * 9 + ["aq"], ["xy"] * 10),
        "validation_input": files(tmp_path, ["az"], ["a"], "val"),
    }
    for joint, sizes in ((False, {"source": 4 + 3, "target": 4 + 2}), (True, {"source": 4 + 5, "target": 4 + 5})):
        result = prepare(config(tmp_path, **given, output_dir=str(tmp_path / f"{joint}"), joint_vocabulary=joint))
        assert result["vocabulary_size"] == sizes
        assert result["unknown_rate"]["validation"] == {"source": 0.5, "target": 0.0 if joint else 1.0}
    assert sorted(path.name for path in (tmp_path / "True").glob("*vocab*")) == ["vocabulary.txt"]
    assert sorted(path.name for path in (tmp_path / "False").glob("*vocab*")) == [
        "source_vocabulary.txt",
        "target_vocabulary.txt",
    ]


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_sentencepiece(tmp_path: Path, kind: str) -> None:
    given = files(
        tmp_path,
        [f"the cat number {number}" for number in range(300)],
        [f"die Katze Nummer {number}" for number in range(300)],
    )
    options = {"tokenizer": "sentencepiece", "sentencepiece_type": kind, "vocab_size": 48}
    result = prepare(config(tmp_path, input=given, **options))
    assert result["vocabulary_size"] == {"source": 48, "target": 48} and result["unknown_rate"]["train"] == {
        "source": 0,
        "target": 0,
    }
    source, target = (
        tokenizers.load("sentencepiece", tmp_path / "out", file=f"{side}_vocabulary.model")
        for side in ("source", "target")
    )
    for tokenizer, text in ((source, "the cat number 7"), (target, "die Katze Nummer 7")):
        assert tokenizer.decode(tokenizer.encode(text)) == text and len(tokenizer.encode(text)) < len(text)


def test_exit_codes_and_one_line_each(tmp_path: Path) -> None:
    source, target = files(tmp_path, ["a", "b", "c"], ["x", "y"])
    for arguments, code, told in (
        ((f"--input={source},{target}",), 65, "train.source has 3 lines and"),
        ((f"--input={source}",), 65, "train.source line 1: has 0 tabs"),
        ((f"--input={source},{source}x",), 65, "names no file"),
        ((f"--input={tmp_path}/*", f"--test_input={source},{target}"), 64, "is named twice or in two splits"),
        ((f"--input={source},{target},{target}",), 64, "names more than two files"),
    ):
        done = run("--source=pairs", f"--output_dir={tmp_path}/out", *arguments)
        assert (done.returncode, done.stdout) == (code, ""), done.stderr
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert told in line and "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_flags_that_do_not_fit() -> None:
    pairs = ("--task=seq2seq", "--source=pairs")
    assert set(problems(*pairs)) == {"input"}
    assert set(problems("--task=seq2seq", "--source=text", "--input=a")) == {"source"}
    assert set(problems("--task=forecast", "--source=pairs", "--input=a")) == {"source"}
    own = ("--joint_vocabulary", "--drop_pairs=empty,surplus", "--max_source_tokens=3", "--max_target_tokens=3")
    for task in ("forecast", "language_model"):
        found = problems(f"--task={task}", "--source=sample", *own)
        assert set(found) == {"joint_vocabulary", "drop_pairs", "max_source_tokens", "max_target_tokens"}
        assert f"--drop_pairs=empty,surplus has no effect with --task={task}; leave it out" in found.values()
    assert set(problems(*pairs, "--input=a,b", "--documents=lines", "--date_column=x", "--max_source_tokens=0")) == {
        "documents",
        "date_column",
        "max_source_tokens",
    }
    assert (
        "has the unknown rule 'long'; use empty, surplus or both"
        in problems(*pairs, "--input=a,b", "--drop_pairs=long")["drop_pairs"]
    )
    assert set(problems("--task=seq2seq", "--source=sample", "--drop_pairs=empty")) == {"drop_pairs"}
    assert set(problems("--task=seq2seq", "--source=sample", "--input=a")) == {"source"}
