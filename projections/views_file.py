"""`views.db`: the file of the read models, who may change it, and when it is made anew.

The file is disposable and never synced. What can't be trusted is thrown away with a line in the
log: a damaged file, another journal's, one that a power cut may have torn, an older version.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
import time
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from .errors import ViewsBusyError, ViewsFailedError
from .generations import SCHEMA as GENERATIONS
from .generations import (
    create_generation,
    digest_of,
    drop_generation,
    generations,
    is_current,
    live_generations,
)
from .journal_file import JournalFile
from .projection import Projection

VIEWS_FILE: Final = "views.db"
LOCK_FILE: Final = "views.lock"
BUSY_SECONDS: Final = 5.0
POLL_SECONDS: Final = 0.001
_APPLICATION_ID: Final = 0x52465657  # "RFVW"
_FORMAT: Final = 1
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_PASSING: Final = frozenset(
    {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_LOCKED}
)
_SCHEMA: Final = f"""BEGIN IMMEDIATE;
CREATE TABLE meta (
  one     INTEGER PRIMARY KEY CHECK (one = 1),
  journal TEXT NOT NULL,
  boot    TEXT NOT NULL
) STRICT;
{GENERATIONS}
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {_FORMAT};
COMMIT;"""
_log = logging.getLogger("refold.projections")


@contextmanager
def translated(path: Path) -> Generator[None]:
    """Turn the errors of SQLite and of the operating system into the projections'."""
    try:
        yield
    except sqlite3.Error as error:
        raise ViewsFailedError(f"{path} can't be used: {error}") from error
    except OSError as error:
        raise ViewsFailedError(f"{path} can't be used: {error.strerror or error}") from error


def is_damage(error: BaseException) -> bool:
    """Tell a file that must be thrown away."""
    return _code(error) in _DAMAGED


def is_passing(error: BaseException) -> bool:
    """Tell a failure that may be gone a moment later: a full disk, a lock held too long."""
    return _code(error) in _PASSING


def _code(error: BaseException) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


@contextmanager
def transaction(connection: sqlite3.Connection) -> Generator[None]:
    """Make everything inside one write, or nothing of it."""
    _begin(connection)
    try:
        yield
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _begin(connection: sqlite3.Connection) -> None:
    """Take the write lock, looking for it every millisecond.

    SQLite looks ever more rarely, up to ten times a second, and would miss the short gaps between
    the steps of a rebuild.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        while True:
            try:
                connection.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
            time.sleep(POLL_SECONDS)
    finally:
        connection.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")


@contextmanager
def rebuild_lock(directory: Path) -> Generator[None]:
    """Be the only one who makes or drops generations of this data directory.

    Raises:
        ViewsBusyError: another process is doing so.
    """
    handle = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ViewsBusyError(
                f"another process is rebuilding the views in {directory}; try again when it is done"
            ) from error
        yield
    finally:
        os.close(handle)


def connect(path: Path) -> sqlite3.Connection:
    """Open a connection that may write, to a file that exists."""
    connection = sqlite3.connect(
        f"{_uri(path)}?mode=rw",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=128,
        timeout=BUSY_SECONDS,
    )
    try:
        connection.execute("PRAGMA journal_mode = wal")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA trusted_schema = 0")
        connection.execute("PRAGMA wal_autocheckpoint = 4000")
        connection.execute("PRAGMA journal_size_limit = 67108864")
    except BaseException:
        connection.close()
        raise
    return connection


def reader_uri(path: Path) -> str:
    """Return the SQLite URI that opens the views for reading only."""
    return f"{_uri(path)}?mode=ro"


def remove(path: Path) -> None:
    """Delete the file and what SQLite keeps beside it."""
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def prepare(path: Path, projections: Sequence[Projection], journal: JournalFile) -> None:
    """Leave a file that holds a live generation of each projection, however far behind.

    The caller holds the `rebuild_lock`.
    """
    if path.exists() and (reason := _distrust(path, journal)):
        _log.warning("%s is made anew: %s", path, reason)
        remove(path)
    if not path.exists():
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    with closing(connect(path)) as connection:
        if _pragma(connection, "user_version") == 0:
            connection.executescript(_SCHEMA)
        with transaction(connection):
            connection.execute(
                "INSERT INTO meta (one, journal, boot) VALUES (1, ?, '') "
                "ON CONFLICT (one) DO NOTHING",
                (journal.identity(),),
            )
            mark_in_use(connection)
        _fit(connection, projections)


def is_usable(path: Path, journal: JournalFile) -> bool:
    """Tell whether there is a file that can be trusted."""
    return path.exists() and not _distrust(path, journal)


def is_ready(path: Path, projections: Sequence[Projection], journal: JournalFile) -> bool:
    """Tell whether a file can be served as it is."""
    if not is_usable(path, journal):
        return False
    with closing(connect(path)) as connection:
        live = live_generations(connection)
        return all(
            projection.name in live and is_current(connection, projection, live[projection.name])
            for projection in projections
        )


def mark_in_use(connection: sqlite3.Connection) -> None:
    """Note that a power cut may tear the file from here on, inside a transaction."""
    connection.execute("UPDATE meta SET boot = ?", (_boot(),))


def close_cleanly(connection: sqlite3.Connection) -> None:
    """Sync the file once, and note that no power cut can tear it any more."""
    try:
        connection.execute("PRAGMA synchronous = FULL")
        # A checkpoint that has nothing to write does not sync either.
        connection.execute("UPDATE meta SET boot = boot")
        if connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0:
            connection.execute("UPDATE meta SET boot = ''")
    except sqlite3.Error as error:
        _log.warning("the views were not closed cleanly: %s", error)
    finally:
        connection.close()


def digest_live(path: Path, projection: Projection) -> str:
    """Hash the rows of the live generation, on a connection of its own.

    Raises:
        ViewsFailedError: the file can't be read.
    """
    with (
        translated(path),
        closing(sqlite3.connect(reader_uri(path), uri=True, isolation_level=None)) as connection,
    ):
        # One snapshot for the question which generation is live and for its rows.
        connection.execute("BEGIN")
        generation = live_generations(connection)[projection.name].generation
        return digest_of(connection, projection, generation)


def _fit(connection: sqlite3.Connection, projections: Sequence[Projection]) -> None:
    """Drop the generations that nobody reads any more, and begin those that are missing."""
    known = {projection.name: projection for projection in projections}
    kept: set[str] = set()
    for row in generations(connection):
        projection = known.get(row.name)
        if projection is not None and row.is_live and is_current(connection, projection, row):
            kept.add(row.name)
            continue
        if row.is_live:
            _log.warning(
                "projection %s, version %d at position %d, is made anew: this program has another",
                row.name,
                row.version,
                row.position,
            )
            with transaction(connection):
                for name in row.tables.split():
                    connection.execute(f"DROP VIEW IF EXISTS {name}")
        drop_generation(connection, row)
    for projection in projections:
        if projection.name not in kept:
            with transaction(connection):
                create_generation(connection, projection, is_live=True)


def _distrust(path: Path, journal: JournalFile) -> str:
    """Return why a file must be thrown away, "" if it may stay."""
    try:
        connection = connect(path)
        try:
            return _contradiction(connection, path, journal)
        finally:
            connection.close()
    except sqlite3.Error as error:
        # A table that is missing, although the file says it is ours, is damage too.
        if is_damage(error) or _code(error) == sqlite3.SQLITE_ERROR:
            return f"it is damaged ({error})"
        raise


def _contradiction(connection: sqlite3.Connection, path: Path, journal: JournalFile) -> str:
    if (
        _pragma(connection, "user_version") == 0
        and not connection.execute("SELECT 1 FROM sqlite_master").fetchone()
    ):
        return ""
    if _pragma(connection, "application_id") != _APPLICATION_ID:
        return "it is not a file of views"
    if _pragma(connection, "user_version") != _FORMAT:
        return "it has another format"
    if _is_torn(connection, path):
        return "it is torn"
    row = connection.execute("SELECT journal, boot FROM meta").fetchone()
    if row is None or row[0] != journal.identity():
        return "it was made from another journal"
    if row[1] not in ("", _boot()):
        return "the machine stopped while it was in use"
    for row in generations(connection):
        if row.position and journal.leaf(row.position) != row.leaf:
            return "it was made from another history of the journal"
    return ""


def _is_torn(connection: sqlite3.Connection, path: Path) -> bool:
    """Notice a file that is shorter than it says; one whose log still holds pages may be."""
    # Who reads at this moment is not waited for.
    connection.execute("PRAGMA busy_timeout = 0")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")
    # Nobody can write to the log between the two looks.
    with transaction(connection):
        if Path(f"{path}-wal").stat().st_size > 0:
            return False
        wanted = _pragma(connection, "page_size") * _pragma(connection, "page_count")
        return path.stat().st_size < wanted


def _boot() -> str:
    """Return what tells one start of the machine from the next."""
    try:
        return _BOOT_ID.read_text("ascii").strip()
    except OSError:
        return "unknown"


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _uri(path: Path) -> str:
    quoted = str(path.absolute()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    return f"file:{quoted}"
