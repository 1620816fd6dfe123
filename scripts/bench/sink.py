"""The endpoint that measured nodes call: it answers 200, and 503 at `/refuse`."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final, cast

REFUSED: Final = "/refuse"
_ANSWER: Final = (
    b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\n\r\n{"ok":true}'
)
_REFUSAL: Final = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"


@contextmanager
def sink() -> Generator[int, None, None]:
    """Run the endpoint in a process of its own; yields its port."""
    process = subprocess.Popen([sys.executable, "-m", __name__], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.terminate()
        process.communicate()


class _Sink(asyncio.Protocol):
    """Answers each request once its head and body are in."""

    def __init__(self) -> None:
        self._waiting = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no asyncio.Transport by class, only by behaviour.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._waiting += data
        while (end := self._waiting.find(b"\r\n\r\n")) >= 0:
            head = self._waiting[:end]
            length = re.search(rb"(?i)content-length: *(\d+)", head)
            size = end + 4 + (int(length[1]) if length else 0)
            if len(self._waiting) < size:
                return
            self._waiting = self._waiting[size:]
            assert self._transport is not None
            refused = head.split(b" ", 2)[1] == REFUSED.encode()
            self._transport.write(_REFUSAL if refused else _ANSWER)


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(_Sink, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    """Serve until the process is ended."""
    import uvloop

    try:
        uvloop.run(_serve())
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    main()
