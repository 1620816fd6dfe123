"""`VaultSecrets`: the secrets of one tenant at one moment, decrypted on demand only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from ..journal.clock import Clock
from ..projections.vault_state import VaultItem
from .keyring import Keyring, SecretUnreadableError
from .secret_source import Hidden

ID_PREFIX: Final = "vlt_"


class KnownItem(msgspec.Struct, frozen=True):
    """An item with its bodies: everything but its secret in clear."""

    state: VaultItem
    name: str
    ciphertext: str
    wrapped: str

    def reveal(self, keyring: Keyring) -> str | None:
        """Decrypt the secret; None where there is none, or no key for it."""
        if not (self.ciphertext and self.wrapped):
            return None
        try:
            return keyring.open(
                self.state.item_id, self.state.item_version, self.ciphertext, self.wrapped
            )
        except SecretUnreadableError:
            return None


class VaultSecrets:
    """See `TenantSecrets` for what each method promises."""

    __slots__ = ("_by_reference", "_clock", "_items", "_keyring", "_retired", "generation")

    def __init__(
        self,
        generation: int,
        items: Mapping[str, KnownItem],
        retired: Sequence[KnownItem],
        keyring: Keyring,
        clock: Clock,
    ) -> None:
        self.generation = generation
        self._items = tuple(items.values())
        # A name that was erased is nobody's any more.
        named = {item.name: item for item in self._items if item.name}
        self._by_reference = named | dict(items)
        self._retired = tuple(retired)
        self._keyring = keyring
        self._clock = clock

    def __repr__(self) -> str:
        """Say how many there are, and no more."""
        return f"VaultSecrets({len(self._items)} items, generation {self.generation})"

    def reveal(self, reference: str) -> str | None:
        """Return a secret in clear by its name or its id, None where there is none."""
        item = self._by_reference.get(reference)
        if item is None or self._is_expired(item):
            return None
        return item.reveal(self._keyring)

    def hidden(self, reference: str) -> Hidden:
        """Say why `reveal` returns None for a reference, "" where it does not."""
        item = self._by_reference.get(reference)
        if item is None:
            return "unknown"
        if item.state.api_key_hash:
            return "api_key"
        if self._is_expired(item):
            return "expired"
        return "unreadable" if item.reveal(self._keyring) is None else ""

    def all_texts(self) -> Sequence[str]:
        """Return every secret in clear that an answer from outside is searched for."""
        texts = (item.reveal(self._keyring) for item in (*self._items, *self._retired))
        return list(dict.fromkeys(text for text in texts if text))

    def _is_expired(self, item: KnownItem) -> bool:
        return 0 < item.state.expires_at <= self._clock.now_us()
