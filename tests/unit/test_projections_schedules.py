"""When a workflow starts next, as the fold and the list say it."""

from __future__ import annotations

from refold.journal import events as e
from refold.projections.view_rows import SCHEDULED
from refold.projections.workflow_state import fold
from refold.projections.workflows_projection import WorkflowsProjection
from tests.support import projection_kit as kit

WORKFLOW = kit.WORKFLOWS[0]


def fired(next_at: int) -> e.ScheduleFired:
    """Make the facts of a firing."""
    return e.ScheduleFired(due_at=1, missed=0, next_at=next_at, run="", skipped="overlap")


def test_the_next_time_is_that_of_the_newest_version_or_firing_and_none_once_it_is_off() -> None:
    """The scheduler knows at a start exactly what is active."""
    steps: list[tuple[e.Facts, int]] = [
        (kit.defined(1, next_at=10), 10),
        (fired(20), 20),
        (kit.defined(2, next_at=30), 30),
        (kit.defined(3, active=0, next_at=40), 0),
        (kit.defined(4, next_at=50), 50),
        (fired(0), 0),
        (kit.defined(5, next_at=60), 60),
        (e.WorkflowDeleted(), 0),
    ]
    history = kit.History()
    for facts, next_at in steps:
        history.add(WORKFLOW, facts, has_body=True)
        assert fold(WORKFLOW, history.events).next_at == next_at
        with kit.generation_of(WorkflowsProjection(), history.events) as connection:
            rows = dict(connection.execute(SCHEDULED).fetchall())
        assert rows == ({WORKFLOW: next_at} if next_at else {})
