"""The law of time travel: as of a position, each question has the answer that it had there."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, get_args

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from refold.journal import events as e
from refold.journal.envelope import Recorded
from refold.projections import run_state
from refold.projections.applying import Applier
from refold.projections.generations import create_generation
from refold.projections.lineage_views import CHILDREN, DESCENDANTS, ORIGINALS, SUCCEEDED, LineageRow
from refold.projections.log_views import (
    NEWEST_LOGS,
    LogFilter,
    list_of_run,
    select_logs,
    select_stats,
)
from refold.projections.run_lists import RunFilter
from refold.projections.run_state import Status
from refold.projections.runs_projection import RunsProjection
from refold.projections.view_rows import (
    COUNT_WORKFLOWS,
    WORKFLOWS,
    as_of,
)
from refold.projections.workflows_projection import WorkflowsProjection
from tests.support import projection_kit as kit
from tests.support.run_list_kit import counted, listed, lived
from tests.support.run_lives import lives


def _rarely(values: st.SearchStrategy[int]) -> st.SearchStrategy[int | None]:
    """Mostly any, so that a filter leaves something to compare."""
    return st.integers(0, 3).flatmap(lambda n: st.none() if n else values)


TIMES = _rarely(st.integers(kit.START_US - 2, kit.START_US + 40))
RUN_FILTERS = st.builds(
    RunFilter,
    tenant=st.just("acme"),
    workflow=st.sampled_from(kit.WORKFLOWS),
    status=st.none() | st.sampled_from(get_args(Status)),
    created_from=TIMES,
    created_to=TIMES,
    origin=st.sampled_from([None, None, None, "execute", "rerun"]),
    original_run=st.sampled_from([None, None, None, f"fl_run_{0:026}"]),
    error_code=st.sampled_from([None, None, "http_error", "x"]),
    is_unresolved=st.sampled_from([False, False, True]),
    before=_rarely(st.integers(1, 60)),
)
LOG_FILTERS = st.builds(
    LogFilter,
    status=st.sampled_from([None, "success", "error", "warning"]),
    node=st.sampled_from([None, "n1", "call"]),
    created_from=TIMES,
    created_to=TIMES,
    before=st.none() | st.tuples(st.integers(kit.START_US, kit.START_US + 60), st.integers(1, 60)),
)


HISTORIES = st.one_of(kit.histories(), lives()).map(lived)


@contextmanager
def _views(events: Sequence[Recorded]) -> Generator[sqlite3.Connection, None, None]:
    with kit.generation_of(RunsProjection(), events) as connection:
        create_generation(connection, WorkflowsProjection(), state="live")
        Applier(connection, WorkflowsProjection(), 1).apply(events)
        yield connection


def _then_and_now(
    events: Sequence[Recorded], position: int, ask: Any
) -> tuple[list[Any], list[Any]]:
    """Ask the views of the first events, and as of their last one the views of all."""
    with _views(events[:position]) as connection:
        then = ask(connection)
    with _views(events) as connection:
        return then, ask(connection)


def _cut(data: st.DataObject, events: Sequence[Recorded]) -> int:
    return data.draw(st.integers(1, len(events)), "position")


def _without_turns(rows: list[Any]) -> list[Any]:
    """What the turns were later says nothing of then."""
    return [msgspec.structs.replace(row, turns="") for row in rows]


@given(HISTORIES, RUN_FILTERS, st.integers(0, 3), st.integers(1, 5), st.data())
def test_a_list_of_runs_is_the_one_of_then(
    events: list[Recorded], wanted: RunFilter, offset: int, limit: int, data: st.DataObject
) -> None:
    """By any filter, any page, and its count; a status is the one that the run then had."""
    position = _cut(data, events)
    wanted = msgspec.structs.replace(wanted, at_position=position)

    def ask(connection: sqlite3.Connection) -> list[Any]:
        rows = listed(connection, wanted, limit, offset)
        return [counted(connection, wanted), *_without_turns(rows)]

    then, now = _then_and_now(events, position, ask)
    assert now == then
    if wanted.status:
        assert {row.status for row in now[1:]} <= {wanted.status}


@given(HISTORIES, st.sampled_from(kit.WORKFLOWS), LOG_FILTERS, st.integers(1, 9), st.data())
def test_log_entries_and_statistics_are_those_of_then(
    events: list[Recorded],
    workflow: str,
    wanted: LogFilter,
    limit: int,
    data: st.DataObject,
) -> None:
    """What was logged later is left out, and a run that ended later has not ended."""
    position = _cut(data, events)
    hidden = data.draw(st.just(0) | st.integers(0, position), "hidden")
    wanted = msgspec.structs.replace(wanted, at_position=position, hidden_until=hidden)
    first = data.draw(st.integers(1, 40), "first")

    def ask(connection: sqlite3.Connection) -> list[Any]:
        return [
            connection.execute(*select_logs(workflow, wanted, limit)).fetchall(),
            connection.execute(NEWEST_LOGS, ("acme", position, limit, hidden)).fetchall(),
            connection.execute(*select_stats("acme", workflow, first, position)).fetchone(),
        ]

    then, now = _then_and_now(events, position, ask)
    assert now == then


@given(HISTORIES, st.integers(1, 9), st.data())
def test_a_run_folded_to_a_position_lists_its_own_entries_of_then(
    events: list[Recorded], limit: int, data: st.DataObject
) -> None:
    """A list of one run is read from its stream, which the filter cuts just so."""
    position = _cut(data, events)
    wanted = LogFilter(at_position=position)
    for run in {event.stream for event in events if event.stream.startswith("fl_run_")}:
        own = [event for event in events if event.stream == run]
        then = run_state.fold(run, [event for event in own if event.position <= position])
        whole = run_state.fold(run, own)
        # A status is decided when the entry is made, and never again.
        assert list_of_run(then.log, wanted, limit) == list_of_run(whole.log, wanted, limit)


@given(HISTORIES, st.data())
def test_a_family_is_the_one_of_then(events: list[Recorded], data: st.DataObject) -> None:
    """Of a tree that grew since, and of runs whose workflow was deleted since."""
    position = _cut(data, events)
    requests = [x for x in events[:position] if isinstance(x.facts, e.RunRequested)]
    if not requests:
        return
    asked = data.draw(st.sampled_from(requests), "run")
    assert isinstance(asked.facts, e.RunRequested)
    tree = (asked.stream, asked.facts.workflow, "acme")
    parents = msgspec.json.encode(["", asked.stream]).decode()

    def ask(connection: sqlite3.Connection) -> list[Any]:
        found = [
            connection.execute(ORIGINALS, (asked.stream, 9)).fetchall(),
            connection.execute(DESCENDANTS, (*tree, 9, position)).fetchall(),
            connection.execute(CHILDREN, (parents, "acme", 9, position)).fetchall(),
        ]
        rows = [[as_of(LineageRow(*row), position) for row in part] for part in found]
        succeeded = connection.execute(SUCCEEDED, (*tree, 9, position)).fetchall()
        return [*map(_without_turns, rows), succeeded]

    then, now = _then_and_now(events, position, ask)
    assert now == then


@given(HISTORIES, st.integers(0, 1), st.data())
def test_the_workflows_are_those_of_then(
    events: list[Recorded], offset: int, data: st.DataObject
) -> None:
    """One that was deleted later was still there, and one that was made later was not."""
    position = _cut(data, events)

    def ask(connection: sqlite3.Connection) -> list[Any]:
        rows = connection.execute(WORKFLOWS, ("acme", position, -1, offset)).fetchall()
        ((total,),) = connection.execute(COUNT_WORKFLOWS, ("acme", position)).fetchall()
        return [total, *(row[0] for row in rows)]

    then, now = _then_and_now(events, position, ask)
    assert now == then
