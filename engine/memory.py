"""What a run that is taken up again remembers: the bodies that its open and settled nodes need."""

from __future__ import annotations

from typing import Any

import msgspec

from ..journal.journal import Journal
from ..projections.node_state import Place, path_of
from ..projections.run_state import RunState
from .component import Json, is_object

_ERASED: dict[str, Any] = {"erased": True}


class Memory(msgspec.Struct, frozen=True):
    """Decoded bodies by place."""

    outputs: dict[Place, Json] = {}
    """What nodes with an outcome passed on, or failed with."""
    inputs: dict[Place, Json] = {}
    """What open iterators and forms began with."""
    ended: dict[tuple[Place, int], Json] = {}
    """What the ended items of open iterators came to."""
    message: str = ""
    """The error message of a run that is ending already."""


async def recall(journal: Journal, state: RunState) -> Memory:
    """Read what a run needs to go on; of an erased body only that it was erased."""
    # Of an item that ended only its end is needed.
    open_items = {
        path_of(node.iteration, index)
        for node in state.open.values()
        for index, at in (node.items or {}).items()
        if not at
    }
    inner = [node for node in state.inner.values() if node.iteration in open_items]
    outputs = {node.place: node.body_at for node in (*state.nodes.values(), *inner) if node.body_at}
    inputs = {node.place: node.input_at for node in state.open.values() if node.input_at}
    ended = {
        (node.place, index): at
        for node in state.open.values()
        for index, at in (node.items or {}).items()
        if at
    }
    message_at = 0 if state.ending is None else state.ending.body_at
    wanted = {*outputs.values(), *inputs.values(), *ended.values(), message_at} - {0}
    bodies = await journal.read_bodies(sorted(wanted))
    read = {at: msgspec.json.decode(body.data) for at, body in bodies.items()}
    return Memory(
        {place: read.get(at, _ERASED) for place, at in outputs.items()},
        {place: read.get(at, _ERASED) for place, at in inputs.items()},
        {key: read.get(at, _ERASED) for key, at in ended.items()},
        _message(read.get(message_at)),
    )


def _message(body: Json) -> str:
    if not is_object(body):
        return ""
    error = body.get("error")
    return str(error["message"] if is_object(error) else body.get("message", ""))
