"""Archiving in every store: bodies go with the event that says where to, and nothing else goes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from refold.journal import events as e
from refold.journal.erasing import GONE_MAX, positions_text
from refold.journal.errors import InvalidCommitError
from refold.journal.journal import Commit, Journal, Metadata, NewEvent, StreamWrite
from tests.support import journal_play
from tests.support.journal_kit import META, NEW_IDS, FakeClock, Play, commit, started, write

play_on_each_store = journal_play.play_on_each_store
RUN = "fl_run_a"
NOBODY = Metadata(tenant="", actor="", corr="")


def said(*positions: int) -> NewEvent:
    """Make the event that says which bodies are in a segment."""
    facts = e.SegmentArchived(
        digest="d", name="segment-000001", positions=positions_text(positions)
    )
    return NewEvent(NEW_IDS.new(), facts)


def archiving(*positions: int, version: int = 1, meta: Metadata = NOBODY) -> Commit:
    """Make a commit that archives, and nothing else."""
    return Commit([StreamWrite("sys", version, [said(*positions)], meta)], archived=positions)


def erasing(*positions: int, version: int = 2) -> Commit:
    """Make a commit that erases bodies of the run."""
    facts = e.PayloadErased(positions=positions_text(positions), reason="asked", target=RUN)
    event = NewEvent(NEW_IDS.new(), facts)
    return Commit([StreamWrite("sys", version, [event], META)], erased=positions)


async def fill(journal: Journal) -> list[int]:
    """Write three events with a body into a run, one into a workflow, and one without any."""
    made = await journal.append(
        commit(
            write(RUN, 0, started(b"one"), started(b"two", subject="ann"), started(b"three")),
            write("fl_w", 0, started(b"definition")),
            write("fl_run_b", 0),
        )
    )
    return [event.position for event in made.events]


def test_an_archived_body_is_missing_and_its_segment_is_known(play: Play) -> None:
    """The structure stays here; who wants the data is told where it is."""

    async def scenario(journal: Journal, clock: FakeClock) -> None:
        one, two, three, *_ = positions = await fill(journal)
        before = await journal.read_all()
        await journal.append(archiving(one, three))
        assert (await journal.read_all())[: len(before)] == before
        assert sorted(await journal.read_bodies(positions)) == [two, positions[3]]
        names = await journal.read_segments(positions)
        assert names == {one: "segment-000001", three: "segment-000001"}
        await journal.append(archiving(two, version=2))
        assert list(await journal.read_segments([two])) == [two]

    play(scenario)


def test_an_archived_body_can_still_be_erased_once(play: Play) -> None:
    """From then on it is erased as far as anybody is told."""

    async def scenario(journal: Journal, clock: FakeClock) -> None:
        one, two, three, *_ = await fill(journal)
        await journal.append(archiving(one, two))
        await journal.append(erasing(one, three))
        assert await journal.read_segments([one, two, three]) == {two: "segment-000001"}
        assert await journal.read_bodies([one, two, three]) == {}
        with pytest.raises(InvalidCommitError):
            await journal.append(erasing(one, version=3))
        with pytest.raises(InvalidCommitError):
            await journal.append(archiving(three, version=3))

    play(scenario)


BAD: dict[str, Callable[[], Commit]] = {
    "under a tenant": lambda: archiving(2, meta=META),
    "of a workflow's body": lambda: archiving(5),
    "of what has no body": lambda: archiving(6),
    "of what is not there": lambda: archiving(99),
    "of no position": lambda: archiving(0),
    "out of order": lambda: archiving(3, 2),
    "twice": lambda: archiving(2, 2),
    "of nothing": archiving,
    "without an event": lambda: Commit([write("x", 0)], archived=[2]),
    "with an event for other positions": lambda: Commit(
        [StreamWrite("sys", 1, [said(3)], NOBODY)], archived=[2]
    ),
    "with the event of an erasure": lambda: Commit(erasing(2, version=1).writes, archived=[2]),
    "as an erasure": lambda: Commit(archiving(2).writes, erased=[2]),
    "with an erasure": lambda: Commit(archiving(2).writes, erased=[3], archived=[2]),
    "with two events": lambda: Commit(
        [StreamWrite("sys", 1, [said(2), said(2)], NOBODY)], archived=[2]
    ),
    "said elsewhere": lambda: Commit([StreamWrite("x", 0, [said(2)], NOBODY)], archived=[2]),
    "said and not done": lambda: Commit([StreamWrite("sys", 1, [said(2)], NOBODY)]),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_an_archiving_that_would_not_be_true_is_refused_and_harms_no_other(
    play: Play, bad: Callable[[], Commit]
) -> None:
    """The journal never says that a body is elsewhere when it isn't."""

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
        assert list(await journal.read_bodies(positions)) == positions[:4]
        assert len(await journal.read_stream("sys")) == 1

    play(scenario)


def test_a_body_is_archived_once(play: Play) -> None:
    """A second event would name a segment that may not have it."""

    async def scenario(journal: Journal, clock: FakeClock) -> None:
        one, two, *_ = await fill(journal)
        await journal.append(archiving(one))
        with pytest.raises(InvalidCommitError, match=f"position {one} holds no body of a run"):
            await journal.append(archiving(one, two, version=2))
        assert list(await journal.read_bodies([one, two])) == [two]

    play(scenario)


def test_one_commit_archives_no_more_than_its_neighbours_can_wait_for(play: Play) -> None:
    """Who has more makes several commits of it."""

    async def scenario(journal: Journal, clock: FakeClock) -> None:
        bodies = [started(b"x") for _ in range(GONE_MAX + 1)]
        made = await journal.append(commit(write(RUN, 0, *bodies)))
        positions = [event.position for event in made.events]
        with pytest.raises(InvalidCommitError, match=f"at most {GONE_MAX}"):
            await journal.append(archiving(*positions))
        await journal.append(archiving(*positions[1:]))
        assert list(await journal.read_bodies(positions)) == positions[:1]

    play(scenario)
