"""What a journal must say of children, items, answers and firings, however often it was killed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from refold.journal import events as e
from refold.journal.envelope import Recorded
from refold.journal.events import RUN_ENDED
from tests.support.kill_load import INTERVAL_SECONDS

Place = tuple[str, str, str]
"""A run, a path of indexes and a node."""


class FamilyAudit:
    """Follows what runs ask of other runs, of items and of people."""

    def __init__(self) -> None:
        self.children: dict[Place, list[str]] = defaultdict(list)
        self.parents: dict[str, Place] = {}
        self.items: Counter[tuple[str, str, str]] = Counter()
        self.ended: dict[str, str] = {}
        self.answers: Counter[str] = Counter()

    def follow(self, event: Recorded) -> None:
        """Take in one event of a run, replayed ones left out."""
        facts, run = event.facts, event.stream
        if event.src:
            return
        if isinstance(facts, e.ChildRequested):
            self.children[run, facts.iteration, facts.node].append(facts.child)
        elif isinstance(facts, e.RunRequested) and facts.parent_run:
            self.parents[run] = facts.parent_run, facts.parent_iteration, facts.parent_node
        elif isinstance(facts, e.ChildEnded):
            self.ended[facts.child] = facts.status
        elif isinstance(facts, e.IterationEnded):
            self.items[run, facts.node, facts.iteration] += 1
        elif isinstance(facts, e.InteractionSubmitted):
            self.answers[run] += 1

    def faults(self, runs: Mapping[str, Sequence[Recorded]]) -> Iterator[str]:
        """Say what is wrong once nothing is under way any more."""
        yield from self._child_faults(runs)
        for item, count in self.items.items():
            if count > 1:
                yield f"an item ended {count} times: {item}"
        for run, count in self.answers.items():
            if count > 1:
                yield f"a form was answered {count} times: {run}"
        for run, events in runs.items():
            yield from self._item_faults(run, events)

    def _child_faults(self, runs: Mapping[str, Sequence[Recorded]]) -> Iterator[str]:
        for place, children in self.children.items():
            if len(children) > 1:
                yield f"a step started {len(children)} children: {place}"
            for child in children:
                if self.parents.get(child) != place:
                    yield f"{child} does not say that {place} started it"
        for child, place in self.parents.items():
            if child not in self.children[place]:
                yield f"{place} does not say that it started {child}"
        for child, status in self.ended.items():
            last = runs[child][-1].facts
            if last.type not in RUN_ENDED or (status == "completed") != isinstance(
                last, e.RunCompleted
            ):
                yield f"{child} ended as {last.type}, its parent took it for {status}"

    def _item_faults(self, run: str, events: Sequence[Recorded]) -> Iterator[str]:
        """An iterator that succeeded in this run is done with each of its three items."""
        for event in events:
            facts = event.facts
            if isinstance(facts, e.NodeSucceeded) and facts.component == "iterator":
                done = [self.items[run, facts.node, str(index)] for index in range(3)]
                if not event.src and done != [1, 1, 1]:
                    yield f"an iterator succeeded without an item: {run} {done}"


class ScheduleAudit:
    """Follows a workflow that fires at an interval: each time once, or counted as missed."""

    def __init__(self) -> None:
        self.runs: dict[str, int] = {}
        """The runs that firings say they made, and when they were due."""
        self.next_at: dict[str, int] = {}
        self.fired = 0
        self.wrong: list[str] = []

    def follow(self, event: Recorded) -> None:
        """Take in one event of any stream."""
        facts, workflow = event.facts, event.stream
        if isinstance(facts, e.WorkflowDefined) and facts.schedule:
            self.next_at[workflow] = facts.next_at
        elif isinstance(facts, e.ScheduleFired):
            self.fired += 1
            interval = INTERVAL_SECONDS * 1_000_000
            expected = self.next_at[workflow] + facts.missed * interval
            if facts.due_at != expected:
                self.wrong.append(f"fired for {facts.due_at}, {expected} was next: {workflow}")
            self.next_at[workflow] = facts.next_at
            if facts.next_at != facts.due_at + interval:
                self.wrong.append(f"drifted from {facts.due_at} to {facts.next_at}: {workflow}")
            if facts.run in self.runs:
                self.wrong.append(f"two firings made the same run: {facts.run}")
            self.runs[facts.run] = facts.due_at

    def faults(self, runs: Mapping[str, Sequence[Recorded]]) -> Iterator[str]:
        """Say what is wrong once nothing is under way any more."""
        yield from self.wrong
        made = {
            run
            for run, events in runs.items()
            if isinstance(events[0].facts, e.RunRequested) and events[0].facts.origin == "schedule"
        }
        for run in made ^ self.runs.keys():
            yield f"a firing without its run, or a run without its firing: {run}"
