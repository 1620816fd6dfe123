"""The effect ledger of one run: which calls have an intent and no outcome. Pure.

Every call has its `node.started` on disk before its first byte leaves, under an effect key that
stays the same for each repeat. What comes of it is its outcome. An intent without one is *open*
while its call may still be on the wire, and *in doubt* once nobody waits for it any more: because
the process that made it is gone, or because the run was ended meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ..journal import events as e
from ..journal.envelope import Recorded
from .node_state import Place

INTERRUPTED: Final = "interrupted"
"""The code of a failure that says that the outcome is unknown, and that no repeat is wanted."""


def doubtful_starts(events: Iterable[Recorded], gone_at: int = 0) -> frozenset[int]:
    """Return the versions of a run's `node.started` whose calls came to nobody knows what.

    A start is in doubt where another one of the same place follows without an outcome between
    (the same call, made again after a crash), or where its outcome says so. Of those that are
    still open, those up to position `gone_at` were made by a process that is gone.
    """
    doubtful: set[int] = set()
    open_: dict[Place, Recorded] = {}
    for event in events:
        facts = event.facts
        if isinstance(facts, e.NodeStarted):
            if facts.effect_key:
                before = open_.get((facts.iteration, facts.node))
                if before is not None:
                    doubtful.add(before.version)
                open_[facts.iteration, facts.node] = event
        elif isinstance(facts, (e.NodeSucceeded, e.NodeFailed, e.NodeInterrupted)):
            started = open_.pop((facts.iteration, facts.node), None)
            if started is not None and is_in_doubt(facts):
                doubtful.add(started.version)
    doubtful.update(event.version for event in open_.values() if event.position <= gone_at)
    return frozenset(doubtful)


def is_in_doubt(outcome: e.NodeSucceeded | e.NodeFailed | e.NodeInterrupted) -> bool:
    """Tell whether an outcome says that nobody knows what came of the call."""
    if isinstance(outcome, e.NodeInterrupted):
        return outcome.in_doubt == 1
    return isinstance(outcome, e.NodeFailed) and outcome.code == INTERRUPTED
