"""Answers as of an earlier moment: by position, by time, by a run's version; what is refused."""

from __future__ import annotations

import base64
import re
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from refold.http.endpoints import ENDPOINTS
from tests.support.contract_walker import Walker
from tests.support.http_kit import create, followed, quick, refused, run, slow, started
from tests.support.journal_kit import KEY
from tests.support.past_runs import past_runs
from tests.support.service import Client, Endpoint, Reply, Service, chain, node, running
from tests.support.travel_load import POSITION

UNKNOWN_RUN = "fl_run_" + "0" * 26
UNKNOWN = "fl_" + "0" * 26
REPEATABLE = {
    "/workflows/runs/{runId}",
    "/workflows/runs/{runId}/interactions",
    "/workflows/runs/{runId}/lineage",
    "/workflows/runs/{runId}/diff/{otherRunId}",
    "/workflows/runs/{runId}/blame",
    "/workflows",
    "/workflows/{workflowId}",
    "/workflows/{workflowId}/versions",
    "/workflows/{workflowId}/versions/{version}",
    "/workflows/{workflowId}/executions",
    "/workflows/{workflowId}/logs",
    "/workflows/{workflowId}/logs/stats",
    "/workflows/logs/recent",
}
SEARCHES = {"/workflows/logs/search", "/workflows/runs/search"}
"""Tried where they are switched on, in `test_http_search.py`."""


def as_of(client: Client, path: str, moment: object) -> Reply:
    """GET a path as of a moment: a position, or whatever stands for one."""
    text = f"p{moment}" if isinstance(moment, int) else quote(str(moment))
    return client.get(f"{path}{'&' if '?' in path else '?'}as_of={text}")


def position_of(client: Client) -> int:
    """Return the journal's newest position."""
    return int(client.get("/workflows").headers[POSITION])


def asking(*more: dict[str, Any]) -> dict[str, Any]:
    """Write a workflow that asks a person."""
    text = chain(node("t", "manual_trigger"), node("f", "form", actions=[{"id": "go"}]))
    text["nodes"] += more
    text["edges"] += [
        {"id": f"e{i}", "source": "f", "target": one["id"], "sourceHandle": "go"}
        for i, one in enumerate(more)
    ]
    return text


def waiting_form(client: Client, workflow: str) -> str:
    """Start a run and return its id once it awaits a person."""
    made = client.post(f"/workflows/{workflow}/execute", None, Prefer="wait=30")
    shown = client.get(f"/workflows/runs/{made.json['id']}").json
    assert shown["status"] == "awaiting_ui_interaction"
    return str(shown["id"])


def ids(reply: Reply) -> list[str]:
    """Return the ids of a page, or of an array."""
    assert reply.status == 200, reply.body
    entries = reply.json if reply.body.startswith(b"[") else reply.json["data"]
    return [entry["id"] for entry in entries]


def test_these_answers_can_be_asked_for_again() -> None:
    """The list stands here anew: a route that joins it is walked through below."""
    assert {x.path for x in ENDPOINTS if x.repeatable} == REPEATABLE | SEARCHES
    assert {x.method for x in ENDPOINTS if x.repeatable} == {"GET"}


def test_the_document_says_which_they_are(client: Client) -> None:
    """Each has the parameter and the header, and no other route has."""
    for path, methods in client.get("/openapi.json").json["paths"].items():
        for method, operation in methods.items():
            is_repeatable = method == "get" and path in REPEATABLE | SEARCHES
            names = [parameter["name"] for parameter in operation.get("parameters", ())]
            assert ("as_of" in names) == is_repeatable
            headers = [
                name
                for answer in operation["responses"].values()
                for name in answer.get("headers", ())
            ]
            assert headers == ["X-Refold-Position"] * is_repeatable


@pytest.mark.parametrize("path", sorted(REPEATABLE))
def test_an_answer_names_its_position_and_comes_back_byte_for_byte(
    client: Client, sink: Endpoint, path: str
) -> None:
    """After runs, changes and a deletion; with HEAD, the same header."""
    walker = Walker(client, sink.url)
    given = {**walker.ended(), "otherRunId": walker.asked()["runId"], "version": "1"}
    at = re.sub(r"{(\w+)}", lambda name: given[name[1]], path)
    first = client.get(at)
    assert first.status == 200, first.body
    position = int(first.headers[POSITION])
    assert int(client.call("HEAD", at).headers[POSITION]) >= position
    workflow = f"/workflows/{given['workflowId']}"
    client.post(f"/workflows/runs/{given['runId']}/rerun", None, Prefer="wait=30")
    client.post(f"/workflows/runs/{given['runId']}/resume-from/a", None, Prefer="wait=30")
    client.post(f"/workflows/runs/{given['otherRunId']}/cancel")
    followed(client, given["otherRunId"])
    client.call("PUT", workflow, {"name": "later", "is_active": False})
    create(client, quick())
    again = as_of(client, at, position)
    assert (again.status, again.body) == (200, first.body)
    assert again.headers[POSITION] == str(position)
    assert client.call("DELETE", workflow).status == 204
    assert as_of(client, at, position).body == first.body
    # Now is another answer than then, or none.
    now = client.get(at)
    assert now.status == 404 or now.body != first.body


@pytest.mark.parametrize("path", ["/workflows/vault", "/workflows/authorization"])
def test_what_can_not_be_asked_of_the_past_is_not_answered_with_the_present(
    client: Client, path: str
) -> None:
    """Whoever asks of the past must not get the present for it; nor a position."""
    assert POSITION not in client.get(path).headers
    assert set(refused(as_of(client, path, 1), 422, "parameter_invalid")) == {"as_of"}
    events = f"/workflows/runs/{run(client, create(client, quick()))['id']}/events"
    refused(as_of(client, events, 1), 422, "parameter_invalid")
    refused(client.get(f"{path}?as%5Fof=p1"), 422, "parameter_invalid")
    assert client.get("/healthz?as_of=p1").status == 200


def test_a_run_is_told_step_by_step(client: Client) -> None:
    """By each version and by its position: pending, running, awaiting, ended."""
    workflow = create(client, asking(node("x", "text_transform", template="done")))
    run_id = waiting_form(client, workflow)
    path = f"/workflows/runs/{run_id}"
    client.post(f"{path}/interactions/f", {"action": "go"})
    whole = followed(client, run_id)
    events = client.get(f"{path}/events").json["data"]
    told: list[tuple[str, str, int, int]] = []
    for event in events:
        shown = as_of(client, path, f"v{event['version']}")
        assert shown.headers[POSITION] == str(event["position"])
        assert as_of(client, path, event["position"]).body == shown.body
        found = shown.json
        opened = as_of(client, f"{path}/interactions", f"v{event['version']}").json["data"]
        told.append((event["type"], found["status"], len(found["logs"]), len(opened)))
    assert told == [
        ("run.requested", "pending", 0, 0),
        ("run.started", "running", 0, 0),
        ("node.succeeded", "running", 1, 0),
        ("node.started", "running", 1, 0),
        ("interaction.requested", "awaiting_ui_interaction", 1, 1),
        ("interaction.submitted", "running", 1, 0),
        ("node.succeeded", "running", 2, 0),
        ("node.succeeded", "running", 3, 0),
        ("run.completed", "completed", 3, 0),
    ]
    assert as_of(client, path, f"v{len(events)}").json == whole
    refused(as_of(client, path, events[0]["position"] - 1), 404, "resource_missing")


def test_a_list_is_filtered_counted_and_paged_as_it_was(client: Client) -> None:
    """A run is found by the status that it had, wherever it has gone since."""
    workflow = create(client, asking())
    path = f"/workflows/{workflow}/executions"
    waits, ended, cancelled = (waiting_form(client, workflow) for _ in range(3))
    before = position_of(client)
    client.post(f"/workflows/runs/{ended}/interactions/f", {"action": "go"})
    followed(client, ended)
    client.post(f"/workflows/runs/{cancelled}/cancel")
    followed(client, cancelled)
    later = waiting_form(client, workflow)
    awaiting = f"{path}?status=awaiting_ui_interaction"
    assert ids(client.get(awaiting)) == [later, waits]
    assert ids(as_of(client, awaiting, before)) == [cancelled, ended, waits]
    assert as_of(client, awaiting, before).json["meta"]["total"] == 3
    for status in ("completed", "failed", "running", "pending"):
        assert ids(as_of(client, f"{path}?status={status}", before)) == []
    then = as_of(client, path, before).json["data"]
    assert {(entry["completed_at"], entry["error_message"]) for entry in then} == {(None, None)}
    first = client.get(f"/workflows/runs/{waits}/events").json["data"]
    for event, status in zip(first, ("pending", "running", "running"), strict=False):
        assert ids(as_of(client, f"{path}?status={status}", event["position"])) == [waits]
    refused(as_of(client, path, first[0]["position"] - 3), 404, "resource_missing")


def test_pages_lead_on_as_of_the_same_moment(client: Client) -> None:
    """In a header, since the body is the one that was given then: its links lead to the present."""
    workflow = create(client, quick())
    runs = [run(client, workflow)["id"] for _ in range(3)][::-1]
    path = f"/workflows/{workflow}/executions?per_page=2"
    first = client.get(path)
    assert "link" not in first.headers
    at = first.headers[POSITION]
    run(client, workflow)
    now = datetime.now(UTC).isoformat()
    then = as_of(client, path, int(at))
    assert then.body == first.body
    assert "as_of" not in then.body.decode()
    (next_,) = re.findall(r"<(.+)>; rel=\"next\"", then.headers["link"])
    assert next_.endswith(f"as_of=p{at}")
    last = client.get(next_)
    assert (ids(last), last.headers.get("link")) == (runs[2:], None)
    listed = as_of(client, "/workflows?page=1&per_page=1", int(at))
    assert (ids(listed), listed.headers.get("link")) == ([workflow], None)
    # A moment that was named by its time stays what it is while time goes on.
    page = as_of(client, path, now)
    assert f"as_of=p{page.headers[POSITION]}>" in page.headers["link"]
    logs = as_of(client, f"/workflows/{workflow}/logs?limit=3", now)
    (next_,) = re.findall(r"<(.+)>; rel=\"next\"", logs.headers["link"])
    assert f"as_of=p{logs.headers[POSITION]}" in next_
    run(client, workflow)
    assert len(client.get(next_).json) == 3


def test_a_workflow_is_the_one_of_then(client: Client, sink: Endpoint) -> None:
    """Its version, its switch, its next start, its grant, its address; until it is deleted."""
    grant = Walker(client, sink.url).authorization()["authorizationId"]
    text = {**chain(node("t", "webhook_trigger")), "authorization_id": grant}
    workflow = create(client, text)
    path = f"/workflows/{workflow}"
    moments = [position_of(client)]
    then = [client.get(path).json]
    for change in (
        {"schedule_type": "daily", "schedule_value": "09:00"},
        {"is_active": False, "name": "off"},
        {"authorization_id": None},
    ):
        client.call("PUT", path, change)
        moments.append(position_of(client))
        then.append(client.get(path).json)
    client.post(f"{path}/webhook-token")
    assert client.call("DELETE", f"/workflows/authorization/{grant}").status == 204
    assert client.call("DELETE", path).status == 204
    for number, (position, shown) in enumerate(zip(moments, then, strict=True), 1):
        found = as_of(client, path, position)
        assert found.json == shown
        assert found.headers["etag"] == f'"{number}"'
        assert len(as_of(client, f"{path}/versions", position).json) == number
        refused(as_of(client, f"{path}/versions/{number + 1}", position), 404, "resource_missing")
        assert ids(as_of(client, "/workflows", position)) == [workflow]
    assert [shown["authorization"] is None for shown in then] == [False, False, False, True]
    assert [shown["next_run_at"] is None for shown in then] == [True, False, True, True]
    assert len({shown["webhook_url"] for shown in then}) == 1
    refused(as_of(client, path, moments[0] - 1), 404, "resource_missing")
    refused(client.get(path), 404, "resource_missing")
    refused(as_of(client, path, position_of(client)), 404, "resource_missing")


def test_a_time_is_the_last_position_that_was_committed_by_then(client: Client) -> None:
    """Both ends of a gap between two commits, in any zone."""
    workflow = create(client, quick())
    path = f"/workflows/{workflow}"
    made = client.get(path).json["created_at"]
    client.call("PUT", path, {"name": "later"})
    changed = client.get(path).json["updated_at"]
    at = datetime.fromisoformat(changed)
    instant = timedelta(microseconds=1)
    assert as_of(client, path, made).json["version"] == 1
    assert as_of(client, path, (at - instant).isoformat()).json["version"] == 1
    assert as_of(client, path, changed).json["version"] == 2
    elsewhere = at.astimezone(tz=None).isoformat()
    assert as_of(client, path, elsewhere).json["version"] == 2
    before = datetime.fromisoformat(made) - instant
    refused(as_of(client, path, before.isoformat()), 404, "resource_missing")
    # Nothing was committed since, and what comes is not of that moment.
    now = datetime.now(UTC).isoformat()
    found = as_of(client, path, now)
    client.call("PUT", path, {"name": "later still"})
    again = as_of(client, path, now)
    assert (again.body, again.headers[POSITION]) == (found.body, found.headers[POSITION])


@pytest.mark.parametrize(
    "bad",
    [
        *("", "p", "p0", "p-1", "p01", "p1.0", "p1 ", "P1", "1", "x1", "p١", "p" + "9" * 16),
        *("p" + "9" * 17, "v0", "v", "v99", "v" + "9" * 16, "latest", "null", "%00", "p1&p2"),
        *("2025-10-31", "2025-10-31T12:00:00", "yesterday", "1761912000", "0001-01-01T00:00:00Z"),
        *("1999-01-01T00:00:00Z", "2199-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59"),
        "2025-13-01T00:00:00Z",
    ],
)
def test_a_moment_that_is_none_is_refused(client: Client, bad: str) -> None:
    """What can't be read, what has not come, and what was before everything."""
    made = run(client, create(client, quick()))
    path = f"/workflows/runs/{made['id']}"
    faults = refused(as_of(client, path, bad), 422, "parameter_invalid")
    assert set(faults) == {"as_of"}
    if not bad.startswith("v"):
        refused(as_of(client, f"/workflows/{made['workflow_id']}", bad), 422, "parameter_invalid")


def test_a_position_that_is_still_to_come_is_refused(client: Client) -> None:
    """The answer would be another one tomorrow."""
    workflow = create(client, slow())
    started(client, workflow)
    path = f"/workflows/{workflow}"
    refused(as_of(client, path, position_of(client) + 10_000), 422, "parameter_invalid")
    assert as_of(client, path, position_of(client)).status == 200


def test_a_version_is_one_of_a_single_run(client: Client, org: str, api: Service) -> None:
    """Of nothing else, and of nobody else's: that run looks like none."""
    made = run(client, create(client, quick()))
    path = f"/workflows/runs/{made['id']}"
    for other in (
        f"{path}/diff/{made['id']}",
        f"/workflows/{made['workflow_id']}",
        f"/workflows/{made['workflow_id']}/executions",
        "/workflows",
    ):
        refused(as_of(client, other, "v1"), 422, "parameter_invalid")
    assert as_of(client, f"{path}/lineage", "v2").json["runs"][0]["status"] == "running"
    with closing(api.client(f"{org}-other")) as stranger:
        known = as_of(stranger, path, "v1")
        unknown = as_of(stranger, f"/workflows/runs/{UNKNOWN_RUN}", "v1")
        refused(known, 404, "resource_missing")
        assert known.body == unknown.body
        position = position_of(client)
        foreign = as_of(stranger, f"/workflows/{made['workflow_id']}", position)
        assert foreign.body == as_of(stranger, f"/workflows/{UNKNOWN}", position).body


def test_statistics_count_the_thirty_days_before_then(tmp_path: Path) -> None:
    """Runs of sixty days ago are out of them now, and were in them then."""
    data = tmp_path / "data"
    data.mkdir()
    now = datetime.now(UTC)
    workflow, position = past_runs(data, now - timedelta(days=60), quick(), completed=2, failed=1)
    key = base64.b64encode(KEY).decode()
    with running(data, VAULT_KEY=key) as service, closing(service.client()) as client:
        path = f"/workflows/{workflow}/logs/stats"
        client.post(f"/workflows/{workflow}/execute", None, Prefer="wait=30")
        then = as_of(client, path, position).json
        assert then["recent_runs"] == {"completed": 2, "failed": 1}
        assert then["log_statuses"]["success"] > 0
        # Between the two moments nothing was committed, so this is the earlier one.
        between = as_of(client, path, (now - timedelta(days=1)).isoformat())
        assert (between.json, between.headers[POSITION]) == (then, str(position))
        assert client.get(path).json["total_runs"] == 1
        assert client.get(path).json["recent_runs"] == {"completed": 1, "failed": 0}
