"""The writer thread: groups, a full queue, cancelled callers, and how it ends."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from refold.journal.clock import SystemClock
from refold.journal.errors import (
    ConflictError,
    CorruptStoreError,
    OverloadedError,
    StoreClosedError,
)
from refold.journal.journal import RequestKey
from tests.support.journal_kit import (
    START_US,
    FakeClock,
    commit,
    commits_in_log,
    held_up,
    opened,
    queued,
    raw,
    write,
)


def test_what_waits_together_is_committed_together(tmp_path: Path) -> None:
    """One fsync serves many callers; the log itself counts the commits."""

    async def main() -> None:
        async with opened(tmp_path) as journal:
            before = commits_in_log(tmp_path)
            with held_up(tmp_path / "journal.db"):
                tasks = await queued(
                    *(journal.append(commit(write(f"s{n}", 0))) for n in range(100))
                )
            await asyncio.gather(*tasks)
            # The writer may have taken the first few by themselves before it had to wait.
            assert 1 <= commits_in_log(tmp_path) - before <= 2
            times = {event.at for event in await journal.read_all(1)}
            assert len(times) <= 2

    asyncio.run(main())


def test_one_at_a_time_is_one_commit_each(tmp_path: Path) -> None:
    """The same count, where nothing waits: so the test above measures what it says."""

    async def main() -> None:
        async with opened(tmp_path) as journal:
            before = commits_in_log(tmp_path)
            for n in range(10):
                await journal.append(commit(write("a", n)))
            assert commits_in_log(tmp_path) - before == 10

    asyncio.run(main())


def test_a_group_has_at_most_the_size_it_is_given(tmp_path: Path) -> None:
    """A burst must not make one transaction of everything."""

    async def main() -> None:
        async with opened(tmp_path, batch_max=4) as journal:
            sizes: list[int] = []
            journal.subscribe(lambda events: sizes.append(len(events)))
            with held_up(tmp_path / "journal.db"):
                tasks = await queued(
                    *(journal.append(commit(write(f"s{n}", 0))) for n in range(20))
                )
            await asyncio.gather(*tasks)
            assert sum(sizes) == 20
            assert max(sizes) == 4

    asyncio.run(main())


def test_a_refused_append_leaves_the_rest_of_its_group_untouched(tmp_path: Path) -> None:
    """Later appends of a group see the earlier ones, refused ones leave no trace."""

    async def main() -> None:
        async with opened(tmp_path) as journal:
            key = RequestKey("s", "k", "d")
            with held_up(tmp_path / "journal.db"):
                tasks = await queued(
                    journal.append(commit(write("other", 0))),
                    journal.append(commit(write("a", 0), request=key)),
                    journal.append(commit(write("a", 0))),
                    journal.append(commit(write("a", 1))),
                    journal.append(commit(write("z", 0), request=key)),
                )
            answers = await asyncio.gather(*tasks, return_exceptions=True)
            shown = [
                type(answer) if isinstance(answer, BaseException) else answer.repeated
                for answer in answers
            ]
            assert shown == [False, False, ConflictError, False, True]
            assert journal.head == 4

    asyncio.run(main())


def test_a_cancelled_append_is_still_committed(tmp_path: Path) -> None:
    """A client that hangs up aborts nothing, and its group least of all."""

    async def main() -> None:
        async with opened(tmp_path) as journal:
            told: list[str] = []
            journal.subscribe(lambda events: told.extend(event.stream for event in events))
            with held_up(tmp_path / "journal.db"):
                gone, stays = await queued(
                    journal.append(commit(write("gone", 0))),
                    journal.append(commit(write("stays", 0))),
                )
                gone.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await gone
            await stays
            assert [len(await journal.read_stream(s)) for s in ("gone", "stays")] == [1, 1]
            assert sorted(told) == ["gone", "stays"]

    asyncio.run(main())


def test_a_full_queue_refuses_the_impatient_and_lets_the_patient_wait(tmp_path: Path) -> None:
    """A request is better answered 503 at once; the engine's own steps must not get lost."""

    async def main() -> None:
        async with opened(tmp_path, queue_max=2) as journal:
            with held_up(tmp_path / "journal.db"):
                tasks = await queued(
                    journal.append(commit(write("a", 0))),
                    journal.append(commit(write("b", 0))),
                )
                with pytest.raises(OverloadedError, match="queue is full"):
                    await journal.append(commit(write("c", 0)))
                tasks += await queued(
                    *(journal.append(commit(write(f"p{n}", 0)), patient=True) for n in range(7))
                )
            await asyncio.gather(*tasks)
            assert journal.head == 10
            assert await journal.read_stream("c") == []
            await journal.append(commit(write("c", 0)))

    asyncio.run(main())


def test_closing_drains_the_queue_and_turns_away_who_waits_for_a_place(tmp_path: Path) -> None:
    """What was taken in is kept; who was still outside hears so, and hangs on nothing."""

    async def main() -> None:
        hold = held_up(tmp_path / "journal.db")
        async with opened(tmp_path, queue_max=3) as journal:
            hold.__enter__()
            taken = await queued(*(journal.append(commit(write(f"s{n}", 0))) for n in range(3)))
            waiting = await queued(
                *(journal.append(commit(write(f"w{n}", 0)), patient=True) for n in range(3))
            )
            journal.close()
            # While the disk still holds the others up.
            for refused in await asyncio.gather(*waiting, return_exceptions=True):
                assert isinstance(refused, StoreClosedError)
            asyncio.get_running_loop().call_later(0.05, hold.__exit__, None, None, None)
        assert len(await asyncio.gather(*taken)) == 3
        assert not journal.is_writable
        with pytest.raises(StoreClosedError, match="the journal is closed"):
            await journal.append(commit(write("late", 0)))
        with pytest.raises(StoreClosedError, match="the journal is closed"):
            await journal.read_all()
        async with opened(tmp_path) as journal:
            assert {event.stream for event in await journal.read_all(1)} == {"s0", "s1", "s2"}

    asyncio.run(main())


def test_an_impatient_shutdown_still_waits_for_the_writer(tmp_path: Path) -> None:
    """Else the lock would be let go of while a commit is under way."""

    async def main() -> None:
        hold = held_up(tmp_path / "journal.db")
        entered = asyncio.Event()

        async def serve() -> None:
            async with opened(tmp_path) as journal:
                hold.__enter__()
                await queued(journal.append(commit(write("a", 0))))
                entered.set()
                await asyncio.Event().wait()

        service = asyncio.create_task(serve())
        await entered.wait()
        service.cancel()
        await asyncio.sleep(0)
        service.cancel()
        # Not on the loop: the service blocks it until the writer is through.
        release = threading.Timer(0.1, hold.__exit__, (None, None, None))
        release.start()
        with pytest.raises(asyncio.CancelledError):
            await service
        assert "journal-writer" not in {thread.name for thread in threading.enumerate()}
        release.join()
        async with opened(tmp_path) as journal:
            assert len(await journal.read_stream("a")) == 1

    asyncio.run(main())


def test_commit_times_don_t_go_back_over_a_restart(tmp_path: Path) -> None:
    """The clock may have been set back while the service was down."""

    async def main() -> None:
        async with opened(tmp_path, FakeClock(START_US + 1000)) as journal:
            await journal.append(commit(write("a", 0)))
        clock = FakeClock(START_US - 1000)
        async with opened(tmp_path, clock) as journal:
            made = await journal.append(commit(write("a", 1)))
            assert made.events[0].at == START_US + 1000
        system = SystemClock()
        ahead = system.now_us() + 10**12
        async with opened(tmp_path, FakeClock(ahead)) as journal:
            await journal.append(commit(write("a", 2)))
        async with opened(tmp_path, system) as journal:
            assert system.now_us() >= ahead, "ids made now must not sort before the last event"

    asyncio.run(main())


def test_a_damaged_page_is_a_damaged_journal_to_a_reader(tmp_path: Path) -> None:
    """Readers hear it in the journal's words, not in SQLite's."""

    async def main() -> None:
        async with opened(tmp_path) as journal:
            await journal.append(commit(write("a", 0)))
            with raw(tmp_path / "journal.db") as other:
                sql = other.execute("SELECT sql FROM sqlite_master WHERE name = 'event_no_update'")
                (trigger,) = sql.fetchone()
                other.execute("DROP TRIGGER event_no_update")
                other.execute("UPDATE event SET entry = x'00' WHERE position = 2")
                other.execute(trigger)
            with pytest.raises(CorruptStoreError, match="the entry at position 2 is unreadable"):
                await journal.read_stream("a")

    asyncio.run(main())


def test_a_loop_that_is_closed_under_the_journal_stops_no_commit(tmp_path: Path) -> None:
    """The writer has nobody to tell then; what it took is durable all the same, and it ends."""
    loop, opening = asyncio.new_event_loop(), opened(tmp_path)
    journal = loop.run_until_complete(opening.__aenter__())

    async def leave() -> None:
        (task,) = await queued(journal.append(commit(write("a", 0))))
        task.cancel()
        await asyncio.wait([task])

    with held_up(tmp_path / "journal.db"):
        loop.run_until_complete(leave())
        loop.close()
    with asyncio.Runner() as another:
        another.run(opening.__aexit__(None, None, None))

        async def head() -> int:
            async with opened(tmp_path) as reopened:
                return reopened.head

        assert another.run(head()) == 2


def test_a_time_is_not_told_before_what_is_being_committed_has_its_own(tmp_path: Path) -> None:
    """Else a commit of that time would come after the answer that it was not in."""

    async def main() -> None:
        clock = FakeClock()
        async with opened(tmp_path, clock) as journal:
            asked_at = clock.time_us
            with held_up(tmp_path / "journal.db"):
                appends = await queued(journal.append(commit(write("a", 0))))
                clock.time_us += 10
                asking = asyncio.create_task(journal.position_at(asked_at))
                done, _ = await asyncio.wait({asking}, timeout=0.05)
                assert not done
                appends += await queued(journal.append(commit(write("b", 0))))
            by_then = await asking
            await asyncio.gather(*appends)
            events = await journal.read_all(0)
            assert by_then == sum(event.at <= asked_at for event in events)
            assert await journal.position_at(asked_at) == by_then

    asyncio.run(main())
