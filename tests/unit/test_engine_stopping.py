"""Cancelling a run in every state it can be in, and stopping the service under its runs."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from refold.engine.caller import Caller
from refold.engine.errors import BusyError, NotFoundError, StateError
from refold.engine.limits import Limits
from refold.journal import events as e
from refold.projections.run_state import RunState
from tests.support.simulated import TRIGGER, Endpoint, Reply, Simulated, call, line, node
from tests.support.virtual_time import START_US, run_virtually

MESSAGE = "Run cancelled by ada"


async def types(sim: Simulated, run_id: str) -> list[str]:
    """Return the types of a run's events."""
    return [x.facts.type for x in await sim.journal.read_stream(run_id)]


def seconds(sim: Simulated) -> float:
    """Return the time since the beginning."""
    return (sim.clock.now_us() - START_US) / 1e6


async def begun(sim: Simulated, *nodes: dict[str, Any], after_s: float = 1) -> str:
    """Start a run of a line of nodes and let it go on for a while."""
    names = [n["id"] for n in nodes]
    run_id = await sim.execute(await sim.define([TRIGGER, *nodes], line("start", *names)))
    await asyncio.sleep(after_s)
    return run_id


def check(scenario: Coroutine[Any, Any, None]) -> None:
    """Run a scenario in virtual time."""
    run_virtually(scenario)


def test_a_parked_run_is_cancelled_at_once() -> None:
    """It comes back only to say so, long before its delay is over."""

    async def scenario() -> None:
        sim = Simulated()
        run_id = await begun(sim, node("d", "delay", duration=500))
        assert sim.engine.active_total == 0
        await sim.cancel(run_id)
        assert (await types(sim, run_id))[-1] in ("run.cancel_requested", "run.cancelled")
        state = await sim.ended(run_id)
        assert (state.status, state.failed_node) == ("failed", "")
        assert await sim.message(state) == MESSAGE
        assert (await types(sim, run_id))[-3:] == [
            "run.cancel_requested",
            "node.interrupted",
            "run.cancelled",
        ]
        assert seconds(sim) == 1.0
        await sim.close()

    check(scenario())


@pytest.mark.parametrize(
    ("reply_s", "phase", "ends_s"), [(4, "succeeded", 4), (60, "interrupted", 11)]
)
def test_a_call_on_the_wire_gets_ten_seconds(reply_s: float, phase: str, ends_s: float) -> None:
    """It may finish in that time and is logged; else its outcome is in doubt."""

    async def scenario() -> None:
        sim = Simulated(Endpoint({"a": [Reply(seconds=reply_s)]}))
        run_id = await begun(sim, call("a"), call("b"))
        await sim.cancel(run_id)
        state = await sim.ended(run_id)
        assert state.nodes["a"].phase == phase
        assert state.nodes["a"].in_doubt == (phase == "interrupted")
        assert "b" not in state.nodes
        assert (state.status, seconds(sim)) == ("failed", ends_s)
        assert sim.endpoint.on_wire == 0
        await sim.close()

    check(scenario())


def test_a_failure_after_the_request_leaves_the_run_cancelled() -> None:
    """The request came first; the failure is logged as one that came while it was ending."""

    async def scenario() -> None:
        sim = Simulated(Endpoint({"a": [Reply(status=500, seconds=4)]}))
        run_id = await begun(sim, call("a"))
        await sim.cancel(run_id)
        state = await sim.ended(run_id)
        assert (state.failed_node, state.log[-1].status) == ("", "error")
        assert await sim.message(state) == MESSAGE
        await sim.close()

    check(scenario())


def test_a_run_that_waits_for_a_place_is_cancelled_without_one() -> None:
    """And never executes a node."""

    async def scenario() -> None:
        sim = Simulated(Endpoint({"a": [Reply(seconds=50)]}), Limits(active_runs_max=1))
        first = await begun(sim, call("a"))
        waiting = await begun(sim, call("a"))
        assert sim.engine.waiting_total == 1
        await sim.cancel(waiting)
        state = await sim.ended(waiting)
        assert (state.status, state.nodes) == ("failed", {})
        assert sim.engine.waiting_total == 0
        assert (await sim.ended(first)).status == "completed"
        await sim.close()

    check(scenario())


def test_a_retry_wait_is_cancelled() -> None:
    """A wait is not a call, so it gets no grace."""

    async def scenario() -> None:
        sim = Simulated(Endpoint({"a": [Reply(status=503, seconds=0)]}))
        retry = {"max_attempts": 2, "initial_interval": 60}
        run_id = await begun(sim, call("a", retry=retry))
        await sim.cancel(run_id)
        state = await sim.ended(run_id)
        assert [entry.status for entry in state.log] == ["success", "warning", "warning"]
        assert seconds(sim) == 1.0
        await sim.close()

    check(scenario())


def test_cancelling_while_a_commit_is_under_way_loses_neither() -> None:
    """The request is taken after what is being written, and nothing starts after it."""

    async def scenario() -> None:
        sim = Simulated(commit_seconds=1)
        names = ["a", "b", "c"]
        workflow = await sim.define([TRIGGER, *map(call, names)], line("start", *names))
        run_id = await sim.execute(workflow)
        await asyncio.sleep(0.5)
        await sim.cancel(run_id)
        state = await sim.ended(run_id)
        events = await types(sim, run_id)
        asked = events.index("run.cancel_requested")
        assert "node.started" not in events[asked:]
        assert (state.status, len(sim.endpoint.calls)) == ("failed", 1)
        assert sim.endpoint.faults == []
        await sim.close()

    check(scenario())


def test_two_requests_are_one_cancellation() -> None:
    """Both callers are answered, and one event stands in the journal."""

    async def scenario() -> None:
        sim = Simulated(Endpoint({"a": [Reply(seconds=4)]}), commit_seconds=0.25)
        run_id = await begun(sim, call("a"))
        await asyncio.gather(sim.cancel(run_id), sim.cancel(run_id))
        await sim.ended(run_id)
        assert (await types(sim, run_id)).count("run.cancel_requested") == 1
        await sim.close()

    check(scenario())


def test_an_ended_run_cannot_be_cancelled() -> None:
    """Nor one that ends while the request is on its way."""

    async def scenario() -> None:
        sim = Simulated(commit_seconds=0.25)
        run_id = await begun(sim, node("a", "text_transform", template="x"), after_s=0.1)
        with pytest.raises(StateError) as late:
            await sim.cancel(run_id)
        assert late.value.code == "run_already_finished"
        assert (await sim.ended(run_id)).status == "completed"
        with pytest.raises(StateError):
            await sim.cancel(run_id)
        await sim.close()

    check(scenario())


def test_another_tenant_cannot_cancel_or_learn_of_a_run() -> None:
    """Its id looks unknown."""

    async def scenario() -> None:
        sim = Simulated(Endpoint({"a": [Reply(seconds=4)]}))
        run_id = await begun(sim, call("a"))
        with pytest.raises(NotFoundError):
            await sim.cancel(run_id, Caller("other", "eve", "request-2"))
        assert (await sim.ended(run_id)).status == "completed"
        await sim.close()

    check(scenario())


def test_a_cancelled_run_can_be_resumed_with_a_fresh_limit() -> None:
    """And a call in doubt is made again under the key of the run that made it."""

    async def scenario() -> None:
        endpoint = Endpoint({"b": [Reply(seconds=60)]})
        sim = Simulated(endpoint, Limits(run_seconds_max=100))
        run_id = await begun(sim, call("a"), call("b"))
        await sim.cancel(run_id)
        await sim.ended(run_id)
        endpoint.script = {"b": [Reply(seconds=95)]}
        resumed = await sim.resume(run_id, "a")
        assert (await sim.ended(resumed)).status == "completed"
        assert [x.key for x in endpoint.calls] == [
            f"{run_id}:a:-:1",
            f"{run_id}:b:-:1",
            f"{run_id}:b:-:1",
        ]
        await sim.close()

    check(scenario())


async def stopped_and_found_again(sim: Simulated, endpoint: Endpoint, grace_s: float) -> Simulated:
    """Stop the service and start another one on what it left."""
    await sim.engine.stop(grace_s)
    after = await sim.crashed(sim.journal.head, endpoint=endpoint)
    await after.engine.recover()
    return after


def test_a_stopping_service_lets_calls_finish_and_starts_nothing() -> None:
    """What was not begun is begun after the next start, and no call is made twice."""

    async def scenario() -> None:
        sim = Simulated(Endpoint({"a": [Reply(seconds=5)]}))
        run_id = await begun(sim, call("a"), call("b"))
        after = await stopped_and_found_again(sim, Endpoint(), 30)
        assert seconds(sim) == 5.0
        assert (await sim.state(run_id)).nodes["a"].phase == "succeeded"
        assert (await after.ended(run_id)).status == "completed"
        assert [x.node for x in after.endpoint.calls] == ["b"]
        await after.close()

    check(scenario())


def test_a_call_that_outlasts_the_stop_is_made_again_with_its_key() -> None:
    """Stopping is a crash that was announced: one way back for both."""

    async def scenario() -> None:
        sim = Simulated(Endpoint({"a": [Reply(seconds=50)]}))
        run_id = await begun(sim, call("a"))
        after = await stopped_and_found_again(sim, Endpoint(), 3)
        assert (sim.endpoint.on_wire, seconds(sim)) == (0, 4.0)
        state = await after.ended(run_id)
        assert (state.status, state.nodes["a"].attempt) == ("completed", 1)
        assert after.endpoint.calls[0].key == sim.endpoint.calls[0].key
        await after.close()

    check(scenario())


def test_a_stopping_service_refuses_runs_and_answers_who_waits() -> None:
    """Nobody hangs on a service that is going away."""

    async def scenario() -> None:
        sim = Simulated(Endpoint({"a": [Reply(seconds=50)]}), commit_seconds=5)
        run_id = await begun(sim, call("a"), after_s=6)
        watch = sim.engine.watch(run_id)
        cancelling = asyncio.create_task(sim.cancel(run_id))
        await asyncio.sleep(0)
        await sim.engine.stop(1)
        with pytest.raises(BusyError):
            await cancelling
        with pytest.raises(BusyError):
            sim.engine.refuse_when_full()
        with pytest.raises(BusyError):
            await sim.cancel(run_id)
        assert watch.cancelled()

    check(scenario())


def test_a_run_with_nothing_left_ends_even_while_the_service_stops() -> None:
    """There is no reason to leave its last event for the next start."""

    async def scenario() -> None:
        sim = Simulated(Endpoint({"a": [Reply(seconds=5)]}))
        run_id = await begun(sim, call("a"))
        await sim.engine.stop(30)
        assert (await sim.state(run_id)).status == "completed"

    check(scenario())


def test_who_stops_watching_leaves_nothing_behind() -> None:
    """A client that polls with `Prefer: wait` must not fill the memory."""

    async def scenario() -> None:
        sim = Simulated()
        run_id = await begun(sim, node("d", "delay", duration=500))
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await sim.engine.watch(run_id)
        assert sim.engine.watched_total == 0
        assert seconds(sim) == 4.0
        state: RunState = await sim.ended(run_id)
        assert state.status == "completed"
        await sim.close()

    check(scenario())


def test_a_run_cancelled_after_a_crash_makes_no_call_again() -> None:
    """Its calls that were cut off end with their outcomes unknown."""

    async def scenario() -> None:
        sim = Simulated(Endpoint({"a": [Reply(seconds=50)]}))
        run_id = await begun(sim, call("a"))
        await sim.cancel(run_id)
        await sim.close()
        after = await sim.crashed(sim.journal.head, endpoint=Endpoint())
        await after.engine.recover()
        state = await after.ended(run_id)
        assert after.endpoint.calls == []
        assert state.nodes["a"].in_doubt
        assert await after.message(state) == MESSAGE
        last = (await after.journal.read_stream(run_id))[-1].facts
        assert last == e.RunCancelled(code="cancelled")
        await after.close()

    check(scenario())
