"""Turns among those who wait: nobody's flood stands before another's few."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.journal.append_queue import AppendQueue, size_of
from refold.journal.errors import OverloadedError
from refold.journal.fair_queue import FairQueue
from refold.journal.journal import Appended, Commit
from refold.journal.sqlite_store import SqliteJournal
from tests.support.journal_kit import commit, held_up, of_tenant, opened, queued

KEYS = st.sampled_from("abcd")
STEPS = st.lists(st.one_of(KEYS, st.none()), max_size=80)
"""A key to put an item of, None to take one."""


@given(STEPS)
def test_everything_comes_out_once_and_in_the_order_of_its_key(steps: list[str | None]) -> None:
    """The order within a key is that of arrival, and nothing is lost or doubled."""
    queue: FairQueue[tuple[str, int]] = FairQueue()
    put: dict[str, list[int]] = {}
    taken: dict[str, list[int]] = {}
    for number, key in enumerate(steps):
        if key is not None:
            queue.put(key, (key, number))
            put.setdefault(key, []).append(number)
        elif queue:
            found, at = queue.take()
            taken.setdefault(found, []).append(at)
    while queue:
        found, at = queue.take()
        taken.setdefault(found, []).append(at)
    assert taken == put


@given(STEPS, KEYS)
def test_who_waits_is_served_after_at_most_one_of_each_other_key(
    steps: list[str | None], late: str
) -> None:
    """However many the others have: this is what a flood can cost."""
    queue: FairQueue[str] = FairQueue()
    for key in steps:
        if key is not None:
            queue.put(key, key)
        elif queue:
            queue.take()
    others = Counter[str]()
    while queue.count(late):
        queue.take()
    queue.put(late, late)
    while (served := queue.take()) != late:
        others[served] += 1
    assert all(count <= 1 for count in others.values())


def test_nothing_is_taken_from_an_empty_queue() -> None:
    """An empty queue says so."""
    with pytest.raises(IndexError, match="nothing waits"):
        FairQueue[int]().take()


def test_a_commit_behind_another_tenant_s_flood_is_in_the_next_group_but_one(
    tmp_path: Path,
) -> None:
    """The flood was there first, and is committed around it."""

    async def main() -> None:
        async with opened(tmp_path, batch_max=4) as journal:
            with held_up(tmp_path / "journal.db"):
                flood = await queued(
                    *(journal.append(of_tenant("flood", f"f{n}")) for n in range(60))
                )
                (single,) = await queued(journal.append(of_tenant("single", "s")))
            ours: Appended = await single
            await asyncio.gather(*flood)
            # One event of the journal's own, eight in the writer's hands, and one turn.
            assert ours.events[0].position <= 1 + 8 + 2
            assert journal.head == 62

    asyncio.run(main())


def test_a_queue_that_one_tenant_filled_has_room_for_another(tmp_path: Path) -> None:
    """The reserve is for those that have little there, and is bounded too."""

    async def main() -> None:
        async with opened(tmp_path, queue_max=200) as journal:
            with held_up(tmp_path / "journal.db"):
                tasks = await queued(
                    *(journal.append(of_tenant("flood", f"f{n}")) for n in range(200))
                )
                with pytest.raises(OverloadedError):
                    await journal.append(of_tenant("flood", "one more"))
                for tenant in range(50):
                    tasks += await queued(journal.append(of_tenant(f"t{tenant}", f"s{tenant}")))
                with pytest.raises(OverloadedError):
                    await journal.append(of_tenant("one too many", "x"))
            await asyncio.gather(*tasks)
            assert journal.queue.total == journal.queue.total_bytes == 0

    asyncio.run(main())


def test_bodies_are_bounded_by_their_bytes_and_a_huge_commit_goes_by_itself() -> None:
    """Few large commits are as much as many small ones."""

    async def main() -> None:
        put: list[Commit] = []
        queue = AppendQueue(lambda _, made: put.append(made), 4, 100, bytes_max=1000)
        loop = asyncio.get_running_loop()
        assert not queue.is_full_for("a", 5000)
        huge: asyncio.Future[Appended] = loop.create_future()
        queue.add(huge, of_tenant("a", "s"), "a", 5000)
        assert queue.is_full_for("a", 1)
        assert queue.is_full_for("b", 1)
        queue.delivered([(huge, Appended([]))])
        assert not queue.is_full_for("a", 1)
        assert queue.total_bytes == 0

    asyncio.run(main())


def test_the_size_of_a_commit_is_that_of_its_bodies() -> None:
    """Events without a body count nothing."""
    assert size_of(commit()) == 0
    assert size_of(of_tenant("a", "s", body=b"12345")) == 5


def test_groups_are_as_large_as_keeps_their_time_short() -> None:
    """Slow computing makes them small, a slow disk larger, and neither beyond the bounds."""

    async def main() -> list[int]:
        sizes: list[int] = []
        for computed_s, synced_s in ((0.0005, 0.001), (0.0001, 0.1), (0.0001, 0.001)):
            handed: list[Commit] = []

            def put(_: object, made: Commit, handed: list[Commit] = handed) -> None:
                handed.append(made)

            queue = AppendQueue(put, 256, 4096)
            for _ in range(20):
                queue.pace(100, 100 * computed_s, synced_s)
            loop = asyncio.get_running_loop()
            for number in range(600):
                queue.add(loop.create_future(), of_tenant("a", f"s{number}"), "a", 0)
            sizes.append(len(handed))
        return sizes

    slow, slow_disk, fast = asyncio.run(main())
    assert slow == 2 * 16
    assert 2 * 70 <= slow_disk <= 2 * 80
    assert 2 * 35 <= fast <= 2 * 40


def test_those_who_were_committed_together_are_told_in_turns(tmp_path: Path) -> None:
    """A few in each round of the loop, so that what they do next does not stop it; all in order."""

    async def main() -> None:
        told: list[str] = []

        async def append(journal: SqliteJournal, tenant: str, number: int) -> Appended:
            appended = await journal.append(of_tenant(tenant, f"{tenant}{number}"))
            told.append(tenant)
            return appended

        async with opened(tmp_path) as journal:
            with held_up(tmp_path / "journal.db"):
                flood = await queued(*(append(journal, "flood", n) for n in range(50)))
                single = await queued(append(journal, "single", 0))
            rounds: list[int] = []
            while len(told) < 51:
                before = len(told)
                await asyncio.sleep(0)
                rounds.append(len(told) - before)
            await asyncio.gather(*flood, *single)
        assert max(rounds) <= 8
        assert told.index("single") <= 16

    asyncio.run(main())
