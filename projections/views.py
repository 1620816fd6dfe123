"""The views: what the service reads of its projections, never older than it asks for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from ..journal.journal import LATEST, Journal
from .apart import Apart, make_apart_ready
from .built_in import BUILT_IN
from .errors import StaleViewsError, UnknownProjectionError, ViewsFailedError
from .loading import Loaded
from .projection import Projection, SqlValue
from .projector import QUEUED_MAX, Projector
from .status import ProjectionStatus
from .upkeep import Upkeep
from .vault_projection import API_KEY, ITEMS, KEYS_UNDER_OTHERS, item_row, key_row
from .vault_state import VaultItem, WrappedKey
from .view_readers import Readers
from .view_rows import (
    COUNT_WORKFLOWS,
    EVENT_TRIGGERS,
    SCHEDULED,
    WEBHOOK,
    WORKFLOWS,
    LogRow,
    RunRow,
    WorkflowRow,
    workflow_row,
)
from .views_file import (
    VIEWS_FILE,
    digest_live,
    make_ready,
)
from .workers import Workers

__all__ = ["LogRow", "RunRow", "Views", "WorkflowRow", "open_views"]

FRESH_SECONDS: Final = 2.0
"""How long a read waits for the views to reach what it must show."""


class Views:
    """Reads the live generation of each projection. Made by `open_views`."""

    def __init__(
        self,
        path: Path,
        journal: Journal,
        journal_path: Path,
        projections: Sequence[Projection],
        workers: Workers,
        queued_max: int,
        check_seconds: float,
    ) -> None:
        self._path = path
        self._journal = journal
        self._loop = asyncio.get_running_loop()
        self._projections = {projection.name: projection for projection in projections}
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self.readers: Final = Readers(path)
        self.apart: Final = Apart(workers)
        self.projector: Final = Projector(
            path,
            journal_path,
            projections,
            self._moved,
            others=workers.names,
            queued_max=queued_max,
        )
        self.upkeep: Final = Upkeep(
            path.parent, self.projector, workers, projections, check_seconds
        )

    @property
    def position(self) -> int:
        """The newest position that every view includes."""
        return self.projector.position

    @property
    def fault(self) -> str:
        """Why the views stand still, "" while they follow the journal."""
        return self.projector.fault

    def status(self) -> list[ProjectionStatus]:
        """Tell how each projection stands, those of developers too."""
        return self.upkeep.status()

    @property
    def is_caught_up(self) -> bool:
        """True while the views are at the durable head, or so near that no read waits long."""
        if self.fault:
            return False
        return self.projector.is_fed or self.position >= self._journal.head

    async def wait_for(self, position: int, seconds: float = FRESH_SECONDS) -> None:
        """Wait until every view includes a position.

        Raises:
            StaleViewsError: they don't within this time, or have stopped for good.
        """
        if self.position >= position:
            return
        waiter: asyncio.Future[None] = self._loop.create_future()
        entry = (position, waiter)
        self._waiters.append(entry)
        self.projector.hurry()
        try:
            # The projector looks for waiters after it has moved, so that none is missed if it
            # moved in between.
            if self.position < position and not self.projector.is_halted:
                async with asyncio.timeout(seconds):
                    await waiter
        except TimeoutError:
            pass
        finally:
            self._waiters.remove(entry)
        if self.position < position:
            raise StaleViewsError(position, self.position, self.projector.trouble)

    async def workflows(
        self,
        tenant: str,
        *,
        offset: int = 0,
        limit: int | None = None,
        at_position: int = LATEST,
    ) -> list[WorkflowRow]:
        """List the workflows that a tenant had at a position, by default those it has.

        The oldest come first. What a row says of a workflow is always how it is now.
        """
        bounds = (-1 if limit is None else limit, offset)
        rows = await self._read("workflows", WORKFLOWS, (tenant, at_position, *bounds))
        return [workflow_row(row) for row in rows]

    async def count_workflows(self, tenant: str, *, at_position: int = LATEST) -> int:
        """Count what `workflows` would list in all."""
        return _number(await self._read("workflows", COUNT_WORKFLOWS, (tenant, at_position)))

    async def find_webhook(self, token_hash: str) -> str | None:
        """Return the workflow whose current version has this webhook, None if there is none."""
        rows = list(await self._read("workflows", WEBHOOK, (token_hash,)))
        return str(rows[0][0]) if rows else None

    async def scheduled(self) -> dict[str, int]:
        """Return when each active schedule fires next, by workflow, in microseconds.

        Raises:
            StaleViewsError: the views don't reach the journal's head in time.
        """
        await self.wait_for(self._journal.head)
        return dict(await self._read("workflows", SCHEDULED, ()))

    async def event_workflows(self, tenant: str, event_type: str, limit: int) -> list[str]:
        """List the active workflows that wait for events of a type, the oldest first."""
        patterns = [event_type, *(event_type[:n] + "*" for n in range(len(event_type) + 1))]
        encoded = msgspec.json.encode(patterns).decode()
        rows = await self._read("event_triggers", EVENT_TRIGGERS, (tenant, encoded, limit))
        return [str(row[0]) for row in rows]

    async def vault_items(self, tenant: str) -> list[VaultItem]:
        """List a tenant's vault items that are not deleted, oldest first."""
        return [item_row(row) for row in await self._read("vault", ITEMS, (tenant,))]

    async def find_api_key(self, key_hash: str) -> VaultItem | None:
        """Return the item that keeps this API key, None if there is none."""
        rows = list(await self._read("vault", API_KEY, (key_hash,)))
        return item_row(rows[0]) if rows else None

    async def keys_under_others(self, key_id: str, after: int, limit: int) -> list[WrappedKey]:
        """List data keys that are wrapped under another service key, after a position."""
        rows = await self._read("vault", KEYS_UNDER_OTHERS, (key_id, after, limit))
        return [key_row(row) for row in rows]

    async def digest(self, name: str) -> str:
        """Hash the rows of a projection; a rebuilt one has the same digest at the same position.

        Raises:
            UnknownProjectionError: there is no projection of this name.
        """
        projection = self._projections.get(name)
        if projection is None:
            raise UnknownProjectionError(name, self._projections)
        return await asyncio.to_thread(digest_live, self._path, projection)

    async def select(
        self, statement: str, parameters: Sequence[SqlValue], *, of: str = "runs"
    ) -> list[Any]:
        """Return the rows of a statement that names the SQL views of one projection.

        Raises:
            ViewsFailedError: they can't be read.
            StaleViewsError: that projection stopped, or is far behind the others.
        """
        return list(await self._read(of, statement, parameters))

    async def _read(self, of: str, statement: str, parameters: Sequence[SqlValue]) -> Iterable[Any]:
        if reason := self.projector.left_out(of):
            raise StaleViewsError(self._journal.head, self.position, reason)
        incarnation = self.projector.incarnation
        try:
            return await self.readers.fetch(incarnation, statement, parameters)
        except ViewsFailedError as error:
            # Where nothing happens the projector would not come upon it for long.
            self.projector.look(incarnation, error.__cause__)
            raise

    def _moved(self) -> None:
        """Wake who waits; called on the projector's thread."""
        if not self._waiters:
            return
        try:
            self._loop.call_soon_threadsafe(self._wake)
        except RuntimeError:
            # The loop was closed under the views: nobody waits any more.
            return

    def _wake(self) -> None:
        reached, is_halted = self.position, self.projector.is_halted
        for position, waiter in self._waiters:
            if (position <= reached or is_halted) and not waiter.done():
                waiter.set_result(None)


@asynccontextmanager
async def open_views(
    directory: Path,
    journal: Journal,
    journal_path: Path,
    *,
    projections: Sequence[Projection] = BUILT_IN,
    loaded: Sequence[Loaded] = (),
    queued_max: int = QUEUED_MAX,
    check_seconds: float = 0,
) -> AsyncGenerator[Views]:
    """Serve the views of a data directory at once, and keep them following the journal.

    The `loaded` projections of developers get a process each; the others share a thread. Each
    `check_seconds` all rows are compared with the journal, never if that is 0.

    A file that is missing or can't be trusted is made anew; until the views have caught up,
    `wait_for` holds readers back.

    Raises:
        ViewsBusyError: another process is rebuilding them just then.
        ViewsFailedError: the file can't be made or written.
        StoreError: the journal's file can't be read.
    """
    path = directory / VIEWS_FILE
    workers = Workers(directory, loaded)
    await asyncio.to_thread(make_ready, path, journal_path, projections, workers.names)
    await asyncio.to_thread(make_apart_ready, directory, journal_path, loaded)
    views = Views(path, journal, journal_path, projections, workers, queued_max, check_seconds)
    async with AsyncExitStack() as stack:
        # The projector closes last: it leaves a file without a log behind.
        stack.push_async_callback(_stop, views)
        stack.push_async_callback(views.readers.close)
        await views.readers.open()
        stack.callback(journal.subscribe(views.projector.offer))
        views.projector.start()
        workers.start()
        await asyncio.to_thread(views.upkeep.rebuilds.resume)
        views.upkeep.checks.start()
        views.upkeep.clearing.start()
        yield views


async def _stop(views: Views) -> None:
    """End the threads and processes; a cancellation does not leave them behind."""

    def stop() -> None:
        views.upkeep.stop()
        views.projector.stop()

    stopped = asyncio.ensure_future(asyncio.to_thread(stop))
    try:
        await asyncio.shield(stopped)
    except asyncio.CancelledError:
        stop()
        raise


def _number(rows: Iterable[Any]) -> int:
    return int(next(iter(rows))[0])
