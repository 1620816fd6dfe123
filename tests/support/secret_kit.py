"""Secrets for tests that need no vault: a fixed set of them, and contexts that hold them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from refold.engine.secret_source import Hidden
from refold.engine.secrets import MaskedVault, RevealingVault

REFERENCE = "vlt_01jb0000000000000000000042"


class FixedSecrets:
    """The secrets of one tenant, by name or id."""

    def __init__(self, secrets: Mapping[str, str], generation: int = 1) -> None:
        self._secrets = dict(secrets)
        self.generation = generation

    def reveal(self, reference: str) -> str | None:
        """Return a secret in clear."""
        return self._secrets.get(reference)

    def hidden(self, reference: str) -> Hidden:
        """Say why there is none."""
        if reference in self._secrets:
            return ""
        return "expired" if reference == "old" else "unknown"

    def all_texts(self) -> Sequence[str]:
        """Return all of them."""
        return list(self._secrets.values())


def masked(**context: Any) -> dict[str, Any]:
    """Make the context of what is recorded."""
    return {**context, "vault": MaskedVault()}


def revealing(secrets: Mapping[str, str], **context: Any) -> dict[str, Any]:
    """Make the context of what is sent."""
    return {**context, "vault": RevealingVault(FixedSecrets(secrets))}
