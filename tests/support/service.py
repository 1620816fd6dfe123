"""A real Refold process, a client that speaks to it, and an endpoint that records what it gets."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

SECRET = "a secret for tests that is long enough"
_SERVES = re.compile(r"Refold serves http://127\.0\.0\.1:(\d+)")
START_SECONDS_MAX = 30


@dataclass
class Reply:
    """An answer: status, headers in lower case, and the body's bytes."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Client:
    """Keeps one connection to a service; not to be shared between threads."""

    def __init__(self, port: int, token: str = "") -> None:
        self.port = port
        self.token = token
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=40)

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        *,
        raw: bytes | None = None,
    ) -> Reply:
        """Send one request; `raw` is sent as it is, `body` as JSON."""
        sent = dict(headers or {})
        if self.token:
            sent.setdefault("Authorization", f"Bearer {self.token}")
        data = raw
        if body is not None:
            data = json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        try:
            self._connection.request(method, path, body=data, headers=sent)
            response = self._connection.getresponse()
            content = response.read()
        except BaseException:
            self._connection.close()
            raise
        return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, content)

    def get(self, path: str, **headers: str) -> Reply:
        """GET a path."""
        return self.call("GET", path, headers=headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Reply:
        """POST JSON; `Idempotency_Key="…"` becomes the header `Idempotency-Key`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.call("POST", path, body, named)

    def close(self) -> None:
        """Give the connection back."""
        self._connection.close()


@dataclass
class Service:
    """A running `refold serve` on a data directory of its own."""

    data: Path
    environ: dict[str, str] = field(default_factory=dict)
    command: tuple[str, ...] = (sys.executable, "-m", "refold.scripts.cli", "serve")
    port: int = 0
    process: subprocess.Popen[str] | None = None
    log: list[str] = field(default_factory=list)
    _reader: threading.Thread | None = None

    def start(self) -> Service:
        """Start the process and return when it serves."""
        serves = self.launch()
        if not serves.wait(START_SECONDS_MAX) or not self.port:
            self.kill()
            raise RuntimeError("the service did not start:\n" + "".join(self.log))
        return self

    def launch(self) -> threading.Event:
        """Start the process; what is returned is set when it serves, or has ended."""
        environ = {k: v for k, v in os.environ.items() if not k.startswith("REFOLD_")}
        environ |= {
            "REFOLD_JWT_SECRET": SECRET,
            "REFOLD_EGRESS_ALLOW": "127.0.0.0/8",
            "REFOLD_DATA": str(self.data),
            "REFOLD_PORT": str(self.port),
            **self.environ,
        }
        self.process = subprocess.Popen(
            self.command,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        serves = threading.Event()
        self._reader = threading.Thread(target=self._read_log, args=(serves,), daemon=True)
        self._reader.start()
        return serves

    def _read_log(self, serves: threading.Event) -> None:
        assert self.process is not None
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line)
            found = _SERVES.search(line)
            if found:
                self.port = int(found[1])
                serves.set()
        serves.set()

    def files(self) -> dict[str, bytes]:
        """Read every file of the data directory; one that is replaced meanwhile may be missing."""
        found: dict[str, bytes] = {}
        for path in sorted(self.data.rglob("*")):
            with suppress(FileNotFoundError, IsADirectoryError):
                found[str(path.relative_to(self.data))] = path.read_bytes()
        return found

    def client(self, org: str = "acme", sub: str = "me", scope: str | None = None) -> Client:
        """Return a client with a token of its own (all scopes by default)."""
        return Client(self.port, token(org, sub, scope))

    def kill(self) -> None:
        """End the process as a crash would (SIGKILL)."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """Ask the process to stop (SIGTERM); returns its exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, number: int) -> int:
        if self.process is None:
            return 0
        self.process.send_signal(number)
        code = self.process.wait(30)
        if self._reader is not None:
            self._reader.join(10)
        if self.process.stderr is not None:
            self.process.stderr.close()
        self.process = None
        return code


@contextmanager
def running(data: Path, **environ: str) -> Generator[Service, None, None]:
    """Serve a data directory for the length of a block; `PORT="…"` sets `REFOLD_PORT`."""
    service = Service(data, {f"REFOLD_{name}": value for name, value in environ.items()})
    service.start()
    try:
        yield service
    finally:
        service.kill()


def token(org: str = "acme", sub: str = "me", scope: str | None = None, ttl: int = 3600) -> str:
    """Mint a token that a service started here accepts."""
    import time

    from refold.http.auth import SCOPES, mint

    scopes = tuple(SCOPES) if scope is None else tuple(scope.split())
    return mint(SECRET, subject=sub, tenant=org, scopes=scopes, ttl_s=ttl, now=int(time.time()))


@dataclass
class Hit:
    """One call that the endpoint got."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def key(self) -> str:
        """The call's idempotency key."""
        return self.headers.get("idempotency-key", "")


def _answer_ok(hit: Hit) -> tuple[int, Any]:
    del hit
    return 200, {"ok": True}


class Endpoint:
    """An HTTP endpoint on loopback: records each call before it answers as it is told to.

    `answer` gets the hit and returns status and body; by default 200 `{"ok": true}`.
    """

    def __init__(self, answer: Callable[[Hit], tuple[int, Any]] | None = None) -> None:
        self.hits: list[Hit] = []
        self.answer: Callable[[Hit], tuple[int, Any]] = answer or _answer_ok
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def _serve(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                body = self.rfile.read(length)
                headers = {k.lower(): v for k, v in self.headers.items()}
                hit = Hit(self.command, self.path, headers, body)
                endpoint.hits.append(hit)
                status, value = endpoint.answer(hit)
                data = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, its name
                """Say nothing."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256

            def handle_error(self, request: Any, client_address: Any) -> None:
                """Say nothing: a killed service hangs up in the middle."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


@contextmanager
def endpoint(
    answer: Callable[[Hit], tuple[int, Any]] | None = None,
) -> Generator[Endpoint, None, None]:
    """Serve an endpoint for the length of a block."""
    made = Endpoint(answer)
    try:
        yield made
    finally:
        made.close()


def node(id_: str, component: str, **data: Any) -> dict[str, Any]:
    """Write a node of a definition."""
    kind = "trigger" if component.endswith("_trigger") else "action"
    return {"id": id_, "type": kind, "data": {"componentId": component, **data}}


def chain(*nodes: dict[str, Any]) -> dict[str, Any]:
    """Write a workflow whose nodes follow one another."""
    edges = [
        {"id": f"e{i}", "source": a["id"], "target": b["id"]}
        for i, (a, b) in enumerate(pairwise(nodes))
    ]
    return {"name": "chain", "nodes": list(nodes), "edges": edges}
