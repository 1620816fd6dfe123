"""What a projection is: a name, a version, tables, and a pure fold from events to statements.

Rules of a projection:

1. `fold` depends on the event alone: no clock, no chance, no input or output, no body, and no
   table of another projection. What it needs to remember, it keeps in its own tables.
2. A change of the fold or the tables is a new `version`; the rows are then made anew.
3. In DDL and statements `{g}` stands for the generation: `run_{g}` is the table that readers know
   as `run`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol, TypeAlias

import msgspec

from ..journal.envelope import Recorded

GENERATION: Final = "{g}"
"""What is replaced by the generation's number in DDL and statements."""

SqlValue: TypeAlias = str | int | float | bytes | None


class Statement(NamedTuple):
    """One change of a projection's own tables."""

    sql: str
    """A constant of the projection: its text is the key under which it stays prepared."""
    parameters: tuple[SqlValue, ...]


class Table(msgspec.Struct, frozen=True):
    """One table of a projection."""

    name: str
    """What readers call it; the table itself is called `<name>_<generation>`."""
    key: str
    """The columns that order the rows for the digest, separated by commas."""
    ddl: Sequence[str]
    """CREATE TABLE first, then its indexes. The table has row ids."""

    def statements(self, generation: int) -> list[str]:
        """Return the DDL of one generation."""
        return [text.replace(GENERATION, str(generation)) for text in self.ddl]


class Projection(Protocol):
    """A read model: everything that the projector has to know of it."""

    @property
    def name(self) -> str:
        """The name that a rebuild is asked for by."""
        ...

    @property
    def version(self) -> int:
        """Counted up with every change of the fold or the tables."""
        ...

    @property
    def tables(self) -> Sequence[Table]:
        """The tables, which nobody else writes to."""
        ...

    def fold(self, event: Recorded) -> Sequence[Statement]:
        """Return what an event changes, in order; () for an event that is none of its business."""
        ...
