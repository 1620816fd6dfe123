"""How a request is read from a connection: bounded, in time, and refused in the form of the API.

Uvicorn has no bound on headers, waits for ever for the rest of a request, answers what is no HTTP
in plain text, and writes an answer in two pieces; this is its protocol with all that put right.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from .errors import RequestError, body_of
from .joined_writes import JoinedWrites

HEAD_BYTES_MAX: Final = 32 * 1024
"""Request line and headers together."""
LINGER_S: Final = 10.0
"""How long a reader that was dropped may still fetch what was written to it."""


class _HeadTooLargeError(Exception):
    """Ends the parsing; uvicorn answers it like any other malformed request."""


class BoundedProtocol(HttpToolsProtocol):
    """Reads HTTP/1.1 with a bounded head, each request within a time."""

    docs = "/docs"
    """Where the errors are explained."""
    seconds_max = 30.0
    """How long a request may take to arrive, from its first byte or a new connection on."""

    @staticmethod
    def count(status: int, code: str) -> None:
        """Hear of a refusal; replaced by whoever counts them."""

    _head_bytes = 0
    _unfinished_bytes = 0
    _is_in_head = True
    _has_begun = False
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, and begin to wait for a request."""
        super().connection_made(JoinedWrites(transport))
        self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        self._has_arrived()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came. A name or value that never ends is told to nobody before its end."""
        if self._is_in_head:
            self._unfinished_bytes += len(data)
        super().data_received(data)
        if self._is_in_head and self._unfinished_bytes > HEAD_BYTES_MAX:
            self._head_bytes = self._unfinished_bytes
            if not self.transport.is_closing():
                self.send_400_response("")

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._head_bytes = 0
        self._is_in_head = self._has_begun = True
        if self._deadline is None:
            self._await_request()
        super().on_message_begin()

    def on_message_complete(self) -> None:
        """Have the whole request."""
        self._has_begun = False
        self._has_arrived()
        super().on_message_complete()

    def on_url(self, url: bytes) -> None:
        """Take a piece of the address."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin to serve."""
        self._is_in_head = False
        self._unfinished_bytes = 0
        super().on_headers_complete()
        # The request is served from the next turn of the loop on.
        scope: Any = self.scope
        scope["refold.hang_up"] = partial(self._hang_up, self.cycle)

    def _await_request(self) -> None:
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(self.seconds_max, self._is_late)

    def _has_arrived(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _is_late(self) -> None:
        """Send away who takes too long; who has sent nothing at all is told nothing."""
        self._deadline = None
        if self.transport.is_closing():
            return
        cycle: Any = self.cycle
        is_answering = cycle is not None and not cycle.response_complete
        if self._is_in_head and is_answering:
            # The request before this one is not answered yet, and its answer comes first.
            self._await_request()
            return
        is_told = cycle is not None and (cycle.response_complete or cycle.response_started)
        if not self._has_begun or (is_told and not self._is_in_head):
            self.transport.close()
            return
        text = f"The request did not arrive within {self.seconds_max:g} seconds."
        self._refuse(RequestError(408, "request_timeout", text), "Request Timeout")

    def _hang_up(self, cycle: Any, last_words: bytes | None) -> None:
        """End a streamed answer whose reader takes nothing: what is buffered gets little time."""
        cycle.disconnected = True
        if last_words is None or not cycle.chunked_encoding:
            self.transport.abort()
            return
        self.transport.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(last_words), last_words))
        self.transport.close()
        asyncio.get_running_loop().call_later(LINGER_S, self.transport.abort)

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > HEAD_BYTES_MAX:
            raise _HeadTooLargeError

    def send_400_response(self, msg: str) -> None:
        """Answer what can't be read as a request, and hang up."""
        refusal = RequestError(400, "invalid_http", "The request is not well-formed HTTP.")
        reason = "Bad Request"
        if self._head_bytes > HEAD_BYTES_MAX:
            text = f"The address and the headers may have at most {HEAD_BYTES_MAX} bytes."
            refusal = RequestError(431, "headers_too_large", text)
            reason = "Request Header Fields Too Large"
        self._refuse(refusal, reason)

    def _refuse(self, refusal: RequestError, reason: str) -> None:
        """Answer by hand, and hang up."""
        self.count(refusal.status, refusal.code)
        body = msgspec.json.encode(body_of(refusal, self.docs))
        head = (
            f"HTTP/1.1 {refusal.status} {reason}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()


def bounded_protocol(docs: str, count: Callable[[int, str], None], seconds_max: float) -> type[Any]:
    """Return the protocol that refers to this documentation page.

    `count` is told the status and code of what was refused before it was a request. A request
    that takes longer than `seconds_max` to arrive is refused.
    """
    made = {"docs": docs, "count": staticmethod(count), "seconds_max": seconds_max}
    return type("Protocol", (BoundedProtocol,), made)
