"""Applies events to one generation: folds them, and runs equal statements together."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from ..journal.envelope import Recorded
from .projection import GENERATION, Projection, SqlValue


class Applier:
    """Turns events into changes of one generation's tables, inside the caller's transaction."""

    def __init__(
        self, connection: sqlite3.Connection, projection: Projection, generation: int
    ) -> None:
        self._connection = connection
        self._fold = projection.fold
        self.generation = generation
        self._texts: dict[str, str] = {}

    def apply(self, events: Sequence[Recorded]) -> None:
        """Apply events in order; statements that follow each other and are equal run as one."""
        fold = self._fold
        sql = ""
        rows: list[tuple[SqlValue, ...]] = []
        for event in events:
            for text, parameters in fold(event):
                if text is not sql:
                    if rows:
                        self._run(sql, rows)
                        rows = []
                    sql = text
                rows.append(parameters)
        if rows:
            self._run(sql, rows)

    def _run(self, sql: str, rows: Sequence[tuple[SqlValue, ...]]) -> None:
        text = self._texts.get(sql)
        if text is None:
            text = self._texts[sql] = sql.replace(GENERATION, str(self.generation))
        if len(rows) == 1:
            self._connection.execute(text, rows[0])
        else:
            self._connection.executemany(text, rows)
