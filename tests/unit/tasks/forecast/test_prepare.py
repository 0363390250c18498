"""`python -m trainer.prepare` as its users run it."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from configured import prepare_config

import trainer.prepare as prepare_command
from trainer import inspect
from trainer.config.inspect import InspectConfig
from trainer.dataset import tfrecord
from trainer.errors import LocationError
from trainer.prepare import prepare
from trainer.tasks import datasets
from trainer.tasks.configurations import PrepareConfig
from trainer.tasks.forecast.facts import SeriesFacts

ROOT = Path(__file__).parents[4]
ETTH1 = ROOT.parent / "shared" / "data" / "ETTh1.csv"


def run(*arguments: str, **settings: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "trainer.prepare", "--task=forecast", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, **settings)


def write_csv(path: Path, rows: int = 100, columns: int = 2, offset: float = 0.0) -> str:
    times = np.datetime64("2020-01-01T00:00:00") + np.arange(rows) * np.timedelta64(3600, "s")
    lines = [
        ",".join([str(time), *(str(row * 10 + column + offset) for column in range(columns))])
        for row, time in enumerate(times)
    ]
    path.write_text("\n".join(["date," + ",".join("abcdef"[:columns]), *lines]) + "\n")
    return str(path)


def config(tmp_path: Path, **settings: Any) -> PrepareConfig:
    return prepare_config(**{"task": "forecast", "source": "csv", "output_dir": str(tmp_path / "out"), **settings})


def test_the_sample_end_to_end(tmp_path: Path) -> None:
    done = run("--source=sample", f"--output_dir={tmp_path}/d", "--num_shards=2")
    assert done.returncode == 0
    result = json.loads(done.stdout)
    assert {"records", "shards", "bytes", "seconds"} <= set(result)
    assert result["rows"] == {"train": 18396, "validation": 2628, "test": 5256}
    assert result["shards"] == len(list((tmp_path / "d").glob("*.tfrecord-*"))) == 6
    assert result["bytes"] == sum(path.stat().st_size for path in (tmp_path / "d").glob("*.tfrecord-*"))
    assert result["records"] == {"train": 6, "validation": 2, "test": 2}
    assert "records" not in done.stderr  # no progress bar where stderr is not a terminal


@pytest.mark.skipif(not ETTH1.exists(), reason=f"{ETTH1} is absent")
def test_etth1_has_the_published_statistics(tmp_path: Path) -> None:
    prepare(config(tmp_path, input=(str(ETTH1),), splits=("8640", "2880", "2880")))
    facts = SeriesFacts.of(datasets.read(str(tmp_path / "out")))
    (group,) = facts.groups
    raw = np.loadtxt(ETTH1, delimiter=",", skiprows=1, usecols=range(1, 8))[:8640]
    np.testing.assert_allclose(group.mean, raw.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(group.std, raw.std(axis=0), rtol=1e-6)
    assert group.splits == {"train": (0, 8640), "validation": (8640, 11520), "test": (11520, 14400)}


def test_files_of_their_own_for_validation_and_test(tmp_path: Path) -> None:
    train = write_csv(tmp_path / "t.csv")
    other = write_csv(tmp_path / "v.csv", 30, offset=1e6)
    last = write_csv(tmp_path / "w.csv", 20, offset=1e6)
    result = prepare(config(tmp_path, input=(train,), validation_input=(other,), test_input=(last,)))
    assert result["rows"] == {"train": 100, "validation": 30, "test": 20}
    facts = SeriesFacts.of(datasets.read(str(tmp_path / "out")))
    assert [group.splits for group in facts.groups] == [{"train": (0, 100)}, {"validation": (0, 30)}, {"test": (0, 20)}]
    assert facts.groups[1].mean == facts.groups[0].mean == (495.0, 496.0)  # nothing of the other files leaks in


def test_several_files_read_by_processes_are_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("north", "south"):
        (tmp_path / name).mkdir()
        write_csv(tmp_path / name / "load.csv", offset=len(name))
    monkeypatch.setattr(prepare_command, "POOL_BYTES", 0)
    result = prepare(config(tmp_path, input=(f"{tmp_path}/*/load.csv",), num_processes=2))
    assert result["series"] == 4
    facts = SeriesFacts.of(datasets.read(str(tmp_path / "out")))
    assert [group.name for group in facts.groups] == [f"{tmp_path}/north/load.csv", f"{tmp_path}/south/load.csv"]


def test_a_file_in_two_splits_is_refused(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv")
    with pytest.raises(LocationError, match="is named twice or in two splits"):
        prepare(config(tmp_path, input=(path,), test_input=(f"{tmp_path}/../{tmp_path.name}/a.csv",)))


def test_gaps_and_constant_columns_survive(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    rows = [f"2020-01-{day:02d},{'' if day % 5 == 0 else day},0.1" for day in range(1, 31) if day != 7]
    path.write_text("date,a,b\n" + "\n".join(rows) + "\n")
    prepare(config(tmp_path, input=(str(path),), splits=("1.0",), num_shards=1))
    written = datasets.read(str(tmp_path / "out"))
    (record,) = tfrecord.scan(tmp_path / "out" / written.splits["train"].shards[0].file)
    observed = np.array([(day % 5 != 0 and day != 7, day != 7) for day in range(1, 31)], np.uint8)
    values = np.array([(day, 0.1) for day in range(1, 31)], np.float32) * observed
    assert observed.tobytes() in record
    assert values.astype("<f4").tobytes() in record
    assert SeriesFacts.of(written).groups[0].std[1] == 1.0


def test_exit_codes_and_one_line_each(tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("a,b\n1,2\n3,x\n")
    good = write_csv(tmp_path / "good.csv")
    full = tmp_path / "full"
    (full / "of").mkdir(parents=True)
    out = f"--output_dir={tmp_path}/out"
    for arguments, code, told in (
        ((f"--input={bad}", out), 65, "bad.csv line 3, column 'b': 'x' is not a finite number"),
        ((f"--input={tmp_path}/no*.csv", out), 65, "no*.csv names no file"),
        ((f"--input={good}", out, "--splits=90,20"), 65, "good.csv has 100 rows, --splits=90,20 needs 110"),
        ((f"--input={good}", f"--output_dir={full}"), 64, "is not an empty directory"),
        ((f"--input={good}", out, "--num_shard=2"), 64, "did you mean --num_shards?"),
    ):
        done = run("--source=csv", *arguments)
        assert (done.returncode, done.stdout) == (code, ""), done.stderr
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert told in line
        assert "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.csv", "full", "good.csv"]


def test_a_file_name_that_is_no_utf8(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in (b"caf\xe9.csv", b"caf\xe8.csv"):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_text("a\n1\n2\n")
    prepare(config(tmp_path, input=(f"{tmp_path}/*.csv",), splits=("1",)))
    inspect.main(InspectConfig(str(tmp_path / "out")))
    assert "/caf\ufffd.csv" in capsys.readouterr().out


def test_a_disk_that_refuses_leaves_nothing(tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))

    done = run("--source=sample", f"--output_dir={tmp_path}/d", preexec_fn=limit)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line == f"error: {tmp_path}/d cannot be written (File too large); free the space or choose another"
    assert list(tmp_path.iterdir()) == []


def test_nothing_imports_tensorflow() -> None:
    code = "import sys, trainer.prepare; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
