"""What `refold doctor` looks at: each check reads, changes nothing, and says what to do.

A check is a function from the settings to a finding. It never makes what it looks for: a doctor
that made a key would hide that it was lost.
"""

from __future__ import annotations

import fcntl
import os
import resource
import shutil
import sqlite3
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Final, Literal

import msgspec

from ..http.auth_keys import AuthSettingsError
from ..http.keys import JWT_SECRET_NAME, OLD_VAULT_KEYS_NAME, VAULT_KEY_NAME, vault_keys
from ..http.setting_types import SettingsError
from ..http.settings import Settings
from ..journal import compaction, verifier
from ..journal.checkpoint_keys import KEY_FILE
from ..journal.checkpoints import NOTE_FILE, PUBLIC_FILE
from ..journal.errors import JournalError
from ..journal.merkle import HASH_BYTES, TILE_WIDTH, Frontier
from ..journal.sqlite_checks import FILE_FORMAT, pragma, refuse_altered, refuse_changed_tail
from ..journal.sqlite_file import JOURNAL_FILE, LOCK_FILE, open_reader
from ..journal.sqlite_identity import check_key
from ..journal.sqlite_reader import Reader
from ..journal.tree_store import TREE_DIRECTORY
from ..projections.generations import live_generations
from ..projections.views_file import VIEWS_FILE, reader_uri

State = Literal["ok", "warn", "fail"]
SQLITE_MIN: Final = (3, 37, 0)
"""The first with STRICT tables."""
FREE_BYTES_MIN: Final = 100 * 2**20
FREE_PART_MIN: Final = 0.1
OPEN_FILES_MIN: Final = 1024
CLOCK_SECONDS_MAX: Final = 5.0
LAG_MAX: Final = 10_000
_LEAVES: Final = "SELECT leaf FROM event WHERE position > ? ORDER BY position LIMIT ?"
_NEWEST: Final = "SELECT at FROM event ORDER BY position DESC LIMIT 1"


class Finding(msgspec.Struct, frozen=True):
    """What one check found."""

    name: str
    state: State
    found: str
    remedy: str = ""
    """What to do, "" where there is nothing to do."""


Check = Callable[[Settings], Finding]


def program(settings: Settings) -> Finding:
    """See which versions are at work."""
    del settings
    python = ".".join(map(str, sys.version_info[:3]))
    found = f"refold {version('refold')}, Python {python}, SQLite {sqlite3.sqlite_version}"
    if sqlite3.sqlite_version_info < SQLITE_MIN:
        return Finding("version", "fail", found, "use a Python whose SQLite is 3.37 or later")
    return Finding("version", "ok", found)


def directory(settings: Settings) -> Finding:
    """See whether the data directory is there, writable, and nobody else's business."""
    data = settings.data
    if not data.is_dir():
        return Finding("data", "fail", f"{data} is no directory", "name it with --data")
    if not os.access(data, os.R_OK | os.W_OK | os.X_OK):
        return Finding("data", "fail", f"{data} can't be written", "give it to the service's user")
    mode = stat.S_IMODE(data.stat().st_mode)
    if mode & 0o022:
        return Finding("data", "warn", f"{data} has mode {mode:04o}", f"chmod 700 {data}")
    return Finding("data", "ok", f"{data} can be written")


def disk(settings: Settings) -> Finding:
    """See how much room is left."""
    room, names = shutil.disk_usage(settings.data), os.statvfs(settings.data)
    found = f"{room.free / 2**30:,.1f} GiB of {room.total / 2**30:,.1f} GiB are free"
    remedy = "make room, or archive old runs with `refold archive`"
    if room.free < FREE_BYTES_MIN or (names.f_files and not names.f_favail):
        return Finding("disk", "fail", found, remedy)
    if room.free < room.total * FREE_PART_MIN:
        return Finding("disk", "warn", found, remedy)
    return Finding("disk", "ok", found)


def open_files(settings: Settings) -> Finding:
    """See how many files and sockets a process of this user may have open."""
    del settings
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    found = f"a process may have {limit} open"
    if 0 <= limit < OPEN_FILES_MIN:
        return Finding("files", "warn", found, f"raise `ulimit -n` to {OPEN_FILES_MIN} or more")
    return Finding("files", "ok", found)


def owner(settings: Settings) -> Finding:
    """See whether a service has the data directory."""
    try:
        handle = os.open(settings.data / LOCK_FILE, os.O_RDONLY)
    except OSError:
        return Finding("owner", "ok", "nobody serves the directory")
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        process = os.pread(handle, 32, 0).decode("ascii", "replace").strip()
        return Finding("owner", "ok", f"process {process} serves the directory")
    finally:
        os.close(handle)
    return Finding("owner", "ok", "nobody serves the directory")


def journal(settings: Settings) -> Finding:
    """See whether the journal is whole, as far as a start does."""
    path = settings.data / JOURNAL_FILE
    schema = Path(compaction.__file__).with_name("schema.sql").read_text("utf-8")
    with closing(open_reader(path)) as connection:
        form = int(pragma(connection, "user_version"))
        head = Reader(connection).head()
        if form == FILE_FORMAT:
            refuse_altered(connection, path, schema)
        refuse_changed_tail(connection, path)
    found = f"{head} events, the newest are whole, format {form}"
    if compaction.unfinished(settings.data) is not None:
        return Finding("journal", "warn", "an archiving is unfinished", "run it again")
    return Finding("journal", "ok", found)


def pragmas(settings: Settings) -> Finding:
    """See what the file says of itself; the rest is read back at each start."""
    with closing(open_reader(settings.data / JOURNAL_FILE)) as connection:
        mode = pragma(connection, "journal_mode")
        vacuum, pages = pragma(connection, "auto_vacuum"), pragma(connection, "page_count")
    found = f"journal_mode {mode}, auto_vacuum {vacuum}, {pages} pages"
    # A restored journal that was never served is in another mode until its first start.
    if mode not in ("wal", "delete") or vacuum != 0:
        return Finding("pragmas", "fail", found, "restore the last backup: the file was altered")
    return Finding("pragmas", "ok", found)


def clock(settings: Settings) -> Finding:
    """See whether this machine's clock is behind the newest event."""
    with closing(open_reader(settings.data / JOURNAL_FILE)) as connection:
        row = connection.execute(_NEWEST).fetchone()
    ahead = (row[0] / 1e6 if row else 0.0) - time.time()
    if ahead > CLOCK_SECONDS_MAX:
        found = f"the newest event is {ahead:,.0f} s in the future"
        return Finding("clock", "fail", found, "set the clock; until it has caught up, time stands")
    return Finding("clock", "ok", f"the newest event is {max(0.0, -ahead):,.0f} s old")


def keys(settings: Settings) -> Finding:
    """See whether each key is there, is its owner's alone, and is the journal's."""
    kept_in = settings.checkpoint_directory or settings.data
    wanted = [kept_in / KEY_FILE]
    if not (settings.vault_key or settings.vault_key_file):
        wanted.append(settings.data / VAULT_KEY_NAME)
    if settings.checks_by_secret and not (settings.jwt_secret or settings.jwt_secret_file):
        wanted.append(settings.data / JWT_SECRET_NAME)
    for path in wanted:
        if not path.is_file():
            remedy = "put it back from where your keys are kept"
            return Finding("keys", "fail", f"{path} is not there", remedy)
    for path in [*wanted, settings.data / OLD_VAULT_KEYS_NAME]:
        mode = stat.S_IMODE(path.stat().st_mode) if path.is_file() else 0
        if mode & 0o077:
            remedy = f"chmod 600 {path}, and change the key if others can have read it"
            return Finding("keys", "fail", f"{path} has mode {mode:04o}", remedy)
    found = vault_keys(settings)
    with closing(open_reader(settings.data / JOURNAL_FILE)) as connection:
        reader = Reader(connection)
        check_key(reader, reader.identity(), (found.primary, *found.older))
    left = f", {len(found.older)} earlier ones still needed" if found.older else ""
    return Finding("keys", "ok", f"the vault key is the journal's{left}; modes are right")


def tree(settings: Settings) -> Finding:
    """Hold the last signed checkpoint and the tiles against a tree made anew of the journal."""
    kept_in = settings.checkpoint_directory or settings.data
    note = kept_in / NOTE_FILE
    if not note.is_file():
        return Finding("tree", "warn", "no checkpoint was signed yet", "start the service once")
    known = verifier.parse_keys((kept_in / PUBLIC_FILE).read_text("utf-8").split())
    try:
        origin, size, root, _ = verifier.open_note(note.read_bytes(), known)
    except Exception as error:
        # Whatever the parser met: it was not signed with the keys that stand beside it.
        found = f"{note} can't be believed ({type(error).__name__})"
        return Finding("tree", "fail", found, "restore it, or start with REFOLD_JOURNAL_GENERATION")
    made = Frontier()
    with closing(open_reader(settings.data / JOURNAL_FILE)) as connection:
        identity = Reader(connection).identity()
        while made.size < size:
            wanted = min(4096, size - made.size)
            rows = connection.execute(_LEAVES, (made.size, wanted)).fetchall()
            if not rows:
                break
            made.append(b"".join(row[0] for row in rows))
        first = size - size % TILE_WIDTH
        leaves = b"".join(row[0] for row in connection.execute(_LEAVES, (first, size - first)))
    if (made.size, made.root()) != (size, root) or f"/{identity}/" not in origin + "/":
        found = f"the journal is not the one whose {size} events were signed"
        return Finding("tree", "fail", found, "see generations in the journal's README")
    if _tile(settings.data / TREE_DIRECTORY / "level-0", first, len(leaves)) != leaves:
        return Finding("tree", "warn", "tiles are missing or old", "a start makes them again")
    return Finding("tree", "ok", f"the checkpoint over {size} events is of this journal")


def _tile(path: Path, first: int, length: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(first * HASH_BYTES)
            return file.read(length)
    except OSError:
        return b""


def projections(settings: Settings) -> Finding:
    """See how far the views are behind the journal."""
    path = settings.data / VIEWS_FILE
    if not path.is_file():
        return Finding("projections", "warn", "there are no views yet", "a start makes them")
    with closing(open_reader(settings.data / JOURNAL_FILE)) as connection:
        head = Reader(connection).head()
    with closing(sqlite3.connect(reader_uri(path), uri=True)) as connection:
        lags = {name: head - row.position for name, row in live_generations(connection).items()}
    behind = max(lags, key=lags.__getitem__, default="")
    if not lags or min(lags.values()) < 0 or lags[behind] > LAG_MAX:
        found = f"{behind} is {lags[behind]} events behind" if lags else "no view is live"
        return Finding("projections", "warn", found, f"refold rebuild {behind}".rstrip())
    return Finding("projections", "ok", f"{len(lags)} views, at most {lags[behind]} events behind")


def egress(settings: Settings) -> Finding:
    """See whether nodes may call what is private."""
    wide = [entry for entry in settings.egress_allow if entry.endswith("/0")]
    if wide:
        found = f"nodes may call every private address ({wide[0]})"
        return Finding("egress", "warn", found, "name only what they need in REFOLD_EGRESS_ALLOW")
    named = ", ".join(settings.egress_allow) or "none"
    return Finding("egress", "ok", f"private addresses that nodes may call: {named}")


CHECKS: Final[tuple[tuple[str, Check], ...]] = (
    ("version", program),
    ("data", directory),
    ("disk", disk),
    ("files", open_files),
    ("owner", owner),
    ("journal", journal),
    ("pragmas", pragmas),
    ("clock", clock),
    ("keys", keys),
    ("tree", tree),
    ("projections", projections),
    ("egress", egress),
)


def examined(settings: Settings) -> Iterator[Finding]:
    """Do every check, one after the other; a check that can't be done is a finding, too."""
    for name, check in CHECKS:
        try:
            yield check(settings)
        except (JournalError, SettingsError, AuthSettingsError) as error:
            yield Finding(name, "fail", str(error), "see the journal's README, or restore a backup")
        except (OSError, sqlite3.Error, verifier.Fault) as error:
            yield Finding(name, "fail", f"can't be looked at ({error})", "see to the disk")
