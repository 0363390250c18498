"""Importing TensorFlow without its banner, which tells nothing that a user without a GPU could act on."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

_BANNER = re.compile(
    r"WARNING: All log messages before absl::InitializeLog|"
    r"[IWE]\d{4} .*(oneDNN custom operations|cudart_stub|cuda_platform|cpu_feature_guard)|"
    r"To enable the following instructions"
)
GPU_DEVICE = Path("/dev/nvidiactl")


@contextlib.contextmanager
def banner_hidden() -> Iterator[None]:
    """Holds stderr back while TensorFlow is imported and looks for devices, then passes on all but the banner.

    Where a GPU is there everything is passed on: then the banner may tell why it cannot be used.
    """
    sys.stderr.flush()
    real = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
            _look_for_devices()
        finally:
            sys.stderr.flush()
            os.dup2(real, 2)
            os.close(real)
            held.seek(0)
            for line in held.read().decode(errors="replace").splitlines(keepends=True):
                if GPU_DEVICE.exists() or not _BANNER.match(line):
                    sys.stderr.write(line)
            sys.stderr.flush()


def _look_for_devices() -> None:
    """The search for CUDA writes to stderr too, at the first use of a device."""
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is not None:
        tensorflow.config.list_physical_devices("GPU")
