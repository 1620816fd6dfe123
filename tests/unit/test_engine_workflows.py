"""Workflows in memory: never older than the journal, whatever comes while they are read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import msgspec
import pytest

from refold.engine.caller import Caller
from refold.engine.errors import NotFoundError, StateError
from refold.engine.sealing import Sealer
from refold.engine.workflows import Workflows, WorkflowText
from refold.journal.actors import Pseudonyms
from refold.journal.envelope import Recorded
from refold.journal.journal import PAGE, Body
from tests.support.simulated import (
    CALLER,
    KEY,
    TRIGGER,
    Endpoint,
    Reply,
    Simulated,
    call,
    line,
    node,
)
from tests.support.simulated_journal import SimulatedJournal
from tests.support.virtual_time import run_virtually


class SlowToTell(SimulatedJournal):
    """A journal whose reads take a second to arrive, and tell what was so when they began."""

    async def read_stream(
        self, stream: str, after: int = 0, limit: int = PAGE
    ) -> Sequence[Recorded]:
        """Read, and tell of it later."""
        events = await super().read_stream(stream, after, limit)
        await asyncio.sleep(1)
        return events


def renamed(text: WorkflowText) -> WorkflowText:
    """Edit a workflow."""
    return WorkflowText(name="renamed", nodes=text.nodes, edges=text.edges)


def test_a_change_that_came_while_a_workflow_was_read_is_in_it() -> None:
    """Else the state would stay behind for ever, and every commit on it would conflict."""

    async def scenario() -> None:
        sim = Simulated()
        workflow = await sim.define([TRIGGER], [])
        await sim.workflows.find("acme", workflow)
        sim.journal.__class__ = SlowToTell
        fresh = Workflows(sim.journal, Sealer(KEY))
        found = asyncio.create_task(fresh.find("acme", workflow))
        await asyncio.sleep(0.5)
        await sim.authoring.change(CALLER, workflow, renamed, None)
        assert (await found).current.number == 2
        await sim.authoring.change(CALLER, workflow, renamed, None)
        assert (await fresh.find("acme", workflow)).current.number == 3

    run_virtually(scenario())


class SlowBodies(SimulatedJournal):
    """A journal whose bodies take a second to arrive."""

    async def read_bodies(self, positions: Sequence[int]) -> dict[int, Body]:
        """Read, and tell of it later."""
        bodies = await super().read_bodies(positions)
        await asyncio.sleep(1)
        return bodies


def test_a_change_that_came_while_the_text_was_read_is_not_lost() -> None:
    """What is edited is the text of the version that the commit expects."""

    async def scenario() -> None:
        sim = Simulated()
        workflow = await sim.define([TRIGGER], [])
        sim.journal.__class__ = SlowBodies

        def marked(mark: str) -> Callable[[WorkflowText], WorkflowText]:
            return lambda text: msgspec.structs.replace(
                text, description=(text.description or "") + mark
            )

        await asyncio.gather(
            *(sim.authoring.change(CALLER, workflow, marked(mark), None) for mark in "ab")
        )
        state = await sim.workflows.find("acme", workflow)
        assert [version.number for version in state.versions] == [1, 2, 3]
        text = (await sim.workflows.body(state, 3)).workflow
        assert sorted(text.description or "") == ["a", "b"]

    run_virtually(scenario())


def test_concurrent_changes_are_versions_one_after_the_other() -> None:
    """Each is made of the one before; none is lost."""

    async def scenario() -> None:
        sim = Simulated(commit_seconds=0.1)
        workflow = await sim.define([TRIGGER], [])
        changes = [sim.authoring.change(CALLER, workflow, renamed, None) for _ in range(4)]
        states = await asyncio.gather(*changes)
        assert max(state.current.number for state in states) == 5

    run_virtually(scenario())


def test_a_workflow_in_use_is_not_deleted_and_its_runs_outlive_it() -> None:
    """Deletion and the check are one commit; a deleted workflow looks unknown."""

    async def scenario() -> None:
        sim = Simulated(Endpoint({"a": [Reply(seconds=5)]}))
        workflow = await sim.define([TRIGGER, call("a")], line("start", "a"))
        run_id = await sim.execute(workflow)
        with pytest.raises(StateError) as used:
            await sim.authoring.delete(CALLER, workflow)
        assert used.value.code == "workflow_in_use"
        await sim.ended(run_id)
        await sim.authoring.delete(CALLER, workflow)
        for tenant in ("acme", "other"):
            with pytest.raises(NotFoundError):
                await sim.workflows.find(tenant, workflow)
        with pytest.raises(NotFoundError):
            await sim.runs.find("acme", run_id)
        assert (await sim.runs.find("acme", run_id, deleted_too=True)).state.is_ended
        await sim.close()

    run_virtually(scenario())


def test_a_run_and_a_change_at_one_moment_agree_on_the_version() -> None:
    """The run is pinned to the version that its commit guarded, and its definition is that."""

    async def scenario() -> None:
        sim = Simulated(commit_seconds=0.1)
        workflow = await sim.define([TRIGGER], [])

        def longer(text: WorkflowText) -> WorkflowText:
            return WorkflowText(
                name="longer",
                nodes=[*text.nodes, node("t", "text_transform", template="x")],
                edges=line("start", "t"),
            )

        changed, run_id = await asyncio.gather(
            sim.authoring.change(CALLER, workflow, longer, None), sim.execute(workflow)
        )
        state = await sim.ended(run_id)
        assert changed.current.number == 2
        assert (len(state.nodes) == 2) == (state.origin.workflow_version == 2)
        await sim.close()

    run_virtually(scenario())


def test_a_webhook_token_is_sealed_and_kept_through_changes() -> None:
    """It is found by its keyed hash, and stands nowhere in clear."""

    async def scenario() -> None:
        sim = Simulated()
        workflow = await sim.define([node("start", "webhook_trigger")], [])
        state = await sim.workflows.find("acme", workflow)
        first = await sim.workflows.body(state, 1)
        token = sim.workflows.token(workflow, first)
        assert token is not None
        assert token.startswith("whsec_")
        changed = await sim.authoring.change(CALLER, workflow, renamed, None)
        assert sim.workflows.token(workflow, await sim.workflows.body(changed, 2)) == token
        stored = await sim.journal.read_bodies([1, 2])
        assert all(token.encode() not in body.data for body in stored.values())
        hashes = {version.webhook_hash for version in changed.versions}
        assert hashes == {Pseudonyms(KEY).token(token)}

    run_virtually(scenario())


def test_another_tenant_s_workflow_is_unknown() -> None:
    """To execute, to read and to change."""

    async def scenario() -> None:
        sim = Simulated()
        workflow = await sim.define([TRIGGER], [])
        with pytest.raises(NotFoundError):
            await sim.execute(workflow, caller=Caller("other", "eve", "r"))
        with pytest.raises(NotFoundError):
            await sim.authoring.change(Caller("other", "eve", "r"), workflow, renamed, None)

    run_virtually(scenario())


def test_a_run_never_starts_by_a_version_that_was_replaced_while_it_was_being_read() -> None:
    """What was found is guarded as it was found, however long the definition takes to read."""

    async def scenario() -> None:
        sim = Simulated()
        workflow = await sim.define([TRIGGER], [])
        sim.journal.commit_seconds = 0
        read_bodies = sim.journal.read_bodies
        changed = asyncio.Event()

        async def slowly(positions: Sequence[int]) -> dict[int, Body]:
            found = await read_bodies(positions)
            if not changed.is_set():
                changed.set()
                await sim.authoring.change(CALLER, workflow, switched_off, None)
            return found

        sim.journal.read_bodies = slowly  # type: ignore[method-assign]
        with pytest.raises(StateError, match="not active"):
            await sim.execute(workflow)
        await sim.close()

    run_virtually(scenario())


def switched_off(text: WorkflowText) -> WorkflowText:
    """Make a workflow inactive."""
    return msgspec.structs.replace(text, is_active=False)
