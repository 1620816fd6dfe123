"""What the service asks of projections in files of their own: rows, and that they have forgotten.

Each of them is followed by a process (`workers.py`), which is a little behind the journal; a read
waits for it, as it waits for the views.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from .errors import SearchTooSlowError, StaleViewsError, ViewsFailedError
from .generations import live_generations
from .loading import Loaded
from .projection import GENERATION, SqlValue, is_apart
from .views_file import VIEWS_FILE, file_of, make_ready, reader_uri, remove
from .workers import Worker, Workers

READ_SECONDS: Final = 2.0
"""How long one read may take: it holds up others, and the overwriting of what is erased."""
FRESH_SECONDS: Final = 2.0
_STEPS_BETWEEN: Final = 10_000
_POLL_SECONDS: Final = 0.005
_log = logging.getLogger("refold.projections")


class Apart:
    """Reads the live rows of projections apart."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        # A read takes a processor, and may take it for seconds.
        self._turns = asyncio.Semaphore(2)

    def has(self, name: str) -> bool:
        """Tell whether the service has this projection."""
        return self._workers.find(name) is not None

    async def wait_for(self, name: str, position: int) -> None:
        """Wait until a projection's rows include a position.

        Raises:
            StaleViewsError: they don't within `FRESH_SECONDS`, or it has stopped.
        """
        worker = self._worker(name)
        # It is another process, which nobody here is woken by.
        deadline = time.monotonic() + FRESH_SECONDS
        while worker.reached < position:
            fault = worker.status().error
            if fault or time.monotonic() > deadline:
                raise StaleViewsError(position, worker.reached, fault)
            await asyncio.sleep(_POLL_SECONDS)

    async def select(
        self, name: str, statement: str, parameters: Sequence[SqlValue]
    ) -> list[tuple[Any, ...]]:
        """Return the rows of a statement over the live tables, which it names with `{g}`.

        Raises:
            SearchTooSlowError: it took longer than `READ_SECONDS`.
            ViewsFailedError: they can't be read.
        """
        path = self._worker(name).path
        async with self._turns:
            return await asyncio.to_thread(_select, path, name, statement, parameters)

    async def have_forgotten(self, position: int, seconds: float) -> bool:
        """Wait until nothing is left in any file apart of what was erased up to a position."""
        deadline = time.monotonic() + seconds
        while not self._workers.have_forgotten(position):
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(_POLL_SECONDS)
        return True

    def _worker(self, name: str) -> Worker:
        found = self._workers.find(name)
        assert found is not None, "whoever reads has asked whether there is one"
        return found


def make_apart_ready(directory: Path, journal_path: Path, loaded: Sequence[Loaded]) -> None:
    """Leave a file for each projection apart, and none of those that are there no more.

    Raises:
        ViewsBusyError: one would have to be made anew, and somebody is at work on it.
        ViewsFailedError: one can't be made or written.
        StoreError: the journal's file can't be read.
    """
    apart = [made.projection for made in loaded if is_apart(made.projection)]
    wanted = {file_of(projection) for projection in apart}
    for path in sorted(directory.glob("views.*.db")):
        if path.name not in wanted and path.name != VIEWS_FILE:
            _log.warning("%s is deleted: this service does not have its projection", path)
            remove(path)
    for projection in apart:
        make_ready(directory / file_of(projection), journal_path, (), [projection.name])


def _select(
    path: Path, name: str, statement: str, parameters: Sequence[SqlValue]
) -> list[tuple[Any, ...]]:
    deadline = time.monotonic() + READ_SECONDS
    try:
        # Opened for each read: the file may be another one by the next.
        with closing(
            sqlite3.connect(reader_uri(path), uri=True, isolation_level=None, timeout=READ_SECONDS)
        ) as connection:
            connection.execute("PRAGMA trusted_schema = 0")
            connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS_BETWEEN)
            connection.execute("BEGIN")
            live = live_generations(connection).get(name)
            if live is None:
                raise ViewsFailedError(f"projection {name} has no rows yet")
            text = statement.replace(GENERATION, str(live.generation))
            return list(connection.execute(text, parameters))
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_INTERRUPT:
            raise SearchTooSlowError(READ_SECONDS) from error
        raise ViewsFailedError(f"the rows of {name} can't be read: {error}") from error
    except sqlite3.Error as error:
        raise ViewsFailedError(f"the rows of {name} can't be read: {error}") from error
