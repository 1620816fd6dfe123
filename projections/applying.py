"""Applies events to one generation: folds them, and runs equal statements together."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Final, TypeAlias, TypeVar

from ..journal.envelope import Recorded
from .errors import ProjectionRefusedError
from .faults import Fault, poison
from .projection import GENERATION, BodyProjection, Projection, SqlValue
from .sqlite_errors import is_damage, is_passing
from .vetting import Vetter

Changes: TypeAlias = list[tuple[str, list[tuple[SqlValue, ...]]]]
"""Statements in order, each with the parameters of those that follow each other and are equal."""
Bodies: TypeAlias = Callable[[Sequence[int]], dict[int, bytes]]
"""Reads the bodies at some positions; an erased one is missing."""

_Given = TypeVar("_Given")

SQL_SECONDS: Final = 2.0
"""How long the statements of one step may take, where folds are watched."""
_STEPS_BETWEEN: Final = 100_000
_BODIES_AT_ONCE: Final = 50
_UNLIMITED: Final = nullcontext()


class Applier:
    """Turns events into changes of one generation's tables, inside the caller's transaction."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        projection: Projection,
        generation: int,
        *,
        bodies: Bodies | None = None,
        watch: Callable[[int], None] | None = None,
        limit: AbstractContextManager[None] = _UNLIMITED,
        holds_lock: bool = True,
    ) -> None:
        """`watch` hears of each position before it is folded; folds are called within `limit`.

        Where folds are watched, statements are too, unless nobody else waits for their lock.

        Raises:
            ProjectionRefusedError: the projection reads bodies, and there is nobody to read them.
        """
        self._connection = connection
        self._fold = projection.fold
        self._fold_body = projection.fold_body if isinstance(projection, BodyProjection) else None
        if self._fold_body is not None and bodies is None:
            raise ProjectionRefusedError(
                projection.name, "it reads bodies, which it can do in a process of its own only"
            )
        self._bodies = bodies
        self._watch = watch
        self._limit = limit
        self._wanted = frozenset(projection.events)
        self._vetter = Vetter(projection, generation)
        self.generation = generation
        self._texts: dict[str, str] = {}
        self._began = 0.0
        if watch is not None and holds_lock:
            connection.set_progress_handler(self._is_too_slow, _STEPS_BETWEEN)

    def apply(self, events: Sequence[Recorded]) -> None:
        """Apply events in order, all of them or none; raises whatever the fold raises."""
        self.run(self.fold(events))

    def apply_safely(self, events: Sequence[Recorded]) -> Fault | None:
        """Apply events in order up to the first that can't be, and say why that one can't.

        What SQLite may take a moment later, and what shows a damaged file, is raised.
        """
        try:
            changes = self.fold(events)
        except Exception:
            # Which event it was comes out below.
            changes = None
        if not changes and changes is not None:
            return None
        if changes is not None and self._tried(self.run, changes) is None:
            return None
        return self.apply_each(events)

    def apply_each(self, events: Sequence[Recorded]) -> Fault | None:
        """Apply events one by one up to the first that can't be, and say why that one can't.

        So the rows end right before it. Where SQLite interrupts a statement that takes too long,
        it rolls the whole transaction back, and the rows are where they were.
        """
        for event in events:
            error = self._tried(self.apply, (event,))
            if error is not None:
                return poison(event, error)
        return None

    def fold(self, events: Sequence[Recorded]) -> Changes:
        """Return what events change; changes nothing itself, so it needs no transaction."""
        if self._fold_body is not None or self._watch is not None:
            return self._fold_watched(events)
        with self._limit:
            return self._folded(events)

    def _folded(self, events: Sequence[Recorded]) -> Changes:
        fold, wanted = self._fold, self._wanted
        changes: Changes = []
        sql = ""
        rows: list[tuple[SqlValue, ...]] = []
        for event in events:
            if type(event.facts) in wanted:
                for text, parameters in fold(event):
                    if text is not sql:
                        sql, rows = text, []
                        changes.append((text, rows))
                    rows.append(parameters)
        return changes

    def run(self, changes: Changes) -> None:
        """Make changes, inside a transaction."""
        self._began = time.monotonic()
        for sql, rows in changes:
            text = self._texts.get(sql)
            if text is None:
                text = sql.replace(GENERATION, str(self.generation))
                self._vetter.check(text, rows[0])
                self._texts[sql] = text
            if len(rows) == 1:
                self._connection.execute(text, rows[0])
            else:
                self._connection.executemany(text, rows)

    def _fold_watched(self, events: Sequence[Recorded]) -> Changes:
        changes: Changes = []
        for event, body in self._with_bodies([e for e in events if type(e.facts) in self._wanted]):
            if self._watch is not None:
                self._watch(event.position)
            made = list(self._fold(event))
            if body is not None and self._fold_body is not None:
                made += self._fold_body(event, body)
            for text, parameters in made:
                if not changes or text is not changes[-1][0]:
                    changes.append((text, []))
                changes[-1][1].append(parameters)
        return changes

    def _with_bodies(self, events: Sequence[Recorded]) -> Iterator[tuple[Recorded, bytes | None]]:
        if self._fold_body is None or self._bodies is None:
            yield from ((event, None) for event in events)
            return
        # A body may have a megabyte: never those of a whole page at once.
        for start in range(0, len(events), _BODIES_AT_ONCE):
            some = events[start : start + _BODIES_AT_ONCE]
            found = self._bodies([event.body_at for event in some if event.body_at])
            yield from ((event, found.get(event.body_at)) for event in some)

    def _is_too_slow(self) -> bool:
        """Interrupt statements that don't end: they hold the lock that all writers share."""
        return time.monotonic() - self._began > SQL_SECONDS

    def _tried(self, step: Callable[[_Given], None], given: _Given) -> Exception | None:
        """Do something in a savepoint; undo it and return the error if it can't be done."""
        self._connection.execute("SAVEPOINT step")
        try:
            step(given)
        except Exception as error:
            if is_damage(error) or is_passing(error):
                raise
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK TO step")
                self._connection.execute("RELEASE step")
            return error
        self._connection.execute("RELEASE step")
        return None
