"""The rules of an append: what a commit may assume, and which rows it becomes.

Both stores use these rules; they differ only in where the `Ledger` looks things up. Pure but
for the salts, which come from the function that is passed in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, Protocol, TypeGuard

import msgspec

from . import events as e
from .claims import claim_changes, lineage
from .envelope import (
    FORMAT,
    NO_LEAF,
    Envelope,
    Recorded,
    encode_entry,
    leaf_hash,
    payload_commitment,
    recorded,
)
from .erasing import TAKES_BODIES, check_gone
from .errors import (
    BodyErasedError,
    ConflictError,
    InvalidCommitError,
    RequestReusedError,
    ResourceInUseError,
)
from .events import check_facts
from .journal import REQUEST_LIFE_US, Appended, Commit, Hold, NewEvent, RequestKey, StreamWrite

Head = tuple[int, str]
"""A stream's version and the leaf (hex) of its newest event; `EMPTY` for no stream."""
EMPTY: Head = (0, NO_LEAF)


class TakenRequest(msgspec.Struct, frozen=True, gc=False):
    """An idempotency key and the commit that took it."""

    digest: str
    first: int
    last: int
    at: int


class Ledger(Protocol):
    """What the rules look up, as of the newest commit, the ones in this batch included."""

    def head(self, stream: str) -> Head:
        """Return a stream's head, `EMPTY` if nothing was ever written to it."""
        ...

    def taken(self, scope: str, key: str) -> TakenRequest | None:
        """Return the commit that took an idempotency key last."""
        ...

    def holder(self, resource: str) -> str | None:
        """Return one of the streams that hold a resource, if any."""
        ...

    def bodied(self, position: int) -> Recorded | None:
        """Return the event at a position if a body of its own is not erased."""
        ...

    def is_archived(self, position: int) -> bool:
        """Tell whether the body at a position is in a segment."""
        ...

    def between(self, first: int, last: int) -> Sequence[Recorded]:
        """Read the events of a range of positions, both ends included."""
        ...

    def versions(self, stream: str, after: int, count: int) -> Sequence[Recorded]:
        """Read `count` events of a stream after a version."""
        ...


def is_remembered(
    taken: TakenRequest | None, request: RequestKey, now: int
) -> TypeGuard[TakenRequest]:
    """Tell whether a key was taken by the same request, within its life.

    Raises:
        RequestReusedError: it was taken by another request.
    """
    if taken is None or now - taken.at >= REQUEST_LIFE_US:
        return False
    if taken.digest != request.digest:
        raise RequestReusedError(request.key)
    return True


class Row(msgspec.Struct, frozen=True, gc=False):
    """One event as rows: of the event table, and of the body table where it has a body."""

    event: Recorded
    entry: bytes
    salt: bytes | None
    body: bytes | None
    subject: str | None


class Sequenced(msgspec.Struct, frozen=True, gc=False):
    """A commit with its places in the journal."""

    rows: Sequence[Row]
    heads: dict[str, Head]
    request: tuple[RequestKey, TakenRequest] | None
    holds: Sequence[HoldChange]
    """In the order of the events."""
    erased: Sequence[int] = ()
    """Positions whose bodies go."""
    archived: Sequence[int] = ()
    """Positions whose bodies are in a segment from now on."""
    gone_by: int = 0
    """The position of the event that says so, of the ones or of the others."""


_HOLDING: Final = frozenset(
    {
        e.RunRequested,
        e.RunCompleted,
        e.RunFailed,
        e.RunCancelled,
        e.WorkflowDefined,
        e.WorkflowDeleted,
    }
)
HoldChange = Hold | str
"""A hold that is taken, or the holder that holds nothing any more."""


def hold_changes(events: Iterable[Recorded]) -> Iterator[HoldChange]:
    """Say what events take hold of, and whose holds they end.

    The hold table is an index over the events: a run holds its workflow from `run.requested` to
    its last event, and the current version of a workflow holds what it names. A rerun or resume
    also holds the run that its payload stands in.
    """
    for event in events:
        facts = event.facts
        if type(facts) not in _HOLDING:
            continue
        if isinstance(facts, e.RunRequested):
            yield Hold(facts.workflow, event.stream)
            if facts.payload_run:
                yield Hold(lineage(facts.payload_run), event.stream)
        elif isinstance(facts, e.WorkflowDefined):
            yield event.stream
            for resource in facts.uses.split():
                yield Hold(resource, event.stream)
        else:
            yield event.stream


class Sequencer:
    """Gives commits their places, one after the other."""

    def __init__(self, journal_id: str, ledger: Ledger, salt: Callable[[], bytes]) -> None:
        self._journal_id = journal_id
        self._ledger = ledger
        self._salt = salt

    def sequence(self, commit: Commit, position: int, at: int) -> Sequenced | Appended:
        """Decide one commit: rows to write from `position` + 1 on, or what was made before.

        Raises:
            ConflictError, ResourceInUseError, RequestReusedError, BodyErasedError,
            InvalidCommitError: see `Journal.append`.
        """
        takes_bodies = _check(commit, position)
        earlier = self._requested_before(commit.request, at) or self._repeated(commit)
        if earlier is not None:
            return earlier
        for stream, version in commit.guards:
            self._expect(stream, version)
        for resource in commit.unused:
            holder = self._ledger.holder(resource)
            if holder is not None:
                raise ResourceInUseError(resource, holder)
        for write in commit.writes:
            self._expect(write.stream, write.expected_version)
        for wanted in commit.needs:
            if self._ledger.bodied(wanted) is None:
                raise BodyErasedError(wanted)
        place = check_gone(commit, self._ledger) if takes_bodies else None
        rows: list[Row] = []
        heads: dict[str, Head] = {}
        for write in commit.writes:
            heads[write.stream] = self._write(write, position + len(rows), at, rows)
        request = None
        if commit.request is not None:
            first, last = rows[0].event.position, rows[-1].event.position
            request = (commit.request, TakenRequest(commit.request.digest, first, last, at))
        events = [row.event for row in rows]
        # No stream is in both: what claims a name holds nothing else.
        holds = [*hold_changes(events), *claim_changes(events)]
        by = 0 if place is None else events[place].position
        return Sequenced(rows, heads, request, holds, commit.erased, commit.archived, by)

    def _expect(self, stream: str, version: int) -> None:
        actual = self._ledger.head(stream)[0]
        if actual != version:
            raise ConflictError(stream, version, actual)

    def _requested_before(self, request: RequestKey | None, at: int) -> Appended | None:
        if request is None:
            return None
        taken = self._ledger.taken(request.scope, request.key)
        if not is_remembered(taken, request, at):
            return None
        return Appended(self._ledger.between(taken.first, taken.last), repeated=True)

    def _repeated(self, commit: Commit) -> Appended | None:
        """Recognise a commit whose events all stand where it wants to write them."""
        found: list[Recorded] = []
        for write in commit.writes:
            if self._ledger.head(write.stream)[0] < write.expected_version + len(write.events):
                return None
            stored = self._ledger.versions(write.stream, write.expected_version, len(write.events))
            if [event.id for event in stored] != [event.id for event in write.events]:
                return None
            found.extend(stored)
        return Appended(found, repeated=True)

    def _write(self, write: StreamWrite, position: int, at: int, rows: list[Row]) -> Head:
        version, prev = self._ledger.head(write.stream)
        for new in write.events:
            version += 1
            position += 1
            row = self._row(write, new, (position, version, prev, at))
            rows.append(row)
            prev = row.event.leaf.hex()
        return version, prev

    def _row(self, write: StreamWrite, new: NewEvent, place: tuple[int, int, str, int]) -> Row:
        position, version, prev, at = place
        salt = None
        payload, body_at = new.payload, new.body_at
        if new.body is not None:
            salt = self._salt()
            payload, body_at = payload_commitment(salt, new.body), position
        meta, facts = write.meta, new.facts
        check_facts(facts)
        envelope = Envelope(
            meta.actor,
            at,
            meta.cause,
            meta.corr,
            facts,
            new.id,
            self._journal_id,
            payload,
            prev,
            facts.schema,
            new.src,
            write.stream,
            meta.tenant,
            facts.type,
            FORMAT,
            version,
        )
        entry = encode_entry(envelope)
        event = recorded(envelope, position, leaf_hash(entry), body_at)
        return Row(event, entry, salt, new.body, new.subject)


def _check(commit: Commit, position: int) -> bool:
    """Refuse what no rows can be made of, before anything is looked up.

    One such commit must never take down the group that it waits in. Returns whether it says or
    wants that bodies are erased or archived.
    """
    takes_bodies, has_subject = bool(commit.erased or commit.archived), False
    streams = {write.stream for write in commit.writes}
    if not streams or len(streams) < len(commit.writes):
        raise InvalidCommitError("a commit needs writes, one a stream")
    for write in commit.writes:
        if not write.events or write.expected_version < 0:
            raise InvalidCommitError("a write needs events, and a version from 0 on")
        if not write.stream or not write.stream.isascii():
            raise InvalidCommitError("a stream needs a name of ASCII characters")
        for new in write.events:
            if (new.payload == "") != (new.body_at == 0) or not 0 <= new.body_at <= position:
                raise InvalidCommitError("a replayed body needs its commitment and its position")
            if new.body is not None and new.payload:
                raise InvalidCommitError("an event has a body of its own or a replayed one")
            takes_bodies = takes_bodies or type(new.facts) in TAKES_BODIES
            has_subject = has_subject or new.subject is not None
    if commit.request is not None or has_subject:
        _check_unhashed(commit)
    return takes_bodies


def _check_unhashed(commit: Commit) -> None:
    """See that the strings outside the entries are Unicode text as well."""
    request = commit.request
    texts = [] if request is None else [request.scope, request.key, request.digest]
    texts += [new.subject or "" for write in commit.writes for new in write.events]
    try:
        "".join(texts).encode()
    except UnicodeEncodeError as error:
        raise InvalidCommitError("a string holds half a surrogate pair") from error
