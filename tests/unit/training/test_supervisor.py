"""The watchdog beside a worker, and SIGTERM: on small scripts, with real processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from trainer.errors import EXIT_RESTART

ROOT = Path(__file__).parents[3]
START = """
import ctypes, os, signal, sys, time
from trainer.training.preemption import Preemption
from trainer.training.supervisor import supervise
def tell(text): print(text, flush=True)
with Preemption() as preemption:
    heartbeat = supervise(peer_timeout_seconds=TIMEOUT, grace_seconds=GRACE)
    tell(os.getpid())
"""
BEGIN = "    preemption.begin(GRACE); heartbeat.begin(); tell('begun')\n"
LOCKED = "    while True: ctypes.PyDLL(None).sleep(60)\n"  # holds the interpreter's lock
SAVE_WHEN_ASKED = """
    while not preemption.requested: heartbeat.beat(); time.sleep(0.02)
    time.sleep(0.5); tell('saved'); os._exit(75)
"""


class Script:
    """A supervised script: `process` is the supervisor, `child` the process id of what it watches."""

    def __init__(self, body: str, timeout: float = 30.0, grace: float = 30.0):
        code = (START + body).replace("TIMEOUT", str(timeout)).replace("GRACE", str(grace))
        self.process = subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        self._lines = self.process.stdout
        self.child = int(self._lines.readline())
        self.started = time.monotonic()

    def wait_for(self, text: str) -> None:
        assert self._lines.readline().strip() == text

    def end(self) -> tuple[int, float, str, str]:
        """Exit code, seconds since the child began, stdout and stderr."""
        out, errors = self.process.communicate(timeout=40)
        seconds = time.monotonic() - self.started
        assert not Path(f"/proc/{self.child}").exists(), "the child outlived its supervisor"
        return self.process.returncode, seconds, out, errors


@pytest.mark.parametrize(
    "body, code", [("    sys.exit(7)\n", 7), ("    pass\n", 0), ("    os.kill(os.getpid(), signal.SIGKILL)\n", 137)]
)
def test_the_exit_code_is_the_childs(body, code):
    assert Script(body).end()[0] == code


def test_an_abort_is_named():
    code, _, _, errors = Script("    sys.stderr.write('terminate called'); sys.stderr.flush(); os.abort()\n").end()
    assert code == 128 + signal.SIGABRT and "the process that trains was aborted (SIGABRT)" in errors


@pytest.mark.parametrize("hang", [LOCKED, "    os.kill(os.getpid(), signal.SIGSTOP)\n"], ids=["locked", "frozen"])
@pytest.mark.parametrize("begun", [BEGIN, ""], ids=["training", "starting"])
def test_a_silent_worker_gives_75_in_time(begun, hang):
    code, seconds, _, errors = Script(begun + hang, timeout=2.0).end()
    assert code == EXIT_RESTART and 1.5 < seconds < 10
    assert "silent for 2 s (--peer_timeout_seconds)" in errors
    assert ("while training" if begun else "while starting") in errors
    if hang == LOCKED:
        assert "most recent call first" in errors, "the child did not tell where it hangs"


def test_signs_of_life_keep_it_alive():
    code, seconds, *_ = Script(BEGIN + "    for _ in range(40): heartbeat.beat(); time.sleep(0.1)\n", timeout=2.0).end()
    assert code == 0 and seconds > 3.5


def test_sigterm_before_training_leaves_at_once_whatever_the_child_does():
    script = Script(LOCKED)
    script.process.send_signal(signal.SIGTERM)
    code, seconds, *_ = script.end()
    assert code == EXIT_RESTART and seconds < 10


@pytest.mark.parametrize("to_group", [False, True])
def test_sigterm_is_passed_on_once_and_answered_by_saving(to_group):
    script = Script(BEGIN + SAVE_WHEN_ASKED)
    script.wait_for("begun")
    time.sleep(0.5)
    if to_group:
        os.killpg(script.process.pid, signal.SIGTERM)
    else:
        script.process.send_signal(signal.SIGTERM)
    code, _, out, errors = script.end()
    assert (code, out.strip()) == (EXIT_RESTART, "saved"), errors


def test_a_second_sigterm_leaves_at_once():
    script = Script(BEGIN + SAVE_WHEN_ASKED.replace("0.5", "60"))
    script.wait_for("begun")
    for _ in range(2):
        time.sleep(0.7)
        script.process.send_signal(signal.SIGTERM)
    code, seconds, out, errors = script.end()
    assert code == EXIT_RESTART and seconds < 15 and "saved" not in out and "a second time" in errors


@pytest.mark.parametrize("body", [LOCKED, SAVE_WHEN_ASKED.replace("0.5", "60")], ids=["locked", "slow"])
def test_the_grace_period_ends_the_worker(body):
    script = Script(BEGIN + body, grace=1.0)
    script.wait_for("begun")
    time.sleep(0.5)
    script.process.send_signal(signal.SIGTERM)
    code, seconds, _, errors = script.end()
    assert code == EXIT_RESTART and seconds < 15 and "not saved 1 s (--grace_seconds)" in errors


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGHUP, EXIT_RESTART)])
def test_ctrl_c_and_a_closed_terminal_reach_the_child_once(number, code):
    script = Script(BEGIN + SAVE_WHEN_ASKED.replace("75", "preemption.stop(1).exit_code"))
    script.wait_for("begun")
    time.sleep(0.5)
    os.killpg(script.process.pid, number)
    ended, _, out, errors = script.end()
    assert (ended, out.strip()) == (code, "saved"), errors


def test_the_child_dies_with_its_supervisor():
    script = Script(BEGIN + "    time.sleep(60)\n")
    script.wait_for("begun")
    script.process.kill()
    script.process.wait(10)
    deadline = time.monotonic() + 5
    while Path(f"/proc/{script.child}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert script.end()[0] == -signal.SIGKILL
