"""Which headers and parameters hold credentials: masked in the journal, kept to their origin."""

from __future__ import annotations

from typing import Final

_NAMES: Final = frozenset(
    {"auth", "authorization", "cookie", "proxy-authorization", "set-cookie", "sig", "x-auth"}
)
_PARTS: Final = ("token", "secret", "password", "key", "credential", "signature")


class PrivateHeader(tuple[str, str]):
    """A header, name and value, that holds a secret, whatever its name says."""

    __slots__ = ()


def is_credential_name(name: str) -> bool:
    """Say whether a header or query parameter of this name is masked and kept to its origin."""
    plain = name.lower()
    if plain == "idempotency-key":
        return False
    return plain in _NAMES or any(part in plain for part in _PARTS)


def is_private(header: tuple[str, str]) -> bool:
    """Say whether a header is sent to the origin that it was meant for, and to no other."""
    return isinstance(header, PrivateHeader) or is_credential_name(header[0])
