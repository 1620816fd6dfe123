"""The scheduler: each due time once, whatever is full, broken, changed or asleep."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from refold.engine.limits import Limits
from refold.engine.scheduled_runs import ScheduledRuns
from refold.engine.scheduler import FIRINGS_MAX, LOOK_US, WAITING_MAX, Scheduler, SchedulerParts
from refold.engine.sealing import Sealer
from refold.engine.workflows import Workflows
from refold.journal import events as e
from refold.journal.errors import StoreFailedError, UnknownEventError
from refold.journal.journal import Hold
from refold.projections.errors import StaleViewsError
from tests.support.schedules import change, due, firings, scheduled, started
from tests.support.simulated import (
    CALLER,
    KEY,
    TRIGGER,
    Endpoint,
    Reply,
    Simulated,
    call,
    line,
    restarted,
)
from tests.support.virtual_time import START_US, VirtualClock, run_virtually

MINUTE_US = 60_000_000


def second(sim: Simulated, look_us: int = LOOK_US) -> Scheduler:
    """Make another scheduler on the same journal, with a memory of its own."""
    parts: SchedulerParts = sim.scheduler._parts  # pyright: ignore[reportPrivateUsage]
    workflows = Workflows(sim.journal, Sealer(KEY))
    return Scheduler(msgspec.structs.replace(parts, workflows=workflows), look_us=look_us)


def test_an_interval_fires_at_equal_steps_from_the_moment_it_was_saved() -> None:
    """However long a commit takes, the next time follows from the one before."""

    async def scenario() -> None:
        sim = started(commit_seconds=0.7)
        workflow = await scheduled(sim, payload={"team": "ops"})
        await asyncio.sleep(200)
        assert await due(sim, workflow) == [60, 120, 180]
        fired = (await firings(sim, workflow))[0]
        state = await sim.ended(fired.run)
        assert state.status == "completed"
        shown = (await sim.bodies(state))["start"]
        assert shown == {
            "team": "ops",
            "scheduled_at": "2025-10-31T12:01:00.000000Z",
            "missed": 0,
            "trigger_type": "schedule",
            "run_id": fired.run,
        }
        await sim.close()

    run_virtually(scenario())


def test_two_schedulers_on_one_journal_fire_once() -> None:
    """The version of the workflow's stream is the fence; nothing else keeps them apart."""

    async def scenario() -> None:
        sim = started(commit_seconds=0.1)
        other = second(sim)
        other.start()
        workflow = await scheduled(sim)
        await asyncio.sleep(301)
        assert await due(sim, workflow) == [60, 120, 180, 240, 300]
        assert len(sim.endpoint.calls) == 5
        await other.stop(0)
        await sim.close()

    run_virtually(scenario())


def test_a_crash_between_the_firing_and_its_run_can_not_be() -> None:
    """Wherever the journal ends, a firing has its run, and the next start goes on from there."""

    async def scenario() -> None:
        sim = started()
        workflow = await scheduled(sim)
        await asyncio.sleep(130)
        for head in [at for at in sim.journal.commits if at >= 1]:
            again = await sim.crashed(head, endpoint=Endpoint())
            await again.engine.recover()
            again.scheduler.start()
            await asyncio.sleep(400)
            events = await again.journal.read_all(limit=10_000)
            runs = [v.stream for v in events if isinstance(v.facts, e.RunRequested)]
            fired = await firings(again, workflow)
            assert [f.run for f in fired] == runs
            times = [at for f in fired for at in range(f.due_at - f.missed * MINUTE_US,
                                                       f.due_at + 1, MINUTE_US)]  # fmt: skip
            assert times == [START_US + MINUTE_US * (n + 1) for n in range(len(times))]
            assert {(await again.state(run)).status for run in runs} == {"completed"}
            await again.close()
        await sim.close()

    run_virtually(scenario())


def test_missed_firings_come_as_one_or_each_oldest_first() -> None:
    """One run says for how many it stands; with `catch_up` each has its own."""

    async def scenario() -> None:
        sim = started()
        one = await scheduled(sim)
        each = await scheduled(sim, catch_up=True)
        daily = await scheduled(sim, "13:00", "daily")
        await asyncio.sleep(61)
        sim = await restarted(sim, sim.journal.head, downtime_s=2 * 86_400 + 7200)
        sim.scheduler.start()
        busiest = 0
        for _ in range(1000):
            await asyncio.sleep(0.05)
            busiest = max(busiest, sim.engine.waiting_total)
        late = (await firings(sim, one))[1]
        now = sim.clock.now_us()
        assert now - 2 * MINUTE_US < late.due_at <= now
        assert late.missed == (late.due_at - START_US) // MINUTE_US - 2
        fired = await firings(sim, each)
        assert [f.due_at for f in fired] == list(range(START_US + MINUTE_US, now, MINUTE_US))
        assert {f.missed for f in fired} == {0}
        assert 900 < busiest <= WAITING_MAX + 1
        assert [f.missed for f in await firings(sim, daily)] == [2]
        await sim.close()

    run_virtually(scenario())


def test_one_that_makes_up_for_days_does_not_hold_up_the_others() -> None:
    """Those that are due take turns."""

    async def scenario() -> None:
        sim = started()
        slow = [await scheduled(sim, catch_up=True) for _ in range(FIRINGS_MAX + 8)]
        quick = await scheduled(sim, "1 day")
        sim = await restarted(sim, sim.journal.head, downtime_s=86_400)
        sim.scheduler.start()
        fired = asyncio.Event()
        sim.journal.subscribe(lambda new: fired.set() if new[0].stream == quick else None)
        await fired.wait()
        made = [len(await firings(sim, workflow)) for workflow in slow]
        assert min(made) >= 1
        assert max(made) <= 4
        await sim.close()

    run_virtually(scenario())


def test_overlap_skip_makes_no_run_beside_an_unfinished_one() -> None:
    """The time is recorded as skipped; runs that somebody executes don't count."""

    async def scenario() -> None:
        sim = started(endpoint=Endpoint({"a": [Reply(seconds=150)]}))
        workflow = await scheduled(sim, overlap="skip")
        allowed = await scheduled(sim)
        await sim.execute(workflow)
        await asyncio.sleep(301)
        fired = await firings(sim, workflow)
        assert [(f.skipped, bool(f.run)) for f in fired] == [
            ("", True),
            ("overlap", False),
            ("overlap", False),
            ("", True),
            ("overlap", False),
        ]
        assert all(f.run for f in await firings(sim, allowed))
        # What was unfinished before a crash is so after it.
        sim = await restarted(sim, sim.journal.head, downtime_s=50)
        sim.scheduler.start()
        await asyncio.sleep(100)
        later = (await firings(sim, workflow))[5:]
        assert [f.skipped for f in later] == ["overlap", "overlap"]
        await sim.close()

    run_virtually(scenario())


def test_what_ended_while_the_unfinished_runs_were_read_holds_nobody_up() -> None:
    """Else its workflow would be skipped for ever."""

    async def scenario() -> None:
        sim = started()
        workflow = await scheduled(sim)
        await asyncio.sleep(61)
        run = (await firings(sim, workflow))[0].run
        await sim.ended(run)
        events = await sim.journal.read_stream(run)

        class Late:
            """A journal that tells of a hold which was given back meanwhile."""

            async def holds(self) -> list[Hold]:
                runs.hear(events[-1])
                return [Hold(workflow, run)]

            async def read_stream(self, stream: str, after: int = 0, limit: int = 1) -> Any:
                return await sim.journal.read_stream(stream, after, limit)

        runs = ScheduledRuns()
        await runs.read(Late())  # type: ignore[arg-type]
        assert not runs.is_going(workflow)
        await sim.close()

    run_virtually(scenario())


def test_a_full_engine_and_a_failing_disk_delay_a_firing_and_lose_none() -> None:
    """It is tried again; what came due meanwhile is counted."""

    async def scenario() -> None:
        limits = Limits(active_runs_max=1, waiting_runs_max=1)
        sim = started(endpoint=Endpoint({"a": [Reply(seconds=85)]}), limits=limits)
        workflow = await scheduled(sim)
        other = await sim.define([TRIGGER, call("a")], line("start", "a"))
        await sim.execute(other)
        await sim.execute(other)
        await asyncio.sleep(84)
        assert await firings(sim, workflow) == []
        await asyncio.sleep(8)
        fired = await firings(sim, workflow)
        assert [(f.due_at - START_US, f.missed) for f in fired] == [(MINUTE_US, 0)]
        await sim.close()
        sim = started()
        workflow = await scheduled(sim, "1 second")
        sim.journal.failures = [StoreFailedError("the disk is full")] * 3
        await asyncio.sleep(60)
        fired = await firings(sim, workflow)
        assert sum(f.missed + 1 for f in fired) == 59 + (fired[-1].due_at == sim.clock.now_us())
        assert len({f.due_at for f in fired}) == len(fired)
        await sim.close()

    run_virtually(scenario())


def test_a_deleted_workflow_fires_no_more() -> None:
    """Also when the service that deleted it is not the one that runs then."""

    async def scenario() -> None:
        sim = started()
        workflow = await scheduled(sim)
        await asyncio.sleep(90)
        await sim.authoring.delete(CALLER, workflow)
        await asyncio.sleep(300)
        sim = await restarted(sim, sim.journal.head, downtime_s=300)
        sim.scheduler.start()
        await asyncio.sleep(300)
        assert await due(sim, workflow) == [60]
        await sim.close()

    run_virtually(scenario())


class SteppedClock(VirtualClock):
    """A clock that somebody sets, as the service sees it: it stands still when it is set back."""

    step_us = 0
    last_us = 0

    def now_us(self) -> int:
        """Return the present time."""
        self.last_us = max(self.last_us, super().now_us() + self.step_us)
        return self.last_us


def test_a_clock_set_back_fires_nothing_early_and_nothing_twice() -> None:
    """The times that were fired are recorded; what is due is due by the clock."""

    async def scenario() -> None:
        clock = SteppedClock()
        sim = started(clock=clock)
        workflow = await scheduled(sim)
        await asyncio.sleep(150)
        clock.step_us = -3600 * 1_000_000
        await asyncio.sleep(3540)
        assert await due(sim, workflow) == [60, 120]
        await asyncio.sleep(100)
        assert await due(sim, workflow) == [60, 120, 180]
        await sim.close()

    run_virtually(scenario())


def test_a_machine_that_slept_fires_within_a_minute_of_waking() -> None:
    """The timers of the loop stand still while it sleeps, and know of no clock that is set."""

    async def scenario() -> None:
        clock = SteppedClock()
        sim = Simulated(clock=clock)
        scheduler = second(sim)
        scheduler.start()
        workflow = await scheduled(sim, "5 hours")
        await asyncio.sleep(30)
        clock.step_us = 6 * 3600 * 1_000_000
        await asyncio.sleep(LOOK_US / 1e6)
        assert await due(sim, workflow) == [5 * 3600]
        await scheduler.stop(0)
        await sim.close()

    run_virtually(scenario())


def test_what_was_heard_while_the_views_were_read_is_newer() -> None:
    """A schedule that was made to come sooner just then comes sooner."""

    async def scenario() -> None:
        sim = started()
        workflow = await scheduled(sim, "1 day")
        sim = await restarted(sim, sim.journal.head)

        async def slow() -> Mapping[str, int]:
            rows = await sim.scheduled()
            await asyncio.sleep(10)
            return rows

        parts = sim.scheduler._parts  # pyright: ignore[reportPrivateUsage]
        scheduler = Scheduler(msgspec.structs.replace(parts, scheduled=slow))
        scheduler.start()
        await asyncio.sleep(5)
        await change(sim, workflow, schedule_value="1 minute")
        await asyncio.sleep(70)
        assert await due(sim, workflow) == [65]
        await scheduler.stop(0)
        await sim.close()

    run_virtually(scenario())


def test_views_that_lag_behind_at_the_start_are_asked_again() -> None:
    """What is new fires meanwhile; what was there fires once it is known."""

    async def scenario() -> None:
        sim = started()
        old = await scheduled(sim)
        sim = await restarted(sim, sim.journal.head)
        asked: list[int] = []

        async def lagging() -> Mapping[str, int]:
            asked.append(1)
            if len(asked) < 4:
                raise StaleViewsError(9, 0)
            return await sim.scheduled()

        parts = sim.scheduler._parts  # pyright: ignore[reportPrivateUsage]
        scheduler = Scheduler(msgspec.structs.replace(parts, scheduled=lagging))
        scheduler.start()
        new = await scheduled(sim, "1 second")
        await asyncio.sleep(6.5)
        assert len(await due(sim, new)) == 6
        assert not await due(sim, old)
        await asyncio.sleep(60)
        assert await due(sim, old) == [60]
        await scheduler.stop(0)
        await sim.close()

    run_virtually(scenario())


def test_a_run_that_a_newer_version_started_stops_the_schedule_of_its_workflow_alone() -> None:
    """Whether it overlaps is a decision that nobody here can take; other schedules go on."""

    async def scenario() -> None:
        runs = ScheduledRuns()
        newer = UnknownEventError("run.requested", 2, newest=1, position=7)

        class Newer:
            """A journal in which one of two unfinished runs begins with a newer event."""

            async def holds(self) -> list[Hold]:
                return [Hold("fl_a", "fl_run_1"), Hold("fl_b", "fl_a")]

            async def read_stream(self, stream: str, after: int = 0, limit: int = 1) -> Any:
                raise newer

        await runs.read(Newer())  # type: ignore[arg-type]
        with pytest.raises(UnknownEventError, match="the event at position 7 is newer"):
            runs.is_going("fl_a")
        assert not runs.is_going("fl_b")

    run_virtually(scenario())
