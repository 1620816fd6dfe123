"""Makes the generations of a file fit the projections of this program: what goes on, what goes.

A generation that this program can go on with is never made anew: neither one that another version
of the program has prepared, nor one that was kept and is wanted back.

A start only notes what is to go. To take the rows out lasts the longer the more there are, so
`clearing.py` does it while the service serves.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Collection

from .fingerprint import fingerprint
from .generations import (
    Generation,
    create_generation,
    drop_generation,
    generations,
    give_up,
    go_live,
    is_current,
    retire,
)
from .projection import Projection, is_apart
from .sqlite_writes import transaction

_log = logging.getLogger("refold.projections")


def fit(connection: sqlite3.Connection, projection: Projection) -> None:
    """Leave a live generation that this projection can go on with, however far behind.

    What is not wanted any more is given up, and not yet dropped.
    """
    code = fingerprint(projection)
    rows = [row for row in generations(connection) if row.name == projection.name]
    current = [row for row in rows if is_current(connection, projection, row, code)]
    live = next((row for row in rows if row.state == "live"), None)
    if live not in current:
        # Whoever rebuilt rows that they doubted does not want those back: another version's only.
        is_other = live is not None and live.version != projection.version
        states = ("growing", "kept") if is_other else ("growing",)
        best = max((r for r in current if r.state in states), key=_position, default=None)
        if live is not None:
            _log.warning(
                "projection %s, version %d at position %d, gives way: this program has another",
                live.name,
                live.version,
                live.position,
            )
        with transaction(connection):
            _replace(connection, projection, live, best, code)
    give_up_old(connection, projection)


def _replace(
    connection: sqlite3.Connection,
    projection: Projection,
    live: Generation | None,
    best: Generation | None,
    code: str,
) -> None:
    # Rows of another version may be wanted back; of the same one, somebody changed them.
    if live is not None and live.version == projection.version:
        give_up(connection, live)
    if best is not None:
        go_live(connection, projection, best)
    else:
        retire(connection, projection.name)
        create_generation(connection, projection, state="live", fingerprint=code)


def give_up_old(connection: sqlite3.Connection, projection: Projection) -> None:
    """Note what is to go of a projection: generations given up, and begun by other code.

    What another version has begun stays: it may be at work. Of a projection apart no rows are kept
    to go back to: nobody would take out of them what is erased.
    """
    code = fingerprint(projection)
    for row in generations(connection):
        if row.name == projection.name and (
            (row.state == "kept" and is_apart(projection))
            or (
                row.state == "growing"
                and row.version == projection.version
                and not is_current(connection, projection, row, code)
            )
        ):
            with transaction(connection):
                give_up(connection, row)


def drop_old(connection: sqlite3.Connection, projection: Projection) -> None:
    """Drop what is left of a projection (see `give_up_old`)."""
    give_up_old(connection, projection)
    for row in generations(connection):
        if row.name == projection.name and row.state == "leaving":
            drop_generation(connection, row)


def drop_all(connection: sqlite3.Connection) -> None:
    """Drop every generation of a file."""
    for row in generations(connection):
        drop_generation(connection, row)


def give_up_unknown(connection: sqlite3.Connection, known: Collection[str]) -> None:
    """Give up the generations of projections that this program does not have."""
    for row in generations(connection):
        if row.name not in known and row.state != "leaving":
            if row.state == "live":
                _log.warning("projection %s is dropped: this program has it no more", row.name)
            with transaction(connection):
                give_up(connection, row)


def _position(row: Generation) -> int:
    return row.position
