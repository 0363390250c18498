"""No command writes what it reads: the same file by any path or link, what lies above it, or another output."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from trainer.cli import flags
from trainer.config.inspect import InspectConfig
from trainer.config.places import Places, problems
from trainer.errors import EXIT_CONFIG, ConfigError
from trainer.tasks import datasets
from trainer.tasks.configurations import EvaluateConfig, ExportConfig, PredictConfig, PrepareConfig, TrainConfig

ROOT = Path(__file__).parents[3]
CONFIGS = (PrepareConfig, InspectConfig, TrainConfig, EvaluateConfig, ExportConfig, PredictConfig)
CONTENT = "date,load\n2021-01-01,1\n"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: `in/load.csv` with links to it, to its directory and to the one above."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    load = tmp_path / "in" / "load.csv"
    load.write_text(CONTENT)
    (tmp_path / "link.csv").symlink_to("in/load.csv")
    os.link(load, tmp_path / "hard.csv")
    (tmp_path / "linked").symlink_to(tmp_path / "in")
    (tmp_path / "here").symlink_to(".")
    return tmp_path


def file_reasons(read: str, written: str) -> list[str]:
    return [
        str(problem) for problem in problems(Places(read_files={"input": [read]}, written_files={"output": written}))
    ]


def directory_reasons(read: str, written: str, **more: str) -> list[str]:
    places = Places(read_files={"input": [read]}, read_directories=more, written_directories={"output_dir": written})
    return [str(problem) for problem in problems(places)]


NAMES = (
    "in/load.csv",
    "./in/../in/load.csv",
    "link.csv",
    "hard.csv",
    "linked/load.csv",
    "here/linked/../link.csv",
    "{}/in/load.csv",
)


@pytest.mark.parametrize("written", NAMES)
@pytest.mark.parametrize("read", NAMES)
def test_one_file_by_any_two_names(place: Path, read: str, written: str) -> None:
    read, written = read.format(place), written.format(place)
    assert file_reasons(read, written) == [f"--output={written} is what --input={read} reads; write to another file"]


def test_files_beside_and_below_are_others(place: Path) -> None:
    for written in ("in/forecast.csv", "load.csv", "new/load.csv", "linked/forecast.csv", "in/load.csv.png"):
        assert file_reasons("in/load.csv", written) == []
    (place / "same.csv").write_text(CONTENT)
    assert file_reasons("in/load.csv", "same.csv") == []


def test_patterns(place: Path) -> None:
    for pattern in ("in/*.csv", "**/*.csv", "linked/lo[a-z]d.csv", f"{place}/*/load.csv"):
        assert file_reasons(pattern, "link.csv") == [
            f"--output=link.csv is what --input={pattern} reads; write to another file"
        ]
        assert file_reasons(pattern, "in/load.png") == []
    # Not there yet: the same command would read it the next time.
    told = "--output=in/new.csv fits --input=here/in/*.csv, which would read it the next time; write to another file"
    assert file_reasons("here/in/*.csv", "in/new.csv") == [told]
    assert file_reasons("in/*.csv", "new.csv") == file_reasons("in/*.csv", "in/deep/new.csv") == []
    assert file_reasons("in/**/*.csv", "in/deep/new.csv") != []
    (place / "a[1].csv").write_text(CONTENT)  # a name, not a pattern
    assert file_reasons("a[1].csv", "a1.csv") == []
    assert file_reasons("a[1].csv", "a[1].csv") != []


@pytest.mark.parametrize("written", ["in", "linked", ".", "here", "in/", "..", "/", "{}", "in/load.csv"])
def test_a_directory_above_what_is_read(place: Path, written: str) -> None:
    written = written.format(place)
    for read in ("in/load.csv", "linked/load.csv", "in/*.csv"):
        (told,) = directory_reasons(read, written)
        relation = "is" if written == "in/load.csv" else "lies above"
        assert told == f"--output_dir={written} {relation} what --input={read} reads; write to another directory"


def test_the_directory_of_a_link_and_that_of_its_target(place: Path) -> None:
    (place / "links").mkdir()
    (place / "links" / "load.csv").symlink_to(place / "in" / "load.csv")
    assert directory_reasons("links/load.csv", "links") and directory_reasons("links/load.csv", "in")


def test_directories_beside_and_below_may_be_written(place: Path) -> None:
    for written in ("out", "in/out", "in2", "i"):
        assert directory_reasons("in/load.csv", written) == []
    assert directory_reasons("out/load.csv", "model/report", model_dir="model", data_dir="data") == []
    assert directory_reasons("x", "model", model_dir="model") == [
        "--output_dir=model is what --model_dir=model reads; write to another directory"
    ]
    assert directory_reasons("x", "runs", data_dir="runs/load/data") == [
        "--output_dir=runs lies above what --data_dir=runs/load/data reads; write to another directory"
    ]


def test_a_file_in_a_version_that_is_read(place: Path) -> None:
    def told(export_dir: str, output: str) -> list[str]:
        places = PredictConfig(export_dir=export_dir, input=("x",), output=output).places()
        return [str(problem) for problem in problems(places)]

    assert told("linked", "in/1/saved_model.pb") == [
        "--output=in/1/saved_model.pb lies in what --export_dir=linked reads; write to another file"
    ]
    assert (
        told("in/1", "in/1/f.csv")
        and told("gs://bucket/e/1", "gs://bucket/e/1/f.csv")
        and told("gs://bucket/e", "gs://bucket/e/1/f")
    )
    assert (
        told("in", "in/f.csv") == told("in/1", "in/f.csv") == told("gs://bucket/e", "gs://bucket/e/f.csv") == []
    )  # beside versions
    (place / "in" / "saved_model.pb").touch()
    assert told("linked", "in/f.csv")


def test_two_outputs(place: Path) -> None:
    places = Places(written_files={"output": "new.csv", "plot": "here/new.csv"})
    assert [str(problem) for problem in problems(places)] == [
        "--plot=here/new.csv is what --output=new.csv writes; write to another file"
    ]


@pytest.mark.parametrize(
    ("read", "written", "told"),
    [
        ("gs://bucket/a/x.csv", "gs://bucket/a/x.csv", "is what"),
        ("gs://bucket/a/x.csv", "gs://bucket/a/", "lies above what"),
        ("gs://bucket/a/x.csv", "gs://bucket", "lies above what"),
        ("gs://bucket/a/*.csv", "gs://bucket/a", "lies above what"),
        ("gs://bucket/a/*.csv", "gs://bucket/a/y.csv", "fits"),
        ("gs://bucket/a/x.csv", "gs://bucket/a/x.csv2", None),
        ("gs://bucket/a/x.csv", "gs://bucket/a/x", None),
        ("gs://bucket/a/*.csv", "gs://bucket/b/y.csv", None),
        ("gs://bucket/a/x.csv", "gs://bucket2/a/x.csv", None),
        ("gs://bucket/a/x.csv", "bucket/a/x.csv", None),
        ("gs://bucket/a/x.csv", "gs://Bad Bucket/a", None),  # told by whoever opens it
    ],
)
def test_objects(read: str, written: str, told: str | None) -> None:
    found = file_reasons(read, written)
    assert (found == []) == (told is None)
    assert told is None or f"--output={written} {told}" in found[0]


def test_what_cannot_be_replaced(place: Path) -> None:
    os.mkfifo("pipe")
    for stream in ("/dev/null", "pipe"):
        assert file_reasons(stream, stream) == []


def test_flag_files_are_read_too(place: Path) -> None:
    (place / "p.flags").write_text("--input=in/load.csv\n")
    for given in (["--flagfile=p.flags"], ["--flagfile", "here/p.flags"]):
        with pytest.raises(
            ConfigError, match=r"^--output=p.flags is what --flagfile=(here/)?p.flags reads; write to another file$"
        ):
            flags.parse(PredictConfig, ["--export_dir=e", *given, "--output=p.flags"])
    (place / "t.flags").write_text("--epochs=1\n")  # as the flags.txt of a model directory, which repeats the run
    assert flags.parse(TrainConfig, ["--flagfile=t.flags", "--data_dir=../d", "--model_dir=."]).model_dir == "."


def test_every_flag_with_a_path_is_told() -> None:
    config: Any
    for config in CONFIGS:
        names = {spec.name for spec in flags.flag_specs(config)}
        paths = {
            name
            for name in names
            if name.endswith("_dir") or name in ("input", "validation_input", "test_input", "output", "plot")
        }
        if config is TrainConfig:
            paths -= {"output"}  # what is forecast
        settings = {name: ("a.csv",) if name.endswith("input") else name for name in paths}
        required = {"task": "forecast", "source": "csv"} if config is PrepareConfig else {}
        given = {spec.name: spec.default for spec in flags.flag_specs(config)}
        places = flags.build(config, given | settings | required).places()
        assert {flag for flag, _ in (*places.read, *places.written)} == paths, config


def test_splits_of_tfds_are_no_paths(place: Path) -> None:
    given = ["--task=language_model", "--source=tfds", "--tfds_name=x", "--input=in", "--output_dir=in"]
    assert flags.parse(PrepareConfig, given).output_dir == "in"
    with pytest.raises(ConfigError, match="--output_dir=tfds lies above what --tfds_dir=tfds/mine reads"):
        flags.parse(PrepareConfig, [*given[:3], "--tfds_dir=tfds/mine", "--output_dir=tfds"])


def run(place: Path, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False, **options)


COMMANDS = {
    "trainer.prepare --task=forecast --source=csv --input=in/load.csv --output_dir=in": "--output_dir=in lies above "
    "what --input",
    "trainer.train --data_dir=in --model_dir=linked --epochs=1": "--model_dir=linked is what --data_dir=in",
    "trainer.evaluate --model_dir=m --data_dir=in/d --report_dir=in": "--report_dir=in lies above what --data_dir=in/d",
    "trainer.export --model_dir=in/m --export_dir=linked/m": "--export_dir=linked/m is what --model_dir=in/m",
    "trainer.predict --export_dir=e --input=in/load.csv --output=in/load.csv": "--output=in/load.csv is what "
    "--input=in/load.csv",
    "trainer.predict --export_dir=e --input=hard.csv --output=o --plot=link.csv": "--plot=link.csv is what "
    "--input=hard.csv",
    "launch.local --workers=2 -- --data_dir=in/d --model_dir=in --epochs=1": "--model_dir=in lies above what "
    "--data_dir=in/d",
    "launch.kubernetes render --name=n --image=i -- --data_dir=/data/d --model_dir=/data "
    "--epochs=1": "--model_dir=/data lies above what",
}


@pytest.mark.parametrize(("command", "told"), COMMANDS.items(), ids=lambda text: text.split(" ")[0])
def test_every_command_refuses_before_it_reads(place: Path, command: str, told: str) -> None:
    """The models and datasets that are named are not there, which nobody gets to see."""
    before = sorted(place.rglob("*"))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", *command.split(" ")],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (EXIT_CONFIG, ""), done.stderr
    assert done.stderr.startswith(f"error: {told}") and len(done.stderr.splitlines()) == 1
    assert sorted(place.rglob("*")) == before and (place / "in" / "load.csv").read_text() == CONTENT


def test_what_the_shell_puts_on_stdin(place: Path) -> None:
    with (place / "hard.csv").open() as stdin:
        done = run(place, "trainer.predict", "--export_dir=e", "--input=-", "--output=link.csv", stdin=stdin)
    assert done.returncode == EXIT_CONFIG and "--output=link.csv is what --input=- reads" in done.stderr
    assert flags.parse(
        PredictConfig, ["--export_dir=e", "--input=-", "--output=link.csv"]
    ).output  # a terminal, or pytest's stdin


def test_an_export_looks_at_the_dataset_of_the_run_too(small_dataset: Path, tmp_path: Path) -> None:
    from series_runs import train_config

    from trainer import export
    from trainer.training import run_files

    config = train_config(small_dataset, tmp_path / "model", "--output=quantiles")
    run_files.write(config, datasets.read(str(small_dataset)))
    with pytest.raises(
        ConfigError, match=r"^--export_dir=\S+ is what --data_dir=\S+ reads; write to another directory$"
    ):
        export.main(flags.parse(ExportConfig, [f"--model_dir={tmp_path}/model", f"--export_dir={small_dataset}"]))
