"""The tokenizers in the graph give the very ids and texts of the Python ones, in a SavedModel too."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sample_tokens import KINDS, STRANGE, TRAINING, make, random_text

from trainer.dataset.special_tokens import PAD, UNKNOWN
from trainer.text.tokenizer import Tokenizer

TEXTS = [*STRANGE, TRAINING, *(random_text(seed) for seed in range(3))]


def check_encode(tokenizer: Tokenizer, ids: Any, lengths: Any, texts: list[str]) -> None:
    expected = [tokenizer.encode(text).tolist() for text in texts]
    ids, lengths = np.asarray(ids), np.asarray(lengths)
    assert ids.dtype == lengths.dtype == np.int32
    assert lengths.tolist() == [len(row) for row in expected]
    longest = max(lengths, default=0)
    assert ids.tolist() == [row + [PAD] * (longest - len(row)) for row in expected]


@pytest.mark.parametrize("kind", KINDS)
def test_as_in_python(tf: Any, kind: str) -> None:
    from trainer.text.graph_tokenizers import graph_tokenizer

    tokenizer = make(kind)
    graph = graph_tokenizer(tokenizer)
    assert (graph.size, graph.pad, graph.unknown, graph.start, graph.end) == (tokenizer.size, 0, 1, 2, 3)
    encode = tf.function(graph.encode, input_signature=[tf.TensorSpec([None], tf.string)])
    for texts in (TEXTS, ["", ""], [""], [], ["a", "b"]):
        ids, lengths = encode(tf.constant(texts, tf.string))
        check_encode(tokenizer, ids, lengths, texts)
    random = np.random.default_rng(0)
    ids = random.integers(0, tokenizer.size, (20, 30)).astype(np.int32)
    ids[0, :4] = [0, 1, 2, 3]
    lengths = random.integers(0, 31, 20).astype(np.int32)
    lengths[:2] = 30, 0
    decode = tf.function(
        graph.decode, input_signature=[tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None], tf.int32)]
    )
    texts = [text.decode() for text in decode(ids, lengths).numpy()]
    assert texts == [tokenizer.decode(row[:length]) for row, length in zip(ids, lengths)]
    assert decode(ids[:0], lengths[:0]).shape == (0,)
    assert decode(*encode(tf.constant([TRAINING]))).numpy()[0].decode() == TRAINING


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_that_are_no_text(tf: Any, kind: str) -> None:
    from trainer.text.graph_tokenizers import graph_tokenizer

    tokenizer = make(kind)
    wrong = [b"\xff", b"a\xe2\x82b", b"\xf0\x9f\x99", b"\xed\xa0\x80 cat"]
    ids, lengths = graph_tokenizer(tokenizer).encode(tf.constant(wrong))
    for row, length, text in zip(ids.numpy(), lengths.numpy(), wrong):
        if kind == "byte":
            assert row[:length].tolist() == [4 + byte for byte in text]
        else:
            assert UNKNOWN in row[:length]
    if kind == "byte":
        texts = graph_tokenizer(tokenizer).decode(ids, lengths).numpy()
        assert [text.decode() for text in texts] == [text.decode("utf-8", "replace") for text in wrong]


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_model_carries_the_vocabulary(tf: Any, kind: str, tmp_path: Path) -> None:
    from trainer.text.graph_tokenizers import graph_tokenizer

    tokenizer = make(kind)
    module = tf.Module()
    module.tokenizer = graph_tokenizer(tokenizer)
    encode = tf.function(lambda texts: dict(zip(("ids", "lengths"), module.tokenizer.encode(texts))))
    decode = tf.function(lambda ids, lengths: {"texts": module.tokenizer.decode(ids, lengths)})
    signatures = {
        "encode": encode.get_concrete_function(tf.TensorSpec([None], tf.string)),
        "decode": decode.get_concrete_function(tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None], tf.int32)),
    }
    tf.saved_model.save(module, str(tmp_path), signatures=signatures)
    loaded = tf.saved_model.load(str(tmp_path))
    found = loaded.signatures["encode"](tf.constant(TEXTS))
    check_encode(tokenizer, found["ids"], found["lengths"], TEXTS)
    texts = loaded.signatures["decode"](**found)["texts"].numpy()
    assert [text.decode() for text in texts] == [tokenizer.decode(tokenizer.encode(text)) for text in TEXTS]


def test_only_sentencepiece_needs_more_than_core_ops(tf: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from trainer.text.graph_tokenizers import graph_tokenizer

    trained = make("sentencepiece")
    for package in ("tensorflow_text", "sentencepiece"):
        monkeypatch.setitem(sys.modules, package, None)  # importing it fails from here on
    for kind in ("char", "byte", "word"):
        graph_tokenizer(make(kind)).encode(tf.constant(["a b"]))
    with pytest.raises(ImportError):
        graph_tokenizer(trained)
