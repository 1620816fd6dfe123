"""Envelope encryption: each version of a secret has a data key, and the service key wraps it.

AES-256-GCM (NIST SP 800-38D) both times, with 12 random bytes as nonce before the ciphertext.
The name of the item and its version are authenticated, so that nothing can be moved to another
place. What is deleted is the wrapped data key: without it the ciphertext says nothing, whoever
holds the service key. To change the service key, only the data keys are wrapped anew.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from hashlib import sha256
from hmac import new as hmac
from typing import Final, NamedTuple

from ..journal.service_keys import key_id
from .errors import EngineError

_NONCE_BYTES: Final = 12
_KEY_BYTES: Final = 32
_WRAP: Final = b"refold/wrap/v1"
_SECRET: Final = "refold/secret/v1"
_DATA_KEY: Final = "refold/data-key/v1"


class SecretUnreadableError(EngineError):
    """A secret was sealed under a key that is not here, for another place, or was changed."""

    code = "secret_unreadable"

    def __init__(self) -> None:
        super().__init__("The secret can't be decrypted with the keys of this service.")


class Sealed(NamedTuple):
    """A secret as it may be stored; both in lower-case hex."""

    ciphertext: str
    wrapped: str
    """Its data key, under the service key: to be stored where it can be erased."""


class _WrappingKey:
    """What one service key wraps with."""

    def __init__(self, service_key: bytes) -> None:
        self.id = key_id(service_key)
        self._key = hmac(service_key, _WRAP, sha256).digest()

    def seal(self, data: bytes, name: bytes) -> str:
        return _encrypt(self._key, data, name)

    def open(self, sealed: str, name: bytes) -> bytes | None:
        return _decrypt(self._key, sealed, name)


class Keyring:
    """The service's keys: the newest one seals, all of them open."""

    def __init__(self, primary: bytes, older: Sequence[bytes] = ()) -> None:
        self._primary = _WrappingKey(primary)
        self._all = {key.id: key for key in (self._primary, *map(_WrappingKey, older))}

    @property
    def key_id(self) -> str:
        """The name of the key that seals."""
        return self._primary.id

    @property
    def key_ids(self) -> frozenset[str]:
        """The names of all keys that are here."""
        return frozenset(self._all)

    def make_primary(self, key: bytes) -> None:
        """Seal under this key from now on; the others go on opening."""
        made = _WrappingKey(key)
        self._primary = self._all.setdefault(made.id, made)

    def seal(self, stream: str, version: int, text: str) -> Sealed:
        """Encrypt a text for one version of an item, under a data key of its own."""
        data_key = os.urandom(_KEY_BYTES)
        ciphertext = _encrypt(data_key, text.encode(), _place(_SECRET, stream, version))
        return Sealed(ciphertext, self.wrap(stream, version, data_key))

    def open(self, stream: str, version: int, ciphertext: str, wrapped: str) -> str:
        """Decrypt what was sealed for this version of this item.

        Raises:
            SecretUnreadableError: no key here fits, or it is not what was sealed here.
        """
        data_key = self.unwrap(stream, version, wrapped)
        text = _decrypt(data_key, ciphertext, _place(_SECRET, stream, version))
        if text is None:
            raise SecretUnreadableError
        return text.decode()

    def rewrap(self, stream: str, version: int, wrapped: str) -> str:
        """Return the same data key under the newest service key.

        Raises:
            SecretUnreadableError: no key here fits, or it is not what was wrapped here.
        """
        return self.wrap(stream, version, self.unwrap(stream, version, wrapped))

    def wrap(self, stream: str, version: int, secret: bytes) -> str:
        """Seal raw bytes for this place under the newest service key itself."""
        return self._primary.seal(secret, _place(_DATA_KEY, stream, version))

    def unwrap(self, stream: str, version: int, wrapped: str) -> bytes:
        """Open what `wrap` sealed, under any key that is here.

        Raises:
            SecretUnreadableError: no key here fits, or it was wrapped for another place.
        """
        name = _place(_DATA_KEY, stream, version)
        for key in (self._primary, *self._all.values()):
            found = key.open(wrapped, name)
            if found is not None:
                return found
        raise SecretUnreadableError


def _place(purpose: str, stream: str, version: int) -> bytes:
    """Name a place; neither ids nor numbers hold a zero byte, so no two places look alike."""
    return f"{purpose}\x00{stream}\x00{version}".encode()


def _encrypt(key: bytes, data: bytes, name: bytes) -> str:
    # Imported on use: a service without secrets has no need of it.
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = os.urandom(_NONCE_BYTES)
    return (nonce + AESGCM(key).encrypt(nonce, data, name)).hex()


def _decrypt(key: bytes, sealed: str, name: bytes) -> bytes | None:
    """Return what was encrypted, None where key, name or bytes are others."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        data = bytes.fromhex(sealed)
        return AESGCM(key).decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], name)
    except (InvalidTag, ValueError):
        return None
