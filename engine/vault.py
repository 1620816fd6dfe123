"""The vault: secrets that workflows use by name, and API keys; made, changed and deleted.

Rules of this file:

1. A secret goes in and is only handed out to nodes, through `secrets`. Nothing here returns one.
2. A name is taken by the commit that makes the item, and is free again with the one that deletes
   it: two that want it at once are told apart by the journal, not by a list.
3. A new secret erases the key of the one before in the same commit, and so does a deletion.
4. Of an API key only a keyed hash is kept; it is shown once, by the call that made it.
"""

from __future__ import annotations

import os
import re
from typing import Final

import msgspec

from ..journal import events as e
from ..journal import ids as id_source
from ..journal.actors import Pseudonyms
from ..journal.claims import vault_name
from ..journal.clock import Clock, IdSource
from ..journal.errors import ResourceInUseError
from ..journal.journal import Appended, Commit, Journal, NewEvent, RequestKey, StreamWrite
from .caller import Caller
from .errors import InvalidError, NotFoundError, StateError
from .keyring import Keyring
from .sealed_items import SealedItems
from .vault_items import VaultBody, VaultIndex, VaultItems
from .vault_secrets import ID_PREFIX, KnownItem, VaultSecrets
from .workflows import until_no_conflict

API_KEY_NAME: Final = "api-key:"
"""What the name of an item begins with that is an API key, unless it has a secret of its own."""
API_KEY_PREFIX: Final = "wfk_"
SECRET_LENGTH_MAX: Final = 2000
ITEMS_MAX: Final = 1000
"""Items of one tenant: all of them are searched for in every answer from outside."""
_KEY_LETTERS: Final = 26
"""Five random bits each."""
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{2,49}")
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(VaultBody).decode


class Item(msgspec.Struct, frozen=True):
    """A vault item as it may be shown. Times are microseconds UTC."""

    id: str
    name: str
    created_at: int
    updated_at: int
    expires_at: int
    """0 for never."""


class Made(msgspec.Struct, frozen=True):
    """What a creation made, or had made before."""

    item: Item
    key: str | None
    """The API key in clear, None for other items and for a repeated call."""
    is_api_key: bool
    repeated: bool


class ItemChange(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of an item; None leaves it as it is."""

    name: str | None = None
    secret: str | None = None
    expires_at: int | None = None
    """0 for never."""


class ApiKey(msgspec.Struct, frozen=True):
    """A good API key."""

    tenant: str
    name: str
    expires_at: int
    """0 for never."""


class Vault:
    """The vault of every tenant."""

    def __init__(
        self,
        journal: Journal,
        index: VaultIndex,
        ids: IdSource,
        pseudonyms: Pseudonyms,
        sealed: SealedItems,
        clock: Clock,
    ) -> None:
        self._journal = journal
        self._index = index
        self._ids = ids
        self._pseudonyms = pseudonyms
        self._sealed = sealed
        self._clock = clock
        self._items = VaultItems(journal, index, sealed.keyring, clock)

    @property
    def keyring(self) -> Keyring:
        """The keys that secrets are sealed and opened with."""
        return self._sealed.keyring

    async def secrets(self, tenant: str) -> VaultSecrets:
        """Return what a tenant's nodes may use (see `SecretSource`)."""
        return await self._items.secrets(tenant)

    async def items(self, tenant: str) -> list[Item]:
        """List a tenant's items, oldest first."""
        return [_shown(item) for item in (await self._items.of(tenant)).values()]

    async def get(self, tenant: str, item_id: str) -> Item:
        """Return an item.

        Raises:
            NotFoundError: there is none; another tenant's looks the same and costs the same.
        """
        return _shown(await self._find(tenant, item_id))

    async def create(
        self,
        caller: Caller,
        *,
        name: str,
        secret: str | None,
        expires_at: int,
        request: RequestKey | None,
    ) -> Made:
        """Make an item, or an API key where the name says so and there is no secret.

        Raises:
            InvalidError: the name, the secret or the expiry can't be.
            StateError: `vault_name_taken`, `vault_full`.
        """
        is_api_key = secret is None and name.startswith(API_KEY_NAME)
        # Asked first: what was right when it was made may have expired since.
        earlier = await self._journal.requested(request) if request is not None else None
        if earlier is not None:
            return _made(earlier, name, None, is_api_key=is_api_key)
        self._check(name, secret, expires_at)
        if secret is None and not is_api_key:
            raise InvalidError("secret is required.", {"secret": ["is required"]})
        if len(await self._items.of(caller.tenant)) >= ITEMS_MAX:
            raise StateError("vault_full", f"A vault holds at most {ITEMS_MAX} items.")
        key = _new_api_key() if is_api_key else None
        facts = self._facts(caller.tenant, name, 1, expires_at, key, request)
        item_id = self._ids.new(ID_PREFIX)
        appended = await self._define(caller, item_id, 0, facts, name, secret, request=request)
        return _made(appended, name, key, is_api_key=is_api_key)

    async def change(self, caller: Caller, item_id: str, wanted: ItemChange) -> Item:
        """Give an item another name, secret or expiry.

        Raises:
            NotFoundError: there is no such item.
            InvalidError: the name, the secret or the expiry can't be.
            StateError: `vault_name_taken`.
        """
        self._check(wanted.name, wanted.secret, wanted.expires_at or 0)

        async def attempt() -> Item:
            item = await self._find(caller.tenant, item_id)
            state = item.state
            name = item.name if wanted.name is None else wanted.name
            expires_at = state.expires_at if wanted.expires_at is None else wanted.expires_at
            if state.api_key_hash:
                _check_api_key(name, wanted.secret)
            number = state.item_version + (wanted.secret is not None)
            facts = self._facts(caller.tenant, name, number, expires_at, None, None)
            facts = msgspec.structs.replace(facts, api_key_hash=state.api_key_hash)
            await self._define(
                caller, item_id, state.version, facts, name, wanted.secret, before=item
            )
            return _shown(await self._find(caller.tenant, item_id))

        return await until_no_conflict(attempt)

    async def delete(self, caller: Caller, item_id: str) -> None:
        """Delete an item and erase its key, so that nobody can ever read its secret again.

        Raises:
            NotFoundError: there is no such item.
        """

        async def attempt() -> None:
            state = (await self._find(caller.tenant, item_id)).state
            meta = caller.metadata(self._pseudonyms)
            body = _encode({"by": caller.subject})
            event = NewEvent(self._ids.new(), e.VaultDeleted(), body, meta.actor)
            await self._sealed.delete(
                stream=item_id,
                version=state.version,
                event=event,
                meta=meta,
                keys=[state.key_at] if state.key_at else [],
            )

        await until_no_conflict(attempt)

    async def find_api_key(self, key: str) -> ApiKey | None:
        """Return whose API key this is, None for one that is unknown, expired or deleted.

        The key is looked up by its keyed hash, whatever it looks like, so the time that this
        takes tells nothing about any key.
        """
        key_hash = self._pseudonyms.api_key(key)
        await self._index.wait_for(self._journal.head)
        state = await self._index.find_api_key(key_hash)
        body_at = 0 if state is None else state.body_at
        bodies = await self._journal.read_bodies([body_at])
        if state is None or body_at not in bodies:
            return None
        if 0 < state.expires_at <= self._clock.now_us():
            return None
        return ApiKey(state.tenant, _decode(bodies[body_at].data).name, state.expires_at)

    async def _find(self, tenant: str, item_id: str) -> KnownItem:
        item = (await self._items.of(tenant)).get(item_id)
        if item is None:
            raise NotFoundError("vault item")
        return item

    def _check(self, name: str | None, secret: str | None, expires_at: int) -> None:
        faults: dict[str, list[str]] = {}
        if name is not None and not _NAME.fullmatch(name):
            faults["name"] = [
                "must have 3 to 50 letters, digits or _ - . : and begin with a letter, digit or _"
            ]
        elif name is not None and name.startswith(ID_PREFIX):
            faults["name"] = [f"must not begin with {ID_PREFIX}, as ids do"]
        if secret is not None and not 0 < len(secret) <= SECRET_LENGTH_MAX:
            faults["secret"] = [f"must have 1 to {SECRET_LENGTH_MAX} characters"]
        if expires_at and not self._clock.now_us() < expires_at <= e.INTEGER_MAX:
            faults["expires_at"] = ["must lie in the future, and before the year 2255"]
        if faults:
            path, (fault, *_) = next(iter(faults.items()))
            raise InvalidError(f"{path} {fault}.", faults)

    def _facts(
        self,
        tenant: str,
        name: str,
        number: int,
        expires_at: int,
        key: str | None,
        request: RequestKey | None,
    ) -> e.VaultDefined:
        return e.VaultDefined(
            api_key_hash="" if key is None else self._pseudonyms.api_key(key),
            expires_at=expires_at,
            idempotency_digest=request.digest if request else "",
            idempotency_key=request.key if request else "",
            idempotency_scope=request.scope if request else "",
            item_version=number,
            name_hash=self._pseudonyms.name(tenant, name),
        )

    async def _define(
        self,
        caller: Caller,
        item_id: str,
        version: int,
        facts: e.VaultDefined,
        name: str,
        secret: str | None,
        *,
        request: RequestKey | None = None,
        before: KnownItem | None = None,
    ) -> Appended:
        """Append an item as it shall be; without a secret it keeps the one it has."""
        meta = caller.metadata(self._pseudonyms)

        def event(ciphertext: str) -> NewEvent:
            body = _encode(VaultBody(caller.subject, name, ciphertext))
            return NewEvent(self._ids.new(), facts, body, meta.actor)

        unused = [vault_name(facts.name_hash)]
        if before is not None and before.name == name:
            unused = []
        try:
            if secret is None:
                kept = event("" if before is None else before.ciphertext)
                write = StreamWrite(item_id, version, [kept], meta)
                return await self._journal.append(Commit([write], request=request, unused=unused))
            return await self._sealed.define(
                stream=item_id,
                version=version,
                item_version=facts.item_version,
                text=secret,
                event=event,
                meta=meta,
                request=request,
                unused=unused,
                replaces=[before.state.key_at] if before and before.state.key_at else [],
            )
        except ResourceInUseError as error:
            raise StateError("vault_name_taken", "Another vault item has this name.") from error


def _check_api_key(name: str, secret: str | None) -> None:
    if secret is not None:
        fault = "can't be changed: an API key is made by the service; create a new one"
        raise InvalidError(f"secret {fault}.", {"secret": [fault]})
    if not name.startswith(API_KEY_NAME):
        fault = f"must begin with {API_KEY_NAME}, as the name of every API key does"
        raise InvalidError(f"name {fault}.", {"name": [fault]})


def _shown(item: KnownItem) -> Item:
    state = item.state
    return Item(state.item_id, item.name, state.created_at, state.updated_at, state.expires_at)


def _made(appended: Appended, name: str, key: str | None, *, is_api_key: bool) -> Made:
    """Show the item as its first event made it; a repeated call shows no key again."""
    first = appended.events[0]
    facts = first.facts
    assert isinstance(facts, e.VaultDefined), "an item begins with vault.defined"
    item = Item(first.stream, name, first.at, first.at, facts.expires_at)
    shown = None if appended.repeated else key
    return Made(item, shown, is_api_key, appended.repeated)


def _new_api_key() -> str:
    letters = os.urandom(_KEY_LETTERS).translate(id_source.LOW_FIVE_BITS).decode()
    return API_KEY_PREFIX + letters
