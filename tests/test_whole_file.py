import pytest

from trainer.whole_file import whole_file


def test_a_file_appears_when_it_is_whole(tmp_path):
    target = tmp_path / "new" / "a.txt"
    with whole_file(target) as temporary:
        temporary.write_text("whole")
        assert not target.exists() and temporary.parent == target.parent
    assert target.read_text() == "whole" and list(target.parent.iterdir()) == [target]


def test_an_error_leaves_what_was_there_and_nothing_else(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("before")
    with pytest.raises(ValueError, match="half"), whole_file(str(target)) as temporary:
        temporary.write_text("ha")
        raise ValueError("half")
    assert target.read_text() == "before" and list(tmp_path.iterdir()) == [target]
