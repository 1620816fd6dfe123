"""The laws of the read models: they say what the folds say, however the events were grouped."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.journal import events as e
from refold.journal.envelope import Recorded
from refold.journal.journal import LATEST
from refold.projections import run_state, workflow_state
from refold.projections.run_lists import RunFilter, select_runs
from refold.projections.run_state import RunState, Status
from refold.projections.runs_projection import RunsProjection
from refold.projections.view_rows import (
    LOG_COLUMNS,
    WORKFLOWS,
    LogRow,
    RunRow,
    as_of,
    run_row,
    workflow_row,
)
from refold.projections.workflows_projection import WorkflowsProjection
from tests.support import projection_kit as kit
from tests.support.run_lives import lives


def run_rows(connection: sqlite3.Connection, workflow: str) -> list[RunRow]:
    """Read a workflow's runs as a list would."""
    wanted = RunFilter(tenant="acme", workflow=workflow)
    return [run_row(row) for row in connection.execute(*select_runs(wanted, 0, 1000))]


def expected_run(state: RunState, events: Sequence[Recorded], payload_at: int) -> RunRow:
    """Say what the row of a run must be."""
    request = state.origin
    positions = {"started": 0, "ended": 0}
    for event in events:
        if event.facts.type == "run.started":
            positions["started"] = event.position
        elif event.facts.type in ("run.completed", "run.failed", "run.cancelled"):
            positions["ended"] = event.position
    return RunRow(
        state.run_id,
        state.tenant,
        request.workflow,
        request.workflow_version,
        state.status,
        request.origin,
        request.original_run,
        request.chosen_node,
        state.failed_node,
        state.created_at,
        state.started_at,
        state.ended_at,
        state.requested_position,
        positions["started"],
        positions["ended"],
        payload_at,
        state.message_at,
        turns_of(state.run_id, events),
    )


def turns_of(run: str, events: Sequence[Recorded]) -> str:
    """Say at which positions a run began or ceased to await people before it ended."""
    state, turns, awaits = RunState(run), "", False
    for event in events:
        run_state.evolve(state, event)
        if (state.status == "awaiting_ui_interaction") != awaits and not state.is_ended:
            awaits = not awaits
            turns += f" {event.position}"
    return turns


def streams_of(events: Sequence[Recorded]) -> dict[str, list[Recorded]]:
    """Sort events by stream."""
    found: dict[str, list[Recorded]] = {}
    for event in events:
        found.setdefault(event.stream, []).append(event)
    return found


@given(st.one_of(kit.histories(), lives()))
def test_each_run_and_log_row_says_what_the_fold_of_its_stream_says(
    events: list[Recorded],
) -> None:
    """Lists and single runs are read on different ways and must never contradict each other."""
    states: dict[str, tuple[RunState, list[Recorded]]] = {
        stream: (run_state.fold(stream, own), own)
        for stream, own in streams_of(events).items()
        if stream.startswith("fl_run_")
    }
    with kit.generation_of(RunsProjection(), events) as connection:
        rows = {row.run_id: row for w in kit.WORKFLOWS for row in run_rows(connection, w)}
        assert rows.keys() == states.keys()
        for run, (state, own) in states.items():
            root = states[state.origin.payload_run or run][0]
            assert rows[run] == expected_run(state, own, root.requested_body_at)
            logged = [
                LogRow(*row)
                for row in connection.execute(
                    f"SELECT {LOG_COLUMNS} FROM log WHERE run_id = ? ORDER BY position", (run,)
                )
            ]
            assert [
                (r.event_id, r.node, r.component, r.status, r.created_at, r.started_at)
                for r in logged
            ] == [
                (g.event_id, g.node, g.component, g.status, g.created_at, g.started_at)
                for g in state.log
            ]
            assert [
                (r.attempt, r.position, r.body_at, r.iteration, r.source_id) for r in logged
            ] == [(g.attempt, g.position, g.body_at, g.iteration, g.source_id) for g in state.log]
            assert {(r.tenant, r.workflow) for r in logged} <= {("acme", state.origin.workflow)}


@pytest.mark.parametrize(
    ("decisive", "status"),
    [
        (e.RunCancelRequested(code="cancelled"), "error"),
        (kit.node_failed("n2"), "error"),
        (kit.succeeded("n2", "failed"), "error"),
        (kit.node_failed("n2", tolerated=1), "warning"),
        (kit.STARTED, "warning"),
    ],
)
def test_the_first_decisive_event_says_what_a_later_failure_is(
    decisive: e.Facts, status: str
) -> None:
    """A failure beside a run that completes is a warning; beside one that fails, an error."""
    history = kit.History()
    history.request(kit.WORKFLOWS[0], "execute", "")
    for facts in (decisive, kit.succeeded("n1", "completed"), kit.node_failed("n3")):
        history.add(history.runs[0], facts, has_body=True)
    assert run_state.fold(history.runs[0], history.events).log[-1].status == status
    with kit.generation_of(RunsProjection(), history.events) as connection:
        logged = connection.execute("SELECT status FROM log ORDER BY position DESC LIMIT 1")
        assert logged.fetchone() == (status,)


R, A = "running", "awaiting_ui_interaction"
ASK = {"iteration": "", "node": "ask"}
FORM = e.NodeStarted(attempt=1, component="form", effect_key="", started_at=1, **ASK)
CALL = e.NodeStarted(
    attempt=1, component="webhook", effect_key="k", iteration="", node="call", started_at=1
)
EACH = msgspec.structs.replace(CALL, component="iterator", node="each")
ASKED = e.InteractionRequested(due_at=0, requested_at=1, **ASK)
ANSWERED = e.InteractionSubmitted(action="ok", submitted_at=1, **ASK)
FORM_DONE = msgspec.structs.replace(kit.succeeded("ask"), component="form")
CALL_DONE = msgspec.structs.replace(kit.succeeded("call"), component="webhook")
EACH_DONE = msgspec.structs.replace(kit.succeeded("each"), component="iterator")
FORM_TOO = msgspec.structs.replace(FORM, node="too")
ASKED_TOO = msgspec.structs.replace(ASKED, node="too")
AGAIN = msgspec.structs.replace(kit.node_failed("pure", retried=1), component="text_transform")
AGAIN_DONE = msgspec.structs.replace(kit.succeeded("pure"), attempt=2)
AGAIN_ENDED = msgspec.structs.replace(kit.interrupted("pure"), component="text_transform")
FORM_ENDED = msgspec.structs.replace(kit.interrupted("ask"), component="form")


def inside(facts: e.NodeStarted | e.NodeSucceeded) -> e.Facts:
    """Put an event into an iterator's item."""
    return msgspec.structs.replace(facts, iteration="3.0")


@pytest.mark.parametrize(
    "life",
    [
        [(FORM, R), (ASKED, A), (ANSWERED, R), (FORM_DONE, R), (kit.COMPLETED, "completed")],
        [(FORM, R), (ASKED, A), (FORM_DONE, R)],
        [(FORM, R), (ASKED, A), (e.RunCancelRequested(code="x"), A), (FORM_ENDED, R)],
        [(CALL, R), (FORM, R), (ASKED, R), (CALL_DONE, A), (CALL, R), (CALL_DONE, A)],
        [(CALL, R), (FORM, R), (ASKED, R), (kit.node_failed("call", retried=1), R), (CALL, R)],
        [(FORM, R), (ASKED, A), (kit.succeeded("pure"), A), (kit.node_failed("pure"), A)],
        [(EACH, R), (FORM, R), (ASKED, A), (inside(CALL), R), (inside(CALL_DONE), A)],
        [(FORM, R), (ASKED, A), (AGAIN, R), (AGAIN_DONE, A), (AGAIN, R), (AGAIN_ENDED, A)],
        [(FORM, R), (ASKED, A), (EACH, A), (CALL, R), (inside(CALL_DONE), R), (CALL_DONE, A)],
        [(FORM, R), (ASKED, A), (FORM_TOO, R), (ASKED_TOO, A), (ANSWERED, R), (FORM_DONE, A)],
        [(FORM, R), (ASKED, A), (FORM_DONE, R), (FORM, R), (ASKED, A), (EACH_DONE, A)],
    ],
)
def test_a_run_awaits_people_while_a_form_is_open_and_nothing_is_at_work(
    life: list[tuple[e.Facts, str]],
) -> None:
    """The single run, the list of that moment, and the list as of that moment later say so."""
    history = kit.History()
    history.request(kit.WORKFLOWS[0], "execute", "")
    run = history.runs[0]
    steps: list[tuple[e.Facts, str]] = [(kit.STARTED, R), *life]
    for facts, _ in steps:
        history.add(run, facts, has_body=True)
    expected = ["pending", *(status for _, status in steps)]
    lengths = range(1, len(history.events) + 1)
    folded = [run_state.fold(run, history.events[:length]).status for length in lengths]
    assert folded == expected
    shown: list[str] = []
    for length in lengths:
        with kit.generation_of(RunsProjection(), history.events[:length]) as connection:
            row = run_rows(connection, kit.WORKFLOWS[0])[0]
            shown.append(row.status)
            for position, status in enumerate(expected[:length], 1):
                assert as_of(row, position).status == status
                assert statuses_found(connection, position) == [status]
    assert shown == expected


def statuses_found(connection: sqlite3.Connection, position: int) -> list[str]:
    """Say by which statuses a run is found as of a position."""
    filters = {
        status: RunFilter(
            tenant="acme", workflow=kit.WORKFLOWS[0], status=status, at_position=position
        )
        for status in get_args(Status)
    }
    return [
        status
        for status, wanted in filters.items()
        if connection.execute(*select_runs(wanted, 0, 9)).fetchall()
    ]


@given(kit.histories())
def test_each_workflow_row_says_what_the_fold_of_its_stream_says(events: list[Recorded]) -> None:
    """The list shows exactly the workflows that exist, as their newest version says."""
    found = streams_of(events)
    states = [workflow_state.fold(w, found[w]) for w in kit.WORKFLOWS if w in found]
    expected = {
        state.workflow_id: (
            state.tenant,
            state.current.number,
            state.is_active,
            state.created_at,
            state.current.at,
            state.current.body_at,
            state.current.webhook_hash,
            state.next_at,
        )
        for state in states
        if state.exists
    }
    with kit.generation_of(WorkflowsProjection(), events) as connection:
        rows = [workflow_row(row) for row in connection.execute(WORKFLOWS, ("acme", LATEST, -1, 0))]
    assert expected == {
        row.workflow_id: (
            row.tenant,
            row.version,
            row.is_active,
            row.created_at,
            row.updated_at,
            row.body_at,
            row.webhook_hash,
            row.next_at,
        )
        for row in rows
    }
    assert [row.created_position for row in rows] == sorted(row.created_position for row in rows)
