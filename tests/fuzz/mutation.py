"""Changes bytes as files go wrong in life: what readers stumble over put in, lines lost or doubled, other encodings and
line ends.
"""

from __future__ import annotations

import random
from collections.abc import Callable

POISON = (
    *(
        b"\x00",
        b"\xff",
        b"\xc3",
        b"\x1a",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"\xe2\x80\xa8",
        b"\xc2\x85",
    ),
    *(
        b"\r",
        b"\r\n",
        b"\n",
        b"\n\n",
        b"\t",
        b" ",
        b"\x0b",
        b"\\",
        b"#",
        b'"',
        b'""',
        b",",
        b",,",
        b";",
        b"'",
        b"|",
        b"{",
        b"[",
        b"]",
        b"}",
    ),
    *(
        b"inf",
        b"-Infinity",
        b"nan",
        b"-nan",
        b"NaN",
        b"null",
        b"1,5",
        b'"1,5"',
        b"1.000,5",
        b"1e400",
        b"1e-400",
        b"1_000",
        b"--",
        b"0x10",
    ),
    *(
        b"-0",
        b"+1",
        b".5",
        b"5.",
        b"3.5e38",
        b"16777217",
        b"9" * 400,
        b"\xd9\xa1",
        b"\xef\xbc\x91",
        b"true",
        b"-1",
        b"0",
        b"99999999999",
    ),
    *(
        b"2020-01-01",
        b"2020-02-30",
        b"1969-12-31 23:59:59",
        b"0000-00-00",
        b"9999-12-31",
        b"2020-01-01T00:00:00+14:00",
        b"2020/1/2 3:04",
    ),
    *(
        b"\xe2\x96\x81",
        b"<unknown>",
        b"<pad>",
        b"<s>",
        b"\\ud800",
        b"\\u0000",
        b"e\xcc\x81",
        b"\xf0\x9f\x98\x80",
        b" " * 3000,
        b"[" * 3000,
    ),
)
MOST_STEPS = 4


def mutated(content: bytes, seed: int, largest: int = 1 << 14) -> bytes:
    """`content` after one to MOST_STEPS random changes, at most `largest` bytes; the same for the same seed."""
    chance = random.Random(seed)
    for _ in range(chance.randint(1, MOST_STEPS)):
        content = chance.choice(_CHANGES)(content, chance)[:largest]
    return content


def _insert(content: bytes, chance: random.Random) -> bytes:
    at = chance.randint(0, len(content))
    return content[:at] + chance.choice(POISON) + content[at:]


def _overwrite(content: bytes, chance: random.Random) -> bytes:
    at, poison = chance.randint(0, len(content)), chance.choice(POISON)
    return content[:at] + poison + content[at + len(poison) :]


def _flip(content: bytes, chance: random.Random) -> bytes:
    if not content:
        return content
    at = chance.randrange(len(content))
    return content[:at] + bytes([content[at] ^ chance.randint(1, 255)]) + content[at + 1 :]


def _cut(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randint(0, len(content))]


def _delete(content: bytes, chance: random.Random) -> bytes:
    first = chance.randint(0, len(content))
    return content[:first] + content[first + chance.choice((1, 2, 8, 64)) :]


def _repeat(content: bytes, chance: random.Random) -> bytes:
    first = chance.randint(0, len(content))
    part = content[first : first + chance.choice((1, 2, 8, 64))]
    return content[:first] + part * chance.choice((2, 3, 500)) + content[first + len(part) :]


def _move_a_line(content: bytes, chance: random.Random) -> bytes:
    """A line goes, stands twice, or stands elsewhere."""
    lines = content.splitlines(keepends=True) or [b""]
    line = lines.pop(chance.randrange(len(lines)))
    for _ in range(chance.randint(0, 2)):
        lines.insert(chance.randint(0, len(lines)), line)
    return b"".join(lines)


def _reencode(content: bytes, chance: random.Random) -> bytes:
    text = content.decode("utf-8", "replace")
    return text.encode(
        chance.choice(("utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "cp1252", "utf-8-sig")), "replace"
    )


def _other_ends(content: bytes, chance: random.Random) -> bytes:
    return content.replace(b"\r\n", b"\n").replace(b"\n", chance.choice((b"\r\n", b"\r")))


def _other_separators(content: bytes, chance: random.Random) -> bytes:
    old, new = chance.sample((b",", b";", b"\t", b"|", b".", b'"'), 2)
    return content.replace(old, new)


_CHANGES: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    *(
        _insert,
        _insert,
        _overwrite,
        _flip,
        _flip,
        _cut,
        _delete,
        _repeat,
        _move_a_line,
        _reencode,
        _other_ends,
        _other_separators,
    ),
)
