"""Who did it, without saying who: subjects as keyed hashes, one key a tenant.

An entry is kept for ever and a person may ask to be forgotten, so the envelope holds an HMAC
of the subject; the readable name is in the body, which can be erased. The tenant's key comes
from the service key, so that the same person in two tenants can't be recognised.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from hmac import new as hmac


class Pseudonyms:
    """Makes actors and token hashes under the service key."""

    def __init__(self, service_key: bytes) -> None:
        self._service_key = service_key
        self._actor = lru_cache(maxsize=4096)(self._make_actor)

    def actor(self, tenant: str, subject: str) -> str:
        """Return what the envelope's `actor` holds for a subject: 64 lower-case hex digits."""
        return self._actor(tenant, subject)

    def token(self, token: str) -> str:
        """Return the keyed hash by which a webhook token is found without being kept."""
        return hmac(
            self._service_key, b"refold/webhook-token/v1\x00" + token.encode(), sha256
        ).hexdigest()

    def _make_actor(self, tenant: str, subject: str) -> str:
        tenant_key = hmac(
            self._service_key, b"refold/actor/v1\x00" + tenant.encode(), sha256
        ).digest()
        return hmac(tenant_key, subject.encode(), sha256).hexdigest()
