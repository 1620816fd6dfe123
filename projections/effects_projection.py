"""The `effects` projection: one row for each call that has an intent and no known outcome.

A row comes with `node.started` and goes with the outcome, so what stays is short: what is on the
wire, and what is in doubt. A run that was resumed makes a call in doubt again under the same key;
from then on it is that run's row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from ..journal import events as e
from ..journal.envelope import Recorded
from .effect_ledger import is_in_doubt
from .projection import Statement, Table

EFFECTS: Final = frozenset({"webhook", "altostrat_api", "send_email"})
"""The components that touch the world."""

_TABLE: Final = Table(
    "effect",
    "position",
    (
        """CREATE TABLE effect_{g} (
  position    INTEGER PRIMARY KEY,
  tenant      TEXT NOT NULL,
  run_id      TEXT NOT NULL,
  iteration   TEXT NOT NULL,
  node        TEXT NOT NULL,
  component   TEXT NOT NULL,
  effect_key  TEXT NOT NULL,
  attempt     INTEGER NOT NULL,
  starts      INTEGER NOT NULL,
  started_at  INTEGER NOT NULL,
  in_doubt    INTEGER NOT NULL,
  ended_at    INTEGER NOT NULL
) STRICT""",
        "CREATE UNIQUE INDEX effect_place_{g} ON effect_{g} (run_id, node, iteration)",
        "CREATE INDEX effect_tenant_{g} ON effect_{g} (tenant)",
        "CREATE INDEX effect_doubt_{g} ON effect_{g} (effect_key) WHERE in_doubt = 1",
    ),
)

# The same place again without an outcome between: a crash cut the first one off.
_STARTED: Final = """INSERT INTO effect_{g} (position, tenant, run_id, iteration, node, component,
  effect_key, attempt, starts, started_at, in_doubt, ended_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, 1, ?, 0, 0)
ON CONFLICT (run_id, node, iteration) DO UPDATE SET position = excluded.position,
  attempt = excluded.attempt, starts = starts + 1, started_at = excluded.started_at,
  in_doubt = 0, ended_at = 0"""
_TAKEN_UP: Final = "DELETE FROM effect_{g} WHERE effect_key = ?1 AND in_doubt = 1 AND run_id != ?2"
_KNOWN: Final = "DELETE FROM effect_{g} WHERE run_id = ? AND node = ? AND iteration = ?"
_DOUBTED: Final = (
    "UPDATE effect_{g} SET in_doubt = 1, ended_at = ? "
    "WHERE run_id = ? AND node = ? AND iteration = ?"
)

_Outcome = e.NodeSucceeded | e.NodeFailed | e.NodeInterrupted


def _started(event: Recorded, facts: e.NodeStarted) -> Sequence[Statement]:
    if not facts.effect_key:
        return ()
    made = Statement(
        _STARTED,
        (
            event.position,
            event.tenant,
            event.stream,
            facts.iteration,
            facts.node,
            facts.component,
            facts.effect_key,
            facts.attempt,
            facts.started_at,
        ),
    )
    if facts.effect_key.startswith(f"{event.stream}:"):
        return (made,)
    return (Statement(_TAKEN_UP, (facts.effect_key, event.stream)), made)


def _ended(event: Recorded, facts: _Outcome) -> Sequence[Statement]:
    if facts.component not in EFFECTS:
        return ()
    place = (event.stream, facts.node, facts.iteration)
    if is_in_doubt(facts):
        return (Statement(_DOUBTED, (facts.ended_at, *place)),)
    return (Statement(_KNOWN, place),)


_STEPS: Final[dict[type[e.Facts], Callable[[Recorded, Any], Sequence[Statement]]]] = {
    e.NodeStarted: _started,
    e.NodeSucceeded: _ended,
    e.NodeFailed: _ended,
    e.NodeInterrupted: _ended,
}


class EffectsProjection:
    """See `Projection`."""

    name = "effects"
    version = 1
    events = tuple(_STEPS)
    tables = (_TABLE,)
    views = ()

    def fold(self, event: Recorded) -> Sequence[Statement]:
        """Return what an event changes; what a resume copied was made, and is known, elsewhere."""
        step = _STEPS.get(type(event.facts))
        return () if step is None or event.src else step(event, event.facts)
