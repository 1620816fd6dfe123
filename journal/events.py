"""The event catalogue: every kind of fact that the journal can hold.

Names, fields and schema numbers are a storage format. They are never renamed and never
change meaning; a change of form is a new schema number, and the old one stays readable
(upcasters.py; README.md says how it is done).

Rules of this file:

1. A struct of an event holds *facts*: what folds need and nobody may erase. Strings and integers
   only, all fields always present, absent is `""` or 0, flags are 0 or 1.
2. User data (payloads, outputs, error text, definitions) is the event's *body*, kept apart.
3. Fields stand in alphabetical order, since the facts are hashed as canonical JSON.
4. Times are microseconds UTC. `iteration` is the path of indexes inside iterators ("" outside).
5. `source_id` is the id of the event that a replayed one was copied from ("" if original).
"""

from __future__ import annotations

from typing import Final

import msgspec

from .errors import InvalidCommitError
from .facts import INTEGER_MAX, Facts
from .object_events import (
    AuthorizationDefined,
    AuthorizationDeleted,
    AuthorizationRefreshed,
    AuthorizationRefused,
    JournalCreated,
    JournalRestored,
    KeyRotated,
    KeyWrapped,
    PayloadErased,
    ScheduleFired,
    SegmentArchived,
    SubscriptionAdvanced,
    SubscriptionDefined,
    SubscriptionDeleted,
    SubscriptionParked,
    SubscriptionReplayed,
    VaultDefined,
    VaultDeleted,
    WorkflowDefined,
    WorkflowDeleted,
)
from .run_events import (
    ChildEnded,
    ChildRequested,
    InteractionRequested,
    InteractionSubmitted,
    IterationEnded,
    IterationStarted,
    NodeFailed,
    NodeInterrupted,
    NodeRetryScheduled,
    NodeStarted,
    NodeSucceeded,
    RunCancelled,
    RunCancelRequested,
    RunCompleted,
    RunFailed,
    RunRequested,
    RunStarted,
    TimerFired,
    TimerSet,
)
from .upcasters import Decoders, Upcaster

__all__ = [
    "CATALOGUE",
    "DECODERS",
    "INTEGER_MAX",
    "OBJECT_EVENTS",
    "RUN_ENDED",
    "UPCASTERS",
    "AuthorizationDefined",
    "AuthorizationDeleted",
    "AuthorizationRefreshed",
    "AuthorizationRefused",
    "ChildEnded",
    "ChildRequested",
    "Facts",
    "InteractionRequested",
    "InteractionSubmitted",
    "IterationEnded",
    "IterationStarted",
    "JournalCreated",
    "JournalRestored",
    "KeyRotated",
    "KeyWrapped",
    "NodeFailed",
    "NodeInterrupted",
    "NodeRetryScheduled",
    "NodeStarted",
    "NodeSucceeded",
    "PayloadErased",
    "RunCancelRequested",
    "RunCancelled",
    "RunCompleted",
    "RunFailed",
    "RunRequested",
    "RunStarted",
    "ScheduleFired",
    "SegmentArchived",
    "SubscriptionAdvanced",
    "SubscriptionDefined",
    "SubscriptionDeleted",
    "SubscriptionParked",
    "SubscriptionReplayed",
    "TimerFired",
    "TimerSet",
    "VaultDefined",
    "VaultDeleted",
    "WorkflowDefined",
    "WorkflowDeleted",
    "check_facts",
    "decode_facts",
]

CATALOGUE: Final[tuple[type[Facts], ...]] = (
    JournalCreated,
    JournalRestored,
    KeyRotated,
    PayloadErased,
    SegmentArchived,
    WorkflowDefined,
    WorkflowDeleted,
    ScheduleFired,
    VaultDefined,
    VaultDeleted,
    KeyWrapped,
    AuthorizationDefined,
    AuthorizationRefreshed,
    AuthorizationRefused,
    AuthorizationDeleted,
    SubscriptionDefined,
    SubscriptionAdvanced,
    SubscriptionParked,
    SubscriptionReplayed,
    SubscriptionDeleted,
    RunRequested,
    RunStarted,
    RunCompleted,
    RunFailed,
    RunCancelRequested,
    RunCancelled,
    NodeStarted,
    NodeSucceeded,
    NodeFailed,
    NodeInterrupted,
    NodeRetryScheduled,
    TimerSet,
    TimerFired,
    InteractionRequested,
    InteractionSubmitted,
    ChildRequested,
    ChildEnded,
    IterationStarted,
    IterationEnded,
)
OBJECT_EVENTS: Final[frozenset[type[Facts]]] = frozenset(
    facts for facts in CATALOGUE if facts.__module__ == JournalCreated.__module__
)
"""All types of object_events.py: no run's stream has any of them, and no other stream others."""
RUN_ENDED: Final = frozenset({RunCompleted.type, RunFailed.type, RunCancelled.type})

UPCASTERS: Final[tuple[Upcaster, ...]] = ()
"""From each schema of the past to the next one; no schema was succeeded by another yet."""
DECODERS: Final = Decoders(CATALOGUE, UPCASTERS)
decode_facts: Final = DECODERS.facts
"""Reads an event's facts: see `Decoders.facts`."""
_INTEGER_FIELDS: Final[dict[type[Facts], tuple[str, ...]]] = {
    facts: tuple(field.name for field in msgspec.structs.fields(facts) if field.type is int)
    for facts in CATALOGUE
}


def check_facts(facts: Facts) -> None:
    """See that an event can be read again from its entry.

    A `bool` passes every type checker as an `int`, yet is hashed as `true`.

    Raises:
        InvalidCommitError: it is not in the catalogue, or holds a number that no entry may.
    """
    names = _INTEGER_FIELDS.get(type(facts))
    if names is None:
        raise InvalidCommitError(f"{type(facts).__name__} is not in the event catalogue")
    for name in names:
        value = getattr(facts, name)
        if type(value) is not int or not 0 <= value <= INTEGER_MAX:
            raise InvalidCommitError(
                f"{facts.type}: {name} must be an integer from 0 to {INTEGER_MAX}"
            )
