"""Watches each commit and each call of a simulated service, and says at once what is wrong.

It sees what is written, beneath the service, and what arrives, outside of it; it shares no code
with the engine. Checked with each commit: the place of each event, its hashes and its commitment,
the version its writer expected, no secret in its bytes, and what may follow what in a run. Checked
with each call: the intent is durable and open, and a call that is made at most once is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import msgspec

from refold.journal import events as e
from refold.journal.envelope import NO_LEAF, Recorded, leaf_hash, payload_commitment
from refold.journal.events import RUN_ENDED
from refold.journal.journal import Commit
from refold.journal.sequencer import Row, Sequenced

OUTCOMES = (e.NodeSucceeded, e.NodeFailed, e.NodeInterrupted)
Place = tuple[str, str]
"""An iteration and a node."""


class Effect(msgspec.Struct):
    """A call that was begun, and has no outcome yet."""

    run: str
    place: Place
    attempt: int
    began: int
    """When its first start of this attempt was journaled, microseconds."""
    position: int
    calls: int = 0
    """How many calls arrived since its newest start."""


class Story(msgspec.Struct):
    """What one run's stream says, as far as the audit needs it."""

    tenant: str
    workflow: str
    request: e.RunRequested
    ended_at: int = 0
    """The position of its last event."""
    is_cancelled: bool = False
    forms: set[Place] = msgspec.field(default_factory=set[Place])
    settled: dict[Place, Any] = msgspec.field(default_factory=dict[Place, Any])
    """The outcome of each place that has its last one."""
    was_interrupted: bool = False
    """Whether a call of it was in doubt."""

    @property
    def is_ended(self) -> bool:
        """Tell whether it has its last event."""
        return self.ended_at > 0


class Audit:
    """One journal, through all the lives of its service."""

    def __init__(self, now_us: Callable[[], int], is_synced: Callable[[int], bool]) -> None:
        self.now_us = now_us
        self._is_synced = is_synced
        self.faults: list[str] = []
        self.position = 0
        self.streams: dict[str, tuple[int, str]] = {}
        self.runs: dict[str, Story] = {}
        self.effects: dict[tuple[str, str], Effect] = {}
        """Open effects by run and key: runs resumed from one in doubt share its key."""
        self.secrets: list[bytes] = []
        """What may stand in nothing that is written."""
        self.told: dict[tuple[str, str], list[int]] = {}
        """Where the events of a tenant's stream stand that its subscribers are told of."""
        self._calls_once: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._firsts: dict[tuple[str, Place, int], int] = {}

    def wrong(self, fault: str) -> None:
        """Note a broken promise."""
        self.faults.append(fault)

    def workflow_of(self, run: str) -> str:
        """Return the workflow of a run."""
        return self.runs[run].workflow

    def unfinished(self) -> list[str]:
        """Return the runs that have not ended."""
        return [run for run, story in self.runs.items() if not story.is_ended]

    def look_for_secrets(self, data: bytes, where: str) -> None:
        """See that no secret stands in some bytes."""
        for secret in self.secrets:
            if secret in data:
                self.wrong(f"a secret stands in {where}")

    # What is written

    def watch(self, commit: Commit, made: Sequenced) -> None:
        """Look at a commit as it is written."""
        for write in commit.writes:
            known = self.streams.get(write.stream, (0, NO_LEAF))[0]
            if known != write.expected_version:
                self.wrong(
                    f"{write.stream} was written at {known}, where {write.expected_version} was "
                    "expected"
                )
        for row in made.rows:
            self._place(row)
            self._follow(row.event)

    def _place(self, row: Row) -> None:
        event = row.event
        before, prev = self.streams.get(event.stream, (0, NO_LEAF))
        if event.position != self.position + 1 or event.version != before + 1:
            self.wrong(f"a hole before position {event.position} ({event.stream} {event.version})")
        if leaf_hash(row.entry) != event.leaf or f'"prev":"{prev}"'.encode() not in row.entry:
            self.wrong(f"position {event.position} does not follow its stream")
        if row.body is not None:
            salt = row.salt or b""
            if payload_commitment(salt, row.body) != event.payload:
                self.wrong(f"position {event.position} does not commit to its body")
            self.look_for_secrets(row.body, f"the body of position {event.position}")
        self.look_for_secrets(row.entry, f"the entry of position {event.position}")
        self.position = event.position
        self.streams[event.stream] = event.version, event.leaf.hex()
        if event.tenant and not event.stream.startswith("sub_"):
            self.told.setdefault((event.tenant, event.stream), []).append(event.position)

    def _follow(self, event: Recorded) -> None:
        facts, run = event.facts, event.stream
        if isinstance(facts, e.RunRequested):
            self.runs[run] = Story(event.tenant, facts.workflow, facts)
            return
        story = self.runs.get(run)
        if story is None:
            return
        if story.is_ended:
            self.wrong(f"{facts.type} after the end of {run}")
        if facts.type in RUN_ENDED:
            story.ended_at = event.position
        elif isinstance(facts, e.RunCancelRequested):
            story.is_cancelled = True
        elif event.src:
            self._settle(run, story, facts, replayed=True)
        elif isinstance(facts, e.NodeStarted):
            self._start(event, story, facts)
        elif isinstance(facts, e.InteractionRequested):
            story.forms.add((facts.iteration, facts.node))
        else:
            self._settle(run, story, facts, replayed=False)

    def _start(self, event: Recorded, story: Story, facts: e.NodeStarted) -> None:
        place = facts.iteration, facts.node
        if place in story.settled:
            self.wrong(f"{event.stream} {place} was executed again after it was settled")
        if story.is_cancelled:
            self.wrong(f"{event.stream} {place} started after the request to stop")
        if facts.effect_key:
            first = self._firsts.setdefault((event.stream, place, facts.attempt), facts.started_at)
            self.effects[event.stream, facts.effect_key] = Effect(
                event.stream, place, facts.attempt, first, event.position
            )

    def _settle(self, run: str, story: Story, facts: Any, *, replayed: bool) -> None:
        if not isinstance(facts, OUTCOMES):
            return
        place = facts.iteration, facts.node
        if place in story.settled:
            self.wrong(f"{run} {place} has two outcomes")
        story.forms.discard(place)
        if getattr(facts, "code", "") == "interrupted" or getattr(facts, "in_doubt", 0):
            story.was_interrupted = True
        if not getattr(facts, "retried", 0):
            story.settled[place] = facts
        if not replayed:
            for key, effect in list(self.effects.items()):
                if effect.run == run and effect.place == place:
                    del self.effects[key]

    # What arrives outside

    def called(self, run: str, key: str) -> None:
        """Look at a call as it arrives."""
        effect = self.effects.get((run, key))
        if effect is None:
            self.wrong(f"an effect without an open intent: {key} of {run}")
            return
        if not self._is_synced(effect.position):
            self.wrong(f"an effect whose intent is not durable: {key} of {run}")
        effect.calls += 1
        if effect.calls > 1:
            self.wrong(f"one start and {effect.calls} calls: {key} of {run}")
        if effect.place[1].startswith("o"):
            self._calls_once[run, key] += 1
            if self._calls_once[run, key] > 1:
                self.wrong(f"at most once, and {self._calls_once[run, key]} calls: {key} of {run}")
