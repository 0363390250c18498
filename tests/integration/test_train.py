"""The train command as a user meets it: results, dry run, diverging runs, bad data."""

import json
import re
import shutil
import subprocess

import pytest
from commands import call
from series_runs import prepare_csv, train_config, write_series_csv

from trainer.cli import flags
from trainer.errors import EXIT_CONFIG, EXIT_DATA, EXIT_DEFECT, EXIT_DIVERGED, EXIT_DONE


def run(config, *more: str) -> subprocess.CompletedProcess:
    return call("trainer.train", *flags.to_arguments(config), *more)


def errors(done) -> list[str]:
    assert "Traceback" not in done.stderr, done.stderr
    return [line for line in done.stderr.splitlines() if line.startswith("error:")]


def test_results_and_files(small_dataset, tmp_path):
    done = run(train_config(small_dataset, tmp_path / "m", "--epochs=1"))
    assert done.returncode == EXIT_DONE, done.stderr
    assert len(done.stdout.splitlines()) == 1, "stdout carries results only"
    result = json.loads(done.stdout)
    assert {"step", "loss", "train_seconds", "examples_per_second", "tokens_per_second", "resumed_from", "best"} <= set(
        result
    )
    assert result["step"] == -(-(400 - 30 + 1) * 2 // 16) and result["best"]["score"] > 0
    assert "it/s" not in done.stderr and "\r" not in done.stderr, "no progress bar without a terminal"
    files = {path.name.split(".")[0] for path in (tmp_path / "m").iterdir()}
    assert {"config", "flags", "metrics", "checkpoints", "events"} <= files


def test_dry_run_writes_nothing(small_dataset, tmp_path):
    done = run(train_config(small_dataset, tmp_path / "m", "--dry_run"))
    result = json.loads(done.stdout.splitlines()[-1])
    assert (
        result["parameters"] > 0
        and result["peak_memory_mb"]["host"] > 0
        and result["inputs"]["past"] == [[16, 24, 1], "float32"]
    )
    assert "lstm_0/recurrent_kernel" in done.stderr
    assert not (tmp_path / "m").exists()


def test_a_diverging_run_names_step_rate_and_remedy_and_keeps_what_was_saved(small_dataset, tmp_path):
    options = [
        "--optimizer=sgd",
        "--clip_norm=0",
        "--schedule=constant",
        "--save_every_steps=1",
        "--evaluate_every_steps=100",
    ]
    good = train_config(small_dataset, tmp_path / "m", *options, "--learning_rate=1e12", "--train_steps=60")
    done = run(good)
    assert done.returncode == EXIT_DIVERGED
    [error] = errors(done)
    assert "the loss of step" in error and "learning rate 1e+12" in error and "--check_numerics" in error
    lines = [json.loads(line) for line in (tmp_path / "m" / "metrics.jsonl").read_text().splitlines()]
    import tensorflow as tf

    newest = tf.train.latest_checkpoint(str(tmp_path / "m" / "checkpoints"))
    assert newest is not None and int(newest.rpartition("-")[2]) == lines[-1]["step"]


def test_check_numerics_names_the_op(small_dataset, tmp_path):
    options = ["--optimizer=sgd", "--clip_norm=0", "--schedule=constant", "--learning_rate=1e30", "--check_numerics"]
    done = run(train_config(small_dataset, tmp_path / "m", *options))
    assert done.returncode == EXIT_DIVERGED
    [error] = errors(done)
    assert re.search(
        r"--check_numerics: (Infinity|NaN).* of graph op \"\w+\" at \S+ \(trainer/\S+\.py:\d+ in \w+\)", error
    ), error


def test_profile(small_dataset, tmp_path):
    done = run(train_config(small_dataset, tmp_path / "m", "--profile_steps=3,5"))
    assert done.returncode == EXIT_DONE, done.stderr
    assert list((tmp_path / "m").glob("plugins/profile/*/*.xplane.pb"))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--batch_size=15"], "--batch_size=15 cannot be split over 2 replicas; use 14 or 16"),
        (
            ["--batch_size=18", "--accumulate_steps=2", "--ensemble_size=4"],
            "--batch_size=18 cannot be split over 16 parts (2 replicas with --accumulate_steps=2 and "
            "--ensemble_size=4); use 16 or 32",
        ),
    ],
)
def test_a_batch_that_not_all_can_share(small_dataset, tmp_path, options, told):
    done = run(train_config(small_dataset, tmp_path / "m", "--devices_per_worker=2", *options))
    assert done.returncode == EXIT_CONFIG
    assert errors(done) == [f"error: {told}"]


@pytest.mark.parametrize(
    "damage, said",
    [
        ("truncate", "were written: truncated or replaced"),
        ("flip", "record 0"),
        ("remove", "is missing"),
        ("version", "format version 99"),
        ("half", "has no dataset.json"),
        ("nonsense", "is damaged"),
    ],
)
def test_damaged_datasets(small_dataset, tmp_path, damage, said):
    data = tmp_path / "data"
    shutil.copytree(small_dataset, data)
    shard, manifest = sorted(data.glob("*train*"))[1], data / "dataset.json"
    if damage == "truncate":
        shard.write_bytes(shard.read_bytes()[:-7])
    elif damage == "flip":
        content = bytearray(shard.read_bytes())
        content[len(content) // 2] ^= 4
        shard.write_bytes(content)
    elif damage == "remove":
        shard.unlink()
    elif damage == "version":
        manifest.write_text(manifest.read_text().replace('"format_version": 4', '"format_version": 99'))
    elif damage == "half":
        manifest.unlink()
    else:
        manifest.write_text(manifest.read_text()[:-40])
    done = run(train_config(data, tmp_path / "m"))
    assert done.returncode == EXIT_DATA, done.stderr
    [error] = errors(done)
    assert said in error and str(data) in error
    if damage in ("truncate", "flip", "remove"):
        assert shard.name in error


def test_series_too_short_for_the_window(tmp_path):
    data = prepare_csv(write_series_csv(tmp_path / "short.csv", 40), tmp_path / "data", "--splits=28,6,6")
    done = run(train_config(data, tmp_path / "m"))
    assert done.returncode == EXIT_DATA
    [error] = errors(done)
    assert "--lookback=24 and --horizon=6 fits: the longest series of the split has 28 rows" in error


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of 400 kB."""
    place = tmp_path / "tiny"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small file system needs root")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=False)


def test_a_full_disk_is_one_line(small_dataset, tiny_disk):
    done = run(train_config(small_dataset, tiny_disk / "m", "--units=128", "--train_steps=40", "--save_every_steps=10"))
    assert done.returncode == EXIT_DEFECT, done.stderr
    [error] = errors(done)
    assert "No space left on device" in error and "free space and run the same command again" in error
