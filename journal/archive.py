"""Archives ended runs: seals them into segments, verifies these, and only then releases bodies.

The order is what makes it safe to kill at any moment:

1. A segment is written beside its place, synced, and read back by the verifier.
2. A marker says that bodies are about to go, and where to.
3. The segment appears under its name. What it holds is in the database as well.
4. Commit by commit, each with its `segment.archived`, bodies leave the database: only those that
   are byte for byte what the file in its place has.
5. The database file is rewritten; the marker goes.

Whoever comes after an interruption does 4 and 5 for what the marker names. Works on a data
directory whose service is stopped: it holds the lock of the owner.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Collection, Sequence
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec

from . import compaction, ids, segment_verifier, segments, verifier
from .archive_plan import Chosen, Runs, Tell, parts
from .checkpoint_keys import KEY_FILE, load_keys
from .checkpoints import PUBLIC_FILE
from .clock import IdSource, SystemClock
from .envelope import decode_entry, payload_commitment
from .erasing import GONE_MAX, positions_text
from .errors import StoreFailedError
from .events import SegmentArchived
from .files import make_directory
from .journal import Commit, Metadata, NewEvent, StreamWrite
from .sqlite_file import JOURNAL_FILE, open_reader, owner_lock, translated
from .sqlite_reader import Reader
from .sqlite_store import SqliteJournal, open_journal
from .verified import Verified, read_verified

_ENTRY: Final = "SELECT entry, stream FROM event WHERE position = ?"
_COMMITTED: Final = (
    "SELECT entry, EXISTS (SELECT 1 FROM erasure WHERE erasure.position = event.position) "
    "FROM event WHERE position = ? AND body_at = position"
)
_EVER: Final = 2**63 - 1


class Archived(msgspec.Struct, frozen=True):
    """What an archiving did."""

    names: tuple[str, ...]
    """The segments that it wrote or completed."""
    runs: int
    bodies: int
    size: int
    """Bytes of bodies that left the database."""


class Plan(msgspec.Struct, frozen=True):
    """What an archiving would do."""

    segments: int
    runs: int
    bodies: int
    size: int


class SegmentError(StoreFailedError):
    """A segment is not what it has to be; nothing was released on its account."""

    code = "segment_unusable"


def plan(directory: Path, before_us: int, tell: Tell) -> Plan:
    """Say what `archive` would do; changes nothing and needs no lock."""
    with closing(open_reader(directory / JOURNAL_FILE)) as connection, translated(directory):
        chosen = Runs(connection, tell).chosen(before_us)
    sums = [sum(getattr(one, name) for one in chosen) for name in ("bodies", "size")]
    return Plan(len(list(parts(chosen))), len(chosen), *sums)


def archive(
    directory: Path, folder: Path, before_us: int, tell: Tell, kept_in: Path | None = None
) -> Archived:
    """Archive the runs that ended before a time, in microseconds, into segments in a folder.

    `kept_in` is the directory of the checkpoints' key, by default the data directory. What an
    earlier archiving left undone is done first, in its own folder. Killed at any moment,
    it loses nothing and can be called again.

    Raises:
        StoreOwnedError: the service is running.
        SegmentError: a segment is not what it has to be.
        StoreError: the journal or the disk refuses.
    """
    made = asyncio.run(_archive(directory, folder, before_us, tell, kept_in))
    tell("compact", 0, 1)
    with translated(directory), owner_lock(directory):
        compaction.compact_if_begun(directory)
        compaction.end(directory)
    tell("compact", 1, 1)
    return made


async def _archive(
    directory: Path, folder: Path, before_us: int, tell: Tell, kept_in: Path | None
) -> Archived:
    async with open_journal(directory, None, SystemClock()) as journal:
        with closing(open_reader(directory / JOURNAL_FILE)) as connection, translated(folder):
            signer = load_signer(kept_in or directory, journal.id)
            work = _Archiving(directory, journal, connection, signer, tell)
            runs = Runs(connection, tell)
            left = compaction.unfinished(directory)
            if left is not None:
                await work.complete(Path(left.folder), runs.movable(_EVER))
            _prepare(folder)
            for part in parts(runs.chosen(before_us)):
                await work.seal(folder, part)
            return work.done()


def load_signer(directory: Path, journal: str) -> segments.Signer:
    """Return who seals segments: the log whose checkpoints are kept in a directory.

    Raises:
        StoreFailedError: the key can't be used.
    """
    keys = load_keys(directory / KEY_FILE)
    public = directory / PUBLIC_FILE
    log = public.read_text("utf-8").partition("+")[0] if public.exists() else ""
    return segments.Signer(log or f"localhost/{journal}", keys)


def _prepare(folder: Path) -> None:
    """Make the folder of the segments, and remove what an interrupted writing left there."""
    # Bodies leave the database for what stands in here, so its own name has to last.
    make_directory(folder, 0o700)
    segments.discard(folder)


def _names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


class _Archiving:
    """One archiving: what it works on, and what it has done so far."""

    def __init__(
        self,
        directory: Path,
        journal: SqliteJournal,
        connection: sqlite3.Connection,
        signer: segments.Signer,
        tell: Tell,
    ) -> None:
        self._directory = directory
        self._journal = journal
        self._connection = connection
        self._reader = Reader(connection)
        self._signer = signer
        self._tell = tell
        self._ids = IdSource(SystemClock())
        self._sys_version = 0
        self._taken: set[str] = set()
        for event in self._reader.stream(ids.SYS):
            self._sys_version = event.version
            if isinstance(event.facts, SegmentArchived):
                self._taken.add(event.facts.name)
        self._names: list[str] = []
        self._runs: set[str] = set()
        self._bodies = self._size = 0

    def done(self) -> Archived:
        """Say what was done."""
        return Archived(tuple(self._names), len(self._runs), self._bodies, self._size)

    async def seal(self, folder: Path, part: Sequence[Chosen]) -> None:
        """Write a segment, verify it, let it appear, and release what it holds."""
        name = segments.name_after({*self._taken, *_names_in(folder)})
        entries = self._gather(part)
        self._tell("write", 0, len(entries))
        written = segments.write_segment(folder, name, entries, self._signer)
        self._tell("verify", 0, len(entries))
        self._verify(written)
        # Before it appears, so that whoever comes after a kill finds it and seals nothing twice.
        compaction.begin(self._directory, folder)
        place = segments.put_in_place(written, folder)
        self._taken.add(name)
        await self._release(place, {one.run for one in part})

    async def complete(self, folder: Path, movable: Collection[str]) -> None:
        """Release what the segments of an interrupted archiving hold and nothing needs here."""
        for place in segment_verifier.segments_in(folder):
            if place.name not in self._taken or self._left_of(place):
                self._verify(place)
                await self._release(place, movable)

    def _left_of(self, place: Path) -> bool:
        """Tell whether bodies of a segment are still in the database."""
        try:
            held = segment_verifier.read_bodies(place)[1]
        except verifier.Fault:
            # Which the verifier is about to say.
            return True
        wanted = [at for at, body in held.items() if body not in segment_verifier.NOT_HERE]
        return bool(self._reader.bodies(wanted))

    def _gather(self, part: Sequence[Chosen]) -> list[Verified]:
        found = [v for one in part for v in read_verified(self._connection, one.run)]
        return sorted(found, key=lambda verified: verified.event.position)

    def _verify(self, place: Path) -> None:
        found = segment_verifier.verify(place, self._signer.public_keys)
        if found[0] not in (verifier.VALID, verifier.ERASED):
            raise SegmentError(f"{place}: {found[1]} Nothing that it holds was released")

    async def _release(self, place: Path, runs: Collection[str]) -> None:
        """Let the bodies of some runs leave the database for the segment in its place."""
        compaction.begin(self._directory, place.parent)
        data, entries = segment_verifier.read_entries(place)
        _, held = segment_verifier.read_bodies(place)
        digest = sha256(data).hexdigest()
        wanted = [(at, entry) for at, _, entry in entries if at in held]
        self._names.append(place.name)
        for start in range(0, len(wanted), GONE_MAX):
            self._tell("release", start, len(wanted))
            await self._release_some(
                place.name, digest, wanted[start : start + GONE_MAX], held, runs
            )
        self._tell("release", len(wanted), len(wanted))

    async def _release_some(
        self,
        name: str,
        digest: str,
        wanted: Sequence[tuple[int, bytes]],
        held: segment_verifier.Held,
        runs: Collection[str],
    ) -> None:
        there = self._reader.bodies([at for at, _ in wanted])
        going: list[int] = []
        for at, entry in wanted:
            if at not in there:
                continue
            stored, stream = self._connection.execute(_ENTRY, (at,)).fetchone()
            if stored != entry or there[at].salt + there[at].data != held[at]:
                raise SegmentError(f"{name} does not have what the journal has at position {at}")
            if stream in runs:
                going.append(at)
                self._runs.add(stream)
                self._size += len(there[at].data)
        if not going:
            return
        facts = SegmentArchived(digest=digest, name=name, positions=positions_text(going))
        event = NewEvent(self._ids.new(), facts)
        write = StreamWrite(ids.SYS, self._sys_version, [event], Metadata("", "", ""))
        made = await self._journal.append(Commit([write], archived=going))
        self._sys_version = made.events[-1].version
        self._bodies += len(going)


def scrub(directory: Path, folder: Path, tell: Tell, kept_in: Path | None = None) -> int:
    """Remove from segments the bodies that the journal says are erased; return how many.

    Needs no lock, and the service may run. What a segment has must be what the journal's entries
    are committed to, and what it has not must be gone by the journal too.

    Raises:
        SegmentError: a segment is not what it has to be; those before it were done.
        StoreError: the journal or the disk refuses.
    """
    places = segment_verifier.segments_in(folder)
    went = 0
    with closing(open_reader(directory / JOURNAL_FILE)) as connection, translated(folder):
        signer = load_signer(kept_in or directory, Reader(connection).identity())
        for count, place in enumerate(places, 1):
            went += _scrub(connection, place, signer)
            tell("scrub", count, len(places))
    return went


def _scrub(connection: sqlite3.Connection, place: Path, signer: segments.Signer) -> int:
    erased: set[int] = set()
    try:
        _, held = segment_verifier.read_bodies(place)
    except verifier.Fault as fault:
        raise SegmentError(f"{place}: {fault.args[1]}") from None
    for at, body in held.items():
        row = connection.execute(_COMMITTED, (at,)).fetchone()
        if row is None:
            raise SegmentError(f"{place} is not of this journal: it has a body of position {at}")
        entry, is_erased = row
        if is_erased:
            erased.add(at)
        here = body not in segment_verifier.NOT_HERE
        if here and payload_commitment(body[:32], body[32:]) != _payload_of(at, entry):
            raise SegmentError(f"{place} has another body of position {at} than was written")
        if body == b"erased" and not is_erased:
            raise SegmentError(
                f"{place} says that the body of position {at} is erased, and it isn't"
            )
    return segments.without(place, held, erased, signer)


def _payload_of(position: int, entry: bytes) -> str:
    return decode_entry(position, entry, b"", position).payload
