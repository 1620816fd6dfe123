"""The vault items of each tenant in memory: loaded on first use, then kept by the journal's feed.

The feed says which items changed; their bodies are read by whoever asks next, so that a secret
is visible to every question that comes after its commit. Nothing is held in clear.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Final, Protocol

import msgspec

from ..journal.clock import Clock
from ..journal.envelope import Recorded
from ..journal.events import OBJECT_EVENTS
from ..journal.journal import Body, Journal
from ..projections.errors import StaleViewsError, ViewsFailedError
from ..projections.vault_state import VaultItem, evolve
from .keyring import Keyring
from .secret_source import SecretsUnavailableError
from .vault_secrets import ID_PREFIX, KnownItem, VaultSecrets

TENANTS_MAX: Final = 1000
RETIRED_MAX: Final = 100
"""How many replaced or deleted secrets of a tenant are still searched for in answers."""


class VaultBody(msgspec.Struct, frozen=True):
    """The body of `vault.defined`."""

    by: str
    name: str
    secret: str
    """The ciphertext, "" for an API key."""


_decode = msgspec.json.Decoder(VaultBody).decode


class VaultIndex(Protocol):
    """Where the items of a tenant are listed: the views, which follow the journal."""

    async def wait_for(self, position: int, /) -> None:
        """Wait until the lists include a position."""
        ...

    async def vault_items(self, tenant: str, /) -> list[VaultItem]:
        """List a tenant's items that are not deleted, oldest first."""
        ...

    async def find_api_key(self, key_hash: str, /) -> VaultItem | None:
        """Return the item that keeps this API key, None if there is none."""
        ...


class _Tenant:
    """What is known of one tenant's items."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.states: dict[str, VaultItem] | None = None
        """None until they are loaded."""
        self.heard: list[Recorded] = []
        """Events that came while they are being loaded."""
        self.stale: set[str] = set()
        """Items whose bodies must be read."""
        self.items: dict[str, KnownItem] = {}
        self.retired: deque[KnownItem] = deque(maxlen=RETIRED_MAX)
        self.secrets: VaultSecrets | None = None

    def follow(self, event: Recorded) -> None:
        """Bring an item past an event of its stream."""
        if self.states is None:
            if self.turn.locked():
                self.heard.append(event)
            return
        state = self.states.get(event.stream)
        if state is not None and event.version <= state.version:
            return
        after = evolve(state, event)
        if after is not None:
            self.states[event.stream] = after
            self.stale.add(event.stream)

    def take(self, item_id: str, state: VaultItem, bodies: Mapping[int, Body]) -> None:
        """Note an item as its bodies say, and what it was before."""
        before = self.items.get(item_id)
        if before is not None and (
            state.is_deleted or before.state.item_version != state.item_version
        ):
            self.retired.append(before)
        if state.is_deleted:
            self.items.pop(item_id, None)
            if self.states is not None:
                del self.states[item_id]
            return
        body, key = bodies.get(state.body_at), bodies.get(state.key_at)
        said = VaultBody("", "", "") if body is None else _decode(body.data)
        wrapped = "" if key is None else key.data.decode("ascii", "replace")
        self.items[item_id] = KnownItem(state, said.name, said.secret, wrapped)


class VaultItems:
    """The items of all tenants."""

    def __init__(self, journal: Journal, index: VaultIndex, keyring: Keyring, clock: Clock) -> None:
        self._journal = journal
        self._index = index
        self._keyring = keyring
        self._clock = clock
        self._tenants: OrderedDict[str, _Tenant] = OrderedDict()
        self._generations = count(1)
        journal.subscribe(self._follow, OBJECT_EVENTS)

    async def of(self, tenant: str) -> Mapping[str, KnownItem]:
        """Return a tenant's items by id, oldest first, as of everything committed before.

        Raises:
            SecretsUnavailableError: they can't be listed just now.
        """
        return (await self._fresh(tenant)).items

    async def secrets(self, tenant: str) -> VaultSecrets:
        """Return a tenant's secrets as of everything committed before (see `SecretSource`)."""
        known = await self._fresh(tenant)
        if known.secrets is None:
            known.secrets = VaultSecrets(
                next(self._generations), known.items, known.retired, self._keyring, self._clock
            )
        return known.secrets

    async def _fresh(self, tenant: str) -> _Tenant:
        known = self._tenants.get(tenant)
        if known is None:
            self._make_room()
            known = self._tenants[tenant] = _Tenant()
        self._tenants.move_to_end(tenant)
        if known.states is None or known.stale:
            async with known.turn:
                await self._load(tenant, known)
                while known.stale:
                    await self._read(known)
        return known

    def _make_room(self) -> None:
        """Forget the tenant that was longest not asked for, unless somebody is loading it."""
        if len(self._tenants) >= TENANTS_MAX:
            oldest = next((t for t, k in self._tenants.items() if not k.turn.locked()), None)
            if oldest is not None:
                del self._tenants[oldest]

    async def _load(self, tenant: str, known: _Tenant) -> None:
        if known.states is not None:
            return
        try:
            await self._index.wait_for(self._journal.head)
            rows = await self._index.vault_items(tenant)
        except (StaleViewsError, ViewsFailedError) as error:
            # What was heard so far stands in the list that is read next time.
            known.heard.clear()
            raise SecretsUnavailableError from error
        known.states = {row.item_id: row for row in rows}
        known.stale.update(known.states)
        heard, known.heard = known.heard, []
        for event in heard:
            known.follow(event)

    async def _read(self, known: _Tenant) -> None:
        """Read the bodies of the items that changed, as far as they don't change meanwhile."""
        assert known.states is not None, "only what is loaded becomes stale"
        wanted = {item_id: known.states[item_id] for item_id in known.stale}
        positions = [at for state in wanted.values() for at in (state.body_at, state.key_at) if at]
        bodies = await self._journal.read_bodies(positions)
        known.secrets = None
        for item_id, state in sorted(wanted.items(), key=lambda entry: _age(entry[1])):
            # One that has changed since stays stale: its newer bodies are still to be read.
            if known.states.get(item_id) is state:
                known.stale.discard(item_id)
                known.take(item_id, state, bodies)
        # One that changed while the others were read comes after them, and is no younger for it.
        known.items = dict(sorted(known.items.items(), key=lambda entry: _age(entry[1].state)))

    def _follow(self, events: Sequence[Recorded]) -> None:
        for event in events:
            if event.stream.startswith(ID_PREFIX):
                known = self._tenants.get(event.tenant)
                if known is not None:
                    known.follow(event)


def _age(state: VaultItem) -> int:
    return state.created_position
