"""The fold from a run's events to spans: a run, its attempts, items, and calls of other runs.

Rules of this file:

1. Every id is a hash of the run and the place, so that a second export makes the same ones. A
   run that was started by another one belongs to the other one's trace.
2. A span is made when it ends, by the event that ends it. What is replayed makes none: it
   happened in the original, to which the run has a link.
3. A node inside an iterator hangs on its item, an item on the iterator's attempt, a run that was
   started by another one on the call, and everything else on its run.
4. No clock, no randomness, no input or output.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Final, Protocol

import msgspec

from ...journal import events as e
from ..node_state import Place, outer_of
from .source import Head
from .values import Value

TRACE_BYTES: Final = 16
SPAN_BYTES: Final = 8
INTERNAL, SERVER, CLIENT = 1, 2, 3
"""Kinds of spans, as OpenTelemetry numbers them."""

Attributes = list[tuple[str, Value]]
_Outcome = e.NodeSucceeded | e.NodeFailed | e.NodeInterrupted
_Note = e.TimerSet | e.TimerFired | e.InteractionRequested | e.InteractionSubmitted


class Moment(msgspec.Struct, frozen=True, gc=False):
    """Something that happened during a span."""

    name: str
    at: int


class Span(msgspec.Struct, gc=False):
    """A stretch of time, in microseconds."""

    id: bytes
    parent: bytes
    """b"" for none."""
    name: str
    kind: int
    started_at: int
    ended_at: int
    attributes: Attributes
    moments: Sequence[Moment] = ()
    link: tuple[bytes, bytes, str] | None = None
    """Trace and span of the run that this one repeats, and how."""
    is_error: bool = False
    shows_body: bool = False
    """Whether the body of the event that ended it is about it."""


class Past(Protocol):
    """What a run needs to know of others."""

    def root(self, run: str) -> str:
        """Return the run that began it all: itself, unless another one started it."""
        ...

    def owner(self, workflow: str, version: int, node: str) -> str:
        """Return the iterator that a node of a definition stands in, "" for none."""
        ...


def trace_id(root: str) -> bytes:
    """Return the trace of a run that no other one started."""
    return _hash("trace", root)[:TRACE_BYTES]


def run_span(run: str) -> bytes:
    """Return the id of a run's span."""
    return _hash("run", run)[:SPAN_BYTES]


def attempt_span(run: str, iteration: str, node: str, attempt: int) -> bytes:
    """Return the id of the span of an attempt."""
    return _hash("attempt", run, iteration, str(attempt), node)[:SPAN_BYTES]


def item_span(run: str, iteration: str, iterator: str) -> bytes:
    """Return the id of the span of an iterator's item."""
    return _hash("item", run, iteration, iterator)[:SPAN_BYTES]


def call_span(child: str) -> bytes:
    """Return the id of the span of the call that started a run."""
    return _hash("call", child)[:SPAN_BYTES]


class _Open(msgspec.Struct, gc=False):
    attempt: int
    started_at: int
    is_effect: bool
    moments: list[Moment]


class _Call(msgspec.Struct, frozen=True, gc=False):
    child: str
    workflow: str
    started_at: int
    parent: bytes


class RunSpans:
    """One run on its way: what has begun in it and not ended."""

    def __init__(self, run: str, past: Past) -> None:
        self.run = run
        self.trace = b""
        self._past = past
        self._requested: e.RunRequested | None = None
        self._requested_at = 0
        self._actor = ""
        self._open: dict[Place, _Open] = {}
        self._attempts: dict[Place, int] = {}
        """The newest attempt of each iterator."""
        self._items: dict[str, dict[str, int]] = {}
        """By path, the iterators that have an open item there, and since when."""
        self._calls: dict[Place, _Call] = {}

    def spans_of(self, head: Head, facts: e.Facts) -> list[Span]:
        """Bring the run past one event; return the spans that it ended."""
        if isinstance(facts, e.RunRequested):
            self._begin(head, facts)
        elif head.src:
            return []
        elif isinstance(facts, e.NodeStarted):
            self._start(facts)
        elif isinstance(facts, _Note):
            self._note(head, facts)
        elif isinstance(facts, e.NodeSucceeded | e.NodeFailed | e.NodeInterrupted):
            return self._end_attempt(facts)
        elif isinstance(facts, e.IterationStarted):
            self._items.setdefault(facts.iteration, {})[facts.node] = facts.started_at
        elif isinstance(facts, e.IterationEnded):
            return self._end_item(facts)
        elif isinstance(facts, e.ChildRequested):
            return self._call(head, facts)
        elif isinstance(facts, e.ChildEnded):
            call = self._calls.pop((facts.iteration, facts.node), None)
            return [_called(call, head.at, facts.status)] if call else []
        elif isinstance(facts, e.RunCompleted | e.RunFailed | e.RunCancelled):
            return self._end(head, facts)
        return []

    def _begin(self, head: Head, facts: e.RunRequested) -> None:
        self._requested, self._requested_at, self._actor = facts, head.at, head.actor
        self.trace = trace_id(self._past.root(self.run))

    def _start(self, facts: e.NodeStarted) -> None:
        place = (facts.iteration, facts.node)
        known = self._open.get(place)
        if known is not None and known.attempt == facts.attempt:
            # A crash came between, and the same attempt goes on.
            known.moments.append(Moment("recovered", facts.started_at))
            return
        is_effect = facts.effect_key != ""
        self._open[place] = _Open(facts.attempt, facts.started_at, is_effect, [])
        self._attempts[place] = facts.attempt

    def _note(self, head: Head, facts: _Note) -> None:
        known = self._open.get((facts.iteration, facts.node))
        if known is not None:
            known.moments.append(Moment(head.type, head.at))

    def _end_attempt(self, facts: _Outcome) -> list[Span]:
        place = (facts.iteration, facts.node)
        known = self._open.pop(place, None)
        started_at = known.started_at if known else facts.started_at
        ended_at = max(started_at, facts.ended_at)
        span = Span(
            attempt_span(self.run, facts.iteration, facts.node, facts.attempt),
            self._parent(facts.iteration, facts.node),
            f"{facts.component} {facts.node}",
            CLIENT if known and known.is_effect else INTERNAL,
            started_at,
            ended_at,
            _attempt_attributes(facts),
            tuple(known.moments) if known else (),
            is_error=not isinstance(facts, e.NodeSucceeded),
            shows_body=True,
        )
        made = [span]
        call = self._calls.pop(place, None)
        if call is not None:
            made.append(_called(call, ended_at, "unknown"))
        made += self._end_items_of(facts.iteration, facts.node, ended_at)
        return made

    def _end_item(self, facts: e.IterationEnded) -> list[Span]:
        started = self._items.get(facts.iteration, {})
        if facts.node not in started:
            return []
        started_at = started.pop(facts.node)
        if not started:
            del self._items[facts.iteration]
        span = self._item(facts.iteration, facts.node, started_at, facts.ended_at, facts.code)
        span.shows_body = True
        return [span]

    def _end_items_of(self, outer: str, iterator: str, ended_at: int) -> list[Span]:
        """End the items of an iterator that was itself ended."""
        made: list[Span] = []
        for path in [p for p, begun in self._items.items() if iterator in begun]:
            if outer_of(path) == outer:
                started_at = self._items[path].pop(iterator)
                if not self._items[path]:
                    del self._items[path]
                made.append(self._item(path, iterator, started_at, ended_at, "interrupted"))
        return made

    def _item(self, path: str, iterator: str, started_at: int, ended_at: int, code: str) -> Span:
        outer = outer_of(path)
        attempt = self._attempts.get((outer, iterator), 1)
        attributes: Attributes = [
            ("refold.run", self.run),
            ("refold.node", iterator),
            ("refold.iteration", path),
        ]
        if code:
            attributes.append(("error.type", code))
        return Span(
            item_span(self.run, path, iterator),
            attempt_span(self.run, outer, iterator, attempt),
            f"item {iterator}",
            INTERNAL,
            started_at,
            max(started_at, ended_at),
            attributes,
            is_error=code != "",
        )

    def _call(self, head: Head, facts: e.ChildRequested) -> list[Span]:
        place = (facts.iteration, facts.node)
        known = self._open.get(place)
        attempt = known.attempt if known else 1
        parent = attempt_span(self.run, facts.iteration, facts.node, attempt)
        call = _Call(facts.child, facts.workflow, head.at, parent)
        if facts.waits:
            self._calls[place] = call
            return []
        return [_called(call, head.at, "requested")]

    def _end(self, head: Head, facts: e.RunCompleted | e.RunFailed | e.RunCancelled) -> list[Span]:
        made: list[Span] = []
        for path in list(self._items):
            for iterator in list(self._items.get(path, ())):
                made += self._end_items_of(outer_of(path), iterator, head.at)
        made += [_called(call, head.at, "unknown") for call in self._calls.values()]
        asked = self._requested
        if asked is None:
            return made
        code = "" if isinstance(facts, e.RunCompleted) else facts.code
        link = None
        if asked.original_run:
            origin = trace_id(self._past.root(asked.original_run))
            link = (origin, run_span(asked.original_run), asked.origin)
        span = Span(
            run_span(self.run),
            call_span(self.run) if asked.parent_run else b"",
            f"run {asked.workflow}",
            INTERNAL if asked.origin == "schedule" else SERVER,
            self._requested_at,
            max(self._requested_at, head.at),
            _run_attributes(self.run, self._actor, asked, code),
            link=link,
            is_error=code != "",
            shows_body=True,
        )
        return [*made, span]

    def _parent(self, iteration: str, node: str) -> bytes:
        if not iteration:
            return run_span(self.run)
        iterators = self._items.get(iteration, {})
        found = next(iter(iterators), "") if len(iterators) == 1 else ""
        if not found and self._requested is not None:
            asked = self._requested
            found = self._past.owner(asked.workflow, asked.workflow_version, node)
        return item_span(self.run, iteration, found) if found else run_span(self.run)


def root_of(run: str, requested: Callable[[str], e.RunRequested | None], depth_max: int) -> str:
    """Follow a run up to the one that no other one started, over so many at most."""
    for _ in range(depth_max):
        facts = requested(run)
        if facts is None or not facts.parent_run:
            break
        run = facts.parent_run
    return run


def _attempt_attributes(facts: _Outcome) -> Attributes:
    made: Attributes = [
        ("refold.node", facts.node),
        ("refold.component", facts.component),
        ("refold.attempt", facts.attempt),
    ]
    if facts.iteration:
        made.append(("refold.iteration", facts.iteration))
    if isinstance(facts, e.NodeSucceeded):
        if facts.handle:
            made.append(("refold.handle", facts.handle))
        return made
    made.append(("error.type", facts.code))
    if isinstance(facts, e.NodeFailed):
        made += [("refold.retried", facts.retried), ("refold.tolerated", facts.tolerated)]
    else:
        made.append(("refold.in_doubt", facts.in_doubt))
    return made


def _run_attributes(run: str, actor: str, asked: e.RunRequested, code: str) -> Attributes:
    made: Attributes = [
        ("refold.run", run),
        ("refold.workflow", asked.workflow),
        ("refold.workflow_version", asked.workflow_version),
        ("refold.origin", asked.origin),
        ("refold.trigger", asked.trigger_type),
    ]
    if actor:
        made.append(("enduser.pseudo.id", actor))
    if asked.original_run:
        made.append(("refold.original_run", asked.original_run))
        made.append(("refold.replayed", asked.replayed_total))
    if code:
        made.append(("error.type", code))
    return made


def _called(call: _Call, ended_at: int, status: str) -> Span:
    return Span(
        call_span(call.child),
        call.parent,
        f"call {call.workflow}",
        CLIENT,
        call.started_at,
        max(call.started_at, ended_at),
        [
            ("refold.child", call.child),
            ("refold.workflow", call.workflow),
            ("refold.status", status),
        ],
        is_error=status == "failed",
    )


def _hash(*parts: str) -> bytes:
    """Hash parts of which only the last may hold any text: a slash ends each of the others."""
    return sha256("/".join(("refold", "v1", *parts)).encode()).digest()
