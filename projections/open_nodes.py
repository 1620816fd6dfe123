"""What is open in a run's row: the nodes at work, the forms asked, and the status that follows.

A run awaits people while a form is open and no node is at work. Which nodes are open stands in two
text columns, one for nodes at work and one for forms, each place between angle brackets; so an
event changes a row by one statement, and an event of a pure node by none but where it is retried.
"""

from __future__ import annotations

from typing import Final

from ..journal import events as e
from ..journal.envelope import Recorded
from .node_state import ITERATOR
from .projection import Statement

STARTING: Final = frozenset(
    {
        "webhook",
        "altostrat_api",
        "send_email",
        "delay",
        "form",
        "iterator",
        "trigger_workflow",
    }
)
"""The components whose attempts begin with `node.started`; all others end at once."""

_BUSY: Final = "replace(busy, ?1, '') || ?2"
_ASKED: Final = "replace(asked, ?1, '') || ?3"
_AWAITS: Final = f"({_ASKED} != '' AND {_BUSY} = '')"
# Runs without forms, which are nearly all, are told by the first branch of each CASE. An ended
# run keeps its status, and one that only copies what another did has not begun to ask.
_KEEPS: Final = "asked = '' AND ?3 = '' OR status NOT IN ('running', 'awaiting_ui_interaction')"
_STAYS: Final = f"(status = 'awaiting_ui_interaction') = {_AWAITS}"
_CHANGED: Final = f"""UPDATE run_{{g}} SET
  status = CASE
    WHEN {_KEEPS} THEN status
    WHEN {_AWAITS} THEN 'awaiting_ui_interaction'
    ELSE 'running' END,
  turns = CASE WHEN {_KEEPS} OR {_STAYS} THEN turns ELSE turns || ' ' || ?4 END,
  changed_position = CASE WHEN {_KEEPS} OR {_STAYS} THEN changed_position ELSE ?4 END,
  busy = {_BUSY},
  asked = {_ASKED}
WHERE run_id = ?5"""

_Placed = e.NodeStarted | e.NodeFailed | e.InteractionRequested | e.InteractionSubmitted
_Outcome = e.NodeSucceeded | e.NodeFailed | e.NodeInterrupted


def node_started(event: Recorded, facts: e.NodeStarted) -> Statement:
    """Note a node at work; an iterator isn't: what runs inside it is."""
    place = _place(facts)
    return _changed(event, place, busy="" if facts.component == ITERATOR else place)


def form_asked(event: Recorded, facts: e.InteractionRequested) -> Statement:
    """Note that a form waits for a person."""
    place = _place(facts)
    return _changed(event, place, asked=place)


def form_answered(event: Recorded, facts: e.InteractionSubmitted) -> Statement:
    """Note that a form was answered, of which the outcome is still to come."""
    place = _place(facts)
    return _changed(event, place, busy=place)


def attempt_ended(event: Recorded, facts: _Outcome) -> tuple[Statement, ...]:
    """Note that an attempt is over; a node that will be tried again stays at work."""
    is_retried = isinstance(facts, e.NodeFailed) and facts.retried == 1
    was_retried = facts.attempt > 1 or isinstance(facts, e.NodeInterrupted)
    if facts.component not in STARTING and not is_retried and not was_retried:
        return ()
    place = _place(facts)
    return (_changed(event, place, busy=place if is_retried else ""),)


def awaited_at(turns: str, position: int) -> bool:
    """Tell whether a run awaited people at a position: each turn begins or ends a wait."""
    return sum(int(turn) <= position for turn in turns.split()) % 2 == 1


def _place(facts: _Placed | _Outcome) -> str:
    return f"<{facts.iteration}/{facts.node}>"


def _changed(event: Recorded, place: str, *, busy: str = "", asked: str = "") -> Statement:
    return Statement(_CHANGED, (place, busy, asked, event.position, event.stream))
