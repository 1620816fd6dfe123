"""What a run may ask of the runs that it started: see children.py for how it is done."""

from __future__ import annotations

from typing import Protocol

import msgspec

from ..journal.clock import IdSource
from ..projections.node_state import Place
from ..projections.run_state import RunState
from .calls import Result
from .component import ChildRequest, Outcome
from .transcript import Transcript


class ChildEnd(msgspec.Struct, frozen=True):
    """How a run of another workflow ended."""

    status: str
    ended_at: int
    """When it ended by the journal's time, in microseconds."""
    body: bytes
    """What is journaled of it, as JSON: its result, or its error message."""
    result: Result
    """What the node that waited for it comes to."""


def unwaited(run_id: str) -> Outcome:
    """Return what a node comes to that does not wait for the run that it started."""
    return Outcome({"run_id": run_id})


class Family(Protocol):
    """Starts, reads and cancels the runs that a run started."""

    async def request(
        self, transcript: Transcript, place: Place, wanted: ChildRequest, ids: IdSource
    ) -> Result | None:
        """Start a run of another workflow, in one commit with its note in the parent's stream.

        Returns None where the node waits for it, else what the node comes to.

        Raises:
            ConflictError: somebody else continues the parent.
        """
        ...

    async def result(self, run_id: str) -> ChildEnd | None:
        """Return what a child came to, None if it has not ended."""
        ...

    async def cancel(self, parent: RunState, run_id: str) -> bool:
        """Cancel a child; False where that can't be done now because the service is stopping."""
        ...
