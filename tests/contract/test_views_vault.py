"""The `vault` projection: its rows are those of a fold, and of the generation made anew."""

from __future__ import annotations

import asyncio
from pathlib import Path

from refold.engine.vault import ItemChange
from refold.journal.clock import SystemClock
from refold.journal.service_keys import key_id
from refold.projections.views import open_views
from tests.support.journal_kit import opened
from tests.support.vault_kit import CALLER, OTHER, vault_room

TWO = b"2" * 32


def test_the_rows_are_those_of_a_fold(tmp_path: Path) -> None:
    """Items, API keys and wrapped keys, after everything that can happen to them."""

    async def main() -> None:
        async with (
            opened(tmp_path) as journal,
            open_views(tmp_path, journal, tmp_path / "journal.db") as views,
        ):
            room = await vault_room(journal, SystemClock())
            for n in range(6):
                await room.made(f"item-{n}")
            api_key = await room.made("api-key:one", None)
            gone = await room.made("api-key:two", None)
            await room.made("item-0", caller=OTHER)
            first, second, third, *_ = await room.vault.items("acme")
            await room.vault.change(CALLER, first.id, ItemChange(secret="new"))
            await room.vault.change(CALLER, second.id, ItemChange(name="renamed"))
            await room.vault.delete(CALLER, third.id)
            await room.vault.delete(CALLER, gone.item.id)
            await room.rotation.rotate(TWO)
            await room.made("under-the-new-key")
            await views.wait_for(journal.head)
            for tenant in ("acme", "other", "nobody"):
                assert await views.vault_items(tenant) == await room.index.vault_items(tenant)
            left = await views.keys_under_others(key_id(TWO), 0, 100)
            assert left == await room.index.keys_under_others(key_id(TWO), 0, 100)
            assert len(left) == 6
            assert await views.keys_under_others(key_id(TWO), left[1].position, 2) == left[2:4]
            for made, is_there in ((api_key, True), (gone, False)):
                assert made.key is not None
                key_hash = room.pseudonyms.api_key(made.key)
                found = await views.find_api_key(key_hash)
                assert found == await room.index.find_api_key(key_hash)
                assert (found is not None) == is_there
            assert await views.find_api_key("") is None

    asyncio.run(main())
