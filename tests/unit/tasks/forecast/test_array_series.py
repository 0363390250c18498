"""Arrays as series: what is read right, and what is refused by file and place."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.cli import flags
from trainer.dataset import tfrecord
from trainer.errors import DataError
from trainer.prepare import prepare
from trainer.tasks import datasets
from trainer.tasks.configurations import PrepareConfig
from trainer.tasks.forecast.data.array_series import array_series, read_npy
from trainer.tasks.forecast.facts import SeriesFacts

NAN = float("nan")


def save(path: Path, array: np.ndarray) -> str:
    np.save(path, array)
    return str(path)


@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<f2", "u1", "<i8", ">i2"])
def test_numbers_of_every_kind(tmp_path: Path, dtype: str) -> None:
    path = save(tmp_path / "a.npy", np.asfortranarray(np.array([[1, 2, 3], [4, 5, 6]], dtype)))
    series = read_npy(path)
    assert (series.name, series.columns, series.times, series.interval) == (
        "a",
        ("value_0", "value_1", "value_2"),
        None,
        None,
    )
    assert series.values.dtype == np.float32 and series.values.tolist() == [[1, 2, 3], [4, 5, 6]]


def test_one_column_and_missing_values(tmp_path: Path) -> None:
    for array in (np.array([1.5, NAN, -3]), np.array([[1.5], [NAN], [-3]])):
        series = read_npy(save(tmp_path / "a.npy", array))
        assert series.columns == ("value",)
        np.testing.assert_array_equal(series.values, np.array([[1.5], [NAN], [-3]], np.float32))
    assert array_series(np.zeros((2, 2)), "n", "s", "load").columns == ("load_0", "load_1")


@pytest.mark.parametrize(
    ("array", "told"),
    [
        (np.zeros((2, 2, 2)), r"array \[2, 2, 2\] of float64"),
        (np.zeros(()), r"array \[\] of float64"),
        (np.zeros((0, 3)), "holds no values"),
        (np.array(["a"]), "of <U1"),
        (np.array([True]), "of bool"),
        (np.array([1j]), "of complex128"),
        (np.array([[0, 1], [2, np.inf]]), "row 1, column 1: inf is not a finite number"),
        (np.array([0, 1e39]), r"row 1, column 0: 1e\+39 is not a finite number"),
        (np.array([np.datetime64("2020-01-01")]), "datetime64"),
    ],
)
def test_arrays_that_are_no_series(tmp_path: Path, array: np.ndarray, told: str) -> None:
    with pytest.raises(DataError, match=rf"a\.npy .*{told}"):
        read_npy(save(tmp_path / "a.npy", array))


def test_files_that_are_no_arrays(tmp_path: Path) -> None:
    np.save(tmp_path / "object.npy", np.array([{}], object), allow_pickle=True)
    np.savez(tmp_path / "several.npz", a=np.zeros(2))
    (tmp_path / "empty.npy").touch()
    (tmp_path / "text.npy").write_text("1,2\n")
    with (tmp_path / "two.npy").open("wb") as file:
        np.save(file, np.zeros(2))
        np.save(file, np.ones(2))
    header = save(tmp_path / "header.npy", np.zeros(2))
    content = Path(header).read_bytes()
    Path(header).write_bytes(content.replace(b"<f8", b"\tu,1"))
    for name in ("object.npy", "several.npz", "empty.npy", "text.npy", "absent.npy", "two.npy", "header.npy"):
        with pytest.raises(DataError, match=name) as caught:
            read_npy(str(tmp_path / name))
        assert str(caught.value).isprintable() and len(str(caught.value)) < 500
    Path(header).write_bytes(content.replace(b"(2,)", b"(1,)"))
    with pytest.raises(DataError, match=r"header\.npy goes on after its array \[1\] of float64"):
        read_npy(header)


@pytest.mark.parametrize("size", [12, 13, 24])
@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_type_of_several_numbers(tmp_path: Path, size: int, version: int) -> None:
    """numpy.load reads half of such a file, and says nothing; a finding of the fuzzer."""
    header = b"{'descr': '2>i2', 'fortran_order': True, 'shape': (3, 2), }".ljust(117) + b"\n"
    length = len(header).to_bytes(2 if version == 1 else 4, "little")
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY" + bytes([version, 0]) + length + header + bytes(range(size)))
    with pytest.raises(DataError, match=r"a\.npy is an array \[3, 2\] of .*; give numbers"):
        read_npy(str(tmp_path / "a.npy"))


@settings(deadline=None)
@given(place=st.integers(0, 10_000), flip=st.integers(1, 255), cut=st.booleans())
def test_a_damaged_file_is_refused_or_read(
    tmp_path_factory: pytest.TempPathFactory, place: int, flip: int, cut: bool
) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.arange(12, dtype=np.float64).reshape(6, 2))
    content = bytearray(buffer.getvalue())
    place %= len(content)
    content[place] ^= flip
    path = tmp_path_factory.getbasetemp() / "damaged.npy"
    path.write_bytes(content[:place] if cut else content)
    try:
        series = read_npy(str(path))  # a flip among the numbers shows nowhere: the format has no checksum
    except DataError as error:
        assert str(error).startswith(str(path)) and "\n" not in str(error)
    else:
        assert not cut and series.values.ndim == 2


def test_files_are_groups_of_a_dataset(tmp_path: Path) -> None:
    one, two = np.arange(20.0).reshape(10, 2), np.arange(40.0).reshape(20, 2)
    two[3, 1] = NAN
    for name, array in (("one", one), ("two", two)):
        save(tmp_path / f"{name}.npy", array)
    arguments = [
        "--task=forecast",
        "--source=npy",
        f"--input={tmp_path}/*.npy",
        f"--output_dir={tmp_path}/out",
        "--splits=0.5,0.5",
    ]
    result = prepare(flags.parse(PrepareConfig, [*arguments, "--num_shards=1", "--num_processes=1"]))
    assert (result["rows"], result["series"]) == ({"train": 15, "validation": 15}, 4)
    written = datasets.read(str(tmp_path / "out"))
    assert [group.name for group in SeriesFacts.of(written).groups] == ["one", "two"]
    records = list(tfrecord.scan(tmp_path / "out" / written.splits["train"].shards[0].file))
    assert one[:5].astype("<f4").tobytes() in records[0]
    assert np.nan_to_num(two[:10]).astype("<f4").tobytes() in records[1]
