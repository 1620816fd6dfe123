"""The mapping from events to OCEL 2.0: events, the objects that they are about, and how.

Objects are runs, workflows, nodes, attempts and actors, and what the other streams are about: vault
items, authorizations, the journal itself. An event is related to each of its objects by a
qualifier. Every object that is referred to is in the log, also where its own events are not.

An object's id ends with the part that may hold any text, so no two are alike:
`<workflow>/<node>` is a node, `<run>/<iteration>/<attempt>/<node>` an attempt of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import msgspec

from ...journal import events as e
from ...journal import ids
from .source import Entry
from .values import Value, body_text, is_time, rfc3339, shown_fields

RUN, WORKFLOW, NODE, ATTEMPT, ACTOR = "run", "workflow", "node", "attempt", "actor"
VAULT_ITEM, AUTHORIZATION, JOURNAL, OTHER = "vault_item", "authorization", "journal", "other"

OBJECT_TYPES: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    RUN: (
        ("workflow_version", "integer"),
        ("origin", "string"),
        ("trigger_type", "string"),
        ("tenant", "string"),
        ("status", "string"),
    ),
    WORKFLOW: (("tenant", "string"), ("workflow_version", "integer"), ("status", "string")),
    NODE: (("component", "string"),),
    ATTEMPT: (
        ("component", "string"),
        ("iteration", "string"),
        ("attempt", "integer"),
        ("outcome", "string"),
    ),
    ACTOR: (("tenant", "string"),),
    VAULT_ITEM: (("tenant", "string"),),
    AUTHORIZATION: (("tenant", "string"),),
    JOURNAL: (),
    OTHER: (),
}
"""The types of objects, and the names and types of their attributes."""

_COMMON: Final = (
    ("position", "integer"),
    ("version", "integer"),
    ("tenant", "string"),
    ("correlation", "string"),
    ("replayed_from", "string"),
    ("body", "string"),
    ("body_state", "string"),
)
_SOURCE: Final = re.compile(r"([^@]+)@[0-9]+#[0-9a-f]{64}")
_STATUS: Final[dict[type[e.Facts], tuple[str, str]]] = {
    e.RunRequested: ("status", "pending"),
    e.RunStarted: ("status", "running"),
    e.RunCompleted: ("status", "completed"),
    e.RunFailed: ("status", "failed"),
    e.RunCancelled: ("status", "failed"),
    e.WorkflowDeleted: ("status", "deleted"),
    e.NodeSucceeded: ("outcome", "succeeded"),
    e.NodeFailed: ("outcome", "failed"),
    e.NodeInterrupted: ("outcome", "interrupted"),
}
"""The attribute of an object that an event changes, and to what."""


class Relation(msgspec.Struct, frozen=True, gc=False):
    """An object that an event is about."""

    id: str
    type: str
    qualifier: str
    attributes: tuple[tuple[str, Value], ...] = ()
    """What the object has from its beginning, as far as this event knows."""


class Change(msgspec.Struct, frozen=True, gc=False):
    """A new value of an object's attribute."""

    id: str
    type: str
    name: str
    value: Value


class Link(msgspec.Struct, frozen=True, gc=False):
    """An object that is related to another one."""

    source: str
    target: str
    qualifier: str


class Event(msgspec.Struct, frozen=True, gc=False):
    """An event of the log."""

    id: str
    type: str
    time: str
    attributes: dict[str, Value]
    relations: list[Relation]
    changes: list[Change]
    links: list[Link]


def event_attributes(facts: type[e.Facts]) -> tuple[tuple[str, str], ...]:
    """Return the names and types of the attributes that events of a type have."""
    own = tuple(
        (name, "time" if is_number and is_time(name) else "integer" if is_number else "string")
        for name, is_number in shown_fields(facts)
        if name not in dict(_COMMON)
    )
    return _COMMON + own


class Mapper:
    """Makes events of a log of a journal's, in the journal's order."""

    def __init__(self, requested: Callable[[str], e.RunRequested | None]) -> None:
        """`requested` finds what made a run."""
        self._requested = requested
        self._open: dict[str, dict[tuple[str, str], int]] = {}
        """By run and place, the attempts that have begun and not ended."""

    def map(self, entry: Entry) -> Event:
        """Return an event with all that it says of objects."""
        head, facts = entry.head, entry.facts()
        made = Event(head.id, head.type, rfc3339(head.at), _attributes(entry, facts), [], [], [])
        own = self._own(entry, facts)
        made.relations.append(own)
        if ids.is_run(head.stream):
            self._relate_run(made, entry, facts)
        if head.actor:
            actor = Relation(head.actor, ACTOR, "actor", (("tenant", head.tenant),))
            made.relations.append(actor)
        self._change(made, own, facts)
        return made

    def _own(self, entry: Entry, facts: e.Facts) -> Relation:
        """Return the object that the event's stream is about."""
        stream = entry.head.journal if entry.head.stream == ids.SYS else entry.head.stream
        type_ = JOURNAL if entry.head.stream == ids.SYS else object_type(stream)
        attributes: tuple[tuple[str, Value], ...] = ()
        if isinstance(facts, e.RunRequested):
            attributes = (
                ("workflow_version", facts.workflow_version),
                ("origin", facts.origin),
                ("trigger_type", facts.trigger_type),
            )
        if entry.head.version == 1:
            attributes += (("tenant", entry.head.tenant),)
        return Relation(stream, type_, type_, attributes)

    def _relate_run(self, made: Event, entry: Entry, facts: e.Facts) -> None:
        run = entry.head.stream
        asked = facts if isinstance(facts, e.RunRequested) else self._requested(run)
        if asked is not None:
            made.relations.append(_of(asked.workflow, WORKFLOW))
        if isinstance(facts, e.RunRequested):
            _descend(made, run, facts)
        elif isinstance(facts, e.ChildRequested | e.ChildEnded):
            made.relations.append(_of(facts.child, "child"))
        node = str(getattr(facts, "node", ""))
        if node and asked is not None:
            component = str(getattr(facts, "component", ""))
            known = (("component", component),) if component else ()
            place = f"{asked.workflow}/{node}"
            made.relations.append(Relation(place, NODE, NODE, known))
            self._relate_attempt(made, entry, facts, place)
        if entry.head.type in e.RUN_ENDED:
            self._open.pop(run, None)

    def _relate_attempt(self, made: Event, entry: Entry, facts: e.Facts, node_id: str) -> None:
        run, node = entry.head.stream, str(getattr(facts, "node", ""))
        iteration = str(getattr(facts, "iteration", ""))
        place = (iteration, node)
        known: tuple[tuple[str, Value], ...] = ()
        if isinstance(facts, e.NodeStarted | e.NodeSucceeded | e.NodeFailed | e.NodeInterrupted):
            attempt = facts.attempt
            known = (
                ("component", facts.component),
                ("iteration", iteration),
                ("attempt", attempt),
            )
            if isinstance(facts, e.NodeStarted):
                self._open.setdefault(run, {})[place] = attempt
            else:
                self._open.get(run, {}).pop(place, None)
        elif isinstance(facts, e.NodeRetryScheduled):
            # It is about the attempt that is to come, which is related once it begins.
            return
        else:
            attempt = self._open.get(run, {}).get(place, 0)
        if not attempt:
            return
        id_ = f"{run}/{iteration}/{attempt}/{node}"
        made.relations.append(Relation(id_, ATTEMPT, ATTEMPT, known))
        if not known:
            return
        if isinstance(facts, e.NodeSucceeded | e.NodeFailed | e.NodeInterrupted):
            name, value = _STATUS[type(facts)]
            made.changes.append(Change(id_, ATTEMPT, name, value))
        made.links.extend((Link(id_, run, RUN), Link(id_, node_id, NODE)))
        source = _SOURCE.fullmatch(entry.head.src)
        if source is not None:
            original = f"{source[1]}/{iteration}/{attempt}/{node}"
            made.relations.append(Relation(original, ATTEMPT, "replayed_from", known))
            made.links.append(Link(id_, original, "replayed_from"))

    def _change(self, made: Event, own: Relation, facts: e.Facts) -> None:
        """Note what the event changes about the object of its stream."""
        if own.type in (RUN, WORKFLOW) and type(facts) in _STATUS:
            name, value = _STATUS[type(facts)]
            if name == "status":
                made.changes.append(Change(own.id, own.type, name, value))
        elif own.type == WORKFLOW and isinstance(facts, e.WorkflowDefined):
            status = "active" if facts.active else "inactive"
            number = facts.workflow_version
            made.changes.append(Change(own.id, own.type, "workflow_version", number))
            made.changes.append(Change(own.id, own.type, "status", status))
            made.relations.extend(_of(used, "uses") for used in facts.uses.split())


def object_type(stream: str) -> str:
    """Return the type of the object that a stream is about."""
    if ids.is_run(stream):
        return RUN
    prefixes = ((ids.WORKFLOW, WORKFLOW), ("vlt_", VAULT_ITEM), ("auth_", AUTHORIZATION))
    return next((type_ for prefix, type_ in prefixes if stream.startswith(prefix)), OTHER)


def _of(stream: str, qualifier: str) -> Relation:
    return Relation(stream, object_type(stream), qualifier)


def _descend(made: Event, run: str, facts: e.RunRequested) -> None:
    """Say what a run comes from."""
    made.links.append(Link(run, facts.workflow, WORKFLOW))
    if facts.original_run:
        made.relations.append(_of(facts.original_run, "original"))
        made.links.append(Link(run, facts.original_run, facts.origin))
    if facts.parent_run:
        made.relations.append(_of(facts.parent_run, "parent"))
        made.links.append(Link(run, facts.parent_run, "parent"))


def _attributes(entry: Entry, facts: e.Facts) -> dict[str, Value]:
    head = entry.head
    made: dict[str, Value] = {
        "position": entry.position,
        "version": head.version,
        "tenant": head.tenant,
        "correlation": head.corr,
        "replayed_from": head.src,
        "body_state": entry.body_state,
    }
    if entry.body is not None:
        made["body"] = body_text(entry.body)
    for name, is_number in shown_fields(type(facts)):
        value = getattr(facts, name)
        if is_number and is_time(name):
            if value:
                made[name] = rfc3339(value)
        else:
            made[name] = value
    return made
