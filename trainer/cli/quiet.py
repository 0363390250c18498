"""Importing TensorFlow without its banner, which tells nothing that a user without a GPU could act on."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

GPU_DEVICE = Path("/dev/nvidiactl")
# A process of its own, so that the last words of one that is aborted or killed in an import are passed on too.
_FILTER = r"""
import os, re, signal
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
banner = re.compile(
    rb"WARNING: All log messages before absl::InitializeLog|"
    rb"[IWE]\d{4} .*(oneDNN custom operations|cudart_stub|cuda_platform|cpu_feature_guard)|"
    rb"To enable the following instructions"
)
for line in open(0, "rb"):
    if not banner.match(line):
        os.write(2, line)
"""


@contextlib.contextmanager
def banner_hidden() -> Iterator[None]:
    """Keeps the banner out of stderr while TensorFlow is imported and looks for devices; all else is passed on.

    Where a GPU is there everything is: then the banner may tell why it cannot be used.
    """
    if GPU_DEVICE.exists():
        yield
        return
    sys.stderr.flush()
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", _FILTER], stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        real = os.dup(2)
        os.dup2(process.stdin.fileno(), 2)
        process.stdin.close()
        try:
            yield
            _look_for_devices()
        finally:
            sys.stderr.flush()
            os.dup2(real, 2)
            os.close(real)


def _look_for_devices() -> None:
    """The search for CUDA writes to stderr too, at the first use of a device."""
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is not None:
        tensorflow.config.list_physical_devices("GPU")
