"""Forms in a run: awaiting, answered once, by whom, timed out, through restarts and resumes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from refold.engine.errors import InvalidError, NodeNotFoundError, StateError
from refold.engine.limits import Limits
from refold.journal import events as e
from refold.projections.run_state import RunState
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

DAY_S = 86_400
ACTIONS = [{"id": "approve"}, {"id": "reject", "validate": False}]
FIELDS = [{"name": "why", "type": "text", "required": True}]


def form(name: str, **data: Any) -> dict[str, Any]:
    """Write a form with two buttons and one field."""
    return node(name, "form", **{"title": "For {{ trigger.who }}", "actions": ACTIONS} | data)


async def asking(sim: Simulated, *nodes: dict[str, Any], edges: Any = None) -> str:
    """Run a workflow up to its form `f`; returns the run."""
    drawn = edges or [edge("start", "f"), edge("f", "yes", "approve"), edge("f", "no", "reject")]
    workflow = await sim.define([TRIGGER, *nodes], drawn)
    run_id = await sim.execute(workflow, {"who": "Ada"})
    await sim.until(run_id, lambda known: ("", "f") in known.open)
    return run_id


YES = node("yes", "text_transform", template="{{ f.values.why }} by {{ f.answered_by }}")
NO = node("no", "text_transform", template="no")


def awaits(state: RunState) -> bool:
    """Say whether the run only waits for people."""
    return state.status == "awaiting_ui_interaction"


def test_a_form_awaits_a_person_and_leaves_by_the_button() -> None:
    """The answer is the form's output; who gave it is in the event."""

    async def scenario() -> None:
        sim = Simulated()
        run_id = await asking(sim, form("f", fields=FIELDS), YES, NO)
        assert awaits(await sim.state(run_id))
        await sim.answer(run_id, "f", "approve", {"why": "good"})
        state = await sim.ended(run_id)
        assert (state.status, "no" in state.nodes) == ("completed", False)
        bodies = await sim.bodies(state)
        answer = {"action": "approve", "values": {"why": "good"}, "answered_by": CALLER.subject}
        assert bodies["f"] == answer
        assert bodies["yes"] == {"text": f"good by {CALLER.subject}"}
        (said,) = [
            x
            for x in await sim.journal.read_stream(run_id)
            if isinstance(x.facts, e.InteractionSubmitted)
        ]
        assert said.actor != ""
        assert (await sim.journal.read_bodies([said.body_at]))[said.body_at].data == (
            b'{"by":"%s","action":"approve","values":{"why":"good"}}' % CALLER.subject.encode()
        )
        await sim.close()

    run_virtually(scenario())


def test_an_answer_that_does_not_fit_is_refused_and_the_form_stays_open() -> None:
    """Each fault by its field."""

    async def scenario() -> None:
        sim = Simulated()
        run_id = await asking(sim, form("f", fields=FIELDS), YES, NO)
        for action, values, path in (
            ("approve", {}, "values.why"),
            ("approve", {"why": 5}, "values.why"),
            ("approve", {"why": "x", "zz": 1}, "values.zz"),
            ("burn", {}, "action"),
        ):
            with pytest.raises(InvalidError) as refused:
                await sim.answer(run_id, "f", action, values)
            assert path in refused.value.errors
        for name in ("start", "nowhere"):
            with pytest.raises(NodeNotFoundError):
                await sim.answer(run_id, name, "approve", {})
        assert awaits(await sim.state(run_id))
        await sim.answer(run_id, "f", "reject")
        assert (await sim.ended(run_id)).nodes["no"].phase == "succeeded"
        await sim.close()

    run_virtually(scenario())


def test_only_the_first_of_two_answers_counts() -> None:
    """The other one learns that it came too late, whether the run goes on or has ended."""

    async def scenario() -> None:
        sim = Simulated()
        slow = node("yes", "delay", duration=5)
        run_id = await asking(sim, form("f"), slow, NO)
        answers = [sim.answer(run_id, "f", action) for action in ("approve", "reject")]
        results = await asyncio.gather(*answers, return_exceptions=True)
        refused = [x for x in results if isinstance(x, StateError)]
        assert [x.code for x in refused] == ["interaction_closed"]
        state = await sim.ended(run_id)
        assert (state.nodes["f"].handle, "no" in state.nodes) == ("approve", False)
        with pytest.raises(StateError, match="ended"):
            await sim.answer(run_id, "f", "reject")
        await sim.close()

    run_virtually(scenario())


def test_a_form_waits_for_days_and_through_restarts() -> None:
    """The run's own time stands still meanwhile, and no restart asks a second time."""

    async def scenario() -> None:
        sim = Simulated(limits=Limits(run_seconds_max=60))
        run_id = await asking(sim, form("f"), call("yes"), NO)
        for _ in range(3):
            sim = await restarted(sim, sim.journal.head, downtime_s=10 * DAY_S)
            await asyncio.sleep(30 * DAY_S)
            assert awaits(await sim.state(run_id))
        await sim.answer(run_id, "f", "approve")
        state = await sim.ended(run_id)
        assert (state.status, len(sim.endpoint.calls)) == ("completed", 1)
        asked = [
            x
            for x in await sim.journal.read_stream(run_id)
            if isinstance(x.facts, e.InteractionRequested)
        ]
        assert len(asked) == 1
        await sim.close()

    run_virtually(scenario())


def test_the_time_before_and_after_a_form_counts() -> None:
    """Sixty seconds of work are allowed, however long the person took in between."""

    async def scenario() -> None:
        sim = Simulated(limits=Limits(run_seconds_max=60))
        edges = [*line("start", "d", "f"), edge("f", "yes", "approve")]
        first, second = node("d", "delay", duration=40), node("yes", "delay", duration=40)
        workflow = await sim.define([TRIGGER, first, form("f"), second], edges)
        run_id = await sim.execute(workflow)
        await sim.until(run_id, awaits)
        await asyncio.sleep(DAY_S)
        await sim.answer(run_id, "f", "approve")
        state = await sim.ended(run_id)
        assert (state.status, state.cancelling) == ("failed", "run_timeout")
        assert state.ended_at - state.started_at == pytest.approx((DAY_S + 60) * 1e6, abs=1e6)
        await sim.close()

    run_virtually(scenario())


@pytest.mark.parametrize("crashes", [False, True])
def test_a_form_closes_by_itself_when_its_time_is_over(crashes: bool) -> None:
    """It leaves by the handle `timeout`; a later answer is refused."""

    async def scenario() -> None:
        sim = Simulated()
        late = node("late", "text_transform", template="{{ f.timed_out }}")
        edges = [edge("start", "f"), edge("f", "late", "timeout")]
        run_id = await asking(sim, form("f", timeout=3600), late, edges=edges)
        if crashes:
            sim = await restarted(sim, sim.journal.head, downtime_s=DAY_S)
        state = await sim.ended(run_id)
        assert (state.status, state.nodes["f"].handle) == ("completed", "timeout")
        with pytest.raises(StateError):
            await sim.answer(run_id, "f", "approve")
        await sim.close()

    run_virtually(scenario())


def test_a_run_with_something_else_to_do_is_running() -> None:
    """It awaits a person once nothing else is executing or timed."""

    async def scenario() -> None:
        sim = Simulated(Endpoint({"h": [Reply(200, seconds=5)]}))
        edges = [edge("start", "f"), edge("start", "h"), edge("h", "d"), edge("f", "yes", "reject")]
        pause = node("d", "delay", duration=5)
        workflow = await sim.define([TRIGGER, form("f"), call("h"), pause, YES], edges)
        run_id = await sim.execute(workflow)
        state = await sim.until(run_id, lambda known: ("", "f") in known.open)
        assert state.status == "running"
        state = await sim.until(run_id, lambda known: ("", "d") in known.open)
        assert state.status == "running"
        state = await sim.until(run_id, awaits)
        assert state.nodes["d"].phase == "succeeded"
        await sim.cancel(run_id)
        state = await sim.ended(run_id)
        assert (state.status, state.nodes["f"].phase) == ("failed", "interrupted")
        await sim.close()

    run_virtually(scenario())


def test_a_failing_run_does_not_wait_for_its_forms() -> None:
    """The person has nothing left to decide."""

    async def scenario() -> None:
        sim = Simulated(Endpoint({"h": [Reply(503, seconds=5)]}))
        edges = [edge("start", "f"), edge("start", "h")]
        run_id = await asking(sim, form("f"), call("h"), edges=edges)
        state = await sim.ended(run_id)
        assert (state.failed_node, state.nodes["f"].phase) == ("h", "interrupted")
        with pytest.raises(StateError, match="ended"):
            await sim.answer(run_id, "f", "approve")
        await sim.close()

    run_virtually(scenario())


def test_a_resumed_run_asks_an_open_form_anew_and_keeps_an_answered_one() -> None:
    """The answer that was given is not asked for twice."""

    async def scenario() -> None:
        sim = Simulated(Endpoint({"h": [Reply(503)]}))
        edges = [edge("start", "f"), edge("f", "h", "approve"), edge("f", "g", "approve")]
        nodes = [TRIGGER, form("f", fields=FIELDS), call("h"), form("g")]
        workflow = await sim.define(nodes, edges)
        run_id = await sim.execute(workflow, {"who": "Ada"})
        await sim.until(run_id, awaits)
        await sim.answer(run_id, "f", "approve", {"why": "good"})
        assert (await sim.ended(run_id)).failed_node == "h"
        sim.endpoint.script = {}
        new_id = await sim.resume(run_id, "f")
        state = await sim.until(new_id, awaits)
        assert (state.nodes["f"].phase, state.nodes["g"].phase) == ("succeeded", "asked")
        with pytest.raises(StateError):
            await sim.answer(new_id, "f", "reject")
        await sim.answer(new_id, "g", "approve")
        assert (await sim.ended(new_id)).status == "completed"
        await sim.close()

    run_virtually(scenario())


def test_forms_inside_an_iterator_are_answered_by_their_path() -> None:
    """Each item asks for itself."""

    async def scenario() -> None:
        sim = Simulated()
        iterator = node("it", "iterator", items=[1, 2], mode="parallel", nodes=[form("f")])
        workflow = await sim.define([TRIGGER, iterator], line("start", "it"))
        run_id = await sim.execute(workflow)
        await sim.until(run_id, lambda known: awaits(known) and len(known.open) == 3)
        await sim.answer(run_id, "f", "reject", iteration="1")
        with pytest.raises(StateError):
            await sim.answer(run_id, "f", "approve", iteration="1")
        assert awaits(await sim.state(run_id))
        await sim.answer(run_id, "f", "approve", iteration="0")
        state = await sim.ended(run_id)
        results = (await sim.bodies(state))["it"]["results"]
        assert [x["action"] for x in results] == ["approve", "reject"]
        await sim.close()

    run_virtually(scenario())


def test_a_crash_at_any_event_around_an_answer_neither_loses_nor_doubles_it() -> None:
    """What was durable counts; what was not may be given again."""

    async def scenario() -> None:
        sim = Simulated()
        run_id = await asking(sim, form("f"), call("yes"), NO)
        await sim.answer(run_id, "f", "approve")
        await sim.ended(run_id)
        await sim.close()
        for head in sim.journal.commits[1:]:
            after = await restarted(sim, head)
            state = await after.until(run_id, lambda known: awaits(known) or known.is_ended)
            if awaits(state):
                await after.answer(run_id, "f", "approve")
            state = await after.ended(run_id)
            answers = [
                x
                for x in await after.journal.read_stream(run_id)
                if isinstance(x.facts, e.InteractionSubmitted)
            ]
            assert (state.status, len(answers)) == ("completed", 1), head
            assert not after.endpoint.faults, head
            await after.close()

    run_virtually(scenario())
