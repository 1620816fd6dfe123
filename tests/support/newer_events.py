"""Appends an entry to a journal's file as another version of the service would have written it."""

from __future__ import annotations

import sqlite3

import msgspec

from refold.journal.envelope import NO_LEAF, leaf_hash, payload_commitment
from tests.support.journal_kit import NEW_IDS

_SALT = b"s" * 32


def append_entry(
    connection: sqlite3.Connection,
    stream: str,
    type_: str,
    schema: int,
    facts: bytes = b"{}",
    body: bytes | None = None,
) -> int:
    """Append one entry, rightly hashed and chained; returns its position.

    The file's own triggers are in force: what they refuse, no version could have written.
    """
    identity = connection.execute("SELECT id FROM journal").fetchone()[0]
    position, at = connection.execute("SELECT max(position) + 1, max(at) FROM event").fetchone()
    version, leaf = connection.execute(
        "SELECT version, leaf FROM event WHERE stream = ? ORDER BY version DESC LIMIT 1", (stream,)
    ).fetchone() or (0, None)
    made = {
        "actor": "",
        "at": at,
        "cause": "",
        "corr": "request-1",
        "facts": msgspec.Raw(facts),
        "id": NEW_IDS.new(),
        "journal": identity,
        "payload": "" if body is None else payload_commitment(_SALT, body),
        "prev": NO_LEAF if leaf is None else leaf.hex(),
        "schema": schema,
        "src": "",
        "stream": stream,
        "tenant": "acme",
        "type": type_,
        "v": 1,
        "version": version + 1,
    }
    entry = msgspec.json.encode(made)
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(
        "INSERT INTO event (position, stream, version, at, entry, leaf, body_at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        (position, stream, version + 1, at, entry, leaf_hash(entry), position if body else 0),
    )
    if body is not None:
        connection.execute(
            "INSERT INTO body (position, salt, subject, data) VALUES (?, ?, NULL, ?)",
            (position, _SALT, body),
        )
    connection.execute("COMMIT")
    return int(position)
