"""The age of a process counts from its start, not from the import."""

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[3]
CODE = """
import os, sys, time
time.sleep(0.5)
from trainer.training import process_age
if os.fork() == 0:
    print(process_age.seconds(), flush=True)
    os._exit(0)
os.wait()
"""


def test_a_forked_child_counts_from_the_start_of_its_parent():
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True, check=True)
    waited = time.monotonic() - began
    assert 0.5 < float(done.stdout) <= waited + 0.02, "ticks are 0.01 s long"
