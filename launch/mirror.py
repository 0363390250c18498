"""A local copy of the cluster's objects that a selector matches, kept up to date by a watch."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from launch.client import Client, ClusterError

logger = logging.getLogger(__name__)

LONGEST_PAUSE_SECONDS = 10.0
GIVE_UP_SECONDS = 300.0
NOT_ALLOWED = (401, 403, 404)


class Mirror:
    """Lists, watches, and when the watch ends or breaks lists again. `objects()` may be called from any thread.

    A cluster that does not answer is asked again for `give_up_seconds`; then, and at once where the cluster refuses,
    `error` is set.
    """

    def __init__(
        self,
        client: Client,
        api_version: str,
        kind: str,
        namespace: str,
        selector: str,
        changed: Callable[[], None],
        give_up_seconds: float = GIVE_UP_SECONDS,
    ):
        self._client, self._what, self._changed = client, (api_version, kind, namespace, selector), changed
        self._give_up_seconds = give_up_seconds
        self._objects: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._answered = time.monotonic()
        self.ready = threading.Event()
        self.error: ClusterError | None = None
        self._thread = threading.Thread(target=self._run, name=f"watch {kind}", daemon=True)
        self._thread.start()

    def objects(self) -> list[dict[str, Any]]:
        with self._lock:
            return list(self._objects.values())

    def stop(self) -> None:
        """Ends the mirror; its thread, which may be waiting for the cluster, goes with the process."""
        self._stopped.set()

    def _run(self) -> None:
        pause = 0.5
        while not self._stopped.is_set():
            try:
                self._list_and_watch()
                pause = 0.5
            except ClusterError as error:
                if error.status == 410:  # the version to watch from is forgotten: list again
                    continue
                if error.status in NOT_ALLOWED or time.monotonic() - self._answered > self._give_up_seconds:
                    self.error = error
                    self.ready.set()
                    self._changed()
                    return
                logger.debug("%s", error)
                self._stopped.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _list_and_watch(self) -> None:
        objects, version = self._client.list(*self._what)
        with self._lock:
            self._objects = {each["metadata"]["uid"]: each for each in objects}
        self._announce()
        for kind, each in self._client.watch(*self._what, version):
            if self._stopped.is_set():
                return
            with self._lock:
                if kind == "DELETED":
                    self._objects.pop(each["metadata"]["uid"], None)
                else:
                    self._objects[each["metadata"]["uid"]] = each
            self._announce()

    def _announce(self) -> None:
        self._answered = time.monotonic()
        self.ready.set()
        self._changed()
