"""A bucket to test against: gcp-storage-emulator over HTTP, behind a proxy that can refuse, cut off and damage what
passes.

Google's client is pointed to it by STORAGE_EMULATOR_HOST. TensorFlow's file system knows no such variable, its
addresses are fixed: it is pointed to it as to any HTTPS proxy, by `https_proxy`, and takes the proxy's certificate by
CURL_CA_BUNDLE.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import re
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import trustme
from gcp_storage_emulator.server import create_server

BUCKET = "bucket"
GOOGLE = ("www.googleapis.com", "storage.googleapis.com", "oauth2.googleapis.com")
HOP_HEADERS = ("connection", "keep-alive", "transfer-encoding", "proxy-connection")

# "503", "403", "404", "cut" (half of the answer, then nothing), "damage" (a bit of the answer's body is another)
Fault = str


class BucketServer:
    """`url` answers as Cloud Storage does; `fault(number, method, path)` names what happens to a request, None lets it
    pass.
    """

    def __init__(self) -> None:
        self.fault: Callable[[int, str, str], Fault | None] = lambda number, method, path: None
        self.requests: list[tuple[str, str]] = []  # method and path of all that came
        self.faults = 0
        self._lock = threading.Lock()
        self.one_by_one = threading.Lock()  # conditions hold until the request is done
        logging.getLogger("gcp_storage_emulator").setLevel(logging.CRITICAL)
        logging.getLogger("api.object").setLevel(logging.CRITICAL)
        self._emulator = create_server("127.0.0.1", 0, in_memory=True, default_bucket=BUCKET)
        self._emulator.start()
        self.emulator_port = self._emulator._api._httpd.server_address[1]
        self._proxy = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (_Proxy,), {"owner": self}))
        self.port = self._proxy.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        authority = trustme.CA()
        self.authority = authority.cert_pem.bytes()
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(*GOOGLE).configure_cert(self.tls)
        threading.Thread(target=self._proxy.serve_forever, daemon=True).start()

    def take(self, method: str, path: str) -> Fault | None:
        with self._lock:
            self.requests.append((method, path))
            number = len(self.requests)
        found = self.fault(number, method, path)
        self.faults += found is not None
        return found

    def tensorflow_environment(self, directory: Path) -> dict[str, str]:
        """The variables with which a new process' TensorFlow finds this server where it looks for Cloud Storage."""
        bundle = directory / "authority.pem"
        bundle.write_bytes(self.authority)
        return {"https_proxy": self.url, "CURL_CA_BUNDLE": str(bundle), "NO_GCE_CHECK": "true"}

    def stop(self) -> None:
        self._proxy.shutdown()
        self._proxy.server_close()
        self._emulator.stop()


@contextlib.contextmanager
def bucket_server() -> Iterator[BucketServer]:
    server = BucketServer()
    try:
        yield server
    finally:
        server.stop()


class _Proxy(BaseHTTPRequestHandler):
    owner: BucketServer

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.owner.take(self.command, self.path)
        if fault is not None and fault.isdigit():
            self._answer(int(fault), {"Content-Type": "application/json"}, _error(int(fault)))
            return
        if (wanted := self._precondition()) is not None:
            with self.owner.one_by_one:
                if self._generation(body) != wanted:
                    self._answer(412, {"Content-Type": "application/json"}, _error(412))
                    return
                self._pass_on(body, fault)
            return
        self._pass_on(body, fault)

    def _precondition(self) -> int | None:
        """The generation that the object must have, 0 for none; None where the request does not say."""
        values = parse_qs(urlsplit(self.path).query).get("ifGenerationMatch")
        return int(values[0]) if values else None

    def _generation(self, body: bytes) -> int:
        """That of the object which the request writes or deletes; 0 where there is none. The emulator knows no
        conditions.
        """
        parts = urlsplit(self.path)
        if parts.path.startswith("/upload/"):
            match = re.search(rb'"name": *"([^"]+)"', body)
            assert match is not None, "a condition is known of uploads in one request only"
            bucket, name = parts.path.split("/")[5], quote(match[1].decode(), safe="")
        else:
            bucket, _, name = parts.path.partition("/b/")[2].partition("/o/")
        connection = http.client.HTTPConnection("127.0.0.1", self.owner.emulator_port, timeout=30)
        connection.request("GET", f"/storage/v1/b/{bucket}/o/{name}")
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return int(json.loads(content)["generation"]) if answer.status == 200 else 0

    def _pass_on(self, body: bytes, fault: Fault | None) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.owner.emulator_port, timeout=30)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_HEADERS}
        connection.request(self.command, self.path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        kept = {
            name: value
            for name, value in answer.getheaders()
            if name.lower() not in (*HOP_HEADERS, "content-length", "server", "date")
        }
        if fault == "damage" and content:
            content = content[:-1] + bytes([content[-1] ^ 1])
        self._answer(answer.status, kept, content, cut=fault == "cut")

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any  # noqa: N815

    def do_CONNECT(self) -> None:
        """What is asked for through the tunnel is handled here too: this end of it has Google's names in its
        certificate.
        """
        self.send_response(200)
        self.end_headers()
        self.wfile.flush()
        with (
            contextlib.suppress(ssl.SSLError, ConnectionError),
            self.owner.tls.wrap_socket(self.connection, server_side=True) as inner,
        ):
            type(self)(inner, self.client_address, self.server)

    def _answer(self, status: int, headers: dict[str, str], content: bytes, cut: bool = False) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Connection", "close")
        self.end_headers()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            self.wfile.write(content[: len(content) // 2] if cut else content)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass


def _error(status: int) -> bytes:
    told = {
        403: "tester@example.com does not have storage.objects.get access to the object.",
        503: "Backend Error",
        404: "Not Found",
        412: "At least one of the pre-conditions you specified did not hold.",
    }
    return json.dumps({"error": {"code": status, "message": told.get(status, "")}}).encode()
