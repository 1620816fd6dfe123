"""The searches: error messages, payload fields and outputs, copied so that they can be searched.

They are switched on one by one, keep their rows in files of their own, and are made with the same
interface as a developer's projection. What is erased, or leaves the journal for a segment, is
deleted from them: rows made anew would not have it either.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

from ..journal import events as e
from ..journal.envelope import Recorded
from .projection import Statement, Table
from .search_text import (
    fields_of_payload,
    scope_of,
    scope_of_workflow,
    words_of_message,
    words_of_output,
)

Search: TypeAlias = Literal["errors", "payloads", "logs"]
"""What can be switched on."""

ERRORS: Final = "search_errors"
PAYLOADS: Final = "search_payloads"
LOGS: Final = "search_logs"

_GONE: Final = (e.PayloadErased, e.SegmentArchived)
# The size of each text is of use for ranking only, and an answer is in the order of time.
_INDEX_TABLE: Final = """CREATE VIRTUAL TABLE {name}_{{g}} USING fts5(
  scope, words, position UNINDEXED, requested_position UNINDEXED,
  columnsize = 0, tokenize = 'unicode61 remove_diacritics 2')"""
_RUN_TABLE: Final = """CREATE TABLE {name}_{{g}} (
  run_id   TEXT PRIMARY KEY,
  position INTEGER NOT NULL,
  scope    TEXT NOT NULL
) STRICT"""


def _index(name: str) -> Table:
    return Table(name, "position", (_INDEX_TABLE.format(name=name),))


def _runs(name: str) -> Table:
    return Table(name, "position", (_RUN_TABLE.format(name=name),))


def _without_body(event: Recorded, run: str, go: Sequence[str]) -> Sequence[Statement]:
    """Note a run, so that its texts are marked as its tenant's and workflow's, or forget texts."""
    facts = event.facts
    if isinstance(facts, e.RunRequested):
        scope = f"{scope_of(event.tenant)} {scope_of_workflow(facts.workflow)}"
        return (Statement(run, (event.stream, event.position, scope)),)
    return _gone(go, facts) if isinstance(facts, _GONE) else ()


def _gone(sql: Sequence[str], facts: e.Facts) -> Sequence[Statement]:
    """Delete what was copied from the bodies that an event took away."""
    assert isinstance(facts, _GONE), "what else is wanted brings something"
    positions = [int(position) for position in facts.positions.split()]
    return [Statement(text, (position,)) for text in sql for position in positions]


class ErrorSearch:
    """Which runs ended with which message. See `Projection`."""

    name = ERRORS
    version = 1
    apart = True
    events = (e.RunRequested, e.RunFailed, e.RunCancelled, *_GONE)
    tables = (_runs("error_run"), _index("error_text"))
    views = ()

    _RUN = "INSERT INTO error_run_{g} (run_id, position, scope) VALUES (?, ?, ?)"
    _TEXT = """INSERT INTO error_text_{g} (rowid, scope, words, position, requested_position)
SELECT ?1, scope, ?2, ?1, position FROM error_run_{g} WHERE run_id = ?3"""
    _GO = ("DELETE FROM error_text_{g} WHERE rowid = ?",)

    def fold(self, event: Recorded) -> Sequence[Statement]:
        """Return what an event changes without its body."""
        return _without_body(event, self._RUN, self._GO)

    def fold_body(self, event: Recorded, body: bytes) -> Sequence[Statement]:
        """Return what the body of an event adds."""
        if isinstance(event.facts, e.RunRequested):
            return ()
        return (Statement(self._TEXT, (event.position, words_of_message(body), event.stream)),)


class LogSearch:
    """Which log entries say what. A replayed one is found where it happened. See `Projection`."""

    name = LOGS
    version = 1
    apart = True
    events = (e.RunRequested, e.NodeSucceeded, e.NodeFailed, e.NodeInterrupted, *_GONE)
    tables = (_runs("log_run"), _index("log_text"))
    views = ()

    _RUN = "INSERT INTO log_run_{g} (run_id, position, scope) VALUES (?, ?, ?)"
    _TEXT = """INSERT INTO log_text_{g} (rowid, scope, words, position, requested_position)
SELECT ?1, scope, ?2, ?1, position FROM log_run_{g} WHERE run_id = ?3"""
    _GO = ("DELETE FROM log_text_{g} WHERE rowid = ?",)

    def fold(self, event: Recorded) -> Sequence[Statement]:
        """Return what an event changes without its body."""
        return _without_body(event, self._RUN, self._GO)

    def fold_body(self, event: Recorded, body: bytes) -> Sequence[Statement]:
        """Return what the body of an event adds."""
        if event.src or isinstance(event.facts, e.RunRequested):
            return ()
        return (Statement(self._TEXT, (event.position, words_of_output(body), event.stream)),)


class PayloadSearch:
    """Which runs were started with which values. See `Projection`."""

    name = PAYLOADS
    version = 1
    apart = True
    events = (e.RunRequested, *_GONE)
    tables = (
        Table(
            "payload_run",
            "run_id",
            (
                """CREATE TABLE payload_run_{g} (
  run_id     TEXT PRIMARY KEY,
  payload_at INTEGER NOT NULL
) STRICT""",
            ),
        ),
        Table(
            "payload_field",
            "tenant, path, value, requested_position",
            (
                """CREATE TABLE payload_field_{g} (
  tenant             TEXT NOT NULL,
  path               TEXT NOT NULL,
  value              TEXT NOT NULL,
  requested_position INTEGER NOT NULL,
  workflow           TEXT NOT NULL,
  payload_at         INTEGER NOT NULL
) STRICT""",
                # A search reads nothing but this, in the order of its answer.
                "CREATE UNIQUE INDEX payload_found_{g} ON payload_field_{g} "
                "(tenant, path, value, requested_position, workflow)",
                "CREATE INDEX payload_body_{g} ON payload_field_{g} "
                "(payload_at, requested_position)",
            ),
        ),
    )
    views = ()

    _RUN = "INSERT INTO payload_run_{g} (run_id, payload_at) VALUES (?, ?)"
    _FIELD = """INSERT INTO payload_field_{g}
  (tenant, path, value, requested_position, workflow, payload_at) VALUES (?, ?, ?, ?, ?, ?)"""
    # What another run was started with stands at its own request.
    _INHERITED = """INSERT INTO payload_field_{g}
  (tenant, path, value, requested_position, workflow, payload_at)
SELECT tenant, path, value, ?1, ?2, payload_at FROM payload_field_{g}
WHERE payload_at = (SELECT payload_at FROM payload_run_{g} WHERE run_id = ?3)
  AND requested_position = payload_at"""
    _GO = ("DELETE FROM payload_field_{g} WHERE payload_at = ?",)

    def fold(self, event: Recorded) -> Sequence[Statement]:
        """Return what an event changes without its body."""
        facts = event.facts
        if not isinstance(facts, e.RunRequested):
            return _gone(self._GO, facts)
        if facts.payload_run:
            values = (event.position, facts.workflow, facts.payload_run)
            return (Statement(self._INHERITED, values),)
        return (Statement(self._RUN, (event.stream, event.body_at)),)

    def fold_body(self, event: Recorded, body: bytes) -> Sequence[Statement]:
        """Return what the body of an event adds."""
        facts = event.facts
        if not isinstance(facts, e.RunRequested) or facts.payload_run:
            return ()
        return [
            Statement(
                self._FIELD,
                (event.tenant, path, value, event.position, facts.workflow, event.body_at),
            )
            for path, value in fields_of_payload(body)
        ]


_SEARCHES: Final[dict[Search, type[ErrorSearch | PayloadSearch | LogSearch]]] = {
    "errors": ErrorSearch,
    "payloads": PayloadSearch,
    "logs": LogSearch,
}


def references(searches: Sequence[Search]) -> list[str]:
    """Return the `module:Class` of each search that is switched on."""
    return [f"{_SEARCHES[each].__module__}:{_SEARCHES[each].__name__}" for each in searches]
