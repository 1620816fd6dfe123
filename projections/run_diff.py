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
        self._matches: dict[tuple[int, int], _Match] = {}
        self._left, self._right = _aligned(left.events), _aligned(right.events)
        self._sides = _sides(left), _sides(right)
        for key, event in self._left.items():
            counterpart = self._right.get(key)
            if counterpart is not None:
                self._match(event, counterpart)
        for place, side in self._sides[0].items():
            other = self._sides[1].get(place)
            if side.outcome and other and other.outcome:
                self._match(side.outcome, other.outcome)

    @property
    def pairs(self) -> list[Pair]:
        """The bodies that must be read to compare the runs: those not known to be the same."""
        found = (match for match in self._matches.values() if type(match) is tuple)
        return list(dict.fromkeys(found))

    def compare(self, verdicts: Verdicts, *, same_payload: bool | None) -> RunDiff:
        """Compare the runs.

        `verdicts` has an entry for each of `pairs`; `same_payload` is the one on the trigger
        payloads, which may be inherited from other runs.
        """

        matches = self._matches

        def same(left: Recorded, right: Recorded) -> bool | None:
            match = matches[left.version, right.version]
            if type(match) is tuple:
                return verdicts[match]
            return same_payload if match == _BY_PAYLOAD else match is True

        first = _first_apart(self._left, self._right, same)
        other = None
        if first is not None or len(self._left) != len(self._right):
            other = _first_apart(self._right, self._left, lambda right, left: same(left, right))
        return RunDiff(first, other, _nodes(*self._sides, same))

    def _match(self, left: Recorded, right: Recorded) -> None:
        """Note whether two events are the same, or the bodies by which that is decided."""
        key = left.version, right.version
        if key not in self._matches:
            self._matches[key] = _matched(left, right)


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
_Key = tuple[Place, int]
_Same = Callable[[Recorded, Recorded], bool | None]


def _aligned(events: Sequence[Recorded]) -> dict[_Key, Recorded]:
    """Return the events by their place and their turn there, in the order of the stream."""
    turns: dict[Place, int] = {}
    found: dict[_Key, Recorded] = {}
    for event in events:
        facts = event.facts
        kind = type(facts)
        if kind is _SKIPPED:
            continue
        place = _PLACES[kind](facts)
        turn = turns[place] = turns.get(place, 0) + 1
        found[place, turn] = event
    return found


def _first_apart(
    own: Mapping[_Key, Recorded], other: Mapping[_Key, Recorded], same: _Same
) -> Recorded | None:
    for key, event in own.items():
        counterpart = other.get(key)
        if counterpart is None or same(event, counterpart) is False:
            return event
    return None


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


def _nodes(left: Mapping[Place, Side], right: Mapping[Place, Side], same: _Same) -> list[NodeDiff]:
    made: list[NodeDiff] = []
    for place in dict.fromkeys([*left, *right]):
        a, b = left.get(place), right.get(place)
        made.append(NodeDiff(place, _result(a, b, same), a, b))
    return made


def _result(left: Side | None, right: Side | None, same: _Same) -> Result:
    if left is None:
        return "only_right"
    if right is None:
        return "only_left"
    if left.outcome is None or right.outcome is None:
        return "same" if left.outcome is right.outcome else "changed"
    verdict = same(left.outcome, right.outcome)
    return "unknown" if verdict is None else "same" if verdict else "changed"


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
