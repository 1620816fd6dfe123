"""Who gets a place: limits in all, per tenant and per workflow, and turns among those who wait."""

from __future__ import annotations

from itertools import count

from refold.engine.admission import Admission, Place
from refold.engine.limits import Limits

NAMES = count()


def admission(
    total: int = 10, tenant: int = 10, workflow: int = 10, waiting: int = 10
) -> Admission:
    """Make one with these limits."""
    return Admission(
        Limits(
            active_runs_max=total,
            active_runs_per_tenant_max=tenant,
            active_runs_per_workflow_max=workflow,
            waiting_runs_max=waiting,
        )
    )


def place(tenant: str, workflow: str = "") -> Place:
    """Make a run of a tenant."""
    return Place(f"run{next(NAMES)}", tenant, workflow or f"w-{tenant}")


def served(made: Admission, active: list[Place]) -> list[str]:
    """End the active runs one after the other and tell whose turn it was each time."""
    turns: list[str] = []
    while active:
        made.leave(active.pop(0).run_id)
        while (admitted := made.next_admitted()) is not None:
            turns.append(admitted.tenant)
            active.append(admitted)
    return turns


def test_the_place_after_the_last_one_has_to_be_waited_for() -> None:
    """A run that leaves makes room for one that waits."""
    made = admission(total=1)
    first, second = place("a"), place("a")
    assert made.ask(first)
    assert not made.ask(second)
    assert made.next_admitted() is None
    made.leave(first.run_id)
    assert made.next_admitted() == second
    assert made.waiting_total == 0


def test_one_tenant_s_flood_does_not_hold_up_another_s_single_run() -> None:
    """Tenants are served in turn, not by arrival."""
    made = admission(total=1)
    first = place("flood")
    made.ask(first)
    for run in [place("flood") for _ in range(4)] + [place("single")]:
        made.ask(run)
    assert served(made, [first]) == ["flood", "single", "flood", "flood", "flood"]


def test_a_tenant_at_its_limit_leaves_the_free_places_to_others() -> None:
    """A run that fits does not wait behind runs that don't."""
    made = admission(total=3, tenant=1)
    assert made.ask(place("a"))
    assert not made.ask(place("a"))
    assert made.ask(place("b"))


def test_a_workflow_at_its_limit_leaves_the_free_places_to_others() -> None:
    """Also to other workflows of the same tenant, whose runs came later."""
    made = admission(workflow=1)
    assert made.ask(place("a", "w1"))
    assert not made.ask(place("a", "w1"))
    assert made.ask(place("a", "w2"))


def test_stopping_a_run_needs_no_free_place() -> None:
    """Else a full service could not be emptied by hand."""
    made = admission(total=1)
    made.ask(place("a"))
    waiting = place("a")
    made.ask(waiting)
    made.force(waiting)
    assert made.waiting_total == 0
    made.leave(waiting.run_id)
    assert made.next_admitted() is None


def test_it_is_full_when_no_further_run_may_even_wait() -> None:
    """The room above refuses then, before anything is written."""
    made = admission(total=1, waiting=1)
    made.ask(place("a"))
    assert not made.is_full
    waiting = place("a")
    made.ask(waiting)
    assert made.is_full
    made.forget(waiting.run_id)
    assert not made.is_full


def test_leaving_twice_gives_one_place_back() -> None:
    """A run that was never active has none to give."""
    made = admission(total=1)
    first = place("a")
    made.ask(first)
    made.leave(first.run_id)
    made.leave(first.run_id)
    assert made.ask(place("a"))
    assert not made.ask(place("a"))
