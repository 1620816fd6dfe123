"""The `workflows` projection: one row a workflow, as its newest version says.

The row agrees with `WorkflowState`; names and definitions are in the body at `body_at`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ..journal import events as e
from ..journal.envelope import Recorded
from .projection import Statement, Table

_TABLE: Final = Table(
    "workflow",
    "created_position",
    (
        """CREATE TABLE workflow_{g} (
  created_position INTEGER PRIMARY KEY,
  workflow_id      TEXT NOT NULL UNIQUE,
  tenant           TEXT NOT NULL,
  version          INTEGER NOT NULL,
  is_active        INTEGER NOT NULL,
  is_deleted       INTEGER NOT NULL,
  created_at       INTEGER NOT NULL,
  updated_at       INTEGER NOT NULL,
  body_at          INTEGER NOT NULL,
  webhook_hash     TEXT NOT NULL,
  next_at          INTEGER NOT NULL,
  deleted_position INTEGER NOT NULL
) STRICT""",
        "CREATE INDEX workflow_tenant_{g} ON workflow_{g} (tenant) WHERE is_deleted = 0",
        "CREATE INDEX workflow_deleted_{g} ON workflow_{g} (tenant, deleted_position) "
        "WHERE is_deleted = 1",
        "CREATE INDEX workflow_webhook_{g} ON workflow_{g} (webhook_hash) WHERE webhook_hash != ''",
        "CREATE INDEX workflow_next_{g} ON workflow_{g} (next_at) WHERE next_at != 0",
    ),
)

_DEFINED: Final = """INSERT INTO workflow_{g} (created_position, workflow_id, tenant, version,
  is_active, is_deleted, created_at, updated_at, body_at, webhook_hash, next_at, deleted_position)
VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6, ?6, ?7, ?8, ?9, 0)
ON CONFLICT (workflow_id) DO UPDATE SET version = excluded.version,
  is_active = excluded.is_active, updated_at = excluded.updated_at, body_at = excluded.body_at,
  webhook_hash = excluded.webhook_hash, next_at = excluded.next_at"""
_FIRED: Final = "UPDATE workflow_{g} SET next_at = ?2 WHERE workflow_id = ?1"
_DELETED: Final = (
    "UPDATE workflow_{g} SET is_deleted = 1, next_at = 0, "
    "deleted_position = iif(is_deleted, deleted_position, ?) WHERE workflow_id = ?"
)


class WorkflowsProjection:
    """See `Projection`."""

    name = "workflows"
    version = 3
    events = (e.WorkflowDefined, e.ScheduleFired, e.WorkflowDeleted)
    tables = (_TABLE,)
    views = ()

    def fold(self, event: Recorded) -> Sequence[Statement]:
        """Return what an event changes."""
        facts = event.facts
        if isinstance(facts, e.WorkflowDefined):
            return (
                Statement(
                    _DEFINED,
                    (
                        event.position,
                        event.stream,
                        event.tenant,
                        facts.workflow_version,
                        facts.active,
                        event.at,
                        event.body_at,
                        facts.webhook_hash,
                        facts.next_at if facts.active else 0,
                    ),
                ),
            )
        if isinstance(facts, e.ScheduleFired):
            return (Statement(_FIRED, (event.stream, facts.next_at)),)
        if isinstance(facts, e.WorkflowDeleted):
            return (Statement(_DELETED, (event.position, event.stream)),)
        return ()
