"""Arrays of numbers -> one `RawSeries`: files of numpy's format, or what another source gives."""

from __future__ import annotations

import warnings
from io import BufferedReader
from pathlib import Path

import numpy as np
from numpy.lib.format import MAGIC_PREFIX, read_array_header_1_0, read_array_header_2_0, read_magic

from trainer.dataset.input_files import readable
from trainer.errors import DataError, one_line
from trainer.tasks.forecast.data.csv_series import RawSeries


def read_npy(path: str) -> RawSeries:
    """Reads one `.npy` file, an array [T] or [T, D] of integers or floats, NaN where a value is missing; there are no
    dates.

    The columns are called `value`, or `value_0`, `value_1`, ...

    Raises:
      DataError: the file is missing or damaged, holds pickled objects or an archive, or no such array; the text names
        the file.
    """
    try:
        with Path(path).open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy tells of headers that Python 2 wrote
            _check_header(file, path)
            array = np.load(file, allow_pickle=False)
            more = isinstance(array, np.ndarray) and len(file.read(1)) > 0
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror or error}); check the path and its permissions"
        ) from None
    except DataError:
        raise
    except (ValueError, EOFError, SyntaxError) as error:
        raise DataError(
            f"{path} is not an array of numpy's .npy format ({one_line(error)}); write it with numpy.save"
        ) from None
    except Exception as error:  # a damaged header or archive: numpy hands on what its parsers raise
        raise DataError(
            f"{path} is damaged ({type(error).__name__}: {one_line(error)}); write it again with numpy.save"
        ) from None
    if not isinstance(array, np.ndarray):
        array.close()
        raise DataError(f"{path} is an archive of several arrays; write each with numpy.save to a file of its own")
    if more:  # of a shape that is wrong, or of another array
        raise DataError(
            f"{path} goes on after its array {list(array.shape)} of {array.dtype}; write one array a file with "
            "numpy.save"
        )
    return array_series(array, readable(Path(path).stem), path)


def _check_header(file: BufferedReader, path: str) -> None:
    """Refuses what is not an array of plain numbers, before `numpy.load`, which reads too few bytes of types like
    "2>i2" and says nothing.
    """
    if file.peek(len(MAGIC_PREFIX)).startswith(MAGIC_PREFIX):
        read = read_array_header_1_0 if read_magic(file) == (1, 0) else read_array_header_2_0
        shape, _, dtype = read(file)
        _check_type(shape, dtype, path)
    file.seek(0)


def _check_type(shape: tuple[int, ...], dtype: np.dtype, source: str) -> None:
    if dtype.kind not in "iuf" or len(shape) not in (1, 2):
        raise DataError(f"{source} is an array {list(shape)} of {dtype}; give numbers [time] or [time, columns]")


def array_series(array: np.ndarray, name: str, source: str, column: str = "value") -> RawSeries:
    """The series of an array [T] or [T, D] of integers or floats.

    Args:
      array: the values, NaN where missing.
      name: names the group of series.
      source: file or record, for errors.
      column: name of the column; several are called `column_0`, `column_1`, ...

    Raises:
      DataError: the array has another shape or type, no values, or one that is not a finite number in 32 bits.
    """
    _check_type(array.shape, array.dtype, source)
    if not array.size:
        raise DataError(
            f"{source} is an array {list(array.shape)}, which holds no values; leave it out or add the data"
        )
    table = array[:, None] if array.ndim == 1 else array
    with np.errstate(over="ignore"):  # becomes an infinity, which is told
        values = np.ascontiguousarray(table, np.float32)
    wrong = np.isinf(values)
    if wrong.any():
        row, index = (int(place[0]) for place in np.nonzero(wrong))
        raise DataError(
            f"{source} row {row}, column {index}: {table[row, index]} is not a finite number in 32 bits; correct it, "
            "or put NaN"
        )
    width = table.shape[1]
    columns = (column,) if width == 1 else tuple(f"{column}_{index}" for index in range(width))
    return RawSeries(name, columns, values, None, None, source)
