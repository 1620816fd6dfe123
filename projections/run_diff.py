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
from typing import Final, Literal

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

_SKIPPED: Final = (e.RunStarted,)
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
_OUTCOMES: Final = (e.NodeSucceeded, e.NodeFailed, e.NodeInterrupted)
_ATTEMPTS: Final = (e.NodeStarted, *_OUTCOMES)
_DATE: Final = re.compile(
    rb'"date":"[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT"'
)
_SELF: Final = b"<run>"


class Told(msgspec.Struct, frozen=True):
    """A run: its state and the events that it is folded from."""

    state: RunState
    events: Sequence[Recorded]


class Side(msgspec.Struct, frozen=True):
    """What one run says of a node."""

    component: str
    attempts: int
    status: LogStatus | None
    """The log status of its newest outcome, None while it has none."""
    outcome: Recorded | None


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


def body_pairs(left: Told, right: Told) -> list[Pair]:
    """Return the bodies that must be read to compare two runs: those not known to be the same."""
    aligned = _aligned(left.events), _aligned(right.events)
    wanted = [
        (event, other)
        for key, event in aligned[0].items()
        if (other := aligned[1].get(key)) is not None
    ]
    sides = _sides(left), _sides(right)
    for place, side in sides[0].items():
        counterpart = sides[1].get(place)
        if side.outcome and counterpart and counterpart.outcome:
            wanted.append((side.outcome, counterpart.outcome))
    pairs = {
        (a.body_at, b.body_at): None
        for a, b in wanted
        if not isinstance(a.facts, e.RunRequested) and _known_same(a, b) is None and _alike(a, b)
    }
    return list(pairs)


def compare(left: Told, right: Told, verdicts: Verdicts, *, same_payload: bool | None) -> RunDiff:
    """Compare two runs.

    `verdicts` has an entry for each of `body_pairs`; `same_payload` is the one on the trigger
    payloads, which may be inherited from other runs.
    """

    def same(a: Recorded, b: Recorded) -> bool | None:
        if isinstance(a.facts, e.RunRequested) and isinstance(b.facts, e.RunRequested):
            return same_payload
        if not _alike(a, b):
            return False
        known = _known_same(a, b)
        return verdicts[a.body_at, b.body_at] if known is None else known

    aligned = _aligned(left.events), _aligned(right.events)
    return RunDiff(
        _first_apart(aligned[0], aligned[1], same),
        _first_apart(aligned[1], aligned[0], lambda a, b: same(b, a)),
        _nodes(_sides(left), _sides(right), same),
    )


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


_Key = tuple[Place, int]
_Same = Callable[[Recorded, Recorded], bool | None]


def _aligned(events: Sequence[Recorded]) -> dict[_Key, Recorded]:
    """Return the events by their place and their turn there, in the order of the stream."""
    turns: dict[Place, int] = {}
    found: dict[_Key, Recorded] = {}
    for event in events:
        facts = event.facts
        if isinstance(facts, _SKIPPED):
            continue
        node = getattr(facts, "node", "")
        iteration = getattr(facts, "iteration", None)
        # The last event of a run names a node too, and belongs to none.
        place = _OF_RUN if iteration is None else (iteration, node)
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
        facts = event.facts
        if not isinstance(facts, _ATTEMPTS):
            continue
        place = (facts.iteration, facts.node)
        attempts = max(facts.attempt, found[place].attempts if place in found else 0)
        if isinstance(facts, e.NodeStarted):
            found[place] = Side(facts.component, attempts, None, None)
        else:
            found[place] = Side(facts.component, attempts, status[event.id], event)
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


def _alike(left: Recorded, right: Recorded) -> bool:
    """Tell whether two events say the same but for their bodies."""
    return type(left.facts) is type(right.facts) and _told(left.facts) == _told(right.facts)


def _told(facts: e.Facts) -> list[object]:
    if isinstance(facts, e.RunRequested):
        return []
    names = facts.__struct_fields__
    return [getattr(facts, name) for name in names if name not in _LEFT_OUT]


def _known_same(left: Recorded, right: Recorded) -> bool | None:
    """Tell whether two bodies are the same without reading them, None where that takes reading."""
    if left.body_at == right.body_at or (left.payload and left.payload == right.payload):
        return True
    return None if left.body_at and right.body_at else False


def _plain(body: bytes, ids: Iterable[str]) -> bytes:
    for id_ in ids:
        body = body.replace(id_.encode(), _SELF)
    return _DATE.sub(b"", body)
