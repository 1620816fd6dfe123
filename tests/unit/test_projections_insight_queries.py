"""What is asked of logs, statistics and lineage: that it finds its rows without reading all."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from itertools import product

import msgspec
import pytest

from refold.engine.component import PureNode, TriggerNode
from refold.engine.nodes.catalogue import CATALOGUE
from refold.journal import events as e
from refold.journal.journal import LATEST
from refold.projections.applying import Applier
from refold.projections.generations import create_generation
from refold.projections.lineage_views import CHILDREN, DESCENDANTS, ORIGINALS, SUCCEEDED, LineageRow
from refold.projections.log_views import (
    NEWEST_LOGS,
    ListedLogRow,
    LogFilter,
    select_logs,
    select_stats,
)
from refold.projections.open_nodes import STARTING
from refold.projections.projection import SqlValue
from refold.projections.runs_projection import RunsProjection
from refold.projections.workflows_projection import WorkflowsProjection
from tests.support import projection_kit as kit

A, B = kit.WORKFLOWS


@contextmanager
def views_of(history: kit.History) -> Generator[sqlite3.Connection, None, None]:
    """Make the rows of both projections."""
    with kit.generation_of(RunsProjection(), history.events) as connection:
        create_generation(connection, WorkflowsProjection(), state="live")
        Applier(connection, WorkflowsProjection(), 1).apply(history.events)
        yield connection


def plan(
    connection: sqlite3.Connection, statement: str, parameters: Sequence[SqlValue]
) -> list[str]:
    """Return the steps that SQLite would take."""
    return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)]


def made_of(history: kit.History, original: str, *facts: e.Facts) -> str:
    """Add a rerun, what happened in it, and return its id."""
    history.request(A, "rerun" if original else "execute", original)
    for one in facts:
        history.add(history.runs[-1], one, has_body=True)
    return history.runs[-1]


def test_components_that_begin_with_an_event_are_those_of_the_catalogue() -> None:
    """The rows of a run follow them alone: one that was missing here would never be at work."""
    at_once = (PureNode, TriggerNode)
    starting = {name for name, kind in CATALOGUE.items() if not issubclass(kind, at_once)}
    assert starting == STARTING


def test_events_of_nodes_that_end_at_once_cost_one_statement() -> None:
    """Most nodes are such, and the projector is on the way of every run."""
    history = kit.History()
    history.add("fl_run_x", kit.succeeded(), has_body=True)
    history.add("fl_run_x", kit.interrupted(), has_body=True)
    pure, delay = (RunsProjection().fold(event) for event in history.events)
    assert (len(pure), len(delay)) == (1, 2)


@pytest.mark.parametrize(
    ("by_status", "by_node", "by_time", "by_cursor"), list(product([False, True], repeat=4))
)
def test_no_list_of_logs_sorts_or_reads_everything(
    by_status: bool, by_node: bool, by_time: bool, by_cursor: bool
) -> None:
    """The newest entries of a million must cost what they cost of a thousand."""
    wanted = LogFilter(
        status="error" if by_status else None,
        node="n1" if by_node else None,
        created_from=1 if by_time else None,
        created_to=9 if by_time else None,
        before=(5, 5) if by_cursor else None,
        at_position=9,
    )
    with views_of(kit.History()) as connection:
        steps = plan(connection, *select_logs(A, wanted, 100))
    assert all("SCAN" not in step and "TEMP B-TREE" not in step for step in steps)
    assert ("log_trouble_1" if by_status else "log_workflow_1") in steps[0]
    if by_time or by_cursor:
        assert "created_at<?" in steps[0]


@pytest.mark.parametrize(
    ("statement", "parameters", "indexes"),
    [
        (NEWEST_LOGS, ["acme", 9, 100, 0], 0),
        (ORIGINALS, ["fl_run_x", 9], 0),
        (DESCENDANTS, ["fl_run_x", A, "acme", 9, 9], 0),
        (SUCCEEDED, ["fl_run_x", A, "acme", 9, 9], 0),
        (CHILDREN, ["[]", "acme", 9, 9], 0),
    ],
)
def test_no_other_question_reads_a_table_from_end_to_end(
    statement: str, parameters: list[SqlValue], indexes: int
) -> None:
    """Statistics are counted in indexes, and a tree is followed from run to run."""
    with views_of(kit.History()) as connection:
        steps = plan(connection, statement, parameters)
    scanned = {step.split()[1] for step in steps if step.startswith("SCAN")}
    assert scanned <= {"CONSTANT", "up", "down", "parent"}
    assert sum("USING COVERING INDEX" in step for step in steps) == indexes


def test_statistics_add_up_tallies_and_read_rows_of_two_blocks_at_most() -> None:
    """However much a workflow did: what is not tallied is a range of the rows' own order."""
    with views_of(kit.History()) as connection:
        steps = plan(connection, *select_stats("acme", A, 5000, 200_000_000))
    reads = [step for step in steps if step.startswith(("SEARCH", "SCAN"))]
    tallied = [step for step in reads if "_tally_1 USING INDEX" in step]
    assert all(step.endswith(("block>?)", "block>? AND block<?)")) for step in tallied)
    logs = [step for step in reads if "log_1 " in step]
    assert logs
    assert all("INTEGER PRIMARY KEY (rowid>?" in step for step in logs)
    runs = [step for step in reads if "run_1 " in step]
    assert runs
    ranges = ("requested_position>?", "rowid>?", "ended_position>?")
    assert all("USING" in step and any(one in step for one in ranges) for step in runs)


def test_the_newest_entry_of_each_workflow_is_one_that_was_made_there() -> None:
    """Copies don't count, deleted workflows and other tenants are out, silent ones too."""
    history = kit.History()
    for workflow in (A, B, "fl_silent", "fl_deleted"):
        history.add(workflow, kit.defined(1), has_body=True)
    for number, workflow in enumerate((A, B, A, "fl_deleted")):
        history.request(workflow, "execute", "")
        entry = msgspec.structs.replace(kit.succeeded(f"n{number}"), ended_at=number)
        history.add(history.runs[-1], entry, has_body=True)
    copy = msgspec.structs.replace(kit.succeeded("copy"), ended_at=9, source_id="x")
    history.add(history.runs[0], copy, has_body=True)
    history.add("fl_deleted", e.WorkflowDeleted(), has_body=True)
    with views_of(history) as connection:
        rows = [
            ListedLogRow(*row) for row in connection.execute(NEWEST_LOGS, ("acme", LATEST, 100, 0))
        ]
        assert [(row.workflow, row.node) for row in rows] == [(A, "n2"), (B, "n1")]
        assert len(connection.execute(NEWEST_LOGS, ("acme", LATEST, 1, 0)).fetchall()) == 1
        assert connection.execute(NEWEST_LOGS, ("other", LATEST, 100, 0)).fetchall() == []


def test_a_copied_entry_names_the_run_that_it_was_copied_from() -> None:
    """`replayed_from` of a list is that of the run's own page."""
    history = kit.History()
    original = made_of(history, "", kit.succeeded("a"))
    copy = msgspec.structs.replace(kit.succeeded("a"), source_id="x")
    made_of(history, original, copy)
    with views_of(history) as connection:
        rows = connection.execute(*select_logs(A, LogFilter(), 10))
        assert [ListedLogRow(*row).original_run for row in rows] == [original, ""]


def test_a_tree_is_found_from_any_of_its_runs() -> None:
    """Up to the root by originals, and from there down level by level."""
    history = kit.History()
    root = made_of(history, "", kit.STARTED, e.RunFailed(code="x", node="a"))
    first = made_of(history, root)
    second = made_of(history, root, kit.COMPLETED)
    third = made_of(history, first, kit.COMPLETED)
    other = made_of(history, "")
    with views_of(history) as connection:
        up = [LineageRow(*row).run_id for row in connection.execute(ORIGINALS, (third, 100))]
        assert up == [third, first, root]
        assert len(connection.execute(ORIGINALS, (third, 2)).fetchall()) == 2
        assert connection.execute(ORIGINALS, ("fl_run_unknown", 9)).fetchall() == []
        tree = (root, A, "acme")
        down = [
            LineageRow(*row).run_id for row in connection.execute(DESCENDANTS, (*tree, 100, LATEST))
        ]
        assert down == [root, first, second, third]
        assert len(connection.execute(DESCENDANTS, (*tree, 2, LATEST)).fetchall()) == 2
        assert connection.execute(SUCCEEDED, (*tree, 100, LATEST)).fetchall() == [(third,)]
        assert connection.execute(SUCCEEDED, (*tree, 2, LATEST)).fetchall() == []
        assert connection.execute(SUCCEEDED, (other, A, "acme", 9, LATEST)).fetchall() == []


def test_a_circle_of_originals_ends() -> None:
    """No service wrote such a journal; a read of it must end all the same."""
    history = kit.History()
    names = [f"fl_run_{letter * 26}" for letter in "ab"]
    for run, original in zip(names, reversed(names), strict=True):
        history.add(run, kit.request(A, "rerun", original), has_body=True)
    with views_of(history) as connection:
        assert len(connection.execute(ORIGINALS, (names[0], 50)).fetchall()) == 50
        found = connection.execute(DESCENDANTS, (names[0], A, "acme", 50, LATEST)).fetchall()
        assert [row[0] for row in found] == names


def test_runs_that_a_run_started_are_found_but_for_deleted_workflows() -> None:
    """A run of a deleted workflow is hidden wherever it might be shown."""
    history = kit.History()
    parent = made_of(history, "")
    for workflow in (B, "fl_deleted"):
        history.add(workflow, kit.defined(1), has_body=True)
        started = msgspec.structs.replace(
            kit.request(workflow, "subworkflow"),
            parent_run=parent,
            parent_node="call",
            parent_iteration="3",
        )
        history.add(f"fl_run_of_{workflow}", started, has_body=True)
    history.add("fl_deleted", e.WorkflowDeleted(), has_body=True)
    deleted_at = len(history.events)
    asked = msgspec.json.encode([parent, "fl_run_other"]).decode()
    with views_of(history) as connection:
        (row,) = connection.execute(CHILDREN, (asked, "acme", 9, LATEST)).fetchall()
        child = LineageRow(*row)
        assert (child.run_id, child.workflow) == (f"fl_run_of_{B}", B)
        assert (child.parent_run, child.parent_node, child.parent_iteration) == (
            parent,
            "call",
            "3",
        )
        assert connection.execute(CHILDREN, (asked, "other", 9, LATEST)).fetchall() == []
        # As of a position: those that were there, also of workflows that were deleted later.
        counts = [
            len(connection.execute(CHILDREN, (asked, "acme", 9, position)).fetchall())
            for position in range(deleted_at + 1)
        ]
        assert counts == [0, 0, 0, 1, 1, 2, 1]
