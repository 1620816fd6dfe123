"""Opens the journal's SQLite file: who may, with which pragmas, and which statements it refuses.

The pragmas are read back, because SQLite answers an unusable one with silence.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from .errors import CorruptStoreError, ForeignStoreError, StoreFailedError, StoreOwnedError
from .sqlite_checks import (
    FILE_FORMAT,
    pragma,
    refuse_altered,
    refuse_changed_tail,
    refuse_foreign,
    refuse_torn,
)
from .sqlite_upgrade import upgrade

APPLICATION_ID: Final = 0x5245464F  # "REFO"
JOURNAL_FILE: Final = "journal.db"
LOCK_FILE: Final = "journal.lock"

_WRITER_PRAGMAS: Final[dict[str, int | str]] = {
    "journal_mode": "wal",
    "synchronous": 2,  # FULL: an acknowledged commit survives a power cut
    "secure_delete": 1,  # an erased body is overwritten, not just unlinked
    "temp_store": 2,  # MEMORY: what an erasure overwrites is in no temporary file either
    "recursive_triggers": 1,  # INSERT OR REPLACE meets the delete triggers too
    "trusted_schema": 0,
    "wal_autocheckpoint": 4000,
    "busy_timeout": 5000,
}
READER_PRAGMAS: Final = ("query_only = 1", "trusted_schema = 0", "busy_timeout = 5000")

# How long the writer waits for readers that keep it from emptying the log. The wait that lets
# a checkpoint give way is the one setting that is changed while the store is open.
SHORT_BUSY_MS: Final = 100
_BUSY_CHANGES: Final = frozenset({str(SHORT_BUSY_MS), str(_WRITER_PRAGMAS["busy_timeout"])})
_PART_BYTES: Final = 1 << 20
_ARCHIVES_SINCE: Final = 3
_NO_ARCHIVE: Final = "(position INTEGER PRIMARY KEY, by_position INTEGER)"
_FROZEN_PRAGMAS: Final = frozenset(_WRITER_PRAGMAS) | {
    "application_id",
    "ignore_check_constraints",
    "schema_version",
    "user_version",
    "writable_schema",
}
_TABLES: Final = frozenset({"journal", "event", "body", "erasure", "archive", "request", "hold"})
_WRITABLE: Final = {
    sqlite3.SQLITE_INSERT: _TABLES,
    sqlite3.SQLITE_UPDATE: frozenset({"request", "body"}),
    sqlite3.SQLITE_DELETE: frozenset({"request", "hold"}),
}
_HARMLESS: Final = frozenset(
    {
        sqlite3.SQLITE_SELECT,
        sqlite3.SQLITE_READ,
        sqlite3.SQLITE_FUNCTION,
        sqlite3.SQLITE_TRANSACTION,
        sqlite3.SQLITE_SAVEPOINT,
        sqlite3.SQLITE_RECURSIVE,
    }
)


@contextmanager
def owner_lock(directory: Path) -> Generator[None]:
    """Hold the data directory for this process alone.

    The kernel lets go of it when the process ends, however it ends.

    Raises:
        StoreOwnedError: another process holds it.
        StoreFailedError: the directory can't be written to.
    """
    with translated(directory):
        handle = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        with translated(directory):
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
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
        StoreFailedError: it can't be opened or written, or a pragma did not take.
    """
    with translated(path):
        _reserve(path)
        connection = _connect(writer_uri(path))
        try:
            refuse_foreign(connection, path, APPLICATION_ID)
            _set_pragmas(connection, path)
            version = pragma(connection, "user_version")
            if version == 0:
                _create(connection)
            elif version in (1, 2):
                upgrade(connection, _schema(), int(version), FILE_FORMAT)
            # What a crash left in the log goes into the file, unless somebody is reading.
            busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            if busy:
                _write_again(Path(f"{path}-wal"))
            else:
                refuse_torn(connection, path)
            refuse_altered(connection, path, _schema())
            # SQLite opens a file that can't be written as if nothing were the matter.
            probe(connection)
            connection.set_authorizer(_authorize)
            refuse_changed_tail(connection, path)
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
    with translated(path):
        connection = _connect(reader_uri(path))
        try:
            refuse_foreign(connection, path, APPLICATION_ID)
            version = int(pragma(connection, "user_version"))
            if version == 0:
                raise ForeignStoreError(f"{path} holds no journal")
            if version < _ARCHIVES_SINCE:
                # Until a service has brought the file to the present format, nothing is archived.
                connection.execute(f"CREATE TEMP TABLE archive {_NO_ARCHIVE}")
            for setting in READER_PRAGMAS:
                connection.execute(f"PRAGMA {setting}")
        except BaseException:
            connection.close()
            raise
    return connection


def reader_uri(path: Path) -> str:
    """Return the SQLite URI that opens a journal for reading only."""
    return f"file:{_quoted(path)}?mode=ro"


def writer_uri(path: Path) -> str:
    """Return the SQLite URI that opens a journal for writing, and makes none."""
    return f"file:{_quoted(path)}?mode=rw"


def probe(connection: sqlite3.Connection) -> None:
    """Make a commit that changes nothing, to learn whether the disk takes one.

    Raises:
        sqlite3.Error: it does not.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Writing the same number again still writes a page and syncs it.
        connection.execute(f"PRAGMA user_version = {FILE_FORMAT}")
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def empty_log(connection: sqlite3.Connection) -> bool:
    """Move the write-ahead log into the file and cut it to nothing; False if a reader prevents it.

    Waits for `SHORT_BUSY_MS` at most.

    Raises:
        sqlite3.Error: the disk refuses.
    """
    # Most of the work is done without waiting for anybody, so that the rest is short.
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
    connection.execute(f"PRAGMA busy_timeout = {SHORT_BUSY_MS}")
    try:
        busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    finally:
        connection.execute(f"PRAGMA busy_timeout = {_WRITER_PRAGMAS['busy_timeout']}")
    return not busy


@contextmanager
def translated(path: Path) -> Generator[None]:
    """Turn the errors of SQLite and of the operating system into the journal's."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise StoreFailedError(f"{path} can't be used: {error}") from error
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB:
            raise ForeignStoreError(f"{path} is not a journal (not an SQLite file)") from error
        raise CorruptStoreError(f"{path} is damaged: {error}") from error
    except OSError as error:
        raise StoreFailedError(f"{path} can't be used: {error.strerror or error}") from error


def _reserve(path: Path) -> None:
    """Make a new file that only its owner may read; SQLite gives its log the same mode."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    os.close(handle)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _write_again(log: Path) -> None:
    """Write a log over itself, and sync it.

    It may hold a commit whose sync failed before the last process was killed: the kernel takes
    such pages for written, and gives them back although they are on no disk.
    """
    with log.open("r+b") as file:
        while part := file.read(_PART_BYTES):
            file.seek(-len(part), os.SEEK_CUR)
            file.write(part)
            # Between a write and a read of one file, its place has to be said.
            file.seek(0, os.SEEK_CUR)
        file.flush()
        os.fsync(file.fileno())


def _connect(uri: str) -> sqlite3.Connection:
    # Statements are cached by text; the store has about a dozen.
    return sqlite3.connect(
        uri, uri=True, isolation_level=None, check_same_thread=False, cached_statements=64
    )


def _quoted(path: Path) -> str:
    return str(path.absolute()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def _set_pragmas(connection: sqlite3.Connection, path: Path) -> None:
    for name, wanted in _WRITER_PRAGMAS.items():
        connection.execute(f"PRAGMA {name} = {wanted}")
        actual = pragma(connection, name)
        if actual != wanted:
            raise StoreFailedError(
                f"{path}: PRAGMA {name} is {actual} although {wanted} was asked for; "
                "the file system may not support what durability needs"
            )


def _schema() -> str:
    return Path(__file__).with_name("schema.sql").read_text("utf-8")


def _create(connection: sqlite3.Connection) -> None:
    connection.executescript(
        f"BEGIN IMMEDIATE; {_schema()}\nPRAGMA application_id = {APPLICATION_ID};"
        f"PRAGMA user_version = {FILE_FORMAT}; COMMIT;"
    )


def _authorize(
    action: int, one: str | None, two: str | None, _database: str | None, _trigger: str | None
) -> int:
    """Refuse to prepare a statement that would rewrite history: a second lock to the triggers.

    What is not known to be harmless is refused: with it go all changes of the schema and ATTACH.
    """
    if action in _HARMLESS:
        return sqlite3.SQLITE_OK
    if action in _WRITABLE and one in _WRITABLE[action]:
        return sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_PRAGMA and one is not None:
        name = one.lower()
        rewritten = (name, two) == ("user_version", str(FILE_FORMAT))
        rewritten = rewritten or (name == "busy_timeout" and two in _BUSY_CHANGES)
        if two is None or rewritten or name not in _FROZEN_PRAGMAS:
            return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY
