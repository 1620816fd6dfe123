"""What the lists find, in which order, and that they find it without reading everything."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from itertools import product

import pytest

from refold.journal import events as e
from refold.journal.journal import LATEST
from refold.projections.projection import SqlValue
from refold.projections.runs_projection import RunsProjection
from refold.projections.view_rows import (
    COUNT_WORKFLOWS,
    NEWEST_RUNS,
    WEBHOOK,
    WORKFLOWS,
    RunFilter,
    count_runs,
    run_row,
    select_runs,
)
from refold.projections.workflows_projection import WorkflowsProjection
from tests.support import projection_kit as kit

A, B = kit.WORKFLOWS
FAILED = e.RunFailed(code="http_error", node="n1")


@pytest.fixture
def runs() -> Iterator[sqlite3.Connection]:
    """Eight runs of workflow A, a microsecond apart, every second one failed; one run of B."""
    history = kit.History()
    for number in range(8):
        history.at = kit.START_US + number
        first = history.runs[0] if history.runs else ""
        history.request(A, "rerun" if number in (3, 6) else "execute", first if number == 3 else "")
        history.add(history.runs[-1], kit.STARTED, has_body=False)
        history.add(history.runs[-1], FAILED if number % 2 else kit.COMPLETED, has_body=True)
    history.request(B, "execute", "")
    with kit.generation_of(RunsProjection(), history.events) as connection:
        yield connection


def found(
    connection: sqlite3.Connection,
    *,
    offset: int = 0,
    limit: int = 100,
    tenant: str = "acme",
    status: str | None = None,
    created_from: int | None = None,
    created_to: int | None = None,
    origin: str | None = None,
    original_run: str | None = None,
    before: int | None = None,
) -> list[int]:
    """List the numbers of the runs that a filter finds."""
    wanted = RunFilter(
        tenant=tenant,
        workflow=A,
        status=status,
        created_from=created_from,
        created_to=created_to,
        origin=origin,
        original_run=original_run,
        before=before,
    )
    rows = [run_row(r) for r in connection.execute(*select_runs(wanted, offset, limit))]
    if not offset and limit >= 100:
        assert connection.execute(*count_runs(wanted)).fetchone() == (len(rows),)
    return [row.created_at - kit.START_US for row in rows]


def test_runs_come_newest_first_and_other_workflows_and_tenants_stay_out(
    runs: sqlite3.Connection,
) -> None:
    """A list belongs to one workflow of one tenant."""
    assert found(runs) == [7, 6, 5, 4, 3, 2, 1, 0]
    assert found(runs, tenant="other") == []


def test_each_filter_keeps_what_it_says_and_filters_combine(runs: sqlite3.Connection) -> None:
    """Times include both ends, since a client asks with a time that it was shown."""
    start = kit.START_US
    assert found(runs, status="failed") == [7, 5, 3, 1]
    assert found(runs, origin="rerun") == [6, 3]
    assert found(runs, status="failed", origin="rerun") == [3]
    first = f"fl_run_{0:026}"
    assert found(runs, original_run=first) == [3]
    assert found(runs, original_run=first, status="completed") == []
    assert found(runs, original_run="") == []
    assert found(runs, created_from=start + 5) == [7, 6, 5]
    assert found(runs, created_to=start + 2) == [2, 1, 0]
    assert found(runs, created_from=start + 2, created_to=start + 4, status="failed") == [3]
    assert found(runs, created_from=start + 8) == []
    assert found(runs, created_to=start - 1) == []


def test_pages_and_cursors_walk_the_whole_list_without_doubles(runs: sqlite3.Connection) -> None:
    """A cursor stays where it is while new runs come in; a page number does not."""
    assert [found(runs, offset=o, limit=3) for o in (0, 3, 6)] == [[7, 6, 5], [4, 3, 2], [1, 0]]
    # Each run has three events, so the request of run 5 stands at position 16.
    assert found(runs, before=16, limit=3) == [4, 3, 2]
    assert found(runs, before=16, status="failed") == [3, 1]


@pytest.mark.parametrize(
    ("by_status", "by_origin", "by_original", "by_time", "by_cursor"),
    list(product(["", "failed", "running"], *[[False, True]] * 4)),
)
def test_no_filter_sorts_or_reads_everything(
    runs: sqlite3.Connection,
    by_status: str,
    by_origin: bool,
    by_original: bool,
    by_time: bool,
    by_cursor: bool,
) -> None:
    """The newest runs of a million must cost what they cost of a thousand."""
    wanted = RunFilter(
        tenant="acme",
        workflow=A,
        status=by_status or None,
        origin="rerun" if by_origin else None,
        original_run="fl_run_x" if by_original else None,
        created_from=1 if by_time else None,
        created_to=2 if by_time else None,
        before=9 if by_cursor else None,
        at_position=50,
    )
    steps = plan(runs, *select_runs(wanted, 0, 15))
    assert {step for step in steps if "SCAN" in step} <= {"SCAN json_each VIRTUAL TABLE INDEX 1:"}
    # What ended after that position is sorted, and nothing else: the last part of the list.
    sorts = [step for step in steps if "TEMP B-TREE" in step]
    assert len(sorts) == (by_status == "running" and not by_original)
    if sorts:
        assert sum("run_status_1" in step for step in steps) == 4
        (ended,) = [step for step in steps if "run_ended_1" in step]
        assert ended.endswith("(workflow=? AND ended_position>?)")
    if by_original:
        assert any("run_original_1" in step for step in steps)
    elif by_status:
        assert any("run_status_1" in step for step in steps)
    elif by_origin:
        assert any("run_origin_1" in step for step in steps)
    assert any("rowid<?" in step or "requested_position<?" in step for step in steps)


def test_counts_and_the_other_lists_use_their_indexes() -> None:
    """Counting all runs of a workflow reads an index, not the rows."""
    with kit.generation_of(RunsProjection()) as connection:
        for status in (None, "failed"):
            wanted = RunFilter(tenant="acme", workflow=A, status=status, at_position=50)
            assert "COVERING INDEX" in plan(connection, *count_runs(wanted))[0]
        for step in plan(connection, NEWEST_RUNS, [A, 1, 15]):
            assert "SEARCH" in step or "SCALAR SUBQUERY" in step
    with kit.generation_of(WorkflowsProjection()) as connection:
        asked: list[tuple[str, list[SqlValue]]] = [
            (WORKFLOWS, ["acme", 1, -1, 0]),
            (COUNT_WORKFLOWS, ["acme", 1]),
            (WEBHOOK, ["hash"]),
        ]
        for statement, parameters in asked:
            steps = plan(connection, statement, parameters)
            reads = [step for step in steps if "workflow_1" in step]
            assert all(step.startswith("SEARCH workflow_1 USING") for step in reads)
            if statement != WEBHOOK:
                assert [step.split()[4] for step in reads] == [
                    "workflow_tenant_1",
                    "workflow_deleted_1",
                ]


def plan(
    connection: sqlite3.Connection, statement: str, parameters: Sequence[SqlValue]
) -> list[str]:
    """Return the steps that SQLite would take."""
    return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)]


def test_a_webhook_is_found_by_the_current_version_of_a_workflow_that_exists() -> None:
    """A token that was replaced, or whose workflow is deleted, is unknown."""
    history = kit.History()
    history.add(A, kit.defined(1, webhook_hash="old"), has_body=True)
    history.add(A, kit.defined(2, webhook_hash="new"), has_body=True)
    history.add(B, kit.defined(1), has_body=True)
    with kit.generation_of(WorkflowsProjection(), history.events) as connection:
        for token_hash, workflow in (("new", (A,)), ("old", None), ("", None)):
            assert connection.execute(WEBHOOK, (token_hash,)).fetchone() == workflow
    history.add(A, e.WorkflowDeleted(), has_body=True)
    with kit.generation_of(WorkflowsProjection(), history.events) as connection:
        assert connection.execute(WEBHOOK, ("new",)).fetchone() is None
        assert connection.execute(COUNT_WORKFLOWS, ("acme", LATEST)).fetchone() == (1,)


def test_an_event_of_a_run_that_was_never_requested_changes_nothing() -> None:
    """Facts are not argued with, and there is no row that they could be about."""
    history = kit.History()
    for facts in kit.RUN_FACTS:
        history.add("fl_run_stray", facts, has_body=False)
    with kit.generation_of(RunsProjection(), history.events) as connection:
        for table in ("run", "log"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


def test_folds_say_nothing_of_events_that_are_none_of_their_business() -> None:
    """Most events of a journal are not about a given projection."""
    history = kit.History()
    history.add("sys", e.JournalCreated(format=1, key_check=""), has_body=False)
    history.add("fl_run_x", e.TimerFired(iteration="", node="n"), has_body=False)
    for event in history.events:
        assert RunsProjection().fold(event) == ()
        assert WorkflowsProjection().fold(event) == ()
