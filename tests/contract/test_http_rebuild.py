"""`POST /projections/…` on a running service: a projection is made anew or tries again."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from refold.projections.checking import check
from tests.support.http_kit import refused
from tests.support.service import Client, Reply, Service, chain, node, running

ROOT = Path(__file__).resolve().parents[2]
ATTEMPTS = "SELECT attempts FROM component_count WHERE component = 'text_transform'"
OURS = "tests.support.misbehaving"


@pytest.fixture(name="service")
def _service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    projections = f"{OURS}:Counts,{OURS}:Raises"
    with running(tmp_path / "data", PROJECTION=projections) as made:
        yield made


@pytest.fixture(name="client")
def _client(service: Service) -> Iterator[Client]:
    made = service.client()
    yield made
    made.close()


def run_once(client: Client) -> None:
    """Execute a workflow of one node."""
    definition = chain(
        node("t", "webhook_trigger"), node("a", "text_transform", template="hi {{ run.id }}")
    )
    workflow = client.post("/workflows", definition).json["id"]
    done = client.post(f"/workflows/{workflow}/execute", {}, Prefer="wait=10")
    assert done.json["status"] == "completed"


def until(service: Service, statement: str, wanted: list[Any]) -> None:
    """Read the views as an analyst would until they are as wanted."""
    deadline = time.monotonic() + 30
    client = service.client()
    found: list[Any] = []
    while found != wanted:
        assert time.monotonic() < deadline, f"{found} {''.join(service.log)}"
        # An answer is what there is to wait for.
        client.get("/healthz")
        uri = f"file:{service.data / 'views.db'}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True)) as connection:
            try:
                found = connection.execute(statement).fetchall()
            except sqlite3.OperationalError:
                found = []
    client.close()


def test_each_projection_is_made_anew_beside_the_live_one_and_lists_go_on(
    service: Service, client: Client
) -> None:
    """Built-in or a developer's: an administrator asks, and nobody notices."""
    run_once(client)
    for name in ("runs", "counts"):
        live = f"SELECT max(generation) FROM projection WHERE name = '{name}' AND state = 'live'"
        until(service, live, [(1,)])
        answer = client.post(f"/projections/{name}/rebuild")
        assert answer.status == 202, answer.body
        assert answer.json["name"] == name
        until(service, live, [(2,)])
        run_once(client)
    assert client.get("/workflows").status == 200
    until(service, ATTEMPTS, [(3,)])


def test_one_goes_back_to_the_rows_before_the_last_rebuild_and_forth_again(
    service: Service, client: Client
) -> None:
    """What was added meanwhile is in them too; where nothing was kept there is no way back."""
    run_once(client)
    for name in ("runs", "counts"):
        live = f"SELECT max(generation) FROM projection WHERE name = '{name}' AND state = 'live'"
        until(service, live, [(1,)])
        refused(client.post(f"/projections/{name}/rollback"), 409, "nothing_kept")
        assert client.post(f"/projections/{name}/rebuild").status == 202
        until(service, live, [(2,)])
        run_once(client)
        for generation in (1, 2):
            answer = told_when_free(client, f"/projections/{name}/rollback")
            assert (answer.status, answer.json["name"]) == (202, name), answer.body
            until(service, live, [(generation,)])
    until(service, ATTEMPTS, [(3,)])
    assert len(client.get("/workflows").json) == 3
    assert all(made.is_equal for made in check(service.data, ["runs"]))


def told_when_free(client: Client, path: str) -> Reply:
    """Ask until the process that flipped has ended, which is a moment after the flip."""
    while (answer := client.post(path)).status == 409:
        refused(answer, 409, "views_busy")
    return answer


def test_a_projection_that_stopped_is_named_and_tries_again(
    service: Service, client: Client
) -> None:
    """The others are none the worse for it."""
    run_once(client)
    until(service, ATTEMPTS, [(1,)])
    deadline = time.monotonic() + 30
    while (answer := client.post("/projections/raises/retry")).status != 202:
        refused(answer, 409, "not_stopped")
        assert time.monotonic() < deadline
    assert answer.json["name"] == "raises"
    ready = client.get("/readyz")
    assert (ready.status, ready.json["status"]) == (200, "ready")
    while "behind" not in ready.json:
        assert time.monotonic() < deadline
        ready = client.get("/readyz")
    assert "raises" in {each["name"] for each in ready.json["behind"]}


def test_what_is_asked_wrongly_is_refused(service: Service, client: Client) -> None:
    """Unknown names, too few scopes, and nothing to retry."""
    for verb in ("rebuild", "retry", "rollback"):
        refused(client.post(f"/projections/nope/{verb}"), 404, "resource_missing")
    refused(client.post("/projections/runs/retry"), 409, "not_stopped")
    reader = service.client(scope="workflows:read workflows:write workflows:execute")
    for verb in ("rebuild", "retry", "rollback"):
        refused(reader.post(f"/projections/runs/{verb}"), 403, "insufficient_scope")
    reader.close()
