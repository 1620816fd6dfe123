"""The published type of what is said about projections."""

from __future__ import annotations

from msgspec import Struct

from ..projections.status import State


class ProjectionFault(Struct, frozen=True):
    """Why a projection stands still, without a word of any event."""

    code: str
    message: str
    position: int | None
    """The event that it can't take, null where it is about none."""
    type: str | None
    """The type of that event, null where it is about none or not known."""


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
    source: str
    """`built_in`, or the `module:Class` of a developer's projection."""
    error: ProjectionFault | None
    """Why it stands still, null while it does not."""


class Projections(Struct, frozen=True):
    """Every projection of the service."""

    head: int
    """The journal's newest durable position."""
    data: list[Projection]
