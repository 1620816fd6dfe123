"""What a projection is: a name, a version, the events it wants, tables, and a pure fold.

Rules of a projection:

1. `fold` depends on the event alone: no clock, no chance, no input or output, and no table of
   another projection. What it needs to remember, it keeps in its own tables.
2. A change of the fold or the tables is a new `version`; the rows are then made anew.
3. In DDL and statements `{g}` stands for the generation: `run_{g}` is the table that readers know
   as `run`. In the SQL of a `View` the plain names are used.
4. The projector owns transactions, checkpoints, batches and errors: a fold only says what changes.

The built-in projections are made with this interface and nothing else.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple, Protocol, TypeAlias, runtime_checkable

import msgspec

from ..journal.envelope import Recorded
from ..journal.facts import Facts

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


class View(msgspec.Struct, frozen=True):
    """An SQL view for those who read the file: a question that has its answer ready."""

    name: str
    """What readers call it."""
    select: str
    """A SELECT over the plain names of the projection's own tables."""


class Projection(Protocol):
    """A read model: everything that the projector has to know of it."""

    @property
    def name(self) -> str:
        """The name that a rebuild is asked for by: lower-case letters, digits and `_`."""
        ...

    @property
    def version(self) -> int:
        """From 1, counted up with every change of the fold or the tables."""
        ...

    @property
    def events(self) -> Collection[type[Facts]]:
        """The types of events that the fold is called with, classes of `journal/events.py`."""
        ...

    @property
    def tables(self) -> Sequence[Table]:
        """The tables, which nobody else writes to."""
        ...

    @property
    def views(self) -> Sequence[View]:
        """SQL views over these tables, () for none."""
        ...

    def fold(self, event: Recorded) -> Sequence[Statement]:
        """Return what an event changes, in order; () for nothing."""
        ...


@runtime_checkable
class BodyProjection(Projection, Protocol):
    """A projection that copies from bodies: having `fold_body` is how it says so.

    It must want `payload.erased` and forget what it copied from those positions: a body that was
    erased is not there when the rows are made anew, and both ways must lead to equal rows.
    """

    def fold_body(self, event: Recorded, body: bytes) -> Sequence[Statement]:
        """Return what a wanted event changes, called after `fold` while its body exists.

        A replayed event comes with the body of the event that it was copied from; its place is
        `event.body_at`, which is what `payload.erased` names.
        """
        ...


def reads_bodies(projection: Projection) -> bool:
    """Tell whether a projection has asked for bodies."""
    return isinstance(projection, BodyProjection)


def is_apart(projection: Projection) -> bool:
    """Tell whether a projection keeps its rows in a file of its own: it has `apart = True`.

    Its file is `views.<name>.db`. After a `payload.erased` that took rows of it, what they left
    in the file is overwritten, and an erasure is answered only when that is done. The file goes
    with the projection: a service that no longer has it deletes the file at its start.
    """
    return getattr(projection, "apart", False) is True
