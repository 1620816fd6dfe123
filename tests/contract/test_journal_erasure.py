"""Erasure in every store: bodies go with the event that says so, and nothing else goes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from refold.journal import events as e
from refold.journal.erasing import ERASED_MAX, positions_text
from refold.journal.errors import ConflictError, InvalidCommitError, ResourceInUseError
from refold.journal.journal import Commit, Journal, Metadata, NewEvent, StreamWrite
from tests.support import journal_play
from tests.support.journal_kit import META, NEW_IDS, FakeClock, Play, commit, started, write

play_on_each_store = journal_play.play_on_each_store


def erased(*positions: int, target: str = "a") -> NewEvent:
    """Make the event that says which bodies are gone."""
    facts = e.PayloadErased(positions=positions_text(positions), reason="asked", target=target)
    return NewEvent(NEW_IDS.new(), facts)


def erasing(*positions: int, version: int = 1, target: str = "a", meta: Metadata = META) -> Commit:
    """Make a commit that erases, and nothing else."""
    said = StreamWrite("sys", version, [erased(*positions, target=target)], meta)
    return Commit([said], erased=positions)


async def fill(journal: Journal) -> list[int]:
    """Write three events with a body into `a` and one into `b`; returns where they stand."""
    made = await journal.append(
        commit(
            write("a", 0, started(b"one"), started(b"two"), started(b"three")),
            write("b", 0, started(b"other")),
        )
    )
    return [event.position for event in made.events]


def test_an_erased_body_is_missing_and_its_event_stays_as_it_was(play: Play) -> None:
    """The structure of a history outlives the data in it."""

    async def scenario(journal: Journal, clock: FakeClock) -> None:
        one, two, three, other = await fill(journal)
        before = await journal.read_all()
        made = await journal.append(erasing(one, three))
        assert [event.position for event in made.events] == [other + 1]
        assert (await journal.read_all())[: len(before)] == before
        bodies = await journal.read_bodies([one, two, three, other])
        assert {at: body.data for at, body in bodies.items()} == {two: b"two", other: b"other"}

    play(scenario)


def test_what_a_fork_shows_goes_with_the_root(play: Play) -> None:
    """A replayed event has no body of its own, so one erasure reaches every fork."""

    async def scenario(journal: Journal, clock: FakeClock) -> None:
        one, *_ = await fill(journal)
        root = (await journal.read_stream("a"))[0]
        copied = NewEvent(
            NEW_IDS.new(), root.facts, src="a@1#00", payload=root.payload, body_at=one
        )
        made = await journal.append(commit(write("fork", 0, copied)))
        with pytest.raises(InvalidCommitError):
            await journal.append(erasing(made.events[0].position, target="fork"))
        await journal.append(erasing(one))
        assert await journal.read_bodies([made.events[0].body_at]) == {}

    play(scenario)


def test_an_erasure_rides_with_what_it_belongs_to(play: Play) -> None:
    """A deletion and the erasure of its key are one commit: both or neither."""

    async def scenario(journal: Journal, clock: FakeClock) -> None:
        one, *_ = await fill(journal)
        whole = Commit([write("a", 3), StreamWrite("sys", 1, [erased(one)], META)], erased=[one])
        late = Commit([write("a", 2), *whole.writes[1:]], erased=[one])
        with pytest.raises(ConflictError):
            await journal.append(late)
        assert list(await journal.read_bodies([one])) == [one]
        made = await journal.append(whole)
        again = await journal.append(whole)
        assert (again.repeated, list(again.events)) == (True, list(made.events))
        assert await journal.read_bodies([one]) == {}

    play(scenario)


def test_a_body_is_erased_once(play: Play) -> None:
    """A second erasure would say something that is not true: there was nothing left."""

    async def scenario(journal: Journal, clock: FakeClock) -> None:
        one, two, *_ = await fill(journal)
        await journal.append(erasing(one))
        with pytest.raises(InvalidCommitError, match=f"position {one} holds no body"):
            await journal.append(erasing(one, two, version=2))
        assert list(await journal.read_bodies([one, two])) == [two]

    play(scenario)


def test_two_erasures_of_one_group_see_each_other(play: Play) -> None:
    """Both are decided in the writer's transaction, one after the other."""

    async def scenario(journal: Journal, clock: FakeClock) -> None:
        one, *_ = await fill(journal)
        first, second = await asyncio.gather(
            journal.append(erasing(one)),
            journal.append(erasing(one, version=2)),
            return_exceptions=True,
        )
        assert not isinstance(first, BaseException)
        assert isinstance(second, InvalidCommitError)

    play(scenario)


OTHER = Metadata(tenant="other", actor="", corr="")
ELSEWHERE = Commit([write("x", 0, erased(2))], erased=[2])
BAD: dict[str, Callable[[], Commit]] = {
    "of another tenant": lambda: erasing(2, meta=OTHER),
    "of another stream": lambda: erasing(2, target="b"),
    "of two streams": lambda: erasing(2, 5),
    "of what is not there": lambda: erasing(99),
    "of what this commit is about to write": lambda: Commit(
        [write("a", 3, started(b"x")), StreamWrite("sys", 1, [erased(6)], META)], erased=[6]
    ),
    "of no position": lambda: erasing(0),
    "of an event without a body": lambda: erasing(1, target="sys", meta=Metadata("", "", "")),
    "out of order": lambda: erasing(3, 2),
    "twice": lambda: erasing(2, 2),
    "of nothing": erasing,
    "without an event": lambda: Commit([write("x", 0)], erased=[2]),
    "with an event for other positions": lambda: Commit(
        [StreamWrite("sys", 1, [erased(3)], META)], erased=[2]
    ),
    "with two events": lambda: Commit(
        [StreamWrite("sys", 1, [erased(2), erased(2)], META)], erased=[2]
    ),
    "said elsewhere": lambda: ELSEWHERE,
    "said and not done": lambda: Commit([StreamWrite("sys", 1, [erased(2)], META)]),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_an_erasure_that_would_not_be_true_is_refused_and_harms_no_other(
    play: Play, bad: Callable[[], Commit]
) -> None:
    """Nothing is taken that isn't the caller's to take, and the journal never says otherwise."""

    async def scenario(journal: Journal, clock: FakeClock) -> None:
        positions = await fill(journal)
        before, refused, after = await asyncio.gather(
            journal.append(commit(write("y", 0))),
            journal.append(bad()),
            journal.append(commit(write("z", 0))),
            return_exceptions=True,
        )
        assert isinstance(refused, InvalidCommitError), refused
        assert not isinstance(before, BaseException)
        assert not isinstance(after, BaseException)
        assert list(await journal.read_bodies(positions)) == positions
        assert len(await journal.read_stream("sys")) == 1

    play(scenario)


def test_one_commit_erases_no_more_than_its_neighbours_can_wait_for(play: Play) -> None:
    """Who has more to erase makes several commits of it."""

    async def scenario(journal: Journal, clock: FakeClock) -> None:
        bodies = [started(b"x") for _ in range(ERASED_MAX + 1)]
        made = await journal.append(commit(write("a", 0, *bodies)))
        positions = [event.position for event in made.events]
        with pytest.raises(InvalidCommitError, match=f"at most {ERASED_MAX}"):
            await journal.append(erasing(*positions))
        await journal.append(erasing(*positions[1:]))
        assert list(await journal.read_bodies(positions)) == positions[:1]

    play(scenario)


def test_a_claimed_name_is_free_again_with_the_deletion(play: Play) -> None:
    """Two items of one name are told apart by the journal; claims are no holds of runs."""

    async def scenario(journal: Journal, clock: FakeClock) -> None:
        name = ["vault-name:n"]
        await journal.append(commit(write("vlt_1", 0, defined("n")), unused=name))
        assert list(await journal.holds()) == []
        with pytest.raises(ResourceInUseError, match="in use by vlt_1"):
            await journal.append(commit(write("vlt_2", 0, defined("n")), unused=name))
        await journal.append(commit(write("vlt_1", 1, defined("m")), unused=["vault-name:m"]))
        await journal.append(commit(write("vlt_2", 0, defined("n")), unused=name))
        deleted = NewEvent(NEW_IDS.new(), e.VaultDeleted())
        await journal.append(commit(write("vlt_2", 1, deleted)))
        await journal.append(commit(write("vlt_3", 0, defined("n")), unused=name))

    play(scenario)


def defined(name_hash: str) -> NewEvent:
    """Make the event by which a vault item claims a name."""
    facts = e.VaultDefined(
        api_key_hash="",
        expires_at=0,
        idempotency_digest="",
        idempotency_key="",
        idempotency_scope="",
        item_version=1,
        name_hash=name_hash,
    )
    return NewEvent(NEW_IDS.new(), facts)
