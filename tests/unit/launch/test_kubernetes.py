"""The command as people run it: a process, a kubeconfig, a cluster's API over HTTP; exit codes, stdout and stderr."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from job_controller import JobController
from kubernetes_api import serving

ROOT = Path(__file__).parents[3]
JOB = ["--name=demo", "--image=trainer:0.1.0", "--workers=2"]
TRAIN = ["--", "--data_dir=/data/set", "--model_dir=/data/model", "--train_steps=10"]
NAME = ["--name=demo"]


@pytest.fixture
def run(api, tmp_path):
    """Runs `launch.kubernetes` against the cluster."""
    with serving(api) as address:
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": address}}],
            "users": [{"name": "u", "user": {}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        (tmp_path / "config").write_text(yaml.safe_dump(content))
        environment = {**os.environ, "KUBECONFIG": str(tmp_path / "config"), "TMPDIR": str(tmp_path)}

        def run(*arguments: str, interrupt_when: Callable[[], bool] | None = None) -> subprocess.CompletedProcess[str]:
            command = [sys.executable, "-m", "launch.kubernetes", *arguments]
            pipe = subprocess.PIPE
            with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True) as process:
                if interrupt_when is not None:
                    while process.poll() is None and not interrupt_when():
                        time.sleep(0.1)
                    process.send_signal(signal.SIGINT)
                stdout, stderr = process.communicate(timeout=60)
            return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)

        yield run


def last(done: subprocess.CompletedProcess[str]) -> dict:
    return json.loads(done.stdout.splitlines()[-1])


def errors(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line.removeprefix("error: ") for line in done.stderr.splitlines() if line.startswith("error: ")]


def test_the_life_of_a_run(api, run) -> None:
    done = run("status", *NAME)
    assert done.returncode == 64 and errors(done) == [
        "--name=demo is not a run in namespace default; see kubectl get jobs for those there are"
    ]

    done = run("submit", *JOB, *TRAIN)
    assert done.returncode == 0, done.stderr
    assert {each["change"] for each in last(done)["objects"]} == {"created"}
    assert {each["change"] for each in last(run("submit", *JOB, *TRAIN))["objects"]} == {"unchanged"}

    controller = JobController(api, "demo")
    controller.make_pods()
    controller.pend(0, "0/2 nodes are available: 2 Insufficient nvidia.com/gpu.")
    told = last(run("status", *NAME))
    assert (told["state"], told["workers"], told["running"]) == ("pending", 2, 0)
    assert [reason["kind"] for reason in told["reasons"]] == ["no_gpu", "starting"]

    controller.start_all()
    for index in (0, 1):
        api.log(controller.pod(index)["metadata"]["name"], f"hello of {index}")
    api.log(
        controller.pod(0)["metadata"]["name"], "INFO progress: step=3 of=10 loss=0.5 steps_per_second=2 seconds_left=4"
    )
    told = last(run("status", *NAME))
    assert (told["state"], told["progress"]["step"], told["progress"]["seconds_left"]) == ("running", 3, 4.0)

    done = run("logs", *NAME)
    assert done.stdout.splitlines()[0] == "[worker 0] hello of 0" and "[worker 1] hello of 1" in done.stdout
    assert last(done)["lines"] == {"0": 2, "1": 1}
    assert run("logs", *NAME, "--worker=1").stdout.splitlines()[0] == "hello of 1"

    api.log(controller.pod(1)["metadata"]["name"], "error: shard 3 is damaged; restore it")
    controller.exit(1, 65)
    done = run("status", *NAME)
    told = last(done)
    assert (done.returncode, told["state"], told["exit_code"]) == (0, "failed", 65)
    assert told["last_lines"] == ["hello of 1", "error: shard 3 is damaged; restore it"]

    done = run("cancel", *NAME)
    assert {each["kind"] for each in last(done)["deleted"]} == {"Job", "Service", "ConfigMap", "NetworkPolicy"}
    assert api.all("jobs") == api.all("services") == api.all("pods") == []


@pytest.mark.parametrize("code", [0, 65])
def test_follow_ends_with_the_run_s_own_exit_code(api, run, code) -> None:
    def story() -> None:
        while not api.all("jobs"):
            time.sleep(0.05)
        controller = JobController(api, "demo")
        controller.make_pods()
        controller.start_all()
        api.log(controller.pod(0)["metadata"]["name"], '{"step": 10}' if code == 0 else "error: bad data")
        time.sleep(1.0)
        controller.exit(0, code)

    teller = threading.Thread(target=story, daemon=True)
    teller.start()
    done = run("submit", *JOB, "--follow", *TRAIN)
    teller.join()
    assert done.returncode == code
    told = last(done)
    assert (told["state"], told["exit_code"]) == (("complete", 0) if code == 0 else ("failed", 65))
    assert told["result"] == ({"step": 10} if code == 0 else None)
    assert "[worker 0] " in done.stderr
    assert bool(errors(done)) == bool(code)
    # the same again: nothing is made, and the outcome is told at once
    again = run("submit", *JOB, "--follow", *TRAIN)
    assert again.returncode == code and {each["change"] for each in last(again)["objects"]} == {"unchanged"}


def test_ctrl_c_leaves_the_run_alone(api, run) -> None:
    watched = lambda: any("pods" in path and "watch=true" in path for _, path in list(api.requests))  # noqa: E731
    done = run("submit", *JOB, "--follow", *TRAIN, interrupt_when=watched)
    assert done.returncode == 130
    assert "the run goes on; follow it again with python -m launch.kubernetes logs --follow --name=demo" in done.stderr
    assert api.get("jobs", "demo")


def test_all_mistakes_are_told_before_the_cluster_is_asked(api, run) -> None:
    trainer = ["--data_dir=/data/set", "--model_dir=/data/model", "--units=0"]
    done = run("submit", "--name=Demo", "--image=", "--workers=3", "--overlay=none", "--", *trainer)
    assert done.returncode == 64
    for flag in ("--name=Demo", "--image", "--overlay=none", "--units=0", "--train_steps", "--batch_size=32"):
        assert any(line.startswith(flag) for line in errors(done)), (flag, done.stderr)
    assert api.requests == [] and done.stdout == ""


def test_refusals_of_the_cluster_are_one_line(api, run) -> None:
    api.fail("PATCH", "jobs", 403, 'User "me" cannot patch resource "jobs"', times=9)
    done = run("submit", *JOB, *TRAIN)
    assert done.returncode == 1 and len(errors(done)) == 1 and "Traceback" not in done.stderr
    assert "cannot apply Job demo: forbidden" in errors(done)[0] and "ask for a role" in errors(done)[0]


def test_render_needs_no_cluster(api, run) -> None:
    done = run("render", *JOB, *TRAIN)
    assert done.returncode == 0 and api.requests == []
    assert [each["kind"] for each in yaml.safe_load_all(done.stdout)][-1] == "Job"


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        ([], 64, "give one of render, submit, status, logs, cancel first"),
        (
            ["start"],
            64,
            "start is not a verb of launch.kubernetes; use one of render, submit, status, logs, cancel; did you mean "
            "status?",
        ),
        (["logs", "--name=demo", "--worker=0", "--follow"], 64, "--worker=0 has no effect with --follow"),
        (["--help"], 0, "usage: python -m launch.kubernetes VERB"),
        (["submit", "--help"], 0, "--gpus_per_worker"),
        (["status", "--help"], 0, "--namespace"),
    ],
)
def test_the_command_explains_itself(run, arguments, code, told) -> None:
    done = run(*arguments)
    assert done.returncode == code and told in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("module", "package", "verb"), [("kubernetes", "kubernetes", "submit"), ("yaml", "PyYAML", "render")]
)
def test_without_its_extra_the_extra_is_named(module, package, verb):
    code = (
        f"import runpy, sys; sys.modules[{module!r}] = None; runpy.run_module('launch.kubernetes', "
        "run_name='__main__', alter_sys=True)"
    )
    command = [sys.executable, "-c", code, verb]
    done = subprocess.run([*command, *JOB, *TRAIN], cwd=ROOT, capture_output=True, text=True, check=False)
    told = f"error: launch.kubernetes needs the package {package}; pip install 'recurrent-trainer[launch]'\n"
    assert (done.returncode, done.stdout, done.stderr) == (64, "", told)
    done = subprocess.run([*command, "--help"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
