"""Reads a journal's file for an export: page by page, each entry and body checked on the way.

Rules of this file:

1. Never more than one body is in memory, and no read lasts longer than a page: the service may
   be running, and goes on writing.
2. What does not fit its hash, its commitment or its place ends the export: a copy must not make
   a changed entry look like a good one.
3. Nothing after `up_to` is read. Only an erasure can make two reads differ.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from ...journal import events as e
from ...journal import ids
from ...journal.envelope import leaf_hash, payload_commitment
from ...journal.errors import CorruptStoreError
from ...journal.sqlite_file import open_reader, translated
from ...journal.sqlite_reader import Reader
from ..errors import GapError
from .plan import SEALED, Bodies, Plan

BodyState = Literal["none", "present", "erased", "archived", "withheld"]

_PAGE: Final = 1000
_COLUMNS: Final = (
    "event.position, entry, leaf, body_at, {data}, erasure.by_position, archive.by_position"
)
_READ: Final = {True: "salt, subject, data", False: "NULL, NULL, NULL"}
_JOINED: Final = (
    "FROM event LEFT JOIN body ON body.position = body_at "
    "LEFT JOIN erasure ON erasure.position = body_at "
    "LEFT JOIN archive ON archive.position = body_at"
)
_BY_POSITION: Final = (
    f"SELECT {_COLUMNS} {_JOINED} WHERE event.position > ? AND event.position <= ? "
    f"ORDER BY event.position LIMIT {_PAGE}"
)
_OF_STREAM: Final = (
    f"SELECT {_COLUMNS} {_JOINED} WHERE stream = ? AND version > ? AND event.position <= ? "
    f"ORDER BY version LIMIT {_PAGE}"
)
# A run's id is its prefix and a ULID, so this range holds the runs and no other stream.
_IS_RUN: Final = f"stream > '{ids.RUN}' AND stream < '{ids.RUN[:-1]}`'"
_RUNS: Final = (
    "SELECT stream FROM event WHERE stream > ? AND version = 1 AND position <= ? "
    f"AND {_IS_RUN} ORDER BY stream LIMIT {_PAGE}"
)
_NEWEST: Final = (
    "SELECT position FROM event WHERE stream = ? AND position <= ? ORDER BY version DESC LIMIT 1"
)
_ENTRY: Final = "SELECT position, entry FROM event WHERE stream = ? AND version = 1"
_DEFINED: Final = (
    "SELECT entry, data FROM event LEFT JOIN body ON body.position = event.position "
    "WHERE stream = ? ORDER BY version"
)


class Head(msgspec.Struct, frozen=True, gc=False):
    """What stands in an entry. The facts are left as they are: not every format needs them."""

    actor: str
    at: int
    cause: str
    corr: str
    facts: msgspec.Raw
    id: str
    journal: str
    payload: str
    schema: int
    src: str
    stream: str
    tenant: str
    type: str
    version: int


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One entry as it stands in the journal, with what may be shown of its body."""

    position: int
    text: bytes
    """The exact bytes that were hashed."""
    leaf: bytes
    head: Head
    body_at: int
    body_state: BodyState
    body: bytes | None = None
    salt: bytes | None = None
    subject: str | None = None
    erased_by: int = 0
    """The position of the event that says so."""
    archived_by: int = 0
    """The position of the event that says in which segment the body is."""

    def facts(self) -> e.Facts:
        """Return the facts as a struct of the catalogue.

        Raises:
            UnknownEventError: the type or schema is newer than this version.
        """
        return e.decode_facts(self.head.type, self.head.schema, self.head.facts)


_decode_head: Final = msgspec.json.Decoder(Head, strict=True).decode
_decode_any: Final = msgspec.json.Decoder().decode


class Source:
    """The events of a plan. Every method raises `StoreError` for a damaged file."""

    def __init__(
        self, connection: sqlite3.Connection, path: Path, plan: Plan, bodies: Bodies
    ) -> None:
        self.plan = plan
        self._connection = connection
        self._path = path
        self._bodies = plan.bodies(bodies)
        columns = _READ[self._bodies != "none"]
        self._by_position = _BY_POSITION.format(data=columns)
        self._of_stream = _OF_STREAM.format(data=columns)
        self.requested = lru_cache(maxsize=8192)(self._requested)
        self.owners = lru_cache(maxsize=64)(self._owners)
        self.erased_total = 0
        """How many of the selected entries that were read have erased bodies."""

    def entries(self, after: int = 0) -> Iterator[Entry]:
        """Read the selected events that follow a position, in the order of the journal."""
        selection = self.plan.selection
        after = max(after, selection.first - 1)
        if selection.run:
            for entry in self._read_stream(selection.run):
                if entry.position > after and self._is_selected(entry.head):
                    yield self._counted(entry)
            return
        while after < self.plan.up_to:
            before = after
            for entry in self._page(self._by_position, (after, self.plan.up_to)):
                if entry.position != after + 1:
                    raise GapError(after + 1, entry.position)
                after = entry.position
                if self._is_selected(entry.head):
                    yield self._counted(entry)
            if after == before:
                raise _fault(after + 1, "is missing")

    def stream(self, stream: str) -> Iterator[Entry]:
        """Read a stream from its first event up to the plan's last position."""
        for entry in self._read_stream(stream):
            yield self._counted(entry)

    def _read_stream(self, stream: str) -> Iterator[Entry]:
        version, more = 0, True
        while more:
            before = version
            for entry in self._page(self._of_stream, (stream, version, self.plan.up_to)):
                if (entry.head.stream, entry.head.version) != (stream, version + 1):
                    raise _fault(entry.position, f"does not follow version {version} of its stream")
                version = entry.head.version
                yield entry
            more = version > before

    def runs(self, after: str = "") -> Iterator[str]:
        """Read the ids of the selected runs that have an event in the plan's range, in order."""
        selection = self.plan.selection
        if selection.run:
            found = [selection.run] if selection.run > after and self._has_run() else []
            yield from found
            return
        while page := self._rows(_RUNS, (after, self.plan.up_to)):
            for (run,) in page:
                if self._is_selected_run(run):
                    yield run
            after = page[-1][0]

    def entries_total(self) -> int:
        """Return how many positions `entries` goes through."""
        selection = self.plan.selection
        if selection.run:
            return self._count("stream = ? AND position <= ?", selection.run)
        return self.plan.up_to - selection.first + 1

    def run_events_total(self) -> int:
        """Return how many events there are in runs, selected or not."""
        if self.plan.selection.run:
            return self.entries_total()
        return self._count(f"{_IS_RUN} AND position <= ?")

    def newest(self, stream: str) -> int:
        """Return the newest position of a stream up to the plan's last, 0 without one."""
        rows = self._rows(_NEWEST, (stream, self.plan.up_to))
        return int(rows[0][0]) if rows else 0

    def _requested(self, run: str) -> e.RunRequested | None:
        """Return what made a run, None if it is not in the journal."""
        rows = self._rows(_ENTRY, (run,))
        if not rows:
            return None
        head = self._head(*rows[0])
        facts = e.decode_facts(head.type, head.schema, head.facts)
        return facts if isinstance(facts, e.RunRequested) else None

    def _owners(self, workflow: str, version: int) -> dict[str, str]:
        """Return the iterator that each inner node of a definition stands in."""
        for entry, body in self._rows(_DEFINED, (workflow,)):
            head = self._head(0, entry)
            if head.type != e.WorkflowDefined.type or body is None:
                continue
            facts = e.decode_facts(head.type, head.schema, head.facts)
            if isinstance(facts, e.WorkflowDefined) and facts.workflow_version == version:
                return _owners_in(body)
        return {}

    def _page(self, statement: str, parameters: tuple[Any, ...]) -> Iterator[Entry]:
        with translated(self._path), closing(self._connection.cursor()) as cursor:
            for row in cursor.execute(statement, parameters):
                yield self._entry(*row)

    def _rows(self, statement: str, parameters: tuple[Any, ...]) -> list[Any]:
        with translated(self._path):
            return self._connection.execute(statement, parameters).fetchall()

    def _count(self, condition: str, *parameters: Any) -> int:
        rows = self._rows(
            f"SELECT count(*) FROM event WHERE {condition}", (*parameters, self.plan.up_to)
        )
        return int(rows[0][0])

    def _head(self, position: int, text: bytes) -> Head:
        try:
            return _decode_head(text)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _fault(position, "is unreadable") from error

    def _entry(
        self,
        position: int,
        text: bytes,
        leaf: bytes,
        body_at: int,
        salt: bytes | None,
        subject: str | None,
        body: bytes | None,
        erased_by: int | None,
        archived_by: int | None,
    ) -> Entry:
        if leaf_hash(text) != leaf:
            raise _fault(position, "was changed: its leaf hash is another")
        head = self._head(position, text)
        if head.journal != self.plan.journal:
            raise _fault(position, "belongs to another journal")
        if not head.payload:
            return Entry(position, text, leaf, head, body_at, "none")
        if erased_by:
            return Entry(position, text, leaf, head, body_at, "erased", erased_by=erased_by)
        if archived_by:
            return Entry(position, text, leaf, head, body_at, "archived", archived_by=archived_by)
        is_sealed = head.type.startswith(SEALED)
        if self._bodies == "none" or (is_sealed and self._bodies == "open"):
            return Entry(position, text, leaf, head, body_at, "withheld")
        if body is None or salt is None:
            raise _fault(position, "has lost its body")
        if payload_commitment(salt, body) != head.payload:
            raise _fault(position, "has another body than it is committed to")
        return Entry(position, text, leaf, head, body_at, "present", body, salt, subject)

    def _counted(self, entry: Entry) -> Entry:
        self.erased_total += entry.body_state == "erased"
        return entry

    def _is_selected(self, head: Head) -> bool:
        selection = self.plan.selection
        if selection.tenant and head.tenant != selection.tenant:
            return False
        if selection.workflow and head.stream != selection.workflow:
            facts = self.requested(head.stream) if ids.is_run(head.stream) else None
            return facts is not None and facts.workflow == selection.workflow
        return True

    def _is_selected_run(self, run: str) -> bool:
        selection = self.plan.selection
        if selection.first > 1 and self.newest(run) < selection.first:
            return False
        if selection.tenant or selection.workflow:
            rows = self._rows(_ENTRY, (run,))
            return self._is_selected(self._head(*rows[0]))
        return True

    def _has_run(self) -> bool:
        run = self.plan.selection.run
        return ids.is_run(run) and self.newest(run) > 0 and self._is_selected_run(run)


@contextmanager
def open_source(path: Path, plan: Plan, bodies: Bodies) -> Generator[Source]:
    """Open a journal's file for an export, on a connection of its own.

    Raises:
        StoreError: it is not a journal, or can't be opened.
    """
    with closing(open_reader(path)) as connection:
        yield Source(connection, path, plan, bodies)


def identity_and_head(path: Path) -> tuple[str, int]:
    """Return a journal's id and its newest position.

    Raises:
        StoreError: it is not a journal, or can't be opened.
    """
    with closing(open_reader(path)) as connection, translated(path):
        reader = Reader(connection)
        return reader.identity(), reader.head()


def _owners_in(body: bytes) -> dict[str, str]:
    """Find the iterators of a definition: nodes whose `data` has nodes of its own."""
    owners: dict[str, str] = {}
    try:
        said: Any = _decode_any(body)
        waiting: list[tuple[str, Any]] = [("", said["workflow"])]
        while waiting:
            owner, graph = waiting.pop()
            for node in graph["nodes"]:
                if owner:
                    owners[node["id"]] = owner
                if isinstance(node["data"].get("nodes"), list):
                    waiting.append((node["id"], node["data"]))
    except (msgspec.MsgspecError, UnicodeDecodeError, LookupError, TypeError, AttributeError):
        # A definition of an older form says nothing here; its nodes hang on the run itself.
        return owners
    return owners


def _fault(position: int, what: str) -> CorruptStoreError:
    return CorruptStoreError(f"the entry at position {position} {what}")
