"""What tests of the HTTP contract share: refusals in their exact form, and proof of no write."""

from __future__ import annotations

import json
import socket
import sqlite3
import threading
from collections.abc import Generator
from contextlib import closing, contextmanager
from typing import Any
from uuid import uuid4

from .service import Client, Endpoint, Hit, Reply, Service, chain, endpoint, node

TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    405: "invalid_request_error",
    409: "conflict_error",
    412: "conflict_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    422: "unprocessable_entity",
    429: "rate_limit_error",
    431: "invalid_request_error",
    500: "api_error",
    503: "api_error",
    504: "api_error",
}
"""The `type` that the contract gives each status."""


def refused(reply: Reply, status: int, code: str) -> dict[str, list[str]]:
    """See that an answer is this refusal in the contract's form; returns its `errors`."""
    assert reply.status == status, (reply.status, reply.body)
    assert reply.headers["content-type"] == "application/json"
    body = reply.json
    assert set(body) - {"errors"} == {"type", "code", "message", "doc_url"}
    assert (body["type"], body["code"]) == (TYPES[status], code)
    assert body["doc_url"].endswith(f"/docs#{code}")
    assert body["message"]
    assert "\n" not in body["message"]
    assert "Traceback" not in reply.body.decode()
    errors: dict[str, list[str]] = body.get("errors", {})
    assert all(isinstance(fault, str) for faults in errors.values() for fault in faults)
    return errors


_GOING_ON = (
    "run.started",
    "run.completed",
    "run.failed",
    "run.cancelled",
    "node.",
    "timer.",
    "iteration.",
)
"""The events by which a run that was asked for before goes on."""


def position(service: Service) -> int:
    """Return how many events the journal holds, read from its file past the service."""
    with closing(sqlite3.connect(f"file:{service.data / 'journal.db'}?mode=ro", uri=True)) as db:
        return int(db.execute("SELECT coalesce(max(position), 0) FROM event").fetchone()[0])


@contextmanager
def nothing_written(service: Service) -> Generator[None, None, None]:
    """See that nothing asked for in a block is written; runs of other tests may go on by it."""
    before = position(service)
    yield
    with closing(sqlite3.connect(f"file:{service.data / 'journal.db'}?mode=ro", uri=True)) as db:
        rows = db.execute("SELECT entry FROM event WHERE position > ?", (before,)).fetchall()
    said = [json.loads(entry) for (entry,) in rows]
    assert [x for x in said if not x["type"].startswith(_GOING_ON)] == []


class Gate:
    """An endpoint's answer that is held back until the test lets it go."""

    def __init__(self, status: int = 200) -> None:
        self.arrived = threading.Event()
        self.release = threading.Event()
        self._status = status

    def __call__(self, hit: Hit) -> tuple[int, object]:
        """Say that a call has arrived, and answer it once it may be."""
        del hit
        self.arrived.set()
        self.release.wait(60)
        return self._status, {"ok": self._status < 400}


@contextmanager
def held(status: int = 200) -> Generator[tuple[Gate, str], None, None]:
    """Serve a gate; whatever still waits at the end is let go."""
    gate = Gate(status)
    with endpoint(gate) as made:
        try:
            yield gate, made.url
        finally:
            gate.release.set()


def exchange(port: int, request: bytes) -> bytes:
    """Send bytes on a connection of their own and return all that comes until it is closed."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(request)
        parts: list[bytes] = []
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def key() -> str:
    """Return a new idempotency key."""
    return str(uuid4())


def quick(**trigger: Any) -> dict[str, Any]:
    """Return a definition whose run ends at once: a trigger and a text."""
    return chain(
        node("t", "manual_trigger", **trigger),
        node("a", "text_transform", template="hi {{ trigger.name }}"),
    )


def slow() -> dict[str, Any]:
    """Return a definition whose run waits for minutes at its second node."""
    return chain(
        node("t", "manual_trigger"),
        node("wait", "delay", duration=600),
        node("a", "text_transform", template="late"),
    )


def calling(sink: Endpoint, *paths: str) -> dict[str, Any]:
    """Return a definition that calls these paths one after the other: nodes `n1`, `n2`, …"""
    calls = [
        node(f"n{i}", "webhook", url=f"{sink.url}/{path}", body={"n": i})
        for i, path in enumerate(paths, 1)
    ]
    return chain(node("t", "manual_trigger"), *calls)


def create(client: Client, definition: dict[str, Any]) -> str:
    """Create a workflow and return its id."""
    made = client.post("/workflows", definition)
    assert made.status == 201, made.body
    return str(made.json["id"])


def hook_path(client: Client, workflow: str) -> str:
    """Return the path of a workflow's webhook."""
    url = str(client.get(f"/workflows/{workflow}").json["webhook_url"])
    return url[url.index("/workflows") :]


def run(client: Client, workflow: str, context: Any = None) -> dict[str, Any]:
    """Execute a workflow and return the run once it has ended."""
    body = None if context is None else {"context": context}
    made = client.post(f"/workflows/{workflow}/execute", body, Prefer="wait=30")
    assert made.status == 200, made.body
    found: dict[str, Any] = made.json
    return found


def started(client: Client, workflow: str) -> str:
    """Execute a workflow that doesn't end by itself and return the run's id."""
    made = client.post(f"/workflows/{workflow}/execute")
    assert made.status == 202, made.body
    return str(made.json["id"])


def followed(client: Client, run_id: str) -> dict[str, Any]:
    """Follow a run's live tail to its end and return the run."""
    accept = {"Accept": "text/event-stream"}
    tail = client.call("GET", f"/workflows/runs/{run_id}/events", headers=accept)
    assert tail.status == 200, tail.body
    shown: dict[str, Any] = client.get(f"/workflows/runs/{run_id}").json
    return shown
