"""Which runs that a schedule started are not finished yet, as the journal has it."""

from __future__ import annotations

from collections import Counter
from typing import Final

from ..journal import events as e
from ..journal import ids
from ..journal.envelope import Recorded
from ..journal.errors import UnknownEventError
from ..journal.journal import Journal

ORIGIN = "schedule"
"""The `origin` and the `trigger_type` of runs that a schedule starts."""
FOLLOWED: Final[frozenset[type[e.Facts]]] = frozenset(
    {e.RunRequested, e.RunCompleted, e.RunFailed, e.RunCancelled}
)
"""The types of events that `ScheduledRuns.hear` has to hear."""


class ScheduledRuns:
    """Follows the journal from where it is made; what was before, `read` finds."""

    def __init__(self) -> None:
        self._workflows: dict[str, str] = {}
        """Run to workflow."""
        self._counts: Counter[str] = Counter()
        self._undecidable: dict[str, UnknownEventError] = {}
        """Workflows with an unfinished run of which only a newer version knows what started it."""
        self._ended: set[str] | None = set()
        """Until all is read: what ended meanwhile, and must not come back."""

    def is_going(self, workflow: str) -> bool:
        """Say whether a workflow has an unfinished run that a schedule started.

        Raises:
            UnknownEventError: it has one that a newer version started, nobody knows how.
        """
        if workflow in self._undecidable:
            raise self._undecidable[workflow].with_traceback(None)
        return workflow in self._counts

    def hear(self, event: Recorded) -> None:
        """Go past one event."""
        facts = event.facts
        if isinstance(facts, e.RunRequested):
            if facts.origin == ORIGIN:
                self._add(event.stream, facts.workflow)
        elif facts.type in e.RUN_ENDED:
            self._end(event.stream)

    async def read(self, journal: Journal) -> None:
        """Find the unfinished runs of before."""
        for hold in await journal.holds():
            try:
                events = await journal.read_stream(hold.holder, limit=1)
            except UnknownEventError as error:
                if ids.is_run(hold.holder):
                    self._undecidable[hold.resource] = error
                continue
            facts = events[0].facts
            is_ours = isinstance(facts, e.RunRequested) and facts.origin == ORIGIN
            if is_ours and not (self._ended and hold.holder in self._ended):
                self._add(hold.holder, hold.resource)
        self._ended = None

    def _add(self, run: str, workflow: str) -> None:
        if run not in self._workflows:
            self._workflows[run] = workflow
            self._counts[workflow] += 1

    def _end(self, run: str) -> None:
        if self._ended is not None:
            self._ended.add(run)
        workflow = self._workflows.pop(run, None)
        if workflow is not None:
            self._counts[workflow] -= 1
            if not self._counts[workflow]:
                del self._counts[workflow]
