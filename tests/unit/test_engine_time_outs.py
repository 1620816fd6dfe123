"""Time-outs of iterators and of steps that wait for another workflow's run."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from refold.journal import events as e
from refold.projections.run_state import RunState
from tests.support.simulated import TRIGGER, Endpoint, Reply, Simulated, call, edge, line, node
from tests.support.virtual_time import run_virtually

SECOND_US = 1_000_000
LIST = list(range(10))


def sleep(name: str, seconds: float) -> dict[str, Any]:
    """Write a node that waits."""
    return node(name, "delay", duration=seconds, unit="seconds")


def each(name: str, *body: dict[str, Any], **data: Any) -> dict[str, Any]:
    """Write an iterator over ten items."""
    edges = line(*(inner["id"] for inner in body))
    return node(name, "iterator", items=LIST, nodes=list(body), edges=edges, **data)


async def started(sim: Simulated, step: dict[str, Any], *more: dict[str, Any]) -> str:
    """Start a run of a step and what follows it."""
    names = ("start", step["id"], *(after["id"] for after in more))
    return await sim.execute(await sim.define([TRIGGER, step, *more], line(*names)))


async def child_of(sim: Simulated, *nodes: dict[str, Any]) -> str:
    """Define the workflow that a step waits for."""
    begin = node("begin", "workflow_trigger")
    return await sim.define([begin, *nodes], line("begin", *(n["id"] for n in nodes)))


async def children_in(sim: Simulated, run_id: str) -> list[RunState]:
    """Return the runs that a run started, ended."""
    return [
        await sim.ended(x.facts.child)
        for x in await sim.journal.read_stream(run_id)
        if isinstance(x.facts, e.ChildRequested)
    ]


def lasted(state: RunState) -> float:
    """Return how long a run took, in seconds."""
    return round((state.ended_at - state.started_at) / SECOND_US, 1)


def test_an_iterator_ends_when_its_time_is_over() -> None:
    """What ended stays in the log, what waited is ended, and nothing else begins."""

    async def scenario() -> None:
        sim = Simulated()
        run_id = await started(sim, each("it", sleep("s", 2), timeout=5), call("after"))
        state = await sim.ended(run_id)
        said = "Node 'it' timed out after 5 s, when 2 of 10 items had ended."
        assert (state.status, state.failed_node, lasted(state)) == ("failed", "it", 5)
        assert await sim.message(state) == said
        assert (await sim.bodies(state))["it"]["error"]["code"] == "timeout"
        inside = [(x.iteration, x.status) for x in state.log if x.node == "s"]
        assert inside == [("0", "success"), ("1", "success"), ("2", "warning")]
        assert sim.endpoint.calls == []
        await sim.close()

    run_virtually(scenario())


def test_a_call_on_the_wire_finishes_before_the_iterator_ends() -> None:
    """It is logged, and the node behind it does not begin."""

    async def scenario() -> None:
        sim = Simulated(Endpoint({"h": [Reply(seconds=8)]}))
        body = call("h"), call("behind")
        iterator = each("it", *body, timeout=5, mode="parallel", concurrency=3)
        state = await sim.ended(await started(sim, iterator))
        assert (state.status, state.failed_node, lasted(state)) == ("failed", "it", 8)
        assert [(x.node, x.status) for x in state.log if x.iteration] == [("h", "success")] * 3
        assert "0 of 10 items" in await sim.message(state)
        assert sim.endpoint.faults == []
        await sim.close()

    run_virtually(scenario())


def test_all_that_stands_inside_ends_with_it() -> None:
    """An iterator in an item, a form in it, and another workflow's run, which is cancelled."""

    async def scenario() -> None:
        sim = Simulated()
        form = node("f", "form", fields=[], actions=[{"id": "ok", "label": "Ok"}])
        sub = node("c", "trigger_workflow", workflow_id=await child_of(sim, sleep("s", 60)))
        inner = each("inner", form, mode="parallel", concurrency=10)
        body = node("w", "iterator", items=[1], nodes=[sub, inner], edges=[], timeout=5)
        state = await sim.ended(await started(sim, body))
        assert (state.status, state.failed_node, lasted(state)) == ("failed", "w", 5)
        ended = {(x.node, x.status) for x in state.log if x.iteration}
        assert ended == {("f", "warning"), ("c", "warning"), ("inner", "warning")}
        (child,) = await children_in(sim, state.run_id)
        assert (child.status, lasted(child)) == ("failed", 5)
        await sim.close()

    run_virtually(scenario())


@pytest.mark.parametrize(("handle", "follows"), [("error", "error"), (None, "plain")])
def test_a_tolerated_time_out_goes_on(handle: str | None, follows: str) -> None:
    """By an error edge where there is one."""

    async def scenario() -> None:
        sim = Simulated()
        step = each("it", sleep("s", 2), timeout=3, continue_on_error=True)
        after = node("x", "text_transform", template="{{ it.error.code }}")
        edges = [edge("start", "it"), edge("it", "x", handle)]
        workflow = await sim.define([TRIGGER, step, after], edges)
        state = await sim.ended(await sim.execute(workflow))
        assert (state.status, lasted(state)) == ("completed", 3), follows
        assert (await sim.bodies(state))["x"] == {"text": "timeout"}
        await sim.close()

    run_virtually(scenario())


def test_a_child_that_takes_too_long_is_cancelled() -> None:
    """The step fails by its time-out, and names the run."""

    async def scenario() -> None:
        sim = Simulated()
        workflow = await child_of(sim, sleep("s", 60))
        step = node("c", "trigger_workflow", workflow_id=workflow, timeout=4)
        state = await sim.ended(await started(sim, step))
        (child,) = await children_in(sim, state.run_id)
        assert (state.status, lasted(state)) == ("failed", 4)
        said = f"Node 'c' timed out after 4 s, before run {child.run_id} had ended."
        assert await sim.message(state) == said
        assert (await sim.bodies(state))["c"]["run_id"] == child.run_id
        assert (child.status, child.cancelling, lasted(child)) == ("failed", "cancelled", 4)
        await sim.close()

    run_virtually(scenario())


def test_a_child_in_time_gives_its_result() -> None:
    """A time-out that is not reached changes nothing."""

    async def scenario() -> None:
        sim = Simulated()
        made = node("x", "text_transform", template="made")
        workflow = await child_of(sim, sleep("s", 3), made)
        step = node("c", "trigger_workflow", workflow_id=workflow, timeout=4)
        state = await sim.ended(await started(sim, step, sleep("then", 10)))
        assert (state.status, lasted(state)) == ("completed", 13)
        assert (await sim.bodies(state))["c"]["output"] == {"text": "made"}
        await sim.close()

    run_virtually(scenario())


@pytest.mark.parametrize(("seconds", "code"), [(3, ""), (30, "timeout")])
def test_who_was_first_is_told_by_the_journals_times(seconds: float, code: str) -> None:
    """After a crash and a long time without a service, the child's end is compared, not the clock.

    What the child still needed when the service went down comes after the step's time.
    """

    async def scenario() -> None:
        sim = Simulated()
        workflow = await child_of(sim, sleep("s", seconds))
        step = node("c", "trigger_workflow", workflow_id=workflow, timeout=8)
        run_id = await started(sim, step)
        state = await sim.until(run_id, lambda state: bool(state.open and _child(state)))
        child = _child(state)
        await sim.until(child, lambda state: state.is_ended or bool(state.open))
        if seconds < 8:
            await sim.ended(child)
            head = await _position_of_end(sim, child)
        else:
            head = sim.journal.head
        await sim.close()
        after = await sim.crashed(head, endpoint=Endpoint())
        await asyncio.sleep(60)
        await after.engine.recover()
        state = await after.ended(run_id)
        error = (await after.bodies(state))["c"].get("error", {"code": ""})
        assert error["code"] == code
        assert state.status == ("failed" if code else "completed")
        await after.close()

    run_virtually(scenario())


@pytest.mark.parametrize("tenths", range(24, 44, 2))
def test_an_end_that_is_on_its_way_to_the_disk_counts_by_its_time(tenths: int) -> None:
    """Although nobody could see it when the step's time was over."""

    async def scenario() -> None:
        sim = Simulated(commit_seconds=0.5)
        sim.journal.is_stamped_first = True
        workflow = await child_of(sim, sleep("s", 1))
        step = node("c", "trigger_workflow", workflow_id=workflow, timeout=tenths / 10)
        state = await sim.ended(await started(sim, step))
        (child,) = await children_in(sim, state.run_id)
        deadline = state.nodes["c"].started_at + tenths * SECOND_US // 10
        assert (state.status == "completed") == (child.ended_at < deadline)
        await sim.close()

    run_virtually(scenario())


def _child(state: RunState) -> str:
    return state.nodes["c"].child if "c" in state.nodes else ""


async def _position_of_end(sim: Simulated, run_id: str) -> int:
    return (await sim.journal.read_stream(run_id))[-1].position


def test_a_crash_at_any_event_comes_to_the_same_time_out() -> None:
    """Iterators with items that sleep and call, and a child: one end each, none doubled."""

    async def scenario() -> None:
        sim = Simulated()
        workflow = await child_of(sim, sleep("long", 60))
        step = node("c", "trigger_workflow", workflow_id=workflow, timeout=4)
        step["data"]["continue_on_error"] = True
        iterator = each("it", sleep("s", 2), call("h"), timeout=5)
        run_id = await started(sim, step, iterator)
        whole = await sim.ended(run_id)
        await children_in(sim, run_id)
        assert (whole.status, whole.failed_node) == ("failed", "it")
        await sim.close()
        events = await sim.journal.read_all(limit=sim.journal.head)
        # A child's request and the child's first event are one commit.
        whole_commits = [x.position for x in events if not isinstance(x.facts, e.ChildRequested)]
        for head in whole_commits[2:-1]:
            after = await sim.crashed(head, endpoint=Endpoint())
            await after.engine.recover()
            state = await after.ended(run_id)
            outcome = state.status, state.failed_node
            assert outcome == ("failed", "it"), head
            assert (await after.bodies(state))["c"]["error"]["code"] == "timeout", head
            (child,) = await children_in(after, run_id)
            assert child.cancelling == "cancelled", head
            ends = [x.facts for x in await after.journal.read_stream(run_id)]
            items = [x.iteration for x in ends if isinstance(x, e.IterationEnded)]
            assert len(items) == len(set(items)), head
            assert after.endpoint.faults == [], head
            await after.close()

    run_virtually(scenario())


def test_an_iterator_whose_time_ended_while_the_service_was_down_begins_no_item() -> None:
    """Nor a call of an item that was under way, wherever the crash was."""

    async def scenario() -> None:
        sim = Simulated()
        iterator = each("it", sleep("s", 2), call("h"), timeout=5)
        run_id = await started(sim, iterator)
        await sim.ended(run_id)
        await sim.close()
        events = await sim.journal.read_stream(run_id)
        for event in events:
            if isinstance(event.facts, e.IterationStarted | e.IterationEnded):
                after = await sim.crashed(event.position, endpoint=Endpoint())
                await asyncio.sleep(60)
                await after.engine.recover()
                state = await after.ended(run_id)
                assert (state.status, state.failed_node) == ("failed", "it"), event.position
                assert await _begun(after, run_id, 1000) == await _begun(
                    after, run_id, event.position
                )
                assert after.endpoint.calls == []
                await after.close()

    run_virtually(scenario())


async def _begun(sim: Simulated, run_id: str, up_to: int) -> int:
    """Count the items that began up to a position."""
    return sum(
        isinstance(x.facts, e.IterationStarted) and x.position <= up_to
        for x in await sim.journal.read_stream(run_id)
    )
