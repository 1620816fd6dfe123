"""The whole journal as a feed: a page, NDJSON up to now, or catch-up then live (SSE)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from ..journal.envelope import Recorded
from ..journal.events import CATALOGUE
from ..journal.journal import PAGE
from . import entry_wire as wire
from .call import Answer, Call, Patience, answer, whole_number
from .errors import parameter_invalid
from .event_view import Choice, EntryView, encode
from .feeds import TooManyFeedsError
from .live import NDJSON, SSE, News, Place, one_line, sse
from .services import App

LIMIT: Final = 100
LIMIT_MAX: Final = PAGE
_SCANNED_MAX: Final = 10_000
"""How many entries one page is looked for in."""
_FEED_PAGE: Final = 200
_PART_BYTES: Final = 65_536
_PAGE_BYTES: Final = 8 * 2**20
"""A page ends early where its bodies pass this."""
_TYPES: Final = frozenset(facts.type for facts in CATALOGUE)


async def entries(app: App, call: Call) -> Answer:
    """Return entries of the journal in its order, those of deleted workflows too.

    What is not the caller's shows as position and leaf hash. With a filter, or with
    `hidden=false`, it is left out.
    """
    choice = await _choice(app, call)
    after = _position(app, call)
    limit = call.number("limit", LIMIT)
    if not 1 <= limit <= LIMIT_MAX:
        raise parameter_invalid("limit", f"must be from 1 to {LIMIT_MAX}")
    accept = (call.header(b"accept") or "").lower()
    view = EntryView(app, choice)
    tenant, stall_s = call.principal.tenant, app.feeds.stall_s
    if "text/event-stream" in accept:
        app.feeds.refuse_full(tenant)
        place = Place(after)
        parts = _live(app, tenant, view, place)
        return Answer(200, parts, SSE, Patience(stall_s, place.dropped))
    if "application/x-ndjson" in accept:
        app.feeds.refuse_full(tenant)
        return Answer(200, _lines(app, tenant, view, after), NDJSON, Patience(stall_s))
    return answer(200, await _page(app, view, after, limit))


async def _choice(app: App, call: Call) -> Choice:
    """Read what the caller wants to see.

    Raises:
        RequestError: 422, a parameter is unusable.
        ForbiddenError: another tenant is chosen, without the scope `admin`.
        NotFoundError: the tenant has and had no such workflow.
    """
    own = call.principal.tenant
    tenant = call.query.get("tenant", own)
    if tenant != own:
        call.demand("admin")
    if not tenant:
        raise parameter_invalid("tenant", "must name a tenant")
    types = frozenset(call.query["type"].split(",") if "type" in call.query else ())
    if not types <= _TYPES:
        raise parameter_invalid("type", "must be types of events, separated by commas")
    workflow = call.query.get("workflow", "")
    if "workflow" in call.query:
        await app.workflows.find(tenant, workflow, deleted_too=True)
    is_filtered = bool({"tenant", "type", "workflow"} & set(call.query))
    hidden = call.flag("hidden", default=not is_filtered)
    if hidden and is_filtered:
        raise parameter_invalid("hidden", "can't be true with a filter")
    exact = call.flag("exact", default=False)
    return Choice(tenant, tenant == own, types, workflow, hidden, exact)


def _position(app: App, call: Call) -> int:
    """Return the position to go on after; a feed that connects again says it in a header."""
    seen, after = call.header(b"last-event-id"), call.number("after")
    if seen is not None:
        after = whole_number(seen, "Last-Event-ID")
    if after > app.journal.head:
        name = "after" if seen is None else "Last-Event-ID"
        raise parameter_invalid(name, "is a position that the journal has not reached")
    return after


async def _page(app: App, view: EntryView, after: int, limit: int) -> wire.Entries:
    visible: list[Recorded] = []
    head, position = app.journal.head, after
    while len(visible) < limit and position < min(head, after + _SCANNED_MAX):
        page = await app.journal.read_all(position, limit if view.sees_all else PAGE)
        visible += await view.visible(page)
        position = page[-1].position
    if len(visible) > limit:
        visible = visible[:limit]
        position = visible[-1].position
    shown: list[wire.Entry] = []
    size = 0
    async for some in view.show(visible):
        shown += some
        size += len(encode(some))
        if size > _PAGE_BYTES and len(shown) < len(visible):
            position = shown[-1].position
            break
    return wire.Entries(shown, position, position if position < head else None)


async def _lines(app: App, tenant: str, view: EntryView, after: int) -> AsyncIterator[bytes]:
    """Yield what there is when it is asked for."""
    head = app.journal.head
    with app.feeds.opened(tenant):
        while after < head:
            page = await app.feeds.after(after, min(_FEED_PAGE, head - after))
            async for some in view.show(await view.visible(page)):
                for _, part in _parts([one_line(encode(entry)) + b"\n" for entry in some]):
                    yield part
            after = page[-1].position


async def _live(app: App, tenant: str, view: EntryView, place: Place) -> AsyncIterator[bytes]:
    """Yield what there is, then what comes, until the reader is gone or the service stops."""
    try:
        with (
            app.feeds.opened(tenant),
            News(app.journal, app.stopping, view.concerns) as news,
        ):
            yield b"retry: 1000\n\n"
            after = place.number
            while True:
                news.forget()
                while page := await app.feeds.after(after, _FEED_PAGE):
                    async for some in view.show(await view.visible(page)):
                        for end, part in _parts(list(map(_event, some))):
                            yield part
                            # Only now is all of it with the reader's connection.
                            place.number = some[end - 1].position
                    place.number = after = page[-1].position
                if app.stopping.done():
                    return
                if not await news.wait():
                    # No event, and yet the reader's position moves on over what it does not see.
                    yield b": still there\nid: %d\n\n" % after
    except TooManyFeedsError:
        # Others came between the check and here.
        yield b"event: refused\ndata: {}\n\n"


def _event(entry: wire.Entry) -> bytes:
    name = entry.type if isinstance(entry.type, str) else "hidden"
    return sse(entry.position, name, encode(entry))


def _parts(pieces: list[bytes]) -> list[tuple[int, bytes]]:
    """Join pieces to parts that are worth sending; with each, how many pieces are done by then."""
    parts: list[tuple[int, bytes]] = []
    at = size = 0
    for end, piece in enumerate(pieces, 1):
        size += len(piece)
        if size >= _PART_BYTES or end == len(pieces):
            parts.append((end, b"".join(pieces[at:end])))
            at, size = end, 0
    return parts
