"""A long journal of plain runs, made quickly: for what depends on length, and to measure."""

from __future__ import annotations

import json

import msgspec

from refold.journal import events as e
from refold.journal import ids
from refold.journal.journal import Commit, Journal, Metadata, NewEvent, StreamWrite
from tests.support.export_kit import ACTOR, START_US, TENANT, WORKFLOW
from tests.support.journal_kit import NEW_IDS
from tests.support.projection_kit import defined
from tests.support.run_events import requested_facts


async def fill_plain(journal: Journal, runs: int) -> None:
    """Append many runs of ten events each, as quickly as the store takes them."""
    meta = Metadata(tenant=TENANT, actor=ACTOR, corr="request-1")
    definition = NewEvent(NEW_IDS.new(), defined(1), b'{"workflow":{"nodes":[]}}')
    await journal.append(Commit([StreamWrite(WORKFLOW, 0, [definition], meta)]))
    writes: list[StreamWrite] = []
    for number in range(runs):
        made = [NewEvent(NEW_IDS.new(), facts, body) for facts, body in _plain(number)]
        writes.append(StreamWrite(NEW_IDS.new(ids.RUN), 0, made, meta))
        if len(writes) == 25 or number == runs - 1:
            await journal.append(Commit(writes))
            writes = []


def _plain(number: int) -> list[tuple[e.Facts, bytes | None]]:
    at = START_US + number * 1_000_000
    body = json.dumps({"n": number, "text": "some output of a node " * 8}).encode()
    success = e.NodeSucceeded(
        attempt=1,
        component="text_transform",
        ended_at=at + 2,
        ends="",
        handle="",
        iteration="",
        node="t",
        source_id="",
        started_at=at + 1,
    )
    nodes = [msgspec.structs.replace(success, node=f"n{place}") for place in range(5)]
    call = e.NodeStarted(
        attempt=1, component="webhook", effect_key="k", iteration="", node="call", started_at=at
    )
    called = msgspec.structs.replace(success, component="webhook", node="call")
    return [
        (requested_facts(workflow=WORKFLOW), b'{"payload":{}}'),
        (e.RunStarted(limit_us=1, started_at=at), None),
        *[(node, body) for node in nodes],
        (call, b'{"url":"http://x"}'),
        (called, body),
        (e.RunCompleted(node=""), None),
    ]
