"""The change of the vault key: the key files on one side, the journal on the other."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from ..engine.errors import StateError
from ..engine.rotation import KeyIndex, KeyRotation
from ..engine.sealed_items import SealedItems
from .keys import VaultKeys, forget_old_vault_keys, replace_vault_key

_log = logging.getLogger("refold.vault")


class KeyService:
    """Changes the key of a data directory while the service runs."""

    def __init__(
        self,
        data: Path,
        keys: VaultKeys,
        rotation: KeyRotation,
        sealed: SealedItems,
        index: KeyIndex,
    ) -> None:
        self._data = data
        self._is_own = keys.is_own
        self._rotation = rotation
        self._sealed = sealed
        self._index = index
        self._turn = asyncio.Lock()

    @property
    def key_id(self) -> str:
        """The name of the present key: a hash of it."""
        return self._sealed.keyring.key_id

    def start(self) -> None:
        """Bring every secret under the present key, in the background."""
        self._rotation.begin(self._sealed, self._index, self._forget if self._is_own else None)

    async def rotate(self) -> str:
        """Make a new key and use it from now on; returns its name.

        Raises:
            StateError: `vault_key_configured`, `rotation_running`.
            SettingsError: the data directory can't be written; nothing has changed.
        """
        if not self._is_own:
            raise StateError(
                "vault_key_configured",
                "The vault key is configured by a setting: change it there, and keep the earlier "
                "one in REFOLD_VAULT_KEYS_OLD for one start.",
            )
        async with self._turn:
            self._rotation.refuse_while_running()
            key = await asyncio.to_thread(replace_vault_key, self._data)
            await self._rotation.rotate(key)
            self.start()
        return self.key_id

    async def close(self) -> None:
        """End the background work."""
        await self._rotation.close()

    def _forget(self) -> None:
        try:
            forget_old_vault_keys(self._data)
        except OSError as error:
            # They do no harm there beyond what they did before; the next start removes them.
            _log.warning("the earlier vault keys could not be removed: %s", error.strerror)
