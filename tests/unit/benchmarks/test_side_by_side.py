"""A measured process takes as many steps as it is told to, and tells its own time and memory."""

import sys
import time
from pathlib import Path

import pytest
from side_by_side import Measured, geomean_and_min

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
CODE = f"""
import sys, time
sys.path.insert(0, {str(BENCHMARKS)!r})
from side_by_side import Meter
meter = Meter()
print("noise that is not an answer")
held = bytearray(30 * 2**20)
meter.ready()
first = True
while True:
    time.sleep(0.01)
    more = bytearray(80 * 2**20) if first else b""
    del more
    first = False
    meter.tick(3)
"""


def test_steps_seconds_and_memory_of_each_turn():
    with Measured("test", [sys.executable, "-c", CODE]) as process:
        first = process.take(2)
        time.sleep(0.3)  # between the turns nothing is measured
        second = process.take(7)
    assert (first.steps, second.steps) == (3, 9)
    assert 0.03 <= second.seconds < 0.3
    assert 70 < first.peak_mb < 100, "what was held before does not count"
    assert second.peak_mb < 20, "each turn has its own peak"


def test_a_process_that_fails_is_told():
    with (
        Measured("test", [sys.executable, "-c", "raise SystemExit(3)"]) as process,
        pytest.raises((RuntimeError, BrokenPipeError)),
    ):
        time.sleep(0.2)
        process.take(1)


def test_ratios():
    assert geomean_and_min([2.0, 0.5, 1.0]) == {"geomean": 1.0, "min": 0.5}
