"""The laws of walking through a run."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from hypothesis import given

from refold.journal.envelope import Recorded
from refold.projections.run_state import RunState, fold
from refold.projections.stepping import shown_state, steps
from tests.support.run_lives import lives


def put(document: dict[str, Any], pointer: str, value: Any) -> None:
    """Set what a JSON Pointer names; objects on the way are made, lists are only added to."""
    *way, last = [part.replace("~1", "/").replace("~0", "~") for part in pointer[1:].split("/")]
    found: Any = document
    for part in way:
        found = found.setdefault(part, {})
    if way == ["log"]:
        assert int(last) == len(found)
        found.append(value)
    else:
        found[last] = value


def got(document: dict[str, Any], pointer: str) -> Any:
    """Get what a JSON Pointer names, of an iterator's items only whether there are any."""
    found: Any = document
    for part in pointer[1:].split("/"):
        found = found[part.replace("~1", "/").replace("~0", "~")]
    return {} if pointer.endswith("/items") and found is not None else found


@given(lives())
def test_all_changes_together_are_the_state(events: list[Recorded]) -> None:
    """Nothing that an event did is left out, and nothing else is told."""
    streams: dict[str, list[Recorded]] = {}
    for event in events:
        streams.setdefault(event.stream, []).append(event)
    for stream, own in streams.items():
        document = shown_state(RunState(stream))
        for count, step in enumerate(steps(stream, own), 1):
            assert step.before.keys() <= step.after.keys()
            for pointer, value in step.before.items():
                assert got(document, pointer) == json.loads(json.dumps(value))
            for pointer, value in step.after.items():
                put(document, pointer, json.loads(json.dumps(value)))
            assert document == shown_state(fold(stream, own[:count]))
        msgspec.json.encode(document)
