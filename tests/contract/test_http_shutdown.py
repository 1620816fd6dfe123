"""Stopping: who waits is answered, tails end, and a client that left is not served for ever."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from refold.http.call import Answer
from refold.http.sending import send_stream
from tests.support.http_kit import create, slow, started
from tests.support.service import Reply, running

SSE = {"Accept": "text/event-stream"}


def test_a_service_that_is_asked_to_stop_answers_who_waits(tmp_path: Path) -> None:
    """A waiting client gets its 202 and a tail its end, at once, and the exit code is 0."""
    with running(tmp_path / "data") as service:
        owner = service.client()
        workflow = create(owner, slow())
        made = started(owner, workflow)
        replies: dict[str, Reply] = {}
        waiting, tailing = service.client(), service.client()

        def wait() -> None:
            replies["wait"] = waiting.post(f"/workflows/{workflow}/execute", Prefer="wait=30")

        def tail() -> None:
            replies["tail"] = tailing.call("GET", f"/workflows/runs/{made}/events", headers=SSE)

        threads = [threading.Thread(target=each) for each in (wait, tail)]
        for thread in threads:
            thread.start()
        while owner.get(f"/workflows/{workflow}/executions").json["meta"]["total"] < 2:
            pass
        began = time.monotonic()
        assert service.stop() == 0
        took = time.monotonic() - began
        for thread in threads:
            thread.join(10)
        for each in (owner, waiting, tailing):
            each.close()
        assert not any("Traceback" in line for line in service.log)
    assert took < 5
    assert (replies["wait"].status, replies["wait"].json["status"]) == (202, "pending")
    assert (replies["tail"].status, replies["tail"].body.count(b"event: ")) == (200, 5)


def test_a_run_goes_on_after_the_restart(tmp_path: Path) -> None:
    """What was parked is unfinished, and is taken up again."""
    with running(tmp_path / "data") as service:
        client = service.client()
        made = started(client, create(client, slow()))
        client.close()
        assert service.stop() == 0
        service.start()
        client = service.client()
        assert client.get(f"/workflows/runs/{made}").json["status"] in ("pending", "running")
        assert client.post(f"/workflows/runs/{made}/cancel").status == 202
        client.close()


def test_a_stream_whose_client_left_is_ended() -> None:
    """A tail of a run that waits for days must not outlive its reader."""
    ended: list[str] = []

    async def endless() -> AsyncIterator[bytes]:
        try:
            yield b"first"
            await asyncio.Event().wait()
        finally:
            ended.append("generator")

    async def main() -> None:
        sent: list[Any] = []
        first = asyncio.Event()

        async def send(message: Any) -> None:
            sent.append(message)
            if message.get("body"):
                first.set()

        async def receive() -> dict[str, str]:
            await first.wait()
            return {"type": "http.disconnect"}

        async with asyncio.timeout(10):
            await send_stream(Answer(200), endless(), "req_1", receive, send)
        assert [message["type"] for message in sent] == [
            "http.response.start",
            "http.response.body",
        ]

    asyncio.run(main())
    assert ended == ["generator"]


def test_a_stream_that_fails_tells_who_serves_it() -> None:
    """The failure is not swallowed beside the watch for the client."""

    async def broken() -> AsyncIterator[bytes]:
        yield b"first"
        raise RuntimeError("the disk is gone")

    async def main() -> str:
        async def send(message: Any) -> None:
            del message

        async def receive() -> dict[str, str]:
            await asyncio.Event().wait()
            return {"type": "http.disconnect"}

        try:
            await send_stream(Answer(200), broken(), "req_1", receive, send)
        except RuntimeError as error:
            return str(error)
        return ""

    assert asyncio.run(main()) == "the disk is gone"
