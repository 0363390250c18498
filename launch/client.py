"""The cluster's API on plain objects: apply, get, list, watch, delete, logs. Every failure is one line with its
remedy.
"""

from __future__ import annotations

import contextlib
import json
import logging
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import urllib3
from kubernetes import config as kube_config
from kubernetes.client import ApiClient, Configuration
from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException
from kubernetes.dynamic import DynamicClient, Resource
from kubernetes.dynamic.exceptions import ResourceNotFoundError

from launch.names import PROGRAM
from trainer.errors import EXIT_CONFIG, TrainerError

CONNECT_SECONDS = 10
READ_SECONDS = 60
WATCH_SECONDS = (
    60  # the server ends a watch after so long; whoever watches lists again, so nothing is missed for longer
)
LOG_IDLE_SECONDS = 300  # a log stream silent for so long is opened again, in case its connection died unseen
TOO_BUSY = (429, 502, 503, 504)
# Asks for an object without its content: to learn that a Secret exists, nobody needs to read it.
ONLY_METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
HOMES = {
    "jobset.x-k8s.io": "install JobSet (https://jobset.sigs.k8s.io)",
    "kueue.x-k8s.io": "install Kueue (https://kueue.sigs.k8s.io)",
}

Object = Mapping[str, Any]


class ClusterError(TrainerError):
    """The cluster refused a request or cannot be reached. `status` is the HTTP status, None where no answer came."""

    def __init__(self, text: str, status: int | None = None):
        super().__init__(text)
        self.status = status
        if status == 422:
            self.exit_code = EXIT_CONFIG


def connect() -> Client:
    """A client for the current context of the kubeconfig, or inside a pod for its own cluster.

    Raises:
      ClusterError: no cluster is configured, or it does not answer.
    """
    settings = Configuration()
    try:
        kube_config.load_config(client_configuration=settings)
    except (ConfigException, OSError) as error:
        text = (
            f"no cluster is configured ({_first_line(error)}); set KUBECONFIG or log in so that kubectl "
            "cluster-info works"
        )
        raise ClusterError(text) from error
    return Client(settings)


class Client:
    """One cluster. Objects are plain dicts as the API gives them; methods may be called from several threads.

    All methods raise ClusterError. A busy server (429, 502, 503, 504) and a connection that breaks are tried again
    first; that is safe since every request of ours can be repeated.
    """

    def __init__(self, settings: Configuration):
        logging.getLogger("urllib3").setLevel(logging.ERROR)  # its warnings tell of every retry
        settings.retries = urllib3.Retry(
            total=6,
            connect=2,
            read=2,
            status=5,
            status_forcelist=TOO_BUSY,
            allowed_methods=None,
            backoff_factor=0.25,
            raise_on_status=False,
            respect_retry_after_header=True,
        )
        self.host = settings.host
        self._kinds: dict[tuple[str, str], Resource | None] = {}
        self._lock = threading.Lock()  # around the library's discovery, which is not made for several threads
        self._cache = tempfile.TemporaryDirectory(prefix="launch-")  # the library's own place is a known name in /tmp
        with self._failures("look at the cluster"):
            self._api = DynamicClient(ApiClient(settings), cache_file=str(Path(self._cache.name) / "discovery.json"))

    def serves(self, api_version: str, kind: str) -> bool:
        try:
            self._path(api_version, kind)
        except ClusterError as error:
            if error.status == 404:
                return False
            raise
        return True

    def newest(self, api_versions: Sequence[str], kind: str) -> str | None:
        """The first of the versions in which the cluster has this kind; None where it has it in none."""
        return next((version for version in api_versions if self.serves(version, kind)), None)

    def get(
        self, api_version: str, kind: str, namespace: str | None, name: str, *, only_metadata: bool = False
    ) -> dict[str, Any] | None:
        """The object, or None where there is none."""
        headers = {"Accept": ONLY_METADATA} if only_metadata else {}
        try:
            return self._ask(
                "get", f"read {kind} {name}", self._path(api_version, kind, namespace, name), header_params=headers
            )
        except ClusterError as error:
            if error.status == 404:
                return None
            raise

    def list(
        self, api_version: str, kind: str, namespace: str, selector: str = "", *, fields: str = ""
    ) -> tuple[list[dict[str, Any]], str]:
        """The objects that a label selector (and a field selector) matches, and the version from which to watch
        them.
        """
        answer = self._ask(
            "get",
            f"list {kind}",
            self._path(api_version, kind, namespace),
            label_selector=selector or None,
            field_selector=fields or None,
        )
        # items of a list come without their kind
        items = [{"apiVersion": api_version, "kind": kind, **item} for item in answer["items"]]
        return items, answer["metadata"].get("resourceVersion", "")

    def watch(
        self, api_version: str, kind: str, namespace: str, selector: str, version: str
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yields (ADDED, MODIFIED or DELETED, object) until the server ends the watch; raises with status 410 if
        `version` is too old.
        """
        action = f"watch {kind}"
        with self._failures(action):
            lines = self._stream(
                self._path(api_version, kind, namespace),
                WATCH_SECONDS + 15,
                label_selector=selector,
                resource_version=version,
                watch="true",
                timeout_seconds=WATCH_SECONDS,
            )
            for line in lines:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    status = event["object"]
                    raise ClusterError(f"cannot {action}: {status.get('message')}; list again", status.get("code"))
                if event["type"] != "BOOKMARK":
                    yield event["type"], event["object"]

    def apply(self, content: Object, *, dry_run: bool = False) -> dict[str, Any]:
        """Server-side apply: makes the object or brings it to `content`, and gives it as the cluster holds it."""
        metadata = content["metadata"]
        return self._ask(
            "patch",
            f"apply {content['kind']} {metadata['name']}",
            self._path(content["apiVersion"], content["kind"], metadata.get("namespace"), metadata["name"]),
            body=dict(content),
            content_type="application/apply-patch+yaml",
            field_manager=PROGRAM,
            dry_run="All" if dry_run else None,
        )

    def delete(self, unwanted: Object) -> bool:
        """Asks for the deletion of an object and, in the background, of what it owns; False where it is gone
        already.
        """
        metadata = unwanted["metadata"]
        path = self._path(unwanted["apiVersion"], unwanted["kind"], metadata.get("namespace"), metadata["name"])
        try:
            self._ask("delete", f"delete {unwanted['kind']} {metadata['name']}", path, propagation_policy="Background")
        except ClusterError as error:
            if error.status == 404:
                return False
            raise
        return True

    def log_lines(
        self, namespace: str, pod: str, *, follow: bool = False, since: str = "", tail: int | None = None
    ) -> Iterator[str]:
        """Yields the lines of a pod's first container, each as `TIME TEXT`; `since` is an RFC 3339 time."""
        query = [("timestamps", "true")]
        query += [("follow", "true")] if follow else []
        query += [("sinceTime", since)] if since else []
        query += [("tailLines", str(tail))] if tail is not None else []
        with self._failures(f"read the log of {pod}"):
            for line in self._stream(
                self._path("v1", "Pod", namespace, pod) + "/log", LOG_IDLE_SECONDS, query_params=query
            ):
                yield line.decode(errors="replace")

    def _path(self, api_version: str, kind: str, namespace: str | None = None, name: str | None = None) -> str:
        with self._lock:
            if (api_version, kind) not in self._kinds:
                self._kinds[api_version, kind] = self._look_up(api_version, kind)
        resource = self._kinds[api_version, kind]
        if resource is None:
            remedy = HOMES.get(api_version.partition("/")[0], "use a newer cluster")
            raise ClusterError(f"the cluster has no {kind} ({api_version}); {remedy} or choose another --overlay", 404)
        return str(resource.path(name=name, namespace=namespace))

    def _look_up(self, api_version: str, kind: str) -> Resource | None:
        with self._failures(f"look up {kind}"):
            try:
                return self._api.resources.get(api_version=api_version, kind=kind)
            except ResourceNotFoundError:
                return None

    def _ask(self, method: str, action: str, path: str, **parameters: Any) -> dict[str, Any]:
        with self._failures(action):
            parameters.setdefault("header_params", {})
            answer = self._api.request(
                method,
                path,
                query_params=[],
                _request_timeout=(CONNECT_SECONDS, READ_SECONDS),
                serialize=False,
                **parameters,
            )
            content: dict[str, Any] = json.loads(answer.data)
            return content

    def _stream(self, path: str, idle_seconds: float, **parameters: Any) -> Iterator[bytes]:
        parameters.setdefault("query_params", [])
        answer = self._api.request(
            "get",
            path,
            header_params={},
            _request_timeout=(CONNECT_SECONDS, idle_seconds),
            serialize=False,
            **parameters,
        )
        try:
            rest = b""
            for chunk in answer.stream(amt=2**16):
                *lines, rest = (rest + chunk).split(b"\n")
                yield from lines
            if rest:
                yield rest
        finally:
            answer.close()

    @contextlib.contextmanager
    def _failures(self, action: str) -> Iterator[None]:
        try:
            yield
        except ApiException as error:
            raise ClusterError(_explain(self.host, action, error), error.status or None) from error
        except urllib3.exceptions.HTTPError as error:
            reason = _first_line(getattr(error, "reason", None) or error)
            text = (
                f"cannot {action}: no answer from {self.host} ({reason}); see that the cluster is up and kubectl "
                "cluster-info works"
            )
            raise ClusterError(text) from error


def _explain(host: str, action: str, error: ApiException) -> str:
    reason = _message(error)
    if error.status == 401:
        return (
            f"cannot {action}: {host} does not know who you are (401 {reason}); log in again, then try kubectl get pods"
        )
    if error.status == 403:
        return f"cannot {action}: forbidden ({reason}); ask for a role that may do it, or name another --namespace"
    if error.status == 409:
        return (
            f"cannot {action}: conflict ({reason}); another program set these fields: cancel that run first, or "
            "use another --name"
        )
    if error.status == 422:
        return (
            f"cannot {action}: refused ({reason}); cancel the run of that name first if it had other settings, or "
            "use another --name"
        )
    if error.status in TOO_BUSY:
        return f"cannot {action}: {host} is too busy ({error.status} {reason}), tried several times; try again later"
    return f"cannot {action}: {error.status or 'no'} answer of {host} ({reason}); see kubectl for more"


def _message(error: ApiException) -> str:
    """The server's own words, in one line."""
    body: object = error.body
    text = body.decode(errors="replace") if isinstance(body, bytes) else str(body or "")
    with contextlib.suppress(TypeError, ValueError, KeyError):
        text = json.loads(text)["message"]
    return " ".join(str(text or error.reason or "no reason given").split())[:500]


def _first_line(error: object) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
