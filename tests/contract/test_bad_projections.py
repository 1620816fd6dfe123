"""Folds that do wrong under a real service: each is named, alone, and loses nothing by it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from refold.projections.checking import check
from refold.projections.loading import load
from tests.support.http_kit import create, quick, run
from tests.support.misbehaving import SECRET
from tests.support.service import Client, Service
from tests.support.views_kit import query

ROOT = Path(__file__).resolve().parents[2]
OURS = "tests.support.misbehaving"
SERVE = """
import os, sys
from pathlib import Path
from refold.journal.events import VaultDefined
from refold.projections import projector, workers
from refold.projections.vault_projection import VaultProjection
from refold.scripts import cli
projector.BUILT_IN_SECONDS, workers.FOLD_SECONDS, workers._PAUSE_SECONDS = 0.3, 4.0, 0.01
mended, fold = Path(os.environ["REFOLD_TEST_MENDED"]), VaultProjection.fold
def loops(self, event):
    while isinstance(event.facts, VaultDefined) and not mended.exists():
        pass
    return fold(self, event)
VaultProjection.fold = loops
sys.exit(cli.main(["serve"]))
"""
"""Serves with shorter limits, and a built-in fold that loops until it is mended."""
OWN = """
from refold.journal import events as e
from refold.projections.projection import Statement, Table

class Own:
    name, version = "own", {version}
    events = (e.RunCompleted,)
    tables = (Table("own_row", "position", ("CREATE TABLE own_row_{{g}} (position INTEGER)",)),)
    views = ()

    def fold(self, event):
        return (Statement("INSERT INTO own_row_{{g}} (position) VALUES (?)", ({value},)),)
"""


@pytest.fixture(name="service")
def _service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Service:
    """Return a service that is not started yet."""
    places = [str(tmp_path), str(ROOT), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(places))
    environ = {"REFOLD_TEST_MENDED": str(tmp_path / "mended")}
    return Service(tmp_path / "data", environ, (sys.executable, "-c", SERVE))


def write_own(directory: Path, value: str, version: int) -> None:
    """Write the module of a developer."""
    text = OWN.format(version=version, value=value)
    (directory / "own_views.py").write_text(text, encoding="utf-8")


def until(client: Client, name: str, holds: Callable[[Any], bool]) -> Any:
    """Ask how a projection stands until something holds; every answer is one."""
    deadline = time.monotonic() + 90
    while True:
        answer = client.get("/projections")
        assert answer.status == 200
        (found,) = [each for each in answer.json["data"] if each["name"] == name]
        if holds(found):
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


def is_live(found: Any) -> bool:
    """Tell a projection at the head."""
    return (found["state"], found["lag"]) == ("live", 0)


def is_stopped(found: Any) -> bool:
    """Tell one that stopped."""
    return bool(found["state"] == "stopped")


def test_a_built_in_fold_that_loops_is_ended_and_named_and_the_others_go_on(
    service: Service, tmp_path: Path
) -> None:
    """They share a thread; lists wait or are refused meanwhile, and no request fails otherwise."""
    service.start()
    try:
        with closing(service.client()) as client:
            workflow = create(client, quick())
            item = client.post("/workflows/vault", {"name": "a-secret", "secret": "hush"})
            assert item.status == 201
            made = run(client, workflow)["id"]
            found = until(client, "vault", is_stopped)
            assert found["error"]["code"] == "fold_too_slow"
            assert found["error"]["type"] == "vault.defined"
            assert found["error"]["position"] == found["position"] + 1
            until(client, "runs", is_live)
            shown = client.get(f"/workflows/{workflow}/executions").json["data"]
            assert [entry["id"] for entry in shown] == [made]
            ready = client.get("/readyz")
            assert (ready.status, ready.json["projections"]) == (503, "stopped")
            assert "vault" in {each["name"] for each in ready.json["behind"]}
            with closing(service.client("globex")) as other:
                # Who has put nothing in needs the rows to know that.
                refused = other.get("/workflows/vault")
                assert (refused.status, refused.headers["retry-after"]) == (503, "1")
            assert any("projection vault stopped, and the others go on" in x for x in service.log)
            (tmp_path / "mended").touch()
            assert client.post("/projections/vault/retry").status == 202
            until(client, "vault", is_live)
            (listed,) = client.get("/workflows/vault").json
            assert listed["id"] == item.json["id"]
        assert service.stop() == 0
    finally:
        service.kill()
    assert all(each.is_equal for each in check(service.data))


def test_each_thing_that_a_developer_s_fold_does_wrong_is_named_and_hurts_nobody(
    service: Service, tmp_path: Path
) -> None:
    """It raises, loops, loops in SQL, writes elsewhere, or ends its process."""
    expected = {
        "raises": "poison_event",
        "loops": "fold_too_slow",
        "loops_in_sql": "poison_event",
        "elsewhere": "projection_refused",
        "dies": "process_ended",
        "own": "poison_event",
    }
    kinds = ("Raises", "Loops", "LoopsInSql", "WritesElsewhere", "Dies", "Counts")
    write_own(tmp_path, "1 // 0", 1)
    named = [f"{OURS}:{kind}" for kind in kinds]
    service.environ["REFOLD_PROJECTION"] = ",".join([*named, "own_views:Own"])
    service.start()
    try:
        with closing(service.client()) as client:
            workflow = create(client, quick())
            made = run(client, workflow)["id"]
            entries = client.get(f"/workflows/runs/{made}/events").json["data"]
            (ended,) = [each["position"] for each in entries if each["type"] == "run.completed"]
            for name, code in expected.items():
                found = until(client, name, is_stopped)
                assert (found["error"]["code"], found["error"]["position"]) == (code, ended)
            until(client, "counts", is_live)
            run(client, workflow)
            until(client, "counts", is_live)
            assert len(client.get(f"/workflows/{workflow}/executions").json["data"]) == 2
            ready = client.get("/readyz")
            assert (ready.status, ready.json["status"]) == (200, "ready")
            assert {each["name"] for each in ready.json["behind"]} == expected.keys()
            assert SECRET not in "".join(service.log)
            write_own(tmp_path, "event.position", 2)
            assert client.post("/projections/own/retry").status == 202
            until(client, "own", is_live)
            assert query(service.data, "SELECT count(*) FROM own_row") == [(2,)]
        assert service.stop() == 0
    finally:
        service.kill()


def test_a_fold_that_changed_without_a_new_version_keeps_its_rows_until_they_are_made_anew(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restart does not mix the rows of two folds; the rest of the service does not care."""
    write_own(tmp_path, "event.position", 1)
    service.environ["REFOLD_PROJECTION"] = "own_views:Own"
    try:
        service.start()
        with closing(service.client()) as client:
            workflow = create(client, quick())
            run(client, workflow)
            until(client, "own", is_live)
        before = query(service.data, "SELECT position FROM own_row")
        assert service.stop() == 0
        write_own(tmp_path, "-event.position", 1)
        service.start()
        with closing(service.client()) as client:
            found = until(client, "own", is_stopped)
            assert found["error"]["code"] == "changed_fold"
            run(client, workflow)
            assert query(service.data, "SELECT position FROM own_row") == before
            assert client.get("/readyz").status == 200
            assert client.post("/projections/own/rebuild").status == 202
            until(client, "own", is_live)
        rows = query(service.data, "SELECT position FROM own_row")
        assert len(rows) == 2
        assert all(int(str(position)) < 0 for (position,) in rows)
        assert service.stop() == 0
    finally:
        service.kill()
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    (found,) = check(service.data, ["own"], projections=[load("own_views:Own").projection])
    assert found.is_equal
