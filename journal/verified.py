"""Reads one stream of a journal file and checks every entry on the way.

Needs the file alone. Of each entry it sees that

1. its leaf hash is that of its bytes;
2. it belongs to this journal and format, stands where its row says, and follows the entry before
   it: the next version, and that entry's leaf as `prev`;
3. its body is the one that it is committed to, or was erased or archived by an event that says so;
4. a replayed entry names a leaf that stands in this journal at the place that it names.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from .envelope import FORMAT, NO_LEAF, Recorded, decode_entry, leaf_hash, payload_commitment
from .errors import CorruptStoreError
from .events import PayloadErased, SegmentArchived
from .journal import Body
from .sqlite_reader import Reader

_PAGE: Final = 500
_STREAM: Final = (
    "SELECT position, version, at, entry, leaf, body_at FROM event "
    "WHERE stream = ? AND version > ? ORDER BY version LIMIT ?"
)
_PLACE: Final = "SELECT leaf FROM event WHERE stream = ? AND version = ?"
_GONE: Final = tuple(
    f"SELECT event.position, entry, leaf, body_at FROM {table} "
    f"JOIN event ON event.position = by_position WHERE {table}.position = ?"
    for table in ("erasure", "archive")
)
_SOURCE: Final = re.compile(r"([^@]+)@([1-9][0-9]{0,15})#([0-9a-f]{64})")


class Verified(msgspec.Struct, frozen=True):
    """An entry that was checked."""

    event: Recorded
    entry: bytes
    """The bytes that were hashed."""
    body: Body | None
    """None where there never was one, or it was erased or archived."""
    segment: str = ""
    """The segment that holds the body, "" if it is not archived."""

    @property
    def is_erased(self) -> bool:
        """True where the entry had a body and nobody has it any more."""
        return self.body is None and self.event.payload != "" and not self.segment


class _Link(msgspec.Struct, frozen=True, gc=False):
    """What ties an entry to the one before it, and to its journal."""

    journal: str
    prev: str
    v: int


_decode_link = msgspec.json.Decoder(_Link, strict=True).decode


def read_verified(connection: sqlite3.Connection, stream: str) -> Iterator[Verified]:
    """Read a stream to its end.

    Raises:
        CorruptStoreError: an entry is not what was written; the message has its position.
        UnknownEventError: its type or schema is newer than this version.
    """
    reader = Reader(connection)
    identity = reader.identity()
    version, prev = 0, NO_LEAF
    while page := connection.execute(_STREAM, (stream, version, _PAGE)).fetchall():
        bodies = reader.bodies(sorted({row[5] for row in page if row[5]}))
        for row in page:
            event = _event(row, stream, version, prev, identity)
            _check_source(connection, event)
            body = bodies.get(event.body_at)
            segment = _check_body(connection, event, body)
            yield Verified(event, row[3], body, segment)
            version, prev = event.version, event.leaf.hex()


def _event(row: tuple[Any, ...], stream: str, before: int, prev: str, identity: str) -> Recorded:
    position, version, at, entry, leaf, body_at = row
    if leaf_hash(entry) != leaf:
        raise _fault(position, "was changed: its leaf hash is another")
    event = decode_entry(position, entry, leaf, body_at)
    link = _decode_link(entry)
    if (link.v, link.journal) != (FORMAT, identity):
        raise _fault(position, "belongs to another journal or format")
    if (event.stream, event.version, event.at) != (stream, version, at):
        raise _fault(position, "does not stand where its row says")
    if (version, link.prev) != (before + 1, prev):
        raise _fault(position, f"does not follow version {before} of its stream")
    return event


def _check_source(connection: sqlite3.Connection, event: Recorded) -> None:
    if not event.src:
        return
    named = _SOURCE.fullmatch(event.src)
    found = named and connection.execute(_PLACE, (named[1], int(named[2]))).fetchone()
    if not named or not found or found[0].hex() != named[3]:
        raise _fault(event.position, "names a source that is not in this journal")


def _check_body(connection: sqlite3.Connection, event: Recorded, body: Body | None) -> str:
    """Return the segment that holds the body, "" if it is here, was erased, or never was."""
    if body is not None:
        if payload_commitment(body.salt, body.data) != event.payload:
            raise _fault(event.position, "has another body than it is committed to")
    elif event.payload:
        found = (connection.execute(gone, (event.body_at,)).fetchone() for gone in _GONE)
        by = next((row for row in found if row is not None), None)
        if by is None:
            raise _fault(event.position, "has lost its body")
        said = decode_entry(*by).facts
        named = said.positions if isinstance(said, (PayloadErased, SegmentArchived)) else ""
        if str(event.body_at) not in named.split():
            raise _fault(event.position, "has lost its body, and no event says that it was erased")
        return said.name if isinstance(said, SegmentArchived) else ""
    return ""


def _fault(position: int, what: str) -> CorruptStoreError:
    return CorruptStoreError(f"the entry at position {position} {what}")
