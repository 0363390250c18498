"""Beam search in the graph, with length and coverage penalties, n-best lists and attention; only core TensorFlow ops.

Letters: B batch, L rows of it that are still searched, K lanes (the beam's size), N hypotheses given, S source steps, T
target steps, V vocabulary.

Of the hypotheses that grow, every row keeps the K likeliest, in lanes. One that takes the end token is finished where
it is among the K likeliest of that step, finished ones included; the N with the best penalised scores are kept. A row
ends when no growing hypothesis can still beat the last of these: log probabilities only fall, and the length's factor
is largest at the limit. Equal candidates go to the lane, then to the token, with the lower number, so that the result
is one and the same on every run.

As long as the greedy hypothesis grows it holds lane 0, whatever it is worth, and its end is always let in: the best
hypothesis found is never worse than the greedy one. Lanes are reordered by gathering the decoder's state alone; tokens
are found afterwards through pointers to the lanes they came from. Rows that have ended are taken out once they are a
quarter of those at work.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from trainer.dataset.special_tokens import END, PAD, START
from trainer.tasks.seq2seq.decoding import Decoder, DecoderState, Hypotheses, Memory, length_factor, penalized
from trainer.tasks.seq2seq.flags import SearchFlags

NEVER = -float("inf")
WIDEST_CHUNK = 64


class Beam(NamedTuple):
    """The hypotheses that grow."""

    rows: tf.Tensor  # [L] int32, rising: the rows at work
    memory: Memory  # of each lane, leading dimension L * K
    tokens: tf.Tensor  # [L * K] int32, the last of each lane
    state: DecoderState  # of the decoder, leading dimension L * K
    log_probabilities: tf.Tensor  # [L, K] float32, -inf for a lane without a hypothesis
    coverage: tf.Tensor  # [L, K, S] float32, attention so far
    greedy: tf.Tensor  # [L] bool, whether lane 0 holds the greedy hypothesis


class Finished(NamedTuple):
    """The best hypotheses with an end token, best first; score -inf where there are fewer."""

    scores: tf.Tensor  # [B, N] float32
    log_probabilities: tf.Tensor  # [B, N] float32
    lengths: tf.Tensor  # [B, N] int32, tokens before the end token
    lanes: tf.Tensor  # [B, N] int32, lane after `lengths` steps


class History(NamedTuple):
    """The choices of every step, one entry a step."""

    tokens: tf.TensorArray  # of [B, K] int32, token of each lane after the step
    parents: tf.TensorArray  # of [B, K] int32, lane before the step of each lane after it
    attention: tf.TensorArray  # of [B, K, S] float32, by lanes before the step; empty where nobody asked


class Continuations(NamedTuple):
    """The candidates of each lane: M of its likeliest tokens, or the end token."""

    ids: tf.Tensor  # [L, K, M] int32
    growing: tf.Tensor  # [L, K, M] float32, log probability with each; -inf for tokens that do not go on
    ending: tf.Tensor  # [L, K] float32, log probability with the end token
    greedy: tf.Tensor  # [L, M] bool, the likeliest token of lane 0
    greedy_ends: tf.Tensor  # [L] bool, whether that is the end token


def beam_search(
    decoder: Decoder, memory: Memory, limit: tf.Tensor, search: SearchFlags, n_best: int = 1, attention: bool = False
) -> Hypotheses:
    """Searches the best translations.

    Args:
      decoder: what `start`s and `step`s.
      memory: nest of tensors with leading dimension B, with `mask: [B, S]` bool among its fields.
      limit: [B] int32, most tokens of a translation, the end token included; at least 1.
      search: size and penalties.
      n_best: N, at most the beam's size.
      attention: whether to give the attention weights too.

    Returns:
      The N best hypotheses of each row; a row does not depend on the others.
    """
    size, longest, batch = search.beam_size, tf.maximum(tf.reduce_max(limit), 1), tf.shape(limit)[0]

    def goes_on(step: tf.Tensor, beam: Beam, *_: Any) -> tf.Tensor:
        open_ends = tf.reduce_any(beam.log_probabilities > NEVER)
        return tf.logical_and(step < longest, tf.logical_or(step == 0, open_ends))  # one step where there are no rows

    def body(step: tf.Tensor, beam: Beam, finished: Finished, history: History) -> Any:
        beam = _without_ended(beam, size)
        limit_here, mask = tf.gather(limit, beam.rows), tf.gather(memory.mask, beam.rows)
        logits, weights, state = decoder.step(beam.memory, beam.tokens, beam.state)
        weights = tf.reshape(weights, tf.shape(beam.coverage))
        coverage = beam.coverage + weights
        options = _continuations(logits, beam, size)
        tokens, parents, log_probabilities = _grown(options, size)
        ended = _ended(options, beam, log_probabilities, step + 1 >= limit_here)
        scores = tf.where(ended, penalized(options.ending, step + 1, coverage, mask[:, None], search), NEVER)
        kept = _kept(Finished(*(tf.gather(part, beam.rows) for part in finished)), scores, options.ending, step)
        finished = Finished(
            *(tf.tensor_scatter_nd_update(part, beam.rows[:, None], new) for part, new in zip(finished, kept))
        )
        history = _written(history, step, beam.rows, batch, (tokens, parents, *([weights] if attention else [])))
        best = tf.reduce_max(log_probabilities, axis=1) / length_factor(limit_here, search)
        live = tf.logical_and(step + 1 < limit_here, kept.scores[:, -1] < best)
        lanes = _lanes(tf.range(tf.shape(parents)[0]), parents, size)
        beam = Beam(
            beam.rows,
            beam.memory,
            tf.reshape(tokens, [-1]),
            tf.nest.map_structure(lambda part: tf.gather(part, lanes), state),
            tf.where(live[:, None], log_probabilities, NEVER),
            tf.gather(coverage, parents, batch_dims=1),
            tf.logical_and(beam.greedy, tf.logical_not(options.greedy_ends)),
        )
        return step + 1, beam, finished, history

    start = (tf.constant(0), _first(decoder, memory, size), _none(limit, n_best), _history(longest, size))
    shapes = (start[0].shape, tf.nest.map_structure(_any_rows, start[1]), *tf.nest.map_structure(_fixed, start[2:]))
    _, _, finished, history = tf.while_loop(goes_on, body, start, shape_invariants=shapes, parallel_iterations=1)
    return _traced_back(finished, history, attention)


def _any_rows(part: tf.Tensor) -> tf.TensorShape:
    return tf.TensorShape([None, *part.shape[1:]])


def _fixed(part: tf.Tensor | tf.TensorArray) -> tf.TensorShape:
    return part.shape if tf.is_tensor(part) else tf.TensorShape([])  # a loop sees a TensorArray as a scalar


def _lanes(rows: tf.Tensor, lanes: tf.Tensor, size: int) -> tf.Tensor:
    """Places of `lanes: [L, K]` (or what broadcasts to it) of `rows: [L]` where all lanes stand in one dimension, [L *
    K].
    """
    return tf.reshape(rows[:, None] * size + lanes, [-1])


def _first(decoder: Decoder, memory: Memory, size: int) -> Beam:
    """One empty hypothesis a row, in lane 0."""
    rows = tf.range(tf.shape(memory.mask)[0])
    repeated = tf.nest.map_structure(lambda part: tf.repeat(part, size, axis=0), memory)
    return Beam(
        rows,
        repeated,
        tf.repeat(tf.fill(tf.shape(rows), START), size),
        decoder.start(repeated),
        tf.repeat(tf.constant([[0.0, *[NEVER] * (size - 1)]]), tf.shape(rows)[0], axis=0),
        tf.repeat(tf.zeros_like(memory.mask, tf.float32)[:, None], size, axis=1),
        tf.fill(tf.shape(rows), True),
    )


def _without_ended(beam: Beam, size: int) -> Beam:
    """The beam without the rows that have no lane left, where these are a quarter or more: to take them out costs a
    copy.
    """
    live = tf.reduce_any(beam.log_probabilities > NEVER, axis=1)
    rows = tf.cast(tf.where(live)[:, 0], tf.int32)
    lanes = _lanes(rows, tf.range(size), size)

    def without() -> Beam:
        of_lanes = tf.nest.map_structure(lambda part: tf.gather(part, lanes), (beam.memory, beam.tokens, beam.state))
        of_rows = (tf.gather(part, rows) for part in (beam.log_probabilities, beam.coverage, beam.greedy))
        return Beam(tf.gather(beam.rows, rows), *of_lanes, *of_rows)

    return tf.cond(4 * tf.size(rows) <= 3 * tf.size(live), without, lambda: beam)


def _written(
    history: History, step: tf.Tensor, rows: tf.Tensor, batch: tf.Tensor, parts: tuple[tf.Tensor, ...]
) -> History:
    """One step more, for all B rows: 0 where a row is no longer at work."""
    shapes = [tf.concat([[batch], tf.shape(part)[1:]], axis=0) for part in parts]
    whole = [tf.scatter_nd(rows[:, None], part, shape) for part, shape in zip(parts, shapes)]
    return History(*(array.write(step, part) for array, part in zip(history, whole)), *history[len(parts) :])


def _none(limit: tf.Tensor, n_best: int) -> Finished:
    zeros = tf.repeat(tf.zeros_like(limit)[:, None], n_best, axis=1)
    never = tf.cast(zeros, tf.float32) + NEVER
    return Finished(never, never, zeros, zeros)


def _history(longest: tf.Tensor, size: int) -> History:
    tokens, parents = (
        tf.TensorArray(tf.int32, size=longest, element_shape=[None, size], clear_after_read=False) for _ in range(2)
    )
    return History(
        tokens,
        parents,
        tf.TensorArray(tf.float32, size=longest, element_shape=[None, size, None], clear_after_read=False),
    )


def largest(values: tf.Tensor, count: int) -> tuple[tf.Tensor, tf.Tensor]:
    """The `count` largest of each row of `values: [R, V]` and their places, [R, count] each, falling, of equals the
    first place first.

    As tf.math.top_k, but a row is read once for the largest of each chunk, and only the `count` best chunks are
    searched: every other chunk has `count` values before its own. Rows that do not divide into chunks go to
    tf.math.top_k.
    """
    size = values.shape[1]
    width = max(width for width in range(1, WIDEST_CHUNK + 1) if size % width == 0)
    if width < WIDEST_CHUNK // 4 or size // width <= count:
        return tf.math.top_k(values, k=count)
    chunks = tf.reshape(values, [-1, size // width, width])
    _, best = tf.math.top_k(tf.reduce_max(chunks, axis=2), k=count)
    best = tf.sort(best, axis=1)  # in the order of the row, for equal values
    best_values, places = tf.math.top_k(tf.reshape(tf.gather(chunks, best, batch_dims=1), [-1, count * width]), k=count)
    return best_values, tf.gather(best, places // width, batch_dims=1) * width + places % width


def _continuations(logits: tf.Tensor, beam: Beam, size: int) -> Continuations:
    """The candidates that `logits: [L * K, V]` offer; K tokens a lane that go on are enough, and PAD, START and END may
    stand among the likeliest.
    """
    count = min(size + 3, logits.shape[1])
    values, ids = largest(logits, count)
    total = tf.reduce_logsumexp(logits, axis=1)
    possible = tf.where(tf.logical_or(ids == PAD, ids == START), NEVER, values - total[:, None])
    possible, ids = (tf.reshape(part, [-1, size, count]) for part in (possible, ids))
    likeliest = tf.argmax(possible[:, 0], axis=1, output_type=tf.int32)
    greedy_ends = tf.gather(ids[:, 0], likeliest, batch_dims=1) == END
    growing = beam.log_probabilities[:, :, None] + tf.where(ids == END, NEVER, possible)
    ending = beam.log_probabilities + tf.reshape(logits[:, END] - total, [-1, size])
    holds = tf.logical_and(beam.greedy, tf.logical_not(greedy_ends))
    greedy = tf.logical_and(holds[:, None], tf.one_hot(likeliest, count, on_value=True, off_value=False))
    return Continuations(ids, growing, ending, greedy, greedy_ends)


def _grown(options: Continuations, size: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Tokens, parents and log probabilities of the next lanes, [L, K] each: the greedy one, then the likeliest."""
    count = options.ids.shape[2]
    first = tf.one_hot(0, size, on_value=True, off_value=False)[None, :, None]
    ranks = tf.where(tf.logical_and(first, options.greedy[:, None]), float("inf"), options.growing)
    _, places = tf.math.top_k(tf.reshape(ranks, [-1, size * count]), k=size)
    tokens, values = (
        tf.gather(tf.reshape(part, [-1, size * count]), places, batch_dims=1) for part in (options.ids, options.growing)
    )
    return tokens, places // count, values


def _ended(options: Continuations, beam: Beam, grown: tf.Tensor, last: tf.Tensor) -> tf.Tensor:
    """Which lanes' ends are let in, [L, K] bool: among the K likeliest, the greedy one's, and all at the limit (`last:
    [L]` bool).
    """
    size = grown.shape[1]
    values, _ = tf.math.top_k(tf.concat([grown, options.ending], axis=1), k=size)
    greedy = (
        tf.logical_and(beam.greedy, options.greedy_ends)[:, None]
        & tf.one_hot(0, size, on_value=True, off_value=False)[None]
    )
    return (options.ending >= values[:, -1:]) | greedy | last[:, None]


def _kept(finished: Finished, scores: tf.Tensor, log_probabilities: tf.Tensor, step: tf.Tensor) -> Finished:
    """The N best of those there are and the new ones, `scores: [L, K]`; of equals, the earlier."""
    lanes = tf.zeros_like(scores, tf.int32) + tf.range(scores.shape[1])
    new = Finished(scores, log_probabilities, tf.zeros_like(lanes) + step, lanes)
    best, places = tf.math.top_k(tf.concat([finished.scores, scores], axis=1), k=finished.scores.shape[1])
    both = (tf.concat(parts, axis=1) for parts in zip(finished[1:], new[1:]))
    return Finished(best, *(tf.gather(part, places, batch_dims=1) for part in both))


def _traced_back(finished: Finished, history: History, attention: bool) -> Hypotheses:
    """Reads tokens (and attention, where it was written) from the last step to the first, along the lanes' parents."""
    ended = finished.scores > NEVER
    lengths = tf.where(ended, finished.lengths, 0)
    longest = tf.maximum(tf.reduce_max(lengths), 1)
    tokens = tf.TensorArray(tf.int32, size=longest, element_shape=finished.lanes.shape)
    weights = tf.TensorArray(tf.float32, size=longest, element_shape=[*finished.lanes.shape, None])

    def back(step: tf.Tensor, lanes: tf.Tensor, tokens: tf.TensorArray, weights: tf.TensorArray) -> Any:
        inside = step < lengths
        chosen = tf.gather(history.tokens.read(step), lanes, batch_dims=1)
        parents = tf.gather(history.parents.read(step), lanes, batch_dims=1)
        if attention:
            each = tf.gather(history.attention.read(step), parents, batch_dims=1)
            weights = weights.write(step, tf.where(inside[..., None], each, 0.0))
        return step - 1, tf.where(inside, parents, lanes), tokens.write(step, tf.where(inside, chosen, PAD)), weights

    loop = (longest - 1, finished.lanes, tokens, weights)
    _, _, tokens, weights = tf.while_loop(lambda step, *_: step >= 0, back, loop, parallel_iterations=1)
    looked = tf.transpose(weights.stack(), [1, 2, 0, 3]) if attention else None
    return Hypotheses(
        tf.transpose(tokens.stack(), [1, 2, 0]), lengths, finished.scores, finished.log_probabilities, looked
    )
