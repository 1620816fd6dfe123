"""`/projections` and `/readyz` say how far each view is, and what keeps one from moving."""

from __future__ import annotations

import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from refold.projections.built_in import BUILT_IN
from tests.support.http_kit import create, quick, refused, run
from tests.support.metrics_kit import scraped
from tests.support.service import Client, Service, running

CANARY = "Qz7vXkJwW9pLd"
POISONED = f"""
import sys
from refold.journal.events import WorkflowDefined
from refold.projections.workflows_projection import WorkflowsProjection
from refold.scripts import cli
fold = WorkflowsProjection.fold
def poisoned(self, event):
    if isinstance(event.facts, WorkflowDefined):
        raise ValueError("{CANARY}")
    return fold(self, event)
WorkflowsProjection.fold = poisoned
sys.exit(cli.main(sys.argv[1:]))
"""


def until(client: Client, path: str, holds: Callable[[Any], bool]) -> Any:
    """Ask until something holds: the projector works on a thread of its own."""
    give_up = time.monotonic() + 30
    while not holds(found := client.get(path).json):
        assert time.monotonic() < give_up, found
        time.sleep(0.01)
    return found


def named(shown: Any, name: str) -> Any:
    """Return the entry of one projection."""
    (found,) = [entry for entry in shown["data"] if entry["name"] == name]
    return found


def test_every_projection_is_listed_with_its_place(client: Client, api: Service) -> None:
    """Once it has caught up, each is at the head, and says of which version it is."""
    run(client, create(client, quick()))
    shown = until(
        client, "/projections", lambda found: not any(each["lag"] for each in found["data"])
    )
    assert [(each["name"], each["version"]) for each in shown["data"]] == [
        (projection.name, projection.version) for projection in BUILT_IN
    ]
    for each in shown["data"]:
        assert each["position"] == shown["head"]
        assert (each["state"], each["error"]) == ("live", None)
        assert each["seconds_since_move"] >= 0
    with closing(api.client(scope="workflows:read admin")) as other:
        refused(other.get("/projections"), 403, "insufficient_scope")
    refused(client.get("/projections?as_of=p1"), 422, "parameter_invalid")


def test_a_view_that_falls_behind_is_seen(tmp_path: Path) -> None:
    """While somebody else holds its file, by how much; and again when it has caught up."""
    with running(tmp_path / "data") as service, closing(service.client()) as client:
        workflow = create(client, quick())
        until(client, "/projections", lambda found: not named(found, "runs")["lag"])
        with closing(sqlite3.connect(service.data / "views.db")) as other:
            other.execute("BEGIN IMMEDIATE")
            before = named(client.get("/projections").json, "runs")["position"]
            run(client, workflow)
            shown = client.get("/projections").json
            assert shown["head"] > before
            assert named(shown, "runs")["position"] == before
            assert named(shown, "runs")["lag"] == shown["head"] - before
            found = scraped(client)
            lag = found("refold_projection_lag_positions", projection="runs")
            assert lag == shown["head"] - before
            other.rollback()
        until(client, "/projections", lambda found: not named(found, "runs")["lag"])
        assert client.get("/readyz").json == {
            "status": "ready",
            "journal": "writable",
            "projections": "caught_up",
            "signing": "signing",
        }


def test_a_view_that_stopped_is_told_by_name_and_kind(tmp_path: Path) -> None:
    """And without the words of the exception, which may quote an event of another tenant."""
    command = (sys.executable, "-c", POISONED, "serve")
    service = Service(tmp_path / "data", command=command)
    service.start()
    try:
        with closing(service.client()) as client:
            client.post(f"/workflows/{create(client, quick())}/execute")
            shown = until(
                client,
                "/projections",
                lambda found: named(found, "workflows")["state"] == "stopped",
            )
            found = named(shown, "workflows")
            assert found["error"]["code"] == "poison_event"
            assert found["error"]["type"] == "workflow.defined"
            assert found["error"]["position"] == found["position"] + 1
            assert found["error"]["message"].startswith("ValueError at <string>")
            assert found["lag"] > 0
            ready = client.get("/readyz")
            assert ready.status == 503
            assert ready.headers["retry-after"] == "1"
            assert (ready.json["journal"], ready.json["projections"]) == ("writable", "stopped")
            lagging = {each["name"]: each["lag"] for each in ready.json["behind"]}
            assert lagging["workflows"] > 0
            metrics = scraped(client)
            assert metrics("refold_projection_up", projection="workflows") == 0
            assert metrics("refold_projection_lag_positions", projection="workflows") > 0
            assert CANARY not in metrics.text + str(shown) + str(ready.body)
    finally:
        service.kill()
    assert any("poisoned" in line for line in service.log)
