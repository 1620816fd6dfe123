"""Overload over HTTP: turns among tenants, refusals before any work, and nothing accepted lost."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.support.http_kit import create, exchange, held, nothing_written, position, quick, refused
from tests.support.service import Client, Reply, Service, chain, node, running, token

FLOOD = 80


@contextmanager
def standing_still(service: Service) -> Generator[None]:
    """Hold the process up, so that everything sent in a block is there when it goes on."""
    assert service.process is not None
    os.kill(service.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(service.process.pid, signal.SIGCONT)


def connected(service: Service, count: int) -> list[socket.socket]:
    """Open connections on which the service has answered once, so that it reads from all."""
    made: list[socket.socket] = []
    for _ in range(count):
        connection = socket.create_connection(("127.0.0.1", service.port), timeout=30)
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        made.append(connection)
    return made


TOKENS = {org: token(org) for org in ("busy", "flood", "other", "slow")}
"""One each, so that only the first request of a tenant waits for its signature to be checked."""


def sent(connection: socket.socket, org: str, path: str, body: bytes = b"") -> socket.socket:
    """Send the last request of a connection and return that."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKENS[org]}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n"
    )
    connection.sendall(head.encode() + body)
    return connection


def answered(connection: socket.socket) -> Reply:
    """Read the answer of a connection to its end."""
    with connection:
        parts: list[bytes] = []
        while part := connection.recv(65536):
            parts.append(part)
    head, _, body = b"".join(parts).partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return Reply(int(status.split()[1]), headers, body)


def first_positions(client: Client, runs: Sequence[str]) -> list[int]:
    """Return where in the journal runs begin."""
    return [
        client.get(f"/workflows/runs/{run}/events?limit=1").json["data"][0]["position"]
        for run in runs
    ]


def test_a_request_behind_another_tenant_s_flood_is_served_among_its_first(
    tmp_path: Path,
) -> None:
    """Eighty requests were there before it; tenants take turns, so it overtakes most of them."""
    with running(tmp_path / "data") as service:
        flooding, other = service.client("flood"), service.client("other")
        theirs, ours = create(flooding, quick()), create(other, quick())
        path = f"/workflows/{theirs}/execute"
        # Both tokens are known, so that nobody waits for a signature to be checked.
        for connection, org in zip(connected(service, 2), ("flood", "other"), strict=True):
            known = theirs if org == "flood" else ours
            assert answered(sent(connection, org, f"/workflows/{known}/execute")).status == 202
        connections = connected(service, FLOOD + 1)
        with standing_still(service):
            flood = [sent(connection, "flood", path) for connection in connections[:-1]]
            single = sent(connections[-1], "other", f"/workflows/{ours}/execute")
        made = answered(single)
        replies = [answered(connection) for connection in flood]
        assert [made.status, *(reply.status for reply in replies)] == [202] * (FLOOD + 1)
        at = first_positions(other, [made.json["id"]])[0]
        others = first_positions(flooding, [reply.json["id"] for reply in replies])
        assert sum(theirs < at for theirs in others) < FLOOD // 2
        for client in (flooding, other):
            client.close()


def test_a_tenant_with_too_much_waiting_is_refused_before_any_work(tmp_path: Path) -> None:
    """What was accepted ends, what was refused left nothing, and another tenant notices nothing."""
    limits = {"MAX_WAITING_REQUESTS_PER_TENANT": "5"}
    with running(tmp_path / "data", **limits) as service:
        flooding, other = service.client("flood"), service.client("other")
        theirs, ours = create(flooding, quick()), create(other, quick())
        connections, path = connected(service, FLOOD + 4), f"/workflows/{theirs}/execute"
        with standing_still(service):
            flood = [sent(connection, "flood", path) for connection in connections[:-4]]
            path = f"/workflows/{ours}/execute"
            calm = [sent(connection, "other", path) for connection in connections[-4:]]
        replies = [answered(connection) for connection in flood]
        assert [answered(connection).status for connection in calm] == [202] * 4
        accepted = [reply for reply in replies if reply.status == 202]
        turned_away = [reply for reply in replies if reply.status != 202]
        assert accepted
        assert turned_away
        for reply in turned_away:
            refused(reply, 429, "too_many_requests")
            assert reply.headers["retry-after"] == "1"
        listed = flooding.get(f"/workflows/{theirs}/executions?per_page=100").json
        assert {run["id"] for run in listed["data"]} == {reply.json["id"] for reply in accepted}
        for reply in accepted:
            tail = {"Accept": "text/event-stream"}
            run = reply.json["id"]
            flooding.call("GET", f"/workflows/runs/{run}/events", headers=tail)
            assert flooding.get(f"/workflows/runs/{run}").json["status"] == "completed"
        for client in (flooding, other):
            client.close()


def test_a_tenant_s_rate_and_a_workflow_s_are_their_own(tmp_path: Path) -> None:
    """Above either there is 429 with the time to wait; other tenants and workflows go on."""
    limits = {"MAX_REQUESTS_PER_SECOND_PER_TENANT": "50", "MAX_STARTS_PER_SECOND_PER_WORKFLOW": "1"}
    with running(tmp_path / "data", **limits) as service:
        client, other = service.client("busy"), service.client("other")
        one, two = create(client, quick()), create(client, quick())
        assert client.post(f"/workflows/{one}/execute").status == 202
        with nothing_written(service):
            again = client.post(f"/workflows/{one}/execute")
            refused(again, 429, "too_many_requests")
            assert again.headers["retry-after"] == "1"
        assert client.post(f"/workflows/{two}/execute").status == 202
        connections, body = connected(service, 120), json.dumps(quick()).encode()
        with standing_still(service):
            many = [sent(each, "busy", "/workflows/validate", body) for each in connections]
        statuses = [answered(connection).status for connection in many]
        assert set(statuses) == {200, 429}
        assert other.get("/workflows").status == 200
        for each in (client, other):
            each.close()


def test_runs_of_a_tenant_that_may_not_wait_are_refused(tmp_path: Path) -> None:
    """One tenant's accepted runs don't take all the room in which runs wait for a place."""
    limits = {"MAX_WAITING_RUNS_PER_TENANT": "2", "MAX_ACTIVE_RUNS_PER_TENANT": "1"}
    with held() as (gate, url), running(tmp_path / "data", **limits) as service:
        client, other = service.client("busy"), service.client("other")
        calls = chain(node("t", "manual_trigger"), node("call", "webhook", url=url))
        workflow = create(client, calls)
        for _ in range(3):
            assert client.post(f"/workflows/{workflow}/execute").status == 202
        with nothing_written(service):
            refused(client.post(f"/workflows/{workflow}/execute"), 429, "too_many_requests")
        assert other.post(f"/workflows/{create(other, quick())}/execute").status == 202
        gate.release.set()
        for each in (client, other):
            each.close()


def test_one_connection_too_many_is_refused_at_its_first_byte(tmp_path: Path) -> None:
    """The others go on, and there is room again when one of them is gone."""
    with running(tmp_path / "data", MAX_CONNECTIONS="10") as service, ExitStack() as stack:
        clients = [service.client() for _ in range(10)]
        for client in clients:
            stack.callback(client.close)
            assert client.get("/healthz").status == 200
        answer = exchange(service.port, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
        assert b"retry-after: 1" in head
        assert json.loads(body)["code"] == "overloaded"
        assert all(client.get("/healthz").status == 200 for client in clients)
        clients.pop().close()
        for _ in range(100):
            answer = exchange(
                service.port, b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            )
            if b" 200 " in answer.split(b"\r\n")[0]:
                break
        assert b" 200 " in answer.split(b"\r\n")[0]


def test_what_bodies_held_is_given_back(tmp_path: Path) -> None:
    """A tenant that sends more than all bodies may hold, one after the other, is never refused."""
    with running(tmp_path / "data") as service:
        client = service.client()
        body = b'{"name": "' + b"x" * 1_000_000 + b'"}'
        kind = {"Content-Type": "application/json"}
        for _ in range(36):
            made = client.call("POST", "/workflows/validate", raw=body, headers=kind)
            assert made.status == 200
        refused(
            client.call("POST", "/workflows/validate", raw=body + body, headers=kind),
            413,
            "payload_too_large",
        )
        client.close()


def test_a_service_that_drains_says_so_and_still_serves(tmp_path: Path) -> None:
    """From SIGTERM on it is not ready, takes requests until the time is over, and exits with 0."""
    with running(tmp_path / "data", DRAIN_SECONDS="600") as service:
        client = service.client()
        workflow = create(client, quick())
        assert service.process is not None
        service.process.send_signal(signal.SIGTERM)
        while (ready := client.get("/readyz")).status == 200:
            pass
        assert ready.status == 503
        assert (ready.json["status"], ready.json["intake"]) == ("unready", "stopping")
        made = client.post(f"/workflows/{workflow}/execute", Prefer="wait=30")
        assert (made.status, made.json["status"]) == (200, "completed")
        client.close()
        # Asked twice, it drains no longer.
        assert service.stop() == 0


def test_an_endpoint_that_hangs_holds_the_stop_up_for_a_bounded_time(tmp_path: Path) -> None:
    """The call is let go of, and made again under the same key at the next start."""
    with held() as (gate, url), running(tmp_path / "data", SHUTDOWN_SECONDS_MAX="1") as service:
        client = service.client()
        calls = chain(node("t", "manual_trigger"), node("call", "webhook", url=url))
        made = client.post(f"/workflows/{create(client, calls)}/execute").json["id"]
        assert gate.arrived.wait(30)
        client.close()
        before = position(service)
        assert service.stop() == 0
        assert position(service) == before
        gate.release.set()
        service.start()
        client = service.client()
        tail = {"Accept": "text/event-stream"}
        client.call("GET", f"/workflows/runs/{made}/events", headers=tail)
        assert client.get(f"/workflows/runs/{made}").json["status"] == "completed"
        client.close()
