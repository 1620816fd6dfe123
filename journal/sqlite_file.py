"""Opens the journal's SQLite file: who may, with which pragmas, and whether it is ours and whole.

The pragmas are read back, because SQLite answers an unusable one with silence.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Final

import msgspec

from .envelope import decode_entry, leaf_hash
from .errors import CorruptStoreError, ForeignStoreError, StoreFailedError, StoreOwnedError

APPLICATION_ID: Final = 0x5245464F  # "REFO"
FILE_FORMAT: Final = 1
JOURNAL_FILE: Final = "journal.db"
LOCK_FILE: Final = "journal.lock"
_TAIL_CHECKED: Final = 1000
"""How many of the newest entries are re-hashed at a start."""

_WRITER_PRAGMAS: Final = {
    "journal_mode": "wal",
    "synchronous": 2,  # FULL: an acknowledged commit survives a power cut
    "secure_delete": 1,  # an erased body is overwritten, not just unlinked
    "recursive_triggers": 1,  # INSERT OR REPLACE meets the delete triggers too
    "trusted_schema": 0,
    "wal_autocheckpoint": 4000,
    "busy_timeout": 5000,
}
_READER_PRAGMAS: Final = {"query_only": 1, "trusted_schema": 0, "busy_timeout": 5000}

_FORBIDDEN: Final = {
    sqlite3.SQLITE_UPDATE: {"event", "body", "journal", "erasure", "sqlite_master"},
    sqlite3.SQLITE_DELETE: {"event", "journal", "erasure"},
    sqlite3.SQLITE_DROP_TABLE: None,
    sqlite3.SQLITE_DROP_TRIGGER: None,
    sqlite3.SQLITE_DROP_INDEX: None,
    sqlite3.SQLITE_ALTER_TABLE: None,
    sqlite3.SQLITE_ATTACH: None,
}


@contextmanager
def owner_lock(directory: Path) -> Iterator[None]:
    """Hold the data directory for this process alone.

    Raises:
        StoreOwnedError: another process holds it.
    """
    handle = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.pread(handle, 32, 0).decode("ascii", "replace").strip() or "unknown"
            raise StoreOwnedError(
                f"the journal in {directory} is owned by another process (pid {owner}); "
                "one process at a time may serve a data directory"
            ) from error
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(handle)


def open_writer(path: Path) -> sqlite3.Connection:
    """Open the one connection that may write, making the tables in a new file.

    Raises:
        ForeignStoreError, CorruptStoreError: it is not a whole journal.
        StoreFailedError: it can't be opened, or a pragma did not take.
    """
    _refuse_truncated(path)
    connection = _connect(f"file:{_quoted(path)}?mode=rwc")
    try:
        _refuse_foreign(connection, path)
        _set_pragmas(connection, _WRITER_PRAGMAS, path)
        if _pragma(connection, "user_version") == 0:
            _create(connection)
        connection.set_authorizer(_authorize)
        _check_tail(connection, path)
    except sqlite3.DatabaseError as error:
        connection.close()
        raise CorruptStoreError(f"{path} can't be read as a journal: {error}") from error
    except BaseException:
        connection.close()
        raise
    return connection


def open_reader(path: Path) -> sqlite3.Connection:
    """Open a connection that can't write.

    Raises:
        ForeignStoreError, CorruptStoreError: it is not a whole journal.
        StoreFailedError: it can't be opened.
    """
    if not path.exists():
        raise ForeignStoreError(f"there is no journal at {path}")
    connection = _connect(reader_uri(path))
    try:
        _refuse_foreign(connection, path)
        if _pragma(connection, "user_version") != FILE_FORMAT:
            raise ForeignStoreError(f"{path} holds no journal")
        set_reader_pragmas(connection)
    except sqlite3.DatabaseError as error:
        connection.close()
        raise CorruptStoreError(f"{path} can't be read as a journal: {error}") from error
    except BaseException:
        connection.close()
        raise
    return connection


def reader_uri(path: Path) -> str:
    """Return the SQLite URI that opens a journal for reading only."""
    return f"file:{_quoted(path)}?mode=ro"


def set_reader_pragmas(connection: sqlite3.Connection) -> None:
    """Make a connection unable to write, whatever it is asked."""
    for name, value in _READER_PRAGMAS.items():
        connection.execute(f"PRAGMA {name} = {value}")


def _connect(uri: str) -> sqlite3.Connection:
    try:
        # Statements are cached by text; the store has about a dozen.
        return sqlite3.connect(
            uri, uri=True, isolation_level=None, check_same_thread=False, cached_statements=64
        )
    except sqlite3.Error as error:
        raise StoreFailedError(f"the journal can't be opened: {error}") from error


def _quoted(path: Path) -> str:
    return str(path.absolute()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def _pragma(connection: sqlite3.Connection, name: str) -> int | str:
    value = connection.execute(f"PRAGMA {name}").fetchone()[0]
    assert isinstance(value, (int, str))
    return value


def _set_pragmas(
    connection: sqlite3.Connection, pragmas: dict[str, int | str], path: Path
) -> None:
    for name, wanted in pragmas.items():
        connection.execute(f"PRAGMA {name} = {wanted}")
        actual = _pragma(connection, name)
        if actual != wanted:
            raise StoreFailedError(
                f"{path}: PRAGMA {name} is {actual} although {wanted} was asked for; "
                "the file system may not support what durability needs"
            )


def _refuse_truncated(path: Path) -> None:
    """Notice a file that is shorter than its own header says, which SQLite may not for long."""
    if not path.exists() or path.stat().st_size == 0:
        return
    with path.open("rb") as file:
        header = file.read(100)
    if len(header) < 100 or not header.startswith(b"SQLite format 3\x00"):
        raise ForeignStoreError(f"{path} is not a journal (not an SQLite file)")
    page_bytes = int.from_bytes(header[16:18], "big")
    page_bytes = 65536 if page_bytes == 1 else page_bytes
    pages = int.from_bytes(header[28:32], "big")
    size = path.stat().st_size
    if size < pages * page_bytes:
        raise CorruptStoreError(
            f"{path} is torn: it has {size} bytes and its header says {pages * page_bytes}"
        )


def _refuse_foreign(connection: sqlite3.Connection, path: Path) -> None:
    application, version = _pragma(connection, "application_id"), _pragma(connection, "user_version")
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if tables and application != APPLICATION_ID:
        raise ForeignStoreError(f"{path} is not a journal: it belongs to another program")
    if version not in (0, FILE_FORMAT):
        raise ForeignStoreError(
            f"{path} has format {version}, this version reads format {FILE_FORMAT}"
        )


def _create(connection: sqlite3.Connection) -> None:
    schema = resources.files(__package__).joinpath("schema.sql").read_text("utf-8")
    connection.executescript(
        f"BEGIN IMMEDIATE; {schema}\nPRAGMA application_id = {APPLICATION_ID};"
        f"PRAGMA user_version = {FILE_FORMAT}; COMMIT;"
    )


def _authorize(
    action: int, one: str | None, _two: str | None, _database: str | None, trigger: str | None
) -> int:
    """Refuse to prepare a statement that would rewrite history: a second lock to the triggers."""
    if action in _FORBIDDEN:
        tables = _FORBIDDEN[action]
        if tables is None or (one in tables and trigger is None):
            return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK


def _check_tail(connection: sqlite3.Connection, path: Path) -> None:
    """Re-hash the newest entries and see that they follow one another."""
    rows = connection.execute(
        "SELECT position, stream, version, at, entry, leaf, body_at FROM event "
        "ORDER BY position DESC LIMIT ?",
        (_TAIL_CHECKED,),
    ).fetchall()
    for index, (position, stream, version, at, entry, leaf, body_at) in enumerate(rows):
        try:
            event = decode_entry(position, entry, leaf, body_at)
        except msgspec.DecodeError as error:
            raise CorruptStoreError(f"{path}: the entry at {position} is unreadable") from error
        if (
            position != rows[0][0] - index
            or leaf_hash(entry) != leaf
            or (event.stream, event.version, event.at) != (stream, version, at)
        ):
            raise CorruptStoreError(f"{path}: the entry at {position} was changed")
