"""The worked example: what it says, that a rebuild says the same, and a query by a stranger."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from refold.journal import events as e
from refold.journal.sqlite_file import JOURNAL_FILE
from refold.projections.checking import check
from refold.projections.examples.node_costs import NodeCosts
from refold.projections.loading import find
from refold.projections.rebuild import rebuild
from refold.projections.trial import history, rows_of
from refold.projections.views import open_views
from tests.support import projection_kit as kit
from tests.support.journal_kit import opened
from tests.support.views_kit import add_runs, query

REFERENCE = "refold.projections.examples.node_costs:NodeCosts"
DAY_US = 86_400_000_000


def attempt(node: str, seconds: float, *, day: int = 0) -> e.NodeSucceeded:
    """Make an attempt of a webhook that took some time."""
    at = kit.START_US + day * DAY_US
    return e.NodeSucceeded(
        attempt=1,
        component="webhook",
        ended_at=at + int(seconds * 1e6),
        ends="",
        handle="",
        iteration="",
        node=node,
        source_id="",
        started_at=at,
    )


def test_it_adds_up_costs_and_times_for_each_node_and_day() -> None:
    """The unit test of the fold: a small history in, rows out."""
    events = history(
        ("fl_run_a", kit.request("fl_w")),
        ("fl_run_a", attempt("call", 0.5)),
        ("fl_run_a", attempt("call", 2.0)),
        ("fl_run_a", kit.node_failed("call")),
        ("fl_run_a", attempt("call", 1.0, day=1)),
        ("fl_run_a", kit.COMPLETED),
        ("fl_run_b", attempt("call", 1.0)),
    )
    assert rows_of(NodeCosts(), events, "node_day") == [
        ("fl_w", "call", "2025-10-31", 3, 1, 2, 2_500_001, 2_000_000, 3 * 400 + 6 + 24),
        ("fl_w", "call", "2025-11-01", 1, 0, 1, 1_000_000, 1_000_000, 400 + 12),
    ]
    assert rows_of(NodeCosts(), events, "cost_run") == []


def test_live_and_rebuilt_rows_are_equal_and_a_stranger_can_query_them(tmp_path: Path) -> None:
    """The last step is DuckDB on what SQLite gives it, as the page of examples does it."""
    duckdb = pytest.importorskip("duckdb")
    pyarrow = pytest.importorskip("pyarrow")

    async def main() -> None:
        async with opened(tmp_path) as journal:
            await add_runs(journal, 20)
            async with open_views(
                tmp_path, journal, tmp_path / JOURNAL_FILE, loaded=find([REFERENCE])
            ) as views:
                await add_runs(journal, 20)
                for _ in range(3000):
                    if views.upkeep.workers.status()[0].lag(journal.head) == 0:
                        break
                    await asyncio.sleep(0.01)

    asyncio.run(main())
    (found,) = check(tmp_path, ["node_costs"], projections=[NodeCosts()])
    assert found.is_equal
    (made,) = rebuild(tmp_path, ["node_costs"], projections=[NodeCosts()])
    assert made.digest == found.digest
    assert query(tmp_path, "SELECT node, attempts FROM node_report") == [("n1", 40), ("n2", 40)]
    with closing(sqlite3.connect(tmp_path / "views.db")) as connection:
        connection.row_factory = sqlite3.Row
        rows = [dict(row) for row in connection.execute("SELECT * FROM node_report")]
    report = pyarrow.Table.from_pylist(rows)
    with duckdb.connect() as stranger:
        stranger.register("node_report", report)
        asked = "SELECT day, sum(attempts) FROM node_report GROUP BY ALL"
        assert stranger.execute(asked).fetchall() == [("2025-10-31", 80)]


def test_an_attempt_that_a_resume_copied_is_paid_for_once() -> None:
    """It happened in the run that it was copied from."""
    first = history(("fl_run_a", kit.request("fl_w")), ("fl_run_a", attempt("call", 1.0)))
    events = [*first, msgspec.structs.replace(first[1], position=3, src="fl_run_z@2#00")]
    assert [row[3] for row in rows_of(NodeCosts(), events, "node_day")] == [1]
