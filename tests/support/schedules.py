"""Workflows with schedules, and what became of them."""

from __future__ import annotations

from typing import Any

import msgspec

from refold.engine.workflows import WorkflowText
from refold.journal import events as e
from tests.support.simulated import CALLER, Simulated, call, line, node
from tests.support.virtual_time import START_US


async def scheduled(
    sim: Simulated, value: str = "1 minute", type_: str = "interval", **trigger: Any
) -> str:
    """Save a workflow that calls the endpoint `a` by a schedule."""
    first = node("start", "schedule_trigger", **trigger)
    text = WorkflowText(
        name="scheduled",
        nodes=[first, call("a")],
        edges=line("start", "a"),
        schedule_type=type_,
        schedule_value=value,
    )
    return (await sim.authoring.create(CALLER, text, None)).events[0].stream


async def change(sim: Simulated, workflow: str, **fields: Any) -> None:
    """Make a new version with some fields changed."""
    await sim.authoring.change(
        CALLER, workflow, lambda text: msgspec.structs.replace(text, **fields), None
    )


async def firings(sim: Simulated, workflow: str) -> list[e.ScheduleFired]:
    """Read what a workflow's schedule did."""
    events = await sim.journal.read_stream(workflow, limit=100_000)
    return [v.facts for v in events if isinstance(v.facts, e.ScheduleFired)]


async def due(sim: Simulated, workflow: str) -> list[int]:
    """Read which times were fired, in seconds since the start."""
    return [round((f.due_at - START_US) / 1e6) for f in await firings(sim, workflow)]


def started(**options: Any) -> Simulated:
    """Make a service whose scheduler runs."""
    sim = Simulated(**options)
    sim.scheduler.start()
    return sim
