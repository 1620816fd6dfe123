"""The views can be thrown away: every answer is the same, byte for byte, made from the journal."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from tests.support.http_kit import (
    calling,
    create,
    followed,
    hook_path,
    quick,
    run,
    slow,
    started,
)
from tests.support.service import Client, Endpoint, Service, chain, node, running

Answers = dict[tuple[str, str], tuple[int, bytes]]
TENANTS = ("acme", "globex")


def _fill(client: Client, sink: Endpoint) -> None:
    """Make runs of every kind: each status, origin, and a workflow in each state."""
    line = create(client, calling(sink, "one", "{{ trigger.path }}", "three"))
    failed = [run(client, line, {"path": "503/x", "n": n})["id"] for n in range(4)]
    run(client, line, {"path": "fine"})
    for route in ("rerun", "resume-from/n1", "resume-from/t"):
        client.post(f"/workflows/runs/{failed[0]}/{route}", Prefer="wait=30")
    client.call("PUT", f"/workflows/{line}", {"name": "renamed", "description": "later"})
    new = client.post(f"/workflows/runs/{failed[1]}/resume-from/n1", Prefer="wait=30")
    client.post(f"/workflows/runs/{new.json['new_run']['id']}/resume-from/n1", Prefer="wait=30")
    bulk = client.post(f"/workflows/{line}/executions/resume", {"limit": 3}).json["accepted"]
    for entry in bulk:
        followed(client, entry["new_run_id"])
    waiting = create(client, slow())
    started(client, waiting)
    cancelled = started(client, waiting)
    client.post(f"/workflows/runs/{cancelled}/cancel")
    followed(client, cancelled)
    hooked = create(client, chain(node("t", "webhook_trigger")))
    followed(client, client.post(hook_path(client, hooked), [1]).headers["x-run-id"])
    client.call("PUT", f"/workflows/{hooked}", {"is_active": False})
    tolerant = create(
        client,
        chain(
            node("t", "manual_trigger"),
            node(
                "a",
                "webhook",
                url=f"{sink.url}/500/x",
                continue_on_error=True,
                retry={"max_attempts": 3, "initial_interval": 0},
            ),
            node("end", "terminate", status="failed", message="no more"),
        ),
    )
    for _ in range(20):
        run(client, tolerant)
    gone = create(client, quick())
    run(client, gone)
    client.call("DELETE", f"/workflows/{gone}")


def _answers(service: Service) -> Answers:
    """GET everything there is, as each tenant."""
    found: Answers = {}
    for tenant in TENANTS:
        client = service.client(tenant)

        def get(path: str, *, client: Client = client, tenant: str = tenant) -> object:
            reply = client.get(path)
            found[tenant, path] = (reply.status, reply.body)
            return reply.json

        get("/workflows?page=1&per_page=2")
        workflows = client.get("/workflows").json
        get("/workflows")
        for workflow in workflows:
            path = f"/workflows/{workflow['id']}"
            get(path)
            for version in client.get(f"{path}/versions").json:
                get(f"{path}/versions/{version['version']}")
            get(f"{path}/versions")
            _lists(client, f"{path}/executions", found, tenant)
            for entry in client.get(f"{path}/executions?per_page=100").json["data"]:
                run_path = f"/workflows/runs/{entry['id']}"
                for shown in ("", "?include=workflow", "/events"):
                    get(run_path + shown)
        client.close()
    return found


def _lists(client: Client, path: str, found: Answers, tenant: str) -> None:
    whole = client.get(f"{path}?per_page=100").json["data"]
    middle = quote(whole[len(whole) // 2]["created_at"])
    queries = ["", "?page=2", "?per_page=3", "?page=2&per_page=5", f"?from={middle}"]
    queries += [f"?to={middle}", f"?from={middle}&to={middle}"]
    queries += [f"?status={s}" for s in ("pending", "running", "completed", "failed")]
    queries += [f"?origin={o}" for o in ("execute", "webhook", "rerun", "resume")]
    queries += [f"?status=failed&origin=resume&from={middle}"]
    queries += [f"?original_run_id={entry['id']}" for entry in whole[:5]]
    cursor = client.get(f"{path}?per_page=2").json["meta"]["next_cursor"]
    if cursor:
        queries.append(f"?per_page=2&cursor={cursor}")
    for query in queries:
        reply = client.get(path + query)
        found[tenant, path + query] = (reply.status, reply.body)


def _rebuild(service: Service) -> subprocess.Popen[str]:
    """Begin a rebuild beside a service."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith("REFOLD_")}
    command = [sys.executable, "-m", "refold.scripts.cli", "rebuild", "--data", str(service.data)]
    return subprocess.Popen(
        command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, sink: Endpoint) -> Iterator[Service]:
    """A service with two tenants' runs of every kind."""
    with running(tmp_path_factory.mktemp("views") / "data") as service:
        for tenant in TENANTS:
            client = service.client(tenant)
            _fill(client, sink)
            client.close()
        yield service


def test_deleting_the_views_changes_no_answer(filled: Service) -> None:
    """After a clean stop and after a kill alike, they are rebuilt to the same bytes."""
    before = _answers(filled)
    assert len(before) > 400
    assert {status for status, _ in before.values()} == {200}
    for end in (filled.stop, filled.kill):
        end()
        for path in filled.data.glob("views.db*"):
            path.unlink()
        filled.start()
        after = _answers(filled)
        assert after.keys() == before.keys()
        assert [key for key in before if after[key] != before[key]] == []


def test_old_views_catch_up_to_the_same_answers(filled: Service, sink: Endpoint) -> None:
    """Views that missed a part of the journal end as those that saw it live."""
    filled.stop()
    kept = {path: path.read_bytes() for path in filled.data.glob("views.db*")}
    filled.start()
    client = filled.client()
    workflow = create(client, calling(sink, "503/x"))
    failed = run(client, workflow)["id"]
    client.post(f"/workflows/runs/{failed}/resume-from/t", Prefer="wait=30")
    client.close()
    before = _answers(filled)
    filled.stop()
    for path in filled.data.glob("views.db*"):
        path.unlink()
    for path, data in kept.items():
        path.write_bytes(data)
    filled.start()
    after = _answers(filled)
    assert after == before


def test_a_rebuild_beside_the_service_changes_no_answer(filled: Service) -> None:
    """While it runs and once it has taken over; nobody is refused meanwhile."""
    before = _answers(filled)
    for _ in range(2):
        with _rebuild(filled) as rebuild:
            rounds = 0
            while rebuild.poll() is None:
                assert _answers(filled) == before
                rounds += 1
            out, err = rebuild.communicate()
        assert (rebuild.returncode, err) == (0, "")
        assert "rows at position" in out
        assert rounds >= 1
        assert _answers(filled) == before


def test_the_service_stays_ready_and_current_after_a_rebuild(filled: Service) -> None:
    """New runs are in the lists at once: the new rows are followed like the old ones."""
    with _rebuild(filled) as rebuild:
        assert rebuild.wait(60) == 0
    client = filled.client()
    workflow = create(client, quick())
    made = run(client, workflow)["id"]
    listed = client.get(f"/workflows/{workflow}/executions").json["data"]
    assert [entry["id"] for entry in listed] == [made]
    assert client.get("/readyz").json["projections"] == "caught_up"
    client.close()
