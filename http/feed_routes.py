"""The auditor's view of one run: its events as JSON, as NDJSON, or as a live tail (SSE)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from ..journal.events import RUN_ENDED
from ..journal.journal import PAGE
from ..projections.effect_ledger import doubtful_starts
from . import wire
from .call import Answer, Call, Patience, answer, whole_number
from .errors import parameter_invalid
from .event_view import encode, show
from .live import NDJSON, SSE, News, Place, one_line, sse
from .services import App

LIMIT: Final = 100
LIMIT_MAX: Final = PAGE


async def events(app: App, call: Call) -> Answer:
    """Return a run's events, of deleted workflows too."""
    run_id = call.params["runId"]
    loaded = await app.runs.find(call.principal.tenant, run_id, deleted_too=True)
    accept = (call.header(b"accept") or "").lower()
    after = call.number("after")
    last_seen = whole_number(call.header(b"last-event-id"), "Last-Event-ID")
    doubtful = doubtful_starts(loaded.events, app.began_at)
    if "text/event-stream" in accept:
        seen = last_seen or after
        if loaded.state.is_ended and seen >= loaded.state.version:
            # What tells an EventSource, which connects again by itself, that it need not.
            return Answer(204, b"", ())
        place = Place(seen)
        patience = Patience(app.feeds.stall_s, place.dropped)
        return Answer(200, _live(app, run_id, place, doubtful), SSE, patience)
    if "application/x-ndjson" in accept:
        return Answer(
            200, _lines(app, run_id, after, doubtful), NDJSON, Patience(app.feeds.stall_s)
        )
    limit = call.number("limit", LIMIT)
    if not 1 <= limit <= LIMIT_MAX:
        raise parameter_invalid("limit", f"must be from 1 to {LIMIT_MAX}")
    page = await app.journal.read_stream(run_id, after, limit)
    shown = await show(app, page, doubtful)
    return answer(200, wire.Events(shown, page[-1].version if len(page) == limit else None))


async def _lines(
    app: App, run_id: str, after: int, doubtful: frozenset[int]
) -> AsyncIterator[bytes]:
    while page := await app.journal.read_stream(run_id, after):
        for event in await show(app, page, doubtful):
            yield one_line(encode(event)) + b"\n"
        after = page[-1].version


async def _live(
    app: App, run_id: str, place: Place, doubtful: frozenset[int]
) -> AsyncIterator[bytes]:
    """Yield what there is, then what comes, until the run's last event."""
    with News(app.journal, app.stopping, lambda event: event.stream == run_id) as news:
        while True:
            news.forget()
            while page := await app.journal.read_stream(run_id, place.number, LIMIT):
                for event in await show(app, page, doubtful):
                    yield sse(event.version, event.type, encode(event))
                    place.number = event.version
                if page[-1].facts.type in RUN_ENDED:
                    return
            if app.stopping.done():
                return
            if not await news.wait():
                yield b": still there\n\n"
