"""A recurrent language model: tokens in, the next token's logits out."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from trainer.config.train import ModelFlags
from trainer.nn.model import Model
from trainer.nn.recurrent import RecurrentStack
from trainer.nn.step_context import StepContext, dropout
from trainer.tasks.language_model.flags import LanguageFlags
from trainer.tasks.language_model.ngrams import NgramEmbedding
from trainer.text.flags import EmbeddingFlags

LanguageState = (
    Any  # (state of RecurrentStack in float32, tokens before the next one [B, order - 1] int32 or () without n-grams)
)


class LanguageModel(Model):
    """Embedding, recurrent stack, output matrix (Mikolov et al. 2010; regularised as in Zaremba et al. 2015 and Merity
    et al. 2018).

    With tied weights the output matrix is the embedding, transposed (Press and Wolf 2017). Embeddings of n-grams go
    past the recurrent layers too, straight to the output (Mikolov et al. 2011).
    """

    def __init__(
        self,
        vocabulary: int,
        language: LanguageFlags,
        token: EmbeddingFlags,
        model: ModelFlags,
        dtype: str,
        kernel: str = "auto",
    ):
        super().__init__("language_model")
        self._rate, self._same = model.dropout, model.variational_dropout
        size = token.embedding_size or model.units
        scale = keras.initializers.RandomUniform(-(size**-0.5), size**-0.5)
        self._embedding = keras.layers.Embedding(
            vocabulary, size, embeddings_initializer=scale, dtype=dtype, name="embedding"
        )
        order, rows = language.ngram_order, language.ngram_rows
        self._ngrams = (
            NgramEmbedding(vocabulary, order, rows, size, language.ngram_dropout, dtype) if order > 1 else None
        )
        self.stack = RecurrentStack.of(model, dtype, kernel=kernel)
        self._tied = token.tie_weights
        if self._tied:
            width = model.units + (size if order > 1 else 0)
            self._to_embedding = (
                keras.layers.Dense(size, use_bias=False, dtype=dtype, name="to_embedding") if size != width else None
            )
            self._bias = self.add_weight((vocabulary,), "zeros", name="output_bias")
        else:
            self._output = keras.layers.Dense(vocabulary, dtype=dtype, name="output")

    def call(
        self,
        tokens: tf.Tensor,
        context: StepContext | None = None,
        state: LanguageState = None,
        lengths: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, LanguageState]:
        """Reads `tokens: [B, T]` int32.

        Args:
          tokens: ids.
          noise: None stands for no dropout.
          state: what an earlier call gave; None stands for zeros.
          lengths: valid tokens of each row, [B] int32; None stands for T everywhere.

        Returns:
          Logits of the token that follows each, [B, T, V] float32, and the state after each row's last valid token, in
          float32.
        """
        outputs, state = self._outputs(tokens, context, state, lengths)
        return tf.cast(self._logits(outputs), tf.float32), state

    def read(self, tokens: tf.Tensor, lengths: tf.Tensor) -> tuple[tf.Tensor, LanguageState]:
        """Logits after each row's last token alone, [B, V] float32, and the state there, from a zero state on.

        `tokens: [B, P]` int32, `lengths: [B]` int32 from 1 to P.
        """
        outputs, state = self._outputs(tokens, None, None, lengths)
        last = tf.gather(outputs, lengths - 1, batch_dims=1)[:, None]
        return tf.cast(self._logits(last), tf.float32)[:, 0], state

    def _outputs(
        self, tokens: tf.Tensor, context: StepContext | None, state: LanguageState, lengths: tf.Tensor | None
    ) -> tuple[tf.Tensor, LanguageState]:
        """The inputs of `_logits` for each token, [B, T, ...], and the state after each row's last valid one."""
        stack, history = state if state is not None else self._zero_state(tf.shape(tokens)[0])
        x = self._embedding(tokens)
        if self._ngrams is not None:
            x += self._ngrams(tokens, history, context=context)
            history = self._ngrams.next_history(tokens, history, lengths)
        x = dropout(x, self._rate, context, "embedding", self._same)
        outputs, stack = self.stack.run(x, context=context, lengths=lengths, state=stack)
        outputs = dropout(outputs, self._rate, context, "output", self._same)
        if self._ngrams is not None:
            outputs = tf.concat([outputs, x], axis=-1)
        return outputs, (tf.nest.map_structure(lambda part: tf.cast(part, tf.float32), stack), history)

    def _zero_state(self, batch: tf.Tensor) -> LanguageState:
        return None, () if self._ngrams is None else tf.zeros([batch, self._ngrams.order - 1], tf.int32)

    def _logits(self, outputs: tf.Tensor) -> tf.Tensor:
        if not self._tied:
            return self._output(outputs)
        if self._to_embedding is not None:
            outputs = self._to_embedding(outputs)
        matrix = tf.cast(tf.convert_to_tensor(self._embedding.embeddings), outputs.dtype)
        flat = tf.matmul(
            tf.reshape(outputs, [-1, matrix.shape[1]]), matrix, transpose_b=True
        )  # one product over all [B * T] rows
        flat += tf.cast(tf.convert_to_tensor(self._bias), outputs.dtype)
        return tf.reshape(flat, tf.concat([tf.shape(outputs)[:2], [matrix.shape[0]]], axis=0))
