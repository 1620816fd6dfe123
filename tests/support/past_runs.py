"""A journal whose runs were long ago, for a service to be started on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from refold.journal import events as e
from refold.journal.journal import Commit, NewEvent, StreamWrite
from tests.support.journal_kit import META, NEW_IDS, FakeClock, opened
from tests.support.projection_kit import COMPLETED, STARTED, defined, new_run, request, succeeded

_SECOND_US = 1_000_000
_FAILED = e.RunFailed(code="http_error", node="a")


def past_runs(
    data: Path, at: datetime, definition: dict[str, Any], *, completed: int, failed: int
) -> tuple[str, int]:
    """Make a workflow of the tenant `acme` and runs of it; returns its id and the last position."""
    return asyncio.run(
        _past_runs(data, at, definition, [COMPLETED] * completed + [_FAILED] * failed)
    )


async def _past_runs(
    data: Path, at: datetime, definition: dict[str, Any], ends: Sequence[e.Facts]
) -> tuple[str, int]:
    clock = FakeClock(int(at.astimezone(UTC).timestamp()) * _SECOND_US)
    workflow = NEW_IDS.new("fl_")
    text = {"by": "me", "workflow": definition, "webhook_token": ""}
    async with opened(data, clock) as journal:
        made = NewEvent(NEW_IDS.new(), defined(1), json.dumps(text).encode())
        await journal.append(Commit([StreamWrite(workflow, 0, [made], META)]))
        for end in ends:
            clock.time_us += _SECOND_US
            logged = msgspec.structs.replace(
                succeeded("a"), started_at=clock.time_us, ended_at=clock.time_us
            )
            facts: list[tuple[e.Facts, bytes | None]] = [
                (request(workflow), b'{"by":"me","payload":{}}'),
                (msgspec.structs.replace(STARTED, started_at=clock.time_us), None),
                (logged, b'{"text":"x"}'),
                (end, b'{"message":"no"}' if end is _FAILED else None),
            ]
            events = [NewEvent(NEW_IDS.new(), one, body) for one, body in facts]
            await journal.append(Commit([StreamWrite(new_run(), 0, events, META)]))
        return workflow, journal.head
