"""Which workflows wait for which events: what the fold keeps, and how a look-up finds it."""

from __future__ import annotations

import msgspec
import pytest

from refold.journal import events as e
from refold.projections.event_triggers_projection import EventTriggersProjection
from refold.projections.view_rows import EVENT_TRIGGERS
from tests.support import projection_kit as kit

A, B = kit.WORKFLOWS


def waiting(number: int, event_type: str, *, active: int = 1) -> e.WorkflowDefined:
    """Say that a version of a workflow waits for a type."""
    return msgspec.structs.replace(kit.defined(number), event_type=event_type, active=active)


def listed(history: kit.History, *patterns: str, tenant: str = "acme") -> list[str]:
    """Return the workflows that wait with one of these patterns."""
    encoded = msgspec.json.encode(patterns).decode()
    with kit.generation_of(EventTriggersProjection(), history.events) as connection:
        return [row[0] for row in connection.execute(EVENT_TRIGGERS, (tenant, encoded, 10))]


@pytest.mark.parametrize(
    "later",
    [
        kit.defined(2),
        waiting(2, "order.lost"),
        waiting(2, "order.paid", active=0),
        e.WorkflowDeleted(),
    ],
)
def test_only_what_the_current_version_of_an_active_workflow_waits_for_counts(
    later: e.Facts,
) -> None:
    """Another trigger, another type, switched off, deleted: each ends the wait."""
    history = kit.History()
    history.add(A, waiting(1, "order.paid"), has_body=True)
    history.add(B, waiting(1, "order.*"), has_body=True)
    assert listed(history, "order.paid", "order.*") == sorted([A, B])
    history.add(A, later, has_body=True)
    assert listed(history, "order.paid", "order.*") == [B]


def test_a_workflow_waits_for_its_own_tenants_events() -> None:
    """And for the patterns that were asked for, letter by letter."""
    history = kit.History()
    history.add(A, waiting(1, "order.paid"), has_body=True)
    assert listed(history, "order.paid", tenant="other") == []
    assert listed(history, "Order.paid", "order", "order.paid*") == []


def test_the_look_up_uses_its_index() -> None:
    """However many workflows wait, an event asks for a few hundred patterns at most."""
    with kit.generation_of(EventTriggersProjection()) as connection:
        asked = connection.execute(f"EXPLAIN QUERY PLAN {EVENT_TRIGGERS}", ("acme", "[]", 10))
        steps = [row[3] for row in asked]
    assert any("event_trigger_type_1 (tenant=? AND event_type=?)" in step for step in steps), steps
