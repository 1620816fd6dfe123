"""A connection whose writes of one turn of the event loop leave together.

The server writes the head of an answer and then its body, and each write would be a call of the
system that carries the bytes through to the client: half of what answering costs.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

_JOINED_BYTES_MAX: Final = 64 * 1024
"""What is larger leaves at once, so that the flow control of streams sees it."""


class JoinedWrites(asyncio.Transport):
    """Keeps what is written until the loop's next turn, or until there is much of it."""

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__()
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._kept: list[bytes] = []
        self._kept_bytes = 0

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Take what is to be written, in order."""
        if not self._kept:
            self._loop.call_soon(self._flush)
        self._kept.append(bytes(data))
        self._kept_bytes += len(data)
        if self._kept_bytes > _JOINED_BYTES_MAX:
            self._flush()

    def _flush(self) -> None:
        kept, self._kept, self._kept_bytes = self._kept, [], 0
        # A client that left has closed the connection under what was to be written.
        if kept and not self._transport.is_closing():
            self._transport.write(b"".join(kept))

    def close(self) -> None:
        """Hang up once everything was sent."""
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        """Hang up at once."""
        self._kept.clear()
        self._transport.abort()

    def is_closing(self) -> bool:
        """Tell whether the connection is hung up, or about to be."""
        return self._transport.is_closing()

    def pause_reading(self) -> None:
        """Take nothing from the client."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Take what the client sends."""
        self._transport.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what is known of the connection."""
        return self._transport.get_extra_info(name, default)
