"""Events start runs by what is so at their commit, however old the list of listeners is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from refold.engine.cloud_events import CloudEvent
from refold.engine.fan_out import FanOut, event_key
from refold.engine.run_requests import RunRequests
from refold.engine.workflows import WorkflowText
from refold.journal import events as e
from refold.journal.actors import Pseudonyms
from refold.journal.errors import ConflictError
from refold.journal.journal import Appended, Commit
from tests.support.simulated import CALLER, KEY, Simulated, node
from tests.support.simulated_journal import SimulatedJournal
from tests.support.virtual_time import run_virtually

PAID = node("start", "event_trigger", event_type="order.paid")
EVENT = CloudEvent("7", "/shop", "order.paid", {"type": "order.paid", "id": "7"})


class Overtaken(SimulatedJournal):
    """A journal in which somebody's change always comes right before the runs of an event."""

    overtakers: list[Callable[[], Awaitable[object]]]

    async def append(self, commit: Commit, *, patient: bool = False) -> Appended:
        """Let somebody else go first, then commit."""
        if commit.request is not None and self.overtakers:
            await self.overtakers.pop()()
        return await super().append(commit, patient=patient)


class Listeners:
    """A list of all workflows, also of those that are none of the event's."""

    def __init__(self, sim: Simulated) -> None:
        self._sim = sim
        self.reads = 0

    async def wait_for(self, position: int) -> None:
        """Everything is known at once here."""

    async def event_workflows(self, tenant: str, event_type: str, limit: int) -> list[str]:
        """List every workflow."""
        self.reads += 1
        events = await self._sim.journal.read_all()
        found = [event.stream for event in events if isinstance(event.facts, e.WorkflowDefined)]
        return list(dict.fromkeys(found))


def fan_out(sim: Simulated) -> tuple[FanOut, Listeners]:
    """Make a fan-out over a simulated engine."""
    listeners = Listeners(sim)
    requests = RunRequests(sim.ids, Pseudonyms(KEY))
    return FanOut(sim.journal, listeners, requests, sim.workflows), listeners


def overtaken(sim: Simulated, *overtakers: Callable[[], Awaitable[object]]) -> None:
    """Let these go before what commits with a key from now on, one each."""
    sim.journal.__class__ = Overtaken
    assert isinstance(sim.journal, Overtaken)
    sim.journal.overtakers = list(overtakers)


def same(text: WorkflowText) -> WorkflowText:
    """Edit nothing, which is a version too."""
    return text


def switched_off(text: WorkflowText) -> WorkflowText:
    """Edit a workflow."""
    return WorkflowText(name=text.name, nodes=text.nodes, edges=text.edges, is_active=False)


def test_what_changes_between_the_list_and_the_commit_counts() -> None:
    """A run of a workflow that is switched off already would be one too many."""

    async def scenario() -> None:
        sim = Simulated()
        stays = await sim.define([PAID], [])
        leaves = await sim.define([PAID], [])
        publisher, listeners = fan_out(sim)
        overtaken(sim, lambda: sim.authoring.change(CALLER, leaves, switched_off, None))
        [started] = await publisher.publish(CALLER, EVENT)
        facts = started.events[0].facts
        assert isinstance(facts, e.RunRequested)
        assert (facts.workflow, listeners.reads) == (stays, 2)

    run_virtually(scenario())


def test_a_workflow_that_changes_all_the_time_ends_in_a_conflict() -> None:
    """The number of attempts is bounded; the caller may come again."""

    async def scenario() -> None:
        sim = Simulated()
        workflow = await sim.define([PAID], [])
        publisher, _ = fan_out(sim)
        again = [lambda: sim.authoring.change(CALLER, workflow, same, None)] * 100
        overtaken(sim, *again)
        with pytest.raises(ConflictError):
            await publisher.publish(CALLER, EVENT)

    run_virtually(scenario())


def test_the_same_event_at_the_same_time_is_one_event() -> None:
    """Two senders that retry at once make one set of runs, and each learns of all of it."""

    async def scenario() -> None:
        sim = Simulated(commit_seconds=0.1)
        for _ in range(3):
            await sim.define([PAID], [])
        publisher, _ = fan_out(sim)
        answers = await asyncio.gather(*(publisher.publish(CALLER, EVENT) for _ in range(4)))
        runs = [[started.run_id for started in answer] for answer in answers]
        assert runs == [runs[0]] * 4
        assert len(runs[0]) == len(set(runs[0])) == 3
        assert sorted(started.repeated for answer in answers for started in answer) == (
            [False] * 3 + [True] * 9
        )

    run_virtually(scenario())


def test_an_event_is_known_by_source_and_id_within_its_tenant() -> None:
    """What it says besides is no part of its name, and neither stands in the key in clear."""
    other = CloudEvent("7", "/shop", "other", {})
    assert event_key("acme", EVENT) == event_key("acme", other)
    others = {
        event_key(tenant, CloudEvent(id_, source, "t", {})).scope
        + event_key(tenant, CloudEvent(id_, source, "t", {})).key
        for tenant, id_, source in (
            ("acme", "7", "/shop"),
            ("acme", "8", "/shop"),
            ("acme", "7", "/shop/"),
            ("other", "7", "/shop"),
        )
    }
    assert len(others) == 4
    assert "/shop" not in event_key("acme", EVENT).key
