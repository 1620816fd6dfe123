"""How each run must have come to its end: what it kept, what it replayed, what its twin did.

The cut is computed once more, from definitions and streams alone. A run of a scripted workflow is
compared with a recursion over its graph that knows of no disk, no kill and no time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from refold.journal import events as e
from refold.journal.envelope import Recorded
from tests.simulator.audit import OUTCOMES, Audit, Story
from tests.simulator.clients import Ledger
from tests.simulator.disk import Disk
from tests.simulator.outside import Outside
from tests.support.graphs import Case, Expected, expect, owner_of

_TRIGGER = "n0"


def check_endings(disk: Disk, ledger: Ledger, audit: Audit, outside: Outside) -> None:
    """Judge all runs of a world, each of which has ended."""
    for run, story in audit.runs.items():
        if story.request.origin == "resume":
            audit.faults.extend(_cut_faults(disk, run, story))
        case = ledger.cases.get(story.workflow)
        if case is not None and not story.is_cancelled and not story.was_interrupted:
            failing = () if outside.is_mended(run) else case.faulty
            audit.faults.extend(_twin_faults(disk, run, story, case, failing))


# The cut


class _Graph(msgspec.Struct):
    """A definition, as far as a cut needs it."""

    edges: list[tuple[str, str]]
    owners: dict[str, str]
    """To each node the one of the outermost graph that it stands in."""

    def downstream(self, node: str) -> set[str]:
        """Return all that a node leads to, itself included."""
        found, open_ = {node}, [node]
        while open_:
            source = open_.pop()
            new = {t for s, t in self.edges if s == source} - found
            found |= new
            open_ += sorted(new)
        return found


def _graph(disk: Disk, workflow: str, version: int) -> _Graph:
    defined = [
        event for event in disk.events(workflow) if isinstance(event.facts, e.WorkflowDefined)
    ]
    text = json.loads(disk.ledger.bodies[defined[version - 1].position].data)["workflow"]
    owners: dict[str, str] = {}
    for node in text["nodes"]:
        _own(node, node["id"], owners)
    return _Graph([(edge["source"], edge["target"]) for edge in text["edges"]], owners)


def _own(node: dict[str, Any], owner: str, owners: dict[str, str]) -> None:
    owners[node["id"]] = owner
    for inner in node["data"].get("nodes", ()):
        _own(inner, owner, owners)


def _cut_faults(disk: Disk, run: str, story: Story) -> list[str]:
    request, events = story.request, disk.events(run)
    original = disk.events(request.original_run)[: request.original_version]
    first = original[0].facts
    assert isinstance(first, e.RunRequested)
    graph = _graph(disk, first.workflow, first.workflow_version)
    settled = {
        event.facts.node
        for event in original
        if isinstance(event.facts, OUTCOMES) and not event.facts.iteration and _counts(event.facts)
    }
    kept = settled - (graph.downstream(request.chosen_node) - {request.chosen_node})
    said = {node for node in request.kept.split() if graph.owners.get(node) == node}
    if said != kept:
        return [f"{run} keeps {sorted(said)}, and should keep {sorted(kept)}"]
    wanted = [
        event
        for event in original
        if graph.owners.get(getattr(event.facts, "node", ""), "") in kept
        and not event.facts.type.startswith("run.")
    ]
    replayed = [event for event in events if event.src]
    if [_copied(event) for event in replayed] != [_source(event) for event in wanted]:
        return [f"{run} replays {len(replayed)} events of {len(wanted)}, or other ones"]
    begun = next((ev.version for ev in events if isinstance(ev.facts, e.RunStarted)), 1 << 60)
    if any(event.version > begun for event in replayed):
        return [f"{run} began before its past was there"]
    return []


def _counts(facts: Any) -> bool:
    if isinstance(facts, e.NodeSucceeded):
        return facts.ends == ""
    return isinstance(facts, e.NodeFailed) and facts.tolerated == 1


def _copied(event: Recorded) -> tuple[str, str, str, int, str]:
    return event.src, event.facts.type, event.payload, event.body_at, _plain(event.facts)


def _source(event: Recorded) -> tuple[str, str, str, int, str]:
    source = f"{event.stream}@{event.version}#{event.leaf.hex()}"
    return source, event.facts.type, event.payload, event.body_at, _plain(event.facts)


def _plain(facts: Any) -> str:
    told = {name: getattr(facts, name) for name in facts.__struct_fields__}
    return json.dumps({name: value for name, value in told.items() if name != "source_id"})


# The twin


def _twin_faults(
    disk: Disk, run: str, story: Story, case: Case, failing: Sequence[str] | frozenset[str]
) -> list[str]:
    """Compare the nodes of a scripted run with those of a twin that nothing disturbed."""
    ends = {node: facts for (iteration, node), facts in story.settled.items() if not iteration}
    kept = _kept(case, story, ends)
    wanted = expect(case, failing, kept)
    last = disk.events(run)[-1].facts
    is_whole = isinstance(last, e.RunCompleted) and not last.node
    found: list[str] = []
    for node, facts in ends.items():
        twin = wanted.get(node, Expected("dead"))
        if isinstance(facts, e.NodeInterrupted):
            continue
        if isinstance(facts, e.NodeFailed) and not is_whole and node != getattr(last, "node", ""):
            # A run that ends early tries nothing again; its first failure is its twin's too.
            continue
        is_right = (
            twin.outcome == "succeeded" and facts.handle in (twin.handle, "default")
            if isinstance(facts, e.NodeSucceeded)
            else twin.outcome in ("tolerated", "failed")
        )
        if not is_right:
            found.append(f"{run} {node}: {facts.type}, its twin's is {twin.outcome}")
    may_stop = any(t.outcome == "failed" or t.ends for t in wanted.values())
    if is_whole:
        missing = {n for n, t in wanted.items() if t.outcome != "dead"} - set(ends)
        if missing or any(t.outcome == "failed" for t in wanted.values()):
            found.append(f"{run} completed without {sorted(missing)}")
    elif not may_stop:
        found.append(f"{run} ended with {last.type}, its twin completes")
    return found


def _kept(case: Case, story: Story, ends: Mapping[str, Any]) -> dict[str, Expected] | None:
    """Return what a resumed run kept, as the recursion wants to be told of it."""
    if story.request.origin != "resume":
        return None
    names = {node for node in story.request.kept.split() if owner_of(node) == node}
    made: dict[str, Expected] = {}
    for spec in case.specs:
        if spec.name in names and spec.name in ends:
            facts = ends[spec.name]
            if isinstance(facts, e.NodeSucceeded):
                made[spec.name] = Expected("succeeded", facts.handle)
            else:
                made[spec.name] = Expected("tolerated")
    return made
