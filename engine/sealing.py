"""Seals what must be shown again but never stand in the journal in clear.

AES-256-GCM (NIST SP 800-38D) under a key of its own, made from the journal's identity secret, so
that it outlives a change of the service key; the 12 random bytes of the nonce stand before the
ciphertext. The name of what is sealed is authenticated, so that a sealed token can't be moved to
another workflow.
"""

from __future__ import annotations

import os
from hashlib import sha256
from hmac import new as hmac
from typing import Final

_NONCE_BYTES: Final = 12


class Sealer:
    """Seals and opens short texts."""

    def __init__(self, identity: bytes) -> None:
        self._key = hmac(identity, b"refold/seal/v1", sha256).digest()

    def seal(self, name: str, text: str) -> str:
        """Return the sealed text, in hex."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = os.urandom(_NONCE_BYTES)
        sealed = AESGCM(self._key).encrypt(nonce, text.encode(), name.encode())
        return (nonce + sealed).hex()

    def open(self, name: str, sealed: str) -> str:
        """Return what was sealed under this name.

        Raises:
            cryptography.exceptions.InvalidTag: it was sealed under another name or key.
        """
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        data = bytes.fromhex(sealed)
        return (
            AESGCM(self._key)
            .decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], name.encode())
            .decode()
        )
