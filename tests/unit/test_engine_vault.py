"""The vault: names, versions, expiry, what nodes are given, and what is left after a deletion."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence

import pytest

from refold.engine.errors import InvalidError, NotFoundError, StateError
from refold.engine.secret_source import SecretSource, TenantSecrets
from refold.engine.vault import ItemChange
from refold.journal import events as e
from refold.journal.journal import Body, RequestKey
from refold.journal.memory_store import MemoryJournal
from tests.support.journal_kit import START_US, FakeClock
from tests.support.vault_kit import CALLER, HOUR_US, OTHER, VaultRoom, play, vault_room


async def bodies(room: VaultRoom) -> bytes:
    """Read every body of the journal that is left."""
    found = await room.journal.read_bodies(range(1, room.journal.head + 1))
    return b"\n".join(body.data for body in found.values())


def test_a_secret_is_revealed_by_name_and_by_id_at_once() -> None:
    """Whoever was told that it is there can use it in the next moment."""

    async def scenario(room: VaultRoom, clock: FakeClock) -> None:
        source: SecretSource = room.vault
        before: TenantSecrets = await source.secrets("acme")
        made = await room.made("billing-token", "s3cret")
        secrets = await source.secrets("acme")
        assert secrets.reveal("billing-token") == secrets.reveal(made.item.id) == "s3cret"
        assert (secrets.hidden("billing-token"), list(secrets.all_texts())) == ("", ["s3cret"])
        assert (before.reveal("billing-token"), before.hidden("x")) == (None, "unknown")
        assert secrets.generation != before.generation
        assert (await source.secrets("acme")) is secrets

    play(scenario)


def test_no_tenant_sees_another_s_items() -> None:
    """Neither by name nor by id, and a foreign id is refused like one that exists nowhere."""

    async def scenario(room: VaultRoom, clock: FakeClock) -> None:
        mine = (await room.made("token", "mine")).item
        theirs = (await room.made("token", "theirs", caller=OTHER)).item
        acme, other = await room.vault.secrets("acme"), await room.vault.secrets("other")
        assert (acme.reveal("token"), other.reveal("token")) == ("mine", "theirs")
        assert (acme.reveal(theirs.id), acme.hidden(theirs.id)) == (None, "unknown")
        assert list(other.all_texts()) == ["theirs"]
        assert [item.id for item in await room.vault.items("acme")] == [mine.id]
        refusals: set[str] = set()
        for item_id in (theirs.id, "vlt_01k8x3m5n7p9q1r3s5t7v9w1x3", "vlt_", "", "sys"):
            for refused in (
                room.vault.get("acme", item_id),
                room.vault.change(CALLER, item_id, ItemChange(secret="x")),
                room.vault.delete(CALLER, item_id),
            ):
                with pytest.raises(NotFoundError) as caught:
                    await refused
                refusals.add(str(caught.value))
        assert refusals == {"No such vault item."}
        assert (await room.vault.secrets("other")).reveal("token") == "theirs"

    play(scenario)


def test_a_new_secret_takes_the_place_of_the_old_one_which_is_gone() -> None:
    """Its key is erased in the same commit; only what may still echo is known, and in memory."""

    async def scenario(room: VaultRoom, clock: FakeClock) -> None:
        item = (await room.made("token", "first")).item
        events = await room.journal.read_stream(item.id)
        old_key = events[1].position
        (await room.vault.secrets("acme")).reveal("token")
        clock.time_us += 5
        after = await room.vault.change(CALLER, item.id, ItemChange(secret="second"))
        assert (after.created_at, after.updated_at) == (START_US, START_US + 5)
        secrets = await room.vault.secrets("acme")
        assert secrets.reveal("token") == "second"
        assert sorted(secrets.all_texts()) == ["first", "second"]
        assert await room.journal.read_bodies([old_key]) == {}
        again = await vault_room(room.journal, clock)
        assert list((await again.vault.secrets("acme")).all_texts()) == ["second"]
        facts = [event.facts for event in await room.journal.read_stream(item.id)]
        assert [f.item_version for f in facts if isinstance(f, e.VaultDefined)] == [1, 2]

    play(scenario)


def test_another_name_or_expiry_leaves_the_secret_and_its_key_alone() -> None:
    """Nothing is encrypted anew, and the earlier name is free."""

    async def scenario(room: VaultRoom, clock: FakeClock) -> None:
        item = (await room.made("token", "kept")).item
        expires_at = START_US + HOUR_US
        after = await room.vault.change(
            CALLER, item.id, ItemChange(name="renamed", expires_at=expires_at)
        )
        assert (after.name, after.expires_at) == ("renamed", expires_at)
        secrets = await room.vault.secrets("acme")
        assert (secrets.reveal("renamed"), secrets.reveal("token")) == ("kept", None)
        assert list(secrets.all_texts()) == ["kept"]
        keys = [
            event
            for event in await room.journal.read_stream(item.id)
            if isinstance(event.facts, e.KeyWrapped)
        ]
        assert len(keys) == 1
        await room.made("token", "another")
        forever = await room.vault.change(CALLER, item.id, ItemChange(expires_at=0))
        assert forever.expires_at == 0
        assert (await room.vault.secrets("acme")).reveal("token") == "another"

    play(scenario)


def test_a_deleted_secret_can_not_be_read_by_anybody() -> None:
    """The ciphertext stays in the journal for ever; its key is nowhere."""

    async def scenario(room: VaultRoom, clock: FakeClock) -> None:
        item = (await room.made("token", "secret")).item
        key = (await room.journal.read_stream(item.id))[1]
        wrapped = (await room.journal.read_bodies([key.position]))[key.position].data
        before = await room.vault.secrets("acme")
        await room.vault.delete(CALLER, item.id)
        assert wrapped not in await bodies(room)
        secrets = await room.vault.secrets("acme")
        assert (secrets.reveal("token"), secrets.reveal(item.id)) == (None, None)
        # What is on the wire may still echo it.
        assert list(secrets.all_texts()) == ["secret"]
        assert secrets.generation != before.generation
        with pytest.raises(NotFoundError):
            await room.vault.get("acme", item.id)
        with pytest.raises(NotFoundError):
            await room.vault.delete(CALLER, item.id)
        again = await vault_room(room.journal, clock)
        assert list((await again.vault.secrets("acme")).all_texts()) == []
        await room.made("token", "reborn")
        assert (await room.vault.secrets("acme")).reveal("token") == "reborn"

    play(scenario)


def test_a_secret_stands_nowhere_in_clear() -> None:
    """In no entry, no body, and in nothing that is printed by accident."""

    async def scenario(room: VaultRoom, clock: FakeClock) -> None:
        made = await room.made("token", "in the clear")
        key = (await room.made("api-key:partner", None)).key
        secrets = await room.vault.secrets("acme")
        found = repr(await room.journal.read_all()) + (await bodies(room)).decode()
        for text in ("in the clear", key):
            assert text is not None
            for shown in (found, repr(secrets), repr(room), repr(made.item)):
                assert text not in shown

    play(scenario)


def test_an_expired_secret_is_not_revealed_and_says_why() -> None:
    """From the very moment on; its text is still searched for, since it may be echoed."""

    async def scenario(room: VaultRoom, clock: FakeClock) -> None:
        item = (await room.made("token", "brief", START_US + HOUR_US)).item
        secrets = await room.vault.secrets("acme")
        clock.time_us = START_US + HOUR_US - 1
        assert secrets.reveal("token") == "brief"
        clock.time_us += 1
        assert (secrets.reveal("token"), secrets.reveal(item.id)) == (None, None)
        assert secrets.hidden("token") == "expired"
        assert list(secrets.all_texts()) == ["brief"]
        later = clock.time_us + HOUR_US
        await room.vault.change(CALLER, item.id, ItemChange(expires_at=later))
        assert (await room.vault.secrets("acme")).reveal("token") == "brief"

    play(scenario)


def test_a_name_belongs_to_one_item_of_a_tenant() -> None:
    """Decided by the journal, also for two that come at once."""

    async def scenario(room: VaultRoom, clock: FakeClock) -> None:
        made = await asyncio.gather(
            *(room.made("token", f"s{n}") for n in range(5)), return_exceptions=True
        )
        refused = [answer for answer in made if isinstance(answer, StateError)]
        assert [error.code for error in refused] == ["vault_name_taken"] * 4
        assert len(await room.vault.items("acme")) == 1
        other = (await room.made("second")).item
        with pytest.raises(StateError, match="Another vault item"):
            await room.vault.change(CALLER, other.id, ItemChange(name="token", secret="lost"))
        assert (await room.vault.secrets("acme")).reveal("second") == "a secret"
        same = await room.vault.change(CALLER, other.id, ItemChange(name="second", secret="new"))
        assert same.name == "second"

    play(scenario)


def test_changes_that_come_at_once_all_happen_one_after_the_other() -> None:
    """None is lost, none leaves a key behind, and `sys` is shared by all of them."""

    async def scenario(room: VaultRoom, clock: FakeClock) -> None:
        items = [(await room.made(f"item-{n}")).item for n in range(4)]
        await asyncio.gather(
            *(
                room.vault.change(CALLER, item.id, ItemChange(secret=f"{item.name} {round_}"))
                for round_ in range(3)
                for item in items
            )
        )
        secrets = await room.vault.secrets("acme")
        for item in items:
            events = await room.journal.read_stream(item.id)
            keys = [v.position for v in events if isinstance(v.facts, e.KeyWrapped)]
            assert len(keys) == 4
            assert list(await room.journal.read_bodies(keys)) == keys[-1:]
            assert str(secrets.reveal(item.name)).startswith(item.name)

    play(scenario)


@pytest.mark.parametrize(
    ("name", "secret", "expires_at", "path"),
    [
        ("", "s", 0, "name"),
        ("ab", "s", 0, "name"),
        ("a" * 51, "s", 0, "name"),
        ("a b c", "s", 0, "name"),
        ("-abc", "s", 0, "name"),
        ("abc\n", "s", 0, "name"),
        ("tökén", "s", 0, "name"),
        ("abc\x00", "s", 0, "name"),
        ("../etc", "s", 0, "name"),
        ("{{ x }}", "s", 0, "name"),
        ("vlt_abc", "s", 0, "name"),
        ("name", "", 0, "secret"),
        ("name", "x" * 2001, 0, "secret"),
        ("name", None, 0, "secret"),
        ("name", "s", START_US, "expires_at"),
        ("name", "s", 1, "expires_at"),
    ],
)
def test_what_can_not_be_an_item_is_refused_by_field(
    name: str, secret: str | None, expires_at: int, path: str
) -> None:
    """Nothing is written, and the refusal holds nothing of a secret."""

    async def scenario(room: VaultRoom, clock: FakeClock) -> None:
        head = room.journal.head
        with pytest.raises(InvalidError) as caught:
            await room.made(name, secret, expires_at)
        assert list(caught.value.errors) == [path]
        assert "xxxx" not in str(caught.value)
        assert room.journal.head == head

    play(scenario)


def test_the_largest_secret_and_the_strangest_names_are_kept_as_they_are() -> None:
    """2,000 characters of whatever Unicode has."""

    async def scenario(room: VaultRoom, clock: FakeClock) -> None:
        secret = "\U0001f511\n\x00'\"" * 400
        for name in ("a" * 50, "_a-b.c:d", "0x0"):
            await room.made(name, secret)
            assert (await room.vault.secrets("acme")).reveal(name) == secret
        assert list((await room.vault.secrets("acme")).all_texts()) == [secret]

    play(scenario)


def test_a_repeated_call_is_answered_with_the_item_as_it_was_made() -> None:
    """Also when it was changed or has expired since, and without a second item."""

    async def scenario(room: VaultRoom, clock: FakeClock) -> None:
        request = RequestKey("acme vault", "k", "digest")

        async def call() -> object:
            made = await room.vault.create(
                CALLER,
                name="token",
                secret="once",
                expires_at=START_US + HOUR_US,
                request=request,
            )
            return made.item

        first = await call()
        item = (await room.vault.items("acme"))[0]
        await room.vault.change(CALLER, item.id, ItemChange(name="renamed"))
        clock.time_us += 2 * HOUR_US
        assert await call() == first
        await room.vault.delete(CALLER, item.id)
        assert await call() == first
        assert await room.vault.items("acme") == []

    play(scenario)


class _ChangedWhileRead(MemoryJournal):
    """A journal in which something happens while bodies are read for the first time."""

    meanwhile: Callable[[], Awaitable[object]] | None = None

    async def read_bodies(self, positions: Sequence[int]) -> dict[int, Body]:
        """Read, and let it happen before the answer is there."""
        found = await super().read_bodies(positions)
        happening, self.meanwhile = self.meanwhile, None
        if happening is not None:
            await happening()
        return found


def test_an_item_that_changes_while_the_list_is_read_keeps_its_place() -> None:
    """The oldest comes first, whichever was read last."""

    async def main() -> None:
        clock = FakeClock()
        journal = _ChangedWhileRead("vault-tests", clock, lambda: os.urandom(32))
        room = await vault_room(journal, clock)
        items = [(await room.made(f"item-{number}")).item for number in range(4)]
        started = await vault_room(journal, clock)
        change = ItemChange(expires_at=START_US + HOUR_US)
        journal.meanwhile = lambda: room.vault.change(CALLER, items[1].id, change)
        listed = await started.vault.items("acme")
        assert [item.name for item in listed] == [f"item-{number}" for number in range(4)]
        assert listed[1].expires_at == START_US + HOUR_US

    asyncio.run(main())
