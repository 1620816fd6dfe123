"""The published types of the vault. No type that is answered with has a place for a secret."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from .wire import Time

VaultId = Annotated[str, Meta(pattern="^vlt_[0-9a-z]{26}$")]
ItemName = Annotated[
    str,
    Meta(
        min_length=3,
        max_length=50,
        pattern="^[A-Za-z0-9_][A-Za-z0-9_.:-]*$",
        description="Unique in the vault: letters, digits and _ - . : only. Templates refer to it "
        'as `vault.name`, or `vault["name"]` where it is no plain word.',
    ),
]
Secret = Annotated[
    str,
    Meta(min_length=1, max_length=2000, description="Goes in and never comes out."),
]


class VaultItemCreate(Struct, frozen=True):
    """A new item; without a secret, a name `api-key:…` makes an API key."""

    name: ItemName
    secret: Secret | None = None
    expires_at: Annotated[
        Time | None, Meta(description="From when on the item is as good as gone; null for never.")
    ] = None


class VaultItemChange(Struct, frozen=True):
    """What becomes of an item; fields that are left out stay as they are."""

    name: ItemName | UnsetType = UNSET
    secret: Secret | UnsetType = UNSET
    expires_at: Time | UnsetType | None = UNSET


class VaultItem(Struct, frozen=True):
    """A vault item, without its secret."""

    id: VaultId
    name: str
    created_at: Time
    updated_at: Time
    expires_at: Time | None


class NewVaultItem(Struct, frozen=True):
    """A vault item that was just made."""

    id: VaultId
    name: str
    created_at: Time
    updated_at: Time
    expires_at: Time | None
    key: Annotated[
        str | UnsetType | None,
        Meta(description="Of an API key alone: the key, shown this once; null in a repeat."),
    ] = UNSET


class KeyRotated(Struct, frozen=True):
    """The vault key is another one."""

    key_id: Annotated[str, Meta(description="A hash of the new key.")]
