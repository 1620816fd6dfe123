"""The whole comparison of two runs: what it reads at once, and what it shows of large runs."""

from __future__ import annotations

import json

import msgspec

from refold.journal import events as e
from refold.projections.run_comparison import (
    NODES_MAX,
    Comparison,
    Subject,
    comparing,
    output_of,
)
from refold.projections.run_diff import Told
from refold.projections.run_state import fold
from tests.support import run_events as r


def subject(run: str, first_body: int, items: int) -> Subject:
    """Make a run of an iterator's items, each with an output of its own."""
    facts: list[e.Facts] = [
        msgspec.structs.replace(r.succeeded("x"), iteration=str(item)) for item in range(items)
    ]
    events = [
        msgspec.structs.replace(
            event,
            stream=run,
            body_at=first_body + event.position,
            id=f"{run}{event.version}",
            payload=f"{run}{event.version}",
        )
        for event in r.recorded(r.requested_facts(), r.RUN_STARTED, *facts)
    ]
    told = Told(fold(run, events), events)
    return Subject(told, told.state.requested_body_at, 0)


def compared(items: int, size: int) -> tuple[Comparison, list[int]]:
    """Compare runs of which every tenth item differs; returns how many bodies each read had."""
    left, right = subject("a", 0, items), subject("b", 100_000, items)
    text = "x" * size

    def body(position: int) -> bytes:
        item = position % 100_000
        if item == 1:
            return b'{"by":"me","payload":{}}'
        changed = position > 100_000 and item % 10 == 0
        return json.dumps({"text": text, "n": changed}).encode()

    steps = comparing(left, right)
    reads: list[int] = []
    try:
        wanted = next(steps)
        while True:
            reads.append(len(wanted))
            wanted = steps.send({position: body(position) for position in wanted})
    except StopIteration as ended:
        found: Comparison = ended.value
        return found, reads


def test_large_bodies_are_read_few_at_once() -> None:
    """The first read learns how large they are; then about 8 MiB are in memory."""
    _, reads = compared(300, 256 * 1024)
    assert reads[0] == 80
    assert max(reads[1:]) * 256 * 1024 <= 9 * 1024 * 1024


def test_small_bodies_are_read_many_at_once() -> None:
    """Each read has its price, and a run of ten thousand events has as many bodies."""
    found, reads = compared(1200, 10)
    assert max(reads) == 400
    assert len(reads) < 40
    assert found.is_truncated
    assert len(found.nodes) == NODES_MAX
    assert [one.node.result for one in found.nodes[:121]] == ["changed"] * 120 + ["same"]
    assert found.nodes[0].patch == b'[{"op":"replace","path":"/n","value":true}]'


def test_outputs_beyond_what_an_answer_may_hold_have_no_patch() -> None:
    """A patch that replaces a large output is as large as it is."""
    left, right = subject("a", 0, 60), subject("b", 100_000, 60)
    steps = comparing(left, right)
    try:
        wanted = next(steps)
        while True:
            wanted = steps.send(
                {
                    at: json.dumps(
                        {"payload": {}, "text": ("y" if at > 100_000 else "x") * 250_000}
                    ).encode()
                    for at in wanted
                }
            )
    except StopIteration as ended:
        found: Comparison = ended.value
    assert sum(len(one.patch or b"") for one in found.nodes) < 8 * 1024 * 1024
    assert [one.omitted for one in found.nodes] == [""] * 33 + ["too_large"] * 27


def test_outputs_are_those_of_log_entries() -> None:
    """What is no object is wrapped, so that a patch applies to what a client has."""
    assert output_of(b'{"a":1}') == b'{"a":1}'
    assert output_of(b"[1]") == b'{"value":[1]}'
