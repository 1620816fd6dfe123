"""The file that an export writes: it appears whole or not at all, and is taken up again.

All is written to `FILE.part`, which takes the file's name when it is complete. Beside it,
`FILE.part.json` says what the part is of and how far it was safe on disk. An export of the same
plan cuts the part back to there and goes on; any other begins anew. Nothing is read from the
part itself, so a torn write can't mislead it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from hashlib import file_digest
from pathlib import Path
from typing import IO, Final

import msgspec

from ..errors import ExportFailedError, ExportRefusedError
from .plan import Plan, Report

SAFE_BYTES: Final = 16 * 2**20
"""How much is written before it is made safe: what a killed export has to do again."""
_BUFFER_BYTES: Final = 2**20


class Chunk(msgspec.Struct, frozen=True, gc=False):
    """Some bytes of an export."""

    data: bytes
    events: int = 0
    """How many events these bytes complete."""
    cursor: int | str | None = None
    """Where to go on after these bytes; None where that is not possible."""


class Mark(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far an export is safe."""

    plan: Plan
    version: str
    """The program that wrote it: another one may write differently."""
    offset: int = 0
    events: int = 0
    erased: int = 0
    cursor: int | str | None = None


class Target:
    """One file to export to, held by this process alone."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.part = file.with_name(f"{file.name}.part")
        self._mark_file = file.with_name(f"{file.name}.part.json")

    def interrupted(self) -> Mark | None:
        """Return how far an earlier export to this file came, None if there was none."""
        try:
            mark = msgspec.json.decode(self._mark_file.read_bytes(), type=Mark)
            long_enough = self.part.stat().st_size >= mark.offset
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
            return None
        return mark if long_enough else None

    def write(
        self,
        mark: Mark,
        head: bytes,
        chunks: Callable[[int | str | None], Iterator[Chunk]],
        tail: bytes,
        total: int,
        report: Report | None,
        erased: Callable[[], int],
    ) -> Mark:
        """Write the part from a mark on, and return the last one. See `Chunk` for the cursor."""
        with self._opened(mark.offset) as out:
            if mark.offset == 0:
                out.write(head)
                mark = self._keep(out, mark, out.tell())
            offset, events, before = mark.offset, mark.events, mark.erased
            for chunk in chunks(mark.cursor):
                out.write(chunk.data)
                offset += len(chunk.data)
                events += chunk.events
                if chunk.cursor is not None and offset - mark.offset >= SAFE_BYTES:
                    mark = msgspec.structs.replace(
                        mark, events=events, erased=before + erased(), cursor=chunk.cursor
                    )
                    mark = self._keep(out, mark, offset)
                if report is not None and chunk.events:
                    report(events, total)
            out.write(tail)
            return msgspec.structs.replace(
                mark, events=events, erased=before + erased(), offset=offset + len(tail)
            )

    def finish(self) -> None:
        """Give the complete part the file's name."""
        with self.failures():
            _sync(self.part)
            self.part.replace(self.file)
            self._mark_file.unlink(missing_ok=True)
            _sync(self.file.parent)

    def discard(self) -> None:
        """Take away what an earlier export left that can't be taken up."""
        for file in (self.part, self._mark_file):
            file.unlink(missing_ok=True)

    def new_file(self, file: Path) -> None:
        """Make an empty file that only its owner may read: it will hold user data."""
        with self.failures():
            file.unlink(missing_ok=True)
            os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))

    @contextmanager
    def failures(self) -> Generator[None]:
        """Turn the errors of the operating system into the export's."""
        try:
            yield
        except OSError as error:
            why = error.strerror or str(error)
            raise ExportFailedError(f"{self.file} can't be written: {why}") from error

    @contextmanager
    def owned(self, *, force: bool) -> Generator[None]:
        """Hold the target for this process alone.

        Raises:
            ExportRefusedError: the file exists and is not to be replaced, or another process
                is exporting to it.
            ExportFailedError: its directory can't be written to.
        """
        if self.file.is_dir():
            raise ExportRefusedError(f"{self.file} is a directory")
        if self.file.exists() and not force:
            raise ExportRefusedError(f"{self.file} exists; --force replaces it")
        lock_file = self.file.with_name(f"{self.file.name}.part.lock")
        with self.failures():
            lock = os.open(lock_file, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if not _is_locked(lock, lock_file):
                raise ExportRefusedError(f"another process is exporting to {self.file}")
            try:
                yield
            finally:
                lock_file.unlink(missing_ok=True)
        finally:
            os.close(lock)

    @contextmanager
    def _opened(self, offset: int) -> Generator[IO[bytes]]:
        if offset == 0:
            self.discard()
            self.new_file(self.part)
        with self.failures(), self.part.open("r+b", buffering=_BUFFER_BYTES) as out:
            out.truncate(offset)
            out.seek(offset)
            yield out

    def _keep(self, out: IO[bytes], mark: Mark, offset: int) -> Mark:
        """Make the part safe up to here, then say so."""
        out.flush()
        os.fsync(out.fileno())
        mark = msgspec.structs.replace(mark, offset=offset)
        beside = self._mark_file.with_suffix(".new")
        self.new_file(beside)
        beside.write_bytes(msgspec.json.encode(mark))
        _sync(beside)
        beside.replace(self._mark_file)
        return mark


def digest_of(file: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with file.open("rb") as opened:
        return file_digest(opened, "sha256").hexdigest()


def _is_locked(handle: int, path: Path) -> bool:
    """Take the lock; a file that its last owner has just taken away is no lock any more."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.fstat(handle).st_ino == path.stat().st_ino
    except (BlockingIOError, FileNotFoundError):
        return False


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
