"""TFRecord files and `tf.train.Example` records, written, checked and read without TensorFlow, whose import takes
seconds.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from types import TracebackType

import google_crc32c

from trainer.errors import DataError

_LENGTH = struct.Struct("<Q")
_CRC = struct.Struct("<I")
_HEADER_BYTES = _LENGTH.size + _CRC.size
_FLUSH_BYTES = 16 << 20

FeatureValue = bytes | int | Sequence[bytes] | Sequence[int]


def masked_crc32c(data: bytes) -> int:
    """The CRC32C of `data`, masked as TFRecord wants it (so that a CRC of data that holds CRCs stays sound)."""
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


_SMALL = [bytes([number]) for number in range(128)]


def _varint(number: int) -> bytes:
    if 0 <= number < len(_SMALL):
        return _SMALL[number]
    number &= (1 << 64) - 1  # protobuf writes a negative int64 as its two's complement
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _field(number: int, *parts: bytes) -> tuple[bytes, ...]:
    """A length-delimited protobuf field; its content, which may be long, is in parts that are joined once."""
    return _varint(number << 3 | 2) + _varint(sum(map(len, parts))), *parts


def _feature(value: FeatureValue) -> tuple[bytes, ...]:
    """The bytes of a `tf.train.Feature`: field 1 is its BytesList, field 3 its Int64List."""
    if isinstance(value, bytes):
        return _field(1, *_field(1, value))
    values: Sequence[bytes] | Sequence[int] = [value] if isinstance(value, int) else value
    if values and isinstance(values[0], bytes):
        return _field(1, *(part for entry in values if isinstance(entry, bytes) for part in _field(1, entry)))
    packed = b"".join(_varint(int(entry)) for entry in values)
    return _field(3, *(_field(1, packed) if packed else ()))


def encode_example(features: Mapping[str, FeatureValue]) -> bytes:
    """Serialises a `tf.train.Example`.

    Args:
      features: bytes or a sequence of bytes becomes a BytesList; an int or a sequence of ints (64 bits, signed) an
        Int64List. An empty sequence is an Int64List without entries.
    """
    entries = [_field(1, *_field(1, name.encode()), *_field(2, *_feature(features[name]))) for name in sorted(features)]
    return b"".join(_field(1, *chain.from_iterable(entries)))


def decode_example(record: bytes) -> dict[str, list[bytes] | list[int]]:
    """The features of a `tf.train.Example` as `encode_example` writes them, every one a list.

    Raises:
      ValueError: the record is no such message, or holds floats.
    """
    decoded: dict[str, list[bytes] | list[int]] = {}
    for _, features in _fields(record):
        for _, entry in _fields(features):
            parts = dict(_fields(entry))
            if set(parts) != {1, 2}:
                raise ValueError("an entry lacks its name or value")
            decoded[parts[1].decode()] = _values(parts[2])
    return decoded


def _values(feature: bytes) -> list[bytes] | list[int]:
    """The values of a `tf.train.Feature`."""
    for number, content in _fields(feature):
        if number == 1:
            return [value for _, value in _fields(content)]
        if number != 3:
            break
        values: list[int] = []
        for _, packed in _fields(content):
            position = 0
            while position < len(packed):
                value, position = _read_varint(packed, position)
                values.append(value - (1 << 64) if value >> 63 else value)
        return values
    raise ValueError("a feature holds neither bytes nor integers")


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and content of the fields of a protobuf message, which all must be length-delimited."""
    position = 0
    while position < len(message):
        tag, position = _read_varint(message, position)
        if tag & 7 != 2:
            raise ValueError(f"a field has the wire type {tag & 7}")
        length, position = _read_varint(message, position)
        if position + length > len(message):
            raise ValueError("a field is longer than its message")
        yield tag >> 3, message[position : position + length]
        position += length


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    """A number and the position after it; ValueError where it does not end within ten bytes."""
    value = 0
    for index, byte in enumerate(data[position : position + 10]):
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, position + index + 1
    raise ValueError("a number does not end")


class RecordWriter:
    """Writes one TFRecord file; on leaving the context without an error the file is flushed to the disk.

    `records`, `bytes` and `crc32c` (eight hexadecimal digits) describe the file as written so far. Writing raises
    OSError where the file system refuses. A thread flushes what is written of a large file, so that the disk does not
    begin when all is done.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        self.records = 0
        self.bytes = 0
        self._crc = 0
        self._file = self.path.open("wb", buffering=1 << 20)
        self._flusher: ThreadPoolExecutor | None = None
        self._flushed: Future[None] | None = None
        self._flushed_bytes = 0

    @property
    def crc32c(self) -> str:
        return f"{self._crc:08x}"

    def write(self, record: bytes) -> None:
        length = _LENGTH.pack(len(record))
        for part in (length, _CRC.pack(masked_crc32c(length)), record, _CRC.pack(masked_crc32c(record))):
            self._file.write(part)
            self._crc = google_crc32c.extend(self._crc, part)
            self.bytes += len(part)
        self.records += 1
        if self.bytes - self._flushed_bytes > _FLUSH_BYTES and (self._flushed is None or self._flushed.done()):
            self._flush_aside()

    def _flush_aside(self) -> None:
        if self._flusher is None:
            self._flusher = ThreadPoolExecutor(1)
        if self._flushed is not None:
            self._flushed.result()  # the system tells of an error once
        self._flushed = self._flusher.submit(os.fdatasync, self._file.fileno())
        self._flushed_bytes = self.bytes

    def __enter__(self) -> RecordWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._file.flush()
                if self._flushed is not None:
                    self._flushed.result()
                os.fsync(self._file.fileno())
        finally:
            if self._flusher is not None:
                self._flusher.shutdown()
            self._file.close()


def scan(path: str | os.PathLike[str]) -> Iterator[bytes]:
    """Yields the records of a TFRecord file, every CRC checked.

    Raises:
      DataError: the file is missing, truncated or damaged; the text names the file and the record (counted from 0).
    """
    again = "prepare the dataset again, or copy the file again"
    try:
        size = Path(path).stat().st_size
        file = Path(path).open("rb")  # noqa: SIM115 (closed by the with below; opening alone may fail)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); {again}") from None
    with file:
        position = record = 0
        while position < size:
            header = file.read(_HEADER_BYTES)
            if len(header) < _HEADER_BYTES:
                raise DataError(f"{path} record {record} is truncated (the file ends in its header); {again}")
            length_bytes, crc = header[: _LENGTH.size], header[_LENGTH.size :]
            if _CRC.unpack(crc)[0] != masked_crc32c(length_bytes):
                raise DataError(f"{path} record {record} is damaged (the checksum of its length is wrong); {again}")
            (length,) = _LENGTH.unpack(length_bytes)
            if length + _CRC.size > size - position - _HEADER_BYTES:
                raise DataError(f"{path} record {record} is truncated (the file ends in its content); {again}")
            content, crc = file.read(length), file.read(_CRC.size)
            if len(crc) < _CRC.size or _CRC.unpack(crc)[0] != masked_crc32c(content):
                raise DataError(f"{path} record {record} is damaged (the checksum of its content is wrong); {again}")
            yield content
            position += _HEADER_BYTES + length + _CRC.size
            record += 1
