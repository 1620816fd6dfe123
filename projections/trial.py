"""For tests of a projection: a small history in, its rows out, without a journal or a service."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from hashlib import sha256

from ..journal.envelope import Recorded
from ..journal.facts import Facts
from .applying import Applier
from .generations import SCHEMA, create_generation
from .projection import GENERATION, Projection, SqlValue
from .vetting import vet


def history(*events: tuple[str, Facts], at: int = 0, tenant: str = "acme") -> list[Recorded]:
    """Make events of streams and facts, at positions from 1, all committed at one time."""
    made: list[Recorded] = []
    versions: dict[str, int] = {}
    for position, (stream, facts) in enumerate(events, 1):
        version = versions[stream] = versions.get(stream, 0) + 1
        leaf = sha256(str(position).encode()).digest()
        made.append(
            Recorded(
                position=position,
                body_at=0,
                leaf=leaf,
                stream=stream,
                version=version,
                id=f"{position:026}",
                at=at,
                tenant=tenant,
                actor="",
                corr="",
                cause="",
                src="",
                payload="",
                facts=facts,
            )
        )
    return made


def rows_of(
    projection: Projection, events: Sequence[Recorded], table: str = ""
) -> list[tuple[SqlValue, ...]]:
    """Fold events and return the rows of a table, by default the first, ordered by its key.

    Raises:
        ProjectionRefusedError: the projection breaks a rule of the interface.
        Exception: whatever the fold raises.
    """
    vet(projection)
    chosen = next(t for t in projection.tables if table in ("", t.name))
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.executescript(SCHEMA)
        row = create_generation(connection, projection, state="live")
        applier = Applier(connection, projection, row.generation, bodies=_no_bodies)
        applier.apply(events)
        query = f"SELECT * FROM {chosen.name}_{GENERATION} ORDER BY {chosen.key}"
        found: Iterable[tuple[SqlValue, ...]] = connection.execute(
            query.replace(GENERATION, str(row.generation))
        )
        return list(found)


def _no_bodies(positions: Sequence[int]) -> dict[int, bytes]:
    del positions
    return {}
