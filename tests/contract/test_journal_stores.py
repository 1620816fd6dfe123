"""One conformance suite for every store: what `Journal` promises holds for each of them."""

from __future__ import annotations

import asyncio

import pytest

from refold.journal import events as e
from refold.journal.errors import (
    ConflictError,
    InvalidCommitError,
    RequestReusedError,
    ResourceInUseError,
)
from refold.journal.journal import (
    REQUEST_LIFE_US,
    Commit,
    Hold,
    Journal,
    NewEvent,
    RequestKey,
    StreamWrite,
)
from tests.support import journal_play
from tests.support.journal_kit import (
    META,
    START_US,
    FakeClock,
    Play,
    commit,
    completed,
    requested,
    started,
    write,
)

play_on_each_store = journal_play.play_on_each_store


def test_an_append_is_answered_with_what_is_then_read(play: Play) -> None:
    """The answer, the stream and the whole journal show one and the same event."""

    async def scenario(journal: Journal, clock: FakeClock) -> None:
        first, second = started(b"one"), completed()
        made = await journal.append(commit(write("a", 0, first, second)))
        assert not made.repeated
        assert [event.id for event in made.events] == [first.id, second.id]
        assert [(v.version, v.position, v.at) for v in made.events] == [
            (1, 2, START_US),
            (2, 3, START_US),
        ]
        assert [event.body_at for event in made.events] == [2, 0]
        assert [event.facts for event in made.events] == [first.facts, second.facts]
        assert list(made.events) == list(await journal.read_stream("a"))
        assert list(made.events) == list(await journal.read_all(1))
        assert journal.head == 3

    play(scenario)


def test_a_stream_at_another_version_is_a_conflict_that_says_which(play: Play) -> None:
    """The caller learns what it missed, and nothing is merged."""

    async def scenario(journal: Journal, clock: FakeClock) -> None:
        await journal.append(commit(write("a", 0)))
        for expected in (0, 2, 7):
            with pytest.raises(ConflictError) as caught:
                await journal.append(commit(write("a", expected)))
            assert (caught.value.stream, caught.value.expected, caught.value.actual) == (
                "a",
                expected,
                1,
            )
        assert journal.head == 2

    play(scenario)


def test_a_commit_over_several_streams_is_kept_whole_or_not_at_all(play: Play) -> None:
    """A child must never exist without its request, nor a firing without its run."""

    async def scenario(journal: Journal, clock: FakeClock) -> None:
        await journal.append(commit(write("a", 0)))
        with pytest.raises(ConflictError):
            await journal.append(commit(write("b", 0), write("a", 0), write("c", 0)))
        assert (await journal.read_stream("b"), await journal.read_stream("c")) == ([], [])
        assert journal.head == 2
        made = await journal.append(commit(write("b", 0, started(), started()), write("a", 1)))
        assert [(event.stream, event.version) for event in made.events] == [
            ("b", 1),
            ("b", 2),
            ("a", 2),
        ]

    play(scenario)


def test_a_guard_holds_a_stream_at_its_version_without_writing_to_it(play: Play) -> None:
    """A decision made from two streams is only kept while both are as they were read."""

    async def scenario(journal: Journal, clock: FakeClock) -> None:
        await journal.append(commit(write("a", 0)))
        await journal.append(commit(write("b", 0), guards=[("a", 1), ("never", 0)]))
        await journal.append(commit(write("a", 1)))
        with pytest.raises(ConflictError, match="stream a is at version 2, not at 1"):
            await journal.append(commit(write("b", 1), guards=[("a", 1)]))
        assert [event.version for event in await journal.read_stream("a")] == [1, 2]
        assert len(await journal.read_stream("b")) == 1

    play(scenario)


def test_what_an_unfinished_run_holds_is_in_use_until_the_run_ends(play: Play) -> None:
    """Whether a workflow may be deleted is decided here, never from a view."""

    async def scenario(journal: Journal, clock: FakeClock) -> None:
        await journal.append(commit(write("fl_run_2", 0, requested("fl_w"))))
        await journal.append(commit(write("fl_run_1", 0, requested("fl_w")), unused=["fl_v"]))
        assert list(await journal.holds()) == [Hold("fl_w", "fl_run_1"), Hold("fl_w", "fl_run_2")]
        with pytest.raises(ResourceInUseError, match="fl_w is in use by fl_run_1"):
            await journal.append(commit(write("fl_w", 0), unused=["fl_v", "fl_w"]))
        await journal.append(commit(write("fl_run_1", 1, completed())))
        with pytest.raises(ResourceInUseError, match="fl_w is in use by fl_run_2"):
            await journal.append(commit(write("fl_w", 0), unused=["fl_w"]))
        await journal.append(commit(write("fl_run_2", 1, completed())))
        await journal.append(commit(write("fl_w", 0), unused=["fl_w"]))
        assert list(await journal.holds()) == []

    play(scenario)


def test_holds_follow_the_events_of_one_commit_in_their_order(play: Play) -> None:
    """The index is what a fold over the events would give, however they are grouped."""

    async def scenario(journal: Journal, clock: FakeClock) -> None:
        await journal.append(commit(write("r", 0, requested("w"), completed())))
        assert list(await journal.holds()) == []
        await journal.append(commit(write("r", 2, completed(), requested("w"), requested("v"))))
        assert list(await journal.holds()) == [Hold("v", "r"), Hold("w", "r")]
        await journal.append(commit(write("r", 5, requested("w"))))
        assert list(await journal.holds()) == [Hold("v", "r"), Hold("w", "r")]

    play(scenario)


def test_a_request_that_comes_again_gets_what_the_first_one_made(play: Play) -> None:
    """A client that repeats a call after a broken connection starts nothing twice."""

    async def scenario(journal: Journal, clock: FakeClock) -> None:
        key = RequestKey("acme execute fl_w", "k", "digest")
        first = await journal.append(
            commit(write("a", 0, started(), started()), write("b", 0), request=key)
        )
        again = await journal.append(commit(write("c", 0), request=key))
        assert (again.repeated, list(again.events)) == (True, list(first.events))
        assert await journal.read_stream("c") == []
        other_scope = RequestKey("acme execute fl_x", "k", "other")
        assert not (await journal.append(commit(write("c", 0), request=other_scope))).repeated

    play(scenario)


def test_a_request_key_with_another_digest_is_refused(play: Play) -> None:
    """The same key for another request is a client's mistake, not a repeat."""

    async def scenario(journal: Journal, clock: FakeClock) -> None:
        await journal.append(commit(write("a", 0), request=RequestKey("s", "k", "one")))
        with pytest.raises(RequestReusedError) as caught:
            await journal.append(commit(write("b", 0), request=RequestKey("s", "k", "two")))
        assert caught.value.key == "k"
        assert await journal.read_stream("b") == []

    play(scenario)


def test_a_refused_commit_does_not_take_its_request_key(play: Play) -> None:
    """Refusals are not remembered: the corrected request may use the key."""

    async def scenario(journal: Journal, clock: FakeClock) -> None:
        with pytest.raises(ConflictError):
            await journal.append(commit(write("a", 3), request=RequestKey("s", "k", "one")))
        made = await journal.append(commit(write("a", 0), request=RequestKey("s", "k", "two")))
        assert not made.repeated

    play(scenario)


def test_a_request_key_is_free_again_after_24_hours(play: Play) -> None:
    """Judged from the first event's time, to the microsecond, whoever asked in between."""

    async def scenario(journal: Journal, clock: FakeClock) -> None:
        key = RequestKey("s", "k", "one")
        await journal.append(commit(write("a", 0), request=key))
        clock.time_us = START_US + REQUEST_LIFE_US - 1
        assert (await journal.append(commit(write("b", 0), request=key))).repeated
        clock.time_us = START_US + REQUEST_LIFE_US
        other = RequestKey("s", "k", "two")
        second = await journal.append(commit(write("b", 0), request=other))
        assert not second.repeated
        again = await journal.append(commit(write("c", 0), request=other))
        assert (again.repeated, list(again.events)) == (True, list(second.events))

    play(scenario)


def test_a_request_key_can_be_looked_up_without_appending(play: Play) -> None:
    """With the answers of an append: what it made, a refusal for another digest, or nothing."""

    async def scenario(journal: Journal, clock: FakeClock) -> None:
        key, other = RequestKey("s", "k", "one"), RequestKey("s", "k", "two")
        assert await journal.requested(key) is None
        made = await journal.append(commit(write("a", 0, started(), started()), request=key))
        found = await journal.requested(key)
        assert found is not None
        assert (found.repeated, list(found.events)) == (True, list(made.events))
        with pytest.raises(RequestReusedError):
            await journal.requested(other)
        assert await journal.requested(RequestKey("t", "k", "one")) is None
        clock.time_us += REQUEST_LIFE_US
        assert await journal.requested(key) is None
        assert await journal.requested(other) is None

    play(scenario)


def test_the_same_request_twice_at_once_is_made_once(play: Play) -> None:
    """Two of one group see each other: the second gets what the first one is about to make."""

    async def scenario(journal: Journal, clock: FakeClock) -> None:
        key = RequestKey("s", "k", "one")
        made = await asyncio.gather(
            *(journal.append(commit(write(f"s{n}", 0), request=key)) for n in range(20))
        )
        assert [answer.repeated for answer in made].count(False) == 1
        assert len({answer.events[0].id for answer in made}) == 1
        assert journal.head == 2

    play(scenario)


def test_a_repeat_is_recognised_by_its_event_ids(play: Play) -> None:
    """Who doesn't know whether a commit was kept asks again and gets the first answer."""

    async def scenario(journal: Journal, clock: FakeClock) -> None:
        same = commit(
            write("a", 0, started(b"x"), started()), write("b", 0), guards=[("g", 0)], unused=["w"]
        )
        first = await journal.append(same)
        await journal.append(commit(write("a", 2), write("g", 0, requested("w"))))
        clock.time_us += 5
        again = await journal.append(same)
        assert (again.repeated, list(again.events)) == (True, list(first.events))
        assert journal.head == 6

    play(scenario)


def test_other_ids_at_the_same_versions_are_a_conflict(play: Play) -> None:
    """Also where only some of the events, or only some of the streams, are the same."""

    async def scenario(journal: Journal, clock: FakeClock) -> None:
        first, second = started(), started()
        await journal.append(commit(write("a", 0, first, second)))
        for events in ([first, started()], [started(), second], [first, second, started()]):
            with pytest.raises(ConflictError):
                await journal.append(commit(write("a", 0, *events)))
        with pytest.raises(ConflictError):
            await journal.append(commit(write("a", 0, first, second), write("b", 0)))
        assert (await journal.append(commit(write("a", 0, first)))).repeated
        assert journal.head == 3

    play(scenario)


@pytest.mark.parametrize(
    "bad",
    [
        commit(),
        commit(StreamWrite("a", 0, [], META)),
        commit(write("a", 0), write("a", 1)),
        commit(write("", 0)),
        commit(write("a", -1)),
        commit(write("a", 0, started(id_="half \ud800"))),
        commit(write("a", 0, started(b"x", subject="half \ud800"))),
        commit(write("a", 0), request=RequestKey("s", "half \ud800", "d")),
        commit(write("half \ud800", 0)),
        commit(write("a", 0, NewEvent("i", e.RunStarted(limit_us=2**53, started_at=0)))),
        commit(write("a", 0, NewEvent("i", e.RunStarted(limit_us=True, started_at=0)))),
        commit(write("a", 0, NewEvent("i", e.RunCompleted(node=""), payload="00", body_at=999))),
        commit(write("a", 0, NewEvent("i", e.RunCompleted(node=""), payload="00"))),
        commit(write("a", 0, NewEvent("i", e.RunCompleted(node=""), body_at=1))),
        commit(write("a", 0, NewEvent("i", e.RunCompleted(node=""), b"", payload="00", body_at=1))),
    ],
)
def test_a_commit_that_makes_no_entries_is_refused_and_harms_no_other(
    play: Play, bad: Commit
) -> None:
    """One caller's mistake or malice must not fail the group that it waits in."""

    async def scenario(journal: Journal, clock: FakeClock) -> None:
        before, refused, after = await asyncio.gather(
            journal.append(commit(write("x", 0))),
            journal.append(bad),
            journal.append(commit(write("y", 0))),
            return_exceptions=True,
        )
        assert isinstance(refused, InvalidCommitError), refused
        assert not isinstance(before, BaseException)
        assert not isinstance(after, BaseException)
        assert journal.head == 3

    play(scenario)


def test_a_subscriber_hears_only_of_the_types_that_it_asks_for(play: Play) -> None:
    """Who follows workflows goes past no event of a run, and is not called for a group of them."""

    async def scenario(journal: Journal, clock: FakeClock) -> None:
        heard: list[list[str]] = []
        every: list[str] = []
        journal.subscribe(lambda events: every.extend(event.facts.type for event in events))
        end = journal.subscribe(
            lambda events: heard.append([event.facts.type for event in events]),
            frozenset({e.RunRequested, e.RunCompleted}),
        )
        await journal.append(commit(write("fl_run_1", 0, requested("fl_w"), started())))
        await journal.append(commit(write("fl_run_1", 2, started())))
        await journal.append(commit(write("fl_run_1", 3, started(), completed())))
        assert heard == [["run.requested"], ["run.completed"]]
        assert every == [
            *("run.requested", "run.started"),
            *("run.started", "run.started", "run.completed"),
        ]
        end()
        await journal.append(commit(write("fl_run_2", 0, requested("fl_w"))))
        assert len(heard) == 2

    play(scenario)


@pytest.mark.parametrize("count", [1, 2, 3, 15, 16, 17, 31, 40])
def test_appends_of_any_length_are_kept_in_order_and_whole(play: Play, count: int) -> None:
    """Rows go into the file many at a time; how many at once changes nothing."""

    async def scenario(journal: Journal, clock: FakeClock) -> None:
        new = [started(b"body %d" % n if n % 3 else None) for n in range(count)]
        made = await journal.append(commit(write("a", 0, *new)))
        read = await journal.read_stream("a")
        assert list(made.events) == list(read)
        assert [event.id for event in read] == [event.id for event in new]
        bodies = await journal.read_bodies([event.position for event in read])
        found = [bodies[v.position].data if v.body_at else None for v in read]
        assert found == [event.body for event in new]

    play(scenario)
