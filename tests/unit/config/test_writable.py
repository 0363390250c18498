"""Outputs that cannot be written are refused before the work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from trainer.config.places import Places
from trainer.config.writable import problems

ROOT = Path(__file__).parents[3]


def reasons(**written: str) -> list[str]:
    files = {flag: path for flag, path in written.items() if flag in ("output", "plot")}
    rest = {flag: path for flag, path in written.items() if flag not in files}
    return [str(problem) for problem in problems(Places(written_files=files, written_directories=rest))]


def test_what_is_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert reasons(report_dir=f"{tmp_path}/file") == [
        f"--report_dir={tmp_path}/file cannot be written: {tmp_path}/file is a file; "
        "name a directory that can be written"
    ]
    assert reasons(model_dir=f"{tmp_path}/file/a/b") and reasons(model_dir=f"{tmp_path}/link/a")
    assert reasons(output=str(tmp_path)) == [f"--output={tmp_path} is a directory; name a file that can be written"]
    assert (
        reasons(output=f"{tmp_path}/file/a.csv")
        and len(reasons(output=f"{tmp_path}/file/a", model_dir="/dev/null")) == 2
    )


def test_what_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "old.csv").touch()
    (tmp_path / "link").symlink_to(tmp_path / "old.csv")
    for output in ("new.csv", "old.csv", "link", "deep/er/new.csv"):
        assert not reasons(output=f"{tmp_path}/{output}")
    assert not reasons(output="/dev/stdout") and not reasons(output="/dev/null") and not reasons(output="")
    assert not reasons(model_dir=f"{tmp_path}/a/b", report_dir=str(tmp_path), export_dir="gs://bucket/export")


def test_a_directory_without_permission_and_one_on_a_read_only_system(tmp_path: Path) -> None:
    """As another user, where this one is root: root may write everywhere but to what is mounted read-only."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    places = [str(closed / "a")] + ([] if os.access("/proc", os.W_OK) else ["/proc/a"])
    if os.access(closed, os.W_OK):
        places.remove(str(closed / "a"))
    for place in places:
        [reason] = reasons(export_dir=place)
        assert "this user may not write" in reason


@pytest.mark.parametrize("flag", ["model_dir", "data_dir"])
def test_commands_end_before_they_start(tmp_path: Path, flag: str) -> None:
    (tmp_path / "file").touch()
    command = [sys.executable, "-m", "trainer.train", "--data_dir=none", f"--model_dir={tmp_path}/m", "--train_steps=1"]
    done = subprocess.run([*command, f"--{flag}={tmp_path}/file/x"], cwd=ROOT, capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    if flag == "model_dir":
        assert done.returncode == 64
        assert done.stderr.startswith(
            f"error: --model_dir={tmp_path}/file/x cannot be written: {tmp_path}/file is a file"
        )
    else:
        assert done.returncode == 65  # an input, which is read
