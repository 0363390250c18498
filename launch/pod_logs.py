"""The logs of pods: one at once, or all of a run's pods as they are written."""

from __future__ import annotations

import logging
import queue
import re
import threading
from collections.abc import Iterator

from launch.client import Client, ClusterError
from launch.pod_state import Object, worker_index

logger = logging.getLogger(__name__)

PAUSE_SECONDS = 1.0
MOST_FAILURES = 30  # in a row, each after a pause
_TIME = re.compile(r"(\d+-\d+-\d+T\d+:\d+:\d+)(?:\.(\d+))?(\S*)")


def lines(client: Client, pod: Object, tail: int | None = None) -> Iterator[str]:
    """The log of a pod so far, without the times."""
    metadata = pod["metadata"]
    for line in client.log_lines(metadata["namespace"], metadata["name"], tail=tail):
        yield _split(line)[1]


class PodLogs:
    """Follows the logs of pods, a thread each, and puts (worker, line) into `found` in the order in which they come."""

    def __init__(self, client: Client):
        self._client = client
        self.lines: queue.Queue[tuple[int, str]] = queue.Queue()
        self._ended: dict[str, threading.Event] = {}
        self._threads: dict[str, threading.Thread] = {}
        self._stopped = threading.Event()

    def follow(self, pod: Object, ended: bool) -> None:
        """Follows a pod whose container has started, once; `ended` says that it writes no more."""
        uid = pod["metadata"]["uid"]
        if uid not in self._threads:
            self._ended[uid] = threading.Event()
            self._threads[uid] = threading.Thread(
                target=self._run, args=(pod, self._ended[uid]), name="log", daemon=True
            )
            self._threads[uid].start()
        if ended:
            self._ended[uid].set()

    def stop(self) -> None:
        self._stopped.set()

    @property
    def idle(self) -> bool:
        """Whether every log was read to its end."""
        return not any(thread.is_alive() for thread in self._threads.values())

    def _run(self, pod: Object, ended: threading.Event) -> None:
        metadata, worker = pod["metadata"], worker_index(pod)
        last, failures = "", 0
        while not self._stopped.is_set():
            was_ended = ended.is_set()
            try:
                known = last
                for line in self._client.log_lines(metadata["namespace"], metadata["name"], follow=True, since=known):
                    time, text = _split(line)
                    failures = 0
                    if time > known:  # `since` has whole seconds, so some lines come twice
                        last = time
                        self.lines.put((worker, text))
                if was_ended:
                    return
                ended.wait(PAUSE_SECONDS)  # the stream ends a moment before the pod's state does
            except ClusterError as error:
                failures += 1
                if error.status in (403, 404) or failures > MOST_FAILURES:
                    if error.status != 404:  # a pod that is gone has no log any more
                        logger.warning("%s", error)
                    return
                self._stopped.wait(PAUSE_SECONDS)


def _split(line: str) -> tuple[str, str]:
    """Time and text of a line. The API gives times with as many digits as they need; padded, they sort by time."""
    time, _, text = line.partition(" ")
    match = _TIME.fullmatch(time)
    return (f"{match[1]}.{match[2] or '':0<9}{match[3]}", text) if match else ("", line)
