"""After a crash: what is made again, what never is, and how a cut's copying goes on."""

from __future__ import annotations

import asyncio

import pytest

from refold.journal import events as e
from refold.journal.errors import ConflictError, StoreFailedError
from refold.journal.journal import Commit, Metadata, NewEvent, StreamWrite
from tests.support.simulated import (
    TRIGGER,
    Endpoint,
    Reply,
    Simulated,
    call,
    line,
    node,
    restarted,
)
from tests.support.virtual_time import START_US, run_virtually

TEXT = {"template": "x"}
META = Metadata("acme", "", "test")


async def cut_after(sim: Simulated, run_id: str, type_: str, name: str = "") -> int:
    """Return the position of a run's last event of a type, for a node where one is given."""
    return max(
        x.position
        for x in await sim.journal.read_stream(run_id)
        if x.facts.type == type_ and name in ("", getattr(x.facts, "node", ""))
    )


def test_a_call_that_a_crash_cut_off_is_the_same_attempt_with_the_same_key() -> None:
    """At least once: the receiver sees a repeat that it can recognise."""

    async def scenario() -> None:
        sim = Simulated()
        workflow = await sim.define([TRIGGER, call("a"), call("b")], line("start", "a", "b"))
        run_id = await sim.execute(workflow)
        await sim.ended(run_id)
        after = await restarted(sim, await cut_after(sim, run_id, "node.started", "b"))
        state = await after.ended(run_id)
        assert (state.status, state.nodes["b"].attempt) == ("completed", 1)
        assert [(x.node, x.key) for x in after.endpoint.calls] == [("b", f"{run_id}:b:-:1")]
        await after.close()

    run_virtually(scenario())


@pytest.mark.parametrize("tolerates", [False, True])
def test_an_at_most_once_call_is_never_made_again(tolerates: bool) -> None:
    """It fails with `interrupted`, which may be tolerated like any failure."""

    async def scenario() -> None:
        sim = Simulated()
        careful = call("a", delivery="at_most_once", continue_on_error=tolerates)
        workflow = await sim.define([TRIGGER, careful, call("b")], line("start", "a", "b"))
        run_id = await sim.execute(workflow)
        await sim.ended(run_id)
        after = await restarted(sim, await cut_after(sim, run_id, "node.started", "a"))
        state = await after.ended(run_id)
        assert [x.node for x in after.endpoint.calls] == (["b"] if tolerates else [])
        error = (await after.bodies(state))["a"]["error"]
        assert error["code"] == "interrupted"
        assert error["message"].startswith("Node 'a' was interrupted: ")
        assert state.status == ("completed" if tolerates else "failed")
        await after.close()

    run_virtually(scenario())


def test_a_call_in_doubt_keeps_its_key_through_resumes_that_never_reach_it() -> None:
    """Until a call of a resume's own has an outcome; after that the key is new."""

    async def scenario() -> None:
        sim = Simulated()
        nodes = [TRIGGER, call("a"), call("b"), call("c", delivery="at_most_once")]
        run_id = await sim.execute(await sim.define(nodes, line("start", "a", "b", "c")))
        await sim.ended(run_id)
        after = await restarted(sim, await cut_after(sim, run_id, "node.started", "c"))
        await after.ended(run_id)
        after.endpoint.script = {"b": [Reply(500)], "c": [Reply(500)]}
        first = await after.resume(run_id, "a")
        await after.ended(first)
        after.endpoint.script = {"c": [Reply(500)]}
        second = await after.resume(first, "a")
        await after.ended(second)
        third = await after.resume(second, "b")
        await after.ended(third)
        assert [(x.node, x.key) for x in after.endpoint.calls] == [
            ("b", f"{first}:b:-:1"),
            ("b", f"{second}:b:-:1"),
            ("c", f"{run_id}:c:-:1"),
            ("c", f"{third}:c:-:1"),
        ]
        await after.close()

    run_virtually(scenario())


@pytest.mark.parametrize(("downtime_s", "ends_s"), [(10, 60), (500, 500)])
def test_a_delay_survives_the_service_that_set_it(downtime_s: float, ends_s: float) -> None:
    """It ends when it was to end, or at once where that time has passed."""

    async def scenario() -> None:
        sim = Simulated()
        nodes = [TRIGGER, node("d", "delay", duration=60)]
        run_id = await sim.execute(await sim.define(nodes, line("start", "d")))
        await asyncio.sleep(1)
        after = await restarted(sim, sim.journal.head, downtime_s=downtime_s)
        state = await after.ended(run_id)
        assert (state.status, after.clock.now_us() - START_US) == ("completed", ends_s * 1_000_000)
        timers = [x for x in await after.journal.read_stream(run_id) if x.facts.type == "timer.set"]
        assert len(timers) == 1
        await after.close()

    run_virtually(scenario())


@pytest.mark.parametrize("type_", ["node.failed", "node.retry_scheduled"])
def test_a_retry_wait_survives_even_where_its_schedule_did_not(type_: str) -> None:
    """A crash between the failure and its schedule costs no attempt and no wait."""

    async def scenario() -> None:
        script = {"a": [Reply(503, 0), Reply(200, 0)]}
        sim = Simulated(Endpoint(script))
        retry = {"max_attempts": 2, "initial_interval": 60}
        run_id = await sim.execute(
            await sim.define([TRIGGER, call("a", retry=retry)], line("start", "a"))
        )
        await sim.ended(run_id)
        after = await restarted(sim, await cut_after(sim, run_id, type_, "a"))
        state = await after.ended(run_id)
        assert (state.status, state.nodes["a"].attempt) == ("completed", 2)
        assert after.clock.now_us() - START_US == 60_000_000
        await after.close()

    run_virtually(scenario())


def test_the_message_of_a_failing_run_survives() -> None:
    """A crash between the failure and the run's last event changes neither."""

    async def scenario() -> None:
        sim = Simulated(Endpoint({"a": [Reply(503)]}))
        run_id = await sim.execute(await sim.define([TRIGGER, call("a")], line("start", "a")))
        before = await sim.message(await sim.ended(run_id))
        after = await restarted(sim, await cut_after(sim, run_id, "node.failed"))
        state = await after.ended(run_id)
        assert (await after.message(state), state.failed_node) == (before, "a")
        await after.close()

    run_virtually(scenario())


def test_a_run_s_time_counts_through_a_crash() -> None:
    """A run that came back too late is ended before it calls anybody again."""

    async def scenario() -> None:
        sim = Simulated(Endpoint({"a": [Reply(seconds=60)]}))
        run_id = await sim.execute(await sim.define([TRIGGER, call("a")], line("start", "a")))
        await asyncio.sleep(1)
        after = await restarted(sim, sim.journal.head, downtime_s=7200)
        state = await after.ended(run_id)
        assert await after.message(state) == "Run exceeded its time limit of 3600 s"
        assert (after.endpoint.calls, state.nodes["a"].in_doubt) == ([], True)
        await after.close()

    run_virtually(scenario())


def test_a_disk_that_refuses_is_asked_again_until_it_gives_in() -> None:
    """The run waits; no call is made on the strength of a commit that failed."""

    async def scenario() -> None:
        sim = Simulated()
        workflow = await sim.define([TRIGGER, call("a")], line("start", "a"))
        run_id = await sim.execute(workflow)
        sim.journal.failures = [StoreFailedError("full")] * 3
        state = await sim.ended(run_id)
        assert state.status == "completed"
        assert sim.endpoint.calls[0].at_us - START_US == 3_000_000
        assert sim.endpoint.faults == []
        await sim.close()

    run_virtually(scenario())


def test_a_run_that_somebody_else_moved_is_read_again() -> None:
    """Optimistic concurrency is the fence: the loser lets go, reads, and goes on from there."""

    async def scenario() -> None:
        sim = Simulated(Endpoint({"a": [Reply(seconds=5)]}))
        workflow = await sim.define([TRIGGER, call("a")], line("start", "a"))
        run_id = await sim.execute(workflow)
        await asyncio.sleep(1)
        version = (await sim.state(run_id)).version
        foreign = NewEvent(sim.ids.new(), e.RunCancelRequested(code="cancelled"), b"{}")
        await sim.journal.append(Commit([StreamWrite(run_id, version, [foreign], META)]))
        state = await sim.ended(run_id)
        assert (state.status, state.cancelling) == ("failed", "cancelled")
        types = [x.facts.type for x in await sim.journal.read_stream(run_id)]
        assert types[-3:] == ["run.cancel_requested", "node.interrupted", "run.cancelled"]
        assert sim.endpoint.on_wire == 0
        await sim.close()

    run_virtually(scenario())


def test_an_error_that_is_not_the_run_s_own_is_waited_out() -> None:
    """The run is tried again, ever later, and a request to stop it is not lost."""

    async def scenario() -> None:
        sim = Simulated(Endpoint({"a": [Reply(seconds=5)]}))
        workflow = await sim.define([TRIGGER, call("a")], line("start", "a"))
        run_id = await sim.execute(workflow)
        await asyncio.sleep(1)
        sim.journal.failures = [RuntimeError("odd"), ConflictError(run_id, 1, 2)]
        await sim.cancel(run_id)
        state = await sim.ended(run_id)
        assert state.cancelling == "cancelled"
        # One second after the first error, two after the second.
        assert sim.clock.now_us() - START_US == 4_000_000
        await sim.close()

    run_virtually(scenario())


def test_recovery_takes_up_each_unfinished_run_once() -> None:
    """Ended runs stay as they are, and a second recovery finds nothing new."""

    async def scenario() -> None:
        sim = Simulated()
        workflow = await sim.define([TRIGGER, call("a")], line("start", "a"))
        done = await sim.execute(workflow)
        await sim.ended(done)
        open_ = [await sim.execute(workflow) for _ in range(3)]
        after = await sim.crashed(sim.journal.head, endpoint=Endpoint())
        await sim.close()
        assert await after.engine.recover() == 3
        await after.engine.recover()
        for run_id in open_:
            assert (await after.ended(run_id)).status == "completed"
        assert sorted(x.run_id for x in after.endpoint.calls) == sorted(open_)
        await after.close()

    run_virtually(scenario())


def test_a_parent_hears_of_a_child_that_somebody_else_has_ended() -> None:
    """It goes on as soon as its service sees that, not when its own time is over."""

    async def scenario() -> None:
        sim = Simulated()
        pause = node("d", "delay", duration=60)
        made = await sim.define([node("begin", "workflow_trigger"), pause], line("begin", "d"))
        step = node("s", "trigger_workflow", workflow_id=made, continue_on_error=True)
        run_id = await sim.execute(await sim.define([TRIGGER, step], line("start", "s")))
        state = await sim.until(
            run_id, lambda known: "s" in known.nodes and known.nodes["s"].child != ""
        )
        child = state.nodes["s"].child
        known = await sim.until(child, lambda found: ("", "d") in found.open)
        ended = NewEvent(sim.ids.new(), e.RunCancelled(code="cancelled"), b'{"message":"enough"}')
        await sim.journal.append(Commit([StreamWrite(child, known.version, [ended], META)]))
        state = await sim.ended(run_id)
        assert (state.status, state.nodes["s"].phase) == ("completed", "tolerated")
        assert sim.clock.now_us() - START_US < 70e6
        await sim.close()

    run_virtually(scenario())
