"""`launch.local` against tiny workers that exit, hang, fork and die in chosen ways."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from launch import local
from launch.gpus import gpu_environment, visible_gpus
from launch.ports import HOST, reserved_ports
from launch.supervision import verdict
from trainer.cli import flags
from trainer.errors import EXIT_CONFIG, ConfigError

ROOT = Path(__file__).parents[2]

# What every worker has at hand: its index, how often the group was started before, and ways to behave badly.
WORKER = """
import json, os, signal, subprocess, sys, time
from pathlib import Path
config = json.loads(os.environ["TF_CONFIG"])
index, addresses = config["task"]["index"], config["cluster"]["worker"]
directory = Path(sys.argv[1])
attempt = len(list(directory.glob(f"started-{index}-*")))
(directory / f"started-{index}-{attempt}").write_text(json.dumps([os.getpid(), addresses]))
def wait_for(name):
    while not (directory / name).exists():
        time.sleep(0.01)
def on(number, body):
    signal.signal(number, lambda *_: body())
    (directory / f"ready-{index}").touch()
"""
LAUNCHER = """
import logging, sys
from launch import supervision
logging.basicConfig(stream=sys.stderr, level=logging.INFO)
supervision.STOP_SECONDS = supervision.MARGIN_SECONDS = 0.5
workers = [supervision.Worker([sys.executable, "-S", *sys.argv[3:]])] * 2
sys.exit(supervision.supervise(workers, int(sys.argv[1]), float(sys.argv[2])))
"""


def start(directory: Path, body: str, restarts: int = 0, grace_seconds: float = 30.0) -> subprocess.Popen:
    (directory / "worker.py").write_text(WORKER + body)
    arguments = [str(restarts), str(grace_seconds), str(directory / "worker.py"), str(directory)]
    return subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        errors="replace",
    )


def finish(process: subprocess.Popen) -> tuple[int, str, str]:
    try:
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, out, err


def run(directory: Path, body: str, **options) -> tuple[int, str, str]:
    return finish(start(directory, body, **options))


def wait_for(*paths: Path) -> None:
    deadline = time.monotonic() + 60
    while not all(path.exists() for path in paths):
        assert time.monotonic() < deadline, paths
        time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def assert_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + 5
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < deadline, f"{[pid for pid in pids if alive(pid)]} still run"
        time.sleep(0.01)


def started(directory: Path) -> list[tuple[int, list[str]]]:
    return [tuple(json.loads(path.read_text())) for path in sorted(directory.glob("started-*"))]


def test_results_come_from_worker_0_and_logs_from_all(tmp_path):
    body = """
print('{"loss": %d}' % index, flush=True)
sys.stderr.write("one\\ntwo")
sys.stderr.buffer.write(b"\\xff")
"""
    code, out, err = run(tmp_path, body)
    assert (code, out) == (0, '{"loss": 0}\n')
    lines = err.splitlines()
    assert '[worker 1] {"loss": 1}' in lines
    for index in (0, 1):
        assert f"[worker {index}] one" in lines
        assert f"[worker {index}] two\ufffd" in lines  # no end of line of its own, and no UTF-8


def test_the_group_restarts_on_75_with_new_ports(tmp_path):
    code, _, err = run(tmp_path, "sys.exit(75 if attempt < 2 and index == 1 else 75 * (attempt < 2))", restarts=2)
    assert code == 0
    assert "restart 1 of 2" in err and "restart 2 of 2" in err and "restart 3" not in err
    runs = started(tmp_path)
    assert len(runs) == 6
    assert len({tuple(addresses) for _, addresses in runs}) == 3
    assert all(len(set(addresses)) == 2 for _, addresses in runs)


def test_restarts_are_counted(tmp_path):
    code, _, err = run(tmp_path, "sys.exit(75)", restarts=1)
    assert code == 75 and len(started(tmp_path)) == 4
    assert "all 1 restarts are used up" in err


def test_a_failure_stops_all_and_is_passed_on(tmp_path):
    body = (
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nif index: wait_for('started-0-0'); "
        "sys.exit(65)\ntime.sleep(100)"
    )
    code, _, err = run(tmp_path, body, restarts=3)
    assert code == 65 and len(started(tmp_path)) == 2
    assert "worker 1 exited with 65" in err and "worker 0 did not leave in time and is killed" in err
    assert_gone([pid for pid, _ in started(tmp_path)])


def test_a_failure_beats_the_75_of_its_peers(tmp_path):
    """The peer of a worker that fails sees a lost connection first, and leaves with 75 before the failure is told."""
    body = "if index: wait_for('leaving'); time.sleep(0.3); sys.exit(65)\n(directory / 'leaving').touch(); sys.exit(75)"
    code, _, _ = run(tmp_path, body, restarts=3)
    assert code == 65 and len(started(tmp_path)) == 2


def test_a_killed_worker_restarts_all(tmp_path):
    body = """
if attempt == 0 and index == 1: wait_for('started-0-0'); os.kill(os.getpid(), signal.SIGKILL)
if attempt == 0: time.sleep(0.2); sys.exit(75)
"""
    code, _, err = run(tmp_path, body, restarts=1)
    assert code == 0 and "worker 1 was killed (SIGKILL)" in err and len(started(tmp_path)) == 4


@pytest.mark.parametrize(
    "end, code, said",
    [
        ("os.abort()", 1, "worker 1 was aborted (SIGABRT); its last lines: terminate called / what(): no threads"),
        (
            "sys.exit(134)",
            134,
            "worker 1 was aborted (SIGABRT); its last lines: terminate called / what(): no threads",
        ),  # of a child
        ("os.kill(os.getpid(), signal.SIGSEGV)", 1, "worker 1 crashed (SIGSEGV); its last lines: terminate called"),
    ],
)
def test_a_crash_is_a_failure_and_comes_with_its_last_lines(tmp_path, end, code, said):
    body = (
        "if index: wait_for('started-0-0'); sys.stderr.write('terminate called\\n\\n  what(): no threads\\n'); "
        "sys.stderr.flush(); "
    )
    found, _, err = run(tmp_path, f"{body}{end}\ntime.sleep(100)", restarts=1)
    assert found == code and said in err.replace("  what", "what") and len(started(tmp_path)) == 2


def test_a_frozen_worker_is_not_waited_for(tmp_path):
    body = """
if attempt == 0 and index == 1: os.kill(os.getpid(), signal.SIGSTOP)
if attempt == 0: wait_for('started-1-0'); time.sleep(0.3); sys.exit(75)
"""
    before = time.monotonic()
    code, _, err = run(tmp_path, body, restarts=1, grace_seconds=60)
    assert code == 0 and time.monotonic() - before < 30 and "worker 1 is frozen and is killed" in err


def test_a_worker_that_outstays_its_peers_is_killed(tmp_path):
    code, _, err = run(tmp_path, "if attempt == 0: time.sleep(100 * index); sys.exit(75)", restarts=1, grace_seconds=0)
    assert code == 0 and "worker 1 did not leave in time and is killed" in err


@pytest.mark.parametrize("number, code, name", [(signal.SIGTERM, 75, "SIGTERM"), (signal.SIGINT, 130, "SIGINT")])
def test_signals_reach_every_worker_once(tmp_path, number, code, name):
    body = f"""
def leave():
    with open(directory / f"signals-{{index}}", "a") as file: file.write("x")
    time.sleep(0.2)
    os._exit(75)
on(signal.{name}, leave)
time.sleep(100)
"""
    process = start(tmp_path, body, restarts=3)
    wait_for(tmp_path / "ready-0", tmp_path / "ready-1")
    process.send_signal(number)
    got, _, err = finish(process)
    assert got == code and len(started(tmp_path)) == 2 and "restart" not in err
    assert [(tmp_path / f"signals-{index}").read_text() for index in (0, 1)] == ["x", "x"]


@pytest.mark.parametrize("name, code", [("SIGTERM", 75), ("SIGINT", 130)])
def test_a_second_signal_is_passed_on_too_and_ends_all(tmp_path, name, code):
    body = f"""
def noted():
    with open(directory / f"signals-{{index}}", "a") as file: file.write("x")
on(signal.{name}, noted)
while True: time.sleep(1)
"""
    process = start(tmp_path, body, restarts=3)
    wait_for(tmp_path / "ready-0", tmp_path / "ready-1")
    process.send_signal(getattr(signal, name))
    wait_for(tmp_path / "signals-0", tmp_path / "signals-1")
    process.send_signal(getattr(signal, name))
    before = time.monotonic()
    got, _, _ = finish(process)
    assert got == code and time.monotonic() - before < 15
    assert [(tmp_path / f"signals-{index}").read_text() for index in (0, 1)] == ["xx", "xx"]


FORKING = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(100)"])
(directory / f"child-{index}").write_text(str(child.pid) + "\\n")
"""


def all_pids(directory: Path) -> list[int]:
    wait_for(directory / "child-0", directory / "child-1")
    time.sleep(0.05)
    return [pid for pid, _ in started(directory)] + [
        int((directory / f"child-{index}").read_text()) for index in (0, 1)
    ]


def test_children_of_workers_do_not_outlive_them(tmp_path):
    code, _, _ = run(tmp_path, FORKING)
    assert code == 0
    assert_gone(all_pids(tmp_path))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP])
def test_nothing_is_left_when_the_launcher_is_killed(tmp_path, number):
    inherited = signal.signal(
        signal.SIGHUP, signal.SIG_DFL
    )  # under nohup it is ignored, and so it would be by the launcher
    process = start(tmp_path, FORKING + "time.sleep(100)")
    signal.signal(signal.SIGHUP, inherited)
    pids = all_pids(tmp_path)
    assert all(alive(pid) for pid in pids)
    process.send_signal(number)
    process.wait(10)
    assert_gone(pids)


def test_a_reserved_port_is_kept_from_others_and_open_to_the_worker_it_is_for():
    with reserved_ports(20) as ports:
        assert len(set(ports)) == 20
        other = socket.socket()
        with other, pytest.raises(OSError):
            other.bind((HOST, ports[0]))
        with socket.create_server((HOST, ports[1])) as server, socket.create_connection((HOST, ports[1])) as client:
            server.accept()[0].sendall(b"x")
            assert client.recv(1) == b"x"
        with reserved_ports(200) as more:
            assert not set(more) & set(ports)


@pytest.mark.parametrize(
    "codes, expected",
    [
        ((0, 0), 0),
        ((0, 75), 75),
        ((75, -signal.SIGKILL), 75),
        ((0, -signal.SIGTERM), 75),
        ((75, 64), 64),
        ((1, 75), 1),
        ((-signal.SIGKILL, -signal.SIGABRT), 1),
        ((75, 130), 130),
        ((75, 128 + signal.SIGKILL), 75),
        ((75, 128 + signal.SIGSEGV), 139),
    ],
)
def test_verdict(codes, expected):
    assert verdict(codes) == expected


TRAIN = ["--data_dir=d", "--model_dir=m", "--train_steps=3"]


def test_flags_on_both_sides_of_the_separator():
    settings, config = local.parse(["--workers=2", "--devices_per_worker=3", "--restarts=4", "--", *TRAIN, "--units=5"])
    assert settings == local.LocalConfig(workers=2, devices_per_worker=3, restarts=4)
    assert (config.model.units, config.device.devices_per_worker, config.data_dir) == (5, 3, "d")
    again = local.command(config)
    assert again[1:3] == [str(ROOT / "recurrent_trainer.py"), "trainer.train"]
    assert flags.parse(type(config), again[3:]) == config


def test_all_problems_are_told_at_once():
    with pytest.raises(ConfigError) as caught:
        local.parse(["--workers=0", "--wrong=1", "--", *TRAIN, "--units=0", "--cell=rnn", "--devices_per_worker=2"])
    assert {problem.flag for problem in caught.value.problems} == {
        "workers",
        "wrong",
        "units",
        "cell",
        "devices_per_worker",
    }


def told(*arguments):
    with pytest.raises(ConfigError) as caught:
        local.parse(arguments)
    return str(caught.value).splitlines()


def test_a_missing_separator_is_told_and_nothing_that_follows_from_it():
    (line,) = told("--workers=2", *TRAIN)
    assert (
        line.startswith("-- is missing: the flags of launch.local stand before it")
        and "launch.local --workers=2 -- --data_dir" in line
    )
    assert told() == told("--workers=2") == [line]


def test_flags_on_the_wrong_side_of_the_separator():
    assert told("--workers=2", "--units=7", "--", "--restarts=3", *TRAIN) == [
        "--units=7 stands before --; give it behind --, with the trainer's flags",
        "--restarts=3 stands behind --; give it before --, with the launcher's flags",
    ]
    assert told("--train_steps=3", "--data_dir=d", "--", "--model_dir=m") == [
        "--train_steps=3 stands before --; give it behind --, with the trainer's flags",
        "--data_dir=d stands before --; give it behind --, with the trainer's flags",
    ]
    assert told("--", *TRAIN, "--devices_per_worker=2") == [
        "--devices_per_worker stands behind --; give it to launch.local, before --"
    ]


def test_wrong_flags_start_nothing_and_import_no_tensorflow():
    code = "import sys\nfrom launch import local\nassert local.main(['--workers=2', '--', '--nonsense=1']) == 64\n"
    code += "assert local.main(['--help']) == 0\nassert 'tensorflow' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "error: --nonsense=1 is not a flag" in done.stderr and "error: --data_dir is missing" in done.stderr
    assert "--devices_per_worker" in done.stdout
    missing = subprocess.run(
        [sys.executable, "-m", "launch.local", "--workers=2"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert missing.returncode == EXIT_CONFIG and missing.stdout == ""


def test_gpus_are_shared_out(tmp_path):
    for name in ("nvidia0", "nvidia1", "nvidia3", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    assert visible_gpus({}, tmp_path) == ["0", "1", "2"]  # CUDA counts those that are there
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": "5,GPU-abc"}, tmp_path) == ["5", "GPU-abc"]
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": ""}, tmp_path) == []
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": "-1"}, tmp_path) == []
    assert gpu_environment(["5", "6", "7", "8"], index=1, devices=2) == {"CUDA_VISIBLE_DEVICES": "7,8"}
    assert gpu_environment([], index=1, devices=2) == {}
    settings, config = local.parse(["--workers=3", "--devices_per_worker=2", "--", *TRAIN])
    assert [worker.environ for worker in local.workers_of(settings, config, [])] == [{}] * 3
    with pytest.raises(ConfigError, match="--workers=3 with --devices_per_worker=2 needs 6 GPUs, this host shows 4"):
        local.workers_of(settings, config, ["0", "1", "2", "3"])


def test_the_environment_of_the_user_reaches_the_workers(tmp_path):
    os.environ["TRAINER_TEST"] = "here"
    try:
        code, out, _ = run(tmp_path, "print(os.environ['TRAINER_TEST'])")
    finally:
        del os.environ["TRAINER_TEST"]
    assert (code, out) == (0, "here\n")
