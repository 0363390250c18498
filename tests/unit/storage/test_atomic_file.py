import os
import subprocess
import sys
from pathlib import Path

import pytest

from trainer.storage.atomic_file import atomic_file


def test_a_file_appears_when_it_is_whole(tmp_path):
    target = tmp_path / "new" / "a.txt"
    with atomic_file(target) as temporary:
        temporary.write_text("whole")
        assert not target.exists() and temporary.parent == target.parent
    assert target.read_text() == "whole" and list(target.parent.iterdir()) == [target]


def test_an_error_leaves_what_was_there_and_nothing_else(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("before")
    with pytest.raises(ValueError, match="half"), atomic_file(str(target)) as temporary:
        temporary.write_text("ha")
        raise ValueError("half")
    assert target.read_text() == "before" and list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("target", ["a.txt", "none.txt"])
def test_a_link_stays_and_leads_to_the_new_file(tmp_path, target):
    (tmp_path / "a.txt").write_text("before")
    (tmp_path / "link").symlink_to(target)
    with atomic_file(tmp_path / "link") as temporary:
        temporary.write_text("after")
        assert (tmp_path / "a.txt").read_text() == "before"
    assert (tmp_path / "link").readlink() == Path(target) and (tmp_path / target).read_text() == "after"


def test_whoever_reads_the_old_file_goes_on_with_it(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("before")
    with target.open() as reader:
        with atomic_file(target) as temporary:
            temporary.write_text("after")
        assert reader.read() == "before" and target.read_text() == "after"


def test_a_pipe_and_a_device_are_written_to_and_stay(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    controller, terminal = os.openpty()
    for stream, end in ((tmp_path / "pipe", reader), (Path(os.ttyname(terminal)), controller)):
        with atomic_file(stream) as temporary:
            temporary.write_text("whole")
        assert os.read(end, 9) == b"whole"
    assert (tmp_path / "pipe").is_fifo() and Path(os.ttyname(terminal)).is_char_device()
    for end in (reader, controller, terminal):
        os.close(end)


@pytest.mark.parametrize("path", ["/dev/fd/1", "/proc/self/fd/1", "out"])
def test_stdout_stays_what_it_is(tmp_path, path):
    (tmp_path / "out").symlink_to("/proc/self/fd/1")  # as /dev/stdout is, which a mistake could replace
    code = (
        "import sys; from trainer.storage.atomic_file import atomic_file\nwith atomic_file(sys.argv[1]) as path: "
        "path.write_text('whole')"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    with (tmp_path / "file").open("w") as stdout:
        command = [sys.executable, "-c", code, path]
        subprocess.run(command, cwd=tmp_path, env=environment, stdout=stdout, check=True)
    assert (tmp_path / "file").read_text() == "whole" and (tmp_path / "out").is_symlink()


def test_links_in_a_circle_are_not_followed_for_ever(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with atomic_file(tmp_path / "a") as temporary:
        temporary.write_text("whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
