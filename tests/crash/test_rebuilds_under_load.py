"""Rebuilds of different versions at once, under a load that waits for nobody: no request fails."""

from __future__ import annotations

import os
import queue
import sqlite3
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from refold.projections.built_in import BUILT_IN
from refold.projections.loading import load
from refold.scripts.bench.stock import add
from tests.support.http_kit import create, quick, run
from tests.support.service import Client, Service, running
from tests.support.view_audit import digest_faults

PROFILE = os.environ.get("REFOLD_TEST_PROFILE", "dev")
RUNS_A_SECOND = 100
SECONDS = {"dev": 2, "ci": 3, "full": 30}
STOCK = {"dev": 2000, "ci": 2000, "full": 60_000}
"""How many runs there are before: as many as make a rebuild last."""
CLIENTS = 24
LIST_EVERY = 10
"""After how many runs one asks for the newest, which needs the views at the head."""
OWN = """
from refold.journal import events as e
from refold.projections.projection import Statement, Table

class Own:
    name, version = "own", {version}
    events = e.CATALOGUE
    tables = (Table("own_row", "position", ("CREATE TABLE own_row_{{g}} (position INTEGER)",)),)
    views = ()

    def fold(self, event):
        sum(range({cost}))
        return (Statement("INSERT INTO own_row_{{g}} (position) VALUES (?)", (event.position,)),)
"""


class Load:
    """Asks for runs at fixed times, whether the ones before were answered or not."""

    def __init__(self, service: Service, workflow: str) -> None:
        self._service = service
        self._path = f"/workflows/{workflow}"
        self._due: queue.SimpleQueue[float | None] = queue.SimpleQueue()
        self._is_over = threading.Event()
        self.statuses: list[int | str] = []
        self.lists: list[int | str] = []
        self.waits: list[tuple[float, float]] = []
        """When each was due, and how long after that it was answered, in seconds."""

    @contextmanager
    def runs(self) -> Generator[None]:
        """Keep it up for the length of a block, and wait for the last answer."""
        threads = [threading.Thread(target=self._ask) for _ in range(CLIENTS)]
        threads.append(threading.Thread(target=self._schedule))
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._is_over.set()
            for thread in threads:
                thread.join()

    def _schedule(self) -> None:
        due = time.monotonic()
        while not self._is_over.wait(max(0.0, due - time.monotonic())):
            self._due.put(due)
            due += 1 / RUNS_A_SECOND
        for _ in range(CLIENTS):
            self._due.put(None)

    def _ask(self) -> None:
        with closing(self._service.client()) as client:
            while (due := self._due.get()) is not None:
                self.statuses.append(self._status(client, "POST", "execute"))
                self.waits.append((due, time.monotonic() - due))
                if len(self.statuses) % LIST_EVERY == 0:
                    self.lists.append(self._status(client, "GET", "executions"))

    def _status(self, client: Client, method: str, what: str) -> int | str:
        """Ask for something; what ends without an answer is told by its error."""
        try:
            return client.call(method, f"{self._path}/{what}").status
        except (OSError, HTTPException) as error:
            return type(error).__name__

    def median_ms(self, first: float, last: float) -> float:
        """Return the median wait of what was due between two times."""
        found = [wait for due, wait in self.waits if first <= due < last]
        return statistics.median(found) * 1000 if found else float("nan")


@pytest.fixture(name="service")
def _service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Service]:
    places = [str(tmp_path), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(places))
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    write_own(tmp_path, 1)
    data = tmp_path / "data"
    with running(data) as service, closing(service.client()) as client:
        made = run(client, create(client, quick()))["id"]
        assert service.stop() == 0
    add(data, str(made), STOCK[PROFILE])
    with running(data, PROJECTION="own_views:Own") as service:
        yield service


def write_own(directory: Path, version: int) -> None:
    """Write the module of a developer, which says the same in each version."""
    # The second one takes its time, so that the third surely begins before it ends.
    text = OWN.format(version=version, cost=8000 if version == 2 else 0)
    (directory / "own_views.py").write_text(text, encoding="utf-8")


def generations(service: Service) -> set[tuple[str, int, str]]:
    """Return name, version and state of what is in the views."""
    uri = f"file:{service.data / 'views.db'}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True)) as views:
        return set(views.execute("SELECT name, version, state FROM projection").fetchall())


def until(service: Service, client: Client, wanted: tuple[str, int, str]) -> None:
    """Wait for a state of a version; every answer meanwhile is one."""
    deadline = time.monotonic() + 120
    while wanted not in generations(service):
        assert client.get("/projections").status == 200
        assert time.monotonic() < deadline, (wanted, generations(service))
        time.sleep(0.005)


@pytest.mark.timeout(600)
def test_versions_are_rebuilt_at_once_while_100_runs_a_second_come_in_and_none_fails(
    service: Service, tmp_path: Path
) -> None:
    """Two over HTTP and one by command; afterwards each has the rows of one pass."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith("REFOLD_")}
    arguments = ("own", "--data", str(service.data), "--projection", "own_views:Own")
    command = [sys.executable, "-m", "refold.scripts.cli", "rebuild", *arguments]
    with closing(service.client()) as client:
        asking = Load(service, create(client, quick()))
        until(service, client, ("own", 1, "live"))
        while any(each["lag"] for each in shown(client)):
            client.get("/healthz")
        with asking.runs():
            begun = time.monotonic()
            time.sleep(SECONDS[PROFILE] / 4)
            asked = time.monotonic()
            write_own(tmp_path, 2)
            for name in ("own", "runs"):
                assert client.post(f"/projections/{name}/rebuild").status == 202
            until(service, client, ("own", 2, "growing"))
            write_own(tmp_path, 3)
            with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE) as third:
                until(service, client, ("own", 3, "growing"))
                at_once = {row for row in generations(service) if row[2] == "growing"}
                assert third.wait(120) == 0
            while any(each["state"] == "rebuilding" for each in shown(client)):
                assert client.get("/workflows").status in (200, 503)
            # Whichever came last, its process goes on with the code that is there.
            until(service, client, ("own", 3, "live"))
            ended = time.monotonic()
            time.sleep(max(0.0, SECONDS[PROFILE] - (time.monotonic() - begun)))
            over = time.monotonic()
        assert set(asking.statuses) == {202}
        assert set(asking.lists) == {200}, "each shows the run that was accepted before"
        assert len(asking.statuses) >= RUNS_A_SECOND * SECONDS[PROFILE] * 0.9
        assert {("own", 2, "growing"), ("own", 3, "growing")} <= at_once
        quiet = min(asking.median_ms(begun, asked), asking.median_ms(ended, over))
        busy = asking.median_ms(asked, ended)
        print(f"median answer: {quiet:.1f} ms, {busy:.1f} ms while rebuilt; {ended - asked:.1f} s")
    assert service.stop() == 0
    assert not [line for line in service.log if " ERROR " in line or "Traceback" in line]
    own = load("own_views:Own").projection
    assert own.version == 3
    assert digest_faults(service.data, [*BUILT_IN, own]) == []


def shown(client: Client) -> list[dict[str, Any]]:
    """Return how each projection stands."""
    found: list[dict[str, Any]] = client.get("/projections").json["data"]
    return found
