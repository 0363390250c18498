"""What dataset.json tells of the lines."""

from dataclasses import dataclass

from trainer.dataset.schema import Facts


@dataclass(frozen=True)
class MajorityFacts(Facts):
    TASK = "majority"
    bits: int  # of each line


FACTS = MajorityFacts
