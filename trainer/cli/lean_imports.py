"""Importing Keras without matplotlib, which it takes in for a picture gallery: a fifth of the time of all imports."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

PLOTTING = "matplotlib"


@contextlib.contextmanager
def without_matplotlib() -> Iterator[None]:
    """Makes `import matplotlib` an ImportError, which Keras takes for its absence; afterwards it can be imported
    again.
    """
    if PLOTTING in sys.modules:
        yield
        return
    modules: dict[str, Any] = sys.modules
    modules[PLOTTING] = None
    try:
        yield
    finally:
        del modules[PLOTTING]
