"""`WorkflowState`: what a workflow is, folded from the facts of its stream."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from ..journal import events as e
from ..journal import ids
from ..journal.envelope import Recorded


class WorkflowVersion(msgspec.Struct, frozen=True, gc=False):
    """One immutable version of a workflow."""

    number: int
    at: int
    actor: str
    body_at: int
    """The position of the body with the definition."""
    webhook_hash: str


class WorkflowState(msgspec.Struct):
    """A workflow, as far as its facts tell."""

    workflow_id: str
    version: int = 0
    """The version of its stream: what a commit that relies on this state guards."""
    position: int = 0
    """The position of its newest event: as of any later one, it is the same."""
    tenant: str = ""
    is_active: bool = False
    is_deleted: bool = False
    created_at: int = 0
    schedule: str = ""
    """The current version's schedule as canonical JSON, "" without one."""
    next_at: int = 0
    """When the schedule fires next, 0 where it doesn't: without one, inactive or deleted."""
    workflows_used: tuple[str, ...] = ()
    """The other workflows that the current version's nodes name."""
    versions: list[WorkflowVersion] = msgspec.field(default_factory=list)

    @property
    def current(self) -> WorkflowVersion:
        """The newest version."""
        return self.versions[-1]

    @property
    def exists(self) -> bool:
        """True while the workflow is defined and not deleted."""
        return bool(self.versions) and not self.is_deleted


def fold(workflow_id: str, events: Iterable[Recorded]) -> WorkflowState:
    """Fold a workflow's events from the first one on."""
    state = WorkflowState(workflow_id)
    for event in events:
        evolve(state, event)
    return state


def evolved(state: WorkflowState, event: Recorded) -> WorkflowState:
    """Return the state past one event of its stream, and leave this one as it is."""
    made = msgspec.structs.replace(state, versions=list(state.versions))
    evolve(made, event)
    return made


def evolve(state: WorkflowState, event: Recorded) -> None:
    """Bring the state past one event of its stream."""
    state.version = event.version
    state.position = event.position
    facts = event.facts
    if isinstance(facts, e.WorkflowDefined):
        if not state.versions:
            state.created_at = event.at
            state.tenant = event.tenant
        state.is_active = facts.active == 1
        state.workflows_used = tuple(id_ for id_ in facts.uses.split() if ids.is_workflow(id_))
        state.schedule = facts.schedule
        state.next_at = facts.next_at if state.is_active else 0
        state.versions.append(
            WorkflowVersion(
                facts.workflow_version, event.at, event.actor, event.body_at, facts.webhook_hash
            )
        )
    elif isinstance(facts, e.ScheduleFired):
        state.next_at = facts.next_at
    elif isinstance(facts, e.WorkflowDeleted):
        state.is_deleted = True
        state.next_at = 0
