"""Forgets a run, a workflow or a person: which bodies go, and the commits that take them away.

What is to go is looked up anew for each request, so one that a crash cut off is simply made again.
The newest runs go first, and of a run its newest bodies, so that what leads to all of it, the
first body of the oldest run, goes last.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Literal

import msgspec

from ..journal.actors import Pseudonyms
from ..journal.claims import lineage
from ..journal.erasing import ERASED_MAX
from ..journal.errors import ResourceInUseError
from ..journal.events import RunRequested
from ..journal.journal import Journal, Metadata
from ..projections.family_views import Relative, families_of, lineages_of, runs_of
from ..projections.views import Views
from .data_subjects import DataSubjects
from .erasure import Erasures
from .errors import StateError
from .runs import Runs
from .workflows import Workflows

BODIES_MAX: Final = 20_000
"""Most bodies that one request erases; who asks again goes on from there."""
BYTES_PER_COMMIT_MAX: Final = 8 * 1024 * 1024
"""How many bytes one commit overwrites, unless a single body has more."""
_NAMED_MAX: Final = 3

Kind = Literal["run", "workflow", "subject"]


class Loss(msgspec.Struct, frozen=True):
    """Bodies that went, or would go, and the stream that they stood in."""

    stream: str
    positions: Sequence[int]


class Forgotten(msgspec.Struct, frozen=True):
    """What became of a request."""

    losses: Sequence[Loss]
    erasures: Sequence[int]
    """The positions of the events that say so."""
    gone_before: int
    """How many bodies of what was named were erased already."""
    runs: Sequence[str]
    """The runs that show less than before: those named, and those that share bodies with them."""
    left: Sequence[str]
    """Runs that were made of the same data and still have bodies of their own."""
    kept: Sequence[Loss]
    """What names the subject and stays, because it is in use or is a definition."""
    is_complete: bool
    """False where a request more is needed."""


class _Part(msgspec.Struct, frozen=True):
    """Bodies of one stream, and the resource that must be free when they go."""

    stream: str
    sizes: dict[int, int]
    claim: str = ""


class _Plan(msgspec.Struct, frozen=True):
    parts: Sequence[_Part]
    runs: Sequence[str]
    gone_before: int = 0
    kept: Sequence[Loss] = ()


class Forgetting:
    """Carries out requests to erase."""

    def __init__(
        self,
        journal: Journal,
        erasures: Erasures,
        runs: Runs,
        workflows: Workflows,
        views: Views,
        pseudonyms: Pseudonyms,
    ) -> None:
        self._journal = journal
        self._erasures = erasures
        self._runs = runs
        self._workflows = workflows
        self._views = views
        self._subjects = DataSubjects(journal, pseudonyms)

    async def forget(
        self, meta: Metadata, kind: Kind, name: str, reason: str, *, is_rehearsal: bool
    ) -> Forgotten:
        """Erase what is named, of the tenant of `meta`; a rehearsal only says what would go.

        Raises:
            NotFoundError: there is no such run or workflow.
            StateError: `run_not_finished`, `workflow_in_use`. A run that began while this went
            on stops it in the middle: what is gone by then stays gone, and the rest can go later.
        """
        await self._views.wait_for(self._journal.head)
        if kind == "run":
            plan = await self._plan_run(meta.tenant, name)
        elif kind == "workflow":
            plan = await self._plan_workflow(meta.tenant, name)
        else:
            plan = await self._plan_subject(meta.tenant, name)
        if is_rehearsal:
            would_go = [Loss(part.stream, sorted(part.sizes)) for part in plan.parts]
            return await self._told(plan, would_go, (), is_complete=True)
        losses: list[Loss] = []
        events: list[int] = []
        total = 0
        for part, positions in _chunks(plan.parts):
            if total >= BODIES_MAX:
                return await self._told(plan, losses, events, is_complete=False)
            at, gone = await self._erase(part, positions, reason, meta)
            if gone:
                losses.append(Loss(part.stream, gone))
                events.append(at)
                total += len(gone)
        return await self._told(plan, losses, events, is_complete=True)

    async def _erase(
        self, part: _Part, positions: Sequence[int], reason: str, meta: Metadata
    ) -> tuple[int, Sequence[int]]:
        try:
            return await self._erasures.erase(
                positions,
                target=part.stream,
                reason=reason,
                meta=meta,
                unused=[part.claim] if part.claim else (),
            )
        except ResourceInUseError as error:
            raise _unfinished([error.holder]) from error

    # What goes

    async def _plan_run(self, tenant: str, run_id: str) -> _Plan:
        loaded = await self._runs.find(tenant, run_id, deleted_too=True)
        state = loaded.state
        root = state.origin.payload_run or run_id
        tree = await lineages_of(self._views, [root])
        own = [relative for relative in tree if relative.run_id == run_id]
        await self._check_over([run_id, *(relative.run_id for relative in tree)], own)
        shown = {event.body_at for event in loaded.events} | {await self._runs.payload_at(state)}
        shown -= {0}
        left = await self._journal.standing(sorted(shown))
        gone_before = len(shown) - len(left)
        # What was replayed stands in the runs that it was made of, as far back as the first.
        parts: list[_Part] = []
        stream = run_id
        while left and stream:
            there = (await self._journal.standing_in([stream])).get(stream)
            mine = {at: size for at, size in left.items() if there and at in there.sizes}
            parts.append(_Part(stream, mine, lineage(root)))
            left = {at: size for at, size in left.items() if at not in mine}
            stream = (await self._request(stream)).original_run
        return _Plan(parts, [relative.run_id for relative in tree], gone_before)

    async def _plan_workflow(self, tenant: str, workflow_id: str) -> _Plan:
        state = await self._workflows.find(tenant, workflow_id, deleted_too=True)
        if state.exists:
            raise StateError(
                "workflow_in_use", "The workflow is not deleted; delete it before it is erased."
            )
        found = await runs_of(self._views, tenant, workflow_id)
        streams = [*(relative.run_id for relative in found), workflow_id]
        await self._check_over(streams[:-1], found)
        parts, gone_before = await self._whole(streams)
        return _Plan(parts, streams[:-1], gone_before)

    async def _plan_subject(self, tenant: str, subject: str) -> _Plan:
        traces = await self._subjects.traces(tenant, subject)
        family = await families_of(self._views, traces.runs)
        whole = {relative.run_id for relative in family}
        single = {run: found for run, found in traces.bodies_of_runs.items() if run not in whole}
        roots = {run: await self._root(run) for run in single}
        others = await lineages_of(self._views, sorted(set(roots.values())))
        runs = list(dict.fromkeys(found.run_id for found in [*family, *others]))
        await self._check_over([*runs, *single], [*family, *others])
        parts, gone_before = await self._whole([relative.run_id for relative in family])
        parts = [
            msgspec.structs.replace(part, claim=lineage(await self._root(part.stream)))
            for part in parts
        ]
        for run, positions in single.items():
            sizes = await self._journal.standing(positions)
            parts.append(_Part(run, sizes, lineage(roots[run])))
        for stream, positions in traces.bodies_of_objects.items():
            parts.append(_Part(stream, await self._journal.standing(positions)))
        kept = [Loss(stream, positions) for stream, positions in traces.kept.items()]
        return _Plan(parts, runs, gone_before, kept)

    async def _whole(self, streams: Sequence[str]) -> tuple[list[_Part], int]:
        """Return all bodies that stand in streams, in their order, and how many are gone."""
        found = await self._journal.standing_in(streams)
        parts = [_Part(name, found[name].sizes) for name in streams if name in found]
        return parts, sum(standing.erased for standing in found.values())

    async def _request(self, run_id: str) -> RunRequested:
        first = (await self._journal.read_stream(run_id, limit=1))[0].facts
        assert isinstance(first, RunRequested), "what every run begins with"
        return first

    async def _root(self, run_id: str) -> str:
        """Return the run that a run's payload stands in."""
        return (await self._request(run_id)).payload_run or run_id

    # What must not go yet

    async def _check_over(self, runs: Sequence[str], relatives: Sequence[Relative]) -> None:
        """See that all these runs have ended, and that nobody waits for what one came to.

        Raises:
            StateError: `run_not_finished`.
        """
        unfinished = await self._journal.unfinished(runs)
        if unfinished:
            raise _unfinished(unfinished)
        parents = sorted({relative.parent_run for relative in relatives} - {""})
        waiting = set(await self._journal.unfinished(parents))
        for relative in relatives:
            if relative.parent_run in waiting:
                parent = (await self._runs.load(relative.parent_run)).state
                if any(node.child == relative.run_id for node in parent.open.values()):
                    raise _unfinished([relative.parent_run])

    # What is told

    async def _told(
        self, plan: _Plan, losses: Sequence[Loss], erasures: Sequence[int], *, is_complete: bool
    ) -> Forgotten:
        made = _joined(losses)
        # In a rehearsal it is still there.
        gone = {loss.stream: set(loss.positions) for loss in made}
        family = [found.run_id for found in await families_of(self._views, plan.runs)]
        standing = await self._journal.standing_in(list(dict.fromkeys([*plan.runs, *family])))
        left = [run for run, found in standing.items() if set(found.sizes) - gone.get(run, set())]
        return Forgotten(
            made, erasures, plan.gone_before, plan.runs, sorted(left), plan.kept, is_complete
        )


def _chunks(parts: Sequence[_Part]) -> Iterator[tuple[_Part, list[int]]]:
    """Cut the bodies into commits, of each stream the newest first."""
    for part in parts:
        chunk: list[int] = []
        size = 0
        for position in sorted(part.sizes, reverse=True):
            if len(chunk) == ERASED_MAX or (chunk and size > BYTES_PER_COMMIT_MAX):
                yield part, sorted(chunk)
                chunk, size = [], 0
            chunk.append(position)
            size += part.sizes[position]
        if chunk:
            yield part, sorted(chunk)


def _joined(losses: Sequence[Loss]) -> list[Loss]:
    """Put together what stood in one stream."""
    made: dict[str, list[int]] = {}
    for loss in losses:
        made.setdefault(loss.stream, []).extend(loss.positions)
    return [Loss(stream, sorted(positions)) for stream, positions in made.items() if positions]


def _unfinished(runs: Sequence[str]) -> StateError:
    named = ", ".join(runs[:_NAMED_MAX])
    more = f" and {len(runs) - _NAMED_MAX} more" if len(runs) > _NAMED_MAX else ""
    return StateError("run_not_finished", f"What would be erased is still in use by {named}{more}.")
