"""Runs whose output nobody reads, whose terminal closes, or whose directory goes: nothing is lost, or it is told."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import ROOT, call
from runs import losses, start_and_stop
from series_runs import train_config

from trainer.cli import flags
from trainer.errors import EXIT_CONFIG, EXIT_DIVERGED, EXIT_DONE, EXIT_INTERRUPTED, EXIT_RESTART

OPTIONS = ["--train_steps=60", "--save_every_steps=20", "--evaluate_every_steps=10"]


def command(config) -> list[str]:
    return [sys.executable, "-m", "trainer.train", *flags.to_arguments(config)]


def check_finished(model_dir: Path) -> None:
    assert list(losses(model_dir)) == list(range(1, 61))
    assert (model_dir / "checkpoints" / "ckpt-60.index").is_file()


def test_the_reader_of_the_log_leaves(small_dataset, tmp_path):
    """As with `2>&1 >/dev/null | head -1`."""
    process = subprocess.Popen(
        command(train_config(small_dataset, tmp_path / "m", *OPTIONS)),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None and process.stdout is not None
    assert process.stderr.readline()
    process.stderr.close()
    with process:
        out = process.stdout.read()
    assert process.returncode == EXIT_DONE and json.loads(out.splitlines()[-1])["step"] == 60
    check_finished(tmp_path / "m")


@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-", "2>/dev/full"])
def test_streams_that_are_closed_or_full(small_dataset, tmp_path, closed):
    arguments = command(train_config(small_dataset, tmp_path / "m", *OPTIONS))
    done = subprocess.run(["sh", "-c", f'"$@" {closed}', "sh", *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert done.returncode == EXIT_DONE
    if ">&- 2" not in closed:
        assert json.loads(done.stdout.splitlines()[-1])["step"] == 60
    check_finished(tmp_path / "m")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGHUP, EXIT_RESTART), (signal.SIGINT, EXIT_INTERRUPTED)])
def test_a_closed_terminal_and_ctrl_c_save(small_dataset, tmp_path, number, code):
    config = train_config(
        small_dataset,
        tmp_path / "m",
        "--train_steps=1000000",
        "--save_every_steps=1000000",
        "--evaluate_every_steps=1000000",
    )
    assert start_and_stop(config, number, after_step=30) == code
    [index] = (tmp_path / "m" / "checkpoints").glob("ckpt-*.index")
    assert int(index.stem.removeprefix("ckpt-")) == max(losses(tmp_path / "m")) >= 30


def test_a_run_that_ignores_a_closed_terminal_goes_on(small_dataset, tmp_path):
    """As under `nohup`."""
    process = subprocess.Popen(
        command(train_config(small_dataset, tmp_path / "m", *OPTIONS)),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "m" / "config.json").exists() and time.monotonic() < deadline:
        process.send_signal(signal.SIGHUP)
        time.sleep(0.2)
    process.communicate(timeout=120)
    assert process.returncode == EXIT_DONE
    check_finished(tmp_path / "m")


def test_a_directory_that_is_removed_is_told(small_dataset, tmp_path):
    config = train_config(small_dataset, tmp_path / "m", "--train_steps=1000000", "--save_every_steps=200")
    process = subprocess.Popen(command(config), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "m").glob("checkpoints/ckpt-*.index")) and time.monotonic() < deadline:
        time.sleep(0.1)
    shutil.rmtree(tmp_path / "m")
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1 and "was removed or emptied while the run went on" in errors, errors
    assert "Traceback" not in errors


def test_the_last_words_of_an_abort_in_the_import_are_told():
    code = (
        "import os, sys\nfrom trainer.cli.quiet import banner_hidden\n"
        "with banner_hidden():\n    os.write(2, b'This CPU lacks AVX\\n'); os.abort()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == -signal.SIGABRT and "This CPU lacks AVX" in done.stderr


def test_a_second_run_on_the_directory_ends_and_the_first_goes_on(small_dataset, tmp_path):
    config = train_config(small_dataset, tmp_path / "m", "--train_steps=1500", "--save_every_steps=100")
    first = subprocess.Popen(command(config), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "m" / "config.json").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    second = subprocess.run(command(config), cwd=ROOT, capture_output=True, text=True)
    last = second.stderr.splitlines()[-1]
    assert second.returncode == EXIT_CONFIG, second.stderr
    assert last.startswith(f"error: --model_dir={tmp_path}/m is written by another run (process {first.pid} on "), last
    _, errors = first.communicate(timeout=120)
    assert first.returncode == EXIT_DONE, errors
    assert list(losses(tmp_path / "m")) == list(range(1, 1501))
    assert not list((tmp_path / "m").glob(".*"))


def test_a_run_that_diverged_goes_on_with_another_rate(small_dataset, tmp_path):
    """Its advice can be followed: optimizer flags may change on resume, what the optimizer keeps may not."""
    options = ["--optimizer=sgd", "--clip_norm=0", "--save_every_steps=10", "--train_steps=40", "--schedule=constant"]
    sound = train_config(small_dataset, tmp_path / "m", *options, "--train_steps=20", "--learning_rate=0.01")
    assert call("trainer.train", *flags.to_arguments(sound)).returncode == EXIT_DONE
    wild = train_config(small_dataset, tmp_path / "m", *options, "--learning_rate=1e30")
    done = call("trainer.train", *flags.to_arguments(wild))
    assert done.returncode == EXIT_DIVERGED, done.stderr
    last = done.stderr.splitlines()[-1]
    assert "the loss of step 2" in last and "lower --learning_rate, set --clip_norm" in last, last
    assert "--learning_rate=1e+30 from here on, instead of 0.01" in done.stderr
    tamed = train_config(small_dataset, tmp_path / "m", *options, "--learning_rate=0.001", "--clip_norm=1")
    done = call("trainer.train", *flags.to_arguments(tamed))
    assert done.returncode == EXIT_DONE, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["resumed_from"] == 20
    other = train_config(small_dataset, tmp_path / "m", *options, "--momentum=0.9")
    done = call("trainer.train", *flags.to_arguments(other))
    assert done.returncode == EXIT_CONFIG and "--momentum=0.9 differs from the run" in done.stderr
