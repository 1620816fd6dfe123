"""A consumer that comes and goes a thousand times costs the service nothing that stays."""

from __future__ import annotations

import http.client
import threading
from contextlib import closing
from pathlib import Path

from tests.support.http_kit import create, quick, run
from tests.support.metrics_kit import scraped
from tests.support.service import Client, Service, running, token

TIMES = 1000
WARM_UP = 200
BYTES_MAX = 8 * 2**20
"""A thousandth of it a connection would be noticed."""


def begin_and_leave(service: Service, headers: dict[str, str]) -> bool:
    """Open the feed, read its first line, hang up; False if there was no place yet."""
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
    try:
        connection.request("GET", "/journal/entries", headers=headers)
        response = connection.getresponse()
        if response.status == 429:
            return False
        assert response.status == 200
        assert response.readline()
        response.close()
        return True
    finally:
        connection.close()


def costs(service: Service, client: Client) -> tuple[int, int, int]:
    """Return open files, threads and bytes of memory, once no feed is open."""
    while scraped(client)("refold_http_streams_open") > 0:
        client.get("/healthz")
    assert service.process is not None
    process = Path("/proc") / str(service.process.pid)
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    files = len(list((process / "fd").iterdir()))
    return files, int(status["Threads"]), int(status["VmRSS"].split()[0]) * 1024


def test_a_thousand_reconnects_leave_no_file_thread_or_memory_and_no_run_waits(
    tmp_path: Path,
) -> None:
    """Each begins at the first event; runs are executed all the while, and every one completes."""
    with running(tmp_path / "data") as service, closing(service.client()) as client:
        workflow = create(client, quick())
        headers = {"Accept": "text/event-stream", "Authorization": f"Bearer {token()}"}
        is_over = threading.Event()
        completed: list[str] = []

        def work() -> None:
            with closing(service.client()) as other:
                while not is_over.is_set():
                    completed.append(run(other, workflow)["status"])

        worker = threading.Thread(target=work)
        worker.start()
        before = (0, 0, 0)
        for number in range(TIMES):
            if number == WARM_UP:
                before = costs(service, client)
            while not begin_and_leave(service, headers):
                # The server notices the end of an earlier one a moment later.
                client.get("/healthz")
        is_over.set()
        worker.join(60)
        after = costs(service, client)
        print(f"files, threads, bytes: {before} {after}; runs: {len(completed)}")
        assert set(completed) == {"completed"}
        assert after[0] <= before[0] + 2
        assert after[1] <= before[1]
        assert after[2] <= before[2] + BYTES_MAX
        assert service.stop() == 0
