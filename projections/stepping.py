"""Walks through a run event by event: what of its state each event changed.

A part of the state is named by its JSON Pointer (RFC 6901), such as `/status`,
`/nodes/charge/phase` or, inside an iterator, `/inner/0.2/charge/phase`. So what changed at each
event is small, however large the run; all changes put together are the state.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from ..journal import events as e
from ..journal.envelope import Recorded
from .node_state import NodeState, Place, index_of, outer_of
from .run_state import RunState, evolve

_PARTED: Final = frozenset({"nodes", "inner", "open", "log"})
_WHOLE: Final = tuple(name for name in RunState.__struct_fields__ if name not in _PARTED)
"""The fields that are shown as one value each."""


class Step(msgspec.Struct, frozen=True):
    """One event, and the parts of the state that are others after it."""

    event: Recorded
    before: dict[str, Any]
    """Without the parts that there were not yet."""
    after: dict[str, Any]


def steps(run_id: str, events: Iterable[Recorded]) -> Iterator[Step]:
    """Fold a run's events from the first one on, and tell what each changed."""
    state = RunState(run_id)
    for event in events:
        logged = len(state.log)
        before = _touched(state, event, logged)
        evolve(state, event)
        after = _touched(state, event, logged)
        changed = [
            path for path, value in after.items() if path not in before or before[path] != value
        ]
        yield Step(
            event,
            {path: before[path] for path in changed if path in before},
            {path: after[path] for path in changed},
        )


def shown_state(state: RunState) -> dict[str, Any]:
    """Return a state as an object that JSON can hold.

    `nodes` is by node, `inner` by the path inside iterators and then by node; what is still to
    come of a node is said by its `open`.
    """
    made: dict[str, Any] = {name: _plain(getattr(state, name)) for name in _WHOLE}
    made["nodes"] = {node.node: _node(state, node) for node in state.nodes.values()}
    inner: dict[str, dict[str, Any]] = {}
    for node in state.inner.values():
        inner.setdefault(node.iteration, {})[node.node] = _node(state, node)
    made["inner"] = inner
    made["log"] = [_plain(entry) for entry in state.log]
    return made


def _touched(state: RunState, event: Recorded, logged: int) -> dict[str, Any]:
    """Return all parts of a state that an event can change, by their pointers."""
    found = {f"/{name}": _plain(getattr(state, name)) for name in _WHOLE}
    facts = event.facts
    # The last event of a run names a node too, and belongs to none.
    if (iteration := getattr(facts, "iteration", None)) is not None:
        node, index = str(getattr(facts, "node", "")), None
        if isinstance(facts, e.IterationStarted | e.IterationEnded):
            iteration, index = outer_of(facts.iteration), index_of(facts.iteration)
        found |= _of_place(state, (str(iteration), node), index)
    for number, entry in enumerate(state.log[logged:], logged):
        found[f"/log/{number}"] = _plain(entry)
    return found


def _of_place(state: RunState, place: Place, index: int | None) -> dict[str, Any]:
    node = state.at(place)
    if node is None:
        return {}
    path = "/".join(map(_escaped, place)) if place[0] else _escaped(place[1])
    root = f"/inner/{path}" if place[0] else f"/nodes/{path}"
    fields = _node(state, node)
    items = fields.pop("items")
    found = {f"{root}/{name}": value for name, value in fields.items()}
    # An iterator has many items, and each changes only by events of its own.
    found[f"{root}/items"] = None if items is None else {}
    if items is not None and str(index) in items:
        found[f"{root}/items/{index}"] = items[str(index)]
    return found


def _node(state: RunState, node: NodeState) -> dict[str, Any]:
    return {**_plain(node), "open": state.open.get(node.place) is node}


def _plain(value: Any) -> Any:
    return msgspec.to_builtins(value, str_keys=True)


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
