"""A projection defines and changes its own tables alone; what breaks a rule is told by name."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from refold.journal import events as e
from refold.journal.envelope import Recorded
from refold.projections import loading
from refold.projections.built_in import BUILT_IN
from refold.projections.errors import ProjectionRefusedError
from refold.projections.fingerprint import code_of, fingerprint
from refold.projections.loading import find, load
from refold.projections.projection import Statement, Table, View
from refold.projections.trial import history, rows_of
from refold.projections.vetting import TEXTS_MAX, Vetter, refuse_clashes, vet

GOOD = ("CREATE TABLE mine_{g} (a INTEGER, b TEXT)", "CREATE INDEX mine_a_{g} ON mine_{g} (a)")


class Mine:
    """A projection of one table."""

    name = "mine"
    version = 1
    events: Sequence[type[e.Facts]] = (e.RunStarted,)
    tables: Sequence[Table] = (Table("mine", "a", GOOD),)
    views: Sequence[View] = ()

    def fold(self, event: Recorded) -> Sequence[Statement]:
        """Return what an event changes."""
        return (Statement("INSERT INTO mine_{g} (a) VALUES (?)", (event.position,)),)


def with_ddl(*ddl: str) -> Mine:
    """Make a projection with another table."""
    made = Mine()
    made.tables = (Table("mine", "a", ddl),)
    return made


def test_the_built_in_projections_keep_to_the_interface() -> None:
    """They are made with the same interface and nothing else."""
    for projection in BUILT_IN:
        vet(projection)
    refuse_clashes(BUILT_IN)
    vet(with_ddl("CREATE VIRTUAL TABLE mine_{g} USING fts5(a)"))


@pytest.mark.parametrize(
    ("statement", "because"),
    [
        ("INSERT INTO run_1 (a) VALUES (1)", "no such table: run_1"),
        ("INSERT INTO mine_1 (a) SELECT position FROM run", "no such table: run"),
        ("DELETE FROM projection", "no such table: projection"),
        ("INSERT INTO mine_1 (a) VALUES (random())", "the function random"),
        ("UPDATE mine_1 SET b = datetime('now')", "the function datetime"),
        ("UPDATE mine_1 SET b = CURRENT_TIMESTAMP", "the function current_timestamp"),
        ("DELETE FROM sqlite_master", "sqlite_master"),
        ("DELETE FROM mine_1; DELETE FROM mine_1", "one statement at a time"),
        ("DROP TABLE mine_1", "INSERT, UPDATE or DELETE"),
        ("ATTACH 'elsewhere.db' AS x", "INSERT, UPDATE or DELETE"),
        ("PRAGMA synchronous = 0", "INSERT, UPDATE or DELETE"),
        ("COMMIT", "INSERT, UPDATE or DELETE"),
        ("VACUUM INTO 'copy.db'", "INSERT, UPDATE or DELETE"),
        ("SELECT 1", "INSERT, UPDATE or DELETE"),
        ("INSERT INTO mine_1 (nope) VALUES (1)", "no column named nope"),
    ],
)
def test_a_statement_that_reaches_out_is_refused_before_it_runs(
    statement: str, because: str
) -> None:
    """Another table, the schema, a setting, a file, the clock and chance are out of reach."""
    with pytest.raises(ProjectionRefusedError, match=because):
        Vetter(Mine(), 1).check(statement, ())


def test_statements_are_constants() -> None:
    """Values spliced into texts would make each event a statement of its own."""
    vetter = Vetter(Mine(), 1)
    for number in range(TEXTS_MAX):
        vetter.check(f"INSERT INTO mine_1 (a) VALUES ({number})", ())
    with pytest.raises(ProjectionRefusedError, match="a statement is a constant"):
        vetter.check("INSERT INTO mine_1 (a) VALUES (-1)", ())


@pytest.mark.parametrize(
    ("ddl", "because"),
    [
        (("CREATE TABLE mine (a)",), "must create mine_"),
        ((*GOOD, "CREATE TABLE more_{g} (a)"), "must create mine_"),
        ((*GOOD, "INSERT INTO mine_{g} (a) VALUES (1)"), "an INSERT on mine_1"),
        ((*GOOD, "CREATE INDEX x ON mine_{g} (b)"), "index x must end in _"),
        ((*GOOD, "CREATE VIEW v AS SELECT 1"), "a CREATE VIEW"),
        (
            (*GOOD, "CREATE TRIGGER t AFTER INSERT ON mine_{g} BEGIN SELECT 1; END"),
            "a CREATE TRIGGER",
        ),
        ((*GOOD, "ATTACH 'x' AS y"), "an ATTACH"),
        (("CREATE TABLE mine_{g} (a DEFAULT CURRENT_TIMESTAMP)",), "a default that calls"),
        (("CREATE TABLE mine_{g} (a DEFAULT (random()))",), "a default that calls random"),
        (("CREATE TABLE",), "incomplete input"),
    ],
)
def test_ddl_makes_the_declared_table_and_its_indexes_alone(
    ddl: tuple[str, ...], because: str
) -> None:
    """What is made is what is dropped with the generation."""
    with pytest.raises(ProjectionRefusedError, match=because):
        vet(with_ddl(*ddl))


@pytest.mark.parametrize(
    ("changes", "because"),
    [
        ({"name": "No"}, "'No' is no name"),
        ({"name": "../x"}, "is no name"),
        ({"version": 0}, "version must be"),
        ({"version": True, "name": 3}, "name must be a string"),
        ({"events": ()}, "events must be classes"),
        ({"events": (int,)}, "events must be classes"),
        ({"tables": ()}, "it needs a table"),
        ({"tables": (1,)}, "tables must be a sequence of Table"),
        ({"tables": (Table("meta", "a", GOOD),)}, "that name is kept"),
        ({"tables": (Table("mine_1", "a", GOOD),)}, "that name is kept"),
        ({"tables": (Table("mine", "nope", GOOD),)}, "no such column: nope"),
        ({"views": (View("mine", "SELECT 1"),)}, "a name of its own"),
        ({"views": (View("other", "SELECT * FROM run"),)}, "no such table: run"),
        ({"views": (View("other", "DELETE FROM mine"),)}, "the SQL of a view is refused"),
        ({"fold": None}, "fold must be a method"),
    ],
)
def test_a_projection_that_breaks_a_rule_is_refused_when_it_is_loaded(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], because: str
) -> None:
    """A start says so in a sentence; nothing is half made."""
    made = type("Made", (Mine,), changes)
    monkeypatch.setitem(sys.modules, "made_here", SimpleNamespace(Made=made))
    with pytest.raises(ProjectionRefusedError, match=because):
        load("made_here:Made")


def test_projections_are_found_by_name_and_as_entry_points_once_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two ways to the same class are one projection; two of one name are refused."""
    monkeypatch.setitem(sys.modules, "mine_here", SimpleNamespace(Mine=Mine, Again=Mine))
    points = [SimpleNamespace(value="mine_here:Mine")]

    def entry_points(*, group: str) -> list[SimpleNamespace]:
        return points if group == "refold.projections" else []

    monkeypatch.setattr(loading, "entry_points", entry_points)
    assert [made.projection.name for made in find(["mine_here:Mine"])] == ["mine"]
    with pytest.raises(ProjectionRefusedError, match="projection mine belongs to projection mine"):
        find(["mine_here:Again"])
    for reference in ("nowhere:Mine", "mine_here:Nope", "mine_here", "a b:C", "os:getcwd"):
        with pytest.raises(ProjectionRefusedError):
            find([reference])


def test_a_fingerprint_tells_code_and_not_its_comments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What does nothing may change; what the fold uses of its own package may not."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    package = tmp_path / "printed"
    package.mkdir()
    (package / "part.py").write_text("LIMIT = 3\n")
    (package / "whole.py").write_text("from printed import part\nX = part.LIMIT\n")
    __import__("printed.whole")

    def of() -> str:
        code_of.cache_clear()
        return code_of("printed.whole")

    first = of()
    (package / "whole.py").write_text(
        '"""Words."""\n\nfrom printed import part  # why\n\nX = (part.LIMIT)\n'
    )
    assert of() == first
    (package / "part.py").write_text("LIMIT = 4\n")
    assert of() != first
    assert fingerprint(Mine()) != ""
    assert {fingerprint(projection) for projection in BUILT_IN} == {""}


def test_a_trial_returns_the_rows_of_a_small_history() -> None:
    """What a developer's own tests are made with."""
    events = history(("fl_run_a", e.RunStarted(limit_us=1, started_at=1)))
    assert rows_of(Mine(), events) == [(1, None)]
    with pytest.raises(ProjectionRefusedError):
        rows_of(with_ddl("CREATE TABLE mine (a)"), events)
