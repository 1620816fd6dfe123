"""Reads the journal's file for the projections: in order, without holes, its errors named."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from ..journal.envelope import Recorded
from ..journal.sqlite_file import open_reader, translated
from ..journal.sqlite_reader import Reader
from .errors import GapError


class JournalFile:
    """A journal's file, open for reading. Every method raises `StoreError` for a damaged one."""

    def __init__(self, path: Path, reader: Reader) -> None:
        self._path = path
        self._reader = reader

    def identity(self) -> str:
        """Return the journal's id."""
        with translated(self._path):
            return self._reader.identity()

    def head(self) -> int:
        """Return the newest position."""
        with translated(self._path):
            return self._reader.head()

    def leaf(self, position: int) -> bytes:
        """Return the leaf hash of the entry at a position, empty if there is none."""
        with translated(self._path):
            return self._reader.leaf(position)

    def page(self, after: int, limit: int) -> list[Recorded]:
        """Read the events that follow a position, as far as they follow each other.

        Raises:
            GapError: there are events, but not the next one.
            UnknownEventError: the next one is newer than this version.
        """
        with translated(self._path):
            events = self._reader.page(after, limit)
        for index, event in enumerate(events):
            if event.position != after + 1 + index:
                if index == 0:
                    raise GapError(after + 1, event.position)
                return events[:index]
        return events

    def bodies(self, positions: Sequence[int]) -> dict[int, bytes]:
        """Read the bodies at some positions; an erased one is missing."""
        with translated(self._path):
            return {at: body.data for at, body in self._reader.bodies(positions).items()}


@contextmanager
def open_journal_file(path: Path) -> Generator[JournalFile]:
    """Open a journal's file on a connection of its own.

    Raises:
        StoreError: it is not a journal, or can't be opened.
    """
    with closing(open_reader(path)) as connection:
        yield JournalFile(path, Reader(connection))
