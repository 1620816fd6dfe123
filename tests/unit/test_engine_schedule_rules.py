"""What a workflow may say about its schedule, and what a change of it does."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from refold.engine.definition import DefinitionError
from refold.engine.workflows import WorkflowText
from refold.journal import events as e
from tests.support.schedules import change, due, scheduled, started
from tests.support.simulated import CALLER, Simulated, node
from tests.support.virtual_time import run_virtually


def test_a_change_keeps_the_rhythm_unless_it_changes_the_times() -> None:
    """An edited description is no reason to wait longer; a new interval begins anew."""

    async def scenario() -> None:
        sim = started()
        workflow = await scheduled(sim, "10 minutes")
        await asyncio.sleep(301)
        await change(sim, workflow, description="edited", schedule_value="10   MINUTES")
        await asyncio.sleep(300)
        assert await due(sim, workflow) == [600]
        await change(sim, workflow, schedule_value="7 minutes")
        await asyncio.sleep(500)
        assert await due(sim, workflow) == [600, 601 + 420]
        await change(sim, workflow, is_active=False)
        assert (await sim.workflows.find_any(workflow)).next_at == 0
        newest = (await sim.journal.read_stream(workflow, limit=100))[-1].facts
        assert isinstance(newest, e.WorkflowDefined)
        assert (newest.next_at, newest.active, '"7 minutes"' in newest.schedule) == (0, 0, True)
        await asyncio.sleep(5000)
        await change(sim, workflow, is_active=True)
        await asyncio.sleep(421)
        assert await due(sim, workflow) == [600, 1021, 6101 + 420]
        await change(sim, workflow, schedule_type=None, schedule_value=None)
        await asyncio.sleep(5000)
        assert len(await due(sim, workflow)) == 3
        assert sim.scheduler.scheduled_total == 0
        await sim.close()

    run_virtually(scenario())


@pytest.mark.parametrize(
    ("first", "where"),
    [
        (
            node("start", "schedule_trigger", input_schema={"required": ["team"]}),
            "nodes[0].data.input_schema",
        ),
        (
            node(
                "start",
                "schedule_trigger",
                payload={"team": 7},
                input_schema={"properties": {"team": {"type": "string"}}},
            ),
            "nodes[0].data.input_schema",
        ),
        (
            node("start", "manual_trigger", input_schema={"additionalProperties": False}),
            "nodes[0].data.input_schema",
        ),
        (node("start", "schedule_trigger", timezone="Mars/Base"), "nodes[0].data.timezone"),
        (node("start", "schedule_trigger", overlap="queue"), "nodes[0].data.overlap"),
        (node("start", "schedule_trigger", catch_up="yes"), "nodes[0].data.catch_up"),
        (node("start", "schedule_trigger", payload=[1]), "nodes[0].data.payload"),
        (node("start", "schedule_trigger", payload={"missed": 1}), "nodes[0].data.payload.missed"),
    ],
)
def test_what_no_firing_could_start_is_refused_when_it_is_saved(
    first: dict[str, Any], where: str
) -> None:
    """At three in the morning nobody reads a refusal."""

    async def scenario() -> None:
        sim = Simulated()
        text = WorkflowText(
            name="x", nodes=[first], edges=[], schedule_type="daily", schedule_value="03:00"
        )
        with pytest.raises(DefinitionError) as refused:
            await sim.authoring.create(CALLER, text, None)
        assert list(refused.value.errors) == [where]
        assert sim.journal.head == 0
        await sim.close()

    run_virtually(scenario())
