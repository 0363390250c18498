"""Rules of Kubernetes for names, labels, quantities and image references, and how long a name may be."""

from __future__ import annotations

import re
from decimal import Decimal

# What all objects of a run are labelled with, and found by.
PROGRAM = "recurrent-trainer"
NAME_LABEL = "app.kubernetes.io/name"
INSTANCE_LABEL = "app.kubernetes.io/instance"
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"

MOST_LABEL_CHARACTERS = 63
RANDOM_SUFFIX = 6  # a pod's name ends in - and five random characters

_LABEL = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
LABEL = re.compile(_LABEL)  # RFC 1123 label
SUBDOMAIN = re.compile(rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*")  # RFC 1123 subdomain
_NAME = r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
LABEL_VALUE = re.compile(_NAME)
_KEY = rf"(?:{_LABEL}(?:\.{_LABEL})*/)?{_NAME}"
PAIR = re.compile(rf"{_KEY}=(?:{_NAME})?")
TOLERATION = re.compile(rf"{_KEY}(?:=(?:{_NAME})?)?:(?:NoSchedule|PreferNoSchedule|NoExecute)")
VOLUME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*:/[^:,]*(?::ro)?")
# https://pkg.go.dev/github.com/distribution/reference: host and port, path, tag, digest
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
IMAGE = re.compile(
    rf"(?:[A-Za-z0-9.-]+(?::[0-9]+)?/)?{_PART}(?:/{_PART})*(?::[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}})?(?:@sha256:[0-9a-f]{{64}})?"
)
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?")
_FACTORS = {"m": Decimal("0.001"), None: Decimal(1)}
_FACTORS |= {unit: Decimal(1000) ** (power + 1) for power, unit in enumerate("kMGTPE")}
_FACTORS |= {f"{unit}i": Decimal(1024) ** (power + 1) for power, unit in enumerate("KMGTPE")}


def quantity(text: str) -> Decimal | None:
    """The number that a Kubernetes quantity (`500m`, `16Gi`) stands for; None where it is none or 0."""
    match = _QUANTITY.fullmatch(text)
    return Decimal(match[1]) * _FACTORS[match[2]] or None if match else None


def longest_name(workers: int, *, jobset: bool) -> int:
    """Characters that a run's name may have, so that the names of its pods are labels (63 characters).

    A pod of an Indexed Job is called `NAME-INDEX-xxxxx` and one of a JobSet `NAME-workers-0-INDEX-xxxxx`.
    """
    index = len(str(max(workers, 1) - 1)) + 1
    return MOST_LABEL_CHARACTERS - RANDOM_SUFFIX - index - (len("-workers-0") if jobset else 0)
