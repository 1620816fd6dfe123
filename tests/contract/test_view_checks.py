"""Rows that somebody changed are found, by the service itself and by command, and named."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from refold.projections.built_in import BUILT_IN
from refold.projections.checking import check
from refold.projections.errors import ViewsFailedError
from refold.projections.rebuild import rebuild
from refold.projections.refolding import Difference
from tests.support import misbehaving
from tests.support.http_kit import create, quick, run
from tests.support.metrics_kit import scraped
from tests.support.service import Client, Service, running
from tests.support.views_kit import add_runs, add_workflow, change, query, served

SECOND = {"PROJECTION_CHECK_SECONDS": "1"}


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `refold verify` as an operator would."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith("REFOLD_")}
    return subprocess.run(
        [str(Path(sys.executable).with_name("refold")), "verify", *arguments],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def until(client: Client, holds: Callable[[Any], bool], name: str = "runs") -> Any:
    """Ask how a projection stands until something holds."""
    deadline = time.monotonic() + 60
    while True:
        shown = client.get("/projections").json
        (found,) = [each for each in shown["data"] if each["name"] == name]
        if holds(found):
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


def meddle(service: Service, script: str) -> None:
    """Change the views as somebody with access to the machine could."""
    with closing(sqlite3.connect(service.data / "views.db", timeout=30)) as connection:
        connection.executescript(script)


def is_equal(found: Any) -> bool:
    """Tell a projection that was compared and is as the journal says."""
    return found["check"] is not None and bool(found["check"]["is_equal"])


def differs(found: Any) -> bool:
    """Tell a projection whose rows are not as the journal says."""
    return found["check"] is not None and not found["check"]["is_equal"]


def test_a_row_that_was_changed_under_a_running_service_is_named_until_it_is_made_anew(
    tmp_path: Path,
) -> None:
    """By the service itself; nothing is mended unasked, and all else goes on."""
    with running(tmp_path / "data", **SECOND) as service, closing(service.client()) as client:
        made = run(client, create(client, quick()))["id"]
        until(client, is_equal)
        assert client.get("/readyz").json.keys() == {"status", "journal", "projections", "signing"}
        assert scraped(client)("refold_projection_differs", projection="runs") == 0
        meddle(service, f"UPDATE run_1 SET failed_node = 'x' WHERE run_id = '{made}'")
        found = until(client, differs)
        ((place,),) = query(service.data, "SELECT requested_position FROM run")
        assert found["check"]["difference"] == {
            "table": "run",
            "row": f"[{place}]",
            "kind": "other",
        }
        assert found["state"] == "live"
        ready = client.get("/readyz")
        assert (ready.status, ready.json["status"]) == (200, "ready")
        assert ready.json["differing"] == ["runs"]
        metrics = scraped(client)
        assert metrics("refold_projection_differs", projection="runs") == 1
        assert metrics("refold_projection_differs", projection="workflows") == 0
        alarm = next(line for line in service.log if "is not as the journal says" in line)
        assert "CRITICAL" in alarm
        assert f"projection runs, version {BUILT_IN[0].version}" in alarm
        assert f"position {found['check']['position']}: row [{place}] of run differs" in alarm
        run(client, create(client, quick()))
        assert client.get(f"/workflows/runs/{made}").status == 200
        assert client.post("/projections/runs/rebuild").status == 202
        until(client, is_equal)
        assert "differing" not in client.get("/readyz").json
        assert not list(service.data.glob("views.check.*"))
        assert service.stop() == 0


def test_the_interval_may_be_never(tmp_path: Path) -> None:
    """Nobody compares then, and `/projections` says that nobody has."""
    with (
        running(tmp_path / "data", PROJECTION_CHECK_SECONDS="0") as service,
        closing(service.client()) as client,
    ):
        run(client, create(client, quick()))
        assert [each["check"] for each in client.get("/projections").json["data"]] == [
            None for _ in BUILT_IN
        ]
        assert service.stop() == 0


def filled(directory: Path) -> None:
    """Leave a journal and its views behind."""

    async def main() -> None:
        async with served(directory) as (journal, views):
            await add_workflow(journal)
            await add_runs(journal, 3)
            await views.wait_for(journal.head)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("script", "difference"),
    [
        ("UPDATE log_1 SET node = 'x' WHERE position = 6", Difference("log", "[6]", "other")),
        ("DELETE FROM log_1 WHERE position = 6", Difference("log", "[6]", "missing")),
        ("DELETE FROM log_1 WHERE position = 15", Difference("log", "[15]", "missing")),
        (
            "INSERT INTO log_1 SELECT 2, run_id, version, tenant, workflow, event_id, node, "
            "component, status, created_at, started_at, attempt, body_at, iteration, source_id "
            "FROM log_1 LIMIT 1",
            Difference("log", "[2]", "extra"),
        ),
        ("UPDATE run_1 SET tenant = 'other'", Difference("run", "[3]", "other")),
    ],
)
def test_the_first_row_that_differs_is_told_by_its_key(
    tmp_path: Path, script: str, difference: Difference
) -> None:
    """Changed, missing or made up, at the beginning, in the middle or at the end."""
    filled(tmp_path)
    assert all(each.is_equal and each.difference is None for each in check(tmp_path))
    change(tmp_path, script)
    wrong = {each.name: each.difference for each in check(tmp_path) if not each.is_equal}
    assert wrong == {"runs": difference}


def test_rows_that_copy_bodies_are_told_by_number_alone(tmp_path: Path) -> None:
    """Their keys may be what somebody wrote."""
    copies = misbehaving.Copies()

    async def main() -> None:
        async with served(tmp_path, projections=BUILT_IN) as (journal, views):
            await add_runs(journal, 1)
            await views.wait_for(journal.head)

    asyncio.run(main())
    rebuild(tmp_path, ["copies"], projections=[copies])
    change(tmp_path, "UPDATE copied_output_1 SET body = x'00' WHERE position = 5")
    (found,) = check(tmp_path, ["copies"], projections=[copies])
    assert found.difference == Difference("copied_output", "number 2", "other")


def test_rows_beyond_the_end_of_the_journal_are_told_so(tmp_path: Path) -> None:
    """There is nothing to compare them with."""
    filled(tmp_path)
    change(tmp_path, "UPDATE projection SET position = 9999 WHERE name = 'runs'")
    with pytest.raises(ViewsFailedError, match="position 9999, and the journal ends at"):
        check(tmp_path, ["runs"])


def test_one_command_verifies_a_journal_and_the_rows_made_of_it(tmp_path: Path) -> None:
    """Its exit code tells evidence that is bad from rows that a rebuild mends."""
    filled(tmp_path)
    plain = command(str(tmp_path))
    done = command(str(tmp_path), "--projections")
    assert (done.returncode, done.stderr) == (plain.returncode, "")
    assert done.stdout.startswith(plain.stdout)
    assert done.stdout.count("the rows are those of the journal") == len(BUILT_IN)
    change(tmp_path, "UPDATE log_1 SET node = 'x' WHERE position = 6")
    done = command(str(tmp_path), "--projections")
    assert done.returncode == 50
    assert "runs: version" in done.stdout
    assert "row [6] of log differs" in done.stdout
    told = command(str(tmp_path), "--projections", "--json")
    assert told.returncode == 50
    assert '"verdict":"valid"' in told.stdout
    assert '"difference":{"table":"log","row":"[6]","kind":"other"}' in told.stdout
    refused = command(str(tmp_path / "views.db"), "--projections")
    assert refused.returncode == 2
    assert "--projections needs a data directory" in refused.stderr
