"""Events as clients see them: an entry with its body, or of another tenant's its hash alone."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator, Container, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import UNSET

from ..journal import ids
from ..journal.envelope import Recorded
from ..journal.events import NodeStarted, RunRequested
from ..journal.journal import Body
from ..projections.exports.plan import SEALED
from . import entry_wire, wire
from .services import App
from .times import to_wire

_RUNS_KNOWN_MAX: Final = 4096
_SHOWN_AT_ONCE: Final = 32
encode: Final = msgspec.json.Encoder().encode


async def show(
    app: App, page: Sequence[Recorded], doubtful: Container[int] = ()
) -> list[wire.Event]:
    """Show events with their bodies; `doubtful` are the versions of calls in doubt."""
    bodies = await app.bodies([event.body_at for event in page if event.body_at])
    return [_event(event, bodies.get(event.body_at), doubtful) for event in page]


def _event(event: Recorded, body: bytes | None, doubtful: Container[int]) -> wire.Event:
    is_call = isinstance(event.facts, NodeStarted) and event.facts.effect_key != ""
    return wire.Event(
        event.position,
        event.version,
        event.id,
        event.facts.type,
        event.facts.schema,
        event.stream,
        to_wire(event.at),
        event.actor,
        event.corr,
        event.cause,
        event.src,
        msgspec.Raw(encode(event.facts)),
        event.payload,
        event.leaf.hex(),
        _body(event, body),
        event.version in doubtful if is_call else UNSET,
    )


def _body(event: Recorded, body: bytes | None) -> Any:
    if body is not None:
        return msgspec.Raw(body)
    return {"erased": True} if event.payload else None


class Choice(msgspec.Struct, frozen=True):
    """Which entries of the journal a caller sees, and how."""

    tenant: str
    is_own: bool
    """False where an operator looks at another tenant: its bodies stay its own."""
    types: frozenset[str]
    """Empty for all."""
    workflow: str
    """A workflow and its runs; "" for all."""
    with_hidden: bool
    """Without a filter: other tenants' entries show as leaf hashes, so that proofs close."""
    is_exact: bool
    """With the bytes that were hashed."""


class EntryView:
    """Shows a caller the entries of its choice. One serves one request."""

    def __init__(self, app: App, choice: Choice) -> None:
        self._app = app
        self._choice = choice
        self._workflows: dict[str, str] = {}

    @property
    def sees_all(self) -> bool:
        """True where each entry shows something."""
        return self._choice.with_hidden

    def concerns(self, event: Recorded) -> bool:
        """Tell whether a new event may be worth looking at."""
        return self._choice.with_hidden or event.tenant == self._choice.tenant

    async def visible(self, page: Sequence[Recorded]) -> list[Recorded]:
        """Return those of some events that the caller gets to see something of."""
        if self._choice.with_hidden:
            return list(page)
        return [event for event in page if await self._is_chosen(event)]

    async def show(self, visible: Sequence[Recorded]) -> AsyncIterator[list[entry_wire.Entry]]:
        """Show visible events, a few at a time, since each body may be large."""
        for start in range(0, len(visible), _SHOWN_AT_ONCE):
            yield await self._show(visible[start : start + _SHOWN_AT_ONCE])

    async def _show(self, visible: Sequence[Recorded]) -> list[entry_wire.Entry]:
        own = [event for event in visible if event.tenant == self._choice.tenant]
        bodied = {e.body_at for e in own if e.body_at and self._may_read(e)}
        bodies = await self._app.bodies(sorted(bodied))
        exact: Mapping[int, bytes] = {}
        stored: Mapping[int, Body] = {}
        if self._choice.is_exact:
            exact = await self._app.journal.read_entries([event.position for event in own])
            stored = await self._app.journal.read_stored_bodies(sorted(bodied))
        return [
            self._entry(
                event,
                bodies.get(event.body_at),
                exact.get(event.position),
                stored.get(event.body_at),
            )
            if event.tenant == self._choice.tenant
            else entry_wire.Entry(position=event.position, leaf=event.leaf.hex())
            for event in visible
        ]

    def _may_read(self, event: Recorded) -> bool:
        # What is encrypted there is not for auditors, and its keys have to stay erasable.
        return self._choice.is_own and not event.facts.type.startswith(SEALED)

    async def _is_chosen(self, event: Recorded) -> bool:
        choice = self._choice
        if event.tenant != choice.tenant:
            return False
        if choice.types and event.facts.type not in choice.types:
            return False
        if not choice.workflow or event.stream == choice.workflow:
            return True
        return ids.is_run(event.stream) and await self._workflow_of(event) == choice.workflow

    async def _workflow_of(self, event: Recorded) -> str:
        """Return the workflow of an event's run, which only the run's first event names."""
        known = self._workflows.get(event.stream)
        if known is not None:
            return known
        first = event
        if event.version > 1:
            first = (await self._app.journal.read_stream(event.stream, limit=1))[0]
        found = first.facts.workflow if isinstance(first.facts, RunRequested) else ""
        if len(self._workflows) >= _RUNS_KNOWN_MAX:
            self._workflows.pop(next(iter(self._workflows)))
        self._workflows[event.stream] = found
        return found

    def _entry(
        self, event: Recorded, body: bytes | None, exact: bytes | None, stored: Body | None
    ) -> entry_wire.Entry:
        shown = _body(event, body)
        if event.payload and not self._may_read(event):
            shown = {"withheld": True}
        return entry_wire.Entry(
            position=event.position,
            leaf=event.leaf.hex(),
            version=event.version,
            id=event.id,
            type=event.facts.type,
            schema=event.facts.schema,
            stream=event.stream,
            at=to_wire(event.at),
            actor=event.actor,
            corr=event.corr,
            cause=event.cause,
            src=event.src,
            facts=msgspec.Raw(encode(event.facts)),
            payload=event.payload,
            body=shown,
            entry=UNSET if exact is None else exact.decode(),
            salt=UNSET if stored is None else stored.salt.hex(),
            body_bytes=UNSET if stored is None else b64encode(stored.data).decode(),
        )
