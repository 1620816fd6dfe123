"""The published type of what is said about projections."""

from __future__ import annotations

from typing import Literal

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


class RowDifference(Struct, frozen=True):
    """A row that is not as the journal says."""

    table: str
    row: str
    """The columns that order the table, as JSON; where rows copy bodies only the number."""
    kind: Literal["other", "extra", "missing"]
    """Its columns are others; the journal has no such row; it is not there."""


class ProjectionCheck(Struct, frozen=True):
    """What came out when rows were last folded again, apart, and compared."""

    position: int
    """The position that was compared."""
    seconds_ago: float
    is_equal: bool
    difference: RowDifference | None
    """The first row that is not as the journal says, null where all are."""


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
    check: ProjectionCheck | None
    """Null until it was compared, and once other rows took the place of those that were."""


class Projections(Struct, frozen=True):
    """Every projection of the service."""

    head: int
    """The journal's newest durable position."""
    data: list[Projection]
