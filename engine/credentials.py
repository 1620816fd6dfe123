"""Which names of headers and query parameters stand for a credential."""

from __future__ import annotations

from functools import lru_cache

_WHOLE_NAMES = frozenset({"authorization", "proxy-authorization", "cookie", "set-cookie"})
_PARTS = ("token", "secret", "password", "passwd", "key", "credential", "signature")
_HARMLESS = frozenset({"idempotency-key"})


@lru_cache(maxsize=1024)
def is_credential_name(name: str) -> bool:
    """Say whether the value under `name` must be masked, and kept from another origin."""
    plain = name.lower()
    if plain in _HARMLESS:
        return False
    return plain in _WHOLE_NAMES or any(part in plain for part in _PARTS)
