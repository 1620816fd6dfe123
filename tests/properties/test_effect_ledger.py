"""The ledger of effects is the fold's: whatever fails, dies and is resumed, at every position."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from refold.engine.component import EffectNode
from refold.engine.nodes.catalogue import CATALOGUE
from refold.journal import events as e
from refold.journal.envelope import Recorded
from refold.projections.applying import Applier
from refold.projections.effect_ledger import doubtful_starts
from refold.projections.effects_projection import EFFECTS, EffectsProjection
from refold.projections.run_state import RunState, evolve
from tests.support import projection_kit as kit
from tests.support.simulated import TRIGGER, Endpoint, Reply, Simulated, call, line
from tests.support.virtual_time import run_virtually

NODES = ("a", "b", "c")
POLICIES = st.sampled_from(
    [
        {},
        {"delivery": "at_most_once"},
        {"retry": {"max_attempts": 2, "initial_interval": 1}},
        {"continue_on_error": True},
    ]
)
REPLIES = st.lists(st.sampled_from([200, 503]), min_size=1, max_size=3)
Row = tuple[str, str, str, int, int]
"""Run, node, effect key, attempt, and whether it is in doubt."""


def wanted_rows(events: Sequence[Recorded]) -> set[Row]:
    """Say what the ledger must hold, by the folds of the runs and by who made which call last."""
    states: dict[str, RunState] = {}
    latest: dict[str, str] = {}
    for event in events:
        if not event.stream.startswith("fl_run_"):
            continue
        evolve(states.setdefault(event.stream, RunState(event.stream)), event)
        if isinstance(event.facts, e.NodeStarted) and event.facts.effect_key and not event.src:
            latest[event.facts.effect_key] = event.stream
    rows: set[Row] = set()
    for run, state in states.items():
        for node in state.nodes.values():
            if not node.effect_key or latest.get(node.effect_key) != run:
                continue
            is_open = node.phase == "started"
            if is_open or node.in_doubt:
                doubt = int(not is_open)
                rows.add((run, node.node, node.effect_key, node.attempt, doubt))
    return rows


def rows_of(connection: sqlite3.Connection) -> set[Row]:
    """Read the ledger."""
    listed = "SELECT run_id, node, effect_key, attempt, in_doubt FROM effect"
    return set(connection.execute(listed))


async def lived(
    policies: Sequence[dict[str, object]], replies: Sequence[list[int]], deaths: Sequence[int]
) -> list[Recorded]:
    """Run three calls through deaths at some events, resume what failed, return the journal."""
    script = {
        name: [Reply(status=status) for status in statuses]
        for name, statuses in zip(NODES, replies, strict=True)
    }
    sim = Simulated(endpoint=Endpoint(script))
    calls = [call(name, **policy) for name, policy in zip(NODES, policies, strict=True)]
    workflow = await sim.define([TRIGGER, *calls], line("start", *NODES))
    run_id = await sim.execute(workflow)
    await sim.ended(run_id)
    for death in deaths:
        head = sim.journal.head
        first = next(
            event.position
            for event in await sim.journal.read_stream(run_id)
            if event.facts.type == "run.started"
        )
        endpoint = Endpoint(script)
        after = await sim.crashed(first + death % (head - first + 1), endpoint=endpoint)
        await sim.close()
        sim = after
        await sim.engine.recover()
        state = await sim.ended(run_id)
        if state.status == "failed":
            run_id = await sim.resume(run_id, "start")
            await sim.ended(run_id)
    assert sim.endpoint.faults == []
    events = list(await sim.journal.read_all(limit=10**6))
    await sim.close()
    return events


@given(
    st.tuples(POLICIES, POLICIES, POLICIES),
    st.tuples(REPLIES, REPLIES, REPLIES),
    st.lists(st.integers(0, 60), min_size=1, max_size=3),
)
def test_the_ledger_says_at_every_position_what_the_folds_say(
    policies: tuple[dict[str, object], ...], replies: tuple[list[int], ...], deaths: list[int]
) -> None:
    """No call is missing that has no outcome, and none is there that has one."""
    events = run_virtually(lived(policies, replies, deaths))
    with kit.generation_of(EffectsProjection()) as connection:
        applier = Applier(connection, EffectsProjection(), 1)
        for count, event in enumerate(events, 1):
            applier.apply([event])
            assert rows_of(connection) == wanted_rows(events[:count])


@given(
    st.tuples(POLICIES, POLICIES, POLICIES),
    st.tuples(REPLIES, REPLIES, REPLIES),
    st.lists(st.integers(0, 60), min_size=1, max_size=2),
)
def test_of_all_starts_of_a_call_those_without_an_outcome_are_in_doubt(
    policies: tuple[dict[str, object], ...], replies: tuple[list[int], ...], deaths: list[int]
) -> None:
    """As many starts as outcomes that say what happened, and the others are marked."""
    events = run_virtually(lived(policies, replies, deaths))
    for run in {event.stream for event in events if event.stream.startswith("fl_run_")}:
        own = [event for event in events if event.stream == run]
        starts = [
            event.version
            for event in own
            if isinstance(event.facts, e.NodeStarted) and event.facts.effect_key
        ]
        told = sum(
            (isinstance(event.facts, e.NodeSucceeded) and event.facts.component in EFFECTS)
            or (isinstance(event.facts, e.NodeFailed) and event.facts.code != "interrupted")
            for event in own
        )
        doubtful = doubtful_starts(own)
        assert doubtful <= set(starts)
        assert len(starts) - len(doubtful) == told
        # What a process that is gone has left open is in doubt too.
        for count in range(1, len(own) + 1):
            seen = own[:count]
            gone = doubtful_starts(seen, gone_at=seen[-1].position)
            assert doubtful_starts(seen) <= gone <= set(starts)
            still_open = sum(isinstance(x.facts, e.NodeStarted) for x in seen) > 0
            assert bool(gone) <= still_open


def test_the_components_of_the_ledger_are_those_that_touch_the_world() -> None:
    """A new one would be missed."""
    found = {name for name, kind in CATALOGUE.items() if issubclass(kind, EffectNode)}
    assert found == EFFECTS
