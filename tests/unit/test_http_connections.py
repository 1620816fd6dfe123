"""Connections that have ended: that nothing holds them, and nothing waits for the collector."""

from __future__ import annotations

import asyncio
import gc
import socket
import struct
import weakref
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import pytest
import uvicorn
import uvloop
from uvicorn.server import ServerState

from refold.http.protocol import BoundedProtocol

_GONE_S: Final = 5.0
"""Less than any timer of a connection that could hold it: nothing goes because its time is up."""
_HOUR_S: Final = 3600
_HEAD: Final = b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n"
_WAYS: Final = {
    "answered": _HEAD % b"",
    "answered twice": _HEAD % b"" + _HEAD % b"",
    "a head that ends nowhere": b"GET / HTTP/1.1\r\nHost",
    "a body that ends nowhere": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{",
    "no HTTP": b"hello\r\n\r\n",
    "an answer, then no HTTP": _HEAD % b"" + b"hello\r\n\r\n",
    "requests behind one that takes long": _HEAD % b"long" + 3 * (_HEAD % b""),
    "a reader that was dropped": _HEAD % b"dropped",
    "a reader that was told why it was dropped": _HEAD % b"told",
}
_SAY_SOMETHING: Final = frozenset(_WAYS) - {
    "a head that ends nowhere",
    "a body that ends nowhere",
    "requests behind one that takes long",
    "a reader that was dropped",
}


async def served(scope: Any, receive: Any, send: Any) -> None:
    """Answer as the path says, once the body is there."""
    message = {"type": "http.request", "more_body": True}
    while message.get("more_body"):
        message = await receive()
    if scope["path"] == "/long":
        assert (await receive())["type"] == "http.disconnect"
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["path"] in {"/dropped", "/told"}:
        await send({"type": "http.response.body", "body": b"part", "more_body": True})
        scope["refold.hang_up"](b"why" if scope["path"] == "/told" else None)
        return
    await send({"type": "http.response.body", "body": b"whole"})


class Watched(BoundedProtocol):
    """Tells when its memory has gone, and that of its transport."""

    gone: asyncio.Queue[None]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection."""
        super().connection_made(transport)
        for part in (self, self.transport):
            weakref.finalize(part, self.gone.put_nowait, None)


@asynccontextmanager
async def serving(connections_max: int) -> AsyncGenerator[tuple[int, asyncio.Queue[None]]]:
    """Serve on a port of this machine for the length of a block.

    Besides the port comes a queue that gets two entries for each connection: nothing holds its
    protocol any more, and nothing holds its transport.
    """
    gone: asyncio.Queue[None] = asyncio.Queue()
    own = {"gone": gone, "connections_max": connections_max, "seconds_max": _HOUR_S}
    protocol: Any = type("Own", (Watched,), own)
    config = uvicorn.Config(
        served,
        http=protocol,
        lifespan="off",
        ws="none",
        log_config=None,
        timeout_keep_alive=_HOUR_S,
    )
    config.load()
    state = ServerState()

    def connect() -> Any:
        return protocol(config=config, server_state=state, app_state={})

    server = await asyncio.get_running_loop().create_server(connect, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], gone
    finally:
        server.close()
        await server.wait_closed()


@contextmanager
def no_collector() -> Generator[None]:
    """Let objects go only with their last reference."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def throw(port: int, data: bytes, *, reads: bool, resets: bool) -> None:
    """Connect, write, perhaps read the beginning of an answer, and leave."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    await writer.drain()
    if reads:
        assert await reader.read(100)
    if resets:
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


def nothing_is_left(
    loop: Callable[[], asyncio.AbstractEventLoop],
    data: bytes,
    *,
    reads: bool,
    connections_max: int = 100,
) -> None:
    """Throw requests, end connections in both ways, and wait until nothing holds them."""

    async def main() -> None:
        async with serving(connections_max) as (port, gone):
            with no_collector():
                for resets in (True, False):
                    await throw(port, data, reads=reads, resets=resets)
                async with asyncio.timeout(_GONE_S):
                    for _ in range(4):
                        await gone.get()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())


LOOPS = pytest.mark.parametrize(
    "loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)


@LOOPS
@pytest.mark.parametrize("way", _WAYS)
def test_nothing_holds_a_connection_that_has_ended(
    loop: Callable[[], asyncio.AbstractEventLoop], way: str
) -> None:
    """No timer and no circle, however it ended: its memory goes with it, without a collector."""
    nothing_is_left(loop, _WAYS[way], reads=way in _SAY_SOMETHING)


@LOOPS
def test_nothing_holds_a_connection_that_was_one_too_many(
    loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """It is refused at its first byte, and is gone."""
    nothing_is_left(loop, _WAYS["answered"], reads=True, connections_max=0)
