"""The change of the service key: nothing is lost on the way, and the old key ends up useless."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from refold.engine.errors import StateError
from refold.engine.rotation import KeyRotation
from refold.engine.vault import ItemChange
from refold.journal import events as e
from refold.journal.clock import SystemClock
from refold.journal.errors import CorruptStoreError, StoreFailedError, WrongKeyError
from refold.journal.journal import Appended, Commit, Metadata
from refold.journal.memory_store import MemoryJournal
from refold.journal.service_keys import key_id
from refold.journal.sqlite_store import open_journal
from tests.support.journal_kit import FakeClock
from tests.support.vault_kit import CALLER, VaultRoom, vault_room

ONE, TWO, THREE = b"1" * 32, b"2" * 32, b"3" * 32


class FragileJournal(MemoryJournal):
    """The memory journal, whose process dies before a commit of the test's choice."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__("rotation-tests", clock, lambda: os.urandom(32))
        self.appends_left = 10**9

    async def append(self, commit: Commit, *, patient: bool = False) -> Appended:
        """Keep a commit, unless it is too late."""
        if self.appends_left <= 0:
            raise asyncio.CancelledError
        appended = await super().append(commit, patient=patient)
        self.appends_left -= 1
        return appended


def play(scenario: Callable[[FragileJournal, FakeClock], Awaitable[None]]) -> None:
    """Play a scenario on a journal of its own."""

    async def main() -> None:
        clock = FakeClock()
        await scenario(FragileJournal(clock), clock)

    asyncio.run(main())


async def filled(journal: FragileJournal, clock: FakeClock, count: int = 3) -> VaultRoom:
    """Open a vault under the first key, with items `item-0`, `item-1`, …"""
    room = await vault_room(journal, clock, key=ONE)
    for n in range(count):
        await room.made(f"item-{n}", f"secret {n}")
    return room


async def revealed(room: VaultRoom) -> list[str | None]:
    """Read what nodes would be given."""
    secrets = await room.vault.secrets("acme")
    return [secrets.reveal(f"item-{n}") for n in range(3)]


SECRETS = ["secret 0", "secret 1", "secret 2"]


def test_after_the_change_the_new_key_alone_opens_everything() -> None:
    """And what the old key could open is erased."""

    async def scenario(journal: FragileJournal, clock: FakeClock) -> None:
        before = await filled(journal, clock)
        wrapped = [v for v in await journal.read_all() if isinstance(v.facts, e.KeyWrapped)]
        room = await vault_room(journal, clock, key=TWO, older=[ONE])
        assert room.rotation.identity == before.rotation.identity
        assert await revealed(room) == SECRETS
        assert await room.rewrapped()
        alone = await vault_room(journal, clock, key=TWO)
        assert await revealed(alone) == SECRETS
        assert alone.rotation.identity == before.rotation.identity
        assert await journal.read_bodies([event.position for event in wrapped]) == {}
        ids = {
            v.facts.key_id for v in await journal.read_all() if isinstance(v.facts, e.KeyWrapped)
        }
        assert ids == {key_id(ONE), key_id(TWO)}

    play(scenario)


def test_a_second_change_erases_what_the_first_one_left() -> None:
    """The identity secret is wrapped under the newest key only, and stays the same."""

    async def scenario(journal: FragileJournal, clock: FakeClock) -> None:
        first = await filled(journal, clock)
        for key, older in ((TWO, ONE), (THREE, TWO)):
            assert await (await vault_room(journal, clock, key=key, older=[older])).rewrapped()
        room = await vault_room(journal, clock, key=THREE)
        assert await revealed(room) == SECRETS
        assert room.rotation.identity == first.rotation.identity
        rotated = [v for v in await journal.read_all() if isinstance(v.facts, e.KeyRotated)]
        assert list(await journal.read_bodies([v.position for v in rotated])) == [
            rotated[-1].position
        ]

    play(scenario)


def test_a_change_that_is_cut_off_anywhere_goes_on_at_the_next_start() -> None:
    """Killed before any of its commits, with every secret readable in between."""

    async def scenario(journal: FragileJournal, clock: FakeClock) -> None:
        await filled(journal, clock)
        cuts = 0
        while True:
            journal.appends_left = 1
            try:
                room = await vault_room(journal, clock, key=TWO, older=[ONE])
                whole = await room.rewrapped()
            except asyncio.CancelledError:
                whole = False
            journal.appends_left = 10**9
            assert await revealed(await vault_room(journal, clock, key=TWO, older=[ONE])) == SECRETS
            if whole:
                break
            cuts += 1
        assert cuts >= 3
        assert await revealed(await vault_room(journal, clock, key=TWO)) == SECRETS

    play(scenario)


def test_what_is_made_changed_and_deleted_meanwhile_ends_under_the_new_key() -> None:
    """The service goes on; a conflict makes the change look again."""

    async def scenario(journal: FragileJournal, clock: FakeClock) -> None:
        room = await filled(journal, clock, 20)
        ids = [item.id for item in await room.vault.items("acme")]
        await room.rotation.rotate(TWO)
        room.rotation.begin(room.sealed, room.index)
        await asyncio.gather(
            *(room.vault.change(CALLER, i, ItemChange(secret="changed")) for i in ids[:6]),
            *(room.vault.delete(CALLER, i) for i in ids[6:12]),
            *(room.made(f"new-{n}", "new") for n in range(6)),
            room.rotation.done(),
        )
        assert await room.index.keys_under_others(key_id(TWO), 0, 100) == []
        alone = await (await vault_room(journal, clock, key=TWO)).vault.secrets("acme")
        assert [alone.reveal(f"item-{n}") for n in range(20)] == (
            ["changed"] * 6 + [None] * 6 + [f"secret {n}" for n in range(12, 20)]
        )
        assert [alone.reveal(f"new-{n}") for n in range(6)] == ["new"] * 6

    play(scenario)


def test_one_change_at_a_time() -> None:
    """A second one would need three keys at once, for nothing."""

    async def scenario(journal: FragileJournal, clock: FakeClock) -> None:
        room = await filled(journal, clock)
        await room.rotation.rotate(TWO)
        room.rotation.begin(room.sealed, room.index)
        with pytest.raises(StateError) as caught:
            await room.rotation.rotate(THREE)
        assert caught.value.code == "rotation_running"
        await room.rotation.done()
        await room.rotation.rotate(THREE)
        assert room.keyring.key_id == key_id(THREE)

    play(scenario)


def test_secrets_under_a_key_that_is_not_here_are_counted_and_kept(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Somebody dropped the old key too early: it may still be found, so nothing is thrown away."""

    async def scenario(journal: FragileJournal, clock: FakeClock) -> None:
        await filled(journal, clock)
        await vault_room(journal, clock, key=TWO, older=[ONE])
        room = await vault_room(journal, clock, key=TWO)
        assert not await room.rewrapped()
        assert await revealed(room) == [None] * 3
        assert (await room.vault.secrets("acme")).hidden("item-0") == "unreadable"
        found = await vault_room(journal, clock, key=TWO, older=[ONE])
        assert await found.rewrapped()
        assert await revealed(found) == SECRETS

    with caplog.at_level(logging.ERROR, "refold.vault"):
        play(scenario)
    assert "3 secrets are under a service key that is not here" in caplog.text


def test_a_disk_that_refuses_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk ends neither the service nor the change of its key."""
    monkeypatch.setattr("refold.engine.rotation.RETRY_SECONDS", 0.0)

    class Full(FragileJournal):
        refusals = 2

        async def append(self, commit: Commit, *, patient: bool = False) -> Appended:
            if self.refusals and commit.erased and commit.writes[0].stream != "sys":
                self.refusals -= 1
                raise StoreFailedError("no room")
            return await super().append(commit, patient=patient)

    async def main() -> None:
        clock = FakeClock()
        journal = Full(clock)
        await filled(journal, clock)
        room = await vault_room(journal, clock, key=TWO, older=[ONE])
        assert await room.rewrapped()
        assert journal.refusals == 0
        assert await revealed(room) == SECRETS

    asyncio.run(main())


def test_views_that_are_behind_hold_the_change_up_and_no_more(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a list nobody knows whether a data key is left, so the old key is still needed."""
    monkeypatch.setattr("refold.engine.rotation.RETRY_SECONDS", 0.0)

    async def scenario(journal: FragileJournal, clock: FakeClock) -> None:
        await filled(journal, clock)
        room = await vault_room(journal, clock, key=TWO, older=[ONE])
        room.index.is_behind = True
        done: list[bool] = []
        room.rotation.begin(room.sealed, room.index, lambda: done.append(True))
        for _ in range(20):
            await asyncio.sleep(0)
        assert room.rotation.is_running
        assert done == []
        room.index.is_behind = False
        await room.rotation.done()
        assert done == [True]

    play(scenario)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_a_journal_without_what_its_keys_need_is_refused() -> None:
    """Going on with another identity would make everybody a stranger."""

    async def scenario(journal: FragileJournal, clock: FakeClock) -> None:
        room = await filled(journal, clock)
        bare = MemoryJournal("bare", clock, lambda: os.urandom(32))
        rotation = KeyRotation(bare, room.ids, room.keyring, room.erasures)
        with pytest.raises(CorruptStoreError, match=r"does not begin with journal\.created"):
            await rotation.open(ONE, ())
        with pytest.raises(CorruptStoreError, match="a key that it does not have"):
            await room.rotation.open(THREE, [TWO])
        await vault_room(journal, clock, key=TWO, older=[ONE])
        newest = await journal.key_event()
        assert newest is not None
        await room.erasures.append(
            lambda: Commit([]),
            [newest.position],
            target="sys",
            reason="asked",
            meta=Metadata("", "", ""),
        )
        with pytest.raises(CorruptStoreError, match=r"body of key\.rotated .* is missing"):
            await vault_room(journal, clock, key=TWO)

    play(scenario)


def test_a_store_opens_with_its_newest_key_or_with_it_among_the_older_ones(tmp_path: Path) -> None:
    """A wrong key stops the start in one line; a key of before is wrong, once it was changed."""

    async def start(key: bytes, *older: bytes) -> str:
        clock = SystemClock()
        async with open_journal(tmp_path, key, clock, older_keys=older) as journal:
            room = await vault_room(journal, clock, key=key, older=older)
            if not await room.vault.items("acme"):
                await room.made("item-0", "kept")
            assert await room.rewrapped()
            return str((await room.vault.secrets("acme")).reveal("item-0"))

    assert asyncio.run(start(ONE)) == "kept"
    for key, older in ((TWO, ()), (TWO, (THREE,))):
        with pytest.raises(WrongKeyError) as caught:
            asyncio.run(start(key, *older))
        assert "\n" not in str(caught.value)
        assert "REFOLD_VAULT_KEYS_OLD" in str(caught.value)
    assert asyncio.run(start(TWO, THREE, ONE)) == "kept"
    with pytest.raises(WrongKeyError):
        asyncio.run(start(ONE))
    assert asyncio.run(start(TWO)) == "kept"
    assert asyncio.run(start(ONE, TWO)) == "kept"
    assert asyncio.run(start(ONE)) == "kept"
