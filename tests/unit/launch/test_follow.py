"""Following a run over HTTP to each of its ends, through restarts, evictions, broken watches and cut logs."""

from __future__ import annotations

import io
import re
import sys
import threading
import time
from collections.abc import Callable

import pytest
from job_controller import JobController

from launch import submission
from launch.client import Client, ClusterError
from launch.follow import Outcome, follow, progress_text
from launch.job import JobFlags, read
from launch.manifests import objects
from launch.run_objects import Run
from launch.run_state import RunState
from trainer.cli.progress_line import ProgressLine

RUN = Run("demo", "default")
FLAGS = ["--name=demo", "--image=trainer:0.1.0", "--workers=2", "--retries=1", "--"]
FLAGS += ["--data_dir=/data/set", "--model_dir=/data/model", "--train_steps=10"]
PROGRESS = str(ProgressLine(6, 10, 0.25, 3.0, 75.0))


@pytest.fixture
def cluster(api, client) -> JobController:
    """A submitted run of two workers whose pods are there."""
    submission.submit(client, RUN, objects(read(JobFlags, FLAGS)[1]))
    controller = JobController(api, "demo")
    controller.make_pods()
    return controller


def followed(client: Client, story: Callable[[], None], **more: float) -> Outcome:
    """Follows while the story happens in another thread; a run that is never over fails the test."""
    found: list[Outcome | ClusterError] = []

    def go() -> None:
        try:
            found.append(follow(client, RUN, **more))
        except ClusterError as error:
            found.append(error)

    thread = threading.Thread(target=go, daemon=True)
    thread.start()
    time.sleep(0.7)  # the follower has seen the beginning
    story()
    thread.join(30)
    assert found, "the follower did not come back"
    if isinstance(found[0], ClusterError):
        raise found[0]
    return found[0]


def pause() -> None:
    time.sleep(0.6)


def test_a_run_that_succeeds(api, client, cluster, capsys, caplog) -> None:
    caplog.set_level("INFO")

    def story() -> None:
        chief, peer = cluster.start(0), cluster.start(1)
        api.log(chief, "INFO resumed", PROGRESS)
        api.log(peer, "INFO joined")
        pause()
        api.log(chief, '{"step": 10, "loss": 0.5}')
        cluster.exit(1, 0)
        cluster.exit(0, 0)

    outcome = followed(client, story)
    assert (outcome.state.state, outcome.exit_code) == ("complete", 0)
    assert outcome.result == {"step": 10, "loss": 0.5}
    told = capsys.readouterr()
    assert told.out == ""
    lines = told.err.splitlines()
    for line in (
        "[worker 0] INFO resumed",
        "[worker 1] INFO joined",
        f"[worker 0] {PROGRESS}",
        '[worker 0] {"step": 10, "loss": 0.5}',
    ):
        assert lines.count(line) == 1
    assert "demo: running, 2 of 2 workers run" in caplog.text


@pytest.mark.parametrize(("code", "passed_on"), [(64, 64), (65, 65)])
def test_wrong_flags_and_bad_data_end_it_at_once(client, cluster, code, passed_on) -> None:
    def story() -> None:
        cluster.start_all()
        cluster.exit(1, code)

    outcome = followed(client, story)
    assert (outcome.state.state, outcome.exit_code, outcome.state.restarts) == ("failed", passed_on, 0)


def test_crashes_end_it_when_the_retries_are_used_up(client, cluster) -> None:
    def story() -> None:
        for _ in range(2):
            cluster.start_all()
            cluster.exit(1, 1)
            cluster.exit(0, 75)
            pause()

    outcome = followed(client, story)
    assert (outcome.state.state, outcome.exit_code) == ("failed", 1)
    assert outcome.state.reasons[0].text.startswith("BackoffLimitExceeded")


def test_preemption_and_eviction_are_restarts_without_count(api, client, cluster, caplog) -> None:
    caplog.set_level("INFO")

    def story() -> None:
        for _ in range(3):  # more often than --retries=1
            cluster.start_all()
            pause()
            cluster.evict(1, 75)
            cluster.exit(0, 75)
            pause()
        cluster.start_all()
        pause()
        cluster.exit(0, 0)

    outcome = followed(client, story)
    assert (outcome.exit_code, outcome.state.restarts) == (0, 3)
    assert "restarting" in caplog.text and "was taken off its node (EvictionByEvictionAPI" in caplog.text


def test_broken_watches_and_cut_logs_lose_and_repeat_nothing(api, client, cluster, capsys) -> None:
    def story() -> None:
        chief = cluster.start(0)
        cluster.start(1)
        for part in range(4):
            api.log(chief, *(f"line {part}.{number}" for number in range(5)))
            pause()
            api.fail("GET", "pods.*watch=true", 500)
            api.break_streams()
        api.forget_history()
        cluster.exit(0, 0)
        api.break_streams()

    outcome = followed(client, story)
    assert outcome.exit_code == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "line" in line]
    assert lines == [f"[worker 0] line {part}.{number}" for part in range(4) for number in range(5)]


def test_why_it_waits_is_told_and_it_goes_on_when_it_may(api, client, cluster, caplog) -> None:
    caplog.set_level("INFO")
    for index in (0, 1):
        cluster.pend(index, "0/4 nodes are available: 4 Insufficient nvidia.com/gpu.")

    def story() -> None:
        pause()
        cluster.start_all()
        pause()
        cluster.exit(0, 0)

    assert followed(client, story, hopeless_seconds=0.1).exit_code == 0
    assert "pending, 0 of 2 workers run; workers 0-1: no node has enough free GPUs (0/4 nodes" in caplog.text


def test_an_image_that_cannot_be_pulled_is_not_waited_for_forever(api, client, cluster) -> None:
    for index in (0, 1):
        cluster.hold(index, "ImagePullBackOff", "trainer:0.1.0 not found")
    outcome = followed(client, lambda: None, hopeless_seconds=1.0)
    assert (outcome.state.state, outcome.exit_code) == ("pending", 1)
    assert "workers 0-1: the image trainer:0.1.0 cannot be pulled" in str(outcome.state)


def test_attempts_of_the_past_are_not_shown_again(api, client, cluster, capsys) -> None:
    for attempt in range(2):
        cluster.start_all()
        api.log(cluster.pod(0)["metadata"]["name"], f"attempt {attempt}")
        if attempt == 0:
            cluster.evict(0, 75)

    assert followed(client, lambda: cluster.exit(0, 0)).exit_code == 0
    assert [line for line in capsys.readouterr().err.splitlines() if "attempt" in line] == ["[worker 0] attempt 1"]


def test_a_run_that_somebody_deletes_is_over(api, client, cluster) -> None:
    cluster.start_all()
    outcome = followed(client, lambda: api.delete("jobs", "default", "demo") and None)
    assert (outcome.state.state, outcome.exit_code) == ("absent", 1)


def test_rights_that_are_taken_away_end_it(api, client, cluster) -> None:
    def story() -> None:
        api.fail("GET", "pods", 403, "no more", times=999)
        api.break_streams()

    with pytest.raises(ClusterError, match="cannot list Pod: forbidden"):
        followed(client, story)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_there_is_a_line_of_progress(api, client, cluster, monkeypatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)

    def story() -> None:
        cluster.evict(1)
        cluster.start_all()
        api.log(cluster.pod(0)["metadata"]["name"], PROGRESS, "INFO hello")
        pause()
        cluster.exit(0, 0)

    assert followed(client, story).exit_code == 0
    assert "demo running 2/2 | step 6/10 | loss 0.2500 | 3 steps/s | ETA 0:01:15 | restarts 1" in screen.getvalue()
    assert "[worker 0] INFO hello" in screen.getvalue() and not re.search(r"\[worker 0\] progress", screen.getvalue())


def test_progress_by_the_clock_has_no_total() -> None:
    told = progress_text("demo", RunState("running", workers=1, running=1), ProgressLine(6, None, 0.25, 0.5, 3600.0))
    assert told == "demo running 1/1 | step 6 | loss 0.2500 | 0.5 steps/s | ETA 1:00:00 | restarts 0"
