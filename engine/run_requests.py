"""What makes a run: its first event, the same for everything that starts one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ..journal import events as e
from ..journal import ids
from ..journal.actors import Pseudonyms
from ..journal.clock import IdSource
from ..journal.envelope import Recorded
from ..journal.journal import NewEvent, RequestKey, StreamWrite
from ..projections.workflow_state import WorkflowState
from .caller import Caller
from .runs import RunRequestBody

PERSONAL = frozenset({"execute", "sync", "event", "rerun", "resume"})
"""The origins of runs that somebody with a token asked for, who is the subject of the data."""
_encode = msgspec.json.Encoder().encode


class Started(msgspec.Struct, frozen=True):
    """A run that was accepted, or had been accepted by an earlier call of the same request."""

    run_id: str
    events: Sequence[Recorded]
    repeated: bool
    body: bytes
    """The body of `run.requested`, empty for a repeated call."""
    payload: dict[str, Any]
    """Empty for a repeated call."""
    outputs: dict[str, Any]
    rest: Sequence[Recorded] = ()
    """Of a resumed run: what is still to be copied of its original, in order."""


class RunRequests:
    """Makes the writes that start runs; whoever calls puts them into a commit."""

    def __init__(self, ids_: IdSource, pseudonyms: Pseudonyms) -> None:
        self._ids = ids_
        self._pseudonyms = pseudonyms

    def write(
        self,
        caller: Caller,
        facts: e.RunRequested,
        payload: dict[str, Any],
        copies: Sequence[NewEvent] = (),
    ) -> StreamWrite:
        """Make the write of a new run's stream: its request, then the copies of a cut.

        The payload is left out where the facts say that it is another run's.
        """
        inherited = facts.payload_run != ""
        body = _encode(RunRequestBody(caller.subject, None if inherited else payload))
        meta = caller.metadata(self._pseudonyms)
        subject = meta.actor if facts.origin in PERSONAL else None
        first = NewEvent(self._ids.new(), facts, body, subject)
        return StreamWrite(self._ids.new(ids.RUN), 0, [first, *copies], meta)


def accepted(events: Sequence[Recorded], write: StreamWrite, payload: dict[str, Any]) -> Started:
    """Return the run that a commit made; `events` are those of the run's own stream."""
    body = write.events[0].body
    assert body is not None, "a run's request has a body"
    return Started(write.stream, events, False, body, payload, {})


def request_facts(
    state: WorkflowState,
    number: int,
    origin: str,
    trigger_type: str,
    request: RequestKey | None,
) -> e.RunRequested:
    """Make the facts of a run of a workflow's version; what is special is replaced in them."""
    return e.RunRequested(
        chosen_node="",
        depth=0,
        idempotency_digest=request.digest if request else "",
        idempotency_key=request.key if request else "",
        idempotency_scope=request.scope if request else "",
        in_doubt="",
        kept="",
        origin=origin,
        original_run="",
        original_version=0,
        parent_iteration="",
        parent_node="",
        parent_run="",
        payload_run="",
        replayed_total=0,
        trigger_type=trigger_type,
        workflow=state.workflow_id,
        workflow_version=number,
    )
