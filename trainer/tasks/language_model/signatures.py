"""The language model behind signatures on strings: complete, score, and single steps for servers that stream."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from trainer.dataset.special_tokens import END, START, UNKNOWN
from trainer.tasks.language_model.flags import LanguageExportFlags
from trainer.tasks.language_model.generation import generate
from trainer.tasks.request_checks import at_least, at_most_tokens, checked_sampling, finite, of_rows, within
from trainer.tasks.serving import Serving, Signature
from trainer.text.graph_tokenizers import graph_tokenizer
from trainer.text.sampling import Sampling, sample
from trainer.text.sampling_inputs import SAMPLING_INPUTS, sampling_example
from trainer.text.tokenizer import Tokenizer

SCORED_AT_ONCE = 256  # tokens; long texts are scored piece by piece, so that logits stay small


class LanguageServer:
    """Maps strings to strings; `first` is the token that stands before every text, or before an empty one."""

    def __init__(
        self,
        model: keras.Model,
        tokenizer: Tokenizer,
        by_documents: bool,
        zero_state: Callable[[Any], Any],
        limits: LanguageExportFlags,
    ):
        self.model, self.by_documents, self.limits = model, by_documents, limits
        self.tokens = graph_tokenizer(tokenizer)
        self._zero_state = zero_state
        newline = tokenizer.encode("\n")
        self._first = START if by_documents else int(newline[-1]) if len(newline) else UNKNOWN

    def complete(
        self,
        prompt: tf.Tensor,
        max_tokens: tf.Tensor,
        temperature: tf.Tensor,
        top_k: tf.Tensor,
        top_p: tf.Tensor,
        seed: tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        """Goes on with each prompt.

        Args:
          prompt: [B] string, of at most `largest_prompt_tokens`.
          max_tokens: [B] int32, most new tokens, at least 1; no row gets more than `largest_max_tokens`.
          temperature: [B] float32, 0 takes the likeliest token.
          top_k: [B] int32, 0 is not a limit.
          top_p: [B] float32, 1 is not a limit.
          seed: [B] int64; the same seed gives the same text, whatever else is in the batch.

        Returns:
          `completion: [B]` string, `num_tokens: [B]` int32.
        """
        limit = tf.minimum(at_least(max_tokens, 1, "max_tokens"), self.limits.largest_max_tokens)
        limit = of_rows(limit, prompt, "max_tokens")
        sampling = checked_sampling(Sampling(temperature, top_k, top_p, seed), prompt)
        ids, lengths = self._encode(prompt, self.limits.largest_prompt_tokens, "prompt")
        logits, state = self.model.read(ids, lengths)
        tokens, count = generate(self.model, logits, state, limit, sampling, END)
        return {"completion": self.tokens.decode(tokens, count), "num_tokens": count}

    def score(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        """Nats of each text, from a zero state.

        Documents are scored whole, end token included; of a text out of a stream, the first token is not scored, as in
        training.

        Args:
          text: [B] string, of at most `largest_text_tokens`.

        Returns:
          `nats: [B]` float32, `tokens: [B]` int32 (scored ones), `nats_per_char: [B]` float32 (0 where nothing is
            scored).
        """
        ids, lengths = self._encode(text, self.limits.largest_text_tokens, "text")
        if self.by_documents:
            ends = tf.one_hot(lengths, tf.shape(ids)[1] + 1, dtype=tf.int32) * END
            ids = tf.pad(ids, [[0, 0], [0, 1]]) + ends
            lengths += 1
        targets = tf.maximum(lengths - 1, 0)
        nats = self._nats(ids, targets)
        characters = tf.cast(tf.strings.length(text, unit="UTF8_CHAR"), tf.float32)
        tokens = tf.cast(lengths if not self.by_documents else targets, tf.float32)
        share = tf.math.divide_no_nan(tf.cast(targets, tf.float32), tokens)  # of the characters that are scored
        return {"nats": nats, "tokens": targets, "nats_per_char": tf.math.divide_no_nan(nats, characters * share)}

    def step(
        self,
        token: tf.Tensor,
        position: tf.Tensor,
        temperature: tf.Tensor,
        top_k: tf.Tensor,
        top_p: tf.Tensor,
        seed: tf.Tensor,
        **state: tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        """Reads one token a row and chooses the next: state in, state out.

        Args:
          token: [B] int32, the token read.
          position: [B] int64, number (from 0) of the token chosen in its completion.
          temperature, top_k, top_p, seed: as in `complete`.
          **state: `state_0`, `state_1`, ...: [B, H] float32, and [B, n - 1] int32 where the model reads n-grams; zeros
            at the start.

        Returns:
          `logits: [B, V]`, `next: [B]` int32, `text: [B]` string of the chosen token's bytes, and the new state.
        """
        token, position = (
            within(token, 0, self.tokens.size - 1, "token"),
            at_least(of_rows(position, token, "position"), 0, "position"),
        )
        sampling = checked_sampling(Sampling(temperature, top_k, top_p, seed), token)
        flat = [
            of_rows(self._checked_state(state, f"state_{index}"), token, f"state_{index}")
            for index in range(len(state))
        ]
        nested = tf.nest.pack_sequence_as(self._zero_state(1), flat)
        logits, after = self.model(token[:, None], state=nested)
        chosen = sample(logits[:, 0], sampling, position)
        text = self.tokens.decode(chosen[:, None], tf.ones_like(chosen))
        new = {f"state_{index}": part for index, part in enumerate(tf.nest.flatten(after))}
        return {"logits": logits[:, 0], "next": chosen, "text": text, **new}

    def encode(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        """Tokens to feed `step` with: `tokens: [B, P]` int32 filled up with 0, `lengths: [B]` int32 (at least 1)."""
        ids, lengths = self._encode(text, self.limits.largest_text_tokens, "text")
        return {"tokens": ids, "lengths": lengths}

    def _checked_state(self, state: dict[str, tf.Tensor], name: str) -> tf.Tensor:
        """A part of the state: numbers, or the tokens before the one read."""
        part = state[name]
        return finite(part, name) if part.dtype.is_floating else within(part, 0, self.tokens.size - 1, name)

    def _encode(self, texts: tf.Tensor, largest: int, name: str) -> tuple[tf.Tensor, tf.Tensor]:
        """Token ids with `first` before every document, or (a stream has no beginning) before empty texts only."""
        ids, lengths = self.tokens.encode(texts)
        lengths = at_most_tokens(lengths, largest, name)
        first = tf.fill([tf.shape(ids)[0], 1], self._first)
        if self.by_documents:
            return tf.concat([first, ids], axis=1), lengths + 1
        ids = tf.pad(ids, [[0, 0], [0, 1]])  # room for one token where all texts are empty
        empty = tf.equal(lengths, 0)
        ids = tf.where(empty[:, None], tf.concat([first, ids[:, 1:]], axis=1), ids)
        lengths = tf.maximum(lengths, 1)
        return ids[:, : tf.maximum(tf.reduce_max(lengths), 1)], lengths

    def _nats(self, ids: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Sum of -log p of the first `targets: [B]` targets of each row of `ids: [B, P]`, [B] float32."""
        pieces = (tf.shape(ids)[1] - 1 + SCORED_AT_ONCE - 1) // SCORED_AT_ONCE
        padded = tf.pad(ids, [[0, 0], [0, SCORED_AT_ONCE + 1]])

        def add(piece: tf.Tensor, nats: tf.Tensor, state: Any) -> tuple[tf.Tensor, tf.Tensor, Any]:
            first = piece * SCORED_AT_ONCE
            part = padded[:, first : first + SCORED_AT_ONCE + 1]
            logits, state = self.model(part[:, :-1], state=state)
            each = tf.nn.sparse_softmax_cross_entropy_with_logits(part[:, 1:], logits)
            counts = tf.cast(first + tf.range(SCORED_AT_ONCE)[None] < targets[:, None], tf.float64)
            return piece + 1, nats + tf.reduce_sum(tf.cast(each, tf.float64) * counts, axis=1), state

        size = tf.shape(ids)[0]
        start = (tf.constant(0), tf.zeros([size], tf.float64), self._zero_state(size))
        _, nats, _ = tf.while_loop(lambda piece, *_: piece < pieces, add, start, parallel_iterations=1)
        return tf.cast(nats, tf.float32)


def language_serving(
    model: keras.Model,
    tokenizer: Tokenizer,
    by_documents: bool,
    zero_state: Callable[[Any], Any],
    limits: LanguageExportFlags,
) -> Serving:
    """Signatures `serving_default`, `score`, `step` and `encode` of a language model."""
    server = LanguageServer(model, tokenizer, by_documents, zero_state, limits)
    zeros = {f"state_{index}": part.numpy() for index, part in enumerate(tf.nest.flatten(zero_state(3)))}
    state = tuple(tf.TensorSpec([None, part.shape[1]], part.dtype, name) for name, part in zeros.items())
    strings = tf.TensorSpec([None], tf.string, "prompt")
    texts = tf.TensorSpec([None], tf.string, "text")
    choice = sampling_example()
    prompts = np.array(["The ", "", "a longer beginning"], np.bytes_)
    requested = np.array([8, 4, 6], np.int32)
    read = np.minimum([4, 5, 6], tokenizer.size - 1).astype(np.int32)
    single: dict[str, np.ndarray] = {"token": read, "position": np.arange(3, dtype=np.int64), **choice, **zeros}
    max_tokens = tf.TensorSpec([None], tf.int32, "max_tokens")
    token, position = tf.TensorSpec([None], tf.int32, "token"), tf.TensorSpec([None], tf.int64, "position")
    signatures = {
        "serving_default": Signature(
            server.complete,
            (strings, max_tokens, *SAMPLING_INPUTS),
            {"prompt": prompts, "max_tokens": requested, **choice},
        ),
        "score": Signature(server.score, (texts,), {"text": prompts}),
        "step": Signature(server.step, (token, position, *SAMPLING_INPUTS, *state), single),
        "encode": Signature(server.encode, (texts,), {"text": prompts}),
    }
    contract = {
        "task": "language_model",
        "tokenizer": tokenizer.kind,
        "vocabulary_size": tokenizer.size,
        "vocabulary_sha256": tokenizer.sha256,
        "stop_token": END,
        "documents": "lines" if by_documents else "stream",
        "state": [part.shape[1] for part in zeros.values()],
        "limits": {
            "max_tokens": limits.largest_max_tokens,
            "prompt_tokens": limits.largest_prompt_tokens,
            "text_tokens": limits.largest_text_tokens,
        },
    }
    return Serving(signatures, contract, (server.tokens,), server.tokens.op_modules)
