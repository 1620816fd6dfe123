"""Pages of lists: by number for people, by cursor for deep lists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode

import msgspec

from . import wire
from .call import Answer, Call
from .errors import parameter_invalid
from .times import from_wire

PER_PAGE: Final = 15
PER_PAGE_MAX: Final = 100
PAGE_MAX: Final = 1_000_000


class Page(msgspec.Struct, frozen=True):
    """Which part of a list is asked for."""

    number: int
    size: int
    cursor: int | None
    """Only what is older than this position."""

    @property
    def offset(self) -> int:
        """How many rows come before."""
        return 0 if self.cursor is not None else (self.number - 1) * self.size


def read_page(query: Mapping[str, str]) -> Page:
    """Read `page`, `per_page` and `cursor`.

    Raises:
        RequestError: 422 for each that can't be.
    """
    number = _read_int(query, "page", 1, PAGE_MAX)
    size = _read_int(query, "per_page", 1, PER_PAGE_MAX)
    cursor = _read_int(query, "cursor", 1, 2**53)
    if cursor is not None and number is not None:
        raise parameter_invalid("cursor", "can't be combined with page")
    return Page(number or 1, size or PER_PAGE, cursor)


def read_time(name: str, text: str | None) -> int | None:
    """Read a time of the query in microseconds.

    Raises:
        RequestError: 422, it is not an RFC 3339 time.
    """
    if text is None:
        return None
    try:
        return from_wire(text)
    except (ValueError, OverflowError):
        raise parameter_invalid(name, "must be a time such as 2025-10-31T12:00:00Z") from None


def frame(
    page: Page, path: str, query: Mapping[str, str], shown: int, total: int, oldest: int | None
) -> tuple[wire.Links, wire.PageMeta]:
    """Return the links and numbers that stand around a page of `shown` rows out of `total`.

    `oldest` is the position of the page's last row, from which a deep list goes on. The links
    lead on in the present: an answer as of a moment is the one that was given then.
    """
    last = max(1, -(-total // page.size))
    more = shown == page.size and (page.cursor is not None or page.number < last)
    cursor = str(oldest) if oldest is not None and more else None

    def link(**changes: str) -> str:
        kept = {k: v for k, v in query.items() if k not in ("page", "cursor", "as_of")}
        return f"{path}?{urlencode(kept | changes)}"

    if page.cursor is not None:
        links = wire.Links(link(page="1"), None, None, link(cursor=cursor) if cursor else None)
        return links, wire.PageMeta(None, None, None, path, page.size, None, total, cursor)
    links = wire.Links(
        link(page="1"),
        link(page=str(last)),
        link(page=str(page.number - 1)) if page.number > 1 else None,
        link(page=str(page.number + 1)) if page.number < last else None,
    )
    first = page.offset + 1 if shown else None
    until = page.offset + shown if shown else None
    return links, wire.PageMeta(page.number, first, last, path, page.size, until, total, cursor)


def with_next(made: Answer, call: Call, links: wire.Links) -> Answer:
    """Lead on to the next page of the same moment, where the list is one as of a moment."""
    if "as_of" not in call.query or links.next is None:
        return made
    return made.with_header("Link", f'<{links.next}&as_of=p{call.at}>; rel="next"')


def _read_int(query: Mapping[str, str], name: str, low: int, high: int) -> int | None:
    text = query.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 16 and low <= int(text) <= high):
        raise parameter_invalid(name, f"must be a whole number from {low} to {high}")
    return int(text)
