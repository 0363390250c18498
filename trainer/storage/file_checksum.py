"""Checksums of whole files, as records, manifests and Cloud Storage have them."""

from __future__ import annotations

from typing import IO

import google_crc32c

_BLOCK_BYTES = 1 << 20


def crc32c_of(file: IO[bytes]) -> int:
    """CRC32C of what an open file has from its beginning; raises OSError as reading does."""
    file.seek(0)
    crc = 0
    while block := file.read(_BLOCK_BYTES):
        crc = google_crc32c.extend(crc, block)
    return crc
