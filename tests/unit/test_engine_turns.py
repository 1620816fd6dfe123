"""Turns on the loop, places on the wire, and rates: what keeps one tenant from delaying others."""

from __future__ import annotations

import asyncio
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from refold.engine.places import Places
from refold.engine.rates import Rates
from refold.engine.turns import Turns

SECOND_US = 1_000_000


async def works(turns: Turns, tenant: str, done: list[str]) -> None:
    """Take a turn and note it."""
    if turn := turns.take(tenant):
        await turn
    done.append(tenant)


def test_who_comes_behind_a_flood_is_served_in_the_next_round() -> None:
    """A thousand pieces of another tenant's work stand before it, and are passed by."""

    async def main() -> list[str]:
        turns, done = Turns(per_round=4), list[str]()
        flood = [asyncio.create_task(works(turns, "flood", done)) for _ in range(1000)]
        await asyncio.sleep(0)
        single = asyncio.create_task(works(turns, "single", done))
        await asyncio.gather(*flood, single)
        return done

    done = asyncio.run(main())
    assert len(done) == 1001
    # A round was given out before it came, and one began as it did.
    assert done.index("single") <= 3 * 4


def test_a_round_has_no_more_turns_than_it_may() -> None:
    """This bounds how long the loop is away from its sockets."""

    async def main() -> list[int]:
        turns, done, rounds = Turns(per_round=3), list[str](), list[int]()
        tasks = [asyncio.create_task(works(turns, "a", done)) for _ in range(20)]
        while not all(task.done() for task in tasks):
            before = len(done)
            await asyncio.sleep(0)
            rounds.append(len(done) - before)
        assert turns.is_free or turns.waiting_total == 0
        return rounds

    assert max(asyncio.run(main())) <= 3


def test_whoever_is_cancelled_gives_the_turn_to_another() -> None:
    """A client that hangs up while it waits costs nobody a turn."""

    async def main() -> list[str]:
        turns, done = Turns(per_round=1), list[str]()
        tasks = [asyncio.create_task(works(turns, f"t{n}", done)) for n in range(50)]
        await asyncio.sleep(0)
        for task in tasks[10:40]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return done

    done = asyncio.run(main())
    assert sorted(done) == sorted(f"t{n}" for n in (*range(10), *range(40, 50)))


def test_without_a_crowd_nobody_waits() -> None:
    """Each round begins with all of its turns."""

    async def main() -> None:
        turns = Turns(per_round=2)
        for _ in range(10):
            assert turns.take("a") is None
            assert turns.take("a") is None
            for _ in range(2):
                await asyncio.sleep(0)

    asyncio.run(main())


def test_calls_that_hang_leave_the_kept_places_to_others() -> None:
    """Thirty tenants that nobody answers don't take the last places, and one waits its turn."""

    async def main() -> None:
        places, hang = Places(16, kept=8, few=1), asyncio.Event()
        seen: Counter[str] = Counter()

        async def call(key: str) -> None:
            async with places.place(key):
                seen[key] += 1
                await hang.wait()

        flood = [asyncio.create_task(call("flood")) for _ in range(40)]
        await asyncio.sleep(0)
        assert seen["flood"] == 8
        others = [asyncio.create_task(call(f"t{n}")) for n in range(8)]
        await asyncio.sleep(0)
        assert all(seen[f"t{n}"] == 1 for n in range(8))
        assert places.open_total == 16
        late = asyncio.create_task(call("late"))
        await asyncio.sleep(0)
        assert seen["late"] == 0
        hang.set()
        await asyncio.gather(*flood, *others, late)
        assert seen["flood"] == 40
        assert places.open_total == places.waiting_total == 0

    asyncio.run(main())


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["finish", "cancel"])), max_size=40),
    st.integers(1, 6),
    st.integers(0, 3),
)
def test_places_are_never_exceeded_and_all_come_back(
    calls: list[tuple[str, str]], total: int, kept: int
) -> None:
    """Whoever is cancelled, while it waits or holds one, gives its place back."""

    async def main() -> None:
        places = Places(total, kept=min(kept, total - 1), few=1)
        release = asyncio.Event()

        async def call(key: str) -> None:
            async with places.place(key):
                assert places.open_total <= total
                await release.wait()

        tasks = [asyncio.create_task(call(key)) for key, _ in calls]
        await asyncio.sleep(0)
        for task, (_, end) in zip(tasks, calls, strict=True):
            if end == "cancel":
                task.cancel()
        await asyncio.sleep(0)
        release.set()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(end, asyncio.CancelledError) for end in ends] == [
            end == "cancel" for _, end in calls
        ]
        assert places.open_total == places.waiting_total == 0

    asyncio.run(main())


@given(st.lists(st.integers(0, 3 * SECOND_US), max_size=60), st.integers(1, 20))
def test_no_second_has_more_than_its_rate_and_the_burst(steps: list[int], rate: int) -> None:
    """In any window of a second there are at most two seconds' worth, and waiting helps."""
    rates, now, passed = Rates(rate), 0, list[int]()
    for step in steps:
        now += step
        wait_s = rates.take("a", now)
        if wait_s:
            assert rates.take("a", now) > 0
            now += int(wait_s * 1e6) + 1
            assert rates.take("a", now) == 0
        passed.append(now)
    for at in passed:
        assert sum(at <= other < at + SECOND_US for other in passed) <= 2 * rate


def test_a_rate_belongs_to_its_key_and_zero_is_none() -> None:
    """What one does says nothing of another."""
    rates = Rates(2)
    assert [rates.take("a", 0) > 0 for _ in range(3)] == [False, False, True]
    assert rates.take("b", 0) == 0
    assert not Rates(0).is_limited
    assert Rates(0).take("a", 0) == 0
