"""Makes the objects of the contract out of folded state, bodies and view rows.

Outputs and payloads are put in as the bytes that were recorded; nothing is decoded to be
encoded again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, cast

import msgspec
from msgspec import UNSET, Raw

from ..engine.authorizations import AuthorizationBody
from ..engine.workflows import WorkflowBody, WorkflowText
from ..journal import ids
from ..projections.authorization_state import AuthorizationStatus
from ..projections.log_views import ListedLogRow
from ..projections.run_comparison import output_of
from ..projections.run_state import LogEntry, RunState
from ..projections.views import RunRow
from ..projections.workflow_state import WorkflowState, WorkflowVersion
from . import wire
from .times import to_wire, to_wire_or_none

ERASED: Final = Raw(b'{"erased":true}')
_ERASED_TEXT: Final = WorkflowText(name="(erased)", nodes=[], edges=[])
_NOTHING: Final = Raw(b"{}")


class Archived(bytes):
    """What is shown instead of a body that is in a segment, and where that is."""

    @classmethod
    def in_segment(cls, name: str) -> Archived:
        """Say which segment holds it."""
        return cls(msgspec.json.encode({"archived": True, "segment": name}))


class _PayloadBody(msgspec.Struct, frozen=True):
    payload: Raw = _NOTHING


class _MessageBody(msgspec.Struct, frozen=True):
    message: str = ""


_decode_payload = msgspec.json.Decoder(_PayloadBody).decode
_decode_message = msgspec.json.Decoder(_MessageBody).decode
Bodies = Mapping[int, bytes]


def run_positions(state: RunState, payload_at: int, *, logs: bool) -> list[int]:
    """Return the positions of all bodies that showing a run needs."""
    positions = [payload_at]
    if state.message_at:
        positions.append(state.message_at)
    if logs:
        positions.extend(entry.body_at for entry in state.log if entry.body_at)
    return positions


def run(state: RunState, bodies: Bodies, payload_at: int, *, logs: bool) -> wire.Run:
    """Show a run with its logs, or with `logs: []` as it was accepted."""
    origin = state.origin
    return wire.Run(
        id=state.run_id,
        workflow_id=origin.workflow,
        workflow_version=origin.workflow_version,
        status=state.status,
        trigger_payload=_payload(bodies.get(payload_at)),
        error_message=_message(state.status, bodies.get(state.message_at)),
        failed_node_id=state.failed_node or None,
        created_at=to_wire(state.created_at),
        started_at=to_wire_or_none(state.started_at),
        completed_at=to_wire_or_none(state.ended_at),
        duration_in_seconds=duration(state.started_at, state.ended_at),
        origin=cast("wire.Origin", origin.origin),
        original_run_id=origin.original_run or None,
        resumed_from_node_id=origin.chosen_node or None,
        logs=[log(state, entry, bodies) for entry in state.log] if logs else [],
    )


def listed_run(row: RunRow, bodies: Bodies) -> wire.Run:
    """Show a run of a list, without its logs."""
    return wire.Run(
        id=row.run_id,
        workflow_id=row.workflow,
        workflow_version=row.workflow_version,
        status=row.status,
        trigger_payload=_payload(bodies.get(row.payload_at)),
        error_message=_message(row.status, bodies.get(row.message_at)),
        failed_node_id=row.failed_node or None,
        created_at=to_wire(row.created_at),
        started_at=to_wire_or_none(row.started_at),
        completed_at=to_wire_or_none(row.ended_at),
        duration_in_seconds=duration(row.started_at, row.ended_at),
        origin=cast("wire.Origin", row.origin),
        original_run_id=row.original_run or None,
        resumed_from_node_id=row.chosen_node or None,
    )


def listed_positions(row: RunRow) -> list[int]:
    """Return the positions of the bodies that a run of a list shows."""
    return [position for position in (row.payload_at, row.message_at) if position]


def workflow(
    state: WorkflowState,
    version: WorkflowVersion,
    body: WorkflowBody | None,
    webhook_url: str | None,
    authorization: wire.Authorization | None = None,
    *,
    whole: bool = True,
) -> wire.Workflow:
    """Show a version of a workflow, with its nodes and edges where `whole`.

    Of an erased one are left its id, its times, and whether it is active.
    """
    text = body.workflow if body else _ERASED_TEXT
    return wire.Workflow(
        id=state.workflow_id,
        name=text.name,
        description=text.description,
        version=version.number,
        nodes=text.nodes if whole else UNSET,
        edges=text.edges if whole else UNSET,
        schedule_type=text.schedule_type,
        schedule_value=text.schedule_value,
        next_run_at=to_wire_or_none(state.next_at) if version is state.current else None,
        is_active=text.is_active if body else state.is_active,
        webhook_url=webhook_url,
        created_at=to_wire(state.created_at),
        updated_at=to_wire(version.at),
        authorization=authorization,
        erased=UNSET if body else True,
    )


def authorization(
    authorization_id: str,
    status: AuthorizationStatus,
    created_at: int,
    body: AuthorizationBody | None,
) -> wire.Authorization:
    """Show a stored grant; an erased body leaves its id, status and time."""
    return wire.Authorization(
        id=authorization_id,
        user_id=None if body is None else body.by,
        provider=None if body is None else body.provider,
        status=status,
        email=None if body is None else body.email,
        created_at=to_wire(created_at),
    )


def log(state: RunState, entry: LogEntry, bodies: Bodies) -> wire.Log:
    """Show a log entry of a run."""
    original = state.origin.original_run
    return _log(state.run_id, entry, original, bodies)


def listed_log(row: ListedLogRow, bodies: Bodies) -> wire.Log:
    """Show a log entry of a list."""
    return _log(row.run_id, row, row.original_run, bodies)


def _log(
    run_id: str, entry: LogEntry | ListedLogRow, original_run: str, bodies: Bodies
) -> wire.Log:
    source = None
    if entry.source_id:
        source = wire.ReplayedFrom(original_run, ids.LOG + entry.source_id)
    return wire.Log(
        ids.LOG + entry.event_id,
        run_id,
        entry.node,
        entry.component,
        entry.status,
        _output(bodies.get(entry.body_at)),
        to_wire(entry.created_at),
        to_wire(entry.started_at),
        entry.attempt,
        iteration(entry.iteration),
        source,
    )


def iteration(path: str) -> list[int] | None:
    """Show a path of indexes inside iterators, such as `3.0`; None outside of them."""
    return [int(index) for index in path.split(".")] if path else None


def _output(body: bytes | None) -> Raw:
    return ERASED if body is None else Raw(output_of(body))


def payload_of(body: bytes) -> Raw:
    """Return the trigger payload that stands in the body of a run's request."""
    if isinstance(body, Archived):
        return Raw(body)
    return _decode_payload(body).payload


def _payload(body: bytes | None) -> Raw:
    return ERASED if body is None else payload_of(body)


def _message(status: str, body: bytes | None) -> str | None:
    if status != "failed":
        return None
    if isinstance(body, Archived):
        return f"(archived in {msgspec.json.decode(body)['segment']})"
    return "(erased)" if body is None else _decode_message(body).message


def duration(started_at: int, ended_at: int) -> float | None:
    """Return the seconds from a run's start to its end, None while it has not ended."""
    if not ended_at:
        return None
    return max(0, ended_at - started_at) / 1e6 if started_at else 0.0
