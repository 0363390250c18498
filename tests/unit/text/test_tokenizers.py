"""Text to ids and back, against loops over characters and against sentencepiece itself."""

from __future__ import annotations

import hashlib
import pickle
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from sample_tokens import KINDS, STRANGE, TRAINING, make, random_text

from trainer.dataset.special_tokens import END, PAD, START, UNKNOWN
from trainer.errors import DataError, VocabularySizeError
from trainer.text import tokenizers
from trainer.text.tokenizers import SYMBOL_RANGES, WORD_RANGES


@pytest.mark.parametrize("kind", KINDS)
def test_known_text_comes_back(kind: str) -> None:
    tokenizer = make(kind)
    ids = tokenizer.encode(TRAINING)
    assert np.issubdtype(ids.dtype, np.integer)
    assert ids.min() > END and ids.max() < tokenizer.size
    assert tokenizer.decode(ids) == TRAINING
    assert tokenizer.decode([START, *ids.tolist(), END, PAD, PAD]) == TRAINING
    assert (PAD, UNKNOWN, START, END) == (0, 1, 2, 3)
    assert tokenizer.decode([UNKNOWN]) == "\ufffd"
    assert tokenizer.encode("").shape == (0,) and tokenizer.decode([]) == ""


@pytest.mark.parametrize("kind", KINDS)
def test_several_texts_encode_as_each_by_itself(kind: str) -> None:
    tokenizer = make(kind)
    ids, lengths = tokenizer.encode_all(STRANGE)
    assert lengths.tolist() == [len(tokenizer.encode(text)) for text in STRANGE]
    for part, text in zip(np.split(ids, np.cumsum(lengths)[:-1]), STRANGE):
        np.testing.assert_array_equal(part, tokenizer.encode(text))


@pytest.mark.parametrize("kind", KINDS)
def test_saved_loaded_and_sent(kind: str, tmp_path: Path) -> None:
    tokenizer = make(kind)
    tokenizer.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ([tokenizer.file] if tokenizer.file else [])
    for copy in (tokenizers.load(kind, tmp_path, tokenizer.sha256), pickle.loads(pickle.dumps(tokenizer))):
        assert (copy.kind, copy.size, copy.sha256) == (kind, tokenizer.size, tokenizer.sha256)
        for text in (TRAINING, *STRANGE):
            np.testing.assert_array_equal(copy.encode(text), tokenizer.encode(text))
        assert copy.decode(copy.encode(TRAINING)) == TRAINING
    if kind != "byte":
        with pytest.raises(DataError, match="is another vocabulary than was written with this dataset"):
            tokenizers.load(kind, tmp_path, hashlib.sha256(b"").hexdigest())


@pytest.mark.parametrize("kind", ["char", "word", "sentencepiece"])
def test_a_lost_or_damaged_vocabulary(kind: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"vocabulary\.\w+ cannot be read \(No such file"):
        tokenizers.load(kind, tmp_path)
    tokenizer = make(kind)
    (tmp_path / str(tokenizer.file)).write_bytes(tokenizer.content[:-3])
    with pytest.raises(DataError, match=r"vocabulary\.\w+ is (damaged|another)"):
        tokenizers.load(kind, tmp_path, tokenizer.sha256)


@pytest.mark.parametrize("entry", ['"ab"', '""', "5", "[]", "null"])
def test_a_vocabulary_of_something_else(entry: str, tmp_path: Path) -> None:
    (tmp_path / "vocabulary.txt").write_bytes(make("char").content + f"{entry}\n".encode())
    with pytest.raises(DataError, match=r"vocabulary\.txt is damaged"):
        tokenizers.load("char", tmp_path)


def test_characters_against_a_loop() -> None:
    tokenizer = make("char")
    ids = {character: index for index, character in enumerate(sorted(set(TRAINING)), 4)}
    for text in (TRAINING, *STRANGE):
        assert tokenizer.encode(text).tolist() == [ids.get(character, UNKNOWN) for character in text]
        assert tokenizer.decode(tokenizer.encode(text)) == "".join(c if c in ids else "\ufffd" for c in text)
    assert tokenizer.size == 4 + len(ids)
    lines = tokenizer.content.decode().split("\n")
    assert lines[ids["\n"]] == '"\\n"' and lines[:4] == ["<pad>", "<unknown>", "<start>", "<end>"]


def test_the_most_frequent_characters_are_kept() -> None:
    tokenizer = make("char", "aaabbbccd", 6)
    assert tokenizer.decode(tokenizer.encode("abcd")) == "ab\ufffd\ufffd"


def test_characters_encode_fast() -> None:
    text = TRAINING * 1000
    tokenizer = make("char")
    tokenizer.encode(text)
    best = float("inf")
    for _ in range(5):
        started = time.thread_time()  # what other processes take does not count
        tokenizer.encode(text)
        best = min(best, time.thread_time() - started)
    assert len(text.encode()) / best > 20e6


def test_bytes_that_are_no_text() -> None:
    tokenizer = make("byte")
    assert tokenizer.encode("aé").tolist() == [4 + byte for byte in "aé".encode()]
    assert tokenizer.size == 260
    for wrong in (b"\xff", b"a\xe2\x82b", b"\xf0\x9f\x99", b"\xed\xa0\x80"):
        assert tokenizer.decode([4 + byte for byte in wrong]) == wrong.decode("utf-8", "replace")


def is_word(character: str) -> bool:
    if ord(character) < 128:
        return character.isalnum() or character == "_"
    return not any(first <= ord(character) <= last for first, last in SYMBOL_RANGES)


def split_words(text: str) -> list[str]:
    """One character at a time: a space begins a token, which takes in what follows, unless that is a space."""
    found: list[str] = []
    for character in text:
        if found and character != " " and (found[-1] == " " or (is_word(character) and is_word(found[-1][-1]))):
            found[-1] += character
        else:
            found.append(character)
    return found


def test_words_against_a_loop() -> None:
    text = random_text(0)
    words = split_words(text)
    counts = {word: words.count(word) for word in words}
    ordered = sorted(counts, key=lambda word: (-counts[word], word))
    tokenizer = make("word", text, 104)
    assert isinstance(tokenizer, tokenizers.WordTokenizer)
    assert tokenizer.words == ordered[:100] and len(ordered) > 100
    assert tokenizer.encode(text).tolist() == [
        ordered.index(word) + 4 if word in ordered[:100] else UNKNOWN for word in words
    ]
    everything = make("word", text)
    assert everything.decode(everything.encode(text)) == text
    assert split_words("The dog's  tail.\n 3_x") == ["The", " dog", "'", "s", " ", " tail", ".", "\n", " 3_x"]


def test_word_ranges_are_what_the_symbols_leave() -> None:
    words = np.zeros(0x110000, bool)
    words[[ord(character) for character in map(chr, range(128)) if is_word(character)]] = True
    words[128:] = True
    for first, last in SYMBOL_RANGES:
        words[first : last + 1] = False
    found = np.zeros_like(words)
    for first, last in WORD_RANGES:
        found[first : last + 1] = True
    np.testing.assert_array_equal(found, words)
    assert all(first <= last for first, last in WORD_RANGES) and list(WORD_RANGES) == sorted(WORD_RANGES)


@pytest.mark.parametrize(("model_type", "size"), [("bpe", 110), ("unigram", 50)])
def test_sentencepiece_gives_what_its_package_gives(model_type: str, size: int) -> None:
    import sentencepiece

    tokenizer = tokenizers.build("sentencepiece", [TRAINING], size, model_type=model_type)
    processor = sentencepiece.SentencePieceProcessor(model_proto=tokenizer.content)
    for text in (TRAINING, *STRANGE, random_text(1)):
        assert tokenizer.encode(text).tolist() == processor.encode(text)
        assert tokenizer.decode(tokenizer.encode(text)) == processor.decode(processor.encode(text))
    assert tokenizer.size == size
    assert tokenizers.build("sentencepiece", [TRAINING], size, model_type=model_type).sha256 == tokenizer.sha256


def test_sentencepiece_sizes_that_do_not_fit() -> None:
    with pytest.raises(VocabularySizeError, match=r"10000 is more than the training text gives; use \d+ or less"):
        tokenizers.build("sentencepiece", [TRAINING])
    with pytest.raises(
        VocabularySizeError, match=r"10 is less than the characters of the training text; use more than \d+"
    ):
        tokenizers.build("sentencepiece", [TRAINING], 10)
    with pytest.raises(VocabularySizeError, match="10 does not work"):
        tokenizers.build("sentencepiece", ["\n"], 10)


def test_a_vocabulary_does_not_hang_on_the_hash_seed() -> None:
    code = (
        f"from trainer.text import tokenizers; print(*(tokenizers.build(k, [{TRAINING!r}]).sha256 for k in "
        "('char', 'word')))"
    )
    expected = " ".join(make(kind).sha256 for kind in ("char", "word"))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[3], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == expected


def test_sentencepiece_knows_a_carriage_return_at_the_end_of_lines() -> None:
    text = "one two\r\nthree one\r\n" * 9
    tokenizer = tokenizers.build("sentencepiece", [text], 20)
    assert tokenizer.decode(tokenizer.encode(text)) == text
