"""Pairs to records and back: what TFDS and the store read is what was written."""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import pytest
from configured import prepare_config

from trainer.dataset import manifest
from trainer.dataset.preparation import make_dataset
from trainer.dataset.schema import Facts, Manifest
from trainer.errors import DataError
from trainer.tasks import datasets
from trainer.tasks.seq2seq.facts import PairCounts, PairFacts, VocabularyFacts
from trainer.tasks.seq2seq.prepare import plan
from trainer.text import tokenizers
from trainer.text.text_pieces import Memory
from trainer.text.tokenizer import token_dtype

SOURCES = [f"sentence {number} " + "of some words, " * (number % 7) for number in range(200)]
TARGETS = [f"Satz {number} " + "aus Wörtern, " * (number % 5) for number in range(200)]
SOURCES[3], TARGETS[5] = "", "\ttab and \u2028 more"
SPLITS = {"train": slice(0, 150), "validation": slice(150, 200)}


def dataset(
    directory: Path, kind: str = "char", joint: bool = False, shards: int = 3, targets: list[str] = TARGETS
) -> Manifest:
    size = 120 if kind == "sentencepiece" else None
    pairs = {split: list(zip(SOURCES[part], targets[part])) for split, part in SPLITS.items()}
    return written_pairs(directory, pairs, tokenizer=kind, vocab_size=size, joint_vocabulary=joint, num_shards=shards)


def written_pairs(directory: Path, pairs: dict[str, list[tuple[str, str]]], **settings: Any) -> Manifest:
    config = prepare_config(task="seq2seq", source="pairs", output_dir=str(directory), splits=("1",), **settings)
    given = {split: [Memory(split, own)] for split, own in pairs.items()}
    written = make_dataset(str(directory), "d", {}, functools.partial(plan, given, config), 1, facts=PairFacts).manifest
    assert written is not None
    return written


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("kind", ["char", "byte", "word", "sentencepiece"])
def test_the_store_gives_them_back(tf: Any, tmp_path: Path, kind: str, joint: bool) -> None:
    from trainer.tasks.seq2seq import store as pair_store

    directory = str(tmp_path / "d")
    written = dataset(tmp_path / "d", kind, joint)
    assert datasets.read(directory) == written
    source, target = pair_store.load_tokenizers(directory, written)
    assert (source is target) == (joint or kind == "byte")
    for split, part in SPLITS.items():
        store = pair_store.load(directory, written, split)
        assert (store.source_text, store.target_text) == (SOURCES[part], TARGETS[part])
        for tokenizer, texts, ids, lengths in (
            (source, SOURCES[part], store.source, store.source_lengths),
            (target, TARGETS[part], store.target, store.target_lengths),
        ):
            expected = [tokenizer.encode(text).tolist() for text in texts]
            assert lengths.tolist() == [len(text) for text in expected]
            assert ids.tolist() == [token for text in expected for token in text]
            assert ids.dtype == token_dtype(tokenizer.size) and lengths.dtype == "int64"


def test_tfds_reads_the_very_pairs(tf: Any, tmp_path: Path) -> None:
    import tensorflow_datasets as tfds

    written = dataset(tmp_path / "d", "sentencepiece")
    source, target = (
        tokenizers.load("sentencepiece", tmp_path / "d", file=f"{side}_vocabulary.model")
        for side in ("source", "target")
    )
    builder = tfds.builder_from_directory(str(tmp_path / "d"))
    for split, part in SPLITS.items():
        records = {int(record["pair"]): record for record in tfds.as_numpy(builder.as_dataset(split=split))}
        assert len(records) == written.splits[split].records == builder.info.splits[split].num_examples
        for number, texts in enumerate(zip(SOURCES[part], TARGETS[part])):
            record = records[number]
            assert (record["source_text"].decode(), record["target_text"].decode()) == texts
            assert (record["source"].tolist(), record["target"].tolist()) == (
                source.encode(texts[0]).tolist(),
                target.encode(texts[1]).tolist(),
            )


def test_the_manifest_counts(tmp_path: Path) -> None:
    source, target = tokenizers.build("char", ["aab", "b"]), tokenizers.build("char", ["xy"])
    pairs = {"train": [("aab", "xy"), ("", "xx"), ("b", "x")], "test": [("abc", "éü")]}
    written = written_pairs(tmp_path / "d", pairs, drop_pairs=("empty",), num_shards=8)
    facts = PairFacts.of(written)
    assert facts is not None and (facts.tokenizer, facts.joint) == ("char", False)
    assert facts.source == VocabularyFacts("source_vocabulary.txt", 6, source.sha256)
    assert facts.target == VocabularyFacts("target_vocabulary.txt", 6, target.sha256)
    none = {"empty": 0, "surplus": 0, "over_long": 0}
    assert facts.splits == {
        "train": PairCounts(2, 4, 3, 0, 0, none | {"empty": 1}),
        "test": PairCounts(1, 3, 2, 1, 2, none),
    }
    assert [[shard.records for shard in split.shards] for split in written.splits.values()] == [[1, 0, 1], [1]]
    assert written.facts.files == ("source_vocabulary.txt", "target_vocabulary.txt")
    assert dataset(tmp_path / "e", joint=True).facts.files == ("vocabulary.txt",)
    assert dataset(tmp_path / "f", "byte").facts.files == ()


def test_the_fingerprint_covers_both_vocabularies(tmp_path: Path) -> None:
    written = dataset(tmp_path / "d")
    values = json.loads(manifest.to_json(written))
    for side in ("source", "target"):
        other = json.loads(manifest.to_json(written))
        other["facts"][side]["sha256"] = "0" * 64
        assert datasets.decode(other).fingerprint != written.fingerprint == datasets.decode(values).fingerprint


def test_the_store_tells_what_is_wrong(tf: Any, tmp_path: Path) -> None:
    from trainer.tasks.seq2seq import store as pair_store

    directory = str(tmp_path / "d")
    written = dataset(tmp_path / "d")
    with pytest.raises(DataError, match="has no test split, it has train, validation"):
        pair_store.load(directory, written, "test")
    with pytest.raises(DataError, match="is a language_model dataset; give one that was prepared with --task=seq2seq"):
        pair_store.load(directory, dataclasses.replace(written, task="language_model", facts=Facts()), "train")
    shards = [tmp_path / "d" / shard.file for shard in written.splits["train"].shards]
    content = bytearray(shards[1].read_bytes())
    content[60] ^= 1
    shards[1].write_bytes(content)
    with pytest.raises(DataError, match=r"00001-of-00003 record 0 is damaged"):
        pair_store.load(directory, written, "train")
    # A shard in the place of another one of the same size: sound records, but not these.
    values = json.loads(manifest.to_json(written))
    values["splits"]["train"]["shards"][1] = values["splits"]["train"]["shards"][0]
    with pytest.raises(DataError, match=r"hold 150 pairs of .* that were written"):
        pair_store.load(directory, datasets.decode(values), "train")
    shards[1].unlink()
    with pytest.raises(DataError, match="is missing; restore it or prepare the dataset again"):
        pair_store.load(directory, written, "train")
    (tmp_path / "d" / "target_vocabulary.txt").write_bytes(tokenizers.build("char", ["ab"]).content)
    with pytest.raises(DataError, match=r"target_vocabulary\.txt is another vocabulary"):
        pair_store.load_tokenizers(directory, written)


def test_a_run_keeps_the_vocabularies(tf: Any, tmp_path: Path) -> None:
    from series_runs import train_config

    from trainer.tasks.seq2seq import store as pair_store
    from trainer.training import run_files

    written = dataset(tmp_path / "d")
    run_files.write(train_config(tmp_path / "d", tmp_path / "m"), written)
    kept = pair_store.load_tokenizers(str(tmp_path / "m"), run_files.read(str(tmp_path / "m"))[1])
    assert [tokenizer.content for tokenizer in kept] == [
        tokenizer.content for tokenizer in pair_store.load_tokenizers(str(tmp_path / "d"), written)
    ]


@pytest.mark.parametrize("kind", ["char", "byte", "word", "sentencepiece"])
def test_strings_in_the_graph_give_the_prepared_ids(tf: Any, tmp_path: Path, kind: str) -> None:
    from trainer.tasks.seq2seq import store as pair_store
    from trainer.text.graph_tokenizers import graph_tokenizer

    written = dataset(tmp_path / "d", kind)
    tokenizer = pair_store.load_tokenizers(str(tmp_path / "d"), written)[0]
    store = pair_store.load(str(tmp_path / "d"), written, "validation")
    ids, lengths = tf.function(graph_tokenizer(tokenizer).encode)(tf.constant(store.source_text))
    assert lengths.numpy().tolist() == store.source_lengths.tolist()
    assert (
        tf.RaggedTensor.from_tensor(ids, lengths=tf.cast(lengths, tf.int64)).flat_values.numpy().tolist()
        == store.source.tolist()
    )
