"""A vault without a journal: the secrets of a test, the same for every tenant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from refold.engine.secret_source import Hidden


class SimulatedVault:
    """Hands out itself; see `SecretSource` and `TenantSecrets`."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        """`secrets` may be changed from outside at any time."""
        self._secrets = secrets

    async def secrets(self, tenant: str) -> SimulatedVault:
        """Return the secrets of a tenant."""
        del tenant
        return self

    @property
    def generation(self) -> int:
        """Another number for other secrets."""
        return hash(tuple(sorted(self._secrets.items())))

    def reveal(self, reference: str) -> str | None:
        """Return a secret by its name."""
        return self._secrets.get(reference)

    def hidden(self, reference: str) -> Hidden:
        """Say why there is none."""
        return "" if reference in self._secrets else "unknown"

    def all_texts(self) -> Sequence[str]:
        """Return all of them."""
        return list(self._secrets.values())
