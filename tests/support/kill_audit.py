"""Compares a journal with the ledger of what was acknowledged and the calls that were seen.

Reads the file alone, event by event, and knows nothing of the engine's own folding: a fault that
the service and its audit had in common would stay unseen.
"""

from __future__ import annotations

import json
import re
import sqlite3
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from refold.journal import events as e
from refold.journal.envelope import NO_LEAF, Recorded, decode_entry, leaf_hash, payload_commitment
from refold.journal.events import RUN_ENDED
from refold.journal.sqlite_file import open_reader
from tests.support.kill_family import FamilyAudit, ScheduleAudit
from tests.support.kill_load import Ledger
from tests.support.service import Hit

OUTCOMES = (e.NodeSucceeded, e.NodeFailed, e.NodeInterrupted)
_TAG = re.compile(rb'"tag":"([0-9a-f]{32})"')
CODES = {"http_503", "interrupted", "child_failed"}


@dataclass
class Attempted:
    """What one run's stream says of one node's own attempts (replayed ones left out)."""

    starts: list[e.NodeStarted] = field(default_factory=list)
    started_at: list[int] = field(default_factory=list)
    """The positions of the starts."""
    outcomes: list[tuple[int, Any]] = field(default_factory=list)

    @property
    def answered(self) -> int:
        """How many outcomes came of an answer, so that the endpoint must have seen a call."""
        return sum(getattr(facts, "code", "") in ("", "http_503") for _, facts in self.outcomes)


class Audit:
    """Follows one journal through all its kills."""

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._streams: dict[str, tuple[int, str]] = {}
        self.runs: dict[str, list[Recorded]] = defaultdict(list)
        self.nodes: dict[str, dict[str, Attempted]] = defaultdict(dict)
        self.payloads: dict[str, str] = {}
        """The tag in each run's own payload."""
        self.family = FamilyAudit()
        self.firings = ScheduleAudit()
        self.head = 0
        self.kills: list[int] = []
        """The newest durable position at each kill."""
        self.wrong: list[str] = []

    def read_on(self) -> None:
        """Read what was appended since, checking each entry's place, hashes and body."""
        with closing(open_reader(self._journal)) as connection:
            for event, body in self._entries(connection):
                self._follow(event, body)

    def killed(self, ledger: Ledger, hits: Sequence[Hit]) -> None:
        """Compare what a kill left with what had been promised until then."""
        self.read_on()
        self.kills.append(self.head)
        self.wrong.extend(self._promises_broken(ledger))
        self.wrong.extend(self._calls_without_start(hits))

    def unfinished(self) -> list[str]:
        """The runs that have not ended."""
        return [run for run, events in self.runs.items() if events[-1].facts.type not in RUN_ENDED]

    def at_last(self, ledger: Ledger, hits: Sequence[Hit]) -> None:
        """Compare everything once nothing is under way any more."""
        self.read_on()
        self.wrong.extend(f"stuck: {run}" for run in self.unfinished())
        self.wrong.extend(self._promises_broken(ledger))
        self.wrong.extend(self._calls_without_start(hits))
        seen = Counter((run_of(hit), node_of(hit)) for hit in hits)
        for run, nodes in self.nodes.items():
            for name, attempted in nodes.items():
                self.wrong.extend(self._node_faults(run, name, attempted, seen[(run, name)]))
        self.wrong.extend(self._run_faults(ledger))
        self.wrong.extend(self.family.faults(self.runs))
        self.wrong.extend(self.firings.faults(self.runs))

    def interrupted(self) -> int:
        """How many calls ended with their outcome unknown."""
        return sum(
            getattr(facts, "code", "") == "interrupted" or getattr(facts, "in_doubt", 0) == 1
            for nodes in self.nodes.values()
            for node in nodes.values()
            for _, facts in node.outcomes
        )

    def called_again(self) -> int:
        """How many calls were made again because a kill had cut them off."""
        return sum(
            first.attempt == second.attempt
            for nodes in self.nodes.values()
            for node in nodes.values()
            for first, second in pairwise(node.starts)
        )

    def _entries(self, connection: sqlite3.Connection) -> Iterator[tuple[Recorded, bytes | None]]:
        rows = connection.execute(
            "SELECT event.position, stream, version, entry, leaf, body_at, salt, data FROM event "
            "LEFT JOIN body ON body.position = event.position WHERE event.position > ? "
            "ORDER BY event.position",
            (self.head,),
        )
        for position, stream, version, entry, leaf, body_at, salt, data in rows:
            before, prev = self._streams.get(stream, (0, NO_LEAF))
            event = decode_entry(position, entry, leaf, body_at)
            said = json.loads(entry)
            if position != self.head + 1 or version != before + 1:
                self.wrong.append(f"a hole before position {position} ({stream} {version})")
            if leaf_hash(entry) != leaf or said["prev"] != prev or said["version"] != version:
                self.wrong.append(f"position {position} does not follow its stream")
            has_body = body_at == position
            if has_body and (salt is None or payload_commitment(salt, data) != event.payload):
                self.wrong.append(f"position {position} has lost its body")
            self._streams[stream] = version, leaf.hex()
            self.head = position
            yield event, data

    def _follow(self, event: Recorded, body: bytes | None) -> None:
        self.firings.follow(event)
        if not event.stream.startswith("fl_run_"):
            return
        self.family.follow(event)
        run, facts = event.stream, event.facts
        self.runs[run].append(event)
        if isinstance(facts, e.RunRequested) and body is not None:
            found = _TAG.search(body)
            self.payloads[run] = (
                found[1].decode() if found else self.payloads.get(facts.payload_run, "")
            )
        if event.src:
            return
        if isinstance(facts, e.NodeStarted):
            attempted = self.nodes[run].setdefault(name_of(facts), Attempted())
            attempted.starts.append(facts)
            attempted.started_at.append(event.position)
        elif isinstance(facts, OUTCOMES):
            attempted = self.nodes[run].setdefault(name_of(facts), Attempted())
            attempted.outcomes.append((event.position, facts))

    def _promises_broken(self, ledger: Ledger) -> Iterator[str]:
        for run, asked in list(ledger.acknowledged.items()):
            if run not in self.runs:
                yield f"acknowledged and lost: {run} ({asked.kind})"
            elif self.payloads[run] != asked.tag:
                yield f"another payload than was acknowledged: {run}"
        for run in list(ledger.finished):
            if run in self.runs and self.runs[run][-1].facts.type not in RUN_ENDED:
                yield f"answered as finished and is not: {run}"
        for run in list(ledger.cancelled):
            events = self.runs.get(run, ())
            if not any(isinstance(event.facts, e.RunCancelRequested) for event in events):
                yield f"cancel acknowledged and lost: {run}"
        for run in list(ledger.answered):
            if not self.family.answers[run]:
                yield f"answer acknowledged and lost: {run}"

    def _calls_without_start(self, hits: Sequence[Hit]) -> Iterator[str]:
        seen = Counter((run_of(hit), node_of(hit), hit.key) for hit in hits)
        for (run, name, key), count in seen.items():
            attempted = self.nodes.get(run, {}).get(name, Attempted())
            starts = sum(start.effect_key == key for start in attempted.starts)
            if count > starts:
                yield f"{count} calls of {run} {name} were seen, {starts} starts are durable"

    def _node_faults(self, run: str, name: str, node: Attempted, seen: int) -> Iterator[str]:
        where = f"{run} {name}"
        webhook = any(start.component == "webhook" for start in node.starts)
        if webhook and seen < node.answered:
            yield f"{where} has {node.answered} answers in the journal, the endpoint saw {seen}"
        if name.startswith("o") and (seen > 1 or len(node.starts) > 1):
            yield f"at most once, and {seen} calls of {where} with {len(node.starts)} starts"
        for first, second in pairwise(node.starts):
            if second.attempt == first.attempt and not self._was_killed_between(
                node, first, second
            ):
                yield f"{where} was called again, although no kill cut it off"
        successes = [at for at, facts in node.outcomes if isinstance(facts, e.NodeSucceeded)]
        if successes and any(start > successes[0] for start in node.started_at):
            yield f"{where} was executed again after it had succeeded"
        for position, facts in node.outcomes:
            if getattr(facts, "code", "") == "interrupted" or getattr(facts, "in_doubt", 0):
                yield from self._unjustified(where, node, position)
            if isinstance(facts, e.NodeFailed) and facts.code not in CODES:
                yield f"{where} failed with {facts.code}"

    def _was_killed_between(
        self, node: Attempted, first: e.NodeStarted, second: e.NodeStarted
    ) -> bool:
        """Say whether a kill fell between two starts of one attempt, with no outcome before."""
        begin = node.started_at[node.starts.index(first)]
        end = node.started_at[node.starts.index(second)]
        killed = bisect_left(self.kills, begin)
        return (
            killed < len(self.kills)
            and self.kills[killed] < end
            and not any(begin < position < end for position, _ in node.outcomes)
        )

    def _unjustified(self, where: str, node: Attempted, position: int) -> Iterator[str]:
        """An interruption needs a start that was durable at the kill, and no outcome."""
        killed = bisect_left(self.kills, position) - 1
        head = self.kills[killed] if killed >= 0 else 0
        start = max((at for at in node.started_at if at < position), default=0)
        between = any(start < at < position for at, _ in node.outcomes)
        if not start or start > head or between:
            yield f"{where} is interrupted at {position}; started at {start}, killed at {head}"

    def _run_faults(self, ledger: Ledger) -> Iterator[str]:
        keys: dict[tuple[str, str], str] = {}
        kinds = {workflow: kind for kind, workflow in ledger.workflows.items()}
        for run, events in self.runs.items():
            request = events[0].facts
            assert isinstance(request, e.RunRequested)
            key = (request.idempotency_scope, request.idempotency_key)
            if request.idempotency_key and keys.setdefault(key, run) != run:
                yield f"one key made two runs: {run} and {keys[key]}"
            asked = next((ev for ev in events if isinstance(ev.facts, e.RunCancelRequested)), None)
            if asked and any(
                isinstance(ev.facts, e.NodeStarted) and ev.version > asked.version for ev in events
            ):
                yield f"a node started after the request to stop: {run}"
            if sum(event.facts.type in RUN_ENDED for event in events) > 1:
                yield f"ended twice: {run}"
            yield from _end_faults(run, events, kinds[request.workflow])


def _end_faults(run: str, events: Sequence[Recorded], kind: str) -> Iterator[str]:
    """Compare a run's end with that of a twin which never crashed."""
    last = events[-1].facts
    settled = {
        event.facts.node
        for event in events
        if not getattr(event.facts, "iteration", "")
        and (
            isinstance(event.facts, e.NodeSucceeded)
            or (isinstance(event.facts, e.NodeFailed) and event.facts.tolerated)
        )
    }
    if isinstance(last, e.RunCompleted):
        if settled != NODES[kind]:
            yield f"completed without {sorted(NODES[kind] - settled)}: {run}"
    elif isinstance(last, e.RunFailed):
        may_break = (kind == "brittle" and last.node == "b") or last.code in (
            "interrupted",
            "child_failed",
        )
        if not may_break:
            yield f"failed at {last.node} with {last.code}, as no twin would: {run}"


NODES = {
    "chain": set("txaor"),
    "hook": set("tob"),
    "fork": set("taodj"),
    "brittle": set("taobc"),
    "tolerant": set("tfob"),
    "slow": set("tadob"),
    "loop": {"t", "it", "x"},
    "family": set("tusa"),
    "form": set("tafb"),
    "timed": set("to"),
}
"""The nodes of each kind of workflow, all of which a completed run has settled."""


def name_of(facts: Any) -> str:
    """A node as its calls name it: with the index of the item inside an iterator."""
    return f"{facts.node}@{facts.iteration}" if facts.iteration else str(facts.node)


def run_of(hit: Hit) -> str:
    """The run that a call came from, as its body says."""
    return str(json.loads(hit.body)["run"])


def node_of(hit: Hit) -> str:
    """The node that a call came from."""
    return str(json.loads(hit.body)["node"])
