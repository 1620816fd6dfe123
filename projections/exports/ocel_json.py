"""OCEL 2.0 as JSON: what ocel_sqlite.py writes, said in the other form.

The objects of a log stand after its events and have all that ever became of them, so they can't
be written while the events are read. A passing SQLite file beside the part holds them meanwhile.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final

import msgspec

from ...journal import events as e
from .ocel import OBJECT_TYPES, event_attributes
from .ocel_sqlite import BEGINNING, opened, table_of
from .ocel_sqlite import write as write_sqlite
from .plan import Report
from .source import Source

_encode: Final = msgspec.json.Encoder().encode
_BUFFER_BYTES: Final = 2**20
_PAGE: Final = "WHERE rowid > ? ORDER BY rowid LIMIT 1000"
_EVENTS: Final = f'SELECT rowid, "ocel_id", "ocel_type" FROM "event" {_PAGE}'
_RELATED: Final = (
    'SELECT "ocel_object_id", "ocel_qualifier" FROM "event_object" '
    'WHERE "ocel_event_id" = ? ORDER BY rowid'
)
_OBJECTS: Final = f'SELECT rowid, "ocel_id", "ocel_type" FROM "object" {_PAGE}'
_LINKED: Final = (
    'SELECT "ocel_target_id", "ocel_qualifier" FROM "object_object" '
    'WHERE "ocel_source_id" = ? ORDER BY "ocel_target_id", "ocel_qualifier"'
)


def write(source: Source, part: Path, report: Report | None) -> int:
    """Write the selected events into an empty file, and return how many there were.

    Raises:
        ExportFailedError: the disk refuses.
    """
    passing = part.with_name(f"{part.name}.sqlite")
    passing.unlink(missing_ok=True)
    passing.touch(0o600)
    try:
        events = write_sqlite(source, passing, report)
        with opened(passing) as connection, part.open("wb", buffering=_BUFFER_BYTES) as out:
            _dump(connection, out)
    finally:
        passing.unlink(missing_ok=True)
    return events


def _dump(connection: sqlite3.Connection, out: IO[bytes]) -> None:
    event_types = [
        {"name": facts.type, "attributes": _declared(event_attributes(facts))}
        for facts in e.CATALOGUE
    ]
    object_types = [
        {"name": type_, "attributes": _declared(attributes)}
        for type_, attributes in OBJECT_TYPES.items()
    ]
    out.write(b'{"eventTypes":' + _encode(event_types))
    out.write(b',\n"objectTypes":' + _encode(object_types))
    out.write(b',\n"events":[')
    _write_all(out, _events(connection))
    out.write(b'],\n"objects":[')
    _write_all(out, _objects(connection))
    out.write(b"]}\n")


def _declared(attributes: tuple[tuple[str, str], ...]) -> list[dict[str, str]]:
    return [{"name": name, "type": type_} for name, type_ in attributes]


def _write_all(out: IO[bytes], items: Iterator[dict[str, Any]]) -> None:
    comma = b"\n"
    for item in items:
        out.write(comma + _encode(item))
        comma = b",\n"
    out.write(b"\n")


def _events(connection: sqlite3.Connection) -> Iterator[dict[str, Any]]:
    names = {facts.type: [name for name, _ in event_attributes(facts)] for facts in e.CATALOGUE}
    rows = {type_: f'SELECT * FROM "event_{table_of(type_)}" WHERE rowid = ?' for type_ in names}
    seen = dict.fromkeys(names, 0)
    for id_, type_ in _pages(connection, _EVENTS):
        # The rows of a type stand in the order of its events, so ids need not be looked up.
        seen[type_] += 1
        _, time, *values = connection.execute(rows[type_], (seen[type_],)).fetchone()
        yield {
            "id": id_,
            "type": type_,
            "time": time,
            "attributes": [
                {"name": name, "value": value}
                for name, value in zip(names[type_], values, strict=True)
                if value is not None
            ],
            "relationships": _related(connection, _RELATED, id_),
        }


def _objects(connection: sqlite3.Connection) -> Iterator[dict[str, Any]]:
    names = {type_: [name for name, _ in listed] for type_, listed in OBJECT_TYPES.items()}
    rows = {
        type_: f'SELECT * FROM "object_{table_of(type_)}" WHERE "ocel_id" = ? ORDER BY rowid'
        for type_ in names
    }
    for id_, type_ in _pages(connection, _OBJECTS):
        attributes: list[dict[str, Any]] = []
        for _, time, changed, *values in connection.execute(rows[type_], (id_,)):
            for name, value in zip(names[type_], values, strict=True):
                if value is not None and changed in (None, name):
                    at = time if changed else BEGINNING
                    attributes.append({"name": name, "time": at, "value": value})
        yield {
            "id": id_,
            "type": type_,
            "attributes": attributes,
            "relationships": _related(connection, _LINKED, id_),
        }


def _related(connection: sqlite3.Connection, statement: str, id_: str) -> list[dict[str, str]]:
    return [
        {"objectId": other, "qualifier": qualifier}
        for other, qualifier in connection.execute(statement, (id_,))
    ]


def _pages(connection: sqlite3.Connection, statement: str) -> Iterator[tuple[str, str]]:
    after = 0
    while page := connection.execute(statement, (after,)).fetchall():
        for _, id_, type_ in page:
            yield id_, type_
        after = page[-1][0]
