"""The `authorizations` projection: one row a stored OAuth 2.0 grant.

The row agrees with `AuthorizationState`; provider, e-mail and owner are in the body at `body_at`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, cast

import msgspec

from ..journal import events as e
from ..journal.envelope import Recorded
from .authorization_state import AuthorizationStatus
from .projection import Statement, Table

_TABLE: Final = Table(
    "authorization",
    "created_position",
    (
        """CREATE TABLE authorization_{g} (
  created_position INTEGER PRIMARY KEY,
  authorization_id TEXT NOT NULL UNIQUE,
  tenant           TEXT NOT NULL,
  status           TEXT NOT NULL,
  is_deleted       INTEGER NOT NULL,
  created_at       INTEGER NOT NULL,
  body_at          INTEGER NOT NULL
) STRICT""",
        "CREATE INDEX authorization_tenant_{g} ON authorization_{g} (tenant) WHERE is_deleted = 0",
    ),
)

_DEFINED: Final = """INSERT INTO authorization_{g} (created_position, authorization_id, tenant,
  status, is_deleted, created_at, body_at) VALUES (?1, ?2, ?3, 'active', 0, ?4, ?5)
ON CONFLICT (authorization_id) DO NOTHING"""
_REFUSED: Final = "UPDATE authorization_{g} SET status = 'refused' WHERE authorization_id = ?"
_DELETED: Final = "UPDATE authorization_{g} SET is_deleted = 1 WHERE authorization_id = ?"

AUTHORIZATIONS: Final = (
    "SELECT authorization_id, status, created_at, body_at FROM authorization "
    "WHERE tenant = ? AND is_deleted = 0 ORDER BY created_position"
)
"""Lists a tenant's grants, oldest first."""


class AuthorizationRow(msgspec.Struct, frozen=True, gc=False):
    """A grant as lists show it; times are microseconds UTC."""

    authorization_id: str
    status: AuthorizationStatus
    created_at: int
    body_at: int
    """The position of the body that says who stored it, for which provider."""


def authorization_row(row: Any) -> AuthorizationRow:
    """Make a row of a result row."""
    return AuthorizationRow(*cast("tuple[str, AuthorizationStatus, int, int]", tuple(row)))


class AuthorizationsProjection:
    """See `Projection`."""

    name = "authorizations"
    version = 1
    events = (e.AuthorizationDefined, e.AuthorizationRefused, e.AuthorizationDeleted)
    tables = (_TABLE,)
    views = ()

    def fold(self, event: Recorded) -> Sequence[Statement]:
        """Return what an event changes."""
        facts = event.facts
        if isinstance(facts, e.AuthorizationDefined):
            values = (event.position, event.stream, event.tenant, event.at, event.body_at)
            return (Statement(_DEFINED, values),)
        if isinstance(facts, e.AuthorizationRefused):
            return (Statement(_REFUSED, (event.stream,)),)
        if isinstance(facts, e.AuthorizationDeleted):
            return (Statement(_DELETED, (event.stream,)),)
        return ()
