"""Builders for the graph of a run and for its facts."""

from __future__ import annotations

import msgspec

from refold.engine.graph import Edge, Graph
from refold.journal import events as e
from refold.journal.envelope import Recorded
from refold.projections.run_state import RunState, fold

RUN = "fl_run_a"
_REQUESTED = e.RunRequested(
    chosen_node="",
    depth=0,
    idempotency_digest="",
    idempotency_key="",
    idempotency_scope="",
    in_doubt="",
    kept="",
    origin="execute",
    original_run="",
    original_version=0,
    parent_iteration="",
    parent_node="",
    parent_run="",
    payload_run="",
    replayed_total=0,
    trigger_type="manual",
    workflow="fl_w",
    workflow_version=1,
)


def graph(*edges: str) -> Graph:
    """Make a graph of edges such as `a>b` or `c-true>d`; the trigger is `t`."""
    made: list[Edge] = []
    for text in edges:
        source, target = text.split(">")
        name, _, handle = source.partition("-")
        made.append(Edge(name, target, handle))
    names = dict.fromkeys(["t", *[n for e in made for n in (e.source, e.target)]])
    return Graph("t", list(names), made)


def requested_facts(**fields: str | int) -> e.RunRequested:
    """Make a request, with these fields and empty ones."""
    return msgspec.structs.replace(_REQUESTED, **fields)


def started(node: str, attempt: int = 1, key: str = "", at: int = 10) -> e.NodeStarted:
    """Make the start of an attempt."""
    return e.NodeStarted(
        attempt=attempt,
        component="webhook",
        effect_key=key,
        iteration="",
        node=node,
        started_at=at,
    )


def succeeded(node: str, handle: str = "", ends: str = "", attempt: int = 1) -> e.NodeSucceeded:
    """Make a success."""
    return e.NodeSucceeded(
        attempt=attempt,
        component="webhook",
        ended_at=20,
        ends=ends,
        handle=handle,
        iteration="",
        node=node,
        source_id="",
        started_at=10,
    )


def failed(
    node: str, code: str = "http_503", *, retried: int = 0, tolerated: int = 0, attempt: int = 1
) -> e.NodeFailed:
    """Make a failure."""
    return e.NodeFailed(
        attempt=attempt,
        code=code,
        component="webhook",
        ended_at=20,
        iteration="",
        node=node,
        retried=retried,
        source_id="",
        started_at=10,
        tolerated=tolerated,
    )


def interrupted(node: str, code: str = "run_failed", *, in_doubt: int = 0) -> e.NodeInterrupted:
    """Make an end from outside."""
    return e.NodeInterrupted(
        attempt=1,
        code=code,
        component="webhook",
        ended_at=20,
        in_doubt=in_doubt,
        iteration="",
        node=node,
        source_id="",
        started_at=10,
    )


def retry_scheduled(node: str, due_at: int = 30, attempt: int = 2) -> e.NodeRetryScheduled:
    """Make the schedule of a next attempt."""
    return e.NodeRetryScheduled(attempt=attempt, due_at=due_at, iteration="", node=node)


def timer_set(node: str, due_at: int = 30) -> e.TimerSet:
    """Make a wait."""
    return e.TimerSet(due_at=due_at, iteration="", node=node)


RUN_STARTED = e.RunStarted(limit_us=3_600_000_000, started_at=5)


def recorded(*facts: e.Facts, src: str = "") -> list[Recorded]:
    """Make a stream of these facts: position and version count from 1, `at` too."""
    return [
        Recorded(
            place, place, b"l" * 32, RUN, place, f"e{place}", place, "acme", "", "c", "", src, "", f
        )
        for place, f in enumerate(facts, start=1)
    ]


def folded(*facts: e.Facts) -> RunState:
    """Fold a run that was requested, started, and went on with these facts."""
    return fold(RUN, recorded(requested_facts(), RUN_STARTED, *facts))
