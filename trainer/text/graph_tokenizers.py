"""The tokenizers as TensorFlow ops, so that a SavedModel takes and gives strings; their ids and texts are those of the
Python ones.

Core ops only, save for sentencepiece, which needs tensorflow-text's (TF Serving has them). Bytes of a string that are
no UTF-8 are read as U+FFFD; only the byte tokenizer takes them as they are.
"""

from __future__ import annotations

import abc

import tensorflow as tf

from trainer.dataset.special_tokens import END, PAD, SPECIAL, START, UNKNOWN, UNKNOWN_TEXT
from trainer.text.sentencepiece_tokenizer import SentencepieceTokenizer
from trainer.text.tokenizer import Tokenizer
from trainer.text.tokenizers import WORD_RANGES, ByteTokenizer, CharTokenizer, WordTokenizer


class GraphTokenizer(tf.Module, abc.ABC):
    """One vocabulary; the object that is saved must hold it as an attribute."""

    pad, unknown, start, end = PAD, UNKNOWN, START, END
    op_modules: tuple[str, ...] = ()  # Python modules that register ops beyond TensorFlow's own

    def __init__(self, size: int):
        super().__init__()
        self.size = size

    def encode(self, texts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """`texts: [B]` string -> ids [B, T] int32 with `pad` after each text's end, T those of the longest; lengths [B]
        int32.
        """
        ids = self._encode(texts)
        return ids.to_tensor(PAD), tf.cast(ids.row_lengths(), tf.int32)

    def decode(self, ids: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        """`ids: [B, T]` int32, of which `lengths: [B]` int32 of each row count -> texts [B] string."""
        return self._decode(tf.RaggedTensor.from_tensor(ids, lengths=tf.cast(lengths, tf.int64)))

    @abc.abstractmethod
    def _encode(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """[B] string -> [B, (T)] int32."""

    @abc.abstractmethod
    def _decode(self, ids: tf.RaggedTensor) -> tf.Tensor:
        """[B, (T)] int32 -> [B] string."""


def graph_tokenizer(tokenizer: Tokenizer) -> GraphTokenizer:
    """The graph ops for a Python tokenizer."""
    if isinstance(tokenizer, CharTokenizer):
        return _GraphChars(tokenizer)
    if isinstance(tokenizer, ByteTokenizer):
        return _GraphBytes(tokenizer)
    if isinstance(tokenizer, WordTokenizer):
        return _GraphWords(tokenizer)
    assert isinstance(tokenizer, SentencepieceTokenizer)
    return _GraphSentencepiece(tokenizer)


def _code_points(texts: tf.Tensor) -> tf.RaggedTensor:
    return tf.strings.unicode_decode(texts, "UTF-8", errors="replace")


def _without_marks(ids: tf.RaggedTensor) -> tf.RaggedTensor:
    return tf.ragged.boolean_mask(ids, tf.logical_or(ids == UNKNOWN, ids >= len(SPECIAL)))


class _GraphChars(GraphTokenizer):
    def __init__(self, tokenizer: CharTokenizer):
        super().__init__(tokenizer.size)
        points = [ord(character) for character in tokenizer.characters]
        self._known = tf.constant(points, tf.int32)  # rising, so that a search finds the id
        self._points = tf.constant([0, ord(UNKNOWN_TEXT), 0, 0, *points], tf.int32)

    def _encode(self, texts: tf.Tensor) -> tf.RaggedTensor:
        points = _code_points(texts)
        place = tf.searchsorted(self._known, points.flat_values)
        known = tf.gather(self._points, tf.minimum(place + len(SPECIAL), self.size - 1)) == points.flat_values
        return points.with_flat_values(tf.where(known, place + len(SPECIAL), UNKNOWN))

    def _decode(self, ids: tf.RaggedTensor) -> tf.Tensor:
        kept = _without_marks(ids)
        return tf.strings.unicode_encode(kept.with_flat_values(tf.gather(self._points, kept.flat_values)), "UTF-8")


class _GraphBytes(GraphTokenizer):
    def __init__(self, tokenizer: ByteTokenizer):
        super().__init__(tokenizer.size)
        unknown = [b"\xff" if index == UNKNOWN else b"" for index in range(len(SPECIAL))]
        self._texts = tf.constant([*unknown, *(bytes([value]) for value in range(256))])

    def _encode(self, texts: tf.Tensor) -> tf.RaggedTensor:
        values = tf.io.decode_raw(tf.strings.reduce_join(texts), tf.uint8)
        return tf.RaggedTensor.from_row_lengths(tf.cast(values, tf.int32) + len(SPECIAL), tf.strings.length(texts))

    def _decode(self, ids: tf.RaggedTensor) -> tf.Tensor:
        texts = ids.with_flat_values(tf.gather(self._texts, ids.flat_values))
        joined = tf.strings.reduce_join(texts, axis=-1)
        return tf.strings.unicode_transcode(joined, "UTF-8", "UTF-8", errors="replace")


class _GraphWords(GraphTokenizer):
    def __init__(self, tokenizer: WordTokenizer):
        super().__init__(tokenizer.size)
        words = [word.encode() for word in tokenizer.words]
        entries = tf.lookup.KeyValueTensorInitializer(
            tf.constant(words, tf.string),
            tf.range(len(SPECIAL), self.size, dtype=tf.int32),
            key_dtype=tf.string,
            value_dtype=tf.int32,
        )
        self._ids = tf.lookup.StaticHashTable(entries, UNKNOWN)
        self._texts = tf.constant([b"", UNKNOWN_TEXT.encode(), b"", b"", *words])
        # A character is in a word where an odd number of these borders lies at or before it.
        self._borders = tf.constant([border for first, last in WORD_RANGES for border in (first, last + 1)], tf.int32)

    def _encode(self, texts: tf.Tensor) -> tf.RaggedTensor:
        points = _code_points(texts)
        flat = points.flat_values
        in_word = tf.searchsorted(self._borders, flat, side="right") % 2 == 1
        space = flat == ord(" ")
        # What goes on with the token of the character before it: a word, and whatever but a space follows a space.
        goes_on = tf.logical_or(
            tf.logical_and(in_word[1:], in_word[:-1]), tf.logical_and(tf.logical_not(space[1:]), space[:-1])
        )
        begins = tf.concat([tf.ones_like(space[:1]), tf.logical_not(goes_on)], axis=0)
        # A text's first character begins a token whatever the text before it ends with.
        rows = tf.cast(points.value_rowids(), tf.int32)
        begins = tf.logical_or(begins, tf.concat([tf.ones_like(space[:1]), rows[1:] != rows[:-1]], axis=0))
        words = tf.RaggedTensor.from_row_starts(flat, tf.where(begins)[:, 0])
        ids = self._ids.lookup(tf.strings.unicode_encode(words, "UTF-8"))
        return tf.RaggedTensor.from_value_rowids(
            ids, tf.boolean_mask(points.value_rowids(), begins), nrows=points.nrows()
        )

    def _decode(self, ids: tf.RaggedTensor) -> tf.Tensor:
        return tf.strings.reduce_join(ids.with_flat_values(tf.gather(self._texts, ids.flat_values)), axis=-1)


class _GraphSentencepiece(GraphTokenizer):
    op_modules = ("tensorflow_text",)

    def __init__(self, tokenizer: SentencepieceTokenizer):
        import tensorflow_text  # registers its ops; only this kind needs them

        super().__init__(tokenizer.size)
        # a loaded model has one resource a name, so each vocabulary needs one of its own
        name = f"sentencepiece_{tokenizer.sha256}"
        self._model = tensorflow_text.SentencepieceTokenizer(model=tokenizer.content, out_type=tf.int32, name=name)

    def _encode(self, texts: tf.Tensor) -> tf.RaggedTensor:
        return self._model.tokenize(tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="replace"))

    def _decode(self, ids: tf.RaggedTensor) -> tf.Tensor:
        return self._model.detokenize(ids)
