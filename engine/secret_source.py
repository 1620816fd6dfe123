"""Where nodes get secrets from: the seam between templates and the vault.

    source = await vault.secrets(tenant)      once an attempt, or whenever a fresh view is wanted
    source.reveal("billing-token")            at the last moment, by name or by `vlt_…` id

What is handed out is a snapshot: it never changes, and the next `secrets()` returns a newer one
with another `generation` as soon as an item was made, changed or deleted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, TypeAlias

from .errors import EngineError


class SecretsUnavailableError(EngineError):
    """The secrets of a tenant can't be listed just now: the views are behind, or stand still."""

    code = "secrets_unavailable"

    def __init__(self) -> None:
        super().__init__("The vault can't be read at the moment.")


Hidden: TypeAlias = Literal["", "unknown", "expired", "api_key", "unreadable"]
"""Why a reference reveals nothing, "" where it does.

`api_key`: of an API key only a hash is kept. `unreadable`: it was encrypted under a service key
that this process was not given.
"""


class TenantSecrets(Protocol):
    """The secrets of one tenant, as they were at one moment; expiry is judged when asked."""

    @property
    def generation(self) -> int:
        """Another number for every snapshot that may differ: what caches are keyed by.

        Numbers are never used twice in a process, not even by two tenants.
        """
        ...

    def reveal(self, reference: str) -> str | None:
        """Return a secret in clear by its name or its `vlt_…` id, None where there is none."""
        ...

    def hidden(self, reference: str) -> Hidden:
        """Say why `reveal` returns None for a reference, "" where it does not."""
        ...

    def all_texts(self) -> Sequence[str]:
        """Return every secret in clear that an answer from outside is searched for.

        All items of the tenant, expired ones included, and what was replaced or deleted while
        this process runs: a call on the wire may still echo it. No text is empty.
        """
        ...


class SecretSource(Protocol):
    """What hands out the secrets of tenants; the vault is one."""

    async def secrets(self, tenant: str) -> TenantSecrets:
        """Return the tenant's secrets as of everything that was committed before the call.

        Cheap where nothing has changed: a look-up in memory.

        Raises:
            SecretsUnavailableError: they can't be listed just now; try the attempt again.
        """
        ...
