"""A task outside the trainer goes through all six commands, registered by nothing but its package's entry point."""

import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from commands import start_anew

PACKAGE = Path(__file__).parents[1] / "example_task"
BITS = 15


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    """The last line of each command."""
    place = tmp_path_factory.mktemp("majority")
    draw = random.Random(1)
    lines = ["".join(draw.choices("01", k=BITS)) for _ in range(2000)]
    (place / "lines.txt").write_text("\n".join(lines) + "\n")
    (place / "few.txt").write_text("1" * BITS + "\n" + "0" * BITS + "\n")
    commands = {
        "prepare": [
            "--task=majority",
            "--source=bits",
            f"--input={place}/lines.txt",
            f"--output_dir={place}/data",
            "--num_shards=2",
        ],
        "inspect": [f"--data_dir={place}/data", "--verify"],
        "train": [
            f"--data_dir={place}/data",
            f"--model_dir={place}/model",
            "--epochs=8",
            "--units=16",
            "--learning_rate=0.01",
        ],
        "evaluate": [f"--data_dir={place}/data", f"--model_dir={place}/model", f"--report_dir={place}/report"],
        "export": [f"--model_dir={place}/model", f"--export_dir={place}/export"],
        "predict": [f"--export_dir={place}/export", f"--input={place}/few.txt", f"--output={place}/out.csv"],
    }
    found = {}
    for name, arguments in commands.items():
        done = start_anew(f"trainer.{name}", *arguments, env={**os.environ, "PYTHONPATH": str(PACKAGE)})
        assert done.returncode == 0, done.stderr
        found[name] = json.loads(done.stdout.splitlines()[-1])
    found["files"] = {path.name: path.read_text() for path in (place / "out.csv", place / "report" / "report.html")}
    return found


def test_the_example_goes_through_all_commands(ran: dict[str, Any]) -> None:
    assert ran["prepare"]["records"] == {"train": 1400, "validation": 200, "test": 400}
    assert ran["inspect"]["verified_shards"] == 6
    assert ran["evaluate"]["count"] == 400
    assert (
        ran["evaluate"]["metrics"]["accuracy"] > 0.9 > 0.6 > ran["evaluate"]["baselines"]["most_frequent"]["accuracy"]
    )
    assert ran["export"]["signatures"] == ["serving_default"] and ran["export"]["max_difference"] < 1e-5
    (ones, p), (zeros, q) = (line.split(",") for line in ran["files"]["out.csv"].splitlines())
    assert (ones, zeros) == ("1" * BITS, "0" * BITS) and float(p) > 0.9 and float(q) < 0.1
    assert "400 lines of the test split" in ran["files"]["report.html"]


def test_flags_of_other_tasks_are_refused(tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("010\n" * 20)
    places = [f"--input={tmp_path}/lines.txt", f"--output_dir={tmp_path}/data"]
    environ = {**os.environ, "PYTHONPATH": str(PACKAGE)}
    done = start_anew("trainer.prepare", "--task=majority", "--source=bits", "--tokenizer=word", *places, env=environ)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        64,
        "error: --tokenizer=word has no effect with --task=majority; leave it out",
    )


def test_the_example_is_short() -> None:
    assert sum(len(path.read_text().splitlines()) for path in (PACKAGE / "majority").glob("*.py")) <= 150


def test_the_trainer_does_not_know_the_example() -> None:
    assert shutil.which("grep")
    root = Path(__file__).parents[2]
    assert not [path for path in root.glob("trainer/**/*.py") if "majority" in path.read_text()]
