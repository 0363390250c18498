"""Shares the GPUs of this host out to its workers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

VARIABLE = "CUDA_VISIBLE_DEVICES"


def visible_gpus(environ: Mapping[str, str], devices: Path = Path("/dev")) -> list[str]:
    """The GPUs that CUDA would show to this process, as `CUDA_VISIBLE_DEVICES` names them; empty where there are
    none.
    """
    if VARIABLE in environ:
        # CUDA ignores what stands behind the first name that is none
        names = [name.strip() for name in environ[VARIABLE].split(",")]
        wrong = [place for place, name in enumerate(names) if name in ("", "-1")]
        return names[: wrong[0]] if wrong else names
    files = [path for path in devices.glob("nvidia*") if re.fullmatch(r"nvidia\d+", path.name)]
    return [str(number) for number in range(len(files))]


def gpu_environment(gpus: Sequence[str], index: int, devices: int) -> dict[str, str]:
    """The variable that gives worker `index` its `devices` GPUs and hides the others'; empty on a host without GPUs."""
    if not gpus:
        return {}
    return {VARIABLE: ",".join(gpus[index * devices : (index + 1) * devices])}
