"""What the lists find, in which order, and that they find it without reading everything."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from itertools import product

import msgspec
import pytest

from refold.journal import events as e
from refold.journal.journal import LATEST
from refold.projections.projection import SqlValue
from refold.projections.run_counts import count_rows, count_tallied
from refold.projections.run_lists import RunFilter, select_runs
from refold.projections.runs_projection import RunsProjection
from refold.projections.view_rows import COUNT_WORKFLOWS, WEBHOOK, WORKFLOWS
from refold.projections.workflows_projection import WorkflowsProjection
from tests.support import projection_kit as kit
from tests.support.run_list_kit import counted, listed, spread

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
    error_code: str | None = None,
    is_unresolved: bool = False,
    hidden_until: int = 0,
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
        error_code=error_code,
        is_unresolved=is_unresolved,
        hidden_until=hidden_until,
        before=before,
    )
    rows = listed(connection, wanted, limit, offset)
    if not offset and limit >= 100 and not before:
        assert counted(connection, wanted) == len(rows)
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


def test_codes_are_those_of_failed_runs_and_the_resolved_are_told_apart(
    runs: sqlite3.Connection,
) -> None:
    """Run 3 is a rerun of run 0, which completed: so the family of run 3 has succeeded."""
    assert found(runs, error_code="http_error") == [7, 5, 3, 1]
    assert found(runs, error_code="http_error", status="completed") == []
    assert found(runs, error_code="http_error", origin="rerun") == [3]
    assert found(runs, error_code="other") == []
    assert found(runs, is_unresolved=True) == [7, 5, 1]
    assert found(runs, is_unresolved=True, status="failed") == [7, 5, 1]
    assert found(runs, is_unresolved=True, status="running") == []
    assert found(runs, is_unresolved=True, error_code="other") == []


def test_runs_that_had_ended_by_a_position_leave_the_list(runs: sqlite3.Connection) -> None:
    """Each run has three events, so run 2 ended at position 9 and run 3 had begun at 10."""
    assert found(runs, hidden_until=8) == [7, 6, 5, 4, 3, 2]
    assert found(runs, hidden_until=9) == [7, 6, 5, 4, 3]
    assert found(runs, hidden_until=10) == [7, 6, 5, 4, 3]
    assert found(runs, hidden_until=10, status="completed") == [6, 4]
    assert found(runs, hidden_until=11, error_code="http_error") == [7, 5, 3]
    assert found(runs, hidden_until=24) == []


def test_a_failure_that_is_made_good_moves_in_the_tallies() -> None:
    """Of a run that was tallied as failed long before its rerun completed."""
    history = kit.History()
    history.request(A, "execute", "")
    first = history.runs[0]
    history.add(first, FAILED, has_body=True)
    for _ in range(4):
        history.request(A, "rerun", first)
    unresolved = RunFilter(tenant="acme", workflow=A, is_unresolved=True)
    states = "SELECT state, sum(total) FROM run_tally WHERE state != '' GROUP BY 1 ORDER BY 1"
    with kit.generation_of(RunsProjection(), spread(history.events, 4096)) as connection:
        assert connection.execute(states).fetchall() == [("failed", 3)]
        assert counted(connection, unresolved) == 1
    history.add(history.runs[-1], kit.COMPLETED, has_body=False)
    with kit.generation_of(RunsProjection(), spread(history.events, 4096)) as connection:
        assert connection.execute(states).fetchall() == [("failed", 0), ("recovered", 3)]
        assert counted(connection, unresolved) == 0


INDEXES = {
    "": "run_workflow_1",
    "o": "run_origin_1",
    "s": "run_status_1",
    "so": "run_status_origin_1",
    "c": "run_code_1",
    "co": "run_code_origin_1",
    "u": "run_failed_1",
    "uo": "run_failed_origin_1",
    "uc": "run_failed_code_1",
    "uco": "run_failed_code_origin_1",
}


def by_letters(letters: str) -> RunFilter:
    """Make the filter by some of: status, origin, code, unresolved."""
    return RunFilter(
        tenant="acme",
        workflow=A,
        status="failed" if "s" in letters else None,
        origin="rerun" if "o" in letters else None,
        error_code="x" if "c" in letters else None,
        is_unresolved="u" in letters,
        at_position=300_000_000,
    )


@pytest.mark.parametrize(
    ("letters", "is_long", "is_hiding"), list(product(INDEXES, [False, True], [False, True]))
)
def test_no_filter_sorts_or_reads_everything(
    runs: sqlite3.Connection, letters: str, is_long: bool, is_hiding: bool
) -> None:
    """The newest runs of a million must cost what they cost of a thousand: one range of an index.

    Apart from it there are those of whom there are few: what was under way at some position, and
    what was resolved since the position that is asked about. These are sorted.
    """
    wanted = msgspec.structs.replace(
        by_letters(letters),
        created_from=1 if is_long else None,
        created_to=2 if is_long else None,
        hidden_until=5 if is_hiding else 0,
        before=9 if is_long else None,
    )
    steps = plan(runs, *select_runs(wanted, 0, 15))
    if is_long:
        assert any(
            "requested_position>? AND requested_position<?" in step for step in steps
        ) or any("rowid>? AND rowid<?" in step for step in steps)
    scans = {step for step in steps if step.startswith("SCAN")}
    assert scans <= {"SCAN kind VIRTUAL TABLE INDEX 1:", "SCAN json_each VIRTUAL TABLE INDEX 1:"}
    reads = [step for step in steps if "run_1" in step and "run_created_1" not in step]
    assert f" {INDEXES[letters]} " in reads[0]
    few = ("run_recovered_1", "run_reach_1", "INTEGER PRIMARY KEY (rowid=?)")
    for step in reads:
        ranged = any(one in step for one in ("requested_position<?", "requested_position>?", "row"))
        assert any(one in step for one in few) or ranged, step
    sorts = [step for step in steps if "TEMP B-TREE" in step]
    assert len(sorts) <= ("u" in letters) + is_hiding


@pytest.mark.parametrize("by_origin", [False, True])
def test_runs_that_had_an_unfinished_status_are_few_and_sorted(
    runs: sqlite3.Connection, by_origin: bool
) -> None:
    """What ended after that position is, and nothing else: the last part of the list."""
    wanted = RunFilter(
        tenant="acme",
        workflow=A,
        status="running",
        origin="rerun" if by_origin else None,
        at_position=50,
    )
    steps = plan(runs, *select_runs(wanted, 0, 15))
    assert len([step for step in steps if "TEMP B-TREE" in step]) == 1
    assert sum("run_status_1" in step for step in steps) == 4
    (ended,) = [step for step in steps if "run_ended_1" in step]
    assert ended.endswith("(workflow=? AND ended_position>?)")


@pytest.mark.parametrize("letters", ["", "s", "o", "c", "u", "uco"])
def test_the_reruns_of_a_run_are_found_by_it(runs: sqlite3.Connection, letters: str) -> None:
    """Whatever else is asked, since they are few."""
    wanted = msgspec.structs.replace(by_letters(letters), original_run="fl_run_x")
    steps = plan(runs, *select_runs(wanted, 0, 15))
    assert any("run_original_1" in step for step in steps)
    assert not [step for step in steps if "TEMP B-TREE" in step or "SCAN run" in step]


@pytest.mark.parametrize("letters", list(INDEXES))
def test_a_total_adds_up_tallies_and_the_rows_of_two_blocks(letters: str) -> None:
    """However many runs there are."""
    with kit.generation_of(RunsProjection()) as connection:
        steps = plan(connection, *count_tallied(by_letters(letters), 5000, 200_000_000))
    reads = [step for step in steps if step.startswith(("SEARCH", "SCAN"))]
    tallied = [step for step in reads if "run_tally_1" in step]
    assert tallied
    assert all(step.endswith(("block>?)", "block>? AND block<?)")) for step in tallied)
    few = ("run_ended_1", "run_recovered_1")
    for step in reads:
        if "run_1" in step:
            assert f" {INDEXES[letters]} " in step or any(one in step for one in few)
            assert ">?" in step


def test_counts_and_the_other_lists_use_their_indexes() -> None:
    """What is counted one by one is counted in an index, and so are workflows."""
    with kit.generation_of(RunsProjection()) as connection:
        wanted = RunFilter(tenant="acme", workflow=A, status="failed", at_position=50)
        assert "COVERING INDEX" in plan(connection, *count_rows(wanted))[0]
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
