"""The journal's read statements, and their rows made into events.

Shared by the store (which runs them on aiosqlite's threads) and by the commands and the
projector (which run them on a plain connection of their own).
"""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, TypeVar

from .claims import SIGN
from .envelope import Recorded, decode_entry, parse_entry
from .errors import UnknownEventError
from .events import DECODERS, SegmentArchived
from .journal import PAGE, Body, Hold, Standing
from .upcasters import Decoders

T = TypeVar("T")
_COLUMNS: Final = "position, entry, leaf, body_at"
IDENTITY: Final = "SELECT id FROM journal"
HEAD: Final = "SELECT coalesce(max(position), 0) FROM event"
STREAM: Final = (
    f"SELECT {_COLUMNS} FROM event WHERE stream = ? AND version > ? ORDER BY version LIMIT ?"
)
ALL: Final = f"SELECT {_COLUMNS} FROM event WHERE position > ? ORDER BY position LIMIT ?"
STREAM_HEAD: Final = (
    "SELECT version, leaf FROM event WHERE stream = ? ORDER BY version DESC LIMIT 1"
)
LEAF: Final = "SELECT leaf FROM event WHERE position = ?"
BETWEEN: Final = f"SELECT {_COLUMNS} FROM event WHERE position BETWEEN ? AND ? ORDER BY position"
# Commit times never decrease along positions, and no index holds them: ?1 is halved until one
# position is left, which for a million events takes twenty look-ups.
POSITION_AT: Final = """WITH RECURSIVE half (low, high) AS (
  SELECT 0, ?1
  UNION ALL
  SELECT iif(event.at <= ?2, event.position, low), iif(event.at <= ?2, high, event.position - 1)
  FROM half CROSS JOIN event ON event.position = (low + high + 1) / 2 WHERE low < high)
SELECT low FROM half WHERE low = high"""
REQUEST: Final = "SELECT digest, first, last, at FROM request WHERE scope = ? AND key = ?"
HOLDS: Final = (
    f"SELECT resource, holder FROM hold WHERE instr(resource, '{SIGN}') = 0 "
    "ORDER BY holder, resource"
)
BODIED: Final = (
    f"SELECT {_COLUMNS} FROM event WHERE position = ?1 AND body_at = ?1 "
    "AND EXISTS (SELECT 1 FROM body WHERE body.position = ?1) "
    "AND NOT EXISTS (SELECT 1 FROM erasure WHERE erasure.position = ?1)"
)
ARCHIVED: Final = "SELECT 1 FROM archive WHERE position = ?"
# The bytes are searched as they are, like in the trigger of erasures (schema.sql).
KEY_EVENT: Final = (
    f"SELECT {_COLUMNS} FROM event WHERE stream = 'sys' AND (version = 1 "
    'OR instr(entry, CAST(\'"type":"key.rotated","v":\' AS BLOB)) > 0) '
    "ORDER BY version DESC LIMIT 1"
)
_THERE: Final = "NOT EXISTS (SELECT 1 FROM erasure WHERE erasure.position = body.position)"
_HERE: Final = (
    f"{_THERE} AND NOT EXISTS (SELECT 1 FROM archive WHERE archive.position = body.position)"
)
TAGGED: Final = (
    "SELECT event.position, entry, leaf, body_at FROM body CROSS JOIN event "
    "ON event.position = body.position WHERE subject = ? AND body.position > ? "
    "ORDER BY body.position LIMIT ?"
)
_BODIES_PAGE: Final = 500


def events_of(rows: Iterable[Any], decoders: Decoders = DECODERS) -> list[Recorded]:
    """Make events of rows of `STREAM` or `ALL`."""
    return [
        decode_entry(position, entry, leaf, body_at, decoders)
        for position, entry, leaf, body_at in rows
    ]


def holds_of(rows: Iterable[Any]) -> list[Hold]:
    """Make holds of rows of `HOLDS`."""
    return [Hold(resource, holder) for resource, holder in rows]


def bodies_statements(positions: Sequence[int]) -> Iterator[tuple[str, Sequence[int]]]:
    """Return the statements that read the bodies at some positions, a bounded page each."""
    for marks, page in _pages(positions):
        yield f"SELECT position, salt, data FROM body WHERE position IN ({marks}) AND {_HERE}", page


def standing_statements(positions: Sequence[int]) -> Iterator[tuple[str, Sequence[int]]]:
    """Return the statements that tell which bodies are unerased, and their sizes, unread."""
    for marks, page in _pages(positions):
        yield (
            f"SELECT position, length(data) FROM body WHERE position IN ({marks}) AND {_THERE}",
            page,
        )


def standing_in_statements(streams: Sequence[str]) -> Iterator[tuple[str, Sequence[str]]]:
    """Return the statements that tell which bodies stand in streams, a bounded page each."""
    for marks, page in _pages(streams):
        yield (
            f"SELECT stream, body.position, length(data), {_THERE} FROM event CROSS JOIN body "
            f"ON body.position = event.position WHERE stream IN ({marks}) ORDER BY body.position",
            page,
        )


def unfinished_statements(runs: Sequence[str]) -> Iterator[tuple[str, Sequence[str]]]:
    """Return the statements that tell which runs hold what they use, a bounded page each."""
    for marks, page in _pages(runs):
        yield f"SELECT DISTINCT holder FROM hold WHERE holder IN ({marks}) ORDER BY holder", page


def _pages(values: Sequence[T]) -> Iterator[tuple[str, Sequence[T]]]:
    for start in range(0, len(values), _BODIES_PAGE):
        page = values[start : start + _BODIES_PAGE]
        yield ",".join("?" * len(page)), page


def standing_of(rows: Iterable[Any]) -> dict[str, Standing]:
    """Make the bodies of streams of rows of `standing_in_statements`."""
    sizes: defaultdict[str, dict[int, int]] = defaultdict(dict)
    erased: Counter[str] = Counter()
    for stream, position, size, is_there in rows:
        if is_there:
            sizes[stream][position] = size
        else:
            erased[stream] += 1
    return {name: Standing(sizes[name], erased[name]) for name in [*sizes, *erased]}


def segments_statements(positions: Sequence[int]) -> Iterator[tuple[str, Sequence[int]]]:
    """Return the statements that read which of these bodies are archived, and by which event."""
    for marks, page in _pages(positions):
        yield (
            "SELECT archive.position, event.position, entry, leaf, body_at FROM archive "
            f"JOIN event ON event.position = by_position WHERE archive.position IN ({marks}) "
            "AND NOT EXISTS (SELECT 1 FROM erasure WHERE erasure.position = archive.position)",
            page,
        )


def segments_of(rows: Iterable[Any]) -> dict[int, str]:
    """Make the names of segments, by position, of rows of `segments_statements`."""
    found: dict[int, str] = {}
    for position, *by in rows:
        facts = decode_entry(by[0], by[1], by[2], by[3]).facts
        found[position] = facts.name if isinstance(facts, SegmentArchived) else ""
    return found


def bodies_of(rows: Iterable[Any]) -> dict[int, Body]:
    """Make bodies of rows of `bodies_statements`."""
    return {position: Body(salt, data) for position, salt, data in rows}


def entries_statements(positions: Sequence[int]) -> Iterator[tuple[str, Sequence[int]]]:
    """Return the statements that read the entries at some positions, a bounded page each."""
    for marks, page in _pages(positions):
        yield f"SELECT position, entry FROM event WHERE position IN ({marks})", page


def present_bodies(
    bodies: dict[int, Body], entries: Iterable[Any], decoders: Decoders
) -> dict[int, Body]:
    """Bring stored bodies to their present form; `entries` has the entry that each one belongs to.

    A body is of the schema of the entry that it was written with, also where a replayed event
    of a newer schema shows it.
    """
    made: dict[int, Body] = {}
    for position, entry in entries:
        read, body = parse_entry(position, entry), bodies[position]
        data = decoders.body((read.type, read.schema), body.data, position)
        made[position] = Body(body.salt, data)
    return made


class Reader:
    """Reads a journal from one thread."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def identity(self) -> str:
        """Return the journal's id, "" before its first commit."""
        row = self._connection.execute(IDENTITY).fetchone()
        return "" if row is None else str(row[0])

    def head(self) -> int:
        """Return the newest position."""
        return int(self._connection.execute(HEAD).fetchone()[0])

    def stream(self, stream: str, after: int = 0) -> Iterator[Recorded]:
        """Read a stream to its end, page by page."""
        while page := events_of(self._connection.execute(STREAM, (stream, after, PAGE))):
            yield from page
            after = page[-1].version

    def leaf(self, position: int) -> bytes:
        """Return the leaf hash of the entry at a position, empty if there is none."""
        row = self._connection.execute(LEAF, (position,)).fetchone()
        return b"" if row is None else bytes(row[0])

    def page(self, after: int, limit: int = PAGE) -> list[Recorded]:
        """Read the events after a position.

        The page ends before an event that this version doesn't know; only asked for that one
        itself, it says so. So whoever reads page by page has all that comes before it.
        """
        events: list[Recorded] = []
        rows = self._connection.execute(ALL, (after, limit)).fetchall()
        try:
            for position, entry, leaf, body_at in rows:
                events.append(decode_entry(position, entry, leaf, body_at))
        except UnknownEventError:
            if not events:
                raise
        return events

    def key_event(self) -> Recorded | None:
        """Return the newest event that says which service key the journal has."""
        return next(iter(events_of(self._connection.execute(KEY_EVENT))), None)

    def bodies(self, positions: Sequence[int]) -> dict[int, Body]:
        """Read the bodies at these positions; an erased or archived one is missing."""
        found: dict[int, Body] = {}
        for statement, page in bodies_statements(positions):
            found.update(bodies_of(self._connection.execute(statement, tuple(page))))
        return found

    def segments(self, positions: Sequence[int]) -> dict[int, str]:
        """Return which segment holds each of these bodies; one that is in none is missing."""
        found: dict[int, str] = {}
        for statement, page in segments_statements(positions):
            found.update(segments_of(self._connection.execute(statement, tuple(page))))
        return found
