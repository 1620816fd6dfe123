"""How a projection stands: what operators are shown of each."""

from __future__ import annotations

from typing import Literal

import msgspec

State = Literal["live", "catching_up", "waiting", "stopped"]
"""`waiting`: the file of the views can't be written just now; it is tried again.
`stopped`: for good, until a restart; `error` says why."""


class ProjectionStatus(msgspec.Struct, frozen=True):
    """One projection as it stands."""

    name: str
    version: int
    state: State
    position: int
    """The newest position that its rows include."""
    unmoved_s: float
    """Seconds since it took an event, or since the start. Where nothing happens it grows, too."""
    error: str = ""
    """Why it stands still, without a word of any event; "" while it does not."""

    def lag(self, head: int) -> int:
        """Return how many positions it is behind the journal's head."""
        return max(0, head - self.position)
