"""The checkpoint that an export goes up to: a signed note, held against the journal first."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

import msgspec

from ...journal import verifier
from ...journal.merkle import Frontier
from ...journal.sqlite_file import open_reader, translated
from ..errors import ExportRefusedError

_LEAVES: Final = "SELECT leaf FROM event WHERE position > ? AND position <= ? ORDER BY position"
_PAGE: Final = 4096


class Checkpoint(msgspec.Struct, frozen=True):
    """A note that covers exactly the beginning of the journal."""

    text: str
    size: int


def read_checkpoint(note: Path, journal: Path, identity: str) -> Checkpoint:
    """Read a checkpoint and see that the journal is the one that it was signed for.

    The public keys are those of `checkpoint.pub` beside the note or beside the journal.

    Raises:
        ExportRefusedError: it is no checkpoint of this journal by a key that is known here.
        StoreError: the journal can't be read.
    """
    beside = [path.with_name(verifier.PUBLIC) for path in (note, journal)]
    try:
        text = note.read_bytes()
        keys = [key for path in beside if path.exists() for key in path.read_text().split()]
        origin, size, root, _ = verifier.open_note(text, verifier.parse_keys(keys))
    except OSError as error:
        raise ExportRefusedError(f"{note} can't be read: {error.strerror}") from error
    except Exception as error:
        # The parser is the verifier's, which tells faults by a sentence or by what Python raises.
        said = f": {error.args[1]}" if isinstance(error, verifier.Fault) else ""
        raise ExportRefusedError(f"{note} is no checkpoint that is known here{said}") from None
    if f"/{identity}/" not in f"{origin}/":
        raise ExportRefusedError(f"{note} is of another journal")
    if _root(journal, size) != root:
        raise ExportRefusedError(f"the journal's first {size} entries are not those of {note}")
    return Checkpoint(text.decode(), size)


def _root(journal: Path, size: int) -> bytes:
    frontier = Frontier()
    with closing(open_reader(journal)) as connection, translated(journal):
        while frontier.size < size and (leaves := _leaves(connection, frontier.size, size)):
            frontier.append(leaves)
    return frontier.root() if frontier.size == size else b""


def _leaves(connection: sqlite3.Connection, after: int, size: int) -> bytes:
    rows = connection.execute(_LEAVES, (after, min(size, after + _PAGE)))
    return b"".join(row[0] for row in rows)
