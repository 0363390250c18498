"""Text -> the documents of each split.

`stream`: a file is one document, of which each split has a stretch of characters. `lines`: each line that is not blank is a document,
of which each split has a run. Lines end with a line feed; those that end with CR LF are read as if they did.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trainer.config import SPLITS
from trainer.data.input_files import not_utf8
from trainer.data.split_borders import split_borders
from trainer.errors import DataError

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SourceText:
    """A whole text and where it is from, for errors."""

    source: str
    text: str


@dataclass(frozen=True)
class SourceDocuments:
    """Documents that their source keeps apart, none of them blank, and where they are from, for errors."""

    source: str
    documents: list[str]


def read_text(path: str) -> SourceText:
    """Reads a UTF-8 file; a byte order mark is dropped, CR LF becomes a line feed.

    Raises:
      DataError: the file is missing, empty or no UTF-8; the text names the file and the line.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise not_utf8(path) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); check the path and its permissions") from None
    if not text:
        raise DataError(f"{path} is empty; give a file with text, or leave it out")
    if changed := text.count("\r\n"):
        _log.info("%s: %d lines end with CR LF, which was read as LF", path, changed)
        text = text.replace("\r\n", "\n")
    return SourceText(path, text)


def split_documents(
    given: Mapping[str, Sequence[SourceText | SourceDocuments]], documents: str, splits: Sequence[str]
) -> dict[str, list[str]]:
    """The documents of each split, in the order of the sources; splits without any are absent.

    Args:
      given: split -> its texts; those of `train` are split by `splits`, the others lie wholly in theirs.
      documents: `stream` or `lines`.
      splits: sizes in characters (stream) or documents (lines) of each source, as `split_borders` takes them.

    Raises:
      DataError: a source is too short for its splits, or has no document.
    """
    elsewhere = [split for split in ("validation", "test") if given.get(split)]
    found: dict[str, list[str]] = {}
    for split, texts in given.items():
        for text in texts:
            if isinstance(text, SourceDocuments):
                entries: str | list[str] = text.documents
            else:
                entries = text.text if documents == "stream" else _lines(text)
            count, unit = len(entries), "characters" if isinstance(entries, str) else "documents"
            borders = split_borders(count, splits, text.source, unit, elsewhere) if split == "train" else {split: (0, count)}
            for name, (first, end) in borders.items():
                part = entries[first:end]
                found.setdefault(name, []).extend([part] if isinstance(part, str) else part)
    return {split: found[split] for split in SPLITS if split in found}


def _lines(text: SourceText) -> list[str]:
    """The lines that are not blank, without their ends."""
    lines = text.text.removesuffix("\n").split("\n")
    kept = [line for line in lines if line and not line.isspace()]
    if not kept:
        raise DataError(f"{text.source} holds blank lines only; give a file with text, or leave it out")
    if len(kept) < len(lines):
        _log.info("%s: %d blank lines were skipped", text.source, len(lines) - len(kept))
    return kept
