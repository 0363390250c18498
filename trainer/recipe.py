"""Recipes: ready flags of `trainer.train`, kept in the package and found by name from any directory."""

from __future__ import annotations

from pathlib import Path

HELP = "help"  # as a name: list what there is

_DIRECTORY = Path(__file__).parent / "recipes"


def names() -> list[str]:
    return sorted(path.stem for path in _DIRECTORY.glob("*.flags"))


def path_of(name: str) -> str:
    """The flag file of a recipe out of `names()`."""
    return str(_DIRECTORY / f"{name}.flags")


def listing() -> str:
    """A line for each recipe: its name and the first comment of its file."""
    found = names()
    width = max(map(len, found), default=0)
    return "\n".join(f"{name:<{width}}  {_summary(name)}" for name in found)


def _summary(name: str) -> str:
    with Path(path_of(name)).open(encoding="utf-8") as lines:
        return next(lines).removeprefix("#").strip()
