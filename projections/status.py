"""How a projection stands: what operators are shown of each."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from .checking import Checked
from .faults import Fault, in_one_line

State: TypeAlias = Literal["live", "catching_up", "rebuilding", "waiting", "stopped"]
"""`rebuilding`: its rows are made anew beside the live ones, which serve.
`waiting`: the file of the views can't be written just now; it is tried again.
`stopped`: until it is told to try again; `fault` says why."""


class Comparison(msgspec.Struct, frozen=True):
    """The last comparison of a projection's rows with the journal."""

    found: Checked
    at: float
    """When it ended, by `time.monotonic`."""


class ProjectionStatus(msgspec.Struct, frozen=True):
    """One projection as it stands."""

    name: str
    version: int
    state: State
    position: int
    """The newest position that the rows which readers see include."""
    unmoved_s: float
    """Seconds since it took an event, or since the start. Where nothing happens it grows, too."""
    fault: Fault | None = None
    """Why it stands still, without a word of any event."""
    source: str = "built_in"
    """`built_in`, or the `module:Class` of a developer's projection."""
    compared: Comparison | None = None
    """What came out when its rows were last compared with the journal."""

    @property
    def error(self) -> str:
        """Why it stands still in one line, "" while it does not."""
        return "" if self.fault is None else in_one_line(self.fault)

    @property
    def is_doubted(self) -> bool:
        """True where a comparison found rows that are not as the journal says."""
        return self.compared is not None and not self.compared.found.is_equal

    def lag(self, head: int) -> int:
        """Return how many positions it is behind the journal's head."""
        return max(0, head - self.position)
