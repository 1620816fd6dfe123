"""The Refold law: crash recovery, resume and rerun are one thing, continuing from a consistent cut.

Three properties over random workflows with forks, joins, conditions, retries, delays, and
failures that are tolerated or not:

1. A resume executes exactly what was planned and nothing that is kept, and ends as a clean run.
2. A run whose process died at any event ends as the run that never died, where the world takes
   no notice of the crash: a call that is made again is answered when the first one would have been.
3. Where the world's times change as well (the service was down, calls start anew) the same holds
   of every run that completes. Where one fails, the contract leaves open which of the *other*
   branches got how far before the failure, since that is a matter of speed; so what both did
   settle is equal, and the run fails at one of the nodes that fail.

What is expected is said twice: by a clean run of the engine, and by the model in
`tests/support/graphs.py`, which shares no code with it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, event, given, seed, settings
from hypothesis import strategies as st

from refold.engine.component import is_object
from refold.journal import events as e
from refold.journal.envelope import Recorded
from tests.support.graphs import (
    LIMITS,
    TRIGGER,
    Case,
    Expected,
    cases,
    expect,
    owner_of,
    payload,
)
from tests.support.simulated import CALLER, Endpoint, Simulated
from tests.support.virtual_time import run_virtually

PROFILE = os.environ.get("REFOLD_TEST_PROFILE", "dev")
pytestmark = pytest.mark.timeout(1800)
# In CI the law has 1,000 examples, where lesser properties make do with the profile's number.
EXAMPLES = max(1000, settings().max_examples) if PROFILE == "ci" else settings().max_examples
SCOPED = (e.NodeStarted, e.NodeSucceeded, e.NodeFailed, e.NodeInterrupted)
LAW = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@dataclass(frozen=True)
class Shown:
    """What a run came to, as far as the law speaks of it."""

    status: str
    failed_node: str
    nodes: dict[str, Expected]
    """The settled and failed nodes; an interrupted one came to nothing."""
    attempts: dict[str, int]
    log: Sequence[tuple[str, str, int]]


async def show(sim: Simulated, run_id: str) -> Shown:
    """Wait for a run's end and read what it came to."""
    state = await sim.ended(run_id)
    assert_nothing_starts_after_the_end(await sim.journal.read_stream(run_id, limit=100_000))
    bodies = await sim.bodies(state)
    nodes: dict[str, Expected] = {}
    for name, known in state.nodes.items():
        if known.phase == "interrupted":
            continue
        assert known.phase in ("succeeded", "tolerated", "failed"), (name, known.phase)
        ends = bodies[name]["status"] if known.terminates else ""
        output = None if name == TRIGGER else bodies[name]
        nodes[name] = Expected(known.phase, known.handle, output, ends)
    attempts = {name: known.attempt for name, known in state.nodes.items()}
    log = [(entry.node, entry.status, entry.attempt) for entry in state.log]
    return Shown(state.status, state.failed_node, nodes, attempts, log)


def assert_nothing_starts_after_the_end(events: Sequence[Recorded]) -> None:
    """See that no node and no attempt begins after what decided that the run is over."""
    attempts: dict[tuple[str, str], int] = {}
    is_over = False
    for x in events:
        facts = x.facts
        if not isinstance(facts, SCOPED):
            continue
        place = facts.iteration, facts.node
        assert not is_over or facts.attempt <= attempts.get(place, 0)
        attempts[place] = facts.attempt
        if isinstance(facts, e.NodeFailed):
            assert not (is_over and facts.retried)
            is_over |= not (facts.retried or facts.tolerated or facts.iteration)
        elif isinstance(facts, e.NodeSucceeded):
            is_over |= facts.ends != ""


def decisive(expected: Mapping[str, Expected]) -> set[str]:
    """Return the nodes that could end the run before everything has run."""
    return {name for name, node in expected.items() if node.outcome == "failed" or node.ends}


def assert_as_expected(case: Case, shown: Shown, expected: Mapping[str, Expected]) -> None:
    """See that a run came to what the model says, as far as that doesn't depend on speed.

    In a run that ends early, a node may have failed without the further attempts that it would
    have had otherwise; such a failure is never tolerated, so that a resume makes them.
    """
    ends = decisive(expected)
    if not ends:
        assert shown.status == "completed"
        assert shown.nodes == {n: x for n, x in expected.items() if x.outcome != "dead"}
        return
    attempts = {spec.name: spec.attempts for spec in case.specs}
    final = {
        name: node
        for name, node in shown.nodes.items()
        if node.outcome != "failed" or shown.attempts[name] == attempts[name]
    }
    assert final == {name: expected[name] for name in final}
    if shown.status == "failed":
        assert shown.failed_node in ends
        assert expected[shown.failed_node].ends != "completed"
    else:
        assert any(expected[name].ends == "completed" for name in ends & shown.nodes.keys())


async def executed_in(sim: Simulated, run_id: str) -> set[str]:
    """Return the nodes of which a run has events of its own, replayed ones left aside.

    What runs inside an iterator counts as the iterator.
    """
    events = await sim.journal.read_stream(run_id, limit=100_000)
    return {owner_of(x.facts.node) for x in events if isinstance(x.facts, SCOPED) and not x.src}


async def node_events(sim: Simulated, run_id: str, nodes: Collection[str]) -> list[tuple[str, str]]:
    """Return the node-scoped events of some nodes, which no `run.*` event is."""
    events = await sim.journal.read_stream(run_id, limit=100_000)
    named = [(x.facts.type, str(getattr(x.facts, "node", ""))) for x in events]
    return [x for x in named if owner_of(x[1]) in nodes and not x[0].startswith("run.")]


async def log_of(
    sim: Simulated, run_id: str, nodes: Collection[str]
) -> list[tuple[str, str, int, int, str]]:
    """Return what the log says of some nodes, each entry with its id."""
    state = await sim.state(run_id)
    return [
        (x.node, x.status, x.attempt, x.created_at, x.event_id)
        for x in state.log
        if owner_of(x.node) in nodes
    ]


async def copied_log(sim: Simulated, run_id: str) -> list[tuple[str, str, int, int, str]]:
    """Return the replayed entries of a log, each with the id of the entry it came from."""
    state = await sim.state(run_id)
    return [
        (x.node, x.status, x.attempt, x.created_at, x.source_id) for x in state.log if x.source_id
    ]


async def begun(
    case: Case, failing: Collection[str], *, is_anchored: bool
) -> tuple[Simulated, str]:
    """Define a workflow and start a run of it in a world where these calls fail for good."""
    sim = Simulated(Endpoint(case.script(failing), is_anchored), LIMITS)
    workflow = await sim.define(case.nodes, case.edges)
    return sim, await sim.execute(workflow, payload(case))


@dataclass
class Draws:
    """Choices among what exists only once a run has ended."""

    numbers: list[int]

    def pick(self, options: list[Any]) -> Any:
        """Take one of the options."""
        return options[self.numbers.pop() % len(options)]


DRAWS = st.lists(st.integers(0, 9999), min_size=6, max_size=6).map(Draws)


async def check_resume(
    sim: Simulated, case: Case, original: str, draws: Draws, failing: set[str]
) -> str:
    """Resume an ended run in a world where `failing` still fails, and see the law hold."""
    before = await show(sim, original)
    chosen = draws.pick(
        [n for n, x in before.nodes.items() if x.outcome == "succeeded" and not x.ends]
    )
    allow = before.status == "completed"
    planned = await sim.starts.plan_resume(
        CALLER, original, chosen, "original", allow_completed=allow
    )
    kept = {name: before.nodes[name] for name in planned.replayed}
    below = case.downstream(chosen)
    assert set(kept) == {
        n
        for n, x in before.nodes.items()
        if x.outcome in ("succeeded", "tolerated") and not x.ends and n not in below
    }
    length = (await sim.state(original)).version
    calls_before = len(sim.endpoint.calls)
    sim.endpoint.script = case.script(failing)

    resumed = await sim.resume(original, chosen, allow_completed=allow)
    after = await show(sim, resumed)

    expected = expect(case, failing, kept)
    ran = await executed_in(sim, resumed)
    assert ran <= set(planned.executed)
    assert not ran & kept.keys()
    assert {owner_of(call.node) for call in sim.endpoint.calls[calls_before:]} <= ran
    if not decisive(expected):
        # All of the plan ran, except where a branch was not taken.
        not_taken = {n for n in planned.executed if expected[n].outcome == "dead"}
        assert ran == set(planned.executed) - not_taken
    assert_as_expected(case, after, expected)
    assert (await sim.state(original)).version == length
    assert await copied_log(sim, resumed) == await log_of(sim, original, kept)
    replayed = await node_events(sim, resumed, kept)
    assert replayed == await node_events(sim, original, kept)
    assert sim.endpoint.faults == []
    await check_clean_run(case, failing, kept, after)
    return resumed


def did_fail(node: Expected) -> bool:
    """Say whether a kept node's calls failed: tolerated, or reported item by item."""
    reports = is_object(node.output) and bool(node.output.get("errors"))
    return node.outcome == "tolerated" or reports


async def check_clean_run(
    case: Case, failing: set[str], kept: Mapping[str, Expected], resumed: Shown
) -> None:
    """See that a clean run, in which kept nodes do as they did, ends as the resumed one."""
    failed_and_kept = {n for n, node in kept.items() if did_fail(node) and n in case.faulty}
    mended_and_kept = {n for n, node in kept.items() if not did_fail(node) and n in failing}
    sim, run_id = await begun(
        case, (failing | failed_and_kept) - mended_and_kept, is_anchored=False
    )
    clean = await show(sim, run_id)
    await sim.close()
    expected = expect(case, failing, kept)
    assert_as_expected(case, clean, expected)
    if not decisive(expected):
        assert (clean.status, clean.nodes) == (resumed.status, resumed.nodes)


async def fail_and_resume(case: Case, draws: Draws) -> set[str]:
    """Run a workflow, resume it once or twice, see the law hold, and say what was met with."""
    sim, original = await begun(case, case.faulty, is_anchored=False)
    shown, expected = await show(sim, original), expect(case, case.faulty)
    assert_as_expected(case, shown, expected)
    met = features(case, shown, expected)
    still_failing = set(sorted(case.faulty)[: draws.pick([0, 0, 1])])
    resumed = await check_resume(sim, case, original, draws, still_failing)
    if draws.pick([True, False]):
        met.add("a resume of a resume")
        await check_resume(sim, case, resumed, draws, set())
    await sim.close()
    return met


def features(case: Case, shown: Shown, expected: Mapping[str, Expected]) -> set[str]:
    """Say what is remarkable about a run, to know that the examples are."""
    ran = shown.nodes.keys()
    ends = decisive(expected)
    marks = {
        "a join": any(len(x.ways_in) > 1 and x.name in ran for x in case.specs),
        "a dead branch": any(x.outcome == "dead" for x in expected.values()),
        "a join with a dead way in": any(
            x.name in ran and any(expected[source].outcome == "dead" for source, _ in x.ways_in)
            for x in case.specs
        ),
        "a tolerated failure": any(x.outcome == "tolerated" for x in shown.nodes.values()),
        "an iterator": any(x.kind == "loop" and x.name in ran for x in case.specs),
        "a retry": any(number > 1 for number in shown.attempts.values()),
        "several failing branches": len(ends) > 1,
        "a failure that stopped other branches": bool(ends)
        and any(x.outcome != "dead" and n not in ran for n, x in expected.items()),
        "a failed run": shown.status == "failed",
        "a completed run": shown.status == "completed",
    }
    return {mark for mark, is_so in marks.items() if is_so}


@LAW
@given(cases(terminates=True), DRAWS)
def test_a_resume_runs_what_was_planned_and_ends_as_a_clean_run(case: Case, draws: Draws) -> None:
    """Continuing from any good node costs no second call and changes no result."""
    for mark in run_virtually(fail_and_resume(case, draws)):
        event(mark)


def test_the_examples_of_the_law_are_not_trivial() -> None:
    """A law that is only tried on straight lines that succeed would say little."""
    met: Counter[str] = Counter()

    @seed(1)
    @settings(LAW, max_examples=400, database=None, phases=[Phase.generate])
    @given(cases(terminates=True), DRAWS)
    def meet(case: Case, draws: Draws) -> None:
        met.update(run_virtually(fail_and_resume(case, draws)))

    meet()
    assert met["a join with a dead way in"] >= 15, met
    del met["a join with a dead way in"]
    assert len(met) == 10, met
    assert min(met.values()) >= 45, met


async def run_to_be_cut(case: Case, draws: Draws, *, is_anchored: bool) -> tuple[Simulated, str]:
    """Start the run that the crash will meet: an execution, or a resume of one."""
    sim, run_id = await begun(case, case.faulty, is_anchored=is_anchored)
    shown = await show(sim, run_id)
    if not draws.pick([True, False, False]):
        return sim, run_id
    good = [n for n, x in shown.nodes.items() if x.outcome == "succeeded" and not x.ends]
    sim.endpoint.script = case.script(())
    return sim, await sim.resume(
        run_id, draws.pick(good), allow_completed=shown.status == "completed"
    )


async def cut_at_some_event(
    sim: Simulated, run_id: str, draws: Draws, *, downtime_s: float = 0
) -> Simulated:
    """Let the process die at an event of the run, and start the service that finds the rest."""
    first = next(x.position for x in await sim.journal.read_all(limit=10**6) if x.stream == run_id)
    heads = list(range(first, sim.journal.head + 1))
    if draws.pick([True, False]):
        heads = [head for head in sim.journal.commits if head >= first] or heads
    old = sim.endpoint
    endpoint = Endpoint(old.script, old.is_anchored)
    after = await sim.crashed(draws.pick(heads), endpoint=endpoint, downtime_s=downtime_s)
    await sim.close()
    await after.engine.recover()
    return after


@LAW
@given(cases(terminates=True), DRAWS)
def test_a_run_that_died_at_any_event_ends_as_the_one_that_never_died(
    case: Case, draws: Draws
) -> None:
    """Losing the process, at any event, is not to be seen in what a run comes to."""

    async def scenario() -> None:
        sim, run_id = await run_to_be_cut(case, draws, is_anchored=True)
        undisturbed = await show(sim, run_id)
        after = await cut_at_some_event(sim, run_id, draws)
        assert await show(after, run_id) == undisturbed
        assert after.endpoint.faults == []
        await after.close()

    run_virtually(scenario())


@LAW
@given(cases(terminates=True), DRAWS, st.sampled_from([0.0, 7.0, 1000.0]))
def test_a_recovered_run_ends_alike_however_long_the_service_was_down(
    case: Case, draws: Draws, downtime_s: float
) -> None:
    """Speed decides only what a failing run had not got to, and never what a node comes to."""

    async def scenario() -> None:
        sim, run_id = await begun(case, case.faulty, is_anchored=False)
        await show(sim, run_id)
        after = await cut_at_some_event(sim, run_id, draws, downtime_s=downtime_s)
        # And once more, before it has got over the first time.
        after.endpoint.script = sim.endpoint.script
        await show(after, run_id)
        again = await cut_at_some_event(after, run_id, draws, downtime_s=downtime_s)
        assert_as_expected(case, await show(again, run_id), expect(case, case.faulty))
        assert again.endpoint.faults == []
        await again.close()

    run_virtually(scenario())
