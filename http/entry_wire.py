"""The published types of the whole journal's entries."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Struct, UnsetType

from .wire import RawObject, Time


class Entry(Struct, frozen=True, kw_only=True):
    """One entry of the journal. Of one that the caller may not see there is its hash alone."""

    position: int
    leaf: str
    version: int | UnsetType = UNSET
    id: str | UnsetType = UNSET
    type: str | UnsetType = UNSET
    schema: int | UnsetType = UNSET
    stream: str | UnsetType = UNSET
    at: Time | UnsetType = UNSET
    actor: str | UnsetType = UNSET
    corr: str | UnsetType = UNSET
    cause: str | UnsetType = UNSET
    src: str | UnsetType = UNSET
    facts: RawObject | UnsetType = UNSET
    payload: str | UnsetType = UNSET
    body: Any | UnsetType = UNSET
    """The user data, `{"erased": true}` if it was erased, `{"archived": true, "segment": "…"}` if
    it is in a segment, `{"withheld": true}` if it is not for the caller, null if there never was
    any."""
    entry: str | UnsetType = UNSET
    """With `exact`: the text whose UTF-8 bytes were hashed."""
    salt: str | UnsetType = UNSET
    body_bytes: str | UnsetType = UNSET
    """With `exact`: the body's bytes in base64."""


class Entries(Struct, frozen=True):
    """A page of the journal."""

    data: list[Entry]
    position: int
    """Everything up to here was looked at."""
    next: int | None
    """The `after` of the next page, null at the journal's end."""
