"""Documents to token records and back: every token once, whatever reads them."""

from __future__ import annotations

import dataclasses
import functools
import json
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from configured import prepare_config

from trainer.dataset import manifest, tfrecord
from trainer.dataset.preparation import make_dataset
from trainer.dataset.schema import Facts, Manifest
from trainer.errors import DataError
from trainer.tasks import datasets
from trainer.tasks.language_model import token_records
from trainer.tasks.language_model.facts import TextCounts, TextFacts
from trainer.tasks.language_model.prepare import plan
from trainer.text import tokenizers
from trainer.text.text_pieces import Memory
from trainer.text.tokenizer import token_dtype

LINES = [f"document {number} " + "of some words, " * (number % 7) for number in range(200)]


def dataset(
    directory: Path,
    documents: dict[str, list[str]],
    kind: str = "char",
    mode: str = "lines",
    shards: int = 3,
    **options: Any,
) -> Manifest:
    size = 300 if kind == "sentencepiece" else None
    settings = {
        "documents": mode,
        "tokenizer": kind,
        "vocab_size": size,
        "splits": ("1",),
        "num_shards": shards,
        **options,
    }
    config = prepare_config(task="language_model", source="text", output_dir=str(directory), **settings)
    given = {
        split: [Memory(split, own)] if mode == "lines" else [Memory(f"{split} {text[:9]}", text) for text in own]
        for split, own in documents.items()
    }
    written = make_dataset(str(directory), "d", {}, functools.partial(plan, given, config), 1, facts=TextFacts).manifest
    assert written is not None
    return written


@pytest.fixture
def small_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_records, "RECORD_CHARACTERS", 333)


def expected_tokens(directory: Path, kind: str, documents: list[str]) -> list[list[int]]:
    tokenizer = tokenizers.load(kind, directory)
    return [tokenizer.encode(document).tolist() for document in documents]


@pytest.mark.parametrize("kind", ["char", "byte", "word", "sentencepiece"])
def test_tfds_reads_the_very_tokens(tf: Any, tmp_path: Path, kind: str, small_records: None) -> None:
    import tensorflow_datasets as tfds

    splits = {"train": LINES[:150], "validation": LINES[150:]}
    written = dataset(tmp_path / "d", splits, kind)
    builder = tfds.builder_from_directory(str(tmp_path / "d"))
    (lowest,) = {feature.lowest for feature in written.features if feature.unit == "id"}
    assert lowest == (4 if kind == "byte" else 0)
    for split, documents in splits.items():
        rebuilt: list[list[int]] = [[] for _ in documents]
        records = sorted(
            tfds.as_numpy(builder.as_dataset(split=split)), key=lambda record: (record["document"], record["start"])
        )
        assert len(records) == written.splits[split].records == builder.info.splits[split].num_examples
        for record in records:
            assert record["tokens"].dtype == (
                "uint8" if kind == "byte" else token_dtype(tokenizers.load(kind, tmp_path / "d").size)
            )
            assert 0 < len(record["tokens"]) == record["lengths"].sum()
            before = documents[record["document"]][: record["start"]]
            assert tokenizers.load(kind, tmp_path / "d").encode(before).tolist() == rebuilt[record["document"]]
            parts = np.split(record["tokens"], np.cumsum(record["lengths"])[:-1])
            for document, part in enumerate(parts, record["document"]):
                rebuilt[document] += (part.astype(int) + lowest).tolist()
        assert rebuilt == expected_tokens(tmp_path / "d", kind, documents)


@pytest.mark.parametrize("kind", ["char", "word"])
def test_the_store_gives_them_back(tf: Any, tmp_path: Path, kind: str, small_records: None) -> None:
    from trainer.tasks.language_model import token_store

    splits = {"train": LINES[:150], "validation": LINES[150:151]}
    written = dataset(tmp_path / "d", splits, kind)
    assert datasets.read(str(tmp_path / "d")) == written
    for split, documents in splits.items():
        expected = expected_tokens(tmp_path / "d", kind, documents)
        store = token_store.load(str(tmp_path / "d"), written, split)
        assert store.lengths.tolist() == [len(document) for document in expected]
        assert store.tokens.tolist() == list(chain.from_iterable(expected))
        with_ends = [token for document in expected for token in [*document, 3]]
        assert store.stream().tolist() == (with_ends if len(documents) > 1 else with_ends[:-1])
        assert (
            store.stream().dtype
            == store.tokens.dtype
            == token_dtype(token_store.load_tokenizer(str(tmp_path / "d"), written).size)
        )


def test_the_store_tells_what_is_wrong(tf: Any, tmp_path: Path) -> None:
    from trainer.tasks.language_model import token_store

    directory = str(tmp_path / "d")
    written = dataset(tmp_path / "d", {"train": LINES})
    with pytest.raises(DataError, match="has no test split, it has train"):
        token_store.load(directory, written, "test")
    with pytest.raises(DataError, match="is a seq2seq dataset; give one that was prepared with --task=language_model"):
        token_store.load(directory, dataclasses.replace(written, task="seq2seq", facts=Facts()), "train")
    shard = tmp_path / "d" / written.splits["train"].shards[1].file
    content = bytearray(shard.read_bytes())
    content[60] ^= 1
    shard.write_bytes(content)
    with pytest.raises(DataError, match=r"00001-of-00003 record 0 is damaged"):
        token_store.load(directory, written, "train")
    shard.write_bytes(
        (tmp_path / "d" / written.splits["train"].shards[0].file).read_bytes().ljust(len(content))[: len(content)]
    )
    with pytest.raises(DataError):
        token_store.load(directory, written, "train")
    shard.unlink()
    with pytest.raises(DataError, match="is missing; restore it or prepare the dataset again"):
        token_store.load(directory, written, "train")
    (tmp_path / "d" / "vocabulary.txt").write_bytes(tokenizers.build("char", ["ab"]).content)
    with pytest.raises(DataError, match=r"vocabulary\.txt is another vocabulary"):
        token_store.load_tokenizer(directory, written)


def test_the_manifest_counts(tmp_path: Path) -> None:
    written = dataset(tmp_path / "d", {"train": ["aab", "b"], "validation": ["abc", "xé"]}, shards=8)
    assert TextFacts.of(written).splits["train"] == TextCounts(4, 4, 2, 0)
    assert TextFacts.of(written).splits["validation"] == TextCounts(5, 5, 2, 3)
    facts = TextFacts.of(written)
    assert (facts.tokenizer, facts.vocabulary_file, facts.vocabulary_size, facts.documents) == (
        "char",
        "vocabulary.txt",
        6,
        "lines",
    )
    assert facts.vocabulary_sha256 == tokenizers.load("char", tmp_path / "d").sha256
    assert len(written.splits["train"].shards) == 2  # one document each
    other = dataset(tmp_path / "e" / "d", {"train": ["xxy", "y"], "validation": ["xyc", "aé"]}, shards=8)
    assert [split.shards for split in other.splits.values()] == [split.shards for split in written.splits.values()]
    assert other.fingerprint != written.fingerprint  # the same ids of other characters


def test_entries_that_are_unknown_or_missing(tmp_path: Path) -> None:
    values = json.loads(manifest.to_json(dataset(tmp_path / "d", {"train": LINES})))
    with pytest.raises(ValueError, match="wings is missing or unknown"):
        datasets.decode({**values, "wings": 2})
    with pytest.raises(ValueError, match=r"facts\.wings is missing or unknown"):
        datasets.decode({**values, "facts": {**values["facts"], "wings": 2}})
    with pytest.raises(ValueError, match="facts is not an object"):
        datasets.decode({name: value for name, value in values.items() if name != "facts"})
    with pytest.raises(ValueError, match="task is None, not of type str"):
        datasets.decode({name: value for name, value in values.items() if name != "task"})


@pytest.mark.parametrize("unigram", [False, True])
@pytest.mark.parametrize("kind", ["char", "byte", "word", "sentencepiece"])
def test_cuts_of_streams_encode_as_the_whole(
    tf: Any, tmp_path: Path, kind: str, unigram: bool, small_records: None
) -> None:
    from trainer.tasks.language_model import token_store

    if unigram and kind != "sentencepiece":
        pytest.skip("a type of sentencepiece")
    random = np.random.default_rng(0)
    words = ["the", "of", "cat", "  two", "é", "x-y", "\n", "\n\n", "wonderful", "(so)", "3.14", "\u2028", "won't"]
    texts = [" ".join(random.choice(words, size)) for size in (9000, 50, 3000)]
    documents = {"train": texts, "validation": [texts[0][777:5000]]}
    options = {"sentencepiece_type": "unigram"} if unigram else {}
    written = dataset(
        tmp_path / "d", documents, kind, "stream", 5, vocab_size=35 if kind == "sentencepiece" else None, **options
    )
    for split, own in documents.items():
        expected = expected_tokens(tmp_path / "d", kind, own)
        store = token_store.load(str(tmp_path / "d"), written, split)
        assert store.lengths.tolist() == [len(document) for document in expected]
        assert store.tokens.tolist() == list(chain.from_iterable(expected))
        assert TextFacts.of(written).splits[split].characters == sum(map(len, own))
        assert len(written.splits[split].shards) == (5 if split == "train" or kind in ("char", "byte") else 1)


@pytest.mark.parametrize("kind", ["word", "sentencepiece"])
def test_a_word_without_end_is_cut_and_nothing_is_lost(tf: Any, tmp_path: Path, kind: str, small_records: None) -> None:
    from trainer.tasks.language_model import token_store

    text = "a word " * 2000 + "ab" * 20_000 + " a word" * 100
    written = dataset(tmp_path / "d", {"train": [text]}, kind, "stream", 5, vocab_size=20)
    tokenizer = token_store.load_tokenizer(str(tmp_path / "d"), written)
    store = token_store.load(str(tmp_path / "d"), written, "train")
    assert TextFacts.of(written).splits["train"].characters == len(text)
    assert tokenizer.decode(store.tokens[:4000]) == text[: len(tokenizer.decode(store.tokens[:4000]))]
    assert kind == "word" or tokenizer.decode(store.tokens) == text


def test_bytes_are_stored_as_they_are(tmp_path: Path) -> None:
    text = "".join(map(chr, range(1, 300))) + "\U0001f600"
    written = dataset(tmp_path / "d", {"train": [text]}, "byte", "stream", 1)
    (record,) = tfrecord.scan(tmp_path / "d" / written.splits["train"].shards[0].file)
    assert tfrecord.decode_example(record)["tokens"] == [text.encode()]


def test_token_types() -> None:
    assert [token_dtype(size) for size in (256, 257, 65536, 65537)] == ["uint8", "uint16", "uint16", "int32"]


def test_large_ids_survive(tf: Any, tmp_path: Path) -> None:
    from trainer.tasks.language_model import token_store

    words = " ".join(str(number) for number in range(70000))
    settings = {"tokenizer": "word", "vocab_size": 80000, "splits": ("1",)}
    config = prepare_config(task="language_model", source="text", output_dir=str(tmp_path / "d"), **settings)
    made = functools.partial(plan, {"train": [Memory("a", words)]}, config)
    written = make_dataset(str(tmp_path / "d"), "d", {}, made, 1, facts=TextFacts).manifest
    assert written is not None
    store = token_store.load(str(tmp_path / "d"), written, "train")
    assert store.tokens.dtype == "int32" and store.tokens.max() == 70003
    assert token_store.load_tokenizer(str(tmp_path / "d"), written).decode(store.tokens) == words
