"""Text <-> ids of subwords, by the `sentencepiece` package (imported when such a tokenizer is made: nothing else needs
it).
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np

from trainer.dataset.special_tokens import END, PAD, START, UNKNOWN, UNKNOWN_TEXT
from trainer.errors import VocabularySizeError
from trainer.text.tokenizer import DEFAULT_SIZE, Tokenizer

LONGEST_SENTENCE = 4096  # characters; sentencepiece would leave out longer ones


class SentencepieceTokenizer(Tokenizer):
    """Subwords of a sentencepiece model that keeps the text as it is: no normalisation, newlines are pieces of their
    own.

    Only U+2581, sentencepiece's sign for a space, comes back as a space.
    """

    kind, file = "sentencepiece", "vocabulary.model"

    def __init__(self, model: bytes):
        import sentencepiece

        self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        super().__init__(model, self._processor.get_piece_size())
        self._newline = self._processor.piece_to_id("\n")

    @classmethod
    def build(cls, texts: Iterable[str], size: int | None, model_type: str = "bpe") -> SentencepieceTokenizer:
        """Trains `bpe` or `unigram` pieces on the lines of `texts`, which it keeps in memory; VocabularySizeError where
        they give too few.
        """
        import sentencepiece

        model = io.BytesIO()
        requested = size or DEFAULT_SIZE
        marks: dict[str, Any] = {
            "pad_id": PAD,
            "unk_id": UNKNOWN,
            "bos_id": START,
            "eos_id": END,
            "unk_surface": UNKNOWN_TEXT,
        }
        lossless: dict[str, Any] = {
            "normalization_rule_name": "identity",
            "remove_extra_whitespaces": False,
            "add_dummy_prefix": False,
        }
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=_sentences(texts), model_writer=model, model_type=model_type, vocab_size=requested,
                character_coverage=1.0, user_defined_symbols=["\n"], max_sentence_length=8 * LONGEST_SENTENCE,
                num_threads=1, minloglevel=2, **marks, **lossless,
            )  # fmt: skip
        except RuntimeError as error:
            raise _size_error(requested, str(error)) from error
        return cls(model.getvalue())

    def encode_all(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        # Line by line, which is the same and keeps time and memory in proportion to the text.
        lines = [text.split("\n") for text in texts]
        encoded: Iterator[list[int]] = iter(self._processor.encode(list(chain.from_iterable(lines)), num_threads=1))
        ids: list[int] = []
        lengths = []
        for parts in lines:
            before = len(ids)
            ids += next(encoded)
            for _ in parts[1:]:
                ids.append(self._newline)
                ids += next(encoded)
            lengths.append(len(ids) - before)
        return np.array(ids, np.int32), np.array(lengths, np.int64)

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        text: str = self._processor.decode(np.asarray(ids).tolist())
        return text


def _sentences(texts: Iterable[str]) -> Iterator[str]:
    """The lines, cut where they are too long; a carriage return at the end, which the trainer would drop, has a space
    behind it.
    """
    for text in texts:
        for line in text.split("\n"):
            for first in range(0, len(line), LONGEST_SENTENCE):
                part = line[first : first + LONGEST_SENTENCE]
                yield f"{part} " if part.endswith("\r") else part


def _size_error(size: int, error: str) -> VocabularySizeError:
    most = re.search(r"too high .* value <= (\d+)", error)
    if most:
        return VocabularySizeError(size, "is more than the training text gives", f"use {most[1]} or less")
    least = re.search(r"smaller than required_chars\D*(\d+) vs (\d+)", error)
    if least:
        return VocabularySizeError(
            size, "is less than the characters of the training text", f"use more than {least[2]}"
        )
    return VocabularySizeError(
        size,
        f"does not work ({error.splitlines()[0] if error else 'no reason given'})",
        "use another size",
    )
