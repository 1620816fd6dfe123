"""Execute, read and wait: a run as clients see it, from its 202 to its last log entry."""

from __future__ import annotations

import threading
import time
from datetime import datetime
from typing import Any

import pytest

from tests.support.http_kit import (
    calling,
    create,
    held,
    nothing_written,
    quick,
    refused,
    run,
    slow,
    started,
)
from tests.support.service import Client, Endpoint, Hit, Service, chain, endpoint, node, running

RUN_FIELDS = [
    "id",
    "workflow_id",
    "workflow_version",
    "status",
    "trigger_payload",
    "error_message",
    "failed_node_id",
    "created_at",
    "started_at",
    "completed_at",
    "duration_in_seconds",
    "origin",
    "original_run_id",
    "resumed_from_node_id",
    "logs",
]
LOG_FIELDS = [
    "id",
    "execution_id",
    "node_id",
    "component_id",
    "status",
    "output",
    "created_at",
    "started_at",
    "attempt",
    "iteration",
    "replayed_from",
]


def _time(text: str) -> datetime:
    assert len(text) == len("2025-10-31T12:00:00.000000Z")
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ")


def test_execute_answers_with_the_pending_run(client: Client) -> None:
    """202 is the Run itself, with every field of the contract, as its first event says."""
    workflow = create(client, quick())
    made = client.post(f"/workflows/{workflow}/execute", {"context": {"name": "Ann"}})
    assert made.status == 202
    assert list(made.json) == RUN_FIELDS
    created = made.json.pop("created_at")
    shown = made.json
    assert shown["id"].startswith("fl_run_")
    assert len(shown["id"]) == len("fl_run_") + 26
    assert _time(created)
    assert {k: v for k, v in shown.items() if k not in ("id", "created_at")} == {
        "workflow_id": workflow,
        "workflow_version": 1,
        "status": "pending",
        "trigger_payload": {"name": "Ann"},
        "error_message": None,
        "failed_node_id": None,
        "started_at": None,
        "completed_at": None,
        "duration_in_seconds": None,
        "origin": "execute",
        "original_run_id": None,
        "resumed_from_node_id": None,
        "logs": [],
    }


@pytest.mark.parametrize("body", [None, {}, {"context": {}}])
def test_no_body_is_an_empty_payload(client: Client, body: Any) -> None:
    """The context is optional, and so is the body."""
    workflow = create(client, quick())
    made = client.post(f"/workflows/{workflow}/execute", body, Prefer="wait=30")
    assert made.json["trigger_payload"] == {}


def test_the_run_is_readable_as_soon_as_its_202_is_there(client: Client) -> None:
    """The answer follows the durable event, so nobody reads a 404 for an id they were given."""
    workflow = create(client, quick())
    for _ in range(20):
        made = client.post(f"/workflows/{workflow}/execute").json["id"]
        assert client.get(f"/workflows/runs/{made}").status == 200


def test_a_completed_run_is_shown_whole(client: Client) -> None:
    """Ordered logs, one an attempt, and times that fit together."""
    finished = run(client, create(client, quick()), {"name": "Ann"})
    shown = client.get(f"/workflows/runs/{finished['id']}").json
    assert list(shown) == RUN_FIELDS
    assert shown["status"] == "completed"
    assert shown["error_message"] is None
    began, ended = _time(shown["started_at"]), _time(shown["completed_at"])
    assert _time(shown["created_at"]) <= began <= ended
    assert shown["duration_in_seconds"] == pytest.approx((ended - began).total_seconds())
    assert [list(entry) for entry in shown["logs"]] == [LOG_FIELDS, LOG_FIELDS]
    trigger, text = shown["logs"]
    assert trigger["output"] == {"name": "Ann", "trigger_type": "manual", "run_id": shown["id"]}
    assert text["output"] == {"text": "hi Ann"}
    for entry, component in ((trigger, "manual_trigger"), (text, "text_transform")):
        assert entry["id"].startswith("fl_log_")
        assert entry["execution_id"] == shown["id"]
        assert entry["component_id"] == component
        assert (entry["status"], entry["attempt"]) == ("success", 1)
        assert (entry["iteration"], entry["replayed_from"]) == (None, None)
        assert _time(entry["started_at"]) <= _time(entry["created_at"])


def test_a_failed_run_says_what_failed(client: Client, sink: Endpoint) -> None:
    """The message of the reference, the node, and all that the endpoint answered."""
    failed = run(client, create(client, calling(sink, "ok", "503/x", "never")))
    assert failed["status"] == "failed"
    assert failed["error_message"] == "Webhook request failed: 503 Service Unavailable"
    assert failed["failed_node_id"] == "n2"
    assert [entry["node_id"] for entry in failed["logs"]] == ["t", "n1", "n2"]
    last = failed["logs"][-1]
    assert last["status"] == "error"
    assert last["output"]["error"] == {
        "code": "http_503",
        "message": "Webhook request failed: 503 Service Unavailable",
        "attempt": 1,
    }
    assert last["output"]["body"] == {"problem": "no"}
    assert failed["logs"][1]["output"]["status"] == 200


def test_a_scalar_output_is_wrapped(client: Client) -> None:
    """`output` is always an object, so that a client can type it."""
    workflow = create(
        client,
        chain(node("t", "manual_trigger"), node("a", "text_transform", template="{{ trigger.n }}")),
    )
    assert run(client, workflow, {"n": 7})["logs"][1]["output"] == {"value": 7}
    assert run(client, workflow, {"n": [1, "x"]})["logs"][1]["output"] == {"value": [1, "x"]}
    assert run(client, workflow, {"n": {"k": 1}})["logs"][1]["output"] == {"k": 1}


def test_retries_and_tolerated_failures_are_warnings(client: Client, sink: Endpoint) -> None:
    """One entry a finished attempt; the status says whether the run went on."""
    workflow = create(
        client,
        chain(
            node("t", "manual_trigger"),
            node(
                "a",
                "webhook",
                url=f"{sink.url}/500/x",
                continue_on_error=True,
                retry={"max_attempts": 2, "initial_interval": 0},
            ),
            node("b", "text_transform", template="{{ a.error.code }}"),
        ),
    )
    finished = run(client, workflow)
    assert finished["status"] == "completed"
    assert [(e["node_id"], e["status"], e["attempt"]) for e in finished["logs"]] == [
        ("t", "success", 1),
        ("a", "warning", 1),
        ("a", "warning", 2),
        ("b", "success", 1),
    ]
    assert finished["logs"][3]["output"] == {"text": "http_500"}


def test_waiting_returns_the_finished_run(client: Client) -> None:
    """200 is what a later GET returns, and says that the preference was followed."""
    workflow = create(client, quick())
    made = client.post(f"/workflows/{workflow}/execute", Prefer="respond-async, wait=20")
    assert made.status == 200
    assert made.headers["preference-applied"] == "wait=20"
    assert client.get(f"/workflows/runs/{made.json['id']}").json == made.json


def test_waiting_in_vain_returns_the_usual_202(client: Client) -> None:
    """A run that takes longer is accepted as ever, after the time that was asked for."""
    workflow = create(client, slow())
    began = time.monotonic()
    made = client.post(f"/workflows/{workflow}/execute", Prefer="wait=1")
    assert made.status == 202
    assert 0.9 < time.monotonic() - began < 10
    assert "preference-applied" not in made.headers
    assert (made.json["status"], made.json["logs"]) == ("pending", [])


@pytest.mark.parametrize("prefer", ["wait", "wait=x", "wait=-1", "wait=0", "return=minimal", ",;="])
def test_a_preference_that_cant_be_followed_is_ignored(client: Client, prefer: str) -> None:
    """RFC 7240: a preference is no demand."""
    workflow = create(client, quick())
    assert client.post(f"/workflows/{workflow}/execute", Prefer=prefer).status == 202


def test_more_than_thirty_seconds_are_not_promised(client: Client) -> None:
    """What is applied is what was done."""
    workflow = create(client, quick())
    made = client.post(f"/workflows/{workflow}/execute", Prefer="wait=9999")
    assert made.headers["preference-applied"] == "wait=30"


def test_an_inactive_workflow_starts_nothing(api: Service, client: Client) -> None:
    """409 before anything is written; its old runs can still be rerun and resumed."""
    workflow = create(client, quick())
    finished = run(client, workflow)["id"]
    client.call("PUT", f"/workflows/{workflow}", {"is_active": False})
    with nothing_written(api):
        refused(client.post(f"/workflows/{workflow}/execute"), 409, "workflow_inactive")
    assert client.post(f"/workflows/runs/{finished}/rerun").status == 202
    path = f"/workflows/runs/{finished}/resume-from/t"
    assert client.post(path, {"allow_completed": True}).status == 202


def test_a_payload_that_breaks_the_schema_is_refused(api: Service, client: Client) -> None:
    """422 with what is wrong, and without the values that were sent."""
    schema = {
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    }
    workflow = create(client, quick(input_schema=schema))
    with nothing_written(api):
        reply = client.post(f"/workflows/{workflow}/execute", {"context": {"age": "secret-value"}})
        errors = refused(reply, 422, "parameter_invalid")
    faults = " ".join(errors["context"])
    assert "payload.name" in faults
    assert "payload.age" in faults
    assert "secret-value" not in reply.body.decode()
    assert client.post(f"/workflows/{workflow}/execute", {"context": {"name": "x"}}).status == 202


def test_any_trigger_may_be_executed(client: Client) -> None:
    """A webhook workflow can be tried out by hand."""
    workflow = create(client, chain(node("t", "webhook_trigger")))
    finished = run(client, workflow, {"a": 1})
    assert (finished["origin"], finished["status"]) == ("execute", "completed")
    assert finished["logs"][0]["output"]["trigger_type"] == "manual"


def test_include_embeds_the_pinned_definition(client: Client) -> None:
    """The version that the run was made with, though the workflow has moved on."""
    workflow = create(client, quick())
    finished = run(client, workflow)["id"]
    client.call("PUT", f"/workflows/{workflow}", {"name": "renamed"})
    path = f"/workflows/runs/{finished}"
    embedded = client.get(f"{path}?include=workflow").json["workflow"]
    assert (embedded["version"], embedded["name"]) == (1, "chain")
    assert [n["id"] for n in embedded["nodes"]] == ["t", "a"]
    assert [r["id"] for r in embedded["runs"]] == [finished]
    assert not {"logs", "workflow"} & set(embedded["runs"][0])
    assert "workflow" not in client.get(path).json
    for bad in ("logs", ""):
        reply = client.get(f"{path}?include={bad}")
        assert list(refused(reply, 422, "parameter_invalid")) == ["include"]


def test_a_run_in_progress_shows_what_has_happened(client: Client) -> None:
    """`running`, with the entries so far and neither end nor duration."""
    with held() as (gate, url):
        call = node("a", "webhook", url=url)
        made = started(client, create(client, chain(node("t", "manual_trigger"), call)))
        assert gate.arrived.wait(20)
        shown = client.get(f"/workflows/runs/{made}").json
    assert shown["status"] == "running"
    assert [entry["node_id"] for entry in shown["logs"]] == ["t"]
    assert (shown["completed_at"], shown["duration_in_seconds"]) == (None, None)


def test_branches_run_side_by_side(client: Client) -> None:
    """Two calls of a fan-out are on the wire at once: each waits for the other's arrival."""
    meeting = threading.Barrier(2, timeout=20)

    def meet(hit: Hit) -> tuple[int, Any]:
        del hit
        meeting.wait()
        return 200, {}

    with endpoint(meet) as both:
        workflow = create(
            client,
            {
                "name": "fan",
                "nodes": [
                    node("t", "manual_trigger"),
                    node("a", "webhook", url=f"{both.url}/a"),
                    node("b", "webhook", url=f"{both.url}/b"),
                ],
                "edges": [
                    {"id": "1", "source": "t", "target": "a"},
                    {"id": "2", "source": "t", "target": "b"},
                ],
            },
        )
        assert run(client, workflow)["status"] == "completed"


def test_private_addresses_are_refused_unless_allowed(tmp_path: Any, sink: Endpoint) -> None:
    """Out of the box no workflow reaches the machine that serves it."""
    with running(tmp_path / "data", EGRESS_ALLOW="") as guarded:
        client = guarded.client()
        before = len(sink.hits)
        failed = run(client, create(client, calling(sink, "ok")))
        client.close()
    assert failed["status"] == "failed"
    assert failed["logs"][-1]["output"]["error"]["code"] == "egress_refused"
    assert len(sink.hits) == before
