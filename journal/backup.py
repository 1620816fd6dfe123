"""Copies a journal while it is served, proves the copy, and makes a data directory of it again.

A backup is a folder: `journal.db`, the segments, the last signed checkpoint with its public keys,
and `backup.json`, which names every file with its SHA-256. Rules of this file:

1. The checkpoint is read before the journal. It was durable after what it covers, so the journal
   that is read later has all of it.
2. The journal is one moment of the live one (`VACUUM INTO`: one read transaction, however many
   write meanwhile), without free pages, so nothing that was erased before is in it.
3. A backup appears under its name whole, synced and verified, or not at all.
4. No key is in it: it is as secret as the journal, and no more. The keys go into a folder of
   their own, and only where one is named.
5. What is restored never signs what the original may have signed differently since: it begins a
   new generation before anybody serves it.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from functools import partial
from hashlib import file_digest
from pathlib import Path
from typing import Final

import msgspec

from . import compaction, ids, segment_verifier, verifier
from .checkpoint_keys import replace_file
from .checkpoints import NOTE_FILE, PUBLIC_FILE
from .clock import IdSource, SystemClock
from .errors import StoreFailedError
from .events import JournalRestored
from .files import sync_directory
from .journal import Commit, Metadata, NewEvent, StreamWrite
from .merkle import Frontier
from .segment_verifier import DIRECTORY as SEGMENTS
from .sqlite_file import JOURNAL_FILE, open_reader, reader_uri, translated
from .sqlite_reader import Reader
from .sqlite_store import open_journal

MANIFEST: Final = "backup.json"
PART: Final = ".refold-part"
"""Ends the name of what is not whole yet; whatever is there may be thrown away."""
_FORMAT: Final = 1
_LEAVES: Final = "SELECT leaf FROM event WHERE position > ? ORDER BY position LIMIT 4096"
_GOOD: Final = (verifier.VALID, verifier.ERASED)

Tell = Callable[[str, int, int], None]
"""Hears how far which step is: its name, what is done, and of how much."""


class BackupError(StoreFailedError):
    """A backup can't be made, or is not what it says it is."""

    code = "backup_unusable"


class Manifest(msgspec.Struct, frozen=True):
    """What stands in `backup.json`."""

    format: int
    refold: str
    """The version that made it."""
    journal: str
    position: int
    """The newest event in it."""
    made_at: int
    """Microseconds since 1970."""
    files: dict[str, str]
    """Every other file, and its SHA-256 in hexadecimal digits."""


class Restored(msgspec.Struct, frozen=True):
    """What a restoring made."""

    position: int
    """The newest event of the backup."""
    generation: int
    """The generation that the checkpoints are of from here on."""
    sentence: str
    """What the verifier said."""


def back_up(
    directory: Path,
    to: Path,
    *,
    refold: str,
    tell: Tell,
    kept_in: Path | None = None,
    segments: Path | None = None,
    keys: Sequence[Path] = (),
    keys_to: Path | None = None,
) -> Manifest:
    """Copy the journal of a data directory into a new folder, beside a running service or none.

    `kept_in` is the directory of the last checkpoint and `segments` that of the segments, both by
    default in the data directory. Of the files `keys`, those that there are go to `keys_to`.

    Raises:
        BackupError: there is something at `to`, an archiving is unfinished, or the copy is bad.
        StoreError: the journal can't be read, or the disk refuses.
    """
    if compaction.unfinished(directory) is not None:
        raise BackupError("an archiving is unfinished; `refold archive`, given again, completes it")
    for place in (to, keys_to) if keys_to else (to,):
        _refuse_taken(place)
    with translated(to):
        part = _fresh_part(to)
        _copy_known(kept_in or directory, part, (NOTE_FILE, PUBLIC_FILE))
        tell("copy", 0, 1)
        _copy_journal(directory / JOURNAL_FILE, part / JOURNAL_FILE)
        tell("copy", 1, 1)
        _copy_segments(segments or directory / SEGMENTS, part / SEGMENTS)
        _verified(part, tell)
        with closing(open_reader(part / JOURNAL_FILE)) as connection:
            journal, position = Reader(connection).identity(), Reader(connection).head()
        made = Manifest(
            format=_FORMAT,
            refold=refold,
            journal=journal,
            position=position,
            made_at=SystemClock().now_us(),
            files=_digests(part, tell),
        )
        replace_file(part / MANIFEST, msgspec.json.format(msgspec.json.encode(made)))
        if keys_to is not None:
            _copy_keys(keys, keys_to)
        _appear(part, to)
    return made


def restore(
    backup: Path,
    to: Path,
    *,
    tell: Tell,
    keys_from: Path | None = None,
    key_names: Sequence[str] = (),
    generation: int = 0,
) -> Restored:
    """Make a data directory of a backup, which goes on as a new generation.

    `generation` is the one to go on as, by default the one after the backup's. It has to be told
    where an earlier restoring of the same journal has taken that one already.

    Raises:
        BackupError: it is no whole backup, there is something at `to`, or the generation is over.
        StoreError: the journal can't be used, or the disk refuses.
    """
    _refuse_taken(to)
    with translated(to):
        manifest = read_manifest(backup)
        part = _fresh_part(to)
        for number, (name, digest) in enumerate(sorted(manifest.files.items())):
            tell("copy", number, len(manifest.files))
            (part / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _copy(backup / name, part / name)
            if _digest(part / name) != digest:
                raise BackupError(f"{backup / name} is not the file that was backed up")
        if keys_from is not None:
            _copy_known(keys_from, part, key_names)
        sentence = _verified(part, tell)
        gone_on = asyncio.run(_begin_generation(part, generation))
        _appear(part, to)
    return Restored(manifest.position, gone_on, sentence)


def read_manifest(backup: Path) -> Manifest:
    """Read what a backup says that it is.

    Raises:
        BackupError: it says nothing that can be believed.
    """
    try:
        manifest = msgspec.json.decode((backup / MANIFEST).read_bytes(), type=Manifest)
    except FileNotFoundError:
        raise BackupError(f"{backup} is no backup: it has no {MANIFEST}") from None
    except (OSError, msgspec.DecodeError) as error:
        raise BackupError(f"{backup / MANIFEST} can't be read ({type(error).__name__})") from None
    if manifest.format != _FORMAT:
        raise BackupError(f"{backup} has format {manifest.format}; this version reads {_FORMAT}")
    for name in manifest.files:
        # A name that leads elsewhere would be written there.
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise BackupError(f"{backup / MANIFEST} names a file outside of the backup")
    if JOURNAL_FILE not in manifest.files:
        raise BackupError(f"{backup / MANIFEST} names no {JOURNAL_FILE}")
    return manifest


def _copy_journal(source: Path, target: Path) -> None:
    """Write one moment of the journal into a new file, which only its owner may read."""
    with closing(open_reader(source)):
        # Opened for its checks alone: it is a journal, and of a format that is known.
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with closing(sqlite3.connect(reader_uri(source), uri=True, isolation_level=None)) as live:
        live.execute("PRAGMA trusted_schema = 0")
        live.execute("PRAGMA busy_timeout = 5000")
        # SQLite syncs nothing of what it writes so; _appear does.
        live.execute("VACUUM INTO ?", (str(target),))


def _copy_segments(source: Path, target: Path) -> None:
    for segment in segment_verifier.segments_in(source):
        (target / segment.name).mkdir(mode=0o700, parents=True)
        for file in sorted(segment.iterdir()):
            _copy(file, target / segment.name / file.name)


def _copy_known(source: Path, target: Path, names: Sequence[str]) -> None:
    for name in names:
        if (source / name).is_file():
            _copy(source / name, target / name)


def _copy_keys(keys: Sequence[Path], to: Path) -> None:
    part = _fresh_part(to)
    for path in keys:
        if path.is_file():
            _copy(path, part / path.name)
    _appear(part, to)


def _copy(source: Path, target: Path) -> None:
    """Copy a file so that only its owner may read it, whoever may read the original."""
    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with source.open("rb") as read, os.fdopen(handle, "wb") as written:
        shutil.copyfileobj(read, written, 1 << 20)


def _verified(part: Path, tell: Tell) -> str:
    """Return what the verifier says of a copy.

    Raises:
        BackupError: it is not valid.
    """
    found = segment_verifier.verify(part, tell=partial(tell, "verify"))
    if found[0] not in _GOOD:
        raise BackupError(f"the copy can't be relied on: {found[1]}")
    return found[1]


def _digests(part: Path, tell: Tell) -> dict[str, str]:
    files = sorted(path for path in part.rglob("*") if path.is_file())
    digests: dict[str, str] = {}
    for number, path in enumerate(files):
        tell("digest", number, len(files))
        digests[path.relative_to(part).as_posix()] = _digest(path)
    return digests


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


async def _begin_generation(directory: Path, wanted: int) -> int:
    """Append `journal.restored`, which makes the checkpoints those of another log."""
    async with open_journal(directory, None, SystemClock()) as journal:
        with closing(open_reader(directory / JOURNAL_FILE)) as connection:
            tree, version, newest = Frontier(), 0, 1
            while leaves := connection.execute(_LEAVES, (tree.size,)).fetchall():
                tree.append(b"".join(row[0] for row in leaves))
            for event in Reader(connection).stream(ids.SYS):
                version = event.version
                if isinstance(event.facts, JournalRestored):
                    newest = event.facts.generation
        generation = wanted or newest + 1
        if generation <= newest:
            raise BackupError(f"the journal is of generation {newest} already; take a later one")
        facts = JournalRestored(from_size=tree.size, generation=generation, root=tree.root().hex())
        begun = NewEvent(IdSource(SystemClock()).new(), facts)
        meta = Metadata(tenant="", actor="", corr="")
        await journal.append(Commit([StreamWrite(ids.SYS, version, [begun], meta)]))
        return generation


def _refuse_taken(place: Path) -> None:
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise BackupError(f"there is something at {place} already; name a new folder")


def _fresh_part(to: Path) -> Path:
    """Make the folder in which something is written until it is whole."""
    part = to.absolute().with_name(to.name + PART)
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(mode=0o700, parents=True)
    return part


def _appear(part: Path, to: Path) -> None:
    """Make everything durable, then let it appear under its name."""
    for path in sorted(part.rglob("*")):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    sync_directory(part)
    with suppress(FileNotFoundError):
        to.rmdir()
    part.rename(to)
    sync_directory(to.absolute().parent)
