"""A real service in a rough world: clocks that jump, clients that dawdle, endpoints that flood."""

from __future__ import annotations

import resource
import socket
import threading
from collections.abc import Generator
from contextlib import ExitStack, closing, contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from tests.support.fault_shim import Shim, built
from tests.support.http_kit import create, quick, run, started
from tests.support.io_trial import is_mended
from tests.support.service import Client, Service, chain, node, running, token

HOUR_S = 3600
DAY_S = 86_400
SLOW_CLIENTS = 200
FILES_MAX = 48
GIGABYTE = 1 << 30
_STREAM = "text/event-stream"


def waiting(seconds: float) -> dict[str, Any]:
    """Return a definition whose run waits a little."""
    pause = node("d", "delay", duration=seconds)
    return chain(node("t", "manual_trigger"), pause, quick()["nodes"][1])


def times_of(client: Client, run_id: str) -> list[str]:
    """When the events of a run were committed."""
    return [one["at"] for one in client.get(f"/workflows/runs/{run_id}/events").json["data"]]


@pytest.mark.parametrize("jump", [-HOUR_S, DAY_S], ids=["an hour back", "a day ahead"])
def test_a_clock_that_jumps_holds_nothing_up_and_turns_no_order(tmp_path: Path, jump: int) -> None:
    """Commit times never decrease, a wait of a moment stays one, and tokens end by the clock."""
    built()
    (tmp_path / "disk").mkdir()
    with (
        closing(Shim(tmp_path / "disk", tmp_path / "shim")) as shim,
        _served(Service(tmp_path / "disk" / "data", shim.environment())) as service,
        closing(Client(service.port, token(ttl=3 * DAY_S))) as client,
    ):
        workflow = create(client, waiting(0.2))
        before = run(client, workflow)
        early = client.post(f"/workflows/{workflow}/execute").json["id"]
        shim.set_clock(jump)
        after = [run(client, workflow) for _ in range(3)]
        assert {made["status"] for made in [before, *after]} == {"completed"}
        # A run that was under way may have passed its time limit, and ends in either case.
        client.call("GET", f"/workflows/runs/{early}/events", headers={"Accept": _STREAM})
        assert client.get(f"/workflows/runs/{early}").json["completed_at"] is not None
        told = [at for made in [before, *after] for at in times_of(client, made["id"])]
        assert told == sorted(told)
        # The shim moves the service's clock alone, so a token of an hour that is made now has ended
        # a day ago, or is of an hour to come.
        with closing(service.client()) as hourly:
            assert hourly.get("/workflows").status == 401
        shim.set_clock(0)
        with closing(service.client()) as hourly:
            assert hourly.get("/workflows").status == 200
        assert run(client, workflow)["status"] == "completed"


@contextmanager
def _served(service: Service) -> Generator[Service]:
    service.start()
    try:
        yield service
    finally:
        service.kill()


def test_clients_that_send_a_byte_now_and_then_hold_nobody_up(tmp_path: Path) -> None:
    """Hundreds of unfinished heads and bodies: others are served, and the slow are sent away."""
    with running(tmp_path / "data", REQUEST_SECONDS_MAX="2") as service:
        client = service.client()
        workflow = create(client, quick())
        head = b"POST /workflows/x/execute HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "
        body = head + f"{token()}\r\nContent-Length: 9\r\n\r\n".encode()
        with ExitStack() as stack:
            slow = [
                stack.enter_context(socket.create_connection(("127.0.0.1", service.port), 30))
                for _ in range(SLOW_CLIENTS)
            ]
            for number, one in enumerate(slow):
                one.sendall(body if number % 2 else head)
            assert run(client, workflow)["status"] == "completed"
            for one in slow:
                # One more byte does not give it more time.
                one.sendall(b" ")
            assert run(client, workflow)["status"] == "completed"
            answers = [_all_of(one) for one in slow]
        assert {answer[:12] for answer in answers} == {b"HTTP/1.1 408"}
        assert all(b'"code":"request_timeout"' in answer for answer in answers)
        # A connection that waits for its next request has sent no part of it.
        assert client.get("/healthz").status == 200
        client.close()


def _all_of(one: socket.socket) -> bytes:
    parts: list[bytes] = []
    while part := one.recv(65536):
        parts.append(part)
    return b"".join(parts)


def test_without_free_descriptors_clients_wait_and_nothing_told_is_lost(tmp_path: Path) -> None:
    """More connections than the process may have: those there are served, the rest come later."""
    with running(tmp_path / "data") as service, closing(service.client()) as client:
        assert service.process is not None
        workflow = create(client, quick())
        run(client, workflow)
        used = len(list(Path(f"/proc/{service.process.pid}/fd").iterdir()))
        limits = (used + FILES_MAX, used + FILES_MAX)
        resource.prlimit(service.process.pid, resource.RLIMIT_NOFILE, limits)
        told = list[str]()
        with ExitStack() as stack:
            for _ in range(2 * FILES_MAX):
                one = socket.create_connection(("127.0.0.1", service.port), 30)
                stack.enter_context(one)
            for _ in range(20):
                reply = client.post(f"/workflows/{workflow}/execute")
                assert reply.status in (202, 503), reply.body
                told += [reply.json["id"]] if reply.status == 202 else []
        assert len(told) > 0
        # They have hung up: whoever comes now is let in without a restart.
        told.append(let_in(service, workflow))
        assert is_mended(service, threading.Event())
        for run_id in told:
            assert client.get(f"/workflows/runs/{run_id}").status == 200
        assert service.stop() == 0


def let_in(service: Service, workflow: str) -> str:
    """Come again until the service has noticed who left: till then newcomers are sent away."""
    pause = threading.Event()
    for _ in range(100):
        with closing(service.client()) as another, suppress(OSError, HTTPException):
            return str(run(another, workflow)["id"])
        pause.wait(0.1)
    raise AssertionError("nobody is let in any more")


class Flood:
    """An endpoint that answers with a gigabyte, or with nothing at all."""

    def __init__(self, silent: bool) -> None:
        self._silent = silent
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._gone = threading.Event()
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.sent = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with ExitStack() as stack:
            while True:
                try:
                    one = stack.enter_context(self._listening.accept()[0])
                except OSError:
                    return
                if not self._silent:
                    threading.Thread(target=self._flood, args=(one,), daemon=True).start()

    def _flood(self, one: socket.socket) -> None:
        try:
            one.recv(65536)
            one.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n")
            one.sendall(b"Transfer-Encoding: chunked\r\n\r\n")
            part = b"100000\r\n" + bytes(1 << 20) + b"\r\n"
            while self.sent < GIGABYTE:
                one.sendall(part)
                self.sent += 1 << 20
        except OSError:
            return

    def close(self) -> None:
        """Stop listening."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()


@pytest.mark.parametrize("silent", [True, False], ids=["silent", "a gigabyte"])
def test_an_endpoint_that_hangs_or_floods_fails_its_node_and_nothing_else(
    tmp_path: Path, silent: bool
) -> None:
    """The memory stays bounded, the failure says what it was, and other runs go on meanwhile."""
    with (
        closing(Flood(silent)) as flood,
        running(tmp_path / "data", NODE_SECONDS_MAX="2" if silent else "60") as service,
        closing(service.client()) as client,
    ):
        call = node("w", "webhook", url=f"{flood.url}/x", body={})
        calling = create(client, chain(node("t", "manual_trigger"), call))
        other = create(client, quick())
        run(client, other)
        before = memory_of(service)
        told = [started(client, calling) for _ in range(4)]
        assert run(client, other)["status"] == "completed"
        for run_id in told:
            client.call("GET", f"/workflows/runs/{run_id}/events", headers={"Accept": _STREAM})
            made = client.get(f"/workflows/runs/{run_id}").json
            assert (made["status"], made["failed_node_id"]) == ("failed", "w")
            code = made["logs"][-1]["output"]["error"]["code"]
            assert code == ("timeout" if silent else "response_too_large")
        assert memory_of(service) - before < 64 << 20
        assert flood.sent < GIGABYTE // 4
        assert client.get("/readyz").status == 200


def memory_of(service: Service) -> int:
    """The most memory that the process ever had, in bytes."""
    assert service.process is not None
    lines = Path(f"/proc/{service.process.pid}/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
