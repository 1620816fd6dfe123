"""How a request's head is read from a connection: bounded, and refused in the form of the API.

Uvicorn has no bound on headers, answers what is no HTTP in plain text, and writes an answer in two
pieces; this is its protocol with all that put right.
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
from .sending import GUARDS, NOTHING_LOADED

HEAD_BYTES_MAX: Final = 32 * 1024
"""Request line and headers together."""
LINGER_S: Final = 10.0
"""How long a reader that was dropped may still fetch what was written to it."""
_GUARDS: Final = b"".join(b"%b: %b\r\n" % header for header in (*GUARDS, NOTHING_LOADED))


class _HeadTooLargeError(Exception):
    """Ends the parsing; uvicorn answers it like any other malformed request."""


class BoundedProtocol(HttpToolsProtocol):
    """Reads HTTP/1.1 with a bounded head."""

    docs = "/docs"
    """Where the errors are explained."""

    @staticmethod
    def count(status: int, code: str) -> None:
        """Hear of a refusal; replaced by whoever counts them."""

    _head_bytes = 0
    _unfinished_bytes = 0
    _is_in_head = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection."""
        super().connection_made(JoinedWrites(transport))

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
        self._is_in_head = True
        super().on_message_begin()

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
        self.count(refusal.status, refusal.code)
        body = msgspec.json.encode(body_of(refusal, self.docs))
        head = (
            f"HTTP/1.1 {refusal.status} {reason}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n"
        )
        self.transport.write(head.encode() + _GUARDS + b"\r\n" + body)
        self.transport.close()


def bounded_protocol(docs: str, count: Callable[[int, str], None]) -> type[Any]:
    """Return the protocol that refers to this documentation page.

    `count` is told the status and code of what was refused before it was a request.
    """
    return type("Protocol", (BoundedProtocol,), {"docs": docs, "count": staticmethod(count)})
