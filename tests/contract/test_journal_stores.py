"""One conformance suite for every store: what `Journal` promises holds for each of them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from refold.journal import events as e
from refold.journal.envelope import Recorded, payload_commitment, source
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
from refold.journal.memory_store import MemoryJournal
from tests.support.journal_kit import (
    META,
    NEW_IDS,
    START_US,
    FakeClock,
    commit,
    completed,
    opened,
    requested,
    started,
    write,
)

Scenario = Callable[[Journal, FakeClock], Awaitable[None]]
Play = Callable[[Scenario], None]


@pytest.fixture(name="play", params=["memory", "sqlite"])
def _play(request: pytest.FixtureRequest, tmp_path: Path) -> Play:
    """Play a scenario on a fresh journal of each store."""

    async def main(scenario: Scenario) -> None:
        clock = FakeClock()
        async with AsyncExitStack() as stack:
            journal: Journal
            if request.param == "memory":
                journal = MemoryJournal("memory", clock, lambda: os.urandom(32))
                # The first event of the other store, so that positions are the same.
                await journal.append(commit(write("sys", 0)))
            else:
                journal = await stack.enter_async_context(opened(tmp_path, clock))
            await scenario(journal, clock)

    return lambda scenario: asyncio.run(main(scenario))


async def everything(journal: Journal) -> Sequence[Recorded]:
    """Read the whole journal."""
    return await journal.read_all(0, 1_000_000)


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


def test_subscribers_hear_of_every_event_once_in_order_and_of_no_repeat(play: Play) -> None:
    """A projection fed by them has every position, without a look at the disk."""

    async def scenario(journal: Journal, clock: FakeClock) -> None:
        heard: list[tuple[int, str]] = []
        order: list[str] = []

        def first(events: Sequence[Recorded]) -> None:
            order.append("first")
            assert journal.head == events[-1].position, "the head is never behind what is told"
            heard.extend((event.position, event.id) for event in events)

        end = journal.subscribe(first)
        end_second = journal.subscribe(lambda events: order.append("second"))
        same = commit(write("a", 0))
        await journal.append(same)
        assert order == ["first", "second"]
        await journal.append(same)
        with pytest.raises(ConflictError):
            await journal.append(commit(write("a", 0)))
        assert order == ["first", "second"], "neither a repeat nor a refusal is news"
        await asyncio.gather(*(journal.append(commit(write(f"s{n}", 0))) for n in range(50)))
        assert heard == [(event.position, event.id) for event in (await everything(journal))[1:]]
        end()
        end()
        order.clear()
        await journal.append(commit(write("b", 0)))
        assert order == ["second"]
        end_second()

    play(scenario)


def test_a_subscriber_has_heard_before_the_appending_caller_goes_on(play: Play) -> None:
    """So that a caller never reads a view that is behind its own answer."""

    async def scenario(journal: Journal, clock: FakeClock) -> None:
        seen: list[str] = []
        end = journal.subscribe(lambda events: seen.extend(event.stream for event in events))

        async def caller(stream: str) -> None:
            await journal.append(commit(write(stream, 0)))
            assert stream in seen

        await asyncio.gather(*(caller(f"s{n}") for n in range(20)))
        end()

    play(scenario)


def test_a_subscriber_that_raises_stops_neither_the_callers_nor_the_others(play: Play) -> None:
    """The events are durable already; the loop's handler hears of the broken subscriber."""

    async def scenario(journal: Journal, clock: FakeClock) -> None:
        reported: list[object] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda loop, context: reported.append(context["exception"])
        )
        fault = RuntimeError("a broken projection")
        heard: list[int] = []

        def broken(events: Sequence[Recorded]) -> None:
            raise fault

        ends = [
            journal.subscribe(broken),
            journal.subscribe(lambda events: heard.append(len(events))),
        ]
        made = await asyncio.wait_for(journal.append(commit(write("a", 0))), 10)
        assert (len(made.events), heard, reported) == (1, [1], [fault])
        for end in ends:
            end()

    play(scenario)


def test_a_subscriber_may_end_a_subscription_while_it_is_told(play: Play) -> None:
    """One that has ended is not called any more, and nobody else is skipped."""

    async def scenario(journal: Journal, clock: FakeClock) -> None:
        heard: list[str] = []
        ends: list[Callable[[], None]] = []

        def ends_the_next(events: Sequence[Recorded]) -> None:
            heard.append("a")
            ends[1]()

        ends.append(journal.subscribe(ends_the_next))
        ends.append(journal.subscribe(lambda events: heard.append("b")))
        ends.append(journal.subscribe(lambda events: heard.append("c")))
        await journal.append(commit(write("a", 0)))
        assert heard == ["a", "c"]

    play(scenario)


def test_of_many_at_once_on_one_stream_exactly_one_wins_each_version(play: Play) -> None:
    """Optimistic concurrency is the fence between two workers on one run."""

    async def scenario(journal: Journal, clock: FakeClock) -> None:
        for version in range(5):
            answers = await asyncio.gather(
                *(journal.append(commit(write("a", version))) for _ in range(40)),
                return_exceptions=True,
            )
            conflicts = [answer for answer in answers if isinstance(answer, ConflictError)]
            assert len(conflicts) == 39
            assert {conflict.actual for conflict in conflicts} == {version + 1}
        assert [event.version for event in await journal.read_stream("a")] == [1, 2, 3, 4, 5]

    play(scenario)


def test_positions_have_no_holes_whatever_was_refused(play: Play) -> None:
    """A missing position is an alarm to every reader, so a refusal must not use one up."""

    async def scenario(journal: Journal, clock: FakeClock) -> None:
        await asyncio.gather(
            *(journal.append(commit(write(f"s{n % 7}", n // 14))) for n in range(140)),
            return_exceptions=True,
        )
        events = await everything(journal)
        assert [event.position for event in events] == list(range(1, journal.head + 1))
        for stream in {event.stream for event in events}:
            versions = [event.version for event in events if event.stream == stream]
            assert versions == list(range(1, len(versions) + 1))

    play(scenario)


def test_commit_times_never_decrease_when_the_clock_goes_back(play: Play) -> None:
    """`as_of` a time means one position, so the order of times is the order of positions."""

    async def scenario(journal: Journal, clock: FakeClock) -> None:
        times: list[int] = []
        for step in (0, 10, -5_000_000, 3, -1, 5_000_000):
            clock.time_us += step
            made = await journal.append(commit(write("a", len(times))))
            times.append(made.events[0].at - START_US)
        assert times == [0, 10, 10, 10, 10, 12]

    play(scenario)


def test_bodies_are_read_by_position_with_the_salt_of_their_commitment(play: Play) -> None:
    """The entry proves the body; what has none is missing from the answer."""

    async def scenario(journal: Journal, clock: FakeClock) -> None:
        bodies = [b"", b"one", None, bytes(range(256)) * 400]
        events = [started(body, subject="somebody") for body in bodies]
        made = (await journal.append(commit(write("a", 0, *events)))).events
        read = await journal.read_bodies([event.position for event in made] + [999])
        assert {p: body.data for p, body in read.items()} == {
            event.position: body
            for event, body in zip(made, bodies, strict=True)
            if body is not None
        }
        assert len({body.salt for body in read.values()}) == 3
        for event in made:
            if event.body_at:
                body = read[event.position]
                assert payload_commitment(body.salt, body.data) == event.payload
            else:
                assert event.payload == ""
        assert await journal.read_bodies([]) == {}
        many = await journal.read_bodies(list(range(1, 2001)))
        assert set(many) == set(read)

    play(scenario)


def test_a_replayed_event_shows_the_root_body_and_keeps_its_commitment(play: Play) -> None:
    """Bodies are stored once, so that one erasure reaches every fork, a fork of a fork too."""

    async def scenario(journal: Journal, clock: FakeClock) -> None:
        original = (await journal.append(commit(write("a", 0, started(b"root"))))).events[0]
        for stream in ("b", "c"):
            copy = NewEvent(
                NEW_IDS.new(),
                original.facts,
                src=source(original),
                payload=original.payload,
                body_at=original.body_at,
            )
            replayed = (await journal.append(commit(write(stream, 0, copy)))).events[0]
            assert replayed.body_at == 2
            assert replayed.payload == original.payload
            assert replayed.src == f"{original.stream}@1#{original.leaf.hex()}"
            assert list(await journal.read_stream(stream)) == [replayed]
            original = replayed
        assert list(await journal.read_bodies([2, 3, 4])) == [2]

    play(scenario)


def test_reads_are_paged_by_position_and_by_version(play: Play) -> None:
    """A long read never holds a cursor, so each page starts after the last one."""

    async def scenario(journal: Journal, clock: FakeClock) -> None:
        await journal.append(commit(write("a", 0, *(started() for _ in range(10)))))
        assert [v.version for v in await journal.read_stream("a", 3, 4)] == [4, 5, 6, 7]
        assert [v.version for v in await journal.read_stream("a", 8, 4)] == [9, 10]
        assert await journal.read_stream("a", 10) == []
        assert await journal.read_stream("nobody") == []
        assert [v.position for v in await journal.read_all(3, 2)] == [4, 5]
        assert await journal.read_all(11) == []

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
