"""Clients written for either generation of the API that Refold is a superset of.

Each client here reads only the fields that its generation documents, strictly, as a typed
client would.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, Literal

import msgspec
import pytest

from tests.support.http_kit import calling, create, followed
from tests.support.service import Client, Endpoint

STATUS = Literal["pending", "running", "completed", "failed", "awaiting_ui_interaction"]


class NewLog(msgspec.Struct):
    """A log entry of the newer generation."""

    id: str
    node_id: str
    component_id: str
    status: Literal["success", "error", "warning"]
    output: dict[str, Any]
    created_at: datetime


class NewRun(msgspec.Struct):
    """A run of the newer generation."""

    id: str
    status: STATUS
    error_message: str | None
    started_at: datetime | None
    completed_at: datetime | None
    duration_in_seconds: float | None
    logs: list[NewLog]


class NewEnvelope(msgspec.Struct):
    """What the newer generation's rerun and resume answer."""

    message: str
    new_run: NewRun


class OldLog(msgspec.Struct):
    """A log entry of the older generation."""

    id: str
    execution_id: str
    node_id: str
    status: Literal["success", "error", "warning"]
    output: dict[str, Any]
    created_at: datetime


class OldNode(msgspec.Struct):
    """A node of the older generation."""

    id: str
    type: str
    data: dict[str, Any]


class OldEdge(msgspec.Struct):
    """An edge of the older generation."""

    id: str
    source: str
    target: str
    sourceHandle: str | None = None


class OldWorkflow(msgspec.Struct):
    """A workflow as the older generation embeds it."""

    id: str
    name: str
    description: str | None
    nodes: list[OldNode]
    edges: list[OldEdge]
    schedule_type: str | None
    schedule_value: str | None
    next_run_at: datetime | None
    is_active: bool
    webhook_url: str | None
    created_at: datetime
    updated_at: datetime
    authorization: dict[str, Any] | None
    runs: list[dict[str, Any]]


class OldRun(msgspec.Struct):
    """A run of the older generation."""

    id: str
    status: STATUS
    trigger_payload: dict[str, Any]
    error_message: str | None
    started_at: datetime | None
    completed_at: datetime | None
    duration_in_seconds: float | None
    created_at: datetime
    workflow: OldWorkflow
    logs: list[OldLog]


class OldEnvelope(msgspec.Struct):
    """What the older generation's rerun answers."""

    message: str
    original_run_id: str
    new_run: OldRun


@pytest.fixture
def workflow(client: Client, sink: Endpoint) -> str:
    """A workflow whose second call fails with a 503 where the payload says so."""
    return create(client, calling(sink, "ok", "{{ trigger.path }}"))


def test_a_client_of_the_newer_generation_works(client: Client, workflow: str) -> None:
    """Execute, follow to the end, resume from the last good node, rerun."""
    context = {"context": {"user_id": "usr_123", "site_id": "site_456", "path": "503/x"}}
    accepted = client.post(f"/workflows/{workflow}/execute", context)
    assert accepted.status == 202
    first = msgspec.json.decode(accepted.body, type=NewRun)
    assert re.fullmatch(r"fl_run_[0-9a-z]{26}", first.id)
    assert (first.status, first.logs) == ("pending", [])
    followed(client, first.id)
    shown = msgspec.json.decode(client.get(f"/workflows/runs/{first.id}").body, type=NewRun)
    assert shown.status == "failed"
    assert shown.error_message == "Webhook request failed: 503 Service Unavailable"
    assert [log.status for log in shown.logs] == ["success", "success", "error"]
    assert shown.logs[1].component_id == "webhook"
    assert shown.logs[1].output["status"] == 200
    assert shown.started_at is not None
    assert shown.completed_at is not None
    assert shown.duration_in_seconds is not None
    assert shown.duration_in_seconds >= 0
    chosen = shown.logs[1].node_id
    resumed = client.post(f"/workflows/runs/{first.id}/resume-from/{chosen}")
    assert resumed.status == 202
    envelope = msgspec.json.decode(resumed.body, type=NewEnvelope)
    assert envelope.message == "Workflow resumed successfully from node 'n1'."
    assert envelope.new_run.id != first.id
    rerun = client.post(f"/workflows/runs/{first.id}/rerun")
    assert rerun.status == 202
    envelope = msgspec.json.decode(rerun.body, type=NewEnvelope)
    assert envelope.message == "Workflow re-run initiated successfully."


def test_a_client_of_the_older_generation_works(client: Client, workflow: str) -> None:
    """Its rerun finds the original's id, the payload, and the workflow with its runs."""
    context = {"context": {"path": "fine"}}
    first = client.post(f"/workflows/{workflow}/execute", context, Prefer="wait=30").json["id"]
    made = client.post(f"/workflows/runs/{first}/rerun", Prefer="wait=30")
    envelope = msgspec.json.decode(made.body, type=OldEnvelope)
    assert envelope.original_run_id == first
    new = envelope.new_run
    assert new.trigger_payload == {"path": "fine"}
    assert (new.workflow.id, new.workflow.name) == (workflow, "chain")
    assert {entry["id"] for entry in new.workflow.runs} == {first, new.id}
    assert {log.execution_id for log in new.logs} == {new.id}
    assert [log.node_id for log in new.logs] == ["t", "n1", "n2"]
    pending = client.post(f"/workflows/runs/{first}/rerun")
    assert msgspec.json.decode(pending.body, type=OldEnvelope).new_run.status == "pending"


def test_times_are_written_as_in_the_reference(client: Client, workflow: str) -> None:
    """UTC, six digits, `Z`, in every object."""
    made = client.post(
        f"/workflows/{workflow}/execute", {"context": {"path": "x"}}, Prefer="wait=30"
    )
    texts = [made.body, client.get(f"/workflows/{workflow}").body]
    for text in texts:
        found = re.findall(rb'"\w+_at":("[^"]*"|null)', text)
        assert found
        for value in found:
            assert value == b"null" or re.fullmatch(
                rb'"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"', value
            )


def test_lists_show_no_logs(client: Client, workflow: str) -> None:
    """Log entries are only returned when a single run is retrieved."""
    client.post(f"/workflows/{workflow}/execute", {"context": {"path": "x"}}, Prefer="wait=30")
    page = client.get(f"/workflows/{workflow}/executions").json
    assert all("logs" not in entry for entry in page["data"])
