"""A decoder whose logits are looked up in tables."""

from typing import NamedTuple

import numpy as np

from trainer.dataset.special_tokens import START

VOCABULARY = 7  # of which UNKNOWN, 4, 5 and 6 can be in a translation


SOURCE = 3


class Memory(NamedTuple):
    row: object  # [B] int32, which table the row reads
    mask: object  # [B, S] bool


class TableDecoder:
    """Logits and attention looked up by row and prefix: nothing is shared between prefixes, so that no search can
    guess.
    """

    def __init__(self, tf, logits, attention):
        self.tf, self.logits, self.attention = tf, logits, attention  # [rows, prefixes, V], [rows, prefixes, S]

    def start(self, memory):
        return self.tf.zeros_like(memory.row)

    def step(self, memory, tokens, prefix):
        # the start token gives prefix 0; then every prefix has a number of its own (PAD and START cannot follow)
        prefix = self.tf.where(tokens == START, 0, prefix * VOCABULARY + tokens) % self.logits.shape[1]
        places = self.tf.stack([memory.row, prefix], axis=1)
        return self.tf.gather_nd(self.logits, places), self.tf.gather_nd(self.attention, places), prefix


def large_space(rows, length, seed, spread=1.5):
    """Tables over 243 prefixes that longer ones run through again; the end token grows likelier."""
    random = np.random.default_rng(seed)
    prefixes = 243
    logits = random.normal(0, spread, (rows, prefixes, VOCABULARY)).astype(np.float32)
    attention = random.dirichlet(np.full(SOURCE, 0.3), (rows, prefixes)).astype(np.float32)
    return logits, attention, np.ones((rows, SOURCE), bool)
