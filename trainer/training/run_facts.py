"""What a reader wants to know of a run: its data, settings and versions, as words."""

from __future__ import annotations

from collections.abc import Mapping

from trainer.cli import flags
from trainer.config.train import ForecastConfig, LanguageConfig, TokenConfig, TrainConfig, TranslationConfig
from trainer.dataset import intervals
from trainer.dataset.schema import Manifest

Facts = dict[str, dict[str, str]]  # title -> name -> value
PLACES = ("--data_dir", "--model_dir")
TASKS = {  # groups of flags -> the tasks that have a use for them; all others are for any
    ForecastConfig.GROUP: ("forecast",),
    LanguageConfig.GROUP: ("language_model",),
    TranslationConfig.GROUP: ("seq2seq",),
    TokenConfig.GROUP: ("language_model", "seq2seq"),
}


def run_facts(config: TrainConfig, manifest: Manifest, versions: Mapping[str, str]) -> Facts:
    """`Data`, `Settings` (flags that differ from their defaults, as on the command line, without paths), `Defaults` and `Versions`.

    `Defaults` are the flags that the run left as they are, of its task; a dash stands for none.
    """
    arguments = [argument.partition("=") for argument in flags.to_arguments(config)]
    settings = {name: value for name, _, value in arguments if name not in PLACES}
    others = [group for group, tasks in TASKS.items() if manifest.task not in tasks]
    defaults = {name: value or "–" for name, value in flags.default_settings(config, others).items()}
    return {"Data": _data(manifest), "Settings": settings, "Defaults": defaults, "Versions": dict(versions)}


def _data(manifest: Manifest) -> dict[str, str]:
    facts = {"name": manifest.name, "task": manifest.task, "fingerprint": manifest.fingerprint}
    if manifest.series is not None:
        series = manifest.series
        facts |= {"interval": intervals.describe(series.interval), "groups": f"{len(series.groups):,}"}
        facts |= {"columns": ", ".join(series.columns)}
        for split in manifest.splits:
            ranges = [group.splits[split] for group in series.groups if split in group.splits]
            facts[split] = f"{sum(end - first for first, end in ranges):,} rows"
    if manifest.text is not None:
        text = manifest.text
        facts |= {"tokenizer": text.tokenizer, "vocabulary": f"{text.vocabulary_size:,} tokens", "documents": text.documents}
        for split, counts in text.splits.items():
            facts[split] = f"{counts.tokens:,} tokens, {counts.characters:,} characters, {counts.documents:,} documents"
    if manifest.pairs is not None:
        pairs = manifest.pairs
        facts |= {"tokenizer": pairs.tokenizer, "vocabularies": f"{pairs.source.size:,} source, {pairs.target.size:,} target tokens"}
        for split, sizes in pairs.splits.items():
            facts[split] = f"{sizes.pairs:,} pairs, {sizes.source_tokens:,} source and {sizes.target_tokens:,} target tokens"
    return facts
