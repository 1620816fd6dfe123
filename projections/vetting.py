"""Sees that a projection defines and changes its own tables and nothing else.

A statement is looked at once, before it first runs: it is compiled on a scratch database in memory
that holds the projection's tables alone, under an authorizer. So whatever reaches another table,
the schema, a setting, a file, the clock or chance is refused by name, and costs nothing later.
"""

from __future__ import annotations

import re
import sqlite3
import weakref
from collections.abc import Sequence
from typing import Final

from .errors import ProjectionRefusedError
from .projection import GENERATION, Projection, SqlValue, Table

TEXTS_MAX: Final = 1000
"""How many different statements a projection may have: values belong into the parameters."""
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
_NUMBERED: Final = re.compile(r"_[0-9]+(_|$)")
_RESERVED: Final = frozenset({"meta", "projection"})
_IMPURE: Final = frozenset(
    {
        "changes",
        "current_date",
        "current_time",
        "current_timestamp",
        "date",
        "datetime",
        "julianday",
        "last_insert_rowid",
        "load_extension",
        "random",
        "randomblob",
        "strftime",
        "time",
        "timediff",
        "total_changes",
        "unixepoch",
    }
)
"""Functions that know the time, chance, or what other statements did."""
_DEFAULT: Final = re.compile(rf"\bDEFAULT\W+({'|'.join(sorted(_IMPURE))})\b", re.IGNORECASE)
_CHANGE: Final = re.compile(r"\s*(INSERT|UPDATE|DELETE|REPLACE|WITH)\b", re.IGNORECASE)
_WRITES: Final = frozenset({sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE})
_QUESTIONS: Final = frozenset(
    {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE}
)
_MAKES: Final = frozenset({sqlite3.SQLITE_CREATE_TABLE, sqlite3.SQLITE_CREATE_INDEX})
_MAKING: Final = frozenset({sqlite3.SQLITE_REINDEX, sqlite3.SQLITE_TRANSACTION})
_SEARCH: Final = "fts5"
"""The one module of virtual tables that may be used: full-text search."""
_ACTIONS: Final = {
    sqlite3.SQLITE_INSERT: "an INSERT",
    sqlite3.SQLITE_UPDATE: "an UPDATE",
    sqlite3.SQLITE_DELETE: "a DELETE",
    sqlite3.SQLITE_ATTACH: "an ATTACH",
    sqlite3.SQLITE_DETACH: "a DETACH",
    sqlite3.SQLITE_PRAGMA: "a PRAGMA",
    sqlite3.SQLITE_TRANSACTION: "a BEGIN, COMMIT or ROLLBACK",
    sqlite3.SQLITE_SAVEPOINT: "a SAVEPOINT",
    sqlite3.SQLITE_CREATE_TABLE: "a CREATE TABLE",
    sqlite3.SQLITE_CREATE_VTABLE: "a CREATE VIRTUAL TABLE",
    sqlite3.SQLITE_CREATE_TRIGGER: "a CREATE TRIGGER",
    sqlite3.SQLITE_CREATE_VIEW: "a CREATE VIEW",
    sqlite3.SQLITE_DROP_TABLE: "a DROP TABLE",
    sqlite3.SQLITE_ALTER_TABLE: "an ALTER TABLE",
}


class _Guard:
    """An authorizer that remembers what it refused first."""

    def __init__(self, makes: str = "") -> None:
        """`makes` is the table that DDL may make, "" where there is no more to be made."""
        self.makes = makes
        self.refused = ""

    def __call__(
        self, action: int, first: str | None, second: str | None, *rest: str | None
    ) -> int:
        del rest
        what = self._fault(action, first or "", second or "")
        if not what:
            return sqlite3.SQLITE_OK
        self.refused = self.refused or what
        return sqlite3.SQLITE_DENY

    def _fault(self, action: int, first: str, second: str) -> str:
        if action == sqlite3.SQLITE_FUNCTION:
            return f"the function {second}" if second.lower() in _IMPURE else ""
        if action in _QUESTIONS or (self.makes and action in _MAKES | _MAKING):
            return ""
        if action in _WRITES and (
            first.startswith(("sqlite_", f"{self.makes}_")) == bool(self.makes)
        ):
            return ""
        if action == sqlite3.SQLITE_CREATE_VTABLE and self.makes and second == _SEARCH:
            return ""
        if (action, first) == (sqlite3.SQLITE_PRAGMA, "data_version"):
            # Full-text search asks for it by itself.
            return ""
        return f"{_ACTIONS.get(action, 'another action')}{f' on {first}' if first else ''}"


class Vetter:
    """Looks at the statements of one generation of a projection, each text once."""

    def __init__(self, projection: Projection, generation: int) -> None:
        """Make the scratch tables.

        Raises:
            ProjectionRefusedError: the DDL makes something else than the declared tables.
        """
        self._name = projection.name
        self._scratch = sqlite3.connect(
            ":memory:", isolation_level=None, check_same_thread=False, cached_statements=0
        )
        weakref.finalize(self, self._scratch.close)
        self._seen = 0
        for table in projection.tables:
            self._make(table, generation)
        self._guard = _Guard()
        self._scratch.set_authorizer(self._guard)

    def _make(self, table: Table, generation: int) -> None:
        own = f"{table.name}_{generation}"
        guard = _Guard(own)
        self._scratch.set_authorizer(guard)
        before = self._objects()
        try:
            for text in table.statements(generation):
                self._scratch.execute(text)
        except sqlite3.Error as error:
            because = guard.refused or str(error)
            raise ProjectionRefusedError(
                self._name, f"the DDL of table {table.name} is refused: {because}"
            ) from error
        finally:
            self._scratch.set_authorizer(None)
        made = self._objects() - before
        for text in table.ddl:
            # SQLite asks nobody about the default of a column.
            if found := _DEFAULT.search(text):
                raise ProjectionRefusedError(
                    self._name, f"the DDL of table {table.name} has a default that calls {found[1]}"
                )
        # What full-text search keeps in tables of its own begins with the name of its table.
        tables = {name for kind, name, _ in made if kind == "table"}
        if own not in tables or any(not f"{name}_".startswith(f"{own}_") for name in tables):
            raise ProjectionRefusedError(
                self._name, f"the DDL of table {table.name} must create {table.name}_{GENERATION}"
            )
        for kind, name, of in made:
            if kind == "index" and of == own and not _is_index_name(name, generation):
                raise ProjectionRefusedError(self._name, f"index {name} must end in _{GENERATION}")

    def _objects(self) -> set[tuple[str, str, str]]:
        return set(self._scratch.execute("SELECT type, name, tbl_name FROM sqlite_master"))

    def check(self, text: str, parameters: tuple[SqlValue, ...]) -> None:
        """See that a statement stays inside the projection's tables.

        Raises:
            ProjectionRefusedError: it doesn't, or is no single statement that SQLite understands.
        """
        self._seen += 1
        if self._seen > TEXTS_MAX:
            raise ProjectionRefusedError(
                self._name,
                f"it has more than {TEXTS_MAX} different statements: a statement is a constant, "
                "and values go into its parameters",
            )
        if not _CHANGE.match(text):
            raise ProjectionRefusedError(self._name, "a statement is an INSERT, UPDATE or DELETE")
        self._guard.refused = ""
        try:
            self._scratch.execute(f"EXPLAIN {text}", parameters)
        except (sqlite3.Error, sqlite3.Warning) as error:
            because = self._guard.refused or str(error)
            raise ProjectionRefusedError(
                self._name,
                f"a statement is refused, since it may only change the projection's own tables: "
                f"{because}",
            ) from error

    def check_select(self, text: str) -> None:
        """See that the SQL of a view is one SELECT over what is there."""
        self._guard.refused = ""
        try:
            self._scratch.execute(f"EXPLAIN SELECT * FROM ({text})")
        except (sqlite3.Error, sqlite3.Warning) as error:
            because = self._guard.refused or str(error)
            raise ProjectionRefusedError(
                self._name, f"the SQL of a view is refused: {because}"
            ) from error

    def show(self, table: Table, generation: int) -> None:
        """Give a table its plain name, as readers know it."""
        self._scratch.set_authorizer(None)
        self._scratch.execute(
            f"CREATE VIEW {table.name} AS SELECT * FROM {table.name}_{generation}"
        )
        self._scratch.set_authorizer(self._guard)


def vet(projection: Projection) -> None:
    """See that the names, tables and views of a projection can be used.

    Raises:
        ProjectionRefusedError: it says what is wrong.
    """
    names = [table.name for table in projection.tables] + [view.name for view in projection.views]
    for name in (projection.name, *names):
        if not _NAME.fullmatch(name) or name.startswith("sqlite_"):
            raise ProjectionRefusedError(
                projection.name, f"{name!r} is no name: lower-case letters, digits and _"
            )
    for name in names:
        if name in _RESERVED or _NUMBERED.search(name):
            raise ProjectionRefusedError(
                projection.name, f"a table or view can't be called {name}: that name is kept"
            )
    if len(set(names)) != len(names) or not projection.tables:
        raise ProjectionRefusedError(
            projection.name, "it needs a table, and a name of its own for each table and view"
        )
    vetter = Vetter(projection, 1)
    for table in projection.tables:
        vetter.show(table, 1)
    for table in projection.tables:
        vetter.check_select(f"SELECT * FROM {table.name} ORDER BY {table.key}")
    for view in projection.views:
        vetter.check_select(view.select)


def refuse_clashes(projections: Sequence[Projection]) -> None:
    """See that no two projections share a name, a table or a view.

    Raises:
        ProjectionRefusedError: two do.
    """
    owners: dict[str, str] = {}
    for projection in projections:
        own = {f"projection {projection.name}"}
        own |= {f"table or view {table.name}" for table in projection.tables}
        own |= {f"table or view {view.name}" for view in projection.views}
        for thing in sorted(own):
            if thing in owners:
                raise ProjectionRefusedError(
                    projection.name, f"{thing} belongs to projection {owners[thing]} already"
                )
            owners[thing] = projection.name


def _is_index_name(name: str, generation: int) -> bool:
    return name.startswith("sqlite_autoindex_") or name.endswith(f"_{generation}")
