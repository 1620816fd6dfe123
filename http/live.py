"""What live tails have in common: how they hear of news, and what they write (SSE)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Final

from ..journal.envelope import Recorded
from ..journal.journal import Journal

HEARTBEAT_S: Final = 15.0
SSE: Final = ((b"content-type", b"text/event-stream"),)
NDJSON: Final = ((b"content-type", b"application/x-ndjson"),)


class Place:
    """How far a tail's reader is known to have been given events."""

    def __init__(self, number: int) -> None:
        self.number = number

    def dropped(self) -> bytes:
        """Return the last words to a reader that takes nothing any more."""
        return b'event: dropped\ndata: {"after":%d}\n\n' % self.number


class News:
    """Tells one tail that there may be something new, or that the service stops.

    A slow reader costs nothing here: it reads from the journal when it gets round to it.
    """

    def __init__(
        self,
        journal: Journal,
        stopping: asyncio.Future[None],
        concerns: Callable[[Recorded], bool],
    ) -> None:
        self._journal = journal
        self._stopping = stopping
        self._concerns = concerns
        self._event = asyncio.Event()

    def __enter__(self) -> News:
        """Begin to listen."""
        self._unsubscribe = self._journal.subscribe(self._hear)
        self._stopping.add_done_callback(self._stop)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Listen no more."""
        self._stopping.remove_done_callback(self._stop)
        self._unsubscribe()

    def forget(self) -> None:
        """Forget what was heard: to be called before reading, so that nothing falls between."""
        self._event.clear()

    async def wait(self) -> bool:
        """Wait for news; False where it is time for a heartbeat."""
        try:
            async with asyncio.timeout(HEARTBEAT_S):
                await self._event.wait()
        except TimeoutError:
            return False
        return True

    def _hear(self, committed: Sequence[Recorded]) -> None:
        if any(map(self._concerns, committed)):
            self._event.set()

    def _stop(self, stopping: asyncio.Future[None]) -> None:
        del stopping
        self._event.set()


def sse(number: int, name: str, data: bytes) -> bytes:
    """Write one server-sent event; a reader that connects again says its number."""
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (number, name.encode(), one_line(data))


def one_line(data: bytes) -> bytes:
    """Take the line ends out of JSON: they can only stand between the tokens of a recorded body."""
    return b" ".join(data.splitlines()) if b"\n" in data or b"\r" in data else data
