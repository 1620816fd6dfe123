"""Bodies in every store: where they stand, whose they are, and commits that rely on them."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from refold.journal import events as e
from refold.journal.claims import lineage
from refold.journal.erasing import positions_text
from refold.journal.errors import BodyErasedError, ResourceInUseError
from refold.journal.journal import Commit, Journal, NewEvent, Standing, StreamWrite
from tests.support import journal_play
from tests.support.journal_kit import (
    META,
    NEW_IDS,
    FakeClock,
    Play,
    commit,
    completed,
    requested,
    started,
    write,
)

play_on_each_store = journal_play.play_on_each_store
ROOT, FORK = "fl_run_root", "fl_run_fork"


def erasing(*positions: int, version: int = 1, unused: tuple[str, ...] = ()) -> Commit:
    """Make a commit that erases bodies of the root run."""
    facts = e.PayloadErased(positions=positions_text(positions), reason="asked", target=ROOT)
    said = StreamWrite("sys", version, [NewEvent(NEW_IDS.new(), facts)], META)
    return Commit([said], unused=unused, erased=positions)


def forked(needs: tuple[int, ...] = ()) -> Commit:
    """Make the commit of a run that takes its payload from the root run."""
    facts = msgspec.structs.replace(requested("w").facts, payload_run=ROOT)
    return Commit([write(FORK, 0, NewEvent(NEW_IDS.new(), facts))], needs=needs)


async def fill(journal: Journal) -> list[int]:
    """Write an ended run with three bodies of two people; returns where they stand."""
    bodies = [
        started(b"one", None, "ada"),
        started(b"four", None, "ben"),
        started(b"", None, "ada"),
    ]
    made = await journal.append(commit(write(ROOT, 0, requested("w"), *bodies, completed())))
    return [event.position for event in made.events[1:4]]


def test_a_store_says_which_bodies_are_there_and_how_large(play: Play) -> None:
    """Without reading them: an erasure of large ones must not hold them in memory."""

    async def scenario(journal: Journal, clock: FakeClock) -> None:
        one, two, three = await fill(journal)
        assert await journal.standing([three, one, 99, 1]) == {one: 3, three: 0}
        sizes = {one: 3, two: 4, three: 0}
        assert await journal.standing_in(["none", ROOT]) == {ROOT: Standing(sizes)}
        await journal.append(erasing(two))
        found = (await journal.standing_in([ROOT]))[ROOT]
        assert (found.sizes, found.erased) == ({one: 3, three: 0}, 1)
        await journal.append(erasing(one, three, version=2))
        assert await journal.standing_in([ROOT]) == {ROOT: Standing({}, 3)}
        assert await journal.standing([one, two, three]) == {}

    play(scenario)


def test_what_is_replayed_stands_elsewhere(play: Play) -> None:
    """A fork has no bodies but those that it recorded itself."""

    async def scenario(journal: Journal, clock: FakeClock) -> None:
        one, *_ = await fill(journal)
        root = (await journal.read_stream(ROOT))[1]
        copied = NewEvent(
            NEW_IDS.new(), root.facts, src=f"{ROOT}@2#00", payload=root.payload, body_at=one
        )
        made = await journal.append(commit(write(FORK, 0, copied, started(b"own"))))
        own = made.events[1].position
        assert await journal.standing_in([FORK]) == {FORK: Standing({own: 3})}

    play(scenario)


def test_a_store_finds_what_a_person_left(play: Play) -> None:
    """In the order of the journal, page by page; what was erased is nobody's any more."""

    async def scenario(journal: Journal, clock: FakeClock) -> None:
        one, two, three = await fill(journal)
        found = await journal.tagged("ada")
        assert [event.position for event in found] == [one, three]
        assert list(await journal.tagged("ada", one)) == list(found[1:])
        assert list(await journal.tagged("ada", 0, 1)) == list(found[:1])
        assert await journal.tagged("nobody") == []
        await journal.append(erasing(one))
        assert [event.position for event in await journal.tagged("ada")] == [three]
        assert [event.position for event in await journal.tagged("ben")] == [two]

    play(scenario)


def test_a_commit_that_relies_on_a_body_is_refused_once_it_is_gone(play: Play) -> None:
    """Also where both are on their way at the same moment: the journal decides, in its order."""

    async def scenario(journal: Journal, clock: FakeClock) -> None:
        one, two, _ = await fill(journal)
        head = journal.head
        gone, refused = await asyncio.gather(
            journal.append(erasing(one)),
            journal.append(forked((two, one))),
            return_exceptions=True,
        )
        assert not isinstance(gone, BaseException)
        assert isinstance(refused, BodyErasedError)
        assert refused.position == one
        assert journal.head == head + 1
        await journal.append(forked((two,)))

    play(scenario)


def test_what_an_unfinished_fork_reads_is_held(play: Play) -> None:
    """From its first event to its last, also where both are in one commit; it is no use of it."""

    async def scenario(journal: Journal, clock: FakeClock) -> None:
        one, *_ = await fill(journal)
        free = (lineage(ROOT),)
        made, refused = await asyncio.gather(
            journal.append(forked()),
            journal.append(erasing(one, unused=free)),
            return_exceptions=True,
        )
        assert not isinstance(made, BaseException)
        assert isinstance(refused, ResourceInUseError)
        assert refused.holder == FORK
        assert [hold.resource for hold in await journal.holds()] == ["w"]
        assert await journal.unfinished([ROOT, FORK, "fl_run_none"]) == [FORK]
        await journal.append(commit(write(FORK, 1, completed())))
        assert await journal.unfinished([ROOT, FORK]) == []
        whole = forked()
        first = whole.writes[0].events[0]
        again = NewEvent(NEW_IDS.new(), first.facts)
        await journal.append(commit(write("fl_run_third", 0, again, completed())))
        await journal.append(erasing(one, unused=free))

    play(scenario)


def test_a_need_that_never_was_a_body_is_none(play: Play) -> None:
    """A position without a body, and one that is not there yet, can't be relied on."""

    async def scenario(journal: Journal, clock: FakeClock) -> None:
        await fill(journal)
        for position in (1, 99):
            with pytest.raises(BodyErasedError, match=f"position {position} holds no body"):
                await journal.append(forked((position,)))

    play(scenario)
