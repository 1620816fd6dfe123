"""Wires what is kept secret: the keys, what is keyed by them, the vault, and the change of keys."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from ..engine.erasure import Erasures
from ..engine.keyring import Keyring
from ..engine.rotation import KeyRotation
from ..engine.sealed_items import SealedItems
from ..engine.sealing import Sealer
from ..engine.vault import Vault
from ..journal.actors import Pseudonyms
from ..journal.clock import Clock, IdSource
from ..journal.journal import Journal
from ..projections.views import Views
from .key_rotation import KeyService
from .keys import VaultKeys


class VaultParts(msgspec.Struct, frozen=True):
    """Everything that works under the service's keys."""

    pseudonyms: Pseudonyms
    sealer: Sealer
    erasures: Erasures
    sealed: SealedItems
    vault: Vault
    keys: KeyService


@asynccontextmanager
async def open_vault(
    data: Path, keys: VaultKeys, journal: Journal, views: Views, ids: IdSource, clock: Clock
) -> AsyncGenerator[VaultParts]:
    """Make `keys.primary` the journal's key, and go on with a change of key that was cut off.

    Raises:
        StoreError: the journal does not say what its keys need, or can't be written.
    """
    keyring = Keyring(keys.primary, keys.older)
    erasures = Erasures(journal, ids)
    rotation = KeyRotation(journal, ids, keyring, erasures)
    await rotation.open(keys.primary, keys.older)
    pseudonyms = Pseudonyms(rotation.identity)
    sealed = SealedItems(journal, ids, keyring, erasures)
    vault = Vault(journal, views, ids, pseudonyms, sealed, clock)
    service = KeyService(data, keys, rotation, sealed, views)
    service.start()
    try:
        yield VaultParts(pseudonyms, Sealer(rotation.identity), erasures, sealed, vault, service)
    finally:
        await service.close()
