"""RESULTS.md: one section a benchmark, each replaced by its own script."""

from __future__ import annotations

import os
import platform
from pathlib import Path

PATH = Path(__file__).resolve().parent / "RESULTS.md"
TITLE = "# Measured"


def write_section(title: str, body: str, path: Path = PATH) -> None:
    """Puts `body` under `## title`, in the place of what stood there before, or at the end."""
    text = path.read_text(encoding="utf-8") if path.exists() else f"{TITLE}\n"
    head, *sections = ("\n" + text).split("\n## ")
    named = {section.partition("\n")[0]: section.partition("\n")[2].strip() for section in sections}
    named[title] = body.strip()
    parts = [head.strip(), *(f"## {name}\n\n{content}" for name, content in named.items())]
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def machine() -> str:
    """One line on the computer: processor, cores, memory, system."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        f"{_processor()}, {cores} cores, {_memory_gib()} GiB, {platform.system()} {platform.release()}, Python "
        f"{platform.python_version()}"
    )


def table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    fields = [[part.strip() for part in line.split(":", 1)] for line in lines if ":" in line]
    facts = dict(reversed(fields))  # the first processor's
    name = facts.get("model name", platform.machine())
    return f"{name} (family {facts.get('cpu family', '?')}, model {facts.get('model', '?')})"


def _memory_gib() -> int:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
