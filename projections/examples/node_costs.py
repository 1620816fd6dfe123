"""An example: what each node cost and how quickly it was, for each day (UTC).

refold serve --projection refold.projections.examples.node_costs:NodeCosts
sqlite3 -readonly data/views.db "SELECT * FROM node_report ORDER BY cost DESC LIMIT 10"
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from ...journal import events as e
from ...journal.envelope import Recorded
from ..projection import Statement, Table, View

PRICES = {"webhook": 400, "altostrat_api": 250, "send_email": 900}
"""Millionths of a euro for an attempt; a new price is a new version, and prices the past anew."""
PER_SECOND = 12

RUN = Table(
    "cost_run",
    "run",
    ("CREATE TABLE cost_run_{g} (run TEXT PRIMARY KEY, workflow TEXT NOT NULL) STRICT",),
)
DAY = Table(
    "node_day",
    "workflow, node, day",
    (
        """CREATE TABLE node_day_{g} (
  workflow TEXT NOT NULL, node TEXT NOT NULL, day TEXT NOT NULL,
  attempts INTEGER NOT NULL, failures INTEGER NOT NULL, within_second INTEGER NOT NULL,
  total_us INTEGER NOT NULL, longest_us INTEGER NOT NULL, cost INTEGER NOT NULL,
  PRIMARY KEY (workflow, node, day)
) STRICT""",
    ),
)
REPORT = View(
    "node_report",
    """SELECT workflow, node, day, attempts, cost / 1e6 AS cost,
  total_us / 1e3 / attempts AS mean_ms, longest_us / 1e3 AS longest_ms,
  100.0 * within_second / attempts AS within_second_percent,
  100.0 * (attempts - failures) / attempts AS success_percent FROM node_day""",
)
BEGUN = "INSERT INTO cost_run_{g} (run, workflow) VALUES (?, ?)"
ENDED = "DELETE FROM cost_run_{g} WHERE run = ?"
COUNTED = """INSERT INTO node_day_{g} SELECT workflow, ?2, ?3, 1, ?4, ?5, ?6, ?6, ?7
FROM cost_run_{g} WHERE run = ?1
ON CONFLICT (workflow, node, day) DO UPDATE SET attempts = attempts + 1,
  failures = failures + excluded.failures, within_second = within_second + excluded.within_second,
  total_us = total_us + excluded.total_us, longest_us = max(longest_us, excluded.longest_us),
  cost = cost + excluded.cost"""


class NodeCosts:
    """See `Projection`."""

    name = "node_costs"
    version = 1
    events = (e.RunRequested, e.NodeSucceeded, e.NodeFailed, e.RunCompleted, e.RunFailed)
    tables = (RUN, DAY)
    views = (REPORT,)

    def fold(self, event: Recorded) -> Sequence[Statement]:
        """Return what an event changes."""
        facts = event.facts
        if isinstance(facts, e.RunRequested):
            return (Statement(BEGUN, (event.stream, facts.workflow)),)
        if not isinstance(facts, e.NodeSucceeded | e.NodeFailed):
            return (Statement(ENDED, (event.stream,)),)
        if event.src:
            # A resume copied it: it was paid for in the run that it comes from.
            return ()
        took = facts.ended_at - facts.started_at
        day = datetime.fromtimestamp(facts.ended_at // 1_000_000, UTC).date().isoformat()
        price = PRICES.get(facts.component, 0) + PER_SECOND * took // 1_000_000
        failed, quick = int(isinstance(facts, e.NodeFailed)), int(took <= 1_000_000)
        return (Statement(COUNTED, (event.stream, facts.node, day, failed, quick, took, price)),)
