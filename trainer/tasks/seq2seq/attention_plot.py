"""A picture of attention: which source pieces each target piece was written from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trainer.storage.atomic_file import atomic_file

SPACE = "▁"  # stands for a space in the labels, as in sentencepiece
INCHES_A_PIECE = 0.32
MOST_INCHES = 40.0
LONGEST_LABEL = 24


@dataclass(frozen=True, eq=False)  # arrays have no single truth value, so no `==`
class Attention:
    """`source: S` and `target: T` pieces, at least one of each, and `weights: [T, S]`, each row of which adds up to
    1.
    """

    source: list[str]
    target: list[str]
    weights: np.ndarray


def plot(attention: Attention, output: str) -> None:
    """Writes a PNG, which appears whole: source pieces along the top, target pieces from top to bottom, darker is more
    attention.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    source, target = ([_label(piece) for piece in side] for side in (attention.source, attention.target))
    width, height = (min(MOST_INCHES, max(3.0, INCHES_A_PIECE * len(side) + 1.6)) for side in (source, target))
    figure, axis = pyplot.subplots(figsize=(width + 0.8, height), layout="constrained")
    image = axis.imshow(attention.weights, cmap="Blues", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    axis.xaxis.tick_top()
    axis.set_xticks(range(len(source)), source, rotation=90, fontsize=9)
    axis.set_yticks(range(len(target)), target, fontsize=9)
    axis.set_xticks(np.arange(len(source) + 1) - 0.5, minor=True)
    axis.set_yticks(np.arange(len(target) + 1) - 0.5, minor=True)
    axis.grid(which="minor", color="#e2e8f0", linewidth=0.6)
    axis.tick_params(which="both", length=0)
    figure.colorbar(image, ax=axis, label="attention", shrink=min(1.0, 4.0 / height))
    with atomic_file(output) as temporary:
        figure.savefig(temporary, dpi=130, format="png")
    pyplot.close(figure)


def _label(piece: str) -> str:
    """A piece as a label: spaces and line breaks made visible, `$` taken as it is, long ones cut."""
    shown = piece.replace(" ", SPACE).replace("\n", "\\n").replace("$", r"\$")
    return shown if len(shown) <= LONGEST_LABEL else shown[: LONGEST_LABEL - 1] + "…"
