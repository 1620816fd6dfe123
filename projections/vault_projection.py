"""The `vault` projection: a row an item, and a row a data key that is not erased yet.

The rows of items agree with `VaultItem`. Keys are listed for every stream that has them, so that
a change of the service key finds all that stand under an earlier one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from ..journal import events as e
from ..journal.envelope import Recorded
from .projection import Statement, Table
from .vault_state import VaultItem, WrappedKey

_ITEM: Final = Table(
    "vault_item",
    "created_position",
    (
        """CREATE TABLE vault_item_{g} (
  created_position INTEGER PRIMARY KEY,
  item_id          TEXT NOT NULL UNIQUE,
  tenant           TEXT NOT NULL,
  version          INTEGER NOT NULL,
  item_version     INTEGER NOT NULL,
  created_at       INTEGER NOT NULL,
  updated_at       INTEGER NOT NULL,
  expires_at       INTEGER NOT NULL,
  body_at          INTEGER NOT NULL,
  key_at           INTEGER NOT NULL,
  api_key_hash     TEXT NOT NULL,
  is_deleted       INTEGER NOT NULL
) STRICT""",
        "CREATE INDEX vault_item_tenant_{g} ON vault_item_{g} (tenant) WHERE is_deleted = 0",
        "CREATE INDEX vault_item_api_key_{g} ON vault_item_{g} (api_key_hash) "
        "WHERE api_key_hash != ''",
    ),
)
_KEY: Final = Table(
    "wrapped_key",
    "position",
    (
        """CREATE TABLE wrapped_key_{g} (
  position     INTEGER PRIMARY KEY,
  stream       TEXT NOT NULL,
  tenant       TEXT NOT NULL,
  item_version INTEGER NOT NULL,
  key_id       TEXT NOT NULL
) STRICT""",
        "CREATE INDEX wrapped_key_id_{g} ON wrapped_key_{g} (key_id, position)",
    ),
)

_DEFINED: Final = """INSERT INTO vault_item_{g} (created_position, item_id, tenant, version,
  item_version, created_at, updated_at, expires_at, body_at, key_at, api_key_hash, is_deleted)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7, ?8, 0, ?9, 0)
ON CONFLICT (item_id) DO UPDATE SET version = excluded.version,
  item_version = excluded.item_version, updated_at = excluded.updated_at,
  expires_at = excluded.expires_at, body_at = excluded.body_at,
  api_key_hash = excluded.api_key_hash"""
_WRAPPED: Final = """INSERT INTO wrapped_key_{g} (position, stream, tenant, item_version, key_id)
VALUES (?, ?, ?, ?, ?)"""
_KEY_AT: Final = "UPDATE vault_item_{g} SET version = ?2, key_at = ?3 WHERE item_id = ?1"
_DELETED: Final = "UPDATE vault_item_{g} SET version = ?2, is_deleted = 1 WHERE item_id = ?1"
_ERASED: Final = "DELETE FROM wrapped_key_{g} WHERE position = ?"


class VaultProjection:
    """See `Projection`."""

    name = "vault"
    version = 1
    events = (e.VaultDefined, e.KeyWrapped, e.VaultDeleted, e.PayloadErased)
    tables = (_ITEM, _KEY)
    views = ()

    def fold(self, event: Recorded) -> Sequence[Statement]:
        """Return what an event changes."""
        facts = event.facts
        if isinstance(facts, e.VaultDefined):
            row = (
                event.position,
                event.stream,
                event.tenant,
                event.version,
                facts.item_version,
                event.at,
                facts.expires_at,
                event.body_at,
                facts.api_key_hash,
            )
            return (Statement(_DEFINED, row),)
        if isinstance(facts, e.KeyWrapped):
            key = (event.position, event.stream, event.tenant, facts.item_version, facts.key_id)
            return (
                Statement(_WRAPPED, key),
                Statement(_KEY_AT, (event.stream, event.version, event.position)),
            )
        if isinstance(facts, e.VaultDeleted):
            return (Statement(_DELETED, (event.stream, event.version)),)
        if isinstance(facts, e.PayloadErased):
            return [Statement(_ERASED, (int(at),)) for at in facts.positions.split()]
        return ()


def _columns(struct: type[msgspec.Struct]) -> str:
    return ", ".join(field.name for field in msgspec.structs.fields(struct))


ITEMS: Final = (
    f"SELECT {_columns(VaultItem)} FROM vault_item WHERE tenant = ? AND is_deleted = 0 "
    "ORDER BY created_position"
)
API_KEY: Final = (
    f"SELECT {_columns(VaultItem)} FROM vault_item WHERE api_key_hash = ? "
    "AND api_key_hash != '' AND is_deleted = 0"
)
KEYS_UNDER_OTHERS: Final = (
    f"SELECT {_columns(WrappedKey)} FROM wrapped_key WHERE key_id != ? AND position > ? "
    "ORDER BY position LIMIT ?"
)


def item_row(row: Any) -> VaultItem:
    """Make an item of a result row."""
    made = VaultItem(*row)
    return msgspec.structs.replace(made, is_deleted=bool(made.is_deleted))


def key_row(row: Any) -> WrappedKey:
    """Make a key of a result row."""
    return WrappedKey(*row)
