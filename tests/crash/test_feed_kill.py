"""A consumer of the feed is killed again and again, and sees every event once and in order."""

from __future__ import annotations

import http.client
import json
import os
import random
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.http_kit import create, quick
from tests.support.service import Service, running, token
from tests.support.view_audit import digest_faults

KILLS = {"dev": 3, "ci": 10, "full": 200}
CONSUMER = Path(__file__).parents[2] / "projections" / "examples" / "follow_the_journal.py"
LIFE_SECONDS_MAX = 0.6
Row = tuple[int, str, str]


@contextmanager
def _load(service: Service, org: str) -> Generator[None]:
    """Execute runs without a pause; those that a kill of the service refuses are let be."""
    client = service.client(org)
    workflow = create(client, quick())
    enough = threading.Event()

    def work() -> None:
        while not enough.is_set():
            with suppress(OSError, http.client.HTTPException):
                client.post(f"/workflows/{workflow}/execute", None, Prefer="wait=5")
        client.close()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        enough.set()
        thread.join(60)


@contextmanager
def _consumer(service: Service, file: Path) -> Generator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, str(CONSUMER), f"http://127.0.0.1:{service.port}", str(file)],
        env={**os.environ, "REFOLD_TOKEN": token("acme", scope="journal:read")},
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


def _seen(file: Path) -> list[Row]:
    with closing(sqlite3.connect(file)) as db:
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'seen'").fetchone():
            return []
        return db.execute("SELECT position, type, leaf FROM seen ORDER BY rowid").fetchall()


def _oracle(data: Path, tenant: str) -> list[Row]:
    """Read the tenant's events past the service, from the journal itself."""
    with closing(sqlite3.connect(f"file:{data / 'journal.db'}?mode=ro", uri=True)) as db:
        rows = db.execute("SELECT position, entry, leaf FROM event ORDER BY position").fetchall()
    said = ((position, json.loads(entry), leaf.hex()) for position, entry, leaf in rows)
    return [(at, entry["type"], leaf) for at, entry, leaf in said if entry["tenant"] == tenant]


@pytest.mark.timeout(600)
def test_a_consumer_that_dies_again_and_again_sees_each_event_once(
    tmp_path: Path, seed: int
) -> None:
    """By its own position alone, under load, while the service is killed once too."""
    dice, kills = random.Random(seed), KILLS[os.environ["REFOLD_TEST_PROFILE"]]
    file = tmp_path / "events.db"
    lengths: list[int] = []
    with running(tmp_path / "data") as service:
        with _load(service, "acme"), _load(service, "another"):
            for number in range(kills):
                if number == kills // 2:
                    service.kill()
                    service.start()
                with _consumer(service, file) as process, suppress(subprocess.TimeoutExpired):
                    process.wait(0.2 + dice.random() * LIFE_SECONDS_MAX)
                lengths.append(len(_seen(file)))
        wanted = _oracle(service.data, "acme")
        with _consumer(service, file) as process:
            for _ in range(600):
                if len(_seen(file)) >= len(wanted):
                    break
                with suppress(subprocess.TimeoutExpired):
                    process.wait(0.1)
    assert _seen(file) == wanted
    assert digest_faults(tmp_path / "data") == []
    assert lengths[-1] > lengths[0], "it was killed before it saw anything"
