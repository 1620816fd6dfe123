"""A vault in memory: its index folds the whole journal, so that it is never behind."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from refold.engine.caller import Caller
from refold.engine.erasure import Erasures
from refold.engine.keyring import Keyring
from refold.engine.rotation import KeyRotation
from refold.engine.sealed_items import SealedItems
from refold.engine.vault import Made, Vault
from refold.journal import events as e
from refold.journal.actors import Pseudonyms
from refold.journal.clock import Clock, IdSource
from refold.journal.journal import Commit, Journal, Metadata, NewEvent, StreamWrite
from refold.journal.memory_store import MemoryJournal
from refold.journal.service_keys import key_check
from refold.projections.errors import StaleViewsError
from refold.projections.vault_state import VaultItem, WrappedKey, evolve
from tests.support.journal_kit import FakeClock

KEY = b"k" * 32
CALLER = Caller("acme", "ada", "request-1")
OTHER = Caller("other", "bob", "request-2")
HOUR_US = 3600 * 1_000_000


class FoldedIndex:
    """Lists items and keys by folding the journal from its beginning."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.is_behind = False
        """Set by a test whose views can't keep up."""
        self.asked = 0

    async def wait_for(self, position: int, /) -> None:
        """Return at once, since a fold is always at the head."""
        if self.is_behind:
            raise StaleViewsError(position, 0, "")

    async def vault_items(self, tenant: str, /) -> list[VaultItem]:
        """List a tenant's items that are not deleted, oldest first."""
        self.asked += 1
        return [item for item in await self._items() if item.tenant == tenant]

    async def find_api_key(self, key_hash: str, /) -> VaultItem | None:
        """Return the item that keeps this API key, None if there is none."""
        found = [item for item in await self._items() if item.api_key_hash == key_hash]
        return found[0] if found else None

    async def keys_under_others(self, key_id: str, after: int, limit: int, /) -> list[WrappedKey]:
        """List data keys that are wrapped under another service key, after a position."""
        kept: dict[int, tuple[str, WrappedKey]] = {}
        for event in await self._journal.read_all(0, 100_000):
            if isinstance(event.facts, e.KeyWrapped):
                key = WrappedKey(event.position, event.stream, event.tenant)
                kept[event.position] = (event.facts.key_id, key)
            elif isinstance(event.facts, e.PayloadErased):
                for at in event.facts.positions.split():
                    kept.pop(int(at), None)
        others = [key for id_, key in kept.values() if id_ != key_id and key.position > after]
        return others[:limit]

    async def _items(self) -> list[VaultItem]:
        items: dict[str, VaultItem] = {}
        for event in await self._journal.read_all(0, 100_000):
            if event.stream.startswith("vlt_"):
                after = evolve(items.get(event.stream), event)
                if after is not None:
                    items[event.stream] = after
        return [item for item in items.values() if not item.is_deleted]


@dataclass
class VaultRoom:
    """A vault with everything that it stands on."""

    journal: Journal
    clock: Clock
    ids: IdSource
    pseudonyms: Pseudonyms
    keyring: Keyring
    erasures: Erasures
    sealed: SealedItems
    index: FoldedIndex
    rotation: KeyRotation
    vault: Vault

    async def made(
        self,
        name: str,
        secret: str | None = "a secret",
        expires_at: int = 0,
        caller: Caller = CALLER,
    ) -> Made:
        """Make an item."""
        return await self.vault.create(
            caller, name=name, secret=secret, expires_at=expires_at, request=None
        )

    async def rewrapped(self) -> bool:
        """Wrap all data keys under the newest key; returns whether no earlier one is needed."""
        done: list[bool] = []
        self.rotation.begin(self.sealed, self.index, lambda: done.append(True))
        await self.rotation.done()
        return bool(done)


async def create_journal(journal: Journal, ids: IdSource, key: bytes = KEY) -> None:
    """Append what a new store begins with by itself."""
    facts = e.JournalCreated(format=1, key_check=key_check(journal.id, key))
    write = StreamWrite("sys", 0, [NewEvent(ids.new(), facts)], Metadata("", "", ""))
    await journal.append(Commit([write]))


async def vault_room(
    journal: Journal, clock: Clock, *, key: bytes = KEY, older: Sequence[bytes] = ()
) -> VaultRoom:
    """Open a vault on a journal, as a start of the service does."""
    ids = IdSource(clock)
    if journal.head == 0:
        await create_journal(journal, ids, key)
    keyring = Keyring(key, older)
    erasures = Erasures(journal, ids)
    rotation = KeyRotation(journal, ids, keyring, erasures)
    await rotation.open(key, older)
    sealed = SealedItems(journal, ids, keyring, erasures)
    index = FoldedIndex(journal)
    pseudonyms = Pseudonyms(rotation.identity)
    vault = Vault(journal, index, ids, pseudonyms, sealed, clock)
    return VaultRoom(
        journal, clock, ids, pseudonyms, keyring, erasures, sealed, index, rotation, vault
    )


def play(scenario: Callable[[VaultRoom, FakeClock], Awaitable[None]]) -> None:
    """Play a scenario on a vault of its own, in memory."""

    async def main() -> None:
        clock = FakeClock()
        journal = MemoryJournal("vault-tests", clock, lambda: os.urandom(32))
        await scenario(await vault_room(journal, clock), clock)

    asyncio.run(main())
