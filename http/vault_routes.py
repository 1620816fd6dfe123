"""The vault: list, make, read, change and delete items, and change the key that guards them."""

from __future__ import annotations

from msgspec import UNSET

from ..engine.vault import Item, ItemChange
from . import vault_wire as wire
from .call import Answer, Call, answer
from .errors import RequestError
from .paging import read_time
from .services import App
from .setting_types import SettingsError
from .times import to_wire, to_wire_or_none

NO_BODY = Answer(204, b"", ())


async def list_items(app: App, call: Call) -> Answer:
    """List the tenant's items, oldest first."""
    items = await app.vault.items(call.principal.tenant)
    return answer(200, [_shown(item) for item in items])


async def create(app: App, call: Call) -> Answer:
    """Make an item, or an API key."""
    wanted = call.read(wire.VaultItemCreate, optional=False)
    request = call.idempotency("vault", "", call.json())
    made = await app.vault.create(
        call.caller,
        name=wanted.name,
        secret=wanted.secret,
        expires_at=_expiry(wanted.expires_at),
        request=request,
    )
    item = made.item
    shown = wire.NewVaultItem(
        item.id,
        item.name,
        to_wire(item.created_at),
        to_wire(item.updated_at),
        to_wire_or_none(item.expires_at),
        made.key if made.is_api_key else UNSET,
    )
    found = answer(201, shown).with_header("Location", f"/workflows/vault/{item.id}")
    return found.with_header("Idempotency-Replayed", "true") if made.repeated else found


async def get(app: App, call: Call) -> Answer:
    """Return an item, without its secret."""
    return answer(200, _shown(await app.vault.get(call.principal.tenant, call.params["itemId"])))


async def change(app: App, call: Call) -> Answer:
    """Give an item another name, secret or expiry."""
    wanted = call.read(wire.VaultItemChange, optional=False)
    expires_at = wanted.expires_at
    changes = ItemChange(
        name=None if wanted.name is UNSET else wanted.name,
        secret=None if wanted.secret is UNSET else wanted.secret,
        expires_at=None if expires_at is UNSET else _expiry(expires_at),
    )
    return answer(200, _shown(await app.vault.change(call.caller, call.params["itemId"], changes)))


async def delete(app: App, call: Call) -> Answer:
    """Delete an item; nobody can read its secret any more."""
    await app.vault.delete(call.caller, call.params["itemId"])
    return NO_BODY


async def rotate(app: App, call: Call) -> Answer:
    """Make a new vault key, and bring everything under it in the background."""
    del call
    try:
        key_id = await app.keys.rotate()
    except SettingsError as error:
        # The message names a path of the server, which is not the client's business.
        raise RequestError(
            503,
            "read_only",
            "The key file can't be written at the moment; nothing was changed.",
            headers={"Retry-After": "1"},
        ) from error
    return answer(202, wire.KeyRotated(key_id))


def _expiry(text: str | None) -> int:
    """Read an expiry, 0 for never; the epoch itself is as much in the past as any time before."""
    at = read_time("expires_at", text)
    return 0 if at is None else at or 1


def _shown(item: Item) -> wire.VaultItem:
    return wire.VaultItem(
        item.id,
        item.name,
        to_wire(item.created_at),
        to_wire(item.updated_at),
        to_wire_or_none(item.expires_at),
    )
