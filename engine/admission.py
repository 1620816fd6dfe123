"""Which accepted run may become active: bounded in all, per tenant and per workflow.

Waiting runs are kept by tenant and served in turn, so that one tenant's flood does not hold up
another's single run.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque

import msgspec

from .limits import Limits


class Place(msgspec.Struct, frozen=True, gc=False):
    """A run that wants to be active."""

    run_id: str
    tenant: str
    workflow: str


class Admission:
    """Counts active runs and keeps the waiting ones."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._active: dict[str, Place] = {}
        self._by_tenant: Counter[str] = Counter()
        self._by_workflow: Counter[str] = Counter()
        self._waiting: OrderedDict[str, deque[Place]] = OrderedDict()
        self.waiting_total = 0

    @property
    def is_full(self) -> bool:
        """True when no further run may even wait."""
        return self.waiting_total >= self._limits.waiting_runs_max

    def ask(self, place: Place) -> bool:
        """Take a place now if there is one, else wait for `next_admitted`."""
        if not self._waiting and self._fits(place):
            self._take(place)
            return True
        self._waiting.setdefault(place.tenant, deque()).append(place)
        self.waiting_total += 1
        return False

    def force(self, place: Place) -> None:
        """Take a place beyond the limits: stopping a run must not wait for others to end."""
        if place.run_id not in self._active:
            self._take(place)

    def leave(self, run_id: str) -> None:
        """Give a place back."""
        place = self._active.pop(run_id, None)
        if place is not None:
            self._count(self._by_tenant, place.tenant, -1)
            self._count(self._by_workflow, place.workflow, -1)

    def next_admitted(self) -> Place | None:
        """Take the next waiting run that fits, tenant after tenant; None if none does."""
        if len(self._active) >= self._limits.active_runs_max:
            return None
        for tenant in list(self._waiting):
            queue = self._waiting[tenant]
            for index, place in enumerate(queue):
                if self._by_tenant[tenant] >= self._limits.active_runs_per_tenant_max:
                    break
                if self._fits(place):
                    del queue[index]
                    self.waiting_total -= 1
                    self._turn(tenant)
                    self._take(place)
                    return place
        return None

    def forget(self, run_id: str) -> None:
        """Take a run out of the waiting ones."""
        for tenant, queue in list(self._waiting.items()):
            for place in queue:
                if place.run_id == run_id:
                    queue.remove(place)
                    self.waiting_total -= 1
                    if not queue:
                        del self._waiting[tenant]
                    return

    def _turn(self, tenant: str) -> None:
        if self._waiting[tenant]:
            self._waiting.move_to_end(tenant)
        else:
            del self._waiting[tenant]

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

    @staticmethod
    def _count(counter: Counter[str], key: str, change: int) -> None:
        counter[key] += change
        if counter[key] <= 0:
            del counter[key]
