"""Sends answers: whole ones at once, streams for as long as the client is there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Final

from starlette.types import Receive, Send

from .call import Answer

_log = logging.getLogger("refold.http")
HangUp = Callable[[bytes | None], None]
"""Ends a connection whose reader takes nothing, after some last words if there are any."""
Headers = list[tuple[bytes, bytes]]
POLICY: Final = b"content-security-policy"
GUARDS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
"""What every answer says to a browser and to every cache on its way."""
NOTHING_LOADED: Final = (POLICY, b"default-src 'none'; frame-ancestors 'none'")
"""The policy of an answer that has none of its own: data, which no page may show or run."""


async def send_answer(made: Answer, request_id: str, send: Send) -> None:
    """Send an answer that is no stream."""
    assert isinstance(made.body, bytes), "a stream is sent by send_stream"
    headers = _headers(made, request_id)
    if made.status != 204:
        headers.append((b"content-length", str(len(made.body)).encode()))
    await send({"type": "http.response.start", "status": made.status, "headers": headers})
    await send({"type": "http.response.body", "body": made.body})


async def send_stream(
    made: Answer,
    parts: AsyncIterator[bytes],
    request_id: str,
    receive: Receive,
    send: Send,
    hang_up: HangUp | None = None,
) -> None:
    """Send an answer part by part until it ends, or the client is gone or takes nothing.

    The server takes parts also when nobody is there to get them, and a live tail may last for
    hours, so the client's end is watched for.
    """
    headers = _headers(made, request_id)
    await send({"type": "http.response.start", "status": made.status, "headers": headers})
    patience = made.patience
    sending = asyncio.ensure_future(
        _send_parts(parts, send, patience.seconds if patience else None)
    )
    gone = asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait((sending, gone), return_when=asyncio.FIRST_COMPLETED)
    finally:
        gone.cancel()
        if not sending.done():
            sending.cancel()
            await asyncio.wait((sending,))
    if sending.cancelled():
        return
    try:
        sending.result()
    except _StalledError:
        if hang_up is None:
            raise
        assert patience is not None, "without patience nothing waits for its end"
        last = None if patience.last_words is None else patience.last_words()
        _log.warning("a reader was dropped that took nothing for %g s: %s", patience.seconds, last)
        hang_up(last)


def _headers(made: Answer, request_id: str) -> Headers:
    headers = [*made.headers, (b"x-request-id", request_id.encode()), *GUARDS]
    if not any(name == POLICY for name, _ in made.headers):
        headers.append(NOTHING_LOADED)
    return headers


class _StalledError(Exception):
    """The client takes nothing."""


async def _send_parts(parts: AsyncIterator[bytes], send: Send, seconds: float | None) -> None:
    try:
        async for part in parts:
            try:
                async with asyncio.timeout(seconds):
                    await send({"type": "http.response.body", "body": part, "more_body": True})
            except TimeoutError:
                raise _StalledError from None
        await send({"type": "http.response.body", "body": b""})
    finally:
        close = getattr(parts, "aclose", None)
        if close is not None:
            await close()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
