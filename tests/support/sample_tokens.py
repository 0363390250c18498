"""Texts and tokenizers of all kinds."""

from __future__ import annotations

import random

from trainer.text import tokenizers
from trainer.text.tokenizer import Tokenizer

TRAINING = 'The cat — naïve, 3 years old — sat.\n\tThe  dog\'s "friend" said: «Привет, мир!» 数据 🙂 x_1\n' * 20


STRANGE = [
    "",
    " ",
    "  ",
    "\n",
    " \n a",
    "a",
    "The cat sat.",
    "zebra ÿ 😀\x00\u2028!",
    "The\u00a0cat\u3000sat",
    "  The  cat ",
    "\ufeffThe\ufffd",
]


KINDS = ("char", "byte", "word", "sentencepiece")


def make(kind: str, text: str = TRAINING, size: int | None = None) -> Tokenizer:
    return tokenizers.build(kind, [text], 120 if kind == "sentencepiece" else size)


def random_text(seed: int) -> str:
    choose = random.Random(seed)
    return "".join(choose.choice(" ab_1.,\n\té—\u00a0Я数🙂»\x00\u2028ÿ") for _ in range(2000))
