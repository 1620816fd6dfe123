"""Cancel in each state, and resume many at once."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.http_kit import (
    calling,
    create,
    followed,
    held,
    nothing_written,
    quick,
    refused,
    run,
    slow,
    started,
)
from tests.support.service import Client, Endpoint, Service, chain, node, running


def test_a_waiting_run_is_cancelled(client: Client) -> None:
    """202 with the run as it then is; it ends as failed, by whom stands in the message."""
    made = started(client, create(client, slow()))
    reply = client.post(f"/workflows/runs/{made}/cancel")
    assert reply.status == 202
    assert (reply.json["id"], reply.json["workflow_version"]) == (made, 1)
    ended = followed(client, made)
    assert ended["status"] == "failed"
    assert ended["error_message"] == "Run cancelled by me"
    assert ended["failed_node_id"] is None
    assert ended["completed_at"] is not None
    assert [(e["node_id"], e["status"]) for e in ended["logs"]] == [
        ("t", "success"),
        ("wait", "warning"),
    ]


def test_a_run_whose_call_is_on_the_wire_is_cancelled(client: Client, sink: Endpoint) -> None:
    """The call may finish and is logged; no node starts after the request."""
    with held() as (gate, url):
        workflow = create(
            client,
            chain(
                node("t", "manual_trigger"),
                node("a", "webhook", url=url),
                node("b", "webhook", url=f"{sink.url}/after"),
            ),
        )
        made = started(client, workflow)
        assert gate.arrived.wait(20)
        before = len(sink.hits)
        first = client.post(f"/workflows/runs/{made}/cancel")
        again = client.post(f"/workflows/runs/{made}/cancel")
        assert (first.status, again.status) == (202, 202)
        assert first.json["status"] == "running"
        gate.release.set()
        ended = followed(client, made)
    assert ended["error_message"] == "Run cancelled by me"
    assert [(e["node_id"], e["status"]) for e in ended["logs"]] == [
        ("t", "success"),
        ("a", "success"),
    ]
    assert len(sink.hits) == before
    events = client.get(f"/workflows/runs/{made}/events").json["data"]
    assert [e["type"] for e in events].count("run.cancel_requested") == 1


def test_a_run_that_waits_for_a_place_is_cancelled(tmp_path: Any) -> None:
    """`pending` runs can be stopped too, before a node of theirs has started."""
    with held() as (gate, url), running(tmp_path / "data", MAX_ACTIVE_RUNS="1") as small:
        client = small.client()
        call = node("a", "webhook", url=url)
        workflow = create(client, chain(node("t", "manual_trigger"), call))
        started(client, workflow)
        assert gate.arrived.wait(20)
        waiting = started(client, workflow)
        assert client.get(f"/workflows/runs/{waiting}").json["status"] == "pending"
        assert client.post(f"/workflows/runs/{waiting}/cancel").status == 202
        ended = followed(client, waiting)
        client.close()
    assert (ended["status"], ended["logs"]) == ("failed", [])
    assert ended["error_message"] == "Run cancelled by me"


@pytest.mark.parametrize("path", ["ok", "503/x"])
def test_an_ended_run_cant_be_cancelled(
    api: Service, client: Client, sink: Endpoint, path: str
) -> None:
    """409, completed or failed."""
    ended = run(client, create(client, calling(sink, path)))["id"]
    with nothing_written(api):
        refused(client.post(f"/workflows/runs/{ended}/cancel"), 409, "run_already_finished")


def test_a_cancelled_run_can_be_resumed(client: Client) -> None:
    """What had succeeded is kept; the wait starts anew."""
    made = started(client, create(client, slow()))
    client.post(f"/workflows/runs/{made}/cancel")
    followed(client, made)
    resumed = client.post(f"/workflows/runs/{made}/resume-from/t")
    assert resumed.status == 202
    new = resumed.json["new_run"]["id"]
    assert client.post(f"/workflows/runs/{new}/cancel").status == 202


def test_all_failed_runs_are_resumed_at_once(client: Client, sink: Endpoint) -> None:
    """Each from its last good node; what did not fail is left alone."""
    workflow = create(client, calling(sink, "one", "{{ trigger.path }}"))
    failed = [run(client, workflow, {"path": "503/x"})["id"] for _ in range(3)]
    run(client, workflow, {"path": "fine"})
    reply = client.post(f"/workflows/{workflow}/executions/resume", {})
    assert reply.status == 202
    assert reply.json["refused"] == []
    accepted = reply.json["accepted"]
    assert {entry["original_run_id"] for entry in accepted} == set(failed)
    assert {entry["node_id"] for entry in accepted} == {"n1"}
    for entry in accepted:
        shown = followed(client, entry["new_run_id"])
        assert (shown["origin"], shown["resumed_from_node_id"]) == ("resume", "n1")


def test_a_bulk_resume_tells_what_it_refused(client: Client, sink: Endpoint) -> None:
    """A run in which the named node did not succeed doesn't hold up the others."""
    workflow = create(client, calling(sink, "{{ trigger.path }}", "503/x"))
    early = run(client, workflow, {"path": "500/x"})["id"]
    late = run(client, workflow, {"path": "fine"})["id"]
    reply = client.post(f"/workflows/{workflow}/executions/resume", {"node": "n1"})
    assert [e["original_run_id"] for e in reply.json["accepted"]] == [late]
    assert [(e["run_id"], e["code"]) for e in reply.json["refused"]] == [
        (early, "node_not_completed")
    ]


def test_a_dry_bulk_resume_writes_nothing(api: Service, client: Client, sink: Endpoint) -> None:
    """The same answer, without new runs."""
    workflow = create(client, calling(sink, "503/x"))
    failed = run(client, workflow)["id"]
    with nothing_written(api):
        reply = client.post(f"/workflows/{workflow}/executions/resume", {"dry_run": True})
    assert reply.json["accepted"] == [
        {"original_run_id": failed, "node_id": "t", "new_run_id": None}
    ]


def test_a_bulk_resume_keeps_to_its_filter(client: Client, sink: Endpoint) -> None:
    """By time, origin and original run, and never more than its limit."""
    workflow = create(client, calling(sink, "503/x"))
    first, second, third = (run(client, workflow) for _ in range(3))
    again = client.post(f"/workflows/runs/{first['id']}/rerun", Prefer="wait=30").json["new_run"]
    path = f"/workflows/{workflow}/executions/resume"

    def chosen(**body: Any) -> list[str]:
        reply = client.post(path, {"dry_run": True, **body})
        return [entry["original_run_id"] for entry in reply.json["accepted"]]

    everything = [r["id"] for r in (first, second, third, again)]
    assert chosen() == everything
    assert chosen(filter={"from": second["created_at"], "to": third["created_at"]}) == [
        second["id"],
        third["id"],
    ]
    assert chosen(filter={"origin": "rerun"}) == [again["id"]]
    assert chosen(filter={"original_run_id": first["id"]}) == [again["id"]]
    assert chosen(limit=1) == [again["id"]]


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"filter": {"status": "completed"}}, "filter"),
        ({"filter": {"from": "yesterday"}}, "filter.from"),
        ({"filter": {"origin": "magic"}}, "filter.origin"),
        ({"limit": 0}, "limit"),
        ({"limit": 1001}, "limit"),
        ({"dry_run": "yes"}, "dry_run"),
        ({"nodes": ["n1"]}, "nodes"),
    ],
)
def test_a_bad_bulk_request_is_refused(api: Service, client: Client, body: Any, path: str) -> None:
    """Before anything is resumed."""
    workflow = create(client, quick())
    with nothing_written(api):
        reply = client.post(f"/workflows/{workflow}/executions/resume", body)
        assert list(refused(reply, 422, "parameter_invalid")) == [path]
