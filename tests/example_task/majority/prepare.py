"""Text files with a line of bits an example -> the plan of a dataset."""

from pathlib import Path

from majority.facts import MajorityFacts
from trainer.dataset.input_files import find_split_files
from trainer.dataset.preparation import DatasetPlan
from trainer.dataset.schema import Feature, Manifest
from trainer.dataset.shards import RecordList
from trainer.dataset.split_borders import split_borders
from trainer.errors import DataError


def find_sources(config):
    files = find_split_files(config).items()
    return {split: "".join(Path(path).read_text() for path in paths).split() for split, paths in files if paths}


def plan(sources, config, parts):
    if len({len(line) for lines in sources.values() for line in lines}) != 1:
        raise DataError(f"--input={','.join(config.input)}: lines differ in length; cut them to one")
    borders = split_borders(len(sources["train"]), config.splits, "--input", "lines", sources.keys() - {"train"})
    splits = {**sources, **{split: sources["train"][slice(*border)] for split, border in borders.items()}}
    records = {split: [{"bits": bytes(map(int, line))} for line in lines] for split, lines in splits.items()}
    count, facts = config.num_shards, MajorityFacts(len(splits["train"][0]))
    shards = {split: [RecordList(own[n::count]) for n in range(count)] for split, own in records.items()}

    def describe(name, splits, counts):
        return Manifest(name, "majority", (Feature("bits", (None,), "uint8", "bit"),), splits, facts), {}

    return DatasetPlan(shards, describe, lambda directory: None)
