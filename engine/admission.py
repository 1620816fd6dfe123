"""Which accepted run may become active: bounded in all, per tenant and per workflow.

Waiting runs are kept by tenant, and within a tenant by workflow, and both are served in turn, so
that one flood does not hold up another's single run. Whoever gives a place back must ask
`next_admitted` until it says None; so a run that waits is always one that doesn't fit, and a new
one that fits overtakes nobody.
"""

from __future__ import annotations

from collections import Counter, OrderedDict

import msgspec

from .limits import Limits


class Place(msgspec.Struct, frozen=True, gc=False):
    """A run that wants to be active."""

    run_id: str
    tenant: str
    workflow: str


_ByRun = OrderedDict[str, Place]
_ByWorkflow = OrderedDict[str, _ByRun]


class Admission:
    """Counts active runs and keeps the waiting ones."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._active: dict[str, Place] = {}
        self._by_tenant: Counter[str] = Counter()
        self._by_workflow: Counter[str] = Counter()
        self._waiting: OrderedDict[str, _ByWorkflow] = OrderedDict()
        self._places: dict[str, Place] = {}
        self._waiting_by_tenant: Counter[str] = Counter()

    @property
    def waiting_total(self) -> int:
        """How many runs wait for a place."""
        return len(self._places)

    @property
    def is_full(self) -> bool:
        """True when no further run may even wait."""
        return self.waiting_total >= self._limits.waiting_runs_max

    def is_full_for(self, tenant: str) -> bool:
        """True when no further run of a tenant may wait, although others' may."""
        return self._waiting_by_tenant[tenant] >= self._limits.waiting_runs_per_tenant_max

    def ask(self, place: Place) -> bool:
        """Take a place now if there is one, else wait for `next_admitted`."""
        if self._fits(place):
            self._take(place)
            return True
        of_tenant = self._waiting.setdefault(place.tenant, OrderedDict())
        of_tenant.setdefault(place.workflow, OrderedDict())[place.run_id] = place
        self._places[place.run_id] = place
        self._waiting_by_tenant[place.tenant] += 1
        return False

    def force(self, place: Place) -> None:
        """Take a place beyond the limits: stopping a run must not wait for others to end."""
        self.forget(place.run_id)
        if place.run_id not in self._active:
            self._take(place)

    def leave(self, run_id: str) -> None:
        """Give a place back."""
        place = self._active.pop(run_id, None)
        if place is not None:
            _decrease(self._by_tenant, place.tenant)
            _decrease(self._by_workflow, place.workflow)

    def next_admitted(self) -> Place | None:
        """Take the next waiting run that fits, tenant after tenant; None if none does."""
        if len(self._active) >= self._limits.active_runs_max:
            return None
        for tenant, of_tenant in self._waiting.items():
            if self._by_tenant[tenant] >= self._limits.active_runs_per_tenant_max:
                continue
            for workflow, queue in of_tenant.items():
                if self._by_workflow[workflow] < self._limits.active_runs_per_workflow_max:
                    place = next(iter(queue.values()))
                    self._waiting.move_to_end(tenant)
                    of_tenant.move_to_end(workflow)
                    self.forget(place.run_id)
                    self._take(place)
                    return place
        return None

    def forget(self, run_id: str) -> None:
        """Take a run out of the waiting ones."""
        place = self._places.pop(run_id, None)
        if place is None:
            return
        _decrease(self._waiting_by_tenant, place.tenant)
        of_tenant = self._waiting[place.tenant]
        queue = of_tenant[place.workflow]
        del queue[run_id]
        if not queue:
            del of_tenant[place.workflow]
        if not of_tenant:
            del self._waiting[place.tenant]

    def _fits(self, place: Place) -> bool:
        limits = self._limits
        return (
            len(self._active) < limits.active_runs_max
            and self._by_tenant[place.tenant] < limits.active_runs_per_tenant_max
            and self._by_workflow[place.workflow] < limits.active_runs_per_workflow_max
        )

    def _take(self, place: Place) -> None:
        self._active[place.run_id] = place
        self._by_tenant[place.tenant] += 1
        self._by_workflow[place.workflow] += 1


def _decrease(counter: Counter[str], key: str) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]
