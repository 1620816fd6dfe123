"""What the demo plays on: a shop that fails once, and a real service in a temporary directory."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import msgspec

from ..http.auth import SCOPES, mint

START_SECONDS_MAX: Final = 30
_SERVES: Final = "Refold serves "


class DemoError(Exception):
    """The demo did not go as it should; the message is a sentence about it."""


class SeenCall(msgspec.Struct, frozen=True):
    """One call that the shop got, and what it answered."""

    path: str
    key: str
    """The idempotency key that came with it."""
    status: int


class Shop:
    """Takes payments and ships parcels; its first shipment fails with a 503."""

    def __init__(self) -> None:
        self.calls: Final[list[SeenCall]] = []
        shop = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, value = shop.answer(self.path, self.headers.get("Idempotency-Key", ""))
                content = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base's name
                """Say nothing: the demo shows the calls itself."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def answer(self, path: str, key: str) -> tuple[int, dict[str, str]]:
        """Note a call and decide on its answer."""
        is_broken = path == "/ship" and self.count("/ship") == 0
        status = 503 if is_broken else 200
        self.calls.append(SeenCall(path, key, status))
        if is_broken:
            return status, {"problem": "the warehouse is closed"}
        return status, {"parcel": "P-1"} if path == "/ship" else {"payment": "pay_1"}

    def count(self, path: str) -> int:
        """Return how many calls a path got."""
        return sum(call.path == path for call in self.calls)

    def close(self) -> None:
        """Close the shop."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Service:
    """The demo's client of a service."""

    def __init__(self, port: int, token: str) -> None:
        self.port = port
        self._token = token

    def call(self, method: str, path: str, body: Any = None, wait_s: int = 0) -> Any:
        """Send one request and return the answer's JSON.

        Raises:
            DemoError: the service refused, or did not answer.
        """
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        if wait_s:
            headers["Prefer"] = f"wait={wait_s}"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=wait_s + 10)
        try:
            content = None if body is None else json.dumps(body)
            connection.request(method, path, content, headers)
            answer = connection.getresponse()
            value = json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise DemoError(f"The service did not answer {method} {path}: {error}.") from error
        finally:
            connection.close()
        if answer.status >= 300:
            raise DemoError(f"The service answered {answer.status} to {method} {path}.")
        return value


@contextmanager
def open_shop() -> Generator[Shop]:
    """Open a shop on a free port of this machine."""
    shop = Shop()
    try:
        yield shop
    finally:
        shop.close()


@contextmanager
def served(directory: Path) -> Generator[Service]:
    """Run `refold serve` on a free port, as a process of its own.

    Raises:
        DemoError: it does not start.
    """
    secret = secrets.token_hex(32)
    environ = {name: text for name, text in os.environ.items() if not name.startswith("REFOLD_")}
    environ |= {
        "REFOLD_DATA": str(directory / "data"),
        "REFOLD_PORT": "0",
        "REFOLD_JWT_SECRET": secret,
        "REFOLD_EGRESS_ALLOW": "127.0.0.1",
        "REFOLD_LOG_FORMAT": "json",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "refold.scripts.cli", "serve"],
        env=environ,
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    said: list[str] = []
    serves = threading.Event()
    reader = threading.Thread(target=_listen, args=(process, said, serves), daemon=True)
    reader.start()
    try:
        serves.wait(START_SECONDS_MAX)
        port = _port(said)
        if port is None:
            last = said[-1].strip() if said else "it said nothing"
            raise DemoError(f"The service did not start: {last}")
        scopes = sorted(SCOPES)
        token = mint(
            secret, subject="demo", tenant="demo", scopes=scopes, ttl_s=600, now=time.time()
        )
        yield Service(port, token)
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        reader.join()
        if process.stderr is not None:
            process.stderr.close()


def _listen(process: subprocess.Popen[str], said: list[str], serves: threading.Event) -> None:
    """Read the log to its end, so that the service never waits for a reader."""
    assert process.stderr is not None
    for line in process.stderr:
        said.append(line)
        if _SERVES in line:
            serves.set()
    serves.set()


def _port(said: list[str]) -> int | None:
    for line in said:
        if _SERVES in line:
            address = json.loads(line)["message"].removeprefix(_SERVES).split()[0]
            return int(address.rpartition(":")[2])
    return None
