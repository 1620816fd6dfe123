"""The views' file is spoilt under a running service: named, made anew, and nothing is lost."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.http_kit import create, quick, run
from tests.support.service import Reply, running
from tests.support.view_audit import digest_faults


def settle(path: Path) -> None:
    """Bring what SQLite's log holds into the file, as it does by itself sooner or later."""
    with closing(sqlite3.connect(path, timeout=30)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def deleted(path: Path, other: Path) -> None:
    """Delete the file."""
    del other
    path.unlink()


def truncated(path: Path, other: Path) -> None:
    """Cut it in the middle."""
    del other
    settle(path)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def overwritten(path: Path, other: Path) -> None:
    """Write random bytes over all of it, and over what SQLite keeps beside it."""
    del other
    settle(path)
    with path.open("r+b") as file:
        file.write(os.urandom(path.stat().st_size))


def replaced(path: Path, other: Path) -> None:
    """Put the views of another journal into its place."""
    copy = path.with_name("copy")
    shutil.copy(other, copy)
    copy.replace(path)


@pytest.fixture(name="other", scope="module")
def _other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The views of another journal, closed."""
    data = tmp_path_factory.mktemp("other") / "data"
    with running(data) as service, closing(service.client("stranger")) as client:
        workflow = create(client, quick())
        for _ in range(3):
            run(client, workflow)
        assert client.get(f"/workflows/{workflow}/executions").status == 200
        assert service.stop() == 0
    return data / "views.db"


@pytest.mark.parametrize(
    ("spoil", "is_idle"),
    [
        (deleted, False),
        (truncated, False),
        (overwritten, False),
        (overwritten, True),
        (replaced, False),
    ],
)
def test_a_file_that_is_spoilt_under_a_service_is_named_and_made_anew_without_a_restart(
    tmp_path: Path, other: Path, spoil: Callable[[Path, Path], None], *, is_idle: bool
) -> None:
    """Lists answer rightly or 503 with `Retry-After`; single runs and new ones go on throughout."""
    with running(tmp_path / "data") as service, closing(service.client()) as client:
        workflow = create(client, quick())
        made = [str(run(client, workflow)["id"]) for _ in range(5)]
        path = f"/workflows/{workflow}/executions?per_page=100"
        assert listed(client.get(path)) == made[::-1]
        spoil(service.data / "views.db", other)
        if not is_idle:
            made.append(str(run(client, workflow)["id"]))
        deadline = time.monotonic() + 60
        while not (named := [line for line in service.log if "views.db is made anew" in line]):
            reply = client.get(path)
            assert reply.status in (200, 503), reply.body
            if reply.status == 503:
                assert reply.headers["retry-after"] == "1"
            else:
                assert listed(reply) == made[::-1]
            assert client.get(f"/workflows/runs/{made[0]}").json["status"] == "completed"
            assert time.monotonic() < deadline, service.log
            if is_idle and reply.status == 200:
                # What was opened before it was spoilt may go on giving the right answers.
                made.append(str(run(client, workflow)["id"]))
        assert "CRITICAL" in named[0]
        while (reply := client.get(path)).status == 503:
            assert reply.headers["retry-after"] == "1"
            assert time.monotonic() < deadline
        assert listed(reply) == made[::-1]
        made.append(str(run(client, workflow)["id"]))
        assert listed(client.get(path)) == made[::-1]
        while client.get("/readyz").status != 200:
            assert time.monotonic() < deadline
        assert service.stop() == 0
    assert digest_faults(tmp_path / "data") == []


def listed(reply: Reply) -> list[str]:
    """Return the ids in a list."""
    assert reply.status == 200, reply.body
    return [str(entry["id"]) for entry in reply.json["data"]]
