"""Who did it, without saying who: subjects as keyed hashes, one key a tenant.

An entry is kept for ever and a person may ask to be forgotten, so the envelope holds an HMAC
of the subject; the readable name is in the body, which can be erased. The tenant's key comes
from the journal's identity secret (service_keys.py), so that the same person in two tenants can't
be recognised, and a change of the service key changes nothing here.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from hmac import new as hmac


class Pseudonyms:
    """Makes actors and hashes of tokens and names under the identity secret."""

    def __init__(self, identity: bytes) -> None:
        self._identity = identity
        self._actor = lru_cache(maxsize=4096)(self._make_actor)

    def actor(self, tenant: str, subject: str) -> str:
        """Return what the envelope's `actor` holds for a subject: 64 lower-case hex digits."""
        return self._actor(tenant, subject)

    def token(self, token: str) -> str:
        """Return the keyed hash by which a webhook token is found without being kept."""
        return self._hash(b"refold/webhook-token/v1", token)

    def api_key(self, key: str) -> str:
        """Return the keyed hash by which an API key is found without being kept."""
        return self._hash(b"refold/api-key/v1", key)

    def name(self, tenant: str, name: str) -> str:
        """Return the keyed hash that stands for a name of which each tenant has one."""
        # A tenant is printable and so holds no zero byte: no two pairs look alike.
        return self._hash(b"refold/name/v1", f"{tenant}\x00{name}")

    def _hash(self, purpose: bytes, text: str) -> str:
        return hmac(self._identity, purpose + b"\x00" + text.encode(), sha256).hexdigest()

    def _make_actor(self, tenant: str, subject: str) -> str:
        tenant_key = hmac(self._identity, b"refold/actor/v1\x00" + tenant.encode(), sha256).digest()
        return hmac(tenant_key, subject.encode(), sha256).hexdigest()
