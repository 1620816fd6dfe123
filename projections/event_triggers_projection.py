"""The projection `event_triggers`: which active workflows wait for which types of events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ..journal import events as e
from ..journal.envelope import Recorded
from .projection import Statement, Table

_TABLE: Final = Table(
    "event_trigger",
    "workflow_id",
    (
        """CREATE TABLE event_trigger_{g} (
  workflow_id TEXT PRIMARY KEY,
  tenant      TEXT NOT NULL,
  event_type  TEXT NOT NULL
) STRICT""",
        "CREATE INDEX event_trigger_type_{g} ON event_trigger_{g} (tenant, event_type)",
    ),
)
_WAITS: Final = """INSERT INTO event_trigger_{g} (workflow_id, tenant, event_type)
VALUES (?1, ?2, ?3)
ON CONFLICT (workflow_id) DO UPDATE SET event_type = excluded.event_type"""
_WAITS_NO_MORE: Final = "DELETE FROM event_trigger_{g} WHERE workflow_id = ?"


class EventTriggersProjection:
    """See `Projection`."""

    name = "event_triggers"
    version = 1
    events = (e.WorkflowDefined, e.WorkflowDeleted)
    tables = (_TABLE,)
    views = ()

    def fold(self, event: Recorded) -> Sequence[Statement]:
        """Return what an event changes."""
        facts = event.facts
        if isinstance(facts, e.WorkflowDefined):
            if facts.event_type and facts.active:
                row = (event.stream, event.tenant, facts.event_type)
                return (Statement(_WAITS, row),)
            return (Statement(_WAITS_NO_MORE, (event.stream,)),)
        if isinstance(facts, e.WorkflowDeleted):
            return (Statement(_WAITS_NO_MORE, (event.stream,)),)
        return ()
