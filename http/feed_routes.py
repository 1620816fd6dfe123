"""The auditor's view of one run: its events as JSON, as NDJSON, or as a live tail (SSE)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import msgspec

from ..journal.envelope import Recorded
from ..journal.events import RUN_ENDED
from ..journal.journal import PAGE
from . import wire
from .call import Answer, Call, answer
from .errors import parameter_invalid
from .services import App
from .times import to_wire

LIMIT: Final = 100
LIMIT_MAX: Final = PAGE
HEARTBEAT_S: Final = 15.0
_encode = msgspec.json.Encoder().encode


async def events(app: App, call: Call) -> Answer:
    """Return a run's events, of deleted workflows too."""
    run_id = call.params["runId"]
    loaded = await app.runs.find(call.principal.tenant, run_id, deleted_too=True)
    accept = (call.header(b"accept") or "").lower()
    after = _number(call.query.get("after"), "after")
    last_seen = _number(call.header(b"last-event-id"), "Last-Event-ID")
    if "text/event-stream" in accept:
        seen = last_seen or after
        if loaded.state.is_ended and seen >= loaded.state.version:
            # What tells an EventSource, which connects again by itself, that it need not.
            return Answer(204, b"", ())
        return Answer(200, _live(app, run_id, seen), ((b"content-type", b"text/event-stream"),))
    if "application/x-ndjson" in accept:
        lines = _lines(app, run_id, after)
        return Answer(200, lines, ((b"content-type", b"application/x-ndjson"),))
    limit = _number(call.query.get("limit"), "limit") if "limit" in call.query else LIMIT
    if not 1 <= limit <= LIMIT_MAX:
        raise parameter_invalid("limit", f"must be from 1 to {LIMIT_MAX}")
    page = await app.journal.read_stream(run_id, after, limit)
    shown = await show(app, page)
    return answer(200, wire.Events(shown, page[-1].version if len(page) == limit else None))


async def show(app: App, page: Sequence[Recorded]) -> list[wire.Event]:
    """Show events with their bodies."""
    bodies = await app.bodies([event.body_at for event in page if event.body_at])
    return [_event(event, bodies.get(event.body_at)) for event in page]


def _event(event: Recorded, body: bytes | None) -> wire.Event:
    shown: Any = None
    if body is not None:
        shown = msgspec.Raw(body)
    elif event.payload:
        shown = {"erased": True}
    return wire.Event(
        event.position,
        event.version,
        event.id,
        event.facts.type,
        event.facts.schema,
        event.stream,
        to_wire(event.at),
        event.actor,
        event.corr,
        event.cause,
        event.src,
        msgspec.Raw(_encode(event.facts)),
        event.payload,
        event.leaf.hex(),
        shown,
    )


async def _lines(app: App, run_id: str, after: int) -> AsyncIterator[bytes]:
    while page := await app.journal.read_stream(run_id, after):
        for event in await show(app, page):
            yield _encode(event) + b"\n"
        after = page[-1].version


async def _live(app: App, run_id: str, after: int) -> AsyncIterator[bytes]:
    """Yield what there is, then what comes, until the run's last event.

    A slow reader costs nothing here: it is only told that there is something new, and reads it
    from the journal when it gets round to it.
    """
    news = asyncio.Event()

    def notice(committed: Sequence[Recorded]) -> None:
        if any(event.stream == run_id for event in committed):
            news.set()

    unsubscribe = app.journal.subscribe(notice)

    def stop(stopping: asyncio.Future[None]) -> None:
        del stopping
        news.set()

    app.stopping.add_done_callback(stop)
    try:
        while True:
            news.clear()
            while page := await app.journal.read_stream(run_id, after, LIMIT):
                for event in await show(app, page):
                    data = _encode(event)
                    yield b"id: %d\nevent: %s\ndata: %s\n\n" % (
                        event.version,
                        event.type.encode(),
                        data,
                    )
                after = page[-1].version
                if page[-1].facts.type in RUN_ENDED:
                    return
            if app.stopping.done():
                return
            try:
                async with asyncio.timeout(HEARTBEAT_S):
                    await news.wait()
            except TimeoutError:
                yield b": still there\n\n"
    finally:
        app.stopping.remove_done_callback(stop)
        unsubscribe()


def _number(text: str | None, name: str) -> int:
    if text is None:
        return 0
    if not (text.isascii() and text.isdecimal() and len(text) < 16):
        raise parameter_invalid(name, "must be a whole number")
    return int(text)
