"""The `runs` projection: one row a run and one row a log entry.

Both agree with `RunState` folded from the same events. They are one projection because the status
of a log entry depends on how far its run was from its end (`run.ending`), and a projection reads
no table but its own. Bodies stay in the journal; the rows hold their positions.
`open_nodes.py` keeps the status of runs that wait for people, `tallies.py` counts both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from ..journal import events as e
from ..journal.envelope import Recorded
from . import open_nodes, tallies
from .projection import Statement, Table
from .run_state import LogStatus

# The row id is the position of the request: every index ends in it, so that each filter finds
# its newest rows first without sorting, and a cursor is a range of it.
_RUN: Final = Table(
    "run",
    "requested_position",
    (
        """CREATE TABLE run_{g} (
  requested_position INTEGER PRIMARY KEY,
  run_id             TEXT NOT NULL UNIQUE,
  tenant             TEXT NOT NULL,
  workflow           TEXT NOT NULL,
  workflow_version   INTEGER NOT NULL,
  status             TEXT NOT NULL,
  origin             TEXT NOT NULL,
  original_run       TEXT NOT NULL,
  chosen_node        TEXT NOT NULL,
  failed_node        TEXT NOT NULL,
  created_at         INTEGER NOT NULL,
  started_at         INTEGER NOT NULL,
  ended_at           INTEGER NOT NULL,
  started_position   INTEGER NOT NULL,
  ended_position     INTEGER NOT NULL,
  payload_at         INTEGER NOT NULL,
  message_at         INTEGER NOT NULL,
  ending             TEXT NOT NULL,
  parent_run         TEXT NOT NULL,
  parent_node        TEXT NOT NULL,
  parent_iteration   TEXT NOT NULL,
  turns              TEXT NOT NULL,
  busy               TEXT NOT NULL,
  asked              TEXT NOT NULL,
  changed_position   INTEGER NOT NULL,
  error_code         TEXT NOT NULL,
  root_run           TEXT NOT NULL,
  recovered_position INTEGER NOT NULL,
  is_unresolved      INTEGER NOT NULL,
  reach              INTEGER NOT NULL
) STRICT""",
        "CREATE INDEX run_created_{g} ON run_{g} (created_at)",
        "CREATE INDEX run_workflow_{g} ON run_{g} (workflow, tenant)",
        # As of a position a run has the status that it has now, unless that is newer.
        "CREATE INDEX run_status_{g} ON run_{g} "
        "(workflow, tenant, status, requested_position, changed_position)",
        "CREATE INDEX run_status_origin_{g} ON run_{g} "
        "(workflow, tenant, status, origin, requested_position, ended_position) "
        "WHERE ended_position != 0",
        "CREATE INDEX run_code_{g} ON run_{g} "
        "(workflow, tenant, error_code, requested_position, ended_position) "
        "WHERE error_code != ''",
        "CREATE INDEX run_code_origin_{g} ON run_{g} "
        "(workflow, tenant, error_code, origin, requested_position, ended_position) "
        "WHERE error_code != ''",
        *(
            f"CREATE INDEX run_failed{name}_{{g}} ON run_{{g}} "
            f"(workflow, tenant, is_unresolved, {columns}requested_position, ended_position) "
            "WHERE is_unresolved = 1"
            for name, columns in (
                ("", ""),
                ("_origin", "origin, "),
                ("_code", "error_code, "),
                ("_code_origin", "error_code, origin, "),
            )
        ),
        "CREATE INDEX run_recovered_{g} ON run_{g} (workflow, recovered_position) "
        "WHERE status = 'failed' AND recovered_position != 0",
        "CREATE INDEX run_root_{g} ON run_{g} (root_run) WHERE root_run != ''",
        # Who looks for the runs that were under way at a position, and have ended, looks for
        # those of each reach not further back than it can be.
        "CREATE INDEX run_reach_{g} ON run_{g} "
        "(workflow, tenant, reach, requested_position, ended_position) WHERE reach != 0",
        "CREATE INDEX run_ended_{g} ON run_{g} (workflow, ended_position) "
        "WHERE ended_position != 0",
        "CREATE INDEX run_origin_{g} ON run_{g} (workflow, tenant, origin)",
        "CREATE INDEX run_original_{g} ON run_{g} (workflow, tenant, original_run) "
        "WHERE original_run != ''",
        "CREATE INDEX run_parent_{g} ON run_{g} (parent_run) WHERE parent_run != ''",
    ),
)
_LOG: Final = Table(
    "log",
    "position",
    (
        """CREATE TABLE log_{g} (
  position   INTEGER PRIMARY KEY,
  run_id     TEXT NOT NULL,
  version    INTEGER NOT NULL,
  tenant     TEXT NOT NULL,
  workflow   TEXT NOT NULL,
  event_id   TEXT NOT NULL,
  node       TEXT NOT NULL,
  component  TEXT NOT NULL,
  status     TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  started_at INTEGER NOT NULL,
  attempt    INTEGER NOT NULL,
  body_at    INTEGER NOT NULL,
  iteration  TEXT NOT NULL,
  source_id  TEXT NOT NULL
) STRICT""",
        # A list is in the order of this index, and whatever it filters by stands in it, so that
        # a row is only looked up once it is known to be shown; the statistics look up none.
        "CREATE INDEX log_workflow_{g} ON log_{g} "
        "(workflow, created_at, position, status, node, source_id)",
        # What went wrong is rare and looked for most.
        "CREATE INDEX log_trouble_{g} ON log_{g} "
        "(workflow, status, created_at, position, source_id) WHERE status != 'success'",
    ),
)

_REQUESTED: Final = """INSERT INTO run_{g} (requested_position, run_id, tenant, workflow,
  workflow_version, status, origin, original_run, chosen_node, failed_node, created_at, started_at,
  ended_at, started_position, ended_position, payload_at, message_at, ending,
  parent_run, parent_node, parent_iteration, turns, busy, asked, changed_position,
  error_code, root_run, recovered_position, is_unresolved, reach)
VALUES (?1, ?, ?, ?, ?, 'pending', ?, ?7, ?, '', ?, 0, 0, 0, 0, ?, 0, '', ?, ?, ?, '', '', '', ?1,
  '', '', 0, 0, 0)"""
_REQUESTED_WITH_PAYLOAD_OF: Final = _REQUESTED.replace(
    "0, 0, 0, 0, ?,",
    "0, 0, 0, 0, coalesce((SELECT payload_at FROM run_{g} WHERE run_id = ?), 0),",
)


def _of_family(requested: str) -> str:
    """Let a rerun or resume belong to the family of its original, and to its success."""
    of_original = "coalesce((SELECT {} FROM run_{{g}} WHERE run_id = ?7), {})"
    root, at = of_original.format("root_run", "''"), of_original.format("recovered_position", "0")
    return requested.replace("'', '', 0, 0, 0)", f"'', {root}, {at}, 0, 0)")


# A run has a family once something was made of it.
_FOUNDED: Final = "UPDATE run_{g} SET root_run = run_id WHERE run_id = ? AND root_run = ''"
_REMADE: Final = _of_family(_REQUESTED)
_REMADE_WITH_PAYLOAD_OF: Final = _of_family(_REQUESTED_WITH_PAYLOAD_OF)
_STARTED: Final = (
    "UPDATE run_{g} SET status = 'running', started_at = ?1, started_position = ?2, "
    "changed_position = ?2 WHERE run_id = ?3"
)
_ENDED: Final = (
    "ended_at = ?1, ended_position = ?2, changed_position = ?2, "
    "reach = length(printf('%x', ?2 - requested_position))"
)
_COMPLETED: Final = (
    f"UPDATE run_{{g}} SET status = 'completed', {_ENDED}, recovered_position = "
    "CASE recovered_position WHEN 0 THEN ?2 ELSE recovered_position END WHERE run_id = ?3"
)
_FAILED: Final = (
    f"UPDATE run_{{g}} SET status = 'failed', {_ENDED}, is_unresolved = recovered_position = 0, "
    "message_at = ?3, error_code = ?4, failed_node = ?5 WHERE run_id = ?6"
)
_CANCELLED: Final = (
    f"UPDATE run_{{g}} SET status = 'failed', {_ENDED}, is_unresolved = recovered_position = 0, "
    "message_at = ?3, error_code = ?4 WHERE run_id = ?5"
)
_ENDING: Final = "UPDATE run_{g} SET ending = ? WHERE run_id = ? AND ending = ''"
_LOGGED: Final = """INSERT INTO log_{g} (position, run_id, version, tenant, workflow, event_id,
  node, component, status, created_at, started_at, attempt, body_at, iteration, source_id)
SELECT ?, ?2, ?, tenant, workflow, ?, ?, ?, ?, ?, ?, ?, ?, ?, ? FROM run_{g} WHERE run_id = ?2"""
# An untolerated failure is an error where it fails the run, or comes while the run is failing.
# Past one inside an iterator, which fails its item alone, the run goes on; so does one of which a
# `terminate` had already decided that it completes.
_LOGGED_FAILURE: Final = _LOGGED.replace(
    "?, ?, ?, ?, ?, ?, ?, ?, ?, ? FROM",
    "?, ?, ?, CASE ending WHEN 'failed' THEN 'error' ELSE ? END, ?, ?, ?, ?, ?, ? FROM",
)

_Outcome = e.NodeSucceeded | e.NodeFailed | e.NodeInterrupted


def _requested(event: Recorded, facts: e.RunRequested) -> Sequence[Statement]:
    inherited = facts.payload_run != ""
    parameters = (
        event.position,
        event.stream,
        event.tenant,
        facts.workflow,
        facts.workflow_version,
        facts.origin,
        facts.original_run,
        facts.chosen_node,
        event.at,
        facts.payload_run if inherited else event.body_at,
        facts.parent_run,
        facts.parent_node,
        facts.parent_iteration,
    )
    if facts.original_run == "":
        text = _REQUESTED_WITH_PAYLOAD_OF if inherited else _REQUESTED
        return (Statement(text, parameters), *tallies.move_on(event))
    return (
        Statement(_FOUNDED, (facts.original_run,)),
        Statement(_REMADE_WITH_PAYLOAD_OF if inherited else _REMADE, parameters),
        *tallies.move_on(event),
    )


def _started(event: Recorded, facts: e.RunStarted) -> Sequence[Statement]:
    return (Statement(_STARTED, (facts.started_at, event.position, event.stream)),)


def _completed(event: Recorded, facts: e.RunCompleted) -> Sequence[Statement]:
    del facts
    changed = Statement(_COMPLETED, (event.at, event.position, event.stream))
    return (changed, tallies.ended(event), *tallies.recovered(event))


def _failed(event: Recorded, facts: e.RunFailed) -> Sequence[Statement]:
    parameters = (
        event.at,
        event.position,
        event.body_at,
        facts.code,
        facts.node,
        event.stream,
    )
    return (Statement(_FAILED, parameters), tallies.ended(event))


def _cancelled(event: Recorded, facts: e.RunCancelled) -> Sequence[Statement]:
    parameters = (event.at, event.position, event.body_at, facts.code, event.stream)
    return (Statement(_CANCELLED, parameters), tallies.ended(event))


def _cancel_requested(event: Recorded, facts: e.RunCancelRequested) -> Sequence[Statement]:
    del facts
    return (Statement(_ENDING, ("failed", event.stream)),)


def _node_started(event: Recorded, facts: e.NodeStarted) -> Sequence[Statement]:
    return (open_nodes.node_started(event, facts),)


def _form_asked(event: Recorded, facts: e.InteractionRequested) -> Sequence[Statement]:
    return (open_nodes.form_asked(event, facts),)


def _form_answered(event: Recorded, facts: e.InteractionSubmitted) -> Sequence[Statement]:
    return (open_nodes.form_answered(event, facts),)


def _node_succeeded(event: Recorded, facts: e.NodeSucceeded) -> Sequence[Statement]:
    logged = (_logged(_LOGGED, event, facts, "success"), *open_nodes.attempt_ended(event, facts))
    if facts.ends not in ("completed", "failed"):
        return logged
    return (Statement(_ENDING, (facts.ends, event.stream)), *logged)


def _node_failed(event: Recorded, facts: e.NodeFailed) -> Sequence[Statement]:
    closed = open_nodes.attempt_ended(event, facts)
    if facts.retried or facts.tolerated:
        return (_logged(_LOGGED, event, facts, "warning"), *closed)
    logged = _logged(_LOGGED_FAILURE, event, facts, "warning")
    if facts.iteration:
        return (logged, *closed)
    return (Statement(_ENDING, ("failed", event.stream)), logged, *closed)


def _node_interrupted(event: Recorded, facts: e.NodeInterrupted) -> Sequence[Statement]:
    logged = _logged(_LOGGED, event, facts, "warning")
    return (logged, *open_nodes.attempt_ended(event, facts))


def _logged(sql: str, event: Recorded, facts: _Outcome, status: LogStatus) -> Statement:
    return Statement(
        sql,
        (
            event.position,
            event.stream,
            event.version,
            event.id,
            facts.node,
            facts.component,
            status,
            facts.ended_at,
            facts.started_at,
            facts.attempt,
            event.body_at,
            facts.iteration,
            facts.source_id,
        ),
    )


_STEPS: Final[dict[type[e.Facts], Callable[[Recorded, Any], Sequence[Statement]]]] = {
    e.RunRequested: _requested,
    e.RunStarted: _started,
    e.RunCompleted: _completed,
    e.RunFailed: _failed,
    e.RunCancelRequested: _cancel_requested,
    e.RunCancelled: _cancelled,
    e.NodeStarted: _node_started,
    e.InteractionRequested: _form_asked,
    e.InteractionSubmitted: _form_answered,
    e.NodeSucceeded: _node_succeeded,
    e.NodeFailed: _node_failed,
    e.NodeInterrupted: _node_interrupted,
}


class RunsProjection:
    """See `Projection`."""

    name = "runs"
    version = 5
    events = tuple(_STEPS)
    tables = (_RUN, _LOG, tallies.RUN_TALLY, tallies.LOG_TALLY, tallies.TALLIED)
    views = ()

    def fold(self, event: Recorded) -> Sequence[Statement]:
        """Return what an event changes."""
        step = _STEPS.get(type(event.facts))
        return () if step is None else step(event, event.facts)
