"""The service's keys, and what the journal may say of them: which one it is, never what it is."""

from __future__ import annotations

from hashlib import sha256
from hmac import compare_digest
from hmac import new as hmac
from typing import Final

_CHECK: Final = b"refold/key-check/v2\x00"
_FIRST_CHECK: Final = b"refold/key-check/v1\x00"
_ID: Final = b"refold/key-id/v1\x00"
_IDENTITY: Final = b"refold/identity/v1"
_ID_LETTERS: Final = 32


def key_id(key: bytes) -> str:
    """Return the name of a key: a hash, from which a random key can't be guessed."""
    return sha256(_ID + key).hexdigest()[:_ID_LETTERS]


def key_check(journal_id: str, key: bytes) -> str:
    """Return what a journal keeps to tell its key from another one."""
    return hmac(key, _CHECK + journal_id.encode(), sha256).hexdigest()


def fits(check: str, journal_id: str, key: bytes) -> bool:
    """Tell whether a key is the one that a journal's check was made with."""
    wanted = key_check(journal_id, key)
    return compare_digest(check, wanted) or is_early(check, journal_id, key)


def is_early(check: str, journal_id: str, key: bytes) -> bool:
    """Tell whether the journal was made before keys could be changed, with this key."""
    first = hmac(key, _FIRST_CHECK + journal_id.encode(), sha256).hexdigest()
    return compare_digest(check, first)


def identity_of(check: str, journal_id: str, key: bytes) -> bytes:
    """Return the journal's identity secret, from its first key and that key's check.

    Actors, token hashes and names are keyed by it for ever, so it outlives the key. In a journal
    from before keys could be changed they are keyed by the key itself.
    """
    if is_early(check, journal_id, key):
        return key
    return hmac(key, _IDENTITY, sha256).digest()
