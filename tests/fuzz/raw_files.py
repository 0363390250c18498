"""Fuzz targets over raw data: what prepare makes of any CSV, array, text or pairs is right, or refused.

The first byte of an input chooses the flags, the rest is the file (of pairs: one file with tabs, or two with SEPARATOR
between).
"""

from __future__ import annotations

import csv
import datetime
import io
import math
import re
from pathlib import Path

import numpy as np

from trainer.errors import VocabularySizeError
from trainer.text.tokenizer import CUT_WITHIN

from . import stored
from .outcome import demand, prepared

SEPARATOR = b"\n=====\n"
SPLITS = (("1",), ("0.5", "0.25", "0.25"))
MISSING = {"", "na", "n/a", "#n/a", "nan", "null", "none", "-"}
NO_PIECES = ("<s>", "</s>", "<unk>", "<pad>", "\x1f")  # sentencepiece trains on what lies between them

CSV_SEEDS = (
    b"\x00date,a,b\n2020-01-01 00:00:00,1,2\n2020-01-01 01:00:00,3.5,-4e2\n2020-01-01 02:00:00, 5 ,\n2020-01-01 "
    b"04:00:00,0.25,NA\n",
    b'\x01a,"b, c"\n1,2\n\n3,4\n5,6\n-7,"8"\n9,10\n',
    b"\x00date,a\n2020-01-31,1\n2020-02-29,2\n2020-03-31,3\n2020-06-30,4\n",
    b"\x02when,a\r\n2020-01-01T00:00:00Z,1\r\n2020-01-02T00:00:00Z,2\r\n2020-01-03T02:00:00+02:00,3\r\n",
    b"\x00a\n1\n2\n3\n",
)
TEXT_SEEDS = (
    b"\x00The quick brown fox.\nA second line, \xc3\xa9t\xc3\xa9!\n\n  and a third\n",
    b"\x04one two three\r\n\r\nfour  five\tsix\r\nseven\r\n",
    b"\x09to be or not to be\n to be\xe2\x80\xa8x\n",
    b"\x02\xef\xbb\xbfabc abc abcd\n\xf0\x9f\x98\x80 abc\n",
    b"\x00a\x00n\x00 \x00o\x00x\x00\n\x00a\x00\n\x00",
    b"\x03she sells sea shells by the sea shore\n" * 8,
)
PAIR_SEEDS = (
    b"\x00a dog\tein Hund\n\n\tnichts\nnothing\t\n two  cats\tzwei Katzen\n",
    b"\x10a dog\nno\n\na cat\n" + SEPARATOR + b"ein Hund\nnein\n\neine Katze\n",
    b"\x30a\n\n\t\nb\n" + SEPARATOR + b"A\nB\nC\n\n",
    b"\x35a\r\nb\r\nc d\r\nx\r\n" + SEPARATOR + b"A\r\nB\r\nC\tD",
)


def _npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


NPY_SEEDS = tuple(
    _npy(array)
    for array in (
        np.arange(12.0).reshape(6, 2),
        np.array([1, np.nan, 3, 4.5], "<f4"),
        np.asfortranarray(np.arange(6, dtype=">i2").reshape(2, 3)),
        np.arange(5, dtype="u1"),
    )
)


def check_csv(data: bytes, place: Path) -> None:
    choice, content = data[:1] or b"\0", data[1:]
    path = place / "a.csv"
    path.write_bytes(content)
    splits = SPLITS[choice[0] & 1]
    wanted = ("auto", "none", "when", "auto")[choice[0] >> 1 & 3]
    out = place / "out"
    if prepared(
        out, task="forecast", source="csv", input=(str(path),), splits=splits, date_column=wanted, num_shards=2
    ):
        return
    header, *rows = [
        row for row in csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True) if row
    ]
    names = [name.strip() for name in header]
    told = stored.manifest_of(out)["facts"]
    left = [index for index, name in enumerate(names) if name not in told["columns"]]
    demand(
        len(left) <= 1 and [name for name in names if name in told["columns"]] == told["columns"],
        f"{names} became {told['columns']}",
    )
    demand(wanted != "when" or (bool(left) and names[left[0]] == "when"), f"--date_column=when, but {left}")
    demand({len(row) for row in rows} == {len(names)}, "ragged rows were read")
    expected = np.array(
        [[_number(row[index]) for index in range(len(names)) if index not in left] for row in rows], np.float32
    )
    values, times = stored.table(out)
    demand((times is not None) == (bool(left) and wanted != "none"), "dates were read, or not")
    if times is None:
        demand(np.array_equal(values, expected, equal_nan=True), f"{expected} became {values}")
    else:
        seconds = np.array([_seconds(row[left[0]]) for row in rows])
        demand(bool((np.diff(times) > 0).all()), "times do not rise")
        known = np.isin(times, seconds)
        demand(np.array_equal(times[known], seconds), f"times {seconds} became {times}")
        demand(np.array_equal(values[known], expected, equal_nan=True), f"{expected} became {values}")
        demand(bool(np.isnan(values[~known]).all()), "values were made up")
    _check_statistics(out, values)


def _number(cell: str) -> float:
    text = cell.strip()
    if text.lower() in MISSING:
        return math.nan
    demand("_" not in text, f"{text} was read as a number")
    value = float(text)
    demand(math.isnan(value) or abs(value) <= float(np.finfo(np.float32).max), f"{text} was read as a number")
    return value


def _seconds(text: str) -> int:
    """Unix seconds of a date, by its numbers alone."""
    date, _, clock = text.strip().replace("T", " ").replace("t", " ").partition(" ")
    zone = re.search(r"([+-])(\d\d):?(\d\d)?$", clock)
    clock = clock[: zone.start()] if zone else clock
    numbers = [int(number) for number in re.findall(r"\d+", date)] + [1]
    hour, minute, second, *fraction = [*(int(number) for number in re.findall(r"\d+", clock)), 0, 0, 0][:4]
    demand(not any(fraction), f"{text} has a fraction")
    year, month, day = numbers[:3]
    moment = datetime.datetime(year, month, day, hour, minute, second, tzinfo=datetime.timezone.utc)
    offset = int(f"{zone[1]}1") * (int(zone[2]) * 3600 + int(zone[3] or 0) * 60) if zone else 0
    return int(moment.timestamp()) - offset


def _check_statistics(out: Path, values: np.ndarray) -> None:
    """Mean and standard deviation of the training rows, against Python's own sums."""
    (group,) = stored.manifest_of(out)["facts"]["groups"]
    first, end = group["splits"]["train"]
    demand(group["rows"] == len(values), f"{group['rows']} rows, {len(values)} stored")
    for column in range(values.shape[1]):
        own = [float(value) for value in values[first:end, column] if not math.isnan(value)]
        mean = math.fsum(own) / len(own) if own else 0.0
        std = math.sqrt(math.fsum((value - mean) ** 2 for value in own) / len(own)) if own else 0.0
        scale = max(map(abs, own), default=0.0)
        told = (group["mean"][column], group["std"][column])
        demand(math.isclose(told[0], mean, rel_tol=1e-9, abs_tol=1e-12 * scale), f"mean {told[0]}, expected {mean}")
        demand(
            told[1] > 0 and math.isclose(told[1], std or 1.0, rel_tol=1e-4, abs_tol=1e-12 * scale),
            f"std {told[1]}, expected {std}",
        )


def check_npy(data: bytes, place: Path) -> None:
    path = place / "a.npy"
    path.write_bytes(data)
    out = place / "out"
    if prepared(out, task="forecast", source="npy", input=(str(path),), splits=("1",), num_shards=2):
        return
    # The header by its documented layout; what follows must be the values, no more and no less.
    long = data[6] > 1
    length = int.from_bytes(data[8:12] if long else data[8:10], "little")
    body = data[(12 if long else 10) + length :]
    found = re.search(rb"'descr'\s*:\s*[ru]?['\"]([<>|=]?[fiu]\d*)['\"]", data)
    demand(found is not None, "no number type in the header")
    dtype = np.dtype(found[1].decode())  # type: ignore[index]
    values, times = stored.table(out)
    demand(
        times is None and len(body) == values.size * dtype.itemsize, f"{len(body)} bytes became {values.shape} values"
    )
    by_columns = re.search(rb"['\"]fortran_order['\"]\s*:\s*True", data) and values.shape[1] > 1
    with np.errstate(invalid="ignore"):
        flat = np.frombuffer(body, dtype)
        table = flat.reshape(values.shape[::-1]).T if by_columns else flat.reshape(values.shape)
        expected = table.astype(np.float32)
    demand(np.array_equal(values, expected, equal_nan=True), f"{expected} became {values}")
    _check_statistics(out, values)


def check_text(data: bytes, place: Path) -> None:
    choice, content = (data[:1] or b"\0")[0], data[1:]
    path = place / "a.txt"
    path.write_bytes(content)
    tokenizer = ("char", "byte", "word", "sentencepiece")[choice & 3]
    by_lines, splits = bool(choice & 4), SPLITS[choice >> 3 & 1]
    out = place / "out"
    settings = {"documents": "lines" if by_lines else "stream", "input": (str(path),), "splits": splits}
    if _prepared_tokens(out, tokenizer, choice, task="language_model", source="text", num_shards=3, **settings):
        return
    demand(b"\0" not in content, "a NUL byte was read")
    text = content.decode("utf-8-sig").replace("\r\n", "\n")
    entries: list[str] | str = [line for line in text.split("\n") if line.strip()] if by_lines else text
    found = {split: stored.documents(out, split) for split in stored.manifest_of(out)["splits"]}
    demand(list(found) == ["train", "validation", "test"][: len(splits)], f"splits {list(found)}")
    borders = [
        0,
        *(math.floor(len(entries) * share) for share in ((0.5, 0.75) if len(splits) > 1 else ())),
        len(entries),
    ]
    training = "".join(entries[: borders[1]])
    for split, first, end in zip(found, borders, borders[1:]):
        part = entries[first:end]
        expected = [part] if isinstance(part, str) else part
        _check_decoded(found[split], expected, tokenizer, split == "train", training)


def check_pairs(data: bytes, place: Path) -> None:
    choice, content = (data[:1] or b"\0")[0], data[1:]
    two_files, splits = bool(choice & 16), SPLITS[choice >> 3 & 1]
    tokenizer = ("char", "byte", "word", "sentencepiece")[choice & 3]
    rules = tuple(rule for bit, rule in ((32, "empty"), (64, "surplus")) if choice & bit)
    sides = content.split(SEPARATOR, 1) if two_files else [content]
    paths = [place / f"a.{index}" for index in range(len(sides))]
    for path, side in zip(paths, sides):
        path.write_bytes(side)
    out = place / "out"
    settings = {
        "drop_pairs": rules,
        "joint_vocabulary": bool(choice & 4),
        "input": tuple(map(str, paths)),
        "splits": splits,
    }
    if _prepared_tokens(out, tokenizer, choice, task="seq2seq", source="pairs", num_shards=3, **settings):
        return
    lines = [side.decode("utf-8-sig").replace("\r\n", "\n").removesuffix("\n").split("\n") for side in sides]
    if len(lines) == 1:
        both = [tuple(line.split("\t")) if line else ("", "") for line in lines[0]]
        demand(all(len(pair) == 2 for pair in both), "a line without one tab was read")
    else:
        demand("surplus" in rules or len(lines[0]) == len(lines[1]), "lines without a partner were read")
        both = list(zip(*lines))
    borders = [0, *(math.floor(len(both) * share) for share in ((0.5, 0.75) if len(splits) > 1 else ())), len(both)]
    training: list[str] = ["", ""]
    for split, first, end in zip(("train", "validation", "test"), borders, borders[1:]):
        numbered = [
            entry
            for entry in enumerate(both[first:end])
            if "empty" not in rules or all(text.strip() for text in entry[1])
        ]
        texts, decoded = stored.pairs(out, split)
        demand(texts == numbered, f"{numbered} became {texts}")
        part = [pair for _, pair in numbered]
        if split == "train":
            training = ["".join(pair[side] for pair in part) for side in (0, 1)]
            training = ["".join(training)] * 2 if settings["joint_vocabulary"] else training
        for column in (0, 1):
            texts_of_side = [pair[column] for pair in decoded]
            expected = [pair[column] for pair in part]
            _check_decoded(texts_of_side, expected, tokenizer, split == "train", training[column])


def _prepared_tokens(out: Path, tokenizer: str, choice: int, **settings: object) -> bool:
    """Whether prepare refused; where only the size of the vocabulary was wrong, the one that the message tells is
    tried.
    """
    size = 40 if tokenizer == "sentencepiece" else None
    for _ in range(2):
        error = prepared(out, tokenizer=tokenizer, vocab_size=size, **settings)
        size = _announced_size(error)
        if size is None:
            break
    return error is not None


def _announced_size(error: Exception | None) -> int | None:
    if not isinstance(error, VocabularySizeError):
        return None
    found = re.search(r"use (?:more than )?(\d+)", str(error))
    return int(found[1]) + ("more" in found[0]) if found and int(found[1]) >= 8 else None


def _check_decoded(found: list[str], expected: list[str], tokenizer: str, trained_on: bool, training: str) -> None:
    if tokenizer == "char":
        known = set(training)
        expected = ["".join(character if character in known else "\ufffd" for character in text) for text in expected]
    elif tokenizer == "sentencepiece":
        if any(mark in training for mark in NO_PIECES):  # unknown tokens, which prepare counts and tells
            demand("\ufffd" in "".join(found) or found == expected, f"{expected} became {found}")
            return
        expected = [text.replace("\u2581", " ") for text in expected]  # its sign for a space comes back as one
    longest = max((len(run) for text in expected for run in re.split("[ \n]", text)), default=0)
    if tokenizer == "word" and longest >= CUT_WITHIN:  # may be cut where a shard ends, and is unknown then
        demand(len(found) == len(expected), f"{len(expected)} texts became {len(found)}")
    elif tokenizer in ("char", "byte") or trained_on:
        demand(found == expected, f"{expected} became {found}")
    else:
        demand(len(found) == len(expected), f"{len(expected)} texts became {len(found)}")
