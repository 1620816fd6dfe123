"""The connections that lists are read through, opened again when the file was made anew."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiosqlite

from .errors import ViewsFailedError
from .projection import SqlValue
from .views_file import reader_uri, translated

_READERS: Final = 2


class Readers:
    """A few connections that can only read, used in turn."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stack = AsyncExitStack()
        self._readers: list[aiosqlite.Connection] = []
        self._next = 0
        self._incarnation = 0
        self._opening = asyncio.Lock()

    async def open(self) -> None:
        """Open the connections.

        Raises:
            ViewsFailedError: the file can't be opened.
        """
        with translated(self._path):
            for _ in range(_READERS):
                self._readers.append(await self._stack.enter_async_context(_reader(self._path)))

    async def close(self) -> None:
        """Close them."""
        stack, self._stack, self._readers = self._stack, AsyncExitStack(), []
        await stack.aclose()

    async def fetch(
        self, incarnation: int, statement: str, parameters: Sequence[SqlValue]
    ) -> Iterable[Any]:
        """Return the rows of a statement; `incarnation` tells which file is the one in use.

        Raises:
            ViewsFailedError: they can't be read.
        """
        try:
            if self._incarnation != incarnation:
                await self._open_again(incarnation)
            self._next = (self._next + 1) % len(self._readers)
            return await self._readers[self._next].execute_fetchall(statement, parameters)
        except (sqlite3.Error, ValueError) as error:
            # A ValueError is of a connection that was closed because the file is made anew.
            raise ViewsFailedError(f"the views can't be read: {error}") from error

    async def _open_again(self, incarnation: int) -> None:
        async with self._opening:
            if self._incarnation != incarnation:
                old, self._stack, self._readers = self._stack, AsyncExitStack(), []
                await self.open()
                self._incarnation = incarnation
                await old.aclose()


@asynccontextmanager
async def _reader(path: Path) -> AsyncGenerator[aiosqlite.Connection]:
    async with aiosqlite.connect(reader_uri(path), uri=True, isolation_level=None) as reader:
        for setting in ("query_only = 1", "trusted_schema = 0", "busy_timeout = 5000"):
            await reader.execute_fetchall(f"PRAGMA {setting}")
        yield reader
