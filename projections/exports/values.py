"""How the values of entries are written in the formats of others: times, facts, bodies."""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

import msgspec

from ...journal import events as e

Value = str | int
_SECOND_US: Final = 1_000_000
_HIDDEN: Final = frozenset(
    {"api_key_hash", "idempotency_digest", "idempotency_key", "idempotency_scope", "key_check"}
    | {"key_id", "name_hash", "webhook_hash"}
)
"""Facts by which the service finds things again: they say nothing about what happened."""
_DECODE: Final = msgspec.json.Decoder().decode


@lru_cache(maxsize=4096)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def rfc3339(at_us: int) -> str:
    """Write a time in UTC with six fractional digits.

    One after the year 9999, which no calendar library takes, is written as the last one before.
    """
    seconds, rest = divmod(min(at_us, _LAST_US), _SECOND_US)
    return f"{_second(seconds)}.{rest:06d}Z"


_LAST_US: Final = 253_402_300_799_999_999


def is_time(name: str) -> bool:
    """Tell the facts that are times in microseconds by their name."""
    return name.endswith("_at")


def shown_fields(facts: type[e.Facts]) -> tuple[tuple[str, bool], ...]:
    """Return the names of an event's facts that an analyst may want, and which are numbers."""
    return _SHOWN[facts]


_SHOWN: Final[dict[type[e.Facts], tuple[tuple[str, bool], ...]]] = {
    facts: tuple(
        (field.name, field.type is int)
        for field in msgspec.structs.fields(facts)
        if field.name not in _HIDDEN
    )
    for facts in e.CATALOGUE
}


def is_json(body: bytes) -> bool:
    """Say whether a body is JSON that every reader takes."""
    try:
        _DECODE(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return True


def body_text(body: bytes) -> str:
    """Return a body as text: JSON as it stands, anything else as base64."""
    return body.decode() if is_json(body) else b64encode(body).decode()


class _Error(msgspec.Struct, frozen=True):
    message: str = ""


class _Said(msgspec.Struct, frozen=True):
    message: str = ""
    error: _Error = _Error()


_decode_said: Final = msgspec.json.Decoder(_Said).decode


def message_in(body: bytes) -> str:
    """Return the error message that a body holds, "" if there is none."""
    try:
        said = _decode_said(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ""
    return said.message or said.error.message
