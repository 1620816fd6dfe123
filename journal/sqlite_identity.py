"""Who a journal is: its id, the key that it was last used with, and its first event."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Sequence

from . import ids
from .clock import IdSource, SystemClock
from .envelope import FORMAT
from .errors import CorruptStoreError, WrongKeyError
from .events import JournalCreated, KeyRotated
from .journal import Commit, Metadata, NewEvent, StreamWrite
from .service_keys import fits, key_check
from .sqlite_reader import Reader


def identity_of(connection: sqlite3.Connection, clock: SystemClock) -> str:
    """Return the journal's id, giving a new one to a new journal."""
    journal_id = Reader(connection).identity()
    if journal_id == "":
        journal_id = str(uuid.uuid4())
        connection.execute(
            "INSERT INTO journal (one, id, format, created_at) VALUES (1, ?, ?, ?)",
            (journal_id, FORMAT, clock.now_us()),
        )
    return journal_id


def check_key(reader: Reader, journal_id: str, keys: Sequence[bytes]) -> None:
    """See that one of these service keys is the one that the journal was last used with.

    Raises:
        WrongKeyError: none is.
        CorruptStoreError: the journal does not begin as it should.
    """
    newest = reader.key_event()
    if newest is None:
        return
    if not isinstance(newest.facts, (JournalCreated, KeyRotated)):
        raise CorruptStoreError("the journal does not begin with journal.created")
    if not any(fits(newest.facts.key_check, journal_id, key) for key in keys):
        raise WrongKeyError(
            "the service key (REFOLD_VAULT_KEY, or vault_key in the data directory) is not the "
            "one that this journal was last used with; to change it, start once with that one "
            "in REFOLD_VAULT_KEYS_OLD"
        )


def created(journal_id: str, service_key: bytes, new_ids: IdSource) -> Commit:
    """Make the first commit of a new journal."""
    facts = JournalCreated(format=FORMAT, key_check=key_check(journal_id, service_key))
    event = NewEvent(new_ids.new(), facts)
    return Commit([StreamWrite(ids.SYS, 0, [event], Metadata(tenant="", actor="", corr=""))])
