"""What is exported: a range of positions, some of the streams, with or without user data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

import msgspec

Bodies = Literal["all", "open", "none"]
"""Which bodies are read: every one, all but ciphertext and keys, or none."""
Report = Callable[[int, int], None]
"""Is told how many events are done, and of how many."""

SEALED: Final = ("vault.", "key.", "authorization.", "subscription.defined")
"""What the types of events begin with whose bodies hold ciphertext and wrapped keys."""


class Selection(msgspec.Struct, frozen=True):
    """Which events; "" selects all of a kind."""

    first: int = 1
    """The first position, inclusive."""
    run: str = ""
    workflow: str = ""
    """Its own stream, and its runs."""
    tenant: str = ""
    with_bodies: bool = True

    @property
    def is_partial(self) -> bool:
        """True where the root of a replayed event may be outside of it."""
        return self.first > 1 or bool(self.run or self.workflow or self.tenant)


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An export, so exactly that doing it twice gives the same bytes."""

    format: str
    journal: str
    """The journal's id."""
    selection: Selection
    up_to: int
    """The last position, inclusive."""
    checkpoint: str = ""
    """The signed note that covers exactly what is up to there, where one was given."""

    def bodies(self, wanted: Bodies) -> Bodies:
        """Return which bodies to read for a format that wants these."""
        return wanted if self.selection.with_bodies else "none"
