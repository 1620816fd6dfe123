"""The answers for runs that have ended, kept in memory as the bytes that were sent.

A run that has ended changes no more, so its answer is made once. The one thing that can change it
is that bodies go, by an erasure or into a segment: all answers are forgotten then, and none is
kept that was being made meanwhile.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import msgspec

from ..engine.runs import LoadedRun
from ..journal.envelope import Recorded
from ..journal.erasing import TAKES_BODIES
from ..journal.journal import Journal

BYTES_MAX: Final = 8 * 1024 * 1024
"""How much is kept; what was asked for longest ago goes first."""
ANSWER_BYTES_MAX: Final = 64 * 1024
"""A larger answer is made anew each time, which costs little beside sending it."""


class Finished(msgspec.Struct, frozen=True, gc=False):
    """One answer, and whose it is."""

    tenant: str
    workflow: str
    ended_position: int
    """That of the run's last event: as of an earlier one the answer is another."""
    body: bytes


class FinishedRuns:
    """The answers that were asked for lately."""

    def __init__(self, journal: Journal) -> None:
        self._answers: OrderedDict[str, Finished] = OrderedDict()
        self._bytes = 0
        self.forgotten = 0
        """How often all answers were forgotten; to be given back to `keep`."""
        journal.subscribe(self._forget, TAKES_BODIES)

    def find(self, tenant: str, run_id: str, at: int) -> Finished | None:
        """Return the answer as of a position, if it is here and of this tenant."""
        found = self._answers.get(run_id)
        if found is None or found.tenant != tenant or found.ended_position > at:
            return None
        self._answers.move_to_end(run_id)
        return found

    def keep(self, loaded: LoadedRun, body: bytes, forgotten: int) -> None:
        """Keep an answer; `forgotten` is what it was when the run began to be read."""
        state = loaded.state
        if forgotten != self.forgotten or not state.is_ended or len(body) > ANSWER_BYTES_MAX:
            return
        last = loaded.events[-1].position
        self._drop(state.run_id)
        self._answers[state.run_id] = Finished(state.tenant, state.origin.workflow, last, body)
        self._bytes += len(body)
        while self._bytes > BYTES_MAX:
            self._drop(next(iter(self._answers)))

    def _drop(self, run_id: str) -> None:
        dropped = self._answers.pop(run_id, None)
        if dropped is not None:
            self._bytes -= len(dropped.body)

    def _forget(self, events: Sequence[Recorded]) -> None:
        """Forget everything: a body may be shown by many runs, and seldom does one go."""
        del events
        self._answers.clear()
        self._bytes = 0
        self.forgotten += 1
