"""Noted events: folded at once, durable on flush, in order, in bounded commits, once."""

from __future__ import annotations

import pytest

from refold.engine.transcript import EVENTS_PER_COMMIT_MAX, KEPT_BYTES_MAX, Snapshot, Transcript
from refold.journal import events as e
from refold.journal.errors import ConflictError, StoreFailedError
from refold.journal.journal import Commit, Metadata, NewEvent, StreamWrite
from refold.projections.run_state import RunState, fold
from tests.support import run_events as r
from tests.support.simulated import Simulated
from tests.support.virtual_time import run_virtually

META = Metadata("acme", "actor", "request-1")


async def opened(sim: Simulated, *, keeps: bool = False) -> Transcript:
    """Accept a run and open its transcript."""
    first = NewEvent(sim.ids.new(), r.requested_facts(), b"{}")
    appended = await sim.journal.append(Commit([StreamWrite(r.RUN, 0, [first], META)]))
    snapshot = Snapshot(list(appended.events), {}) if keeps else None
    state = fold(r.RUN, appended.events)
    return Transcript(sim.journal, sim.clock, sim.ids, state, snapshot)


def test_a_noted_event_counts_at_once_and_is_durable_after_the_flush() -> None:
    """Decisions need not wait for the disk; the world does."""

    async def scenario() -> None:
        sim = Simulated()
        made = await opened(sim)
        head = sim.journal.head
        made.note(r.RUN_STARTED)
        made.note(r.succeeded("a"), {"x": 1})
        assert made.state.nodes["a"].phase == "succeeded"
        assert (sim.journal.head, made.pending) == (head, 2)
        await made.flush()
        assert (sim.journal.head, made.pending) == (head + 2, 0)
        durable = await sim.state(r.RUN)
        assert (durable.version, durable.nodes.keys()) == (3, made.state.nodes.keys())

    run_virtually(scenario())


def test_events_carry_who_caused_them() -> None:
    """By default the run itself, with what its decision had seen; else whoever asked."""

    async def scenario() -> None:
        sim = Simulated()
        made = await opened(sim)
        made.note(r.RUN_STARTED)
        await made.flush()
        made.note(e.RunCancelRequested(code="cancelled"), {})
        await made.flush(Metadata("acme", "other", "request-2"))
        first, second, third = await sim.journal.read_stream(r.RUN)
        assert (second.actor, second.corr, second.cause) == ("actor", "request-1", first.id)
        assert (third.actor, third.corr) == ("other", "request-2")

    run_virtually(scenario())


def test_a_long_transcript_is_flushed_in_commits_of_bounded_size() -> None:
    """Other writers are not held up."""

    async def scenario() -> None:
        sim = Simulated()
        made = await opened(sim)
        before = len(sim.journal.commits)
        for index in range(2 * EVENTS_PER_COMMIT_MAX + 1):
            made.note(r.succeeded(f"n{index}"), {})
        await made.flush()
        assert len(sim.journal.commits) - before == 3
        assert (await sim.state(r.RUN)).version == 2 * EVENTS_PER_COMMIT_MAX + 2

    run_virtually(scenario())


def test_a_repeat_after_a_refusal_doubles_nothing() -> None:
    """The same events are offered again, with the same ids."""

    async def scenario() -> None:
        sim = Simulated()
        made = await opened(sim)
        made.note(r.RUN_STARTED)
        sim.journal.failures = [StoreFailedError("full"), StoreFailedError("full")]
        await made.flush()
        assert (await sim.state(r.RUN)).version == 2

    run_virtually(scenario())


def test_somebody_else_s_event_is_a_conflict() -> None:
    """The expected version is the fence between two that continue one run."""

    async def scenario() -> None:
        sim = Simulated()
        mine = await opened(sim)
        foreign = NewEvent(sim.ids.new(), r.RUN_STARTED)
        await sim.journal.append(Commit([StreamWrite(r.RUN, 1, [foreign], META)]))
        mine.note(r.RUN_STARTED)
        with pytest.raises(ConflictError):
            await mine.flush()

    run_virtually(scenario())


def test_a_snapshot_is_kept_until_it_is_too_large() -> None:
    """A small run is answered from memory; a large one is read back."""

    async def scenario() -> None:
        sim = Simulated()
        made = await opened(sim, keeps=True)
        made.note(r.succeeded("a"), {"x": 1})
        await made.flush()
        assert made.snapshot is not None
        assert made.snapshot.events == list(await sim.journal.read_stream(r.RUN))
        assert list(made.snapshot.bodies.values()) == [b'{"x":1}']
        made.note_bytes(r.succeeded("b"), b"x" * (KEPT_BYTES_MAX + 1))
        await made.flush()
        assert made.snapshot is None

    run_virtually(scenario())


def test_the_provisional_fold_is_the_durable_one() -> None:
    """Apart from positions and commit times, which only the journal knows."""

    async def scenario() -> None:
        sim = Simulated()
        made = await opened(sim)
        for facts in (
            r.RUN_STARTED,
            r.started("a"),
            r.failed("a", retried=1),
            r.retry_scheduled("a"),
            r.started("a", 2),
            r.succeeded("a", "true", attempt=2),
            r.failed("b"),
        ):
            made.note(facts, {})
        await made.flush()
        durable = await sim.state(r.RUN)

        def facts_of(state: RunState) -> object:
            nodes = {
                n: (x.phase, x.attempt, x.handle, x.due_at, x.effect_key)
                for n, x in state.nodes.items()
            }
            return state.version, state.status, nodes, [(x.node, x.status) for x in state.log]

        assert facts_of(made.state) == facts_of(durable)

    run_virtually(scenario())
