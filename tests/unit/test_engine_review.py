"""Where iterators, sub-workflows and forms meet crashes, requests and each other."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from refold.engine.errors import StateError
from refold.engine.limits import Limits
from refold.engine.workflows import WorkflowText
from refold.journal import events as e
from tests.support.simulated import (
    CALLER,
    TRIGGER,
    Endpoint,
    Reply,
    Simulated,
    call,
    edge,
    line,
    node,
    restarted,
)
from tests.support.virtual_time import run_virtually

START = node("begin", "workflow_trigger")
ACTIONS = [{"id": "ok"}]


def each(name: str, body: list[dict[str, Any]], edges: Any = (), **data: Any) -> dict[str, Any]:
    """Write an iterator over the trigger's list."""
    data.setdefault("items", "{{ trigger.list }}")
    return node(name, "iterator", nodes=body, edges=list(edges), **data)


def text(name: str, template: Any = "x", **data: Any) -> dict[str, Any]:
    """Write a node that renders a template."""
    return node(name, "text_transform", template=template, **data)


def form(name: str, **data: Any) -> dict[str, Any]:
    """Write a form with one button."""
    return node(name, "form", title="?", actions=ACTIONS, **data)


def sub(name: str, workflow: str, **data: Any) -> dict[str, Any]:
    """Write a node that starts another workflow."""
    return node(name, "trigger_workflow", workflow_id=workflow, **data)


async def child(sim: Simulated, *nodes: dict[str, Any]) -> str:
    """Define a workflow that others start."""
    return await sim.define([START, *nodes], line("begin", *(n["id"] for n in nodes)))


async def in_line(sim: Simulated, *nodes: dict[str, Any], payload: Any = None) -> str:
    """Start a run of a line of nodes."""
    workflow = await sim.define([TRIGGER, *nodes], line("start", *(n["id"] for n in nodes)))
    return await sim.execute(workflow, payload)


async def types(sim: Simulated, run_id: str) -> list[str]:
    """Return the types of a run's events."""
    return [x.facts.type for x in await sim.journal.read_stream(run_id, limit=100_000)]


BROKEN = {"left": "{{ run.id }}", "operator": "equals", "right": 1}


def test_a_step_that_does_not_wait_never_does_wherever_a_crash_meets_it() -> None:
    """Also where the request is durable and the step's own success is not."""

    async def scenario() -> None:
        sim = Simulated(Endpoint({"h": [Reply(503, seconds=60)]}))
        made = await child(sim, call("h"))
        run_id = await in_line(sim, sub("s", made, wait=False), text("end"))
        whole = await sim.ended(run_id)
        begun = next(x.position for x in await sim.journal.read_stream(run_id))
        await sim.close()
        for head in [made for made in sim.journal.commits if made >= begun]:
            after = await restarted(sim, head)
            state = await after.ended(run_id)
            assert state.status == whole.status == "completed", head
            assert "child.ended" not in await types(after, run_id), head
            output = (await after.bodies(state))["s"]
            assert output == {"run_id": state.nodes["s"].child}, head
            # The other run goes its own way.
            other = await after.ended(output["run_id"])
            assert (other.failed_node, other.cancelling) == ("h", ""), head
            await after.close()

    run_virtually(scenario())


def test_a_cancelled_run_lets_a_child_go_that_it_never_waited_for() -> None:
    """The request was the step's success already, so what it started is not cancelled."""

    async def scenario() -> None:
        sim = Simulated()
        made = await child(sim, node("d", "delay", duration=60))
        run_id = await in_line(sim, sub("s", made, wait=False), node("e", "delay", duration=60))
        await sim.until(run_id, lambda known: ("", "e") in known.open)
        (at,) = [
            x.position
            for x in await sim.journal.read_stream(run_id)
            if isinstance(x.facts, e.ChildRequested)
        ]
        after = await sim.crashed(at + 1, endpoint=Endpoint())
        await sim.close()
        await after.cancel(run_id)
        await after.engine.recover()
        state = await after.ended(run_id)
        assert (state.status, state.nodes["s"].phase) == ("failed", "succeeded")
        assert (await after.ended(state.nodes["s"].child)).status == "completed"
        await after.close()

    run_virtually(scenario())


@pytest.mark.parametrize("way", ["cancel", "time"])
def test_a_run_that_computes_for_long_is_stopped_in_the_middle(way: str) -> None:
    """Neither a request nor the run's time limit waits until nothing is ready any more."""

    async def scenario() -> None:
        limit = 0.5 if way == "time" else 3600
        sim = Simulated(limits=Limits(run_seconds_max=limit), commit_seconds=0.01)
        inner = each("inner", [text("x")], items=[0] * 100)
        run_id = await in_line(sim, each("outer", [inner], items=[0] * 200))
        if way == "cancel":
            await asyncio.sleep(0.2)
            await sim.cancel(run_id)
        state = await sim.ended(run_id)
        assert state.status == "failed"
        assert state.cancelling == ("cancelled" if way == "cancel" else "run_timeout")
        assert len(state.inner) < 15_000
        assert state.ended_at - state.started_at <= 600_000
        await sim.close()

    run_virtually(scenario())


def test_a_cancel_does_not_wait_until_all_children_are_started() -> None:
    """Those that are left are not started at all."""

    async def scenario() -> None:
        sim = Simulated(commit_seconds=0.1)
        made = await child(sim, node("d", "delay", duration=60))
        iterator = each("it", [sub("s", made)], items=[0] * 50, mode="parallel", concurrency=50)
        run_id = await in_line(sim, iterator)
        await sim.until(run_id, lambda known: any(n.child for n in known.inner.values()))
        await sim.cancel(run_id)
        state = await sim.ended(run_id)
        assert (state.status, state.cancelling) == ("failed", "cancelled")
        assert sum(n.child != "" for n in state.inner.values()) < 5
        assert not state.open
        await sim.close()

    run_virtually(scenario())


def test_a_child_is_not_started_in_an_item_that_failed_in_the_same_step() -> None:
    """Its node is ended like a wait, and nothing of it is begun again after a crash."""

    async def scenario() -> None:
        sim = Simulated(commit_seconds=0.1)
        made = await child(sim, call("h"))
        body = [sub("s", made), node("c", "number_condition", **BROKEN)]
        run_id = await in_line(sim, each("it", body, items=[1]), call("after"))
        assert (await sim.ended(run_id)).status == "completed"
        await sim.close()
        for head in [None, *sim.journal.commits[2:]]:
            after = sim if head is None else await restarted(sim, head)
            state = await after.ended(run_id)
            assert state.status == "completed", head
            assert state.inner["0", "s"].phase == "interrupted", head
            found = await types(after, run_id)
            assert "child.requested" not in found, head
            assert found.count("node.started") == 3 + (head == sim.journal.commits[-2]), head
            await after.close()

    run_virtually(scenario())


def test_the_failure_of_an_item_stays_the_first_one_after_a_crash() -> None:
    """Also where another node had failed before it, and was tried again."""

    async def scenario() -> None:
        script = {
            "a": [Reply(503, seconds=1), Reply(502, seconds=4)],
            "b": [Reply(500, seconds=3)],
            "c": [Reply(200, seconds=9)],
        }
        sim = Simulated(Endpoint(script, is_anchored=True))
        retry = {"max_attempts": 2, "initial_interval": 1}
        body = [call("a", retry=retry), call("b"), call("c")]
        run_id = await in_line(sim, each("it", body, items=[1]))
        whole = await sim.bodies(await sim.ended(run_id))
        assert whole["it"]["errors"][0]["node_id"] == "b"
        await sim.close()
        for head in sim.journal.commits[1:]:
            after = await restarted(sim, head, endpoint=Endpoint(script, is_anchored=True))
            assert await after.bodies(await after.ended(run_id)) == whole, head
            await after.close()

    run_virtually(scenario())


def test_a_retry_of_a_computation_keeps_a_run_from_only_waiting_for_people() -> None:
    """The wait is timed, so the run is running, and its time counts."""

    async def scenario() -> None:
        sim = Simulated()
        retry = {"max_attempts": 2, "initial_interval": 30}
        broken = node("c", "number_condition", retry=retry, continue_on_error=True, **BROKEN)
        edges = [edge("start", "f"), edge("start", "g"), edge("f", "c", "ok")]
        workflow = await sim.define([TRIGGER, form("f"), form("g"), broken], edges)
        run_id = await sim.execute(workflow)
        await sim.until(run_id, lambda known: known.status == "awaiting_ui_interaction")
        await sim.answer(run_id, "f", "ok")
        state = await sim.until(run_id, lambda known: ("", "c") in known.open)
        assert (state.status, state.paused_at) == ("running", 0)
        state = await sim.until(run_id, lambda known: known.nodes["c"].phase == "tolerated")
        assert state.status == "awaiting_ui_interaction"
        assert state.paused_us == 0
        await sim.answer(run_id, "g", "ok")
        assert (await sim.ended(run_id)).status == "completed"
        await sim.close()

    run_virtually(scenario())


def test_an_item_that_fails_while_the_run_is_failing_is_logged_as_an_error() -> None:
    """A warning would say that the run went on."""

    async def scenario() -> None:
        sim = Simulated(Endpoint({"in": [Reply(503, seconds=5)], "out": [Reply(503, seconds=1)]}))
        nodes = [TRIGGER, each("it", [call("in")], items=[1]), call("out")]
        run_id = await sim.execute(
            await sim.define(nodes, [*line("start", "it"), edge("start", "out")])
        )
        state = await sim.ended(run_id)
        assert (state.status, state.failed_node) == ("failed", "out")
        statuses = {entry.node: entry.status for entry in state.log}
        assert statuses == {"start": "success", "out": "error", "in": "error", "it": "warning"}
        await sim.close()

    run_virtually(scenario())


def test_a_resume_of_a_resume_replays_what_an_edited_iterator_ran() -> None:
    """Also where the body that ran stands in no version that the new run knows."""

    async def scenario() -> None:
        sim = Simulated(Endpoint({"after": [Reply(503)]}))
        body = [text("x", "{{ item }}"), text("y", "{{ item }}")]
        nodes = [TRIGGER, each("it", body, items=[1, 2]), call("after")]
        workflow = await sim.define(nodes, line("start", "it", "after"))
        run_id = await sim.execute(workflow)
        first = await sim.ended(run_id)

        def edit(known: WorkflowText) -> WorkflowText:
            changed = [TRIGGER, each("it", [text("z")], items=[1, 2]), call("after")]
            return WorkflowText(name="new", nodes=changed, edges=known.edges)

        await sim.authoring.change(CALLER, workflow, edit, None)
        second_id = await sim.resume(run_id, "it", "current")
        second = await sim.ended(second_id)
        third = await sim.ended(await sim.resume(second_id, "it"))
        inner = [
            [(x.node, x.iteration) for x in s.log if x.iteration] for s in (first, second, third)
        ]
        assert inner[0] == inner[1] == inner[2]
        assert len(inner[0]) == 4
        assert [x.source_id for x in third.log if x.iteration] == [
            x.event_id for x in second.log if x.iteration
        ]
        await sim.close()

    run_virtually(scenario())


def test_a_kept_iterator_passes_no_doubts_on() -> None:
    """What is kept is never executed, so its keys are of no use to the new run."""

    async def scenario() -> None:
        sim = Simulated()
        iterator = each("it", [call("h", delivery="at_most_once")], items=[1, 2])
        run_id = await in_line(sim, iterator, call("after"))
        await sim.until(run_id, lambda known: ("0", "h") in known.open)
        script = {"after": [Reply(503)]}
        after = await restarted(sim, sim.journal.head, endpoint=Endpoint(script))
        state = await after.ended(run_id)
        assert (state.failed_node, state.inner["0", "h"].in_doubt) == ("after", True)
        resumed = await after.state(await after.resume(run_id, "it"))
        assert resumed.origin.in_doubt == ""
        await after.close()

    run_virtually(scenario())


def test_a_form_whose_time_is_over_takes_no_answer_before_it_is_closed() -> None:
    """Also where the service was away when the time ended, and the answer is there first."""

    async def scenario() -> None:
        sim = Simulated()
        run_id = await in_line(sim, form("f", timeout=60))
        await sim.until(run_id, lambda known: ("", "f") in known.open)
        after = await sim.crashed(sim.journal.head, endpoint=Endpoint(), downtime_s=3600)
        await sim.close()
        with pytest.raises(StateError):
            await after.answer(run_id, "f", "ok")
        state = await after.ended(run_id)
        assert (state.status, state.nodes["f"].handle) == ("completed", "timeout")
        await after.close()

    run_virtually(scenario())


def test_a_result_larger_than_an_output_may_be_fails_its_item() -> None:
    """It is not recorded whole only because several nodes made it."""

    async def scenario() -> None:
        sim = Simulated(limits=Limits(output_bytes_max=1000))
        body = [text(f"n{i}", "x" * 600) for i in range(3)]
        run_id = await in_line(sim, each("it", body, items=[1]))
        state = await sim.ended(run_id)
        output = (await sim.bodies(state))["it"]
        assert output["results"] == [None]
        assert output["errors"][0]["code"] == "output_too_large"
        await sim.close()

    run_virtually(scenario())


def test_a_run_that_fails_cancels_its_child_after_saying_so_wherever_a_crash_meets_it() -> None:
    """The other run is not cancelled for a failure that is not on disk, nor taken for a result."""

    async def scenario() -> None:
        script = {"f": [Reply(503, seconds=5)]}
        sim = Simulated(Endpoint(script, is_anchored=True))
        made = await child(sim, node("d", "delay", duration=600))
        nodes = [TRIGGER, sub("s", made), call("f")]
        run_id = await sim.execute(
            await sim.define(nodes, [*line("start", "s"), *line("start", "f")])
        )
        whole = await sim.ended(run_id)
        assert (whole.failed_node, whole.nodes["s"].phase) == ("f", "interrupted")
        await sim.ended(whole.nodes["s"].child)
        await sim.close()
        places = {
            x.facts.type: x.position
            for x in await sim.journal.read_all(limit=10_000)
            if isinstance(x.facts, e.NodeFailed | e.RunCancelRequested)
        }
        assert places["node.failed"] < places["run.cancel_requested"]
        for head in sim.journal.commits[2:]:
            after = await restarted(sim, head, endpoint=Endpoint(script, is_anchored=True))
            state = await after.ended(run_id)
            assert (state.failed_node, state.nodes["s"].phase) == ("f", "interrupted"), head
            assert (await after.ended(state.nodes["s"].child)).cancelling == "cancelled", head
            await after.close()

    run_virtually(scenario())


def test_a_large_iterator_is_copied_whole_wherever_a_crash_meets_the_copying() -> None:
    """Its items' events fill several commits, the children and forms inside of it among them."""

    async def scenario() -> None:
        sim = Simulated(Endpoint({"after": [Reply(503)]}))
        made = await child(sim, text("x"))
        body = [text("x", "{{ item }}"), sub("s", made), call("h")]
        iterator = each("it", body, items=list(range(60)), mode="parallel", concurrency=30)
        nodes = [TRIGGER, form("f"), iterator, call("after")]
        edges = [edge("start", "f"), edge("f", "it", "ok"), edge("it", "after")]
        run_id = await sim.execute(await sim.define(nodes, edges))
        await sim.until(run_id, lambda known: ("", "f") in known.open)
        await sim.answer(run_id, "f", "ok")
        whole = await sim.ended(run_id)
        assert whole.failed_node == "after"
        calls, before = len(sim.endpoint.calls), sim.journal.head
        sim.endpoint.script = {}
        new_id = await sim.resume(run_id, "it")
        want = await sim.bodies(await sim.ended(new_id))
        assert len(sim.endpoint.calls) == calls + 1
        await sim.close()
        for head in [made_ for made_ in sim.journal.commits if made_ > before]:
            after = await restarted(sim, head)
            state = await after.ended(new_id)
            assert (state.status, await after.bodies(state)) == ("completed", want), head
            copied = [(x.node, x.iteration, x.source_id) for x in state.log if x.source_id]
            assert copied == [
                (x.node, x.iteration, x.event_id) for x in whole.log if x.node != "after"
            ], head
            assert len(after.endpoint.calls) <= 1, head
            await after.close()

    run_virtually(scenario())
