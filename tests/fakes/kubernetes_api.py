"""A Kubernetes API server for tests: real HTTP, real state. It knows discovery, get, list, watch, server-side apply
with field ownership and dry runs, deletion with what an object owns, and pods' logs, and it can be told to fail.

kmock's emulator has no server-side apply, selectors, resource versions or logs, which is what is to be tested here.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import json
import re
import threading
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Dict = dict[str, Any]

RESOURCES = [
    ("v1", "namespaces", "Namespace", False),
    ("v1", "services", "Service", True),
    ("v1", "configmaps", "ConfigMap", True),
    ("v1", "secrets", "Secret", True),
    ("v1", "serviceaccounts", "ServiceAccount", True),
    ("v1", "persistentvolumeclaims", "PersistentVolumeClaim", True),
    ("v1", "pods", "Pod", True),
    ("v1", "events", "Event", True),
    ("batch/v1", "jobs", "Job", True),
    ("networking.k8s.io/v1", "networkpolicies", "NetworkPolicy", True),
    ("scheduling.k8s.io/v1", "priorityclasses", "PriorityClass", False),
    ("jobset.x-k8s.io/v1alpha2", "jobsets", "JobSet", True),
    ("kueue.x-k8s.io/v1beta1", "localqueues", "LocalQueue", True),
    ("kueue.x-k8s.io/v1beta1", "workloads", "Workload", True),
]
# https://kubernetes.io/docs/concepts/workloads/controllers/job: these can't be changed once the Job is there.
FIXED_IN_JOB = ("completions", "completionMode", "podFailurePolicy", "selector", "template")


@dataclass
class Fault:
    """An answer to give instead of the real one, to the next `times` requests that match."""

    method: str
    path: str  # regular expression
    status: int  # 0 closes the connection without an answer
    message: str = "injected"
    headers: dict[str, str] = field(default_factory=dict)
    times: int = 1


class Refused(Exception):  # noqa: N818 it is an answer
    def __init__(self, status: int, reason: str, message: str):
        super().__init__(message)
        self.status, self.reason, self.message = status, reason, message


class KubernetesApi:
    """The state behind the server; its methods may be called from the test, as a controller or a kubelet would."""

    def __init__(self, without: tuple[str, ...] = ()):
        self.resources = [entry for entry in RESOURCES if entry[0] not in without]
        self.store: dict[tuple[str, str, str], Dict] = {}  # (plural, namespace, name)
        self.history: list[tuple[int, str, str, Dict]] = []  # (version, plural, event, object)
        self.oldest_version = 0
        self.version = itertools.count(1)
        self.changed = threading.Condition()
        self.logs: dict[str, list[str]] = {}
        self.log_ended: set[str] = set()
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str]] = []
        self.terminating_seconds = 0.0
        self.breaks = 0  # counts up: every open watch and log stream of before is cut
        self.stopping = False
        self.put("namespaces", {"metadata": {"name": "default"}})

    # what a test or a controller does

    def put(self, plural: str, value: Dict, namespace: str = "") -> Dict:
        """Stores an object as it is, new or changed."""
        with self.changed:
            version, kind = next((entry[0], entry[2]) for entry in self.resources if entry[1] == plural)
            value = {"apiVersion": version, "kind": kind, **copy.deepcopy(value)}
            metadata = value["metadata"]
            if namespace:
                metadata["namespace"] = namespace
            key = (plural, metadata.get("namespace", ""), metadata["name"])
            old = self.store.get(key)
            number = next(self.version)
            metadata.setdefault("uid", f"uid-{number}")
            metadata.setdefault("creationTimestamp", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
            metadata["resourceVersion"] = str(number)
            self.store[key] = value
            self.history.append((number, plural, "ADDED" if old is None else "MODIFIED", copy.deepcopy(value)))
            self.changed.notify_all()
            return copy.deepcopy(value)

    def get(self, plural: str, name: str, namespace: str = "default") -> Dict:
        with self.changed:
            return copy.deepcopy(self.store[plural, namespace, name])

    def all(self, plural: str) -> list[Dict]:
        with self.changed:
            return [copy.deepcopy(value) for key, value in self.store.items() if key[0] == plural]

    def remove(self, plural: str, name: str, namespace: str = "default") -> None:
        with self.changed:
            value = self.store.pop((plural, namespace, name), None)
            if value is not None:
                self.history.append((next(self.version), plural, "DELETED", value))
                self.changed.notify_all()

    def log(self, pod: str, *lines: str) -> None:
        with self.changed:
            for line in lines:
                now = time.time_ns()
                stamp = (
                    time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now // 10**9))
                    + f".{now % 10**9:09d}".rstrip("0")
                    + "Z"
                )
                self.logs.setdefault(pod, []).append(f"{stamp} {line}")
            self.changed.notify_all()

    def end_log(self, pod: str) -> None:
        with self.changed:
            self.log_ended.add(pod)
            self.changed.notify_all()

    def break_streams(self) -> None:
        """Cuts all open watches and log streams in the middle."""
        with self.changed:
            self.breaks += 1
            self.changed.notify_all()

    def forget_history(self) -> None:
        """Every version so far is too old to watch from."""
        with self.changed:
            self.oldest_version = next(self.version)

    def fail(
        self, method: str, path: str, status: int, message: str = "injected", times: int = 1, **headers: str
    ) -> None:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        self.faults.append(Fault(method, path, status, message, names, times))

    # what the server answers

    def take_fault(self, method: str, path: str) -> Fault | None:
        with self.changed:
            for fault in self.faults:
                if fault.times and fault.method == method and re.search(fault.path, path):
                    fault.times -= 1
                    return fault
        return None

    def find(self, version: str, plural: str) -> tuple[str, str, str, bool]:
        found = next((entry for entry in self.resources if entry[0] == version and entry[1] == plural), None)
        if found is None:
            raise Refused(404, "NotFound", "the server could not find the requested resource")
        return found

    def apply(
        self, entry: tuple[str, str, str, bool], namespace: str, name: str, body: Dict, query: dict[str, str]
    ) -> tuple[int, Dict]:
        manager = query.get("fieldManager")
        if not manager:
            raise Refused(400, "BadRequest", "PatchOptions.meta.k8s.io is invalid: fieldManager: Required value")
        if (body.get("apiVersion"), body.get("kind"), body["metadata"]["name"]) != (entry[0], entry[2], name):
            raise Refused(400, "BadRequest", "the object does not match its address")
        with self.changed:
            if entry[3] and ("namespaces", "", namespace) not in self.store:
                raise Refused(404, "NotFound", f'namespaces "{namespace}" not found')
            old = self.store.get((entry[1], namespace, name))
            new = copy.deepcopy(old) if old else {"metadata": {}}
            owners: dict[str, str] = new["metadata"].setdefault("managedFields", {})
            wanted = _leaves({name: value for name, value in body.items() if name not in ("apiVersion", "kind")})
            self._check_conflicts(wanted, new, owners, manager, query)
            for path in [path for path, owner in owners.items() if owner == manager and path not in wanted]:
                _drop(new, json.loads(path))
                del owners[path]
            for path, value in wanted.items():
                _set(new, json.loads(path), value)
                owners[path] = manager
            if old is not None:
                _check_fixed(entry[2], old, new)
            if query.get("dryRun") == "All":
                return (200 if old else 201), new
            if old is not None and new == old:
                return 200, old
            return (200 if old else 201), self.put(entry[1], new, namespace)

    @staticmethod
    def _check_conflicts(wanted: Dict, old: Dict, owners: dict[str, str], manager: str, query: dict[str, str]) -> None:
        others = {
            path: owners[path]
            for path, value in wanted.items()
            if owners.get(path, manager) != manager and _get(old, json.loads(path)) != value
        }
        if others and query.get("force") != "true":
            told = ", ".join(f"{'.'.join(map(str, json.loads(path)))} ({owner})" for path, owner in others.items())
            raise Refused(409, "Conflict", f"Apply failed with {len(others)} conflicts: {told}")

    def delete(self, plural: str, namespace: str, name: str) -> Dict:
        with self.changed:
            value = self.store.get((plural, namespace, name))
            if value is None:
                raise Refused(404, "NotFound", f'{plural} "{name}" not found')
            self.remove(plural, name, namespace)
            for key, owned in list(self.store.items()):
                if any(
                    owner["uid"] == value["metadata"]["uid"] for owner in owned["metadata"].get("ownerReferences", ())
                ):
                    self._end_owned(*key)
            return {"kind": "Status", "status": "Success"}

    def _end_owned(self, plural: str, namespace: str, name: str) -> None:
        if plural != "pods":
            self.delete(plural, namespace, name)
            return
        pod = self.store[plural, namespace, name]
        pod["metadata"]["deletionTimestamp"] = "2030-01-01T00:00:00Z"
        self.put(plural, pod)
        threading.Timer(self.terminating_seconds, self.remove, (plural, name, namespace)).start()

    def matching(self, plural: str, namespace: str, query: dict[str, str]) -> list[Dict]:
        with self.changed:
            values = [
                value
                for key, value in self.store.items()
                if key[0] == plural and (not namespace or key[1] == namespace)
            ]
            return [copy.deepcopy(value) for value in values if _selected(value, query)]

    def watch(self, plural: str, namespace: str, query: dict[str, str]) -> Iterator[Dict]:
        """Events from a version on; ends after the time asked for, and is cut by `break_streams`."""
        seen, breaks = int(query.get("resourceVersion") or 0), self.breaks
        if seen < self.oldest_version:
            yield {
                "type": "ERROR",
                "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"},
            }
            return
        until = time.monotonic() + float(query.get("timeoutSeconds", 60))
        while time.monotonic() < until and not self.stopping:
            with self.changed:
                new = [entry for entry in self.history if entry[0] > seen]
                if not new:
                    self.changed.wait(0.2)
            if breaks != self.breaks:
                raise ConnectionAbortedError
            for number, kind, event, value in new:
                seen = number
                if (
                    kind == plural
                    and (not namespace or value["metadata"].get("namespace") == namespace)
                    and _selected(value, query)
                ):
                    yield {"type": event, "object": value}

    def log_lines(self, pod: str, query: dict[str, str]) -> Iterator[str]:
        breaks, since = self.breaks, query.get("sinceTime", "")[:19]
        with self.changed:
            lines = [line for line in self.logs.get(pod, []) if line[:19] >= since]
            sent = len(self.logs.get(pod, []))
        yield from lines[-int(query["tailLines"]) :] if "tailLines" in query else lines
        while query.get("follow") == "true" and not self.stopping:
            with self.changed:
                new = self.logs.get(pod, [])[sent:]
                if not new:
                    if pod in self.log_ended or not any(key[0] == "pods" and key[2] == pod for key in self.store):
                        return
                    self.changed.wait(0.2)
            if breaks != self.breaks:
                raise ConnectionAbortedError
            sent += len(new)
            yield from new


def _leaves(value: Any, path: tuple[str, ...] = ()) -> dict[str, Any]:
    """The fields of an object by their path (as JSON); lists are whole, as if they were atomic."""
    if isinstance(value, dict) and value:
        found: dict[str, Any] = {}
        for name, part in value.items():
            found |= _leaves(part, (*path, name))
        return found
    return {json.dumps(path): value}


def _get(value: Any, path: list[str]) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _set(value: Dict, path: list[str], leaf: Any) -> None:
    for name in path[:-1]:
        value = value.setdefault(name, {})
    value[path[-1]] = leaf


def _drop(value: Dict, path: list[str]) -> None:
    for name in path[:-1]:
        value = value.get(name, {})
    value.pop(path[-1], None)


def _check_fixed(kind: str, old: Dict, new: Dict) -> None:
    if kind == "ConfigMap" and old.get("immutable") and old.get("data") != new.get("data"):
        raise Refused(
            422,
            "Invalid",
            f'ConfigMap "{old["metadata"]["name"]}" is invalid: data: Forbidden: field is immutable when `immutable` '
            "is set",
        )
    if kind == "Job":
        changed = [name for name in FIXED_IN_JOB if old["spec"].get(name) != new["spec"].get(name)]
        if changed:
            raise Refused(
                422,
                "Invalid",
                f'Job "{old["metadata"]["name"]}" is invalid: spec.{changed[0]}: Invalid value: field is immutable',
            )


def _selected(value: Dict, query: dict[str, str]) -> bool:
    labels = value["metadata"].get("labels", {})
    for part in filter(None, query.get("labelSelector", "").split(",")):
        name, _, wanted = part.partition("=")
        if labels.get(name) != wanted:
            return False
    for part in filter(None, query.get("fieldSelector", "").split(",")):
        name, _, wanted = part.partition("=")
        if str(_get(value, name.split("."))) != wanted:
            return False
    return True


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    api: KubernetesApi

    def log_message(self, *arguments: object) -> None:
        pass

    def handle_any(self) -> None:
        parts = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(parts.query))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.api.requests.append((self.command, self.path))
        fault = self.api.take_fault(self.command, self.path)
        try:
            if fault is not None and fault.status == 0:
                self.close_connection = True
                self.connection.shutdown(2)
                return
            if fault is not None:
                raise Refused(fault.status, "Injected", fault.message)
            self._route(parts.path.strip("/").split("/"), query, body)
        except Refused as refused:
            status = {
                "kind": "Status",
                "status": "Failure",
                "code": refused.status,
                "reason": refused.reason,
                "message": refused.message,
            }
            self._answer(refused.status, status, fault.headers if fault else {})
        except ConnectionAbortedError:
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.shutdown(2)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_GET = do_PATCH = do_DELETE = handle_any  # noqa: N815 the base class's names

    def _route(self, parts: list[str], query: dict[str, str], body: bytes) -> None:
        if parts == ["version"]:
            return self._answer(200, {"major": "1", "minor": "34", "gitVersion": "v1.34.0"})
        if parts == ["api"]:
            return self._answer(200, {"kind": "APIVersions", "versions": ["v1"]})
        if parts == ["apis"]:
            return self._answer(200, {"kind": "APIGroupList", "groups": self._groups()})
        version, rest = (parts[1], parts[2:]) if parts[0] == "api" else ("/".join(parts[1:3]), parts[3:])
        if not rest:
            return self._answer(200, self._resources(version))
        namespace = ""
        if rest[0] == "namespaces" and len(rest) > 2:
            namespace, rest = rest[1], rest[2:]
        entry = self.api.find(version, rest[0])
        if len(rest) == 3 and rest[2] == "log":
            return self._log(namespace, rest[1], query)
        if len(rest) == 1:
            return self._list_or_watch(entry, namespace, query)
        return self._object(entry, namespace, rest[1], query, body)

    def _object(
        self, entry: tuple[str, str, str, bool], namespace: str, name: str, query: dict[str, str], body: bytes
    ) -> None:
        api = self.api
        if self.command == "PATCH":
            if self.headers["Content-Type"] != "application/apply-patch+yaml":
                raise Refused(415, "UnsupportedMediaType", "only server-side apply here")
            self._answer(*api.apply(entry, namespace, name, json.loads(body), query))
        elif self.command == "DELETE":
            self._answer(200, api.delete(entry[1], namespace, name))
        else:
            with api.changed:
                value = copy.deepcopy(api.store.get((entry[1], namespace, name)))
            if value is None:
                raise Refused(404, "NotFound", f'{entry[1]} "{name}" not found')
            if "PartialObjectMetadata" in self.headers.get("Accept", ""):
                value = {"kind": "PartialObjectMetadata", "metadata": value["metadata"]}
            self._answer(200, value)

    def _list_or_watch(self, entry: tuple[str, str, str, bool], namespace: str, query: dict[str, str]) -> None:
        if query.get("watch") == "true":
            self._stream((json.dumps(event) + "\n").encode() for event in self.api.watch(entry[1], namespace, query))
            return
        with self.api.changed:
            items, version = self.api.matching(entry[1], namespace, query), str(next(self.api.version))
        for item in items:
            del item["apiVersion"], item["kind"]  # as the real one does
        self._answer(
            200,
            {
                "kind": f"{entry[2]}List",
                "apiVersion": entry[0],
                "metadata": {"resourceVersion": version},
                "items": items,
            },
        )

    def _log(self, namespace: str, name: str, query: dict[str, str]) -> None:
        if ("pods", namespace, name) not in self.api.store:
            raise Refused(404, "NotFound", f'pods "{name}" not found')
        self._stream((line + "\n").encode() for line in self.api.log_lines(name, query))

    def _stream(self, chunks: Iterator[bytes]) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for chunk in chunks:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def _answer(self, status: int, value: Dict, headers: dict[str, str] | None = None) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        for name, text in (headers or {}).items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(content)

    def _groups(self) -> list[Dict]:
        groups = []
        for version in sorted({entry[0] for entry in self.api.resources if "/" in entry[0]}):
            name, _, number = version.partition("/")
            told = {"groupVersion": version, "version": number}
            groups.append({"name": name, "versions": [told], "preferredVersion": told})
        return groups

    def _resources(self, version: str) -> Dict:
        found = [
            {
                "name": plural,
                "singularName": kind.lower(),
                "namespaced": namespaced,
                "kind": kind,
                "verbs": ["get", "list", "patch", "delete"],
            }
            for own, plural, kind, namespaced in self.api.resources
            if own == version
        ]
        if not found:
            raise Refused(404, "NotFound", "the server could not find the requested resource")
        return {"kind": "APIResourceList", "groupVersion": version, "resources": found}


@contextlib.contextmanager
def serving(api: KubernetesApi) -> Iterator[str]:
    """Serves on a free port of this host and gives the address."""
    handler = type("Handler", (_Handler,), {"api": api})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        api.stopping = True
        with api.changed:
            api.changed.notify_all()
        server.shutdown()
        server.server_close()
