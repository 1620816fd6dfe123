"""The rows of a commit: what the writer puts into the tables, in how few statements.

A statement lets other threads run while SQLite is at work, and then waits for its turn again,
which costs more than a row does. So rows are inserted many at a time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import chain
from typing import Any, Final

from .journal import Hold
from .sequencer import Sequenced

_ROWS_MAX: Final = 16
"""How many rows one statement inserts at most."""
_INSERT_ERASURE: Final = "INSERT INTO erasure (position, by_position) VALUES (?, ?)"
_INSERT_ARCHIVED: Final = "INSERT INTO archive (position, by_position) VALUES (?, ?)"
_RELEASE_BODY: Final = "UPDATE body SET salt = zeroblob(32), data = zeroblob(0) WHERE position = ?"
# Zeros of the same length, so that the row stays in its place (schema.sql says why).
_ERASE_BODY: Final = (
    "UPDATE body SET salt = zeroblob(32), data = zeroblob(length(data)), subject = NULL "
    "WHERE position = ?"
)
_INSERT_HOLD: Final = (
    "INSERT INTO hold (holder, resource) VALUES (?, ?) ON CONFLICT (holder, resource) DO NOTHING"
)
_INSERT_REQUEST: Final = (
    "INSERT INTO request (scope, key, digest, first, last, at) VALUES (?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (scope, key) DO UPDATE SET digest = excluded.digest, first = excluded.first, "
    "last = excluded.last, at = excluded.at"
)


def _by_rows(start: str, columns: int) -> Sequence[tuple[int, str]]:
    """Make one statement for each number of rows that is a power of two, the largest first.

    So any number of rows takes few statements, and few different ones, which stay prepared.
    """
    row = f"({', '.join('?' * columns)})"
    counts = [1 << power for power in reversed(range(_ROWS_MAX.bit_length()))]
    return [(count, f"{start} VALUES {', '.join([row] * count)}") for count in counts]


_INSERT_EVENTS: Final = _by_rows(
    "INSERT INTO event (position, stream, version, at, entry, leaf, body_at)", 7
)
_INSERT_BODIES: Final = _by_rows("INSERT INTO body (position, salt, subject, data)", 4)


def insert(connection: sqlite3.Connection, made: Sequenced) -> None:
    """Insert what a commit became, inside the writer's transaction."""
    execute, many = connection.execute, connection.executemany
    events = [
        (ev.position, ev.stream, ev.version, ev.at, row.entry, ev.leaf, ev.body_at)
        for row in made.rows
        for ev in (row.event,)
    ]
    bodies = [
        (row.event.position, row.salt, row.subject, row.body)
        for row in made.rows
        if row.body is not None
    ]
    _insert_rows(connection, _INSERT_EVENTS, events)
    _insert_rows(connection, _INSERT_BODIES, bodies)
    if made.archived:
        many(_INSERT_ARCHIVED, [(position, made.gone_by) for position in made.archived])
        many(_RELEASE_BODY, [(position,) for position in made.archived])
    if made.erased:
        many(_INSERT_ERASURE, [(position, made.gone_by) for position in made.erased])
        many(_ERASE_BODY, [(position,) for position in made.erased])
    if made.request is not None:
        request, taken = made.request
        execute(
            _INSERT_REQUEST,
            (request.scope, request.key, taken.digest, taken.first, taken.last, taken.at),
        )
    for change in made.holds:
        if isinstance(change, Hold):
            execute(_INSERT_HOLD, (change.holder, change.resource))
        else:
            execute("DELETE FROM hold WHERE holder = ?", (change,))


def _insert_rows(
    connection: sqlite3.Connection,
    statements: Sequence[tuple[int, str]],
    rows: Sequence[tuple[Any, ...]],
) -> None:
    at = 0
    for count, statement in statements:
        while len(rows) - at >= count:
            connection.execute(statement, list(chain.from_iterable(rows[at : at + count])))
            at += count
