"""Many runs at once: places, turns, parking, and letting others have the event loop."""

from __future__ import annotations

import asyncio
import tracemalloc

import pytest

from refold.engine import execution
from refold.engine.caller import Caller
from refold.engine.errors import BusyError
from refold.engine.limits import Limits
from tests.support.simulated import TRIGGER, Endpoint, Reply, Simulated, call, line, node
from tests.support.virtual_time import START_US, VirtualClock, run_virtually

BYTES_PARKED_MAX = 3000
FLOOD, SINGLE = Caller("flood", "f", "r"), Caller("single", "s", "r")


def test_no_more_runs_are_active_than_may_be() -> None:
    """The others wait for their turn, and all complete."""

    async def scenario() -> None:
        sim = Simulated(Endpoint({"a": [Reply(seconds=1)]}), Limits(active_runs_max=3))
        workflow = await sim.define([TRIGGER, call("a")], line("start", "a"))
        runs = [await sim.execute(workflow) for _ in range(10)]
        await asyncio.sleep(0.5)
        assert (sim.engine.active_total, sim.engine.waiting_total) == (3, 7)
        assert sim.endpoint.on_wire == 3
        for run_id in runs:
            assert (await sim.ended(run_id)).status == "completed"
        assert sim.clock.now_us() - START_US == 4_000_000
        assert (sim.engine.active_total, sim.engine.waiting_total) == (0, 0)
        await sim.close()

    run_virtually(scenario())


def test_a_waiting_run_is_refused_only_when_too_many_wait() -> None:
    """Before anything is written for it."""

    async def scenario() -> None:
        limits = Limits(active_runs_max=1, waiting_runs_max=1)
        sim = Simulated(Endpoint({"a": [Reply(seconds=1)]}), limits)
        workflow = await sim.define([TRIGGER, call("a")], line("start", "a"))
        sim.engine.refuse_when_full()
        await sim.execute(workflow)
        sim.engine.refuse_when_full()
        last = await sim.execute(workflow)
        with pytest.raises(BusyError):
            sim.engine.refuse_when_full()
        await sim.ended(last)
        sim.engine.refuse_when_full()
        await sim.close()

    run_virtually(scenario())


def test_a_single_run_is_not_held_up_by_another_tenant_s_flood() -> None:
    """Tenants are served in turn."""

    async def scenario() -> None:
        sim = Simulated(Endpoint({"a": [Reply(seconds=1)]}), Limits(active_runs_max=1))
        flood = await sim.define([TRIGGER, call("a")], line("start", "a"), FLOOD)
        single = await sim.define([TRIGGER, call("a")], line("start", "a"), SINGLE)
        for _ in range(20):
            await sim.execute(flood, caller=FLOOD)
        run_id = await sim.execute(single, caller=SINGLE)
        await sim.ended(run_id)
        assert sim.clock.now_us() - START_US <= 3_000_000
        await sim.close()

    run_virtually(scenario())


def test_a_parked_run_takes_no_place() -> None:
    """Thousands may wait for time while others work."""

    async def scenario() -> None:
        sim = Simulated(limits=Limits(active_runs_max=1))
        slow = await sim.define([TRIGGER, node("d", "delay", duration=600)], line("start", "d"))
        quick = await sim.define([TRIGGER, call("a")], line("start", "a"))
        parked = [await sim.execute(slow) for _ in range(5)]
        last = await sim.execute(quick)
        await sim.ended(last)
        assert sim.clock.now_us() - START_US < 1_000_000
        await asyncio.sleep(1)
        assert (sim.engine.active_total, sim.engine.waiting_total) == (0, 0)
        for run_id in parked:
            assert (await sim.ended(run_id)).status == "completed"
        assert sim.clock.now_us() - START_US < 601_000_000
        await sim.close()

    run_virtually(scenario())


def test_parked_runs_take_little_memory() -> None:
    """What is parked has left memory: a timer and a name remain."""
    first, more = 200, 2000

    async def scenario() -> float:
        sim = Simulated()
        workflow = await sim.define([TRIGGER, node("d", "delay", duration=900)], line("start", "d"))
        for _ in range(first):
            await sim.execute(workflow)
        await asyncio.sleep(1)
        # The journal is in memory here and not what is weighed.
        tracemalloc.start()
        events_before = tracemalloc.take_snapshot()
        for _ in range(more):
            await sim.execute(workflow)
        await asyncio.sleep(1)
        assert sim.engine.active_total == 0
        after = tracemalloc.take_snapshot()
        tracemalloc.stop()
        await sim.close()
        grown = after.compare_to(events_before, "filename")
        rooms = ("engine", "admission", "timers", "execution", "transcript")
        kept = [*(f"engine/{name}.py" for name in rooms), "asyncio/"]
        return (
            sum(x.size_diff for x in grown if any(name in x.traceback[0].filename for name in kept))
            / more
        )

    assert run_virtually(scenario()) < BYTES_PARKED_MAX


def test_a_run_that_computes_long_lets_others_go_on() -> None:
    """A long chain of pure nodes gives the event loop back every few milliseconds."""

    class Ticking(VirtualClock):
        """A clock on which each look takes a millisecond."""

        def now_us(self) -> int:
            """Return the time and let some of it pass."""
            self.start_us += 1000
            return super().now_us()

    async def scenario() -> None:
        sim = Simulated(clock=Ticking())
        names = [f"n{index}" for index in range(200)]
        texts = [node(name, "text_transform", template="x") for name in names]
        workflow = await sim.define([TRIGGER, *texts], line("start", *names))
        run_id = await sim.execute(workflow)
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        counting = asyncio.create_task(others())
        await sim.ended(run_id)
        counting.cancel()
        looks_ms = 200 * 4
        assert turns >= looks_ms * 1000 // execution.SLICE_US / 2
        await sim.close()

    run_virtually(scenario())


def test_a_result_tells_the_waiting_client_without_reading_it_back() -> None:
    """A snapshot of what was committed comes with the end, unless the run was parked."""

    async def scenario() -> None:
        sim = Simulated()
        workflow = await sim.define([TRIGGER, call("a")], line("start", "a"))
        run_id = await sim.execute(workflow)
        snapshot = await sim.engine.watch(run_id)
        assert snapshot is not None
        assert snapshot.events == list(await sim.journal.read_stream(run_id))
        stored = await sim.journal.read_bodies([x.body_at for x in snapshot.events])
        assert snapshot.bodies == {at: body.data for at, body in stored.items()}
        assert await sim.engine.watch(run_id) is None
        await sim.close()

    run_virtually(scenario())
