"""`VaultItem`: what a vault item is, folded from the facts of its stream; and a wrapped key."""

from __future__ import annotations

import msgspec

from ..journal import events as e
from ..journal.envelope import Recorded


class VaultItem(msgspec.Struct, frozen=True, gc=False):
    """A vault item, as far as its facts tell. Times are microseconds UTC.

    Its name and its ciphertext are in the body at `body_at`, its wrapped data key at `key_at`.
    """

    item_id: str
    tenant: str
    version: int
    """The version of its stream: what a commit that relies on this state expects."""
    item_version: int
    """Counts its secrets, from 1."""
    created_at: int
    updated_at: int
    expires_at: int
    """0 for never."""
    body_at: int
    key_at: int
    """0 for an API key, which has nothing to decrypt."""
    api_key_hash: str
    """"" for what is not an API key."""
    is_deleted: bool
    created_position: int


class WrappedKey(msgspec.Struct, frozen=True, gc=False):
    """A data key that was not erased, of whatever kind of item."""

    position: int
    stream: str
    tenant: str


def evolve(item: VaultItem | None, event: Recorded) -> VaultItem | None:
    """Return an item after an event of its stream; None for what is not there to begin with."""
    facts = event.facts
    if isinstance(facts, e.VaultDefined):
        if item is None and event.version != 1:
            return None
        return VaultItem(
            event.stream,
            event.tenant,
            event.version,
            facts.item_version,
            item.created_at if item else event.at,
            event.at,
            facts.expires_at,
            event.body_at,
            item.key_at if item else 0,
            facts.api_key_hash,
            False,
            item.created_position if item else event.position,
        )
    if item is None:
        return None
    if isinstance(facts, e.KeyWrapped):
        return msgspec.structs.replace(item, version=event.version, key_at=event.position)
    if isinstance(facts, e.VaultDeleted):
        return msgspec.structs.replace(item, version=event.version, is_deleted=True)
    return msgspec.structs.replace(item, version=event.version)
