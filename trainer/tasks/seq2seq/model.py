"""Sequence to sequence with attention: a source in, the logits of each next target token out.

Letters: B batch, S source steps, T target steps, E embedding, H hidden, M = 2H memory, V target vocabulary.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from trainer.config.train import ModelFlags
from trainer.nn.model import Model
from trainer.nn.recurrent import Recurrent, RecurrentStack
from trainer.nn.step_context import StepContext, dropout
from trainer.tasks.seq2seq.attention import Attention, float32
from trainer.tasks.seq2seq.flags import TranslationFlags
from trainer.text.flags import EmbeddingFlags

DecoderState = Any  # a nest of tensors with leading dimension B


class Memory(NamedTuple):
    """The encoder's outputs that the decoder reads; every part has leading dimension B, so that rows can be repeated
    and gathered.
    """

    values: tf.Tensor  # [B, S, M], 0 in the padding
    keys: tf.Tensor  # [B, S, A]
    mask: tf.Tensor  # [B, S] bool, False for padding
    summary: tf.Tensor  # [B, M], mean of the values


class Seq2Seq(Model):
    """Bidirectional encoder, attention, and a decoder that is recurrent below and above the attention.

    The layer below (`query`) reads the target tokens alone, so all its steps run in one call of the recurrent kernel
    and attention for all steps is one batched product. The layers above read its outputs and the contexts, again in one
    call each: what was attended to is remembered without a loop over single steps (the two transitions of the
    conditional GRU of Nematus, Sennrich et al. 2017; contexts fed to the layers above as in Wu et al. 2016). With input
    feeding (Luong et al. 2015) the last layer's output is an input of the next step, so training too goes step by step.
    The output layer is a bottleneck of the embedding's size; with tied weights its matrix is the target embedding
    (Press and Wolf 2017).
    """

    def __init__(
        self,
        source_vocabulary: int,
        target_vocabulary: int,
        joint: bool,
        translation: TranslationFlags,
        token: EmbeddingFlags,
        model: ModelFlags,
        dtype: str,
        kernel: str = "auto",
    ):
        super().__init__("seq2seq")
        self._feeding, self._tied = translation.input_feeding, token.tie_weights
        self._rate, self._same = model.dropout, model.variational_dropout
        self._parts, self._units, self._size = (
            2 if model.cell == "lstm" else 1,
            model.units,
            token.embedding_size or model.units,
        )
        scale = keras.initializers.RandomUniform(-(self._size**-0.5), self._size**-0.5)

        def embedding(vocabulary: int, name: str) -> keras.layers.Embedding:
            return keras.layers.Embedding(vocabulary, self._size, embeddings_initializer=scale, dtype=dtype, name=name)

        self._target_embedding = embedding(target_vocabulary, "embedding" if joint else "target_embedding")
        self._source_embedding = self._target_embedding if joint else embedding(source_vocabulary, "source_embedding")
        self._encoder = RecurrentStack.of(model, dtype, name="encoder", bidirectional=True, kernel=kernel)
        self._query = Recurrent(model.cell, model.units, dtype, "query", model.recurrent_dropout, kernel)
        self._attention = Attention(translation.attention, model.units, 2 * model.units, dtype)
        self._decoder = RecurrentStack.of(model, dtype, name="decoder", kernel=kernel)
        self._first = keras.layers.Dense(
            self._parts * model.units * (1 + model.num_layers), "tanh", dtype=dtype, name="first_state"
        )
        self._bottleneck = keras.layers.Dense(self._size, "tanh", dtype=dtype, name="bottleneck")
        if not self._tied:
            self._matrix = self.add_weight((target_vocabulary, self._size), scale, name="output_matrix")
        self._bias = self.add_weight((target_vocabulary,), "zeros", name="output_bias")

    def call(
        self, source: tf.Tensor, source_lengths: tf.Tensor, target_inputs: tf.Tensor, context: StepContext | None = None
    ) -> tf.Tensor:
        """Logits [B, T, V] float32 of the tokens that follow `target_inputs`; see `encode` and `decode`."""
        return self.decode(self.encode(source, source_lengths, context), target_inputs, context)

    def encode(self, source: tf.Tensor, lengths: tf.Tensor, context: StepContext | None = None) -> Memory:
        """Reads sources.

        Args:
          source: [B, S] int32; what stands past the end of a row has no effect.
          lengths: valid tokens of each row, [B] int32 from 1 to S.
          noise: None stands for no dropout.
        """
        mask = tf.sequence_mask(lengths, tf.shape(source)[1])
        x = self._dropped(self._source_embedding(source), context, "source_embedding")
        values, _ = self._encoder.run(x, context=context, lengths=lengths)
        values = tf.where(mask[:, :, None], values, tf.zeros([], values.dtype))  # a norm may have added to the zeros
        summary = tf.reduce_sum(values, axis=1) / tf.cast(lengths, values.dtype)[:, None]
        return Memory(values, self._attention.keys(values), mask, summary)

    def decode(self, memory: Memory, target_inputs: tf.Tensor, context: StepContext | None = None) -> tf.Tensor:
        """Logits [B, T, V] float32 of the tokens that follow each of `target_inputs: [B, T]` int32 (the start token
        first).
        """
        return self.logits(self.outputs(memory, target_inputs, context))

    def outputs(self, memory: Memory, target_inputs: tf.Tensor, context: StepContext | None = None) -> tf.Tensor:
        """The inputs of `logits` for each of `target_inputs: [B, T]`, [B, T, E].

        Padding needs no mask: a step depends on the steps before it only.
        """
        x = self._embed_target(target_inputs, context)
        state = self.start(memory)
        if self._feeding:
            return self._outputs_step_by_step(memory, x, state, context)
        outputs, _, _ = self._advance(memory, x, state, context)
        return outputs

    def start(self, memory: Memory) -> DecoderState:
        """The decoder's state before the first token: all states from the mean of the encoder's outputs; zeros for what
        is fed.
        """
        parts = tf.split(self._first(memory.summary), self._first.units // self._units, axis=1)
        layers = [tuple(parts[i : i + self._parts]) for i in range(0, len(parts), self._parts)]
        fed = (tf.zeros([tf.shape(memory.summary)[0], self._size], memory.summary.dtype),) if self._feeding else ()
        return layers[0], tuple(layers[1:]), fed

    def step(self, memory: Memory, tokens: tf.Tensor, state: DecoderState) -> tuple[tf.Tensor, tf.Tensor, DecoderState]:
        """Reads one token a row.

        Args:
          memory: of the same rows.
          tokens: [B] int32, the start token at the first step.
          state: what `start` or an earlier step gave.

        Returns:
          Logits of the next token [B, V] float32, attention weights [B, S] float32, and the new state.
        """
        outputs, weights, state = self._advance(memory, self._embed_target(tokens[:, None], None), state, None)
        return self.logits(outputs[:, 0]), weights[:, 0], state

    def logits(self, outputs: tf.Tensor) -> tf.Tensor:
        """`outputs: [..., E]` -> [..., V] float32."""
        matrix, bias = self.output_weights()
        flat = tf.matmul(tf.reshape(outputs, [-1, self._size]), tf.cast(matrix, outputs.dtype), transpose_b=True)
        flat = tf.cast(flat, tf.float32) + bias
        return tf.reshape(flat, tf.concat([tf.shape(outputs)[:-1], [matrix.shape[0]]], axis=0))

    def output_weights(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Matrix [V, E] and bias [V] of the output layer, float32."""
        matrix = self._target_embedding.embeddings if self._tied else self._matrix
        return float32(matrix), float32(self._bias)

    def _embed_target(self, tokens: tf.Tensor, context: StepContext | None) -> tf.Tensor:
        return self._dropped(self._target_embedding(tokens), context, "target_embedding")

    def _dropped(self, x: tf.Tensor, context: StepContext | None, name: str) -> tf.Tensor:
        return dropout(x, self._rate, context, name, self._same)

    def _advance(
        self, memory: Memory, x: tf.Tensor, state: DecoderState, context: StepContext | None
    ) -> tuple[tf.Tensor, tf.Tensor, DecoderState]:
        """Goes on over embedded tokens `x: [B, T, E]` (T is 1 with input feeding): outputs [B, T, E], weights [B, T,
        S], state.
        """
        query_state, decoder_state, fed = state
        if fed:
            x = tf.concat([x, fed[0][:, None]], axis=-1)
        queries, query_state = self._query(x, context=context, state=query_state)
        contexts, weights = self._attention(queries, memory.keys, memory.values, memory.mask)
        above = self._dropped(tf.concat([queries, contexts], axis=-1), context, "above_attention")
        above, decoder_state = self._decoder.run(above, context=context, state=decoder_state)
        above = self._dropped(tf.concat([above, contexts], axis=-1), context, "below_bottleneck")
        outputs = self._bottleneck(above)
        fed = (outputs[:, 0],) if fed else ()
        return self._dropped(outputs, context, "output"), weights, (query_state, decoder_state, fed)

    def _outputs_step_by_step(
        self, memory: Memory, x: tf.Tensor, state: DecoderState, context: StepContext | None
    ) -> tf.Tensor:
        """`outputs` with input feeding: [B, T, E] -> [B, T, E]. Dropout between layers drops the same units at all
        steps.
        """
        steps = x.shape[1] if x.shape[1] is not None else tf.shape(x)[1]
        inputs = tf.TensorArray(x.dtype, size=steps, element_shape=[x.shape[0], self._size]).unstack(
            tf.transpose(x, [1, 0, 2])
        )
        written = tf.TensorArray(x.dtype, size=steps, element_shape=[x.shape[0], self._size])

        def body(
            t: tf.Tensor, state: DecoderState, written: tf.TensorArray
        ) -> tuple[tf.Tensor, DecoderState, tf.TensorArray]:
            outputs, _, state = self._advance(memory, inputs.read(t)[:, None], state, context)
            return t + 1, state, written.write(t, outputs[:, 0])

        loop = (tf.constant(0), state, written)
        _, _, written = tf.while_loop(
            lambda t, *_: t < steps, body, loop, parallel_iterations=1, maximum_iterations=steps
        )
        return tf.transpose(written.stack(), [1, 0, 2])
