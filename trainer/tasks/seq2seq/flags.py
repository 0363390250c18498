"""The flags of sequence-to-sequence models."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from trainer.config.fields import FlagGroup, at_least, flag, within
from trainer.config.prepare import INPUTS
from trainer.config.task_flags import TaskFlags, TfdsFeatures
from trainer.config.train import TaskTrainFlags
from trainer.config.trained_model import TaskExportFlags
from trainer.errors import Problem
from trainer.text.flags import EmbeddingFlags, SamplingFlags, TokenizerFlags


@dataclass(frozen=True)
class PairFlags(FlagGroup):
    GROUP: ClassVar[str] = "seq2seq"
    FIELD: ClassVar[str] = "pairs"

    joint_vocabulary: bool = flag("one vocabulary for source and target, instead of one for each", default=False)
    drop_pairs: tuple[str, ...] = flag(
        "what is left out: empty (pairs with a blank side, else kept), surplus (lines that the other file lacks, else "
        "an error)",
        default=(),
    )
    max_source_tokens: int | None = flag("leave pairs with longer sources out of the training split", default=None)
    max_target_tokens: int | None = flag("leave pairs with longer targets out of the training split", default=None)

    def problems(self) -> Iterator[Problem]:
        yield from at_least(self, 1, "max_source_tokens", "max_target_tokens")
        for rule in self.drop_pairs:
            if rule not in ("empty", "surplus"):
                yield Problem(
                    "drop_pairs",
                    ",".join(self.drop_pairs),
                    f"has the unknown rule {rule!r}",
                    "use empty, surplus or both",
                )

    def problems_in(self, config: Any) -> Iterator[Problem]:
        if config.source == "sample" and self.drop_pairs:
            yield Problem("drop_pairs", ",".join(self.drop_pairs), "has no effect with --source=sample", "leave it out")
        for name in INPUTS.values():
            if config.source == "pairs" and len(getattr(config, name)) > 2:
                remedy = "name the file of the sources and that of the targets, or one file with both and a tab between"
                yield Problem(name, ",".join(getattr(config, name)), "names more than two files", remedy)


@dataclass(frozen=True)
class TranslationFlags(TaskTrainFlags):
    GROUP: ClassVar[str] = "seq2seq"
    FIELD: ClassVar[str] = "translation"

    attention: str = flag(
        "how source steps are scored",
        default="luong_scaled",
        choices=("luong_general", "luong_scaled", "bahdanau", "bahdanau_normalized"),
    )
    input_feeding: bool = flag(
        "feed the decoder's last output to its next step; training then goes token by token", default=False
    )
    label_smoothing: float = flag("share of the probability that training aims at all tokens alike", default=0.0)
    batch_unit: str = flag(
        "what --batch_size counts: sentences (pairs), or tokens (of the longer side, padding included)",
        default="sentences",
        choices=("sentences", "tokens"),
    )
    best_metric: str = flag(
        "validation score that picks the best checkpoint and stops early; bleu and exact_match translate the split, "
        "greedily",
        default="loss",
        choices=("loss", "bleu", "exact_match"),
    )

    @property
    def rows_from_data(self) -> bool:
        return self.batch_unit == "tokens"

    def rows_problem(self, reason: str) -> Problem:
        return Problem("batch_unit", self.batch_unit, reason, "use --batch_unit=sentences")

    def problems(self) -> Iterator[Problem]:
        yield from within(self, 0, 1, "label_smoothing")


@dataclass(frozen=True)
class SearchFlags(TaskExportFlags):
    """How translations are searched."""

    GROUP: ClassVar[str] = "translation"
    FIELD: ClassVar[str] = "search"

    beam_size: int = flag("translations that grow at once; 1 with --length_penalty=0 is greedy search", default=5)
    length_penalty: float = flag(
        "exponent of the length that log probabilities are divided by; 0 ranks by log probability", default=0.6
    )
    coverage_penalty: float = flag(
        "weight of the penalty on source tokens that got less attention than 1 in total", default=0.0
    )

    def problems(self) -> Iterator[Problem]:
        yield from at_least(self, 1, "beam_size")
        yield from at_least(self, 0, "length_penalty", "coverage_penalty")


@dataclass(frozen=True)
class TranslationExportFlags(TaskExportFlags):
    GROUP: ClassVar[str] = "seq2seq"
    FIELD: ClassVar[str] = "translation"

    n_best: int = flag("translations that serving_default gives for a text, best first", default=1)
    largest_source_tokens: int = flag("most tokens of a text to translate; a longer one is refused", default=1024)

    def problems(self) -> Iterator[Problem]:
        yield from at_least(self, 1, "n_best")
        yield from within(self, 32, 2**31, "largest_source_tokens")  # room for the export's own examples

    def problems_in(self, config: Any) -> Iterator[Problem]:
        beam_size = config.of(SearchFlags).beam_size
        if self.n_best > beam_size > 0:
            yield Problem(
                "n_best", self.n_best, f"is above --beam_size={beam_size}", "use a larger beam or fewer translations"
            )


@dataclass(frozen=True)
class DecodingFlags(FlagGroup):
    GROUP: ClassVar[str] = "seq2seq"
    FIELD: ClassVar[str] = "translation"

    decoding: str = flag("how translations are found", default="beam", choices=("beam", "greedy", "sample"))
    n_best: int = flag("translations of a sentence, best first; more than 1 are written as JSON lines", default=1)

    def problems(self) -> Iterator[Problem]:
        yield from at_least(self, 1, "n_best")


FLAGS = TaskFlags(
    sources=("pairs", "tfds", "sample"),
    file_sources=("pairs",),
    sample="sample dates",
    tfds=TfdsFeatures(("source", "target"), "two texts in every record"),
    prepare=(TokenizerFlags, PairFlags),
    train=(TranslationFlags, EmbeddingFlags),
    evaluate=(SearchFlags,),
    export=(SearchFlags, TranslationExportFlags),
    predict=(DecodingFlags, SamplingFlags),
)
