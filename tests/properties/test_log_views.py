"""The laws of the lists of log entries: what a filter finds, in which order, page by page."""

from __future__ import annotations

import sqlite3

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from refold.journal.envelope import Recorded
from refold.projections import run_state
from refold.projections.log_views import (
    ListedLogRow,
    LogFilter,
    list_of_run,
    select_logs,
    select_stats,
)
from refold.projections.run_state import LogEntry, RunState
from refold.projections.runs_projection import RunsProjection
from tests.support import projection_kit as kit
from tests.support.run_list_kit import ENDS, lived, spread
from tests.support.run_lives import COMPONENTS, lives

TIMES = st.none() | st.integers(kit.START_US - 10, kit.START_US + 60)
FILTERS = st.builds(
    LogFilter,
    status=st.sampled_from([None, "success", "error", "warning"]),
    node=st.sampled_from([None, "nothing", *COMPONENTS]),
    created_from=TIMES,
    created_to=TIMES,
    before=st.none() | st.tuples(st.integers(kit.START_US, kit.START_US + 60), st.integers(1, 60)),
)


def states_of(events: list[Recorded], workflow: str) -> list[RunState]:
    """Fold every run of a workflow."""
    streams: dict[str, list[Recorded]] = {}
    for event in events:
        streams.setdefault(event.stream, []).append(event)
    states = [run_state.fold(stream, own) for stream, own in streams.items()]
    return [state for state in states if state.origin.workflow == workflow]


def listed(
    connection: sqlite3.Connection, workflow: str, wanted: LogFilter, limit: int
) -> list[ListedLogRow]:
    """List as the service would."""
    return [ListedLogRow(*row) for row in connection.execute(*select_logs(workflow, wanted, limit))]


def keys(entries: list[LogEntry] | list[ListedLogRow]) -> list[tuple[int, int, str, str, str]]:
    """Say of entries what both kinds have."""
    return [(g.created_at, g.position, g.node, g.status, g.source_id) for g in entries]


@given(lives(), st.sampled_from(kit.WORKFLOWS), FILTERS, st.integers(1, 20))
def test_a_list_is_what_the_folds_of_its_runs_say(
    events: list[Recorded], workflow: str, wanted: LogFilter, limit: int
) -> None:
    """The list of a workflow and that of one run are read on different ways."""
    entries = [entry for state in states_of(events, workflow) for entry in state.log]
    expected = list_of_run(entries, wanted, limit)
    with kit.generation_of(RunsProjection(), events) as connection:
        assert keys(listed(connection, workflow, wanted, limit)) == keys(expected)


@given(lives(), st.sampled_from(kit.WORKFLOWS), st.integers(1, 5))
def test_pages_by_cursor_are_the_whole_list(
    events: list[Recorded], workflow: str, size: int
) -> None:
    """Nothing is shown twice and nothing left out, also among entries of one time."""
    with kit.generation_of(RunsProjection(), events) as connection:
        whole = listed(connection, workflow, LogFilter(), 1000)
        paged: list[ListedLogRow] = []
        before = None
        while page := listed(connection, workflow, LogFilter(before=before), size):
            paged += page
            assert len(paged) <= len(whole)
            before = page[-1].created_at, page[-1].position
    assert paged == whole


@given(
    lives().map(lived),
    st.sampled_from(kit.WORKFLOWS),
    st.sampled_from([1, 401, 131_072, 2_000_003]),
    st.integers(1, 60),
    st.integers(0, 60),
)
def test_statistics_count_what_the_folds_say(
    events: list[Recorded], workflow: str, stride: int, begin: int, end: int
) -> None:
    """Of all that happened from a position to another, what was copied left out."""
    first, position = begin * stride, end * stride
    events = spread(events, stride)
    states = states_of([event for event in events if event.position <= position], workflow)
    logged = [
        entry.status
        for state in states
        for entry in state.log
        if entry.position >= first and not entry.source_id
    ]
    statuses = [state.status for state in states if state.requested_position >= first]
    with kit.generation_of(RunsProjection(), events) as connection:
        (found,) = connection.execute(*select_stats("acme", workflow, first, position))
    assert found == (
        *(logged.count(status) for status in ("success", "error", "warning")),
        *(statuses.count(status) for status in ("completed", "failed")),
        len(statuses),
    )


@given(lives().map(lived), st.sampled_from(kit.WORKFLOWS), FILTERS, st.integers(0, 60))
def test_the_entries_of_runs_that_ended_long_ago_leave_the_list(
    events: list[Recorded], workflow: str, wanted: LogFilter, hidden: int
) -> None:
    """All of a run at once: an old entry of a run that still goes on is still shown."""
    shown = [
        entry
        for state in states_of(events, workflow)
        for entry in state.log
        if not any(
            event.stream == state.run_id and isinstance(event.facts, ENDS)
            for event in events[:hidden]
        )
    ]
    wanted = msgspec.structs.replace(wanted, hidden_until=hidden)
    with kit.generation_of(RunsProjection(), events) as connection:
        found = listed(connection, workflow, wanted, 1000)
    assert keys(found) == keys(list_of_run(shown, wanted, 1000))
