"""Our commands as a user runs them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def command(name: str, *arguments: str) -> dict[str, Any]:
    """Runs `python -m trainer.NAME` and gives its last line."""
    done = subprocess.run(
        [sys.executable, "-m", f"trainer.{name}", *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result
