"""Conformance of every store, what is told and read: subscribers, order, times, bodies, pages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest

from refold.journal.envelope import Recorded, payload_commitment, source
from refold.journal.errors import (
    ConflictError,
)
from refold.journal.journal import (
    Journal,
    NewEvent,
)
from tests.support import journal_play
from tests.support.journal_kit import (
    NEW_IDS,
    START_US,
    FakeClock,
    Play,
    commit,
    started,
    write,
)

play_on_each_store = journal_play.play_on_each_store


async def everything(journal: Journal) -> Sequence[Recorded]:
    """Read the whole journal."""
    return await journal.read_all(0, 1_000_000)


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


def test_a_time_is_the_last_position_that_was_committed_by_then(play: Play) -> None:
    """Whatever the length of the journal, and with several commits of one time."""

    async def scenario(journal: Journal, clock: FakeClock) -> None:
        times = [(await everything(journal))[0].at]
        for number in range(40):
            # Some commits of one time, some long pauses, and events that came together.
            clock.time_us += (0, 1, 7, 1_000_000)[number % 4]
            events = [started() for _ in range(1 + number % 3)]
            made = await journal.append(commit(write(f"s{number}", 0, *events)))
            times += [event.at for event in made.events]
            clock.time_us += 1
            assert await journal.position_at(times[-1]) == journal.head
            clock.time_us -= 1
        clock.time_us += 100
        for wanted in {*times, *(at - 1 for at in times), *(at + 1 for at in times)}:
            by_then = sum(at <= wanted for at in times)
            assert await journal.position_at(wanted) == by_then
        assert await journal.position_at(0) == 0
        assert await journal.position_at(-(2**62)) == 0
        assert await journal.position_at(clock.time_us - 1) == journal.head
        for to_come in (clock.time_us, clock.time_us + 1, 2**62):
            assert await journal.position_at(to_come) is None

    play(scenario)
