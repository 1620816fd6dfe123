"""Writes of one turn of the loop: that they leave together, in order, and all of them."""

from __future__ import annotations

import asyncio
from typing import Any

from refold.http.joined_writes import JoinedWrites


class Wire(asyncio.Transport):
    """Keeps what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[bytes | str] = []

    def write(self, data: Any) -> None:
        """Keep a write."""
        self.said.append(bytes(data))

    def close(self) -> None:
        """Keep that it was closed."""
        self.said.append("closed")

    def abort(self) -> None:
        """Keep that it was aborted."""
        self.said.append("aborted")

    def is_closing(self) -> bool:
        """Tell whether it was closed."""
        return "closed" in self.said


def test_a_head_and_its_body_leave_together_at_the_loops_next_turn() -> None:
    """One write for an answer, and the next answer is another."""

    async def main() -> None:
        wire = Wire()
        joined = JoinedWrites(wire)
        joined.write(b"head ")
        joined.write(memoryview(b"body"))
        assert wire.said == []
        await asyncio.sleep(0)
        assert wire.said == [b"head body"]
        joined.write(b"next")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert wire.said == [b"head body", b"next"]

    asyncio.run(main())


def test_what_is_large_leaves_at_once() -> None:
    """So a stream whose reader takes nothing is held up by the connection, not kept here."""

    async def main() -> None:
        wire = Wire()
        joined = JoinedWrites(wire)
        joined.write(b"head")
        joined.write(b"x" * 70_000)
        assert wire.said == [b"head" + b"x" * 70_000]
        await asyncio.sleep(0)
        assert len(wire.said) == 1

    asyncio.run(main())


def test_a_connection_that_is_closed_says_everything_first() -> None:
    """An answer before the end of a connection is not lost, and none is sent twice."""

    async def main() -> None:
        wire = Wire()
        joined = JoinedWrites(wire)
        joined.write(b"last words")
        joined.close()
        assert wire.said == [b"last words", "closed"]
        assert joined.is_closing()
        await asyncio.sleep(0)
        assert wire.said == [b"last words", "closed"]

    asyncio.run(main())


def test_a_connection_that_is_broken_off_says_nothing_more() -> None:
    """Nobody is there to read it."""

    async def main() -> None:
        wire = Wire()
        joined = JoinedWrites(wire)
        joined.write(b"never")
        joined.abort()
        await asyncio.sleep(0)
        assert wire.said == ["aborted"]

    asyncio.run(main())
