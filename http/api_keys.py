"""API keys (`X-Api-Key: wfk_…`): from a key to a principal that may execute and nothing else."""

from __future__ import annotations

from typing import Final

from .auth import Principal
from .services import App

HEADER: Final = b"x-api-key"
"""The header, as `Call.header` wants it."""
SCOPES: Final = frozenset({"workflows:execute"})
_NEVER_S: Final = 253_402_300_799


async def principal_of(app: App, key: str) -> Principal | None:
    """Return who a key stands for, None for one that is unknown, expired or deleted.

    Every text is looked up the same way, so the time tells nothing. The subject is the name of
    the item, which begins with `api-key:`.

    Raises:
        StaleViewsError, ViewsFailedError: it can't be looked up just now.
    """
    found = await app.vault.find_api_key(key)
    if found is None:
        return None
    expires_at = found.expires_at // 1_000_000 if found.expires_at else _NEVER_S
    return Principal(found.name, found.tenant, SCOPES, expires_at)
