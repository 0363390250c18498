"""Exit statuses in words, of processes that really ended so."""

import signal
import subprocess
import sys

import pytest

from trainer.training.exit_status import describe, died_by_itself, signal_of


@pytest.mark.parametrize(
    "body, said, by_itself",
    [
        ("raise SystemExit(64)", "exited with 64", False),
        ("os.abort()", "was aborted (SIGABRT)", True),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "crashed (SIGSEGV)", True),
        ("os.kill(os.getpid(), signal.SIGKILL)", "was killed (SIGKILL)", False),
        ("os.kill(os.getpid(), signal.SIGTERM)", "was ended (SIGTERM)", False),
        ("os.kill(os.getpid(), signal.SIGUSR1)", "was ended (SIGUSR1)", False),
        ("os.kill(os.getpid(), signal.SIGRTMIN + 3)", f"was ended (signal {signal.SIGRTMIN + 3})", False),
    ],
)
def test_a_process(body, said, by_itself):
    code = subprocess.run([sys.executable, "-S", "-c", f"import os, signal\n{body}"], check=False).returncode
    assert describe(code) == said and died_by_itself(code) == by_itself
    if code < 0:  # as a shell, or the trainer's supervisor, passes it on
        passed_on = subprocess.run(
            ["sh", "-c", f"'{sys.executable}' -S -c 'import os, signal; {body}'; exit $?"], check=False
        ).returncode
        assert signal_of(passed_on) == signal_of(code) and died_by_itself(passed_on) == by_itself


def test_codes_above_128_that_are_no_signal():
    assert describe(255) == "exited with 255" and not died_by_itself(255)
