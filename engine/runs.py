"""Reads runs: a run's events from the journal, folded, for whoever may see them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from ..journal import ids
from ..journal.envelope import Recorded
from ..journal.journal import LATEST, PAGE, Journal
from ..projections.run_state import RunState, fold
from .copying import read_whole
from .errors import NotFoundError, StateError
from .workflows import Workflows

KEPT_EVENTS_MAX: Final = 20_480
"""How many events of long runs that have ended are kept, about 1.5 KB each: 30 MB."""


class RunRequestBody(msgspec.Struct, frozen=True):
    """The body of `run.requested`."""

    by: str
    payload: dict[str, Any] | None = None
    """None where the run inherits another run's payload."""


_decode_request = msgspec.json.Decoder(RunRequestBody).decode


class LoadedRun(msgspec.Struct, frozen=True):
    """A run as its stream tells it."""

    state: RunState
    events: Sequence[Recorded]


class Runs:
    """Finds runs and their trigger payloads."""

    def __init__(self, journal: Journal, workflows: Workflows) -> None:
        self._journal = journal
        self._workflows = workflows
        self._kept: OrderedDict[str, LoadedRun] = OrderedDict()

    async def find(
        self, tenant: str, run_id: str, *, deleted_too: bool = False, at: int = LATEST
    ) -> LoadedRun:
        """Load a run of this tenant as of a position, by default at the durable head.

        Raises:
            NotFoundError: there is none, it is another tenant's, or its workflow was deleted.
        """
        first = await self._first(tenant, run_id)
        if first.position > at:
            raise NotFoundError("run")
        loaded = await self.load(run_id, at=at)
        await self.check_visible(
            tenant, loaded.state.origin.workflow, deleted_too=deleted_too, at=at
        )
        return loaded

    async def check_visible(
        self, tenant: str, workflow: str, *, deleted_too: bool = False, at: int = LATEST
    ) -> None:
        """See that the runs of a workflow may be shown as of a position.

        Raises:
            NotFoundError: the workflow was deleted by then.
        """
        try:
            await self._workflows.find(tenant, workflow, deleted_too=deleted_too, at=at)
        except NotFoundError:
            raise NotFoundError("run") from None

    async def load(self, run_id: str, *, at: int = LATEST) -> LoadedRun:
        """Load a run, whoever's it is; nobody may change an ended one.

        A long run that has ended is looked at before it is resumed, and resumed more than once:
        the ones that were read last are kept. Its facts stay as they are, whatever is erased.
        """
        kept = self._kept.get(run_id) if at == LATEST else None
        if kept is not None and not await self._journal.read_stream(run_id, kept.state.version, 1):
            self._kept.move_to_end(run_id)
            return kept
        events: list[Recorded] = []
        async for page in read_whole(self._journal, run_id, at=at):
            events.extend(page)
        loaded = LoadedRun(fold(run_id, events), events)
        if at == LATEST and loaded.state.is_ended and PAGE <= len(events) <= KEPT_EVENTS_MAX:
            self._keep(loaded)
        return loaded

    def _keep(self, loaded: LoadedRun) -> None:
        """Keep a run, and let go of those that were read longest ago."""
        self._kept.pop(loaded.state.run_id, None)
        self._kept[loaded.state.run_id] = loaded
        total = sum(len(run.events) for run in self._kept.values())
        while total > KEPT_EVENTS_MAX:
            total -= len(self._kept.popitem(last=False)[1].events)

    async def position_of(self, tenant: str, run_id: str, version: int) -> int:
        """Return the position of a version of this tenant's run, 0 if it has not come so far.

        Raises:
            NotFoundError: there is no such run, or it is another tenant's.
        """
        await self._first(tenant, run_id)
        found = await self._journal.read_stream(run_id, version - 1, 1)
        return found[0].position if found else 0

    async def payload(self, state: RunState) -> dict[str, Any]:
        """Read a run's trigger payload, which reruns and resumes share with their original.

        Raises:
            StateError: `payload_erased`, `payload_archived`.
        """
        body_at = await self.payload_at(state)
        bodies = await self._journal.read_bodies([body_at])
        if body_at not in bodies:
            raise await absent(self._journal, [body_at], "The run's trigger payload")
        return payload_of(bodies[body_at].data)

    async def payload_at(self, state: RunState) -> int:
        """Return the position of the body that holds a run's trigger payload."""
        owner = state.origin.payload_run
        if not owner:
            return state.requested_body_at
        events = await self._journal.read_stream(owner, limit=1)
        return events[0].body_at

    async def _first(self, tenant: str, run_id: str) -> Recorded:
        found = await self._journal.read_stream(run_id, limit=1) if ids.is_run(run_id) else ()
        if not found or found[0].tenant != tenant:
            raise NotFoundError("run")
        return found[0]


async def absent(journal: Journal, positions: Sequence[int], what: str) -> StateError:
    """Return the error that says why bodies are not there: erased, or in which segment."""
    held = await journal.read_segments(positions)
    if not held:
        return StateError("payload_erased", f"{what} was erased.")
    names = ", ".join(sorted(set(held.values())))
    return StateError("payload_archived", f"{what} is archived in {names}.")


def payload_of(body: bytes) -> dict[str, Any]:
    """Read the trigger payload out of the body of `run.requested`."""
    return _decode_request(body).payload or {}
