"""The `subscriptions` projection: one row a subscription, with how far its subscriber has come.

The row is all that deliveries go on from after a start: position, backlog and what is parked are
those of the newest event of the stream. Address and secret are in the body at `body_at`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from ..journal import events as e
from ..journal.envelope import Recorded
from .projection import Statement, Table

_TABLE: Final = Table(
    "subscription",
    "created_position",
    (
        """CREATE TABLE subscription_{g} (
  created_position INTEGER PRIMARY KEY,
  subscription_id  TEXT NOT NULL UNIQUE,
  tenant           TEXT NOT NULL,
  types            TEXT NOT NULL,
  workflow         TEXT NOT NULL,
  position         INTEGER NOT NULL,
  backlog          TEXT NOT NULL,
  parked           TEXT NOT NULL,
  version          INTEGER NOT NULL,
  is_deleted       INTEGER NOT NULL,
  created_at       INTEGER NOT NULL,
  body_at          INTEGER NOT NULL
) STRICT""",
        "CREATE INDEX subscription_tenant_{g} ON subscription_{g} (tenant) WHERE is_deleted = 0",
    ),
)

_DEFINED: Final = """INSERT INTO subscription_{g} (created_position, subscription_id, tenant,
  types, workflow, position, backlog, parked, version, is_deleted, created_at, body_at)
  VALUES (?1, ?2, ?3, ?4, ?5, ?6, '', '', ?7, 0, ?8, ?9)
ON CONFLICT (subscription_id) DO NOTHING"""
_ADVANCED: Final = """UPDATE subscription_{g} SET position = ?2, backlog = ?3, version = ?4
WHERE subscription_id = ?1"""
_PARKED: Final = """UPDATE subscription_{g} SET parked = ltrim(parked || ' ' || ?2), version = ?3
WHERE subscription_id = ?1"""
_REPLAYED: Final = """UPDATE subscription_{g} SET parked = '', backlog = ?2, version = ?3
WHERE subscription_id = ?1"""
_DELETED: Final = """UPDATE subscription_{g} SET is_deleted = 1, version = ?2
WHERE subscription_id = ?1"""

_SELECT: Final = """SELECT subscription_id, tenant, types, workflow, position, backlog, parked,
  version, created_at, body_at FROM subscription WHERE is_deleted = 0"""
LIVE_SUBSCRIPTIONS: Final = f"{_SELECT} ORDER BY created_position"
"""Lists the subscriptions of all tenants, oldest first."""
SUBSCRIPTIONS: Final = f"{_SELECT} AND tenant = ? ORDER BY created_position"
"""Lists a tenant's subscriptions, oldest first."""


class Parked(msgspec.Struct, frozen=True, gc=False):
    """A stream of which no more is sent; the stream "" stands for all."""

    stream: str
    position: int
    """The first event that was not taken."""
    code: str


class SubscriptionRow(msgspec.Struct, frozen=True, gc=False):
    """A subscription as it stands; times are microseconds UTC."""

    subscription_id: str
    tenant: str
    types: tuple[str, ...]
    """The types of events that it is for, none for all."""
    workflow: str
    position: int
    """Everything up to it was taken, but for the backlog and what is parked."""
    backlog: dict[str, int]
    """By stream, from which position on events before `position` are still owed."""
    parked: tuple[Parked, ...]
    version: int
    """The version of its stream."""
    created_at: int
    body_at: int


def backlog_text(backlog: dict[str, int]) -> str:
    """Write a backlog as the facts of an event hold it."""
    return " ".join(f"{stream}@{position}" for stream, position in backlog.items())


def subscription_row(row: Any) -> SubscriptionRow:
    """Make a row of a result row."""
    id_, tenant, types, workflow, position, backlog, parked, version, created_at, body_at = row
    owed = (part.rpartition("@") for part in str(backlog).split())
    held = (part.split("@") for part in str(parked).split())
    return SubscriptionRow(
        id_,
        tenant,
        tuple(str(types).split()),
        workflow,
        position,
        {stream: int(at) for stream, _, at in owed},
        tuple(Parked(stream, int(at), code) for stream, at, code in held),
        version,
        created_at,
        body_at,
    )


def first_row(event: Recorded, facts: e.SubscriptionDefined) -> SubscriptionRow:
    """Return the row of a subscription as its first event makes it."""
    return SubscriptionRow(
        event.stream,
        event.tenant,
        tuple(facts.types.split()),
        facts.workflow,
        facts.position,
        {},
        (),
        event.version,
        event.at,
        event.body_at,
    )


class SubscriptionsProjection:
    """See `Projection`."""

    name = "subscriptions"
    version = 1
    events = (
        e.SubscriptionDefined,
        e.SubscriptionAdvanced,
        e.SubscriptionParked,
        e.SubscriptionReplayed,
        e.SubscriptionDeleted,
    )
    tables = (_TABLE,)
    views = ()

    def fold(self, event: Recorded) -> Sequence[Statement]:
        """Return what an event changes."""
        facts, stream = event.facts, event.stream
        if isinstance(facts, e.SubscriptionDefined):
            named = stream, event.tenant, facts.types, facts.workflow, facts.position
            values = event.position, *named, event.version, event.at, event.body_at
            return (Statement(_DEFINED, values),)
        if isinstance(facts, e.SubscriptionAdvanced):
            moved = stream, facts.position, facts.backlog, event.version
            return (Statement(_ADVANCED, moved),)
        if isinstance(facts, e.SubscriptionParked):
            parked = f"{facts.target}@{facts.position}@{facts.code}"
            return (Statement(_PARKED, (stream, parked, event.version)),)
        if isinstance(facts, e.SubscriptionReplayed):
            return (Statement(_REPLAYED, (stream, facts.backlog, event.version)),)
        if isinstance(facts, e.SubscriptionDeleted):
            return (Statement(_DELETED, (stream, event.version)),)
        return ()
