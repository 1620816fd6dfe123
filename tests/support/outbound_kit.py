"""Servers on loopback and clients that may call them, for the tests of outgoing calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from aiohttp import web

from refold.engine.outbound import (
    REQUEST_BYTES_MAX,
    RESPONSE_BYTES_MAX,
    EgressRules,
    OutboundClient,
    OutboundResponse,
    Resolve,
)

LOOPBACK = EgressRules.parse("127.0.0.0/8")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncGenerator[str]:
    """Serve `handler` for every path on a port of 127.0.0.1; give its origin."""
    app = web.Application(client_max_size=4 * REQUEST_BYTES_MAX)
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def serving_raw(
    connected: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncGenerator[str]:
    """Serve raw bytes on a port of 127.0.0.1; give its origin."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await connected(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@asynccontextmanager
async def client_of(
    rules: EgressRules = LOOPBACK,
    resolve: Resolve | None = None,
    max_response_bytes: int = RESPONSE_BYTES_MAX,
    *,
    cuts_responses: bool = False,
) -> AsyncGenerator[OutboundClient]:
    """Give a client and close it."""
    client = OutboundClient(
        rules,
        resolve=resolve,
        max_response_bytes=max_response_bytes,
        cuts_responses=cuts_responses,
    )
    try:
        yield client
    finally:
        await client.close()


async def get(
    client: OutboundClient, url: str, headers: Sequence[tuple[str, str]] = ()
) -> OutboundResponse:
    """Send a GET without a body."""
    return await client.request("GET", url, headers, None, 5.0)


async def echo(request: web.Request) -> web.Response:
    """Answer with what was received."""
    return web.json_response(
        {
            "method": request.method,
            "target": request.raw_path,
            "headers": {name.lower(): value for name, value in request.headers.items()},
            "body": (await request.read()).decode(),
        }
    )
