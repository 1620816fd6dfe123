"""`views.db`: the file of the read models, who may change it, and when it is made anew.

A projection that is `apart` has a file like it alone, `views.<name>.db`. A file is disposable and
never synced. What can't be trusted is thrown away with a line in the log: a damaged file, another
journal's, one that a power cut may have torn, an older version.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
from collections.abc import Collection, Generator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Final

from .errors import ViewsBusyError, ViewsFailedError, ViewsReplacedError
from .fingerprint import fingerprint
from .fitting import fit, give_up_unknown
from .generations import SCHEMA as GENERATIONS
from .generations import digest_of, generations, is_current, live_generations
from .journal_file import JournalFile, open_journal_file
from .projection import Projection, is_apart
from .sqlite_errors import code_of, is_damage
from .sqlite_writes import BUSY_SECONDS, transaction

VIEWS_FILE: Final = "views.db"
_APPLICATION_ID: Final = 0x52465657  # "RFVW"
_FORMAT: Final = 2
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
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


def file_of(projection: Projection) -> str:
    """Return the name of the file that a projection's rows are in."""
    return f"views.{projection.name}.db" if is_apart(projection) else VIEWS_FILE


@contextmanager
def rebuild_lock(directory: Path, file: str = VIEWS_FILE) -> Generator[None]:
    """Be the only one who makes or drops generations of a file of this data directory.

    Raises:
        ViewsBusyError: somebody is making one.
    """
    with _flock(directory, _lock_of(file), fcntl.LOCK_EX):
        yield


@contextmanager
def growth_lock(directory: Path, projections: Sequence[Projection]) -> Generator[None]:
    """Be the only one who makes generations of these projections in these versions.

    All of them are in one file.

    Raises:
        ViewsBusyError: somebody is making one of them, or the whole file.
    """
    with ExitStack() as stack:
        stack.enter_context(_flock(directory, _lock_of(file_of(projections[0])), fcntl.LOCK_SH))
        for name in sorted(f"views.{made.name}.{made.version}.lock" for made in projections):
            stack.enter_context(_flock(directory, name, fcntl.LOCK_EX))
        yield


def _lock_of(file: str) -> str:
    return f"{file.removesuffix('.db')}.lock"


@contextmanager
def _flock(directory: Path, name: str, kind: int) -> Generator[None]:
    handle = os.open(directory / name, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ViewsBusyError(
                f"another process is rebuilding the views in {directory}; try again when it is done"
            ) from error
        yield
    finally:
        os.close(handle)


class OpenedFile:
    """Notices that a file in use was deleted, replaced, or cut; it only ever grows by itself."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found = path.stat()

    def check(self) -> None:
        """See that the name still leads to the file that was opened.

        Raises:
            ViewsReplacedError: it doesn't.
        """
        try:
            now = self._path.stat()
        except FileNotFoundError as error:
            raise ViewsReplacedError(f"{self._path} was deleted while it was in use") from error
        was, self._found = self._found, now
        if (now.st_ino, now.st_dev) != (was.st_ino, was.st_dev):
            raise ViewsReplacedError(f"{self._path} was replaced while it was in use")
        # Where user data is overwritten, the file is written anew, and may become smaller.
        if now.st_size < was.st_size and self._path.name == VIEWS_FILE:
            raise ViewsReplacedError(f"{self._path} was cut while it was in use")


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
        if path.name != VIEWS_FILE:
            # It holds copies of bodies.
            connection.execute("PRAGMA secure_delete = 1")
    except BaseException:
        connection.close()
        raise
    return connection


def reader_uri(path: Path) -> str:
    """Return the SQLite URI that opens the views for reading only."""
    return f"{_uri(path)}?mode=ro"


def remove(path: Path) -> None:
    """Delete the file, what SQLite keeps beside it, and the note that it is to be scrubbed."""
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    path.with_suffix(".owed").unlink(missing_ok=True)


def prepare(
    path: Path,
    projections: Sequence[Projection],
    journal: JournalFile,
    others: Collection[str] = (),
) -> None:
    """Leave a file that holds a live generation of each projection, however far behind.

    What is of no projection, and of none of the `others`, is given up: `clearing.py` drops it. The
    caller holds the `rebuild_lock`.
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
        give_up_unknown(connection, {p.name for p in projections} | set(others))
        for projection in projections:
            fit(connection, projection)


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
            projection.name in live
            and is_current(connection, projection, live[projection.name], fingerprint(projection))
            for projection in projections
        )


def make_ready(
    path: Path, journal_path: Path, projections: Sequence[Projection], others: Collection[str]
) -> None:
    """Leave a file that can be served, whoever rebuilds what at this moment.

    Raises:
        ViewsBusyError: it would have to be made anew, and somebody is at work on it.
        ViewsFailedError: it can't be made or written.
        StoreError: the journal's file can't be read.
    """
    with translated(path), open_journal_file(journal_path) as journal:
        try:
            with rebuild_lock(path.parent, path.name):
                prepare(path, projections, journal, others)
        except ViewsBusyError:
            # A rebuild beside the service goes on through its restart.
            if not is_ready(path, projections, journal):
                raise


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
        if is_damage(error) or code_of(error) == sqlite3.SQLITE_ERROR:
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
