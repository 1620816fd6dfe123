"""NDJSON: the legal copy, from which the journal's entries and bodies can be made again.

The first line says what the file is a copy of; then each event is a line. `entry` is the text of
the entry: its UTF-8 bytes are exactly those that were hashed, so that `leaf` is
SHA256(0x00 ‖ entry). `salt` and `body` are base64, and with them `payload` can be computed again
(journal/README.md). A body stands once, at the position `body_at`; where the events are a
selection, it is written again with each event that shows it, since its own line may be missing.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from typing import Final

import msgspec

from .plan import Plan
from .source import Entry, Source
from .target import Chunk

FORMAT: Final = 1


class Title(msgspec.Struct, frozen=True, tag_field="copy_of", tag="journal", omit_defaults=True):
    """The first line."""

    format: int
    journal: str
    first: int
    up_to: int
    run: str = ""
    workflow: str = ""
    tenant: str = ""
    without_bodies: bool = False
    checkpoint: str = ""
    """The signed note that covers exactly the first `up_to` entries, as text."""


class Line(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One event."""

    position: int
    leaf: str
    entry: str
    body_at: int = 0
    salt: str | None = None
    body: str | None = None
    subject: str | None = None
    """The data subject whose erasure would reach the body."""
    erased_by: int = 0
    """The position of the event that says that the body is erased."""
    archived_by: int = 0
    """The position of the event that says in which segment the body is."""
    withheld: bool = False
    """The journal has the body, and the copy was made without."""


_encode: Final = msgspec.json.Encoder().encode


def head(plan: Plan) -> bytes:
    """Return the first line."""
    chosen = plan.selection
    title = Title(
        FORMAT,
        plan.journal,
        chosen.first,
        plan.up_to,
        chosen.run,
        chosen.workflow,
        chosen.tenant,
        not chosen.with_bodies,
        plan.checkpoint,
    )
    return _encode(title) + b"\n"


def tail(plan: Plan) -> bytes:
    """Return what closes the file: nothing."""
    del plan
    return b""


def chunks(source: Source, cursor: int | str | None) -> Iterator[Chunk]:
    """Return a line for each event after a position."""
    repeats_bodies = source.plan.selection.is_partial
    for entry in source.entries(int(cursor or 0)):
        line = _encode(_line(entry, repeats_bodies)) + b"\n"
        yield Chunk(line, 1, entry.position)


def _line(entry: Entry, repeats_bodies: bool) -> Line:
    leaf, text = entry.leaf.hex(), entry.text.decode()
    if entry.body is None or entry.salt is None:
        is_withheld = entry.body_state == "withheld"
        return Line(
            entry.position,
            leaf,
            text,
            entry.body_at,
            erased_by=entry.erased_by,
            archived_by=entry.archived_by,
            withheld=is_withheld,
        )
    if entry.body_at != entry.position and not repeats_bodies:
        return Line(entry.position, leaf, text, entry.body_at)
    salt, body = b64encode(entry.salt).decode(), b64encode(entry.body).decode()
    return Line(entry.position, leaf, text, entry.body_at, salt, body, entry.subject)
