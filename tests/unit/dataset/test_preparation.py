"""One dataset, however many processes and tasks make it, in whatever order, and however often they are killed."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from configured import prepare_config
from preparations import files, settings_of
from preparations import inputs as inputs
from preparations import small_pieces as small_pieces

import trainer.prepare as prepare_command
from trainer.dataset import handoff as parts
from trainer.dataset import preparation
from trainer.dataset.handoff import PreparationTask, difference
from trainer.errors import ConfigError, DataError, LocationError
from trainer.prepare import prepare, task_of
from trainer.tasks import datasets
from trainer.tasks.configurations import PrepareConfig
from trainer.tasks.language_model import token_records
from trainer.text import text_pieces

KINDS = [
    f"{source}-{kind}" for source in ("stream", "lines", "pairs") for kind in ("char", "byte", "word", "sentencepiece")
] + ["csv"]


@pytest.mark.parametrize("kind", KINDS)
def test_four_tasks_make_what_one_makes(inputs: Path, tmp_path: Path, kind: str) -> None:
    settings = settings_of(inputs, kind)
    alone = prepare(prepare_config(**settings, output_dir=str(tmp_path / "one" / "d"), num_shards=5))
    expected = files(tmp_path / "one" / "d")
    tasks = prepare_config(**settings, output_dir=str(tmp_path / "four" / "d"), num_shards=5, num_tasks=4)
    results = [prepare(dataclasses.replace(tasks, task_index=index)) for index in (2, 0, 3, 1)]
    assert [result["complete"] for result in results] == [False, False, False, True]
    assert files(tmp_path / "four" / "d") == expected
    told = {name: value for name, value in results[-1].items() if name not in ("seconds", "output_dir")}
    assert told == {name: value for name, value in alone.items() if name not in ("seconds", "output_dir")}
    assert sum(sum(result["records"].values()) for result in results[:3]) < sum(alone["records"].values())
    again = prepare(dataclasses.replace(tasks, task_index=3))  # a pod that comes back after all is done
    assert (
        again["complete"]
        and again["fingerprint"] == alone["fingerprint"]
        and files(tmp_path / "four" / "d") == expected
    )


@pytest.mark.parametrize("kind", ["stream-word", "pairs-char", "csv"])
def test_two_processes_make_what_one_makes(
    inputs: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare_command, "POOL_BYTES", 0)
    for processes in (1, 2):
        prepare(
            prepare_config(
                **settings_of(inputs, kind), output_dir=str(tmp_path / f"{processes}" / "d"), num_processes=processes
            )
        )
    assert files(tmp_path / "2" / "d") == files(tmp_path / "1" / "d")


def test_the_finishing_step_names_what_is_missing_or_differs(inputs: Path, tmp_path: Path) -> None:
    settings = {
        **settings_of(inputs, "stream-char"),
        "output_dir": str(tmp_path / "d"),
        "num_tasks": 3,
        "num_shards": 6,
    }
    with pytest.raises(
        DataError, match=r"lacks count-000000\.json, which every task makes; run the tasks of --num_tasks=3 first"
    ):
        prepare(prepare_config(**settings, finish=True))
    assert not (tmp_path / "d").exists()
    for index in (0, 1):
        prepare(prepare_config(**settings, task_index=index))
    with pytest.raises(DataError) as caught:
        prepare(prepare_config(**settings, finish=True))
    assert "task 2 of 3 has not written it; run it with --num_tasks=3 --task_index=2" in str(caught.value)
    assert str(caught.value).count("\n") == 0 and "d-train.tfrecord-00002-of-00006 is missing" in str(caught.value)
    # A task of other flags overwrites no part of the others in silence.
    prepare(prepare_config(**{**settings, "splits": ("0.5", "0.5")}, task_index=1))
    assert not prepare(prepare_config(**settings, task_index=2))["complete"]
    with pytest.raises(DataError, match=r"task 1 of 3 was run with --splits=0.5,0.5 instead of 0.7,0.1,0.2"):
        prepare(prepare_config(**settings, finish=True))
    assert not (tmp_path / "d" / "dataset.json").exists()
    prepare(prepare_config(**{**settings, "name": "e"}, task_index=1))
    assert (tmp_path / "d" / "e-train.tfrecord-00001-of-00006").exists()
    with pytest.raises(
        DataError, match=r"task 1 of 3 was run with --(name=e instead of d|splits=0.5,0.5 instead of 0.7,0.1,0.2)"
    ):
        prepare(prepare_config(**settings, finish=True))
    prepare(prepare_config(**settings, task_index=1))
    assert prepare(prepare_config(**settings, finish=True))["complete"]  # without what is left of others
    prepare(prepare_config(**{**settings, "num_tasks": 1, "output_dir": str(tmp_path / "one" / "d")}))
    assert files(tmp_path / "d") == files(tmp_path / "one" / "d")
    with pytest.raises(LocationError, match="holds a dataset of other flags or inputs"):
        prepare(prepare_config(**{**settings, "tokenizer": "byte"}, task_index=1))


def test_a_part_that_was_lost_or_cut_is_named_and_made_again(inputs: Path, tmp_path: Path) -> None:
    settings = {**settings_of(inputs, "lines-byte"), "output_dir": str(tmp_path / "d"), "num_tasks": 2}
    prepare(prepare_config(**settings, task_index=0))
    shard = tmp_path / "d" / "d-train.tfrecord-00002-of-00008"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-9])
    with pytest.raises(
        DataError, match=f"00002-of-00008 has {len(whole) - 9} bytes, {len(whole)} were written; run the tasks again"
    ):
        prepare(prepare_config(**settings, task_index=1))
    assert not prepare(prepare_config(**settings, task_index=1)).get("complete")
    assert prepare(prepare_config(**settings, task_index=0))["complete"] and shard.read_bytes() == whole


def test_a_task_that_is_killed_at_any_shard_goes_on(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {**settings_of(inputs, "stream-byte"), "output_dir": str(tmp_path / "d"), "num_tasks": 2}
    write = preparation.write_shard
    written: list[str | None] = []  # names, and None for a kill

    def dies(job: Any) -> Any:
        (job.path.parent / f".{job.path.name}.dead").write_bytes(b"half")  # what a kill leaves
        if len(written) % 3 == 2:
            written.append(None)
            raise KeyboardInterrupt
        written.append(job.path.name)
        return write(job)

    monkeypatch.setattr(preparation, "write_shard", dies)
    outcomes = []
    for attempt in range(30):
        try:
            outcomes.append(prepare(prepare_config(**settings, task_index=attempt % 2))["complete"])
        except KeyboardInterrupt:
            assert not (tmp_path / "d" / "dataset.json").exists()
        if outcomes and outcomes[-1]:
            break
    names = [name for name in written if name]
    assert outcomes[-1] and len(names) == len(set(names)) == 24  # none is made twice
    monkeypatch.undo()
    small = {"PIECE_BYTES": (text_pieces, 2000), "RECORD_CHARACTERS": (token_records, 700)}
    for name, (module, value) in small.items():
        monkeypatch.setattr(module, name, value)
    prepare(prepare_config(**{**settings, "num_tasks": 1, "output_dir": str(tmp_path / "one" / "d")}))
    assert files(tmp_path / "d") == files(tmp_path / "one" / "d")


def test_inputs_that_differ_between_tasks(inputs: Path, tmp_path: Path) -> None:
    shutil.copytree(inputs, tmp_path / "in")
    settings = {**settings_of(tmp_path / "in", "stream-char"), "output_dir": str(tmp_path / "d"), "num_tasks": 2}
    prepare(prepare_config(**settings, task_index=0))
    before = (tmp_path / "in" / "a.txt").read_bytes()
    content = bytearray(before)
    content[::500] = b"~" * len(content[::500])  # of the same size
    (tmp_path / "in" / "a.txt").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.txt changed while it was read"):
        prepare(prepare_config(**settings, task_index=1))
    (tmp_path / "in" / "a.txt").write_bytes(before + b"more\n")
    prepare(prepare_config(**settings, task_index=1))
    with pytest.raises(
        DataError, match=rf"task 0 of 2 was run with a\.txt .*of {len(content)} bytes instead of {len(content) + 5}"
    ):
        prepare(prepare_config(**settings, finish=True))


def test_a_task_whose_parts_another_has_removed_is_done(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {**settings_of(inputs, "stream-word"), "output_dir": str(tmp_path / "d"), "num_tasks": 2}
    prepare(prepare_config(**settings, task_index=0))
    read, expected = parts.Handover.read, []

    def late(self: parts.Handover, names: list[str]) -> Any:
        monkeypatch.setattr(parts.Handover, "read", read)  # the same task, elsewhere, does it all meanwhile
        expected.append(prepare(prepare_config(**settings, task_index=1)))
        return read(self, names)

    monkeypatch.setattr(parts.Handover, "read", late)
    result = prepare(prepare_config(**settings, task_index=1))
    assert result["complete"] and result["fingerprint"] == expected[0]["fingerprint"]


def test_which_task_this_is() -> None:
    def config(**settings: Any) -> PrepareConfig:
        return prepare_config(task="forecast", source="sample", output_dir="o", **settings)

    assert task_of(config(), {"JOB_COMPLETION_INDEX": "3"}) is None
    assert task_of(config(num_tasks=4), {"JOB_COMPLETION_INDEX": "3"}) == PreparationTask(3, 4)
    assert task_of(config(num_tasks=4, task_index=1), {"JOB_COMPLETION_INDEX": "3"}) == PreparationTask(1, 4)
    assert task_of(config(num_tasks=4, finish=True), {}) == PreparationTask(None, 4)
    for environ, told in (
        ({}, "--task_index is missing"),
        ({"JOB_COMPLETION_INDEX": "4"}, "is not a task of --num_tasks=4; use 0 to 3"),
    ):
        with pytest.raises(ConfigError, match=told):
            task_of(config(num_tasks=4), environ)


def test_flags_of_tasks() -> None:
    def problems(**settings: Any) -> dict[str, str]:
        config = prepare_config(**{"task": "forecast", "source": "sample", "output_dir": "o", **settings})
        return {problem.flag: str(problem) for problem in config.problems()}

    assert problems(num_tasks=4, task_index=3) == problems(num_tasks=8, finish=True) == {}
    assert "has no effect with --num_tasks=1" in problems(task_index=0)["task_index"]
    assert "has no effect with --num_tasks=1" in problems(finish=True)["finish"]
    assert "has no effect with --finish" in problems(num_tasks=2, finish=True, task_index=0)["task_index"]
    assert "is none of --num_tasks=2; use 0 to 1" in problems(num_tasks=2, task_index=2)["task_index"]
    assert "is more than --num_shards=8" in problems(num_tasks=9)["num_tasks"]
    assert set(problems(num_tasks=0)) == {"num_tasks"}
    assert problems(num_tasks=2, task_index=0, output_dir="gs://b/d") == {}


def test_differences_are_told_by_flag_or_input() -> None:
    ours = {"--tokenizer": "char", "--splits": ["0.9", "0.1"], "a.txt": 7}
    assert difference({**ours, "--splits": ["1"]}, ours) == "--splits=1 instead of 0.9,0.1"
    assert difference({**ours, "a.txt": 8}, ours) == "a.txt of 8 bytes instead of 7"
    assert difference({**ours, "b.txt": 8}, ours) == "other inputs (b.txt)"


def test_the_manifest_tells_its_request_whatever_the_number_of_tasks(inputs: Path, tmp_path: Path) -> None:
    prepare(prepare_config(**settings_of(inputs, "csv"), output_dir=str(tmp_path / "d")))
    values = json.loads((tmp_path / "d" / "dataset.json").read_text())
    assert (
        len(values["prepared_from"]) == 16
        and datasets.read(str(tmp_path / "d")).prepared_from == values["prepared_from"]
    )
    del values["prepared_from"]
    assert datasets.decode(values).prepared_from == ""  # written before there were tasks
