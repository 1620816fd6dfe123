"""The vault's API keys, and how it keeps up with the journal while it is loaded."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from refold.engine.errors import InvalidError, StateError
from refold.engine.secret_source import SecretsUnavailableError
from refold.engine.vault import ItemChange
from refold.journal.journal import Body, Commit, Metadata, RequestKey
from refold.projections.vault_state import VaultItem
from tests.support.journal_kit import START_US, FakeClock, opened
from tests.support.vault_kit import CALLER, HOUR_US, OTHER, VaultRoom, play, vault_room


def test_an_api_key_is_shown_once_and_found_by_its_hash() -> None:
    """It can't be revealed to a node either: nothing of it is kept but the hash."""

    async def scenario(room: VaultRoom, clock: FakeClock) -> None:
        request = RequestKey("acme vault", "k", "digest")
        made = await room.vault.create(
            CALLER, name="api-key:partner", secret=None, expires_at=0, request=request
        )
        assert made.key is not None
        assert made.key.startswith("wfk_")
        assert len(made.key) == 30
        again = await room.vault.create(
            CALLER, name="api-key:partner", secret=None, expires_at=0, request=request
        )
        assert (again.item, again.key, again.is_api_key) == (made.item, None, True)
        found = await room.vault.find_api_key(made.key)
        assert found is not None
        assert (found.tenant, found.name) == ("acme", "api-key:partner")
        secrets = await room.vault.secrets("acme")
        assert (secrets.reveal("api-key:partner"), secrets.hidden("api-key:partner")) == (
            None,
            "api_key",
        )
        assert list(secrets.all_texts()) == []
        events = await room.journal.read_stream(made.item.id)
        assert [event.facts.type for event in events] == ["vault.defined"]

    play(scenario)


def test_an_api_key_that_is_unknown_expired_or_deleted_is_nobody_s() -> None:
    """With the same work as for a good one: one look-up by the hash, one reading of a body."""

    async def scenario(room: VaultRoom, clock: FakeClock) -> None:
        made = await room.made("api-key:one", None, START_US + HOUR_US)
        other = await room.made("api-key:two", None)
        assert made.key is not None
        assert other.key is not None
        for text in ("", "wfk_", "wfk_" + "0" * 26, made.key.upper(), "x" * 100_000, "é"):
            assert await room.vault.find_api_key(text) is None
        renamed = ItemChange(name="api-key:renamed")
        await room.vault.change(CALLER, other.item.id, renamed)
        found = await room.vault.find_api_key(other.key)
        assert found is not None
        assert found.name == "api-key:renamed"
        clock.time_us = START_US + HOUR_US
        assert await room.vault.find_api_key(made.key) is None
        await room.vault.delete(CALLER, other.item.id)
        assert await room.vault.find_api_key(other.key) is None

    play(scenario)


def test_an_api_key_keeps_its_kind_and_a_secret_keeps_its_own() -> None:
    """A change can't smuggle a chosen key in; an item with a secret of its own is no API key."""

    async def scenario(room: VaultRoom, clock: FakeClock) -> None:
        key = (await room.made("api-key:partner", None)).item
        for change, path in (
            (ItemChange(secret="wfk_chosen"), "secret"),
            (ItemChange(name="partner"), "name"),
        ):
            with pytest.raises(InvalidError) as caught:
                await room.vault.change(CALLER, key.id, change)
            assert list(caught.value.errors) == [path]
        stored = await room.made("api-key:stripe", "sk_live")
        assert (stored.key, stored.is_api_key) == (None, False)
        assert (await room.vault.secrets("acme")).reveal("api-key:stripe") == "sk_live"
        assert await room.vault.find_api_key("sk_live") is None

    play(scenario)


def test_a_full_vault_refuses_one_more_item(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them are searched for in every answer, so there is an end to it."""
    monkeypatch.setattr("refold.engine.vault.ITEMS_MAX", 2)

    async def scenario(room: VaultRoom, clock: FakeClock) -> None:
        await room.made("one")
        await room.made("two")
        with pytest.raises(StateError) as caught:
            await room.made("three")
        assert caught.value.code == "vault_full"
        await room.made("one", caller=OTHER)

    play(scenario)


def test_views_that_are_behind_are_said_to_be_and_tried_again() -> None:
    """What was committed meanwhile is in the list that is read then."""

    async def scenario(room: VaultRoom, clock: FakeClock) -> None:
        item = (await room.made("token", "first")).item
        fresh = await vault_room(room.journal, clock)
        fresh.index.is_behind = True
        for _ in range(2):
            with pytest.raises(SecretsUnavailableError):
                await fresh.vault.secrets("acme")
        await room.vault.change(CALLER, item.id, ItemChange(secret="second"))
        fresh.index.is_behind = False
        secrets = await fresh.vault.secrets("acme")
        assert secrets.reveal("token") == "second"
        # Once loaded, the feed is enough.
        fresh.index.is_behind = True
        await room.made("later", "third")
        assert (await fresh.vault.secrets("acme")).reveal("later") == "third"
        assert fresh.index.asked == 1

    play(scenario)


def test_what_is_committed_while_a_tenant_is_loaded_is_not_missed() -> None:
    """The list is of one moment, the feed is of all that come after it."""

    async def scenario(room: VaultRoom, clock: FakeClock) -> None:
        item = (await room.made("token", "first")).item
        gone = (await room.made("gone", "old")).item
        fresh = await vault_room(room.journal, clock)
        listed = fresh.index.vault_items

        async def slow(tenant: str, /) -> list[VaultItem]:
            rows = await listed(tenant)
            await room.vault.change(CALLER, item.id, ItemChange(secret="second"))
            await room.vault.delete(CALLER, gone.id)
            await room.made("new", "third")
            return rows

        fresh.index.vault_items = slow  # type: ignore[method-assign]
        secrets = await fresh.vault.secrets("acme")
        assert [secrets.reveal(name) for name in ("token", "gone", "new")] == [
            "second",
            None,
            "third",
        ]

    play(scenario)


def test_what_changes_while_its_body_is_read_is_read_again() -> None:
    """Otherwise the secret of before would stay until the next change."""

    async def scenario(room: VaultRoom, clock: FakeClock) -> None:
        item = (await room.made("token", "first")).item
        fresh = await vault_room(room.journal, clock)
        await fresh.vault.secrets("acme")
        await room.vault.change(CALLER, item.id, ItemChange(secret="second"))
        read, pending = room.journal.read_bodies, ["third"]

        async def slow(positions: Sequence[int]) -> dict[int, Body]:
            bodies = await read(positions)
            if pending:
                await room.vault.change(CALLER, item.id, ItemChange(secret=pending.pop()))
            return bodies

        room.journal.read_bodies = slow  # type: ignore[method-assign]
        assert (await fresh.vault.secrets("acme")).reveal("token") == "third"

    play(scenario)


def test_many_deletions_at_once_wait_for_their_turn(tmp_path: Path) -> None:
    """All of them want the next version of `sys`: without turns most would give up."""

    async def main() -> None:
        clock = FakeClock()
        async with opened(tmp_path, clock) as journal:
            room = await vault_room(journal, clock)
            items = [(await room.made(f"item-{n}")).item for n in range(150)]
            await asyncio.gather(*(room.vault.delete(CALLER, item.id) for item in items))
            assert await room.vault.items("acme") == []

    asyncio.run(main())


def test_a_body_that_was_erased_hides_its_item_s_name_and_secret() -> None:
    """User data may be erased by other means; the item can still be deleted."""

    async def scenario(room: VaultRoom, clock: FakeClock) -> None:
        made = (await room.made("token", "secret")).item
        (defined, _) = await room.journal.read_stream(made.id)
        await room.erasures.append(
            lambda: Commit([]),
            [defined.position],
            target=made.id,
            reason="asked",
            meta=Metadata("acme", "", ""),
        )
        fresh = await vault_room(room.journal, clock)
        secrets = await fresh.vault.secrets("acme")
        assert secrets.hidden(made.id) == "unreadable"
        assert (secrets.reveal(made.id), secrets.reveal("")) == (None, None)
        assert [item.name for item in await fresh.vault.items("acme")] == [""]
        await fresh.vault.delete(CALLER, made.id)
        assert await fresh.vault.items("acme") == []

    play(scenario)
