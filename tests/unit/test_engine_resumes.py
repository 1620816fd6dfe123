"""Resumes and reruns: the copy of a cut, what is refused, and edited definitions."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from refold.engine.errors import NodeNotCompletedError, NodeNotFoundError, StateError
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
    line,
    node,
    restarted,
)
from tests.support.virtual_time import run_virtually

TEXT = {"template": "x"}
LONG = [f"n{index}" for index in range(600)]


async def long_original(sim: Simulated) -> str:
    """Run a line of many pure nodes that fails at its end."""
    nodes = [TRIGGER, *[node(n, "text_transform", **TEXT) for n in LONG], call("last")]
    workflow = await sim.define(nodes, line("start", *LONG, "last"))
    run_id = await sim.execute(workflow)
    assert (await sim.ended(run_id)).status == "failed"
    return run_id


@pytest.mark.parametrize("copied", [0, 1, 200, 255, 256, 400, 511, 600, 601, None])
def test_a_large_cut_is_copied_in_commits_wherever_a_crash_meets_it(copied: int | None) -> None:
    """The first part rides with the request; the rest goes on from what is there."""

    async def scenario() -> None:
        sim = Simulated(Endpoint({"last": [Reply(503)]}), Limits(nodes_max=1000))
        original = await long_original(sim)
        resumed = await sim.resume(original, LONG[-1])
        first = sim.journal.head
        await sim.ended(resumed)
        sizes = [b - a for a, b in pairwise(sim.journal.commits)]
        assert max(sizes) <= 256
        requested = (await sim.journal.read_stream(resumed, limit=1))[0]
        assert isinstance(requested.facts, e.RunRequested)
        assert requested.facts.replayed_total == 601
        assert first - requested.position == 255
        if copied is not None:
            sim = await restarted(sim, requested.position + copied, endpoint=Endpoint())
        else:
            sim.endpoint.script = {}
            resumed = await sim.resume(resumed, LONG[-1])
        state = await sim.ended(resumed)
        assert (state.status, state.replayed) == ("completed", 601)
        events = await sim.journal.read_stream(resumed, limit=2000)
        assert [x.facts.type for x in events[602:]] == [
            "run.started",
            "node.started",
            "node.succeeded",
            "run.completed",
        ]
        copies = [x for x in events if x.src]
        assert len({x.src for x in copies}) == len(copies) == 601
        assert len(state.log) == 602
        await sim.close()

    run_virtually(scenario())


def test_what_was_read_to_cut_a_run_is_copied_without_being_read_again() -> None:
    """The request hands on the events that its first commit has no room for."""

    async def scenario() -> None:
        sim = Simulated(Endpoint({"last": [Reply(503)]}), Limits(nodes_max=1000))
        original = await long_original(sim)
        started = await sim.starts.resume(
            CALLER, original, LONG[-1], "original", allow_completed=False, request=None
        )
        kept = [
            event.id
            for event in await sim.journal.read_stream(original)
            if isinstance(event.facts, e.NodeSucceeded)
        ]
        assert [event.id for event in started.rest] == kept[255:]
        await sim.engine.begin(started)
        assert (await sim.ended(started.run_id)).replayed == 601
        await sim.close()

    run_virtually(scenario())


def test_a_run_that_waits_for_its_copy_is_pending() -> None:
    """What is not copied yet can't have started."""

    async def scenario() -> None:
        sim = Simulated(Endpoint({"last": [Reply(503)]}), Limits(nodes_max=1000), commit_seconds=1)
        resumed = await sim.resume(await long_original(sim), LONG[-1])
        assert (await sim.state(resumed)).status == "pending"
        await sim.ended(resumed)
        await sim.close()

    run_virtually(scenario())


def test_bodies_of_a_resume_of_a_resume_are_those_of_the_root() -> None:
    """Bodies are stored once, however often their events are replayed."""

    async def scenario() -> None:
        sim = Simulated(Endpoint({"b": [Reply(503)]}))
        workflow = await sim.define([TRIGGER, call("a"), call("b")], line("start", "a", "b"))
        original = await sim.execute(workflow)
        first = await sim.ended(original)
        resumed = await sim.resume(original, "a")
        second = await sim.ended(resumed)
        third = await sim.ended(await sim.resume(resumed, "a"))
        assert third.nodes["a"].body_at == second.nodes["a"].body_at == first.nodes["a"].body_at
        assert third.log[1].source_id == second.log[1].event_id
        assert (await sim.runs.payload(third)) == {}
        await sim.close()

    run_virtually(scenario())


def test_the_original_of_a_resume_gets_no_write() -> None:
    """And the new run knows where it came from."""

    async def scenario() -> None:
        sim = Simulated(Endpoint({"a": [Reply(503)]}))
        original = await sim.execute(await sim.define([TRIGGER, call("a")], line("start", "a")))
        before = await sim.ended(original)
        resumed = await sim.ended(await sim.resume(original, "start"))
        assert await sim.state(original) == before
        request = resumed.origin
        assert (request.origin, request.original_run, request.chosen_node) == (
            "resume",
            original,
            "start",
        )
        assert request.original_version == before.version
        await sim.close()

    run_virtually(scenario())


def test_what_cannot_be_resumed_says_why() -> None:
    """State, unknown node and node without a success are told apart."""

    async def scenario() -> None:
        sim = Simulated(Endpoint({"b": [Reply(503, 5)]}))
        workflow = await sim.define([TRIGGER, call("a"), call("b")], line("start", "a", "b"))
        run_id = await sim.execute(workflow)
        await asyncio.sleep(1)
        for _ in range(2):
            with pytest.raises(StateError) as early:
                await sim.resume(run_id, "a")
            assert early.value.code == "run_not_failed"
            with pytest.raises(StateError) as open_:
                await sim.rerun(run_id)
            assert open_.value.code == "run_not_finished"
        await sim.ended(run_id)
        with pytest.raises(NodeNotFoundError):
            await sim.resume(run_id, "zzz")
        with pytest.raises(NodeNotCompletedError):
            await sim.resume(run_id, "b")
        sim.endpoint.script = {}
        completed = await sim.resume(run_id, "a")
        await sim.ended(completed)
        with pytest.raises(StateError) as whole:
            await sim.resume(completed, "a")
        assert whole.value.code == "run_not_failed"
        again = await sim.resume(completed, "a", allow_completed=True)
        assert (await sim.ended(again)).status == "completed"
        await sim.close()

    run_virtually(scenario())


def test_a_resume_on_the_edited_workflow_runs_what_it_says_now() -> None:
    """Kept nodes stay, and everything after the cut is the new definition's."""

    async def scenario() -> None:
        sim = Simulated(Endpoint({"b": [Reply(503)]}))
        workflow = await sim.define([TRIGGER, call("a"), call("b")], line("start", "a", "b"))
        original = await sim.execute(workflow)
        await sim.ended(original)

        def edit(text: WorkflowText) -> WorkflowText:
            nodes = [TRIGGER, call("a"), call("x"), call("y")]
            return WorkflowText(name="new", nodes=nodes, edges=line("start", "a", "x", "y"))

        await sim.authoring.change(CALLER, workflow, edit, None)
        plan = await sim.starts.plan_resume(CALLER, original, "a", "current", allow_completed=False)
        assert (plan.replayed, plan.executed) == (("start", "a"), ("x", "y"))
        state = await sim.ended(await sim.resume(original, "a", "current"))
        assert (state.status, state.origin.workflow_version) == ("completed", 2)
        assert [x.node for x in sim.endpoint.calls] == ["a", "b", "x", "y"]
        await sim.close()

    run_virtually(scenario())


def test_a_rerun_has_the_payload_and_runs_its_trigger_again() -> None:
    """The empty cut: nothing is kept."""

    async def scenario() -> None:
        sim = Simulated(Endpoint({"a": [Reply(503)]}))
        seen = node("t", "text_transform", template="{{ trigger.v }} {{ run.origin }}")
        workflow = await sim.define([TRIGGER, seen, call("a")], line("start", "t", "a"))
        original = await sim.execute(workflow, {"v": 7})
        await sim.ended(original)
        first = await sim.rerun(original)
        await sim.ended(first)
        again = await sim.ended(await sim.rerun(first))
        assert (await sim.bodies(again))["t"] == {"text": "7 rerun"}
        assert (await sim.bodies(again))["start"]["run_id"] == again.run_id
        assert again.replayed == 0
        await sim.close()

    run_virtually(scenario())
