"""Decoding of sequence-to-sequence models in the graph: what a decoder does, what a hypothesis is worth, greedy search
and sampling.

Letters: B batch, S source steps, T target steps, N hypotheses a row, V vocabulary. Only core TensorFlow ops.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import tensorflow as tf

from trainer.dataset.special_tokens import END, PAD, START
from trainer.tasks.seq2seq.flags import SearchFlags
from trainer.text.sampling import Sampling, sample

DecoderState = Any  # a nest of tensors with leading dimension B
Memory = Any  # the same, with `mask: [B, S]` bool, False for padding, among its fields
LEAST_COVERAGE = 1e-9  # keeps the logarithm finite for a source token that got no attention at all


class Decoder(Protocol):
    """The two calls that decoding makes."""

    def start(self, memory: Memory) -> DecoderState:
        """The state before the first token."""

    def step(self, memory: Memory, tokens: tf.Tensor, state: DecoderState) -> tuple[tf.Tensor, tf.Tensor, DecoderState]:
        """Reads `tokens: [B]` int32: logits of the next token [B, V] float32, attention [B, S] float32, new state."""


class Hypotheses(NamedTuple):
    """The best translations of each row, best first; where a row has fewer than N, the last have score -inf and length
    0.
    """

    tokens: (
        tf.Tensor
    )  # [B, N, T] int32 without the end token, filled up with PAD; T is at least the longest of the batch
    lengths: tf.Tensor  # [B, N] int32, tokens without the end token
    scores: tf.Tensor  # [B, N] float32, log probability with the penalties
    log_probabilities: tf.Tensor  # [B, N] float32, nats, the end token's included
    attention: tf.Tensor | None  # [B, N, T, S] float32, 0 past the end, where asked for


def length_limit(source_lengths: tf.Tensor) -> tf.Tensor:
    """Most target tokens, the end token included, for sources of `source_lengths: [B]` tokens, [B] int32."""
    return 2 * tf.cast(source_lengths, tf.int32) + 10


def length_factor(tokens: tf.Tensor, search: SearchFlags) -> tf.Tensor:
    """The divisor of log probabilities of hypotheses of so many tokens, end token included (Wu et al. 2016,
    equation 14).
    """
    return ((5.0 + tf.cast(tokens, tf.float32)) / 6.0) ** search.length_penalty


def penalized(
    log_probabilities: tf.Tensor, tokens: tf.Tensor, coverage: tf.Tensor, mask: tf.Tensor, search: SearchFlags
) -> tf.Tensor:
    """Scores of whole hypotheses: log probability over the length's factor, plus the coverage penalty (Wu et al. 2016,
    equation 14).

    Args:
      log_probabilities: [...] float32.
      tokens: [...] int32 (or what broadcasts to it), the end token included.
      coverage: [..., S] float32, attention that each source token got in total.
      mask: [..., S] bool (or what broadcasts to it), False for padding.
      search: the two penalties.
    """
    scores = log_probabilities / length_factor(tokens, search)
    if search.coverage_penalty == 0:
        return scores
    each = tf.math.log(tf.clip_by_value(coverage, LEAST_COVERAGE, 1.0))
    return scores + search.coverage_penalty * tf.reduce_sum(tf.where(mask, each, 0.0), axis=-1)


def greedy(decoder: Decoder, memory: Memory, limit: tf.Tensor, search: SearchFlags) -> Hypotheses:
    """Takes the likeliest token at every step (the first of equals) until the end token, or until `limit: [B]` int32 is
    reached.

    The last token that the limit leaves room for is the end token. Padding and start are never chosen. N is 1; no
    attention.
    """
    return _one_by_one(
        decoder, memory, limit, search, lambda logits, step: tf.argmax(logits, axis=1, output_type=tf.int32)
    )


def sample_hypotheses(
    decoder: Decoder, memory: Memory, limit: tf.Tensor, search: SearchFlags, sampling: Sampling
) -> Hypotheses:
    """As `greedy`, but draws every token; a row depends on its own seed alone."""

    def draw(logits: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        return sample(logits, sampling, tf.fill(tf.shape(limit), tf.cast(step, tf.int64)))

    return _one_by_one(decoder, memory, limit, search, draw)


def _one_by_one(
    decoder: Decoder,
    memory: Memory,
    limit: tf.Tensor,
    search: SearchFlags,
    choose: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
) -> Hypotheses:
    """One hypothesis a row, whose tokens `choose(logits [B, V], step)` picks; a row that has ended only waits for the
    others.
    """
    longest = tf.maximum(
        tf.reduce_max(limit), 1
    )  # one step where there are no rows: TensorFlow cannot stack an empty list

    def goes_on(step: tf.Tensor, live: tf.Tensor, *_: Any) -> tf.Tensor:
        return tf.logical_and(step < longest, tf.logical_or(step == 0, tf.reduce_any(live)))

    def take(
        step: tf.Tensor, live: tf.Tensor, tokens: tf.Tensor, state: DecoderState, sums: Any, written: tf.TensorArray
    ) -> Any:
        count, log_probabilities, coverage = sums
        logits, attention, state = decoder.step(memory, tokens, state)
        chosen = choose(_allowed(logits), step)
        chosen = tf.where(step + 1 >= limit, END, chosen)
        each = tf.gather(logits, chosen, batch_dims=1) - tf.reduce_logsumexp(logits, axis=1)
        log_probabilities += tf.where(live, each, 0.0)
        coverage += tf.where(live[:, None], attention, 0.0)
        live = tf.logical_and(live, chosen != END)
        count += tf.cast(live, tf.int32)
        return (
            step + 1,
            live,
            chosen,
            state,
            (count, log_probabilities, coverage),
            written.write(step, tf.where(live, chosen, PAD)),
        )

    rows = tf.zeros_like(limit)
    sums = (rows, tf.zeros_like(limit, tf.float32), tf.zeros_like(memory.mask, tf.float32))
    written = tf.TensorArray(tf.int32, size=longest, element_shape=[None])
    start = (tf.constant(0), limit > 0, rows + START, decoder.start(memory), sums, written)
    _, _, _, _, (count, log_probabilities, coverage), written = tf.while_loop(
        goes_on, take, start, parallel_iterations=1
    )
    tokens = tf.transpose(written.stack()[: tf.maximum(tf.reduce_max(count), 0)])
    scores = penalized(log_probabilities, count + 1, coverage, memory.mask, search)
    return Hypotheses(tokens[:, None], count[:, None], scores[:, None], log_probabilities[:, None], None)


def _allowed(logits: tf.Tensor) -> tf.Tensor:
    """Padding and start get a logit of -inf."""
    ids = tf.range(tf.shape(logits)[1])
    return tf.where(tf.logical_or(ids == PAD, ids == START), -float("inf"), logits)
