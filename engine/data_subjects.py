"""Finds what a person left in the journal: a body says whose it is by a pseudonym.

A data subject is the caller's name in its token (`sub`), under the tenant's key. Marked with it
is what the person sent or asked for, and what names the person: the request of a run, the answer
to a form and what came of it, a request to stop, and who made or deleted a workflow, a vault item,
a grant or a subscription. A run is the data of whoever gave its payload, with all that was made of
it.
"""

from __future__ import annotations

from collections import defaultdict

import msgspec

from ..journal import events as e
from ..journal import ids
from ..journal.actors import Pseudonyms
from ..journal.envelope import Recorded
from ..journal.journal import Journal
from .copying import read_whole

_DELETED = (
    e.WorkflowDeleted,
    e.VaultDeleted,
    e.AuthorizationDeleted,
    e.SubscriptionDeleted,
)


class Traces(msgspec.Struct, frozen=True):
    """Where a person's data stands; positions by stream."""

    runs: list[str]
    """The runs whose payload the person gave."""
    bodies_of_runs: dict[str, list[int]]
    """What the person did in runs, those included."""
    bodies_of_objects: dict[str, list[int]]
    """In the streams of what was deleted."""
    kept: dict[str, list[int]]
    """In the streams of what is in use, and in definitions, which are not the person's."""


class DataSubjects:
    """Looks persons up."""

    def __init__(self, journal: Journal, pseudonyms: Pseudonyms) -> None:
        self._journal = journal
        self._pseudonyms = pseudonyms

    async def traces(self, tenant: str, subject: str) -> Traces:
        """Return all that is left of a person in a tenant."""
        runs: list[str] = []
        bodies_of_runs: defaultdict[str, list[int]] = defaultdict(list)
        of_objects: defaultdict[str, list[Recorded]] = defaultdict(list)
        pseudonym = self._pseudonyms.actor(tenant, subject)
        after = 0
        while page := await self._journal.tagged(pseudonym, after):
            after = page[-1].position
            for event in page:
                if not ids.is_run(event.stream):
                    of_objects[event.stream].append(event)
                    continue
                bodies_of_runs[event.stream].append(event.position)
                if isinstance(event.facts, e.RunRequested) and not event.facts.payload_run:
                    runs.append(event.stream)
                elif isinstance(event.facts, e.RunCancelRequested):
                    bodies_of_runs[event.stream] += await self._ends(event.stream)
        erasable: dict[str, list[int]] = {}
        kept: dict[str, list[int]] = {}
        for stream, events in of_objects.items():
            is_gone = await self._is_deleted(stream)
            for event in events:
                stays = not is_gone or isinstance(event.facts, e.WorkflowDefined)
                (kept if stays else erasable).setdefault(stream, []).append(event.position)
        return Traces(runs, dict(bodies_of_runs), erasable, kept)

    async def _ends(self, run: str) -> list[int]:
        """Return where a run says by whom it was cancelled."""
        return [
            event.position
            async for page in read_whole(self._journal, run)
            for event in page
            if isinstance(event.facts, e.RunCancelled) and event.body_at
        ]

    async def _is_deleted(self, stream: str) -> bool:
        async for page in read_whole(self._journal, stream):
            if any(isinstance(event.facts, _DELETED) for event in page):
                return True
        return False
