"""Whether the parts of a manifest fit together."""

from __future__ import annotations

from trainer.dataset.schema import Manifest, is_file_name
from trainer.dataset.special_tokens import SPECIAL

DTYPES = ("int64", "int32", "uint16", "uint8", "float32", "string")  # of features


def check_manifest(manifest: Manifest) -> None:
    """Raises ValueError where parts of a manifest do not fit together, so that no reader trips over them."""
    facts = manifest.facts
    if not manifest.name.isprintable():
        raise ValueError("its name is not printable")
    if facts.split_names not in (None, set(manifest.splits)):
        raise ValueError(f"the splits {sorted(manifest.splits)} are told of as {sorted(facts.split_names or ())}")
    if missing := facts.needed_features - {feature.name for feature in manifest.features}:
        raise ValueError(f"the feature {sorted(missing)[0]} is missing")
    if odd := {feature.dtype for feature in manifest.features} - set(DTYPES):
        raise ValueError(f"the type {sorted(odd)[0]} is unknown")
    if any(feature.lowest not in (0, len(SPECIAL) * (feature.unit == "id")) for feature in manifest.features):
        raise ValueError("a feature begins at another number than any does")
    for name, split in manifest.splits.items():
        if not all(is_file_name(shard.file) for shard in split.shards):
            raise ValueError(f"a shard of {name} is not a file of the directory")
    facts.check(manifest)
