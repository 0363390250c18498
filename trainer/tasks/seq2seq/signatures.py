"""The translator behind signatures on strings: beam search, greedy search, sampling, and attention for a picture.

Letters: B batch, N translations a text, S source tokens, T target tokens, K beam.
"""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from trainer.config.trained_model import ExportConfig
from trainer.dataset.special_tokens import END, SPECIAL
from trainer.tasks.request_checks import at_most_tokens, checked_sampling
from trainer.tasks.seq2seq.beam_search import beam_search
from trainer.tasks.seq2seq.decoding import Hypotheses, Memory, greedy, length_limit, sample_hypotheses
from trainer.tasks.seq2seq.flags import SearchFlags, TranslationExportFlags
from trainer.tasks.serving import Serving, Signature
from trainer.text.graph_tokenizers import GraphTokenizer, graph_tokenizer
from trainer.text.sampling import Sampling
from trainer.text.sampling_inputs import SAMPLING_INPUTS, sampling_example
from trainer.text.tokenizer import Tokenizer


class TranslationServer:
    """Maps source texts to target texts; how the search goes is fixed here, once for all requests."""

    def __init__(
        self,
        model: keras.Model,
        source: Tokenizer,
        target: Tokenizer,
        search: SearchFlags,
        n_best: int = 1,
        largest_source_tokens: int = tf.int32.max,
    ):
        self.model, self._search, self._n_best, self._largest = model, search, n_best, largest_source_tokens
        self.source = graph_tokenizer(source)
        self.target = self.source if target is source else graph_tokenizer(target)

    def translate(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        """The N best translations of each text.

        Args:
          text: [B] string.

        Returns:
          `translations: [B, N]` string, best first, `scores: [B, N]` float32 (with the penalties) and
            `log_probabilities: [B, N]` float32
          (nats). Where a text has fewer than N, the last are empty, with a score of -inf.
        """
        memory, limit, _ = self._read(text)
        hypotheses = beam_search(self.model, memory, limit, self._search, self._n_best)
        shape = tf.shape(hypotheses.lengths)
        tokens = tf.reshape(hypotheses.tokens, [-1, tf.shape(hypotheses.tokens)[2]])
        texts = tf.reshape(self.target.decode(tokens, tf.reshape(hypotheses.lengths, [-1])), shape)
        return {"translations": texts, "scores": hypotheses.scores, "log_probabilities": hypotheses.log_probabilities}

    def greedy(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        """The translation that takes the likeliest token at every step, the fastest: `text: [B]` string.

        Returns:
          `translation: [B]` string, `score: [B]` float32, `log_probability: [B]` float32.
        """
        memory, limit, _ = self._read(text)
        return self._first(greedy(self.model, memory, limit, self._search))

    def sample(
        self, text: tf.Tensor, temperature: tf.Tensor, top_k: tf.Tensor, top_p: tf.Tensor, seed: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """A translation drawn from the model's probabilities.

        Args:
          text: [B] string.
          temperature: [B] float32, 0 takes the likeliest token.
          top_k: [B] int32, 0 is not a limit.
          top_p: [B] float32, 1 is not a limit.
          seed: [B] int64; the same seed gives the same translation, whatever else is in the batch.

        Returns:
          As `greedy`.
        """
        sampling = checked_sampling(Sampling(temperature, top_k, top_p, seed), text)
        memory, limit, _ = self._read(text)
        return self._first(sample_hypotheses(self.model, memory, limit, self._search, sampling))

    def attention(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        """The best translation of each text, and what the model looked at for each of its tokens.

        Args:
          text: [B] string.

        Returns:
          `translation: [B]` string, `score: [B]` float32, `source_pieces: [B, S]` string (the end token last),
            `target_pieces: [B, T]`
          string, both empty past a row's end, and `attention: [B, T, S]` float32, 0 there.
        """
        memory, limit, ids = self._read(text)
        hypotheses = beam_search(self.model, memory, limit, self._search, attention=True)
        assert hypotheses.attention is not None
        first = self._first(hypotheses)
        return {
            "translation": first["translation"],
            "score": first["score"],
            "source_pieces": _pieces(self.source, ids),
            "target_pieces": _pieces(self.target, hypotheses.tokens[:, 0]),
            "attention": hypotheses.attention[:, 0],
        }

    def _read(self, text: tf.Tensor) -> tuple[Memory, tf.Tensor, tf.Tensor]:
        """The encoded texts, the limits of their translations [B], and their tokens with the end
        token [B, S].
        """
        ids, lengths = self.source.encode(text)
        lengths = at_most_tokens(lengths, self._largest, "text")
        ends = tf.one_hot(lengths, tf.shape(ids)[1] + 1, dtype=tf.int32) * END
        ids, lengths = tf.pad(ids, [[0, 0], [0, 1]]) + ends, lengths + 1
        return self.model.encode(ids, lengths), length_limit(lengths), ids

    def _first(self, hypotheses: Hypotheses) -> dict[str, tf.Tensor]:
        text = self.target.decode(hypotheses.tokens[:, 0], hypotheses.lengths[:, 0])
        return {
            "translation": text,
            "score": hypotheses.scores[:, 0],
            "log_probability": hypotheses.log_probabilities[:, 0],
        }


def _pieces(tokenizer: GraphTokenizer, ids: tf.Tensor) -> tf.Tensor:
    """The text of every single token of `ids: [B, T]`, [B, T] string; the end token is `<end>`, padding is empty."""
    flat = tf.reshape(ids, [-1, 1])
    texts = tokenizer.decode(flat, tf.ones_like(flat[:, 0]))
    return tf.reshape(tf.where(flat[:, 0] == END, SPECIAL[END], texts), tf.shape(ids))


def seq2seq_serving(model: keras.Model, source: Tokenizer, target: Tokenizer, config: ExportConfig) -> Serving:
    """Signatures `serving_default` (beam search), `greedy`, `sample` and `attention` of a sequence-to-sequence
    model.
    """
    search, flags = config.of(SearchFlags), config.of(TranslationExportFlags)
    server = TranslationServer(model, source, target, search, flags.n_best, flags.largest_source_tokens)
    text = tf.TensorSpec([None], tf.string, "text")
    texts: dict[str, np.ndarray] = {"text": np.array([b"A man", b"", b"12 of a longer sentence, 2026."])}
    signatures = {
        "serving_default": Signature(server.translate, (text,), texts),
        "greedy": Signature(server.greedy, (text,), texts),
        "sample": Signature(server.sample, (text, *SAMPLING_INPUTS), {**texts, **sampling_example()}),
        "attention": Signature(server.attention, (text,), texts),
    }
    contract = {
        "task": "seq2seq",
        "tokenizer": source.kind,
        "source_vocabulary": {"size": source.size, "sha256": source.sha256},
        "target_vocabulary": {"size": target.size, "sha256": target.sha256},
        "n_best": flags.n_best,
        "limits": {"source_tokens": flags.largest_source_tokens},
        **dataclasses.asdict(search),
    }
    return Serving(signatures, contract, (server.source, server.target), server.source.op_modules)
