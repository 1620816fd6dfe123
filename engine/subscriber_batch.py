"""Puts a batch for a subscriber together: as many events as fit, with what may be sent of them."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Final

import msgspec

from ..journal.envelope import Recorded
from ..journal.journal import Body, Journal
from ..projections.exports.cloud_events import cloud_event
from ..projections.exports.plan import SEALED
from .outbound import REQUEST_BYTES_MAX
from .subscriber import EVENTS_MAX

BYTES_MAX: Final = 512 * 1024
"""Most bytes of bodies in a batch, where one event has no more by itself."""
BODY_BYTES_MAX: Final = 700 * 1024
"""What has more is withheld: with Base64, which adds a third, it would be more than a request."""


class Batch(msgspec.Struct, frozen=True):
    """What is sent in one request."""

    count: int
    """How many of the first events it is made of; one at least."""
    written: bytes


async def read_batch(journal: Journal, events: Sequence[Recorded], *, with_bodies: bool) -> Batch:
    """Read the bodies that fit into a batch of the first events, and write it.

    Raises:
        JournalError: they can't be read now.
    """
    sizes: dict[int, int] = {}
    if with_bodies:
        sizes = await journal.standing([x.body_at for x in events if _is_open(x)])
    withheld = {at for at, size in sizes.items() if size > BODY_BYTES_MAX}
    count = _count(events, {at: size for at, size in sizes.items() if at not in withheld})
    events = events[:count]
    sent = {x.body_at for x in events if _is_open(x)} - withheld if with_bodies else set[int]()
    bodies = await journal.read_bodies([at for at in sorted(sent) if at in sizes])
    missing = [at for at in sorted(sent) if at not in bodies]
    archived = await journal.read_segments(missing) if missing else {}
    written = _write(journal.id, events, bodies, sent, archived)
    while len(written) > REQUEST_BYTES_MAX and len(events) > 1:
        # Facts are small, but for those that name what was erased.
        events = events[: len(events) // 2]
        written = _write(journal.id, events, bodies, sent, archived)
    return Batch(len(events), written)


def _is_open(event: Recorded) -> bool:
    """Tell whether an event has a body that is no ciphertext and no key."""
    return event.body_at > 0 and not event.facts.type.startswith(SEALED)


def _count(events: Sequence[Recorded], sizes: Mapping[int, int]) -> int:
    size = 0
    for count, event in enumerate(events[:EVENTS_MAX]):
        size += sizes.get(event.body_at, 0)
        if size > BYTES_MAX and count:
            return count
    return min(len(events), EVENTS_MAX)


def _write(
    journal_id: str,
    events: Sequence[Recorded],
    bodies: Mapping[int, Body],
    sent: Container[int],
    archived: Container[int],
) -> bytes:
    """Write a batch; a body that isn't sent is marked `withheld`, `archived` or `erased`."""
    written = [
        cloud_event(
            journal_id,
            event,
            bodies.get(event.body_at) if event.body_at in sent else None,
            is_withheld=event.body_at > 0 and event.body_at not in sent,
            is_archived=event.body_at in archived,
        )
        for event in events
    ]
    return b"[" + b",".join(written) + b"]"
