"""Sub-workflows: links, results, circles, cancelling, resuming, and never a second child."""

from __future__ import annotations

from typing import Any

import pytest

from refold.engine.definition import DefinitionError
from refold.engine.errors import StateError
from refold.engine.limits import Limits
from refold.engine.workflows import WorkflowText
from refold.journal import events as e
from refold.projections.run_state import RunState
from tests.support.simulated import (
    CALLER,
    TRIGGER,
    Endpoint,
    Reply,
    Simulated,
    call,
    line,
    node,
    restarted,
)
from tests.support.virtual_time import run_virtually

START = node("begin", "workflow_trigger")


def sub(name: str, workflow: str, **data: Any) -> dict[str, Any]:
    """Write a node that starts another workflow."""
    return node(name, "trigger_workflow", workflow_id=workflow, **data)


async def child(sim: Simulated, *nodes: dict[str, Any]) -> str:
    """Define a workflow that others start."""
    return await sim.define([START, *nodes], line("begin", *(n["id"] for n in nodes)))


async def parent(sim: Simulated, *nodes: dict[str, Any]) -> str:
    """Define a workflow that starts others."""
    return await sim.define([TRIGGER, *nodes], line("start", *(n["id"] for n in nodes)))


async def children_of(sim: Simulated, run_id: str) -> list[str]:
    """Return the runs that a run started, in order."""
    return [
        x.facts.child
        for x in await sim.journal.read_stream(run_id)
        if isinstance(x.facts, e.ChildRequested) and not x.src
    ]


async def requested_by(sim: Simulated, run_id: str) -> list[str]:
    """Return the runs that say they were started by a run."""
    return [
        x.stream
        for x in await sim.journal.read_all(limit=100_000)
        if isinstance(x.facts, e.RunRequested) and x.facts.parent_run == run_id
    ]


def test_a_waited_for_child_gives_its_result_and_both_are_linked() -> None:
    """The step succeeds when the other run has, with what its last node passed on."""

    async def scenario() -> None:
        sim = Simulated()
        made = await child(sim, call("h"), node("x", "text_transform", template="{{ trigger.n }}!"))
        step = sub("s", made, input={"n": "{{ trigger.n }}"})
        run_id = await sim.execute(await parent(sim, step, call("after")), {"n": "seven"})
        state = await sim.ended(run_id)
        (child_id,) = await children_of(sim, run_id)
        assert (await sim.bodies(state))["s"] == {
            "run_id": child_id,
            "status": "completed",
            "output": {"text": "seven!"},
        }
        origin = (await sim.state(child_id)).origin
        linked = (origin.origin, origin.parent_run, origin.parent_node, origin.depth)
        assert linked == ("subworkflow", run_id, "s", 1)
        ended = [
            x.facts
            for x in await sim.journal.read_stream(run_id)
            if isinstance(x.facts, e.ChildEnded)
        ]
        assert [(x.child, x.status) for x in ended] == [(child_id, "completed")]
        await sim.close()

    run_virtually(scenario())


def test_the_note_and_the_child_stand_in_one_commit() -> None:
    """So that no crash can come between them."""

    async def scenario() -> None:
        sim = Simulated()
        made = await child(sim, node("d", "delay", duration=5))
        run_id = await sim.execute(await parent(sim, sub("s", made)))
        state = await sim.until(run_id, lambda known: bool(known.open.get(("", "s"))))
        state = await sim.until(run_id, lambda known: known.open[("", "s")].phase == "child")
        (at,) = [
            x.at
            for x in await sim.journal.read_stream(run_id)
            if isinstance(x.facts, e.ChildRequested)
        ]
        first = (await sim.journal.read_stream(state.nodes["s"].child))[0]
        assert (first.at, first.version) == (at, 1)
        await sim.close()

    run_virtually(scenario())


def test_a_step_that_does_not_wait_succeeds_with_the_request() -> None:
    """The other run goes on by itself, whatever becomes of this one."""

    async def scenario() -> None:
        sim = Simulated()
        made = await child(sim, node("d", "delay", duration=500))
        run_id = await sim.execute(await parent(sim, sub("s", made, wait=False)))
        state = await sim.ended(run_id)
        (child_id,) = await children_of(sim, run_id)
        assert (await sim.bodies(state))["s"] == {"run_id": child_id}
        assert not (await sim.state(child_id)).is_ended
        assert (await sim.ended(child_id)).status == "completed"
        await sim.close()

    run_virtually(scenario())


@pytest.mark.parametrize("tolerates", [False, True])
def test_a_child_that_fails_fails_its_step(tolerates: bool) -> None:
    """Its message names the run, so that one can look there."""

    async def scenario() -> None:
        sim = Simulated(Endpoint({"h": [Reply(503)]}))
        made = await child(sim, call("h"))
        step = sub("s", made, continue_on_error=tolerates)
        run_id = await sim.execute(await parent(sim, step))
        state = await sim.ended(run_id)
        (child_id,) = await children_of(sim, run_id)
        assert state.status == ("completed" if tolerates else "failed")
        error = (await sim.bodies(state))["s"]
        assert error["error"]["code"] == "child_failed"
        assert error["error"]["message"].startswith(f"Sub-workflow run {child_id} failed: Webhook")
        assert (error["run_id"], error["failed_node_id"]) == (child_id, "h")
        await sim.close()

    run_virtually(scenario())


def test_a_resume_keeps_a_child_that_succeeded_and_starts_a_new_one_for_one_that_failed() -> None:
    """What worked is not done twice; what failed gets a new chance."""

    async def scenario() -> None:
        sim = Simulated(Endpoint({"h": [Reply(503)]}))
        good, bad = await child(sim, call("g")), await child(sim, call("h"))
        run_id = await sim.execute(await parent(sim, sub("a", good), sub("b", bad)))
        assert (await sim.ended(run_id)).failed_node == "b"
        sim.endpoint.script = {}
        resumed_id = await sim.resume(run_id, "a")
        resumed = await sim.ended(resumed_id)
        assert resumed.status == "completed"
        assert len(await children_of(sim, resumed_id)) == 1
        assert [x.node for x in sim.endpoint.calls] == ["g", "h", "h"]
        first = (await sim.bodies(resumed))["a"]["run_id"]
        assert first == (await children_of(sim, run_id))[0]
        await sim.close()

    run_virtually(scenario())


@pytest.mark.parametrize("is_cancelled", [True, False])
def test_a_run_that_stops_takes_its_children_with_it(is_cancelled: bool) -> None:
    """Cancelled, or failing by another branch: nobody waits for the child any more."""

    async def scenario() -> None:
        sim = Simulated(Endpoint({"f": [Reply(503, seconds=5)]}))
        grandchild = await child(sim, node("d", "delay", duration=600))
        made = await child(sim, sub("deeper", grandchild))
        edges = [*line("start", "s"), *([] if is_cancelled else line("start", "f"))]
        nodes = [TRIGGER, sub("s", made), call("f")]
        run_id = await sim.execute(await sim.define(nodes, edges))
        await sim.until(
            run_id, lambda known: ("", "s") in known.open and bool(known.nodes["s"].child)
        )
        (child_id,) = await children_of(sim, run_id)
        await sim.until(
            child_id,
            lambda known: ("", "deeper") in known.open and bool(known.nodes["deeper"].child),
        )
        if is_cancelled:
            await sim.cancel(run_id)
        state = await sim.ended(run_id)
        assert (state.status, state.nodes["s"].phase) == ("failed", "interrupted")
        below = [child_id, *(await children_of(sim, child_id))]
        assert len(below) == 2
        for each in below:
            stopped = await sim.ended(each)
            assert (stopped.status, stopped.cancelling) == ("failed", "cancelled")
        await sim.close()

    run_virtually(scenario())


def test_what_cannot_be_started_fails_the_step() -> None:
    """Inactive by then, or with a payload that breaks the trigger's schema."""

    async def scenario() -> None:
        sim = Simulated()
        strict = node("begin", "workflow_trigger", input_schema={"required": ["n"]})
        made = await sim.define([strict], [])
        workflow = await parent(sim, sub("s", made, input={"m": 1}))
        state = await sim.ended(await sim.execute(workflow))
        assert (await sim.bodies(state))["s"]["error"]["code"] == "payload_invalid"
        await sim.authoring.change(CALLER, made, inactive, None)
        state = await sim.ended(await sim.execute(workflow))
        assert (await sim.bodies(state))["s"]["error"]["code"] == "workflow_inactive"
        await sim.close()

    run_virtually(scenario())


def inactive(text: WorkflowText) -> WorkflowText:
    """Switch a workflow off."""
    return WorkflowText(name=text.name, nodes=text.nodes, edges=text.edges, is_active=False)


def naming(*nodes: dict[str, Any]) -> Any:
    """Make the edit that gives a workflow these nodes."""

    def edit(text: WorkflowText) -> WorkflowText:
        edges = line("begin", *(n["id"] for n in nodes))
        return WorkflowText(name=text.name, nodes=[START, *nodes], edges=edges)

    return edit


def test_circles_are_refused_on_save_however_long() -> None:
    """A starts B, B starts C; C may start neither A nor itself."""

    async def scenario() -> None:
        sim = Simulated()
        c = await child(sim)
        b = await child(sim, sub("s", c))
        a = await child(sim, sub("s", b))
        for target, says in ((c, "start itself"), (b, "leads back"), (a, "leads back")):
            with pytest.raises(DefinitionError) as refused:
                await sim.authoring.change(CALLER, c, naming(sub("back", target)), None)
            (fault,) = refused.value.errors["nodes[1].data.workflow_id"]
            assert says in fault
        with pytest.raises(DefinitionError):
            await child(sim, sub("s", "fl_" + "0" * 26))
        with pytest.raises(DefinitionError):
            await child(sim, node("it", "iterator", items=[1], nodes=[sub("s", "fl_" + "0" * 26)]))
        await sim.close()

    run_virtually(scenario())


def test_sub_workflows_nest_ten_deep_and_no_deeper() -> None:
    """By what is saved, and by what runs when it was saved under another limit."""

    async def scenario() -> None:
        sim = Simulated()
        made = await child(sim)
        for _ in range(9):
            made = await child(sim, sub("s", made))
        top = await parent(sim, sub("s", made))
        assert (await sim.ended(await sim.execute(top))).status == "completed"
        with pytest.raises(DefinitionError, match="fault"):
            await parent(sim, sub("s", await child(sim, sub("s", made))))
        head = sim.journal.head
        sim.limits = Limits(subworkflow_depth_max=3)
        after = await restarted(sim, head)
        state = await after.ended(await after.execute(top))
        assert "nested 3 deep" in await after.message(state)
        await after.close()

    run_virtually(scenario())


def test_a_workflow_in_use_cannot_be_deleted_until_nothing_names_it() -> None:
    """Named by the current version of another workflow, wherever in it."""

    async def scenario() -> None:
        sim = Simulated()
        made = await child(sim)
        inside = node("it", "iterator", items=[1], nodes=[sub("s", made)])
        user = await child(sim, inside)
        with pytest.raises(StateError, match=user):
            await sim.authoring.delete(CALLER, made)
        await sim.authoring.change(CALLER, user, naming(), None)
        await sim.authoring.delete(CALLER, made)
        second = await child(sim)
        user = await child(sim, sub("s", second))
        await sim.authoring.delete(CALLER, user)
        await sim.authoring.delete(CALLER, second)
        await sim.close()

    run_virtually(scenario())


def test_a_crash_at_any_event_never_makes_a_second_child() -> None:
    """Two steps, one of them for each item of a list: each has its one child."""

    async def scenario() -> None:
        sim = Simulated()
        made = await child(sim, call("h"), node("d", "delay", duration=1))
        inside = node(
            "it",
            "iterator",
            items=[1, 2],
            mode="parallel",
            nodes=[sub("each", made, input={"n": "{{ item }}"})],
        )
        first = sim.journal.head
        run_id = await sim.execute(await parent(sim, sub("s", made), inside))
        assert (await sim.ended(run_id)).status == "completed"
        await sim.close()
        for head in (made for made in sim.journal.commits if made > first + 1):
            after = await restarted(sim, head)
            state = await after.ended(run_id)
            assert state.status == "completed", head
            children = await children_of(after, run_id)
            assert len(children) == 3, head
            assert sorted(children) == sorted(await requested_by(after, run_id)), head
            for each in children:
                assert (await after.state(each)).status == "completed", head
            await after.close()

    run_virtually(scenario())


def test_a_parent_that_was_cancelled_before_a_crash_still_cancels_its_children() -> None:
    """Whatever of it was durable."""

    async def scenario() -> None:
        sim = Simulated()
        made = await child(sim, node("d", "delay", duration=600))
        run_id = await sim.execute(await parent(sim, sub("s", made)))

        def has_child(known: RunState) -> bool:
            return ("", "s") in known.open and bool(known.nodes["s"].child)

        await sim.until(run_id, has_child)
        await sim.cancel(run_id)
        await sim.ended(run_id)
        (child_id,) = await children_of(sim, run_id)
        await sim.ended(child_id)
        await sim.close()
        asked = next(
            x.position
            for x in await sim.journal.read_stream(run_id)
            if isinstance(x.facts, e.RunCancelRequested)
        )
        for head in range(asked, sim.journal.head):
            after = await restarted(sim, head)
            assert (await after.ended(run_id)).status == "failed"
            assert (await after.ended(child_id)).cancelling == "cancelled"
            await after.close()

    run_virtually(scenario())


@pytest.mark.parametrize(
    ("given", "says"), [({}, "nothing"), ({"o": 5}, "a number"), ({"o": [1]}, "a list")]
)
def test_an_input_that_renders_to_no_object_fails_the_step(given: Any, says: str) -> None:
    """The other workflow's trigger takes an object."""

    async def scenario() -> None:
        sim = Simulated()
        made = await child(sim)
        workflow = await parent(sim, sub("s", made, input="{{ trigger.o }}"))
        state = await sim.ended(await sim.execute(workflow, given))
        assert says in await sim.message(state)
        assert await requested_by(sim, state.run_id) == []
        await sim.close()

    run_virtually(scenario())
