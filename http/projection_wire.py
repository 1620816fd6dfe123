"""The published type of what is said about projections."""

from __future__ import annotations

from msgspec import Struct

from ..projections.status import State


class Projection(Struct, frozen=True):
    """A view of the journal, and how it stands."""

    name: str
    version: int
    state: State
    position: int
    """The newest position that it includes."""
    lag: int
    """How many positions it is behind the journal."""
    seconds_since_move: float
    """How long ago it took an event; where nothing happens, this grows too."""
    error: str | None
    """Why it stands still, null while it does not."""


class Projections(Struct, frozen=True):
    """Every projection of the service."""

    head: int
    """The journal's newest durable position."""
    data: list[Projection]
