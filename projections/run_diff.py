"""What two runs have in common, node by node, and where each first went another way.

Rules of the comparison:

1. Events are laid side by side by where they happened: the same node, the same place inside
   iterators, and the same turn there. So branches that ran concurrently, and in another order,
   are not a difference.
2. Two events are the same if their type, their facts and their bodies are. Times, effect keys,
   the numbers of attempts, and the ids of events and of children are left out of the facts.
3. Of `run.requested` only the trigger payload counts, and `run.started` does not count at all.
4. Bodies are the same if they are recorded once, or under one commitment, or byte for byte; each
   run's own id, and that of the run it was made of, stand for one another, and the time that an
   HTTP answer gives in its `Date` header is left out. An erased body is never a difference.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final, Literal, cast

import msgspec

from ..journal import events as e
from ..journal.envelope import Recorded
from .node_state import Place
from .run_state import LogStatus, RunState

Result = Literal["same", "changed", "unknown", "only_left", "only_right"]
"""Of a node in both runs: `unknown` where what was passed on can't be compared any more."""
Pair = tuple[int, int]
"""The positions of two bodies."""
Verdicts = Mapping[Pair, bool | None]
"""Whether the bodies of each pair are the same, None where one was erased."""

_SKIPPED: Final = e.RunStarted
_LEFT_OUT: Final = frozenset(
    {
        "attempt",
        "child",
        "due_at",
        "effect_key",
        "ended_at",
        "requested_at",
        "source_id",
        "started_at",
        "submitted_at",
    }
)
_OF_RUN: Final[Place] = ("", "")
_Attempt = e.NodeStarted | e.NodeSucceeded | e.NodeFailed | e.NodeInterrupted
# A look-up by type takes a third of the time of isinstance, and a run has thousands of events.
_ATTEMPTS: Final = frozenset({e.NodeStarted, e.NodeSucceeded, e.NodeFailed, e.NodeInterrupted})
_DATE: Final = re.compile(
    rb'"date":"[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT"'
)
_SELF: Final = b"<run>"


def _of_run(_: e.Facts) -> Place:
    # The last event of a run names a node too, and belongs to none.
    return _OF_RUN


def _reader(names: Iterable[str]) -> Callable[[e.Facts], Any]:
    """Return what reads these facts: a run has thousands of events."""
    wanted = [name for name in names if name not in _LEFT_OUT]
    return attrgetter(*wanted) if wanted else _of_run


_KINDS: Final = e.CATALOGUE
_PLACES: Final = {
    kind: attrgetter("iteration", "node") if "iteration" in kind.__struct_fields__ else _of_run
    for kind in _KINDS
}
_TOLD: Final = {kind: _reader(kind.__struct_fields__) for kind in _KINDS}


class Told(msgspec.Struct, frozen=True):
    """A run: its state and the events that it is folded from."""

    state: RunState
    events: Sequence[Recorded]


class Side(msgspec.Struct, frozen=True):
    """What one run says of a node. Times are microseconds UTC."""

    component: str
    attempts: int
    status: LogStatus | None
    """The log status of its newest outcome, None while it has none."""
    outcome: Recorded | None
    started_at: int
    """When its first attempt began."""
    ended_at: int
    """When its newest attempt ended, 0 while it has not."""


class NodeDiff(msgspec.Struct, frozen=True):
    """A node of either run, or both."""

    place: Place
    result: Result
    left: Side | None
    right: Side | None


class RunDiff(msgspec.Struct, frozen=True):
    """How two runs differ."""

    left: Recorded | None
    """The left run's first event without its like in the right one, None if there is none."""
    right: Recorded | None
    nodes: list[NodeDiff]
    """In the order in which the left run came to them, then those of the right one alone."""


class Alignment:
    """Two runs laid side by side."""

    def __init__(self, left: Told, right: Told) -> None:
        self._left, self._right = _by_place(left.events), _by_place(right.events)
        self._sides = _sides(left), _sides(right)
        self._matches: dict[int, _Match] = {}
        """By the version of the left event."""
        for place, own in self._left.items():
            for a, b in zip(own, self._right.get(place, ()), strict=False):
                self._matches[a.version] = _matched(a, b)
        self._outcomes: dict[Place, _Match] = {
            place: _matched(side.outcome, other.outcome)
            for place, side in self._sides[0].items()
            if side.outcome and (other := self._sides[1].get(place)) and other.outcome
        }

    @property
    def pairs(self) -> list[Pair]:
        """The bodies that must be read to compare the runs: those not known to be the same."""
        matches = (*self._matches.values(), *self._outcomes.values())
        return list(dict.fromkeys(match for match in matches if type(match) is tuple))

    def compare(self, verdicts: Verdicts, *, same_payload: bool | None) -> RunDiff:
        """Compare the runs.

        `verdicts` has an entry for each of `pairs`; `same_payload` is the one on the trigger
        payloads, which may be inherited from other runs.
        """
        known: dict[_Match, bool | None] = {True: True, False: False, _BY_PAYLOAD: same_payload}
        known.update(verdicts.items())
        places = dict.fromkeys([*self._left, *self._right])
        firsts = [self._apart_at(place, known) for place in places]
        left, right = self._sides
        nodes = [
            NodeDiff(place, self._result(place, known), left.get(place), right.get(place))
            for place in dict.fromkeys([*left, *right])
        ]
        return RunDiff(
            min((one for one, _ in firsts if one), key=_version, default=None),
            min((other for _, other in firsts if other), key=_version, default=None),
            nodes,
        )

    def _apart_at(
        self, place: Place, known: Mapping[_Match, bool | None]
    ) -> tuple[Recorded | None, Recorded | None]:
        """Return each run's first event at a place without its like in the other run."""
        own, others = self._left.get(place, ()), self._right.get(place, ())
        turn = 0
        for event in own[: len(others)]:
            if known[self._matches[event.version]] is False:
                break
            turn += 1
        return (
            own[turn] if turn < len(own) else None,
            others[turn] if turn < len(others) else None,
        )

    def _result(self, place: Place, known: Mapping[_Match, bool | None]) -> Result:
        left, right = (sides.get(place) for sides in self._sides)
        if left is None:
            return "only_right"
        if right is None:
            return "only_left"
        if left.outcome is None or right.outcome is None:
            return "same" if left.outcome is right.outcome else "changed"
        verdict = known[self._outcomes[place]]
        return "unknown" if verdict is None else "same" if verdict else "changed"


def same_bytes(
    left: bytes, right: bytes, left_ids: Iterable[str], right_ids: Iterable[str]
) -> bool:
    """Tell whether two bodies are the same, as rule 4 has it; the ids are those of the runs."""
    if left == right:
        return True
    return _plain(left, left_ids) == _plain(right, right_ids)


def own_ids(state: RunState) -> set[str]:
    """Return the ids that stand for a run in what it passed on, or replayed."""
    origin = state.origin
    return {state.run_id, origin.original_run, origin.payload_run} - {""}


_BY_PAYLOAD: Final = "payload"
"""Of two requests the payloads decide, which may be recorded in other runs."""
_Match = bool | Pair | Literal["payload"]
_version: Final[Callable[[Recorded], int]] = attrgetter("version")


def _by_place(events: Sequence[Recorded]) -> dict[Place, list[Recorded]]:
    """Return the events by where they happened, in the order of the stream."""
    found: dict[Place, list[Recorded]] = {}
    for event in events:
        kind = type(event.facts)
        if kind is not _SKIPPED:
            place = _PLACES[kind](event.facts)
            if place in found:
                found[place].append(event)
            else:
                found[place] = [event]
    return found


def _sides(told: Told) -> dict[Place, Side]:
    """Return what a run says of each node that it came to."""
    status: dict[str, LogStatus] = {entry.event_id: entry.status for entry in told.state.log}
    found: dict[Place, Side] = {}
    for event in told.events:
        if type(event.facts) not in _ATTEMPTS:
            continue
        facts = cast("_Attempt", event.facts)
        place = (facts.iteration, facts.node)
        before = found.get(place)
        attempts, started_at = facts.attempt, facts.started_at
        if before is not None:
            attempts = max(attempts, before.attempts)
            started_at = min(started_at, before.started_at)
        if isinstance(facts, e.NodeStarted):
            made = Side(facts.component, attempts, None, None, started_at, 0)
        else:
            made = Side(
                facts.component, attempts, status[event.id], event, started_at, facts.ended_at
            )
        found[place] = made
    return found


def _matched(left: Recorded, right: Recorded) -> _Match:
    """Tell whether two events are the same, or by which bodies it is decided."""
    kind = type(left.facts)
    if kind is not type(right.facts):
        return False
    if kind is e.RunRequested:
        return _BY_PAYLOAD
    if _TOLD[kind](left.facts) != _TOLD[kind](right.facts):
        return False
    known = _known_same(left, right)
    return (left.body_at, right.body_at) if known is None else known


def _known_same(left: Recorded, right: Recorded) -> bool | None:
    """Tell whether two bodies are the same without reading them, None where that takes reading."""
    if left.body_at == right.body_at or (left.payload and left.payload == right.payload):
        return True
    return None if left.body_at and right.body_at else False


def _plain(body: bytes, ids: Iterable[str]) -> bytes:
    for id_ in ids:
        body = body.replace(id_.encode(), _SELF)
    return _DATE.sub(b"", body)
