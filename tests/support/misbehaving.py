"""Projections of developers, one that works and those that break a rule each."""

from __future__ import annotations

from collections.abc import Sequence

from refold.journal import events as e
from refold.journal.envelope import Recorded
from refold.projections.projection import Statement, Table, View

SECRET = "a secret in an exception"
ADDED = "INSERT INTO {0}_{{g}} (position) VALUES (?)"


def seen(name: str) -> Table:
    """Make a table of positions."""
    ddl = f"CREATE TABLE {name}_{{g}} (position INTEGER PRIMARY KEY) STRICT"
    return Table(name, "position", (ddl,))


class Counts:
    """Counts the attempts of each component."""

    name = "counts"
    version = 1
    events = (e.NodeSucceeded,)
    tables = (
        Table(
            "component_count",
            "component",
            (
                "CREATE TABLE component_count_{g} (component TEXT PRIMARY KEY, "
                "attempts INTEGER NOT NULL) STRICT",
            ),
        ),
    )
    views = (View("busy_component", "SELECT * FROM component_count WHERE attempts > 2"),)

    def fold(self, event: Recorded) -> Sequence[Statement]:
        """Return what an event changes."""
        assert isinstance(event.facts, e.NodeSucceeded)
        sql = (
            "INSERT INTO component_count_{g} (component, attempts) VALUES (?, 1) "
            "ON CONFLICT (component) DO UPDATE SET attempts = attempts + 1"
        )
        return (Statement(sql, (event.facts.component,)),)


class CountsAgain(Counts):
    """The second version, which says the same."""

    version = 2


class CountsOnceMore(Counts):
    """The third."""

    version = 3


class Raises:
    """Can't take the end of a run."""

    name = "raises"
    version = 1
    events = e.CATALOGUE
    tables = (seen("raises_seen"),)
    views = ()

    def fold(self, event: Recorded) -> Sequence[Statement]:
        """Return what an event changes, once in a while."""
        if isinstance(event.facts, e.RunCompleted):
            raise ValueError(SECRET)
        return (Statement(ADDED.format("raises_seen"), (event.position,)),)


class Loops:
    """Never comes back."""

    name = "loops"
    version = 1
    events = (e.RunCompleted,)
    tables = (seen("loops_seen"),)
    views = ()

    def fold(self, event: Recorded) -> Sequence[Statement]:
        """Loop in C, which no exception of Python ends."""
        return (Statement(ADDED.format("loops_seen"), (sum(range(10**15)),)),)


class LoopsInSql:
    """Its statement never ends, while it holds the lock of all writers."""

    name = "loops_in_sql"
    version = 1
    events = (e.RunCompleted,)
    tables = (seen("sql_seen"),)
    views = ()

    def fold(self, event: Recorded) -> Sequence[Statement]:
        """Return what an event changes."""
        sql = (
            "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) "
            "INSERT INTO sql_seen_{g} (position) SELECT max(x) + ? FROM n"
        )
        return (Statement(sql, (event.position,)),)


class WritesElsewhere:
    """Deletes the rows of another projection."""

    name = "elsewhere"
    version = 1
    events = (e.RunCompleted,)
    tables = (seen("elsewhere_seen"),)
    views = ()

    def fold(self, event: Recorded) -> Sequence[Statement]:
        """Return what an event changes."""
        del event
        return (Statement("DELETE FROM run_1", ()),)


class Dies:
    """Takes its process with it."""

    name = "dies"
    version = 1
    events = (e.RunCompleted,)
    tables = (seen("dies_seen"),)
    views = ()

    def fold(self, event: Recorded) -> Sequence[Statement]:
        """End the process."""
        import os

        del event
        os._exit(9)


class Copies:
    """Keeps the bodies of outputs, and forgets what is erased."""

    name = "copies"
    version = 1
    events: tuple[type[e.Facts], ...] = (e.NodeSucceeded, e.PayloadErased)
    tables = (
        Table(
            "copied_output",
            "position",
            ("CREATE TABLE copied_output_{g} (position INTEGER PRIMARY KEY, body BLOB) STRICT",),
        ),
    )
    views = ()

    def fold(self, event: Recorded) -> Sequence[Statement]:
        """Forget what is erased."""
        if not isinstance(event.facts, e.PayloadErased):
            return ()
        sql = "DELETE FROM copied_output_{g} WHERE position = ?"
        return [Statement(sql, (int(at),)) for at in event.facts.positions.split()]

    def fold_body(self, event: Recorded, body: bytes) -> Sequence[Statement]:
        """Keep an output."""
        if not isinstance(event.facts, e.NodeSucceeded) or event.src:
            return ()
        sql = "INSERT INTO copied_output_{g} (position, body) VALUES (?, ?)"
        return (Statement(sql, (event.body_at, body)),)


class CopiesForEver(Copies):
    """Doesn't want to know what is erased."""

    name = "copies_for_ever"
    events = (e.NodeSucceeded,)
